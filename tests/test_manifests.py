"""run.json read back: whose run it was, and why it is not one to take up."""

import json
from pathlib import Path

import pytest

from attnlab.errors import InputError, UsageError
from attnlab.files.manifests import read_manifest
from attnlab.files.runs import SCHEMA


def written(folder: Path, **fields: object) -> Path:
    manifest = {"schema": SCHEMA, "status": "interrupted", "command_line": ["attnlab", "complexity", "--seed", "1"]}
    (folder / "run.json").write_text(json.dumps(manifest | fields), encoding="utf-8")
    return folder


def test_an_interrupted_run_of_this_command_is_read(tmp_path: Path) -> None:
    assert read_manifest(written(tmp_path, seed=5), "complexity")["seed"] == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["attnlab", "run"], "run"),
        (["attnlab", "--version", "complexity"], "--version"),
        (["attnlab", 7], "7"),
        (["attnlab"], "nothing"),
        ([], "nothing"),
        ("complexity", "nothing"),
        (None, "nothing"),
    ],
)
def test_another_command_s_is_named(words: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_manifest(written(tmp_path, command_line=words), "complexity")
    assert str(caught.value) == f"--resume {tmp_path}: a run of {said}; expected one of complexity"


def test_a_complete_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_manifest(written(tmp_path, status="complete"), "complexity")
    assert str(caught.value) == f"--resume {tmp_path}: the run is complete; there is nothing to take up"


def test_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_manifest(tmp_path, "complexity")
    assert str(caught.value) == f"--resume {tmp_path}: no run.json; expected the directory of an earlier run"


@pytest.mark.parametrize("schema", [None, "attnlab.run-directory/0"])
def test_another_schema(schema: object, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_manifest(written(tmp_path, schema=schema), "complexity")
    assert str(caught.value) == f"{tmp_path / 'run.json'}: no schema {SCHEMA}; expected what a run has written"


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
def test_no_json(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"run\.json: no JSON: .*; expected what a run has written"):
        read_manifest(tmp_path, "complexity")


def test_json_that_is_no_object(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match=r"run\.json: no schema"):
        read_manifest(tmp_path, "complexity")
