"""What a person sees when something goes wrong: one line that says what and why, and the promised exit code."""

import errno
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, TextIO

import typer

from attnlab.errors import AttnlabError, ConfigError, MemoryRefused, ShapeError, UsageError
from attnlab.files.opening import shown

#: typer's own complaint about a command line: the parent of the one that it makes public.
TyperUsageError: Any = typer.BadParameter.__base__

BUG, BROKEN_PIPE, WRITE_FAILED, OUT_OF_MEMORY = 70, 141, 5, 4
EXHAUSTED = "the machine ran out of memory; take fewer tokens or layers, or set --max-memory lower"
#: What writing to stdout may fail with, besides a broken pipe.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EBADF)
#: Signals that end a run in an orderly way, with the exit code 128 + their number, and what is said of them.
STOPPING = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "the terminal went away",
}


class Stopped(BaseException):
    """One of the `STOPPING` signals arrived. Its own exception, since typer keeps KeyboardInterrupt to itself."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = signal.Signals(number)
        #: what of the work is not lost, and how to go on
        self.kept = ""


def guarded(work: Callable[[], int], *, debug: bool) -> int:
    """Do the work and return its exit code; turn what stops it into a line on stderr and the promised code.

    From its end on, the `STOPPING` signals do nothing: what was to be done is done, or told.
    """
    if sys.stderr is None:  # closed: print would take stdout instead
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    if sys.stdout is None:
        return _failed(["stdout: closed; expected a place for the result"], WRITE_FAILED, debug=False)
    try:
        _heed_signals(_stop)
        code = _ended(work, debug=debug)
        _heed_signals(_pass)
        return code
    except Stopped as stop:  # at work, or while something else that went wrong was told
        text = f"{STOPPING[stop.signal]}: the result is not complete" + (f"; {stop.kept}" if stop.kept else "")
        return _failed([text], 128 + stop.signal, debug=debug)


def _ended(work: Callable[[], int], *, debug: bool) -> int:
    """Do the work and return its exit code, whatever but `Stopped` stops it."""
    try:
        code = work()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _silence(sys.stdout)
        return BROKEN_PIPE
    except SystemExit as ending:
        if not isinstance(ending.__context__, BrokenPipeError):
            raise
        _silence(sys.stdout)  # typer's own way with a broken pipe is exit code 1
        return BROKEN_PIPE
    except AttnlabError as error:
        return _failed(error.lines, error.exit_code, debug=debug)
    except MemoryError:
        return _failed([EXHAUSTED], OUT_OF_MEMORY, debug=debug)
    except TyperUsageError as error:
        return _failed([usage_text(error)], error.exit_code, debug=debug)
    except Exception as error:
        if isinstance(error, RuntimeError) and str(error) == "can't start new thread":  # no room for its stack
            return _failed([EXHAUSTED], OUT_OF_MEMORY, debug=debug)
        if isinstance(error, OSError) and error.filename is None and error.errno in UNWRITABLE:
            _silence(sys.stdout)
            return _failed([f"stdout: {error.strerror}; the result could not be written"], WRITE_FAILED, debug=debug)
        return _failed([f"a bug: {type(error).__name__}: {error}"], BUG, debug=True)


def say_note(text: str) -> None:
    """A line on stderr about what went differently; nobody need be reading it."""
    try:
        print(f"attnlab: {shown(text)}", file=sys.stderr, flush=True)
    except OSError:
        _silence(sys.stderr)


def usage_text(error: Any) -> str:
    """typer's complaint about a command line in attnlab's form."""
    context = getattr(error, "ctx", None)
    command = command_path(context).removeprefix("attnlab ")
    text = error.format_message().rstrip(".").removeprefix("Invalid value for ")
    text = re.sub(r"'(--?[a-z][a-z-]*|[A-Z]+)'", r"\1", text).replace(". Did you mean", "; did you mean")
    text = re.sub(r" \(Possible options: (.*)\)$", r"; did you mean one of \1?", text)
    return f"{command}: {text[:1].lower()}{text[1:]} ({command_path(context)} --help lists what there is)"


def command_path(context: Any) -> str:
    """The command as typed: "attnlab run"."""
    return context.command_path if context is not None else "attnlab"


def about(command: str, error: AttnlabError) -> AttnlabError:
    """The same error, said to come from a command where its text does not name a file."""
    if isinstance(error, UsageError | ShapeError | MemoryRefused):
        return type(error)(f"{command}: {error}")
    return error.said_of(command) if isinstance(error, ConfigError) else error


def _failed(lines: Sequence[str], code: int, *, debug: bool) -> int:
    """Say it on stderr, every character of a line visible on that line, and return the exit code."""
    try:
        if debug:
            print("\n".join(map(shown, traceback.format_exc().rstrip("\n").split("\n"))), file=sys.stderr)
        print("attnlab: error: " + "\n".join(map(shown, lines)), file=sys.stderr, flush=True)
    except OSError:  # nobody reads stderr: the exit code has to do
        _silence(sys.stderr)
    return code


def _heed_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    """Handle the `STOPPING` signals, but for those that whoever started us had us ignore.

    Never by SIG_IGN: the interpreter complains on stderr of a signal that came in just before it was set.
    """
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    _heed_signals(_pass)  # once is enough: nothing should stop the clean-up
    raise Stopped(number)


def _pass(number: int, frame: FrameType | None) -> None:
    """Go on."""


def _silence(stream: TextIO) -> None:
    """Nobody reads it any more: let the interpreter's last flush go nowhere instead of failing, with exit code 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
