"""The command line as a person meets it: a process of its own, with its exit code, its output and its complaints.

It is forked of one that has everything imported, which takes a tenth of the time of a new one. Where the surroundings
are to be other than usual it is a new one, as are README's commands and those that a shell runs.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.faults.zygote import Zygote
from tests.patience import PATIENCE

ROOT = Path(__file__).parent.parent
NOTHING: Mapping[str, str] = {}
#: Surroundings of a new process in which sets have another order: what repeats itself there hangs on none.
ELSEWHERE: Mapping[str, str] = {"PYTHONHASHSEED": "1"}


def hear_signals() -> None:
    """Let this process and the commands that it starts be ended by signals, though nohup or a shell's & began it."""
    for number, usual in (
        (signal.SIGHUP, signal.SIG_DFL),
        (signal.SIGTERM, signal.SIG_DFL),
        (signal.SIGINT, signal.default_int_handler),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


class Ended(NamedTuple):
    """A command that has come to its end."""

    code: int
    out: str
    err: str


def environment(changes: Mapping[str, str] = NOTHING) -> dict[str, str]:
    """This process's variables, with a plain terminal of 80 columns, this checkout's attnlab, and one BLAS thread.

    Two of them wait for each other, many times as long as they work, where other tests run beside this one.
    """
    plain = {"COLUMNS": "80", "TERM": "dumb", "PYTHONUTF8": "1", "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    present = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    return {**present, **plain, **changes}


def attnlab(*arguments: str | Path, cwd: Path, env: Mapping[str, str] = NOTHING) -> Ended:
    """Run the command in `cwd`; stdin is empty. UTF-8 is decoded, and what is none stands as "\\xff"."""
    return (
        _forked("attnlab", *arguments, cwd=cwd)
        if environment(env) == _server().environment
        else _new(arguments, cwd, env)
    )


def stopped(number: int, step: int, *arguments: str | Path, cwd: Path) -> Ended:
    """Run the command, which gets a signal when so many steps of its work are done."""
    return _forked("stopped", str(step), str(int(number)), *arguments, cwd=cwd)


@cache
def _server() -> Zygote:
    """The process that commands are forked of; it ends when this one does."""
    server = Zygote(environment())
    atexit.register(server.close)
    return server


def _forked(program: str, *arguments: str | Path, cwd: Path) -> Ended:
    with TemporaryDirectory() as folder:
        places = {name: Path(folder) / name for name in ("out", "err")}
        code = _server().run(program, *map(str, arguments), cwd=cwd, **places)
        out, err = (place.read_text(encoding="utf-8", errors="backslashreplace") for place in places.values())
    return Ended(code, out, err)


def _new(arguments: tuple[str | Path, ...], cwd: Path, env: Mapping[str, str]) -> Ended:
    ended = subprocess.run(
        [sys.executable, "-m", "attnlab", *arguments],
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="backslashreplace",
        timeout=PATIENCE,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def error_line(ended: Ended, code: int) -> str:
    """The one line that a failed command says on stderr, after "attnlab: error: "; it printed nothing else."""
    assert (ended.code, ended.out) == (code, ""), ended
    assert ended.err.startswith("attnlab: error: "), ended.err
    assert ended.err.count("\n") == 1, ended.err
    assert ended.err.rstrip("\n").isprintable(), ended.err
    return ended.err.removeprefix("attnlab: error: ").rstrip("\n")


def printed_json(*arguments: str | Path, cwd: Path, env: Mapping[str, str] = NOTHING) -> Any:
    """What a command that succeeds prints with --json."""
    ended = attnlab(*arguments, "--json", cwd=cwd, env=env)
    assert (ended.code, ended.err) == (0, "")
    return json.loads(ended.out)


def weights_of(result: Any, head: int = 0) -> NDArray[Any]:
    """The attention matrix of one of a run's heads."""
    return np.array(result["attention"][head]["weights"])


def written(ended: Ended, cwd: Path) -> tuple[Path, set[str]]:
    """The directory that the last line of output names, and the files that it says are there."""
    assert ended.code in (0, 1), ended
    assert ended.err == ""
    folder, _, names = ended.out.splitlines()[-1].removeprefix("Written: ").partition("/ (")
    files = set()
    for name in names.removesuffix(")").split(", "):
        first, *endings = name.split(" ")  # "scores.png .svg .csv"
        files |= {first, *(first.rpartition(".")[0] + ending for ending in endings)}
    return cwd / folder, files
