"""What M = W_Q W_Kᵀ and W_V W_O are like when their factors are drawn at random: entries independent, of mean 0.

Neither the size of the entries nor the scale matters to what is said here. A norm's gain γ makes the rows of W_Q and
W_K unlike: then D, the number of directions that count, takes the place of d.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: Of the average over u: enough for four digits.
_STEPS = 2000


def effective_dimension(d: int, gain: Array | None = None, *, centred: bool = False) -> float:
    """D = (tr A)² / tr A², A = P diag(γ)² P the covariance of a column of P diag(γ) W; P centres, or is I.

    d without a gain, d − 1 where a LayerNorm takes the mean off; 0 where nothing is left.

    Source: derived here. Of A = P diag(γ²) P with P = I − 11ᵀ/d: tr A = (1 − 1/d) Σγ², tr A² = (1 − 2/d) Σγ⁴ +
    (Σγ²)²/d².
    """
    squares = np.ones(d) if gain is None else np.square(gain.astype(np.float64))
    total, fourth = float(squares.sum()), float(np.square(squares).sum())
    trace, of_square = total, fourth
    if centred:
        trace, of_square = (1 - 1 / d) * total, (1 - 2 / d) * fourth + (total / d) ** 2
    return trace**2 / of_square if trace > 0 else 0.0


def random_symmetric_share(dimension: float) -> float:
    """√((1 + 1/D)/2): the root of E‖(M + Mᵀ)/2‖² / E‖M‖², whatever d_k.

    Source: derived here. ‖(M ± Mᵀ)/2‖² = (‖M‖² ± tr M²)/2, and of E tr M² = Σ_ij E M_ij M_ji only i = j stays, so that
    it is d d_k σ⁴ beside E‖M‖² = d² d_k σ⁴. For normal entries the ratio's own expectation is 1/d too: given the
    singular values, what turns W_Q's side against W_K's is uniform, and E (u·v)² = 1/d.
    """
    return math.sqrt((1 + 1 / dimension) / 2)


def random_skew_share(dimension: float) -> float:
    """√((1 − 1/D)/2), as `random_symmetric_share`."""
    return math.sqrt(max(1 - 1 / dimension, 0.0) / 2)


def symmetry_deviation(dimension: float, rank: float) -> float:
    """The standard deviation of tr M²/‖M‖², which is symmetric² − skew²: close to √2/D, whatever d_k.

    Args:
        dimension: D.
        rank: (Σσ²)²/Σσ⁴ of M's singular values, which are given; their directions are random.

    Source: derived here, exact for normal entries and γ = 1. With M = U S Vᵀ and O = VᵀU part of a uniform orthogonal
    matrix, tr M² = Σ_ab s_a s_b O_ab O_ba; E O_11⁴ = 3/(d(d+2)) and E O_11²O_22² = E O_12²O_21² =
    (d+1)/(d(d−1)(d+2)) (Collins & Śniady 2006) give E (tr M²)²/‖M‖⁴ = 3/(d(d+2)) · (1 + 2(1 − 1/rank)/(d − 1)).
    """
    if dimension <= 1:
        return 0.0
    spread = 1 + 2 * (1 - 1 / rank) / (dimension - 1)
    return math.sqrt(max(3 / (dimension * (dimension + 2)) * spread - 1 / dimension**2, 0.0))


def share_deviation(dimension: float, rank: float) -> float:
    """The standard deviation of the skew share √((1 − t)/2), t = tr M²/‖M‖², to first order: about 1/(2D)."""
    share = random_skew_share(dimension)
    return symmetry_deviation(dimension, rank) / (4 * share) if share > 0 else 0.0


def random_effective_rank(one: float, other: float | None, width: int) -> float:
    """(E‖M‖⁴)/(E Σσ⁴) of the product of a (D₁, width) and a (width, D₂) matrix with normal entries.

    Close to width/(1 + width/D₁ + width/D₂): the directions that random weights leave about even.

    Args:
        one, other: D₁, D₂; None = the second matrix is no random one: its rows are orthonormal.

    Source: derived here from E GAG = D²A + D(A + tr A · I) for G = WᵀW, W (D, width).
    """
    if other is None:
        return (one * width + 2) / (one + width + 1)
    product = one * other + (one + other) * width
    return (one * other * width + 2 * (one + other + width) + 2) / (product + one + other + width + 3)


def copying_deviation(d: int | None, width: int) -> float:
    """The standard deviation of Σλ/Σ abs(λ) over the eigenvalues of W_O W_V; its mean is 0. 3/(2 width) for d ≫ width.

    Args:
        d: None = W_O is no random matrix: its rows are orthonormal.

    Source: derived here. Σλ is the trace, of variance d·width σ⁴; abs(λ)² is width² σ⁴ u(u + d/width − 1) with u
    uniform on (0, 1) for large matrices (Burda et al. 2010), or with the sides exchanged where d < width.
    """
    if d is None:
        return 3 / (2 * width)
    narrow, wide = min(d, width), max(d, width)
    further = wide / narrow - 1
    u = (np.arange(_STEPS) + 0.5) / _STEPS
    mean_size = float(np.sqrt(u * (u + further)).mean())
    return math.sqrt(d * width) / (narrow**2 * mean_size)
