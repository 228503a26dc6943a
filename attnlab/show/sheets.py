"""Contact sheets: many heat maps on one shared scale, drawn as one image with text beside it.

A sheet of a large model has a thousand panels: as pictures of their own they would take a minute.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attnlab import records
from attnlab.show import palette
from attnlab.show.canvas import drawable, new_figure
from attnlab.show.heatmap import area_averages
from attnlab.show.scale_bar import colour_bar, mappable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

#: The width left between labels and colour bar, and the height to stop at, in inches; pixels of an inch.
_SIDE, _TALLEST, _RESOLUTION = 4.9, 8.0, 200
#: One layer's heads go on so many to a line; wider sheets label their columns by number alone.
_HEADS_A_LINE = 8
#: The lines and columns that are named, at most.
_TICKS = 24
#: A panel's share of its square, and the height of a square that holds the panel's label too.
_PANEL, _LABELLED_PITCH = 0.92, 1.25
#: Of what a mask hides: every so many pixels along a row is a line's.
_STRIPES, _LINE = 5, (154, 154, 154)

Pixels = NDArray[np.uint8]


def contact_sheet(sheet: records.GridSheet) -> "Figure":
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
    grids = [grid for line in lines for grid in line]
    scale = palette.Scale.of(np.concatenate([grid.visible_values.ravel() for grid in grids]))
    axes.imshow(mosaic(lines, scale, pitch), extent=(0, across, len(lines) * pitch, 0), interpolation="none")
    if single:
        _label_heads(axes, first)
    else:
        _label_layers_and_heads(axes, sheet)
    colour_bar(figure, axes, grids, scale)
    return figure


def mosaic(lines: Sequence[Sequence[records.Grid]], scale: palette.Scale, pitch: float) -> Pixels:
    """Every panel in its place on white, red, green and blue.

    Args:
        pitch: the height of a square, as a share of its width.
    """
    across = max(map(len, lines))
    side = max(8, round(_SIDE * _RESOLUTION / across))
    panel, down = round(_PANEL * side), round(pitch * side)
    found = np.full((down * len(lines), side * across, 3), 255, np.uint8)
    shades = mappable(scale)
    for row, line in enumerate(lines):
        for column, grid in enumerate(line):
            place = found[row * down : row * down + panel, column * side : column * side + panel]
            place[:] = _pixels(grid, shades, panel)
    return found


def _pixels(grid: records.Grid, shades: "ScalarMappable", side: int) -> Pixels:
    """A grid on so many pixels a side: each shows the cell that it lies in, or of more cells their mean."""
    rows, columns = (min(cells, side) for cells in grid.values.shape)
    values = area_averages(grid.visible_values.astype(float), rows, columns)
    at = [np.arange(side) * cells // side for cells in (rows, columns)]
    found = np.asarray(shades.to_rgba(np.ma.masked_invalid(values), bytes=True))[np.ix_(*at)][..., :3]
    if grid.hidden is not None and grid.hidden.any():
        hidden = (area_averages(grid.hidden.astype(float), rows, columns) > 0.5)[np.ix_(*at)]
        found[hidden] = 255
        i, j = np.indices(hidden.shape)
        found[hidden & ((i + j) % _STRIPES == 0)] = _LINE
    return found


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
    for place, names in ((axes.set_yticks, layers), (axes.set_xticks, heads)):
        step = -(-len(names) // _TICKS)  # more would stand on one another
        place([index + _PANEL / 2 for index in range(0, len(names), step)], list(map(drawable, names[::step])))
