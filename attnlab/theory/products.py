"""Moments of the scores of independent q and k, and the standard errors with which samples show them."""

import math
from typing import Literal

Distribution = Literal["normal", "uniform", "sign"]

#: E x⁴ of the entries, which have mean 0 and variance 1: normal, uniform on ±√3, ±1.
ENTRY_KURTOSIS: dict[Distribution, float] = {"normal": 3.0, "uniform": 1.8, "sign": 1.0}


def product_variance(d_k: int, correlation: float = 0.0) -> float:
    """Var(q·k) = d_k for independent entries of variance 1; d_k (1 + ρ²) for normal ones of correlation ρ.

    Source: Vaswani et al. 2017, footnote 4; Isserlis 1918 for ρ.
    """
    return d_k * (1 + correlation**2)


def product_mean(d_k: int, correlation: float = 0.0) -> float:
    """E q·k = ρ d_k."""
    return d_k * correlation


def product_kurtosis(d_k: int, distribution: Distribution = "normal", correlation: float = 0.0) -> float:
    """Kurtosis of q·k: 3 + (κ_q κ_k − 3)/d_k; correlated normal entries 3 + 6(1 + 6ρ² + ρ⁴)/(d_k (1 + ρ²)²).

    Source: derived here; the fourth cumulants of a sum of independent terms add.
    """
    if correlation:
        square = correlation**2
        return 3 + 6 * (1 + 6 * square + square**2) / (d_k * (1 + square) ** 2)
    return 3 + (ENTRY_KURTOSIS[distribution] ** 2 - 3) / d_k


def pairs_standard_error(
    d_k: int, pairs: int, distribution: Distribution = "normal", correlation: float = 0.0
) -> float:
    """Standard error of the mean of (q·k − E q·k)² over independent pairs: Var·√((kurtosis − 1)/pairs), exactly.

    ±1 at d_k = 1 has squares of 1 and no others: 0. About the sample's own mean it is the same for many pairs.
    """
    excess = product_kurtosis(d_k, distribution, correlation) - 1
    return product_variance(d_k, correlation) * math.sqrt(max(excess, 0.0) / pairs)


def matrix_standard_error(d_k: int, n: int, m: int, distribution: Distribution = "normal") -> float:
    """Standard error of the mean square of the n × m entries of QKᵀ, which share rows and columns.

    SE² = [2 d_k² + (κ² − 3) d_k + (n + m − 2)(κ − 1) d_k]/(nm), κ the entries' kurtosis: for d_k = n = m = 64 normal
    2.46, where independent entries would give 1.45.

    Source: derived here from the covariance of two entries of one row, (κ − 1) d_k.
    """
    kappa = ENTRY_KURTOSIS[distribution]
    own = 2 * d_k**2 + (kappa**2 - 3) * d_k
    return math.sqrt((own + (n + m - 2) * (kappa - 1) * d_k) / (n * m))
