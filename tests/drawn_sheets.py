"""Drawings as a test sees them: their texts with the room each takes, their lines and boxes, and what is amiss."""

from collections.abc import Iterator
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axis import Axis
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text
from matplotlib.transforms import Bbox

#: In points: what two renderers may differ by.
SLACK = 0.75
#: What a line or an edge may take of a text's room, which is a little more than its letters.
EDGE = 1.5


class Placed(NamedTuple):
    """Something on the sheet: what it says or is called, the room it takes, what lies over what."""

    name: str
    box: Bbox
    layer: float


class Sheet(NamedTuple):
    """A figure as it will be drawn; every length in points, from the lower left corner."""

    width: float
    height: float
    texts: list[Placed]
    sizes: dict[str, float]
    lines: list[tuple[np.ndarray, float]]
    boxes: list[Placed]

    @property
    def words(self) -> list[str]:
        return [text.name for text in self.texts]

    def box(self, name: str) -> Bbox:
        """The one box of that name."""
        (found,) = [placed.box for placed in self.boxes if placed.name == name]
        return found


def sheet(figure: Figure) -> Sheet:
    """What is on a figure. Nothing in it is laid out when it is drawn: texts alone need to be measured."""
    figure.set_dpi(200)
    to_points = 72 / figure.dpi
    axes = figure.axes[0]

    def placed(artist: Artist, name: str) -> Placed:
        return Placed(name, Bbox(artist.get_window_extent().get_points() * to_points), artist.get_zorder())

    assert not axes.axison  # so that the axes' own texts, their ticks, are not drawn, and need not be made
    texts = [text for child in axes.get_children() if not isinstance(child, Axis) for text in child.findobj(Text)]
    texts = [text for text in texts if isinstance(text, Text) and text.get_text()]
    patches = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    patches = [patch for patch in patches if to_rgba(patch.get_edgecolor())[3] > 0]
    width, height = (float(side) * 72 for side in figure.get_size_inches())
    return Sheet(
        width,
        height,
        [placed(text, text.get_text()) for text in texts],
        {text.get_text(): float(text.get_fontsize()) for text in texts},
        [
            (axes.transData.transform(np.asarray(line.get_xydata())) * to_points, line.get_zorder())
            for line in axes.lines
        ],
        [placed(patch, patch.get_gid() or "") for patch in patches],
    )


def faults(found: Sheet) -> list[str]:
    """Every text that lies on another, across a line or a box's edge, or beyond the sheet."""
    return [*on_each_other(found), *beyond(found), *across_lines(found), *across_edges(found)]


def on_each_other(found: Sheet) -> list[str]:
    letters = [(text.name, text.box.padded(-SLACK)) for text in found.texts]
    return [f"{a!r} on {b!r}" for (a, box), (b, other) in combinations(letters, 2) if box.overlaps(other)]


def beyond(found: Sheet) -> list[str]:
    whole = Bbox.from_bounds(0, 0, found.width, found.height).padded(SLACK)
    return [f"{text.name!r} leaves the sheet" for text in found.texts if not inside(text.box, whole)]


def across_lines(found: Sheet) -> list[str]:
    return [
        f"a line through {text.name!r}"
        for text, letters, ground in grounded(found)
        for line, layer in found.lines
        if layer >= ground and any(crosses(letters, start, end) for start, end in pairwise(line))
    ]


def across_edges(found: Sheet) -> list[str]:
    return [
        f"{text.name!r} across the edge of {edge.name or 'a box'}"
        for text, letters, ground in grounded(found)
        for edge in found.boxes
        if edge.layer >= ground and letters.overlaps(edge.box) and not inside(letters, edge.box)
    ]


def grounded(found: Sheet) -> Iterator[tuple[Placed, Bbox, float]]:
    """Each text, the room of its letters, and the layer of the uppermost box around it, which hides what is below."""
    for text in found.texts:
        letters = text.box.padded(-EDGE)
        yield text, letters, max((box.layer for box in found.boxes if inside(letters, box.box)), default=-1.0)


def inside(box: Bbox, whole: Bbox) -> bool:
    return bool(whole.x0 <= box.x0 and whole.y0 <= box.y0 and box.x1 <= whole.x1 and box.y1 <= whole.y1)


def crosses(box: Bbox, start: np.ndarray, end: np.ndarray) -> bool:
    """Whether the way from start to end meets the box, looked at every point, unless all of it runs beside."""
    (left, low), (right, high) = np.minimum(start, end), np.maximum(start, end)
    if right <= box.x0 or left >= box.x1 or high <= box.y0 or low >= box.y1:
        return False
    steps = max(2, int(np.abs(end - start).max()))
    x, y = (start + np.linspace(0, 1, steps + 1)[:, None] * (end - start)).T
    return bool(((box.x0 < x) & (x < box.x1) & (box.y0 < y) & (y < box.y1)).any())
