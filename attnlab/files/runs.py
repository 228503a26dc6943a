"""What a run leaves behind: a directory of its own, in which every file is whole or not there.

A file is written under a temporary name in the same directory, flushed, fsynced and renamed.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from attnlab.errors import UsageError, WriteError
from attnlab.files.documents import json_bytes
from attnlab.files.opening import shown

#: of run.json
SCHEMA = "attnlab.run-directory/1"
STATUSES = RUNNING, COMPLETE, INTERRUPTED = "running", "complete", "interrupted"
#: Names of files that are being written; after a kill they stay.
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp", re.DOTALL)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that, whatever happens, its name holds the old content or the new, and never a part.

    Raises:
        WriteError: the file could not be written, or not be made to last; its name holds the old content or the new.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")  # as _TEMPORARY has it
    try:
        try:
            with open(temporary, "xb") as stream:  # x: a new file, never one that a link leads to
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
            _sync_directory(path.parent)
        except BaseException:
            with suppress(OSError):  # what went wrong first is what is told
                temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise WriteError(f"{shown(path)}: could not be written: {error.strerror or error}") from error


def _sync_directory(path: Path) -> None:
    """Make the new name itself durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass
class RunDirectory:
    """A run's own directory, and its run.json, which says how the run is getting on. One process holds it at a time."""

    path: Path
    manifest: Mapping[str, object]
    started: str
    #: what run.json says besides when everything has been written, asked for then
    at_the_end: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    #: whether everything has been written
    done: bool = False
    #: the open directory whose lock is held; None: it is held no longer, or nothing here can be
    lock: int | None = None

    @classmethod
    def make(cls, command: str, out: Path | None, manifest: Mapping[str, object]) -> "RunDirectory":
        """Make the directory. There is no run.json yet.

        Args:
            command: the first part of a default directory's name.
            out: a new or empty directory; None = a new one under outputs/.
            manifest: what run.json says besides its schema, status and times.

        Raises:
            UsageError: `out` is a file, or a directory that is not empty.
            WriteError: the directory could not be made.
        """
        path = named_directory(out) if out is not None else fresh_directory(Path("outputs"), command)
        run = cls(path, manifest, _now(), lock=held(path))
        try:
            run.sweep()
            if out is not None:
                _require_empty(path)  # now that it is held: another run may have come and gone
        except BaseException:
            run.let_go()
            raise
        return run

    @classmethod
    def reopen(cls, path: Path) -> "RunDirectory":
        """Hold the directory of a run that was interrupted. Nothing in it changes until `go_on`: it may be no run's.

        Raises:
            UsageError: there is no such directory, or a run or another resume is at work in it.
        """
        if not os.path.isdir(path):
            raise UsageError(f"--resume {shown(path)}: not a directory; expected that of an interrupted run")
        return cls(path, {}, _now(), lock=held(path))

    def go_on(self, manifest: Mapping[str, object]) -> None:
        """Take the run up: what it was writing when it was killed is swept away.

        Args:
            manifest: as for `make`.
        """
        self.manifest = manifest
        self.sweep()

    def sweep(self) -> None:
        """Delete what dead runs were writing here when they were killed. Without the lock, nothing: they may live."""
        if self.lock is not None:
            with suppress(OSError):  # it is in nobody's way
                for path in _temporaries(self.path):
                    path.unlink(missing_ok=True)

    def write(self, name: str, data: bytes) -> None:
        """Write one of the run's files."""
        write_whole(self.path / name, data)

    def running(self) -> None:
        """Say in run.json what is about to run."""
        self._say(RUNNING)

    def complete(self) -> None:
        """Say in run.json that everything was written."""
        self.manifest = {**self.manifest, **{name: told() for name, told in self.at_the_end.items()}}
        self._say(COMPLETE, finished=_now())
        self.done = True
        self.let_go()

    def interrupted(self) -> None:
        """Say in run.json that the run ended before it was done, unless it was. On a full disk, run.json stays."""
        try:
            if not self.done:
                with suppress(WriteError):  # what ended the run is what is told
                    self._say(INTERRUPTED, finished=_now())
        finally:
            self.let_go()

    def let_go(self) -> None:
        """Let another process take the directory up."""
        if self.lock is not None:
            with suppress(OSError):  # nothing was written by it
                os.close(self.lock)
            self.lock = None

    def _say(self, status: str, finished: str | None = None) -> None:
        times = {"started": self.started, "finished": finished}
        self.write("run.json", json_bytes({"schema": SCHEMA, "status": status, **times, **self.manifest}))


def named_directory(path: Path) -> Path:
    """The directory that the user named, made if it is not there."""
    try:
        _make(path)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"--out {shown(path)}: not a directory; expected a new or an empty directory") from None
    except OSError as error:
        raise WriteError(f"--out {shown(path)}: could not be made: {error.strerror or error}") from error
    _require_empty(path)
    return path


def _make(path: Path) -> None:
    """A directory and the parents that it lacks: Path.mkdir calls itself for each, and Python ends at a thousand."""
    lacking = []
    for place in (path, *path.parents):
        try:
            place.mkdir(exist_ok=True)
            break
        except FileNotFoundError:
            lacking.append(place)
    for place in reversed(lacking):
        place.mkdir(exist_ok=True)


def _require_empty(path: Path) -> None:
    """Refuse a directory with anything in it but what runs were writing when they were killed."""
    try:
        filled = bool({*path.iterdir()} - {*_temporaries(path)})
    except OSError as error:
        raise WriteError(f"--out {shown(path)}: could not be read: {error.strerror or error}") from error
    if filled:
        raise UsageError(f"--out {shown(path)}: not empty; expected a new or an empty directory")


def _temporaries(path: Path) -> Iterator[Path]:
    """The files of `write_whole` in a directory that are not yet, or never will be, renamed."""
    return (file for file in path.iterdir() if _TEMPORARY.fullmatch(file.name) and file.is_file())


def fresh_directory(parent: Path, command: str) -> Path:
    """A directory that nobody else has: PARENT/COMMAND-UTC-4HEX."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        while True:
            path = parent / f"{command}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.urandom(2).hex()}"
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return path
    except OSError as error:
        raise WriteError(
            f"{shown(parent)}: could not be made: {error.strerror or error}; --out DIR puts it elsewhere"
        ) from error


def held(path: Path) -> int | None:
    """The directory, opened and locked until it is closed; None where nothing can be: no fcntl, or no locks there.

    Raises:
        UsageError: another process holds it.
        WriteError: it cannot be opened.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise WriteError(f"{shown(path)}: could not be opened: {error.strerror or error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise UsageError(f"{shown(path)}: another attnlab is at work in it; expected one at a time") from None
        return None
    return descriptor


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
