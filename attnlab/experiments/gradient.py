"""`attnlab gradient`: what the softmax lets through to training, against d_k, scaled and unscaled.

Setting: L = u·o with u ~ N(0, I) for each query; queries, keys and values standard normal, values of width 64, all in
float64. Scaled and unscaled scores are made of the same draws. Standard errors are over blocks of 64 queries that
share their keys.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from attnlab.errors import MemoryRefused, UsageError
from attnlab.experiments.effort import refuse_endless
from attnlab.experiments.gradient_claims import Overflow, ShiftTrial, overflows, shift_trial
from attnlab.experiments.gradient_rows import VALUE_WIDTH, RowValues, batch_bytes, batches, sampled
from attnlab.files.kernels import in_words
from attnlab.maths.statistics import SATURATED
from attnlab.measure.clusters import cluster_mean, cluster_quantile, cluster_rms
from attnlab.measure.slopes import Slope, log_log_slope
from attnlab.records import Check, Quantity
from attnlab.theory import gradients as theory
from attnlab.theory.random_energy import attention_law, freezing_deviation

#: 1 to 1024 by doubling.
SWEEP = tuple(2**power for power in range(11))
#: Fewer rows have no 99th percentile to speak of.
FEWEST_ROWS = 256
#: Bytes that are kept of a row, of both scales, while they are put together.
ROW_BYTES = 256
#: About how long a row takes for each number of each key.
SECONDS = 2e-9
#: Slopes are fitted from so many times the freezing point 2 ln n on.
FROZEN = 4
#: Measured numbers with an exact law, and those whose power of d_k is of interest.
EXACT = ("jacobian_trace_mean", "jacobian_frobenius_rms", "query_gradient_rms")
GROWING = (
    "query_gradient_gain",
    "query_gradient_p99_unsaturated",
    "query_gradient_p99",
    "query_gradient_rms",
    "query_gradient_mean",
)


@dataclass(frozen=True, kw_only=True)
class GradientConfig:
    """What to draw. Rows are rounded up to whole batches of 256."""

    d_k: Sequence[int] = SWEEP
    #: keys
    n: int = 128
    rows: int = 4096
    seed: int = 0
    threads: int = 1
    max_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Regime:
    """What was measured at one d_k and one scale. J is the softmax's Jacobian, the query's gradient ‖∂L/∂q‖."""

    scale: float
    jacobian_trace_mean: Quantity
    jacobian_trace_median: Quantity
    jacobian_frobenius_mean: Quantity
    jacobian_frobenius_rms: Quantity
    jacobian_spectral_mean: Quantity
    jacobian_spectral_median: Quantity
    jacobian_spectral_max: float
    #: share of rows whose largest weight is above 0.99
    saturated_fraction: Quantity
    query_gradient_mean: Quantity
    query_gradient_rms: Quantity
    query_gradient_median: Quantity
    query_gradient_p90: Quantity
    query_gradient_p99: Quantity
    #: the 99th percentile over the rows that are not saturated
    query_gradient_p99_unsaturated: Quantity
    #: root mean square of ‖∂L/∂q‖/‖J‖_F: what a unit of Jacobian is worth to the query
    query_gradient_gain: Quantity
    #: mean of each row's (c/4) max‖k_a − k_b‖ (max g − min g), and the largest share of it that a row reached
    query_gradient_bound: Quantity
    query_gradient_bound_share: float


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Closed forms for a `Regime`: the first three are exact at every n and d_k, the others are limits."""

    jacobian_trace_mean: float
    jacobian_frobenius_rms: float
    query_gradient_rms: float
    #: c √(d_v d_k), to O(1/d_k)
    query_gradient_gain: float
    #: unscaled and far beyond the freezing point, to leading order; None elsewhere
    frozen_jacobian_trace_mean: float | None = None
    frozen_query_gradient_mean: float | None = None
    #: the factor by which the median falls, up to powers of d_k
    frozen_median_factor: float | None = None


@dataclass(frozen=True, kw_only=True)
class GradientRow:
    """One d_k, measured and predicted, with 1/√d_k and without."""

    d_k: int
    n: int
    scaled: Regime
    unscaled: Regime
    predicted_scaled: Prediction
    predicted_unscaled: Prediction


@dataclass(frozen=True, kw_only=True)
class NamedSlope:
    """With which power of d_k one measured number grows."""

    quantity: str
    scaled: bool
    slope: Slope


@dataclass(frozen=True, kw_only=True)
class GradientRecord:
    """All that the experiment found."""

    config: GradientConfig
    #: rows per d_k, as drawn
    samples: int
    rows: Sequence[GradientRow]
    slopes: Sequence[NamedSlope]
    shift: ShiftTrial
    overflows: Sequence[Overflow]
    checks: Sequence[Check] = field(default_factory=tuple)

    @property
    def freezing_point(self) -> float:
        """2 ln n: from this d_k on the unscaled softmax freezes onto few keys."""
        return freezing_deviation(self.config.n) ** 2


def steps(config: GradientConfig) -> int:
    """How many times `run` calls `advance`."""
    return len(config.d_k) * batches(config.rows)


def run(config: GradientConfig, *, advance: Callable[[], None] = lambda: None) -> GradientRecord:
    """Draw, measure, predict.

    Raises:
        UsageError: settings that cannot be.
        MemoryRefused: a batch would need more than max_bytes.
    """
    require_sound(config)
    rows = [gradient_row(config, d_k, advance) for d_k in sorted(set(config.d_k))]
    return GradientRecord(
        config=config,
        samples=batches(config.rows) * FEWEST_ROWS,
        rows=rows,
        slopes=fitted_slopes(rows, FROZEN * freezing_deviation(config.n) ** 2),
        shift=shift_trial(config.seed, config.n),
        overflows=overflows(config.n),
        checks=bound_checks(rows),
    )


def require_sound(config: GradientConfig) -> None:
    """Check the settings.

    Raises:
        UsageError: a width below 1, fewer than two keys, too few rows or endlessly many.
        MemoryRefused: a batch, or all rows, would need more than max_bytes.
    """
    for d_k in config.d_k:
        if d_k < 1:
            raise UsageError(f"--dk {d_k}; expected a width of 1 or more")
    if config.n < 2:
        raise UsageError(f"--n {config.n}; expected 2 keys or more: one key leaves the softmax nothing to choose")
    if config.rows < FEWEST_ROWS:
        raise UsageError(f"--rows {config.rows}; expected {FEWEST_ROWS} or more, for a 99th percentile")
    needed = config.threads * batch_bytes(config.n, max(config.d_k, default=1)) + ROW_BYTES * config.rows
    if config.max_bytes is not None and needed > config.max_bytes:
        raise MemoryRefused(
            f"{config.rows:,} rows of {config.n:,} keys of width {max(config.d_k):,} would need {in_words(needed)}, "
            f"and {in_words(config.max_bytes)} may be used; take a smaller --n, --dk or --rows"
        )
    refuse_endless("--rows", config.rows, SECONDS * config.n * sum(d_k + 2 * VALUE_WIDTH for d_k in config.d_k))


def gradient_row(config: GradientConfig, d_k: int, advance: Callable[[], None]) -> GradientRow:
    """One d_k."""
    scale = 1 / math.sqrt(d_k)
    scaled, unscaled = sampled(
        config.seed, config.n, d_k, config.rows, (scale, 1.0), threads=config.threads, advance=advance
    )
    return GradientRow(
        d_k=d_k,
        n=config.n,
        scaled=measured(scaled, scale),
        unscaled=measured(unscaled, 1.0),
        predicted_scaled=predicted(config.n, d_k, scale),
        predicted_unscaled=predicted(config.n, d_k, 1.0),
    )


def measured(rows: RowValues, scale: float) -> Regime:
    """The numbers of one regime, each with its standard error over blocks."""
    alive = rows.frobenius > 0
    gain = rows.gradient / np.where(alive, rows.frobenius, 1.0)
    share = rows.gradient / np.where(rows.bound > 0, rows.bound, 1.0)
    return Regime(
        scale=scale,
        jacobian_trace_mean=cluster_mean(rows.trace),
        jacobian_trace_median=cluster_quantile(rows.trace, 0.5),
        jacobian_frobenius_mean=cluster_mean(rows.frobenius),
        jacobian_frobenius_rms=cluster_rms(rows.frobenius),
        jacobian_spectral_mean=cluster_mean(rows.spectral),
        jacobian_spectral_median=cluster_quantile(rows.spectral, 0.5),
        jacobian_spectral_max=float(rows.spectral.max()),
        saturated_fraction=cluster_mean((rows.top > SATURATED).astype(np.float64)),
        query_gradient_mean=cluster_mean(rows.gradient),
        query_gradient_rms=cluster_rms(rows.gradient),
        query_gradient_median=cluster_quantile(rows.gradient, 0.5),
        query_gradient_p90=cluster_quantile(rows.gradient, 0.9),
        query_gradient_p99=cluster_quantile(rows.gradient, 0.99),
        query_gradient_p99_unsaturated=cluster_quantile(rows.gradient, 0.99, rows.top <= SATURATED),
        query_gradient_gain=cluster_rms(gain, alive),
        query_gradient_bound=cluster_mean(rows.bound),
        query_gradient_bound_share=float(share.max()),
    )


def predicted(n: int, d_k: int, scale: float) -> Prediction:
    """What closed forms there are for one regime."""
    law = theory.gradient_law(n, d_k, scale, VALUE_WIDTH)
    frozen = scale == 1 and d_k >= FROZEN * freezing_deviation(n) ** 2
    return Prediction(
        jacobian_trace_mean=1 - attention_law(n, d_k, scale).square,
        jacobian_frobenius_rms=law.jacobian_frobenius_rms,
        query_gradient_rms=law.query_gradient_rms,
        query_gradient_gain=theory.query_gradient_gain(d_k, scale, VALUE_WIDTH),
        frozen_jacobian_trace_mean=theory.frozen_jacobian_trace(n, d_k) if frozen else None,
        frozen_query_gradient_mean=theory.frozen_query_gradient_mean(n, VALUE_WIDTH) if frozen else None,
        frozen_median_factor=theory.frozen_median(n, d_k) if frozen else None,
    )


def fitted_slopes(rows: Sequence[GradientRow], lowest: float) -> list[NamedSlope]:
    """The powers of d_k with which the numbers of `GROWING` grow from d_k = lowest on."""
    upper = [row for row in rows if row.d_k >= lowest]
    found = []
    for name in GROWING:
        for scaled in (False, True):
            regimes = [row.scaled if scaled else row.unscaled for row in upper]
            slope = log_log_slope([row.d_k for row in upper], [getattr(regime, name) for regime in regimes])
            if slope is not None:
                found.append(NamedSlope(quantity=name, scaled=scaled, slope=slope))
    return found


def bound_checks(rows: Sequence[GradientRow]) -> list[Check]:
    """‖J‖₂ ≤ ½ and the query's bound, over every row."""
    regimes = [regime for row in rows for regime in (row.scaled, row.unscaled)]
    spectral = max(regime.jacobian_spectral_max for regime in regimes)
    share = max(regime.query_gradient_bound_share for regime in regimes)
    rounding = 1e-12
    return [
        Check(
            id="spectral",
            holds=spectral <= 0.5 + rounding,
            value=spectral,
            bound=0.5,
            text=f"no softmax has a slope beyond ½ ({spectral:.4f} at most)",
        ),
        Check(
            id="query-bound",
            holds=share <= 1 + rounding,
            value=share,
            bound=1.0,
            text=f"no gradient is beyond its bound ({share:.2f} of it at most)",
        ),
    ]


def deviations(rows: Sequence[GradientRow]) -> list[float]:
    """How many standard errors each measured number lies from its exact law, where it has both."""
    found = []
    for row in rows:
        for regime, law in ((row.scaled, row.predicted_scaled), (row.unscaled, row.predicted_unscaled)):
            for name in EXACT:
                quantity, expected = getattr(regime, name), getattr(law, name)
                if quantity.value is not None and quantity.standard_error:
                    found.append((quantity.value - expected) / quantity.standard_error)
    return found
