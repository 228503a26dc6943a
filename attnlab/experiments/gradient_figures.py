"""The figure of the gradient experiment: the gradient's magnitude with and without 1/√d_k, and what most rows get."""

import math
from collections.abc import Sequence

import numpy as np

from attnlab.experiments.gradient import GradientRecord, Regime
from attnlab.experiments.gradient_report import said
from attnlab.experiments.gradient_rows import VALUE_WIDTH
from attnlab.records import Figure, Line, Mark, Panels, Quantity, Series
from attnlab.theory.gradients import claimed_exponent

#: The claimed law is drawn from the first point that is measured to so many times the highest.
LEAVES_AT = 2.0
#: Below this share of the largest, a number is not drawn: it would press all others into a strip.
LOWEST = 1e-6


def figures(record: GradientRecord) -> list[Figure]:
    """One figure of two panels; none for a single d_k."""
    if len(record.rows) < 2:
        return []
    panels = Panels(title=title(record), panels=[magnitude_panel(record), rows_panel(record)])
    return [Figure(name="gradient", drawable=panels)]


def title(record: GradientRecord) -> str:
    """The finding in numbers: where median and 99th percentile of the gradient end, without the factor and with it."""
    last = record.rows[-1]
    ends = [
        f"{said(regime, 'query_gradient_median')} and {said(regime, 'query_gradient_p99')}"
        for regime in (last.unscaled, last.scaled)
    ]
    return (
        f"At d_k {last.d_k:,} the gradient's median and 99th percentile are {ends[0]} without 1/√d_k, {ends[1]} with it"
    )


def magnitude_panel(record: GradientRecord) -> Series:
    """The root mean square of ‖∂L/∂q‖ with and without 1/√d_k, joined, and the law that is claimed for the latter."""
    name = "query_gradient_rms"
    lines = [
        measured(record, name, "without 1/√d_k", scaled=False),
        measured(record, name, "with 1/√d_k", scaled=True),
    ]
    return Series(
        title="The gradient's magnitude, over all rows (root mean square)",
        x_axis="d_k",
        y_axis="‖∂L/∂q‖",
        lines=[*lines, claimed(record, lines)],
        log_x=True,
        log_y=True,
        marks=[Mark(x=record.freezing_point, label="")],  # named beneath, where there is room
        joined=True,
    )


def rows_panel(record: GradientRecord) -> Series:
    """The median and the 99th percentile of ‖∂L/∂q‖, with and without 1/√d_k."""
    return Series(
        title="What is left for most rows: the median, beside the 99th percentile",
        x_axis="d_k, the width of queries and keys",
        y_axis=f"‖∂L/∂q‖  (d_v = {VALUE_WIDTH})",
        lines=[
            measured(record, "query_gradient_p99", "99th percentile, without", scaled=False),
            measured(record, "query_gradient_p99", "99th percentile, with 1/√d_k", scaled=True),
            measured(record, "query_gradient_median", "median, without", scaled=False),
            measured(record, "query_gradient_median", "median, with 1/√d_k", scaled=True),
        ],
        log_x=True,
        log_y=True,
        marks=[Mark(x=record.freezing_point, label="2 ln n")],
        joined=True,
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
    """exp‖s‖ from the first point measured without the factor on: off the page within a fraction of the next d_k."""
    first, without = record.rows[0], lines[0]
    highest = max(y for line in lines for y in line.y)
    growth = np.linspace(0, max(math.log(LEAVES_AT * highest / without.y[0]), 1.0), 30)
    widths = np.square(claimed_exponent(first.n, first.d_k) + growth) / first.n
    heights = without.y[0] * np.exp(growth)
    return Line(label="as claimed: leaves the page", x=widths.tolist(), y=heights.tolist(), kind="claimed")
