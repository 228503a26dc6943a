"""Figures of points and lines: what was measured as points with error bars, theory as thin lines of one colour."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attnlab import records
from attnlab.show import palette
from attnlab.show.canvas import TITLE_COLUMNS, drawable, new_figure
from attnlab.show.line_names import NamedEnd, name_ends
from attnlab.show.numbers import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Inches of one panel alone, of one of several, and of those side by side.
_ALONE, _STACKED, _BESIDE = 3.8, 2.7, 4.2
#: Ticks on a logarithmic axis lie at the points, and as far apart as the longest label needs: an axis holds so many
#: characters.
_AXIS_CHARACTERS = 68
#: So many ticks are enough of an axis.
_FEWEST_TICKS = 4
#: Points of a legend's line.
_LEGEND_ROW = 14
#: A logarithmic axis whose ends are less than this factor apart has numbers between the powers of ten.
_SHORT_AXIS = 20
#: Room above and below what is measured and predicted, as a share of its height; a claim may leave the frame.
_MARGIN = 0.06

#: Two more than there are colours, so that a sixth line differs from the first.
_MARKERS = "os^DvPX"
_KINDS = ("theory", "claimed", "reference", "measured")
_THEORY_STYLES = ("-", "--", ":", "-.")
#: As matplotlib takes them. The first is solid: most figures have one.
_REFERENCE_STYLES: tuple[Any, ...] = ("-", (0, (5, 2, 1, 2)), (0, (1, 1.5)))
_CLAIMED = "#888888"


def line_figure(series: records.Series) -> "Figure":
    """A figure of one series."""
    figure = new_figure(series.title, _ALONE)
    _draw(figure.add_subplot(), series)
    return figure


def panel_figure(panels: records.Panels) -> "Figure":
    """A figure of several series, one below the other over one x axis, or side by side; each under its own title."""
    if panels.beside:
        return _beside(panels)
    count = len(panels.panels)
    figure = new_figure(panels.title, _STACKED * count + 0.6)
    for axes, series in zip(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0], panels.panels, strict=True):
        _draw(axes, series)
        axes.set_title(drawable(series.title), loc="left", pad=6 + _LEGEND_ROW * _legend_rows(series))
        if series is not panels.panels[-1]:
            axes.set_xlabel("")
    return figure


def _beside(panels: records.Panels) -> "Figure":
    figure = new_figure(panels.title, _BESIDE)
    for axes, series in zip(figure.subplots(1, len(panels.panels), squeeze=False)[0], panels.panels, strict=True):
        _draw(axes, series, characters=_AXIS_CHARACTERS // (2 * len(panels.panels)), height=_BESIDE)
        axes.set_title(drawable(series.title), loc="left")
    return figure


def _draw(axes: "Axes", series: records.Series, *, characters: int = _AXIS_CHARACTERS, height: float = _ALONE) -> None:
    axes.set(xlabel=drawable(series.x_axis), ylabel=drawable(series.y_axis))
    of_kind = {kind: [line for line in series.lines if line.kind == kind] for kind in _KINDS}
    ends = []
    entries: dict[str, list[Any]] = {}
    for line, dashes in zip(of_kind["theory"], itertools.cycle(_THEORY_STYLES)):
        drawn = axes.plot(line.x, line.y, color=palette.THEORY, linestyle=dashes, linewidth=1, label=line.label)
        entries[line.predicts or line.label] = drawn
    for line in of_kind["claimed"]:
        entries[line.label] = axes.plot(
            line.x, line.y, color=_CLAIMED, linestyle=(0, (6, 4)), linewidth=1, label=line.label
        )
    for place, line in enumerate(of_kind["measured"]):
        look = place if line.look is None else line.look
        colour, marker = palette.MEASURED[look % len(palette.MEASURED)], _MARKERS[look % len(_MARKERS)]
        if series.x_ticks or series.named_ends or series.joined:
            axes.plot(line.x, line.y, color=colour, linewidth=0.8, alpha=0.5)
        entries[line.label] = [*entries.get(line.label, ()), _measured(axes, line, colour, marker)]
        ends.append(NamedEnd(line.x[-1], line.y[-1], line.label, colour))
    for line, style in zip(of_kind["reference"], itertools.cycle(_REFERENCE_STYLES)):
        entries[line.label] = axes.plot(
            line.x, line.y, color=_CLAIMED, linestyle=style, linewidth=0.8, label=line.label
        )
        ends.append(NamedEnd(line.x[-1], line.y[-1], line.label, _CLAIMED))
    _scale_axes(axes, series, characters)
    if of_kind["claimed"]:
        _frame(axes, [*of_kind["theory"], *of_kind["measured"]], log=series.log_y)
    for mark in series.marks:
        _mark(axes, mark)
    if series.named_ends:
        name_ends(axes, ends, height)
    elif len(series.lines) > 1:
        legend(axes, {_entry(series, label): artists for label, artists in entries.items()})


def _entry(series: records.Series, label: str) -> str:
    """What a legend says of a line, or of measured points and the line that predicts them."""
    return f"{label} (line: theory)" if any(line.predicts == label for line in series.lines) else label


def _measured(axes: "Axes", line: records.Line, colour: str, marker: str) -> Any:
    return axes.errorbar(
        line.x,
        line.y,
        yerr=line.standard_error if len(line.standard_error) else None,
        fmt=marker,
        markersize=4,
        capsize=2,
        elinewidth=1,
        color=colour,
        label=line.label,
    )


def _scale_axes(axes: "Axes", series: records.Series, characters: int) -> None:
    steps = sorted({x for line in series.lines for x in line.x})
    measured = {x for line in series.lines for x in line.x if line.kind != "theory" and x > 0}
    points = sorted(measured) or [x for x in steps if x > 0]  # theory alone has its own
    heights = [y for line in series.lines for y in line.y if 0 < y < math.inf]
    if series.log_y and heights:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(_tick)
        # Powers of ten alone would leave a short axis without numbers.
        axes.yaxis.set_minor_formatter(_tick if max(heights) < _SHORT_AXIS * min(heights) else "")
    if series.log_x and points:
        axes.set_xscale("log")
        ticks = _spread(points, characters)
        axes.set_xticks(ticks, [number(x) for x in ticks])
        axes.set_xticks([], minor=True)
    if series.x_ticks:
        axes.set_xticks(steps, [drawable(name) for name in series.x_ticks])


def _tick(value: float, _position: float) -> str:
    return f"{value:,g}"


def _spread(points: Sequence[float], characters: int) -> list[float]:
    """Those of the rising points that leave room for a label each on a logarithmic axis that holds `characters`.

    They are halvings of the last where these are enough: numbers that a reader expects.
    """
    halvings = [point for point in points if math.log2(points[-1] / point).is_integer()]
    points = halvings if len(halvings) >= _FEWEST_TICKS else points
    longest = max(len(number(point)) for point in points)
    gap = (longest + 1) / characters * math.log(points[-1] / points[0])
    chosen = [points[0]]
    for point in points[1:]:
        if math.log(point / chosen[-1]) >= gap:
            chosen.append(point)
    return chosen


def legend(axes: "Axes", entries: Mapping[str, Sequence[Any]]) -> None:
    """Between the title and the axes, where it can hide no point; what shares an entry is drawn one over the other.

    Args:
        entries: what each says -> its artists; those that begin with _ are left out.
    """
    from matplotlib.legend_handler import HandlerTuple

    shown = {label: tuple(artists) for label, artists in entries.items() if not label.startswith("_")}
    if shown:
        axes.legend(
            list(shown.values()),
            list(map(drawable, shown)),
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=_legend_columns(list(shown)),
            handler_map={tuple: HandlerTuple(ndivide=1)},
        )


def _legend_columns(labels: Sequence[str]) -> int:
    return max(1, TITLE_COLUMNS // (max(map(len, labels)) + 8))


def _legend_rows(series: records.Series) -> int:
    """The lines that a panel's legend takes; its title stands above them."""
    lines = [line for line in series.lines if not line.predicts and not line.label.startswith("_")]
    labels = [_entry(series, line.label) for line in lines]
    return 0 if len(labels) < 2 or series.named_ends else -(-len(labels) // _legend_columns(labels))


def _frame(axes: "Axes", lines: Sequence[records.Line], *, log: bool) -> None:
    """Limit the y axis to these lines."""
    heights = [y for line in lines for y in line.y if math.isfinite(y) and (y > 0 or not log)]
    if not heights:
        return
    low, high = (math.log(min(heights)), math.log(max(heights))) if log else (min(heights), max(heights))
    room = _MARGIN * (high - low or 1)
    ends = low - room, high + room
    axes.set_ylim(*(map(math.exp, ends) if log else ends))


def _mark(axes: "Axes", mark: records.Mark) -> None:
    axes.axvline(mark.x, color=_CLAIMED, linewidth=0.8, linestyle=":")
    place = axes.get_xaxis_transform()
    axes.text(mark.x, 0.97, drawable(mark.label) + " ", transform=place, rotation=90, ha="right", va="top", fontsize=8)
