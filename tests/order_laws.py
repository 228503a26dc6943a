"""Costs whose order is known, and timings of them with a machine's faults, to try the fit of orders on."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from attnlab.measure.order_models import fit_all
from attnlab.measure.orders import LATE_START, pooled, verdict

Array = NDArray[Any]

NOISE, REPEATS = 0.05, 7

Shape = tuple[int, int]
#: Relative noise of about 5 %, independent from repeat to repeat.
SHAPES: Mapping[str, Callable[[np.random.Generator, Shape], Array]] = {
    "normal": lambda draw, shape: 1 + NOISE * draw.standard_normal(shape),
    "lognormal": lambda draw, shape: np.exp(NOISE * draw.standard_normal(shape)),
    "heavy tails": lambda draw, shape: np.exp(0.8 * NOISE * draw.standard_t(4, shape)),
    "skewed": lambda draw, shape: 1 + NOISE * draw.exponential(1, shape),
}


class Law(NamedTuple):
    """A cost at the sizes n, and its order; None: it has none of the three."""

    order: str | None
    cost: Callable[[Array], Array]
    #: what the fit is told of how late the work begins
    late_start: float = LATE_START


def sizes(low: int, high: int, steps: int) -> list[int]:
    """From `low` to `high`, `steps` sizes to each doubling."""
    count = round(np.log2(high / low) * steps) + 1
    return [round(low * 2 ** (i / steps)) for i in range(count)]


def jumping(n: Array, factor: float, at: float) -> Array:
    """`factor` beyond the fraction `at` of the largest size: a cache that is full."""
    return np.where(n > n[-1] * at, factor, 1.0)


def block(n: Array) -> Array:
    """24Nd² + 4N²d at d = 768."""
    return 24 * n * 768**2 + 4 * n**2 * 768


def grown(n: Array, times: float) -> Array:
    """a + bN + cN² whose last term is so many times the one before at the largest size."""
    return n[0] / 2 + n + times * n**2 / n[-1]


def rising(n: Array, by: float) -> Array:
    """N whose unit cost rises smoothly, by a share of itself over the range."""
    return n * (1 + by * np.log(n / n[0]) / np.log(n[-1] / n[0]))


#: Settled in at least 90 %.
PURE: Mapping[str, Law] = {
    "N": Law("N", lambda n: n),
    "N log N": Law("N log N", lambda n: n * np.log2(n)),
    "N²": Law("N^2", lambda n: n**2),
    "a + bN + cN², 16× beyond": Law("N^2", lambda n: grown(n, 16)),
}
#: None of the orders.
NONE: Mapping[str, Law] = {
    "N^1.3": Law(None, lambda n: n**1.3),
    "N^1.4": Law(None, lambda n: n**1.4),
    "N^1.5": Law(None, lambda n: n**1.5),
    "N^1.585": Law(None, lambda n: n ** math.log2(3)),
    "N^1.8": Law(None, lambda n: n**1.8),
    "N²/log N": Law(None, lambda n: n**2 / np.log2(n)),
    "N, 35 % dearer": Law(None, lambda n: rising(n, 0.35)),
    "N, 20 % dearer": Law(None, lambda n: rising(n, 0.2)),
    "a + N^1.5": Law(None, lambda n: n[-1] + n**1.5),
}
#: What the fit cannot tell from an order, and is said not to.
LIMITS: Mapping[str, Law] = {
    "N^1.15": Law(None, lambda n: n**1.15),
    "N, 50 % dearer": Law(None, lambda n: rising(n, 0.5)),
    "a + N²/log N": Law(None, lambda n: n[-1] * 2 + n**2 / np.log2(n)),
}
#: Settled or not, and never wrong.
HARD: Mapping[str, Law] = {
    "8× beyond the crossover": Law("N^2", lambda n: grown(n, 8)),
    "4× beyond the crossover": Law("N^2", lambda n: grown(n, 4)),
    "at the crossover": Law("N^2", lambda n: grown(n, 1)),
    "a third of the way there": Law("N^2", lambda n: grown(n, 1 / 3)),
    "a fifth of the way there": Law("N^2", lambda n: grown(n, 1 / 5)),
    "block, d = 768": Law("N^2", block),
    "N, small constant": Law("N", lambda n: n[0] + n),
    "N, large constant": Law("N", lambda n: n[-1] / 4 + n),
    "N log N, small constant": Law("N log N", lambda n: 24 * n[0] + n * np.log2(n)),
    "N log N, large constant": Law("N log N", lambda n: 1.25 * n[-1] + n * np.log2(n)),
    "5N + N log N": Law("N log N", lambda n: 5 * n + n * np.log2(n)),
    "window, from N = 4w": Law("N", lambda n: n - n[0] / 8, late_start=1 / 7),
    "causal, N(N+1)/2": Law("N^2", lambda n: n * (n + 1) / 2),
    "N, ×1.3 early": Law("N", lambda n: n * jumping(n, 1.3, 1 / 12)),
    "N, ×1.3": Law("N", lambda n: n * jumping(n, 1.3, 1 / 6)),
    "N, ×1.3 late": Law("N", lambda n: n * jumping(n, 1.3, 1 / 3)),
    "N, ×1.3 twice": Law("N", lambda n: n * jumping(n, 1.3, 1 / 3) * jumping(n, 1.3, 1 / 20)),
    "N, ×0.6": Law("N", lambda n: n * jumping(n, 0.6, 1 / 6)),
    "N log N, ×1.3": Law("N log N", lambda n: n * np.log2(n) * jumping(n, 1.3, 1 / 6)),
    "N log N, ×0.8": Law("N log N", lambda n: n * np.log2(n) * jumping(n, 0.8, 1 / 6)),
    "N log N, ×0.6": Law("N log N", lambda n: n * np.log2(n) * jumping(n, 0.6, 1 / 6)),
    "N², ×1.3": Law("N^2", lambda n: n**2 * jumping(n, 1.3, 1 / 6)),
    "block, ×1.3": Law("N^2", lambda n: block(n) * jumping(n, 1.3, 1 / 6)),
}


def timings(law: Law, n: Sequence[int], seed: int, *, shape: str = "lognormal", outliers: bool = False) -> Array:
    """(sizes, repeats): the law times noise; with outliers, one repeat of each size is ×3."""
    draw = np.random.default_rng(seed)
    at = np.asarray(n, dtype=np.float64)
    drawn = law.cost(at)[:, None] * SHAPES[shape](draw, (len(at), REPEATS))
    if outliers:
        drawn[np.arange(len(at)), draw.integers(REPEATS, size=len(at))] *= 3
    return drawn


class Rates(NamedTuple):
    """Shares of trials in which the right order was named, and a wrong one."""

    right: float
    wrong: float


def rates(law: Law, n: Sequence[int], trials: int, *, shape: str = "lognormal", outliers: bool = False) -> Rates:
    """How a law is judged over trials with seeds 0, 1, …: by `fit_order` without its bootstrap."""
    named = []
    for seed in range(trials):
        logs = np.log(timings(law, n, seed, shape=shape, outliers=outliers))
        points = pooled(np.asarray(n, dtype=np.float64), logs, law.late_start)
        named.append(verdict(points, fit_all(points)))
    right = sum(order is not None and order == law.order for order in named)
    return Rates(right / trials, (trials - right - named.count(None)) / trials)
