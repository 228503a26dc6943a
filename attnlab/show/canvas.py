"""What every figure shares: its size, its fonts, the characters it can show, and bytes that repeat.

matplotlib is imported where it is used, so that a command without figures does not wait for it. Fonts are 8 points or
more at the saved size, which is that of a text's full width.
"""

import io
import os
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from attnlab.show.encoding import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Inches.
WIDTH = 6.5
#: Characters of a title that fit the width.
TITLE_COLUMNS = 72

_FONT = "DejaVu Sans"
_STYLE = {
    "font.family": _FONT,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "figure.titlesize": 10,
    "figure.constrained_layout.h_pad": 0.06,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.dpi": 200,
    # A token may hold dollar signs.
    "text.parse_math": False,
    # Identifiers in an SVG are random without it.
    "svg.hashsalt": "attnlab",
    "svg.fonttype": "path",
}


@contextmanager
def style() -> Iterator[None]:
    """matplotlib's defaults with ours over them, whatever the user's matplotlibrc says, until the end of the block."""
    import logging

    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # where it keeps its list of fonts is nobody's trouble
    with _user_settings_unread():
        import matplotlib.style

    with matplotlib.style.context(["default", _STYLE]):
        yield


@contextmanager
def _user_settings_unread() -> Iterator[None]:
    """matplotlib looks at these when it is imported, and a mistake in them ends the import; nothing here needs them."""
    names = ("MPLBACKEND", "MATPLOTLIBRC")
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    os.environ["MATPLOTLIBRC"] = os.devnull
    try:
        yield
    finally:
        del os.environ["MATPLOTLIBRC"]
        os.environ.update(before)


def new_figure(title: str, height: float, layout: Literal["constrained", "compressed"] = "constrained") -> "Figure":
    """An empty figure, `WIDTH` by `height` inches, under its title, which wraps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout=layout)
    FigureCanvasAgg(figure)
    figure.suptitle(textwrap.fill(drawable(title), TITLE_COLUMNS))
    return figure


def drawable(text: str) -> str:
    """`text` with every character visible; those that the figures' font has no picture of are escaped."""
    from matplotlib.font_manager import findfont, get_font

    known = get_font(findfont(_FONT)).get_charmap()
    shown = visible(text).replace("⏎", "\\n")
    return "".join(c if ord(c) in known else c.encode("unicode_escape").decode("ascii") for c in shown)


def saved(figure: "Figure", format: Literal["png", "svg"]) -> bytes:
    """The figure as a file's bytes; an SVG says no date."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format=format, metadata={"Date": None} if format == "svg" else None)
    return buffer.getvalue()
