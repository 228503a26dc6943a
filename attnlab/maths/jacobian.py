"""The softmax's Jacobian J = diag(p) − ppᵀ, and the gradient that it lets through to the query.

p are rows of weights in float64 that sum to 1. Where one key holds nearly all of a row, 1 − p_max is the sum of the
others and never a difference: the shorter forms lose every digit there, and go negative. Axes: n rows, m keys.
"""

from typing import NamedTuple

import numpy as np

from attnlab.maths.precision import Array

#: Newton's method doubles its digits; a row that clusters keys near its second largest takes a few steps more.
_MOST_STEPS = 100
_TOLERANCE = 4 * np.finfo(np.float64).eps


class _Split(NamedTuple):
    """Each row's largest weight, and the row with a 0 in its place."""

    #: (…, 1): where it is
    at: Array
    #: (…,)
    top: Array
    #: (…, m)
    others: Array


def _split(p: Array) -> _Split:
    at = p.argmax(axis=-1)[..., None]
    others = p.copy()
    np.put_along_axis(others, at, 0.0, axis=-1)
    return _Split(at, np.take_along_axis(p, at, axis=-1)[..., 0], others)


def jacobian(p: Array) -> Array:
    """∂p_i/∂s_j = p_i(δ_ij − p_j), (…, m) → (…, m, m).

    Source: Bishop & Bishop 2024, section 6.4; any calculus text.
    """
    at, _, others = _split(p)
    matrix: Array = -p[..., :, None] * p[..., None, :]
    rest = 1 - p
    np.put_along_axis(rest, at, others.sum(axis=-1, keepdims=True), axis=-1)
    np.einsum("...ii->...i", matrix)[...] = p * rest
    return matrix


def jacobian_trace(p: Array) -> Array:
    """tr J = Σ p(1 − p), (…, m) → (…,): from 0 (one key holds all) to 1 − 1/m (all alike)."""
    _, top, others = _split(p)
    trace: Array = top * others.sum(axis=-1) + (others * (1 - others)).sum(axis=-1)
    return trace


def jacobian_frobenius(p: Array) -> Array:
    """‖J‖_F = √(Σ p²[(1 − p)² + Σp² − p²]), (…, m) → (…,)."""
    _, top, others = _split(p)
    squares = np.square(others)
    rest = squares.sum(axis=-1)
    of_top = np.square(top) * (np.square(others.sum(axis=-1)) + rest)
    beside = np.maximum(rest[..., None] - squares, 0) + np.square(top)[..., None]
    of_others = (squares * (np.square(1 - others) + beside)).sum(axis=-1)
    norm: Array = np.sqrt(of_top + of_others)
    return norm


def jacobian_spectral(p: Array) -> Array:
    """‖J‖₂, the largest eigenvalue of J, (…, m) → (…,): at most ½, reached at p = (½, ½).

    With p₁ ≥ p₂ ≥ … the eigenvalue λ lies in [p₂, p₁] and solves Σ p_i/(p_i − λ) = 0. With G(λ) = Σ_{i>1} p_i/(λ − p_i)
    that is p₁/G(λ) + λ − p₁ = 0, whose left side rises and is concave: Newton's method from the left cannot overshoot.
    It starts at the root for two keys. Where p₁ = p₂, λ = p₁.

    Source: Golub 1973, section 5, for the secular equation; its concave form is derived here (1/G is λ less a
    Stieltjes function).
    """
    if p.shape[-1] == 0:
        return np.zeros(p.shape[:-1])
    _, top, others = _split(p.reshape(-1, p.shape[-1]))
    norm: Array = others.max(axis=-1)
    between = (norm > 0) & (top > norm)
    norm[between] = _largest_eigenvalue(top[between], norm[between], others[between])
    by_row: Array = norm.reshape(p.shape[:-1])
    return by_row


def _largest_eigenvalue(top: Array, second: Array, others: Array) -> Array:
    """The root in (p₂, p₁) for rows where 0 < p₂ < p₁, found as λ = p₂(1 + x): relative to p₂ nothing underflows."""
    gap = top - second
    weights = others / second[:, None]
    below = 1 - weights
    x = gap / (top + second)
    for _ in range(_MOST_STEPS):
        inverse = np.reciprocal(below + x[:, None])
        parts = weights * inverse
        total = parts.sum(axis=-1)
        slope = top * np.vecdot(parts, inverse) / np.square(total) + second
        step = (gap - top / total - second * x) / slope
        x = x + np.maximum(step, 0)  # a step back is rounding
        if not (step > _TOLERANCE * (1 + x)).any():
            break
    largest: Array = second * (1 + x)
    return largest


def query_gradient(p: Array, g: Array, k: Array, *, scale: float) -> Array:
    """∂L/∂q = c Σ_j p_j (g_j − ḡ) k_j = c Cov_p(k, g), with g = ∂L/∂p and ḡ = Σ p g.

    Args:
        p: weights (…, n, m). g: (…, n, m). k: keys (…, m, d).
        scale: c, which multiplies q·k.

    Returns:
        (…, n, d).
    """
    at = p.argmax(axis=-1)[..., None]
    through: Array = p * (g - (p * g).sum(axis=-1, keepdims=True))
    # They sum to 0: the largest key's is what the others leave, since g − ḡ has no digits left there.
    np.put_along_axis(through, at, 0.0, axis=-1)
    np.put_along_axis(through, at, -through.sum(axis=-1, keepdims=True), axis=-1)
    gradient: Array = scale * (through @ k)
    return gradient


def query_gradient_bound(g: Array, k: Array, *, scale: float) -> Array:
    """(c/4) · max_ab ‖k_a − k_b‖ · (max g − min g) ≥ ‖∂L/∂q‖, whatever the weights.

    Along any direction a covariance is at most the product of two standard deviations, each at most half a range.

    Args:
        g: (…, n, m). k: (…, m, d).

    Returns:
        (…, n).

    Source: derived here from Popoviciu's inequality on variances.
    """
    squares = np.square(k).sum(axis=-1)
    apart = squares[..., :, None] + squares[..., None, :] - 2 * (k @ k.swapaxes(-1, -2))
    widest = np.sqrt(np.maximum(apart.max(axis=(-2, -1)), 0))
    bound: Array = abs(scale) / 4 * widest[..., None] * np.ptp(g, axis=-1)
    return bound
