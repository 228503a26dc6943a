"""A labelled matrix as lines of text: numbers in cells while they fit, then half-block cells, then area averages.

Without colours the same numbers are printed plain, with `*` at the largest of each row, and larger matrices in shade
characters, darker for more. Cells without a number are "nan", or "?" where a cell is one character; those that a mask
hides are blank.
"""

from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
from rich.cells import cell_len
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

from attnlab.records import BoolArray, FloatArray, Grid
from attnlab.show.encoding import plain, shortened, token_label, visible
from attnlab.show.numbers import number, weight
from attnlab.show.palette import MISSING, Colour, Scale, ink, shade

#: Number cells: their width, how many of them at most, and the columns that a heading may reach past the last.
_CELL, _MOST_CELLS, _OVERHANG = 5, 20, 2
#: Row labels are cut to this many columns, but number cells give way before a label gets fewer than the second.
_LABEL, _SHORT_LABEL = 12, 6
#: Larger matrices: the rows drawn with half blocks, the rows drawn a line each, the rows or columns still named.
_HALF_ROWS, _FULL_ROWS, _NAMED = 64, 40, 40
#: Lines of a matrix that is too large to stand there row by row.
_AVERAGED_LINES = 20
#: Vertical headings take at most so many lines.
_HEADING = 10
#: Cells from one index on an axis to the next.
_TICK = 10

_HALF_BLOCK, _LOWER_HALF = "▀", "▄"
_SHADES, _ASCII_SHADES = " ░▒▓█", " .:-=+*#%@"
_GRADIENT = 16

#: A cell of one character or of half of one: its number; None: blank.
_Cell = float | None


class _Screen(NamedTuple):
    """What the lines are for."""

    width: int
    encoding: str
    coloured: bool

    def says(self, text: str) -> bool:
        return plain(text, self.encoding) == text

    @property
    def shades(self) -> str:
        return _SHADES if self.says(_SHADES) else _ASCII_SHADES

    def label(self, token: str, columns: int) -> str:
        return shortened(plain(token_label(token), self.encoding), columns, plain("…", self.encoding))


def heatmap(grid: Grid, console: Console) -> list[Text]:
    """`grid` as lines of text that fit `console`: headings, rows, scale, and a note on what a cell stands for."""
    # Sixteen colours cannot tell a third from a half: shade characters can.
    coloured = console.color_system in ("256", "truecolor")
    screen = _Screen(console.width, console.encoding, coloured)
    rows, columns = grid.values.shape
    if rows == 0 or columns == 0:
        return [Text("(no cells)")]
    room = screen.width - columns * _CELL - _OVERHANG - 1
    names = _names(grid.row_labels, rows)
    needed = min(_SHORT_LABEL, max(cell_len(screen.label(name, _LABEL)) for name in names))
    if room >= needed and (grid.numbers or max(rows, columns) <= _MOST_CELLS):
        return _number_cells(grid, screen, min(room, _LABEL))
    if grid.numbers and not console.is_terminal:
        return _number_cells(grid, screen, _LABEL)
    return _shaded_cells(grid, screen)


def area_averages(values: FloatArray, rows: int, columns: int) -> FloatArray:
    """`values` (n, m) shrunk to (rows, columns): each new cell is the mean over the area of the old ones it covers.

    Cells that are not finite are left out of the mean; where there is no other, the result is NaN.
    """
    finite = np.isfinite(values)
    down, across = _overlaps(values.shape[0], rows), _overlaps(values.shape[1], columns)
    total = down @ np.where(finite, values, 0.0) @ across.T
    area = down @ finite @ across.T
    means: FloatArray = np.divide(total, area, out=np.full_like(total, np.nan), where=area > 0)
    return means


def _overlaps(old: int, new: int) -> FloatArray:
    """(new, old): how much of each old cell, 0 to 1, lies in each of the new ones that share its axis evenly."""
    # Multiplied first, so that an edge that falls between two old cells is a whole number.
    edges = (np.arange(new + 1) * old / new)[:, None]
    start = np.arange(old)
    shared: FloatArray = np.maximum(np.minimum(edges[1:], start + 1) - np.maximum(edges[:-1], start), 0.0)
    return shared


def _names(labels: Sequence[str], count: int) -> Sequence[str]:
    return labels or [str(index) for index in range(count)]


def _style(background: Colour | None, foreground: Colour | None = None, bold: bool = False) -> Style:
    ground, front = (colour and Color.from_rgb(*colour) for colour in (background, foreground))
    return Style(bgcolor=ground, color=front, bold=bold)


# --- numbers in cells


def _number_cells(grid: Grid, screen: _Screen, room: int) -> list[Text]:
    names = [screen.label(name, room) for name in _names(grid.row_labels, grid.values.shape[0])]
    margin = max(map(cell_len, names))
    scale = Scale.of(grid.visible_values)
    lines = _staggered_headings(grid, screen, margin + 1)
    for name, row, hidden in zip(names, grid.visible_values.astype(float), _hidden(grid), strict=True):
        largest = row[np.isfinite(row)].max(initial=0.0)
        line = Text(" " * (margin - cell_len(name)) + name + " ")
        for value, blank in zip(row, hidden, strict=True):
            cell = Text(" " * _CELL) if blank else _number_cell(value, value == largest > 0, scale, screen.coloured)
            line.append_text(cell)
        lines.append(line)
    blanks = ["blank: hidden by the mask"] if _hidden(grid).any() else []
    if screen.coloured:
        notes = ["bold: the largest of its row", *blanks]
        return [*lines, _scale_line(scale, screen, margin + 1), _note(grid, screen, notes)]
    return [*lines, _note(grid, screen, ["*: the largest of its row", *blanks])]


def _hidden(grid: Grid) -> BoolArray:
    return np.zeros(grid.values.shape, bool) if grid.hidden is None else grid.hidden


def _number_cell(value: float, largest: bool, scale: Scale, coloured: bool) -> Text:
    if not coloured:
        return Text(f"{weight(value):>4}" + ("*" if largest else " "))
    background = shade(scale.fraction(value))
    return Text(f"{weight(value):>4} ", style=_style(background, ink(background), bold=largest))


def _staggered_headings(grid: Grid, screen: _Screen, margin: int) -> list[Text]:
    """Column labels over the middle of their cells: the odd ones on one line and the even ones on the next.

    So each may be almost twice as wide as its cell. Labels that are no wider than a cell share one line.
    """
    names = [screen.label(name, 2 * _CELL - 1) for name in _names(grid.column_labels, grid.values.shape[1])]
    step = 1 if max(map(cell_len, names)) < _CELL else 2
    lines = []
    for first in range(min(step, len(names))):
        line = ""
        for index in range(first, len(names), step):
            middle = margin + index * _CELL + _CELL // 2
            start = max(0, middle - cell_len(names[index]) // 2)
            line += " " * (start - cell_len(line)) + names[index]
        lines.append(Text(line))
    return lines


# --- one character, or half of one, a cell


class _Layout(NamedTuple):
    """How a larger matrix is drawn: what stands at the left of each line, and the shape left for cells."""

    margin: Sequence[str]
    shape: tuple[int, int]
    cell_width: int


def _shaded_cells(grid: Grid, screen: _Screen) -> list[Text]:
    half = screen.coloured and screen.says(_HALF_BLOCK + _LOWER_HALF)
    layout = _layout(grid, screen, rows_per_line=2 if half else 1)
    values = area_averages(grid.visible_values.astype(float), *layout.shape)
    hidden = area_averages(_hidden(grid).astype(float), *layout.shape) > 1 - 1e-9
    scale = Scale.of(values)
    shades, width = screen.shades, layout.cell_width
    rows = [
        [None if blank else float(value) for value, blank in zip(*row, strict=True)]
        for row in zip(values, hidden, strict=True)
    ]
    cells = _half_blocks(rows, scale) if half else _shade_characters(rows, scale, shades, width)
    margin = cell_len(layout.margin[0]) + 1
    lines = [Text(" " * margin + heading) for heading in _column_headings(grid, layout, screen)]
    for label, line in zip(layout.margin, cells, strict=True):
        lines.append(Text(label + " ").append_text(line))
    notes = []
    if layout.shape != grid.values.shape:
        down, across = (number(old / new) for old, new in zip(grid.values.shape, layout.shape, strict=True))
        what = "tokens" if (grid.row_axis, grid.column_axis) == ("query", "key") else "cells"
        notes.append(f"each cell is the mean over {down} × {across} {what}")
    if np.isnan(values[~hidden]).any():
        notes.append("?: not a number")
    if hidden.any():
        notes.append("blank: hidden by the mask")
    return [*lines, _scale_line(scale, screen, margin), _note(grid, screen, notes)]


def _layout(grid: Grid, screen: _Screen, rows_per_line: int) -> _Layout:
    rows, columns = grid.values.shape
    most_rows = _FULL_ROWS if rows_per_line == 1 else _HALF_ROWS
    if rows > most_rows:
        most_rows = _AVERAGED_LINES * rows_per_line
    named = bool(grid.row_labels) and rows <= min(most_rows, _NAMED)
    tokens = [screen.label(name, _LABEL) for name in grid.row_labels] if named else []
    ticks = max(len(str(rows)), *(cell_len(token) for token in tokens), 0)
    margin = rows_per_line * (ticks + 1) if named else ticks + 1
    room = max(1, screen.width - margin)
    if rows == columns:
        most_rows = room = min(most_rows, room)
    shape = min(rows, most_rows), min(columns, room)
    if named and shape[0] == rows:
        lines = _paired(tokens, ticks, rows_per_line)
    else:
        lines = _row_ticks(rows, shape[0], ticks, rows_per_line)
    wide = rows_per_line == 1 and margin + 2 * shape[1] <= screen.width
    return _Layout(lines, shape, 2 if wide else 1)


def _paired(tokens: Sequence[str], width: int, rows_per_line: int) -> list[str]:
    padded = [" " * (width - cell_len(token)) + token for token in tokens]
    starts = range(0, len(padded), rows_per_line)
    return [" ".join([*padded[i : i + rows_per_line], " " * width][:rows_per_line]) for i in starts]


def _row_ticks(rows: int, drawn: int, width: int, rows_per_line: int) -> list[str]:
    starts = range(0, drawn, rows_per_line)
    return [f"{i * rows // drawn if i % _TICK == 0 else '':>{width}}" for i in starts]


def _column_headings(grid: Grid, layout: _Layout, screen: _Screen) -> list[str]:
    """Column labels written downwards, where they are few and narrow enough; else indices."""
    columns, drawn, step = grid.values.shape[1], layout.shape[1], layout.cell_width
    names = [screen.label(name, _HEADING) for name in grid.column_labels]
    if names and drawn == columns <= _NAMED and all(cell_len(c) == 1 for name in names for c in name):
        height = max(map(len, names))
        downwards = zip_longest(*(name.rjust(height) for name in names), fillvalue=" ")
        return ["".join(c.ljust(step) for c in line).rstrip() for line in downwards]
    line = ""
    for index in range(0, drawn, _TICK):
        tick = str(index * columns // drawn)
        if index * step + len(tick) <= drawn * step:
            line = line.ljust(index * step) + tick
    return [line]


def _half_blocks(rows: Sequence[Sequence[_Cell]], scale: Scale) -> list[Text]:
    """Two rows a line: the upper one is the half-block's colour, the lower one its background."""
    lines = []
    for upper, lower in zip_longest(rows[::2], rows[1::2]):
        line = Text()
        for column, value in enumerate(upper):
            line.append_text(_half_block(value, None if lower is None else lower[column], scale))
        lines.append(line)
    return lines


def _half_block(upper: _Cell, lower: _Cell, scale: Scale) -> Text:
    """Two cells, either of which may be blank; below the last row there is none."""
    present = [value for value in (upper, lower) if value is not None]
    finite = [value for value in present if np.isfinite(value)]
    if len(finite) < len(present):
        other = shade(scale.fraction(finite[0])) if finite else MISSING
        return Text("?", style=_style(other, ink(other)))
    colours = [shade(scale.fraction(value)) for value in finite]
    if upper is None:
        return Text(_LOWER_HALF, style=_style(None, colours[0])) if colours else Text(" ")
    return Text(_HALF_BLOCK, style=_style(colours[1] if lower is not None else None, colours[0]))


def _shade_characters(rows: Sequence[Sequence[_Cell]], scale: Scale, shades: str, cell_width: int) -> list[Text]:
    return [Text("".join(_shade_character(x, scale, shades) * cell_width for x in row)) for row in rows]


def _shade_character(value: _Cell, scale: Scale, shades: str) -> str:
    if value is None:
        return " "
    return shades[round(scale.fraction(value) * (len(shades) - 1))] if np.isfinite(value) else "?"


# --- what the cells mean


def _scale_line(scale: Scale, screen: _Screen, margin: int) -> Text:
    ends = " " * margin + "0 ", f" {number(scale.largest)}" + (" (by square root)" if scale.power != 1 else "")
    return Text(ends[0]).append_text(_gradient(screen)).append(ends[1])


def _note(grid: Grid, screen: _Screen, notes: Sequence[str]) -> Text:
    """What the numbers, the rows and the columns are, and what else must be known to read the cells."""
    axes = f"rows: {grid.row_axis}, columns: {grid.column_axis}"
    return Text(plain(visible("; ".join([grid.quantity, axes, *notes])), screen.encoding), style="dim", overflow="fold")


def _gradient(screen: _Screen) -> Text:
    if not screen.coloured:
        return Text("".join(2 * character for character in screen.shades))
    colours = (shade(step / (_GRADIENT - 1)) for step in range(_GRADIENT))
    return Text.assemble(*((" ", _style(colour)) for colour in colours))
