"""The figure of the gradient experiment: the softmax's Jacobian above, what reaches the query beneath."""

import math
from collections.abc import Sequence

import numpy as np

from attnlab.experiments.gradient import GradientRecord, Regime
from attnlab.experiments.gradient_rows import VALUE_WIDTH
from attnlab.records import Figure, Line, Mark, Panels, Quantity, Series
from attnlab.theory.gradients import claimed_exponent

#: The claimed law is drawn from the lowest number of its panel to so many times the highest.
LEAVES_AT = 2.0
#: Below this share of the largest, a number is not drawn: it would press all others into a strip.
LOWEST = 1e-6


def figures(record: GradientRecord) -> list[Figure]:
    """One figure of two panels; none for a single d_k."""
    if len(record.rows) < 2:
        return []
    panels = Panels(title=title(record), panels=[jacobian_panel(record), query_panel(record)])
    return [Figure(name="gradient", drawable=panels)]


def title(record: GradientRecord) -> str:
    """The finding."""
    peak = max(row.unscaled.query_gradient_median.value or 0.0 for row in record.rows)
    last = record.rows[-1].unscaled.query_gradient_median.value or 0.0
    if last < peak / 2:
        return "Without 1/√d_k most queries lose their gradient while the largest grow; with it, both stay"
    return "Without 1/√d_k the gradient that reaches the query grows; with it, it stays"


def jacobian_panel(record: GradientRecord) -> Series:
    """Mean tr J, scaled and unscaled, beside its exact law; and the law that is claimed."""
    name = "jacobian_trace_mean"
    widths = [row.d_k for row in record.rows]
    laws = {
        "exact, unscaled": [row.predicted_unscaled.jacobian_trace_mean for row in record.rows],
        "exact, scaled": [row.predicted_scaled.jacobian_trace_mean for row in record.rows],
    }
    theory = [Line(label=label, x=widths, y=y, kind="theory") for label, y in laws.items()]
    lines = [measured(record, name, "unscaled", scaled=False), measured(record, name, "scaled", scaled=True)]
    return Series(
        title="",
        x_axis="d_k",
        y_axis="mean tr ∂p/∂s",
        lines=[*lines, *theory, claimed(record, lines)],
        log_x=True,
        log_y=True,
        marks=[Mark(x=record.freezing_point, label="")],  # named beneath, where there is room
    )


def query_panel(record: GradientRecord) -> Series:
    """The median and the 99th percentile of ‖∂L/∂q‖, scaled and unscaled."""
    return Series(
        title="",
        x_axis="d_k",
        y_axis=f"‖∂L/∂q‖  (d_v = {VALUE_WIDTH})",
        lines=[
            measured(record, "query_gradient_p99", "99th percentile, unscaled", scaled=False),
            measured(record, "query_gradient_p99", "99th percentile, scaled", scaled=True),
            measured(record, "query_gradient_median", "median, unscaled", scaled=False),
            measured(record, "query_gradient_median", "median, scaled", scaled=True),
        ],
        log_x=True,
        log_y=True,
        marks=[Mark(x=record.freezing_point, label="2 ln n")],
    )


def measured(record: GradientRecord, name: str, label: str, *, scaled: bool) -> Line:
    """One measured number against d_k, with its standard errors."""
    regimes: list[Regime] = [row.scaled if scaled else row.unscaled for row in record.rows]
    quantities: list[Quantity] = [getattr(regime, name) for regime in regimes]
    largest = max(quantity.value or 0.0 for quantity in quantities)
    points = [
        (row.d_k, quantity.value, quantity.standard_error or 0.0)
        for row, quantity in zip(record.rows, quantities, strict=True)
        if quantity.value is not None and quantity.value > LOWEST * largest
    ]
    x, y, errors = zip(*points, strict=True)
    return Line(label=label, x=x, y=y, standard_error=errors)


def claimed(record: GradientRecord, lines: Sequence[Line]) -> Line:
    """exp‖s‖ times a constant that has it cross the panel: it does so within a fraction of the first d_k."""
    first = record.rows[0]
    lowest, highest = (end(y for line in lines for y in line.y) for end in (min, max))
    growth = np.linspace(0, math.log(LEAVES_AT * highest / lowest), 30)
    widths = np.square(claimed_exponent(first.n, first.d_k) + growth) / first.n
    return Line(label="∝ exp‖s‖, as claimed", x=widths.tolist(), y=(lowest * np.exp(growth)).tolist(), kind="claimed")
