"""The closed forms of the gradient, against simulation and against integrals done another way."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab.theory.gradients import (
    claimed_exponent,
    expected_largest_normal,
    expected_largest_score,
    frozen_jacobian_trace,
    frozen_median,
    frozen_query_gradient_mean,
    gradient_law,
    jacobian_law,
    overflow_score,
    overflow_width,
    query_gradient_gain,
    query_squares,
)
from attnlab.theory.random_energy import attention_law, softmax_law

Array = NDArray[Any]


def weights(s: Array) -> Array:
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    p: Array = e / e.sum(axis=-1, keepdims=True)
    return p


def mean_and_error(values: Array) -> tuple[float, float]:
    return float(values.mean()), float(values.std() / math.sqrt(values.size))


class TestJacobianLaw:
    @pytest.mark.parametrize("n", [2, 3, 12, 128])
    @pytest.mark.parametrize("sigma", [0.5, 1.0, 8.0, 32.0])
    def test_simulated(self, n: int, sigma: float) -> None:
        s = sigma * np.random.default_rng([n, int(sigma)]).standard_normal((40_000, n))
        p = weights(s)
        square = (p**2).sum(axis=1) - 2 * (p**3).sum(axis=1) + (p**2).sum(axis=1) ** 2
        along = np.sum((p * (s - (p * s).sum(axis=1, keepdims=True))) ** 2, axis=1) / sigma**2
        law = jacobian_law(n, sigma)
        for found, expected in ((square, law.square), (along, law.along_scores)):
            mean, error = mean_and_error(found)
            assert abs(mean - expected) <= 4 * error
            assert abs(mean - 1.5 * expected) > 4 * error

    @pytest.mark.parametrize("sigma", [0.01, 0.3, 1.0, 8.0, 100.0])
    def test_two_keys_by_one_integral(self, sigma: float) -> None:
        """‖J‖_F² = 4 p²(1 − p)² and ‖J s‖² = 2 p²(1 − p)² Δ², Δ ~ N(0, 2σ²) the scores' difference."""
        z = np.linspace(-12, 12, 400_001)
        chance = np.exp(-(z**2) / 2)
        chance /= chance.sum()
        gap = math.sqrt(2) * sigma * z
        half = np.exp(-np.abs(gap)) / (1 + np.exp(-np.abs(gap))) ** 2
        law = jacobian_law(2, sigma)
        assert law.square == pytest.approx(chance @ (4 * half**2), rel=1e-10)
        assert law.along_scores == pytest.approx(chance @ (2 * half**2 * gap**2) / sigma**2, rel=1e-7)

    def test_one_key_has_no_jacobian(self) -> None:
        assert jacobian_law(1, 1.0) == pytest.approx((0, 0), abs=1e-12)

    def test_weak_scores(self) -> None:
        """p = 1/n: ‖J‖_F² = (n − 1)/n², and J s = (s − s̄)/n, whose square is on average σ²(n − 1)/n²."""
        law = jacobian_law(50, 1e-4)
        assert law == pytest.approx((49 / 2500, 49 / 2500), rel=1e-6)

    def test_scores_so_wide_that_only_one_pair_ever_counts(self) -> None:
        """The largest eigenvalue is most of J then: ‖J‖_F ≈ tr J in each row, so the squares fall like 1/σ too."""
        assert jacobian_law(128, 400.0).square / jacobian_law(128, 200.0).square == pytest.approx(0.5, abs=0.01)


class TestQuerySquares:
    @pytest.mark.parametrize("d", [1, 2, 7, 1024])
    def test_moments(self, d: int) -> None:
        points, chances = query_squares(d)
        moments = [1, d, d * (d + 2), d * (d + 2) * (d + 4)]
        for power, moment in enumerate(moments):
            assert chances @ points**power == pytest.approx(moment, rel=1e-12)

    @pytest.mark.parametrize("d", [1, 2, 5, 64])
    @pytest.mark.parametrize("scaled", [True, False])
    def test_agrees_with_another_quadrature_of_another_law(self, d: int, scaled: bool) -> None:
        """`attention_law` averages over ‖q‖ by Legendre's points: E Σp² is the same by either."""
        scale = d**-0.5 if scaled else 1.0
        points, chances = query_squares(d)
        by_squares = sum(w * softmax_law(12, scale * math.sqrt(x)).square for x, w in zip(points, chances, strict=True))
        assert by_squares == pytest.approx(attention_law(12, d, scale).square, rel=1e-5)


def simulated(n: int, d: int, scale: float, value_width: int, sets: int) -> tuple[Array, Array]:
    """‖J‖_F² and ‖∂L/∂q‖² with keys, values and u of their own for each of `sets` queries."""
    rng = np.random.default_rng([n, d])
    square, gradient = np.empty(sets), np.empty(sets)
    for i in range(sets):
        q, k = rng.standard_normal(d), rng.standard_normal((n, d))
        g = rng.standard_normal((n, value_width)) @ rng.standard_normal(value_width)
        p = weights(scale * k @ q)
        square[i] = np.sum((np.diag(p) - np.outer(p, p)) ** 2)
        gradient[i] = np.sum((scale * (p * (g - p @ g)) @ k) ** 2)
    return square, gradient


class TestGradientLaw:
    @pytest.mark.parametrize(("n", "d", "value_width"), [(7, 1, 3), (7, 2, 3), (12, 5, 11), (31, 64, 3)])
    @pytest.mark.parametrize("scaled", [True, False])
    def test_simulated(self, n: int, d: int, value_width: int, scaled: bool) -> None:
        scale = d**-0.5 if scaled else 1.0
        law = gradient_law(n, d, scale, value_width)
        squares = law.jacobian_frobenius_rms**2, law.query_gradient_rms**2
        for found, expected in zip(simulated(n, d, scale, value_width, 6000), squares, strict=True):
            mean, error = mean_and_error(found)
            assert abs(mean - expected) <= 4 * error
            assert abs(mean - 1.5 * expected) > 4 * error

    def test_gain(self) -> None:
        """rms of the gradient over rms of ‖J‖_F is c √(e d_k), to O(1/d_k)."""
        for scale in (1.0, 1 / 32):
            law = gradient_law(128, 1024, scale, 64)
            ratio = law.query_gradient_rms / law.jacobian_frobenius_rms
            assert ratio == pytest.approx(query_gradient_gain(1024, scale, 64), rel=2e-3)
        assert query_gradient_gain(100, 1.0, 64) == 80

    def test_grows_like_the_fourth_root_when_frozen(self) -> None:
        first, last = (gradient_law(128, d_k, 1.0, 64).query_gradient_rms for d_k in (2**14, 2**18))
        assert math.log(last / first, 16) == pytest.approx(0.25, abs=0.005)

    @pytest.mark.parametrize(("d_k", "power"), [(64, 0.33), (512, 0.27)])
    def test_comes_to_that_slowly(self, d_k: int, power: float) -> None:
        """As docs/theory.md says: nearer to a third than to a fourth root where people look."""
        below, above = (gradient_law(128, width, 1.0, 64).query_gradient_rms for width in (d_k, 2 * d_k))
        assert round(math.log2(above / below), 2) == power


class TestFrozen:
    def test_the_law_is_the_limit_of_the_exact_one(self) -> None:
        """Slowly: the rate of the gaps is √(2 ln n) less a term in ln ln n; in d_k the power is right."""
        exact = [1 - softmax_law(10**6, sigma).square for sigma in (200.0, 400.0)]
        assert exact[0] / exact[1] == pytest.approx(2, rel=0.02)
        assert exact[1] / frozen_jacobian_trace(10**6, 400**2) == pytest.approx(1, abs=0.15)
        assert abs(exact[1] / (1.5 * frozen_jacobian_trace(10**6, 400**2)) - 1) > 0.15

    def test_mean_and_median(self) -> None:
        """Two keys share what is left: E‖∂L/∂q‖ → E p(1 − p)·E abs(g₁ − g₂)·√(2 d_k), whatever d_k."""
        n, d, e = 1000, 10_000, 64
        rate = frozen_jacobian_trace(n, d)
        by_parts = rate / 2 * math.sqrt(2 * e) * math.sqrt(2 / math.pi) * math.sqrt(2 * d)
        assert frozen_query_gradient_mean(n, e) == pytest.approx(by_parts)
        assert frozen_median(n, d) == pytest.approx(math.exp(-math.log(2) / rate))
        assert claimed_exponent(128, 64) == pytest.approx(math.sqrt(128 * 64))


class TestOverflow:
    def test_where_exp_gives_up(self) -> None:
        for dtype, score in ((np.float16, 11.09), (np.float32, 88.72), (np.float64, 709.78)):
            limit = overflow_score(float(np.finfo(dtype).max))
            assert limit == pytest.approx(score, abs=0.005)
            with np.errstate(over="ignore"):
                below, above = (np.exp(np.array(limit * factor, dtype)) for factor in (0.998, 1.002))
            assert np.isfinite(below)
            assert np.isinf(above)

    @pytest.mark.parametrize(("n", "exact"), [(1, 0.0), (2, math.pi**-0.5), (3, 1.5 * math.pi**-0.5)])
    def test_largest_of_few(self, n: int, exact: float) -> None:
        assert expected_largest_normal(n) == pytest.approx(exact, abs=1e-12)

    def test_largest_score_simulated(self) -> None:
        rng = np.random.default_rng(1)
        q, k = rng.standard_normal((4000, 1, 19)), rng.standard_normal((4000, 128, 19))
        mean, error = mean_and_error((q * k).sum(axis=-1).max(axis=-1))
        assert abs(mean - expected_largest_score(128, 19)) <= 4 * error
        assert abs(mean - expected_largest_score(256, 19)) > 4 * error

    @pytest.mark.parametrize("n", [2, 128, 10**6])
    def test_width_is_the_smallest(self, n: int) -> None:
        largest = float(np.finfo(np.float16).max)
        width = overflow_width(n, largest)
        assert expected_largest_score(n, width) >= overflow_score(largest)
        assert width == 1 or expected_largest_score(n, width - 1) < overflow_score(largest)
