"""Figures of the same two pictures side by side: how numbers are distributed, and what a softmax makes of some."""

from typing import TYPE_CHECKING

from attnlab import records
from attnlab.show import palette
from attnlab.show.canvas import drawable, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Inches of a row.
_ROW = 2.5
#: The share of its height that is left above what is drawn, for the legend.
_ABOVE = 0.3


def side_by_side(pictures: records.SideBySide) -> "Figure":
    """Histograms in the first row, bars in the second, a column for each."""
    rows = [pictures.above, *([pictures.below] if pictures.below else [])]
    figure = new_figure(pictures.title, _ROW * len(rows) + 0.4)
    places = figure.subplots(len(rows), len(pictures.above), squeeze=False, sharex="row")
    for axes, histogram in zip(places[0], pictures.above, strict=True):
        draw_histogram(axes, histogram)
        axes.set_title(drawable(histogram.title), loc="left")
        axes.set_ylabel(drawable("density") if histogram is pictures.above[0] else "")
    highest = max((float(bars.heights.max(initial=0.0)) for bars in pictures.below), default=0.0)
    for axes, bars in zip(places[-1], pictures.below, strict=False):
        _draw_bars(axes, bars)
        axes.set_ylim(0, highest * (1 + _ABOVE) or 1.0)
        axes.set_ylabel(drawable(bars.y_axis) if bars is pictures.below[0] else "")
    return figure


def draw_histogram(axes: "Axes", histogram: records.Histogram) -> None:
    """Bars of what was measured, the line that theory predicts over them."""
    axes.stairs(histogram.density, histogram.edges, fill=True, color=palette.MEASURED[0], alpha=0.7, label="measured")
    if histogram.theory_x.size:
        label = drawable(histogram.theory_label) or "theory"
        axes.plot(histogram.theory_x, histogram.theory_density, color=palette.THEORY, linewidth=1, label=label)
        axes.legend(loc="upper right", handlelength=1.2)
    axes.set_ylim(0, axes.get_ylim()[1] * (1 + _ABOVE))
    axes.set(xlabel=drawable(histogram.quantity), ylabel="density")


def _draw_bars(axes: "Axes", bars: records.Bars) -> None:
    axes.bar(range(len(bars.heights)), bars.heights, width=1.0, color=palette.MEASURED[0])
    axes.axhline(bars.even, color=palette.THEORY, linewidth=1, linestyle="--", label="if all were alike")
    axes.set_title(drawable(bars.title), loc="left")
    axes.set_xlabel(drawable(bars.x_axis))
    axes.legend(loc="upper right", handlelength=1.6)
