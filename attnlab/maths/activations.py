"""The feed-forward's activations, elementwise; half inputs are computed in float32 and returned as they came.

All but relu are NaN at -inf, as the formulas are (0·inf).
"""

import math
from collections.abc import Callable

import numpy as np

from attnlab.maths.architecture import Activation
from attnlab.maths.error_function import erfc, gelu_float32
from attnlab.maths.precision import Array, rounded, working_dtype


def relu(x: Array) -> Array:
    """max(x, 0); NaN stays NaN."""
    positive: Array = np.maximum(x, x.dtype.type(0))
    return positive


def gelu(x: Array) -> Array:
    """x·Φ(x) with Φ the normal distribution function: x·erfc(−x/√2)/2, which loses nothing for large negative x.

    Source: Hendrycks & Gimpel 2016, section 2.
    """
    if x.dtype == np.float32:
        with np.errstate(invalid="ignore"):
            return gelu_float32(x)
    wide = x.astype(np.float64)
    with np.errstate(invalid="ignore"):
        half = erfc(wide / -math.sqrt(2))
        half *= wide
        half /= 2
        return rounded(half, x.dtype)


def gelu_tanh(x: Array) -> Array:
    """x/2·(1 + tanh(√(2/π)(x + 0.044715 x³))): the approximation that GPT-2 was trained with (ibid.)."""
    work = x.astype(working_dtype(x.dtype), copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        inner = math.sqrt(2 / math.pi) * (work + 0.044715 * work**3)
        return rounded(work / 2 * (1 + np.tanh(inner)), x.dtype)


def silu(x: Array) -> Array:
    """x/(1 + e^(−x)), also called swish."""
    work = x.astype(working_dtype(x.dtype), copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        return rounded(work / (1 + np.exp(-work)), x.dtype)


#: The elementwise part of each activation; the gated ones multiply it by a second hidden layer (Shazeer 2020).
ELEMENTWISE: dict[Activation, Callable[[Array], Array]] = {
    "relu": relu,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": silu,
    "swiglu": silu,
    "geglu": gelu,
    "geglu_tanh": gelu_tanh,
}
