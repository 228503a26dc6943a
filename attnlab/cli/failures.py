"""What a person sees when something goes wrong: one line that says what and why, and the promised exit code."""

import contextlib
import errno
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any

import typer

from attnlab.errors import AttnlabError, MemoryRefused, ShapeError, UsageError
from attnlab.files.opening import shown

#: typer's own complaint about a command line: the parent of the one that it makes public.
TyperUsageError: Any = typer.BadParameter.__base__

BUG, BROKEN_PIPE, WRITE_FAILED, OUT_OF_MEMORY = 70, 141, 5, 4
#: What writing to stdout may fail with, besides a broken pipe.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
#: Signals that end a run in an orderly way, with the exit code 128 + their number, and what is said of them.
STOPPING = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Stopped(BaseException):
    """One of the `STOPPING` signals arrived. Its own exception, since typer keeps KeyboardInterrupt to itself."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = signal.Signals(number)
        #: what of the work is not lost, and how to go on
        self.kept = ""


def guarded(work: Callable[[], int], *, debug: bool) -> int:
    """Do the work and return its exit code; turn what stops it into a line on stderr and the promised code."""
    if sys.stderr is None:  # closed: print would take stdout instead
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    if sys.stdout is None:
        return _failed("stdout: closed; expected a place for the result", WRITE_FAILED, debug=False)
    _heed_signals()
    try:
        code = work()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _silence_stdout()
        return BROKEN_PIPE
    except SystemExit as ending:
        if not isinstance(ending.__context__, BrokenPipeError):
            raise
        _silence_stdout()  # typer's own way with a broken pipe is exit code 1
        return BROKEN_PIPE
    except Stopped as stop:
        text = f"{STOPPING[stop.signal]}: the result is not complete" + (f"; {stop.kept}" if stop.kept else "")
        return _failed(text, 128 + stop.signal, debug=debug)
    except AttnlabError as error:
        return _failed(str(error), error.exit_code, debug=debug)
    except MemoryError:
        text = "the machine ran out of memory; take fewer tokens or layers, or set --max-memory lower"
        return _failed(text, OUT_OF_MEMORY, debug=debug)
    except TyperUsageError as error:
        return _failed(usage_text(error), error.exit_code, debug=debug)
    except Exception as error:
        if isinstance(error, OSError) and error.filename is None and error.errno in UNWRITABLE:
            _silence_stdout()
            return _failed(f"stdout: {error.strerror}; the result could not be written", WRITE_FAILED, debug=debug)
        traceback.print_exc()
        return _failed(f"a bug: {type(error).__name__}: {error}", BUG, debug=False)


def usage_text(error: Any) -> str:
    """typer's complaint about a command line in attnlab's form."""
    context = getattr(error, "ctx", None)
    command = command_path(context).removeprefix("attnlab ")
    text = error.format_message().rstrip(".").removeprefix("Invalid value for ")
    text = re.sub(r"'(--?[a-z][a-z-]*|[A-Z]+)'", r"\1", text).replace(". Did you mean", "; did you mean")
    return f"{command}: {text[:1].lower()}{text[1:]} ({command_path(context)} --help lists what there is)"


def command_path(context: Any) -> str:
    """The command as typed: "attnlab run"."""
    return context.command_path if context is not None else "attnlab"


def about(command: str, error: AttnlabError) -> AttnlabError:
    """The same error, said to come from a command where its text does not name a file."""
    if isinstance(error, UsageError | ShapeError | MemoryRefused):
        return type(error)(f"{command}: {error}")
    return error


def _failed(text: str, code: int, *, debug: bool) -> int:
    with contextlib.suppress(OSError):  # nobody reads stderr: the exit code has to do
        if debug:
            traceback.print_exc()
        lines = [shown(line) for line in text.split("\n")]
        print("attnlab: error: " + "\n".join(lines), file=sys.stderr, flush=True)
    return code


def _heed_signals() -> None:
    """Stop in an orderly way on the `STOPPING` signals, but for those that whoever started us had us ignore."""
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    for other in STOPPING:  # once is enough: nothing should stop the clean-up
        signal.signal(other, signal.SIG_IGN)
    raise Stopped(number)


def _silence_stdout() -> None:
    """Nobody reads stdout any more: let the interpreter's last flush go nowhere instead of failing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
