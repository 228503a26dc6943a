"""The numbers in a figure as a table, for those who want to draw it their own way."""

from collections.abc import Iterator, Sequence
from typing import assert_never

import numpy as np

from attnlab import records

Row = tuple[object, ...]


def figure_data(figure: records.Figure) -> tuple[Sequence[str], list[Row]] | None:
    """Columns and rows of a figure's CSV, in the order in which they are drawn; None for matrices.

    A matrix of thousands of tokens would make a CSV of millions of rows: matrices are kept as arrays.
    """
    match figure.drawable:
        case records.Grid() | records.GridSheet() | records.Diagram():
            return None
        case records.GridMaps() as maps:
            first = maps.grids[0]
            return ("map", first.row_axis, first.column_axis, "value"), list(_cells(maps))
        case records.Histogram() as histogram:
            return ("kind", "from", "to", "density"), list(_bins(histogram))
        case records.SideBySide() as pictures:
            rows = [(one.title, *row) for one in pictures.above for row in _bins(one)]
            bars = [(one.title, "weight", i, i, y) for one in pictures.below for i, y in enumerate(one.heights)]
            return ("picture", "kind", "from", "to", "value"), [*rows, *bars]
        case records.Dots() as dots:
            predicted: Sequence[float | None] = dots.predicted or [None] * len(dots.names)
            found = zip(dots.names, dots.measured, predicted, strict=True)
            lines: list[Row] = [(name, one.value, one.standard_error, law) for name, one, law in found]
            return ("name", "measured", "standard_error", "predicted"), lines
        case records.Series() as series:
            return ("line", "kind", "x", "y", "standard_error"), list(_points(series.lines))
        case records.Panels() as panels:
            columns = ("panel", "line", "kind", "x", "y", "standard_error")
            return columns, [(series.y_axis, *point) for series in panels.panels for point in _points(series.lines)]
        case records.Growth() as growth:
            columns = ("panel", "line", "kind", "x", "y", "standard_error")
            return columns, [(panel.y_axis, *point) for panel in growth.panels for point in _points(panel.curves)]
        case unknown:
            assert_never(unknown)


def _bins(histogram: records.Histogram) -> Iterator[Row]:
    for low, high, density in zip(histogram.edges[:-1], histogram.edges[1:], histogram.density, strict=True):
        yield "measured", low, high, density
    for x, density in zip(histogram.theory_x, histogram.theory_density, strict=True):
        yield "theory", x, x, density


def _cells(maps: records.GridMaps) -> Iterator[Row]:
    for grid in maps.grids:
        for (row, column), value in np.ndenumerate(grid.values):
            yield grid.title, grid.row_labels[row], grid.column_labels[column], value


def _points(lines: Sequence[records.Line]) -> Iterator[Row]:
    for line in lines:
        errors: Sequence[float | None] = line.standard_error or [None] * len(line.x)
        for x, y, error in zip(line.x, line.y, errors, strict=True):
            yield line.label, line.kind, x, y, error
