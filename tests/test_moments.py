"""Moments of chunks, merged, against numpy and by hand; and entries whose moments are known."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from attnlab.maths.entries import Distribution, entries, pair_products
from attnlab.maths.moments import Moments, merged, moments

Array = NDArray[Any]

KURTOSIS: dict[Distribution, float] = {"normal": 3.0, "uniform": 1.8, "sign": 1.0}


def fields(found: Moments) -> tuple[float, ...]:
    return (found.count, found.mean, found.m2, found.m3, found.m4)


def by_powers(x: Array) -> tuple[float, ...]:
    off = x - x.mean()
    return (len(x), x.mean(), *(np.sum(off**power) for power in (2, 3, 4)))


def test_by_hand() -> None:
    """1, 2, 3, 6: mean 3, off it −2, −1, 0, 3."""
    assert fields(moments(np.array([1, 2, 3, 6], np.float32))) == (4, 3, 14, 18, 98)
    assert moments(np.array([1.0, 2, 3, 6])).variance == 3.5
    assert moments(np.array([1.0, 2, 3, 6])).kurtosis == 4 * 98 / 14**2
    assert moments(np.array([1.0, 2, 3, 6])).mean_square(about=1.0) == (0 + 1 + 4 + 25) / 4


@given(
    st.lists(st.lists(st.integers(-50, 50), max_size=6), min_size=1, max_size=5),
    st.sampled_from([0.0, 1000.0]),
)
def test_merged_chunks_are_the_whole(chunks: list[list[int]], offset: float) -> None:
    total = Moments()
    for chunk in chunks:
        total = merged(total, moments(np.array(chunk, np.float64) + offset))
    whole = np.array(list(itertools.chain(*chunks)), np.float64) + offset
    if len(whole) == 0:
        assert fields(total) == (0, 0, 0, 0, 0)
    else:
        assert fields(total) == pytest.approx(by_powers(whole), rel=1e-9, abs=1e-5)


def test_merging_is_the_same_from_either_end() -> None:
    one, two = moments(np.array([1.0, 2, 9])), moments(np.array([-4.0, 8, 8, 8]))
    assert fields(merged(one, two)) == pytest.approx(fields(merged(two, one)), rel=1e-14)


def test_nothing_has_no_variance() -> None:
    nothing = moments(np.empty(0, np.float32))
    assert nothing == Moments()
    assert merged(nothing, nothing) == nothing
    assert math.isnan(nothing.variance)


def test_equal_numbers_have_no_kurtosis() -> None:
    same = moments(np.full(5, 3.0))
    assert same.variance == 0
    assert math.isnan(same.kurtosis)


def test_a_large_mean_does_not_drown_the_variance() -> None:
    """E x² − (E x)² of these numbers in float32 is 24 or so."""
    x = (np.random.default_rng(0).standard_normal(100_000) + 1e4).astype(np.float32)
    assert abs(float((x * x).mean() - x.mean() ** 2) - 1) > 0.5
    assert moments(x).variance == pytest.approx(x.astype(np.float64).var(), rel=1e-12)


@pytest.mark.parametrize(("distribution", "kurtosis"), KURTOSIS.items())
def test_entries_have_mean_0_variance_1_and_their_kurtosis(distribution: Distribution, kurtosis: float) -> None:
    n = 400_000
    x = entries(np.random.default_rng(1), (n // 7, 7), distribution)
    assert (x.dtype, x.shape) == (np.float32, (n // 7, 7))
    found = moments(x)
    assert abs(found.mean) <= 4 / math.sqrt(n)
    assert abs(found.mean_square() - 1) <= 4 * math.sqrt((kurtosis - 1) / n) + 1e-6
    assert found.kurtosis == pytest.approx(kurtosis, abs=0.04)


def test_signs_are_signs_and_uniform_numbers_stay_inside() -> None:
    signs = entries(np.random.default_rng(2), (999,), "sign")
    assert set(signs.tolist()) == {-1.0, 1.0}
    uniform = entries(np.random.default_rng(2), (99_999,), "uniform")
    assert 1.73 < float(np.abs(uniform).max()) <= math.sqrt(3) * (1 + 1e-6)


@pytest.mark.parametrize("distribution", KURTOSIS)
@pytest.mark.parametrize("d_k", [1, 5, 15, 16, 37])
def test_products_are_sums_over_the_width(distribution: Distribution, d_k: int) -> None:
    pairs = 11
    products = pair_products(np.random.default_rng(3), pairs, d_k, distribution)
    q, k = entries(np.random.default_rng(3), (2, d_k * pairs), distribution).astype(np.float64)
    shape, axis = ((d_k, pairs), 0) if d_k < 16 else ((pairs, d_k), 1)
    expected = (q * k).reshape(shape).sum(axis=axis)
    np.testing.assert_allclose(products, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("correlation", [-1.0, -0.5, 0.3, 1.0])
def test_correlated_pairs_have_their_mean(correlation: float) -> None:
    d_k, pairs = 9, 50_000
    products = pair_products(np.random.default_rng(4), pairs, d_k, correlation=correlation)
    error = math.sqrt(d_k * (1 + correlation**2) / pairs)
    assert abs(products.mean(dtype=np.float64) - correlation * d_k) <= 4 * error
    if abs(correlation) == 1:
        assert (products * correlation >= 0).all()
