"""`attnlab diagram` from a shell: formats, files, what it says, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest

from attnlab import load_checkpoint
from tests.checkpoint_copies import GOLDEN
from tests.commands import attnlab, error_line, printed_json, written

TINY = "block: {d_model: 4, n_heads: 2, d_k: 3, d_v: 2, d_ff: 8}\nlayers: 3\ninput: {random: {n: 5, seed: 0}}\n"


def tiny(folder: Path) -> str:
    (folder / "tiny.yaml").write_text(TINY, encoding="utf-8")
    return "tiny.yaml"


@pytest.mark.parametrize("name", ["roles", "projections", "attention", "parallel", "block"])
def test_a_bare_drawing_is_a_png_and_an_svg(name: str, tmp_path: Path) -> None:
    ended = attnlab("diagram", name, "--out", "made", cwd=tmp_path)
    folder, names = written(ended, tmp_path)
    assert names == {f"{name}.png", f"{name}.svg", "result.json", "run.json"}
    assert {path.name for path in folder.iterdir()} == names
    assert ended.out.startswith("sentence · 13 tokens × 384\n")
    assert max(map(len, ended.out.splitlines()[:-1])) <= 80


@pytest.mark.parametrize(("form", "head"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_one_format_alone(form: str, head: bytes, tmp_path: Path) -> None:
    ended = attnlab("diagram", "roles", tiny(tmp_path), "--format", form, "--quiet", cwd=tmp_path)
    folder, names = written(ended, tmp_path)
    assert names == {f"roles.{form}", "result.json", "run.json"}
    assert (folder / f"roles.{form}").read_bytes().startswith(head)
    assert len(ended.out.splitlines()) == 1


def test_mermaid_is_printed_and_written(tmp_path: Path) -> None:
    ended = attnlab("diagram", "block", "vaswani-base", "--format", "mermaid", cwd=tmp_path)
    folder, names = written(ended, tmp_path)
    assert names == {"block.mmd", "result.json", "run.json"}
    text = (folder / "block.mmd").read_text(encoding="utf-8")
    assert text.startswith("flowchart TD\n")
    assert ended.out.startswith(text)
    assert ended.out.removeprefix(text).startswith("\nWritten: ")


def test_mermaid_is_not_printed_where_json_or_nothing_is_asked_for(tmp_path: Path) -> None:
    given = ("diagram", "block", tiny(tmp_path), "--format", "mermaid")
    assert printed_json(*given, cwd=tmp_path)["drawing"] == "block"
    ended = attnlab(*given, "--quiet", cwd=tmp_path)
    assert "flowchart" not in ended.out
    assert len(ended.out.splitlines()) == 1


def test_json_has_the_numbers_that_are_drawn_and_writes_nothing(tmp_path: Path) -> None:
    result = printed_json("diagram", "attention", tiny(tmp_path), "--head", "2.1", cwd=tmp_path)
    assert (result["schema"], result["drawing"], result["seed"]) == ("attnlab.diagram/1", "attention", 0)
    found = {matrix["name"]: matrix for matrix in result["matrices"]}
    q, k = (np.array(found[name]["values"]) for name in "QK")
    assert found["Q"]["shape"] == [5, 3]
    exponentials = np.exp(q @ k.T * result["scale"])
    assert np.array(found["weights"]["values"]) == pytest.approx(
        exponentials / exponentials.sum(axis=1, keepdims=True), abs=1e-6
    )
    assert np.array(found["O"]["values"]) == pytest.approx(
        np.array(found["weights"]["values"]) @ found["V"]["values"], abs=1e-6
    )
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_it_is_the_head_that_a_run_has(tmp_path: Path) -> None:
    drawn = printed_json("diagram", "attention", tiny(tmp_path), "--head", "2.1", "--seed", "7", cwd=tmp_path)
    ran = printed_json("run", "tiny.yaml", "--head", "2.1", "--seed", "7", cwd=tmp_path)
    (weights,) = [one["weights"] for one in ran["attention"] if (one["layer"], one["head"]) == (2, 1)]
    (own,) = [matrix["values"] for matrix in drawn["matrices"] if matrix["name"] == "weights"]
    assert np.array(own) == pytest.approx(np.array(weights), abs=1e-6)
    other = printed_json("diagram", "attention", "tiny.yaml", "--head", "2.1", cwd=tmp_path)
    assert other["matrices"] != drawn["matrices"]


def test_a_checkpoint_is_drawn_on_the_first_sentence_that_it_has_room_for(tmp_path: Path) -> None:
    folder = GOLDEN / "bert"
    drawn = printed_json("diagram", "attention", folder, "--head", "1.1", cwd=tmp_path)
    (own,) = [matrix for matrix in drawn["matrices"] if matrix["name"] == "weights"]
    most = load_checkpoint(folder).max_positions
    assert own["shape"] == [most, most]
    tokens = drawn["tokens"]
    assert (tokens[0], tokens[-1], len(tokens)) == ("[CLS]", "[SEP]", most)


def test_large_matrices_have_shapes_alone_in_json(tmp_path: Path) -> None:
    result = printed_json("diagram", "block", cwd=tmp_path)
    assert {matrix["values"] for matrix in result["matrices"]} == {None}
    assert [step["name"] for step in result["steps"]] == ["X", "T1", "T2", "T3", "T4", "T5", "H"]


def test_a_config_json_alone_is_drawn_at_random_weights(tmp_path: Path) -> None:
    settings = {"model_type": "gpt2", "n_embd": 8, "n_head": 2, "n_layer": 3, "n_positions": 16, "vocab_size": 11}
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    result = printed_json("diagram", "block", "model", cwd=tmp_path)
    assert (result["widths"]["layers"], result["widths"]["heads"], result["seed"]) == (3, 2, 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["heads"], "diagram: NAME 'heads'; expected roles, projections, attention, parallel or block"),
        (["block", "--format", "pdf"], "diagram: --format 'pdf'; expected both, png, svg or mermaid"),
        (["block", "--head", "0.1"], "diagram: --head 0.1: sentence has 1 layer of 1 head; expected LAYER.HEAD, each"),
        (["block", "gpt2-small", "--head", "12.0"], "diagram: --head 12.0: gpt2-small has 12 layers of 12 heads; "),
        (["block", "nothing"], "nothing: no such file and no such preset; expected"),
        (["block", "--seed", "-1"], "diagram: --seed -1"),
    ],
)
def test_refusals(arguments: list[str], said: str, tmp_path: Path) -> None:
    assert error_line(attnlab("diagram", *arguments, cwd=tmp_path), 2).startswith(said)
    assert [*tmp_path.iterdir()] == []


def test_a_run_too_large_is_refused(tmp_path: Path) -> None:
    ended = attnlab("diagram", "block", "llama-like", "--max-memory", "1MiB", cwd=tmp_path)
    assert error_line(ended, 4).startswith("diagram: llama-like: 12 tokens would need ")


def test_no_name_is_a_usage_error(tmp_path: Path) -> None:
    assert "NAME" in error_line(attnlab("diagram", cwd=tmp_path), 2)
