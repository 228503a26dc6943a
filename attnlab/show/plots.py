"""Figures: records in, matplotlib artists and bytes out. The same record gives the same bytes."""

import itertools
import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, assert_never

import numpy as np

from attnlab import records
from attnlab.show import palette
from attnlab.show.canvas import TITLE_COLUMNS, drawable, new_figure, saved, style
from attnlab.show.encoding import shortened, token_label
from attnlab.show.heatmap import area_averages
from attnlab.show.numbers import number, weight

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

#: Of a heat map: the width left between labels and colour bar, and the height to stop at, in inches.
_SIDE, _TALLEST = 4.9, 8.0
#: Characters of a label.
_COLUMNS_AN_INCH = 13
#: Cells carry their numbers up to this many rows or columns, and axes their tokens up to this many.
_MOST_NUMBERS, _MOST_TOKENS = 14, 36
_TOKEN_COLUMNS = 12
#: More rows or columns than these are averaged before they are drawn: a figure has no more pixels to give them.
_MOST_CELLS = 1024
#: So many times longer than wide, a heat map is a strip, and its cells are not square.
_STRIP = 4
#: One layer's heads go on so many to a line; wider sheets label their columns by number alone.
_HEADS_A_LINE = 8
#: In a sheet, a panel's share of its square, and the height of a square that holds the panel's label too.
_PANEL, _LABELLED_PITCH = 0.92, 1.25
#: Ticks on a logarithmic axis lie at the points, and at least this share of the axis apart.
_TICK_GAP = 0.06
#: A logarithmic axis whose ends are less than this factor apart has numbers between the powers of ten.
_SHORT_AXIS = 20

#: Two more than there are colours, so that a sixth line differs from the first.
_MARKERS = "os^DvPX"
_THEORY_STYLES = ("-", "--", ":", "-.")


def draw(figure: records.Figure) -> "Figure":
    """The figure of a record, its axes, titles and legend in place."""
    with style():
        match figure.drawable:
            case records.Grid() as grid:
                return _heat_map(grid)
            case records.GridSheet() as sheet:
                return _contact_sheet(sheet)
            case records.Histogram() as histogram:
                return _bars(histogram)
            case records.Series() as series:
                return _points(series)
            case unknown:
                assert_never(unknown)


def figure_bytes(figure: records.Figure, format: Literal["png", "svg"]) -> bytes:
    """The figure as a file's bytes: the same for the same record, whatever the day and the user's matplotlibrc."""
    return saved(draw(figure), format)


# --- heat maps


def _heat_map(grid: records.Grid) -> "Figure":
    rows, columns = grid.values.shape
    figure = new_figure(grid.title, min(max(_SIDE * rows / columns, 1.2), _TALLEST) + 1.2, "compressed")
    axes = figure.add_subplot()
    scale = palette.Scale.of(grid.values)
    _image(axes, grid, scale)
    # A cell of a long strip would be too small to see if it were square.
    axes.set_aspect("equal" if columns <= _STRIP * rows and rows <= _STRIP * columns else "auto")
    axes.spines[:].set_visible(False)
    _token_ticks(axes, grid)
    axes.set_xlabel(drawable(grid.column_axis))
    axes.set_ylabel(drawable(grid.row_axis))
    if max(rows, columns) <= _MOST_NUMBERS:
        _write_numbers(axes, grid, scale)
    _colour_bar(figure, axes, grid, scale)
    return figure


def _image(axes: "Axes", grid: records.Grid, scale: palette.Scale) -> "AxesImage":
    """The grid in the terminal's shades, cells without a number in their grey; large ones as area averages."""
    from matplotlib.colors import ListedColormap, PowerNorm

    shades = ListedColormap([_fractions(palette.shade(step / 255)) for step in range(256)])
    norm = PowerNorm(scale.power, vmin=0.0, vmax=scale.largest or 1.0)
    rows, columns = grid.values.shape
    drawn = grid.values
    if max(rows, columns) > _MOST_CELLS:
        drawn = area_averages(drawn, min(rows, _MOST_CELLS), min(columns, _MOST_CELLS))
    return axes.imshow(
        np.ma.masked_invalid(drawn.astype(float)),
        cmap=shades.with_extremes(bad=_fractions(palette.MISSING)),
        norm=norm,
        extent=(-0.5, columns - 0.5, rows - 0.5, -0.5),
    )


def _fractions(colour: palette.Colour) -> tuple[float, float, float]:
    return colour.red / 255, colour.green / 255, colour.blue / 255


def _token_ticks(axes: "Axes", grid: records.Grid) -> None:
    rows, columns = grid.values.shape
    axes.locator_params(integer=True)
    if grid.column_labels and columns <= _MOST_TOKENS:
        labels = [_tick_label(label) for label in grid.column_labels]
        upright = columns * (1 + max(map(len, labels))) > TITLE_COLUMNS
        axes.set_xticks(range(columns), labels, rotation=90 if upright else 0)
    if grid.row_labels and rows <= _MOST_TOKENS:
        axes.set_yticks(range(rows), [_tick_label(label) for label in grid.row_labels])
    axes.tick_params(length=0)


def _tick_label(label: str) -> str:
    return shortened(drawable(token_label(label)), _TOKEN_COLUMNS)


def _write_numbers(axes: "Axes", grid: records.Grid, scale: palette.Scale) -> None:
    for (row, column), value in np.ndenumerate(grid.values.astype(float)):
        ink = palette.ink(palette.shade(scale.fraction(value)))
        axes.text(column, row, weight(value), ha="center", va="center", color=_fractions(ink), fontsize=8)


def _colour_bar(figure: "Figure", axes: "Axes", grid: records.Grid, scale: palette.Scale) -> None:
    label = drawable(grid.quantity)
    if scale.power != 1:
        label += ", shades by square root"
    if any(np.ma.is_masked(image.get_array()) for image in axes.images):
        label += "; grey: not a number"
    columns = int(_COLUMNS_AN_INCH * (figure.get_figheight() - 1))
    figure.colorbar(axes.images[0], ax=axes, label=textwrap.fill(label, columns), fraction=0.05, pad=0.02)


def _contact_sheet(sheet: records.GridSheet) -> "Figure":
    """Layers down, heads across, each grid in a unit square; a single layer's heads go on line after line.

    Panels go by their titles, since a sheet need not hold all heads; without titles they are counted.
    """
    first, single = sheet.grids[0], len(sheet.grids) == 1
    starts = range(0, len(first), _HEADS_A_LINE)
    lines = [first[start : start + _HEADS_A_LINE] for start in starts] if single else sheet.grids
    pitch = _LABELLED_PITCH if single else 1.0
    across = max(map(len, lines))
    figure = new_figure(sheet.title, min(_SIDE * pitch * len(lines) / max(across, 2), _TALLEST) + 1.0, "compressed")
    axes = figure.add_subplot()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    scale = palette.Scale.of(np.concatenate([grid.values.ravel() for line in lines for grid in line]))
    for row, line in enumerate(lines):
        for column, grid in enumerate(line):
            image = _image(axes, grid, scale)
            image.set_extent((column, column + _PANEL, row * pitch + _PANEL, row * pitch))
    axes.set(xlim=(0, across), ylim=(len(lines) * pitch, 0))
    if single:
        _label_heads(axes, first)
    else:
        _label_layers_and_heads(axes, sheet)
    _colour_bar(figure, axes, first[0], scale)
    return figure


def _label_heads(axes: "Axes", grids: Sequence[records.Grid]) -> None:
    """The heads of one layer, each with its name beneath it."""
    axes.set(xticks=[], yticks=[])
    for head, grid in enumerate(grids):
        row, column = divmod(head, _HEADS_A_LINE)
        place = column + _PANEL / 2, row * _LABELLED_PITCH + _PANEL + 0.03
        axes.text(*place, drawable(grid.title or f"head {head}"), ha="center", va="top", fontsize=8)


def _label_layers_and_heads(axes: "Axes", sheet: records.GridSheet) -> None:
    """The sheet's own labels, or the names of each line's first panel and of the first line's panels."""
    layers = sheet.row_labels or [line[0].title or f"layer {layer}" for layer, line in enumerate(sheet.grids)]
    heads = sheet.column_labels or [grid.title or f"head {head}" for head, grid in enumerate(sheet.grids[0])]
    if len(heads) > _HEADS_A_LINE:  # their last words: there is no room for more
        heads = [name.split()[-1] for name in heads]
        axes.set_xlabel("head")
    axes.set_yticks([index + _PANEL / 2 for index in range(len(layers))], list(map(drawable, layers)))
    axes.set_xticks([index + _PANEL / 2 for index in range(len(heads))], list(map(drawable, heads)))


# --- points and lines


def _bars(histogram: records.Histogram) -> "Figure":
    figure = new_figure(histogram.title, 3.6)
    axes = figure.add_subplot()
    axes.stairs(histogram.density, histogram.edges, fill=True, color=palette.MEASURED[0], alpha=0.7, label="measured")
    if histogram.theory_x.size:
        label = drawable(histogram.theory_label) or "theory"
        axes.plot(histogram.theory_x, histogram.theory_density, color=palette.THEORY, linewidth=1, label=label)
        _legend(axes)
    axes.set(xlabel=drawable(histogram.quantity), ylabel="density")
    return figure


def _points(series: records.Series) -> "Figure":
    figure = new_figure(series.title, 3.8)
    axes = figure.add_subplot(xlabel=drawable(series.x_axis), ylabel=drawable(series.y_axis))
    theory = [line for line in series.lines if line.kind == "theory"]
    measured = [line for line in series.lines if line.kind != "theory"]
    for line, dashes in zip(theory, itertools.cycle(_THEORY_STYLES)):
        axes.plot(line.x, line.y, color=palette.THEORY, linestyle=dashes, linewidth=1, label=drawable(line.label))
    for line, colour, marker in zip(measured, itertools.cycle(palette.MEASURED), itertools.cycle(_MARKERS)):
        if series.x_ticks:
            axes.plot(line.x, line.y, color=colour, linewidth=0.8, alpha=0.5)
        _measured(axes, line, colour, marker)
    _scale_axes(axes, series)
    if len(series.lines) > 1:
        _legend(axes)
    return figure


def _measured(axes: "Axes", line: records.Line, colour: str, marker: str) -> None:
    axes.errorbar(
        line.x,
        line.y,
        yerr=line.standard_error if len(line.standard_error) else None,
        fmt=marker,
        markersize=4,
        capsize=2,
        elinewidth=1,
        color=colour,
        label=drawable(line.label),
    )


def _scale_axes(axes: "Axes", series: records.Series) -> None:
    steps = sorted({x for line in series.lines for x in line.x})
    points = sorted({x for line in series.lines for x in line.x if line.kind != "theory" and x > 0})
    heights = [y for line in series.lines for y in line.y if 0 < y < math.inf]
    if series.log_y and heights:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(_tick)
        # Powers of ten alone would leave a short axis without numbers.
        axes.yaxis.set_minor_formatter(_tick if max(heights) < _SHORT_AXIS * min(heights) else "")
    if series.log_x and points:
        axes.set_xscale("log")
        ticks = _spread(points)
        axes.set_xticks(ticks, [number(x) for x in ticks])
        axes.set_xticks([], minor=True)
    if series.x_ticks:
        axes.set_xticks(steps, [drawable(name) for name in series.x_ticks])


def _tick(value: float, _position: float) -> str:
    return f"{value:,g}"


def _spread(points: Sequence[float]) -> list[float]:
    """Those of the rising points that leave room for a label each on a logarithmic axis."""
    gap = _TICK_GAP * math.log(points[-1] / points[0])
    chosen = [points[0]]
    for point in points[1:]:
        if math.log(point / chosen[-1]) >= gap:
            chosen.append(point)
    return chosen


def _legend(axes: "Axes") -> None:
    """Between the title and the axes, where it can hide no point."""
    _, labels = axes.get_legend_handles_labels()
    if labels:
        columns = TITLE_COLUMNS // (max(map(len, labels)) + 8)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=max(1, columns))
