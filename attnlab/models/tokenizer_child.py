"""The program of the process that reads a tokenizer.json and texts with it: requests on stdin, answers on stdout.

A tokenizer.json is a program of a kind, and anyone may have written it: its parts multiply what they are given, its
patterns try every way. No look at the file tells what a text will make of it, and what the `tokenizers` package cannot
get memory for ends the process it runs in. So it runs in this one, which the kernel holds to so many bytes and so many
seconds of computing. `tokenizer_process` is the other end.

It imports the standard library's small modules and that package alone: a person who gives a text waits for it to start.
"""

import fcntl
import os
import resource
import signal
import sys
from array import array
from struct import Struct
from typing import Any, BinaryIO

#: A request: what to do, the bytes that follow, the seconds that it may compute, the most tokens (where texts are cut).
REQUEST = Struct("<cQQq")
READ, ENCODE, CUT, NAME = b"r", b"e", b"c", b"n"
#: An answer: how it went, the bytes that follow.
ANSWER = Struct("<cQ")
DONE, REFUSED, MEMORY, MISSING = b"d", b"r", b"m", b"i"
#: A refusal is cut after so many characters.
MOST_CHARACTERS = 200
#: Bytes beyond those that it may take for the file and the texts: what Python and the package work with.
ROOM = 16 << 20
#: What tokenizers put for a space (byte-level ones Ġ, others ▁) and for a new line, and what people are shown.
_SPACES = {"Ġ": " ", "▁": " ", "Ċ": "↵", "\n": "↵"}


def serve(home: str, max_bytes: int) -> None:
    """Answer requests until there are no more.

    Args:
        home: the folder in which the `tokenizers` package is.
        max_bytes: of memory, beside what it takes to start.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C goes to the whole group; who asks says when this one ends
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    os.set_blocking(2, False)  # what nobody reads is lost, and nobody waits
    sys.path[-1] = home
    try:
        from tokenizers import Tokenizer  # an extra, and to be found only now
    except ImportError:
        _answer(answers, MISSING, b"")
        return
    _limit_memory(max_bytes)
    served = _Served(Tokenizer)
    while len(header := sys.stdin.buffer.read(REQUEST.size)) == REQUEST.size:
        _answer(answers, *_answered(served, *REQUEST.unpack(header)))


def _answer(answers: BinaryIO, how: bytes, payload: bytes) -> None:
    answers.write(ANSWER.pack(how, len(payload)))
    answers.write(payload)
    answers.flush()


def _answered(served: "_Served", what: bytes, length: int, seconds: int, most: int) -> tuple[bytes, bytes]:
    """Whatever the package raises, or panics with, is said of the file."""
    try:
        given = sys.stdin.buffer.read(length)
        _limit_seconds(seconds)
        _end_with_whoever_asks(True)
        try:
            return DONE, served.does(what, given, most)
        finally:
            _end_with_whoever_asks(False)
    except MemoryError:
        return MEMORY, b""
    except BaseException as problem:  # it raises no narrower kind than Exception, and its panics are not even that
        return REFUSED, str(problem)[:MOST_CHARACTERS].encode(errors="replace")


class _Served:
    """The tokenizer, once it is read."""

    def __init__(self, package: Any) -> None:
        self.package = package
        self.tokenizer: Any = None

    def does(self, what: bytes, given: bytes, most: int) -> bytes:
        """The answer to a request: nothing, ids as uint32, or texts' lengths as uint32 and the texts."""
        if what == READ:
            self.tokenizer = self.package.from_str(given.decode("utf-8-sig"))
            self.tokenizer.no_padding()
            self.tokenizer.no_truncation()
            return b""
        if what == NAME:
            texts = [self.name(one).encode() for one in array("I", given)]
            return array("I", map(len, texts)).tobytes() + b"".join(texts)
        if what == CUT:
            self.tokenizer.enable_truncation(most)
        try:
            return array("I", self.tokenizer.encode(given.decode()).ids).tobytes()
        finally:
            self.tokenizer.no_truncation()

    def name(self, one: int) -> str:
        """One token's text; a token of parts of characters is shown as it is stored."""
        stored: str | None = self.tokenizer.id_to_token(one)
        if stored is None:
            return f"#{one}"
        decoded: str = self.tokenizer.decode([one], skip_special_tokens=False)
        seen = stored if "\ufffd" in decoded or not decoded else decoded
        for sign, meant in _SPACES.items():
            seen = seen.replace(sign, meant)
        return seen.strip(" ") or "␣"


def _limit_memory(max_bytes: int) -> None:
    """Beyond max_bytes and ROOM no memory is had. macOS keeps no such limit: there the seconds alone are bounded."""
    _limit(resource.RLIMIT_CORE, 0)
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            held = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return
    _limit(resource.RLIMIT_AS, held + ROOM + max_bytes)


def _limit_seconds(seconds: int) -> None:
    """After so many seconds of computing from now on the kernel ends the process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + seconds)


def _limit(which: int, most: int) -> None:
    """A limit that is there already, and lower, stays."""
    _, hard = resource.getrlimit(which)
    resource.setrlimit(which, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _end_with_whoever_asks(on: bool) -> None:
    """While it is at work: when nobody is there any more to ask, the kernel's SIGIO ends it."""
    flags = fcntl.fcntl(0, fcntl.F_GETFL)
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, flags | fcntl.FASYNC if on else flags & ~fcntl.FASYNC)
