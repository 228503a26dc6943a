"""What a JSON object that attnlab itself once wrote may hold, field by field: anyone may have edited it since.

A description is a table of name -> `Kind`; `require` holds an object against one.
"""

import re
from collections.abc import Callable, Collection, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from attnlab.errors import InputError
from attnlab.files.opening import as_text, quoted


class Kind(NamedTuple):
    """What a field may hold."""

    #: in words: "a whole number of 1 or more"
    expected: str
    holds: Callable[[Any], bool]


OBJECT = Kind("an object", lambda value: isinstance(value, dict))
TEXT = Kind("text", lambda value: isinstance(value, str))


def whole(least: int, bits: int | None = None) -> Kind:
    """A whole number, of so many bits at most; true and false, which Python counts among them, are none."""
    words = f"a whole number of {least} or more" + ("" if bits is None else f", and below 2^{bits}")
    return Kind(words, lambda value: type(value) is int and least <= value and (bits is None or value < 2**bits))


def number(least: float, most: float) -> Kind:
    """A number of that range, and so none that is not finite."""
    words = f"a number from {least:g} to {most:g}"
    return Kind(words, lambda value: type(value) in (int, float) and least <= value <= most)


def spelt(pattern: str, example: str) -> Kind:
    """Text of that form, and nothing else."""
    form = re.compile(pattern, re.ASCII)
    return Kind(f"text such as {example}", lambda value: isinstance(value, str) and form.fullmatch(value) is not None)


def one_of(words: Collection[str]) -> Kind:
    """One of the words."""
    *first, last = words
    listed = f"{', '.join(first)} or {last}" if first else last
    return Kind(listed, lambda value: isinstance(value, str) and value in words)


def several(kind: Kind, least: int = 1, most: int | None = None) -> Kind:
    """A list of so many things of one kind."""
    count = f"{least} or more" if most is None else f"{least}" if most == least else f"{least} to {most}"

    def holds(value: Any) -> bool:
        return isinstance(value, list) and least <= len(value) <= (most or len(value)) and all(map(kind.holds, value))

    return Kind(f"a list of {count}, each {kind.expected}", holds)


def rising(numbers: Kind) -> Kind:
    """A list of numbers, each above the one before it."""
    words = f"{numbers.expected}, rising"
    return Kind(words, lambda value: numbers.holds(value) and all(a < b for a, b in pairwise(value)))


def maybe(kind: Kind) -> Kind:
    """Null, or something of a kind."""
    return Kind(f"{kind.expected}, or null", lambda value: value is None or kind.holds(value))


def require(found: object, fields: Mapping[str, Kind], where: str, *, others: bool = False) -> Mapping[str, Any]:
    """The object, which holds these fields, each of its kind.

    Args:
        others: whether it may hold others besides.

    Raises:
        InputError: it does not; names the first field that shows it.
    """
    if not isinstance(found, dict):
        raise InputError(f"{where}: {_told(found)}; expected an object of {', '.join(fields)}")
    for name, kind in fields.items():
        if name not in found:
            raise InputError(f"{where}: {name}: missing; expected {kind.expected}")
        if not kind.holds(found[name]):
            raise InputError(f"{where}: {name}: {_told(found[name])}; expected {kind.expected}")
    unknown = next((name for name in found if name not in fields), None)
    if unknown is not None and not others:
        raise InputError(f"{where}: {quoted(unknown)}: unknown; expected {', '.join(fields)} alone")
    return found


def _told(value: object) -> str:
    return "null" if value is None else quoted(as_text(value))
