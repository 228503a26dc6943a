"""Queries and keys whose entries have mean 0 and variance 1, drawn in float32, and what their products are."""

import math
from typing import Literal

import numpy as np

from attnlab.maths.precision import Array

Distribution = Literal["normal", "uniform", "sign"]

#: Up to this width products are summed coordinate by coordinate, over all pairs at once: rows would be too short.
_NARROW = 16


def entries(rng: np.random.Generator, shape: tuple[int, ...], distribution: Distribution = "normal") -> Array:
    """Independent float32 numbers of mean 0 and variance 1: standard normal, uniform on ±√3, or ±1."""
    drawn = np.empty(shape, np.float32)
    match distribution:
        case "normal":
            rng.standard_normal(out=drawn, dtype=np.float32)
        case "uniform":
            rng.random(out=drawn, dtype=np.float32)
            drawn -= np.float32(0.5)
            drawn *= np.float32(2 * math.sqrt(3))
        case "sign":
            bits = np.frombuffer(rng.bytes(-(-drawn.size // 8)), np.uint8)
            drawn[...] = np.unpackbits(bits, count=drawn.size).reshape(shape)
            drawn *= 2
            drawn -= 1
    return drawn


def pair_products(
    rng: np.random.Generator, pairs: int, d_k: int, distribution: Distribution = "normal", correlation: float = 0.0
) -> Array:
    """q·k of so many independent pairs, (pairs,), float32.

    Args:
        d_k: the width of q and k.
        correlation: of each entry of k with the same entry of q; other than 0 for normal entries alone.
    """
    shape = (d_k, pairs) if d_k < _NARROW else (pairs, d_k)
    q, k = entries(rng, (2, *shape), distribution)
    if correlation:
        k *= np.float32(math.sqrt(1 - correlation**2))
        k += np.float32(correlation) * q
    products: Array = np.einsum("dn,dn->n" if d_k < _NARROW else "nd,nd->n", q, k)
    return products
