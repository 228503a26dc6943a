"""A cost as a sum of terms in N, fitted to what was measured: the laws that `orders` weighs against each other.

Every law has a constant, and no term is negative, since work adds up; only the constant may be, by as much as work that
begins late takes away (a window's cost is N·w − w(w−1)/2). Residuals are relative: a timing is wrong by a share of
itself. Logarithms are to base 2.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: The terms by name, each as a function of N.
TERMS: Mapping[str, Callable[[Array], Array]] = {
    "1": np.ones_like,
    "N": lambda n: n,
    "N log N": lambda n: n * np.log2(n),
    "N^2/log N": lambda n: np.square(n) / np.log2(np.maximum(n, 2)),
    "N^2": np.square,
}
#: A law is refused where its lack of fit would be as large by chance in this share of cases.
REFUSED = 0.01
#: The interval of a power leaves out this share.
OUTSIDE = 0.005
#: a + bN + cN² is excluded, if N log N is named, when its χ² is greater by this: a likelihood ratio of e^4.5 = 90.
MARGIN = 9.0
#: A slope's interval that is wider says that noise is in the way: N and N² are 1 apart, N and N log N an eighth.
WIDE = 0.25
#: The powers tried.
POWERS = np.linspace(0.3, 3.3, 601)


class Points(NamedTuple):
    """Costs and their errors, in the order of N."""

    #: (sizes,), float64, rising
    n: Array
    #: (sizes,): positive
    cost: Array
    #: of each cost, relative to it: one for all sizes
    error: float
    #: degrees of freedom of that error; infinite where it is known
    freedom: float
    #: how far below 0 the constant may be: a share of the smallest size's cost
    late_start: float

    @property
    def late(self) -> float:
        """The same as a cost."""
        return self.late_start * float(self.cost[0])


@dataclass(frozen=True, kw_only=True, eq=False)
class LawFit:
    """A law and how far from it the points lie."""

    #: term -> its coefficient, in the cost's unit
    coefficients: Mapping[str, float]
    #: Σ (residual / error)²
    chi2: float
    #: the root mean square of the residuals, relative to the cost
    rms: float
    #: whether that is no more than the scatter explains: the F test of lack of fit, at 1 %
    adequate: bool

    def share(self, term: str, n: float) -> float:
        """The term's share of the law's cost at N, 0 to 1."""
        parts = {name: c * float(TERMS[name](np.array(n))) for name, c in self.coefficients.items()}
        return parts[term] / sum(parts.values())


class PowerFit(NamedTuple):
    """a + bN^p with p free."""

    p: float
    #: one standard error
    error: float
    #: 99.5 % of it; an end of `POWERS` where it goes beyond
    low: float
    high: float
    #: of the best p, and as of a `LawFit`
    chi2: float
    adequate: bool
    #: for each of `POWERS`
    chi2_at: Array

    def nearest(self, most: float) -> float:
        """The least χ² of a power up to `most`."""
        return float(self.chi2_at[most + 1e-9 >= POWERS].min())


class Slope(NamedTuple):
    """d ln cost / d ln N over the top octaves, with a 99.5 % interval."""

    value: float
    low: float
    high: float
    window: tuple[int, int]

    @property
    def scattered(self) -> bool:
        """Whether the timings scatter too much for any order."""
        return self.high - self.low > WIDE


class Fits(NamedTuple):
    """The laws, on the same points."""

    linear: LawFit
    logarithmic: LawFit
    quadratic: LawFit
    #: a + bN²/log N
    below_quadratic: LawFit
    power: PowerFit


def fit_all(points: Points) -> Fits:
    """Every law."""
    return Fits(
        linear=fit_law(points, ("1", "N")),
        logarithmic=fit_law(points, ("1", "N log N")),
        quadratic=fit_law(points, ("1", "N", "N^2")),
        below_quadratic=fit_law(points, ("1", "N^2/log N")),
        power=fit_power(points),
    )


def fit_law(points: Points, terms: Sequence[str]) -> LawFit:
    """The non-negative coefficients of the terms, "1" among them, with the least squared relative residuals."""
    columns = [TERMS[term](points.n) for term in terms]
    tops = [float(column[-1]) for column in columns]
    weight = 1 / (points.cost * points.error)
    basis = np.stack([column / top for column, top in zip(columns, tops, strict=True)], axis=1) * weight[:, None]
    wanted = (points.cost + points.late) * weight
    found = non_negative(basis, wanted)
    off = basis @ found - wanted
    coefficients = {term: float(c / top) for term, c, top in zip(terms, found, tops, strict=True)}
    coefficients["1"] -= points.late
    chi2 = float(off @ off)
    return LawFit(
        coefficients=coefficients,
        chi2=chi2,
        rms=points.error * math.sqrt(chi2 / len(off)),
        adequate=adequate(points, chi2, len(terms)),
    )


def non_negative(basis: Array, wanted: Array) -> Array:
    """x ≥ 0 with the least ‖basis·x − wanted‖: of every choice of columns, the best feasible.

    Fewer columns come no nearer, so that none are tried that are all among those of a feasible choice.

    Args:
        basis: (points, columns), three columns or so: all their subsets may be tried.
        wanted: (points,)
    """
    columns = basis.shape[1]
    best, least = np.zeros(columns), float(wanted @ wanted)
    settled: list[set[int]] = []
    for count in range(columns, 0, -1):
        for chosen in map(list, combinations(range(columns), count)):
            if any(within.issuperset(chosen) for within in settled):
                continue
            x = np.linalg.lstsq(basis[:, chosen], wanted, rcond=None)[0]
            if (x < 0).any():
                continue
            settled.append({*chosen})
            off = basis[:, chosen] @ x - wanted
            if float(off @ off) < least:
                best, least = np.zeros(columns), float(off @ off)
                best[chosen] = x
    return best


def fit_power(points: Points) -> PowerFit:
    """a + bN^p for each of `POWERS`, a and b ≥ 0 in closed form, and the interval of p by its χ²."""
    weight = 1 / (points.cost * points.error)
    wanted = (points.cost + points.late) * weight
    grown = (points.n / points.n[-1]) ** POWERS[:, None] * weight
    # The normal equations of two columns, a power to a row.
    aa, ab, bb = weight @ weight, grown @ weight, np.square(grown).sum(axis=1)
    a_wanted, b_wanted = weight @ wanted, grown @ wanted
    determinant = aa * bb - ab**2
    a, b = (a_wanted * bb - b_wanted * ab) / determinant, (b_wanted * aa - a_wanted * ab) / determinant
    a, b = np.where(b < 0, a_wanted / aa, a), np.maximum(b, 0)
    a, b = np.maximum(a, 0), np.where(a < 0, b_wanted / bb, b)
    chi2_at = np.square(a[:, None] * weight + b[:, None] * grown - wanted).sum(axis=1)
    best = int(chi2_at.argmin())
    chi2 = float(chi2_at[best])
    beyond = f_quantile(1, points.freedom, OUTSIDE)
    inside = POWERS[chi2_at <= chi2 + beyond]
    return PowerFit(
        p=float(POWERS[best]),
        error=float(inside[-1] - inside[0]) / 2 / math.sqrt(beyond),
        low=float(inside[0]),
        high=float(inside[-1]),
        chi2=chi2,
        adequate=adequate(points, chi2, 3),
        chi2_at=chi2_at,
    )


def adequate(points: Points, chi2: float, parameters: int) -> bool:
    """Whether a law of so many parameters leaves no more than the scatter of the repeats explains."""
    free = len(points.n) - parameters
    return chi2 / free < f_quantile(free, points.freedom, REFUSED)


def f_quantile(above: float, below: float, beyond: float) -> float:
    """What F of (above, below) degrees of freedom passes in the share `beyond` of cases, to 1 % where that is 1 %.

    Source: Paulson 1942, "An approximate normalization of the analysis of variance distribution".
    """
    z, a, b = NormalDist().inv_cdf(1 - beyond), 2 / (9 * above), 2 / (9 * below)
    # ((1 − b)g − (1 − a))² = z²(a + b g²) for the cube root g of F: its larger root.
    square, middle, rest = (1 - b) ** 2 - z * z * b, (1 - a) * (1 - b), (1 - a) ** 2 - z * z * a
    return ((middle + math.sqrt(middle**2 - square * rest)) / square) ** 3
