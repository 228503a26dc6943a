"""LayerNorm and RMSNorm: by hand, against 50 digits, and where a one-pass variance or a plain mean would fail."""

from typing import Any

import ml_dtypes
import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab.maths.norms import layer_norm, norm, rms_norm

Array = NDArray[Any]

EPS = float(np.finfo(np.float32).eps)


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def layer_norm_in_50_digits(row: Array, eps: float) -> list[float]:
    with mpmath.workdps(50):
        x = [mpmath.mpf(float(number)) for number in row]
        mean = mpmath.fsum(x) / len(x)
        variance = mpmath.fsum((number - mean) ** 2 for number in x) / len(x)
        return [float((number - mean) / mpmath.sqrt(variance + eps)) for number in x]


class TestLayerNorm:
    def test_by_hand(self) -> None:
        """Mean 4 and variance 1 + 3."""
        x = np.array([2.0, 2.0, 6.0, 6.0])
        np.testing.assert_array_equal(layer_norm(x, eps=0.0), [-1, -1, 1, 1])
        np.testing.assert_allclose(layer_norm(x, eps=12.0), [-0.5, -0.5, 0.5, 0.5], rtol=1e-15)

    def test_gain_and_bias(self) -> None:
        found = layer_norm(np.array([2.0, 6.0]), np.array([3.0, 5.0]), np.array([7.0, 11.0]), eps=0.0)
        np.testing.assert_array_equal(found, [4, 16])

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("size", [0.0, 1e-30, 1e-8, 0.1, 1.0, np.pi, 1e10, 1e30])
    @pytest.mark.parametrize("width", [1, 3, 768, 1000])
    @pytest.mark.parametrize("sign", [1, -1])
    def test_a_constant_row_gives_exactly_the_bias(self, dtype: Any, size: float, width: int, sign: int) -> None:
        bias = normal(width).astype(dtype)
        found = layer_norm(np.full((2, width), sign * size, dtype), np.full(width, 1.7, dtype), bias)
        np.testing.assert_array_equal(found, [bias, bias])

    def test_its_variance_is_that_of_its_input_over_itself_plus_eps(self) -> None:
        x = normal(5, 300) * np.array([1e-3, 1e-2, 0.1, 1, 10])[:, None]
        variance = x.var(axis=-1)
        np.testing.assert_allclose(layer_norm(x, eps=1e-3).var(axis=-1), variance / (variance + 1e-3), rtol=1e-12)

    @pytest.mark.parametrize("mean", [0.0, 1e4, -1e6])
    def test_a_large_mean_in_float32_costs_nothing(self, mean: float) -> None:
        x = (normal(64) + mean).astype(np.float32)
        exact = layer_norm_in_50_digits(x, 1e-5)
        np.testing.assert_allclose(layer_norm(x), exact, rtol=EPS, atol=1e-12)
        np.testing.assert_allclose(layer_norm(x.astype(np.float64)), exact, rtol=1e-9)

    def test_a_plain_float32_variance_would_not_have_passed(self) -> None:
        """E[x²] − E[x]² in float32, the trap that float64 statistics are for."""
        x = (normal(64) + 1e4).astype(np.float32)
        naive = np.square(x).mean() - np.square(x.mean())
        assert abs(float(naive) / x.astype(np.float64).var() - 1) > 0.5

    @pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
    def test_half_is_rounded_once(self, dtype: Any) -> None:
        x, gain, bias = normal(7, 11).astype(dtype), normal(11, seed=1).astype(dtype), normal(11, seed=2).astype(dtype)
        wide = layer_norm(*(array.astype(np.float64) for array in (x, gain, bias)))
        found = layer_norm(x, gain, bias)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, wide.astype(dtype))

    def test_float16_whose_squares_overflow(self) -> None:
        found = layer_norm(np.array([60000, -60000], np.float16), eps=0.0)
        np.testing.assert_array_equal(found, np.array([1, -1], np.float16))

    @pytest.mark.parametrize("poison", [np.nan, np.inf])
    def test_what_is_not_finite_spoils_its_own_row_only(self, poison: float) -> None:
        x = normal(3, 5)
        clean = layer_norm(x)
        x[1, 2] = poison
        found = layer_norm(x)
        assert np.isnan(found[1]).all()
        np.testing.assert_array_equal(found[[0, 2]], clean[[0, 2]])


class TestRMSNorm:
    def test_by_hand(self) -> None:
        """The mean of 9 and 16 and 0 and 0 is 25/4."""
        np.testing.assert_allclose(rms_norm(np.array([3.0, 4.0, 0.0, 0.0]), eps=0.0), [1.2, 1.6, 0, 0], rtol=1e-15)
        np.testing.assert_array_equal(rms_norm(np.array([1.0, 1.0]), np.array([4.0, 6.0]), eps=3.0), [2, 3])

    def test_the_mean_stays_in(self) -> None:
        np.testing.assert_allclose(rms_norm(np.full(5, 7.0), eps=0.0), np.ones(5), rtol=1e-15)

    def test_zeros_stay_zeros(self) -> None:
        np.testing.assert_array_equal(rms_norm(np.zeros((2, 3), np.float32), eps=1e-5), np.zeros((2, 3)))

    @pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
    def test_narrow_dtypes_are_rounded_once(self, dtype: Any) -> None:
        x, gain = (100 * normal(7, 11)).astype(dtype), normal(11, seed=1).astype(dtype)
        found = rms_norm(x, gain, eps=1e-5)
        assert found.dtype == dtype
        wide = rms_norm(x.astype(np.float64), gain.astype(np.float64), eps=1e-5)
        np.testing.assert_array_equal(found, wide.astype(dtype))

    def test_nan_spoils_its_own_row_only(self) -> None:
        x = np.ones((2, 3))
        x[0, 1] = np.nan
        np.testing.assert_array_equal(np.isnan(rms_norm(x, eps=1e-5)), [[True] * 3, [False] * 3])


def test_norm_is_the_one_named() -> None:
    x, gain, bias = normal(3, 5), normal(5, seed=1), normal(5, seed=2)
    np.testing.assert_array_equal(norm("layernorm", x, gain, bias, eps=0.1), layer_norm(x, gain, bias, eps=0.1))
    np.testing.assert_array_equal(norm("rmsnorm", x, gain, None, eps=0.1), rms_norm(x, gain, eps=0.1))
