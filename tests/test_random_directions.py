"""What these very tokens would give in random directions: against true rotations, and calibrated on random heads."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab.experiments.agreement import Alignment
from attnlab.theory import random_directions as module
from attnlab.theory.pairs import Places, pair_variances, rotation
from attnlab.theory.random_directions import (
    Directions,
    Tokens,
    drawn_by_moments,
    drawn_by_passes,
    random_directions,
    rotation_block,
    t_quantile,
)
from attnlab.theory.score_variance import Maps, maps_of

Array = NDArray[Any]


def haar(d: int, rng: np.random.Generator) -> Array:
    """A random rotation or reflection of d dimensions, whole."""
    q, r = np.linalg.qr(rng.standard_normal((d, d)))
    turned: Array = q * np.sign(np.diag(r))
    return turned


def tokens_of(n: int, d: int, rng: np.random.Generator) -> Array:
    """Tokens that repeat like words do, of many lengths, about a mean token that is no small part of them."""
    table = rng.standard_normal((50, d)) * rng.uniform(0.3, 3, d)
    ids = np.minimum(rng.pareto(0.8, n) * 5, 49).astype(int)
    x: Array = (table[ids] + 0.3 * rng.standard_normal((n, d)) + rng.standard_normal(d)).astype(np.float32)
    return x


def head_of(d: int, d_k: int, rng: np.random.Generator) -> Maps:
    w_q, w_k = rng.standard_normal((2, d, d_k)) / math.sqrt(d)
    return Maps(w_q, w_k, *rng.standard_normal((2, d_k)))


def variance_of(x: Array, head: Maps, places: Places) -> float:
    q, k = x @ head.w_q + head.b_q, x @ head.w_k + head.b_k
    return float(pair_variances(q[None], k[None], places)[0])


SHAPES = [(5, 9, 2), (12, 6, 2), (6, 12, 8), (30, 8, 3), (4, 3, 3)]


@pytest.mark.parametrize(("n", "d", "d_k"), SHAPES)
@pytest.mark.parametrize("order", ["all", "causal", "rotary"])
def test_draws_are_those_of_whole_rotations(
    n: int, d: int, d_k: int, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng([n, d, d_k])
    x, head, count = tokens_of(n, d, rng), head_of(d, d_k, rng), 1500
    turn = rotation(d_k // 2 * 2, base=100.0) if order == "rotary" else None
    places = Places(n, order != "all", None, turn)
    truly = np.array([variance_of(x.astype(float) @ haar(d, rng), head, places) for _ in range(count)])
    reduced = maps_of(*head)
    factors = [np.hstack([reduced.w_q, reduced.w_k])]
    monkeypatch.setattr(module, "ROTATIONS", count)
    monkeypatch.setattr(module, "PASSES", count)
    if order == "all":
        drawn = drawn_by_moments(Tokens.of(x), [reduced], factors, d, rng)[0]
        mean = Tokens.of(x).mean_variance(reduced, d)
        assert abs(truly.mean() - mean) < 4.5 * truly.std() / math.sqrt(count)
    else:
        drawn = drawn_by_passes(x, [reduced], factors, places, rng)[0]
    error = math.hypot(truly.std(), drawn.std()) / math.sqrt(count)
    assert abs(truly.mean() - drawn.mean()) < 4.5 * error
    assert drawn.std() == pytest.approx(truly.std(), rel=0.25)
    quantiles = np.quantile(truly, [0.1, 0.9]), np.quantile(drawn, [0.1, 0.9])
    assert quantiles[0] == pytest.approx(quantiles[1], rel=0.2)


@pytest.mark.parametrize(("d", "rows", "columns"), [(7, 7, 7), (9, 2, 5), (9, 5, 2), (9, 8, 4), (1, 1, 1)])
def test_a_block_of_a_rotation_is_one(d: int, rows: int, columns: int) -> None:
    """Its entries have variance 1/d; what of a rotation is whole is orthonormal."""
    rng = np.random.default_rng(d)
    blocks = np.array([rotation_block(d, rows, columns, rng) for _ in range(4000)])
    assert blocks.shape == (4000, rows, columns)
    np.testing.assert_allclose(np.square(blocks).mean(axis=0), 1 / d, atol=6 * math.sqrt(2 / 4000) / d)
    if rows == d:
        np.testing.assert_allclose(blocks[0].T @ blocks[0], np.eye(columns), atol=1e-12)


def outside(n: int, order: str, heads: int, *, without_mean: bool = False) -> float:
    """The share of heads of random weights that lie outside their interval."""
    rng = np.random.default_rng([n, heads, len(order)])
    places = Places(n, order != "all", None, rotation(8, base=1e4) if order == "rotary" else None)
    count = 0
    for _ in range(heads // 20):
        x = tokens_of(n, 48, rng)
        own = [head_of(48, 8, rng) for _ in range(20)]
        seen = x - x.mean(axis=0) if without_mean else x
        found = random_directions(seen, [maps_of(*head) for head in own], places, scale=1.0, rng=rng)
        for head, interval in zip(own, found, strict=True):
            assert interval is not None
            count += not interval.low <= variance_of(x.astype(float), head, places) <= interval.high
    return count / heads


@pytest.mark.parametrize("n", [12, 60])
@pytest.mark.parametrize("order", ["all", "causal", "rotary"])
def test_of_heads_of_random_weights_about_one_in_a_hundred_is_called_aligned(n: int, order: str) -> None:
    """1,000 heads: 10 ± 3.1; 2,000 are in `tests/calibrate_predictions.py`."""
    assert 0.001 < outside(n, order, 1000) < 0.025


def test_a_law_without_the_mean_token_calls_most_of_them_so() -> None:
    """What was printed before: as far spread, in random directions, and no mean token."""
    assert outside(60, "all", 400, without_mean=True) > 0.1


def test_a_head_that_reads_what_the_tokens_vary_in_is_outside() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((60, 48)).astype(np.float32) * np.where(np.arange(48) < 8, 5.0, 0.5).astype(np.float32)
    reads = np.vstack([np.eye(8), np.zeros((40, 8))])
    (found,) = random_directions(x, [maps_of(reads, reads, None, None)], Places(60), scale=1.0, rng=rng)
    assert found is not None
    assert variance_of(x, Maps(reads, reads, np.zeros(8), np.zeros(8)), Places(60)) > 5 * found.high


class TestEdges:
    def test_nothing_is_drawn_of_weights_that_are_0(self) -> None:
        nothing = maps_of(np.zeros((6, 2)), np.zeros((6, 2)), None, None)
        for places in (Places(5), Places(5, True)):
            found = random_directions(np.ones((5, 6)), [nothing], places, scale=1.0, rng=np.random.default_rng(0))
            assert found == [None]

    def test_nor_of_tokens_that_are_not_finite(self) -> None:
        x = np.full((5, 6), np.nan)
        head = head_of(6, 2, np.random.default_rng(0))
        assert random_directions(x, [maps_of(*head)], Places(5), scale=1.0, rng=np.random.default_rng(0)) == [None]

    def test_nor_of_heads_wider_than_a_rotation_can_be_drawn_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MOST_WORK", 10)
        head = head_of(6, 2, np.random.default_rng(0))
        assert random_directions(np.eye(6), [maps_of(*head)], Places(6), scale=1.0, rng=np.random.default_rng(0)) == [
            None
        ]

    def test_a_scale_is_squared(self) -> None:
        x, head = tokens_of(9, 6, np.random.default_rng(1)), head_of(6, 2, np.random.default_rng(0))
        one, three = (
            random_directions(x, [maps_of(*head)], Places(9), scale=scale, rng=np.random.default_rng(0))[0]
            for scale in (1.0, 3.0)
        )
        assert isinstance(one, Directions)
        assert three == pytest.approx(tuple(9 * value for value in one), rel=1e-12)

    @pytest.mark.parametrize(("freedom", "quantile"), [(15, 2.94671), (39, 2.70791), (40, 2.70446), (100, 2.62589)])
    def test_students_quantiles(self, freedom: int, quantile: float) -> None:
        assert t_quantile(freedom) == pytest.approx(quantile, abs=1e-3)


@pytest.mark.parametrize(
    ("above", "below", "total", "more"),
    [(0, 0, 24, False), (1, 0, 24, False), (2, 1, 24, True), (1, 0, 1, True), (58, 1, 72, True), (3, 1, 72, True)],
)
def test_chance_alone_is_told_from_more(above: int, below: int, total: int, more: bool) -> None:
    found = Alignment(above, below, total)
    assert found.more_than_chance is more
    assert found.by_chance == pytest.approx(total / 100)
