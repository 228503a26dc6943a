"""What a user brings to a run: embeddings with their tokens, queries with keys and values, weights."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from attnlab.errors import InputError
from attnlab.files.csv_files import read_csv
from attnlab.files.numpy_files import Array, npz_names, read_npy, read_npz
from attnlab.files.opening import StrPath, listed, quoted, read_bytes, require_names, sha256, shown, unchanging
from attnlab.files.safetensors_files import read_safetensors, safetensors_names

_EMBEDDING_NAMES = ("x", "embeddings")
_QKV_NAMES = ("q", "k", "v", "mask", "bias")
#: Bytes in memory for one of a file of short lines: every line, and the token in it, is a Python object.
_GROWTH_OF_LINES = 32


class Embeddings(NamedTuple):
    """One vector per token, and what file it came from."""

    #: (n, width), n and width at least 1
    x: Array
    #: n of them, or none if no file gave them
    tokens: tuple[str, ...]
    #: of the embeddings' file
    sha256: str


class QKV(NamedTuple):
    """Attention's own inputs. Whether their shapes go together is for `attention` to say."""

    #: (h, n, d) or (n, d)
    q: Array
    #: (g, m, d) or (m, d)
    k: Array
    #: (g, m, e) or (m, e)
    v: Array
    #: bool, True = may attend
    mask: Array | None
    #: added to the scores
    bias: Array | None


def read_embeddings(
    path: StrPath, *, tokens: StrPath | None = None, d_model: int | None = None, set_by: str = "", max_bytes: int
) -> Embeddings:
    """Embeddings from a .npy, .npz, .csv or .safetensors file; of several arrays, the one named x or embeddings.

    Args:
        path: the file.
        tokens: the file of the tokens' texts (`read_tokens`), or None.
        d_model: the width that they must have. None: any.
        set_by: what set d_model, for the complaint: "block.d_model of sentence".
        max_bytes: the most that reading may take.

    Raises:
        InputError: the file or the tokens' file is missing, unreadable or invalid, or the width is not d_model.
        MemoryRefused: the array takes more than `max_bytes`.
    """
    where = shown(path)
    with unchanging():
        x, digest = _read_sole(path, max_bytes), sha256(path)
    if x.ndim != 2 or x.size == 0:
        raise InputError(f"{where}: shape {x.shape}; expected (n, width): {_towards_a_matrix(x)}")
    n, width = x.shape
    if d_model is not None and width != d_model:
        raise InputError(f"{where}: width {width}; expected {d_model}" + (f", set by {set_by}" if set_by else ""))
    return Embeddings(x, read_tokens(tokens, n, max_bytes=max_bytes) if tokens is not None else (), digest)


def read_tokens(path: StrPath, n: int, *, max_bytes: int) -> tuple[str, ...]:
    """The texts of n tokens: UTF-8, one JSON string per line.

    Raises:
        InputError: the file cannot be read, a line is not one JSON string, or there are not n of them.
        MemoryRefused: reading it would take more than max_bytes.
    """
    where = shown(path)
    lines = read_bytes(path, max_bytes=max_bytes, growth=_GROWTH_OF_LINES).rstrip().split(b"\n")
    found = len(lines) if lines != [b""] else 0
    tokens = tuple(_token(line, f"{where}: line {i}") for i, line in enumerate(lines[: min(n, found)], start=1))
    if found != n:
        raise InputError(f"{where}: {found} tokens; expected {n}, one for each row of the embeddings")
    return tokens


def read_qkv(path: StrPath, *, max_bytes: int) -> QKV:
    """Queries, keys and values of an .npz file, with a mask and a bias if it holds them.

    Raises:
        InputError: the file is not an .npz, is invalid, lacks one of q, k and v, gives it another number of axes than
            2 or 3 or nothing along one, or holds other arrays; the mask is not of booleans, another is not of floats.
        MemoryRefused: the arrays take more than `max_bytes`.
    """
    where = shown(path)
    _require_suffix(path, (".npz",))
    held = npz_names(path, max_bytes=max_bytes)
    _refuse_unknown(held, where)
    require_names(("q", "k", "v"), held, where)
    arrays = read_npz(path, max_bytes=max_bytes, boolean=("mask",))
    for name in ("q", "k", "v"):
        if arrays[name].ndim not in (2, 3) or arrays[name].size == 0:
            shape = arrays[name].shape
            raise InputError(
                f"{where}: {name} has shape {shape}; expected (heads, n, width) or (n, width), none of them 0"
            )
    return QKV(arrays["q"], arrays["k"], arrays["v"], arrays.get("mask"), arrays.get("bias"))


def read_tensors(path: StrPath, *, max_bytes: int) -> dict[str, Array]:
    """Every tensor of an .npz or .safetensors file, by name: a block's weights.

    Raises:
        InputError: the file is missing, unreadable or invalid, or holds anything but floats.
        MemoryRefused: the tensors take more than `max_bytes`.
    """
    suffix = _require_suffix(path, (".npz", ".safetensors"))
    return (read_npz if suffix == ".npz" else read_safetensors)(path, max_bytes=max_bytes)


def _require_suffix(path: StrPath, known: Collection[str]) -> str:
    """The file's suffix in lower case, if it is one of these."""
    suffix = Path(path).suffix.lower()
    if suffix not in known:
        found = f"suffix {quoted(suffix)}" if suffix else "no suffix"
        raise InputError(f"{shown(path)}: {found}; expected {' or '.join(known)}")
    return suffix


def _read_sole(path: StrPath, max_bytes: int) -> Array:
    """The one array of a file of any of the four kinds."""
    match _require_suffix(path, (".npy", ".npz", ".csv", ".safetensors")):
        case ".npy":
            return read_npy(path, max_bytes=max_bytes)
        case ".csv":
            return read_csv(path, max_bytes=max_bytes)
        case ".npz":
            name = _sole_name(npz_names(path, max_bytes=max_bytes), shown(path))
            return read_npz(path, max_bytes=max_bytes, names=[name])[name]
        case _:
            name = _sole_name(safetensors_names(path, max_bytes=max_bytes), shown(path))
            return read_safetensors(path, max_bytes=max_bytes, names=[name])[name]


def _sole_name(held: Collection[str], where: str) -> str:
    """Which of the arrays holds the embeddings: the only one there is, or the one named so."""
    candidates = held if len(held) == 1 else [name for name in held if name in _EMBEDDING_NAMES]
    if len(candidates) != 1:
        expected = " or ".join(_EMBEDDING_NAMES)
        raise InputError(f"{where}: holds {listed(held) or 'no array'}; expected one array, or one named {expected}")
    return next(iter(candidates))


def _towards_a_matrix(x: Array) -> str:
    """What to do about an array that is not (n, width)."""
    if x.size == 0:
        return "at least one row and one column"
    if x.ndim == 3:
        return "save one sequence of the batch, x[0]"
    return "a row for each token"


def _refuse_unknown(held: Iterable[str], where: str) -> None:
    """Refuse an array that attention has no place for."""
    import difflib

    for name in held:
        if name not in _QKV_NAMES:
            near = difflib.get_close_matches(name.lower(), _QKV_NAMES, n=1, cutoff=0.3)
            meant = f" (did you mean {near[0]}?)" if near else ""
            raise InputError(f"{where}: holds {quoted(name)}; expected q, k, v, mask and bias only{meant}")


def _token(line: bytes, where: str) -> str:
    """The JSON string that is all of this line."""
    import json

    try:
        text = line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as problem:
        column = len(line[: problem.start].decode("utf-8")) + 1
        raise InputError(f"{where}, column {column}: bytes that are not UTF-8; expected UTF-8") from problem
    column = len(text) - len(text.lstrip()) + 1
    if not text.lstrip().startswith('"'):
        raise InputError(f'{where}, column {column}: {quoted(text)}; expected a JSON string such as "the"')
    try:
        token: str = json.loads(text)
    except json.JSONDecodeError as problem:
        raise InputError(f"{where}, column {problem.colno}: {quoted(text)}; expected one JSON string") from problem
    if any("\ud800" <= character <= "\udfff" for character in token):
        raise InputError(
            f"{where}, column {column}: {quoted(text)} holds half a surrogate pair; expected whole characters"
        )
    return token
