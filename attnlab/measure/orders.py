"""The order with which a cost grows, named only when the measurements leave no other.

Laws with a constant are fitted to the same points, by relative residuals: a + bN, a + bN log N, a + bN + cN², and for
rivals a + bN^p with p free and a + bN²/log N. A law fits where its residuals are no larger than the scatter of the
repeats explains: the F test of lack of fit, at 1 %.
- N: a + bN fits and a + bN log N does not; bN is `MOST` of the cost at the largest N; 99.5 % of p lies in `LINEAR`.
- N log N: a + bN log N fits and a + bN does not; the constant is at most `FIXED` of the smallest cost; a + bN + cN² is
  worse by `MARGIN`.
- N²: a + bN + cN² fits, the other two do not; cN² is `MOST` of the cost at the largest N; every a + bN^p with p up to
  `BELOW_SQUARE`, and a + bN²/log N, are worse by `NEARER`.
Otherwise, and where the local slope's interval is wider than `WIDE`, it is not settled, and the reason says what it is
or what would settle it. One-term fits are not honest here: a block's 24Nd² + 4N²d looks like N log N over the sizes
that people try, N^1.5 like N², and N log N like N.

Fewer than one order in a hundred is named wrongly, where the noise is independent from repeat to repeat. What a
machine does to all repeats of a size alike is in no scatter: `FLOOR` of it is allowed for, `EXACT` in counts. And what
this cannot see, with 5 % of noise from N = 128 to 4,096:
- N^1.15 looks like N log N; N whose unit cost rises smoothly by a half does in a tenth of cases, by 70 % always;
- N log N with a fixed cost of more than `FIXED` is left open;
- N² is left open below 8 times the N at which it passes the rest, and not seen beside N below an eighth of the cost;
- N²/log N with a large fixed cost is called N² in three of a hundred cases.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from attnlab.errors import UsageError
from attnlab.measure.order_models import MARGIN, Array, Fits, Points, Slope, fit_all
from attnlab.measure.order_words import said

Order = Literal["N", "N log N", "N^2"]

#: Fewer sizes do not tell the orders apart.
FEWEST_SIZES = 6
#: Fewer timings of one size do not say how far they scatter.
FEWEST_REPEATS = 7
#: The share of the cost at the largest N that the term of N or N² has, if it is named.
MOST = 0.88
#: Where the power of N lies, if that is named.
LINEAR = (0.93, 1.07)
#: The constant's share of the smallest cost at most, if N log N is named: with more of it, N with a rise looks like it.
FIXED = 0.10
#: N²'s rivals are excluded, if that is named, when their χ² is greater by this: they have a parameter less.
NEARER = 4.0
#: The powers up to this are among them.
BELOW_SQUARE = 1.95
#: What no repetition takes away, relative to each cost: clocks, frequencies, the luck of an address; and of an exact
#: count: what does not grow with N, or only at times, and is in no law.
FLOOR, EXACT = 0.01, 0.003
#: An error below this many times that is as good as it gets.
SHARP = 1.25
#: The top octaves: sizes from this fraction of the largest on, and four of them at least.
TOP, FEWEST_IN_TOP = 8, 4
#: The constant may be below 0 by this share of the smallest size's cost. A window of w seen from N = 4w on needs 1/7.
LATE_START = 0.0
#: Bootstrap samples, and the interval's share of them.
RESAMPLES, COVERAGE = 2000, 0.995


@dataclass(frozen=True, kw_only=True)
class OrderFit:
    """The order of a cost in N, or why it is not settled."""

    order: Order | None
    settled: bool
    #: for a person: why this order, or why none and what would settle it
    reason: str
    #: term ("1", "N", "N log N" to base 2, "N^2") -> coefficient, of the named order's law, else of a + bN + cN²
    coefficients: Mapping[str, float]
    #: d ln cost / d ln N over the window
    local_slope: float
    #: 99.5 %, from the scatter of the repeats: what a machine does to all repeats of a size alike is not in it
    slope_interval: tuple[float, float]
    #: the smallest and the largest N of the top octaves: three, or four sizes
    window: tuple[int, int]
    #: of a size's cost, relative to it: what its repeats scatter by, and `FLOOR`, which none of them takes away
    error: float = math.nan

    @property
    def sharper(self) -> bool:
        """Whether more repeats would tell more: their scatter is not small beside what no repeats take away."""
        return not self.error < SHARP * FLOOR


def fit_order(
    n: Sequence[int], samples: Sequence[Sequence[float]], *, seed: int = 0, late_start: float = LATE_START
) -> OrderFit:
    """The order in N of a cost, by regression with a constant against rivals, and the local slope.

    Args:
        n: the sizes, all different.
        samples: for each size its repeats (seven timings or more), or one exact value each (bytes, counts).
        seed: of the bootstrap: the same arguments give the same fit.
        late_start: how far below 0 the constant may be, as a share of the smallest size's cost: work that begins late
            costs N·w − w(w−1)/2, say.

    Raises:
        UsageError: fewer than six sizes, timings too few to say how they scatter, or costs that are not positive.

    Source: the rivals to beat are those of Google Benchmark and big_O, whose one-term fits name the nearest whatever
    the distance; lack of fit: Draper & Smith 1998, section 2.1; bootstrap: Efron & Tibshirani 1993, chapter 13.
    """
    check(n, samples)
    rising = np.argsort(np.asarray(n))
    sizes = np.asarray(n, dtype=np.float64)[rising]
    logs = np.log([np.asarray(samples[i], dtype=np.float64) for i in rising])
    points = pooled(sizes, logs, late_start)
    slope = top_slope(sizes, logs, seed)
    fits = fit_all(points)
    order = None if slope.scattered else verdict(points, fits)
    law = {None: fits.quadratic, "N": fits.linear, "N log N": fits.logarithmic, "N^2": fits.quadratic}[order]
    return OrderFit(
        order=order,
        settled=order is not None,
        reason=said(points, order, fits, slope),
        coefficients=law.coefficients,
        local_slope=slope.value,
        slope_interval=(slope.low, slope.high),
        window=slope.window,
        error=points.error,
    )


def check(n: Sequence[int], samples: Sequence[Sequence[float]]) -> None:
    """Refuse what no order can be read from.

    Raises:
        UsageError: see `fit_order`.
    """
    if len(set(n)) < FEWEST_SIZES or len(set(n)) < len(n) or min(n) < 1 or len(n) != len(samples):
        raise UsageError(f"sizes: {len(set(n))} different ones; expected {FEWEST_SIZES} or more to fit an order")
    repeats = {len(of_size) for of_size in samples}
    if len(repeats) > 1 or not (repeats == {1} or min(repeats) >= FEWEST_REPEATS):
        raise UsageError(
            f"repeats: {', '.join(map(str, sorted(repeats)))} at a size; "
            f"expected {FEWEST_REPEATS} or more, as many at each, or one exact value each"
        )
    if not all(0 < value < math.inf for of_size in samples for value in of_size):
        raise UsageError("costs: one is not positive and finite; expected seconds, bytes or counts")


def pooled(n: Array, logs: Array, late_start: float) -> Points:
    """Each size's centre, and one error for all: that of a trimmed mean, by the scatter of all sizes together.

    Source: Tukey & McLaughlin 1963: the sample with its trimmed ends pulled in has the scatter that such a mean has.
    """
    sizes, repeats = logs.shape
    cost = np.exp(centre(logs))
    if repeats == 1:
        return Points(n, cost, EXACT, math.inf, late_start)
    trimmed = repeats // 7
    kept = repeats - 2 * trimmed
    rising = np.sort(logs, axis=1)
    pulled = np.clip(logs, rising[:, [trimmed]], rising[:, [-1 - trimmed]])
    variance = float(pulled.var(axis=1).mean()) * repeats / (kept * (kept - 1))
    return Points(n, cost, math.hypot(math.sqrt(variance), FLOOR), sizes * (kept - 1), late_start)


def centre(logs: Array) -> Array:
    """The mean over the last axis without a seventh at either end, so that no single repeat matters."""
    trimmed = logs.shape[-1] // 7
    inner: Array = np.sort(logs, axis=-1)[..., trimmed : logs.shape[-1] - trimmed]
    return np.asarray(inner.mean(axis=-1))


def top_slope(n: Array, logs: Array, seed: int) -> Slope:
    """The slope of ln cost over ln N in the top octaves; its interval is one point when each size has one value."""
    first = min(int(np.searchsorted(n, n[-1] / TOP * 0.99)), len(n) - FEWEST_IN_TOP)
    top, repeats = logs[first:], logs.shape[1]
    x = np.log(n[first:]) - np.log(n[first:]).mean()
    x /= x @ x
    value, window = float(centre(top) @ x), (int(n[first]), int(n[-1]))
    if repeats == 1:
        return Slope(value, value, value, window)
    drawn = np.random.default_rng(seed).integers(repeats, size=(RESAMPLES, *top.shape))
    resampled = centre(np.take_along_axis(top[None], drawn, axis=2)) @ x
    # √(r/(r−1)): r values, drawn from themselves, scatter too little by that.
    wider = math.sqrt(repeats / (repeats - 1))
    low, high = value + wider * (np.quantile(resampled, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2]) - value)
    return Slope(value, float(low), float(high), window)


def verdict(points: Points, fits: Fits) -> Order | None:
    """The order that the points leave, or None: the conditions are this module's first lines."""
    least, most = float(points.n[0]), float(points.n[-1])
    linear, logarithmic, quadratic, power = fits.linear, fits.logarithmic, fits.quadratic, fits.power
    if linear.adequate:
        within = LINEAR[0] <= power.low and power.high <= LINEAR[1]
        return "N" if within and not logarithmic.adequate and linear.share("N", most) >= MOST else None
    if logarithmic.adequate:
        begins = logarithmic.share("1", least) <= FIXED
        return "N log N" if begins and quadratic.chi2 > logarithmic.chi2 + MARGIN else None
    rival = min(fits.below_quadratic.chi2, power.nearest(BELOW_SQUARE))
    squared = quadratic.adequate and quadratic.share("N^2", most) >= MOST and quadratic.chi2 + NEARER < rival
    return "N^2" if squared else None
