"""Bad .npy and .npz files end in one line that says what is wrong; good ones are read as they were written."""

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attnlab.errors import AttnlabError, InputError, MemoryRefused
from attnlab.files.numpy_files import npz_names, read_npy, read_npz

ROOM = 10**9
GRID = np.arange(6, dtype=np.float32).reshape(2, 3)


def complaint(caught: pytest.ExceptionInfo[AttnlabError], exit_code: int = 3) -> str:
    """The error's text, which must be one printable line that never advises unpickling."""
    text = str(caught.value)
    assert caught.value.exit_code == exit_code
    assert text.isprintable()
    assert "pickle" not in text
    return text


def npy(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version=version)
    return out.getvalue()


def npy_header(descr: object, shape: object, values: bytes = b"") -> bytes:
    """A .npy file made by hand, whose header may say anything."""
    return npy_text(f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}\n") + values


def npy_text(header: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()


def npz(*members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return out.getvalue()


# -- .npy


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(2, 3, 5), (7,), (), (0, 3)])
def test_npy_is_read_as_written(tmp_path: Path, dtype: str, order: Literal["C", "F"], shape: tuple[int, ...]) -> None:
    written = np.array(np.random.default_rng(0).normal(size=shape), dtype, order=order)
    np.save(tmp_path / "x.npy", written)
    x = read_npy(tmp_path / "x.npy", max_bytes=ROOM)
    np.testing.assert_array_equal(x, written, strict=False)
    assert x.dtype == np.dtype(dtype).newbyteorder("=")
    assert x.flags.writeable


def test_npy_of_the_second_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(npy(GRID, version=(2, 0)))
    np.testing.assert_array_equal(read_npy(tmp_path / "x.npy", max_bytes=ROOM), GRID)


def test_npy_larger_than_one_piece_is_read_whole(tmp_path: Path) -> None:
    written = np.arange(300_001, dtype=np.float64)
    np.save(tmp_path / "x.npy", written)
    np.testing.assert_array_equal(read_npy(tmp_path / "x.npy", max_bytes=ROOM), written)


ONES = np.ones((2, 3))
RAGGED = np.array([[1.0], [1.0, 2.0]], dtype=object)
BAD_NPY = {
    "empty": (b"", "an empty file"),
    "html": (b"\n <!DOCTYPE html><html></html>", "an HTML page"),
    "gzip": (b"\x1f\x8b\x08\x00", "a gzip file"),
    "zip": (npz(("x.npy", npy(GRID))), "a zip archive, as .npz files are"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
    "noise": (b"0123456789", "not a .npy array; expected what np.save writes"),
    "version 3": (npy(GRID, version=(3, 0)), ".npy version 3.0; expected 1.0 or 2.0"),
    "integers": (npy(ONES.astype("i8")), "int64 (integers); expected float16, float32 or float64: convert to float32"),
    "unsigned": (npy(ONES.astype("u1")), "np.save(file, x.astype('float32'))"),
    "booleans": (npy(ONES > 0), "bool (booleans)"),
    "objects": (npy(RAGGED), "object (Python objects)"),
    "structured": (npy(np.zeros(2, dtype=[("a", "f4")])), "void32 (a structured array)"),
    "nested": (npy_header(("<f4", (2,)), (1,), bytes(8)), "(a structured array)"),
    "bfloat16": (npy(ONES.astype(ml_dtypes.bfloat16)), "save bfloat16 as .safetensors"),
    "complex": (npy(ONES + 0j), "complex128 (complex numbers)"),
    "strings": (npy(np.array(["a", "b"])), "(text)"),
    "bytes": (npy(np.array([b"a"])), "(text)"),
    "dates": (npy(np.array(["2020-01-01"], dtype="M8[D]")), "(another type)"),
    "long double": (npy(ONES.astype(np.longdouble)), "(another type)"),
    "short": (npy(ONES)[:-1], "175 bytes; expected 176 for shape (2, 3): cut short"),
    "long": (npy(ONES) + b"\n", "177 bytes; expected 176 for shape (2, 3): bytes after the array"),
    "immense": (npy_header("<f4", (2**40,)), "for shape (1099511627776,): cut short"),
    "negative": (
        npy_header("<f4", (-1, -2), bytes(8)),
        "impossible lengths of its 2 axes; expected a shape that an array can have",
    ),
    "impossible": (npy_header("<f4", (0, 2**62, 2**62)), "expected a shape that an array can have"),
    "beyond printing": (
        npy_text("{'descr': '<f4', 'fortran_order': True, 'shape': (0x" + "f" * 5000 + ",)}"),
        "of its 1 axes",
    ),
    "truth for a length": (npy_header("<f4", (2, True), bytes(8)), "impossible lengths of its 2 axes"),
    "too many axes": (npy_header("<f4", (1,) * 65, bytes(4)), "expected a shape that an array can have"),
    "long header": (npy_header("<f4" + " " * 20_000, (1,)), "a .npy header that is cut short or damaged"),
    "no dtype": (npy_header("<q9", (1,)), "a .npy header that is cut short or damaged"),
    "odd shape": (npy_header("<f4", "ab"), "a .npy header that is cut short or damaged"),
    "nested header": (npy_text("[" * 3000), "a .npy header that is cut short or damaged"),
    "deep header": (npy_text("-" * 9000 + "1"), "a .npy header that is cut short or damaged"),
    "unclosed header": (npy_text("((("), "a .npy header that is cut short or damaged"),
    "indented header": (npy_text("1\n  2\n 3"), "a .npy header that is cut short or damaged"),
    "list": (npy_text("[1]"), "a .npy header that is cut short or damaged"),
    "no keys": (npy_text("{1: 2, 'a': 3}"), "a .npy header that is cut short or damaged"),
    "four keys": (
        npy_text("{'descr': '<f4', 'fortran_order': False, 'shape': (0,), 'a': 1}"),
        "a .npy header that is cut short or damaged",
    ),
    "odd order": (
        npy_text("{'descr': '<f4', 'fortran_order': 1, 'shape': (0,)}"),
        "a .npy header that is cut short or damaged",
    ),
    "a fraction": (npy_header("<f4", (0.5,)), "a .npy header that is cut short or damaged"),
    "listed shape": (npy_header("<f4", [0]), "a .npy header that is cut short or damaged"),
    "no padding": (npy_header("<f4", (0,))[:-1], "a .npy header that is cut short or damaged"),
    "no pair": (npy_header((), (1,)), "a .npy header that is cut short or damaged"),
}


@pytest.mark.parametrize("case", BAD_NPY)
def test_bad_npy(tmp_path: Path, case: str) -> None:
    content, words = BAD_NPY[case]
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        read_npy(tmp_path / "x.npy", max_bytes=ROOM)
    assert complaint(caught).startswith(f"{tmp_path}/x.npy: ")


def test_npy_beyond_the_memory_is_refused_unread(tmp_path: Path) -> None:
    start = npy_header("<f4", (2**38,))
    with open(tmp_path / "x.npy", "wb") as file:
        file.write(start)
        file.truncate(len(start) + 2**40)  # sparse: the header tells the truth, and the disk holds none of it
    with pytest.raises(MemoryRefused) as caught:
        read_npy(tmp_path / "x.npy", max_bytes=2**30)
    assert "1,099,511,627,776 bytes to read; expected at most 1,073,741,824, set by --max-memory" in complaint(
        caught, 4
    )


def test_npy_as_python_2_wrote_it_is_read(tmp_path: Path) -> None:
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L)}\n"
    (tmp_path / "x.npy").write_bytes(npy_text(header) + GRID.tobytes())
    np.testing.assert_array_equal(read_npy(tmp_path / "x.npy", max_bytes=ROOM), GRID)


def test_npy_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = npy(GRID)
    for length in range(len(whole)):
        (tmp_path / "x.npy").write_bytes(whole[:length])
        with pytest.raises(InputError) as caught:
            read_npy(tmp_path / "x.npy", max_bytes=1)
        complaint(caught)


NPY = npy(GRID)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(at=st.integers(0, len(NPY) - GRID.nbytes - 1), byte=st.integers(0, 255))
def test_npy_with_a_damaged_header_is_refused_or_an_array(tmp_path: Path, at: int, byte: int) -> None:
    (tmp_path / "x.npy").write_bytes(NPY[:at] + bytes([byte]) + NPY[at + 1 :])
    try:
        x = read_npy(tmp_path / "x.npy", max_bytes=ROOM)
    except InputError:
        return
    assert x.dtype.kind == "f"
    assert x.nbytes == GRID.nbytes


# -- .npz


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_is_read_as_written(tmp_path: Path, save: Callable[..., None]) -> None:
    big_endian = np.asfortranarray(np.random.default_rng(1).normal(size=(5, 7)).astype(">f8"))
    written = {"x": GRID, "blocks.0.W": big_endian, "half": GRID.astype(np.float16), "none": np.empty((0, 2))}
    save(tmp_path / "x.npz", **written)
    arrays = read_npz(tmp_path / "x.npz", max_bytes=ROOM)
    assert npz_names(tmp_path / "x.npz", max_bytes=ROOM) == tuple(arrays) == tuple(written)
    for name, array in written.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype.isnative


def test_npz_reads_only_what_is_asked(tmp_path: Path) -> None:
    damaged = npz(("good.npy", npy(GRID)), ("bad.npy", b"noise"))
    (tmp_path / "x.npz").write_bytes(damaged)
    assert list(read_npz(tmp_path / "x.npz", max_bytes=ROOM, names=["good"])) == ["good"]
    with pytest.raises(InputError, match=r"array 'bad': not a \.npy array"):
        read_npz(tmp_path / "x.npz", max_bytes=ROOM)


def test_npz_holds_booleans_only_where_asked(tmp_path: Path) -> None:
    mask = np.tri(3, dtype=bool)
    np.savez(tmp_path / "x.npz", mask=mask, x=GRID)
    arrays = read_npz(tmp_path / "x.npz", max_bytes=ROOM, boolean=["mask"])
    np.testing.assert_array_equal(arrays["mask"], mask, strict=True)
    for boolean, words in [((), r"'mask': bool \(booleans\)"), (("mask", "x"), "'x': float32; expected bool")]:
        with pytest.raises(InputError, match=words) as caught:
            read_npz(tmp_path / "x.npz", max_bytes=ROOM, boolean=boolean)
        complaint(caught)


def test_npz_booleans_are_0_and_1(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(npz(("mask.npy", npy_header("|b1", (2,), b"\x01\x02"))))
    with pytest.raises(InputError, match="array 'mask': bytes other than 0 and 1; expected bool") as caught:
        read_npz(tmp_path / "x.npz", max_bytes=ROOM, boolean=["mask"])
    complaint(caught)


def patched(archive: bytes, field: int, value: bytes) -> bytes:
    """The archive with some bytes of its directory's first entry set, `field` bytes after the entry's start."""
    at = archive.index(b"PK\x01\x02") + field
    return archive[:at] + value + archive[at + len(value) :]


ONE = npz(("x.npy", npy(GRID)))
TWO = npz(("x.npy", npy(GRID)), ("y.npy", npy(GRID)))
#: where in a directory's entry these stand
FLAGS, INFLATED_SIZE, COMMENT_LENGTH, OFFSET = 8, 24, 32, 42
DEFLATED = npz(("x.npy", npy(np.zeros(100, "f4"))), compression=zipfile.ZIP_DEFLATED)


def twice() -> bytes:
    with pytest.warns(UserWarning, match="Duplicate name"):
        return npz(("x.npy", npy(GRID)), ("x.npy", npy(GRID)))


def longer_than_inflated() -> bytes:
    """A deflated member whose header and directory agree on more bytes than the deflated ones hold."""
    start = npy_header("<f4", (200,))
    archive = npz(("x.npy", start + bytes(400)), compression=zipfile.ZIP_DEFLATED)
    return patched(archive, INFLATED_SIZE, (len(start) + 800).to_bytes(4, "little"))


BAD_NPZ = {
    "empty": (b"", "an empty file; expected what np.savez writes"),
    "html": (b"<html></html>", "an HTML page"),
    "npy": (npy(GRID), "a .npy array; expected what np.savez writes"),
    "noise": (b"noise", "not a zip archive"),
    "cut": (ONE[:-1], "cut short or damaged"),
    "crc": (ONE.replace(GRID.tobytes(), bytes(24)), "cut short or damaged (Bad CRC-32"),
    "deflate": (DEFLATED[:35] + b"\xff" + DEFLATED[36:], "cut short or damaged (Error -3"),
    "lost array": (patched(TWO, COMMENT_LENGTH, b"\x33"), "1 arrays; expected 2, as its last record says: damaged"),
    "far offset": (patched(ONE, OFFSET, b"\xff\xff\xff\x7f"), "cut short or damaged"),
    "encrypted": (patched(ONE, FLAGS, b"\x01"), "array 'x': encrypted"),
    "bzip2": (npz(("x.npy", npy(GRID)), compression=zipfile.ZIP_BZIP2), "array 'x': zip compression 12; expected 0"),
    "untrue size": (patched(DEFLATED, INFLATED_SIZE, b"\xff\xff\xff\x7f"), "said to be 2,147,483,647 bytes long"),
    "short": (npz(("x.npy", npy(GRID)[:-4])), "array 'x': 148 bytes; expected 152 for shape (2, 3): cut short"),
    "immense": (npz(("x.npy", npy_header("<f4", (2**40,)))), "for shape (1099511627776,): cut short"),
    "ends early": (longer_than_inflated(), "ends after 400 bytes of values; expected 800: cut short"),
    "twice": (twice(), "holds 'x' twice; expected each name once"),
    "not an array": (npz(("x\n.txt", b"")), r"holds 'x\n.txt'; expected .npy arrays only"),
    "objects": (npz(("x.npy", npy(RAGGED))), "array 'x': object (Python objects)"),
}


@pytest.mark.parametrize("case", BAD_NPZ)
def test_bad_npz(tmp_path: Path, case: str) -> None:
    content, words = BAD_NPZ[case]
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        read_npz(tmp_path / "x.npz", max_bytes=ROOM)
    assert complaint(caught).startswith(f"{tmp_path}/x.npz: ")


def test_npz_names_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(ONE)
    with pytest.raises(InputError, match="no array 'y'; expected it among 'x'") as caught:
        read_npz(tmp_path / "x.npz", max_bytes=ROOM, names=["x", "y"])
    complaint(caught)


def test_npz_bomb_is_data_where_it_fits_and_refused_where_not(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros(2**22, np.float32), y=np.zeros(2, np.float32))
    assert (tmp_path / "x.npz").stat().st_size < 20_000
    assert read_npz(tmp_path / "x.npz", max_bytes=2**24 + 8)["x"].size == 2**22
    assert list(read_npz(tmp_path / "x.npz", max_bytes=8, names=["y"])) == ["y"]
    with pytest.raises(MemoryRefused, match="16,777,224 bytes to read; expected at most 16,777,223") as caught:
        read_npz(tmp_path / "x.npz", max_bytes=2**24 + 7)
    complaint(caught, 4)


def test_npz_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = npz(("x.npy", npy(GRID)), ("y.npy", npy(GRID)), compression=zipfile.ZIP_DEFLATED)
    for length in range(len(whole)):
        (tmp_path / "x.npz").write_bytes(whole[:length])
        with pytest.raises(InputError) as caught:
            read_npz(tmp_path / "x.npz", max_bytes=1)
        complaint(caught)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(at=st.integers(0, len(ONE) - 1), bit=st.integers(0, 7))
def test_npz_with_a_flipped_bit_is_refused_or_right(tmp_path: Path, at: int, bit: int) -> None:
    (tmp_path / "x.npz").write_bytes(ONE[:at] + bytes([ONE[at] ^ 1 << bit]) + ONE[at + 1 :])
    try:
        arrays = read_npz(tmp_path / "x.npz", max_bytes=ROOM)
    except InputError:
        return
    for array in arrays.values():
        np.testing.assert_array_equal(array, GRID)
