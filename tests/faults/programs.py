"""What the faults are caused in: the command line itself, and a small experiment that uses every part of the store.

The small experiment's results are the same every time, so that what a fault left can be compared byte by byte.
"""

import functools
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, tzinfo
from pathlib import Path

import numpy as np

from attnlab import records
from attnlab.__main__ import main
from attnlab.cli import app, output
from attnlab.cli.failures import guarded
from attnlab.cli.progress import Progress
from attnlab.errors import WriteError
from attnlab.files import points, runs
from attnlab.files.documents import csv_bytes, npz_bytes
from attnlab.files.points import NAME, PointsFile

POINTS = 3
#: Bytes that run.json may take.
ROOM = 2**24
HEADER = {"schema": "attnlab.squares-points/1", "points": POINTS}
FIGURE = records.Figure(
    name="squares",
    drawable=records.Grid(title="Squares", values=np.eye(2)),
)


@functools.cache
def pictures() -> dict[str, bytes]:
    """Drawn once, by the server: the store has no part in it."""
    from attnlab.show.plots import figure_bytes

    return {f"squares.{kind}": figure_bytes(FIGURE, kind) for kind in output.FORMATS}


def squares() -> int:
    """`attnlab squares --out DIR` or `--resume DIR`: so many squares, each said on stdout once it is kept."""
    app.run_app = squares_app
    return main()


def squares_app(arguments: list[str]) -> int:
    """In the place of attnlab's own commands."""
    _, option, folder = arguments
    place = Path(folder)
    out, resume = (place, None) if option == "--out" else (None, place)
    wishes = output.Wishes(command="squares", json=False, quiet=True, figures=False, out=out)
    return guarded(lambda: measured(wishes) if resume is None else resumed(resume, wishes), debug=False)


def resumed(folder: Path, wishes: output.Wishes) -> int:
    """The experiment, where it was interrupted."""
    with output.taken_up(folder, "squares", max_bytes=ROOM) as (directory, _):
        return measured(replace(wishes, resume=directory))


def measured(wishes: output.Wishes) -> int:
    """The experiment."""
    rows = list[tuple[int, int]]()
    with output.run_directory(wishes, {"points": POINTS}, 0, {}) as directory:
        assert directory is not None
        with PointsFile(
            directory.path, HEADER, lambda point, where: rows.append((point["n"], point["square"]))
        ) as file:
            for n in range(file.count, POINTS):
                file.append({"n": n, "square": n * n})
                rows.append((n, n * n))
                print(f"kept {n}", flush=True)
            arrays = npz_bytes({"squares": np.array(rows, float)})
            files = {"result.csv": csv_bytes(("n", "square"), rows), "arrays.npz": arrays, **pictures()}
            output.deliver(
                wishes, directory, document={"rows": rows}, report=unseen, figures=tuple, files=files, kept=[NAME]
            )
    return 0


def unseen() -> records.Report:
    """Nobody asks for it: the experiment is quiet."""
    raise AssertionError


def naive() -> int:
    """The same by a writer that opens the final name and writes, and a points file whose lines wait in a buffer."""
    runs.write_whole = write_naively
    PointsFile._write = append_naively  # type: ignore[method-assign, assignment]
    return squares()


def unsynced() -> int:
    """The same, with files renamed and points written before they are on disk."""
    runs.os = points.os = Unsynced()  # type: ignore[attr-defined, assignment]
    return squares()


def jumping() -> int:
    """The small experiment, on a machine whose wall clock jumps."""
    runs.datetime = Jumping  # type: ignore[attr-defined]
    return squares()


class Jumping(datetime):
    """Ten years earlier at each look."""

    looks = 0

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Jumping":
        """The time, says the clock."""
        cls.looks += 1
        return cls(2100 - 10 * cls.looks, 1, 1, tzinfo=tz)


def write_naively(path: Path, data: bytes) -> None:
    """What most programs do."""
    try:
        path.write_bytes(data)
    except OSError as error:
        raise WriteError(f"{path}: could not be written: {error.strerror}") from error


def append_naively(file: PointsFile, entry: Mapping[str, object]) -> None:
    """Buffered, as `open(path, "a")` is."""
    if not hasattr(file, "buffered"):
        file.buffered = open(file.path, "a", encoding="utf-8")  # type: ignore[attr-defined] # noqa: SIM115
    file.buffered.write(json.dumps(entry) + "\n")  # type: ignore[attr-defined]


class Unsynced:
    """The module os, whose fsync does nothing."""

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def fsync(self, descriptor: int) -> None:
        """Do nothing."""


def stopped() -> int:
    """attnlab, which gets a signal at a step of its work: `N SIGNAL` stand before its own arguments."""
    step, number = (int(sys.argv.pop(1)) for _ in range(2))
    advance = Progress.advance

    def advanced(bar: Progress) -> None:
        advance(bar)
        if bar.done == step:
            signal.raise_signal(number)

    Progress.advance = advanced  # type: ignore[method-assign, assignment]
    return main()


PROGRAMS: dict[str, Callable[[], int]] = {
    "attnlab": main,
    "stopped": stopped,
    "squares": squares,
    "naive": naive,
    "unsynced": unsynced,
    "jumping": jumping,
}
