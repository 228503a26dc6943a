"""The softmax, over what is visible."""

from typing import NamedTuple

import numpy as np

from attnlab.maths.precision import Array


class Softmax(NamedTuple):
    """Weights and the logarithm of their denominator."""

    #: same shape as the logits: each row sums to 1, or is all 0 where nothing is visible
    weights: Array
    #: one axis fewer: log Σ exp(logits), -inf where nothing is visible
    lse: Array


def log_sum_exp(logits: Array) -> Array:
    """log Σ exp(logits) over the last axis, (…, n, m) → (…, n), where all is visible: the softmax's, without weights.

    Args:
        logits: float32 or float64; they are overwritten.
    """
    top = logits.max(axis=-1, keepdims=True)
    logits -= top
    np.exp(logits, out=logits)
    found: Array = (top[..., 0] + np.log(logits.sum(axis=-1, dtype=np.float64))).astype(logits.dtype)
    return found


def softmax(logits: Array, visible: Array | None = None) -> Softmax:
    """p_j = exp(s_j − max s) / Σ_k exp(s_k − max s) over the last axis.

    What is not visible weighs exactly 0, whatever its logit holds. A row that sees nothing weighs 0 throughout, with
    lse = -inf. A visible NaN, or a visible +inf, makes the row's visible weights NaN: nothing is clamped.

    Args:
        logits: (…, n, m), float32 or float64.
        visible: boolean, broadcastable to the logits' shape; None = everything.
    """
    if visible is not None:
        logits = np.where(visible, logits, -np.inf)
    top = logits.max(axis=-1, keepdims=True, initial=-np.inf)
    empty: Array
    if logits.shape[-1] == 0:
        empty = np.ones(top.shape, dtype=bool)
    elif visible is None:
        empty = np.zeros(top.shape, dtype=bool)
    else:
        empty = np.asarray(~visible.any(axis=-1, keepdims=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        shift = np.where(empty, logits.dtype.type(0), top)
        weights = logits - shift
        np.exp(weights, out=weights)
        total = weights.sum(axis=-1, keepdims=True, dtype=np.float64)
        lse = (shift + np.log(total)).astype(logits.dtype)[..., 0]
        weights /= np.where(total == 0, 1, total).astype(logits.dtype)
    if visible is not None:
        np.copyto(weights, 0, where=~visible)  # a NaN row's hidden keys still weigh nothing
    return Softmax(weights, lse)
