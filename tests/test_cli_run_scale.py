"""`attnlab run` at lengths whose matrices are never made: what it chooses, shows, checks and refuses."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands import attnlab, error_line, printed_json, written

BLOCK = "block: {d_model: 24, n_heads: 4, n_kv_heads: 2, d_ff: 31%s}\nlayers: 2\ninput: {random: {n: 500}}\n"
VARIANTS = {
    "plain": "",
    "causal": ", causal: true, norm_position: pre, position: rotary",
    "alibi": ", position: alibi, window: 40, softcap: 3.0",
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scale")
    for name, changes in VARIANTS.items():
        (folder / f"{name}.yaml").write_text(BLOCK % changes, encoding="utf-8")
    return folder


def same(one: Any, other: Any) -> None:
    """Equal words, and numbers as near as float32 rounds them."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, float | list):
            np.testing.assert_allclose(value, other[name], rtol=2e-4, atol=2e-5, err_msg=name)
        else:
            assert value == other[name], name


class TestStreaming:
    @pytest.mark.parametrize("name", VARIANTS)
    def test_gives_the_dense_numbers(self, name: str, here: Path) -> None:
        dense = printed_json("run", f"{name}.yaml", "--kernel", "dense", cwd=here)
        streamed = printed_json("run", f"{name}.yaml", "--kernel", "streaming", "--asymmetry", cwd=here)
        assert (dense["kernel"], streamed["kernel"]) == ("dense", "streaming")
        for one, other in zip(streamed["heads"], dense["heads"], strict=True):
            same(one, other)
        for one, other in zip(streamed["steps"], dense["steps"], strict=True):
            same(one, other)
        assert streamed["attention"] == []
        assert [check["id"] for check in streamed["checks"]] == [
            "received_sums_to_1",
            "norm_bound",
            "sampled_rows_equal_formula",
            "steps_equal_equations",
        ]
        assert all(check["holds"] for check in streamed["checks"])

    def test_leaves_the_asymmetry_out_and_says_why(self, here: Path) -> None:
        heads = printed_json("run", "plain.yaml", "--kernel", "streaming", "--heads", "3,1", cwd=here)["heads"]
        assert [(head["layer"], head["head"]) for head in heads] == [(0, 3), (0, 1), (1, 3), (1, 1)]
        assert {head["asymmetry"] for head in heads} == {None}
        assert heads[0]["asymmetry_reason"].startswith("not asked for")

    def test_runs_no_layer_above_those_reported(self, here: Path) -> None:
        result = printed_json("run", "plain.yaml", "--kernel", "streaming", "--layers", "0", cwd=here)
        whole = printed_json("run", "plain.yaml", "--kernel", "streaming", cwd=here)
        assert result["heads"] == whole["heads"][:4]
        assert {step["layer"] for step in result["steps"]} == {0}

    def test_is_chosen_where_the_matrices_are_large(self, here: Path) -> None:
        ended = attnlab("run", "single-head", "--n", "12000", cwd=here)
        folder, files = written(ended, here)
        flat = ended.out.replace("\n", " ")
        assert (
            "Streamed, with its matrices it would need 1.2 GiB, and they are kept up to 1.0 GiB: exact statistics"
            in flat
        )
        assert "8 of 12,000 queries, summed over stretches of 1,000 keys" in flat
        assert "No key stands out in head 0" in flat
        assert "8 queries of each head equal the matrix formula in float64" in flat
        assert max(map(len, ended.out.splitlines()[:-1])) <= 95  # a note under the matrix is not wrapped
        assert {"received.png", "received.csv", "attention.svg", "scores.png", "steps.svg"} <= files
        assert "heads.png" not in files
        rows = list(csv.DictReader((folder / "received.csv").read_text(encoding="utf-8").splitlines()))
        assert len(rows) > 200
        (head,) = json.loads((folder / "result.json").read_bytes())["heads"]
        assert sum(head["received"]) == pytest.approx(1, abs=1e-6)

    def test_of_many_heads_shows_the_one_asked_for(self, here: Path) -> None:
        ended = attnlab("run", "causal.yaml", "--kernel", "streaming", "--head", "1.2", "--no-figures", cwd=here)
        assert ended.code == 0
        assert "Who attends to whom, head 1.2: 8 of 500 queries" in ended.out
        assert "The block's steps, layer 1" in ended.out


class TestQkv:
    def test_is_streamed_as_well(self, here: Path) -> None:
        rng = np.random.default_rng(0)
        q, k, v = (rng.standard_normal((h, 400, 8)).astype(np.float32) for h in (4, 2, 2))
        mask = np.tri(400, dtype=bool)
        mask[7] = False
        np.savez(here / "mine.npz", q=q, k=k, v=v, mask=mask)
        dense = printed_json("run", "--qkv", "mine.npz", cwd=here)
        streamed = printed_json("run", "--qkv", "mine.npz", "--kernel", "streaming", "--asymmetry", cwd=here)
        for one, other in zip(streamed["heads"], dense["heads"], strict=True):
            same(one, other)
        assert {head["empty_rows"] for head in streamed["heads"]} == {1}
        refused = attnlab("run", "--qkv", "mine.npz", "--max-memory", "20MiB", "--no-figures", cwd=here)
        assert "would need 22.0 MiB for their matrices" in error_line(refused, 4)
        assert "add --kernel streaming" in refused.err


class TestFiles:
    def test_embeddings_at_length_keep_their_tokens(self, here: Path) -> None:
        x = np.random.default_rng(1).standard_normal((300, 5)).astype(np.float32)
        np.save(here / "x.npy", x)
        (here / "x.txt").write_text("\n".join(f'"w{i}"' for i in range(300)), encoding="utf-8")
        files = ("--embeddings", "x.npy", "--tokens", "x.txt", "--no-figures")
        ended = attnlab("run", *files, "--kernel", "streaming", cwd=here)
        assert ended.code == 0
        assert "w299" in ended.out
        line = error_line(attnlab("run", *files, "--n", "9", cwd=here), 2)
        assert line.startswith("run: --n 9: the input of identity head is a file")


class TestNotANumber:
    def test_is_counted_and_said(self, here: Path) -> None:
        x = np.random.default_rng(2).standard_normal((50, 4)).astype(np.float32)
        x[3, 1] = np.nan
        np.save(here / "nan.npy", x)
        ended = attnlab("run", "--embeddings", "nan.npy", "--kernel", "streaming", cwd=here)
        assert (ended.code, ended.err) == (1, "")
        assert "Not finite: nan.npy holds NaN: 1 of 200 numbers, the first at row 3, column 1." in ended.out
        assert "50 of 50 rows of the heads' weights are not finite" in ended.out.replace("\n", " ")
        assert "No row of head 0 is finite: nothing to measure." in ended.out


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "code", "said"),
        [
            (["--kernel", "fast"], 2, "run: --kernel 'fast'; expected auto, dense or streaming"),
            (
                ["--kernel", "streaming", "--arrays"],
                2,
                "run: --arrays: not together with --kernel streaming, which never makes the matrices",
            ),
            (
                ["single-head", "--n", "65536", "--kernel", "dense", "--max-memory", "8GiB"],
                4,
                "run: single-head: 65,536 tokens would need 32.5 GiB for their matrices, and 8.0 GiB may be used; "
                "add --kernel streaming (needs 0.2 GiB), take 32,",
            ),
            (
                ["single-head", "--n", "100000000", "--max-memory", "1GiB"],
                4,
                "run: single-head: 100,000,000 tokens would need 286.5 GiB even without their matrices",
            ),
            (
                ["single-head", "--n", "20000", "--arrays", "--max-memory", "1GiB"],
                4,
                "run: single-head: 20,000 tokens would need 3.1 GiB, and 1.0 GiB may be used; take ",
            ),
        ],
    )
    def test_say_what_and_the_way_round(self, arguments: list[str], code: int, said: str, here: Path) -> None:
        assert error_line(attnlab("run", *arguments, cwd=here), code).startswith(said)
