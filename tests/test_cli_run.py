"""`attnlab run`, from the command line to the files that it leaves."""

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab.cli import app
from attnlab.experiments import run as experiment
from attnlab.files.presets import preset_names
from attnlab.maths.statistics import HeadStatistics
from attnlab.records import Check
from tests.commands import ELSEWHERE, NOTHING, Ended, attnlab, error_line, printed_json, weights_of, written

Array = NDArray[Any]

SENTENCE = ["the", "bank", "near", "the", "river", "lent", "money", "to", "the", "boat", "builders"]
STEPS = ["T1", "T2", "T3", "T4", "T5", "H"]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def default(here: Path) -> Ended:
    """`attnlab run`, figures and all."""
    return attnlab("run", cwd=here)


class TestTheBareCommand:
    def test_shows_words_weights_steps_and_checks(self, default: Ended) -> None:
        assert (default.code, default.err) == (0, "")
        for word in (*SENTENCE, "[CLS]", "[SEP]"):
            assert word in default.out
        assert '"bank" looks most at "river" (0.69), which gives 0.18 back: not symmetric.' in default.out.replace(
            "\n", " "
        )
        for step in (f"{name} = " for name in STEPS):
            assert step in default.out
        for part in (
            "rows sum to 1",
            "no negative weight",
            "no output is longer than the longest value",
            "T1 … H equal their equations",
            "Var(",
        ):
            assert part in default.out
        assert "FAILED" not in default.out

    def test_names_the_files_that_it_wrote(self, default: Ended, here: Path) -> None:
        folder, files = written(default, here)
        assert re.fullmatch(r"run-\d{8}-\d{6}-[0-9a-f]{4}", folder.name)
        assert folder.parent == here / "outputs"
        figures = {f"{name}.{kind}" for name in ("attention", "scores", "steps") for kind in ("png", "svg")}
        assert files == figures | {"scores.csv", "steps.csv", "result.json", "result.csv", "run.json"}
        assert {path.name for path in folder.iterdir()} == files
        assert (folder / "attention.png").read_bytes().startswith(b"\x89PNG")
        assert "river" in (folder / "attention.svg").read_text(encoding="utf-8")

    def test_gives_river_its_weight_and_bank_what_comes_back(self, default: Ended, here: Path) -> None:
        folder, _ = written(default, here)
        result = json.loads((folder / "result.json").read_bytes())
        bank, river = result["tokens"].index("bank"), result["tokens"].index("river")
        weights = weights_of(result)
        assert round(weights[bank, river], 2) == 0.69
        assert round(weights[river, bank], 2) == 0.18

    def test_keeps_a_manifest(self, default: Ended, here: Path) -> None:
        folder, _ = written(default, here)
        manifest = json.loads((folder / "run.json").read_bytes())
        assert manifest["status"] == "complete"
        assert manifest["command_line"] == ["attnlab", "run"]
        assert manifest["config"]["block"]["d_k"] == 32
        assert {Path(name).name for name in manifest["inputs"]} == {
            "sentence.npz",
            "sentence.x.npy",
            "sentence.tokens.txt",
        }
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in manifest["inputs"].values())


@pytest.fixture(scope="module")
def result(here: Path) -> Any:
    return printed_json("run", "single-head", "--n", "3", cwd=here)


class TestJson:
    def test_has_the_fields_that_are_promised(self, result: Any) -> None:
        first = ["schema", "version", "seed", "config"]
        assert list(result) == [
            *first,
            "tokens",
            "n",
            "kernel",
            "heads",
            "steps",
            "aligned_by_chance",
            "checks",
            "not_finite",
            "barred_rows",
            "attention",
        ]
        assert result["schema"] == "attnlab.run/1"
        assert result["seed"] == 0
        assert result["tokens"] is None
        (head,) = result["heads"]
        promised = {"layer", "head", *HeadStatistics._fields, "predicted_score_variance", "prediction"} - {"reasons"}
        assert promised <= set(head)
        assert head["prediction"] == "population"
        assert [step["name"] for step in result["steps"]] == ["T1", "T2", "T3", "H"]
        assert set(result["steps"][0]) == {"layer", "name", "mean", "variance", "norm"}
        assert [set(check) for check in result["checks"]] == [{"id", "holds", "value", "bound"}] * 5
        assert set(result["attention"][0]) == {"layer", "head", "weights"}
        assert np.shape(result["attention"][0]["weights"]) == (3, 3)

    def test_says_null_and_why_for_what_is_no_number(self, here: Path) -> None:
        x = np.ones((7, 5), np.float32)
        x[0, 0] = np.nan
        np.save(here / "nan.npy", x)
        ended = attnlab("run", "--embeddings", "nan.npy", "--json", cwd=here)
        assert (ended.code, ended.err) == (1, "")
        nan = json.loads(ended.out)
        assert nan["not_finite"] == {"where": "nan.npy", "value": "NaN", "place": [0, 0], "numbers": 1}
        (head,) = nan["heads"]
        assert head["score_mean"] is None
        assert head["score_mean_reason"]
        assert (head["nonfinite_rows"], head["empty_rows"]) == (7, 0)
        assert {(step["mean"], step["mean_flag"]) for step in nan["steps"]} == {(None, "nan")}
        (here / "causal.yaml").write_text("block: {d_model: 8, n_heads: 1, causal: true}\n", encoding="utf-8")
        (head,) = printed_json("run", "causal.yaml", cwd=here)["heads"]
        assert (head["asymmetry"], head["prediction"], head["aligned"]) == (None, "population", None)
        assert head["asymmetry_reason"].startswith("causal")
        assert "prediction_reason" not in head

    def test_leaves_matrices_beyond_64_tokens_out(self, here: Path) -> None:
        assert printed_json("run", "single-head", "--n", "65", cwd=here)["attention"] == []

    def test_writes_only_where_it_is_told_to(self, tmp_path: Path) -> None:
        printed = attnlab("run", "single-head", "--json", cwd=tmp_path)
        assert list(tmp_path.iterdir()) == []
        ended = attnlab("run", "single-head", "--json", "--out", "new/one", "--no-figures", cwd=tmp_path)
        assert (ended.code, ended.err, ended.out) == (0, "", printed.out)
        assert (tmp_path / "new/one/result.json").read_text(encoding="utf-8") == printed.out
        assert {path.name for path in (tmp_path / "new/one").iterdir()} == {"result.json", "result.csv", "run.json"}


class TestQuiet:
    def test_says_only_where_the_files_are(self, tmp_path: Path) -> None:
        ended = attnlab("run", "single-head", "--quiet", "--no-figures", cwd=tmp_path)
        assert ended.out.count("\n") == 1
        folder, files = written(ended, tmp_path)
        assert {path.name for path in folder.iterdir()} == files == {"result.json", "result.csv", "run.json"}


class TestSeed:
    #: What two runs of one seed may differ in.
    OWN = ("started", "finished", "command_line")

    def files(self, cwd: Path, out: str, seed: str, env: Mapping[str, str] = NOTHING) -> dict[str, object]:
        ended = attnlab("run", "single-head", "--arrays", "--out", out, "--seed", seed, cwd=cwd, env=env)
        folder, names = written(ended, cwd)
        contents: dict[str, object] = {name: (folder / name).read_bytes() for name in names}
        manifest = json.loads((folder / "run.json").read_bytes())
        contents["run.json"] = {key: value for key, value in manifest.items() if key not in self.OWN}
        return contents

    def test_makes_every_byte_repeatable(self, tmp_path: Path) -> None:
        one, again, other = (
            self.files(tmp_path, out, *how) for out, *how in (("a", "7"), ("b", "7", ELSEWHERE), ("c", "8"))
        )
        assert set(one) == {
            *("attention.png", "attention.svg", "scores.png", "scores.svg", "steps.png", "steps.svg"),
            *("scores.csv", "steps.csv"),
            *("result.json", "result.csv", "arrays.npz", "run.json"),
        }
        assert one == again
        for name in one:
            assert one[name] != other[name], name


@pytest.fixture(scope="module")
def six_layers(here: Path) -> str:
    """A configuration of 6 layers and 8 heads."""
    text = "block: {d_model: 16, n_heads: 8, d_ff: null}\nlayers: 6\ninput: {random: {n: 3}}\n"
    (here / "six.yaml").write_text(text, encoding="utf-8")
    return "six.yaml"


class TestSelection:
    def test_of_layers_and_heads(self, six_layers: str, here: Path) -> None:
        result = printed_json("run", six_layers, "--layers", "1-2,4", "--heads", "0,7", cwd=here)
        places = [(layer, head) for layer in (1, 2, 4) for head in (0, 7)]
        assert [(head["layer"], head["head"]) for head in result["heads"]] == places
        assert [(one["layer"], one["head"]) for one in result["attention"]] == places
        assert {step["layer"] for step in result["steps"]} == {1, 2, 4}

    def test_of_the_head_that_is_shown(self, six_layers: str, here: Path) -> None:
        ended = attnlab("run", six_layers, "--head", "2.5", "--no-figures", "--details", cwd=here)
        assert "Who attends to whom, head 2.5" in ended.out
        assert "Scores and softmax, head 2.5" in ended.out
        assert "The block's steps, layer 2" in ended.out
        folder, _ = written(ended, here)
        rows = list(csv.DictReader((folder / "result.csv").read_text(encoding="utf-8").splitlines()))
        assert [(row["layer"], row["head"]) for row in rows] == [(str(i), str(j)) for i in range(6) for j in range(8)]

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--head", "1.0"], "run: layer 1; expected 0, the only one"),
            (
                ["vaswani-base", "--head", "0.3", "--heads", "1"],
                "run: head 0.3: not reported; expected one of those that --layers and --heads choose",
            ),
            (["vaswani-base", "--head", "7.0"], "run: layer 7; expected 0 to 5"),
            (["vaswani-base", "--head", "5.8"], "run: head 8; expected 0 to 7"),
            (["--head", "x"], "run: --head 'x'; expected LAYER.HEAD, such as 2.5"),
            (["--layers", "1"], "run: layer 1; expected 0, the only one"),
            (["--layers", "2-1"], "run: --layers '2-1'; expected numbers and ranges, such as 0-3,5"),
        ],
    )
    def test_of_what_is_not_there(self, arguments: list[str], said: str, here: Path) -> None:
        assert error_line(attnlab("run", *arguments, cwd=here), 2) == said


class TestArrays:
    def test_carry_the_names_that_others_use(self, here: Path) -> None:
        (here / "pre.yaml").write_text(
            "block: {d_model: 12, n_heads: 4, n_kv_heads: 2, d_k: 6, d_v: 5, norm_position: pre, position: rotary}\n"
            "layers: 2\ninput: {random: {n: 7}}\n",
            encoding="utf-8",
        )
        attnlab("run", "pre.yaml", "--arrays", "--layers", "1", "--quiet", "--no-figures", "--out", "pre", cwd=here)
        shapes = {name: array.shape for name, array in np.load(here / "pre/arrays.npz").items()}
        heads = {"q": (4, 7, 6), "k": (2, 7, 6), "v": (2, 7, 5), "rot_q": (4, 7, 6), "rot_k": (2, 7, 6), "z": (4, 7, 5)}
        expected: dict[str, tuple[int, ...]] = {f"attn.hook_{name}": shape for name, shape in heads.items()}
        expected |= dict.fromkeys(("attn.hook_attn_scores", "attn.hook_pattern"), (4, 7, 7))
        states = ("hook_resid_pre", "hook_attn_out", "hook_resid_mid", "hook_mlp_out", "hook_resid_post")
        expected |= dict.fromkeys((*states, "ln2.hook_normalized"), (7, 12))
        assert shapes == {f"blocks.1.{name}": shape for name, shape in expected.items()}


class TestMemory:
    def test_too_many_tokens_are_refused_and_the_advice_works(self, here: Path) -> None:
        asked = ("run", "single-head", "--kernel", "dense", "--max-memory", "64MiB")
        line = error_line(attnlab(*asked, "--n", "3000", cwd=here), 4)
        begun = "run: single-head: 3,000 tokens would need 90.8 MiB for their matrices, and 64.0 MiB may be used; "
        assert line.startswith(begun + "add --kernel streaming (needs ")
        most = re.findall(r"take ([\d,]+) tokens, or give --max-memory more", line)[0].replace(",", "")
        assert attnlab(*asked, "--json", "--n", most, cwd=here).code == 0
        assert attnlab(*asked, "--json", "--n", str(int(most) + 1), cwd=here).code == 4

    def test_weights_count_too(self, here: Path) -> None:
        line = error_line(attnlab("run", "gpt2-small", "--max-memory", "100MB", cwd=here), 4)
        assert line.endswith("take fewer layers or smaller widths, or give --max-memory more")

    def test_so_do_arrays_of_ones_own(self, here: Path) -> None:
        q = np.zeros((500, 2), np.float32)
        np.savez(here / "long.npz", q=q, k=q, v=q)
        asked = ("run", "--qkv", "long.npz", "--kernel", "dense")
        line = error_line(attnlab(*asked, "--max-memory", "1M", cwd=here), 4)
        assert line.startswith("run: long: 500 queries and 500 keys would need ")
        assert "for their matrices, and 1.0 MiB may be used; " in line

    @pytest.mark.parametrize(
        ("arguments", "said"), [(["--max-memory", "much"], "'much'; expected a size"), (["--n", "0"], "0")]
    )
    def test_what_is_no_size(self, arguments: list[str], said: str, here: Path) -> None:
        line = error_line(attnlab("run", "single-head", *arguments, cwd=here), 2)
        assert line.startswith(f"run: {arguments[0]} {said}")


class TestChecks:
    def test_one_that_fails_is_exit_code_1(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        broken = Check(id="rows_sum_to_1", holds=False, value=0.5, bound=1e-6, text="rows sum to 1 (off by 0.5)")
        monkeypatch.setattr(experiment, "block_checks", lambda *_: [broken])
        monkeypatch.chdir(tmp_path)
        assert app.run_app(["run", "single-head", "--no-figures"]) == 1
        out, err = capsys.readouterr()
        assert "FAILED rows sum to 1 (off by 0.5): 0.500; the bound is 1e-6" in out
        assert "Written: outputs/" in out
        assert err == ""
        (folder,) = (tmp_path / "outputs").iterdir()
        assert json.loads((folder / "run.json").read_bytes())["status"] == "complete"
        assert json.loads((folder / "result.json").read_bytes())["checks"][0]["holds"] is False


class TestPresets:
    @pytest.mark.parametrize("name", preset_names())
    def test_run_and_their_checks_hold(self, name: str, here: Path) -> None:
        ended = attnlab("run", name, "--json", cwd=here)
        assert (ended.code, ended.err) == (0, "")
        assert all(check["holds"] for check in json.loads(ended.out)["checks"])
