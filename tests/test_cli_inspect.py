"""`attnlab inspect` as a person types it: on a small checkpoint that is committed, by token numbers."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from attnlab.cli.subjects import checkpoint_subject
from attnlab.cli.texts import Given
from attnlab.errors import MemoryRefused
from attnlab.models.checkpoint import Model
from tests.commands import ELSEWHERE, NOTHING, ROOT, attnlab, error_line, printed_json, written

CHECKPOINTS = ROOT / "tests" / "golden" / "checkpoints"
IDS = "3 1 4 1 5 9 2 6 5 3 5"


def checkpoint(name: str) -> Path:
    return CHECKPOINTS / name


def test_the_report_and_the_files(tmp_path: Path) -> None:
    done = attnlab("inspect", checkpoint("bert"), "--ids", IDS, "--head", "1.2", cwd=tmp_path)
    folder, files = written(done, tmp_path)
    assert files == {
        *("attention.png", "attention.svg", "heads.png", "heads.svg", "depth.png", "depth.svg", "depth.csv"),
        *("statistics.png", "statistics.svg", "statistics.csv", "result.json", "result.csv", "run.json"),
    }
    assert files == {path.name for path in folder.iterdir()}
    lines = done.out.splitlines()
    assert lines[0] == "bert family · 2 layers × 3 heads of 4 · 3,526 parameters · 11 tokens"
    assert lines[2] == "Entropy, as a share of what is possible"
    assert max(map(len, lines[:-1])) <= 80
    with (folder / "result.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["layer"], row["head"]) for row in rows] == [(str(i), str(j)) for i in range(2) for j in range(3)]
    with (folder / "statistics.csv").open(encoding="utf-8") as file:
        cells = [row for row in csv.DictReader(file) if row["map"] == "entropy, share of possible"]
    assert [float(cell["value"]) for cell in cells] == pytest.approx([float(row["normalized_entropy"]) for row in rows])


def test_a_configuration_is_inspected_on_its_own_input(tmp_path: Path) -> None:
    found = printed_json("inspect", "vaswani-base", "--layers", "0-1", cwd=tmp_path)
    same = printed_json("run", "vaswani-base", "--layers", "0-1", cwd=tmp_path)
    assert (found["model"]["family"], found["model"]["layers"], found["n"]) == (None, 6, 10)
    for head, own in zip(found["heads"], same["heads"], strict=True):
        assert head["entropy"] == pytest.approx(own["entropy"], rel=1e-6)
    assert attnlab("inspect", "--no-figures", cwd=tmp_path).out.startswith("sentence · 1 layer × 1 head of 32 · ")
    weights = printed_json("inspect", "vaswani-base", "--weights", "--layers", "5", cwd=tmp_path)
    assert [head["layer"] for head in weights["heads"]] == [5] * 8


def test_a_folder_that_is_not_there_is_said_to_be_none(tmp_path: Path) -> None:
    line = error_line(attnlab("inspect", "nonesuch", "--text", "a", cwd=tmp_path), 3)
    assert line == "nonesuch: no such folder; expected a checkpoint's, a configuration file or a preset"


def test_the_document_has_its_fields_and_repeats(tmp_path: Path) -> None:
    arguments = ("inspect", checkpoint("gemma2"), "--ids", IDS)
    one, two = (printed_json(*arguments, cwd=tmp_path, env=env) for env in (NOTHING, ELSEWHERE))
    assert one == two
    assert one["schema"] == "attnlab.inspect/1"
    assert one["model"] == {
        "family": "gemma2",
        "layers": 2,
        "heads": 6,
        "kv_heads": 2,
        "d_model": 18,
        "d_k": 4,
        "parameters": one["model"]["parameters"],
        "unused_settings": [],
    }
    assert (one["n"], len(one["tokens"]), len(one["heads"])) == (11, 11, 12)
    for finding in one["findings"]:
        assert {"layer", "head", "kind", "value", "text"} <= set(finding)
        assert finding["kind"] in one["thresholds"]
    assert one["config"]["per_layer"] is not None  # windows that alternate
    assert list(tmp_path.iterdir()) == []


def test_streaming_says_what_dense_says(tmp_path: Path) -> None:
    dense, streamed = (
        printed_json("inspect", checkpoint("llama-grouped"), "--ids", IDS, "--kernel", kernel, cwd=tmp_path)
        for kernel in ("dense", "streaming")
    )
    assert (dense["kernel"], streamed["kernel"]) == ("dense", "streaming")
    for one, other in zip(dense["heads"], streamed["heads"], strict=True):
        assert one["entropy"] == pytest.approx(other["entropy"], rel=1e-5)
        assert one["sink_mass"] == pytest.approx(other["sink_mass"], rel=1e-5)


def test_a_short_text_is_checked_on_the_queries_that_it_has(tmp_path: Path) -> None:
    given = ("inspect", checkpoint("bert"), "--kernel", "streaming", "--no-figures", "--ids")
    for ids, queries, tokens in (
        ("7", "1 query", "1 token"),
        ("7 8 9", "3 queries", "3 tokens"),
        (IDS, "8 queries", "8 tokens"),
    ):
        flat = attnlab(*given, ids, cwd=tmp_path).out.replace("\n", " ")
        assert f"· {queries} of each head equal the matrix formula" in flat
        assert f"T1 … H of {tokens} " in flat


def test_only_the_layers_and_heads_asked_for(tmp_path: Path) -> None:
    asked = printed_json("inspect", checkpoint("gpt2"), "--ids", IDS, "--layers", "0", "--heads", "2,0", cwd=tmp_path)
    assert [(head["layer"], head["head"]) for head in asked["heads"]] == [(0, 2), (0, 0)]
    every = printed_json("inspect", checkpoint("gpt2"), "--ids", IDS, cwd=tmp_path)
    assert asked["heads"][0] == every["heads"][2]


def test_arrays_are_those_of_run(tmp_path: Path) -> None:
    given = (checkpoint("bert"), "--ids", IDS, "--arrays", "--no-figures")
    for command in ("inspect", "run"):
        done = attnlab(command, *given, "--out", command, cwd=tmp_path)
        assert (done.code, done.err) == (0, "")
    with np.load(tmp_path / "inspect" / "arrays.npz") as one, np.load(tmp_path / "run" / "arrays.npz") as other:
        assert set(one) == set(other)
        assert "blocks.1.attn.hook_pattern" in set(one)
        for name in one:
            np.testing.assert_allclose(one[name], other[name], atol=1e-6)


def test_a_text_too_long_is_told_and_cut_where_asked(tmp_path: Path) -> None:
    long = " ".join(["7"] * 30)
    text = error_line(attnlab("inspect", checkpoint("bert"), "--ids", long, cwd=tmp_path), 3)
    assert "30 tokens; expected at most 19" in text
    assert "--truncate" in text
    assert list(tmp_path.iterdir()) == []
    done = attnlab("inspect", checkpoint("bert"), "--ids", long, "--truncate", "--no-figures", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "The text has 30 tokens: cut to the 19 that the model is made for." in done.out


def test_numbers_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("[3, 1, 4,\n 1, 5]\n", encoding="utf-8")
    assert printed_json("inspect", checkpoint("gpt2"), "--ids", "ids.txt", cwd=tmp_path)["n"] == 5


def test_weights_alone_need_no_text(tmp_path: Path) -> None:
    document = printed_json("inspect", checkpoint("bert"), "--weights", cwd=tmp_path)
    assert document["schema"] == "attnlab.inspect/1"
    done = attnlab("inspect", checkpoint("bert"), "--weights", "--ids", IDS, cwd=tmp_path)
    assert error_line(done, 2) == "inspect: --ids: not together with --weights, which needs no text"


@pytest.mark.parametrize("option", ["--truncate", "--arrays", "--asymmetry", "--kernel dense", "--statistic entropy"])
def test_weights_alone_refuse_what_only_a_run_has(option: str, tmp_path: Path) -> None:
    done = attnlab("inspect", checkpoint("bert"), "--weights", *option.split(), cwd=tmp_path)
    assert error_line(done, 2) == f"inspect: {option.split()[0]}: not together with --weights, which runs nothing"
    assert list(tmp_path.iterdir()) == []


def test_weights_alone_are_judged_for_texts_as_long_as_config_json_speaks_of(tmp_path: Path) -> None:
    done = attnlab("inspect", checkpoint("llama-grouped"), "--weights", "--no-figures", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "Nothing says how long this model's texts are" not in done.out


def test_a_rotary_model_takes_a_longer_text_and_says_so(tmp_path: Path) -> None:
    given = ("inspect", checkpoint("llama-grouped"), "--ids", " ".join(["7"] * 30), "--no-figures")
    said = "The text has 30 tokens; config.json speaks of 17: "
    assert said in attnlab(*given, cwd=tmp_path).out
    assert said in attnlab("run", *given[1:], cwd=tmp_path).out
    cut = attnlab(*given, "--truncate", cwd=tmp_path).out
    assert said not in cut
    assert "The text has 30 tokens: cut to the 17 that the model is made for." in cut


def test_a_text_too_large_is_refused_before_it_is_embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    def embedded(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Model, "embedded", embedded)
    given = Given(ids=" ".join(["7"] * 3000))
    with pytest.raises(MemoryRefused, match=r"3,000 tokens would need .* even without their matrices"):
        checkpoint_subject(str(checkpoint("llama-grouped")), given, 1 << 20, text=True)


def test_a_text_that_is_no_utf_8_is_told_as_such(tmp_path: Path) -> None:
    done = attnlab("inspect", checkpoint("bert"), "--text", os.fsdecode(b"caf\xe9 au lait"), cwd=tmp_path)
    assert error_line(done, 3) == "--text: character 4 is no UTF-8; expected a text in UTF-8"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--layers", "7"], 2, "inspect: layer 7; expected 0 to 1"),
        (["--head", "0.9"], 2, "inspect: head 9; expected 0 to 2"),
        (["--statistic", "entropie"], 2, "inspect: --statistic 'entropie'; expected score_mean, "),
        (["--kernel", "fast"], 2, "inspect: --kernel 'fast'; expected auto, dense or streaming"),
        (["--arrays", "--kernel", "streaming"], 2, "inspect: --arrays: not together with --kernel streaming"),
        (["--text", "a b"], 2, "inspect: --ids: not together with --text"),
        (["--max-memory", "1k"], 4, f"inspect: {checkpoint('bert')}/config.json: 661 bytes of JSON, which may take "),
    ],
)
def test_what_cannot_be_is_one_line(arguments: list[str], code: int, text: str, tmp_path: Path) -> None:
    done = attnlab("inspect", checkpoint("bert"), "--ids", IDS, *arguments, cwd=tmp_path)
    assert error_line(done, code).startswith(text)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        ("nowhere.txt", "nowhere.txt: no such file or directory; expected a file that can be read"),
        ("words.txt", "words.txt: entry 2 is 'two'; expected token numbers, such as 101 7592"),
        ("latin.txt", "latin.txt: byte 3 is no UTF-8; expected a text in UTF-8"),
        ("empty.txt", "empty.txt: no text in it; expected a text in UTF-8"),
        ("nul.txt", "nul.txt: a NUL character in it; expected a text in UTF-8"),
    ],
)
def test_token_numbers_that_are_none(ids: str, text: str, tmp_path: Path) -> None:
    contents = {"words.txt": b"1 two 3", "latin.txt": b"abc\xe9", "empty.txt": b" \n", "nul.txt": b"1\x002"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    assert error_line(attnlab("inspect", checkpoint("bert"), "--ids", ids, cwd=tmp_path), 3) == text
