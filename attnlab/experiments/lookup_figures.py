"""The figures of `attnlab lookup`: hardening under its bounds, and the horizon."""

from collections.abc import Sequence

from attnlab.experiments.lookup import LookupRecord
from attnlab.experiments.lookup_report import at_mark, of_width, widths
from attnlab.experiments.lookup_table import LookupRow
from attnlab.records import Figure, Line, Mark, Panels, Series
from attnlab.show.numbers import number
from attnlab.theory.lookup import horizon, match_weights

#: Distances below this share of the first are rounding and are not drawn.
ROUNDING = 1e-14
#: Points of a predicted curve between two powers of two.
FINENESS = 2


def figures(record: LookupRecord) -> list[Figure]:
    """Both figures, hardening first."""
    return [
        Figure(name="hardening", drawable=hardening(record)),
        Figure(name="horizon", drawable=horizon_series(record)),
    ]


def hardening(record: LookupRecord) -> Panels:
    """Above the largest weight, below the distance to the hard lookup, both with what bounds them."""
    shown = [row for row in record.rows if row.distance > ROUNDING * record.rows[0].distance]
    first, last = shown[0], shown[-1]
    return Panels(
        title=f"As β grows to {number(last.beta)} the best key's weight goes from {number(first.max_weight)} to "
        f"{number(last.max_weight)}, and the output comes to {number(last.distance)} from its value",
        panels=[weight_series(shown), distance_series(shown)],
    )


def weight_series(rows: Sequence[LookupRow]) -> Series:
    """The largest weight, and 1/(1 + r) below it."""
    betas = [row.beta for row in rows]
    return Series(
        title="",
        x_axis="β (scores are β·q·k)",
        y_axis="largest weight",
        lines=[
            Line(label="at least 1/(1 + r)", x=betas, y=[row.max_weight_bound for row in rows], kind="theory"),
            Line(
                label="mean of the queries",
                x=betas,
                y=[row.max_weight for row in rows],
                standard_error=[row.max_weight_standard_error for row in rows],
            ),
        ],
        log_x=True,
    )


def distance_series(rows: Sequence[LookupRow]) -> Series:
    """The distance to the hard lookup: mean and furthest query, each with its bound above it."""
    betas = [row.beta for row in rows]
    return Series(
        title="",
        x_axis="β (scores are β·q·k)",
        y_axis="‖o − v*‖",
        lines=[
            Line(label="mean bound", x=betas, y=[row.bound for row in rows], kind="theory"),
            Line(label="the furthest's bound", x=betas, y=[row.bound_of_largest for row in rows], kind="theory"),
            Line(
                label="mean of the queries",
                x=betas,
                y=[row.distance for row in rows],
                standard_error=[row.distance_standard_error for row in rows],
            ),
            Line(label="the furthest query", x=betas, y=[row.largest_distance for row in rows]),
        ],
        log_x=True,
        log_y=True,
    )


def horizon_series(record: LookupRecord) -> Series:
    """The match's weight against N for every d_k, on the predicted curves."""
    lines, marks = [], []
    for d_k in widths(record):
        rows = of_width(record, d_k)
        lines.append(predicted_line(d_k, rows[-1].n))
        lines.append(
            Line(
                label=f"d_k = {d_k}",
                x=[row.n for row in rows],
                y=[row.weight for row in rows],
                standard_error=[row.standard_error for row in rows],
            )
        )
        if at_mark(record, d_k) is not None:
            marks.append(Mark(x=horizon(d_k), label=f"{round(horizon(d_k)):,}"))
    return Series(
        title=horizon_title(record),
        x_axis="N, other keys",
        y_axis="weight of the key equal to the query",
        lines=lines,
        marks=marks,
        log_x=True,
    )


def horizon_title(record: LookupRecord) -> str:
    """What a matching key keeps among so many others as the rule of thumb says, or at the last N."""
    marked = [row.weight for d_k in widths(record) if (row := at_mark(record, d_k)) is not None]
    where = "e^(√d_k − ½) others (marks)" if marked else f"{record.horizon[-1].n:,} others"
    kept = sorted(marked or [of_width(record, d_k)[-1].weight for d_k in widths(record)])
    least, most = f"{kept[0]:.2f}", f"{kept[-1]:.2f}"
    return f"A matching key keeps {least if least == most else f'{least} to {most}'} of the weight among {where}"


def predicted_line(d_k: int, most: int) -> Line:
    """The exact curve, between the powers of two as well."""
    sizes = sorted({round(2 ** (i / FINENESS)) for i in range(FINENESS, FINENESS * most.bit_length())} | {most})
    sizes = [n for n in sizes if 2 <= n <= most]
    weights = match_weights(d_k, sizes)
    return Line(label=f"predicted, {d_k}", x=sizes, y=weights, kind="theory", predicts=f"d_k = {d_k}")
