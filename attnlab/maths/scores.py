"""The scores scale·q·k of an attention, in whatever order keeps their digits."""

import numpy as np

from attnlab.maths.inputs import AttentionInputs
from attnlab.maths.precision import Array

#: Scores whose exponents are put back at a time.
AT_ONCE = 1 << 18


def scaled_scores(inputs: AttentionInputs) -> Array:
    """scale·q·k for every pair, (…, h, n, m).

    q·k may leave the range of the dtype where scale·q·k lies well within it, and a scale may be too small for the
    dtype. There the powers of two are taken out of each query, key and the scale first, and put back last: exactly, so
    that all other numbers have the same bits either way.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        scores = _in_range(inputs) if _leaves_range(inputs) else _product(inputs)
    return scores.reshape(inputs.shape)


def _product(inputs: AttentionInputs) -> Array:
    """The product, then the scale: (…, g, r·n, m)."""
    scores: Array = inputs.q @ inputs.k.swapaxes(-1, -2)
    scores *= scores.dtype.type(inputs.scale)
    return scores


def _leaves_range(inputs: AttentionInputs) -> bool:
    """Whether a sum of products may overflow, what it loses by underflow may show, or the scale has too few digits."""
    limits, d, size = np.finfo(inputs.q.dtype), inputs.q.shape[-1], abs(inputs.scale)
    largest = d * _largest(inputs.q) * _largest(inputs.k)
    shows = size * d * float(limits.tiny) > float(limits.eps) / 4
    return not largest <= float(limits.max) / 2 or shows or 0 < size < float(limits.tiny)


def _largest(x: Array) -> float:
    """The largest abs(x), NaN passed over; 0 of none."""
    return max(float(np.fmax.reduce(x, axis=None, initial=0)), -float(np.fmin.reduce(x, axis=None, initial=0)))


def _in_range(inputs: AttentionInputs) -> Array:
    """As `_product`, each query and key between ½ and 1 in size, and so the scale, while they are multiplied.

    Where a query or key is not finite, what comes of it is the product's own.
    """
    q, of_q, finite_q = _fractions(inputs.q)
    k, of_k, finite_k = _fractions(inputs.k)
    fraction, of_scale = np.frexp(inputs.scale)
    scores: Array = q @ k.swapaxes(-1, -2)
    scores *= scores.dtype.type(fraction)
    height = max(1, AT_ONCE // max(1, scores[..., :1, :].size))
    for start in range(0, scores.shape[-2], height):
        rows = np.s_[..., start : start + height, :]
        np.ldexp(scores[rows], of_q[rows] + of_k.swapaxes(-1, -2) + of_scale, out=scores[rows])
    if not (finite_q.all() and finite_k.all()):
        np.copyto(scores, _product(inputs), where=~(finite_q & finite_k.swapaxes(-1, -2)))
    return scores


def _fractions(x: Array) -> tuple[Array, Array, Array]:
    """Vectors (…, n, d) as f·2^e, the largest number of each f between ½ and 1: f, e and whether all are finite.

    What is not finite counts for 0. The last two are (…, n, 1).
    """
    numbers: Array = np.isfinite(x)
    size = np.abs(x).max(axis=-1, keepdims=True, where=numbers, initial=0)
    exponents = np.frexp(size)[1]
    finite: Array = np.asarray(numbers.all(axis=-1, keepdims=True))
    return np.ldexp(np.where(numbers, x, 0), -exponents), exponents, finite
