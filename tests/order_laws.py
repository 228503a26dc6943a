"""Costs whose order is known, and timings of them with a machine's faults, to try the fit of orders on."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from attnlab.measure.orders import LATE_START, fit_order

Array = NDArray[Any]

NOISE, REPEATS = 0.05, 7


class Law(NamedTuple):
    """A cost at the sizes n, and its order."""

    order: str
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


#: The issue's own: settled in at least 90 %.
PURE: Mapping[str, Law] = {
    "N": Law("N", lambda n: n),
    "N log N": Law("N log N", lambda n: n * np.log2(n)),
    "N²": Law("N^2", lambda n: n**2),
    "a + bN + cN², 16× beyond": Law("N^2", lambda n: grown(n, 16)),
}
#: Settled or not, and never wrong.
HARD: Mapping[str, Law] = {
    "4× beyond the crossover": Law("N^2", lambda n: grown(n, 4)),
    "at the crossover": Law("N^2", lambda n: grown(n, 1)),
    "a third of the way there": Law("N^2", lambda n: grown(n, 1 / 3)),
    "a fifth of the way there": Law("N^2", lambda n: grown(n, 1 / 5)),
    "an eighth (not excluded)": Law("N^2", lambda n: grown(n, 1 / 8)),
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


def timings(law: Law, n: Sequence[int], seed: int, *, outliers: bool = False) -> Array:
    """(sizes, repeats): the law times lognormal noise; with outliers, one repeat of each size is ×3."""
    draw = np.random.default_rng(seed)
    at = np.asarray(n, dtype=np.float64)
    drawn = law.cost(at)[:, None] * np.exp(NOISE * draw.standard_normal((len(at), REPEATS)))
    if outliers:
        drawn[np.arange(len(at)), draw.integers(REPEATS, size=len(at))] *= 3
    return drawn


class Rates(NamedTuple):
    """Shares of trials in which the right order was named, and a wrong one."""

    right: float
    wrong: float


def rates(law: Law, n: Sequence[int], trials: int, *, outliers: bool = False) -> Rates:
    """How a law is judged over trials with seeds 0, 1, …"""
    named = []
    for seed in range(trials):
        samples = timings(law, n, seed, outliers=outliers).tolist()
        named.append(fit_order(n, samples, late_start=law.late_start).order)
    right = sum(order == law.order for order in named)
    return Rates(right / trials, (trials - right - named.count(None)) / trials)
