"""Standard errors of samples that come in clusters: rows that share their keys vary together, and count for less.

`values` are (clusters, rows), float64; `counted`, of the same shape, says which rows the number is about. With fewer
than two clusters, or no rows counted, there is no standard error, or no number.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnlab.records import Quantity

Array = NDArray[Any]


def cluster_mean(values: Array, counted: Array | None = None) -> Quantity:
    """The mean over the rows counted, with the ratio estimator's standard error.

    Source: Cochran 1977, section 9A.
    """
    counted = np.ones(values.shape, dtype=bool) if counted is None else counted
    total = int(counted.sum())
    if total == 0:
        return Quantity(value=None, n=0)
    mean = float(values[counted].mean())
    return Quantity(value=mean, standard_error=_error(np.where(counted, values - mean, 0.0), total), n=total)


def cluster_rms(values: Array, counted: Array | None = None) -> Quantity:
    """The root mean square over the rows counted; its standard error is the mean square's over twice the root."""
    square = cluster_mean(np.square(values), counted)
    if not square.value:
        return square
    root, error = math.sqrt(square.value), square.standard_error
    return Quantity(value=root, standard_error=None if error is None else error / (2 * root), n=square.n)


def cluster_quantile(values: Array, level: float, counted: Array | None = None) -> Quantity:
    """The quantile at `level` (0 to 1) over the rows counted.

    Its standard error is that of the share of rows below it, carried over to the values there.

    Source: Woodruff 1952.
    """
    counted = np.ones(values.shape, dtype=bool) if counted is None else counted
    chosen = values[counted]
    if chosen.size == 0:
        return Quantity(value=None, n=0)
    found = float(np.quantile(chosen, level))
    of_share = _error(np.where(counted, (values <= found) - level, 0.0), chosen.size)
    if of_share is None:
        return Quantity(value=found, n=chosen.size)
    low, high = np.quantile(chosen, [max(level - of_share, 0.0), min(level + of_share, 1.0)])
    return Quantity(value=found, standard_error=float(high - low) / 2, n=chosen.size)


def _error(residuals: Array, total: int) -> float | None:
    """The standard error of Σ residuals / total, clusters being independent; None for fewer than two."""
    clusters = len(residuals)
    if clusters < 2:
        return None
    sums = residuals.sum(axis=1)
    return float(math.sqrt(clusters / (clusters - 1) * float(np.square(sums - sums.mean()).sum())) / total)
