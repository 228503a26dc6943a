"""A cost as a sum of terms in N, fitted to what was measured: the laws that `orders` weighs against each other.

A term is never negative, since work adds up; the constant may be, by a little, for work that begins late (a window's
cost is N·w − w(w−1)/2). Residuals are relative: a timing is wrong by a share of itself. Logarithms are to base 2.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: The terms by name, each as a function of N.
TERMS: Mapping[str, Callable[[Array], Array]] = {
    "1": np.ones_like,
    "N": lambda n: n,
    "N log N": lambda n: n * np.log2(n),
    "N^2": np.square,
}
#: What no repetition takes away, relative to each point: clocks, frequencies, the luck of an address.
FLOOR = 0.01
#: A jump multiplies the linear term by this much at most: caches and threads do not do more to the same work.
JUMPS = (0.5, 2.0)


class Points(NamedTuple):
    """Costs and their errors, in the order of N."""

    #: (sizes,), float64, rising
    n: Array
    #: (sizes,): positive
    cost: Array
    #: (sizes,): standard error relative to the cost
    error: Array
    #: how far below 0 the constant may be: a share of the smallest size's cost
    late_start: float


@dataclass(frozen=True, kw_only=True, eq=False)
class LawFit:
    """A law and how far from it the points lie."""

    #: term -> its coefficient, in the cost's unit
    coefficients: Mapping[str, float]
    #: Σ (residual / error)²
    chi2: float
    #: the root mean square of the residuals, relative to the cost
    rms: float
    #: the first size after a jump, and the factor there; None without one
    jump: tuple[int, float] | None = None

    @property
    def parameters(self) -> int:
        """How many numbers were fitted."""
        return len(self.coefficients) + 2 * (self.jump is not None)

    def share(self, term: str, n: float) -> float:
        """The term's share of the law's cost at N, 0 to 1."""
        parts = {name: c * float(TERMS[name](np.array(n))) for name, c in self.coefficients.items()}
        return parts[term] / sum(parts.values())


def fit_law(points: Points, terms: Sequence[str]) -> LawFit:
    """The non-negative coefficients of the terms with the least squared relative residuals."""
    return _fit(points, terms, [TERMS[term](points.n) for term in terms])


def fit_growth(
    points: Points, term: str, *, square: float = 0.0, jumps: tuple[float, float] | None = None
) -> LawFit | None:
    """a + b·(the term + κN²), with κ such that the square's share of the bracket is `square` at the largest N.

    With `jumps`, b changes at one size by a factor between those (a cache is full, threads set in): the best, at least
    two sizes on each side; None where every jump would lie outside.
    """
    n = points.n
    grown = TERMS[term](n)
    grown = grown + square / (1 - square) * grown[-1] * np.square(n / n[-1])
    if jumps is None:
        return _fit(points, ("1", term), [np.ones_like(n), grown])
    found = []
    for first in range(2, len(n) - 1):
        fit = _fit(points, ("1", term, "jump"), [np.ones_like(n), grown, grown * (n >= n[first])], free=(2,))
        before, step = fit.coefficients[term], fit.coefficients["jump"]
        if before > 0 and jumps[0] <= 1 + step / before <= jumps[1]:
            kept = {"1": fit.coefficients["1"], term: before + step}
            jump = (int(n[first]), 1 + step / before)
            found.append(LawFit(coefficients=kept, chi2=fit.chi2, rms=fit.rms, jump=jump))
    return min(found, key=lambda fit: fit.chi2, default=None)


def _fit(points: Points, names: Sequence[str], columns: Sequence[Array], free: Sequence[int] = ()) -> LawFit:
    """Least squares with every coefficient but the `free` ones at least 0, the constant at least −t₀."""
    tops = [float(np.abs(column).max()) for column in columns]
    late = points.late_start * float(points.cost[0])
    weight = 1 / (points.cost * points.error)
    basis = np.stack([column / top for column, top in zip(columns, tops, strict=True)], axis=1) * weight[:, None]
    found = non_negative(basis, (points.cost + late) * weight, free)
    off = basis @ found - (points.cost + late) * weight
    coefficients = {name: float(c / top) for name, c, top in zip(names, found, tops, strict=True)}
    coefficients["1"] -= late
    rms = math.sqrt(float(np.mean(np.square(off * points.error))))
    return LawFit(coefficients=coefficients, chi2=float(off @ off), rms=rms)


def non_negative(basis: Array, wanted: Array, free: Sequence[int] = ()) -> Array:
    """x ≥ 0 (but for the `free` ones) with the least ‖basis·x − wanted‖: of every choice of columns, the best feasible.

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
            if not all(value >= 0 or column in free for column, value in zip(chosen, x, strict=True)):
                continue
            settled.append({*chosen})
            off = basis[:, chosen] @ x - wanted
            if float(off @ off) < least:
                best, least = np.zeros(columns), float(off @ off)
                best[chosen] = x
    return best
