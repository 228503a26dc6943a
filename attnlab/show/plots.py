"""Figures: records in, matplotlib artists and bytes out. The same record gives the same bytes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, assert_never

import numpy as np

from attnlab import records
from attnlab.show import palette
from attnlab.show.canvas import TITLE_COLUMNS, drawable, lay_out, new_figure, saved, style
from attnlab.show.cell_numbers import CellNumber, write_numbers
from attnlab.show.diagrams import drawing
from attnlab.show.dots import dot_figure
from attnlab.show.encoding import shortened, unblank
from attnlab.show.growth import growth_figure
from attnlab.show.hatching import hatch, hidden_runs
from attnlab.show.heatmap import area_averages
from attnlab.show.lines import line_figure, panel_figure
from attnlab.show.numbers import weight
from attnlab.show.scale_bar import colour_bar, fractions, shading
from attnlab.show.sheets import contact_sheet
from attnlab.show.side_by_side import draw_histogram, side_by_side

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

Format = Literal["png", "svg"]

#: Of a heat map: the width left between labels and colour bar, and the height to stop at, in inches.
_SIDE, _TALLEST = 4.9, 8.0
#: Cells carry their numbers up to this many rows or columns, and axes their tokens up to this many.
_MOST_NUMBERS, _MOST_TOKENS = 14, 36
_TOKEN_COLUMNS = 12
#: More rows or columns than these are averaged before they are drawn: a figure has no more pixels to give them.
_MOST_CELLS = 1024
#: So many times longer than wide, a heat map is a strip, and its cells are not square.
_STRIP = 4
#: Maps of several quantities go so many to a line; the height of one in inches is at least this, and it has so many
#: ticks to an axis at most.
_MAPS_A_LINE, _LOWEST_MAP, _MAP_TICKS = 2, 1.1, 12


def draw(figure: records.Figure) -> "Figure":
    """The figure of a record, its axes, titles and legend in place."""
    with style():
        return _drawn(figure)


def figure_bytes(figure: records.Figure, format: Format) -> bytes:
    """The figure as one file's bytes: the same for the same record, whatever the day and the user's matplotlibrc."""
    return figure_files(figure, (format,))[format]


def figure_files(figure: records.Figure, formats: Sequence[Format]) -> dict[Format, bytes]:
    """The figure's bytes in each format, made and laid out once for all of them."""
    with style():
        drawn = _drawn(figure)
        lay_out(drawn)
        return {format: saved(drawn, format) for format in formats}


def _drawn(figure: records.Figure) -> "Figure":
    match figure.drawable:
        case records.Grid() as grid:
            return _heat_map(grid)
        case records.GridSheet() as sheet:
            return contact_sheet(sheet)
        case records.GridMaps() as maps:
            return _grid_maps(maps)
        case records.Histogram() as histogram:
            return _bars(histogram)
        case records.SideBySide() as pictures:
            return side_by_side(pictures)
        case records.Dots() as dots:
            return dot_figure(dots)
        case records.Series() as series:
            return line_figure(series)
        case records.Panels() as panels:
            return panel_figure(panels)
        case records.Growth() as growth:
            return growth_figure(growth)
        case records.Diagram() as diagram:
            return drawing(diagram)
        case unknown:
            assert_never(unknown)


# --- heat maps


def _heat_map(grid: records.Grid) -> "Figure":
    rows, columns = grid.values.shape
    figure = new_figure(grid.title, min(max(_SIDE * rows / columns, 1.2), _TALLEST) + 1.2, "compressed")
    axes = figure.add_subplot()
    scale = palette.Scale.of(grid.visible_values)
    _image(axes, grid, scale)
    if grid.hidden is not None and grid.hidden.any():
        hatch(axes, hidden_runs((-0.5, -0.5, columns, rows), grid.hidden, _MOST_CELLS), layer=1.5)
    # A cell of a long strip would be too small to see if it were square.
    axes.set_aspect("equal" if columns <= _STRIP * rows and rows <= _STRIP * columns else "auto")
    axes.spines[:].set_visible(False)
    _token_ticks(axes, grid)
    axes.set_xlabel(drawable(grid.column_axis))
    axes.set_ylabel(drawable(grid.row_axis))
    if max(rows, columns) <= _MOST_NUMBERS:
        write_numbers(axes, _numbers(grid, scale))
    colour_bar(figure, axes, [grid], scale)
    return figure


def _image(axes: "Axes", grid: records.Grid, scale: palette.Scale) -> "AxesImage":
    """The grid in the terminal's shades, cells without a number in their grey; large ones as area averages."""
    shades, norm = shading(scale)
    rows, columns = grid.values.shape
    drawn = grid.visible_values
    if max(rows, columns) > _MOST_CELLS:
        drawn = area_averages(drawn, min(rows, _MOST_CELLS), min(columns, _MOST_CELLS))
    return axes.imshow(
        np.ma.masked_invalid(drawn.astype(float)),
        cmap=shades,
        norm=norm,
        extent=(-0.5, columns - 0.5, rows - 0.5, -0.5),
    )


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
    return shortened(drawable(unblank(label)), _TOKEN_COLUMNS)


def _numbers(grid: records.Grid, scale: palette.Scale) -> list[CellNumber]:
    """What the cells say, in ink that stands out from their shades; hidden ones say nothing."""
    hidden = np.zeros(grid.values.shape, bool) if grid.hidden is None else grid.hidden
    return [
        CellNumber(column, row, weight(value), fractions(palette.ink(palette.shade(scale.fraction(value)))))
        for (row, column), value in np.ndenumerate(grid.values.astype(float))
        if not hidden[row, column]
    ]


def _grid_maps(maps: records.GridMaps) -> "Figure":
    """Side by side, _MAPS_A_LINE to a line, each with its own title and colour bar."""
    rows, columns = maps.grids[0].values.shape
    lines = -(-len(maps.grids) // _MAPS_A_LINE)
    height = min(max(_SIDE / _MAPS_A_LINE * rows / columns, _LOWEST_MAP), _TALLEST / lines) + 0.7
    figure = new_figure(maps.title, lines * height + 0.5)
    places = figure.subplots(lines, _MAPS_A_LINE, squeeze=False).ravel()
    for place, (axes, grid) in enumerate(zip(places, maps.grids, strict=False)):
        image = _image(axes, grid, palette.Scale.of(grid.values))
        axes.set_aspect("auto")
        axes.spines[:].set_visible(False)
        axes.set_title(drawable(grid.title), loc="left")
        _sparse_ticks(axes, grid)
        if place % _MAPS_A_LINE == 0:
            axes.set_ylabel(drawable(grid.row_axis))
        if place >= len(maps.grids) - _MAPS_A_LINE:
            axes.set_xlabel(drawable(grid.column_axis))
        figure.colorbar(image, ax=axes, fraction=0.06, pad=0.03)
    for axes in places[len(maps.grids) :]:
        axes.remove()
    return figure


def _sparse_ticks(axes: "Axes", grid: records.Grid) -> None:
    """Rows and columns by their labels, as many as are readable."""
    rows, columns = grid.values.shape
    down, across = max(1, -(-rows // _MAP_TICKS)), max(1, -(-columns // _MAP_TICKS))
    axes.set_yticks(range(0, rows, down), [drawable(label) for label in grid.row_labels[::down]])
    axes.set_xticks(range(0, columns, across), [drawable(label) for label in grid.column_labels[::across]])
    axes.tick_params(length=0)


# --- bars


def _bars(histogram: records.Histogram) -> "Figure":
    figure = new_figure(histogram.title, 3.6)
    axes = figure.add_subplot()
    draw_histogram(axes, histogram)
    return figure
