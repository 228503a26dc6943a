"""The order with which a cost grows, named only when the measurements leave no other.

Three laws are fitted to the same points: a + bN, a + bN log N and a + bN + cN². A law is named when
- it fits: its residuals are no larger than the scatter of the repeats explains, or than a few per cent;
- its rivals do not: their χ² is greater by `MARGIN` at least. Rivals have as much freedom as the law or more: a linear
  cost may jump at one size, as when a cache is full; for N, an N² term of `HIDDEN_SQUARE` is tried;
- the local slope says the same: at least `STEEP` for N², less for the others.
Otherwise it is not settled, and the reason says what would settle it. One-term fits are not honest here: a block's
24Nd² + 4N²d looks like N log N over the sizes that people try.

What this cannot see: an N² term below `HIDDEN_SQUARE` of the cost at the largest N (the reason says so), and growth by
several jumps, which is left unsettled.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from attnlab.errors import UsageError
from attnlab.measure.order_models import (
    FLOOR,
    JUMPS,
    Array,
    LawFit,
    Points,
    fit_growth,
    fit_law,
)
from attnlab.measure.order_words import said

Order = Literal["N", "N log N", "N^2"]

#: Fewer sizes do not tell the orders apart.
FEWEST_SIZES = 6
#: Fewer timings of one size do not say how far they scatter.
FEWEST_REPEATS = 7
#: A rival is excluded when its χ² is greater by this: a likelihood ratio of e^4.5 = 90.
MARGIN = 9.0
#: N is named only when an N² term of this share of the cost at the largest N is excluded.
HIDDEN_SQUARE = 1 / 6
#: d ln cost / d ln N over the top octaves that only N² reaches: N log N with a jump of ×1.3 stays below.
STEEP = 1.35
#: Steeper than this, N² is not the end of it.
TOO_STEEP = 2.5
#: A law fits when its relative residuals are within this, whatever the scatter: machines have steps. N log N, between
#: the others, is the order that steps imitate best.
CLOSE: Mapping[Order, float] = {"N": 0.06, "N log N": 0.03, "N^2": 0.2}
#: The top octaves: sizes from this fraction of the largest on, and four of them at least.
TOP, FEWEST_IN_TOP = 8, 4
#: A repeat further than this from its size's median, in standard deviations, was disturbed.
OUTLYING = 3.5
#: The constant may be below 0 by this share of the smallest size's cost. A window of w seen from N = 4w on needs 1/7.
LATE_START = 0.05
#: Bootstrap samples, and the interval's share of them.
RESAMPLES, COVERAGE = 2000, 0.995
#: Standard deviations in a median absolute deviation: in a large normal sample; in seven, about their own centre.
_NORMAL, _SEVEN = 1.4826, 1.16
#: The trimmed mean's standard error is that of a normal sample's mean times this.
_TRIMMED = 1.041


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


class Slope(NamedTuple):
    """d ln cost / d ln N over the top octaves, with a 99.5 % interval."""

    value: float
    low: float
    high: float
    window: tuple[int, int]


class Fits(NamedTuple):
    """The laws that each order is judged by, on the same points."""

    #: a + bN that jumps once, where that pays; its rivals may jump then, too
    linear: LawFit
    linear_rivals: Sequence[LawFit]
    logarithmic: LawFit
    logarithmic_rivals: Sequence[LawFit]
    quadratic: LawFit
    quadratic_rivals: Sequence[LawFit]


def fit_order(
    n: Sequence[int], samples: Sequence[Sequence[float]], *, seed: int = 0, late_start: float = LATE_START
) -> OrderFit:
    """The order in N of a cost, by regression with a free constant against rivals, and the local slope.

    Args:
        n: the sizes, all different.
        samples: for each size its repeats (seven timings or more), or one exact value each (bytes, counts).
        seed: of the bootstrap: the same arguments give the same fit.
        late_start: how far below 0 the free constant may be, as a share of the smallest size's cost: work that begins
            late costs N·w − w(w−1)/2, say. The less, the sooner N log N settles.

    Raises:
        UsageError: fewer than six sizes, timings too few to say how they scatter, or costs that are not positive.

    Source: the rivals are those of Google Benchmark and big_O, whose one-term fits name the nearest whatever the
    distance; excluding by likelihood ratio: Royall 1997, chapter 1; bootstrap: Efron & Tibshirani 1993, chapter 13.
    """
    check(n, samples)
    rising = np.argsort(np.asarray(n))
    sizes = np.asarray(n, dtype=np.float64)[rising]
    logs = without_outliers(np.log([np.asarray(samples[i], dtype=np.float64) for i in rising]))
    points = Points(sizes, np.exp(centre(logs)), errors(logs), late_start)
    slope = top_slope(sizes, logs, seed)
    fits = fit_all(points)
    order, law = verdict(points, fits, slope)
    return OrderFit(
        order=order,
        settled=order is not None,
        reason=said(points, order, law, fits.quadratic, slope.value, (slope.low, slope.high), HIDDEN_SQUARE),
        coefficients=(fits.quadratic if order is None else law).coefficients,
        local_slope=slope.value,
        slope_interval=(slope.low, slope.high),
        window=slope.window,
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


def scatter(logs: Array) -> Array:
    """The relative scatter of each size's repeats: that of all sizes together, its own if that is far greater.

    By medians, so that no single repeat matters: (sizes, 1), 0 where each size has one value.
    """
    off = np.abs(logs - np.median(logs, axis=1, keepdims=True))
    return np.asarray(_NORMAL * _SEVEN * np.maximum(np.median(off), np.median(off, axis=1, keepdims=True) / 2))


def without_outliers(logs: Array) -> Array:
    """The repeats, those too far from their size's median (something came between) pulled in to where that begins."""
    middle, reach = np.median(logs, axis=1, keepdims=True), OUTLYING * scatter(logs)
    return np.clip(logs, middle - reach, middle + reach)


def centre(logs: Array) -> Array:
    """The mean over the last axis without a seventh at either end."""
    trimmed = logs.shape[-1] // 7
    inner: Array = np.sort(logs, axis=-1)[..., trimmed : logs.shape[-1] - trimmed]
    return np.asarray(inner.mean(axis=-1))


def errors(logs: Array) -> Array:
    """The relative standard error of each size's centre."""
    return np.asarray(np.hypot(_TRIMMED * scatter(logs)[:, 0] / math.sqrt(logs.shape[1]), FLOOR))


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


def fit_all(points: Points) -> Fits:
    """Every law and its rivals."""
    smooth, jumping = fit_law(points, ("1", "N")), fit_growth(points, "N", jumps=JUMPS)
    # Schwarz's rule, where a jump counts as three numbers: its size, its place, and the choice among places.
    jumped = jumping if jumping is not None and jumping.chi2 + 3 * math.log(len(points.n)) < smooth.chi2 else None
    jumps = None if jumped is None or jumped.jump is None else same_way(jumped.jump[1])
    rivals = [fit_growth(points, "N", square=HIDDEN_SQUARE, jumps=jumps), fit_growth(points, "N log N", jumps=jumps)]
    logarithmic, quadratic = fit_law(points, ("1", "N log N")), fit_law(points, ("1", "N", "N^2"))
    return Fits(
        linear=smooth if jumped is None else jumped,
        linear_rivals=[rival for rival in (logarithmic, *rivals) if rival is not None],
        logarithmic=logarithmic,
        logarithmic_rivals=[smooth, quadratic, *([] if jumping is None else [jumping])],
        quadratic=quadratic,
        quadratic_rivals=[smooth, logarithmic, fit_law(points, ("1", "N", "N log N"))],
    )


def same_way(factor: float) -> tuple[float, float]:
    """The jumps that a rival may have: in the law's direction. A cost that a full cache slows down is not made another
    order's by a machine that would then speed up.
    """
    return (1.0, JUMPS[1]) if factor > 1 else (JUMPS[0], 1.0)


def verdict(points: Points, fits: Fits, slope: Slope) -> tuple[Order | None, LawFit]:
    """The order that the points leave, with its law; None, and the law that comes nearest."""
    candidates: list[tuple[Order, LawFit, Sequence[LawFit], bool]] = [
        ("N", fits.linear, fits.linear_rivals, slope.high < STEEP),
        ("N log N", fits.logarithmic, fits.logarithmic_rivals, slope.high < STEEP),
        ("N^2", fits.quadratic, fits.quadratic_rivals, STEEP < slope.low < TOO_STEEP),
    ]
    for order, law, rivals, possible in candidates:
        if possible and fits_well(points, law, CLOSE[order]) and all(excluded(points, rival, law) for rival in rivals):
            return order, law
    return None, min((law for _, law, _, _ in candidates), key=lambda law: law.chi2)


def fits_well(points: Points, law: LawFit, close: float) -> bool:
    """Whether the residuals are as small as the scatter has them in 999 of 1,000 cases, or as `close`."""
    free = len(points.n) - law.parameters
    return law.rms <= close or law.chi2 <= free + 3.5 * math.sqrt(2 * free)


def excluded(points: Points, rival: LawFit, law: LawFit) -> bool:
    """Whether the rival is so much worse; misfits of the law itself count as noise that the repeats do not show."""
    free = max(len(points.n) - law.parameters, 1)
    return rival.chi2 - law.chi2 > MARGIN * max(1.0, law.chi2 / free)
