"""What a person sees when something goes wrong: one line that says what and why, and the promised exit code."""

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

#: typer's own complaint about a command line: the parent of the one that it makes public.
TyperUsageError: Any = typer.BadParameter.__base__

BUG, INTERRUPTED, TERMINATED, BROKEN_PIPE = 70, 130, 143, 141
WRITE_FAILED, OUT_OF_MEMORY = 5, 4


class Terminated(BaseException):
    """SIGTERM arrived."""


def guarded(work: Callable[[], int], *, debug: bool) -> int:
    """Do the work and return its exit code; turn what stops it into a line on stderr and the promised code."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = work()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _silence_stdout()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return _failed("interrupted: no result was written", INTERRUPTED, debug=debug)
    except Terminated:
        return _failed("terminated: no result was written", TERMINATED, debug=debug)
    except AttnlabError as error:
        return _failed(str(error), error.exit_code, debug=debug)
    except MemoryError:
        text = "the machine ran out of memory; take fewer tokens or layers, or set --max-memory lower"
        return _failed(text, OUT_OF_MEMORY, debug=debug)
    except TyperUsageError as error:
        return _failed(usage_text(error), error.exit_code, debug=debug)
    except OSError as error:
        if error.filename is not None:
            raise
        _silence_stdout()
        return _failed(f"stdout: {error.strerror or error}; the result could not be written", WRITE_FAILED, debug=debug)
    except Exception as error:
        traceback.print_exc()
        return _failed(f"a bug: {type(error).__name__}: {error}", BUG, debug=False)


def usage_text(error: Any) -> str:
    """typer's complaint about a command line in attnlab's form."""
    context = getattr(error, "ctx", None)
    command = context.info_name if context is not None and context.parent is not None else "attnlab"
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
    if debug:
        traceback.print_exc()
    print(f"attnlab: error: {text}", file=sys.stderr)
    return code


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _silence_stdout() -> None:
    """Nobody reads stdout any more: let the interpreter's last flush go nowhere instead of failing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
