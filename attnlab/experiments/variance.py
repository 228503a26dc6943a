"""`attnlab variance`: Var(q·k) against d_k, from independent pairs and as a matrix, and its softmax, beside theory."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from attnlab.errors import UsageError
from attnlab.experiments.effort import refuse_endless
from attnlab.experiments.variance_sampling import matrix_moments, matrix_shape, pair_chunks, pair_moments
from attnlab.experiments.variance_softmax import SoftmaxResult, require_memory, softmax_results, softmax_steps
from attnlab.maths.entries import Distribution
from attnlab.maths.moments import Moments
from attnlab.maths.threads import single_threaded_products
from attnlab.theory.products import (
    matrix_standard_error,
    pairs_standard_error,
    product_kurtosis,
    product_mean,
    product_variance,
)

#: 1 … 1024 by doubling.
WIDTHS = tuple(2**power for power in range(11))
DISTRIBUTIONS: tuple[Distribution, ...] = ("normal", "uniform", "sign")
#: Pairs of one width by default, and the numbers that they are made of: as many as at d_k = 64.
PAIRS, NUMBERS = 100_000, 12_800_000
#: About how long a number takes to draw and to multiply.
SECONDS = 1e-8
#: Why the columns of the matrix and its softmax are empty when q and k are correlated.
NO_MATRIX = "in a matrix only q_i and k_i could be correlated: every other score is of independent vectors"


@dataclass(frozen=True, kw_only=True)
class VarianceConfig:
    """What to draw, and how much of it."""

    d_k: Sequence[int] = WIDTHS
    #: independent pairs q, k per width; None: `PAIRS`, and where that would be more than `NUMBERS` fewer
    samples: int | None = None
    #: of the matrix and of each softmax
    keys: int = 128
    distribution: Distribution = "normal"
    #: of each entry of k with the same entry of q; other than 0 for normal entries alone
    correlation: float = 0.0
    seed: int = 0
    #: how many draw at once; the numbers are the same
    threads: int = 1
    #: what one block of queries and keys may take; None: anything
    max_bytes: int | None = None

    def pairs(self, d_k: int) -> int:
        """How many pairs of that width."""
        return max(2, min(PAIRS, NUMBERS // (2 * d_k))) if self.samples is None else self.samples


@dataclass(frozen=True, kw_only=True)
class ScoreResult:
    """The scores of one width, drawn in one way, beside what they should be. Unscaled; ÷ d_k: scaled."""

    sampling: Literal["pairs", "matrix"]
    samples: int
    mean: float
    expected_mean: float
    #: the mean of (q·k − E q·k)², E q·k being 0 (ρ d_k when correlated), so that a wrong mean shows too
    variance: float
    #: of the variance, by theory
    standard_error: float
    expected: float
    kurtosis: float
    expected_kurtosis: float

    @property
    def z(self) -> float | None:
        """How many standard errors the variance is off; None where it has no spread."""
        return (self.variance - self.expected) / self.standard_error if self.standard_error > 0 else None


@dataclass(frozen=True, kw_only=True)
class VarianceRow:
    """Everything about one width."""

    d_k: int
    pairs: ScoreResult
    #: None when q and k are correlated
    matrix: ScoreResult | None
    unscaled: SoftmaxResult | None
    scaled: SoftmaxResult | None


@dataclass(frozen=True, kw_only=True)
class VarianceRecord:
    """All that the experiment found."""

    config: VarianceConfig
    #: by rising d_k, in whatever order the widths were asked for
    rows: Sequence[VarianceRow]


def run(config: VarianceConfig, *, advance: Callable[[], None] = lambda: None) -> VarianceRecord:
    """Draw, measure, and set beside theory; `advance` is called `steps(config)` times.

    Raises:
        UsageError: settings that cannot be.
        MemoryRefused: a block of queries and keys would take more than config.max_bytes.
    """
    check(config)
    with single_threaded_products():
        rows = [variance_row(config, d_k, advance) for d_k in sorted(set(config.d_k))]
    return VarianceRecord(config=config, rows=rows)


def steps(config: VarianceConfig) -> int:
    """How many times `run` says that it is further."""
    softmax = 0 if config.correlation else 1 + softmax_steps(config.keys)
    return sum(pair_chunks(config.pairs(d_k), d_k).steps + softmax for d_k in dict.fromkeys(config.d_k) if d_k > 0)


def check(config: VarianceConfig) -> None:
    """Check the settings.

    Raises:
        UsageError: naming the first that cannot be.
        MemoryRefused: as `run`.
    """
    for d_k in config.d_k:
        if d_k < 1:
            raise UsageError(f"--dk {d_k}; expected a width of 1 or more")
    if config.samples is not None and config.samples < 2:
        raise UsageError(f"--samples {config.samples}; expected 2 pairs or more")
    if config.keys < 2:
        raise UsageError(f"--keys {config.keys}; expected 2 keys or more: over one key a softmax has nothing to choose")
    if not abs(config.correlation) <= 1:
        raise UsageError(f"--correlation {config.correlation:g}; expected a number from -1 to 1")
    if config.correlation and config.distribution != "normal":
        raise UsageError(
            f"--correlation {config.correlation:g}: not with {config.distribution} entries; expected normal ones"
        )
    if config.max_bytes is not None:
        require_memory(max(config.d_k, default=1), config.keys, config.threads, max_bytes=config.max_bytes)
    widths = dict.fromkeys(config.d_k)
    most = max(map(config.pairs, widths), default=0)
    refuse_endless("--samples", most, SECONDS * 2 * sum(d_k * config.pairs(d_k) for d_k in widths) / max(most, 1))


def variance_row(config: VarianceConfig, d_k: int, advance: Callable[[], None]) -> VarianceRow:
    """One width: its pairs, its matrix, its softmax."""
    pairs = pairs_result(config, d_k, advance)
    if config.correlation:
        return VarianceRow(d_k=d_k, pairs=pairs, matrix=None, unscaled=None, scaled=None)
    matrix = matrix_result(config, d_k)
    advance()
    scales = (1.0, 1 / math.sqrt(d_k))
    unscaled, scaled = softmax_results(
        config.seed, d_k, config.keys, config.distribution, scales=scales, advance=advance
    )
    return VarianceRow(d_k=d_k, pairs=pairs, matrix=matrix, unscaled=unscaled, scaled=scaled)


def pairs_result(config: VarianceConfig, d_k: int, advance: Callable[[], None] = lambda: None) -> ScoreResult:
    """The scores of independent pairs."""
    drawn = pair_moments(
        *(config.seed, d_k, config.pairs(d_k), config.distribution, config.correlation),
        threads=config.threads,
        advance=advance,
    )
    error = pairs_standard_error(d_k, config.pairs(d_k), config.distribution, config.correlation)
    return _score_result(config, d_k, "pairs", drawn, error)


def matrix_result(config: VarianceConfig, d_k: int) -> ScoreResult:
    """The scores of every query with every key: entries of QKᵀ share rows and columns."""
    n, m = matrix_shape(config.keys)
    drawn = matrix_moments(config.seed, d_k, config.keys, config.distribution)
    return _score_result(config, d_k, "matrix", drawn, matrix_standard_error(d_k, n, m, config.distribution))


def _score_result(
    config: VarianceConfig, d_k: int, sampling: Literal["pairs", "matrix"], drawn: Moments, standard_error: float
) -> ScoreResult:
    mean = product_mean(d_k, config.correlation)
    return ScoreResult(
        sampling=sampling,
        samples=drawn.count,
        mean=drawn.mean,
        expected_mean=mean,
        variance=drawn.mean_square(about=mean),
        standard_error=standard_error,
        expected=product_variance(d_k, config.correlation),
        kurtosis=drawn.kurtosis,
        expected_kurtosis=product_kurtosis(d_k, config.distribution, config.correlation),
    )
