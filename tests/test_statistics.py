"""Each statistic of a head against its definition in python loops (oracles.py), and where shorter formulas fail."""

import math
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab.maths import rows
from attnlab.maths.attention import attention_steps
from attnlab.maths.inputs import attention_inputs
from attnlab.maths.statistics import STATISTICS, HeadStatistics, joined_heads
from tests.oracles import DEFAULTS, naive_statistics, statistics_of

Array = NDArray[Any]

# fmt: off
SECTION_5 = [
    "score_mean", "score_variance", "score_max", "logit_max",
    "entropy", "normalized_entropy", "perplexity", "effective_keys",
    "max_weight", "saturated_fraction", "jacobian_trace_mean", "jacobian_trace_median",
    "sink_mass", "sink", "received", "received_max", "received_argmax",
    "received_by_seers_max", "received_by_seers_argmax",
    "self_mass", "previous_mass", "next_mass", "distance",
    "asymmetry", "norm_bound", "rows", "choosing_rows", "empty_rows", "nonfinite_rows",
]
# fmt: on


def draw(h: int, g: int, n: int, m: int, *, size: float = 1.0, seed: int = 0) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    return size * rng.standard_normal((h, n, 5)), rng.standard_normal((g, m, 5)), rng.standard_normal((g, m, 3))


def half_seen(h: int, n: int, m: int) -> Array:
    """Half of a random mask, with a row that sees nothing, and one that sees one key."""
    mask = np.random.default_rng(9).random((h, n, m)) < 0.5
    mask[:, 1] = False
    mask[:, 2] = np.arange(m) == 1
    return mask


def poisoned(q: Array, k: Array, v: Array) -> tuple[Array, Array, Array]:
    """A NaN query, an infinite key and a NaN value."""
    q, k, v = q.copy(), k.copy(), v.copy()
    q[:, 3, 0], k[:, 4, 1], v[0, 5, 2] = np.nan, np.inf, np.nan
    return q, k, v


def assert_as_defined(found: HeadStatistics, q: Array, k: Array, v: Array, **settings: Any) -> None:
    """Every statistic of every head is that of the loops."""
    inputs = attention_inputs(q, k, v, **(DEFAULTS | settings))
    steps = attention_steps(inputs)
    h, n, m = inputs.shape
    visible = np.broadcast_to(np.True_ if steps.visible is None else steps.visible, (h, n, m))
    for head in range(h):
        naive = naive_statistics(steps.scores[head], steps.logits[head], visible[head], v[head * len(v) // h])
        assert naive.keys() == STATISTICS.keys()
        for name, expected in naive.items():
            ours = getattr(found, name)[head]
            np.testing.assert_allclose(ours, expected, rtol=1e-11, atol=1e-14, err_msg=name)


CASES: dict[str, tuple[tuple[Array, Array, Array], dict[str, Any]]] = {
    "plain": (draw(2, 2, 7, 7), {}),
    "odd number of rows to take the median of": (draw(1, 1, 5, 5), {}),
    "grouped": (draw(6, 2, 7, 7), {}),
    "more keys than queries": (draw(2, 1, 5, 11), {}),
    "more queries than keys": (draw(2, 1, 11, 6), {}),
    "large scores": (draw(2, 2, 7, 7, size=30), {}),
    "causal": (draw(2, 2, 7, 7), {"causal": True}),
    "causal window": (draw(2, 2, 7, 7), {"causal": True, "window": 3}),
    "window": (draw(2, 2, 7, 7), {"window": 1}),
    "one visible key each": (draw(2, 2, 7, 7), {"window": 0}),
    "mask": (draw(2, 2, 7, 7), {"mask": half_seen(2, 7, 7)}),
    "mask, not square": (draw(2, 1, 7, 11), {"mask": half_seen(2, 7, 11)}),
    "nothing visible": (draw(2, 2, 7, 7), {"mask": np.zeros((7, 7), bool)}),
    "bias": (draw(2, 2, 7, 7), {"bias": np.random.default_rng(5).standard_normal((2, 7, 7))}),
    "bias that hides": (draw(2, 2, 7, 7), {"bias": np.where(half_seen(2, 7, 7), 0.5, -np.inf)}),
    "cap and bias": (draw(2, 2, 7, 7), {"softcap": 0.5, "bias": np.linspace(-1, 1, 7), "scale": 2.0}),
    "not finite": (poisoned(*draw(2, 2, 9, 9)), {"causal": True}),
    "not finite, masked": (poisoned(*draw(4, 2, 9, 9)), {"mask": half_seen(4, 9, 9)}),
    "no row finite": (poisoned(*draw(2, 2, 9, 9)), {}),
    "one token": (draw(2, 2, 1, 1), {}),
    "values of nothing": ((*draw(2, 2, 7, 7)[:2], np.zeros((2, 7, 3))), {}),
}


@pytest.mark.parametrize(("arrays", "settings"), CASES.values(), ids=CASES.keys())
def test_every_statistic_is_its_definition(arrays: tuple[Array, Array, Array], settings: dict[str, Any]) -> None:
    assert_as_defined(statistics_of(*arrays, **settings), *arrays, **settings)


@pytest.mark.parametrize("panel", [1, 20, 40])
@pytest.mark.parametrize("name", ["plain", "causal window", "not finite, masked", "more keys than queries"])
def test_rows_summed_in_panels_give_the_same(name: str, panel: int, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays, settings = CASES[name]
    monkeypatch.setattr(rows, "PANEL", panel)
    assert_as_defined(statistics_of(*arrays, **settings), *arrays, **settings)


def test_the_loops_can_disagree() -> None:
    arrays, _ = CASES["plain"]
    with pytest.raises(AssertionError, match="score_mean"):
        assert_as_defined(statistics_of(*arrays), *arrays, scale=0.5)


def test_the_names_are_those_agreed() -> None:
    assert HeadStatistics._fields == (*SECTION_5, "reasons")
    assert {*STATISTICS, "asymmetry"} == set(SECTION_5)


def test_results_have_one_number_per_head_and_received_one_per_key() -> None:
    found = statistics_of(*(np.stack([array, array]) for array in draw(4, 2, 5, 7)))
    for name in SECTION_5:
        assert getattr(found, name).shape == ((2, 4, 7) if name == "received" else (2, 4)), name


class TestByHand:
    """Rows 2/5 2/5 1/5 and 1/3 1/3 1/3 and, seeing key 2 only, 0 0 1."""

    found = statistics_of(
        np.array([[1.0], [0], [1]])[None],
        np.array([[math.log(2)], [math.log(2)], [0]])[None],
        np.ones((1, 3, 1)),
        mask=np.array([[1, 1, 1], [1, 1, 1], [0, 0, 1]], bool),
    )

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("score_mean", 2 / 7 * math.log(2)),
            ("score_max", math.log(2)),
            ("entropy", (math.log(5) - 0.8 * math.log(2) + math.log(3)) / 2),
            ("perplexity", (5 / 2**0.8 + 3) / 2),
            ("effective_keys", (25 / 9 + 3) / 2),
            ("max_weight", (2 / 5 + 1 / 3) / 2),
            ("saturated_fraction", 0),
            ("jacobian_trace_mean", (16 / 25 + 2 / 3) / 2),
            ("sink_mass", (2 / 5 + 1 / 3) / 3),
            ("received_max", (1 / 5 + 1 / 3 + 1) / 3),
            ("received_argmax", 2),
            ("received_by_seers_max", (1 / 5 + 1 / 3 + 1) / 3),  # keys 0 and 1 are seen by too few of three rows
            ("received_by_seers_argmax", 2),
            ("rows", 3),
            ("choosing_rows", 2),
            ("self_mass", (2 / 5 + 1 / 3 + 1) / 3),
            ("previous_mass", 1 / 3),
            ("next_mass", (2 / 5 + 1 / 3) / 2),
            ("distance", (2 / 5 + 2 / 5 + 2 / 3 + 0) / 3),
            ("norm_bound", 1),
        ],
    )
    def test_statistic(self, name: str, expected: float) -> None:
        assert getattr(self.found, name)[0] == pytest.approx(expected, rel=1e-14)

    def test_received_sums_to_one(self) -> None:
        assert self.found.received.sum() == pytest.approx(1, rel=1e-15)


class TestAsymmetry:
    def test_of_symmetric_weights_is_0(self) -> None:
        assert statistics_of(np.zeros((1, 4, 2)), np.zeros((1, 4, 2)), np.ones((1, 4, 1))).asymmetry == 0

    def test_of_weights_that_go_one_way_is_the_largest(self) -> None:
        """Each token looks at the next, the last at the first."""
        tokens = np.eye(3)[None]
        found = statistics_of(np.roll(tokens, -1, axis=1), tokens, np.ones((1, 3, 1)), scale=1e4)
        assert found.asymmetry[0] == pytest.approx(math.sqrt(1 / 2), rel=1e-15)

    def test_is_its_formula(self) -> None:
        q, k, v = draw(2, 2, 7, 7)
        found = statistics_of(q, k, v)
        a = attention_steps(attention_inputs(q, k, v, **DEFAULTS)).weights
        for head in range(2):
            pairs = [(a[head, i, j], a[head, j, i]) for i in range(7) for j in range(7)]
            difference = math.sqrt(math.fsum((one - other) ** 2 for one, other in pairs))
            expected = difference / (2 * math.sqrt(math.fsum(one**2 for one, _ in pairs)))
            assert found.asymmetry[head] == pytest.approx(expected, rel=1e-14)


class TestReasons:
    def test_queries_and_keys_that_are_not_the_same_tokens(self) -> None:
        found = statistics_of(*draw(2, 2, 5, 7))
        text = "5 queries and 7 keys are not the same tokens"
        names = ["self_mass", "previous_mass", "next_mass", "distance", "asymmetry"]
        assert found.reasons == dict.fromkeys(names, text)
        assert all(np.isnan(getattr(found, name)).all() for name in names)

    def test_causal(self) -> None:
        found = statistics_of(*draw(2, 2, 5, 5), causal=True)
        assert found.reasons == {
            "asymmetry": "causal: the half above the diagonal is hidden",
            "next_mass": "causal: no query sees the key after it",
        }
        assert np.isnan([found.asymmetry, found.next_mass]).all()

    def test_rows_that_are_not_finite(self) -> None:
        found = statistics_of(*poisoned(*draw(2, 2, 9, 9)))
        assert found.reasons["asymmetry"] == "a row is not finite, or every row is empty"
        assert found.reasons["entropy"] == "no row of this attention defines it"

    def test_a_statistic_that_only_some_heads_have_is_left_to_its_nan(self) -> None:
        q, k, v = draw(2, 2, 5, 5)
        found = statistics_of(q, k, v, mask=np.stack([np.eye(5, dtype=bool), np.ones((5, 5), bool)]))
        assert np.isnan(found.entropy).tolist() == [True, False]
        assert "entropy" not in found.reasons

    def test_none(self) -> None:
        assert statistics_of(*draw(2, 2, 5, 5)).reasons == {}

    def test_of_heads_joined_is_only_what_no_part_defines(self) -> None:
        """Heads that see one key only have no entropy, those whose rows are not finite no score either."""
        q, k, v = draw(1, 1, 5, 5)
        plain, alone = statistics_of(q, k, v), statistics_of(q, k, v, window=0)
        broken = statistics_of(q * np.nan, k, v)
        assert {"entropy", "score_mean"} & {*alone.reasons} == {"entropy"}
        assert {"entropy", "score_mean"} <= {*broken.reasons}
        for parts in ([alone, broken], [broken, alone], [broken, alone, broken]):
            assert joined_heads(parts).reasons == alone.reasons
        for parts in ([plain, alone], [alone, plain], [alone, broken, plain]):
            assert joined_heads(parts).reasons == {}
        for parts in ([broken], [broken, broken]):
            assert joined_heads(parts).reasons == broken.reasons


def one_key_ahead(gap: float, others: int) -> tuple[Array, Array, Array]:
    """One row whose first key scores `gap` above all others."""
    k = np.full((1, others + 1, 1), -gap)
    k[0, 0] = 0
    return np.ones((1, 1, 1)), k, np.ones((1, others + 1, 1))


class TestSaturatedRows:
    @pytest.mark.parametrize("gap", [5.0, 20.0, 36.0, 38.0, 50.0, 100.0, 300.0, 700.0])
    @pytest.mark.parametrize("others", [1, 7, 1000])
    def test_the_jacobian_trace_is_right(self, gap: float, others: int) -> None:
        with mpmath.workdps(700):
            e = mpmath.exp(-gap)
            p = e / (1 + others * e)
            exact = others * p * (1 - p) + others * p / (1 + others * e)
            expected = float(exact)
        found = statistics_of(*one_key_ahead(gap, others))
        assert found.jacobian_trace_mean[0] == pytest.approx(expected, rel=1e-12, abs=0)
        assert found.jacobian_trace_median[0] == found.jacobian_trace_mean[0]

    def test_the_shorter_formula_would_not_have_passed(self) -> None:
        p = np.exp([0.0, -38.0])
        p /= p.sum()
        assert (p * (1 - p)).sum() < 0.6 * 2 * p[1]

    @pytest.mark.parametrize("size", [1.0, 10.0, 40.0, 100.0, 1e3, 1e4, 1e6])
    def test_nothing_is_negative(self, size: float) -> None:
        found = statistics_of(*draw(3, 3, 41, 41, size=size))
        for name in ("entropy", "normalized_entropy", "jacobian_trace_mean", "jacobian_trace_median"):
            assert (getattr(found, name) >= 0).all(), name
        assert (found.perplexity >= 1).all()
        assert (found.effective_keys >= 1 - 1e-15).all()

    def test_equal_scores_have_all_the_entropy_there_is(self) -> None:
        found = statistics_of(np.zeros((1, 3, 1)), np.zeros((1, 7, 1)), np.ones((1, 7, 1)))
        assert found.entropy[0] == pytest.approx(math.log(7), rel=1e-15)
        assert found.normalized_entropy[0] == pytest.approx(1, rel=1e-15)
        assert found.effective_keys[0] == pytest.approx(7, rel=1e-14)

    def test_a_row_is_saturated_when_one_key_holds_more_than_99_in_100(self) -> None:
        """Two keys with scores q and 0 share as p to 1 − p where q = ln p/(1 − p)."""
        most = np.array([0.9891, 0.9899, 0.9901, 0.5, 0.9999])
        q, k = np.log(most / (1 - most))[None, :, None], np.array([[[1.0], [0.0]]])
        assert statistics_of(q, k, np.ones((1, 2, 1))).saturated_fraction[0] == 2 / 5


class TestScores:
    def test_the_variance_survives_a_mean_of_ten_thousand(self) -> None:
        scores = (np.random.default_rng(0).standard_normal((64, 64)) + 1e4).astype(np.float32)
        exact = scores.astype(np.float64).var()
        one_pass = np.square(scores).mean() - np.square(scores.mean())
        found = statistics_of(
            scores[None], np.eye(64, dtype=np.float32)[None], np.ones((1, 64, 1), np.float32), scale=1.0
        )
        assert found.score_variance[0] == pytest.approx(exact, rel=1e-10)
        assert abs(exact - 1) < 0.1
        assert abs(float(one_pass) - exact) > 1

    def test_cap_and_bias_are_in_the_logits_only(self) -> None:
        q, k, v = np.array([[[3.0]]]), np.array([[[1.0], [2.0]]]), np.ones((1, 2, 1))
        found = statistics_of(q, k, v, softcap=0.5, bias=np.array([5.0, 0.0]))
        assert (found.score_max[0], found.score_mean[0]) == (6, 4.5)
        assert found.logit_max[0] == pytest.approx(5.5, rel=1e-4)

    def test_hidden_scores_do_not_count(self) -> None:
        q, k, v = np.array([[[1.0]]]), np.array([[[1.0], [3.0], [np.inf]]]), np.ones((1, 3, 1))
        found = statistics_of(q, k, v, mask=np.array([True, True, False]))
        assert (found.score_mean[0], found.score_variance[0], found.score_max[0]) == (2, 1, 3)


class TestSink:
    @pytest.mark.parametrize(("lead", "sink"), [(1.0, True), (-1.0, False)])
    def test_is_more_than_three_tenths_on_key_0(self, lead: float, sink: bool) -> None:
        k = np.array([[[lead], [0], [0], [0]]])
        found = statistics_of(np.ones((1, 4, 1)), k, np.ones((1, 4, 1)))
        assert found.sink_mass[0] == pytest.approx(math.exp(lead) / (math.exp(lead) + 3), rel=1e-15)
        assert found.sink[0] == sink


class TestNothingThere:
    @pytest.mark.parametrize(("n", "m"), [(0, 5), (5, 0), (0, 0)])
    def test_without_queries_or_keys_only_the_counts_are_numbers(self, n: int, m: int) -> None:
        found = statistics_of(*draw(2, 2, n, m))
        assert found.empty_rows.tolist() == [n if m == 0 else 0] * 2
        assert found.nonfinite_rows.tolist() == [0, 0]
        assert np.isnan(found.entropy).all()
        assert np.isnan(found.jacobian_trace_median).all()
        assert np.isnan(found.received_argmax).all()
        assert found.received.shape == (2, m)

    @pytest.mark.parametrize("size", [1e-200, 1e200])
    def test_values_whose_squares_are_out_of_range_are_no_trouble(self, size: float) -> None:
        q, k, v = draw(1, 1, 4, 4)
        assert statistics_of(q, k, v * size).norm_bound[0] == pytest.approx(
            statistics_of(q, k, v).norm_bound[0], rel=1e-13
        )
