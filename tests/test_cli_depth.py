"""`attnlab depth` from a shell: exit codes, stdout and stderr together, the files it leaves."""

import json
import unicodedata
from pathlib import Path

import pytest

from tests.commands import ELSEWHERE, attnlab

#: Small enough to take no time.
QUICK = ("--n", "8", "--d-model", "16", "--heads", "2", "--layers", "3", "--seeds", "2")


def columns(line: str) -> int:
    """As a terminal counts them: the bar over x̄ takes none."""
    return sum(not unicodedata.combining(character) for character in line)


def test_tells_its_findings_and_names_its_files(tmp_path: Path) -> None:
    ended = attnlab("depth", *QUICK, "--out", "made", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert "Attention alone makes all tokens one" in ended.out
    assert max(map(columns, ended.out.splitlines()[:-1])) <= 80
    assert ended.out.splitlines()[-1].startswith("Written: made/ (depth.png .svg .csv")
    names = {path.name for path in (tmp_path / "made").iterdir()}
    assert {"result.json", "result.csv", "gains.csv", "depth.png", "depth.svg"} <= names


def test_json_is_one_document_and_repeats_itself(tmp_path: Path) -> None:
    arguments = ("depth", *QUICK, "--json", "--seed", "3", "--variant", "block")
    ended = attnlab(*arguments, cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    document = json.loads(ended.out)
    assert (document["schema"], document["seed"]) == ("attnlab.depth/1", 3)
    assert [(row["variant"], row["layer"]) for row in document["rows"]] == [("block", layer) for layer in range(4)]
    assert list(tmp_path.iterdir()) == []
    assert attnlab(*arguments, cwd=tmp_path, env=ELSEWHERE).out == ended.out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--layers", "0"), "--layers 0; expected 1 or more"),
        (("--d-model", "130"), "--d-model 130; expected a multiple of 4, set by --heads"),
        (("--heads", "3"), "--d-model 128; expected a multiple of 3, set by --heads"),
        (
            ("--variant", "blok"),
            "--variant 'blok'; expected one of attention, residual, residual_norm, block, block_without_residual",
        ),
        (("--seeds", "1"), "--seeds 1; expected 2 or more"),
        (("--init", "ones"), "--init 'ones'; expected one of xavier_uniform, xavier_normal, lecun_normal"),
        (("--seed", "-1"), "--seed -1; expected a whole number of 0 or more"),
        (("--max-memory", "lots"), "--max-memory 'lots'; expected a size such as 512MiB or 4GiB"),
    ],
)
def test_settings_that_cannot_be_are_one_line(arguments: tuple[str, ...], complaint: str, tmp_path: Path) -> None:
    ended = attnlab("depth", *arguments, cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"attnlab: error: depth: {complaint}\n"
    assert list(tmp_path.iterdir()) == []


def test_more_memory_than_may_be_used_is_refused(tmp_path: Path) -> None:
    ended = attnlab("depth", "--n", "8192", "--max-memory", "1GiB", cwd=tmp_path)
    assert (ended.code, ended.out) == (4, "")
    assert ended.err.startswith("attnlab: error: depth: 8,192 tokens would need 56.3 GiB")
    assert list(tmp_path.iterdir()) == []


def test_help_shows_the_examples_that_it_runs(tmp_path: Path) -> None:
    ended = attnlab("depth", "--help", cwd=tmp_path)
    assert ended.code == 0
    line = "depth --layers 24 --variant block_without_residual --no-figures"
    assert f"attnlab {line}" in ended.out
    ran = attnlab(*line.split(), cwd=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    assert "no residual path" in ran.out
