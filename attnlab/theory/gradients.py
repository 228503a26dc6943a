"""What a softmax lets through to its query, on average and exactly, for independent normal queries, keys and values.

Setting: n keys k ~ N(0, I_d) of width d = d_k, one query q ~ N(0, I_d), values v ~ N(0, I_e), and a loss L = u·o with
u ~ N(0, I_e). Then g_j = ∂L/∂p_j = u·v_j is independent of the weights, and of the keys the parts across q are too:
    E ‖∂L/∂q‖² = e · E[c² (d − 1) ‖J‖_F² + Σ p²(s − s̄)²/‖q‖²],  s̄ = Σ p s.
Given q the scores are n independent N(0, σ²), σ = c‖q‖. For distinct keys i, j, … with B the sum of all exponents b,
1/S^B = ∫ t^(B−1) e^(−tS) dt/Γ(B) and t = e^y:
    E Σ p_i^b s_i^a p_j^b' s_j^a' … = n(n − 1)…/Γ(B) · ∫ M_ab(y) M_a'b'(y) … φ(e^y)^(n − keys) dy,
    M_ab(y) = E s^a e^(b(s+y)) e^(−e^(s+y)),  φ(t) = E e^(−t e^s).
The integrands are analytic: sums over a grid of equal steps converge faster than any power of the step.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: What one key contributes to a product: the powers (a, b) of s and of p.
Powers = tuple[int, int]

#: Standard deviations within which a normal number is looked for: 1e-17 of them lie beyond.
_TAILS = 8.6
#: The grid's step, at most so wide and at most so many standard deviations.
_STEP, _STEP_IN_DEVIATIONS = 0.2, 0.4
#: e^(b u − e^u), b ≥ 1, is below 1e-17 of its peak outside of here; in y, −_LOW − ln n is far enough down.
_LOW, _HIGH = 40.0, 4.5
#: Points of the quadrature over the length of a query.
_LENGTHS = 24

#: Σp² − 2Σp³ + (Σp²)² = ‖J‖_F², over distinct keys: (factor, one pair of powers per key).
_JACOBIAN: tuple[tuple[int, tuple[Powers, ...]], ...] = (
    (1, ((0, 2),)),
    (-2, ((0, 3),)),
    (1, ((0, 4),)),
    (1, ((0, 2), (0, 2))),
)
#: Σp²(s − s̄)² = ‖J s‖², likewise: Σp²s² − 2 s̄ Σp²s + s̄² Σp².
_ALONG_SCORES: tuple[tuple[int, tuple[Powers, ...]], ...] = (
    (1, ((2, 2),)),
    (-2, ((2, 3),)),
    (-2, ((1, 2), (1, 1))),
    (1, ((2, 4),)),
    (2, ((1, 3), (1, 1))),
    (1, ((2, 2), (0, 2))),
    (1, ((1, 1), (1, 1), (0, 2))),
)


class JacobianLaw(NamedTuple):
    """The softmax of n independent N(0, σ²) scores s: averages that its Jacobian J has."""

    #: E ‖J‖_F²
    square: float
    #: E ‖J s‖² / σ²
    along_scores: float


class GradientLaw(NamedTuple):
    """What the softmax does to the gradient of one query."""

    #: √E ‖J‖_F²
    jacobian_frobenius_rms: float
    #: √E ‖∂L/∂q‖²
    query_gradient_rms: float


@lru_cache(maxsize=1024)
def gradient_law(n: int, d_k: int, scale: float, value_width: int) -> GradientLaw:
    """The root mean squares of ‖J‖_F and ‖∂L/∂q‖ in the module's setting, exactly.

    Args:
        n: keys, 2 or more.
        scale: c, which multiplies q·k.
        value_width: e, the width of the values and of u.

    Source: derived here, in the module's docstring; the integrals are those of Derrida's random energy model (1981).
    """
    squares, chances = query_squares(d_k)
    laws = [jacobian_law(n, scale * math.sqrt(square)) for square in squares]
    square, along = (float(chances @ np.array(values)) for values in zip(*laws, strict=True))
    return GradientLaw(math.sqrt(square), scale * math.sqrt(value_width * ((d_k - 1) * square + along)))


def query_squares(d_k: int) -> tuple[Array, Array]:
    """Points and weights with which Σ weight·f(point) = E f(‖q‖²) for smooth f, q ~ N(0, I_d).

    ‖q‖²/2 has a gamma density: Gauss's quadrature for generalised Laguerre polynomials, α = d/2 − 1.

    Source: Golub & Welsch 1969.
    """
    alpha = d_k / 2 - 1
    i = np.arange(_LENGTHS)
    beside = np.sqrt(i[1:] * (i[1:] + alpha))
    points, vectors = np.linalg.eigh(np.diag(2 * i + 1 + alpha) + np.diag(beside, 1) + np.diag(beside, -1))
    return 2 * points, np.square(vectors[0])


@lru_cache(maxsize=4096)
def jacobian_law(n: int, sigma: float) -> JacobianLaw:
    """E ‖J‖_F² and E ‖J s‖²/σ² for n independent N(0, σ²) scores, σ > 0."""
    step = min(_STEP, _STEP_IN_DEVIATIONS * sigma)
    terms = (*_JACOBIAN, *_ALONG_SCORES)
    moments, log_phi = score_moments({powers for _, keys in terms for powers in keys}, n, sigma, step)
    square, along = (
        sum(factor * _expectation(keys, n, moments, log_phi, step) for factor, keys in wanted)
        for wanted in (_JACOBIAN, _ALONG_SCORES)
    )
    return JacobianLaw(max(square, 0.0), max(along, 0.0) / sigma**2)


def score_moments(wanted: set[Powers], n: int, sigma: float, step: float) -> tuple[Mapping[Powers, Array], Array]:
    """M_ab(y) for each (a, b) wanted, b ≥ 1, and ln φ(e^y), on a grid of that step that holds all of the integrals."""
    count = math.ceil(_TAILS * sigma / step)
    s = step * np.arange(-count, count + 1)
    weight = np.exp(-np.square(s / sigma) / 2)
    weight /= weight.sum()
    u = step * np.arange(-math.ceil((math.log(n) + _LOW) / step), math.ceil(_HIGH / step) + 1)
    e = np.exp(u)
    # s → −s turns the expectation over s of a function of s + y into a convolution
    moments = {(a, b): np.convolve(np.exp(b * u - e), weight * (-s) ** a) for a, b in sorted(wanted)}
    # 1 − φ: its kernel stays at 1 beyond the grid, where the convolution is a running sum
    missing = np.convolve(-np.expm1(-e), weight)
    missing = np.append(missing[: len(u)], missing[len(u) :] + np.cumsum(weight)[:-1])
    with np.errstate(divide="ignore"):
        return moments, np.log1p(-np.minimum(missing, 1.0))


def _expectation(
    keys: tuple[Powers, ...], n: int, moments: Mapping[Powers, Array], log_phi: Array, step: float
) -> float:
    """E of Σ over distinct keys of Π p^b s^a; 0 where there are fewer than so many keys."""
    if n < len(keys):
        return 0.0
    rest = n - len(keys)
    product = np.exp(rest * log_phi) if rest else np.ones_like(log_phi)
    for powers in keys:
        product = product * moments[powers]
    return math.perm(n, len(keys)) / math.gamma(sum(b for _, b in keys)) * step * float(product.sum())


# --- asymptotics, unscaled, d_k far above 2 ln n: two keys are left, and all is about the gap Δ between their scores.
# Near their largest, n normal numbers of deviation √d_k have a first gap that is exponential with rate λ below.


def frozen_jacobian_trace(n: int, d_k: int) -> float:
    """E tr J → λ = √(2 ln n / d_k): tr J = 1/(2 cosh²(Δ/2)), whose integral over Δ is 1.

    Source: Derrida 1981 for λ; derived here.
    """
    return math.sqrt(2 * math.log(n) / d_k)


def frozen_median(n: int, d_k: int) -> float:
    """e^(−ln 2 √(d_k/(2 ln n))): how the median of the gradient falls, up to powers of d_k.

    The median of Δ is ln 2/λ, and from there on J and the gradient go like e^(−Δ). Source: derived here.
    """
    return math.exp(-math.log(2) / frozen_jacobian_trace(n, d_k))


def frozen_query_gradient_mean(n: int, value_width: int) -> float:
    """E ‖∂L/∂q‖ → √(4 e ln n/π), whatever d_k: p(1 − p)·‖k₁ − k₂‖·abs(g₁ − g₂), and λ/2·√(2 d_k) holds no d_k.

    Source: derived here.
    """
    return math.sqrt(4 * value_width * math.log(n) / math.pi)


def query_gradient_gain(d_k: int, scale: float, value_width: int) -> float:
    """c √(e d_k), to O(1/d_k): the root mean square of ‖∂L/∂q‖/‖J‖_F, at every n.

    Given the weights, E ‖∂L/∂q‖² = e c² (d_k − 1) ‖J‖_F² + …: the keys are free in the directions across q.
    Source: derived here.
    """
    return scale * math.sqrt(value_width * d_k)


def claimed_exponent(n: int, d_k: int) -> float:
    """‖s‖ ≈ √(n d_k), unscaled: the exponent of the law exp(‖s‖) that is claimed for the gradient and is not its."""
    return math.sqrt(n * d_k)


# --- where exp overflows


def overflow_score(largest: float) -> float:
    """ln of a format's largest number: exp of a score above it is infinite. float16: 11.09; float32: 88.72."""
    return math.log(largest)


def expected_largest_score(n: int, d_k: int) -> float:
    """E max_j q·k_j over n keys, unscaled: E‖q‖ times the expected largest of n standard normal numbers."""
    length = math.sqrt(2) * math.exp(math.lgamma((d_k + 1) / 2) - math.lgamma(d_k / 2))
    return length * expected_largest_normal(n)


@lru_cache(maxsize=64)
def expected_largest_normal(n: int) -> float:
    """E max of n standard normal numbers: n ∫ x φ(x) Φ(x)^(n−1) dx."""
    step = 0.05
    x = step * np.arange(-160, 241)  # below −8 even one number hardly ever lies
    above = np.array([math.erfc(value / math.sqrt(2)) / 2 for value in x])
    density = n * np.exp(-np.square(x) / 2 + (n - 1) * np.log1p(-above)) / math.sqrt(2 * math.pi)
    return float(step * (x @ density))


def overflow_width(n: int, largest: float) -> int:
    """The smallest d_k at which the largest of n unscaled scores is expected beyond `overflow_score(largest)`."""
    limit = overflow_score(largest)
    low, high = 0, 1
    while expected_largest_score(n, high) < limit:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if expected_largest_score(n, middle) >= limit else (middle, high)
    return high
