"""Where a fault is caused: a directory with a home, a place for temporary files, and neighbours to leave alone."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.commands import ROOT
from tests.faults import oracle
from tests.faults.oracle import Complaint, Ended, Expected, Undisturbed
from tests.faults.zygote import Zygote

#: The run's directory in `Place.here`.
RUN = "o"


class Place:
    """A directory with everything that a run sees."""

    def __init__(self, base: Path, zygote: Zygote) -> None:
        self.base, self.zygote = base, zygote
        self.here, self.run = base / "here", base / "here" / RUN
        for folder in (self.here / "neighbour", base / "home", base / "tmp"):
            folder.mkdir(parents=True)
        for folder in (self.here, self.here / "neighbour", base / "home", base / "tmp"):
            (folder / ".run.json.00112233.tmp").write_text("another's")
            (folder / "run.json").write_text("another's")

    def surroundings(self) -> oracle.Snapshot:
        """All that is not the run's directory."""
        seen = oracle.snapshot(self.base / "home", self.base / "tmp", self.here)
        return {name: what for name, what in seen.items() if name != str(self.run) and f"{self.run}/" not in name}

    def ended(self, program: str, *arguments: str, **request: Any) -> Ended:
        """A run in this place."""
        out, err = self.base / "out", self.base / "err"
        for path in (out, err):
            path.write_bytes(b"")
        home = {"HOME": str(self.base / "home"), "TMPDIR": str(self.base / "tmp")}
        request = {"cwd": self.here, "out": out, "err": err, **request, "env": {**home, **request.get("env", {})}}
        code = self.zygote.run(program, *arguments, **request)
        return Ended(code, *(path.read_text(encoding="utf-8", errors="replace") for path in (out, err)))


@contextmanager
def server(base: Path) -> Iterator[Zygote]:
    """The process that runs are forked of; its own home is kept apart."""
    home = base / "server-home"
    home.mkdir()
    plain = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    zygote = Zygote({**os.environ, **plain, "HOME": str(home), "COLUMNS": "80", "TERM": "dumb"})
    try:
        yield zygote
    finally:
        zygote.close()


@contextmanager
def fresh(base: Path, zygote: Zygote, begun: Path | None = None) -> Iterator[Place]:
    """A place for one fault, gone afterwards. `begun`: a run's directory that it begins with a copy of."""
    folder = base / "place"
    shutil.rmtree(folder, ignore_errors=True)
    place = Place(folder, zygote)
    if begun is not None:
        shutil.copytree(begun, place.run)
    try:
        yield place
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def tried(
    place: Place, program: str, arguments: list[str], expected: Expected, undisturbed: Undisturbed, **request: Any
) -> list[Complaint]:
    """Run a program that will meet a fault; what was otherwise than promised, at once and after a resume."""
    around = place.surroundings()
    ended = place.ended(program, *arguments, **request)
    wrong = [
        *oracle.complaints(place.run, ended, expected, undisturbed),
        *oracle.outside(around, place.surroundings()),
    ]
    if program != "attnlab":
        wrong += taken_up(place, program, ended, undisturbed)
        wrong += oracle.outside(around, place.surroundings())
    return wrong


def taken_up(place: Place, program: str, ended: Ended, undisturbed: Undisturbed) -> list[Complaint]:
    """Take the run up again where there is one to take up; else begin it anew in the same directory."""
    names = oracle.contents(place.run)
    again = place.ended(program, "squares", "--resume" if "run.json" in names else "--out", RUN)
    if b'"status": "complete"' in names.get("run.json", b""):
        refused = again.code == 2 and "the run is complete; there is nothing to take up" in again.err
        return [] if refused else [Complaint(False, f"a complete run was taken up: {again}")]
    return [*oracle.after_resume(place.run, ended.out, again, undisturbed)]
