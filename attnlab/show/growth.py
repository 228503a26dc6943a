"""Growth: what an order means, on even axes that begin at zero, each curve named on itself.

As large as the drawings of `attnlab diagram`, and in their letters: at 8 cm no text is smaller than 6 points.
"""

from typing import TYPE_CHECKING

from attnlab import records
from attnlab.show import palette
from attnlab.show.canvas import drawable, new_figure
from attnlab.show.diagrams_canvas import INK, TEXT, TITLE, wrapped
from attnlab.show.numbers import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Inches, and the points that a text's line may take.
_HEIGHT, _ROOM = 5.2, 440.0
#: Of the lower orders, from the lowest on: colour, dashes, and whether the name stands above the curve.
_LOWER = (("#0072b2", ":", False), ("#444444", "--", True))
_HEAVY, _LIGHT = 4.0, 2.0
#: Room above the highest point; where on the axis a lower order is named; how far a name is from its curve.
_ABOVE, _NAMED, _BESIDE = 1.04, 0.97, 8.0


def growth_figure(growth: records.Growth) -> "Figure":
    """The panels side by side, an arrow in each from a size to its double, and beneath them what follows."""
    figure = new_figure("", _HEIGHT)
    title = "\n".join(wrapped(drawable(growth.title), _ROOM, TITLE, bold=True))
    figure.suptitle(title, x=0.02, ha="left", fontsize=TITLE, fontweight="bold")
    for axes, panel in zip(figure.subplots(1, len(growth.panels), squeeze=False)[0], growth.panels, strict=True):
        _draw(axes, panel, growth.size)
        axes.set_xlabel(drawable(growth.x_axis), fontsize=TEXT)
    note = "\n".join(wrapped(drawable(growth.note), _ROOM, TEXT, most=4))
    figure.supxlabel(note, x=0.02, ha="left", fontsize=TEXT)
    return figure


def _draw(axes: "Axes", panel: records.GrowthPanel, size: float) -> None:
    heavy = panel.curves[-1]
    axes.set(xlim=(0, heavy.x[-1]), ylim=(0, heavy.y[-1] * _ABOVE))
    axes.set_title(drawable(panel.title), loc="left", fontsize=TEXT, weight="bold")
    axes.set_ylabel(drawable(panel.y_axis), fontsize=TEXT, labelpad=2)
    for curve, (colour, dashes, above) in zip(panel.curves[:-1], _LOWER, strict=False):
        axes.plot(curve.x, curve.y, color=colour, linestyle=dashes, linewidth=_LIGHT, label=drawable(curve.label))
        place = curve.y.index(next(y for x, y in zip(curve.x, curve.y, strict=True) if x >= _NAMED * curve.x[-1]))
        _name(axes, curve, place, colour, (0, _BESIDE if above else -_BESIDE), "bottom" if above else "top")
    axes.plot(
        heavy.x, heavy.y, color=palette.THEORY, linewidth=_HEAVY, label=drawable(heavy.label), solid_capstyle="butt"
    )
    _name(axes, heavy, 11 * len(heavy.x) // 16, palette.THEORY, (8, -2), "top", align="left")
    _double(axes, panel, size)


def _name(
    axes: "Axes",
    curve: records.Line,
    place: int,
    colour: str,
    beside: tuple[float, float],
    vertical: str,
    *,
    align: str = "right",
) -> None:
    axes.annotate(
        drawable(curve.label),
        (curve.x[place], curve.y[place]),
        beside,
        textcoords="offset points",
        ha=align,
        va=vertical,
        color=colour,
        fontsize=TEXT,
        weight="bold",
    )


def _double(axes: "Axes", panel: records.GrowthPanel, size: float) -> None:
    """The arrow along the last curve, from a size to twice as much; the axes name both ends."""
    curve = panel.curves[-1]
    ends = [(x, curve.y[curve.x.index(x)]) for x in (size, 2 * size)]
    for x, y in ends:
        axes.plot([0, x, x], [y, y, 0], color="#999999", linewidth=0.8, linestyle=":", zorder=1)
        axes.plot([x], [y], "o", color=palette.THEORY, markersize=8, zorder=4, clip_on=False)
    axes.set_xticks([0, *(x for x, _ in ends)], ["0", *(number(int(x)) for x, _ in ends)], fontsize=TEXT)
    axes.set_yticks([0, *(y for _, y in ends)], ["0", *(number(y) for _, y in ends)], fontsize=TEXT)
    arrow = {"arrowstyle": "-|>,head_width=0.3,head_length=0.6", "color": INK, "linewidth": 1.6}
    shape = {"connectionstyle": "arc3,rad=-0.3", "shrinkA": 7, "shrinkB": 9}
    axes.annotate("", ends[1], ends[0], arrowprops={**arrow, **shape})
    said = "\n".join(drawable(line) for line in panel.doubling)
    axes.text(0.04, 0.72, said, transform=axes.transAxes, va="center", fontsize=TEXT, color=INK, linespacing=1.3)
