"""A sheet of paper for drawings: boxes, lines that end where they should, texts that are measured before they are set.

Lengths are points on a sheet 16 cm wide, y going down. At 8 cm, the column of a paper, everything is half as large:
no text is set below `TEXT`, so that 6 points are left of it then.
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from attnlab.show.canvas import drawable, families

if TYPE_CHECKING:
    from matplotlib.text import Text

#: 16 cm.
WIDTH = 453.6
#: The smallest text, formulas (whose indices are smaller, as indices are), and the title.
TEXT, FORMULA, TITLE = 12.0, 15.0, 14.0
MARGIN = 10.0
INK, FAINT, PAPER, PANEL, RULE = "#1a1a1a", "#666666", "#ffffff", "#f2f2f2", "#9a9a9a"
#: A line's thickness, and that of a residual path.
THIN, THICK = 1.3, 3.6
_HEAD_LENGTH, _HEAD_WIDTH = 8.0, 6.5
#: A formula's letters in an SVG are letters, too: of fonts whose places are Unicode's.
_FORMULA_FONT = "stix"


class Point(NamedTuple):
    """A place on the sheet, in points from its upper left corner."""

    x: float
    y: float


class Size(NamedTuple):
    """How wide and how high something is, in points."""

    width: float
    height: float


@cache
def measured(text: str, size: float = TEXT, bold: bool = False, formula: bool = False) -> Size:
    """How much room a text takes, at any resolution; its height reaches from its lowest point to its highest."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(
        family=list(families()), size=size, weight="bold" if bold else "normal", math_fontfamily=_FORMULA_FONT
    )
    width, height, _ = text_to_path.get_text_width_height_descent(text, font, formula)
    return Size(float(width), float(height))


def fitted(text: str, room: float, size: float = TEXT, bold: bool = False) -> str:
    """`text` in at most so many points of width: what does not fit gives way to an ellipsis."""
    if measured(text, size, bold).width <= room:
        return text

    def cut(kept: int) -> str:
        return text[:kept].rstrip() + "…"

    return cut(bisect_right(range(1, len(text) + 1), room, key=lambda kept: measured(cut(kept), size, bold).width))


def wrapped(text: str, room: float, size: float = TEXT, bold: bool = False, most: int = 2) -> list[str]:
    """`text` in at most so many lines of at most so many points of width, each about as long as the others."""
    lines = _broken(text, room, size, bold)
    if len(lines) > most:
        return [fitted(line, room, size, bold) for line in [*lines[: most - 1], " ".join(lines[most - 1 :])]]
    if len(lines) == 2 and (halves := _halves(text, room, size, bold)):
        return halves
    even = room
    while len(_broken(text, even - 4, size, bold)) == len(lines) and even > room / 2:
        even -= 4
    return [fitted(line, room, size, bold) for line in _broken(text, even, size, bold)]


def _halves(text: str, room: float, size: float, bold: bool) -> list[str]:
    """Two lines that part at a comma, colon or semicolon, the more even the better; none where they would not fit."""
    found = []
    for place, character in enumerate(text[:-1]):
        if character in ",;:" and text[place + 1] == " ":
            lines = [text[: place + 1], text[place + 1 :].strip()]
            width = max(measured(line, size, bold).width for line in lines)
            found += [(width, lines)] if width <= room else []
    return min(found)[1] if found else []


def _broken(text: str, room: float, size: float, bold: bool) -> list[str]:
    """As many words to a line as fit, and one at least."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if measured(longer, size, bold).width <= room or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


class Canvas:
    """The sheet, which grows downwards as things are drawn on it."""

    def __init__(self) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=(WIDTH / 72, 1.0))
        FigureCanvasAgg(self.figure)
        self.axes = self.figure.add_axes((0.0, 0.0, 1.0, 1.0))
        self.axes.set_axis_off()
        self.axes.set_xlim(0, WIDTH)
        self.bottom = 0.0
        self.reach(MARGIN)

    def reach(self, y: float) -> None:
        """Let the sheet end at y or below."""
        self.bottom = max(self.bottom, y)
        self.axes.set_ylim(self.bottom, 0)
        self.figure.set_figheight(self.bottom / 72)

    def write(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = TEXT,
        align: str = "center",
        colour: str = INK,
        bold: bool = False,
        room: float = WIDTH,
        upright: bool = False,
        name: str = "",
    ) -> "Text":
        """A text whose middle line is at y, cut to `room`. Nothing in it is taken for a formula."""
        shown = fitted(drawable(text), room, size, bold)
        self.reach(y + (measured(shown, size, bold).width if upright else size) / 2)
        return self.axes.text(
            x,
            y,
            shown,
            size=size,
            ha=align,
            va="center",
            color=colour,
            weight="bold" if bold else "normal",
            rotation=90 if upright else 0,
            parse_math=False,
            gid=name or None,
            zorder=6,
        )

    def formula(
        self, x: float, y: float, text: str, *, size: float = FORMULA, align: str = "center", colour: str = INK
    ) -> "Text":
        """A formula in TeX's notation, whose middle is at y."""
        self.reach(y + measured(f"${text}$", size, formula=True).height / 2)
        return self.axes.text(
            x,
            y,
            f"${text}$",
            size=size,
            ha=align,
            va="center",
            color=colour,
            parse_math=True,
            zorder=6,
            math_fontfamily=_FORMULA_FONT,
        )

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: str = PAPER,
        edge: str = INK,
        line: float = 1.0,
        corner: float = 0.0,
        layer: float = 3,
        name: str = "",
    ) -> None:
        """A rectangle from its upper left corner, its own corners rounded by so much."""
        from matplotlib.patches import FancyBboxPatch

        style = f"round,pad=0,rounding_size={corner}" if corner else "square,pad=0"
        self.axes.add_patch(
            FancyBboxPatch(
                (x, y),
                width,
                height,
                boxstyle=style,
                facecolor=fill,
                edgecolor=edge,
                linewidth=line,
                zorder=layer,
                gid=name or None,
            )
        )
        self.reach(y + height)

    def circle(self, x: float, y: float, radius: float, *, fill: str = PAPER, edge: str = INK) -> None:
        """A circle around a point."""
        from matplotlib.patches import Circle

        self.axes.add_patch(Circle((x, y), radius, facecolor=fill, edgecolor=edge, linewidth=THIN, zorder=4))

    def times(self, x: float, y: float) -> None:
        """A product: × in a circle of radius 7."""
        self.circle(x, y, 7)
        for dy in (3.2, -3.2):
            self.axes.plot([x - 3.2, x + 3.2], [y - dy, y + dy], color=INK, linewidth=THIN, zorder=6)

    def plus(self, x: float, y: float) -> None:
        """A sum: + in a circle of radius 10."""
        self.circle(x, y, 10)
        for dx, dy in ((5.0, 0.0), (0.0, 5.0)):
            self.axes.plot([x - dx, x + dx], [y - dy, y + dy], color=INK, linewidth=1.8, zorder=6)

    def line(
        self,
        points: Sequence[tuple[float, float]],
        *,
        head: bool = True,
        thick: float = THIN,
        colour: str = INK,
        layer: float = 2,
        name: str = "",
    ) -> None:
        """Straight pieces from point to point, along the axes, an arrow's head at the end, whose tip is the end."""
        xs, ys = [x for x, _ in points], [y for _, y in points]
        if head:
            long, wide = _HEAD_LENGTH + thick, _HEAD_WIDTH + 1.6 * (thick - THIN)
            (x0, y0), (x1, y1) = points[-2:]
            along = Point((x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0))
            back = Point(x1 - along.x * long, y1 - along.y * long)
            side = Point(along.y * wide / 2, along.x * wide / 2)
            tip = [(x1, y1), (back.x + side.x, back.y + side.y), (back.x - side.x, back.y - side.y)]
            self.axes.fill(
                [x for x, _ in tip], [y for _, y in tip], facecolor=colour, edgecolor="none", zorder=layer + 0.1
            )
            xs[-1], ys[-1] = x1 - along.x * long * 0.8, y1 - along.y * long * 0.8
        self.axes.plot(
            xs,
            ys,
            color=colour,
            linewidth=thick,
            zorder=layer,
            solid_capstyle="butt",
            solid_joinstyle="round",
            gid=name or None,
        )

    def dot(self, x: float, y: float, colour: str = INK, radius: float = 2.6) -> None:
        """A branching of lines."""
        from matplotlib.patches import Circle

        self.axes.add_patch(Circle((x, y), radius, facecolor=colour, edgecolor="none", zorder=4))

    def title(self, text: str) -> None:
        """What the drawing says, at its head."""
        y = MARGIN + TITLE / 2
        for line in wrapped(drawable(text), WIDTH - 2 * MARGIN, TITLE, True):
            self.write(MARGIN, y, line, size=TITLE, align="left", bold=True)
            y += TITLE * 1.35
        self.reach(y - TITLE * 0.5)

    def footer(self, name: str, place: str) -> None:
        """Where the numbers are from; the name gives way where both are too long."""
        place = fitted(drawable(place), (WIDTH - 2 * MARGIN) * 0.8)
        room = WIDTH - 2 * MARGIN - measured(f" · {place}").width
        y = self.bottom + 8 + TEXT / 2
        self.write(MARGIN, y, f"{fitted(drawable(name), room)} · {place}", align="left", colour=FAINT)
        self.reach(y + TEXT / 2 + MARGIN - 2)
