"""What `attnlab complexity` is asked, and what it finds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from attnlab.experiments.complexity_variants import DEFAULT_KERNELS, DEFAULT_MECHANISMS, Part, Setting, Variant
from attnlab.measure.orders import FEWEST_REPEATS, OrderFit
from attnlab.measure.peak import PeakBytes
from attnlab.measure.timing import Timing
from attnlab.records import Check

#: Mechanisms that cost little are timed so many times as often: N and N log N lie close together.
CHEAP = 3

Sweep = Literal["n", "d"]
SWEEPS: tuple[Sweep, ...] = get_args(Sweep)
Quantity = Literal["time", "memory"]
QUANTITIES: tuple[Quantity, ...] = ("time", "memory")


@dataclass(frozen=True, kw_only=True)
class ComplexityConfig:
    """What to time. One of n and d is swept, the other has one value."""

    mechanisms: tuple[str, ...] = DEFAULT_MECHANISMS
    kernels: tuple[str, ...] = DEFAULT_KERNELS
    part: Part = "core"
    sweep: Sweep = "n"
    n: tuple[int, ...]
    d: tuple[int, ...] = (64,)
    heads: int = 1
    window: int = 64
    repeats: int = FEWEST_REPEATS
    seed: int = 0
    #: one by default: several wait for each other where the machine has something else to do, and hide the order
    threads: int = 1
    max_bytes: int | None = None
    #: wall time for all of it, spent where an order is open once each point has its repeats; None: no more than those
    budget_seconds: float | None = None

    @property
    def settings(self) -> list[Setting]:
        """The sizes, rising."""
        return [Setting(n, d, self.heads, self.window, self.seed, self.threads) for n in self.n for d in self.d]


class Point(NamedTuple):
    """One variant at one size."""

    variant: Variant
    setting: Setting
    threads: int
    timing: Timing
    peak: PeakBytes
    #: bytes at the peak, as counted by tracemalloc, or where that sees nothing by the system; None: unseen
    peak_bytes: int | None
    #: operations by formula; None: a table has none
    flops: int | None

    @property
    def gflops(self) -> float | None:
        """10⁹ operations per second, at the median time."""
        return None if self.flops is None else self.flops / self.timing.median / 1e9


class Fit(NamedTuple):
    """How one variant's time or memory grows."""

    variant: Variant
    quantity: Quantity
    fit: OrderFit


@dataclass(frozen=True, kw_only=True)
class ComplexityRecord:
    """All that the experiment found."""

    config: ComplexityConfig
    variants: Sequence[Variant]
    points: Sequence[Point]
    fits: Sequence[Fit]
    checks: Sequence[Check]
    #: GFLOP/s of the machine's own float32 matrix product
    matrix_product_gflops: float
    #: why the timings are not to be trusted; None: they are
    noise: str | None
    #: what dense attention's matrices take by formula, and whether the measured peaks agree; None: it was not timed
    memory_agreement: str | None
    #: the N from which dense attention's scores and weights no longer fit in what the machine has free
    outgrows: int

    def of(self, variant: Variant) -> list[Point]:
        """A variant's points, rising."""
        return [point for point in self.points if point.variant == variant]

    def fit(self, variant: Variant, quantity: Quantity) -> OrderFit:
        """A variant's fit."""
        return next(fit.fit for fit in self.fits if fit.variant == variant and fit.quantity == quantity)


def repeats_of(config: ComplexityConfig, v: Variant) -> int:
    """How often each of a variant's sizes is timed."""
    return config.repeats * (CHEAP if v.cheap else 1)
