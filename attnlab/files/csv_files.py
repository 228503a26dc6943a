"""Tables of numbers as text: a row per token, a column per coordinate, with names for either or without.

Between the numbers stand commas; or semicolons, where the first row has some and what stands between them are numbers:
then the comma is a decimal sign, too. What is no number may be in two places:

- in the first row, if it names the columns: no cell of it is a number, or its first one is empty, as spreadsheets and
  pandas leave it above a column of names;
- in the first column, if it names the rows: most of its cells are words, or the cell above it is that empty one.

So rows and columns that are all numbers are data, whatever they were meant for: column names 0, 1, 2, or token numbers.
"""

import io
import math
import os
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attnlab.errors import InputError
from attnlab.files.opening import StrPath, open_regular, quoted, require_memory, shown

#: Bytes in memory for one of the file, at the worst: a single row of one-digit numbers.
_GROWTH = 24
_FINITE = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_NON_FINITE = re.compile(r"[+-]?(inf|infinity|nan)", re.IGNORECASE)
#: A cell that is a number, or was perhaps to be one: 1_000, 0x1F, 3.4.5.
_LIKE_A_NUMBER = re.compile(r"[+-]?[.,]?\d")
_NO_TEXT = r"[\ud800-\udfff]", "bytes that are not UTF-8; expected a text file of numbers, saved as UTF-8"
_NUL = r"\0", "a NUL byte; expected a text file of numbers, saved as UTF-8"
#: What a cell that is no number may show, the most telling first, and what to say to it.
_FAULTS = (
    (r"^$", "expected a number (nan where there is none)"),
    _NO_TEXT,
    _NUL,
    (r"[\"']", "expected a number without quotes"),
    (r";", "expected commas between the numbers, not semicolons"),
    (r"\d\s+[-+.\d]", "expected commas between the numbers, not blanks"),
    (r"^[+-]?0[xX]", "expected a decimal number, not a hexadecimal one"),
    (r"", "expected a number"),
)
_SIGNS = {",": "comma", ".": "point"}
#: A name in quotes, in which two of them stand for one.
_QUOTED = re.compile(r'\s*"((?:[^"]|"")*)"\s*')


class Table(NamedTuple):
    """The numbers of a file, and what it calls their rows."""

    #: (rows, columns)
    values: NDArray[np.float64]
    #: as many as rows, or none
    names: tuple[str, ...]


class Layout(NamedTuple):
    """Where in a file the numbers are."""

    separator: str = ","
    #: whether the first row names the columns
    header: bool = False
    #: whether the first column names the rows
    names: bool = False


def read_csv(path: StrPath, *, max_bytes: int) -> Table:
    """The numbers of a .csv file, float64, and the names of its rows. The words nan and inf are numbers here.

    Raises:
        InputError: the file is missing or empty, a cell is no number or too large for one, or a row has more or fewer
            cells than the first. The text names the first such cell, rows and columns counted from 1.
        MemoryRefused: reading it may take more than `max_bytes`.
    """
    where = shown(path)
    with open_regular(path) as file:
        require_memory(_GROWTH * os.fstat(file.fileno()).st_size, max_bytes, where)
        # Bytes that are not UTF-8 become surrogates, which no number holds: the complaint can then name their cell.
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape")
        table, fault = _table(text)
    if fault:
        raise InputError(f"{where}: {fault}")
    return table


def _table(text: io.TextIOWrapper) -> tuple[Table, str | None]:
    """The table, or none and the reason."""
    layout = Layout(_separator(next(_rows(text), "")))
    text.seek(0)
    table, fault = _parse(_rows(text), layout)
    if fault:
        text.seek(0)
        named = _layout(_rows(text), layout.separator)
        if named != layout:
            text.seek(0)
            layout = named
            table, fault = _parse(_rows(text), layout)
    # loadtxt takes 1e400 for inf without a word.
    if fault or np.isinf(table.values).any():
        text.seek(0)
        fault = _first_fault(_rows(text), layout) or fault
    elif layout.header:
        text.seek(0)
        fault = _fault_of_header(next(_rows(text)), layout)
    return table, fault


def _parse(rows: Iterator[str], layout: Layout) -> tuple[Table, str | None]:
    """The numbers and names, or none and the reason."""
    names: list[str | None] = []
    numbers = _number_parts(islice(rows, int(layout.header), None), layout, names)
    nothing = Table(np.empty((0, 0)), ())
    first = next(numbers, None)
    if first is None:
        return nothing, "an empty file; expected rows of numbers with commas between them"
    try:
        values = np.loadtxt(chain([first], numbers), delimiter=layout.separator, comments=None, ndmin=2)
    except ValueError as problem:
        return nothing, str(problem)
    fault = next((fault for fault in map(_fault_of_name, names) if fault), None)
    return Table(values, tuple(name or "" for name in names)), fault


def _number_parts(rows: Iterator[str], layout: Layout, names: list[str | None]) -> Iterator[str]:
    """The rows without their names, which go to `names`, and with decimal points.

    A row without numbers becomes a blank, as in `_rows`; one whose decimal sign is not that of the rows before it, or
    that has both, becomes no number.
    """
    sign = ""
    for row in rows:
        numbers: str | None = row
        if layout.names:
            name, numbers = _name_and_rest(row, layout.separator)
            names.append(name)
        numbers = numbers if numbers and not numbers.isspace() else " "
        if layout.separator == ";":
            own = _decimal_sign(numbers)
            sign = sign or own
            numbers = numbers.replace(",", ".") if own in ("", sign) and len(own) < 2 else "?"
        yield numbers


def _name_and_rest(row: str, separator: str) -> tuple[str | None, str | None]:
    """The first cell, without its quotes, and what follows its separator; None where there is no such thing."""
    quoted_name = _QUOTED.match(row)
    if quoted_name and row[quoted_name.end() :][:1] in ("", separator):
        after = row[quoted_name.end() :]
        return quoted_name[1].replace('""', '"'), after[1:] if after else None
    name, found, rest = row.rstrip("\r\n").partition(separator)
    return name if name.strip() else None, rest if found else None


def _cells(row: str, separator: str) -> list[str | None]:
    """A row's cells, the first as a name."""
    name, rest = _name_and_rest(row, separator)
    return [name, *([] if rest is None else [cell.strip() for cell in rest.split(separator)])]


def _separator(row: str) -> str:
    """What stands between the cells of the first row."""
    if ";" not in row:
        return ","
    _, *others = _cells(row, ";")
    numbers = all(cell is not None and not _fault(cell, ";") for cell in others)
    return ";" if "," not in row or (others and numbers) else ","


def _layout(rows: Iterator[str], separator: str) -> Layout:
    """Where the numbers are, in a file that does not hold numbers alone."""
    first, second = next(rows, ""), next(rows, None)
    cells = _cells(first, separator)
    corner = len(cells) > 1 and not cells[0]
    words = all(cells[1:]) if corner else all(map(_is_word, cells))
    header = second is not None and words and len(_cells(second, separator)) == len(cells)
    column = chain([] if header else [first], [] if second is None else [second], rows)
    balance = sum(1 if _is_word(_name_and_rest(row, separator)[0]) else -1 for row in column)
    return Layout(separator, header=header, names=len(cells) > 1 and ((header and corner) or balance > 0))


def _is_word(cell: str | None) -> bool:
    """Whether it is no number, and was not to be one."""
    text = (cell or "").strip()
    return bool(text) and not (_LIKE_A_NUMBER.match(text) or _NON_FINITE.fullmatch(text))


def _rows(lines: Iterable[str]) -> Iterator[str]:
    """The lines without the empty ones at the end.

    An empty line between others becomes a blank: loadtxt passes over empty ones, and later rows would move up.
    """
    empty = 0
    for line in lines:
        if not line.strip():
            empty += 1
            continue
        yield from [" "] * empty
        empty = 0
        yield line


def _first_fault(rows: Iterable[str], layout: Layout) -> str | None:
    """Where the first fault is and what it is, or None."""
    width, sign = 0, ""
    for row, line in enumerate(rows, start=1):
        cells = _cells(line, layout.separator) if layout.names else [*map(str.strip, line.split(layout.separator))]
        width = width or len(cells)
        if row == 1 and layout.header:
            if fault := _fault_of_header(line, layout):
                return fault
            continue
        if layout.names and (fault := _fault_of_name(cells[0])):
            return f"row {row}, column 1: {quoted(cells[0] or '')}: {fault}"
        for column, cell in enumerate(cells[layout.names :], start=1 + layout.names):
            text = cell or ""
            fault = _fault(text, layout.separator) or _fault_of_sign(text, sign)
            if fault:
                return f"row {row}, column {column}: {quoted(text)}: {fault}"
            sign = sign or _decimal_sign(text)
        if len(cells) != width:
            return f"row {row}, column {min(len(cells), width) + 1}: {len(cells)} cells; expected {width}, as in row 1"
    return None


def _decimal_sign(number: str) -> str:
    return "".join(character for character in _SIGNS if character in number)


def _fault_of_sign(number: str, sign: str) -> str | None:
    """What is wrong with a number's decimal sign where those before it have this one, or none yet."""
    return (
        f"expected a decimal {_SIGNS[sign]}, as before it" if sign and _decimal_sign(number) not in ("", sign) else None
    )


def _fault(cell: str, separator: str) -> str | None:
    """What is wrong with the cell, or None for a number."""
    number = cell.replace(",", ".", 1) if separator == ";" else cell
    if _FINITE.fullmatch(number):
        return "too large; expected a number that float64 can hold" if math.isinf(float(number)) else None
    if _NON_FINITE.fullmatch(cell):
        return None
    return next(words for pattern, words in _FAULTS if re.search(pattern, cell))


def _fault_of_header(row: str, layout: Layout) -> str | None:
    """Where a column's name is no text, or None."""
    for column, cell in enumerate(_cells(row, layout.separator), start=1):
        if cell and (fault := _fault_of_name(cell)):
            return f"row 1, column {column}: {quoted(cell)}: {fault}"
    return None


def _fault_of_name(name: str | None) -> str | None:
    """What is wrong with a row's name, or None."""
    if name is None:
        return 'expected a name, or "" for an empty one'
    return next((words for pattern, words in (_NO_TEXT, _NUL) if re.search(pattern, name)), None)
