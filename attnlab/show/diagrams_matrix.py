"""Matrices on a drawing: numbers in their cells where they fit, else shades of one colour; long sides cut short.

A side that is cut short has a white gap across it. Where there are more cells than a printer can show, a shade is the
mean of those it covers.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from attnlab.records import BoolArray, FloatArray
from attnlab.show.diagrams_canvas import INK, PANEL, TEXT, Canvas, Size, measured
from attnlab.show.hatching import hatch, hidden_runs
from attnlab.show.heatmap import area_averages

#: Up to this many rows and columns cells carry numbers; up to this many of either they are shaded one by one.
MOST_ROWS, MOST_COLUMNS, _MOST_SHADES = 6, 6, 32
#: What a cell needs beside its number's width, and its height.
_PADDING, CELL_HEIGHT = 4.0, 18.0
#: The shares of a colour between which values are shaded: with numbers in the cells, and without.
_LIGHT, _FULL = (0.06, 0.55), (0.10, 0.95)
_CARD = 4.0


class Look(NamedTuple):
    """How a matrix is drawn."""

    size: Size
    #: what stands in each cell; none: shades alone
    texts: Sequence[Sequence[str]] = ()
    #: whether its height and its width are cut short
    cut: tuple[bool, bool] = (False, False)


def mixed(colour: str, share: float, ground: str = "#ffffff") -> str:
    """A colour of which only so much is left over the ground."""
    parts = [(int(colour[i : i + 2], 16), int(ground[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(g + (c - g) * share):02x}" for c, g in parts)


def shades(colour: str, shares: FloatArray) -> FloatArray:
    """The colour mixed with white, for each share of it: (shares, 3), red, green and blue from 0 to 1; NaN: `PANEL`."""
    ink, panel = (np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)]) for code in (colour, PANEL))
    parts = np.where(np.isnan(shares)[:, None], panel, np.rint(255 + (ink - 255) * shares[:, None]))
    return np.asarray(parts / 255)


def darker(colour: str) -> str:
    """A colour for lines: what is a fill's edge, or runs on white."""
    return mixed(colour, 0.72, "#000000")


def carries_numbers(values: FloatArray) -> bool:
    """Whether there are few enough cells for numbers."""
    return values.shape[0] <= MOST_ROWS and values.shape[1] <= MOST_COLUMNS and bool(values.size)


def cell_texts(values: FloatArray, decimals: int = 2) -> list[list[str]]:
    """The numbers as their cells show them: all with so many decimals, unless they are large.

    With two decimals there is no zero before the point; a share of 0 or 1 that is exact has no decimals.
    """
    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max(initial=0.0))
    decimals = max(0, min(decimals, 3 - len(f"{largest:.0f}")))
    return [[_cell_text(float(value), decimals, largest) for value in row] for row in values]


def _cell_text(value: float, decimals: int, largest: float) -> str:
    if not np.isfinite(value):
        return "" if np.isnan(value) else str(value)
    if largest == 1 and value in (0, 1):
        return str(int(value))
    if largest >= 9999.5:
        return f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-")
    text = f"{value + 0.0:.{decimals}f}"
    text = text.removeprefix("-") if float(text) == 0 else text
    return text.replace("0.", ".", 1) if decimals > 1 and text.lstrip("-").startswith("0.") else text


def numbered(values: FloatArray, room: float) -> Look | None:
    """The matrix with numbers in its cells; None where there are too many, or they do not fit so many points."""
    if not carries_numbers(values):
        return None
    for decimals in (2, 1):
        texts = cell_texts(values, decimals)
        cell = max(measured(text).width for row in texts for text in row) + _PADDING
        if cell * values.shape[1] <= room:
            return Look(Size(cell * values.shape[1], CELL_HEIGHT * len(texts)), texts)
    return None


def draw_matrix(
    canvas: Canvas,
    x: float,
    y: float,
    look: Look,
    values: FloatArray,
    colour: str,
    *,
    heads: int = 1,
    hidden: BoolArray | None = None,
    name: str = "",
) -> None:
    """A matrix from its upper left corner; several heads lie behind it like cards.

    Args:
        values: (rows, columns); NaN cells are left blank.
        colour: of its largest value; smaller ones are paler.
        hidden: (rows, columns), the cells that are hatched: what a mask hides.
    """
    width, height = look.size
    for card in reversed(range(1, min(heads, 3))):
        offset = card * _CARD
        canvas.box(x + offset, y - offset, width, height, fill=mixed(colour, 0.25), edge=darker(colour), line=0.8)
    _shade(canvas, x, y, look, values, colour)
    if hidden is not None and hidden.any():
        hatch(canvas.axes, hidden_runs((x, y, *look.size), hidden, _MOST_SHADES), 3.6, name="hidden")
    canvas.box(x, y, width, height, fill="none", edge=darker(colour), line=1.2, layer=5, name=name)
    for row, texts in enumerate(look.texts):
        for column, text in enumerate(texts):
            cell = width / len(texts), height / len(look.texts)
            canvas.write(x + (column + 0.5) * cell[0], y + (row + 0.5) * cell[1], text)
    _gaps(canvas, x, y, look)


def _shade(canvas: Canvas, x: float, y: float, look: Look, values: FloatArray, colour: str) -> None:
    """Each cell in its shade of the colour, as shapes and not as pixels, so that they are sharp at any size."""
    rows, columns = (min(cells, _MOST_SHADES) for cells in values.shape)
    shown = area_averages(values, rows, columns)
    low, high = (float(edge) for edge in (np.nanmin(shown), np.nanmax(shown))) if np.isfinite(shown).any() else (0, 0)
    least, most = _LIGHT if look.texts else _FULL
    share = (shown - low) / (high - low) if high > low else np.full_like(shown, 0.5)
    colours = shades(colour, least + (most - least) * share.ravel())
    mesh = canvas.axes.pcolormesh(
        np.linspace(x, x + look.size.width, columns + 1),
        np.linspace(y, y + look.size.height, rows + 1),
        np.zeros((rows, columns)),
        antialiased=False,
        zorder=3.5,
    )
    mesh.set_array(None)
    mesh.set(facecolor=colours)
    if look.texts:
        mesh.set_edgecolor("#ffffff")
        mesh.set_linewidth(0.8)


def _gaps(canvas: Canvas, x: float, y: float, look: Look) -> None:
    """A white gap across each side that is cut short, slanting, with an edge on either side."""
    width, height = look.size
    gap, slant = 3.0, 4.0
    if look.cut[1]:
        middle = x + width / 2
        ends = [(middle - slant, y + height + 2), (middle + slant, y - 2)]
        _gap(canvas, ends, (gap, 0))
    if look.cut[0]:
        middle = y + height / 2
        ends = [(x - 2, middle + slant), (x + width + 2, middle - slant)]
        _gap(canvas, ends, (0, gap))


def _gap(canvas: Canvas, ends: Sequence[tuple[float, float]], half: tuple[float, float]) -> None:
    (x0, y0), (x1, y1) = ends
    dx, dy = half
    xs, ys = [x0 - dx, x1 - dx, x1 + dx, x0 + dx], [y0 - dy, y1 - dy, y1 + dy, y0 + dy]
    canvas.axes.fill(xs, ys, facecolor="#ffffff", edgecolor="none", zorder=5.2)
    for first in (0, 2):
        canvas.axes.plot(
            xs[first : first + 2], ys[first : first + 2], color=INK, linewidth=1.0, zorder=5.3, solid_capstyle="butt"
        )


def lengths(sides: Sequence[int], least: float, most: float) -> dict[int, tuple[float, bool]]:
    """side -> its length in points, and whether it is cut short: to one scale, as far as that goes.

    The smallest is at least `least` long; those that would be longer than `most` are cut short, the longer the longer.
    """
    ordered = sorted(set(sides))
    unit = max(most / ordered[-1], least / ordered[0])
    cut = [side for side in ordered if side * unit > most * (1 + 1e-9)]
    found = {side: (side * unit, False) for side in ordered}
    for place, side in enumerate(cut):
        found[side] = (most * (1 - 0.1 * (len(cut) - 1 - place)), True)
    return found


#: The height of a text, for those who lay out around it.
LINE = TEXT * 1.3

#: What someone who adds up the numbers of a drawing should know.
ROUNDED = "Each number is rounded as it is drawn; sums are the exact ones'."
