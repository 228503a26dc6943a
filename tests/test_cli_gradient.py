"""`attnlab gradient` as a person types it: exit code, stdout and stderr together."""

import csv
import json
from pathlib import Path

import pytest

from tests.commands import ELSEWHERE, NOTHING, attnlab


def test_one_width(tmp_path: Path) -> None:
    done = attnlab("gradient", "--dk", "64", "--rows", "256", "--out", "here", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("d_k 64 · softmax over 128 keys · 256 rows each · seed 0\n")
    assert done.out.splitlines()[-1] == "Written: here/ (result.json, result.csv, run.json)"
    assert max(map(len, done.out.splitlines())) <= 80


def test_a_sweep_writes_its_figure(tmp_path: Path) -> None:
    done = attnlab("gradient", "--dk", "8", "--dk", "256", "--rows", "256", "--out", "here", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert {"gradient.png", "gradient.svg", "result.csv", "result.json", "run.json"} <= {
        path.name for path in (tmp_path / "here").iterdir()
    }
    with (tmp_path / "here" / "result.csv").open(encoding="utf-8") as file:
        assert [row["d_k"] for row in csv.DictReader(file)] == ["8", "8", "256", "256"]


@pytest.mark.slow
def test_the_bare_command_fits_80_columns(tmp_path: Path) -> None:
    done = attnlab("gradient", "--no-figures", "--out", "here", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert max(map(len, done.out.splitlines())) <= 80


def test_json_is_one_document_and_repeats(tmp_path: Path) -> None:
    one, two = (
        attnlab("gradient", "--json", "--dk", "5", "--n", "7", "--rows", "256", "--seed", "3", cwd=tmp_path, env=env)
        for env in (NOTHING, ELSEWHERE)
    )
    assert one.out == two.out
    document = json.loads(one.out)
    assert [document[name] for name in ("schema", "seed", "n", "samples")] == ["attnlab.gradient/1", 3, 7, 256]
    assert document["config"] == {"d_k": [5], "n": 7, "rows": 256}
    assert document["rows"][0]["scaled"]["scale"] == pytest.approx(5**-0.5)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--dk", "0"], "gradient: --dk 0; expected a width of 1 or more"),
        (["--dk", "-8"], "gradient: --dk -8; expected a width of 1 or more"),
        (["--n", "1"], "gradient: --n 1; expected 2 keys or more: one key leaves the softmax nothing to choose"),
        (["--rows", "10"], "gradient: --rows 10; expected 256 or more, for a 99th percentile"),
        (["--seed", "-1"], "gradient: --seed -1; expected a whole number of 0 or more"),
        (["--dk", "x"], "gradient: --dk: 'x'; expected a whole number (attnlab gradient --help lists what there is)"),
    ],
)
def test_what_cannot_be_is_one_line(arguments: list[str], text: str, tmp_path: Path) -> None:
    done = attnlab("gradient", *arguments, cwd=tmp_path)
    assert (done.code, done.out, done.err) == (2, "", f"attnlab: error: {text}\n")
    assert list(tmp_path.iterdir()) == []


def test_too_much_memory_is_refused_before_any_work(tmp_path: Path) -> None:
    done = attnlab("gradient", "--n", "5000", "--dk", "64", "--max-memory", "100MiB", cwd=tmp_path)
    assert done.code == 4
    assert done.err.startswith("attnlab: error: gradient: 4,096 rows of 5,000 keys of width 64 would need ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--help"]])
def test_help_ends_with_examples_that_run(arguments: list[str], tmp_path: Path) -> None:
    done = attnlab("gradient", *arguments, cwd=tmp_path)
    assert done.out.rstrip().endswith("attnlab gradient --dk 64 --n 256 --no-figures")
