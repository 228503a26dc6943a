"""The command line as a person meets it: a process of its own, with its exit code, its output and its complaints."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parent.parent
NOTHING: Mapping[str, str] = {}
#: Seconds after which what hangs is given up: so many that nothing else takes them, however busy the machine is.
PATIENCE = 20 * 60.0


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
    return {**os.environ, **plain, **changes}


def attnlab(*arguments: str | Path, cwd: Path, env: Mapping[str, str] = NOTHING) -> Ended:
    """Run the command in `cwd`; stdin is empty. UTF-8 is decoded, and what is none stands as "\\xff"."""
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


def printed_json(*arguments: str | Path, cwd: Path) -> Any:
    """What a command that succeeds prints with --json."""
    ended = attnlab(*arguments, "--json", cwd=cwd)
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
