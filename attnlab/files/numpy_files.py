"""numpy's own files, .npy and .npz: floats only, every header checked against the file before a value is read.

Nothing is unpickled, and nothing is mapped: a mapped file that is cut short while it is read kills the process.
"""

import ast
import io
import math
import os
import re
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from attnlab.errors import InputError, MemoryRefused
from attnlab.files.opening import (
    StrPath,
    open_regular,
    quoted,
    recognised,
    require_memory,
    require_names,
    shown,
)

if TYPE_CHECKING:
    import zipfile

Array = NDArray[Any]

_MAX_HEADER = 10_000
#: Of each version of .npy, in how many bytes it tells its header's length.
_LENGTH_BYTES = {(1, 0): 2, (2, 0): 4}
_CHUNK = 1 << 18
#: Bytes in memory for one of an archive's directory: an entry of 50 bytes becomes objects of some 500.
_GROWTH_OF_MEMBERS = 16

_SAVE_AS_FLOAT = "convert to float32 first, e.g. np.save(file, x.astype('float32'))"
#: What a dtype.kind is called, and what to do about it.
_REFUSED_KINDS = {
    "i": ("integers", _SAVE_AS_FLOAT),
    "u": ("integers", _SAVE_AS_FLOAT),
    "b": ("booleans", _SAVE_AS_FLOAT),
    "c": ("complex numbers", "save the real part"),
    "O": ("Python objects", "save one array of numbers, with rows of equal length"),
    "S": ("text", "save the numbers themselves"),
    "U": ("text", "save the numbers themselves"),
}


class NpyHeader(NamedTuple):
    """What a .npy file says of itself before its values."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    #: bytes before the first value
    offset: int

    @property
    def value_bytes(self) -> int:
        """Bytes that the values take."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_npy(path: StrPath, *, max_bytes: int) -> Array:
    """The array of a .npy file: float16, float32 or float64, in this machine's byte order.

    Raises:
        InputError: the file is missing, is no .npy, holds no floats, or is shorter or longer than its header says.
        MemoryRefused: the values take more than `max_bytes`.
    """
    where = shown(path)
    with open_regular(path) as file:
        header = _read_header(file, where)
        _require_float(header.dtype, where)
        _require_length(header, os.fstat(file.fileno()).st_size, where)
        require_memory(header.value_bytes, max_bytes, where)
        file.seek(header.offset)
        return _read_array(file, header, where)


def npz_names(path: StrPath, *, max_bytes: int) -> tuple[str, ...]:
    """The names of the arrays in an .npz file, none of which is read.

    Raises:
        InputError: as `read_npz`, as far as the archive's directory shows it.
        MemoryRefused: the directory would take more than max_bytes.
    """
    with _open_npz(path, max_bytes) as (_, members):
        return tuple(members)


def read_npz(
    path: StrPath, *, max_bytes: int, names: Collection[str] | None = None, boolean: Collection[str] = ()
) -> dict[str, Array]:
    """The arrays of an .npz file by name: floats as `read_npy` takes them, and booleans where asked for.

    Args:
        path: the file.
        max_bytes: the most that the values may take together, inflated, and the most that the directory may.
        names: the arrays to read; only these are inflated. None: all.
        boolean: the names of those that must hold booleans; all others must hold floats.

    Raises:
        InputError: the archive is missing, damaged, encrypted or names an array twice; an array is not there, is of
            another type, or does not have the size that the archive's directory says.
        MemoryRefused: they take more than `max_bytes`.
    """
    where = shown(path)
    with _open_npz(path, max_bytes) as (archive, members):
        wanted = list(members) if names is None else list(names)
        require_names(wanted, members, where)
        headers = {name: _member_header(archive, members[name], name in boolean, where) for name in wanted}
        require_memory(sum(header.value_bytes for header in headers.values()), max_bytes, where)
        return {name: _read_member(archive, members[name], headers[name], where) for name in wanted}


def read_values(stream: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...], where: str) -> Array:
    """The next values of a stream as an array of this shape, in this machine's byte order.

    Raises:
        InputError: the stream ends before them.
    """
    values = np.empty(shape, dtype)
    raw = values.reshape(-1).view(np.uint8)
    filled = 0
    while filled < raw.size and (piece := stream.read(min(_CHUNK, raw.size - filled))):
        raw[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
        filled += len(piece)
    if filled < raw.size:
        raise InputError(f"{where}: ends after {filled:,} bytes of values; expected {raw.size:,}: cut short")
    return values if dtype.isnative else values.byteswap(inplace=True).view(dtype.newbyteorder("="))


def require_possible(shape: tuple[int, ...], itemsize: int, where: str) -> None:
    """Check that an array may have this shape at all.

    Raises:
        InputError: a length is below 0 or no whole number (true is one to Python, and to its parsers of headers), or
            the array would not fit any memory.
    """
    possible = len(shape) <= 64 and all(type(length) is int and 0 <= length < 2**63 for length in shape)
    if not possible or math.prod(max(length, 1) for length in shape) * itemsize >= 2**63:
        raise InputError(
            f"{where}: impossible lengths of its {len(shape)} axes; expected a shape that an array can have"
        )


def _read_header(stream: IO[bytes], where: str) -> NpyHeader:
    """The header at the stream's start; leaves the stream somewhere behind it."""
    # numpy lets through whatever Python's parser makes of a damaged literal.
    damage = (ValueError, SyntaxError, RecursionError, MemoryError, TypeError, LookupError, ArithmeticError)
    head = io.BytesIO(stream.read(_MAX_HEADER))
    try:
        version = npy_format.read_magic(head)
    except ValueError as problem:
        kind = recognised(head.getvalue()) or "not a .npy array"
        raise InputError(f"{where}: {kind}; expected what np.save writes") from problem
    if version not in _LENGTH_BYTES:
        raise InputError(f"{where}: .npy version {version[0]}.{version[1]}; expected 1.0 or 2.0")
    try:
        with warnings.catch_warnings(action="ignore"):  # a damaged literal may be one that Python warns of
            header = _literal_header(head, _LENGTH_BYTES[version])
    except damage as problem:
        raise InputError(f"{where}: a .npy header that is cut short or damaged; expected a whole one") from problem
    require_possible(header.shape, header.dtype.itemsize, where)
    return header


def _literal_header(head: IO[bytes], length_bytes: int) -> NpyHeader:
    """What stands behind a .npy file's version: a length, and a Python literal of so many bytes.

    numpy's own reader gives a damaged literal to Python's tokenizer, which from Python 3.12 on looks into a file by the
    name of "<string>", whatever that is.

    Raises:
        ValueError: cut short, or not the three entries of a header; and what Python and numpy raise of a damaged one.
    """
    length = int.from_bytes(head.read(length_bytes), "little")
    text = head.read(length).decode("latin1")
    fields = ast.literal_eval(re.sub(r"(?<=\d)L\b", "", text))  # Python 2 wrote an L behind whole numbers
    shape, fortran_order, descr = (fields[name] for name in ("shape", "fortran_order", "descr"))
    whole = len(text) == length and len(fields) == 3
    typed = isinstance(fortran_order, bool) and isinstance(shape, tuple) and all(isinstance(n, int) for n in shape)
    if not (whole and typed):
        raise ValueError(text)
    return NpyHeader(shape, fortran_order, npy_format.descr_to_dtype(descr), head.tell())


def _require_float(dtype: np.dtype[Any], where: str) -> None:
    """Refuse a dtype that is not float16, float32 or float64, in words that say what it is and what to do."""
    if dtype.kind == "f" and dtype.itemsize in (2, 4, 8):
        return
    if dtype.kind != "V":
        kind, advice = _REFUSED_KINDS.get(dtype.kind, ("another type", _SAVE_AS_FLOAT))
    elif dtype.names is not None or dtype.subdtype is not None:
        kind, advice = "a structured array", "save each field as an array of its own"
    else:
        kind, advice = "raw bytes, as np.save makes of bfloat16", "save bfloat16 as .safetensors"
    raise InputError(f"{where}: {dtype.name} ({kind}); expected float16, float32 or float64: {advice}")


def _require_length(header: NpyHeader, found: int, where: str) -> None:
    """Refuse a file of `found` bytes whose header promises more or fewer."""
    expected = header.offset + header.value_bytes
    if found != expected:
        fault = "cut short" if found < expected else "bytes after the array"
        raise InputError(f"{where}: {found:,} bytes; expected {expected:,} for shape {header.shape}: {fault}")


def _read_array(stream: IO[bytes], header: NpyHeader, where: str) -> Array:
    """The array whose values come next in the stream."""
    if header.fortran_order:
        return read_values(stream, header.dtype, header.shape[::-1], where).T
    return read_values(stream, header.dtype, header.shape, where)


@contextmanager
def _open_npz(path: StrPath, max_bytes: int) -> "Iterator[tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]]":
    """The archive and its members by array name. Whatever zipfile makes of a damaged one becomes an InputError.

    Raises:
        InputError: as `read_npz`.
        MemoryRefused: the members' names would take more than max_bytes.
    """
    import struct
    import zipfile
    import zlib

    where = shown(path)
    damage = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, OverflowError, OSError)
    with open_regular(path) as file:
        beginning = file.read(64)
        if not beginning.startswith(b"PK"):
            raise InputError(f"{where}: {recognised(beginning) or 'not a zip archive'}; expected what np.savez writes")
        try:
            with zipfile.ZipFile(cast(IO[bytes], _Measured(file, max_bytes, where))) as archive:
                members = _members(archive, where)
                _require_all(members, file, where)
                yield archive, members
        except (InputError, MemoryRefused):
            raise
        except damage as problem:
            reason = shown(str(problem)[:200])
            raise InputError(f"{where}: cut short or damaged ({reason}); expected what np.savez writes") from problem


class _Measured:
    """A file for zipfile, which reads an archive's directory in one piece, however long it is said to be."""

    def __init__(self, file: IO[bytes], max_bytes: int, where: str) -> None:
        self._file, self._max_bytes, self._where = file, max_bytes, where
        self.seek, self.tell, self.seekable, self.close = file.seek, file.tell, file.seekable, file.close

    def read(self, size: int = -1) -> bytes:
        """The next bytes.

        Raises:
            MemoryRefused: they are more than a piece of an array, and what becomes of them takes too much.
        """
        if size > _CHUNK:
            require_memory(_GROWTH_OF_MEMBERS * size, self._max_bytes, f"{self._where}: directory")
        return self._file.read(size)


def _members(archive: "zipfile.ZipFile", where: str) -> "dict[str, zipfile.ZipInfo]":
    """The archive's members by array name."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name == info.filename:
            raise InputError(f"{where}: holds {quoted(name)}; expected .npy arrays only, as np.savez writes them")
        if name in members:
            raise InputError(f"{where}: holds {quoted(name)} twice; expected each name once")
        members[name] = info
    return members


def _require_all(members: Collection[str], file: IO[bytes], where: str) -> None:
    """Compare the members with their number in the archive's last record: zipfile does not, and would lose some."""
    file.seek(-22, os.SEEK_END)
    counted = int.from_bytes(file.read()[10:12], "little")
    if counted != min(len(members), 0xFFFF):
        raise InputError(f"{where}: {len(members)} arrays; expected {counted}, as its last record says: damaged")


def _member_header(archive: "zipfile.ZipFile", info: "zipfile.ZipInfo", boolean: bool, where: str) -> NpyHeader:
    """The member's .npy header, once it is certain that the archive's directory agrees with it."""
    where = _member(info, where)
    _require_plain(info, where)
    with archive.open(info) as stream:
        header = _read_header(stream, where)
    if not boolean:
        _require_float(header.dtype, where)
    elif header.dtype != np.bool_:
        raise InputError(f"{where}: {header.dtype.name}; expected bool")
    _require_length(header, info.file_size, where)
    return header


def _require_plain(info: "zipfile.ZipInfo", where: str) -> None:
    """Refuse what np.savez never writes: encryption, other compressions, sizes that cannot be true."""
    import zipfile

    # Deflate makes a byte of at most 1,032.
    most = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}
    if info.flag_bits & 1:
        raise InputError(f"{where}: encrypted; expected what np.savez writes")
    if info.compress_type not in most:
        raise InputError(f"{where}: zip compression {info.compress_type}; expected 0 (stored) or 8 (deflated)")
    if info.file_size > most[info.compress_type] * info.compress_size:
        raise InputError(
            f"{where}: said to be {info.file_size:,} bytes long; expected what {info.compress_size:,} bytes can hold"
        )


def _read_member(archive: "zipfile.ZipFile", info: "zipfile.ZipInfo", header: NpyHeader, where: str) -> Array:
    """The member's array; zipfile checks its CRC when the last byte is read."""
    where = _member(info, where)
    with archive.open(info) as stream:
        stream.read(header.offset)
        array = _read_array(stream, header, where)
    if array.dtype == np.bool_ and array.view(np.uint8).max(initial=0) > 1:
        raise InputError(f"{where}: bytes other than 0 and 1; expected bool")
    return array


def _member(info: "zipfile.ZipInfo", where: str) -> str:
    return f"{where}: array {quoted(info.filename.removesuffix('.npy'))}"
