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
        tokens: the file of the tokens' texts (`read_tokens`), or None: then the rows' names in a .csv, if it has any.
        d_model: the width that they must have. None: any.
        set_by: what set d_model, for the complaint: "block.d_model of sentence".
        max_bytes: the most that reading may take.

    Raises:
        InputError: the file or the tokens' file is missing, unreadable or invalid, or the width is not d_model.
        MemoryRefused: the array takes more than `max_bytes`.
    """
    where = shown(path)
    with unchanging():
        (x, names), digest = _read_sole(path, max_bytes), sha256(path)
    if x.ndim != 2 or x.size == 0:
        raise InputError(f"{where}: shape {x.shape}; expected (n, width): {_towards_a_matrix(x)}")
    n, width = x.shape
    if d_model is not None and width != d_model:
        raise InputError(f"{where}: width {width}; expected {d_model}" + (f", set by {set_by}" if set_by else ""))
    return Embeddings(x, names if tokens is None else read_tokens(tokens, n, max_bytes=max_bytes), digest)


def read_tokens(path: StrPath, n: int, *, max_bytes: int) -> tuple[str, ...]:
    """The texts of n tokens, a line of UTF-8 each: as it stands, or, where all lines are JSON strings, what it says.

    A JSON string can say what a line cannot: no character at all, or the end of a line. A byte order mark at the
    beginning and empty lines at the end do not count; blanks at either end of a line are the token's own.

    Raises:
        InputError: the file cannot be read, a line is empty, or a JSON string in one line and none in another, or there
            are not n of them.
        MemoryRefused: reading it would take more than max_bytes.
    """
    where = shown(path)
    data = read_bytes(path, max_bytes=max_bytes, growth=_GROWTH_OF_LINES)
    lines = data.removeprefix(b"\xef\xbb\xbf").splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    texts = [_decoded(line, f"{where}: line {i}") for i, line in enumerate(lines[:n], start=1)]
    tokens = _json_strings(texts, where) if any(map(_json_string, texts)) else _plain_lines(texts, where)
    if len(lines) != n:
        count = "1 token" if len(lines) == 1 else f"{len(lines):,} tokens"
        raise InputError(f"{where}: {count}; expected {n:,}, one for each row of the embeddings")
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


def _read_sole(path: StrPath, max_bytes: int) -> tuple[Array, tuple[str, ...]]:
    """The one array of a file of any of the four kinds, and the names of its rows, which only a .csv may have."""
    match _require_suffix(path, (".npy", ".npz", ".csv", ".safetensors")):
        case ".npy":
            return read_npy(path, max_bytes=max_bytes), ()
        case ".csv":
            return read_csv(path, max_bytes=max_bytes)
        case ".npz":
            name = _sole_name(npz_names(path, max_bytes=max_bytes), shown(path))
            return read_npz(path, max_bytes=max_bytes, names=[name])[name], ()
        case _:
            name = _sole_name(safetensors_names(path, max_bytes=max_bytes), shown(path))
            return read_safetensors(path, max_bytes=max_bytes, names=[name])[name], ()


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


def _decoded(line: bytes, where: str) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as problem:
        column = len(line[: problem.start].decode("utf-8")) + 1
        raise InputError(f"{where}, column {column}: bytes that are not UTF-8; expected UTF-8") from problem


def _plain_lines(lines: Collection[str], where: str) -> tuple[str, ...]:
    """The lines, none of which may be empty, or not be text."""
    for i, line in enumerate(lines, start=1):
        if not line.strip():
            raise InputError(f'{where}: line {i}: empty; expected a token (in a file of JSON strings "" is one)')
        if "\0" in line:
            raise InputError(
                f"{where}: line {i}, column {line.index(chr(0)) + 1}: a NUL character; expected text in UTF-8"
            )
    return tuple(lines)


def _json_strings(lines: Collection[str], where: str) -> tuple[str, ...]:
    """What the lines say, all of which must be JSON strings."""
    tokens = tuple(map(_json_string, lines))
    first = next(i for i, token in enumerate(tokens, start=1) if token is not None)
    for i, (line, token) in enumerate(zip(lines, tokens, strict=True), start=1):
        column = len(line) - len(line.lstrip()) + 1
        if token is None:
            raise InputError(
                f"{where}: line {i}, column {column}: {quoted(line)}; expected a JSON string, as line {first} is"
            )
        if any("\ud800" <= character <= "\udfff" for character in token):
            said = f"{quoted(line)} holds half a surrogate pair; expected whole characters"
            raise InputError(f"{where}: line {i}, column {column}: {said}")
    return tuple(token or "" for token in tokens)


def _json_string(line: str) -> str | None:
    """What the JSON string says that is all of this line, if it is one."""
    import json

    if not line.lstrip().startswith('"'):
        return None
    try:
        token: str = json.loads(line)
    except json.JSONDecodeError:
        return None
    return token
