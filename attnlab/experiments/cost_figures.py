"""The figures of `attnlab cost`: who takes the work, and the memory, as texts grow longer."""

from collections.abc import Sequence

from attnlab.experiments.cost import ITEMSIZE, CostRecord
from attnlab.experiments.cost_measured import Measured
from attnlab.records import Figure, Line, Mark, Panels, Series
from attnlab.show.numbers import number
from attnlab.theory.costs import CORE, PROJECTIONS, PartCost, part_costs

#: What the lines of the figure are made of; everything else is elementwise work.
GROUPS = {
    "attention core": CORE,
    "projections": PROJECTIONS,
    "feed-forward": ("feed_forward",),
}
#: The two matrices of N² numbers for each head.
MATRICES = ("scores", "softcap", "softmax")
#: Pieces whose names are too long for an axis.
TICKS = {
    "q, k, v projections": "q, k, v",
    "weighted values": "values",
    "attention core": "core",
    "output projection": "output",
    "norms and sums": "norms",
}
#: Tokens on the axis begin here and go by doubling, past what was asked for and past every crossover.
FEWEST, BEYOND, MOST = 64, 8, 2**40


def figures(record: CostRecord) -> list[Figure]:
    """Shares of the work and bytes against N; where a run was timed, how fast each piece went."""
    axis = lengths(record)
    shapes = record.shapes[:1] if record.alike else record.shapes
    costs = [[part for shape in shapes for part in part_costs(shape, n, hidden=record.config.hidden)] for n in axis]
    of_one = [part_costs(shapes[0], n, hidden=record.config.hidden) for n in axis]
    drawn = Panels(title=title(record), panels=[work_series(record, axis, costs), byte_series(record, axis, of_one)])
    found = [Figure(name="cost", drawable=drawn)]
    if record.measured is not None:
        found.append(Figure(name="speed", drawable=speed_series(record.measured)))
    return found


def title(record: CostRecord) -> str:
    """From where on N² rules."""
    over = record.crossover.core_over_rest or record.crossover.core_over_projections
    if over is None:
        return f"{record.config.name}: through its window attention never takes most of the work"
    of = "all the rest" if record.crossover.core_over_rest is not None else "the projections"
    return f"{record.config.name}: from {over:,} tokens on attention's N² takes more work than {of}"


def lengths(record: CostRecord) -> list[int]:
    """The numbers of tokens that the figure shows."""
    over = record.crossover
    furthest = max(record.config.n, over.core_over_projections or 0, over.core_over_rest or 0) * BEYOND
    found = [FEWEST]
    while found[-1] < min(furthest, MOST):
        found.append(2 * found[-1])
    return found


def work_series(record: CostRecord, axis: Sequence[int], costs: Sequence[Sequence[PartCost]]) -> Series:
    """The share of each group of parts in the operations of one layer."""
    count = record.config.count
    totals = [sum(part.operations(count) for part in parts) for parts in costs]
    lines = []
    for name, members in GROUPS.items():
        shares = [
            100 * sum(part.operations(count) for part in parts if part.part in members) / total
            for parts, total in zip(costs, totals, strict=True)
        ]
        lines.append(Line(label=name, x=axis, y=shares, kind="theory"))
    over = record.crossover
    places = (
        (record.config.n, "asked for"),
        (over.core_over_projections, "core = projections"),
        (over.core_over_rest, "core = the rest"),
    )
    marks = [Mark(x=float(at), label=label) for at, label in places if at is not None and FEWEST <= at <= axis[-1]]
    kept = [line for line in lines if any(line.y)]
    unit = "multiply-adds" if count == "mac" else "FLOPs"
    return Series(title="", x_axis="N, tokens", y_axis=f"% of {unit}", lines=kept, log_x=True, marks=marks)


def byte_series(record: CostRecord, axis: Sequence[int], costs: Sequence[Sequence[PartCost]]) -> Series:
    """What one layer writes, its matrices apart from the rest, in GiB."""
    size = ITEMSIZE[record.config.dtype] / 2**30
    matrices = [size * sum(part.numbers for part in parts if part.part in MATRICES) for parts in costs]
    others = [size * sum(part.numbers for part in parts if part.part not in MATRICES) for parts in costs]
    lines = [
        Line(label="scores and weights, N × N each head", x=axis, y=matrices, kind="theory"),
        Line(label="all other results", x=axis, y=others, kind="theory"),
    ]
    return Series(title="", x_axis="N, tokens", y_axis="GiB a layer", lines=lines, log_x=True, log_y=True)


def speed_series(measured: Measured) -> Series:
    """How fast each piece went beside this machine's own matrix product."""
    places = range(len(measured.parts))
    speeds = Line(
        label="counted FLOPs ÷ measured time",
        x=list(places),
        y=[part.gflops for part in measured.parts],
        standard_error=[part.gflops * part.seconds_mad / part.seconds_median for part in measured.parts],
    )
    machine = Line(
        label="this machine's own matrix product",
        x=list(places),
        y=[measured.machine_gflops] * len(measured.parts),
        kind="theory",
    )
    lost = measured.slowest
    share = 100 * lost.flops / sum(part.flops for part in measured.parts)
    time = 100 * lost.seconds_median / measured.seconds
    return Series(
        title=f"N = {measured.n:,}, {lost.name}: {number(share)} % of the FLOPs, {number(time)} % of the time",
        x_axis="",
        y_axis="GFLOP/s",
        lines=[speeds, machine],
        x_ticks=[TICKS.get(part.name, part.name) for part in measured.parts],
        log_y=True,
    )
