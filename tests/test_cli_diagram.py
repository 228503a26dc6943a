"""`attnlab diagram` from a shell: formats, files, what it says, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest

from attnlab import load_checkpoint
from attnlab.cli.diagram import FIRST, NAMES
from attnlab.experiments.diagram import KINDS
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
    assert np.array(found["A"]["values"]) == pytest.approx(
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
        (["heads"], "diagram: NAME 'heads'; expected growth, roles, projections, attention, parallel or block"),
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


def test_the_bare_command_draws_roles_and_says_what_else_there_is(tmp_path: Path) -> None:
    ended = attnlab("diagram", "--out", "made", cwd=tmp_path)
    _, names = written(ended, tmp_path)
    assert names == {"roles.png", "roles.svg", "result.json", "run.json"}
    assert "\nOthers: attnlab diagram growth, projections, attention, parallel or block.\n" in ended.out
    assert max(map(len, ended.out.splitlines()[:-1])) <= 80
    assert "Others" not in attnlab("diagram", "roles", "--out", "again", cwd=tmp_path).out


def test_the_names_are_those_of_the_drawings() -> None:
    assert ("growth", *KINDS) == NAMES
    assert FIRST in KINDS


# --- growth


def test_growth_is_drawn_from_formulas(tmp_path: Path) -> None:
    ended = attnlab("diagram", "growth", "--out", "made", cwd=tmp_path)
    folder, names = written(ended, tmp_path)
    assert names == {"growth.png", "growth.svg", "growth.csv", "result.json", "run.json"}
    assert (folder / "growth.png").read_bytes().startswith(b"\x89PNG")
    words = " ".join(ended.out.split())
    assert "from 2,048 to 4,096 tokens one layer's attention goes from 1.09 to 4.38 GFLOP" in words
    assert "from 16 MiB to 64 MiB; at 65,536 tokens they take 16 GiB." in words
    assert max(map(len, ended.out.splitlines()[:-1])) <= 80


def test_growth_goes_to_the_longest_text_asked_for(tmp_path: Path) -> None:
    result = printed_json("diagram", "growth", "--max-n", "1024", cwd=tmp_path)
    assert (result["schema"], result["drawing"], result["n"], result["half"]) == (
        "attnlab.diagram/1", "growth", 1024, 512,
    )  # fmt: skip
    assert (result["matrix"], result["half_matrix"]) == (4 << 20, 1 << 20)
    assert (result["flops"], result["flops"] / result["half_flops"]) == (1024 * 1024 * (4 * 64 + 5), 4)


# --- what is followed, and on what


def test_a_pair_of_tokens_is_followed(tmp_path: Path) -> None:
    result = printed_json("diagram", "roles", "--query", "river", "--key", "BANK", cwd=tmp_path)
    assert (result["query"], result["key"]) == (5, 2)
    assert result["keys"][0] == 5
    assert 2 in result["keys"]
    assert printed_json("diagram", "projections", "--query", "7", cwd=tmp_path)["query"] == 7


def test_a_drawing_of_one_s_own_embeddings(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.eye(3, 4))
    (tmp_path / "words.jsonl").write_text('"a"\n"b"\n"c"\n', encoding="utf-8")
    given = ("--embeddings", "x.npy", "--tokens", "words.jsonl", "--query", "c")
    result = printed_json("diagram", "attention", *given, cwd=tmp_path)
    assert (result["tokens"], result["query"], result["widths"]["d_model"]) == (["a", "b", "c"], 2, 4)
    assert {m["name"]: m["values"] for m in result["matrices"]}["Q"] == np.eye(3, 4).tolist()


def test_a_preset_with_as_many_random_tokens_as_asked_for(tmp_path: Path) -> None:
    assert printed_json("diagram", "roles", "vaswani-base", "--n", "5", cwd=tmp_path)["widths"]["n"] == 5


def test_a_checkpoint_is_drawn_on_a_text_of_one_s_own(tmp_path: Path) -> None:
    bert = ("diagram", "roles", GOLDEN / "bert")
    (tmp_path / "own.txt").write_text("the river", encoding="utf-8")
    spoken, filed = (
        printed_json(*bert, *given, cwd=tmp_path)["tokens"]
        for given in (("--text", "the river"), ("--text-file", "own.txt"))
    )
    assert spoken == filed
    most = load_checkpoint(GOLDEN / "bert").max_positions
    assert most is not None
    assert len(spoken) < most
    assert printed_json(*bert, "--ids", "1,2,3", cwd=tmp_path)["widths"]["n"] == 3
    long = ("--text", "the river " * 50)
    assert "--truncate takes the first" in error_line(attnlab(*bert, *long, cwd=tmp_path), 3)
    cut = printed_json(*bert, *long, "--truncate", cwd=tmp_path)
    assert cut["widths"]["n"] == most


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["growth", "--format", "mermaid"], "diagram: --format mermaid: growth is a plot, which Mermaid cannot draw"),
        (["growth", "--max-n", "63"], "diagram: --max-n 63; expected 64 to 16,777,216 tokens"),
        (["growth", "vaswani-base"], "diagram: CONFIG: not together with growth, which is drawn from formulas"),
        (["growth", "--truncate"], "diagram: --truncate: not together with growth"),
        (["roles", "--max-n", "64"], "diagram: --max-n: not together with roles; only growth has a longest text"),
        (["roles", "--query", "the"], "diagram: --query 'the': stands 3 times; expected one of its places, 1, 4, 9"),
        (["roles", "--key", "lake"], "diagram: --key 'lake': no such token; expected one of: [CLS] the bank"),
        (["block", "--query", "bank"], "diagram: --query: not together with block, which follows no query"),
        (["projections", "--key", "bank"], "diagram: --key: not together with projections, which follows no key"),
        (["roles", "--text", "river"], "diagram: --text: needs a checkpoint to read it"),
        (["roles", "sentence", "--n", "4"], "diagram: --n 4: the input of sentence is a file"),
        (["roles", str(GOLDEN / "bert"), "--n", "4"], "diagram: --n: not together with the checkpoint"),
    ],
)
def test_what_does_not_go_together(arguments: list[str], said: str, tmp_path: Path) -> None:
    assert error_line(attnlab("diagram", *arguments, cwd=tmp_path), 2).startswith(said)
    assert [*tmp_path.iterdir()] == []
