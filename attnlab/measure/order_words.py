"""Why an order is named or not, in words for a person."""

import math

from attnlab.measure.order_models import LawFit, Points

#: An N² law is settled where its N² term is so many times the rest.
_BEYOND = 4
#: From here on a fixed cost hides the rest.
_LARGE = 0.15
#: A slope's interval that is wider says that the noise is in the way: N and N² are 1 apart, N and N log N an eighth.
_WIDE = 0.25


def said(
    points: Points,
    order: str | None,
    law: LawFit,
    quadratic: LawFit,
    slope: float,
    interval: tuple[float, float],
    hidden: float,
) -> str:
    """The sentence for a fit.

    Args:
        order: the one that is named; None: not settled.
        law: of that order, or the nearest.
        quadratic: a + bN + cN².
        slope, interval: over the top octaves.
        hidden: the share of the cost that an N² term is excluded from having, for N.
    """
    top = int(points.n[-1])
    grows = f"the cost grows like N^{slope:.2f} ({interval[0]:.2f} to {interval[1]:.2f}) towards N = {top:,}"
    match order:
        case "N":
            jump = "" if law.jump is None else f", with a jump by ×{law.jump[1]:.2f} at N = {law.jump[0]:,}"
            return (
                f"N{jump}: {grows}; N log N is excluded, and so is an N² term of {hidden:.0%} of the cost or more there"
            )
        case "N log N":
            return f"N log N: {grows}, within {law.rms:.1%} of a + bN log N; a + bN and a + bN + cN² are excluded"
        case "N^2":
            return f"N²: {grows}; a + bN and a + bN log N are excluded{_passing(quadratic)}"
    if interval[1] - interval[0] > _WIDE:
        return f"not settled: {grows}; the timings scatter too much to say: let the machine rest, or take more repeats"
    return f"not settled: {grows}; {_open_question(points, law, quadratic, slope)}"


def crossover(law: LawFit) -> float | None:
    """The N at which the N² term of a + bN + cN² passes the rest; None without one."""
    a, b, c = (law.coefficients[term] for term in ("1", "N", "N^2"))
    return None if c <= 0 else (b + math.sqrt(b * b + 4 * c * max(a, 0.0))) / (2 * c)


def _passing(law: LawFit) -> str:
    n = crossover(law)
    return "" if n is None or n < 1 else f"; the N² term passes the rest at about N = {rounded(n):,}"


def _open_question(points: Points, law: LawFit, quadratic: LawFit, slope: float) -> str:
    """What stands in the way, and what would settle it."""
    top, free = float(points.n[-1]), len(points.n) - law.parameters
    if slope > 2:
        return "that is steeper than N²: none of the orders tried"
    if law.chi2 > free + 3.5 * math.sqrt(2 * free) and law.rms > 0.03:
        scatter = float(points.error.max())
        return (
            f"the points lie {law.rms:.0%} off the nearest law and are sure to {scatter:.1%}: "
            "the machine has steps of its own here (caches, threads); go to larger N"
        )
    if quadratic.share("1", top) >= _LARGE:
        return f"a fixed cost is {quadratic.share('1', top):.0%} of it even there: go to larger N"
    passing = crossover(quadratic)
    if passing is not None and quadratic.share("N^2", top) > 0.1:
        return (
            f"an N² term would be {quadratic.share('N^2', top):.0%} of it there and pass the rest at about "
            f"N = {rounded(passing):,}: go to N = {rounded(max(_BEYOND * passing, 2 * top)):,}"
        )
    return "N and N log N both describe it within the scatter: go to larger N, or take more repeats"


def rounded(n: float) -> int:
    """n to two significant digits."""
    size = int(10 ** max(math.floor(math.log10(max(n, 1.0))) - 1, 0))
    return round(n / size) * size
