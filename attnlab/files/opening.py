"""Opening what a user names: regular files only, and every failure is one line that says what to do.

Libraries that only some inputs need (zipfile, json, hashlib, ml_dtypes) are imported in the functions of this wing that
use them: `attnlab --help` should not wait for them.
"""

import errno
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from io import BufferedReader
from typing import Any, NamedTuple

from attnlab.errors import InputError, MemoryRefused

StrPath = str | os.PathLike[str]

#: Bytes of memory for each byte of a JSON text, its own among them, at most: measured, 54 for lists in lists beside a
#: character that makes Python keep the whole text at four bytes each; 26 for "{},", 4 for '"a",'.
JSON_MEMORY = 60

#: How files of other kinds begin, in lower case, and what to call them.
_BEGINNINGS = (
    (b"<!doctype", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x93numpy", "a .npy array"),
    (b"pk\x03\x04", "a zip archive, as .npz files are"),
    (b"version https://git-lfs", "a Git LFS pointer and not the data itself"),
)


def shown(path: StrPath) -> str:
    """The path as it may be printed: control characters and bytes that are no text are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in os.fspath(path))


def as_text(value: object) -> str:
    """str() of anything out of a JSON file, which may nest deeper than Python can write."""
    try:
        return str(value)
    except RecursionError:
        return "something nested too deep to show"


def quoted(text: str, *, limit: int = 40) -> str:
    """Text out of a file as it may be printed: in quotes, escaped, cut after `limit` characters."""
    return repr(text if len(text) <= limit else text[:limit] + "…")


def listed(names: Collection[str], *, limit: int = 8) -> str:
    """The first `limit` names, quoted, and how many there are if that is more."""
    first = ", ".join(quoted(name) for name in list(names)[:limit])
    return first if len(names) <= limit else f"{first}, … ({len(names)} in all)"


class Version(NamedTuple):
    """Which file it is, and as of when: the same as long as nobody renames another there or writes to it."""

    device: int
    inode: int
    size: int
    #: nanoseconds
    modified: int


#: Within `unchanging`: absolute path -> the version that was opened first.
_FIRST: ContextVar[dict[str, Version] | None] = ContextVar("first", default=None)


@contextmanager
def unchanging() -> Iterator[None]:
    """Within this, a file that is opened more than once has to be the same each time, or `open_regular` refuses it.

    What is read, checked and hashed of a file is then one file's, though somebody renames another there meanwhile.
    """
    if _FIRST.get() is not None:
        yield
        return
    token = _FIRST.set({})
    try:
        yield
    finally:
        _FIRST.reset(token)


def version_of(file: BufferedReader) -> Version:
    """The version of an open file."""
    state = os.fstat(file.fileno())
    return Version(state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)


def require_version(path: StrPath, found: Version, expected: Version) -> None:
    """Check that a file is still the one that it was.

    Raises:
        InputError: it is another, or somebody has written to it.
    """
    if found != expected:
        raise InputError(
            f"{shown(path)}: replaced or changed while it was read; expected one file throughout: run again"
        )


@contextmanager
def open_regular(path: StrPath, *, follow: bool = True) -> Iterator[BufferedReader]:
    """A regular file, opened to read bytes, for use in a `with` statement.

    Pipes, devices, sockets and directories are refused at once, without waiting for a writer.

    Args:
        follow: whether the name may be a symbolic link's. Not where it is attnlab that chose the name.

    Raises:
        InputError: the file cannot be opened or is not a regular one, or reading it in the `with` block failed, or it
            is another file than within `unchanging` before, or was written to meanwhile.
    """
    try:
        with _open(path, 0 if follow else os.O_NOFOLLOW) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError(f"{shown(path)}: a pipe or a device; expected a regular file")
            version = version_of(file)
            first = _FIRST.get()
            if follow and first is not None:
                require_version(path, version, first.setdefault(os.path.abspath(path), version))
            yield file
            if follow:
                require_version(path, version_of(file), version)
    except OSError as problem:
        if problem.errno == errno.ELOOP and not follow:
            raise InputError(f"{shown(path)}: a symbolic link; expected the file itself") from problem
        reason = (problem.strerror or str(problem)).lower()
        raise InputError(f"{shown(path)}: {reason}; expected a file that can be read") from problem


def _open(path: StrPath, more: int) -> BufferedReader:
    try:
        # O_NONBLOCK: a pipe would otherwise wait for its writer before it can be seen to be one.
        return open(path, "rb", opener=lambda name, flags: os.open(name, flags | more | os.O_NONBLOCK | os.O_CLOEXEC))
    except ValueError as problem:
        raise InputError(f"{shown(path)}: not a file name; expected one without NUL characters") from problem


def read_json(path: StrPath, *, max_bytes: int, follow: bool = True) -> dict[str, Any]:
    """A JSON file's object.

    Args:
        path: the file.
        max_bytes: the most that reading may take.
        follow: as for `open_regular`.

    Raises:
        InputError: it holds something else, or an object that gives a name twice.
        MemoryRefused: see `require_json_memory`.
    """
    with open_regular(path, follow=follow) as file:
        size = os.fstat(file.fileno()).st_size
        require_json_memory(size, max_bytes, shown(path))
        return json_object(file.read(size), shown(path))  # and no more, should it grow meanwhile


def json_object(data: bytes, where: str) -> dict[str, Any]:
    """The object that is all of a JSON text in UTF-8.

    Raises:
        InputError: it is something else, or gives a name twice.
    """
    try:
        found = parse_json(data.decode("utf-8-sig"))
    except UnicodeDecodeError as problem:
        raise InputError(f"{where}: byte {problem.start:,} is not UTF-8; expected UTF-8") from problem
    except ValueError as problem:
        raise InputError(f"{where}: not JSON ({problem}); expected a JSON object") from problem
    if not isinstance(found, dict):
        raise InputError(f"{where}: {type(found).__name__}; expected a JSON object")
    return found


def parse_json(text: str | bytes) -> Any:
    """What a JSON text says; no object has a name twice.

    Raises:
        ValueError: it is none, or nests too deep to be read.
    """
    import json

    try:
        return json.loads(text, object_pairs_hook=_without_duplicates)
    except RecursionError as problem:
        raise ValueError(str(problem)) from problem


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object's pairs as a dict; of two that share a name, `json` would let the last one win."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{quoted(name)} stands there twice")
        found[name] = value
    return found


def read_bytes(path: StrPath, *, max_bytes: int, growth: int = 1) -> bytes:
    """A regular file's bytes.

    Args:
        path: the file.
        max_bytes: the most that reading may take.
        growth: what is made of them takes so many bytes for each of theirs.

    Raises:
        InputError: as `open_regular`.
        MemoryRefused: reading would take more than max_bytes.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        require_memory(growth * size, max_bytes, shown(path))
        return file.read(size)


def sha256(path: StrPath) -> str:
    """The SHA-256 of the file's bytes, in hexadecimal.

    Raises:
        InputError: the file cannot be read.
    """
    import hashlib

    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def recognised(beginning: bytes) -> str | None:
    """What a file with these first bytes is (at least 24 of them), or None if they tell nothing."""
    if not beginning:
        return "an empty file"
    text = beginning.lstrip().lower()
    return next((kind for magic, kind in _BEGINNINGS if text.startswith(magic)), None)


def require_names(names: Collection[str], held: Collection[str], where: str) -> None:
    """Check that a file holds every array that is asked of it.

    Raises:
        InputError: it lacks one; the text lists those it holds.
    """
    missing = [name for name in names if name not in held]
    if missing:
        raise InputError(f"{where}: no array {listed(missing)}; expected it among {listed(held) or 'none'}")


def require_memory(wanted: int, max_bytes: int, where: str) -> None:
    """Check that `wanted` bytes may be taken.

    Raises:
        MemoryRefused: they are more than `max_bytes`.
    """
    if wanted > max_bytes:
        raise MemoryRefused(
            f"{where}: {wanted:,} bytes to read; expected at most {max_bytes:,}, set by --max-memory: "
            "give it more, or a smaller file"
        )


def require_json_memory(size: int, max_bytes: int, where: str) -> None:
    """Check that a JSON text of so many bytes may be read, whatever is in it.

    Raises:
        MemoryRefused: what it can be made into may take more than `max_bytes`.
    """
    if JSON_MEMORY * size > max_bytes:
        raise MemoryRefused(
            f"{where}: {size:,} bytes of JSON, which may take {JSON_MEMORY * size:,} to read; "
            f"expected at most {max_bytes:,}, set by --max-memory"
        )
