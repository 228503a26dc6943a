"""Text as a terminal can show it: in its encoding, with every character visible, in so many columns."""

import codecs
import io
from typing import TextIO

from rich.cells import cell_len, set_cell_size

_HANDLER = "attnlab.plain"

_PLAIN = {
    "√": "sqrt",
    "‖": "||",
    "−": "-",
    "–": "-",
    "—": "--",
    "·": ".",
    "…": "...",
    "×": "x",
    "÷": "/",
    "±": "+/-",
    "²": "^2",
    "³": "^3",
    "ᵀ": "^T",
    "≤": "<=",
    "≥": ">=",
    "≈": "~",
    "≠": "!=",
    "→": "->",
    "←": "<-",
    "∞": "inf",
    "Σ": "sum",
    "α": "alpha",
    "β": "beta",
    "γ": "gamma",
    "ε": "epsilon",
    "λ": "lambda",
    "μ": "mu",
    "σ": "sigma",
    "“": '"',
    "”": '"',
    "’": "'",
    "⏎": "\\n",
}


def plain(text: str, encoding: str) -> str:
    """`text` with whatever `encoding` cannot say spelled in ASCII: √ as sqrt, and "?" for each column of the rest."""
    codecs.register_error(_HANDLER, _transliterated)
    return text.encode(encoding, _HANDLER).decode(encoding)


def prepare(stream: TextIO) -> None:
    """Let `stream` spell what its encoding cannot say instead of failing on it. Other than files are left alone."""
    codecs.register_error(_HANDLER, _transliterated)
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors=_HANDLER)


def visible(text: str) -> str:
    r"""`text` with control, zero-width and direction characters escaped (\x1b, \u200b), a line's end as ⏎."""
    return "".join(c if c.isprintable() else "⏎" if c == "\n" else _escaped(c) for c in text)


def token_label(token: str) -> str:
    """A token as an axis shows it: visible, and in quotes when it is nothing but blanks."""
    return visible(unblank(token))


def unblank(token: str) -> str:
    """The token, in quotes when it is nothing but blanks."""
    return token if token.strip(" ") else f"'{token}'"


def shortened(text: str, columns: int, ellipsis: str = "…") -> str:
    """`text` in at most so many columns of a terminal; what does not fit gives way to the ellipsis."""
    if cell_len(text) <= columns:
        return text
    if columns <= len(ellipsis):
        return set_cell_size(text, columns)
    return set_cell_size(text, columns - len(ellipsis)).rstrip() + ellipsis


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _transliterated(error: UnicodeError) -> tuple[str, int]:
    """What stands for the characters that could not be encoded: the handler of `codecs.register_error`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c, "?" * cell_len(c)) for c in lost), error.end
