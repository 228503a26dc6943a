"""`attnlab variance` as a person types it: exit code, stdout, stderr and files together."""

import csv
import json
import re
from pathlib import Path

import pytest

from attnlab.cli.variance import EPILOG
from tests.commands import ELSEWHERE, attnlab


def test_one_width(tmp_path: Path) -> None:
    ended = attnlab("variance", "--dk", "64", "--out", "here", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == "Var(q·k) · d_k 64 · 100,000 pairs of normal entries · seed 0"
    found = re.match(r"Var\(q·k\) = (\S+) ± 0.29; theory 64 \(\d\.\d standard errors away: agrees\)", lines[2])
    assert found is not None
    assert abs(float(found[1]) - 64) <= 4 * 0.29
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "Written: here/ (variance.png .svg .csv, result.json, result.csv, run.json)"
    figure = {"variance.png", "variance.svg", "variance.csv"}
    assert {path.name for path in (tmp_path / "here").iterdir()} == {"result.json", "result.csv", "run.json"} | figure


def test_a_sweep_and_its_files(tmp_path: Path) -> None:
    options = ("--dk", "4", "--dk", "32", "--samples", "2000", "--keys", "16", "--seed", "5")
    ended = attnlab("variance", *options, "--out", "one", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert max(map(len, ended.out.splitlines())) <= 80
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert names == {"variance.png", "variance.svg", "variance.csv", "result.json", "result.csv", "run.json"}
    rows = list(csv.DictReader((tmp_path / "one" / "result.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["d_k"], row["sampling"]) for row in rows] == [(w, s) for w in ("4", "32") for s in ("pairs", "matrix")]
    again = attnlab("variance", *options, "--quiet", "--out", "two", cwd=tmp_path, env=ELSEWHERE)
    assert again.out.splitlines() == [ended.out.splitlines()[-1].replace("one/", "two/")]
    for name in names - {"run.json"}:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_json_is_one_document_and_writes_nothing(tmp_path: Path) -> None:
    ended = attnlab("variance", "--dk", "4", "--samples", "500", "--distribution", "uniform", "--json", cwd=tmp_path)
    assert (ended.code, ended.err, list(tmp_path.iterdir())) == (0, "", [])
    document = json.loads(ended.out)
    assert (document["schema"], document["seed"]) == ("attnlab.variance/1", 0)
    assert document["config"] == {
        "d_k": [4],
        "samples": 500,
        "keys": 128,
        "distribution": "uniform",
        "correlation": 0.0,
    }
    assert [row["sampling"] for row in document["rows"]] == ["pairs", "matrix"]
    assert document["rows"][0]["expected"] == 4


def test_without_widths_there_are_eleven(tmp_path: Path) -> None:
    ended = attnlab("variance", "--samples", "100", "--keys", "4", "--json", cwd=tmp_path)
    rows = json.loads(ended.out)["rows"]
    assert [row["d_k"] for row in rows if row["sampling"] == "pairs"] == [2**power for power in range(11)]


def test_a_block_s_own_scores(tmp_path: Path) -> None:
    ended = attnlab("variance", "--config", "vaswani-base", "--json", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    document = json.loads(ended.out)
    assert document["config"]["block"]["d_model"] == 512
    assert len(document["heads"]) == 8
    assert all(abs(head["z"]) <= 4 and 0.9 < head["expected"] < 1.1 for head in document["heads"])
    expected = [round(start["expected"], 3) for start in document["initialisations"]]
    assert expected == [3.16, 1.0, 0.25, 0.111, 0.094, 2.684]
    assert all(abs(start["z"]) <= 4 for start in document["initialisations"])


def test_the_examples_of_the_help_run(tmp_path: Path) -> None:
    examples = re.findall(r"^  attnlab variance (.*)$", EPILOG, re.MULTILINE)
    assert len(examples) == 2
    for example in examples:
        ended = attnlab("variance", *example.split(), cwd=tmp_path)
        assert (ended.code, ended.err) == (0, "")
        assert max(map(len, ended.out.splitlines()[:-1])) <= 80


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--dk", "0"], "variance: --dk 0; expected a width of 1 or more"),
        (["--dk", "8", "--dk", "-3"], "variance: --dk -3; expected a width of 1 or more"),
        (["--dk", "x"], "variance: --dk: 'x'; expected a whole number (attnlab variance --help lists what there is)"),
        (["--keys", "1"], "variance: --keys 1; expected 2 keys or more: over one key a softmax has nothing to choose"),
        (["--samples", "1"], "variance: --samples 1; expected 2 pairs or more"),
        (["--distribution", "gauss"], "variance: --distribution 'gauss'; expected normal, uniform or sign"),
        (["--correlation", "2"], "variance: --correlation 2; expected a number from -1 to 1"),
        (["--seed", "-1"], "variance: --seed -1; expected a whole number of 0 or more"),
        (
            ["--config", "vaswani-base", "--dk", "4"],
            "variance: --dk: not together with --config, whose weights and widths make the scores",
        ),
        (
            ["--inits", "--keys", "4"],
            "variance: --keys: not together with --inits, whose weights and widths make the scores",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_one_line_and_exit_2(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    ended = attnlab("variance", *arguments, cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"attnlab: error: {complaint}\n"
    assert list(tmp_path.iterdir()) == []


def test_too_much_memory_is_exit_4(tmp_path: Path) -> None:
    ended = attnlab("variance", "--dk", "64", "--keys", "1000000", "--max-memory", "100MiB", cwd=tmp_path)
    assert (ended.code, ended.out) == (4, "")
    assert re.fullmatch(r"attnlab: error: variance: --dk 64 and --keys 1000000 would need .* GiB, .*\n", ended.err)
