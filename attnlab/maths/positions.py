"""Positions: sinusoids added to the input, rotations of q and k, and ALiBi's penalty on the scores."""

import math
from typing import Literal

import numpy as np

from attnlab.errors import ShapeError
from attnlab.maths.architecture import LinearScaling, Llama3Scaling, Rotary
from attnlab.maths.precision import Array, rounded, working_dtype


def sinusoidal(n: int, width: int) -> Array:
    """PE(i, 2j) = sin(i/10000^(2j/width)), PE(i, 2j+1) = cos of the same; (n, width) float64.

    Source: Vaswani et al. 2017, section 3.5.
    """
    angles = np.arange(n)[:, None] * 10000.0 ** (-(np.arange(width) // 2 * 2) / width)
    return np.where(np.arange(width) % 2 == 0, np.sin(angles), np.cos(angles))


def rotary_angles(
    positions: Array, width: int, *, base: float = 10000.0, scaling: LinearScaling | Llama3Scaling | None = None
) -> Array:
    """i·base^(−2j/width) for j < width/2: (…, n, width/2) float64 for positions (…, n); scaled where asked for.

    Source: Su et al. 2021, section 3.2.2.
    """
    per_token: Array = base ** (-np.arange(0, width, 2) / width)
    return positions[..., None] * scaled(per_token, scaling)


def scaled(per_token: Array, scaling: LinearScaling | Llama3Scaling | None) -> Array:
    """The angles per token, as a model that was stretched to longer texts has them.

    Linear: a/factor. Llama 3: with t = L·a/2π turns in the L tokens of the original length, a/factor where t is below
    low_freq_factor, a where it is above high_freq_factor, and the mixture that is linear in t between.
    """
    if scaling is None:
        return per_token
    if isinstance(scaling, LinearScaling):
        return per_token / scaling.factor
    turns = scaling.original_length * per_token / (2 * math.pi)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    kept = np.clip((turns - low) / (high - low), 0, 1)
    mixed: Array = per_token * ((1 - kept) / scaling.factor + kept)
    return mixed


def rotate(x: Array, cos: Array, sin: Array, *, pairing: Literal["half", "interleaved"] = "half") -> Array:
    """Turn each pair (a, b) of the first coordinates of x to (a cos − b sin, b cos + a sin); the rest stay.

    Args:
        x: (…, n, d), floating; the result has its dtype.
        cos, sin: broadcastable to (…, n, w/2), where w ≤ d coordinates are turned.
        pairing: "half" pairs j with j + w/2, "interleaved" 2j with 2j + 1.
    """
    work = x.astype(working_dtype(x.dtype), copy=False)
    cos, sin = cos.astype(work.dtype, copy=False), sin.astype(work.dtype, copy=False)
    half = cos.shape[-1]
    turned = work.copy()
    first, second = (
        (slice(0, half), slice(half, 2 * half)) if pairing == "half" else (slice(0, 2 * half, 2), slice(1, 2 * half, 2))
    )
    a, b = work[..., first], work[..., second]
    turned[..., first] = a * cos - b * sin
    turned[..., second] = b * cos + a * sin
    return rounded(turned, x.dtype)


def rotary_width(rotary: Rotary, d: int) -> int:
    """How many of d coordinates are turned."""
    return int(rotary.fraction * d)


def rotary(x: Array, setting: Rotary) -> Array:
    """x (…, n, d) turned by the positions 0 … n−1.

    Raises:
        ShapeError: the coordinates to turn do not come in pairs.
    """
    width = rotary_width(setting, x.shape[-1])
    if width % 2:
        raise ShapeError(f"rotary: {width} of {x.shape[-1]} coordinates to turn; expected an even number")
    angles = rotary_angles(np.arange(x.shape[-2]), width, base=setting.base, scaling=setting.scaling)
    return rotate(x, np.cos(angles), np.sin(angles), pairing=setting.pairing)


def alibi_slopes(heads: int) -> Array:
    """The penalty per token of distance, one per head: 2^(−8i/h) for i = 1 … h when h is a power of two; (h,).

    Otherwise those of the largest power of two below h, then every second one of twice that power.

    Source: Press et al. 2022, section 3, and its published code for other numbers of heads.
    """
    power = 1 << (heads.bit_length() - 1)
    slopes = 2.0 ** (-8 * np.arange(1, power + 1) / power)
    between = 2.0 ** (-8 * np.arange(1, 2 * power + 1, 2) / (2 * power))
    return np.concatenate([slopes, between[: heads - power]])


def alibi_bias(heads: int, n: int) -> Array:
    """−slope·abs(i − j), added to the scores: (h, n, n) float64."""
    distance: Array = np.abs(np.arange(n)[:, None] - np.arange(n))
    return -alibi_slopes(heads)[:, None, None] * distance
