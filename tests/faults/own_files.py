"""A dead run's directory that somebody has changed: links, giants and half-right files under its own names.

A resume refuses it, and nothing around it is another afterwards, nor in it: of a run whose points are refused, run.json
says "interrupted" once more, and what was half written when it died is gone.
"""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.faults import oracle
from tests.faults.oracle import Complaint, Expected, Undisturbed
from tests.faults.place import RUN, fresh
from tests.faults.suite import Store

#: Bytes of a giant; sparse, it takes no room.
GIANT = 2**40
POINTS, MANIFEST = "points.jsonl", "run.json"
#: What a run writes before it comes to its points.
ITS_OWN = rf"{RUN}(/run\.json|/\..*\.tmp)?"


class Own(NamedTuple):
    """What is done to a dead run's directory, and what must be seen of a resume."""

    name: str
    #: takes the run's directory, and one beside it
    change: Callable[[Path, Path], object]
    code: int
    #: of the error line, a regular expression
    said: str


def linked(name: str, *, hard: bool = False, there: bool = True) -> Callable[[Path, Path], None]:
    """The file stands elsewhere, and its name is a link to it."""

    def change(run: Path, beside: Path) -> None:
        if there:
            shutil.copy(run / name, beside / name)
        (run / name).unlink()
        if hard:
            os.link(beside / name, run / name)
        else:
            (run / name).symlink_to(f"../{beside.name}/{name}")

    return change


def replaced(name: str, make: Callable[[Path], object]) -> Callable[[Path, Path], None]:
    """Something else stands under its name."""

    def change(run: Path, beside: Path) -> None:
        (run / name).unlink()
        make(run / name)

    return change


def giant(path: Path) -> None:
    """Zeros, and more of them than any memory holds."""
    with open(path, "wb") as file:
        file.truncate(GIANT)


def grown(run: Path, beside: Path) -> None:
    """points.jsonl with as many zeros behind it."""
    os.truncate(run / POINTS, GIANT)


def edited(**changes: object) -> Callable[[Path, Path], None]:
    """run.json with other values; ... takes one away."""

    def change(run: Path, beside: Path) -> None:
        document = {**json.loads((run / MANIFEST).read_bytes()), **changes}
        kept = {name: value for name, value in document.items() if value is not ...}
        (run / MANIFEST).write_text(json.dumps(kept))

    return change


LINK = r"o/{}: a symbolic link; expected .*"
DEVICE = r"o/{}: a pipe or a device; expected .*"
OWN = [
    Own("points linked", linked(POINTS), 3, LINK.format(POINTS)),
    Own("points linked to nothing", linked(POINTS, there=False), 3, LINK.format(POINTS)),
    Own("points with a name elsewhere", linked(POINTS, hard=True), 3, r"o/points\.jsonl: a file of 2 names .*"),
    Own("points a pipe", replaced(POINTS, os.mkfifo), 3, DEVICE.format(POINTS)),
    Own("points a directory", replaced(POINTS, Path.mkdir), 3, r"o/points\.jsonl: a directory; expected .*"),
    Own("points of zeros", replaced(POINTS, giant), 3, r"o/points\.jsonl: line 1 is no JSON object of at most .*"),
    Own("points and zeros", grown, 3, r"o/points\.jsonl: line \d+ is no JSON object of at most .*"),
    Own("notes for points", replaced(POINTS, lambda path: path.write_text("notes")), 3, r"o/points\.jsonl: line 1 .*"),
    Own("run.json linked", linked(MANIFEST), 3, LINK.format(MANIFEST)),
    Own("run.json linked to nothing", linked(MANIFEST, there=False), 3, LINK.format(MANIFEST)),
    Own("run.json a pipe", replaced(MANIFEST, os.mkfifo), 3, DEVICE.format(MANIFEST)),
    Own("run.json a directory", replaced(MANIFEST, Path.mkdir), 3, r"o/run\.json: is a directory; expected .*"),
    Own("run.json of zeros", replaced(MANIFEST, giant), 4, r"o/run\.json: [\d,]+ bytes of JSON, .* --max-memory"),
    Own("run.json empty", replaced(MANIFEST, Path.touch), 3, r"o/run\.json: not JSON .*"),
    Own("run.json gone", lambda run, beside: (run / MANIFEST).unlink(), 2, r"--resume o: no run\.json; expected .*"),
    Own("no time it began at", edited(started=...), 3, r"o/run\.json: started: missing; expected .*"),
    Own("no command", edited(command_line=["attnlab"]), 2, r"--resume o: a run of nothing; expected one of squares"),
    Own("no status", edited(status=["running"]), 3, r"o/run\.json: status: .*; expected running, .*"),
    Own("a number without end", edited(started=10**4000), 3, r"o/run\.json: started: '1000.*; expected .*"),
]


def own_file(here: Store, own: Own) -> list[Complaint]:
    """Change a dead run's directory and take it up; what was otherwise than promised."""
    with fresh(here.base, here.zygote, here.dead) as place:
        own.change(place.run, place.here / "neighbour")
        before = state(place.here)
        ended = place.ended("squares", "squares", "--resume", RUN)
        after = state(place.here)
        expected = Expected(codes=frozenset({own.code}), line=own.said)
        wrong = oracle.complaints(place.here / "none", ended, expected, Undisturbed())
        changed = sorted(name for name in {*before} | {*after} if before.get(name) != after.get(name))
        if POINTS in own.said.replace("\\", ""):
            changed = [name for name in changed if not re.fullmatch(ITS_OWN, name)]
        return [*wrong, *(Complaint(True, f"{name} is not as it was") for name in changed)]


def state(folder: Path) -> dict[str, tuple[int, ...]]:
    """Everything in a folder, by what a write would change; links are not followed, and nothing is read."""
    found = {str(path.relative_to(folder)): path.lstat() for path in folder.rglob("*")}
    return {name: (s.st_mode, s.st_size, s.st_mtime_ns, s.st_nlink) for name, s in found.items()}
