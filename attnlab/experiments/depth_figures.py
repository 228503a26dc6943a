"""The figures of `attnlab depth`: tokens by layer, and beneath them gradients by layer."""

import math
from collections.abc import Sequence

import numpy as np

from attnlab.experiments.depth import DepthRecord, DepthRow
from attnlab.experiments.depth_report import ROUNDING, rows_at, rows_of, variants_of
from attnlab.experiments.depth_variants import VARIANTS
from attnlab.records import Figure, Line, Panels, Series
from attnlab.show.numbers import number

#: The size of the weights at which gradients vanish for want of a residual path.
HALF = 0.5
MOST_TICKS = 26


def figures(record: DepthRecord) -> list[Figure]:
    """The one figure."""
    panels = [residual_series(record), gradient_series(record, 1.0), gradient_series(record, HALF)]
    return [Figure(name="depth", drawable=Panels(title=title(record), panels=panels))]


def title(record: DepthRecord) -> str:
    """What became of the tokens: in the last layer that they were followed to."""
    ends = [told(rows_of(record, name)) for name in ("attention", "block") if name in variants_of(record)]
    said = f": what tells them apart is {', '.join(ends)}" if ends else ""
    return f"Tokens grow alike through {record.config.layers} layers{said}"


def told(rows: Sequence[DepthRow]) -> str:
    """A variant's last number that is not rounding, and where it was."""
    row = next(row for row in reversed(rows) if row.unrounded is not None or row.relative_residual >= ROUNDING)
    size = row.relative_residual if row.unrounded is None else row.unrounded
    where = "" if row is rows[-1] else f" after layer {row.layer}"
    return f"{number(size)} {VARIANTS[row.variant].words}{where}"


def residual_series(record: DepthRecord) -> Series:
    """‖X − x̄‖/‖X‖ by layer, a line per variant, as a run in float64 has it; and, where one comes there, its floor."""
    lines = [
        Line(
            label=VARIANTS[name].label,
            x=[row.layer for row in rows_of(record, name)],
            y=[row.relative_residual for row in rows_of(record, name)],
            standard_error=[row.standard_error for row in rows_of(record, name)],
        )
        for name in variants_of(record)
    ]
    if any(row.relative_residual < ROUNDING for row in record.rows):
        ends = [0.0, float(record.config.layers)]
        floor = float(np.finfo(np.float64).eps)
        lines.append(Line(label="rounding of float64", x=ends, y=[floor, floor], kind="reference"))
    return by_layer(record, "‖X − x̄‖/‖X‖", lines)


def gradient_series(record: DepthRecord, gain: float) -> Series:
    """‖∂L/∂X‖ by layer against that at the output, all weights times `gain`."""
    lines = [
        Line(
            label=VARIANTS[name].label,
            x=[row.layer for row in rows_at(record, name, gain)],
            y=[row.gradient for row in rows_at(record, name, gain)],
            standard_error=[row.standard_error for row in rows_at(record, name, gain)],
        )
        for name in variants_of(record)
    ]
    return by_layer(record, "‖∂L/∂X‖ ÷ the last" if gain == 1 else f"same, weights × {gain:g}", lines)


def by_layer(record: DepthRecord, quantity: str, lines: Sequence[Line]) -> Series:
    """Lines over the layers, of which at most MOST_TICKS are named."""
    layers = range(record.config.layers + 1)
    stride = math.ceil(len(layers) / MOST_TICKS)
    ticks = [str(layer) if layer % stride == 0 else "" for layer in layers]
    return Series(title="", x_axis="layer", y_axis=quantity, lines=lines, x_ticks=ticks, log_y=True)
