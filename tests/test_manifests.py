"""run.json read back: whose run it was, and why it is not one to take up."""

import json
from pathlib import Path

import pytest

from attnlab.errors import InputError, UsageError
from attnlab.files.manifests import read_manifest
from attnlab.files.runs import SCHEMA


def written(folder: Path, **fields: object) -> Path:
    manifest = {
        "schema": SCHEMA,
        "status": "interrupted",
        "started": "2026-01-31T12:00:00+00:00",
        "command_line": ["attnlab", "complexity", "--seed", "1"],
    }
    (folder / "run.json").write_text(json.dumps(manifest | fields), encoding="utf-8")
    return folder


def test_an_interrupted_run_of_this_command_is_read(tmp_path: Path) -> None:
    assert read_manifest(written(tmp_path, seed=5), "complexity", max_bytes=1 << 20)["seed"] == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["attnlab", "run"], "run"),
        (["attnlab", "--version", "complexity"], "--version"),
        (["attnlab"], "nothing"),
    ],
)
def test_another_command_s_is_named(words: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_manifest(written(tmp_path, command_line=words), "complexity", max_bytes=1 << 20)
    assert str(caught.value) == f"--resume {tmp_path}: a run of {said}; expected one of complexity"


@pytest.mark.parametrize("words", [["attnlab", 7], [], "complexity", None])
def test_a_command_line_that_is_none(words: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run\.json: command_line: .*; expected a list of 1 or more, each text$"):
        read_manifest(written(tmp_path, command_line=words), "complexity", max_bytes=1 << 20)


def test_a_complete_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_manifest(written(tmp_path, status="complete"), "complexity", max_bytes=1 << 20)
    assert str(caught.value) == f"--resume {tmp_path}: the run is complete; there is nothing to take up"


def test_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_manifest(tmp_path, "complexity", max_bytes=1 << 20)
    assert str(caught.value) == f"--resume {tmp_path}: no run.json; expected the directory of an earlier run"


@pytest.mark.parametrize("schema", [None, "attnlab.run-directory/0"])
def test_another_schema(schema: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"run\.json: schema: .*; expected {SCHEMA}$"):
        read_manifest(written(tmp_path, schema=schema), "complexity", max_bytes=1 << 20)


@pytest.mark.parametrize("text", ["", "{", "[" * 10_000])
def test_no_json(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"run\.json: not JSON \(.*\); expected a JSON object"):
        read_manifest(tmp_path, "complexity", max_bytes=1 << 20)


def test_json_that_is_no_object(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match=r"run\.json: list; expected a JSON object"):
        read_manifest(tmp_path, "complexity", max_bytes=1 << 20)
