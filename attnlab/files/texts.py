"""Texts and token numbers that a person gives, and the text that comes with the package."""

import re
from pathlib import Path

import numpy as np

from attnlab.errors import InputError
from attnlab.files.opening import StrPath, quoted, read_bytes, recognised, shown
from attnlab.files.presets import packaged
from attnlab.maths.precision import Array

#: What the person who gives no text is shown: a few plain paragraphs, some 300 words.
SAMPLE = "sample.txt"
#: Token numbers beyond this belong to no vocabulary.
_LARGEST_ID = 2**31 - 1
#: Bytes in memory for one of the file, at the worst: four for each character of a text with an emoji in it, twice.
_GROWTH = 8
#: So many times more are taken by a file of token numbers, whose every number is a word, an int and 8 bytes.
_GROWTH_OF_IDS = 4


def sample_text() -> str:
    """The text that comes with the package."""
    return read_text(packaged(SAMPLE), max_bytes=1 << 20)


def read_text(path: StrPath, *, max_bytes: int) -> str:
    """A UTF-8 text; a byte order mark at its beginning is dropped, and lines end in one newline each.

    Raises:
        InputError: the file cannot be read, is empty, or is not UTF-8; names the byte.
        MemoryRefused: reading it would take more than max_bytes.
    """
    data = read_bytes(path, max_bytes=max_bytes, growth=_GROWTH)
    if not data.strip():
        raise InputError(f"{shown(path)}: no text in it; expected a text in UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        found = recognised(data[:32])
        what = found or f"byte {problem.start:,} is no UTF-8"
        raise InputError(f"{shown(path)}: {what}; expected a text in UTF-8") from problem
    if "\0" in text:
        raise InputError(f"{shown(path)}: a NUL character in it; expected a text in UTF-8")
    return text.replace("\r\n", "\n")


def read_ids(given: str, *, max_bytes: int) -> Array:
    """Token numbers, (n,) int64: as typed ("101 7592", commas allowed), or else in the file of that name.

    Raises:
        InputError: the file cannot be read, or something in it is no token number; names it and its place.
        MemoryRefused: as `read_text`.
    """
    if re.fullmatch(r"[\d\s,]+", given, re.ASCII):
        return _ids(given, "--ids")
    return _ids(read_text(Path(given), max_bytes=max_bytes // _GROWTH_OF_IDS), shown(given))


def _ids(text: str, where: str) -> Array:
    words = text.replace(",", " ").replace("[", " ").replace("]", " ").split()
    if not words:
        raise InputError(f"{where}: no number in it; expected token numbers, such as 101 7592 102")
    for place, word in enumerate(words, start=1):
        if not re.fullmatch(r"\d{1,10}", word, re.ASCII) or int(word) > _LARGEST_ID:
            raise InputError(f"{where}: entry {place:,} is {quoted(word)}; expected token numbers, such as 101 7592")
    found: Array = np.array([int(word) for word in words], dtype=np.int64)
    return found
