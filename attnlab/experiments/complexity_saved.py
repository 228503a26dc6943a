"""What an interrupted run leaves of its timings, so that they need not be taken again."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from attnlab.errors import InputError
from attnlab.files.opening import shown
from attnlab.files.points import PointsFile
from attnlab.measure.peak import PeakBytes

SCHEMA = "attnlab.complexity-points/1"


class SavedPoints:
    """Timings and peaks by key: those found in a points file, and those that are added, which go there at once."""

    def __init__(self, file: PointsFile | None = None) -> None:
        """Take up the file's points.

        Raises:
            InputError: one of them is of another kind than is written here.
        """
        self.file = file
        #: key -> seconds per call
        self.seconds: dict[str, tuple[float, ...]] = {}
        self.peaks: dict[str, PeakBytes] = {}
        for number, point in enumerate([] if file is None else file.points, start=2):
            if not self._take(dict(point)):
                where = shown(file.path) if file else ""
                raise InputError(f"{where}: line {number} is no timing and no peak; expected what a run has written")

    @property
    def count(self) -> int:
        """How many timings and peaks are kept."""
        return 0 if self.file is None else len(self.file.points)

    def _take(self, point: dict[str, Any]) -> bool:
        """Whether the point could be taken up."""
        match point:
            case {"kind": "time", "key": str(key), "seconds": float(seconds)} if 0 < seconds < math.inf:
                self.seconds[key] = (*self.seconds.get(key, ()), seconds)
            case {"kind": "memory", "key": str(key), "traced": traced, "resident": resident, "note": str(note)} if {
                type(traced),
                type(resident),
            } <= {int, type(None)}:
                self.peaks[key] = PeakBytes(traced, resident, note)
            case _:
                return False
        return True

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
