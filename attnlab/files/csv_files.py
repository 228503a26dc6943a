"""Comma-separated numbers: a row per token, a column per coordinate, and nothing else."""

import io
import math
import os
import re
from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from attnlab.errors import InputError
from attnlab.files.opening import StrPath, open_regular, quoted, require_memory, shown

#: Bytes in memory for one of the file, at the worst: a single row of one-digit numbers.
_GROWTH = 24
_FINITE = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_NON_FINITE = re.compile(r"[+-]?(inf|infinity|nan)", re.IGNORECASE)
#: What a cell that is no number may show, the most telling first, and what to say to it.
_FAULTS = (
    (r"^$", "expected a number (nan where there is none)"),
    (r"^\ufeff", "begins with a byte-order mark; expected UTF-8 without one"),
    (r"[\ud800-\udfff]", "bytes that are not UTF-8; expected a text file of numbers, saved as UTF-8"),
    (r"\0", "a NUL byte; expected a text file of numbers, saved as UTF-8"),
    (r"[\"']", "expected a number without quotes"),
    (r";", "expected commas between the numbers, not semicolons"),
    (r"\d\s+[-+.\d]", "expected commas between the numbers, not blanks"),
    (r"^[+-]?0[xX]", "expected a decimal number, not a hexadecimal one"),
    (r"", "expected a number; a header row, if this is one, must go"),
)


def read_csv(path: StrPath, *, max_bytes: int) -> NDArray[np.float64]:
    """The numbers of a .csv file: (rows, columns), float64. The words nan and inf are numbers here.

    Raises:
        InputError: the file is missing or empty, a cell is no number or too large for one, or a row has more or fewer
            cells than the first. The text names the first such cell, rows and columns counted from 1.
        MemoryRefused: reading it may take more than `max_bytes`.
    """
    where = shown(path)
    with open_regular(path) as file:
        require_memory(_GROWTH * os.fstat(file.fileno()).st_size, max_bytes, where)
        # Bytes that are not UTF-8 become surrogates, which no number holds: the complaint can then name their cell.
        text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape")
        values, fault = _parse(_rows(text))
        # loadtxt takes 1e400 for inf without a word.
        if fault or np.isinf(values).any():
            text.seek(0)
            fault = _first_fault(_rows(text)) or fault
    if fault:
        raise InputError(f"{where}: {fault}")
    return values


def _parse(rows: Iterator[str]) -> tuple[NDArray[np.float64], str | None]:
    """The numbers, or none and the reason."""
    first = next(rows, None)
    if first is None:
        return np.empty((0, 0)), "an empty file; expected rows of numbers with commas between them"
    try:
        return np.loadtxt(chain([first], rows), delimiter=",", comments=None, ndmin=2), None
    except ValueError as problem:
        return np.empty((0, 0)), str(problem)


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


def _first_fault(rows: Iterable[str]) -> str | None:
    """Where the first fault is and what it is, or None."""
    width = 0
    for row, line in enumerate(rows, start=1):
        cells = [cell.strip() for cell in line.split(",")]
        width = width or len(cells)
        for column, cell in enumerate(cells, start=1):
            if fault := _fault(cell):
                return f"row {row}, column {column}: {quoted(cell)}: {fault}"
        if len(cells) != width:
            return f"row {row}, column {min(len(cells), width) + 1}: {len(cells)} cells; expected {width}, as in row 1"
    return None


def _fault(cell: str) -> str | None:
    """What is wrong with the cell, or None for a number."""
    if _FINITE.fullmatch(cell):
        return "too large; expected a number that float64 can hold" if math.isinf(float(cell)) else None
    if _NON_FINITE.fullmatch(cell):
        return None
    return next(words for pattern, words in _FAULTS if re.search(pattern, cell))
