"""The power with which one measured number grows with another."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from attnlab.records import Quantity

#: Fewer points do not say whether they lie on a line.
FEWEST_POINTS = 3
#: Standard errors on either side of a 95 % interval.
_WIDTH_95 = 1.96


class Slope(NamedTuple):
    """y ∝ x^value over a window, with a 95 % interval from the points' own standard errors."""

    value: float
    low: float
    high: float
    #: the smallest and the largest x
    window: tuple[float, float]


def log_log_slope(x: Sequence[float], y: Sequence[Quantity]) -> Slope | None:
    """d ln y / d ln x by least squares, each point weighed by its standard error.

    None where fewer than three points are positive and have a standard error: nothing can be said.
    """
    points = [(at, q.value, q.standard_error) for at, q in zip(x, y, strict=True) if q.value and q.standard_error]
    if len(points) < FEWEST_POINTS:
        return None
    at, values, errors = (np.array(column, dtype=np.float64) for column in zip(*points, strict=True))
    log_x, log_y, weight = np.log(at), np.log(values), np.square(values / errors)
    off = log_x - np.average(log_x, weights=weight)
    spread = float(weight @ np.square(off))
    slope, error = float(weight @ (off * log_y)) / spread, 1 / math.sqrt(spread)
    window = (float(at.min()), float(at.max()))
    return Slope(slope, slope - _WIDTH_95 * error, slope + _WIDTH_95 * error, window)
