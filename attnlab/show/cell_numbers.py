"""The numbers in a heat map's cells: one artist for all of them, which hands each text to the renderer as it is.

As texts of their own, each with a layout and a clip, hundreds of them would take longer than all else in a figure.
"""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase

#: Points of a number.
SIZE = 8.0


class CellNumber(NamedTuple):
    """A number around the middle of its cell."""

    column: int
    row: int
    text: str
    #: red, green and blue, each 0 to 1
    colour: tuple[float, float, float]


def write_numbers(axes: "Axes", numbers: Sequence[CellNumber]) -> None:
    """Draw the numbers on the axes, over everything else."""
    axes.add_artist(_artist()(numbers))


def numbers_on(axes: "Axes") -> list[CellNumber]:
    """The numbers that stand on the axes, in the order in which they are drawn."""
    artists: list[Any] = axes.findobj(_artist())
    return [number for artist in artists for number in artist.numbers]


@cache
def _artist() -> type[Any]:
    """The artist's class; matplotlib is imported with the first of them."""
    from matplotlib.artist import Artist
    from matplotlib.font_manager import FontProperties
    from matplotlib.text import Text

    class CellNumbers(Artist):
        """Texts in the data's coordinates, each around its own place."""

        zorder = 3

        def __init__(self, numbers: Sequence[CellNumber]) -> None:
            super().__init__()
            self.numbers = tuple(numbers)
            self.set_in_layout(False)

        def draw(self, renderer: "RendererBase") -> None:
            if not self.numbers or self.axes is None:
                return
            font, to_pixels = FontProperties(size=SIZE), self.axes.transData
            places = to_pixels.transform([number[:2] for number in self.numbers])
            sizes = {text: _extent(renderer, text, font) for text in {number.text for number in self.numbers}}
            height = float(renderer.get_canvas_width_height()[1])
            # What an SVG needs to hold a text by its middle, whatever font it is shown in.
            anchor = Text(ha="center", transform=to_pixels)
            for number, (x, y) in zip(self.numbers, places.tolist(), strict=True):
                wide, high = sizes[number.text]
                context = renderer.new_gc()
                context.set_foreground(number.colour)
                anchor.set_position(number[:2])
                left, base = x - wide / 2, y - high / 2
                base = height - base if renderer.flipy() else base
                renderer.draw_text(context, left, base, number.text, font, 0.0, ismath=False, mtext=anchor)
                context.restore()

    return CellNumbers


def _extent(renderer: "RendererBase", text: str, font: object) -> tuple[float, float]:
    """A text's width and its height over the line that it stands on, in pixels."""
    wide, high, below = renderer.get_text_width_height_descent(text, font, ismath=False)  # type: ignore[arg-type]
    return wide, high - below
