"""A report in a terminal or a pipe: records in, text out. Nothing here computes, and no text is read as markup."""

import operator
import os
import re
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Literal, NamedTuple, TextIO, assert_never

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from attnlab.records import Cell, Check, Checks, Derivation, Finding, Grid, Part, Quantity, Report, Table
from attnlab.show.encoding import plain, visible
from attnlab.show.heatmap import heatmap
from attnlab.show.numbers import number, with_error

#: The width of a pipe that does not say.
_PIPE_WIDTH = 80
#: Between two columns of a table.
_GAP = "  "
#: A text column is not made narrower than this while another can give way.
_NARROWEST = 12


def console(*, stream: TextIO, colour: bool | None = None, width: int | None = None) -> Console:
    """A console that writes to `stream` as it stands: no markup, no emoji codes, no highlighting.

    Args:
        stream: where the text goes.
        colour: None: in a terminal, unless NO_COLOR is set or TERM is dumb. Else whether there are colours.
        width: columns; None: the terminal's, or in a pipe COLUMNS, or 80.
    """
    terminal = stream.isatty()
    wanted = (terminal and not os.environ.get("NO_COLOR")) if colour is None else colour
    available: Literal["auto", "truecolor"] = "auto" if terminal else "truecolor"
    return Console(
        file=stream,
        force_terminal=terminal,
        force_jupyter=False,
        color_system=available if wanted else None,
        no_color=False,
        width=width or (None if terminal else _pipe_width()),
        markup=False,
        emoji=False,
        highlight=False,
    )


def render(report: Report, console: Console, *, details: bool = False) -> None:
    """Print the report's heading and its parts in order, a blank line between them; then what to try next."""
    checks = () if report.checks is None else (report.checks,)
    with console:  # all of it in one write
        _print_text(report.heading, console)
        for part in (*report.parts, *(report.details if details else ()), *checks):
            console.print()
            _print_part(part, console)
        if said := pointers(report, details=details):
            console.print()
            for line in _lines([f"{'Next' if report.next else 'More'}: {said[0]}", *said[1:]], " · ", console.width):
                _print_text(line, console, style="dim")


def pointers(report: Report, *, details: bool) -> list[str]:
    """What the last line points at: commands to try next, and the details where they are not there already."""
    if details or not report.details:
        return [*report.next]
    return [*report.next, "more: --details"] if report.next else ["--details"]


def _pipe_width() -> int:
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdecimal() and int(columns) > 0 else _PIPE_WIDTH


def _print_part(part: Part, console: Console) -> None:
    match part:
        case Finding():
            _print_text(part.text, console, style="dim" if part.kind == "note" else "bold")
        case Table():
            _print_table(part, console)
        case Grid():
            _print_text(part.title, console, style="bold")
            *lines, note = heatmap(part, console)
            _print_lines([*lines, *note.wrap(console, console.width)], console)
        case Checks():
            _print_checks(part, console)
        case Derivation():
            _print_derivation(part, console)
        case unknown:
            assert_never(unknown)


def _text(content: str, console: Console, style: str = "") -> Text:
    """Text that says `content` as it stands; lines end where it says, and every other control is escaped."""
    lines = (visible(line) for line in content.split("\n"))
    return Text(plain("\n".join(lines), console.encoding), style=style, overflow="fold")


def _print_text(content: str, console: Console, style: str = "") -> None:
    _print_lines(_text(content, console, style).wrap(console, console.width), console)


def _print_lines(lines: Iterable[Text], console: Console) -> None:
    """Lines as they stand, without the blanks that they end in."""
    for line in lines:
        line.rstrip()
        console.print(line, no_wrap=True, overflow="ignore", crop=False)


# --- checks


def _print_checks(part: Checks, console: Console) -> None:
    for check in part.checks:
        if not check.holds:
            console.print(Text.assemble(("FAILED ", "bold red"), _text(_failure(check), console), overflow="fold"))
    passed = [check.text for check in part.checks if check.holds]
    if passed:
        for line in _lines(["Checks: " + passed[0], *passed[1:]], " · ", console.width):
            _print_text(line, console)


def _failure(check: Check) -> str:
    found = [number(check.value)] if check.value is not None else []
    # Most are upper bounds, but not all.
    allowed = [f"the bound is {number(check.bound)}"] if check.bound is not None else []
    return check.text + (": " if found or allowed else "") + "; ".join(found + allowed)


def _lines(pieces: Sequence[str], separator: str, width: int) -> list[str]:
    """The pieces joined, as many on a line as fit; the separator ends a line that goes on."""
    lines = [pieces[0]]
    for piece in pieces[1:]:
        longer = lines[-1] + separator + piece
        if cell_len(longer + separator.rstrip()) <= width:
            lines[-1] = longer
        else:
            lines[-1] += separator.rstrip()
            lines.append(piece)
    return lines


# --- tables


class _Column(NamedTuple):
    """A table's column, ready to be laid out: `floor` is the width below which its numbers or words would break."""

    head: Text
    cells: Sequence[Text]
    floor: int

    @property
    def width(self) -> int:
        return max(map(_width, [self.head, *self.cells]))


class _Numeral(NamedTuple):
    """A number as written, in two parts, so that a column can be aligned on its decimal points."""

    whole: str
    rest: str


def _print_table(table: Table, console: Console) -> None:
    if table.title:
        _print_text(table.title, console, style="bold")
    columns = [_column(name, [row[index] for row in table.rows], console) for index, name in enumerate(table.columns)]
    widths = _widths([column.width for column in columns], [column.floor for column in columns], console)
    _print_row([column.head for column in columns], widths, console)
    for cells in zip(*(column.cells for column in columns), strict=True):
        _print_row(cells, widths, console)
    if table.note:
        _print_text(table.note, console, style="dim")


def _column(name: str, cells: Sequence[Cell], console: Console) -> _Column:
    numerals = [_numeral(cell, console) for cell in cells]
    whole = max((cell_len(numeral.whole) for numeral in numerals if numeral), default=0)
    texts = [
        Text(numeral.whole.rjust(whole) + numeral.rest) if numeral else _text(str(cell), console)
        for cell, numeral in zip(cells, numerals, strict=True)
    ]
    head = _text(name, console, style="dim")
    numbers = [_width(text) for text, numeral in zip(texts, numerals, strict=True) if numeral]
    widest_text = max(map(_width, [head, *texts]))
    longest_word = max(map(cell_len, head.plain.split()), default=0)
    return _Column(head, texts, max(longest_word, *numbers) if numbers else min(widest_text, _NARROWEST))


def _numeral(cell: Cell, console: Console) -> _Numeral | None:
    """A cell's number as written; None for text."""
    match cell:
        case str():
            return None
        case Quantity():
            written = _quantity(cell)
        case _:
            written = "–" if cell is None else number(cell)
    written = plain(visible(written), console.encoding)
    whole = re.split(r"[.e ]", written, maxsplit=1)[0]
    return _Numeral(whole, written.removeprefix(whole))


def _quantity(quantity: Quantity) -> str:
    if quantity.value is None:
        return "–"
    error = quantity.standard_error
    written = number(quantity.value) if error is None else with_error(quantity.value, error)
    return f"{written} {quantity.unit}".rstrip()


def _print_derivation(part: Derivation, console: Console) -> None:
    rows = [
        [_text(visible(words), console) for words in (_GAP + step.left, step.right, step.remark)] for step in part.steps
    ]
    natural = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    widths = _widths(natural, [*natural[:-1], min(natural[-1], _NARROWEST)], console)
    for row in rows:
        _print_row(row, widths, console)


def _widths(natural: Sequence[int], floors: Sequence[int], console: Console) -> Sequence[int]:
    """The columns' widths: made to fit a terminal, left alone in a pipe."""
    if not console.is_terminal:
        return natural
    return _fitted(natural, floors, console.width - len(_GAP) * (len(natural) - 1))


def _fitted(widths: Sequence[int], floors: Sequence[int], room: int) -> list[int]:
    """The widths made to fit: the widest column gives way first, and none goes below its floor while another can."""
    fitted = list(widths)
    for lowest in (floors, [1] * len(fitted)):
        while sum(fitted) > room and any(map(operator.gt, fitted, lowest)):
            above = [index for index, width in enumerate(fitted) if width > lowest[index]]
            fitted[max(above, key=fitted.__getitem__)] -= 1
    return fitted


def _print_row(cells: Sequence[Text], widths: Sequence[int], console: Console) -> None:
    wrapped = [cell.wrap(console, width) for cell, width in zip(cells, widths, strict=True)]
    for parts in zip_longest(*wrapped, fillvalue=Text()):
        line = Text()
        for part, width in zip(parts, widths, strict=True):
            line.append_text(part).append(" " * (width - part.cell_len) + _GAP)
        _print_lines([line], console)


def _width(text: Text) -> int:
    return max(map(cell_len, text.plain.split("\n")))
