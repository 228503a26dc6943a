"""Standard errors of clustered samples are the spread that repetition shows; a slope's interval holds the slope."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from attnlab.measure.clusters import Array, cluster_mean, cluster_quantile, cluster_rms
from attnlab.measure.slopes import log_log_slope
from attnlab.records import Quantity

ROWS, CLUSTERS, REPEATS = 8, 60, 400
TRUTH = np.random.default_rng(99).standard_normal((200_000, 2))


def clustered(seed: int) -> Array:
    """Lognormal rows, half of whose exponent's variance is their cluster's."""
    rng = np.random.default_rng(seed)
    common, own = rng.standard_normal((CLUSTERS, 1)), rng.standard_normal((CLUSTERS, ROWS))
    return np.exp((common + own) / math.sqrt(2) / 2)


LOGNORMAL_MEAN, LOGNORMAL_RMS = math.exp(1 / 8), math.exp(1 / 4)
ESTIMATES: dict[str, tuple[Callable[[Array], Quantity], float]] = {
    "mean": (cluster_mean, LOGNORMAL_MEAN),
    "rms": (cluster_rms, LOGNORMAL_RMS),
    "median": (lambda values: cluster_quantile(values, 0.5), 1.0),
    "p90": (lambda values: cluster_quantile(values, 0.9), math.exp(1.281552 / 2)),
}


@pytest.mark.parametrize("name", ESTIMATES)
def test_z_scores_have_mean_0_and_spread_1(name: str) -> None:
    estimate, truth = ESTIMATES[name]
    found = [estimate(clustered(seed)) for seed in range(REPEATS)]
    z = np.array([(q.value - truth) / q.standard_error for q in found if q.value and q.standard_error])
    assert len(z) == REPEATS
    assert abs(z.mean()) < 0.3
    assert 0.85 < z.std() < 1.2


def test_rows_taken_for_independent_would_promise_too_much() -> None:
    values = clustered(0)
    error = cluster_mean(values).standard_error
    assert error is not None
    assert error > 1.5 * cluster_mean(values.reshape(-1, 1)).standard_error  # type: ignore[operator]


def test_only_rows_counted_are_counted() -> None:
    values = np.arange(12.0).reshape(3, 4)
    counted = values % 2 == 0
    assert cluster_mean(values, counted).value == 5
    assert cluster_mean(values, counted).n == 6
    assert cluster_quantile(values, 0.5, counted).value == 5
    assert cluster_rms(values, counted).value == pytest.approx(math.sqrt(220 / 6))


def test_the_ratio_of_a_share_of_rows() -> None:
    """The mean over the rows above 1, with as many of them in a cluster as chance has it."""
    truth = float(np.mean([v for v in np.exp(TRUTH.sum(axis=1) / math.sqrt(2) / 2) if v > 1]))
    found = [cluster_mean(values, values > 1) for values in map(clustered, range(REPEATS))]
    z = np.array([(q.value - truth) / q.standard_error for q in found if q.value and q.standard_error])
    assert abs(z.mean()) < 0.3
    assert 0.85 < z.std() < 1.2


@pytest.mark.parametrize("estimate", [cluster_mean, cluster_rms, lambda v, c=None: cluster_quantile(v, 0.5, c)])
def test_too_little_to_say(estimate) -> None:  # type: ignore[no-untyped-def]
    one = estimate(np.ones((1, 5)))
    assert (one.value, one.standard_error, one.n) == (1, None, 5)
    none = estimate(np.ones((3, 5)), np.zeros((3, 5), dtype=bool))
    assert (none.value, none.standard_error, none.n) == (None, None, 0)


def points(power: float, seed: int) -> list[Quantity]:
    """3 x^power, 2 % off."""
    rng = np.random.default_rng(seed)
    values = [3 * x**power for x in (1, 2, 4, 8, 16)]
    return [Quantity(value=y * (1 + 0.02 * rng.standard_normal()), standard_error=0.02 * y) for y in values]


def test_the_interval_holds_the_power_19_times_in_20() -> None:
    found = [log_log_slope((1, 2, 4, 8, 16), points(0.5, seed)) for seed in range(400)]
    held = [slope is not None and slope.low <= 0.5 <= slope.high for slope in found]
    wrong = [slope is not None and slope.low <= 0.75 <= slope.high for slope in found]
    assert 0.91 < np.mean(held) < 0.99
    assert not any(wrong)
    assert found[0] is not None
    assert found[0].window == (1, 16)


def test_too_few_points_have_no_slope() -> None:
    quantities = points(0.5, 0)
    assert log_log_slope((1, 2), quantities[:2]) is None
    silent = [Quantity(value=1.0), Quantity(value=None), Quantity(value=0.0, standard_error=1.0)]
    assert log_log_slope((1, 2, 4, 8, 16), [*quantities[:2], *silent]) is None
