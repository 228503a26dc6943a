"""What every figure shares: its size, its fonts, the characters it shows, and bytes that repeat.

matplotlib is imported where it is used, so that a command without figures does not wait for it. Fonts are 8 points or
more at the saved size, which is that of a text's full width.
"""

import io
import os
import re
import textwrap
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from attnlab.show.encoding import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Characters that join or part letters of one word; up to the last control character all are spelled, \\x1b.
_JOINERS, _LAST_CONTROL = "\u200c\u200d", 0x9F
#: Inches.
WIDTH = 6.5
#: Characters that fit the width: of a legend or an axis, and of a title.
TITLE_COLUMNS, _LARGE_COLUMNS = 72, 56

_FONT = "DejaVu Sans"
#: Where a character is looked for that the font has no picture of, as far as they are installed: outlines only, since
#: matplotlib draws no coloured bitmaps. An SVG's reader looks in their own fonts besides.
_FALLBACKS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR", "Source Han Sans SC"),
    *("PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic"),
    *("WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback", "Arial Unicode MS"),
    *("Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Bengali", "Noto Sans Thai"),
    *("Geeza Pro", "Segoe UI", "Nirmala UI", "Noto Sans Symbols", "Noto Sans Symbols 2"),
    *("Noto Emoji", "Segoe UI Emoji", "Symbola", "Unifont"),
)
#: The font of formulas, and others for those who read an SVG and have it not.
_FORMULAS, _SERIFS = "'STIXGeneral'", "'STIX Two Text', 'Times New Roman', serif"
_STYLE: Mapping[Any, Any] = {
    "font.sans-serif": [_FONT],
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    # 6 points in a column 8 cm wide.
    "figure.titlesize": 12.5,
    "figure.constrained_layout.h_pad": 0.06,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 200,
    "savefig.dpi": 200,
    # A token may hold dollar signs.
    "text.parse_math": False,
    # Identifiers in an SVG are random without it.
    "svg.hashsalt": "attnlab",
    # Text that can be searched and translated.
    "svg.fonttype": "none",
}


@contextmanager
def style() -> Iterator[None]:
    """matplotlib's defaults with ours over them, whatever the user's matplotlibrc says, until the end of the block."""
    import logging

    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # where it keeps its list of fonts is nobody's trouble
    with _user_settings_unread():
        import matplotlib
    # matplotlib.style.context does the same, and first reads every style that there is.
    defaults, now = matplotlib.rcParamsDefault, matplotlib.rcParams
    settings: dict[Any, Any] = {
        name: defaults[name] for name in defaults if name != "backend" and defaults[name] != now[name]
    }
    with matplotlib.rc_context({**settings, **_STYLE, "font.family": list(families())}), warnings.catch_warnings():
        # No font has it: the PNG shows an empty box, the SVG the character.
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from")
        yield


@cache
def families() -> tuple[str, ...]:
    """The figures' font, then those installed that have pictures of what it lacks."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return (_FONT, *(name for name in _FALLBACKS if name in installed))


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
    figure.suptitle(_evenly(drawable(title)))
    return figure


def _evenly(title: str) -> str:
    """The title in as few lines as it takes, each about as long as the others."""
    fewest = len(textwrap.wrap(title, _LARGE_COLUMNS))
    narrow = next((w for w in range(1, _LARGE_COLUMNS) if len(textwrap.wrap(title, w)) == fewest), _LARGE_COLUMNS)
    return textwrap.fill(title, narrow)


def drawable(text: str) -> str:
    """`text` with every character visible: what has no form of its own, but for joiners within a word, is �."""
    shown = "".join(c if c in _JOINERS or not _formless(c) else "�" for c in text)
    return "".join(part if part in _JOINERS else visible(part).replace("⏎", "\\n") for part in _split(shown))


def _formless(character: str) -> bool:
    return not character.isprintable() and ord(character) > _LAST_CONTROL


def _split(text: str) -> list[str]:
    return re.split(f"([{_JOINERS}])", text)


def lay_out(figure: "Figure") -> None:
    """Give everything on a figure its place, once and for all formats."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)  # "none" would leave a stand-in, for which each saving draws twice


def saved(figure: "Figure", format: Literal["png", "svg"]) -> bytes:
    """The figure as a file's bytes, within `style`; an SVG says no date."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=format, metadata={"Date": None} if format == "svg" else None)
    return _with_generic_fonts(buffer.getvalue()) if format == "svg" else buffer.getvalue()


def _with_generic_fonts(svg: bytes) -> bytes:
    """The SVG with what to take where none of a text's fonts is there. matplotlib, told so, would look for it, too."""
    found = svg
    for named, generic in ((", ".join(map(repr, families())), "sans-serif"), (_FORMULAS, _SERIFS)):
        found = found.replace(f"font-family: {named}".encode(), f"font-family: {named}, {generic}".encode())
    return found
