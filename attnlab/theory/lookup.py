"""Attention as a soft table lookup: how near it comes to the hard one, and how many keys it can look through."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: A score so far below the row's largest has e^(s − s_max) < 2^-150, half the smallest float32 above 0: it becomes 0.
FLOAT32_GAP = 150 * math.log(2)

#: Standard deviations within which a normal number is looked for: 1e-17 of them lie beyond.
_TAILS = 8.6
#: The grid's step, at most so wide and at most so many standard deviations.
_STEP, _STEP_IN_DEVIATIONS = 0.2, 0.4
#: e^z e^(−e^z) is below 1e-17 outside of these z.
_LOW, _HIGH = -40.0, 4.5
#: Points of the quadrature over the length of a query, and how far from √d_k that length strays.
_LENGTHS, _STRAY = 48, 6.5


def rest_bound(gap: Array, beta: float, keys: int) -> Array:
    """r/(1 + r), r = (N − 1) e^(−βΔ): no more than this share of the weight goes to other keys than the best one.

    Each of the N − 1 others has at most e^(−βΔ) times its weight. Reached when all of them are Δ below it, so always
    at N = 2; a tie (Δ = 0) leaves 1 − 1/N.

    Args:
        gap: Δ ≥ 0, the largest q·k less the second largest, any shape.
        beta: what multiplies q·k.
        keys: N.

    Source: derived here.
    """
    r = (keys - 1) * np.exp(-beta * gap)
    return np.asarray(r / (1 + r))


def distance_bound(rest: Array, spread: Array) -> Array:
    """(1 − p_max)·max_j ‖v_j − v*‖: o − v* = Σ_j p_j (v_j − v*), and j = * adds nothing to it.

    Args:
        rest: 1 − p_max. spread: max_j ‖v_j − v*‖.

    Source: derived here.
    """
    return rest * spread


def horizon(d_k: int) -> float:
    """e^(√d_k − ½): among so many keys a key equal to the query keeps about half of the weight, at the scale 1/√d_k.

    A rule of thumb, from averages taken one by one: the match's e^score is e^√d_k, each other's e^½ on average.

    Source: derived here.
    """
    return math.exp(min(math.sqrt(d_k) - 0.5, 700.0))


def match_weights(d_k: int, sizes: Sequence[int]) -> list[float]:
    """E e^a/(e^a + Σ_j e^(s_j)), exactly: the weight of a key equal to the query among N others, scores q·k/√d_k.

    All entries independent N(0, 1). Given q, a = ‖q‖²/√d_k and the s_j are independent N(0, ‖q‖²/d_k); with
    1/S = ∫ e^(−tS) dt, t = e^y and φ(t) = E e^(−t e^s) the average over the s_j is ∫ e^(a+y) e^(−e^(a+y)) φ(e^y)^N dy.
    It is averaged over ‖q‖, which is χ with d_k degrees.

    Args:
        d_k: the width of q and k, 1 or more.
        sizes: the N, each 0 or more.

    Source: derived here, in the manner of Derrida 1981.
    """
    middle = math.sqrt(d_k)
    low, high = max(0.0, middle - _STRAY), middle + _STRAY
    nodes, weights = np.polynomial.legendre.leggauss(_LENGTHS)
    lengths = (high + low) / 2 + (high - low) / 2 * nodes
    log_density = (d_k - 1) * np.log(lengths) - lengths**2 / 2 - (d_k / 2 - 1) * math.log(2) - math.lgamma(d_k / 2)
    chances = weights * (high - low) / 2 * np.exp(log_density)
    counts = np.array(sizes, dtype=np.float64)
    given = [match_weights_at(counts, length / middle, length**2 / middle) for length in lengths]
    return [float(weight) for weight in chances @ np.array(given)]


def match_weights_at(sizes: Array, sigma: float, score: float) -> Array:
    """The same for one query: E e^a/(e^a + Σ_j e^(s_j)), a = `score`, over N independent s_j ~ N(0, sigma²).

    Args:
        sizes: the N, (…,).
    """
    step = min(_STEP, _STEP_IN_DEVIATIONS * sigma)
    count = math.ceil(_TAILS * sigma / step)
    normal = np.exp(-np.square(step * np.arange(-count, count + 1) / sigma) / 2)
    normal /= normal.sum()
    z = step * np.arange(math.floor(_LOW / step), math.ceil(_HIGH / step) + 1)  # a + y
    gumbel = np.exp(z - np.exp(z))
    u = step * np.arange(-count, len(z) + count) + z[0] - score
    # the normal density is even, so the convolution is the expectation over s of a function of s + y: 1 − φ
    missing = np.convolve(-np.expm1(-np.exp(np.minimum(u, 700.0))), normal, mode="valid")
    with np.errstate(divide="ignore"):
        log_phi = np.log1p(-np.minimum(missing, 1.0))
    # φ underflows to 0, whose logarithm is -inf: 0 · -inf is not wanted where there are no other keys
    log_phi = np.maximum(log_phi, -1e300)
    return np.asarray(step * (np.exp(np.multiply.outer(sizes, log_phi)) @ gumbel))
