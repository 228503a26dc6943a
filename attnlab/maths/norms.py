"""LayerNorm and RMSNorm over the last axis, with float64 statistics whatever the dtype."""

from typing import NamedTuple

import numpy as np

from attnlab.maths.architecture import NormKind
from attnlab.maths.precision import Array, rounded


class Moments(NamedTuple):
    """What is taken off each row and what the row is divided by, float64, broadcastable to the rows."""

    #: None: nothing is taken off (RMSNorm)
    mean: Array | None
    deviation: Array

    def of(self, rows: slice) -> "Moments":
        """Those of some rows, where there is one of each for every row, (n, 1)."""
        return Moments(None if self.mean is None else self.mean[rows], self.deviation[rows])


def moments(kind: NormKind, x: Array, *, eps: float) -> Moments:
    """Those of x (…, width) over its last axis, (…, 1) each: m and √(σ² + eps), or √(mean x² + eps).

    The mean is corrected once, m += mean(x − m), so that a constant row gives exactly the bias at any size; the
    variance is two-pass.
    """
    wide, mean = x.astype(np.float64), None
    with np.errstate(invalid="ignore", over="ignore"):
        if kind == "layernorm":
            mean = wide.mean(axis=-1, keepdims=True)
            mean += (wide - mean).mean(axis=-1, keepdims=True)
            wide -= mean
        return Moments(mean, np.sqrt(np.square(wide).mean(axis=-1, keepdims=True) + eps))


def normalised(x: Array, by: Moments, gain: Array | None, bias: Array | None) -> Array:
    """(x − mean)/deviation·gain + bias, rounded to the dtype of x."""
    wide = x.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        if by.mean is not None:
            wide -= by.mean
        wide /= by.deviation
        return affine(wide, gain, bias, x)


def layer_norm(x: Array, gain: Array | None = None, bias: Array | None = None, *, eps: float = 1e-5) -> Array:
    """(x − m)/√(σ² + eps)·gain + bias, with m and σ² the mean and (population) variance over the last axis.

    A NaN makes its own row NaN.

    Args:
        x: (…, width), floating. The result has its dtype.
        gain, bias: broadcastable to x; None = 1 and 0.

    Source: Ba et al. 2016, section 3.
    """
    return normalised(x, moments("layernorm", x, eps=eps), gain, bias)


def rms_norm(x: Array, gain: Array | None = None, *, eps: float) -> Array:
    """x/√(mean x² + eps)·gain over the last axis; dtype as x.

    Source: Zhang & Sennrich 2019, section 3.
    """
    return normalised(x, moments("rmsnorm", x, eps=eps), gain, None)


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
