"""A file that is replaced or written to while it is read: one whole file's content, or a refusal; never two files'."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import attnlab
from attnlab.errors import InputError
from attnlab.files import embeddings
from attnlab.files.numpy_files import Array, read_npy
from attnlab.files.opening import open_regular, read_bytes, unchanging
from tests.commands import attnlab as command

CHECKPOINTS = Path(__file__).parent / "golden" / "checkpoints"
CHANGED = "replaced or changed while it was read; expected one file throughout: run again"


def replaced(path: Path, content: bytes) -> None:
    """Another file renamed to this one's place, as a careful writer does."""
    new = path.with_name("new")
    new.write_bytes(content)
    os.replace(new, path)


class TestUnchanging:
    def test_another_file_of_that_name_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "x"
        path.write_bytes(b"one")
        with unchanging():
            assert read_bytes(path, max_bytes=10) == b"one"
            assert read_bytes(path, max_bytes=10) == b"one"
            replaced(path, b"two")
            with pytest.raises(InputError, match=CHANGED):
                read_bytes(path, max_bytes=10)

    def test_outside_of_it_a_file_may_be_another_each_time(self, tmp_path: Path) -> None:
        path = tmp_path / "x"
        for content in (b"one", b"two"):
            replaced(path, content)
            assert read_bytes(path, max_bytes=10) == content
            with unchanging():
                assert read_bytes(path, max_bytes=10) == content

    def test_within_another_it_changes_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "x"
        path.write_bytes(b"one")
        with unchanging():
            with unchanging():
                read_bytes(path, max_bytes=10)
            replaced(path, b"two")
            with pytest.raises(InputError, match=CHANGED):
                read_bytes(path, max_bytes=10)

    @pytest.mark.parametrize("change", [lambda path: path.write_bytes(b"another"), lambda path: os.truncate(path, 1)])
    def test_what_is_written_to_while_it_is_open_is_refused(
        self, tmp_path: Path, change: Callable[[Path], object]
    ) -> None:
        path = tmp_path / "x"
        path.write_bytes(b"one")

        def read_and_change() -> None:
            with open_regular(path) as file:
                file.read()
                change(path)

        with pytest.raises(InputError, match=CHANGED):
            read_and_change()

    def test_a_file_that_attnlab_writes_itself_may_grow(self, tmp_path: Path) -> None:
        path = tmp_path / "points.jsonl"
        path.write_bytes(b"one")
        with unchanging():
            for _ in range(2):
                with open_regular(path, follow=False) as file, path.open("ab") as more:
                    file.read()
                    more.write(b"more")


def test_embeddings_and_their_hash_are_of_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = tmp_path / "x.npy", read_npy
    np.save(path, np.ones((2, 2), np.float32))

    def and_replace(name: Path, *, max_bytes: int) -> Array:
        x = read(name, max_bytes=max_bytes)
        replaced(path, path.read_bytes())
        return x

    monkeypatch.setattr(embeddings, "read_npy", and_replace)
    with pytest.raises(InputError, match=CHANGED):
        embeddings.read_embeddings(path, max_bytes=1 << 20)


@pytest.mark.parametrize("name", ["bert", "llama-grouped"])
def test_layers_are_all_of_one_file(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    shutil.copytree(CHECKPOINTS / name, folder)
    ids = np.array([2, 11, 7, 5, 3])
    model = attnlab.load_checkpoint(folder, keep=False)
    whole = model.statistics(ids)
    path = sorted(folder.glob("*.safetensors"))[0]
    replaced(path, path.read_bytes())
    with pytest.raises(InputError, match=f"{path.name}: {CHANGED}"):
        model.statistics(ids)
    again = attnlab.load_checkpoint(folder, keep=False).statistics(ids)
    assert [row.entropy for row in again] == [row.entropy for row in whole]


def test_a_run_tells_two_fine_tunes_apart(tmp_path: Path) -> None:
    shutil.copytree(CHECKPOINTS / "bert", tmp_path / "tuned")
    weights = tmp_path / "tuned" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    shutil.copytree(tmp_path / "tuned", tmp_path / "same")
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    name = next(name for name in header if name.endswith("layer.0.attention.self.query.weight"))
    at = 8 + length + header[name]["data_offsets"][0]
    data[at] ^= 1  # the last bit of one weight
    weights.write_bytes(data)
    said = {}
    for folder in (CHECKPOINTS / "bert", tmp_path / "same", tmp_path / "tuned"):
        for kind in (("run", "--ids", "2 3"), ("inspect", "--ids", "2 3"), ("inspect", "--weights")):
            out = tmp_path / f"{folder.name}-{'-'.join(kind).replace(' ', '')}"
            ended = command(kind[0], str(folder), *kind[1:], "--out", out.name, "--no-figures", "--quiet", cwd=tmp_path)
            assert ended.code == 0, ended
            said[folder.name, kind] = json.loads((out / "run.json").read_bytes())["weights"]
    for kind in {kind for _, kind in said}:
        bert, same, tuned = (said[name, kind] for name in ("bert", "same", "tuned"))
        assert set(bert) == {"sha256", "tensors"}
        assert bert == same
        assert bert["sha256"] != tuned["sha256"]
        assert bert["tensors"] == tuned["tensors"] > 10
