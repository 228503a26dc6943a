"""Readers of a person's files stay within the memory that they were granted, or refuse before they read.

The files are the worst that are known for each reader: what a byte of them becomes in memory is most.
"""

import json
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from attnlab.errors import InputError, MemoryRefused
from attnlab.files.embeddings import read_embeddings, read_tokens
from attnlab.files.opening import JSON_MEMORY, read_json
from attnlab.files.texts import read_ids, read_text
from attnlab.models.checkpoint import config_of, load_checkpoint
from tests.checkpoint_copies import copied

BYTES = 100_000
#: Two pieces of 256 KiB, complaints, numpy's parser of headers: not of the file's making.
BESIDE = 5 << 17


def rows(one: str) -> bytes:
    return (one * (BYTES // len(one.encode()))).encode()


def listed(one: str) -> bytes:
    return b'{"x":[' + rows(f"{one},")[:-1] + b"]}"


def stored(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


JSON = {
    "objects": listed("{}"),
    "objects with a name": listed('{"":0}'),
    "lists": listed("[]"),
    "lists in lists": listed("[" * 900 + "]" * 900),
    "text": listed('"ab"'),
    "numbers": listed("1e1"),
    "text with an emoji": listed('"a"')[:-2] + ',"\U0001f600"]}'.encode(),
    "names": json.dumps({f"{i:x}": {} for i in range(BYTES // 12)}, separators=(",", ":")).encode(),
}
TOKENS = {
    "empty lines": rows("\n"),
    "short tokens": rows('"ab"\n'),
    "plain tokens": rows("a\n"),
    "one plain line with an emoji": rows("a") + "\U0001f600".encode(),
    "one line": b'"' + rows("a") + b'"',
    "one line with an emoji": b'"' + rows("a") + '\U0001f600"'.encode(),
}
NUMBERS = {
    "one row": rows("1,") + b"1\n",
    "one column": rows("1\n"),
    "one row with a fault": rows("1,") + "\U0001f600".encode(),
    "empty rows": b"1\n" + rows("\n") + b"1\n",
    "one cell": rows("1"),
    "names": rows("a,1\n"),
    "names in quotes": rows('"",1\n'),
    "a name with an emoji": rows("a,1\n") + "\U0001f600,1\n".encode(),
    "a header": b"x\n" + rows("1\n"),
    "decimal commas": rows(",1;2\n"),
    "one row of decimal commas": rows("1,;") + b"1\n",
}
TEXTS = {"plain": rows("a"), "an emoji": rows("a") + "\U0001f600".encode(), "line ends": rows("\r\n") + b"a"}
IDS = {"two digits": rows("12 "), "lists": rows("[1],"), "one digit": rows("1,")}


def peak_of(read: Callable[[int], object], max_bytes: int) -> int:
    """The most that reading takes, whether it succeeds or ends in a complaint of the file."""
    tracemalloc.start()
    try:
        read(max_bytes)
    except InputError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return peak


def require_bounded(read: Callable[[int], object], size: int) -> None:
    """Check that reading keeps to the smallest budget that is granted, and that a refusal takes next to nothing."""
    least = next(room for room in (growth * size for growth in range(1, 80)) if granted(read, room))
    assert peak_of(read, least) <= least + BESIDE
    with pytest.raises(MemoryRefused, match=r" bytes .*to read; expected at most \d+, set by --max-memory"):
        read(16)
    tracemalloc.start()
    with pytest.raises(MemoryRefused):
        read(least - size)
    assert tracemalloc.get_traced_memory()[1] < BESIDE
    tracemalloc.stop()


def granted(read: Callable[[int], object], max_bytes: int) -> bool:
    try:
        read(max_bytes)
    except MemoryRefused:
        return False
    except InputError:
        return True
    return True


@pytest.mark.parametrize("case", JSON)
def test_json(tmp_path: Path, case: str) -> None:
    (tmp_path / "x.json").write_bytes(JSON[case])
    require_bounded(lambda room: read_json(tmp_path / "x.json", max_bytes=room), len(JSON[case]))


@pytest.mark.parametrize("case", JSON)
def test_the_header_of_safetensors(tmp_path: Path, case: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(stored(JSON[case]))
    require_bounded(lambda room: read_embeddings(path, max_bytes=room), len(JSON[case]))


@pytest.mark.parametrize("case", TOKENS)
@pytest.mark.parametrize("n", [1, BYTES])
def test_tokens(tmp_path: Path, case: str, n: int) -> None:
    (tmp_path / "t").write_bytes(TOKENS[case])
    require_bounded(lambda room: read_tokens(tmp_path / "t", n, max_bytes=room), len(TOKENS[case]))


@pytest.mark.parametrize("case", NUMBERS)
def test_rows_of_numbers(tmp_path: Path, case: str) -> None:
    (tmp_path / "x.csv").write_bytes(NUMBERS[case])
    require_bounded(lambda room: read_embeddings(tmp_path / "x.csv", max_bytes=room), len(NUMBERS[case]))


@pytest.mark.parametrize("case", TEXTS)
def test_texts(tmp_path: Path, case: str) -> None:
    (tmp_path / "x.txt").write_bytes(TEXTS[case])
    require_bounded(lambda room: read_text(tmp_path / "x.txt", max_bytes=room), len(TEXTS[case]))


@pytest.mark.parametrize("case", IDS)
def test_token_numbers(tmp_path: Path, case: str) -> None:
    (tmp_path / "ids").write_bytes(IDS[case])
    require_bounded(lambda room: read_ids(str(tmp_path / "ids"), max_bytes=room), len(IDS[case]))


def test_the_directory_of_an_archive(tmp_path: Path) -> None:
    """zipfile reads it in one piece, and makes an object of each entry; a piece of an array's size is let through."""
    path, members = tmp_path / "x.npz", 30_000
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(members):
            archive.writestr(f"{i:x}.npy", b"")
    size = path.stat().st_size - archive.start_dir
    assert size > 1 << 18

    def read(room: int) -> object:
        return read_embeddings(path, max_bytes=room)

    assert not granted(read, 15 * size)
    assert peak_of(read, 16 * size) <= 16 * size + BESIDE
    with pytest.raises(MemoryRefused, match=r"x\.npz: directory: [\d,]+ bytes to read; expected at most 16,"):
        read(16)


def test_a_checkpoint_s_own_files(tmp_path: Path) -> None:
    """Of a config.json and of an index that are longer than any: refused, by each of the doors to a checkpoint."""
    folder = copied(tmp_path, "bert")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "more": [{}] * 50_000}))
    for read in (load_checkpoint, config_of):
        with pytest.raises(MemoryRefused, match=r"config\.json: [\d,]+ bytes of JSON, .* at most 4,194,304, set"):
            read(folder, max_bytes=1 << 22)
        read(folder, max_bytes=1 << 24)


def test_the_headers_of_shards_count_together(tmp_path: Path) -> None:
    folder = copied(tmp_path, "bert")
    whole = (folder / "model.safetensors").read_bytes()
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    names = json.loads(whole[8:header])
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    filler = json.dumps({f"n{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(600)}).encode()
    shards = {name: "a.safetensors" for name in names if name != "__metadata__"}
    for letter in "bcd":
        (folder / f"{letter}.safetensors").write_bytes(stored(filler))
        shards[letter] = f"{letter}.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    taken = JSON_MEMORY * (header + 2 * len(filler) + (folder / "model.safetensors.index.json").stat().st_size + 100)
    with pytest.raises(InputError, match=r"b\.safetensors: no tensor 'b'"):  # every header has been read by then
        load_checkpoint(folder, max_bytes=taken + JSON_MEMORY * len(filler))
    with pytest.raises(MemoryRefused, match=r"d\.safetensors: header: [\d,]+ bytes of JSON"):
        load_checkpoint(folder, max_bytes=taken)


def test_an_array_file_takes_what_its_values_take(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((1000, 250), np.float32))
    require_bounded(lambda room: read_embeddings(tmp_path / "x.npy", max_bytes=room), 1_000_000)
