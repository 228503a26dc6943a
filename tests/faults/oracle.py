"""The one oracle for every fault: what a run left behind, what it said, and what it touched.

It shares no code with the package: its own readers open the files.
"""

import csv
import hashlib
import io
import json
import re
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tests.faults.zygote import EARLY

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp", re.DOTALL)
NOTE = re.compile(r"attnlab: .*points\.jsonl: its last line was torn, and is dropped: one measurement is lost")
#: Files whose bytes differ from run to run.
VOLATILE = ("run.json", "points.jsonl")


class Ended(NamedTuple):
    """A run that has come to its end: its exit code (a signal's is negative) and what it printed."""

    code: int
    out: str
    err: str


class Complaint(NamedTuple):
    """What should not be. A loss: something that was saved is gone, torn, or missing under exit code 0."""

    loss: bool
    text: str


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What must be seen of a fault."""

    codes: frozenset[int]
    #: of the one error line after "attnlab: error: ", a regular expression; "": stderr is empty
    line: str = ""
    #: stderr could not be written either
    mute: bool = False
    #: nothing can be written from some moment on: run.json cannot say that the run was interrupted
    stuck: bool = False


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """A run that met no fault."""

    #: name -> bytes
    files: Mapping[str, bytes] = field(default_factory=dict)
    #: run.json as it was found; b"": there was none
    found: bytes = b""
    #: whether every run's bytes are these, but for the `VOLATILE`
    repeats: bool = True


Snapshot = Mapping[str, tuple[int, str]]


def snapshot(*roots: Path) -> Snapshot:
    """Every file and directory below the roots: its time and its content's hash."""
    found = {}
    for path in (below for root in roots for below in [root, *sorted(root.rglob("*"))]):
        regular = path.is_file() and not path.is_symlink()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if regular else ""
        found[str(path)] = (path.lstat().st_mtime_ns if regular else 0, content)
    return found


def contents(run: Path) -> dict[str, bytes]:
    """Every file under a final name."""
    return {path.name: path.read_bytes() for path in files(run) if not TEMPORARY.fullmatch(path.name)}


def files(run: Path) -> list[Path]:
    """Every file of a run."""
    return sorted(run.iterdir()) if run.is_dir() else []


def complaints(run: Path, ended: Ended, expected: Expected, undisturbed: Undisturbed) -> list[Complaint]:
    """What a run that met a fault did otherwise than promised, its surroundings apart."""
    return [
        *_said(ended, expected),
        *_whole(run, undisturbed),
        *_kept(run, ended.out),
        *_status(run, ended.code, expected, undisturbed),
    ]


def after_resume(run: Path, before: str, ended: Ended, undisturbed: Undisturbed) -> Iterator[Complaint]:
    """What a run that was taken up again lacks. `before`: what it said on stdout before."""
    if ended.code != 0:
        yield Complaint(True, f"the resume ends with {ended.code}: {ended.err!r}")
    yield from _whole(run, undisturbed)
    yield from _kept(run, before + ended.out)
    if {path.name for path in files(run)} != {*undisturbed.files}:
        yield Complaint(True, f"after the resume there are {[path.name for path in files(run)]}")
    if _manifest(run).get("status") != "complete":
        yield Complaint(True, "after the resume run.json does not say complete")


def outside(before: Snapshot, after: Snapshot) -> Iterator[Complaint]:
    """What changed around a run."""
    for name in sorted({*before} | {*after}):
        if before.get(name) != after.get(name):
            yield Complaint(False, f"{name} was written, outside the run's directory")


def _said(ended: Ended, expected: Expected) -> Iterator[Complaint]:
    if ended.code not in expected.codes:
        yield Complaint(ended.code == 0, f"exit code {ended.code}; expected {sorted(expected.codes)}: {ended.err!r}")
    if "Traceback" in ended.err + ended.out or "Exception ignored" in ended.err:
        yield Complaint(False, f"a traceback: {ended.err!r}")
    lines = [line for line in ended.err.split("\n") if line and not NOTE.fullmatch(line)]
    if not lines and (expected.mute or ended.code in (0, 1, 141, EARLY) or ended.code < 0):
        return
    if expected.mute:
        return  # what came through of it may be cut short
    if len(lines) != 1 or not re.fullmatch("attnlab: error: " + expected.line, lines[0]) or not lines[0].isprintable():
        yield Complaint(False, f"stderr {ended.err!r}; expected one line like {expected.line!r}")


def _whole(run: Path, undisturbed: Undisturbed) -> Iterator[Complaint]:
    for name, data in contents(run).items():
        if undisturbed.repeats and name not in VOLATILE and data != undisturbed.files.get(name):
            yield Complaint(True, f"{name} is torn: {len(data)} bytes")
        try:
            READERS[name.rpartition(".")[2]](data)
        except Exception as error:
            yield Complaint(True, f"{name} cannot be read: {error!r}")


def _kept(run: Path, out: str) -> Iterator[Complaint]:
    """Every point that was said to be kept must be there, once, in order."""
    said = [int(n) for n in re.findall(r"^kept (\d+)\n", out, re.MULTILINE)]
    kept = [point for point in points(run) if "n" in point]
    if [point["n"] for point in kept] != [*range(len(kept))] or len(kept) < len(said):
        yield Complaint(True, f"points {said} were said to be kept; there are {kept}")


def _status(run: Path, code: int, expected: Expected, undisturbed: Undisturbed) -> Iterator[Complaint]:
    status = _manifest(run).get("status")
    if status == "complete":
        if {*contents(run)} != {*undisturbed.files}:
            yield Complaint(True, f"run.json says complete, and there are {[*contents(run)]}")
    elif code in (0, 1) and undisturbed.files:
        yield Complaint(True, f"exit code {code}, and run.json says {status}")
    elif (run / "run.json").exists() and (run / "run.json").read_bytes() == undisturbed.found:
        return  # nothing had begun
    elif status == "running" and code >= 0 and not expected.stuck:
        yield Complaint(False, "run.json says running, and nothing runs")
    elif status is None and {*contents(run)}:
        yield Complaint(False, f"there is no run.json, and there are {[*contents(run)]}")


def _manifest(run: Path) -> dict[str, Any]:
    path = run / "run.json"
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        return document
    except (OSError, ValueError):
        return {}


def points(run: Path) -> list[dict[str, Any]]:
    """The whole lines of points.jsonl; a torn last one counts for nothing."""
    path = run / "points.jsonl"
    *lines, _ = path.read_bytes().split(b"\n") if path.exists() else [b""]
    return [json.loads(line) for line in lines]


def _read_csv(data: bytes) -> None:
    rows = [*csv.reader(io.StringIO(data.decode()))]
    assert data.endswith(b"\n")
    assert len({len(row) for row in rows}) == 1


def _read_npz(data: bytes) -> None:
    assert zipfile.ZipFile(io.BytesIO(data)).testzip() is None
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        assert [arrays[name] for name in arrays]


def _read_points(data: bytes) -> None:
    for line in data.split(b"\n")[:-1]:
        json.loads(line)


READERS: Mapping[str, Callable[[bytes], object]] = {
    "json": json.loads,
    "csv": _read_csv,
    "npz": _read_npz,
    "png": lambda data: Image.open(io.BytesIO(data)).load(),
    "svg": ElementTree.fromstring,
    "jsonl": _read_points,
}
