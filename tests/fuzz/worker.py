"""A process of its own that puts files before parsers: what kills it or never ends is a fault like any other."""

import math
import os
import pickle
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from tests.fuzz.broken import BROKEN
from tests.fuzz.oracle import FAULT, TIME, Judge, Limits, Outcome
from tests.fuzz.parsers import PARSERS, ROOT
from tests.patience import PATIENCE

#: Of address space: what is asked for beyond it fails.
MOST_ADDRESSES = 4 << 30
#: Seconds of the processor's time beyond the limit in which a process may still speak up for itself.
GRACE = 0.5


class Worker:
    """The process, started anew after a file that ended it; for use in a `with` statement."""

    def __init__(self, limits: Limits = Limits()) -> None:  # noqa: B008 - a tuple
        self.limits = limits
        self._home = tempfile.TemporaryDirectory(prefix="fuzz-")  # here: a process that is killed leaves its files
        self._process: subprocess.Popen[bytes] | None = None
        self._known: set[str] = set()

    def judged(self, name: str, data: bytes, limits: Limits | None = None) -> Outcome:
        """What the parser of that name makes of a file of these bytes."""
        limits = limits or self.limits
        self._process = self._process or _started(self._home.name)
        if name not in self._known:
            readied = self._asked(name, None, limits)
            if readied is not None:
                raise AssertionError(f"{name}: its own good files: {readied}")
            self._known.add(name)
        outcome = self._asked(name, data, limits)
        assert outcome is not None
        return outcome

    def _asked(self, name: str, data: bytes | None, limits: Limits) -> Outcome | None:
        """The process's answer: to a file, an outcome; to no file, that it is ready."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        pickle.dump((name, data, limits), process.stdin)
        process.stdin.flush()
        if not select.select([process.stdout], [], [], PATIENCE)[0]:
            self._end()
            return Outcome(FAULT, f"{TIME}: it waits for something", 0.0, 0)
        try:
            answer: Outcome | None = pickle.load(process.stdout)
        except EOFError:
            process.wait()
            self._end()
            seconds = limits.seconds
            endless = process.returncode == -signal.SIGXCPU
            text = f"{TIME}: no end after {seconds} s" if endless else f"killed: exit code {process.returncode}"
            return Outcome(FAULT, text, seconds if endless else 0.0, 0)
        return answer

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            with suppress(BrokenPipeError):
                self._process.communicate()
            self._process, self._known = None, set()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()
        self._home.cleanup()


def _started(home: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fuzz.worker", home],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # where Rust tells of its panics
    )


def serve() -> None:
    """Judge what comes on stdin, until it ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESSES, MOST_ADDRESSES))
    judge = Judge(Path(sys.argv[1]))
    while True:
        try:
            name, data, limits = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        parser = {**PARSERS, **BROKEN}[name]
        judge.ready(parser)
        with ended_beyond(limits.seconds + GRACE):
            outcome = None if data is None else judge.judged(parser, data, limits)
        pickle.dump(outcome, answers)
        answers.flush()


@contextmanager
def ended_beyond(seconds: float) -> Iterator[None]:
    """The system ends this process when it has worked so long, or up to a second more: a limit is in whole seconds."""
    limit = math.ceil(time.process_time() + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


if __name__ == "__main__":
    serve()
