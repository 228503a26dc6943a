"""The power fails after each call of a run: what a disk that keeps only what was synced would hold.

From a recording of the run's calls, and by the strictest reading of POSIX: bytes are there once their file was
fsynced, a name once its directory was; what was not synced may be there or not. A rename may reach the disk before the
bytes of the file that it names, which is how a file comes to be empty after a crash.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.oracle import TEMPORARY, Complaint
from tests.faults.tracing import Call

_OPENED = re.compile(r'"(?P<path>[^"]+)", (?P<flags>[A-Z_|]+)')
_WRITTEN = re.compile(r'\d+<(?P<path>[^>]+)>, "(?P<text>.*)"')
_SYNCED = re.compile(r"\d+<(?P<path>[^>]+)>")
_RENAMED = re.compile(r'"(?P<old>[^"]+)", "(?P<new>[^"]+)"')
POINTS = "points.jsonl"


@dataclass
class Disk:
    """What of a run's files is certain, and what is not."""

    #: names of files with bytes that are not yet synced
    unsynced: set[str] = field(default_factory=set)
    #: final names that may stand on the disk for bytes that are not there
    torn: set[str] = field(default_factory=set)
    #: names made or renamed to since the directory was last synced
    unnamed: set[str] = field(default_factory=set)
    #: lines of points.jsonl written, and those of them that are certain
    lines: int = 0
    certain: int = 0
    #: points that stdout was told of
    told: int = 0

    def take(self, call: Call, run: Path) -> None:
        """One more call."""
        if call.failed:
            return
        handle = getattr(self, f"_{call.name}", None)
        if handle is not None:
            handle(call.arguments, run)

    def wrong(self) -> Iterator[Complaint]:
        """What would be lost if the power failed now."""
        for name in sorted(self.torn):
            yield Complaint(True, f"{name} may be torn: its name can be on the disk before its bytes")
        safe = 0 if POINTS in self.unnamed else self.certain
        if self.told > max(safe - 1, 0):  # the first line is no point
            yield Complaint(True, f"{self.told} points were said to be kept; {safe} lines are certain")

    def _openat(self, arguments: str, run: Path) -> None:
        opened = _OPENED.search(arguments)
        if opened is None or "O_CREAT" not in opened["flags"]:
            return
        name = Path(opened["path"]).name
        self.unnamed.add(name)
        if "O_TRUNC" in opened["flags"] and not TEMPORARY.fullmatch(name):
            self.torn.add(name)

    def _write(self, arguments: str, run: Path) -> None:
        written = _WRITTEN.match(arguments)
        if written is None:
            return
        path = Path(written["path"])
        if path.parent != run:
            self.told += written["text"].count("kept ") if arguments.startswith("1<") else 0
            return
        self.unsynced.add(path.name)
        self.lines += written["text"].count(r"\n") if path.name == POINTS else 0

    def _fsync(self, arguments: str, run: Path) -> None:
        synced = _SYNCED.match(arguments)
        if synced is None:
            return
        path = Path(synced["path"])
        if path == run:
            self.unnamed.clear()
            return
        self.unsynced.discard(path.name)
        self.torn.discard(path.name)
        if path.name == POINTS:
            self.certain = self.lines

    def _rename(self, arguments: str, run: Path) -> None:
        renamed = _RENAMED.match(arguments)
        if renamed is None:
            return
        old, new = Path(renamed["old"]).name, Path(renamed["new"]).name
        self.unnamed.discard(old)
        self.unnamed.add(new)
        if old in self.unsynced:
            self.torn.add(new)


def power_failures(calls: Sequence[Call], run: Path) -> list[list[Complaint]]:
    """For each call of a recording of a new run's, what would be lost if the power failed right after it."""
    disk, found = Disk(), []
    for call in calls:
        disk.take(call, run)
        found.append([*disk.wrong()])
    if disk.unnamed:
        found[-1].append(Complaint(True, f"{sorted(disk.unnamed)} are not certain at the end"))
    return found
