"""Figures of named numbers: a line each, what was measured as a point, what was predicted as a stroke."""

from typing import TYPE_CHECKING

from attnlab import records
from attnlab.show import palette
from attnlab.show.canvas import drawable, new_figure
from attnlab.show.numbers import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Inches of a line, and of all that is no line.
_LINE, _REST = 0.28, 1.5
_MARK = "#888888"
#: Where a logarithmic axis may have numbers.
_TICKS = [digit * 10.0**power for power in range(-12, 13) for digit in (1, 3)]


def dot_figure(dots: records.Dots) -> "Figure":
    """The names down the left, the first on top."""
    figure = new_figure(dots.title, _LINE * len(dots.names) + _REST)
    axes = figure.add_subplot()
    lines = range(len(dots.names))
    drawn = [*(one.value or 0.0 for one in dots.measured), *dots.predicted, dots.mark.x]
    low, high = min(drawn), max(drawn)
    if dots.log_x:
        axes.set_xscale("log")
        axes.set_xticks([x for x in _TICKS if low / 1.5 < x < high * 1.5])
        axes.xaxis.set_major_formatter(lambda x, _: number(x))
        axes.xaxis.set_minor_formatter("")
    if dots.predicted:
        strokes = axes.plot(dots.predicted, lines, "|", color=palette.THEORY, label="predicted")
        strokes[0].set(markersize=13, markeredgewidth=2)
    axes.errorbar(
        [one.value or 0.0 for one in dots.measured],
        lines,
        xerr=[one.standard_error or 0.0 for one in dots.measured],
        fmt="o",
        markersize=4,
        capsize=2,
        color=palette.MEASURED[0],
        label="measured",
    )
    axes.axvline(dots.mark.x, color=_MARK, linewidth=0.8, linestyle=":", label=drawable(dots.mark.label))
    axes.set_yticks(lines, [drawable(name) for name in dots.names])
    axes.set_ylim(len(dots.names) - 0.5, -0.5)
    axes.set_xlabel(drawable(dots.quantity))
    axes.grid(axis="y", linewidth=0.3)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return figure
