"""The first four moments of numbers that come in chunks: two passes over each chunk, chunks merged exactly.

Everything is float64, whatever the numbers came in: E x² − (E x)² in float32 gives 24 for a variance of 1 at mean 10⁴.
"""

from dataclasses import dataclass

import numpy as np

from attnlab.maths.precision import Array


@dataclass(frozen=True)
class Moments:
    """How many numbers there were, their mean, and the sums of powers of what they are off it."""

    count: int = 0
    mean: float = 0.0
    #: Σ (x − mean)², ³, ⁴
    m2: float = 0.0
    m3: float = 0.0
    m4: float = 0.0

    @property
    def variance(self) -> float:
        """Of these very numbers: Σ (x − mean)²/count; NaN of none."""
        return self.m2 / self.count if self.count else np.nan

    @property
    def kurtosis(self) -> float:
        """count Σ (x − mean)⁴/(Σ (x − mean)²)²: 3 for normal numbers; NaN where they are all the same."""
        return self.count * self.m4 / self.m2**2 if self.m2 > 0 else np.nan

    def mean_square(self, *, about: float = 0.0) -> float:
        """The mean of (x − about)²; NaN of none."""
        return self.variance + (self.mean - about) ** 2


def moments(numbers: Array) -> Moments:
    """The moments of an array of any shape, in two passes.

    Sums go pair by pair (numpy's), and not through BLAS: the same numbers on any number of threads.
    """
    if numbers.size == 0:
        return Moments()
    off = numbers.astype(np.float64)
    mean = float(off.mean())
    off -= mean
    square = off * off
    m2 = float(square.sum())
    off *= square
    square *= square
    return Moments(numbers.size, mean, m2, float(off.sum()), float(square.sum()))


def merged(a: Moments, b: Moments) -> Moments:
    """The moments of both together.

    Source: Pébay 2008, "Formulas for robust, one-pass parallel computation of covariances and arbitrary-order
    statistical moments", equations 1.5 and 3.1.
    """
    if a.count == 0 or b.count == 0:
        return a if b.count == 0 else b
    n = a.count + b.count
    apart, share_a, share_b = b.mean - a.mean, a.count / n, b.count / n
    both = a.count * share_b
    return Moments(
        n,
        a.mean + share_b * apart,
        a.m2 + b.m2 + apart**2 * both,
        a.m3 + b.m3 + apart**3 * both * (share_a - share_b) + 3 * apart * (share_a * b.m2 - share_b * a.m2),
        a.m4
        + b.m4
        + apart**4 * both * (share_a**2 - share_a * share_b + share_b**2)
        + 6 * apart**2 * (share_a**2 * b.m2 + share_b**2 * a.m2)
        + 4 * apart * (share_a * b.m3 - share_b * a.m3),
    )
