"""The laws of score variance under orders, windows, rotary positions and biases: simulation agrees, others do not."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab.experiments.agreement import farthest, tail
from attnlab.experiments.expectation import rotation_of
from attnlab.maths.architecture import BlockSpec, LinearScaling, Llama3Scaling, Rotary
from attnlab.maths.positions import rotary
from attnlab.maths.visibility import band
from attnlab.theory import pairs, score_variance
from attnlab.theory.pairs import Places, pair_variances
from attnlab.theory.score_variance import (
    Maps,
    draws_for,
    log_z,
    maps_of,
    placed_moments,
    placed_score_prediction,
    population_draws,
)
from attnlab.theory.scores import ScorePrediction, score_prediction

Array = NDArray[Any]
D, D_K = 24, 8
ORDERS = {"all": (False, None), "causal": (True, None), "window": (True, 5), "both sides": (False, 3)}
ROTATIONS: dict[str, Rotary | None] = {
    "none": None,
    "half": Rotary(base=100.0),
    "a part, interleaved": Rotary(base=100.0, fraction=0.5, pairing="interleaved"),
    "slowed": Rotary(base=100.0, scaling=LinearScaling(4.0)),
    "llama 3": Rotary(
        base=100.0,
        scaling=Llama3Scaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_length=16),
    ),
}


def spec_of(position: Rotary | None) -> BlockSpec:
    return BlockSpec(d_model=D, n_heads=1, n_kv_heads=1, d_k=D_K, d_v=D_K, d_ff=None, position=position or "none")


def places_of(n: int, order: str, turned: str = "none") -> Places:
    causal, window = ORDERS[order]
    return Places(n, causal, window, rotation_of(spec_of(ROTATIONS[turned])))


def drawn_maps(rng: np.random.Generator, *, biases: bool) -> Maps:
    """W_K is partly W_Q, so that the trace counts."""
    w_q = 1.3 * rng.standard_normal((D, D_K)) / math.sqrt(D)
    w_k = 0.5 * w_q + rng.standard_normal((D, D_K)) / math.sqrt(D)
    b_q, b_k = biases * rng.standard_normal((2, D_K))
    return Maps(w_q, w_k, b_q, b_k)


def simulated(maps: Maps, n: int, order: str, turned: str, count: int, rng: np.random.Generator) -> Array:
    """Score variances of sets of random tokens, by the definitions of the attention itself."""
    x = rng.standard_normal((count, n, D))
    q, k = x @ maps.w_q + maps.b_q, x @ maps.w_k + maps.b_k
    if (setting := ROTATIONS[turned]) is not None:
        q, k = rotary(q, setting), rotary(k, setting)
    causal, window = ORDERS[order]
    seen = band(n, n, causal=causal, window=window)
    scores = q @ k.swapaxes(-1, -2)
    found: Array = scores[:, np.ones((n, n), bool) if seen is None else seen].var(axis=-1)
    return found


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("turned", ROTATIONS)
@pytest.mark.parametrize("biases", [False, True])
def test_the_law_is_what_simulation_gives_and_the_bar_is_its_spread(order: str, turned: str, biases: bool) -> None:
    rng = np.random.default_rng([list(ORDERS).index(order), list(ROTATIONS).index(turned), biases])
    for n in (5, 17):
        maps, places = drawn_maps(rng, biases=biases), places_of(n, order, turned)
        measured = simulated(maps, n, order, turned, 2000, rng)
        _, variance = placed_moments(maps_of(*maps), places, sphere=None)
        error = measured.std() / math.sqrt(len(measured))
        assert abs(measured.mean() - variance) < 4.5 * error
        assert abs(measured.mean() - 1.25 * variance) > 4.5 * error  # a wrong law is told from it
        drawn = population_draws(maps_of(*maps), places, sphere=None, count=1000, rng=rng)
        assert drawn.std() == pytest.approx(measured.std(), rel=0.2)


class TestWrongLaws:
    """What a shorter law leaves out is seen at the same settings."""

    def apart(self, maps: Maps, places: Places, order: str, turned: str, wrong: float) -> float:
        rng = np.random.default_rng(8)
        measured = simulated(maps, places.n, order, turned, 6000, rng)
        return float((measured.mean() - wrong) / measured.std() * math.sqrt(len(measured)))

    def test_without_the_mask(self) -> None:
        maps = drawn_maps(np.random.default_rng(0), biases=False)
        _, unmasked = placed_moments(maps, places_of(9, "all"), sphere=None)
        assert abs(self.apart(maps, places_of(9, "causal"), "causal", "none", unmasked)) > 4

    def test_without_the_rotation(self) -> None:
        w = np.random.default_rng(1).standard_normal((D, D_K)) / math.sqrt(D)
        maps = Maps(w, w, np.zeros(D_K), np.zeros(D_K))
        _, still = placed_moments(maps, places_of(9, "causal"), sphere=None)
        assert abs(self.apart(maps, places_of(9, "causal", "half"), "causal", "half", still)) > 4

    def test_turned_the_other_way(self) -> None:
        """Queries and keys whose planes differ by a turn: the sign of i − j tells."""
        rng = np.random.default_rng(2)
        w_q = rng.standard_normal((D, D_K)) / math.sqrt(D)
        w_k = rotary(np.repeat(w_q[:, None], 3, axis=1), Rotary(base=4.0))[:, 2]
        maps = maps_of(w_q, w_k, None, None)
        _, right = placed_moments(maps, Places(9, True, 3, rotation_of(spec_of(Rotary(base=4.0)))), sphere=None)
        _, wrong = placed_moments(
            maps_of(w_k, w_q, None, None), Places(9, True, 3, rotation_of(spec_of(Rotary(base=4.0)))), sphere=None
        )
        assert abs(right / wrong - 1) > 0.1

    def test_the_population_moments_leave_out_1_over_n(self) -> None:
        """With biases and n = 10, 7 to 9 % too much."""
        maps = drawn_maps(np.random.default_rng(3), biases=True)
        gram_q, gram_k = maps.w_q.T @ maps.w_q, maps.w_k.T @ maps.w_k
        short = float(np.sum(gram_q * gram_k) + maps.b_q @ gram_k @ maps.b_q + maps.b_k @ gram_q @ maps.b_k)
        assert abs(self.apart(maps, places_of(10, "causal"), "causal", "none", short)) > 4


@pytest.mark.parametrize("sphere", [None, D, D - 1])
@pytest.mark.parametrize("biases", [False, True])
def test_all_pairs_are_as_the_closed_form_has_them(sphere: int | None, biases: bool) -> None:
    maps = drawn_maps(np.random.default_rng(4), biases=biases)
    if sphere == D - 1:
        maps = maps._replace(w_q=maps.w_q - maps.w_q.mean(axis=0), w_k=maps.w_k - maps.w_k.mean(axis=0))
    closed = score_prediction(*maps, scale=1.0, n=9, sphere=sphere)
    assert placed_moments(maps, Places(9), sphere=sphere) == pytest.approx((closed.mean, closed.variance), rel=1e-12)


@pytest.mark.parametrize("turned", [name for name in ROTATIONS if name != "none"])
@pytest.mark.parametrize("order", ORDERS)
def test_all_distances_at_once_give_what_one_after_the_other_gives(
    order: str, turned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps, places = drawn_maps(np.random.default_rng(10), biases=True), places_of(9, order, turned)
    at_once = placed_moments(maps, places, sphere=None)
    monkeypatch.setattr(score_variance, "PLANES", 0)
    assert placed_moments(maps, places, sphere=None) == pytest.approx(at_once, rel=1e-11)


@pytest.mark.parametrize("turned", ["none", "half"])
@pytest.mark.parametrize("d_k", [3, 8])
def test_the_span_alone_says_the_same(turned: str, d_k: int) -> None:
    """For D = 24 those of 6 and of 16 coordinates, and of wide heads (p, p) products instead of (d_k, d_k)."""
    rng = np.random.default_rng(9)
    for d in (D, 4):
        whole = Maps(*rng.standard_normal((2, d, 2 * d_k)), *rng.standard_normal((2, 2 * d_k)))
        turn = None if turned == "none" else rotation_of(replace(spec_of(ROTATIONS["half"]), d_k=2 * d_k))
        places = Places(7, True, None, turn)
        assert len(maps_of(*whole).w_q) == min(d, 4 * d_k)
        expected = placed_moments(whole, places, sphere=None)
        assert placed_moments(maps_of(*whole), places, sphere=None) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("order", ["causal", "window", "both sides"])
@pytest.mark.parametrize("turned", ["none", "half"])
def test_blocks_give_what_the_matrix_gives(order: str, turned: str, monkeypatch: pytest.MonkeyPatch) -> None:
    q, k = np.random.default_rng(5).standard_normal((2, 3, 90, D_K)) + 0.5
    whole = pair_variances(q, k, places_of(90, order, turned))
    monkeypatch.setattr(pairs, "WHOLE", 0)
    monkeypatch.setattr(pairs, "BLOCK", 17)
    np.testing.assert_allclose(pair_variances(q, k, places_of(90, order, turned)), whole, rtol=1e-11)


@pytest.mark.parametrize("n", [3, 90])
def test_all_pairs_need_no_score(n: int) -> None:
    q, k = np.random.default_rng(6).standard_normal((2, 3, n, D_K)) + 0.5
    scores = q @ k.swapaxes(-1, -2)
    np.testing.assert_allclose(pair_variances(q, k, Places(n)), scores.var(axis=(-2, -1)), rtol=1e-12)


def beyond(n: int, order: str, turned: str, *, biases: bool, heads: int, of_each: int) -> tuple[float, float]:
    """Shares of |z| > 3 and the sd of z over many predictions, each with an error bar of its own draws."""
    rng = np.random.default_rng([n, heads, biases])
    found = []
    for _ in range(heads):
        maps, places = drawn_maps(rng, biases=biases), places_of(n, order, turned)
        predicted = placed_score_prediction(maps_of(*maps), places, scale=1.0, sphere=None, rng=rng)
        found += [log_z(float(v), predicted) for v in simulated(maps, n, order, turned, of_each, rng)]
    z = np.array(found, dtype=float)
    return float((np.abs(z) > 3).mean()), float(z.std())


@pytest.mark.parametrize(
    ("order", "turned", "biases"),
    [("all", "none", False), ("causal", "none", False), ("causal", "half", False), ("causal", "half", True)],
)
@pytest.mark.parametrize("n", [10, 16, 64])
def test_three_standard_errors_are_as_rare_as_they_should_be(n: int, order: str, turned: str, biases: bool) -> None:
    """By 2,000 predictions of each kind; 10,000 are in `tests/calibrate_predictions.py`."""
    share, spread = beyond(n, order, turned, biases=biases, heads=100, of_each=20)
    assert share < 0.0085  # 0.27 % of 2,000 is 5 ± 2.3: 17 or more is beyond five of these
    assert 0.8 < spread < 1.25


def test_the_plain_z_cries_wolf_where_tokens_are_few() -> None:
    """Its skew, with the same errors: what the logarithm is for."""
    rng = np.random.default_rng(7)
    maps, places = drawn_maps(rng, biases=False), places_of(10, "causal")
    predicted = placed_score_prediction(maps_of(*maps), places, scale=1.0, sphere=None, rng=rng)
    measured = simulated(maps, 10, "causal", "none", 20_000, rng)
    assert predicted.standard_error is not None
    plain = (np.abs(measured - predicted.variance) > 3 * predicted.standard_error).mean()
    logs = np.mean([abs(log_z(float(v), predicted) or 0.0) > 3 for v in measured])
    assert plain > 0.008 > 2 * logs - 0.004


class TestAgreement:
    def test_one_prediction_may_be_three_standard_errors_off_and_many_more(self) -> None:
        assert farthest(1) == pytest.approx(3.0, abs=1e-3)
        assert 3.5 < farthest(8) < farthest(72) < 4.3

    @pytest.mark.parametrize(("least", "count"), [(0, 5), (1, 5), (3, 72), (5, 5)])
    def test_the_tail_is_the_binomials(self, least: int, count: int) -> None:
        exact = sum(math.comb(count, i) * 0.01**i * 0.99 ** (count - i) for i in range(least, count + 1))
        assert tail(least, count, 0.01) == pytest.approx(exact, rel=1e-9)

    def test_nothing_is_said_without_an_error(self) -> None:
        assert log_z(1.0, ScorePrediction(0, 1.0, None)) is None
        assert log_z(1.0, ScorePrediction(0, 1.0, 0.0)) is None
        assert log_z(0.0, ScorePrediction(0, 1.0, 0.1)) is None

    def test_more_tokens_take_fewer_draws(self) -> None:
        assert [draws_for(n) for n in (1, 200, 400, 10**6)] == [200, 100, 50, 32]
