"""strace: whether it works here, which calls a run makes in the store, and how to let the n-th of them fail."""

import functools
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

#: The calls that the store makes.
CALLS = ("write", "fsync", "rename", "openat", "close", "mkdir", "ftruncate", "unlink", "flock")
_LINE = re.compile(r"\d+ +(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+|\?)")


@functools.cache
def missing() -> str | None:
    """Why no call can be made to fail here; None: it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = ["strace", "-o", "/dev/null", "-e", "inject=fsync:error=EIO:when=1", "true"]
    ended = subprocess.run(tried, capture_output=True, text=True, check=False)
    return f"strace does not work here: {ended.stderr.strip()}" if ended.returncode else None


class Call(NamedTuple):
    """A system call of a run's."""

    name: str
    #: as strace shows them: 4</home/x/o/run.json>, "…", 416
    arguments: str
    failed: bool
    #: the how manieth of this name it is
    number: int


def recording(log: Path) -> list[str]:
    """strace's options to write down every call of the store's."""
    return ["-y", "-s", "200", "-o", str(log), "-e", f"trace={','.join(CALLS)}"]


def recorded(log: Path) -> list[Call]:
    """The calls that were written down."""
    calls, numbers = [], dict.fromkeys(CALLS, 0)
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        match = _LINE.match(line)
        if match is not None:
            name = match["name"]
            numbers[name] += 1
            calls.append(Call(name, match["arguments"], match["result"].startswith("-"), numbers[name]))
    return calls


def of_the_store(calls: Sequence[Call], run: Path, out: Path) -> list[Call]:
    """Those on the run's directory, what is in it, or stdout."""
    places = (f"{run}", f'"{run.name}', f"1<{out}>")
    return [call for call in calls if any(place in call.arguments for place in places)]


def failing(call: str, number: int, fault: str, *, on: bool = False) -> list[str]:
    """strace's options to let the n-th call of a name meet a fault (error=EIO, signal=KILL); `on`: and all later."""
    when = f"{number}+" if on else str(number)
    return ["-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:{fault}:when={when}"]
