"""The softmax of N independent normal scores, exactly, at every N and every spread: Derrida's random energy model.

With s ~ N(0, σ²) and φ(t) = E e^(−t e^s), Frullani's ln S = ∫ (e^(−t) − e^(−tS)) dt/t and 1/S² = ∫ t e^(−tS) dt give,
with t = e^y,
    E lse = ∫ (e^(−e^y) − φ(e^y)^N) dy,
    E Σp² = N ∫ E[e^(2(s+y)) e^(−e^(s+y))] φ(e^y)^(N−1) dy,
and by Stein's lemma E Σ p·s = σ² E Σ p(1 − p), so that E H = E lse − σ²(1 − E Σp²). The integrands are analytic, so
sums over a grid of equal steps converge faster than any power of the step.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: Standard deviations within which a normal number is looked for: 1e-17 of them lie beyond.
_TAILS = 8.6
#: The step of the grid in y, and of that in s where so many standard deviations are not less.
_STEP, _STEP_IN_DEVIATIONS = 0.2, 0.4
#: Below −_LOW − ln N in y both terms of the first integrand are 1 to the last bit; above _HIGH both are 0.
_LOW, _HIGH = 40.0, 4.5
#: e^(−e^u) is 0 long before this u, and e^u still a number.
_ALL = 700.0
#: Points of the quadrature over the length of a query.
_LENGTHS = 40
#: The length of a normal vector strays so little from its mean.
_STRAY = 6.5


class SoftmaxLaw(NamedTuple):
    """What the softmax of independent normal scores is on average."""

    #: E H, nat
    entropy: float
    #: E Σp²: how often two draws from a row hit the same key
    square: float


@lru_cache(maxsize=4096)
def softmax_law(n: int, sigma: float) -> SoftmaxLaw:
    """The average entropy and Σp² of the softmax of n independent N(0, σ²) scores.

    Args:
        n: scores, 1 or more.
        sigma: their standard deviation, 0 or more.

    Source: Derrida 1981 for the model; the integrals are derived above.
    """
    if n == 1 or sigma == 0:
        return SoftmaxLaw(math.log(n), 1 / n)
    step = min(_STEP, _STEP_IN_DEVIATIONS * sigma)
    count = math.ceil(_TAILS * sigma / step)
    weight = np.exp(-np.square(step * np.arange(-count, count + 1) / sigma) / 2)
    weight /= weight.sum()
    low = -math.ceil((math.log(n) + _LOW + count * step) / _STEP)
    high = math.ceil((_HIGH + count * step) / _STEP)
    average = _averaged_directly if step < _STEP else _averaged_by_fft
    missing = average(_once, low, high, step, weight)  # 1 − φ
    squares = average(_twice, low, high, step, weight)
    with np.errstate(over="ignore", divide="ignore"):
        log_phi = np.log1p(-missing)
        none = np.exp(-np.exp(_STEP * np.arange(low, high + 1)))
        lse = _STEP * float(np.sum(none - np.exp(n * log_phi)))
        square = n * _STEP * float(np.sum(squares * np.exp((n - 1) * log_phi)))
    return SoftmaxLaw(float(lse - sigma**2 * (1 - square)), square)


def _once(u: Array) -> Array:
    """1 − e^(−e^u)."""
    values: Array = -np.expm1(-np.exp(np.minimum(u, _ALL)))
    return values


def _twice(u: Array) -> Array:
    """e^(2u) e^(−e^u)."""
    values: Array = np.exp(2 * u - np.exp(np.minimum(u, _ALL)))
    return values


def _averaged_directly(f: Callable[[Array], Array], low: int, high: int, step: float, weight: Array) -> Array:
    """E f(y + s) at y = _STEP·low … _STEP·high, over s on its own, finer grid."""
    count = len(weight) // 2
    shifts = step * np.arange(-count, count + 1)
    averages: Array = f(_STEP * np.arange(low, high + 1)[:, None] + shifts) @ weight
    return averages


def _averaged_by_fft(f: Callable[[Array], Array], low: int, high: int, step: float, weight: Array) -> Array:
    """The same where s and y have one grid of thousands of points: a convolution, the normal density being even.

    f lies between 0 and 1. The ends of the grid, which would wrap around, are cut off.
    """
    count = len(weight) // 2
    values = f(step * np.arange(low - count, high + count + 1))
    products = np.fft.rfft(values) * np.fft.rfft(weight, len(values))
    averages: Array = np.clip(np.fft.irfft(products, len(values))[2 * count :], 0.0, 1.0)
    return averages


@lru_cache(maxsize=1024)
def attention_law(n: int, d_k: int, scale: float) -> SoftmaxLaw:
    """The same for scores scale·q·k of one query and n keys with independent standard normal entries.

    Given q the scores are independent N(0, scale²‖q‖²): `softmax_law` averaged over ‖q‖, which is χ with d_k degrees.
    """
    middle = math.sqrt(d_k)
    low, high = max(0.0, middle - _STRAY), middle + _STRAY
    nodes, weights = np.polynomial.legendre.leggauss(_LENGTHS)
    lengths = (high + low) / 2 + (high - low) / 2 * nodes
    log_density = (d_k - 1) * np.log(lengths) - lengths**2 / 2 - (d_k / 2 - 1) * math.log(2) - math.lgamma(d_k / 2)
    chances = weights * (high - low) / 2 * np.exp(log_density)
    laws = [softmax_law(n, scale * float(length)) for length in lengths]
    entropy, square = (float(chances @ np.array(values)) for values in zip(*laws, strict=True))
    return SoftmaxLaw(entropy, square)


def freezing_deviation(n: int) -> float:
    """√(2 ln n): the standard deviation of n scores at which the softmax freezes onto a few keys, for large n.

    Unscaled, that is at d_k = 2 ln n. Below σ ≈ 1 the entropy is ln n − σ²/2 to first order.

    Source: Derrida 1981.
    """
    return math.sqrt(2 * math.log(n))
