"""A block run beside its count: how long each part takes on this machine, and how far below its own speed that is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from attnlab.errors import MemoryRefused
from attnlab.experiments.cost_tasks import PIECES, SQUARE, block_tasks, square_product
from attnlab.files.kernels import in_words
from attnlab.files.stacks import float_dtype
from attnlab.maths.architecture import BlockSpec
from attnlab.maths.precision import working_dtype
from attnlab.maths.weights import parameter_count
from attnlab.measure.machine import blas_threads
from attnlab.measure.stopwatch import fastest
from attnlab.measure.timing import REFERENCE, Timing, noisy, time_interleaved
from attnlab.theory.costs import PartCost

#: Each piece is timed so often.
REPEATS = 5
#: One pass that would take longer than this, in seconds, is made with fewer tokens.
LONGEST = 2.0
#: Elementwise work takes about so many times as long as the FLOPs by convention would at the products' speed.
SLOWER = 40
#: Runs of the machine's own product, before anything else, to see what can be afforded.
TRIES = 3
#: The dense core is timed where its matrices take at most so many bytes; it keeps so many at a time.
DENSE_BYTES, MATRICES = 2**29, 4

Counted = Callable[[int], Sequence[PartCost]]


@dataclass(frozen=True, kw_only=True)
class MeasuredPart:
    """One timed piece of one block, beside what the formulas count for it."""

    name: str
    #: FLOPs by the convention, at the n that was timed
    flops: int
    seconds_median: float
    #: median distance from the median
    seconds_mad: float

    @property
    def gflops(self) -> float:
        """10⁹ FLOPs a second."""
        return self.flops / self.seconds_median / 1e9


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One block, timed piece by piece."""

    #: tokens of the run: those asked for, or as many as take a few seconds
    n: int
    #: of the attention core: "dense" or "streaming"
    kernel: str
    #: what is computed in: "float32" or "float64"
    dtype: str
    #: of the matrix products
    threads: int
    parts: Sequence[MeasuredPart]
    #: 10⁹ FLOPs a second of this machine's own product of two square matrices, the fastest of the same rounds
    machine_gflops: float
    #: each piece's time grown with its count to the tokens asked for, and added up: seconds a layer
    seconds_at_n: float
    #: what the timings themselves say of a machine too busy for them to mean much
    warning: str | None

    @property
    def seconds(self) -> float:
        """All pieces together."""
        return sum(part.seconds_median for part in self.parts)

    @property
    def slowest(self) -> MeasuredPart:
        """The piece that takes most time for its count, where it is a tenth of the time at least: else of all."""
        heavy = [part for part in self.parts if part.seconds_median >= self.seconds / 10]
        return min(heavy or self.parts, key=lambda part: part.gflops)


def steps(spec: BlockSpec) -> int:
    """How often `measure` calls `advance` at most: once for each timing of each piece, the core's three apart."""
    left_out = (not spec.output_projection) + (spec.d_ff is None)
    return REPEATS * (len(PIECES) - left_out)


def measure(
    spec: BlockSpec,
    *,
    counted: Counted,
    n: int,
    dtype: str,
    seed: int,
    max_bytes: int,
    advance: Callable[[], None] = lambda: None,
) -> Measured:
    """Time one block of this shape, weights and input drawn, on n tokens or on as many as take a few seconds.

    Args:
        counted: what the formulas count for so many tokens.
        max_bytes: of memory that may be used.
        advance: called after each timing.

    Raises:
        MemoryRefused: the weights alone take more.
    """
    kind = float_dtype(dtype)
    working = working_dtype(kind)
    tokens = affordable_tokens(spec, counted, n, working, max_bytes)
    matrices = MATRICES * spec.n_heads * tokens**2 * working.itemsize
    dense = matrices <= min(DENSE_BYTES, max_bytes // 2)
    tasks = block_tasks(spec, n=tokens, dtype=kind, seed=seed, dense=dense, max_bytes=max_bytes // 4)
    timings = time_interleaved([square_product(kind), *tasks], repeats=REPEATS, seed=seed, advance=advance)
    parts = [timed_part(task.key, timings[task.key], counted(tokens)) for task in tasks]
    return Measured(
        n=tokens,
        kernel="dense" if dense else "streaming",
        dtype=working.name,
        threads=blas_threads(),
        parts=parts,
        machine_gflops=2 * SQUARE**3 / timings[REFERENCE].minimum / 1e9,
        seconds_at_n=sum(part.seconds_median * flops_of(part.name, counted(n)) / part.flops for part in parts),
        warning=noisy(timings),
    )


def affordable_tokens(spec: BlockSpec, counted: Counted, n: int, working: np.dtype[np.generic], max_bytes: int) -> int:
    """n, halved until one pass takes at most LONGEST seconds, roughly, and what it keeps fits in half of max_bytes.

    Raises:
        MemoryRefused: it fits for no number of tokens.
    """
    work = square_product(working).prepare()
    speed = 2 * SQUARE**3 / fastest(work, TRIES)
    room = max_bytes // 2 - parameter_count(spec) * working.itemsize
    width = 10 * spec.d_model + 4 * (spec.n_heads + spec.n_kv_heads) * (spec.d_k + spec.d_v) + 4 * (spec.d_ff or 0)
    if room < width * 8:
        raise MemoryRefused(
            f"--against measured: one block's weights take {in_words(parameter_count(spec) * working.itemsize)}, and "
            f"{in_words(max_bytes)} may be used, half of it for them; give --max-memory more, or count without it"
        )
    tokens = n
    while tokens > 1 and (tokens * width * 8 > room or seconds_guess(counted(tokens), speed) > LONGEST):
        tokens //= 2
    return tokens


def seconds_guess(parts: Sequence[PartCost], speed: float) -> float:
    """How long they may take at so many FLOPs a second: products somewhat, elementwise work far below that speed."""
    products, elementwise = sum(part.multiply_adds for part in parts), sum(part.elementwise for part in parts)
    return (3 * products + SLOWER * elementwise) / speed


def timed_part(name: str, timing: Timing, parts: Sequence[PartCost]) -> MeasuredPart:
    """One piece with its time and its count."""
    return MeasuredPart(name=name, flops=flops_of(name, parts), seconds_median=timing.median, seconds_mad=timing.mad)


def flops_of(name: str, parts: Sequence[PartCost]) -> int:
    """What the formulas count for a piece, in FLOPs."""
    return sum(part.operations("flop") for part in parts if part.part in PIECES[name])
