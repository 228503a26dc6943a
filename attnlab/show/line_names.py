"""Names at the right ends of lines, where a reader's eye already is, instead of a legend box."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from attnlab.show.canvas import drawable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Points of a name, and of the distance from one to the next.
_SIZE, _PITCH = 8.0, 9.6
#: Of the axes' width: where names begin.
_BESIDE = 1.06
_POINTS_AN_INCH = 72
#: Inches of a figure that are above and below its axes.
_AROUND = 1.0


class NamedEnd(NamedTuple):
    """A line's last point, what it is called, and its colour."""

    x: float
    y: float
    name: str
    colour: str


def name_ends(axes: "Axes", ends: Sequence[NamedEnd], height: float) -> None:
    """Write each line's name right of the axes, level with the line's end or as near to it as others leave room.

    Args:
        height: of the figure, in inches.
    """
    rising = sorted(ends, key=lambda end: end.y)
    low, high = (_level(axes, limit) for limit in axes.get_ylim())
    levels = [(_level(axes, end.y) - low) / (high - low) for end in rising]
    for end, level in zip(rising, spread(levels, _PITCH / _POINTS_AN_INCH / (height - _AROUND)), strict=True):
        axes.annotate(
            drawable(end.name),
            (end.x, end.y),
            (_BESIDE, level),
            textcoords="axes fraction",
            va="center",
            fontsize=_SIZE,
            color=end.colour,
            arrowprops={"arrowstyle": "-", "color": end.colour, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3},
        )


def spread(levels: Sequence[float], gap: float) -> list[float]:
    """The rising levels moved as little as need be: `gap` apart, and within 0 … 1 as long as they all fit."""
    groups: list[list[float]] = []
    for level in levels:
        groups.append([level])
        # A group takes the room of all its members around their mean; groups that touch become one.
        while len(groups) > 1 and _first(groups[-1], gap) - _last(groups[-2], gap) < gap:
            last = groups.pop()
            groups[-1] += last
    return [_first(group, gap) + i * gap for group in groups for i in range(len(group))]


def _first(group: Sequence[float], gap: float) -> float:
    room = (len(group) - 1) * gap
    return max(0.0, min(1.0 - room, sum(group) / len(group) - room / 2))


def _last(group: Sequence[float], gap: float) -> float:
    return _first(group, gap) + (len(group) - 1) * gap


def _level(axes: "Axes", y: float) -> float:
    return math.log(y) if axes.get_yscale() == "log" else y
