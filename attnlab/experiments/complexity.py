"""`attnlab complexity`: time and memory of several ways to mix tokens, measured, and the order that settles.

Kernels are checked equal, then timed interleaved, then measured for memory in a pass of its own. What is left of a
budget goes to the variants whose order in time is still open.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from attnlab.errors import AttnlabError, MemoryRefused, UsageError
from attnlab.experiments.complexity_checks import equality_checks
from attnlab.experiments.complexity_fits import fitted
from attnlab.experiments.complexity_record import (
    CHEAP,
    QUANTITIES,
    ComplexityConfig,
    ComplexityRecord,
    Fit,
    Point,
    repeats_of,
)
from attnlab.experiments.complexity_saved import SavedPoints
from attnlab.experiments.complexity_variants import (
    KERNELS,
    MECHANISMS,
    Part,
    Setting,
    Variant,
    block_spec,
    full_variant,
    variant,
)
from attnlab.files.kernels import in_words
from attnlab.maths.kernels import has_numba
from attnlab.maths.mechanisms.fused import has_torch, use_threads
from attnlab.maths.plan import plan_for, thread_bytes
from attnlab.maths.shapes import shape_only
from attnlab.measure.allocator import memory_kept
from attnlab.measure.memory import available_bytes
from attnlab.measure.orders import FEWEST_REPEATS
from attnlab.measure.peak import PeakBytes, agreement, peak_bytes
from attnlab.measure.timing import (
    REFERENCE,
    Clock,
    Task,
    Timing,
    noisy,
    product_speed,
    reference_task,
    thread_clock,
    time_interleaved,
)
from attnlab.records import Check
from attnlab.theory import mechanism_costs as costs
from attnlab.theory.memory import streaming_bytes

#: A head's width: a matrix product's sizes are of 32 bits in most builds of BLAS.
WIDEST = 2**31 - 1
#: Of a point, and of everything.
MOST_REPEATS, MOST_THREADS = 10_000, 1024
#: Vectors for each token and head that the work takes at its peak, counted in outputs (measured): all in all, where
#: nothing is kept for each pair (Fourier's transform; the block's norms in float64), and besides the attention's own.
VECTORS: dict[Part, int] = {"core": 6, "block": 15}
BESIDE: dict[Part, int] = {"core": 0, "block": 4}
#: With a budget a point has at most so many times the timings that it has without one.
MOST_TIMES = 8
#: The share of a budget that is kept for the fits and the figures.
KEPT = 0.25
#: What a sample of short work takes, in seconds, its warming up and its inputs counted in.
COST_OF_A_SAMPLE = 0.012


def installed(kernel: str) -> bool:
    """Whether what a kernel needs is there: PyTorch, or numba."""
    return {"torch": has_torch, "compiled": has_numba}.get(kernel, lambda: True)()


def chosen_variants(config: ComplexityConfig) -> list[Variant]:
    """The variants to time, in the order of `MECHANISMS` and `KERNELS`; only kernels that are installed."""
    return [v for v in asked_variants(config) if installed(v.kernel)]


def asked_variants(config: ComplexityConfig) -> list[Variant]:
    """The same, installed or not: what a run on another day may have timed."""
    found = []
    for mechanism in MECHANISMS:
        if mechanism not in config.mechanisms:
            continue
        if mechanism == "full":
            found += [full_variant(k) for k in KERNELS if k in config.kernels]
        else:
            found.append(variant(mechanism, config.window))
    if config.part == "block":
        found = [v for v in found if v.in_block]
    return [v for v in found if v.uses_d] if config.sweep == "d" else found


def require_sound(config: ComplexityConfig) -> None:
    """Check the settings.

    Raises:
        UsageError: nothing to time, or too few sizes or repeats to say anything.
        MemoryRefused: a dense matrix would not fit.
    """
    counts = {"--heads": config.heads, "--window": config.window, "--threads": config.threads}
    for name, value in ({"--d": min(config.d)} | counts).items():
        if value < 1:
            raise UsageError(f"{name} {value}; expected 1 or more")
    if max(config.d) > WIDEST:
        raise UsageError(f"--d {max(config.d)}; expected at most {WIDEST:,}")
    if config.sweep == "n" and "window" in config.mechanisms and config.window > max(config.n):
        raise UsageError(f"--window {config.window}; expected at most {max(config.n):,}, the most tokens (--max-n)")
    if config.repeats < FEWEST_REPEATS:
        raise UsageError(f"--repeats {config.repeats}; expected {FEWEST_REPEATS} or more, to say how timings scatter")
    if config.repeats > MOST_REPEATS:
        raise UsageError(f"--repeats {config.repeats}; expected at most {MOST_REPEATS:,}: more say nothing new")
    if config.threads > MOST_THREADS:
        raise UsageError(f"--threads {config.threads}; expected at most {MOST_THREADS:,}: no machine has more cores")
    variants = chosen_variants(config)
    if not variants:
        what = "can stand in attention's place in a block" if config.part == "block" else "depends on the width"
        raise UsageError(f"nothing to time: none of {', '.join(config.mechanisms)} {what}")
    require_memory(config, variants)


def require_memory(config: ComplexityConfig, variants: Sequence[Variant]) -> None:
    """Refuse what would not fit.

    Raises:
        MemoryRefused: naming the amounts, and the way round a dense matrix.
    """
    needed = needed_bytes(config, variants)
    if config.max_bytes is None or needed <= config.max_bytes:
        return
    dense = any(v.kernel == "dense" for v in variants)
    streaming = needed_bytes(config, [full_variant("streaming")])
    what = "full attention's matrices" if dense else "the inputs and what is made of them"
    fits = dense and streaming <= config.max_bytes
    way = f"add --kernel streaming (needs {in_words(streaming)}), or " if fits else ""
    raise MemoryRefused(
        f"{config.settings[-1].n:,} tokens would need {in_words(needed)} for {what}, and "
        f"{in_words(config.max_bytes)} may be used; {way}take a smaller --max-n"
    )


def needed_bytes(config: ComplexityConfig, variants: Sequence[Variant]) -> int:
    """About what the hungriest of the variants takes at the largest size, its inputs included."""
    s, kernels = config.settings[-1], {v.kernel for v in variants}
    tokens, block = 4 * s.n * s.heads * s.d, config.part == "block"
    inputs = tokens + 48 * (s.heads * s.d) ** 2 if block else 3 * tokens
    beside = BESIDE[config.part] * tokens
    taken = [VECTORS[config.part] * tokens]
    if "dense" in kernels:
        taken.append(costs.dense_core_bytes(s.n, heads=s.heads, d=s.d) + beside)
    if kernels & {"streaming", "compiled"}:
        one = shape_only(block_spec(s), s.n, np.dtype(np.float32))
        plan = plan_for(one, threads=s.threads)
        working = plan.threads * thread_bytes(plan, one, steep=False, compiled="compiled" in kernels)
        taken.append(streaming_bytes(s.n, s.n, heads=s.heads, d=s.d, e=s.d, working=working) + beside)
    return inputs + max(taken)


def steps(config: ComplexityConfig, saved: SavedPoints) -> int:
    """How many times `run` calls `advance`."""
    wanted = _timings(config, chosen_variants(config))
    samples = sum(max(0, count - len(saved.seconds.get(key, ()))) for key, count in wanted.items())
    return samples + sum(key not in saved.peaks for key in wanted if key != REFERENCE)


def timings_wanted(config: ComplexityConfig) -> dict[str, int]:
    """Key -> the most timings that a run takes of it, of every variant that was asked for."""
    most = 1 if config.budget_seconds is None else MOST_TIMES
    return {key: most * count for key, count in _timings(config, asked_variants(config)).items()}


def _timings(config: ComplexityConfig, variants: Sequence[Variant]) -> dict[str, int]:
    wanted = {key_of(v, setting): repeats_of(config, v) for v in variants for setting in config.settings}
    return {**wanted, REFERENCE: config.repeats}


class Telling(NamedTuple):
    """Whom to tell how far the work is."""

    #: called after every timing and every measurement of memory
    advance: Callable[[], None] = lambda: None
    #: called with how many more of these there will be than `steps` said
    more: Callable[[int], None] = lambda count: None
    #: called with a sentence that a person should know before the end
    note: Callable[[str], None] = lambda text: None


def run(
    config: ComplexityConfig, *, saved: SavedPoints | None = None, telling: Telling | None = None
) -> ComplexityRecord:
    """Check, time, measure, fit.

    Args:
        saved: the points that an earlier run left, and where to leave this one's.

    Raises:
        UsageError, MemoryRefused: as `require_sound`.
        AttnlabError: two kernels differ; nothing was timed.
    """
    started = time.monotonic()
    require_sound(config)
    with threads(config):
        stage = Stage(config, SavedPoints() if saved is None else saved, telling or Telling(), started)
        return found(stage)


@contextmanager
def threads(config: ComplexityConfig) -> Iterator[None]:
    """Every library on so many threads, until the end of the block."""
    from threadpoolctl import threadpool_limits  # here: it loads ctypes and looks at every library of the process

    if any(v.kernel == "torch" for v in chosen_variants(config)):
        use_threads(config.threads)
    with threadpool_limits(limits=config.threads, user_api="blas"):
        yield


class Stage(NamedTuple):
    """What is measured, where it is kept, whom to tell, and when it began."""

    config: ComplexityConfig
    saved: SavedPoints
    telling: Telling
    #: by the monotonic clock
    started: float

    @property
    def left(self) -> float:
        """Seconds of the budget; none without one."""
        budget = self.config.budget_seconds
        return 0.0 if budget is None else (1 - KEPT) * budget - (time.monotonic() - self.started)

    @property
    def clock(self) -> Clock:
        """That of this thread, where it works alone."""
        return thread_clock() if self.config.threads == 1 else time.perf_counter_ns


def found(stage: Stage) -> ComplexityRecord:
    """`run`, once settings and threads are settled."""
    config = stage.config
    variants = chosen_variants(config)
    checks = equality_checks(variants, config.settings[0], config.part)
    require_equal(checks)
    with memory_kept():
        tasks = {v: [task(v, setting, config.part) for setting in config.settings] for v in variants}
        began = time.monotonic()
        timings = timed(stage, tasks)
        counted = sum(seconds_for(v, own, config, timings) for v, own in tasks.items())
        pace = max(1.0, (time.monotonic() - began) / counted)
        peaks = {v: [peak_of(stage, v, setting) for setting in config.settings] for v in variants}
        timings |= more_timings(stage, tasks, timings, pace)
    points = [
        measured(config, v, setting, timings, peak)
        for v in variants
        for setting, peak in zip(config.settings, peaks[v], strict=True)
    ]
    return ComplexityRecord(
        config=config,
        variants=variants,
        points=points,
        fits=[Fit(v, quantity, fitted(config, v, points, quantity)) for v in variants for quantity in QUANTITIES],
        checks=checks,
        matrix_product_gflops=product_speed(timings[REFERENCE]),
        noise=noisy(timings),
        memory_agreement=dense_agreement(config, points),
        outgrows=costs.matrix_outgrows(available_bytes(), heads=config.heads),
    )


def require_equal(checks: Sequence[Check]) -> None:
    """Refuse to time what is wrong.

    Raises:
        AttnlabError: naming what differs, and by how much.
    """
    wrong = [f"{c.text}: off by {c.value:.2g}, and {c.bound:.2g} is allowed" for c in checks if not c.holds]
    if wrong:
        raise AttnlabError(f"not so: {'; '.join(wrong)}; nothing was timed")


def key_of(v: Variant, setting: Setting) -> str:
    """A point's name in files."""
    return f"{v.key}/{setting.n}/{setting.d}"


def timed(stage: Stage, tasks: Mapping[Variant, Sequence[Task]]) -> dict[str, Timing]:
    """Every variant at every size, sizes and variants interleaved, and a fixed matrix product to see the drift by.

    Then the cheap ones go on alone, until they have `CHEAP` times as many timings.
    """
    config, saved = stage.config, stage.saved
    everything = [reference_task(), *(task for of_variant in tasks.values() for task in of_variant)]
    began = time.monotonic()
    first = interleaved(stage, everything, min(2, config.repeats), config.seed, saved.seconds)
    forecast = (time.monotonic() - began) / 2 * config.repeats
    if config.budget_seconds is not None and not saved.seconds and forecast > config.budget_seconds:
        stage.telling.note(
            f"{config.repeats} timings of each size will take about {forecast:.0f} s, more than the budget of "
            f"{config.budget_seconds:g} s"
        )
    timings = interleaved(stage, everything, config.repeats, config.seed + 2, longest(first, saved))
    cheap = [task for v, of_variant in tasks.items() if v.cheap for task in of_variant]
    # `timings` leaves out what an earlier run has taken beyond the first rounds.
    return timings | interleaved(stage, cheap, CHEAP * config.repeats, config.seed + 1, longest(timings, saved))


def longest(timings: Mapping[str, Timing], saved: SavedPoints) -> dict[str, Sequence[float]]:
    """The samples at hand, or those that an earlier run left where these are more."""
    return {key: max(one.samples, saved.seconds.get(key, ()), key=len) for key, one in timings.items()}


def more_timings(
    stage: Stage, tasks: Mapping[Variant, Sequence[Task]], timings: Mapping[str, Timing], pace: float
) -> dict[str, Timing]:
    """More timings of the variants whose order they may still settle, as many more each time, while the budget lasts.

    Args:
        pace: seconds of the wall's clock to each that `seconds_for` counts: others have the machine too.
    """
    config = stage.config
    found = dict(timings)
    costs_of = {v: pace * seconds_for(v, tasks[v], config, timings) for v in tasks}
    batches = dict.fromkeys(tasks, 1)
    while True:
        few = [v for v in tasks if batches[v] < MOST_TIMES and costs_of[v] < stage.left]
        still = [v for v in few if is_open(config, v, found)]
        while still and sum(costs_of[v] for v in still) > stage.left:
            still.remove(max(still, key=costs_of.__getitem__))
        if not still:
            return found
        stage.telling.more(sum(repeats_of(config, v) * len(tasks[v]) for v in still))
        for v in still:
            batches[v] += 1
            have = longest({task.key: found[task.key] for task in tasks[v]}, stage.saved)
            found |= interleaved(stage, tasks[v], batches[v] * repeats_of(config, v), config.seed + batches[v], have)


def seconds_for(v: Variant, tasks: Sequence[Task], config: ComplexityConfig, timings: Mapping[str, Timing]) -> float:
    """About how long as many more timings of a variant take as it has by default."""
    pieces = sum(max(COST_OF_A_SAMPLE, timings[task.key].median) for task in tasks)
    return pieces * repeats_of(config, v)


def is_open(config: ComplexityConfig, v: Variant, timings: Mapping[str, Timing]) -> bool:
    """Whether nothing is settled yet about a variant's time, and more timings would tell more."""
    points = [measured(config, v, setting, timings, PeakBytes(None, None, "")) for setting in config.settings]
    fit = fitted(config, v, points, "time")
    return not fit.settled and fit.sharper


def interleaved(
    stage: Stage, tasks: Sequence[Task], repeats: int, seed: int, done: Mapping[str, Sequence[float]]
) -> dict[str, Timing]:
    """Timings, each of them saved as soon as it is there."""
    return time_interleaved(
        tasks,
        repeats=repeats,
        seed=seed,
        done=done,
        on_sample=stage.saved.keep_timing,
        advance=stage.telling.advance,
        clock=stage.clock,
    )


def task(v: Variant, setting: Setting, part: Part) -> Task:
    """One variant at one size, as a thing to time."""
    return Task(key_of(v, setting), lambda: v.prepare(setting, part), v.input_bytes(setting))


def peak_of(stage: Stage, v: Variant, setting: Setting) -> PeakBytes:
    """One variant's memory at one size, in a run of its own."""
    key = key_of(v, setting)
    if key not in stage.saved.peaks:
        stage.saved.keep_peak(key, peak_bytes(v.prepare(setting, stage.config.part)))
        stage.telling.advance()
    return stage.saved.peaks[key]


def measured(
    config: ComplexityConfig, v: Variant, setting: Setting, timings: Mapping[str, Timing], peak: PeakBytes
) -> Point:
    """One variant at one size."""
    seen = peak.resident if v.kernel == "torch" else peak.traced  # what torch takes, tracemalloc does not see
    flops = v.operations(setting, config.part)
    threads = config.threads if v.table is None else 1
    return Point(v, setting, threads, timings[key_of(v, setting)], peak, seen, flops)


def dense_agreement(config: ComplexityConfig, points: Sequence[Point]) -> str | None:
    """Whether formula, tracemalloc and the system agree on dense attention's memory at the largest size."""
    dense = [point for point in points if point.variant.kernel == "dense"]
    if not dense or config.part == "block":
        return None
    setting = dense[-1].setting
    return agreement(costs.dense_core_bytes(setting.n, heads=setting.heads, d=setting.d), dense[-1].peak)
