"""A server that runs programs in forks of a process that has everything imported: 30 ms a run instead of 500.

It reads one request (JSON) a line on stdin and answers one line on stdout. A fork that is ready waits until strace has
hold of it, so that the n-th call is the program's own n-th, and not one of the interpreter's start.
"""

import ctypes
import gc
import importlib
import io
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.patience import PATIENCE

#: What a command may import on its way, so that no fork imports it again.
IMPORTED = [
    *(f"attnlab.cli.{name}" for name in ("complexity", "config", "cost", "depth", "gradient", "lookup", "run")),
    *(f"attnlab.cli.{name}" for name in ("variance", "verify", "why", "output", "progress")),
    *("attnlab.files.points", "attnlab.files.manifests", "attnlab.files.stacks", "attnlab.show.terminal"),
    *("attnlab.show.encoding", "attnlab.show.figure_data", "attnlab.show.plots", "attnlab.experiments.lookup_figures"),
    *(
        "csv",
        "zipfile",
        "matplotlib.style",
        "matplotlib.backends.backend_agg",
        "matplotlib.backends.backend_svg",
        "numpy.random",
    ),
    "tests.faults.programs",
]
#: Exit code of a run that was interrupted before its program's first line.
EARLY = 99
#: Signals that wait until a fork's program begins.
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PR_SET_PTRACER, _ANYBODY = 0x59616D61, ctypes.c_ulong(-1)


class Zygote:
    """The server, and the way to ask it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        command = [sys.executable, "-m", "tests.faults.zygote"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=self.environment, text=True)

    def run(self, program: str, *arguments: str, **request: Any) -> int:
        """Run a program in a fork; its exit code, negative for a signal. See `_child` for what may be asked."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        asked = {"program": program, "arguments": arguments, **request}
        self.process.stdin.write(json.dumps(asked, default=str) + "\n")
        self.process.stdin.flush()
        answer: int = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        """End the server."""
        self.process.communicate(timeout=PATIENCE)


def serve() -> None:
    """Answer requests until stdin ends."""
    for name in IMPORTED:
        importlib.import_module(name)
    importlib.import_module("tests.faults.programs").pictures()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has it ignored
    gc.freeze()  # nothing of what is here is garbage that a fork should look for
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        ours, theirs = socket.socketpair()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        child = os.fork()
        if child == 0:
            ours.close()
            answers.close()  # or, failing at the child's end, it makes Python 3.13 complain as of the program's own
            _child(request, theirs)
        theirs.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        print(_watched(child, ours, request), file=answers, flush=True)


def _watched(child: int, line: socket.socket, request: Mapping[str, Any]) -> int:
    """Let the child go once it is ready and strace holds it, send it the signals asked for, and wait for its end."""
    line.recv(1)
    tracer = _attached(child, request["strace"]) if request.get("strace") else None
    line.sendall(b"g")
    line.close()
    status = _ended(child, list(request.get("signals", ())))
    if tracer is not None:
        tracer.communicate()
    return os.waitstatus_to_exitcode(status)


def _ended(child: int, signals: list[tuple[float, int]]) -> int:
    """Wait for the child's end; send it the signals asked for on the way, each so many seconds after the start."""
    begun = time.monotonic()
    while signals:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        while signals and time.monotonic() - begun >= signals[0][0]:
            os.kill(child, signals.pop(0)[1])
        time.sleep(0.001)
    return os.waitpid(child, 0)[1]


def _attached(child: int, options: Sequence[str]) -> "subprocess.Popen[str]":
    """strace, which has hold of the child."""
    tracer = subprocess.Popen(["strace", "-f", *options, "-p", str(child)], stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    said = tracer.stderr.readline()
    assert "attached" in said, said + tracer.stderr.read()
    return tracer


def _child(request: Mapping[str, Any], line: socket.socket) -> None:
    """The program, in the surroundings that the request describes: cwd, env, unset, out, err, file_size, arguments."""
    if request.get("strace"):
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANYBODY, 0, 0, 0)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)  # ends it
    os.chdir(request["cwd"])
    os.environ.update(request.get("env", {}))
    for name in request.get("unset", ()):
        os.environ.pop(name, None)
    _streams(request)
    sys.argv = ["attnlab", *request["arguments"]]
    from tests.faults import programs

    program = programs.PROGRAMS[request["program"]]
    line.sendall(b"r")
    line.recv(1)
    line.close()
    if "file_size" in request:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_size"], resource.RLIM_INFINITY))
    sys.exit(begun(program))


def begun(program: Callable[[], int]) -> int:
    """The program, stopped by what has waited for it as soon as it can be."""
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        return program()
    except KeyboardInterrupt:
        os._exit(EARLY)


def _streams(request: Mapping[str, Any]) -> None:
    """stdin is empty; stdout and stderr are files."""
    places = [("/dev/null", os.O_RDONLY), *((request[name], os.O_WRONLY | os.O_CREAT) for name in ("out", "err"))]
    for number, (path, flags) in enumerate(places):
        opened = os.open(path, flags, 0o666)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    encoding = request.get("encoding", "utf-8")
    sys.stdout = open(1, "w", encoding=encoding, errors="strict", closefd=False)  # noqa: SIM115
    unbuffered = io.FileIO(2, "w", closefd=False)
    sys.stderr = io.TextIOWrapper(unbuffered, encoding, "backslashreplace", write_through=True)
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr  # type: ignore[misc]  # as in a process that began with these


if __name__ == "__main__":
    serve()
