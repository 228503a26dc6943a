"""One .safetensors file: its directory checked in full, then only the tensors asked for are read.

The directory is read here and not by the `safetensors` package, which takes a name given twice without a word and needs
the whole file in memory beside the tensors. Nothing is mapped: a mapped file that is cut short kills the process.
"""

import math
import os
from collections.abc import Collection
from typing import IO, Any, NamedTuple

import numpy as np

from attnlab.errors import InputError
from attnlab.files.numpy_files import Array, read_values, require_possible
from attnlab.files.opening import (
    StrPath,
    as_text,
    json_object,
    listed,
    open_regular,
    quoted,
    recognised,
    require_json_memory,
    require_memory,
    require_names,
    shown,
)

_LENGTH_BYTES = 8
#: The format's own limit.
_MAX_HEADER = 100_000_000
_FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}


class StoredTensor(NamedTuple):
    """Where a tensor lies in its file, and as what."""

    #: the format's own word: "F32", "BF16", "I64", …
    dtype: str
    shape: tuple[int, ...]
    #: first byte in the file, and the one after the last
    start: int
    end: int


def safetensors_names(path: StrPath, *, max_bytes: int) -> tuple[str, ...]:
    """The names of the tensors in a .safetensors file, none of which is read.

    Raises:
        InputError, MemoryRefused: as `read_directory`.
    """
    with open_regular(path) as file:
        return tuple(read_directory(file, shown(path), max_bytes=max_bytes))


def read_safetensors(path: StrPath, *, max_bytes: int, names: Collection[str] | None = None) -> dict[str, Array]:
    """The tensors of a .safetensors file by name: float16, bfloat16, float32 or float64.

    Args:
        path: the file.
        max_bytes: the most that the tensors may take together, and the most that the directory may.
        names: the tensors to read. None: all.

    Raises:
        InputError: as `read_directory` and `read_tensor`, or a tensor is not there.
        MemoryRefused: they take more than `max_bytes`.
    """
    where = shown(path)
    with open_regular(path) as file:
        held = read_directory(file, where, max_bytes=max_bytes)
        wanted = list(held) if names is None else list(names)
        require_names(wanted, held, where)
        require_memory(sum(held[name].end - held[name].start for name in wanted), max_bytes, where)
        return {name: read_tensor(file, held[name], f"{where}: tensor {quoted(name)}") for name in wanted}


def read_directory(file: IO[bytes], where: str, *, max_bytes: int) -> dict[str, StoredTensor]:
    """The tensors that an open .safetensors file holds, by name, in the order of their bytes; leaves the file there.

    Raises:
        InputError: the file is something else, is cut short or too long, names a tensor twice, or its tensors overlap
            or leave gaps.
        MemoryRefused: the directory would take more than max_bytes.
    """
    size = os.fstat(file.fileno()).st_size
    beginning = file.read(64)
    length = int.from_bytes(beginning[:_LENGTH_BYTES], "little")
    if size < _LENGTH_BYTES or length > min(size - _LENGTH_BYTES, _MAX_HEADER):
        kind = recognised(beginning) or f"{size:,} bytes, of which the header takes {length:,}: cut short or damaged"
        raise InputError(f"{where}: {kind}; expected a .safetensors file")
    require_json_memory(length, max_bytes, f"{where}: header")
    file.seek(_LENGTH_BYTES)
    entries = json_object(file.read(length), f"{where}: header")
    entries.pop("__metadata__", None)
    origin = _LENGTH_BYTES + length
    tensors = {name: _stored(entry, origin, f"{where}: tensor {quoted(name)}") for name, entry in entries.items()}
    tensors = dict(sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)))
    _require_gapless(tensors, origin, size, where)
    return tensors


def read_tensor(file: IO[bytes], tensor: StoredTensor, where: str) -> Array:
    """One tensor of an open .safetensors file, in this machine's byte order.

    Raises:
        InputError: it is not of float16, bfloat16, float32 or float64, or its shape does not go with its bytes.
    """
    dtype = sound_dtype(tensor, where)
    file.seek(tensor.start)
    return read_values(file, dtype, tensor.shape, where)


def read_rows(file: IO[bytes], tensor: StoredTensor, indices: Array, where: str) -> Array:
    """Some rows of a matrix in an open .safetensors file, (len(indices), width); each is read once, no other is.

    Args:
        indices: (rows wanted,), each of them a row that the matrix has.

    Raises:
        InputError: as `read_tensor`, or it is no matrix.
    """
    dtype = sound_dtype(tensor, where)
    if len(tensor.shape) != 2:
        raise InputError(f"{where}: shape {tensor.shape}; expected a matrix")
    width = tensor.shape[1]
    wanted, places = np.unique(indices, return_inverse=True)
    rows = np.empty((len(wanted), width), dtype.newbyteorder("="))
    for row, index in zip(rows, wanted, strict=True):
        file.seek(tensor.start + int(index) * width * dtype.itemsize)
        row[:] = read_values(file, dtype, (width,), where)
    found: Array = rows[places]
    return found


def sound_dtype(tensor: StoredTensor, where: str) -> np.dtype[Any]:
    """The numpy dtype of a tensor, once its shape is known to go with its bytes.

    Raises:
        InputError: it is not of float16, bfloat16, float32 or float64, or its shape does not go with its bytes.
    """
    dtype = float_dtype(tensor.dtype, where)
    require_possible(tensor.shape, dtype.itemsize, where)
    found, expected = tensor.end - tensor.start, math.prod(tensor.shape) * dtype.itemsize
    if found != expected:
        raise InputError(f"{where}: {found:,} bytes; expected {expected:,} for {tensor.dtype} of shape {tensor.shape}")
    return dtype


def float_dtype(word: str, where: str) -> np.dtype[Any]:
    """The numpy dtype of the format's word for it.

    Raises:
        InputError: it is not one of floats.
    """
    if word == "BF16":
        import ml_dtypes

        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    if word not in _FLOATS:
        raise InputError(f"{where}: dtype {quoted(word)}; expected {listed(['F16', 'BF16', 'F32', 'F64'])}")
    return np.dtype(_FLOATS[word])


def _stored(entry: object, origin: int, where: str) -> StoredTensor:
    """One entry of the header; `origin` is where in the file its offsets count from."""
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [start, end]}:
            whole = all(type(number) is int for number in (*shape, start, end))  # true and false are ints to Python
            if whole and 0 <= start <= end < 2**63:
                return StoredTensor(dtype, tuple(shape), origin + start, origin + end)
    raise InputError(f"{where}: an entry of {quoted(as_text(entry))}; expected a dtype, a shape and data_offsets")


def _require_gapless(tensors: dict[str, StoredTensor], origin: int, size: int, where: str) -> None:
    """Refuse a directory whose tensors, in the order of their bytes, do not fill the file exactly once."""
    end = origin
    for name, tensor in tensors.items():
        if tensor.start != end:
            fault = "overlap" if tensor.start < end else "leave a gap"
            raise InputError(
                f"{where}: tensor {quoted(name)} begins at byte {tensor.start:,}; expected {end:,}: tensors {fault}"
            )
        end = tensor.end
    if end != size:
        fault = "cut short" if size < end else "bytes after the last tensor"
        raise InputError(f"{where}: {size:,} bytes; expected {end:,}: {fault}")
