"""What an interrupted run leaves of its timings, so that they need not be taken again."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from attnlab.errors import InputError
from attnlab.files.fields import TEXT, Kind, maybe, number, one_of, require, whole
from attnlab.files.opening import quoted
from attnlab.files.points import PointsFile
from attnlab.measure.peak import PeakBytes

SCHEMA = "attnlab.complexity-points/1"
#: More bytes than any machine has, and calls than any clock could tell apart.
_BITS = 62
_BYTES = maybe(whole(0, _BITS))
#: What a point holds, by its kind. No clock sees less time than the least here, and no run lasts as long as the most.
POINTS: Mapping[str, Mapping[str, Kind]] = {
    "time": {"kind": TEXT, "key": TEXT, "seconds": number(1e-12, 1e12), "calls": whole(1, _BITS)},
    "memory": {"kind": TEXT, "key": TEXT, "traced": _BYTES, "resident": _BYTES, "note": TEXT},
}
_KIND = {"kind": one_of(POINTS)}


class SavedPoints:
    """Timings and peaks by key: those that an earlier run left, and those that are added, which go to a file at once.

    Args:
        timings: key -> how many timings of it the run takes; besides, each key's memory is measured once.
    """

    def __init__(self, timings: Mapping[str, int] | None = None) -> None:
        #: where they go; None: nowhere
        self.file: PointsFile | None = None
        #: key -> seconds per call, as an earlier run left them
        self.seconds: dict[str, list[float]] = {}
        self.peaks: dict[str, PeakBytes] = {}
        #: (kind, key) -> how many points of it may still be taken up
        self._left = Counter[tuple[str, str]]()
        for key, count in (timings or {}).items():
            self._left.update({("time", key): count, ("memory", key): 1})

    @property
    def count(self) -> int:
        """How many timings and peaks are kept."""
        return 0 if self.file is None else self.file.count

    def take(self, point: Mapping[str, Any], where: str) -> None:
        """Take up a point that an earlier run left.

        Raises:
            InputError: it is of another kind than is written here, or one more than the run takes.
        """
        kind = require(point, _KIND, where, others=True)["kind"]
        found = require(point, POINTS[kind], where)
        key = found["key"]
        if not self._left[kind, key]:
            raise InputError(f"{where}: {kind} of {quoted(key)}: one too many; expected no more than the run takes")
        self._left[kind, key] -= 1
        if kind == "time":
            self.seconds.setdefault(key, []).append(found["seconds"])
        else:
            self.peaks[key] = PeakBytes(found["traced"], found["resident"], found["note"])

    def keep_timing(self, key: str, seconds: float, calls: int) -> None:
        """One more timing: on disk before it counts."""
        self._append({"kind": "time", "key": key, "seconds": seconds, "calls": calls})

    def keep_peak(self, key: str, peak: PeakBytes) -> None:
        """One measurement of memory."""
        self._append({"kind": "memory", "key": key, **peak._asdict()})
        self.peaks[key] = peak

    def _append(self, point: Mapping[str, object]) -> None:
        if self.file is not None:
            self.file.append(point)


def experiment(settings: Mapping[str, object], *, cpu: str, numpy: str) -> dict[str, object]:
    """What two runs must share for their points to go together; lists are told as text."""
    flat = {
        name: " ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value
        for name, value in settings.items()
    }
    return {"schema": SCHEMA, "cpu": cpu, "numpy": numpy, **flat}
