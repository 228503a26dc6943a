"""The process that a tokenizer.json is read in, as those see it who ask it. `tokenizer_child` is its program.

It is held to limits, may end at any time, and nothing that it says is trusted: each failure is one line. It ends with
whoever asks, in whatever way that one ends.
"""

import os
import select
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from io import FileIO
from typing import TypeVar, cast

from attnlab.errors import AttnlabError, InputError, MemoryRefused, UsageError
from attnlab.files.opening import shown
from attnlab.models.tokenizer_child import ANSWER, DONE, MEMORY, MISSING, MOST_CHARACTERS, REFUSED, REQUEST, ROOM

#: What an answer is made into.
Made = TypeVar("Made")

#: Without -I and -S whatever lies around could be imported in a library's place, and starting would take longer.
_OPTIONS = ("-I", "-S", "-B")
_PROGRAM = """
import sys
root, home, max_bytes = sys.argv[1:]
sys.path.append(root)
from attnlab.models.tokenizer_child import serve
serve(home, int(max_bytes))
"""
#: Its bytes, and what is made of them, while a request or an answer is under way: a text's characters take up to four.
_HELD = 5
#: A second of computing more for so many bytes; the slowest tokenizers take some ten times as many.
_BYTES_A_SECOND = 50_000
#: Seconds in which nothing is heard, for one that it may compute: others compute, too.
_PATIENCE = 20
#: How Rust and Python complain of memory that they do not get.
_EXHAUSTED = (b"memory allocation of", b"MemoryError")
_OTHERWISE = "or --ids with the tokens' numbers"
#: What may go wrong between two processes, and what an answer that is none raises when it is read.
_FAULTS = (EOFError, OSError, ValueError, MemoryError, ImportError)


class TokenizerProcess:
    """One process, from its start to its first failure."""

    def __init__(self, where: str, *, max_bytes: int, seconds: int) -> None:
        """Start it.

        Args:
            where: the file, as complaints name it.
            max_bytes: of memory, for the file and the texts.
            seconds: of computing, for a short request.

        Raises:
            UsageError: the `tokenizers` package is not installed, or no process can be started.
        """
        self._where, self._max_bytes, self._seconds = where, max_bytes, seconds
        self._most = (ROOM + max_bytes) // _HELD
        self._process = process = _started(where, min(max_bytes, 1 << 62))
        pipes = cast(tuple[FileIO, FileIO, FileIO], (process.stdin, process.stdout, process.stderr))
        #: ends it; is called when this object goes or the interpreter ends, at the latest
        self.end = weakref.finalize(self, _end, process, pipes)
        self._requests, self._answers, self._complaints = (pipe.fileno() for pipe in pipes)
        for pipe in pipes:
            os.set_blocking(pipe.fileno(), False)

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to ask."""
        return not self.end.alive

    def require_memory(self, length: int) -> None:
        """Check that a file or a text of so many bytes may be handed over.

        Raises:
            MemoryRefused: it would take more than may be used.
        """
        if length > self._most:
            raise self._too_much()

    def ask(self, what: bytes, read: Callable[[bytes], Made], given: bytes = b"", *, most: int = 0) -> Made:
        """What the answer to a request is made into; with any error but a refusal the process is at its end.

        Args:
            read: makes it; a ValueError says that it is no such answer.

        Raises:
            InputError: the package refuses what it is given, ends, computes too long, or answers nonsense.
            MemoryRefused: it would take more memory than may be used.
            UsageError: the package cannot be imported.
        """
        seconds = self._seconds + len(given) // _BYTES_A_SECOND
        try:
            header = REQUEST.pack(what, len(given), seconds, max(-1, min(most, 1 << 62)))
            how, answer = self._exchanged(header, given, seconds)
            if how == DONE:
                return read(answer)
            said = answer.decode()[:MOST_CHARACTERS]
        except _FAULTS as problem:
            raise self._failure(problem, seconds) from None
        except BaseException:
            self.end()
            raise
        raise InputError(f"{self._where}: {shown(said)}; expected a tokenizer.json")

    def _exchanged(self, header: bytes, given: bytes, seconds: int) -> tuple[bytes, bytes]:
        """Whether it is done or refused, and the answer."""
        self._said()
        for part in (header, given):
            left = memoryview(part)
            while left:
                self._wait(self._requests, select.POLLOUT, seconds)
                left = left[os.write(self._requests, left) :]
        how, length = ANSWER.unpack(self._received(ANSWER.size, seconds))
        if how == MISSING:
            raise ImportError
        if how == MEMORY or (how == DONE and length > self._most):
            raise MemoryError
        if how not in (DONE, REFUSED) or (how == REFUSED and length > 4 * MOST_CHARACTERS):
            raise ValueError
        return how, self._received(length, seconds)

    def _received(self, length: int, seconds: int) -> bytes:
        parts = bytearray()
        while len(parts) < length:
            self._wait(self._answers, select.POLLIN, seconds)
            part = os.read(self._answers, min(length - len(parts), 1 << 20))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)

    def _wait(self, pipe: int, event: int, seconds: int) -> None:
        """Until the pipe is ready; second by second, so that a time in which everything is stopped is not counted."""
        poll = select.poll()
        poll.register(pipe, event)
        for _ in range(_PATIENCE * seconds):
            for _, found in poll.poll(1000):
                if found & select.POLLERR:  # nobody reads it; to write would be a SIGPIPE
                    raise EOFError
                return
        raise TimeoutError

    def _said(self) -> bytes:
        """What is on its stderr."""
        with suppress(BlockingIOError):
            return os.read(self._complaints, 1 << 16)
        return b""

    def _failure(self, problem: Exception, seconds: int) -> AttnlabError:
        """The process is ended; what is to be said of it."""
        self._process.kill()  # it may have closed its pipes alone
        code, said = self._process.wait(), self._said()
        self.end()
        if isinstance(problem, ImportError):
            return _missing()
        if isinstance(problem, MemoryError) or any(words in said for words in _EXHAUSTED):
            return self._too_much()
        if isinstance(problem, TimeoutError) or code == -signal.SIGXCPU:
            found = f"no answer within {seconds:,} s of computing"
        elif isinstance(problem, ValueError):
            found = "its process answers nonsense"
        else:
            found = f"its process ended with {f'signal {-code}' if code < 0 else f'exit code {code}'}"
        return InputError(f"{self._where}: {found}; expected a tokenizer.json that can be used, {_OTHERWISE}")

    def _too_much(self) -> MemoryRefused:
        return MemoryRefused(
            f"{self._where}: more than {self._max_bytes:,} bytes to read it or a text with it; expected at most these, "
            f"set by --max-memory: give it more, {_OTHERWISE}"
        )


def _started(where: str, max_bytes: int) -> "subprocess.Popen[bytes]":
    """The process, its pipes unbuffered.

    Raises:
        UsageError: the package is not installed, or there is no process to be had.
    """
    found = find_spec("tokenizers")
    if found is None or found.origin is None:  # a folder that happens to have its name has no origin
        raise _missing()
    root, home = (
        os.path.abspath(os.path.join(path, *[os.pardir] * up)) for path, up in ((__file__, 3), (found.origin, 2))
    )
    quiet = {"RUST_BACKTRACE": "0", "TOKENIZERS_PARALLELISM": "false"}  # a backtrace takes 50 MiB, and may never end
    try:
        return subprocess.Popen(
            [_python(), *_OPTIONS, "-c", _PROGRAM, root, home, str(max_bytes)],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **quiet},
        )
    except OSError as problem:
        raise UsageError(
            f"{where}: no process to read it in ({(problem.strerror or str(problem)).lower()}: {shown(_python())}); "
            f"expected Python there, {_OTHERWISE}"
        ) from problem


def _python() -> str:
    """The interpreter; a program that it is only a part of is none, and would do who knows what."""
    name = os.path.basename(sys.executable or "").lower()
    if name.startswith(("python", "pypy")):
        return sys.executable
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return os.path.join(sys.base_exec_prefix, "bin", version)


def _missing() -> UsageError:
    return UsageError(
        "a text needs the tokenizers package; expected it installed: pip install 'attnlab[models]', "
        "or --ids with the tokens' numbers"
    )


def _end(process: "subprocess.Popen[bytes]", pipes: tuple[FileIO, ...]) -> None:
    """End the process; one that was forked from its owner, and has no such child, only lets go of it."""
    process.kill()
    process.wait()
    for pipe in pipes:
        pipe.close()
