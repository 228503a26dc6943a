"""The softmax's Jacobian and the query's gradient, against derivatives taken another way, and their bounds."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab.maths.attention import attention
from attnlab.maths.jacobian import (
    jacobian,
    jacobian_frobenius,
    jacobian_spectral,
    jacobian_trace,
    query_gradient,
    query_gradient_bound,
)
from attnlab.maths.softmax import softmax

Array = NDArray[Any]


def rows(count: int, m: int, *, spread: float = 1.0, seed: int = 0) -> Array:
    """Weights of random scores, (count, m)."""
    return softmax(spread * np.random.default_rng([seed, m]).standard_normal((count, m))).weights


def complex_step(s: Array) -> Array:
    """∂softmax_i/∂s_j of one row by a complex step, (m, m): no difference is taken, so no digit is lost."""
    m, tiny = len(s), 1e-30
    stepped = s + 1j * tiny * np.eye(m)
    e = np.exp(stepped - s.max())
    derivative: Array = np.imag(e / e.sum(axis=1, keepdims=True)).T / tiny
    return derivative


class TestJacobian:
    def test_by_hand(self) -> None:
        p = [Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)]
        exact = [[float(a * ((i == j) - b)) for j, b in enumerate(p)] for i, a in enumerate(p)]
        assert jacobian(np.array([float(a) for a in p])) == pytest.approx(np.array(exact), abs=1e-16)

    @pytest.mark.parametrize("spread", [0.1, 1.0, 10.0])
    def test_is_the_derivative(self, spread: float) -> None:
        s = spread * np.random.default_rng(3).standard_normal((5, 7))
        found = jacobian(softmax(s).weights)
        for row, matrix in zip(s, found, strict=True):
            assert matrix == pytest.approx(complex_step(row), abs=1e-14)
        assert not np.allclose(found[0], 1.5 * complex_step(s[0]), atol=1e-8)

    def test_central_differences(self) -> None:
        s, h = np.random.default_rng(4).standard_normal(11), 1e-5
        up, down = (softmax(s + sign * h * np.eye(11)).weights for sign in (1, -1))
        assert np.abs((up - down).T / (2 * h) - jacobian(softmax(s).weights)).max() < 1e-8

    def test_entries_are_a_quarter_at_most(self) -> None:
        for spread in (0.5, 2.0, 8.0):
            assert np.abs(jacobian(rows(1000, 13, spread=spread))).max() <= 0.25
        assert jacobian(np.array([0.5, 0.5])).tolist() == [[0.25, -0.25], [-0.25, 0.25]]

    def test_a_constant_added_to_the_scores_changes_nothing(self) -> None:
        s = np.random.default_rng(5).standard_normal(17)
        assert np.abs(jacobian(softmax(s + 1000).weights) - jacobian(softmax(s).weights)).max() < 1e-12


class TestTraceAndNorm:
    @pytest.mark.parametrize("m", [1, 2, 3, 41])
    @pytest.mark.parametrize("spread", [0.0, 1.0, 20.0])
    def test_are_the_matrix_s(self, m: int, spread: float) -> None:
        p = rows(23, m, spread=spread)
        matrix = jacobian(p)
        assert jacobian_trace(p) == pytest.approx(np.trace(matrix, axis1=-2, axis2=-1), abs=1e-15)
        assert jacobian_frobenius(p) == pytest.approx(np.linalg.norm(matrix, axis=(-2, -1)), abs=1e-15)

    def test_keep_their_digits_where_one_key_holds_nearly_all(self) -> None:
        """Two keys: tr J = 2 p(1 − p), ‖J‖_F the same; 1 − Σp² would be 0 here, or negative."""
        rest = 1e-25
        p = np.array([[1.0, rest]])
        assert jacobian_trace(p)[0] == pytest.approx(2 * rest, rel=1e-14)
        assert jacobian_frobenius(p)[0] == pytest.approx(2 * rest, rel=1e-14)
        assert jacobian_spectral(p)[0] == pytest.approx(2 * rest, rel=1e-14)

    def test_leading_axes(self) -> None:
        p = rows(30, 7).reshape(2, 3, 5, 7)
        for norm in (jacobian_trace, jacobian_frobenius, jacobian_spectral):
            assert norm(p).shape == (2, 3, 5)
            assert norm(p)[1, 2, 4] == norm(p[1, 2, 4])


def by_eigenvalues(p: Array) -> float:
    return float(np.linalg.eigvalsh(np.diag(p) - np.outer(p, p))[-1])


def clustered(m: int, top: float, width: float) -> Array:
    """One key of weight `top`, the others within a relative `width` of each other."""
    others = 1 + width * np.random.default_rng(m).random(m - 1)
    return np.concatenate([[top], (1 - top) * others / others.sum()])


DEGENERATE = {
    "one key": np.array([1.0]),
    "one-hot": np.eye(5)[2],
    "uniform": np.full(7, 1 / 7),
    "two alike, nothing else": np.array([0.5, 0.5, 0.0]),
    "two alike at the top": np.array([0.4, 0.4, 0.2]),
    "two alike below": np.array([0.6, 0.2, 0.2]),
    "nearly alike": np.array([0.3 + 1e-13, 0.3, 0.4 - 1e-13]),
    "nearly one-hot": np.array([1 - 3e-9, 1e-9, 1e-9, 1e-9]),
    "one of many": np.concatenate([[0.5], np.full(100, 0.005)]),
}


class TestSpectralNorm:
    @pytest.mark.parametrize("p", DEGENERATE.values(), ids=DEGENERATE.keys())
    def test_degenerate_rows(self, p: Array) -> None:
        assert jacobian_spectral(p) == pytest.approx(by_eigenvalues(p), abs=1e-14)

    @pytest.mark.parametrize("m", [2, 3, 17, 60])
    @pytest.mark.parametrize("spread", [1e-9, 1e-3, 0.3, 1.0, 5.0, 40.0])
    def test_random_rows(self, m: int, spread: float) -> None:
        p = rows(40, m, spread=spread)
        assert jacobian_spectral(p) == pytest.approx([by_eigenvalues(row) for row in p], abs=1e-13)

    @pytest.mark.parametrize("width", [1e-15, 1e-12, 1e-6, 1e-2])
    @pytest.mark.parametrize("top", [0.02, 0.3, 0.7, 0.999])
    def test_clustered_rows(self, top: float, width: float) -> None:
        p = clustered(80, top, width)
        assert jacobian_spectral(p) == pytest.approx(by_eigenvalues(p), abs=1e-13)

    def test_two_keys_however_unlike(self) -> None:
        """2 p(1 − p), to its last digits, down to where 1 − p is subnormal."""
        for rest in (1e-5, 1e-100, 1e-300, 5e-324):
            assert jacobian_spectral(np.array([1 - rest, rest])) == pytest.approx(2 * rest * (1 - rest), rel=1e-13)

    def test_no_keys_and_nan(self) -> None:
        assert jacobian_spectral(np.zeros((3, 0))).tolist() == [0, 0, 0]
        assert np.isnan(jacobian_spectral(np.full((1, 4), np.nan))).all()

    def test_is_half_at_most_and_reached(self) -> None:
        largest = 0.0
        for spread in (0.3, 1.0, 3.0, 8.0, 30.0):
            found = jacobian_spectral(rows(20_000, 12, spread=spread))
            largest = max(largest, float(found.max()))
            assert found.min() >= 0
        assert 0.49 < largest <= 0.5 + 1e-15
        assert jacobian_spectral(np.array([0.5, 0.5])) == 0.5


def loss(q: Array, k: Array, v: Array, u: Array, scale: float) -> float:
    """Σ over queries of u·o, o the output of attention."""
    return float(np.sum(u * attention(q, k, v, scale=scale).output))


class TestQueryGradient:
    @pytest.mark.parametrize("scale", [1.0, 5**-0.5])
    def test_is_the_whole_attention_s(self, scale: float) -> None:
        rng = np.random.default_rng(6)
        n, m, d, e, h = 3, 7, 5, 11, 1e-6
        q, k, u, v = (rng.standard_normal(shape) for shape in ((n, d), (m, d), (n, e), (m, e)))
        found = query_gradient(attention(q, k, v, scale=scale).weights, u @ v.T, k, scale=scale)
        numeric = np.empty_like(q)
        for place in np.ndindex(*q.shape):
            step = np.zeros_like(q)
            step[place] = h
            numeric[place] = (loss(q + step, k, v, u, scale) - loss(q - step, k, v, u, scale)) / (2 * h)
        assert found == pytest.approx(numeric, abs=1e-8)
        assert not np.allclose(found, numeric / 5**0.5, atol=1e-3)

    def test_batches(self) -> None:
        rng = np.random.default_rng(7)
        p, g, k = rows(30, 7).reshape(2, 3, 5, 7), rng.standard_normal((2, 3, 5, 7)), rng.standard_normal((2, 3, 7, 4))
        found = query_gradient(p, g, k, scale=0.5)
        assert found.shape == (2, 3, 5, 4)
        assert found[1, 2] == pytest.approx(query_gradient(p[1, 2], g[1, 2], k[1, 2], scale=0.5))
        bound = query_gradient_bound(g, k, scale=0.5)
        assert bound[1, 2] == pytest.approx(query_gradient_bound(g[1, 2], k[1, 2], scale=0.5))

    def test_keeps_its_digits_where_one_key_holds_nearly_all(self) -> None:
        """p₁ p₂ (g₁ − g₂)(k₁ − k₂), which p (g − ḡ) k would lose to rounding."""
        rest, g, k = 1e-30, np.array([[3.0, -1.0]]), np.array([[2.0, 1.0], [-1.0, 5.0]])
        found = query_gradient(np.array([[1.0, rest]]), g, k, scale=1.0)
        assert found[0] == pytest.approx(rest * 4 * (k[0] - k[1]), rel=1e-14)


class TestBound:
    def test_is_never_broken(self) -> None:
        count, m, d = 25_000, 9, 3
        rng = np.random.default_rng(8)
        for spread in (0.5, 1.0, 3.0, 10.0):
            p, g, k = (
                rows(count, m, spread=spread)[:, None],
                rng.standard_normal((count, 1, m)),
                rng.standard_normal((count, m, d)),
            )
            gradient = np.linalg.norm(query_gradient(p, g, k, scale=0.7), axis=-1)
            assert (gradient <= query_gradient_bound(g, k, scale=0.7) * (1 + 1e-13)).all()

    def test_is_reached_by_two_keys_that_share_alike(self) -> None:
        g, k = np.array([[3.0, -1.0]]), np.array([[2.0, 1.0], [-1.0, 5.0]])
        gradient = query_gradient(np.array([[0.5, 0.5]]), g, k, scale=0.3)
        assert np.linalg.norm(gradient) == pytest.approx(query_gradient_bound(g, k, scale=0.3)[0])
        assert query_gradient_bound(g, k, scale=0.3)[0] == pytest.approx(0.3 / 4 * 5 * 4)

    def test_weights_of_unequal_scores_can_come_close(self) -> None:
        """Half of the bound would be broken: the bound is no looser than it must be."""
        count = 20_000
        rng = np.random.default_rng(9)
        p, g, k = rows(count, 3)[:, None], rng.standard_normal((count, 1, 3)), rng.standard_normal((count, 3, 1))
        gradient = np.linalg.norm(query_gradient(p, g, k, scale=1.0), axis=-1)
        assert (gradient > query_gradient_bound(g, k, scale=1.0) / 2).any()
        assert math.isfinite(gradient.max())
