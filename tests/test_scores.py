"""Scores whose product leaves the dtype's range before the scale brings it back, against exact fractions."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab import attention, attention_scores
from attnlab.maths import scores as ours
from attnlab.maths.attention import attention_steps
from attnlab.maths.inputs import AttentionInputs, attention_inputs

Array = NDArray[Any]

N, M, D = 5, 7, 3
#: the sizes of q and k, and the scale
SIZES: dict[str, tuple[Any, float, float, float]] = {
    "products overflow": (np.float32, 1e20, 1e20, 1e-40),
    "products overflow, keys small": (np.float32, 3e38, 3.0, 1e-38),
    "products overflow, float64": (np.float64, 1e160, 2e150, 1e-310),
    "products underflow": (np.float32, 1e-22, 2e-20, 1e38),
    "products underflow, float64": (np.float64, 1e-200, 1e-118, 1e307),
    "subnormal queries": (np.float32, 1e-40, 1.0, 3e38),
    "subnormal queries, float64": (np.float64, 1e-310, 1.0, 1e308),
    "a subnormal scale": (np.float32, 30.0, 2e37, 3e-39),
    "a scale of two digits": (np.float32, 1.0, 1.5e36, 2e-44),
    "a scale that is 0 in float32": (np.float32, 1.0, 2e38, 7e-46),
    "a scale below 0": (np.float32, 1e20, 1e20, -1e-40),
}


def drawn(name: str) -> tuple[Array, Array, float]:
    dtype, of_q, of_k, scale = SIZES[name]
    rng = np.random.default_rng(7)
    q, k = rng.uniform(-1, 1, (N, D)), rng.uniform(-1, 1, (M, D))
    return (q * of_q).astype(dtype), (k * of_k).astype(dtype), scale


def exact_scores(q: Array, k: Array, scale: float) -> Array:
    """scale·q·k of these very numbers, rounded once, to float64."""
    rows = [
        [Fraction(scale) * sum(Fraction(float(a)) * Fraction(float(b)) for a, b in zip(x, y, strict=True)) for y in k]
        for x in q
    ]
    return np.array([[float(score) for score in row] for row in rows])


def exact_log_weights(scores: Array) -> Array:
    shifted = scores - scores.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def bound(q: Array, k: Array, scale: float) -> float:
    """16 eps (1 + |scale|·max‖q‖·max‖k‖)."""
    return 16 * float(np.finfo(q.dtype).eps) * (1 + size_of(q, k, scale))


def size_of(q: Array, k: Array, scale: float) -> float:
    """|scale|·max‖q‖·max‖k‖."""
    (of_q, x), (of_k, y) = (largest_and_norm(array) for array in (q, k))
    return float(abs(Fraction(scale)) * Fraction(of_q) * Fraction(of_k)) * x * y


def worst(found: Array, q: Array, k: Array, scale: float) -> float:
    """The largest error in units of eps·|scale|·max‖q‖·max‖k‖: no digit of small scores is let off."""
    exact = exact_scores(q, k, scale)
    return float(np.abs(found - exact).max()) / (float(np.finfo(q.dtype).eps) * size_of(q, k, scale))


def largest_and_norm(x: Array) -> tuple[float, float]:
    """The largest number, and the longest vector in units of it."""
    top = float(np.abs(x).max())
    return top, float(np.linalg.norm(x.astype(np.longdouble) / np.longdouble(top), axis=1).max())


@pytest.mark.parametrize("name", SIZES)
class TestOutOfRange:
    def test_weights_keep_the_bound_on_their_accuracy(self, name: str) -> None:
        q, k, scale = drawn(name)
        expected = exact_log_weights(exact_scores(q, k, scale))
        found = attention(q, k, np.ones((M, 1), q.dtype), scale=scale).weights
        assert np.isfinite(found).all()
        told = (found >= 2.0**-126) & (expected >= -126 * math.log(2))
        assert told.sum() > N
        assert np.abs(np.log(found.astype(np.float64)) - expected)[told].max() <= bound(q, k, scale)

    def test_scores_keep_their_digits(self, name: str) -> None:
        q, k, scale = drawn(name)
        assert worst(attention_scores(q, k, scale=scale), q, k, scale) <= D

    def test_the_product_first_loses_them(self, name: str) -> None:
        """The judge turns the plain order away."""
        q, k, scale = drawn(name)
        with np.errstate(all="ignore"):
            plain = (q @ k.T) * q.dtype.type(scale)
        assert not worst(plain, q, k, scale) <= 10 * D


def test_sums_whose_parts_overflow_and_cancel() -> None:
    q, k = np.array([[3e38, -3e38]], np.float32), np.array([[2, 2], [2, 1.5], [0, 0]], np.float32)
    np.testing.assert_allclose(attention_scores(q, k, scale=1e-38)[0], [0, 1.5, 0], rtol=1e-6)
    np.testing.assert_array_equal(attention_scores(q, k, scale=4.0)[0], np.array([0, np.inf, 0], np.float32))


def inputs_of(q: Array, k: Array, **settings: Any) -> AttentionInputs:
    nothing: dict[str, Any] = dict.fromkeys(("mask", "bias", "window", "scale", "softcap"))
    return attention_inputs(q, k, k, **(nothing | {"causal": False} | settings))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1e-12, 1e-3, 1.0, 50.0, 1e15])
@pytest.mark.parametrize(("h", "g", "n", "m", "d"), [(1, 1, 1, 9, 5), (4, 2, 17, 13, 8), (2, 1, 300, 129, 64)])
def test_ordinary_inputs_keep_their_bits(dtype: Any, size: float, h: int, g: int, n: int, m: int, d: int) -> None:
    """They take the product as it is; and were they taken apart, they would be the same to the bit."""
    rng = np.random.default_rng(3)
    q, k = ((size * rng.standard_normal(shape)).astype(dtype) for shape in ((h, n, d), (g, m, d)))
    inputs = inputs_of(q, k, scale=0.3)
    plain = (inputs.q @ inputs.k.swapaxes(-1, -2)) * dtype(0.3)
    assert not ours._leaves_range(inputs)
    np.testing.assert_array_equal(ours.scaled_scores(inputs), plain.reshape(h, n, m))
    np.testing.assert_array_equal(ours._in_range(inputs), plain)


def test_what_one_query_holds_changes_no_other_bit() -> None:
    rng = np.random.default_rng(5)
    q, k = rng.standard_normal((2, 3, 70, 24)).astype(np.float32)
    usual = attention_scores(q, k)
    for odd in (3e38, 1e-45, np.inf, np.nan):
        changed = q.copy()
        changed[1, 4] = odd
        found = attention_scores(changed, k)
        found[1, 4] = usual[1, 4]
        np.testing.assert_array_equal(found, usual)


def test_what_is_not_finite_means_what_it_meant() -> None:
    """Next to a product that overflows: -inf weighs nothing, and a key too small to be told from 0 keeps its sign."""
    q = np.array([[1e20, 0], [-np.inf, 0], [np.nan, 0], [0, 0]], np.float32)
    k = np.array([[1e20, 0], [1e-30, 1e30], [2, np.inf], [-1e-20, 0]], np.float32)
    with np.errstate(all="ignore"):
        plain = (q @ k.T) * np.float32(1e-30)
    found = attention_scores(q, k, scale=1e-30)
    assert found[0, 0] == pytest.approx(1e10)
    np.testing.assert_array_equal(found[1:], plain[1:])
    np.testing.assert_allclose(found[0, 1:], plain[0, 1:], atol=1e-38)


def test_many_rows_are_put_back_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(11)
    q, k = (1e20 * rng.standard_normal((2, 4, 23, 6))).astype(np.float32)
    whole = attention_scores(q, k, scale=1e-40)
    monkeypatch.setattr(ours, "AT_ONCE", 100)
    np.testing.assert_array_equal(attention_scores(q, k, scale=1e-40), whole)
    assert np.isfinite(whole).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_mean_of_values_near_the_largest_float_is_finite(dtype: Any) -> None:
    top = np.finfo(dtype).max
    v = np.full((300, 2), top)
    v[:, 1] = np.where(np.arange(300) % 2, top, -top)
    q, k = np.zeros((4, 3), dtype), np.zeros((300, 3), dtype)
    q[0] = k[7] = 9
    output = attention(q, k, v).output
    np.testing.assert_allclose(output[:, 0], top, rtol=1e-5)
    assert np.isfinite(output).all()
    assert (np.abs(output[1:, 1]) < 1e-5 * top).all()


def test_ordinary_values_are_weighed_as_they_are() -> None:
    rng = np.random.default_rng(2)
    q, k, v = rng.standard_normal((3, 2, 19, 5)).astype(np.float32)
    steps = attention_steps(inputs_of(q, k)._replace(v=v))
    np.testing.assert_array_equal(steps.output, steps.weights @ v)
