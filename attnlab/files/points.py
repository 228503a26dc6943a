"""points.jsonl: what a long experiment has measured so far, each point on disk before it counts.

The first line says what two runs must share for their points to go together; every other line is a point. Whoever has
the file open holds its lock, so that of two resumes one wins. A last line that a kill left torn never counted: it goes.
"""

import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from attnlab.errors import InputError, UsageError, WriteError
from attnlab.files.opening import as_text, quoted, shown

NAME = "points.jsonl"


class PointsFile:
    """A run's points.jsonl, locked and open for appending; for use in a `with` statement.

    Attributes:
        points: those that were there (a resumed run) and those appended since.
        notes: sentences for stderr: "… its last line was torn, and is dropped".
    """

    points: list[Mapping[str, object]]
    notes: list[str]

    def __init__(self, folder: Path, experiment: Mapping[str, object]) -> None:
        """Make FOLDER/points.jsonl, or take up the one that is there.

        Args:
            experiment: what two runs must share for their points to go together, a "schema" among it; flat, plain JSON.

        Raises:
            UsageError: another run holds it, or it is of another experiment: the text names both values.
            InputError: it is not a file of points.
            WriteError: it could not be written.
        """
        self.path = folder / NAME
        self.points, self.notes = [], []
        self._descriptor = _opened(self.path)
        try:
            _lock(self._descriptor, self.path)
            self._length = 0
            if not self._take_up(experiment):
                self._write(experiment)
                _sync_directory(folder)
        except BaseException:
            self.close()
            raise

    def append(self, point: Mapping[str, object]) -> None:
        """Write a point, and return when it is on disk.

        Raises:
            WriteError: it is not, and does not count; what was there is whole.
            ValueError: a number is not finite, which JSON cannot hold.
        """
        self._write(point)
        self.points.append(point)

    def close(self) -> None:
        """Let another have it. Closing twice does nothing."""
        if self._descriptor >= 0:
            with suppress(OSError):  # every point is on disk already
                os.close(self._descriptor)  # the lock goes with it
            self._descriptor = -1

    def __enter__(self) -> "PointsFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take_up(self, experiment: Mapping[str, object]) -> bool:
        """Read what is there, and cut off a torn end; False where not even the first line is whole."""
        data = _content(self._descriptor, self.path)
        lines = data.split(b"\n")
        torn, entries = lines.pop(), list[Mapping[str, object]]()
        for number, line in enumerate(lines, 1):
            entry = _parsed(line)
            if entry is not None:
                entries.append(entry)
            elif 1 < number == len(lines):  # after a power failure: the length was on disk, the content was not
                torn = line + b"\n" + torn
            else:
                raise InputError(f"{shown(self.path)}: line {number} is no JSON object; expected a point in each line")
        if torn:
            self._cut(len(data) - len(torn))
            self.notes.append(f"{shown(self.path)}: its last line was torn, and is dropped: one measurement is lost")
        self._length = len(data) - len(torn)
        if not entries:
            return False
        _require_same(entries[0], experiment, self.path)
        self.points = entries[1:]
        return True

    def _write(self, entry: Mapping[str, object]) -> None:
        line = json.dumps(entry, ensure_ascii=True, allow_nan=False).encode() + b"\n"
        try:
            left = memoryview(line)
            while left:
                left = left[os.write(self._descriptor, left) :]
            os.fsync(self._descriptor)
        except OSError as error:
            with suppress(OSError):  # what was written of the line goes; if it cannot, the next reader drops it
                os.ftruncate(self._descriptor, self._length)
            raise WriteError(f"{shown(self.path)}: could not be written: {error.strerror or error}") from error
        self._length += len(line)

    def _cut(self, length: int) -> None:
        try:
            os.ftruncate(self._descriptor, length)
            os.fsync(self._descriptor)
        except OSError as error:
            raise WriteError(f"{shown(self.path)}: could not be cut: {error.strerror or error}") from error


def _opened(path: Path) -> int:
    """A descriptor to read and to append by; the file is made if it is not there."""
    try:
        # O_NONBLOCK: a pipe would otherwise wait for its other end before it can be seen to be one.
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(path, flags, 0o666)
    except IsADirectoryError:
        raise InputError(f"{shown(path)}: a directory; expected a file of points") from None
    except OSError as error:
        raise WriteError(f"{shown(path)}: could not be opened: {error.strerror or error}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{shown(path)}: a pipe or a device; expected a file of points")
    return descriptor


def _lock(descriptor: int, path: Path) -> None:
    """Hold the file until it is closed, or refuse. Without fcntl (Windows) nothing is held."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(f"{shown(path)}: another attnlab is at work on it; expected one at a time") from None
    except OSError:  # a file system without locks
        return


def _content(descriptor: int, path: Path) -> bytes:
    try:
        with os.fdopen(os.dup(descriptor), "rb") as stream:
            stream.seek(0)
            return stream.read()
    except OSError as error:
        raise InputError(f"{shown(path)}: {error.strerror or error}; expected a file that can be read") from error


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The line's object; None for anything else."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _require_same(found: Mapping[str, object], wanted: Mapping[str, object], path: Path) -> None:
    """Refuse points that were measured otherwise; the text names the first difference."""
    if "schema" not in found:
        raise InputError(f"{shown(path)}: its first line names no schema; expected what its points were measured with")
    wanted = json.loads(json.dumps(wanted, allow_nan=False))  # as it would be read back: lists for tuples
    for name in [*wanted, *(name for name in found if name not in wanted)]:
        if found.get(name) != wanted.get(name):
            theirs, ours = (quoted(as_text(one.get(name)), limit=60) for one in (found, wanted))
            raise UsageError(
                f"{shown(path)}: measured with {quoted(name)[1:-1]} {theirs}, and this run has {ours}; "
                "expected the same, so that the points go together"
            )


def _sync_directory(path: Path) -> None:
    """Make the new name itself durable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise WriteError(f"{shown(path)}: could not be written: {error.strerror or error}") from error
