"""A bad .safetensors file ends in one line; a good one is what the format's own library wrote."""

import json
import re
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attnlab.errors import InputError, MemoryRefused
from attnlab.files.safetensors_files import read_safetensors, safetensors_names

ROOM = 10**9


def stored(header: object, data: bytes = b"") -> bytes:
    """A .safetensors file with this header (text, or what becomes JSON) and these bytes of tensors."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(start: int, end: int, *, dtype: str = "F32", shape: object = None) -> dict[str, object]:
    return {"dtype": dtype, "shape": [(end - start) // 4] if shape is None else shape, "data_offsets": [start, end]}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_tensors_are_read_as_the_library_wrote_them(tmp_path: Path, dtype: type) -> None:
    rng = np.random.default_rng(2)
    w: np.ndarray = rng.normal(size=(3, 5, 2)).astype(dtype)
    written = {"w": w, "b": np.empty((0, 7), dtype), "s": np.array(3.5, dtype)}
    (tmp_path / "x.safetensors").write_bytes(safetensors.numpy.save(written, metadata={"format": "np"}))
    read = read_safetensors(tmp_path / "x.safetensors", max_bytes=ROOM)
    assert sorted(safetensors_names(tmp_path / "x.safetensors", max_bytes=ROOM)) == sorted(read) == sorted(written)
    for name, tensor in written.items():
        np.testing.assert_array_equal(read[name], tensor, strict=True)


def test_only_what_is_asked_is_read(tmp_path: Path) -> None:
    header = {"fp8": entry(0, 4, dtype="F8_E4M3", shape=[4]), "w": entry(4, 12)}
    (tmp_path / "x.safetensors").write_bytes(stored(header, bytes(12)))
    assert list(read_safetensors(tmp_path / "x.safetensors", max_bytes=ROOM, names=["w"])) == ["w"]
    with pytest.raises(InputError, match="no array 'v'; expected it among 'fp8', 'w'"):
        read_safetensors(tmp_path / "x.safetensors", max_bytes=ROOM, names=["v"])


def test_tensors_beyond_the_memory_are_refused(tmp_path: Path) -> None:
    """Only what is read counts: the values of those that are asked for, and the header."""
    size = 16 * 2**10
    header = {"v": entry(0, size, shape=[size // 4]), "w": entry(size, 2 * size, shape=[size // 4])}
    (tmp_path / "x.safetensors").write_bytes(stored(header, bytes(2 * size)))
    assert list(read_safetensors(tmp_path / "x.safetensors", max_bytes=size, names=["w"])) == ["w"]
    with pytest.raises(MemoryRefused, match="32,768 bytes to read; expected at most 32,767, set by") as caught:
        read_safetensors(tmp_path / "x.safetensors", max_bytes=2 * size - 1)
    assert caught.value.exit_code == 4


ENTRY = json.dumps(entry(0, 4)).encode()
BAD_SAFETENSORS = {
    "empty": (b"", "an empty file; expected a .safetensors file"),
    "html": (b"<!DOCTYPE html>", "an HTML page"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer and not the data itself"),
    "header cut": (stored({"w": entry(0, 4)})[:20], "20 bytes, of which the header takes"),
    "tensors cut": (stored({"w": entry(0, 8)}, bytes(7)), "cut short"),
    "trailing": (stored({"w": entry(0, 4)}, bytes(5)), "bytes after the last tensor"),
    "overlap": (stored({"v": entry(0, 8), "w": entry(4, 12)}, bytes(12)), "tensors overlap"),
    "gap": (stored({"v": entry(0, 4), "w": entry(8, 12)}, bytes(12)), "tensors leave a gap"),
    "late start": (stored({"w": entry(4, 8)}, bytes(8)), "tensors leave a gap"),
    "twice": (
        stored(b'{"w":%b,"w":%b}' % (ENTRY, ENTRY), bytes(4)),
        "header: not JSON ('w' stands there twice)",
    ),
    "not json": (stored(b"{w"), "header: not JSON (Expecting property name"),
    "not utf-8": (stored(b'{"\xff": 1}'), "header: byte 2 is not UTF-8; expected UTF-8"),
    "nested": (stored(b"[" * 100_000), "header: not JSON"),
    "list": (stored([1]), "header: list; expected a JSON object"),
    "no entry": (stored({"w\n": [1]}), r"tensor 'w\n': an entry of '[1]'; expected a dtype, a shape and data_offsets"),
    "no offsets": (stored({"w": {"dtype": "F32", "shape": [1]}}), "expected a dtype, a shape and data_offsets"),
    "backwards": (stored({"w": entry(4, 0)}), "expected a dtype, a shape and data_offsets"),
    "truth": (stored({"w": entry(False, 4)}, bytes(4)), "expected a dtype, a shape and data_offsets"),
    "fraction": (stored({"w": entry(0, 4, shape=[1.5])}, bytes(4)), "expected a dtype, a shape and data_offsets"),
    "shape": (stored({"w": entry(0, 4, shape=[2])}, bytes(4)), "tensor 'w': 4 bytes; expected 8 for F32 of shape (2,)"),
    "immense": (stored({"w": entry(0, 4, shape=[2**40])}, bytes(4)), "4 bytes; expected 4,398,046,511,104"),
    "impossible": (stored({"w": entry(0, 4, shape=[2**62] * 3)}, bytes(4)), "expected a shape that an array can have"),
    "negative": (stored({"w": entry(0, 4, shape=[-1, -1])}, bytes(4)), "expected a shape that an array can have"),
    "fp8": (
        stored({"w": entry(0, 4, dtype="F8_E5M2")}, bytes(4)),
        "tensor 'w': dtype 'F8_E5M2'; expected 'F16', 'BF16'",
    ),
    "integers": (stored({"w": entry(0, 8, dtype="I64")}, bytes(8)), "tensor 'w': dtype 'I64'; expected 'F16', 'BF16'"),
}


@pytest.mark.parametrize("case", BAD_SAFETENSORS)
def test_bad_safetensors(tmp_path: Path, case: str) -> None:
    content, words = BAD_SAFETENSORS[case]
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        read_safetensors(tmp_path / "x.safetensors", max_bytes=ROOM)
    assert str(caught.value).startswith(f"{tmp_path}/x.safetensors: ")
    assert str(caught.value).isprintable()
    assert caught.value.exit_code == 3


WRITTEN: dict[str, np.ndarray] = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.float16)}
WHOLE = safetensors.numpy.save(WRITTEN)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    for length in range(len(WHOLE)):
        (tmp_path / "x.safetensors").write_bytes(WHOLE[:length])
        with pytest.raises(InputError):
            read_safetensors(tmp_path / "x.safetensors", max_bytes=ROOM)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(at=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255))
def test_a_damaged_file_is_refused_or_read_as_the_library_reads_it(tmp_path: Path, at: int, byte: int) -> None:
    damaged = WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :]
    (tmp_path / "x.safetensors").write_bytes(damaged)
    try:
        read = read_safetensors(tmp_path / "x.safetensors", max_bytes=ROOM)
    except InputError:
        return
    expected = safetensors.numpy.load(damaged)
    assert sorted(read) == sorted(expected)
    for name, tensor in expected.items():
        np.testing.assert_array_equal(read[name], tensor, strict=True)
