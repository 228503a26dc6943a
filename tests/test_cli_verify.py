"""`attnlab verify` from a shell: exit codes, stdout and stderr together, the files it leaves."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from attnlab.cli.app import run_app
from attnlab.experiments.claims import registry
from attnlab.experiments.claims.symmetry import LEMMA_4
from tests.commands import attnlab, error_line, printed_json, written


def test_tries_all_claims_and_names_its_files(tmp_path: Path) -> None:
    ended = attnlab("verify", "--out", "made", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == "23 claims of the course · seed 0"
    assert "15 hold (3 with the proof mended), 7 are corrected, 1 is refuted." in lines
    assert max(map(len, lines[:-1])) <= 80
    assert len(lines) <= 60
    folder, names = written(ended, tmp_path)
    assert {path.name for path in folder.iterdir()} == names == {"result.json", "result.csv", "run.json"}
    assert json.loads((folder / "result.json").read_bytes())["schema"] == "attnlab.verify/1"
    manifest = json.loads((folder / "run.json").read_bytes())
    assert (manifest["status"], manifest["seed"]) == ("complete", 0)


def test_explains_one(tmp_path: Path) -> None:
    ended = attnlab("verify", "lemma-4", "--explain", "--no-figures", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("lemma-4 · Lemma 4 · seed 0\n")
    assert "What remains: " in ended.out


def test_json_is_one_document_and_repeats_itself(tmp_path: Path) -> None:
    arguments = ("verify", "lemma-4", "Theorem-5", "--seed", "3", "--samples", "2")
    result = printed_json(*arguments, cwd=tmp_path)
    assert (result["schema"], result["seed"]) == ("attnlab.verify/1", 3)
    assert [(claim["id"], claim["samples"]) for claim in result["claims"]] == [("lemma-4", 4000), ("theorem-5", 288)]
    assert printed_json(*arguments, cwd=tmp_path) == result
    assert [*tmp_path.iterdir()] == []


def test_quiet_names_the_files_and_nothing_else(tmp_path: Path) -> None:
    ended = attnlab("verify", "theorem-5", "--quiet", cwd=tmp_path)
    assert (ended.code, ended.err, ended.out.count("\n")) == (0, "", 1)
    assert ended.out.startswith("Written: outputs/verify-")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("lema-4",), "verify: 'lema-4': no such claim; did you mean \"lemma-4\"? (there are lemma-1, "),
        (("lemma-4", "xyz"), "verify: 'xyz': no such claim (there are lemma-1, "),
        (("--samples", "0"), "verify: --samples 0; expected 1 or more: how many times the usual number of samples"),
        (("--samples", "x"), "verify: --samples: 'x'; expected a whole number"),
        (("--seed", "-1"), "verify: --seed -1; expected a whole number of 0 or more"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(arguments: tuple[str, ...], complaint: str, tmp_path: Path) -> None:
    assert error_line(attnlab("verify", *arguments, cwd=tmp_path), 2).startswith(complaint)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("json_wanted", [True, False])
def test_a_verdict_that_is_not_the_expected_one_is_exit_code_1(
    json_wanted: bool, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "CLAIMS", (replace(LEMMA_4, expected_verdict="corrected"),))
    monkeypatch.setattr(sys, "argv", ["attnlab"])
    assert run_app(["verify", *(["--json"] if json_wanted else [])]) == 1
    out, err = capsysbinary.readouterr()
    assert err == b""
    if json_wanted:
        (claim,) = json.loads(out)["claims"]
        assert (claim["verdict"], claim["expected_verdict"]) == ("holds", "corrected")
    else:
        assert b"lemma-4: holds; expected: corrected." in out
        assert b"Written: outputs/verify-" in out
