"""`attnlab lookup` from a shell: exit codes, stdout and stderr together, the files it leaves."""

import json
import unicodedata
from pathlib import Path

import pytest

from tests.commands import ELSEWHERE, attnlab

#: Small enough to take no time.
QUICK = ("--dk", "16", "--max-n", "64", "--repeats", "3", "--queries", "20")


def columns(line: str) -> int:
    """As a terminal counts them: the bar over x̄ takes none."""
    return sum(not unicodedata.combining(character) for character in line)


def test_tells_its_findings_and_names_its_files(tmp_path: Path) -> None:
    ended = attnlab("lookup", *QUICK, "--out", "made", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert "Attention is a table lookup that is soft" in ended.out
    assert max(map(columns, ended.out.splitlines()[:-1])) <= 80
    assert ended.out.splitlines()[-1].startswith("Written: made/ (hardening.png .svg .csv, horizon.png .svg .csv")
    names = {path.name for path in (tmp_path / "made").iterdir()}
    assert {"result.json", "result.csv", "matches.csv", "hardening.png", "horizon.svg"} <= names


def test_json_is_one_document_and_repeats_itself(tmp_path: Path) -> None:
    ended = attnlab("lookup", *QUICK, "--json", "--seed", "3", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    document = json.loads(ended.out)
    assert (document["schema"], document["seed"]) == ("attnlab.lookup/1", 3)
    assert document["config"]["widths"] == [16]
    assert [row["n"] for row in document["horizon"]] == [2, 4, 8, 16, 32, 33, 64]
    assert list(tmp_path.iterdir()) == []
    assert attnlab("lookup", *QUICK, "--json", "--seed", "3", cwd=tmp_path, env=ELSEWHERE).out == ended.out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--max-n", "1"), "--max-n 1; expected 2 or more keys to look through"),
        (("--keys", "1"), "--keys 1; expected 2 or more, so that there is something to choose"),
        (("--dk", "64", "--dk", "0"), "--dk 0; expected a width of 1 or more"),
        (("--repeats", "0"), "--repeats 0; expected 2 or more, so that there is an error bar"),
        (("--seed", "-1"), "--seed -1; expected a whole number of 0 or more"),
    ],
)
def test_settings_that_cannot_be_are_one_line(arguments: tuple[str, ...], complaint: str, tmp_path: Path) -> None:
    ended = attnlab("lookup", *arguments, cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"attnlab: error: lookup: {complaint}\n"
    assert list(tmp_path.iterdir()) == []


def test_text_for_a_number_is_one_line(tmp_path: Path) -> None:
    ended = attnlab("lookup", "--max-n", "many", cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert "'many'; expected a whole number" in ended.err
    assert len(ended.err.splitlines()) == 1


def test_more_memory_than_may_be_used_is_refused(tmp_path: Path) -> None:
    ended = attnlab("lookup", "--keys", "1048576", "--max-memory", "1GiB", cwd=tmp_path)
    assert (ended.code, ended.out) == (4, "")
    assert ended.err.startswith("attnlab: error: lookup: 128 queries and 1,048,576 keys would need 11.0 GiB")
    assert list(tmp_path.iterdir()) == []


def test_help_shows_the_examples_that_it_runs(tmp_path: Path) -> None:
    ended = attnlab("lookup", "--help", cwd=tmp_path)
    assert ended.code == 0
    assert "attnlab lookup --dk 64 --max-n 4096 --no-figures" in ended.out
    ran = attnlab("lookup", "--dk", "64", "--max-n", "4096", "--no-figures", cwd=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    assert "e^(√d_k − ½)" in ran.out
