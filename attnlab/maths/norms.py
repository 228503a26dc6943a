"""LayerNorm and RMSNorm over the last axis, with float64 statistics whatever the dtype."""

import numpy as np

from attnlab.maths.architecture import NormKind
from attnlab.maths.precision import Array, rounded


def layer_norm(x: Array, gain: Array | None = None, bias: Array | None = None, *, eps: float = 1e-5) -> Array:
    """(x − m)/√(σ² + eps)·gain + bias, with m and σ² the mean and (population) variance over the last axis.

    The mean is corrected once, m += mean(x − m), so that a constant row gives exactly the bias at any size; the
    variance is two-pass. A NaN makes its own row NaN.

    Args:
        x: (…, width), floating. The result has its dtype.
        gain, bias: broadcastable to x; None = 1 and 0.

    Source: Ba et al. 2016, section 3.
    """
    wide = x.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        mean = wide.mean(axis=-1, keepdims=True)
        mean += (wide - mean).mean(axis=-1, keepdims=True)
        centred = wide - mean
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        return affine(centred / np.sqrt(variance + eps), gain, bias, x)


def rms_norm(x: Array, gain: Array | None = None, *, eps: float = 1e-5) -> Array:
    """x/√(mean x² + eps)·gain over the last axis; dtype as x.

    Source: Zhang & Sennrich 2019, section 3.
    """
    wide = x.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        square = np.square(wide).mean(axis=-1, keepdims=True)
        return affine(wide / np.sqrt(square + eps), gain, None, x)


def affine(normal: Array, gain: Array | None, bias: Array | None, like: Array) -> Array:
    """normal·gain + bias, rounded to the dtype of `like`."""
    if gain is not None:
        normal = normal * gain.astype(np.float64)
    if bias is not None:
        normal = normal + bias.astype(np.float64)
    return rounded(normal, like.dtype)


def norm(kind: NormKind, x: Array, gain: Array | None, bias: Array | None, *, eps: float) -> Array:
    """The norm of that kind; RMSNorm has no bias."""
    return layer_norm(x, gain, bias, eps=eps) if kind == "layernorm" else rms_norm(x, gain, eps=eps)
