"""What a user brings to a run: which array is meant, its shape, and the tokens beside it."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from attnlab.errors import InputError, MemoryRefused
from attnlab.files.embeddings import read_embeddings, read_qkv, read_tensors, read_tokens

ROOM = 10**9
X = np.random.default_rng(3).normal(size=(3, 5)).astype(np.float32)


def complaint(read: Callable[[], object]) -> str:
    """The one printable line that reading ends in."""
    with pytest.raises(InputError) as caught:
        read()
    assert caught.value.exit_code == 3
    assert str(caught.value).isprintable()
    return str(caught.value)


def save(path: Path, **arrays: Any) -> Path:
    """The arrays in a file of the kind that its suffix says."""
    first = next(iter(arrays.values()), X)
    match path.suffix.lower():
        case ".npy":
            with path.open("wb") as file:  # given a name, numpy would add .npy to .NPY
                np.save(file, first)
        case ".npz":
            np.savez(path, **arrays)
        case ".csv":
            np.savetxt(path, first, delimiter=",")
        case ".safetensors":
            path.write_bytes(safetensors.numpy.save(arrays))
    return path


@pytest.mark.parametrize("suffix", [".npy", ".NPY", ".npz", ".csv", ".safetensors"])
def test_embeddings_of_every_kind(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"mine{suffix}", anything=X)
    embeddings = read_embeddings(path, d_model=5, max_bytes=ROOM)
    np.testing.assert_array_equal(embeddings.x, X)
    assert embeddings.x.dtype == (np.float64 if suffix == ".csv" else np.float32)
    assert embeddings.tokens == ()
    assert embeddings.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("name", ["x", "embeddings"])
def test_of_several_arrays_the_one_of_that_name_is_meant(tmp_path: Path, suffix: str, name: str) -> None:
    path = save(tmp_path / f"mine{suffix}", ids=np.arange(3), **{name: X})
    np.testing.assert_array_equal(read_embeddings(path, max_bytes=ROOM).x, X)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize(
    ("names", "held"), [(["a", "b"], "'a', 'b'"), (["embeddings", "x"], "'embeddings', 'x'"), ([], "no array")]
)
def test_arrays_of_which_none_is_meant(tmp_path: Path, suffix: str, names: list[str], held: str) -> None:
    path = save(tmp_path / f"mine{suffix}", **dict.fromkeys(names, X))
    text = complaint(lambda: read_embeddings(path, max_bytes=ROOM))
    assert f"mine{suffix}: holds {held}; expected one array, or one named x or embeddings" in text


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((5,), "shape (5,); expected (n, width): a row for each token"),
        ((), "shape (); expected (n, width): a row for each token"),
        ((1, 3, 5), "shape (1, 3, 5); expected (n, width): save one sequence of the batch, x[0]"),
        ((0, 5), "shape (0, 5); expected (n, width): at least one row and one column"),
        ((3, 0), "shape (3, 0); expected (n, width): at least one row and one column"),
    ],
)
def test_embeddings_are_a_matrix(tmp_path: Path, shape: tuple[int, ...], words: str) -> None:
    path = save(tmp_path / "mine.npy", x=np.ones(shape))
    assert complaint(lambda: read_embeddings(path, max_bytes=ROOM)) == f"{path}: {words}"


def test_a_width_that_is_not_the_models_names_both(tmp_path: Path) -> None:
    path = save(tmp_path / "mine.npy", x=X)
    text = complaint(lambda: read_embeddings(path, d_model=384, set_by="block.d_model of sentence", max_bytes=ROOM))
    assert text == f"{path}: width 5; expected 384, set by block.d_model of sentence"
    assert complaint(lambda: read_embeddings(path, d_model=384, max_bytes=ROOM)) == f"{path}: width 5; expected 384"


@pytest.mark.parametrize(("name", "found"), [("mine.txt", "suffix '.txt'"), ("mine", "no suffix")])
def test_other_files_are_refused_by_their_suffix(name: str, found: str) -> None:
    text = complaint(lambda: read_embeddings(name, max_bytes=ROOM))
    assert text == f"{name}: {found}; expected .npy or .npz or .csv or .safetensors"


# -- tokens


def write_tokens(path: Path, *tokens: str) -> Path:
    path.write_text("".join(json.dumps(token, ensure_ascii=False) + "\n" for token in tokens), encoding="utf-8")
    return path


def test_tokens_stand_beside_their_embeddings(tmp_path: Path) -> None:
    tokens = ("the", " a\nb\t\"'", "日\u2028\U0001f600")
    file = write_tokens(tmp_path / "x.tokens.txt", *tokens)
    assert read_embeddings(save(tmp_path / "x.npy", x=X), tokens=file, max_bytes=ROOM).tokens == tokens


def test_tokens_may_be_escaped_and_followed_by_empty_lines(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(rb' "\ud83d\ude00" ' + b'\r\n""\r\n\r\n \n')
    assert read_tokens(tmp_path / "t", 2, max_bytes=ROOM) == ("\U0001f600", "")


PLAIN = {
    "lines": (b"the\nbank\n", ("the", "bank")),
    "no newline at the end": (b"the\nbank", ("the", "bank")),
    "empty lines at the end": (b"the\nbank\n\n \r\n", ("the", "bank")),
    "carriage returns": (b"the\r\nbank\r\n", ("the", "bank")),
    "carriage returns alone": (b"the\rbank\r", ("the", "bank")),
    "mark": (b"\xef\xbb\xbfthe\nbank\n", ("the", "bank")),
    "mark before JSON": (b'\xef\xbb\xbf"a"\n"b"\n', ("a", "b")),
    "blanks are the token's": (b" the\nbank \t\n", (" the", "bank \t")),
    "numbers": (b"12\n1e5", ("12", "1e5")),
    "quotation marks": (b'"\n"the', ('"', '"the')),
    "what other JSON is": (b'["a"]\nnull\n', ('["a"]', "null")),
    "other line ends are none": ("a\u2028b\n\x85\x0bc".encode(), ("a\u2028b", "\x85\x0bc")),
    "control characters": (b"\x1b[31m\n[bold]", ("\x1b[31m", "[bold]")),
}


@pytest.mark.parametrize("case", PLAIN)
def test_tokens_may_be_plain_lines(tmp_path: Path, case: str) -> None:
    content, tokens = PLAIN[case]
    (tmp_path / "t").write_bytes(content)
    assert read_tokens(tmp_path / "t", 2, max_bytes=ROOM) == tokens


def test_names_of_a_csv_s_rows_are_tokens_unless_others_are_given(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("token,a,b\nthe,1,2\nbank,3,4\n", encoding="utf-8")
    assert read_embeddings(tmp_path / "x.csv", max_bytes=ROOM).tokens == ("the", "bank")
    tokens = write_tokens(tmp_path / "t", "o", "rio")
    assert read_embeddings(tmp_path / "x.csv", tokens=tokens, max_bytes=ROOM).tokens == ("o", "rio")


BAD_TOKENS = {
    "number": (b'"a"\n 12\n', "line 2, column 2: ' 12'; expected a JSON string, as line 1 is"),
    "plain before JSON": (b'a\n"b"\n', "line 1, column 1: 'a'; expected a JSON string, as line 2 is"),
    "two": (b'"a" "b"\n"c"', 'line 1, column 1: \'"a" "b"\'; expected a JSON string, as line 2 is'),
    "open": (b'"b"\n"a\n', "line 2, column 1: '\"a'; expected a JSON string, as line 1 is"),
    "escape": (b'"b"\n' + rb'"a\x"', "line 2, column 1: "),
    "latin-1": ('"é\xe9'.encode() + b'\xe9"\n', "line 1, column 4: bytes that are not UTF-8; expected UTF-8"),
    "utf-16": ("a\nb".encode("utf-16"), "line 1, column 1: bytes that are not UTF-8; expected UTF-8"),
    "nul": (b"a\nb\0\n", "line 2, column 2: a NUL character; expected text in UTF-8"),
    "half a pair": (rb'  "\ud83d"', "line 1, column 3: "),
    "empty line": (b'"a"\n\n"b"\n', "line 2, column 1: ''; expected a JSON string, as line 1 is"),
    "empty plain line": (b"a\n\nb\n", 'line 2: empty; expected a token (in a file of JSON strings "" is one)'),
    "few": (b'"a"\n', "1 token; expected 2, one for each row of the embeddings"),
    "few plain ones": (b"a\n", "1 token; expected 2, one for each row of the embeddings"),
    "none": (b"", "0 tokens; expected 2, one for each row of the embeddings"),
    "empty": (b"\n\r\n \n", "0 tokens; expected 2, one for each row of the embeddings"),
    "many": (b'"a"\n"b"\nthe\n"c"\n', "4 tokens; expected 2, one for each row of the embeddings"),
}


@pytest.mark.parametrize("case", BAD_TOKENS)
def test_bad_tokens(tmp_path: Path, case: str) -> None:
    content, words = BAD_TOKENS[case]
    (tmp_path / "t").write_bytes(content)
    text = complaint(lambda: read_tokens(tmp_path / "t", 2, max_bytes=ROOM))
    assert text.startswith(f"{tmp_path}/t: {words}")


def test_half_a_surrogate_pair_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(rb'"\ud83d"')
    text = complaint(lambda: read_tokens(tmp_path / "t", 1, max_bytes=ROOM))
    assert "holds half a surrogate pair; expected whole characters" in text


# -- queries, keys and values; weights


def test_qkv_with_and_without_a_mask_and_a_bias(tmp_path: Path) -> None:
    q, k, v = np.ones((2, 3, 5)), np.ones((2, 7, 5)), np.ones((2, 7, 11))
    bare = read_qkv(save(tmp_path / "x.npz", q=q[0], k=k[0], v=v[0]), max_bytes=ROOM)
    assert [bare.q.shape, bare.k.shape, bare.v.shape, bare.mask, bare.bias] == [(3, 5), (7, 5), (7, 11), None, None]
    mask, bias = np.eye(3, 7, dtype=bool), np.full((3, 7), -np.inf)
    full = read_qkv(save(tmp_path / "x.npz", q=q, k=k, v=v, mask=mask, bias=bias), max_bytes=ROOM)
    assert full.q.shape == (2, 3, 5)
    np.testing.assert_array_equal(full.mask, mask, strict=True)
    np.testing.assert_array_equal(full.bias, bias, strict=True)


EYE = np.eye(2)
BAD_QKV: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "missing": ({"q": EYE, "v": EYE}, "no array 'k'; expected it among 'q', 'v'"),
    "unknown": ({"q": EYE, "k": EYE, "v": EYE, "masks": EYE}, "holds 'masks'; expected q, k, v, mask and bias only"),
    "nearest": ({"q": EYE, "k": EYE, "V": EYE}, "holds 'V'; expected q, k, v, mask and bias only (did you mean v?)"),
    "stranger": ({"zzz": EYE}, "holds 'zzz'; expected q, k, v, mask and bias only"),
    "float mask": ({"q": EYE, "k": EYE, "v": EYE, "mask": EYE}, "array 'mask': float64; expected bool"),
    "bool bias": ({"q": EYE, "k": EYE, "v": EYE, "bias": EYE > 0}, "array 'bias': bool (booleans)"),
    "one axis": ({"q": EYE[0], "k": EYE, "v": EYE}, "q has shape (2,); expected (heads, n, width) or (n, width)"),
    "batch": ({"q": EYE, "k": EYE, "v": EYE[None, None]}, "v has shape (1, 1, 2, 2); expected (heads, n, width)"),
}


@pytest.mark.parametrize("case", BAD_QKV)
def test_bad_qkv(tmp_path: Path, case: str) -> None:
    arrays, words = BAD_QKV[case]
    path = save(tmp_path / "x.npz", **arrays)
    assert complaint(lambda: read_qkv(path, max_bytes=ROOM)).startswith(f"{path}: {words}")


def test_qkv_is_an_npz() -> None:
    assert complaint(lambda: read_qkv("x.npy", max_bytes=ROOM)) == "x.npy: suffix '.npy'; expected .npz"


def test_tensors_of_both_kinds(tmp_path: Path) -> None:
    for name in ("w.npz", "w.safetensors"):
        tensors = read_tensors(save(tmp_path / name, **{"blocks.0.attn.W_Q": X, "b": X[0]}), max_bytes=ROOM)
        assert sorted(tensors) == ["b", "blocks.0.attn.W_Q"]
        np.testing.assert_array_equal(tensors["blocks.0.attn.W_Q"], X, strict=True)
    text = complaint(lambda: read_tensors("w.pt", max_bytes=ROOM))
    assert text == "w.pt: suffix '.pt'; expected .npz or .safetensors"


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".safetensors"])
def test_every_kind_keeps_to_the_memory_it_may_take(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(MemoryRefused, match=re.escape("expected at most 9, set by --max-memory")):
        read_embeddings(save(tmp_path / f"x{suffix}", x=X), max_bytes=9)
