"""The orders of time and memory, from the sizes and timings that can say something about them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from attnlab.experiments.complexity_record import ComplexityConfig, Point, Quantity
from attnlab.experiments.complexity_sizes import WINDOWS, octaves
from attnlab.experiments.complexity_variants import Variant
from attnlab.maths.plan import HEIGHT
from attnlab.measure.orders import FEWEST_SIZES, LATE_START, OrderFit, fit_order


def fitted(config: ComplexityConfig, v: Variant, points: Sequence[Point], quantity: Quantity) -> OrderFit:
    """The order of a variant's time or memory in what is swept; a window's from four windows on.

    Memory is taken at the halvings of the largest size where those are enough: a table grows by doubling, and is as
    large between two of them as at the next. Where that settles nothing it is taken at all sizes, and then at the last
    six: buffers of a fixed size, which the smaller ones do not fill, hide the rest. Streaming's panels are as tall and
    as wide as N until they have their full height, and so look like N²: its memory is taken from there on.
    """
    fit = fitted_in_letters(config, v, points, quantity)
    return fit if config.sweep == "n" else replace(fit, reason=fit.reason.replace("N", "d"))


def fitted_in_letters(config: ComplexityConfig, v: Variant, points: Sequence[Point], quantity: Quantity) -> OrderFit:
    """The same, with N for what is swept in its reason, whichever that is."""
    start, why = 0, ""
    if v.mechanism == "window" and config.sweep == "n":
        start, why = WINDOWS * config.window, "four windows"
    elif v.kernel in ("streaming", "compiled") and quantity == "memory" and config.sweep == "n":
        start, why = HEIGHT, "full panels"
    seen: dict[int, Sequence[float]] = {}
    for point in points:
        size = getattr(point.setting, config.sweep)
        if point.variant == v and size >= start:
            if quantity == "time":
                seen[size] = point.timing.samples
            elif point.peak_bytes:
                seen[size] = (float(point.peak_bytes),)
    if len(seen) < FEWEST_SIZES:
        return unseen(list(seen), start, why)
    if quantity == "time":
        samples = [least(timings, config.repeats) for timings in seen.values()]
        # N·w − w(w−1)/2 from N = 4w on: the constant is −1/7 of the first.
        late = 1 / (2 * WINDOWS - 1) if start and v.mechanism == "window" else LATE_START
        return fit_order(list(seen), samples, seed=config.seed, late_start=late)
    return settled_memory(seen, config.seed)


def least(samples: Sequence[float], groups: int) -> list[float]:
    """The least of each of so many groups of successive timings: whatever else a machine does only adds time."""
    size = len(samples) // groups
    return [min(samples[i * size : (i + 1) * size]) for i in range(groups)]


def settled_memory(seen: Mapping[int, Sequence[float]], seed: int) -> OrderFit:
    """The order of memory in size, from the first choice of sizes that settles it: see `fitted`."""
    everything = list(seen)
    choices = [chosen for chosen in (octaves(everything), everything) if len(chosen) >= FEWEST_SIZES]
    for chosen in [*choices, everything[-FEWEST_SIZES:]]:
        fit = fit_order(chosen, [seen[size] for size in chosen], seed=seed)
        if fit.settled:
            break
    return fit


def unseen(seen: Sequence[int], start: int, why: str) -> OrderFit:
    """No fit: too few sizes from `start` on, which is where it is because of `why`."""
    where = f" from N = {start:,} ({why}) on" if start else ", at which it can be seen"
    window = (seen[0], seen[-1]) if seen else (0, 0)
    return OrderFit(
        order=None,
        settled=False,
        reason=f"not settled: {len(seen)} of the {FEWEST_SIZES} sizes that it takes{where}",
        coefficients={},
        local_slope=float("nan"),
        slope_interval=(float("nan"), float("nan")),
        window=window,
    )
