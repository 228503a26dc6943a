"""What a parser may do with a file, whatever is in it: return, or refuse it in one printable line with the right code.

Anything else is a fault: another exception or a warning, a line that cannot be printed or read, memory or time beyond
the limits, a file opened outside the folder, a file mapped, a process started.
"""

import os
import signal
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from attnlab.errors import AttnlabError, ConfigError
from tests.fuzz.parsers import Parser

ACCEPTED, REFUSED, FAULT = "accepted", "refused", "fault"
#: How the text of a fault of that kind begins.
TIME = "time"
#: A complaint is no longer than this, and there are no more of them.
MOST_CHARACTERS, MOST_LINES = 1000, 60
#: Each line has one of these: what to do about it.
ADVICE = ("expected", "did you mean", "it belongs", "not valid YAML", "take ")
#: Nothing that only reads a file has cause for these.
FORBIDDEN = {
    *("mmap.__new__", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.remove", "os.rename", "os.rmdir"),
    *("pickle.find_class", "shutil.rmtree", "socket.bind", "socket.connect", "subprocess.Popen", "ctypes.dlopen"),
}
#: What Python opens for itself, to import a module when it is first needed.
OF_PYTHON = (".py", ".pyc", ".so", ".pth")


class Limits(NamedTuple):
    """What one file may cost."""

    #: of the processor's time, which is the same however busy the machine is
    seconds: float = 10.0
    #: bytes beyond those held before: so many, whatever the file, and so many for each byte of it; Rust's first panic
    #: alone takes 50 MiB, to find its way back
    at_least: int = 96 << 20
    per_byte: int = 400

    def most_bytes(self, length: int) -> int:
        return self.at_least + self.per_byte * length


class Outcome(NamedTuple):
    """What became of one file."""

    kind: str
    #: the complaint, or what the fault is
    text: str
    seconds: float
    #: bytes at the highest, beyond those held before
    peak: int


class TooLong(BaseException):
    """The time is up."""


class Watch:
    """What is opened while it is on; an audit hook, which Python keeps for the life of the process."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.forbidden: set[str] = FORBIDDEN
        self.seen: list[str] = []
        sys.addaudithook(self._heard)

    def _heard(self, event: str, given: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event in self.forbidden:
            self.seen.append(f"{event} {str(given)[:200]}")
        elif event == "open" and isinstance(given[0], str | bytes | os.PathLike):
            path = os.path.realpath(os.fsdecode(given[0]))
            if (
                not path.endswith(OF_PYTHON)
                and path != os.devnull
                and path != self.folder
                and not path.startswith(self.folder + os.sep)
            ):
                self.seen.append(f"opened {path}")

    @contextmanager
    def on(self, folder: Path, may: frozenset[str]) -> Iterator[None]:
        self.folder, self.forbidden, self.seen = os.path.realpath(folder), FORBIDDEN - may, []
        try:
            yield
        finally:
            self.folder = None


class Judge:
    """Puts files before parsers. One to a process: it counts its memory and listens to what it opens."""

    def __init__(self, home: Path) -> None:
        self.home, self.watch = home, Watch()
        self._folders: dict[str, Path] = {}

    def judged(self, parser: Parser, data: bytes, limits: Limits) -> Outcome:
        """What the parser makes of a file of these bytes."""
        folder = self.ready(parser)
        (folder / parser.target).write_bytes(data)
        before, started = _resident(), time.process_time()
        with self.watch.on(folder, parser.may), warnings.catch_warnings():
            warnings.simplefilter("error")
            kind, text, traced = _called(parser, folder, limits.seconds)
        seconds, peak = time.process_time() - started, max(traced, _highest() - before)
        if kind != FAULT and self.watch.seen:
            kind, text = FAULT, f"beyond its folder: {self.watch.seen[0]}"
        if kind != FAULT and peak > limits.most_bytes(len(data)):
            kind, text = FAULT, f"memory: {peak:,} bytes for a file of {len(data):,}; {text}"
        return Outcome(kind, text, seconds, peak)

    def ready(self, parser: Parser) -> Path:
        """The parser's folder, with what stands beside the file; good files have been read once: all is imported."""
        if parser.name not in self._folders:
            folder = self._folders[parser.name] = Path(tempfile.mkdtemp(dir=self.home))
            parser.beside(folder)
            for data in parser.good():
                (folder / parser.target).write_bytes(data)
                parser.read(folder)
        return self._folders[parser.name]


def _called(parser: Parser, folder: Path, seconds: float) -> tuple[str, str, int]:
    """Kind, text, and the bytes that Python and numpy took at the highest."""
    signal.signal(signal.SIGPROF, _ring)
    tracemalloc.start()
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        parser.read(folder)
        kind, text = ACCEPTED, ""
    except AttnlabError as error:
        wrong = complaint_fault(error, parser.codes)
        kind, text = (FAULT, f"{wrong}: {str(error)[:300]!r}") if wrong else (REFUSED, str(error))
    except TooLong:
        kind, text = FAULT, f"{TIME}: more than {seconds} s"
    except BaseException as error:  # a Rust panic is no Exception
        kind, text = FAULT, f"{type(error).__name__}: {str(error)[:200]!r} at {_place(error)}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        traced = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return kind, text, traced


def complaint_fault(error: AttnlabError, codes: tuple[int, ...]) -> str:
    """What is wrong with a refusal, or nothing."""
    lines = str(error).split("\n") if isinstance(error, ConfigError) else [str(error)]
    if len(lines) > 1:
        del lines[0]  # how many mistakes there are
    if error.exit_code not in codes:
        return f"exit code {error.exit_code}, not {' or '.join(map(str, codes))}"
    if len(lines) > MOST_LINES:
        return f"{len(lines):,} lines"
    for line in lines:
        if not line.isprintable():
            return "not one printable line"
        if len(line) > MOST_CHARACTERS:
            return f"a line of {len(line):,} characters"
        if not any(words in line for words in ADVICE):
            return "does not say what was expected"
    return ""


def _ring(*_: object) -> None:
    raise TooLong


def _place(error: BaseException) -> str:
    """Where in the package it was raised."""
    found, trace = "?", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if f"{os.sep}attnlab{os.sep}" in file:
            found = f"{file.rpartition(os.sep)[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def _resident() -> int:
    """Resident bytes, after the highest mark has been set back to them; 0 where the kernel does not tell."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
        return _status("VmRSS")
    except OSError:
        return 0


def _highest() -> int:
    try:
        return _status("VmHWM")
    except OSError:
        return 0


def _status(name: str) -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(name))
