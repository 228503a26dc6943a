"""The figures of the complexity experiment: time beside memory, the orders by formula, and how near to the machine."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from attnlab.experiments.complexity_crossovers import crossovers
from attnlab.experiments.complexity_record import ComplexityRecord, Point
from attnlab.experiments.complexity_report import ORDERS, order_in
from attnlab.experiments.complexity_variants import Variant
from attnlab.experiments.growth import FEWEST, GrowthConfig
from attnlab.experiments.growth import figure as growth_figure
from attnlab.records import Figure, Line, Mark, Panels, Series
from attnlab.show.numbers import number

#: Reference slopes start so far below the lowest point that is measured.
BELOW = 2.0
#: Variants in the order of their looks, which are the same in every panel and figure; the first `MOST` of a run are
#: drawn, and more would not be told apart.
LOOKS = (
    "full/dense",
    "full/streaming",
    "window/numpy",
    "sorted/numpy",
    "hash/numpy",
    "linear/numpy",
    "full/compiled",
    "full/query",
    "full/torch",
    "fourier/numpy",
    "argmax/numpy",
)
MOST = 6
#: A mark at the right end of the memory axis is worth having up to so many times the largest size.
NEAR = 4
MIB = 1 << 20


def figures(record: ComplexityRecord) -> list[Figure]:
    """Time and memory side by side; what the orders mean; and achieved GFLOP/s, where anything counts operations."""
    record = replace(record, variants=drawn(record))
    panels = [time_panel(record)]
    if any(point.peak_bytes for point in record.points):
        panels.append(memory_panel(record))
    found = [Figure(name="complexity", drawable=Panels(title=title(record), panels=panels, beside=True))]
    if record.config.sweep == "n" and max(record.config.n) >= FEWEST:
        settings = GrowthConfig(max_n=max(record.config.n), heads=record.config.heads, d=record.config.d[0])
        found.append(growth_figure(settings))
    if any(point.gflops is not None for point in record.points):
        found.append(Figure(name="gflops", drawable=speed(record)))
    return found


def drawn(record: ComplexityRecord) -> list[Variant]:
    """The variants that the figures show, in the order of their looks."""
    return sorted(record.variants, key=lambda v: LOOKS.index(v.key))[:MOST]


def title(record: ComplexityRecord) -> str:
    """The finding: the orders that settled; or what the largest size takes, where full attention's did not."""
    said: dict[str, list[str]] = {}
    for v in record.variants:
        order = record.fit(v, "time").order
        if order is not None:
            said.setdefault(order, []).append(v.short)
    full = [v for v in record.variants if v.mechanism == "full"]
    if not said or (full and not any(record.fit(v, "time").order for v in full)):
        return largest_in_words(record)
    return "Time: " + "; ".join(
        f"{order_in(order, record.config.sweep)} for {listed(said[order])}" for order in ORDERS if order in said
    )


def largest_in_words(record: ComplexityRecord) -> str:
    """The time of the first variant, and of the first other mechanism, at the largest size."""
    first = record.variants[0]
    other = next((v for v in record.variants if v.mechanism != first.mechanism), None)
    told = [f"{v.short} takes {number(milliseconds(record.of(v)[-1]))} ms" for v in (first, other) if v is not None]
    last = record.config.settings[-1]
    where = f"N = {last.n:,}" if record.config.sweep == "n" else f"d = {last.d:,}"
    return f"At {where} {', '.join(told)}"


def listed(names: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def axis(record: ComplexityRecord) -> str:
    """What is swept, as it is written: N or d."""
    return "N" if record.config.sweep == "n" else "d"


def time_panel(record: ComplexityRecord) -> Series:
    """Median times, with the median distance from them as error bars."""
    lines = [line(record, v, record.of(v), milliseconds, scatter) for v in record.variants]
    marks = [Mark(x=c.at, label=f"{c.variant.short} overtakes") for c in crossovers(record)]
    return Series(
        title="Time of one call (median ± MAD)",
        x_axis=axis_label(record),
        y_axis="ms",
        lines=[*lines, *references(lines)],
        log_x=True,
        log_y=True,
        marks=apart(marks),
        named_ends=True,
    )


def milliseconds(point: Point) -> float:
    """The median time."""
    return 1e3 * point.timing.median


def scatter(point: Point) -> float:
    """The median distance from the median time."""
    return 1e3 * point.timing.mad


def memory_panel(record: ComplexityRecord) -> Series:
    """Peaks beyond the inputs."""
    seen = {v: [point for point in record.of(v) if point.peak_bytes] for v in record.variants}
    lines = [
        line(record, v, points, lambda point: (point.peak_bytes or 0) / MIB) for v, points in seen.items() if points
    ]
    largest = max(x for each in lines for x in each.x)
    dense = any(v.kernel == "dense" for v in record.variants) and record.config.sweep == "n"
    near = dense and record.outgrows <= NEAR * largest
    return Series(
        title="Peak memory beyond the inputs",
        x_axis=axis_label(record),
        y_axis="MiB",
        lines=[*lines, *references(lines)],
        log_x=True,
        log_y=True,
        marks=[Mark(x=record.outgrows, label="the matrix outgrows the memory")] if near else [],
        named_ends=True,
    )


def axis_label(record: ComplexityRecord) -> str:
    """What is swept, in words."""
    return "N (tokens)" if record.config.sweep == "n" else "d (width of a head)"


def line(
    record: ComplexityRecord,
    v: Variant,
    points: Sequence[Point],
    y: Callable[[Point], float],
    error: Callable[[Point], float] | None = None,
) -> Line:
    """One variant's points."""
    return Line(
        label=v.short,
        look=LOOKS.index(v.key),
        x=[getattr(point.setting, record.config.sweep) for point in points],
        y=[y(point) for point in points],
        standard_error=[error(point) for point in points] if error else (),
    )


def references(lines: Sequence[Line]) -> list[Line]:
    """Slopes to hold the points against: from one place below them all, as steep as N, N log N and N²."""
    first, last = min(x for each in lines for x in each.x), max(x for each in lines for x in each.x)
    lowest = min(y for each in lines for y in each.y) / BELOW
    growth = last / first
    grid = [first * growth ** (i / 20) for i in range(21)]
    shapes: dict[str, Callable[[float], float]] = {
        "O(N²)": lambda n: (n / first) ** 2,
        "O(N log N)": lambda n: n * math.log(n) / (first * math.log(first)),
        "O(N)": lambda n: n / first,
    }
    return [
        Line(label=name, x=grid, y=[lowest * shape(n) for n in grid], kind="reference")
        for name, shape in shapes.items()
    ]


def apart(marks: Sequence[Mark]) -> list[Mark]:
    """The marks from left to right, without those too near to the last one to be read."""
    kept: list[Mark] = []
    for mark in sorted(marks, key=lambda mark: mark.x):
        if not kept or mark.x > 1.5 * kept[-1].x:
            kept.append(mark)
    return kept


def speed(record: ComplexityRecord) -> Series:
    """Operations per second, as counted by formula, beside the machine's own matrix product."""
    lines = [
        line(record, v, record.of(v), lambda point: point.gflops or 0.0) for v in record.variants if v.flops is not None
    ]
    x = lines[0].x
    best = max(y for each in lines for y in each.y) / record.matrix_product_gflops
    reached = f"{100 * best:.0f} % of" if best <= 1 else "more than was measured of"
    machine = Line(label="matrix product", x=[x[0], x[-1]], y=[record.matrix_product_gflops] * 2, kind="reference")
    return Series(
        title=f"The best reaches {reached} what the machine's own matrix product does",
        x_axis=axis_label(record),
        y_axis="GFLOP/s, counted by formula",
        lines=[*lines, machine],
        log_x=True,
        log_y=True,
        named_ends=True,
    )
