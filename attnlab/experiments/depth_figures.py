"""The figures of `attnlab depth`: tokens by layer, and beneath them gradients by layer."""

import math
from collections.abc import Sequence

from attnlab.experiments.depth import DepthRecord
from attnlab.experiments.depth_report import rows_at, rows_of, variants_of
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
    """What became of the tokens in the last layer."""
    ends = [
        f"{number(rows_of(record, name)[-1].relative_residual)} {VARIANTS[name].words}"
        for name in ("attention", "block")
        if name in variants_of(record)
    ]
    said = f": what tells them apart is {', '.join(ends)}" if ends else ""
    return f"Tokens grow alike through {record.config.layers} layers{said}"


def residual_series(record: DepthRecord) -> Series:
    """‖X − x̄‖/‖X‖ by layer, a line per variant."""
    lines = [
        Line(
            label=VARIANTS[name].label,
            x=[row.layer for row in rows_of(record, name)],
            y=[row.relative_residual for row in rows_of(record, name)],
            standard_error=[row.standard_error for row in rows_of(record, name)],
        )
        for name in variants_of(record)
    ]
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
