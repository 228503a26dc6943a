"""points.jsonl: what a long experiment has measured so far, each point on disk before it counts.

The first line says what two runs must share for their points to go together; every other line is a point. Whoever has
the file open holds its lock, so that of two resumes one wins. A last line that a kill left torn never counted: it goes.

The file is written in place, so nothing is cut or added before its first line has shown whose it is, and no link is
followed to another directory's file.
"""

import errno
import json
import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from attnlab.errors import InputError, UsageError, WriteError
from attnlab.files.opening import as_text, parse_json, quoted, shown

NAME = "points.jsonl"
#: No line that is written here is longer than this, so none that is longer is read.
LONGEST = 2**16
#: Called with each point that is there, and with its place as complaints have it.
Take = Callable[[Mapping[str, Any], str], None]
#: Why a name could not be opened, where that shows that no run made it.
_NOT_OURS = {
    errno.EISDIR: "a directory",
    errno.ELOOP: "a symbolic link",
    errno.ENXIO: "a socket or a device",
}


class PointsFile:
    """A run's points.jsonl, locked and open for appending; for use in a `with` statement.

    Attributes:
        count: how many points are in it.
        notes: sentences for stderr: "… its last line was torn, and is dropped".
    """

    count: int
    notes: list[str]

    def __init__(self, folder: Path, experiment: Mapping[str, object], take: Take) -> None:
        """Make FOLDER/points.jsonl, or take up the one that is there.

        Args:
            experiment: what two runs must share for their points to go together, a "schema" among it; flat, plain JSON.
            take: may refuse a point by an InputError; the file is then left as it is.

        Raises:
            UsageError: another run holds it, or it is of another experiment: the text names both values.
            InputError: it is not a file of points.
            WriteError: it could not be written.
        """
        self.path = folder / NAME
        self.count, self.notes = 0, []
        self._descriptor = _opened(self.path)
        try:
            _lock(self._descriptor, self.path)
            self._length = 0
            self._take_up(experiment, take)
            if not self._length:
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
        self.count += 1

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

    def _take_up(self, experiment: Mapping[str, object], take: Take) -> None:
        """Read the whole lines, one at a time, and cut off a torn end."""
        where, number = shown(self.path), 0
        try:
            with os.fdopen(os.dup(self._descriptor), "rb") as stream:
                stream.seek(0)
                while (entry := _parsed(line := stream.readline(LONGEST + 1))) is not None:
                    number += 1
                    if number == 1:
                        _require_same(entry, experiment, self.path)
                    else:
                        take(entry, f"{where}: line {number}")
                        self.count += 1
                    self._length += len(line)
                end = line + stream.read(LONGEST + 1)
        except OSError as error:
            raise InputError(f"{where}: {error.strerror or error}; expected a file that can be read") from error
        if not end:
            return
        # After a power failure the length may be on disk and the content not: zeros, a line's end behind them or not.
        torn = end.count(b"\n") <= 1 if number else _line(experiment).startswith(end.rstrip(b"\0"))
        if not torn or len(end) > LONGEST:
            what = f"no JSON object of at most {LONGEST:,} bytes"
            raise InputError(f"{where}: line {number + 1} is {what}; expected a point in each line")
        self._cut(self._length)
        if number:
            self.notes.append(f"{where}: its last line was torn, and is dropped: one measurement is lost")

    def _write(self, entry: Mapping[str, object]) -> None:
        line = _line(entry)
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
    """A descriptor to read and to append by; the file is made if it is not there, and has no other name."""
    try:
        # O_NONBLOCK: a pipe would otherwise wait for its other end before it can be seen to be one.
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in _NOT_OURS:
            raise InputError(f"{shown(path)}: {_NOT_OURS[error.errno]}; expected a file of points") from None
        raise WriteError(f"{shown(path)}: could not be opened: {error.strerror or error}") from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise InputError(f"{shown(path)}: a pipe or a device; expected a file of points")
    if found.st_nlink > 1:
        os.close(descriptor)
        raise InputError(
            f"{shown(path)}: a file of {found.st_nlink:,} names (hard links), and points are added to it in place; "
            "expected one name: put a copy there"
        )
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


def _line(entry: Mapping[str, object]) -> bytes:
    """An object as a line of the file."""
    return json.dumps(entry, ensure_ascii=True, allow_nan=False).encode() + b"\n"


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The line's object; None for anything else, and for a line without its end."""
    try:
        entry = parse_json(line) if line.endswith(b"\n") else None
    except ValueError:
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
