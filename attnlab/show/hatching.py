"""Hatching: what a mask hides is drawn as slanting lines, in every figure, and never in a small number's colour."""

from typing import TYPE_CHECKING

import numpy as np

from attnlab.records import BoolArray
from attnlab.show.heatmap import area_averages

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GROUND, _LINES, _PATTERN = "#ffffff", "#9a9a9a", "/////"

#: x, y, width, height
Rectangle = tuple[float, float, float, float]


def hidden_runs(place: Rectangle, hidden: BoolArray, most: int) -> list[Rectangle]:
    """A rectangle for each run of hidden cells in a row of a matrix that takes `place`.

    Args:
        most: rows and columns that are told apart; of more, those are hidden that mostly are.
    """
    x, y, width, height = place
    rows, columns = (min(cells, most) for cells in hidden.shape)
    drawn = hidden if (rows, columns) == hidden.shape else area_averages(hidden.astype(float), rows, columns) > 0.5
    wide, high = width / columns, height / rows
    found = []
    for row, cells in enumerate(drawn):
        ends = np.flatnonzero(np.diff(np.concatenate([[False], cells, [False]]).astype(int)))
        for start, end in zip(ends[::2].tolist(), ends[1::2].tolist(), strict=True):
            found.append((x + start * wide, y + row * high, (end - start) * wide, high))
    return found


def hatch(axes: "Axes", places: list[Rectangle], layer: float, name: str = "") -> None:
    """Hatch these rectangles as one shape, so that the lines run on from one to the next."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    corners = [[(x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)] for x, y, w, h in places]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(places)
    shape = Path(np.concatenate(corners), codes)
    patch = PathPatch(
        shape, facecolor=_GROUND, edgecolor=_LINES, hatch=_PATTERN, linewidth=0, zorder=layer, gid=name or None
    )
    axes.add_artist(patch)
