"""`attnlab cost` from a shell: exit codes, stdout and stderr together, the files it leaves."""

import csv
import json
from pathlib import Path

import pytest

from tests.commands import attnlab, error_line, printed_json, written


def test_says_where_n_squared_takes_over_and_names_its_files(tmp_path: Path) -> None:
    ended = attnlab("cost", "vaswani-base", "--n", "131072", "--out", "made", cwd=tmp_path)
    lines = ended.out.splitlines()
    assert "takes 95.9 % of the" in lines[3]
    assert "It passes the projections at N = 1,024" in " ".join(lines)
    assert max(map(len, lines[:-1])) <= 80
    folder, names = written(ended, tmp_path)
    assert {path.name for path in folder.iterdir()} == names
    assert names == {"cost.png", "cost.svg", "cost.csv", "result.json", "result.csv", "run.json"}
    rows = list(csv.DictReader((folder / "result.csv").read_text(encoding="utf-8").splitlines()))
    assert sum(int(row["parameters"]) for row in rows) == 18_914_304


def test_the_bare_command_counts_the_paper_s_block(tmp_path: Path) -> None:
    ended = attnlab("cost", "--no-figures", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("vaswani-base · N = 4,096 tokens · 6 layers · ")


def test_json_is_exact_whatever_the_size(tmp_path: Path) -> None:
    n = 2**62 + 1
    result = printed_json("cost", "gpt2-small", "--n", str(n), "--convention", "mac", cwd=tmp_path)
    assert (result["schema"], result["seed"], result["n"]) == ("attnlab.cost/1", None, n)
    (scores,) = [row for row in result["rows"] if row["part"] == "scores"]
    assert scores["flops"] == 12 * (n * (n + 1) // 2) * 768
    assert result["convention"] == {"count": "mac", "causal": "half", "hides": True, "dtype": "float32"}
    assert result["crossover"] == {"core_over_projections": 4 * 768, "core_over_rest": 12 * 768}
    assert [*tmp_path.iterdir()] == []


def test_hidden_pairs_that_are_computed_count(tmp_path: Path) -> None:
    result = printed_json("cost", "gpt2-small", "--n", "64", "--causal", "full", cwd=tmp_path)
    assert result["crossover"] == {"core_over_projections": 2 * 768, "core_over_rest": 6 * 768}
    (scores,) = [row for row in result["rows"] if row["part"] == "scores"]
    assert scores["flops"] == 12 * 2 * 64**2 * 768


def test_a_configuration_whose_input_is_a_file_is_counted_at_any_length(tmp_path: Path) -> None:
    result = printed_json("cost", "sentence", "--n", "1000", cwd=tmp_path)
    (row,) = [row for row in result["rows"] if row["part"] == "softmax"]
    assert row["flops"] == 5 * 1000**2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--n", "0"), "cost: --n 0; expected 1 token or more"),
        (("--n", "-3"), "cost: --n -3; expected 1 token or more"),
        (("--n", str(2**63)), "cost: --n: '9223372036854775808'; expected a whole number below 2^63"),
        (("--n", "many"), "cost: --n: 'many'; expected a whole number"),
        (("--convention", "flops"), "cost: --convention 'flops'; expected flop or mac"),
        (("--causal", "no"), "cost: --causal 'no'; expected half or full"),
        (("--against", "theory"), "cost: --against 'theory'; expected measured"),
        (("--seed", "-1"), "cost: --seed -1; expected a whole number of 0 or more"),
        (("vaswani",), "vaswani: no such file and no such preset"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(arguments: tuple[str, ...], complaint: str, tmp_path: Path) -> None:
    assert error_line(attnlab("cost", *arguments, cwd=tmp_path), 2).startswith(complaint)
    assert [*tmp_path.iterdir()] == []


def test_a_run_beside_the_count(tmp_path: Path) -> None:
    block = {"d_model": 16, "n_heads": 2, "d_ff": 32}
    (tmp_path / "tiny.yaml").write_text(json.dumps({"block": block}), encoding="utf-8")
    arguments = ("cost", "tiny.yaml", "--n", "64", "--against", "measured")
    ended = attnlab(*arguments, "--out", "made", cwd=tmp_path)
    assert max(map(len, ended.out.splitlines()[:-1])) <= 80
    assert "Timed here at N = 64, one layer takes " in " ".join(ended.out.split())
    _, names = written(ended, tmp_path)
    assert {"speed.png", "speed.svg", "speed.csv"} < names
    measured = json.loads((tmp_path / "made" / "result.json").read_bytes())["measured"]
    assert measured["n"] == 64
    assert all(part["seconds_median"] > 0 and part["gflops"] > 0 for part in measured["parts"])


def test_help_shows_the_examples_that_it_runs(tmp_path: Path) -> None:
    ended = attnlab("cost", "--help", cwd=tmp_path)
    assert ended.code == 0
    assert "attnlab cost vaswani-base --n 131072" in ended.out
    line = "cost gpt2-small --n 1024 --against measured --no-figures"
    assert f"attnlab {line}" in ended.out
    ran = attnlab(*line.split(), cwd=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    assert "Timed: one layer at N = " in ran.out
