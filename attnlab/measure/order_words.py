"""Why an order is named or not, in words for a person: what is open takes no more than a line."""

import math

from attnlab.measure.order_models import MARGIN, Fits, LawFit, Points, PowerFit, Slope

#: An N² law is settled where N is so many times the crossover.
BEYOND = 8
#: From here on a fixed cost hides the rest.
_LARGE = 0.12
#: Powers from here to there are those that N log N looks like.
_LINEAR, _LOGARITHMIC = 1.12, 1.3


def said(points: Points, order: str | None, fits: Fits, slope: Slope) -> str:
    """The sentence for a fit: of the order that is named; None: not settled."""
    grows = (
        f"the cost grows like N^{slope.value:.2f} ({slope.low:.2f} to {slope.high:.2f}) towards N = {points.n[-1]:,.0f}"
    )
    match order:
        case "N":
            return f"N: {grows}; a + bN fits within {fits.linear.rms:.1%}, and a + bN log N does not"
        case "N log N":
            return f"N log N: {grows}; a + bN log N fits within {fits.logarithmic.rms:.1%}, and a + bN does not"
        case "N^2":
            quadratic = fits.quadratic
            return (
                f"N²: {grows}; a + bN + cN² fits within {quadratic.rms:.1%}, and no power below nor N²/log N as well"
                f"{_passing(quadratic)}"
            )
    return f"not settled: {_open(points, fits, slope)}"


def crossover(law: LawFit) -> float | None:
    """The N at which the N² term of a + bN + cN² passes the rest; None without one."""
    a, b, c = (law.coefficients[term] for term in ("1", "N", "N^2"))
    return None if c <= 0 else (b + math.sqrt(b * b + 4 * c * max(a, 0.0))) / (2 * c)


def _passing(law: LawFit) -> str:
    n = crossover(law)
    return "" if n is None or n < 1 else f"; the N² term passes the rest at about N = {rounded(n):,}"


def _open(points: Points, fits: Fits, slope: Slope) -> str:
    """What it is, or what stands in the way and what would settle it."""
    quadratic, top = fits.quadratic, float(points.n[-1])
    linear, logarithmic = fits.linear.adequate, fits.logarithmic.adequate
    none = not (linear or logarithmic or quadratic.adequate)
    if slope.scattered:
        return "the timings scatter too much; take more repeats"
    if none and fits.power.adequate:
        return between(fits.power)
    if quadratic.share("1", top) >= _LARGE:
        return f"a fixed cost is {quadratic.share('1', top):.0%} of it even there; go to larger N"
    if none:
        return _steps(points, fits)
    if linear and not logarithmic:
        return f"{between(fits.power)}; go to larger N"
    if linear:
        exact = math.isinf(points.freedom)  # an exact count is what it is, however often it is taken
        return f"N or N log N; go to larger N{'' if exact else ', or take more repeats'}"
    if not logarithmic:
        return _short_of_square(quadratic, top)
    if quadratic.chi2 <= fits.logarithmic.chi2 + MARGIN:
        return "N log N, or N with a little N²; go to larger N"
    return "N log N, or N that grows dearer; begin at larger N"


def _short_of_square(quadratic: LawFit, top: float) -> str:
    """a + bN + cN² fits, and its last term does not rule."""
    passing = crossover(quadratic)
    if passing is None:
        return "N, or a power just above; go to larger N"
    further = f"go to {rounded(max(BEYOND * passing, 2 * top)):,}"
    if BEYOND * passing <= top:
        return f"N², or a power just below; {further}"
    return f"N² would pass the rest near N = {rounded(passing):,}; {further}"


def between(power: PowerFit) -> str:
    """Where a power of N lies that fits and is none of the orders."""
    if power.low <= 1 <= power.high:
        where = "near N"
    elif power.p < 1:
        where = "flatter than N"
    elif power.p < _LINEAR:
        where = "between N and N log N"
    elif power.p < _LOGARITHMIC:
        where = "near N log N"
    elif power.p < 2:
        where = "between N log N and N²"
    else:
        where = "steeper than N²"
    return f"{where}: exponent {power.p:.2f} ± {max(power.error, 0.01):.2f}"


def _steps(points: Points, fits: Fits) -> str:
    """None of the laws fits: the machine has steps of its own (caches, threads)."""
    nearest = min(law.rms for law in (fits.linear, fits.logarithmic, fits.quadratic))
    return f"no law within {nearest:.0%} (error {points.error:.1%}): steps; go to larger N"


def rounded(n: float) -> int:
    """n to two significant digits."""
    size = int(10 ** max(math.floor(math.log10(max(n, 1.0))) - 1, 0))
    return round(n / size) * size
