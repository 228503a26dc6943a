"""What is not finite is the first thing that is said, with its place, and the exit code is 1."""

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnlab.experiments.nonfinite import in_array, in_arrays
from tests.commands import attnlab

GPT2 = Path(__file__).parent / "golden" / "checkpoints" / "gpt2"
IDS = "1 2 5 7 8 9"


def spoilt(tmp_path: Path, tensor: str, place: tuple[int, int], value: float) -> str:
    """A copy of a checkpoint in which one number of a tensor is another."""
    folder = tmp_path / "spoilt"
    shutil.copytree(GPT2, folder)
    data = bytearray((folder / "model.safetensors").read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    entry = json.loads(data[8 : 8 + length])[f"transformer.{tensor}"]
    assert entry["dtype"] == "F32"
    at = 8 + length + entry["data_offsets"][0] + 4 * (place[0] * entry["shape"][1] + place[1])
    data[at : at + 4] = struct.pack("<f", value)
    (folder / "model.safetensors").write_bytes(data)
    return str(folder)


@pytest.mark.parametrize("kernel", ["dense", "streaming"])
@pytest.mark.parametrize(
    ("tensor", "value", "where", "place"),
    [
        ("h.1.attn.c_attn.weight", np.nan, "blocks.1.attn.W_Q", [0, 2, 3]),
        ("h.0.mlp.c_fc.weight", np.nan, "blocks.0.mlp.W_in", [2, 3]),
        ("h.1.mlp.c_fc.weight", -np.inf, "blocks.1.mlp.W_in", [2, 3]),
        ("wte.weight", np.inf, "the input", [1, 3]),
        ("h.0.mlp.c_fc.weight", 3e38, "layer 0", None),
    ],
)
def test_a_spoilt_model_says_where(
    tmp_path: Path, kernel: str, tensor: str, value: float, where: str, place: list[int] | None
) -> None:
    folder = spoilt(tmp_path, tensor, (2, 3), value)
    ended = attnlab("inspect", folder, "--ids", IDS, "--kernel", kernel, "--no-figures", cwd=tmp_path)
    assert (ended.code, ended.err) == (1, "")
    assert " ".join(ended.out.split("\n\n")[1].split()).startswith(f"Not finite: {where} ")
    ended = attnlab("inspect", folder, "--ids", IDS, "--kernel", kernel, "--json", cwd=tmp_path)
    assert (ended.code, ended.err) == (1, "")
    said: Any = json.loads(ended.out)
    assert (said["not_finite"]["where"], said["not_finite"]["place"]) == (where, place)
    broken = {(head["layer"], head["head"]) for head in said["heads"] if head["nonfinite_rows"]}
    assert not broken & {(one["layer"], one["head"]) for one in said["findings"]}
    ended = attnlab("run", folder, "--ids", IDS, "--kernel", kernel, "--no-figures", cwd=tmp_path)
    assert ended.code == 1
    assert f"Not finite: {where} " in " ".join(ended.out.split("\n\n")[1].split())


def test_a_whole_model_says_nothing_of_it(tmp_path: Path) -> None:
    ended = attnlab("inspect", str(GPT2), "--ids", IDS, "--no-figures", cwd=tmp_path)
    assert ended.code == 0
    assert "Not finite" not in ended.out


def test_arrays_that_are_given_are_named(tmp_path: Path) -> None:
    q, k, v = np.random.default_rng(0).standard_normal((3, 2, 4, 5)).astype(np.float32)
    v[1, 2, 3] = -np.inf
    np.savez(tmp_path / "mine.npz", q=q, k=k, v=v)
    ended = attnlab("run", "--qkv", "mine.npz", "--no-figures", cwd=tmp_path)
    assert ended.code == 1
    assert "Not finite: v holds -inf: 1 of 40 numbers, the first at head 1, row 2, column 3." in " ".join(
        ended.out.split()
    )


@pytest.mark.parametrize("low", [-10_000.0, np.finfo(np.float32).min, np.finfo(np.float16).min])
@pytest.mark.parametrize("kernel", ["dense", "streaming"])
def test_rows_that_are_hidden_by_numbers_are_counted_and_said(tmp_path: Path, low: float, kernel: str) -> None:
    """Rows 1 and 3 of 4 are barred in both heads; row 2 sees one key, and row 0 none at all: neither is."""
    q, k, v = np.random.default_rng(0).standard_normal((3, 2, 4, 5)).astype(np.float32)
    bias = np.zeros((4, 4), np.float32)
    bias[1], bias[3], bias[2, 1:] = low, low, low
    bias[3, 2], bias[0] = -np.inf, -np.inf
    np.savez(tmp_path / "mine.npz", q=q, k=k, v=v, bias=bias)
    ended = attnlab("run", "--qkv", "mine.npz", "--kernel", kernel, "--no-figures", cwd=tmp_path)
    assert ended.code == 0
    said = "4 of 8 rows have a bias of −10,000 or so on every key that they see"
    assert said in " ".join(ended.out.split())
    result = json.loads(attnlab("run", "--qkv", "mine.npz", "--kernel", kernel, "--json", cwd=tmp_path).out)
    assert result["barred_rows"] == 4
    assert [head["rows"] for head in result["heads"]] == [3, 3]
    assert [head["empty_rows"] for head in result["heads"]] == [1, 1]


class TestTheFirstPlace:
    def test_of_several_counts_all_and_names_the_first(self) -> None:
        x = np.zeros((3000, 4), np.float16)
        x[2100, 1] = x[2999, 0] = np.nan
        found = in_array(x, "x")
        assert found is not None
        assert (found.place, found.numbers, found.size, found.value) == ((2100, 1), 2, 12000, "NaN")

    def test_of_nothing_is_none(self) -> None:
        assert in_array(np.zeros((0, 3)), "x") is None
        assert in_arrays({"a": None, "b": np.ones(3)}) is None

    def test_a_single_number_has_a_place_too(self) -> None:
        found = in_arrays({"a": np.ones(3), "b": np.array(np.inf)})
        assert found is not None
        assert (found.where, found.place) == ("b", (0,))
