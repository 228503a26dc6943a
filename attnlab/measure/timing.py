"""How long tasks take, measured side by side: in rounds, each in a new order, so that a slow minute hits all alike.

A sample is the least of a few pieces, each so many calls of the work that together they last `SAMPLE_SECONDS`, in which
the loop's own 20 ns a call do not show; longer work is called once. The garbage collector is off during a piece. The
clock is the wall's, or that of the thread, which stands still while others have its core: see `thread_clock`.
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat
from typing import NamedTuple

import numpy as np

Work = Callable[[], object]
Clock = Callable[[], int]

#: The key of `reference_task`'s timings.
REFERENCE = "reference"
#: Rows and columns of its matrices.
REFERENCE_SIZE = 1024
#: The pieces of a sample take this long together, at least, and are so many.
SAMPLE_SECONDS, PIECES = 0.006, 3
#: A piece is disturbed where the wall's clock and its own part by more than this share of it: others had the core, and
#: its caches. So many more are taken while all were.
DISTURBED, RETAKES = 0.1, 3
#: A thread's clock that ticks more slowly than this, in seconds, is too coarse for a piece.
FINE = 1e-5
#: Shorter work is called once, untimed, before each sample: what ran before it has taken the caches.
COOLS_QUICKLY = 0.02
#: A median absolute deviation beyond this share of the median, in the median task, says too little: see `noisy`.
NOISY = 0.05
#: So does a reference product whose later rounds differ from its earlier ones by this share.
DRIFTING = 0.15


class Timing(NamedTuple):
    """Seconds per call."""

    samples: tuple[float, ...]
    #: calls of the work in each sample; 0: not known, since all samples are of an earlier run
    calls: int

    @property
    def minimum(self) -> float:
        """The shortest sample: what the machine can do when nothing disturbs it."""
        return min(self.samples)

    @property
    def median(self) -> float:
        """The middle sample."""
        return statistics.median(self.samples)

    @property
    def mad(self) -> float:
        """The median distance from the median."""
        middle = self.median
        return statistics.median(abs(sample - middle) for sample in self.samples)


class Task(NamedTuple):
    """Something to time."""

    key: str
    #: makes the inputs, and returns the work to time
    prepare: Callable[[], Work]
    #: bytes that the inputs take
    input_bytes: int = 0


def reference_task() -> Task:
    """A float32 matrix product of fixed size under the key `REFERENCE`: `noisy` looks at its drift."""

    def prepare() -> Work:
        matrix = np.random.default_rng(0).standard_normal((REFERENCE_SIZE, REFERENCE_SIZE), dtype=np.float32)
        product = np.empty_like(matrix)
        return lambda: np.matmul(matrix, matrix, out=product)

    return Task(REFERENCE, prepare, 2 * 4 * REFERENCE_SIZE**2)


def product_speed(reference: Timing) -> float:
    """10⁹ FLOPs a second at the fastest of `reference_task`'s timings."""
    return 2 * REFERENCE_SIZE**3 / reference.minimum / 1e9


def thread_clock() -> Clock:
    """The time that this thread has had a core, in nanoseconds; the wall's clock where that is not known finely."""
    try:
        fine = time.get_clock_info("thread_time").resolution <= FINE
    except ValueError:  # not on this system
        fine = False
    return time.thread_time_ns if fine else time.perf_counter_ns


def time_interleaved(
    tasks: Sequence[Task],
    *,
    repeats: int = 7,
    seed: int = 0,
    done: Mapping[str, Sequence[float]] | None = None,
    on_sample: Callable[[str, float, int], None] = lambda key, seconds, calls: None,
    advance: Callable[[], None] = lambda: None,
    keep_bytes: int = 256 * 2**20,
    clock: Clock = time.perf_counter_ns,
) -> dict[str, Timing]:
    """Each task's samples, taken in `repeats` rounds that visit all tasks in an order of their own.

    Args:
        seed: of the rounds' orders.
        done: key -> seconds per call, taken earlier: they are in the result and not taken again.
        on_sample: called with key, seconds per call and calls as soon as a sample is there, so that it can be kept.
        advance: called after each sample that is taken.
        keep_bytes: inputs are kept between rounds while they fit; the others are made anew each time, untimed.
        clock: nanoseconds; that of a thread is for work which this thread does alone.
    """
    taken = {task.key: list((done or {}).get(task.key, ()))[:repeats] for task in tasks}
    workshop, calls = _Workshop(keep_bytes), dict.fromkeys(taken, 0)
    order = np.random.default_rng(seed)
    for turn in range(repeats):
        for task in (tasks[i] for i in order.permutation(len(tasks))):
            if len(taken[task.key]) > turn:
                continue
            work = workshop.work(task)
            if not calls[task.key]:
                calls[task.key] = calibrated(work, clock)
            seconds = sample(work, calls[task.key], clock)
            on_sample(task.key, seconds, calls[task.key])
            taken[task.key].append(seconds)
            advance()
    return {key: Timing(tuple(samples), calls[key]) for key, samples in taken.items()}


class _Workshop:
    """Works made ready, kept while their inputs fit in a budget."""

    def __init__(self, keep_bytes: int) -> None:
        self.left = keep_bytes
        self.kept: dict[str, Work] = {}

    def work(self, task: Task) -> Work:
        if task.key in self.kept:
            return self.kept[task.key]
        work = task.prepare()
        if task.input_bytes <= self.left:
            self.left -= task.input_bytes
            self.kept[task.key] = work
        return work


def calibrated(work: Work, clock: Clock = time.perf_counter_ns) -> int:
    """The calls that make a piece long enough. The first call warms up, and settles it for work that takes long."""
    calls, long_enough = 1, SAMPLE_SECONDS / PIECES
    while True:
        seconds = elapsed(work, calls, clock)
        if seconds >= long_enough:
            break
        # Ten times at most: the first call took longer than the next will.
        calls *= min(10, max(2, round(long_enough / max(seconds, 1e-9))))
    if calls == 1 and seconds < COOLS_QUICKLY:  # a cold call may have looked long enough
        seconds = elapsed(work, 1, clock)
    return max(1, -int(-long_enough * calls // seconds))


class Piece(NamedTuple):
    """Some calls of a work, in seconds."""

    seconds: float
    #: by the wall's clock
    wall: float

    @property
    def disturbed(self) -> bool:
        """Whether something else had the core for a part of it."""
        return self.wall > (1 + DISTURBED) * self.seconds


def sample(work: Work, calls: int, clock: Clock = time.perf_counter_ns) -> float:
    """Seconds per call: the least of some undisturbed pieces, of so many calls each; short work is called once before.

    Work that takes long is called once, and its time taken as it is.
    """
    if calls > 1:
        work()
    else:
        first = piece(work, 1, clock)
        if first.seconds >= COOLS_QUICKLY:
            return first.seconds
    pieces = [piece(work, calls, clock) for _ in range(PIECES)]
    while all(one.disturbed for one in pieces) and len(pieces) < PIECES + RETAKES:
        pieces.append(piece(work, calls, clock))
    calm = [one for one in pieces if not one.disturbed] or pieces
    return min(one.seconds for one in calm) / calls


def piece(work: Work, calls: int, clock: Clock) -> Piece:
    """So many calls by that clock and, where it is a thread's, by the wall's."""
    if clock is not time.thread_time_ns:
        seconds = elapsed(work, calls, clock)
        return Piece(seconds, seconds)
    start = time.perf_counter_ns()
    seconds = elapsed(work, calls, clock)
    return Piece(seconds, (time.perf_counter_ns() - start) * 1e-9)


def elapsed(work: Work, calls: int, clock: Clock = time.perf_counter_ns) -> float:
    """Seconds that so many calls take together, without the garbage collector."""
    with collector_off():
        start = clock()
        for _ in repeat(None, calls):
            work()
        return (clock() - start) * 1e-9


@contextmanager
def collector_off() -> Iterator[None]:
    """No garbage collection until the end of the block, whatever ends it; as it was afterwards."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def noisy(timings: Mapping[str, Timing]) -> str | None:
    """A sentence when the machine was too busy for its timings to say much: they scatter, or it grew slower or faster.

    Looks at every task's scatter, and at how `REFERENCE`, where it is there, changed from earlier rounds to later ones.

    Source: the idea that a benchmark judges itself is pyperf's.
    """
    scatter = [timing.mad / timing.median for timing in timings.values() if len(timing.samples) > 2]
    if scatter and (typical := statistics.median(scatter)) > NOISY:
        return (
            f"the machine is noisy: half of the timings scatter by {typical:.0%} or more; "
            "close what else runs, or take more repeats"
        )
    reference = timings.get(REFERENCE)
    if reference is None or len(reference.samples) < 4:
        return None
    half = len(reference.samples) // 2
    early, late = (statistics.median(part) for part in (reference.samples[:half], reference.samples[-half:]))
    if abs(late / early - 1) > DRIFTING:
        way = "slower" if late > early else "faster"
        return (
            f"the machine grew {way} while it was timed: a fixed matrix product took {1e3 * early:.3g} ms at first "
            f"and {1e3 * late:.3g} ms in the end; let it come to rest, and run again"
        )
    return None
