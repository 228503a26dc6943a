"""`attnlab run` on what a person brings: embeddings with their tokens, or q, k and v themselves."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from attnlab.errors import UsageError
from attnlab.experiments.run_qkv import run_qkv
from attnlab.experiments.run_record import Selection
from attnlab.files.embeddings import QKV
from tests.commands import attnlab, error_line, printed_json, weights_of, written

Array = NDArray[Any]


def x_of(n: int = 7, width: int = 5) -> Array:
    return np.random.default_rng(3).standard_normal((n, width)).astype(np.float32)


def softmax(scores: Array) -> Array:
    """Written out: no code of the package's."""
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights: Array = e / e.sum(axis=-1, keepdims=True)
    return weights


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inputs")


@pytest.fixture(scope="module")
def files(here: Path) -> list[Path]:
    x = x_of()
    np.save(here / "mine.npy", x)
    np.savez(here / "mine.npz", x=x)
    np.savetxt(here / "mine.csv", x, delimiter=",", fmt="%.9g")
    save_file({"embeddings": x}, here / "mine.safetensors")
    (here / "mine.txt").write_text("\n".join(f'"w{i}"' for i in range(len(x))), encoding="utf-8")
    return [here / f"mine.{kind}" for kind in ("npy", "npz", "csv", "safetensors")]


class TestEmbeddingsOfOnesOwn:
    def test_every_kind_of_file_gives_the_same_numbers(self, files: list[Path], here: Path) -> None:
        results = [printed_json("run", "--embeddings", file, "--tokens", "mine.txt", cwd=here) for file in files]
        for result in results:
            assert result["tokens"] == [f"w{i}" for i in range(7)]
            assert result["heads"] == results[0]["heads"]
            assert result["attention"] == results[0]["attention"]
            assert result["steps"] == results[0]["steps"]

    def test_without_a_config_they_are_compared_with_themselves(self, files: list[Path], here: Path) -> None:
        x = x_of().astype(np.float64)
        weights = softmax(x @ x.T / np.sqrt(5))
        ended = attnlab(
            "run",
            "--embeddings",
            files[0],
            "--tokens",
            "mine.txt",
            "--arrays",
            "--out",
            "own",
            "--no-figures",
            cwd=here,
        )
        folder, files_there = written(ended, here)
        assert {path.name for path in folder.iterdir()} == files_there
        assert "w3" in ended.out
        arrays = np.load(folder / "arrays.npz")
        np.testing.assert_allclose(arrays["blocks.0.attn.hook_pattern"][0], weights, atol=1e-6)
        np.testing.assert_allclose(arrays["blocks.0.hook_attn_out"], weights @ x, atol=1e-6)
        np.testing.assert_allclose(weights_of(json.loads((folder / "result.json").read_bytes())), weights, atol=1e-6)

    def test_fit_a_block_of_ones_own(self, files: list[Path], here: Path) -> None:
        (here / "mine.yaml").write_text("block: {d_model: 5, n_heads: 5, d_ff: 11, causal: true}\n", encoding="utf-8")
        result = printed_json("run", "mine.yaml", "--embeddings", files[0], cwd=here)
        assert result["config"]["input"]["file"] == str(files[0])
        assert len(result["heads"]) == 5
        assert all(np.triu(weights_of(result, head), 1).max() == 0 for head in range(5))

    def test_of_another_width_are_refused(self, files: list[Path], here: Path) -> None:
        ended = attnlab("run", "single-head", "--embeddings", "mine.npy", cwd=here)
        assert error_line(ended, 3) == "mine.npy: width 5; expected 64, set by block.d_model of single-head"

    def test_must_be_there_for_tokens_to_name(self, files: list[Path], here: Path) -> None:
        line = error_line(attnlab("run", "--tokens", "mine.txt", cwd=here), 2)
        assert line == "run: --tokens mine.txt: names nothing; expected --embeddings FILE beside it"

    def test_whatever_they_hold_is_counted_and_not_hidden(self, here: Path) -> None:
        x = x_of()
        x[2, 1] = np.inf
        np.save(here / "inf.npy", x)
        ended = attnlab("run", "--embeddings", "inf.npy", "--no-figures", cwd=here)
        assert (ended.code, ended.err) == (1, "")
        first = " ".join(ended.out.split("\n\n")[1].split())
        assert first == (
            "Not finite: inf.npy holds inf: 1 of 35 numbers, the first at row 2, column 1. "
            "7 of 7 rows of the heads' weights are not finite; no mean counts them."
        )


class TestNamesOfOnesOwn:
    def test_stand_in_plain_lines_or_in_the_first_column(self, files: list[Path], here: Path) -> None:
        words = [f"w{i}" for i in range(7)]
        (here / "plain.txt").write_bytes("\r\n".join(["\ufeffw0", *words[1:], ""]).encode())
        rows = [
            ";".join([word, *(f"{x:.9g}".replace(".", ",") for x in row)])
            for word, row in zip(words, x_of(), strict=True)
        ]
        (here / "excel.csv").write_text("\ufeff" + "\n".join([";a;b;c;d;e", *rows]), encoding="utf-8")
        plain = printed_json("run", "--embeddings", files[0], "--tokens", "plain.txt", cwd=here)
        named = printed_json("run", "--embeddings", "excel.csv", cwd=here)
        assert plain["tokens"] == named["tokens"] == words
        assert plain["heads"] == named["heads"]
        result = printed_json("run", "--embeddings", "excel.csv", "--tokens", "mine.txt", cwd=here)
        assert result == {**named, "config": result["config"]}

    def test_of_which_one_is_missing(self, files: list[Path], here: Path) -> None:
        (here / "few.txt").write_text("w0\n\nw1\n", encoding="utf-8")
        line = error_line(attnlab("run", "--embeddings", files[0], "--tokens", "few.txt", cwd=here), 3)
        assert line == 'few.txt: line 2: empty; expected a token (in a file of JSON strings "" is one)'


class TestWordsOfOnesOwn:
    WORDS = "o banco  perto\tdo rio"

    def test_are_names_of_random_vectors(self, here: Path) -> None:
        named = printed_json("run", "--words", self.WORDS, cwd=here)
        plain = printed_json("run", "--n", "5", cwd=here)
        assert (plain.pop("tokens"), named.pop("tokens")) == (None, ["o", "banco", "perto", "do", "rio"])
        assert named == plain

    def test_are_never_said_to_mean_anything(self, here: Path) -> None:
        ended = attnlab("run", "--words", self.WORDS, "--out", "words", cwd=here)
        assert (ended.code, ended.err) == (0, "")
        told = " ".join(ended.out.split())
        assert told.startswith("single-head on random vectors with names · 5 tokens × 64 ")
        assert "The words are names of random vectors: no number here knows what they mean." in told
        assert 'Of random vectors, "do" looks most at "o"' in told
        assert "Of random vectors" in (here / "words" / "attention.svg").read_text(encoding="utf-8")
        assert "Of random vectors" not in attnlab("run", "--n", "5", "--no-figures", cwd=here).out

    def test_name_the_tokens_of_any_block_with_random_input(self, here: Path) -> None:
        (here / "random.yaml").write_text("block: {d_model: 6, n_heads: 2}\n", encoding="utf-8")
        result = printed_json("run", "random.yaml", "--words", "a b c", "--seed", "3", "--causal", cwd=here)
        assert (result["n"], result["tokens"], len(result["heads"])) == (3, ["a", "b", "c"], 2)

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--n", "3"], "--n: not together with --words, which name random vectors"),
            (["--embeddings", "x.npy"], "--embeddings: not together with --words, which name random vectors"),
            (["--tokens", "x.txt"], "--tokens: not together with --words, which name random vectors"),
            (["--qkv", "x.npz"], "--words: not together with --qkv, whose arrays are the whole input"),
            (
                ["folder"],
                "--words: not together with the checkpoint folder, which runs on --text, --text-file or --ids",
            ),
            (
                ["--set", "input.random.n=3"],
                "--set input.random.n=3: not together with --words; expected one of the two",
            ),
            (
                ["sentence"],
                "--words: the input of sentence is a file; expected a configuration with random input, such as",
            ),
        ],
    )
    def test_are_the_whole_input(self, arguments: list[str], said: str, here: Path) -> None:
        (here / "folder").mkdir(exist_ok=True)
        line = error_line(attnlab("run", "--words", "a b", *arguments, cwd=here), 2)
        assert line.startswith(f"run: {said}")

    @pytest.mark.parametrize("words", ["", " \n", "a \udcff"])
    def test_that_are_none(self, words: str, here: Path) -> None:
        line = error_line(attnlab("run", "--words", words, cwd=here), 2)
        assert line == f"run: --words {words!r}; expected words in UTF-8 with blanks between them"

    def test_with_control_characters_are_shown_escaped(self, here: Path) -> None:
        ended = attnlab("run", "--words", "a\x1b[2J b [bold]c", "--no-figures", cwd=here)
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.replace("\n", "").isprintable()
        assert "[bold]c" in ended.out


@pytest.fixture(scope="module")
def given(here: Path) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    shapes = {"q": (6, 5, 7), "k": (2, 3, 7), "v": (2, 3, 11), "bias": (5, 3)}
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    arrays["mask"] = np.array([[1, 1, 1], [0, 0, 0], [1, 0, 1], [0, 1, 0], [1, 1, 0]], dtype=bool)
    np.savez(here / "qkv.npz", **arrays)  # type: ignore[arg-type]
    return arrays


class TestArraysOfOnesOwn:
    def test_with_mask_and_bias(self, given: dict[str, Array], here: Path) -> None:
        result = printed_json(
            "run", "--qkv", "qkv.npz", "--head", "4", "--arrays", "--out", "qkv", "--no-figures", cwd=here
        )
        k, v = (np.repeat(given[name].astype(np.float64), 3, axis=0) for name in "kv")
        logits = given["q"] @ k.swapaxes(1, 2) / np.sqrt(7) + given["bias"]
        weights = softmax(np.where(given["mask"], logits, -1e30)) * given["mask"]
        np.testing.assert_allclose([weights_of(result, head) for head in range(6)], weights, atol=1e-6)
        np.testing.assert_allclose(np.load(here / "qkv/arrays.npz")["blocks.0.attn.hook_z"], weights @ v, atol=1e-5)
        assert [head["empty_rows"] for head in result["heads"]] == [1] * 6
        assert result["steps"] == []
        assert result["config"] is None
        assert {head["prediction"] for head in result["heads"]} == {None}

    def test_are_the_whole_input(self, given: dict[str, Array], here: Path) -> None:
        line = error_line(attnlab("run", "sentence", "--qkv", "qkv.npz", cwd=here), 2)
        assert line == "run: CONFIG: not together with --qkv, whose arrays are the whole input"

    def test_that_do_not_go_together(self, given: dict[str, Array], here: Path) -> None:
        np.savez(here / "apart.npz", q=given["q"], k=given["k"][..., :3], v=given["v"])
        assert error_line(attnlab("run", "--qkv", "apart.npz", cwd=here), 3).startswith("run: k: width 3; expected 7")

    def test_that_hold_nothing(self, given: dict[str, Array], here: Path) -> None:
        np.savez(here / "nothing.npz", q=given["q"][:, :0], k=given["k"], v=given["v"])
        line = error_line(attnlab("run", "--qkv", "nothing.npz", cwd=here), 3)
        assert line == "nothing.npz: q has shape (6, 0, 7); expected (heads, n, width) or (n, width), none of them 0"

    def test_of_more_axes_than_heads_are_refused_by_the_experiment_too(self) -> None:
        q = np.zeros((1, 2, 3, 4), np.float32)
        with pytest.raises(UsageError) as caught:
            run_qkv("four", QKV(q, q, q, None, None), Selection(), max_bytes=10**9)
        assert str(caught.value) == "four: q of shape (1, 2, 3, 4); expected (heads, n, d) or (n, d)"


class TestWeightsOfOnesOwn:
    BLOCK = "block: {d_model: 6, n_heads: 2, d_ff: null, bias: false}\n"

    def tensors(self) -> dict[str, Array]:
        rng = np.random.default_rng(1)
        shapes = {
            "attn.W_Q": (2, 6, 3),
            "attn.W_K": (2, 6, 3),
            "attn.W_V": (2, 6, 3),
            "attn.W_O": (2, 3, 6),
            "ln1.w": (6,),
        }
        return {f"blocks.0.{name}": rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}

    def config(self, here: Path, tensors: dict[str, Array], more: str = "") -> str:
        save_file(tensors, here / "weights.safetensors")
        (here / "weights.yaml").write_text(
            f"{self.BLOCK}weights: {{file: weights.safetensors{more}}}\n", encoding="utf-8"
        )
        return "weights.yaml"

    def test_are_the_ones_that_it_runs_on(self, here: Path) -> None:
        tensors = self.tensors()
        result = printed_json(
            "run", self.config(here, tensors), "--out", "weights", "--arrays", "--no-figures", cwd=here
        )
        arrays = np.load(here / "weights" / "arrays.npz")
        x = arrays["blocks.0.hook_resid_pre"].astype(np.float64)
        np.testing.assert_allclose(arrays["blocks.0.attn.hook_q"], x @ tensors["blocks.0.attn.W_Q"], atol=1e-5)
        assert [head["prediction"] for head in result["heads"]] == ["population"] * 2

    def test_the_rest_is_drawn_where_init_says_how(self, here: Path) -> None:
        tensors = self.tensors()
        del tensors["blocks.0.attn.W_V"]
        ended = attnlab("run", self.config(here, tensors, ", init: xavier_normal"), "--no-figures", cwd=here)
        assert (ended.code, ended.err) == (0, "")
        assert "random, because the weights file has none: attn.W_V" in ended.out

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (
                {"blocks.0.attn.W_V": None},
                "no 'blocks.0.attn.W_V'; expected every tensor of weights, or weights.init to ",
            ),
            (
                {"blocks.1.attn.W_V": (2, 6, 3)},
                "'blocks.1.attn.W_V': no tensor of weights; expected 'blocks.0.attn.W_Q', ",
            ),
            (
                {"blocks.0.attn.W_Q": (6, 2, 3)},
                "blocks.0.attn.W_Q: shape (6, 2, 3); expected (2, 6, 3), set by block of weights",
            ),
        ],
    )
    def test_that_do_not_fit(self, change: dict[str, tuple[int, ...] | None], said: str, here: Path) -> None:
        tensors = self.tensors()
        for name, shape in change.items():
            if shape is None:
                del tensors[name]
            else:
                tensors[name] = np.ones(shape, np.float32)
        line = error_line(attnlab("run", self.config(here, tensors), cwd=here), 3)
        assert line.startswith(f"{here / 'weights.safetensors'}: {said}")
