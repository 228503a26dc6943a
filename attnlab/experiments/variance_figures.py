"""The figure of `attnlab variance`: the scores' variance against d_k, and beneath it what that does to the softmax."""

import math
from collections.abc import Sequence

import numpy as np

from attnlab.experiments.variance import VarianceRecord
from attnlab.experiments.variance_report import AGREES
from attnlab.experiments.variance_slide import slide
from attnlab.experiments.variance_softmax import SoftmaxResult
from attnlab.records import Figure, Line, Mark, Panels, Series
from attnlab.show.numbers import number
from attnlab.theory.products import product_variance
from attnlab.theory.random_energy import attention_law, freezing_deviation

#: Widths per doubling of d_k at which theory is drawn.
_PER_DOUBLING = 3


def figures(record: VarianceRecord) -> list[Figure]:
    """One figure: of a sweep variance and entropy against d_k, of a single width its distribution and its softmax."""
    if len(record.rows) < 2:
        return [slide(record)]
    widths = theory_widths(record)
    panels = [variance_panel(record, widths)]
    sides = [(row.d_k, row.unscaled, row.scaled) for row in record.rows if row.unscaled and row.scaled]
    if sides:
        panels.append(entropy_panel(record, widths))
    return [Figure(name="variance", drawable=Panels(title=title(record), panels=panels))]


def title(record: VarianceRecord) -> str:
    """The finding in words."""
    square = 1 + record.config.correlation**2
    law = "d_k" if square == 1 else f"{number(square)} d_k"
    if any(abs(row.pairs.z or 0.0) > AGREES for row in record.rows):
        return f"Var(q·k) is not {law}: a point is more than {AGREES:g} standard errors off"
    point = freezing_deviation(record.config.keys) ** 2
    if any(row.unscaled and row.d_k > point for row in record.rows):
        return "Unscaled, Var(q·k) is d_k and the softmax freezes; divided by √d_k it is 1 and does not"
    return f"Var(q·k) is {law}; divided by √d_k it is {number(square)}"


def theory_widths(record: VarianceRecord) -> list[int]:
    """Whole widths, evenly spread on a logarithmic axis, over all that was measured."""
    measured = [row.d_k for row in record.rows]
    low, high = measured[0], measured[-1]
    count = math.ceil(_PER_DOUBLING * math.log2(high / low)) + 1
    spread = np.rint(np.geomspace(low, high, count)).astype(int).tolist()
    return sorted({*spread, *measured})


def variance_panel(record: VarianceRecord, widths: Sequence[int]) -> Series:
    """Unscaled on the line d_k, scaled on the line 1."""
    rows, rho = record.rows, record.config.correlation
    x = [float(row.d_k) for row in rows]
    errors = [row.pairs.standard_error for row in rows]
    law = [product_variance(d_k, rho) for d_k in widths]
    factor = "" if not rho else f" × {1 + rho**2:g}"
    return Series(
        title="",
        x_axis="d_k",
        y_axis="variance of the scores",
        lines=[
            Line(label=f"theory: d_k{factor}", x=list(widths), y=law, kind="theory", predicts="q·k"),
            Line(
                label=f"theory, scaled: {1 + rho**2:g}",
                predicts="q·k / √d_k",
                x=list(widths),
                y=[value / d_k for value, d_k in zip(law, widths, strict=True)],
                kind="theory",
            ),
            Line(label="q·k", x=x, y=[row.pairs.variance for row in rows], standard_error=errors),
            Line(
                label="q·k / √d_k",
                x=x,
                y=[row.pairs.variance / row.d_k for row in rows],
                standard_error=[error / row.d_k for error, row in zip(errors, rows, strict=True)],
            ),
        ],
        log_x=True,
        log_y=True,
        marks=[Mark(x=mark.x, label=f"freezes: {mark.label}") for mark in freezing_mark(record, widths)],
    )


def entropy_panel(record: VarianceRecord, widths: Sequence[int]) -> Series:
    """The softmax's entropy, on the exact law where entries are normal."""
    keys = record.config.keys
    lines = []
    if record.config.distribution == "normal":
        unscaled = [attention_law(keys, d_k, 1.0).entropy for d_k in widths]
        scaled = [attention_law(keys, d_k, 1 / math.sqrt(d_k)).entropy for d_k in widths]
        lines += [
            Line(label="exact law", x=list(widths), y=unscaled, kind="theory", predicts="unscaled"),
            Line(label="exact law, scaled", x=list(widths), y=scaled, kind="theory", predicts="scaled"),
        ]
    lines.append(Line(label="most possible, ln N", x=list(widths), y=[math.log(keys)] * len(widths), kind="theory"))
    rows = record.rows
    lines += [
        entropy_line("unscaled", [(row.d_k, row.unscaled) for row in rows]),
        entropy_line("scaled", [(row.d_k, row.scaled) for row in rows]),
    ]
    return Series(
        title="",
        x_axis="d_k",
        y_axis=f"entropy [nat], {keys:,} keys",
        lines=lines,
        log_x=True,
        marks=[Mark(x=mark.x, label="") for mark in freezing_mark(record, widths)],
    )


def freezing_mark(record: VarianceRecord, widths: Sequence[int]) -> list[Mark]:
    """Where the softmax freezes, if that is in the figure and there is a softmax."""
    point = freezing_deviation(record.config.keys) ** 2
    inside = widths[0] <= point <= widths[-1] and not record.config.correlation
    return [Mark(x=point, label=f"2 ln N = {point:.1f}")] if inside else []


def entropy_line(label: str, sides: Sequence[tuple[int, SoftmaxResult | None]]) -> Line:
    """One scale's entropies."""
    found = [(d_k, side.entropy) for d_k, side in sides if side is not None]
    return Line(
        label=label,
        x=[d_k for d_k, _ in found],
        y=[entropy.value or 0.0 for _, entropy in found],
        standard_error=[entropy.standard_error or 0.0 for _, entropy in found],
    )
