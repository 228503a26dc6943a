"""Each claim gets its verdict from its numbers: the right mathematics the expected one, wrong mathematics another."""

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache, partial

import numpy as np
import pytest

from attnlab.experiments.claims import (
    block,
    combination,
    derivative,
    growth,
    hull,
    notation,
    overflow,
    parallel,
    scale,
    steps,
    symmetry,
)
from attnlab.experiments.claims.claim import (
    Claim,
    Evidence,
    Proof,
    Rule,
    Setting,
    Trial,
    Verdict,
    in_need_of_correction,
    spread_over,
    standard_errors_away,
    true_as_it_stands,
    without_a_core,
)
from attnlab.experiments.claims.laws import Laws, dot, softmax_weights
from attnlab.experiments.claims.registry import CLAIMS
from attnlab.maths.block import trace_block
from tests.wrong_laws import WRONG, with_a_nan

BY_ID = {claim.id: claim for claim in CLAIMS}
THEORY = (
    "lemma-1 theorem-1 lemma-2 corollary-1 lemma-3 theorem-3 lemma-4 theorem-5 theorem-6 corollary-3 lemma-6 "
    "theorem-7 theorem-8 corollary-4 residual layernorm context quadratic-limit lookup-question parallel overflow "
    "symmetry-note row-vectors"
)
#: What theory expects of the words, and of the proof where the course gives one.
EXPECTED = {
    "lemma-1": ("corrected", "sound"),
    "theorem-1": ("corrected", "sound"),
    "lemma-2": ("holds", "mended"),
    "corollary-1": ("holds", "mended"),
    "lemma-3": ("corrected", "sound"),
    "theorem-3": ("holds", None),
    "lemma-4": ("holds", "mended"),
    "theorem-5": ("holds", None),
    "theorem-6": ("corrected", "sound"),
    "corollary-3": ("holds", "sound"),
    "lemma-6": ("holds", "sound"),
    "theorem-7": ("holds", None),
    "theorem-8": ("holds", None),
    "corollary-4": ("refuted", "mended"),
    "residual": ("corrected", None),
    "layernorm": ("holds", None),
    "context": ("holds", None),
    "quadratic-limit": ("holds", None),
    "lookup-question": ("holds", None),
    "parallel": ("holds", None),
    "overflow": ("holds", None),
    "symmetry-note": ("corrected", None),
    "row-vectors": ("corrected", None),
}
CASES = [(claim, name) for claim, laws in WRONG.items() for name in laws]


Outcome = tuple[Verdict, Proof | None]


def outcome(claim: str, evidence: Evidence) -> Outcome:
    """The verdict on the words, and on the proof."""
    return BY_ID[claim].rule(evidence), BY_ID[claim].judged_proof(evidence)


def tried(claim: str, setting: Setting) -> Outcome:
    return outcome(claim, BY_ID[claim].experiment(setting))


def test_the_claims_are_there_in_order() -> None:
    assert [claim.id for claim in CLAIMS] == THEORY.split()


def test_one_table_says_what_is_expected() -> None:
    assert {claim.id: (claim.expected_verdict, claim.proof) for claim in CLAIMS} == EXPECTED


#: Letters and short words that Portuguese has and English has not, and the other way round.
PORTUGUESE = re.compile(r"[ãõçáéíóúâêô]|\b(?:de|do|da|para|que|uma?|dos|as|o)\b", re.IGNORECASE)
ENGLISH = re.compile(r"\b(?:the|of|and|with|is|are|which|for|to|by)\b", re.IGNORECASE)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
class TestWords:
    def test_the_quote_is_the_courses_own_language_and_its_translation_is_not(self, claim: Claim) -> None:
        assert PORTUGUESE.search(claim.quote)
        assert not ENGLISH.search(claim.quote)
        assert ENGLISH.search(claim.translation)
        assert claim.quote != claim.translation

    def test_a_quote_is_one_line_of_plain_text(self, claim: Claim) -> None:
        for words in (claim.quote, claim.translation):
            assert words == unicodedata.normalize("NFC", " ".join(words.split()))
            assert not re.search(r"[$\\{}“”]|\*\*", words)

    def test_the_formulas_of_both_are_the_same(self, claim: Claim) -> None:
        symbols = re.compile(r"[=≤Σ∂√‖∈ℝ∝⊤^_]")
        assert symbols.findall(claim.quote) == symbols.findall(claim.translation)

    def test_the_place_and_all_that_is_said_of_it_is_there(self, claim: Claim) -> None:
        assert all((claim.place, claim.argument, claim.method, claim.remains))
        assert len(claim.statement) <= 52
        assert not claim.not_tried.endswith(".")

    def test_a_proof_is_mended_with_words_and_no_other(self, claim: Claim) -> None:
        assert bool(claim.mending) is (claim.proof == "mended")


@pytest.fixture(autouse=True, scope="module")
def _clocked_once() -> Iterator[None]:
    """Times are shown and judge nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scale, "RUNS", 1)
        patch.setattr(parallel, "RUNS", 1)
        yield


@lru_cache
def found(claim: str, seed: int = 0) -> Evidence:
    return BY_ID[claim].experiment(Setting(seed=seed))


@pytest.mark.parametrize("claim", BY_ID)
def test_the_right_mathematics_gets_the_expected_verdict(claim: str) -> None:
    """Of other draws too: see `test_twice_the_samples_are_counted`."""
    assert outcome(claim, found(claim)) == EXPECTED[claim]


def test_every_claim_has_a_wrong_law() -> None:
    assert {*WRONG} == {*BY_ID}


@pytest.mark.parametrize(("claim", "name"), CASES)
def test_wrong_mathematics_turns_the_verdict(claim: str, name: str) -> None:
    laws, turned = WRONG[claim][name]
    assert turned in tried(claim, Setting(laws=laws))
    assert turned not in EXPECTED[claim]


#: The laws that each claim is tried with. Some are about shapes and counts, whatever numbers stand in them.
TRIED_WITH = {
    "lemma-1": ("linear", "attention"),
    "theorem-1": ("block", "layer_norm"),
    "lemma-2": ("attention", "rest_bound"),
    "corollary-1": ("attention",),
    "lemma-3": ("linear", "steps", "streaming"),
    "theorem-3": ("linear", "attention"),
    "lemma-4": ("attention", "linear", "scores"),
    "theorem-6": ("dot",),
    "corollary-3": ("linear", "scores"),
    "lemma-6": ("scores",),
    "theorem-7": ("attention",),
    "theorem-8": ("softmax", "jacobian"),
    "corollary-4": ("softmax", "jacobian", "scores", "query_gradient"),
    "residual": ("layer",),
    "layernorm": ("layer",),
    "context": ("attention", "scores", "softmax"),
    "lookup-question": ("steps",),
    "overflow": ("softmax", "exp"),
    "symmetry-note": ("attention", "linear"),
    "row-vectors": ("linear", "dot", "scores"),
}


@pytest.mark.parametrize(("claim", "law"), [(claim, law) for claim, laws in TRIED_WITH.items() for law in laws])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_nan_is_never_passed_over(claim: str, law: str) -> None:
    assert tried(claim, Setting(laws=with_a_nan(law))) != EXPECTED[claim]


def test_only_shapes_and_counts_are_tried_without_numbers() -> None:
    assert {*BY_ID} - {*TRIED_WITH} == {"theorem-5", "quadratic-limit", "parallel"}


def trial(value: float, *, counter: bool = False) -> Trial:
    return Trial(what="a number below 1", value=value, high=1.0, counter=counter)


def evidence(core: float, counter: float | None = None) -> Evidence:
    trials = [trial(core)] + ([] if counter is None else [trial(counter, counter=True)])
    return Evidence(measured=core, in_short="", trials=trials, finding="", samples=1, unit="rows")


SHOWN, NOT_SHOWN = 0.5, 2.0


@pytest.mark.parametrize(
    ("rule", "core", "counter", "expected"),
    [
        (true_as_it_stands, SHOWN, None, "holds"),
        (true_as_it_stands, NOT_SHOWN, None, "refuted"),
        (true_as_it_stands, math.nan, None, "refuted"),
        (in_need_of_correction, SHOWN, SHOWN, "corrected"),
        (in_need_of_correction, SHOWN, NOT_SHOWN, "holds"),
        (in_need_of_correction, SHOWN, math.nan, "holds"),
        (in_need_of_correction, NOT_SHOWN, SHOWN, "refuted"),
        (without_a_core, SHOWN, SHOWN, "refuted"),
        (without_a_core, NOT_SHOWN, SHOWN, "corrected"),
        (without_a_core, SHOWN, NOT_SHOWN, "holds"),
        (without_a_core, SHOWN, math.nan, "holds"),
    ],
)
def test_a_rule_reads_the_trials(rule: Rule, core: float, counter: float | None, expected: str) -> None:
    assert rule(evidence(core, counter)) == expected


@pytest.mark.parametrize(("value", "holds"), [(-0.1, False), (0.0, True), (1.0, True), (1.1, False), (math.nan, False)])
def test_a_trial_holds_between_its_bounds(value: float, holds: bool) -> None:
    assert Trial(what="", value=value, low=0.0, high=1.0).holds is holds


def test_what_has_no_bounds_is_not_judged() -> None:
    assert not Trial(what="", value=3.0).judged
    assert Trial(what="", value=3.0, low=1.0).judged


def test_the_spread_of_repetitions() -> None:
    assert spread_over([1.0, 2.0, 3.0, 6.0]) == pytest.approx((3.0, math.sqrt(14 / 3) / 2))


@pytest.mark.parametrize(("found", "error", "away"), [(3.0, 0.5, 4.0), (1.0, 0.0, 0.0), (1.1, 0.0, math.inf)])
def test_standard_errors_away(found: float, error: float, away: float) -> None:
    assert standard_errors_away(found, 1.0, error) == away


def test_more_samples_are_more_rounds_of_other_numbers() -> None:
    setting = Setting(samples=3)
    draws = [rng.random() for rng in setting.rounds(5)]
    assert len({*draws}) == 3
    assert [rng.random() for rng in Setting(samples=1).rounds(5)] == draws[:1]
    assert [rng.random() for rng in Setting(samples=1).rounds(6)] != draws[:1]


@pytest.mark.parametrize("claim", BY_ID)
def test_twice_the_samples_are_counted(claim: str) -> None:
    seen: list[None] = []
    twice = BY_ID[claim].experiment(Setting(samples=2, advance=lambda: seen.append(None)))
    assert (twice.samples, len(seen)) == (2 * found(claim).samples, 2)
    assert outcome(claim, twice) == EXPECTED[claim]


class TestByHand:
    def test_fractions(self) -> None:
        rows = [[2, 2, 1], [2, 2, 1], [1, 1, 1]]
        expected = [[Fraction(number, sum(row)) for number in row] for row in rows]
        assert symmetry.exact_weights() == expected

    def test_the_skew_share(self) -> None:
        assert symmetry.skew_share(np.array([[0.0, 1.0], [-1.0, 0.0]])) == pytest.approx(1)
        assert symmetry.skew_share(np.array([[1.0, 2.0], [2.0, 5.0]])) == 0
        assert symmetry.skew_share(np.array([[0.0, 1.0], [0.0, 0.0]])) == pytest.approx(math.sqrt(0.5))

    def test_a_walk_that_looks_the_same_backwards(self) -> None:
        even = np.array([[2.0, 2, 1], [2, 2, 1], [1, 1, 1]])
        assert symmetry.round_trip(even / even.sum(axis=1, keepdims=True)) == pytest.approx(0, abs=1e-15)
        turning = np.array([[1.0, 2, 1], [1, 1, 2], [2, 1, 1]]) / 4
        assert symmetry.round_trip(turning) == pytest.approx(math.log(8))

    def test_a_circle_has_rows_of_one_sum(self) -> None:
        products = notation.on_a_circle() @ notation.on_a_circle().T
        np.testing.assert_allclose(products, products.T, atol=1e-15)
        np.testing.assert_allclose(
            np.sort(products, axis=1), np.sort(products[:1], axis=1).repeat(12, axis=0), atol=1e-15
        )

    def test_keys_that_count(self) -> None:
        ledger: list[str] = []
        one, same, other = growth.watched(np.array([3, 3, 5]), ledger)
        assert (one == same, one == other, one < other, other < one) == (True, False, True, False)
        assert hash(one) == hash(same)
        assert ledger == ["compare"] * 4 + ["hash"] * 2

    def test_the_largest_score_of_float16(self) -> None:
        assert overflow.largest_score(Laws(), np.float16, 1) == pytest.approx(math.log(65_504), abs=overflow.STEP)

    def test_two_tokens_one_by_one(self) -> None:
        q = np.array([[0.0], [math.log(3)]])
        output, weights = steps.one_by_one(q, np.array([[1.0], [0.0]]), np.array([[1.0], [5.0]]))
        np.testing.assert_allclose(weights, [[1 / 2, 1 / 2], [3 / 4, 1 / 4]], rtol=1e-15)
        np.testing.assert_allclose(output, [[3], [2]], rtol=1e-15)

    def test_complex_steps(self) -> None:
        np.testing.assert_allclose(derivative.complex_steps(np.zeros((1, 2)))[0], [[0.25, -0.25], [-0.25, 0.25]])
        p = np.array([0.5, 0.25, 0.25])
        np.testing.assert_allclose(
            derivative.complex_steps(np.log(p)[None])[0], np.diag(p) - np.outer(p, p), atol=1e-16
        )

    def test_central_differences(self) -> None:
        p = np.array([0.5, 0.25, 0.25])
        found = derivative.central_differences(Laws(), np.log(p)[None])[0]
        np.testing.assert_allclose(found, np.diag(p) - np.outer(p, p), atol=1e-10)

    def test_outside_of_an_interval(self) -> None:
        found = hull.outside_of(np.array([-1.0, 1.0, 5.0]), np.zeros(3), np.full(3, 2.0), np.full(3, 2.0))
        np.testing.assert_array_equal(found, [0.5, -0.5, 1.5])

    def test_half_weights_on_equal_values(self) -> None:
        assert hull.half_weights() == hull.N / 2

    def test_key_by_key(self) -> None:
        found = combination.key_by_key(np.array([[0.25, 0.75]]), np.array([[4.0, 0.0], [8.0, 4.0]]))
        np.testing.assert_array_equal(found, [[7, 3]])

    def test_the_block_written_out(self) -> None:
        rng = np.random.default_rng(0)
        weights, x = block.drawn_weights(rng), rng.standard_normal((block.N, block.SPEC.d_model))
        trace = trace_block(block.SPEC, weights, x)
        for name, step in block.equations(weights, x).items():
            np.testing.assert_allclose(trace.steps[name], step, atol=1e-13)

    def test_dot_and_softmax(self) -> None:
        assert dot(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])).tolist() == [11]
        np.testing.assert_allclose(softmax_weights(np.log([[1.0, 3.0]])), [[0.25, 0.75]])


class TestCalls:
    def test_a_loop_takes_more_than_one_call(self) -> None:
        def roots(n: int) -> list[float]:
            return [math.sqrt(i) for i in range(n)]

        few, many = (parallel.calls(partial(roots, n)) for n in (3, 30))
        assert many - few == 27

    def test_a_failure_leaves_the_interpreter_as_it_was(self) -> None:
        with pytest.raises(ZeroDivisionError):
            parallel.calls(lambda: 1 // 0)
        assert parallel.calls(lambda: None) == parallel.calls(lambda: None)


def named(trials: Sequence[Trial], beginning: str) -> float:
    (value,) = [trial.value for trial in trials if trial.what.startswith(beginning)]
    return value


def test_corollary_1_is_tried_on_a_million_rows() -> None:
    assert found("corollary-1").samples >= 10**6


def test_theorem_8_is_tried_on_a_hundred_thousand_rows_and_reaches_a_half() -> None:
    evidence = found("theorem-8")
    assert evidence.samples >= 10**5
    assert named(evidence.trials, "‖J‖₂ at p = (½, ½)") == pytest.approx(0.5, abs=1e-15)


def test_lemma_4_tells_the_fractions() -> None:
    evidence = found("lemma-4")
    assert evidence.in_short == "W_Q = W_K has α_13 1/5, α_31 1/3"
    assert "1/5" in evidence.finding


def test_theorem_1_tells_the_type_error_in_words() -> None:
    finding = found("theorem-1").finding
    assert "T1 has 64 columns and X 512" in finding
    assert "64 is not d_model, 512" in finding


def test_corollary_3_finds_what_common_initialisations_start_with() -> None:
    trials = found("corollary-3").trials
    starts = [trial.value for trial in trials if trial.what.startswith("starts with")]
    assert starts == pytest.approx([3.16, 1.0, 0.25, 0.111, 0.0944, 2.68], rel=0.03)


def test_corollary_4_finds_what_grows_and_what_does_not() -> None:
    evidence = found("corollary-4")
    assert named(evidence.trials, "s + t·1: ‖s‖") > 100
    assert named(evidence.trials, "s + t·1: J moves") < 1e-12
    unscaled, scaled = ([float(str(row[column])) for row in evidence.tables[0].rows] for column in (5, 6))
    assert unscaled[-1] > 5 * unscaled[0] > 10 * scaled[-1]
    assert max(scaled) < 2.5
