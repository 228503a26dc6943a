"""Moments of q·k and their standard errors against counting and simulation; a law wrong by half is turned away."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab.theory.initialisations import Start, common_starts, linear_deviation, xavier_deviation
from attnlab.theory.products import (
    ENTRY_KURTOSIS,
    Distribution,
    matrix_standard_error,
    pairs_standard_error,
    product_kurtosis,
    product_mean,
    product_variance,
)

Array = NDArray[Any]

DISTRIBUTIONS: tuple[Distribution, ...] = ("normal", "uniform", "sign")


def drawn(rng: np.random.Generator, shape: tuple[int, ...], distribution: Distribution) -> Array:
    if distribution == "normal":
        return rng.standard_normal(shape)
    if distribution == "uniform":
        return rng.uniform(-math.sqrt(3), math.sqrt(3), shape)
    return rng.choice([-1.0, 1.0], shape)


def spread(numbers: Array) -> tuple[float, float]:
    """The standard deviation of many numbers, and its standard error."""
    off = numbers - numbers.mean()
    deviation = float(off.std())
    return deviation, float(np.sqrt((off**4).mean() - deviation**4)) / (2 * deviation * math.sqrt(len(numbers)))


@pytest.mark.parametrize("d_k", [1, 2, 3, 5])
def test_signs_by_counting(d_k: int) -> None:
    """All 2^d_k products of ±1 are equally likely: q·k is a sum of d_k signs."""
    sums = np.array([sum(signs) for signs in itertools.product((-1, 1), repeat=d_k)])
    assert product_variance(d_k) == (sums**2).mean()
    assert product_kurtosis(d_k, "sign") == pytest.approx((sums**4).mean() / (sums**2).mean() ** 2, rel=1e-14)


def test_the_known_cases() -> None:
    assert matrix_standard_error(64, 64, 64) == pytest.approx(2.46, abs=0.005)
    assert pairs_standard_error(64, 64 * 64) == pytest.approx(1.45, abs=0.005)
    assert product_kurtosis(64) == 3.09375
    assert pairs_standard_error(1, 100, "sign") == 0
    assert matrix_standard_error(1, 3, 5, "sign") == 0
    assert matrix_standard_error(7, 1, 1) == pytest.approx(pairs_standard_error(7, 1))


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("d_k", [2, 7])
def test_kurtosis_by_simulation(distribution: Distribution, d_k: int) -> None:
    q, k = drawn(np.random.default_rng(1), (2, 1_000_000, d_k), distribution)
    scores = (q * k).sum(axis=1)
    fourth = scores**4 / d_k**2
    error = fourth.std() / math.sqrt(len(fourth))
    assert abs(fourth.mean() - product_kurtosis(d_k, distribution)) <= 4 * error
    assert abs(fourth.mean() - 1.5 * product_kurtosis(d_k, distribution)) > 4 * error


@pytest.mark.parametrize("rho", [-0.8, 0.5, 1.0])
@pytest.mark.parametrize("d_k", [1, 6])
def test_correlated_by_simulation(rho: float, d_k: int) -> None:
    q, other = np.random.default_rng(2).standard_normal((2, 1_000_000, d_k))
    off = (q * (rho * q + math.sqrt(1 - rho**2) * other)).sum(axis=1) - product_mean(d_k, rho)
    n, variance = len(off), product_variance(d_k, rho)
    assert abs(off.mean()) <= 4 * math.sqrt(variance / n)
    assert abs((off**2).mean() - variance) <= 4 * pairs_standard_error(d_k, n, correlation=rho)
    assert abs((off**2).mean() - d_k) > 4 * pairs_standard_error(d_k, n, correlation=rho)
    fourth = off**4 / variance**2
    assert abs(fourth.mean() - product_kurtosis(d_k, correlation=rho)) <= 4 * fourth.std() / math.sqrt(n)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
class TestStandardErrors:
    d_k = 6

    def test_of_pairs(self, distribution: Distribution) -> None:
        q, k = drawn(np.random.default_rng(3), (2, 10_000, 24, self.d_k), distribution)
        deviation, error = spread(np.square((q * k).sum(axis=2)).mean(axis=1))
        expected = pairs_standard_error(self.d_k, 24, distribution)
        assert abs(deviation - expected) <= 4 * error
        assert abs(deviation - 1.5 * expected) > 4 * error

    @pytest.mark.parametrize(("n", "m"), [(5, 11), (8, 8), (1, 7)])
    def test_of_a_matrix(self, distribution: Distribution, n: int, m: int) -> None:
        rng = np.random.default_rng(4)
        q, k = drawn(rng, (10_000, n, self.d_k), distribution), drawn(rng, (10_000, m, self.d_k), distribution)
        deviation, error = spread(np.square(q @ k.swapaxes(1, 2)).mean(axis=(1, 2)))
        expected = matrix_standard_error(self.d_k, n, m, distribution)
        assert abs(deviation - expected) <= 4 * error
        assert abs(deviation - 1.5 * expected) > 4 * error

    def test_independent_entries_would_promise_too_much(self, distribution: Distribution) -> None:
        """±1 rows all have the same length, and share nothing."""
        shared = matrix_standard_error(self.d_k, 40, 40, distribution)
        alone = pairs_standard_error(self.d_k, 1600, distribution)
        assert shared == pytest.approx(alone) if distribution == "sign" else shared > 1.5 * alone


def test_what_common_initialisations_start_with() -> None:
    expected = [3.16, 1.0, 0.25, 0.11, 0.094, 2.68]
    for start, variance in zip(common_starts(), expected, strict=True):
        assert start.score_variance == pytest.approx(variance, rel=0.015), start.name
    heads = [start.d_model / start.d_k for start in common_starts()]
    assert heads == [8, 8, 8, 8, 12, 32]  # of Vaswani's base model, of GPT-2, of LLaMA 7B
    assert common_starts()[0].score_variance == pytest.approx((2 * 512 / (512 + 64)) ** 2, rel=1e-14)
    assert xavier_deviation(512, 512) ** 2 == pytest.approx(1 / 512)
    assert linear_deviation(512) ** 2 == pytest.approx(1 / (3 * 512))


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize(("d", "d_k"), [(24, 7), (10, 20)])
def test_a_start_by_simulation(distribution: Distribution, d: int, d_k: int) -> None:
    start = Start("any", d, d_k, distribution, 0.2)
    w_q, w_k = start.deviation * drawn(np.random.default_rng(5), (2, 10_000, d, d_k), distribution)
    norms = np.square(w_q @ w_k.swapaxes(1, 2)).sum(axis=(1, 2)) / d_k
    deviation, error = spread(norms)
    assert abs(norms.mean() - start.score_variance) <= 4 * deviation / math.sqrt(len(norms))
    assert abs(norms.mean() - 1.5 * start.score_variance) > 4 * deviation / math.sqrt(len(norms))
    assert abs(deviation - start.between_heads) <= 4 * error
    assert abs(deviation - 1.5 * start.between_heads) > 4 * error


def test_every_distribution_has_a_kurtosis() -> None:
    assert set(ENTRY_KURTOSIS) == set(DISTRIBUTIONS)
