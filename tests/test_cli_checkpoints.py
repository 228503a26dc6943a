"""Commands on a checkpoint's folder in place of a configuration: run, why, cost and config."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml

import attnlab as library
from tests.checkpoint_copies import GOLDEN, copied, golden_ids
from tests.commands import attnlab, error_line, printed_json

BERT, GEMMA2 = GOLDEN / "bert", GOLDEN / "gemma2"
IDS = " ".join(str(i) for i in golden_ids("bert"))
needs_tokenizers = pytest.mark.skipif(find_spec("tokenizers") is None, reason="tokenizers is not installed")


class TestRun:
    def test_every_head_is_that_of_the_model(self, tmp_path: Path) -> None:
        found = printed_json("run", BERT, "--ids", IDS, cwd=tmp_path)
        rows = library.load_checkpoint(BERT).statistics(golden_ids("bert"))
        assert [(head["layer"], head["head"]) for head in found["heads"]] == [(row.layer, row.head) for row in rows]
        for head, row in zip(found["heads"], rows, strict=True):
            assert head["entropy"] == pytest.approx(float(row.entropy), rel=1e-5)
            assert head["prediction"] == "isotropic"
        assert all(check["holds"] for check in found["checks"])
        assert found["config"]["block"]["activation"] == "gelu"
        assert found["config"]["input"]["n"] == len(golden_ids("bert"))

    def test_every_step_of_other_forms_keeps_its_equation(self, tmp_path: Path) -> None:
        for name in ("gemma2", "gpt_neox", "olmo2", "bloom"):
            ids = " ".join(str(i) for i in golden_ids(name))
            checks = printed_json("run", GOLDEN / name, "--ids", ids, cwd=tmp_path)["checks"]
            (equations,) = [check for check in checks if check["id"] == "steps_equal_equations"]
            assert equations["holds"], name

    def test_arrays_have_transformerlens_names(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        ended = attnlab("run", BERT, "--ids", IDS, "--arrays", "--no-figures", "--out", out, cwd=tmp_path)
        assert ended.code == 0, ended
        model = library.load_checkpoint(BERT)
        with np.load(out / "arrays.npz") as arrays:
            pattern = arrays["blocks.1.attn.hook_pattern"]
        np.testing.assert_array_equal(pattern, model.trace(golden_ids("bert")).weights[1])

    @needs_tokenizers
    def test_a_text_is_shown_token_by_token(self, tmp_path: Path) -> None:
        ended = attnlab("run", BERT, "--text", "the river", "--no-figures", cwd=tmp_path)
        assert ended.code == 0, ended
        assert "[CLS]" in ended.out
        assert f"{len(library.load_checkpoint(BERT).encode('the river').ids)} tokens × " in ended.out

    @needs_tokenizers
    def test_a_longer_text_than_the_model_takes_is_cut_only_where_asked(self, tmp_path: Path) -> None:
        most = library.load_checkpoint(BERT).max_positions
        (tmp_path / "long.txt").write_text("the river " * 100, encoding="utf-8")
        arguments = ("run", BERT, "--text-file", "long.txt", "--no-figures")
        line = error_line(attnlab(*arguments, cwd=tmp_path), 3)
        assert f"tokens; expected at most {most}, the model's positions; --truncate takes the first {most}" in line
        ended = attnlab(*arguments, "--truncate", cwd=tmp_path)
        assert ended.code == 0, ended
        assert f"The first {most} of the text's " in ended.out
        assert ended.out.count("[SEP]") >= 1
        tokens = printed_json(*arguments[:-1], "--truncate", cwd=tmp_path)["tokens"]
        assert (len(tokens), tokens[0], tokens[-1]) == (most, "[CLS]", "[SEP]")


class TestWhy:
    def test_the_weight_is_the_models(self, tmp_path: Path) -> None:
        why = printed_json("why", BERT, "2", "1", "--ids", IDS, "--head", "1.1", cwd=tmp_path)
        weights = library.load_checkpoint(BERT).trace(golden_ids("bert")).weights[1]
        assert why["weight"] == pytest.approx(float(weights[1, 2, 1]), abs=1e-6)

    def test_a_windows_own_layer_decides_what_is_seen(self, tmp_path: Path) -> None:
        """Gemma 2's first layer sees a window, its second everything before."""
        ids, config = golden_ids("gemma2"), library.load_checkpoint(GEMMA2).config
        far = config.blocks[0].window or 0
        assert far < len(ids)
        given = ("--ids", " ".join(map(str, ids)))
        hidden, seen = (
            printed_json("why", GEMMA2, str(far), "0", *given, "--head", head, cwd=tmp_path) for head in ("0.0", "1.0")
        )
        assert hidden["weight"] == 0
        assert seen["weight"] > 0


class TestConfigAndCost:
    def test_show_is_a_configuration_that_can_be_run(self, tmp_path: Path) -> None:
        shown = attnlab("config", "show", GEMMA2, cwd=tmp_path)
        assert (shown.code, shown.err) == (0, "")
        assert shown.out.startswith("# The blocks of gemma2, with weights of their own")
        (tmp_path / "gemma2.yaml").write_text(shown.out, encoding="utf-8")
        stack = library.load_stack(tmp_path / "gemma2.yaml")
        assert tuple(stack.specs) == tuple(library.load_checkpoint(GEMMA2).stack.specs)
        assert attnlab("config", "check", "gemma2.yaml", cwd=tmp_path).code == 0
        assert printed_json("config", "show", GEMMA2, cwd=tmp_path)["config"] == yaml.safe_load(shown.out) | {
            "weights": {"init": "xavier_uniform", "per": "matrix", "seed": 0, "file": None}
        }

    def test_check_looks_at_every_tensor(self, tmp_path: Path) -> None:
        parameters = library.load_checkpoint(BERT).parameters
        ended = attnlab("config", "check", BERT, cwd=tmp_path)
        assert ended.out == f"{BERT}: right: bert, {len(library.load_checkpoint(BERT).stack.specs)} layers, " + (
            f"{parameters:,} parameters\n"
        )
        assert printed_json("config", "check", BERT, cwd=tmp_path)["parameters"] == parameters
        folder = copied(tmp_path, "bert")
        (folder / "model.safetensors").write_bytes(b"")
        assert "an empty file; expected a .safetensors file" in error_line(
            attnlab("config", "check", folder, cwd=tmp_path), 3
        )

    def test_cost_counts_its_blocks(self, tmp_path: Path) -> None:
        cost = printed_json("cost", BERT, "--n", "64", cwd=tmp_path)
        shown = attnlab("config", "show", BERT, cwd=tmp_path)
        (tmp_path / "bert.yaml").write_text(shown.out, encoding="utf-8")
        same = printed_json("cost", "bert.yaml", "--n", "64", cwd=tmp_path)
        assert cost["rows"] == same["rows"]


class TestWhatDoesNotGoTogether:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("run", BERT, "--embeddings", "x.npy"), "--embeddings: not together with the checkpoint"),
            (("run", BERT, "--n", "5"), "--n: not together with the checkpoint"),
            (("run", BERT, "--seed", "5"), "--seed: not together with the checkpoint"),
            (("run", BERT, "--ids", "1", "--text", "a"), "--ids: not together with --text"),
            (("run", "sentence", "--text", "a"), "--text: needs a checkpoint to read it; expected its folder"),
            (("run", "--truncate"), "--truncate: without effect; expected a checkpoint's folder"),
            (("why", "--ids", "1", "bank", "river"), "--ids: needs a checkpoint to read it"),
            (("why", BERT, "0", "0", "--tokens", "t.txt"), "--tokens: not together with the checkpoint"),
        ],
    )
    def test_is_said_in_one_line(self, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
        assert f"{arguments[0]}: {said}" in error_line(attnlab(*arguments, cwd=tmp_path), 2)

    def test_ids_that_are_none(self, tmp_path: Path) -> None:
        line = error_line(attnlab("run", BERT, "--ids", "1 99999", cwd=tmp_path), 3)
        assert "ids: 99999; expected 0 to " in line
