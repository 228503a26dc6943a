"""`attnlab why`: one weight as arithmetic."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from attnlab.experiments.why import strongest
from tests.commands import attnlab, error_line, printed_json, weights_of


class TestTheSentence:
    def test_from_bank_to_river(self, tmp_path: Path) -> None:
        ended = attnlab("why", "bank", "river", cwd=tmp_path)
        assert (ended.code, ended.err) == (0, "")
        assert list(tmp_path.iterdir()) == []
        heading, _, *summary, _, answer, _ = ended.out.splitlines()[:6]
        steps = ended.out.splitlines()[6:]
        assert " ".join(summary).startswith("Head 4 of MiniLM-L6's first layer, on ")
        assert heading.startswith('How much does "bank" attend to "river"?')
        assert answer == '"bank" gives 0.69 of its attention to "river"; more than to any other.'
        lefts = (
            "x(bank) ",
            "x(river) ",
            "q(bank) = x W_Q + b",
            "k(river) = x W_K + b",
            "q · k",
            "÷ √32",
            "e^5.05",
            "÷ Σ over 13 keys",
            "weight",
        )
        for line, left in zip(steps, lefts, strict=True):
            assert line.lstrip().startswith(left)
        assert "the run has 0.6931" in steps[-1]

    def test_its_arithmetic_follows_from_its_own_numbers(self, tmp_path: Path) -> None:
        why = printed_json("why", "bank", "river", cwd=tmp_path)
        assert why["schema"] == "attnlab.why/1"
        assert (why["query"], why["key"]) == ({"index": 2, "token": "bank"}, {"index": 5, "token": "river"})
        product = math.fsum(q * k for q, k in zip(why["q"], why["k"], strict=True))
        assert why["product"] == pytest.approx(product)
        assert why["score"] == pytest.approx(product / math.sqrt(32)) == why["logit"]
        assert why["weight"] == pytest.approx(math.exp(why["score"]) / why["denominator"])
        assert round(why["weight"], 2) == round(why["measured_weight"], 2) == 0.69

    def test_the_other_way_by_numbers(self, tmp_path: Path) -> None:
        assert round(printed_json("why", "5", "2", cwd=tmp_path)["weight"], 2) == 0.18


class TestWordsOfOnesOwn:
    def test_are_names_of_random_vectors(self, tmp_path: Path) -> None:
        why = printed_json("why", "--words", "o banco perto do rio", "banco", "rio", cwd=tmp_path)
        by_number = printed_json("why", "single-head", "--set", "input.random.n=5", "1", "4", cwd=tmp_path)
        assert (why["query"], why["key"]) == ({"index": 1, "token": "banco"}, {"index": 4, "token": "rio"})
        assert (why["weight"], why["q"]) == (by_number["weight"], by_number["q"])
        out = attnlab("why", "--words", "o banco perto do rio", "banco", "rio", cwd=tmp_path).out
        assert "single-head on random vectors with names" in " ".join(out.split())


class TestAnyBlock:
    def test_every_step_that_it_has_is_shown(self, tmp_path: Path) -> None:
        block = "d_model: 15, n_heads: 5, n_kv_heads: 1, position: alibi, softcap: 2, qk_norm: rmsnorm"
        (tmp_path / "all.yaml").write_text(f"block: {{{block}, norm_position: pre}}\nlayers: 2\n", encoding="utf-8")
        out = attnlab("why", "all.yaml", "4", "3", "--head", "1.4", "--seed", "3", cwd=tmp_path).out
        for step in (
            "Norm(x(4)) ",
            "Norm(x(3)) ",
            "Norm(x) W_Q + b",
            "rmsnorm per head",
            "2·tanh(score/2)",
            "ALiBi's penalty",
            "÷ √3",
            "layer 1, head 4",
        ):
            assert step in out
        why = printed_json("why", "all.yaml", "4", "3", "--head", "1.4", "--seed", "3", cwd=tmp_path)
        assert why["seed"] == 3
        assert why["capped"] == pytest.approx(2 * math.tanh(why["score"] / 2))
        penalty = 2 ** (-8 * 1 / 8)  # the fifth of 5 slopes is the first of those between 4
        assert why["bias"] == pytest.approx(-penalty)
        assert why["logit"] == why["capped"] + why["bias"]
        assert why["weight"] == pytest.approx(why["measured_weight"], abs=1e-6)

    def test_a_token_that_looks_at_itself_is_shown_once(self, tmp_path: Path) -> None:
        out = attnlab("why", "single-head", "2", "2", cwd=tmp_path).out
        assert (out.count("x(2) "), out.count("‖x‖")) == (1, 1)

    def test_a_hidden_key(self, tmp_path: Path) -> None:
        (tmp_path / "causal.yaml").write_text("block: {d_model: 4, n_heads: 1, causal: true}\n", encoding="utf-8")
        out = attnlab("why", "causal.yaml", "1", "2", cwd=tmp_path).out
        assert "Token 1 may not see token 2: the block hides it, so its weight is 0." in out
        why = printed_json("why", "causal.yaml", "1", "2", cwd=tmp_path)
        assert (why["visible"], why["logit"], why["weight"], why["measured_weight"]) == (False, None, 0.0, 0.0)

    def test_scores_too_large_for_the_exponential(self, tmp_path: Path) -> None:
        (tmp_path / "loud.yaml").write_text("block: {d_model: 4, n_heads: 1, scale: 1000}\n", encoding="utf-8")
        why = printed_json("why", "loud.yaml", "0", "3", cwd=tmp_path)
        assert why["shift"] > 20
        assert why["weight"] == pytest.approx(math.exp(why["logit"] - why["shift"]) / why["denominator"])


class TestWhatIsNotFinite:
    def test_a_nan_is_not_taken_for_a_hidden_key(self, tmp_path: Path) -> None:
        x = np.random.default_rng(0).standard_normal((3, 2)).astype(np.float32)
        x[1, 0] = np.nan
        np.save(tmp_path / "nan.npy", x)
        ended = attnlab("why", "--embeddings", "nan.npy", "0", "1", cwd=tmp_path)
        assert (ended.code, ended.err) == (0, "")
        assert "Token 0 gives token 1 a weight that is not a number" in ended.out
        why = printed_json("why", "--embeddings", "nan.npy", "0", "2", cwd=tmp_path)
        assert (why["visible"], why["weight"], why["weight_flag"]) == (True, None, "nan")

    def test_large_numbers_are_written_short(self, tmp_path: Path) -> None:
        np.save(tmp_path / "large.npy", np.diag(np.full(2, 1e15, np.float32)))
        out = attnlab("why", "--embeddings", "large.npy", "0", "1", cwd=tmp_path).out
        assert "= (1.00e+15, 0.00e+00)" in out


class TestTokens:
    @pytest.fixture
    def strange(self, tmp_path: Path) -> tuple[str, ...]:
        tokens = ["[bold]", "a\nb", "\x1b[31mred", "7", "x", "X"]
        np.save(tmp_path / "six.npy", np.eye(6, dtype=np.float32))
        (tmp_path / "six.txt").write_text("\n".join(map(json.dumps, tokens)), encoding="utf-8")
        return "--embeddings", "six.npy", "--tokens", "six.txt"

    def test_controls_and_markup_are_shown_as_text(self, strange: tuple[str, ...], tmp_path: Path) -> None:
        ended = attnlab("why", *strange, "[bold]", "a\nb", cwd=tmp_path)
        assert ended.out.startswith('How much does "[bold]" attend to "a\\nb"?')
        line = error_line(attnlab("why", *strange, "blue", "0", cwd=tmp_path), 2)
        named = r"[bold] a\nb \x1b[31mred 7 x X (or a number from 0 to 5)"
        assert line == f"why: QUERY 'blue': no such token; expected one of: {named}"

    def test_a_text_goes_before_a_number(self, strange: tuple[str, ...], tmp_path: Path) -> None:
        why = printed_json("why", *strange, "7", "5", cwd=tmp_path)
        assert (why["query"]["index"], why["key"]["index"]) == (3, 5)

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["the", "river"], "QUERY 'the': stands 3 times; expected one of its places, 1, 4, 9"),
            (["single-head", "bank", "1"], "QUERY 'bank': these tokens have no names; expected a number from 0 to 7"),
            (["single-head", "1", "8"], "KEY '8': these tokens have no names; expected a number from 0 to 7"),
            (["bank", "river", "--head", "1.0"], "layer 1; expected 0, the only one"),
        ],
    )
    def test_that_are_not_there(self, words: list[str], said: str, tmp_path: Path) -> None:
        assert error_line(attnlab("why", *words, cwd=tmp_path), 2) == f"why: {said}"

    @pytest.mark.parametrize("words", [["bank"], ["a", "b", "c", "d"]])
    def test_too_few_or_too_many(self, words: list[str], tmp_path: Path) -> None:
        line = error_line(attnlab("why", *words, cwd=tmp_path), 2)
        assert line.endswith("expected [CONFIG] [QUERY KEY]: two tokens, a configuration, both or neither")

    def test_one_word_that_is_a_file_s_name_is_a_configuration(self, tmp_path: Path) -> None:
        line = error_line(attnlab("why", "mine.yaml", cwd=tmp_path), 2)
        assert line.startswith("mine.yaml: no such file and no such preset; expected sentence, ")


class TestWithoutTokens:
    def test_the_strongest_pair_is_followed(self, tmp_path: Path) -> None:
        bare, named = (attnlab("why", *words, cwd=tmp_path) for words in ((), ("bank", "river")))
        assert (bare.code, bare.err) == (0, "")
        assert bare.out.startswith(named.out.rstrip("\n"))
        more = " ".join(bare.out.removeprefix(named.out.rstrip("\n")).split())
        assert more == (
            "This is the head's largest weight between different tokens, those that the model adds aside. "
            "For another, name two at the end of the command, such as river bank: 0 [CLS] · 1 the · 2 bank · 3 near · "
            "4 the · 5 river · 6 lent · 7 money · 8 to · 9 the · 10 boat · 11 builders · 12 [SEP]"
        )
        assert attnlab("why", "river", "bank", cwd=tmp_path).code == 0
        assert len(bare.out.splitlines()) <= 40

    def test_as_json_it_is_the_same(self, tmp_path: Path) -> None:
        assert printed_json("why", cwd=tmp_path) == printed_json("why", "bank", "river", cwd=tmp_path)

    def test_of_a_configuration(self, tmp_path: Path) -> None:
        (tmp_path / "mine.yaml").write_text("block: {d_model: 12, n_heads: 3}\nlayers: 2\n", encoding="utf-8")
        why = printed_json("why", "mine.yaml", "--head", "1.2", cwd=tmp_path)
        weights = weights_of(printed_json("run", "mine.yaml", "--head", "1.2", cwd=tmp_path), 5)
        np.fill_diagonal(weights, 0)
        assert (why["query"]["index"], why["key"]["index"]) == np.unravel_index(weights.argmax(), weights.shape)
        assert why["measured_weight"] == pytest.approx(weights.max())
        out = attnlab("why", "mine.yaml", cwd=tmp_path).out
        assert re.search(r"at the end of the command, such as \d \d: 0 to 7$", " ".join(out.split()))

    def test_of_words(self, tmp_path: Path) -> None:
        out = attnlab("why", "--words", "o banco perto do rio", cwd=tmp_path).out
        assert out.startswith('How much does "do" attend to "o"?')

    @pytest.mark.parametrize(
        ("rows", "pair"), [([[1, 0]], (0, 0)), ([[np.nan, 1], [1, 0]], (0, 0)), ([[1, 0], [0, 9], [0, 8]], (2, 1))]
    )
    def test_of_any_embeddings(self, rows: list[list[float]], pair: tuple[int, int], tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", np.array(rows, np.float32))
        ended = attnlab("why", "--embeddings", "x.npy", "--json", cwd=tmp_path)
        assert (ended.code, ended.err) == (0, "")
        why = json.loads(ended.out)
        assert (why["query"]["index"], why["key"]["index"]) == pair

    def test_a_models_own_tokens_are_passed_over(self) -> None:
        weights = np.array([[0.1, 0.9, 0.0], [0.9, 0.0, 0.1], [0.5, 0.3, 0.2]])
        assert strongest(weights, ["[CLS]", "a", "b"]) == (2, 1)
        assert strongest(weights, ["[CLS]", "a", "[SEP]"]) == (0, 1)
        assert strongest(weights, []) == (0, 1)
        assert strongest(np.eye(3), ["a", "b", "c"]) == (0, 0)


@pytest.mark.parametrize("command", [("why",), ("config", "list"), ("config", "show"), ("config", "check")])
def test_json_promises_no_files_where_none_are_written(command: tuple[str, ...], tmp_path: Path) -> None:
    out = attnlab(*command, "--help", cwd=tmp_path).out
    assert "print one JSON document" in out
    assert "--out" not in out
