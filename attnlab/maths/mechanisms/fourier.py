"""Fourier mixing: tokens mixed by a transform that has no weights at all. O(N log N)."""

import numpy as np

from attnlab.errors import ShapeError
from attnlab.maths.precision import Array

#: Tokens turned into columns, and back, at a time: they stay in the cache.
TOKENS_HELD = 256
#: Numbers between one column's end and the next one's start: columns that lie a power of two apart would share a few
#: places of the cache, and push each other out.
GAP = 16


def fourier_mixing(x: Array) -> Array:
    """Re F_n x F_d, the real part of the discrete Fourier transform over tokens and features: (n, d) → (n, d).

    In float32 for float32 inputs. O(N·d·log(N·d)) for sizes made of small factors.

    x is real, so that feature d − j at token i is the conjugate of feature j at token −i, and half need transforming.

    Raises:
        ShapeError: not two axes.

    Source: Lee-Thorp et al. 2022, section 3.
    """
    if x.ndim != 2:
        raise ShapeError(f"x: shape {x.shape}; expected (n, d)")
    n, d = x.shape
    half = d // 2 + 1
    columns: Array = np.empty((half, n + GAP), np.result_type(x, np.complex64))[:, :n]
    for start in range(0, n, TOKENS_HELD):
        part = slice(start, start + TOKENS_HELD)
        columns[:, part] = np.fft.rfft(x[part], axis=1).T
    np.fft.fft(columns, axis=1, out=columns)
    return unfolded(columns.real, d)


def unfolded(columns: Array, d: int) -> Array:
    """(d//2 + 1, n), the first half of a real transform's features, real parts → (n, d), all of them."""
    half, n = columns.shape
    mirrored = columns[1 : d - half + 1][::-1]
    mixed = np.empty((n, d), columns.dtype)
    mixed[:1, :half], mixed[:1, half:] = columns[:, :1].T, mirrored[:, :1].T
    for start in range(1, n, TOKENS_HELD):
        stop = min(n, start + TOKENS_HELD)
        mixed[start:stop, :half] = columns[:, start:stop].T
        mixed[start:stop, half:] = mirrored[:, n - stop + 1 : n - start + 1][:, ::-1].T
    return mixed
