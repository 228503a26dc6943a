"""Kinds of single values: each checks a node of a configuration, and gives its JSON schema.

Checking does not stop at a mistake: it is noted among the complaints, and WRONG stands in the value's place.
"""

import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

from attnlab.errors import COMMAND_LINE, MOST_LISTED, ConfigError
from attnlab.files.yaml_nodes import (
    REFUSED_CHARACTER,
    Node,
    Option,
    Origin,
    Place,
    Scalar,
    Sequence,
    Value,
    described,
    resolve,
    where,
)

JsonSchema = dict[str, Any]

#: Characters of a path, where systems have a limit.
_LONGEST_TEXT = 4096
#: Stands in place of a value that has been complained of.
WRONG = object()


class Complaints:
    """All that is wrong with one configuration.

    Args:
        source: the file as complaints should name it, or "config" for Python data.
        homes: the sections in which a key of that name may stand: "block", for instance; "" is the top level.
    """

    def __init__(self, source: str, homes: Callable[[str], Iterable[str]]) -> None:
        self.source = source
        self.homes = homes
        self._found: list[tuple[Origin | None, str]] = []

    def add(self, place: Origin | None, path: str, text: str) -> None:
        """Note `PLACE: path: text`."""
        if isinstance(place, Option):
            self._found.append((place, place.complaint(path, text)))
        else:
            self._found.append((place, f"{where(self.source, place)}: {path}: {text}"))

    @property
    def crowded(self) -> bool:
        """Whether there are more than anyone reads: advice, which takes its time, is left out from here on."""
        return len(self._found) >= 5 * MOST_LISTED

    def raise_any(self) -> None:
        """Raise the complaints, if there are any, as one ConfigError in the order of their places, options first."""
        if self._found:
            ordered = sorted(self._found, key=lambda found: found[0] if isinstance(found[0], Place) else Place(0, 0))
            of_options = all(isinstance(place, Option) for place, _ in ordered)
            raise ConfigError(*(text for _, text in ordered), source=COMMAND_LINE if of_options else self.source)


class Kind(Protocol):
    """A kind of value."""

    def check(self, node: Node, path: str, complaints: Complaints) -> Any:
        """The node's value, or WRONG after complaining."""

    def schema(self) -> JsonSchema:
        """The kind as a JSON schema."""


class Single(NamedTuple):
    """A kind whose values are scalars; `integer`, `number`, `boolean`, `text`, `choice` and `nullable` make them."""

    #: What the kind takes, in words that follow "expected".
    expected: str
    #: A scalar's value as the kind has it, or WRONG.
    read: Callable[[Value], Any]
    json: JsonSchema
    #: What else a complaint should say of a value.
    hint: Callable[[Value], str] = lambda value: ""

    def check(self, node: Node, path: str, complaints: Complaints) -> Any:
        """The scalar's value, or WRONG after complaining."""
        value = self.read(node.value) if isinstance(node, Scalar) else WRONG
        if value is WRONG:
            hint = self._hint(node.value) if isinstance(node, Scalar) and not complaints.crowded else ""
            complaints.add(node.place, path, f"{described(node)}; expected {self.expected}{hint}")
        return value

    def schema(self) -> JsonSchema:
        """The kind as a JSON schema."""
        return self.json

    def _hint(self, value: Value) -> str:
        if isinstance(value, str) and resolve(value) != value and self.read(resolve(value)) is not WRONG:
            return "; drop the quotes"
        return self.hint(value)


def integer(minimum: int, maximum: int = 2**63 - 1) -> Single:
    """Whole numbers from a minimum on, up to what makes sense, or the machine's own numbers hold.

    8.0 is none, and neither is true.
    """
    power = maximum.bit_length()
    bound = f", and below 2^{power}" if maximum + 1 == 2**power else f", and at most {maximum:,}"

    def read(value: Value) -> object:
        whole = isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum
        return value if whole else WRONG

    def hint(value: Value) -> str:
        return bound if isinstance(value, int) and value > maximum else ""

    schema = {"type": "integer", "minimum": minimum, "maximum": maximum}
    return Single(expected=f"a whole number of {minimum} or more", read=read, json=schema, hint=hint)


def number(*, above: float | None = None, maximum: float | None = None) -> Single:
    """Finite numbers within the bounds, as floats; whole numbers are among them."""

    def read(value: Value) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
            return WRONG
        inside = (above is None or value > above) and (maximum is None or value <= maximum)
        return float(value) if inside else WRONG

    expected = "a finite number" if above is None else f"a number above {above}"
    schema: JsonSchema = {"type": "number"}
    if above is not None:
        schema["exclusiveMinimum"] = above
    if maximum is not None:
        expected += f" and at most {maximum}"
        schema["maximum"] = maximum
    return Single(expected=expected, read=read, json=schema)


def boolean(*, or_else: str = "") -> Single:
    """True and false; yes and on are text.

    Args:
        or_else: what else may stand, for complaints, where this is one side of an `OrList`.
    """
    return Single(
        expected=f"true, false or {or_else}" if or_else else "true or false",
        read=lambda value: value if isinstance(value, bool) else WRONG,
        json={"type": "boolean"},
    )


def nothing(*, or_else: str) -> Single:
    """Null alone; what else may stand is for complaints: it is one side of a `WordOr` or an `OrList`."""
    return Single(
        expected=f"{or_else}, or null", read=lambda value: None if value is None else WRONG, json={"type": "null"}
    )


def text(expected: str) -> Single:
    """Text of at least one character, with none that YAML itself would not hold; no longer than any file's name."""

    def read(value: Value) -> object:
        fits = isinstance(value, str) and 0 < len(value) <= _LONGEST_TEXT and not REFUSED_CHARACTER.search(value)
        return value if fits else WRONG

    def hint(value: Value) -> str:
        return "; put it in quotes" if isinstance(value, int | float) else ""

    return Single(
        expected=expected, read=read, json={"type": "string", "minLength": 1, "maxLength": _LONGEST_TEXT}, hint=hint
    )


def choice(words: Iterable[str], *, or_else: str = "") -> Single:
    """One of the words.

    Args:
        words: what may stand.
        or_else: what else may stand, for complaints, where the choice is one side of a `WordOr`.
    """
    words = tuple(words)

    def hint(value: Value) -> str:
        if not isinstance(value, str) or or_else.startswith(f"{{{value}:"):
            return ""
        return did_you_mean(value, words)

    alternatives = [*words, or_else] if or_else else list(words)
    return Single(
        expected=f"{', '.join(alternatives[:-1])} or {alternatives[-1]}",
        read=lambda value: value if value in words else WRONG,
        json={"enum": list(words)},
        hint=hint,
    )


def nullable(kind: Single) -> Single:
    """The kind, or null."""
    return kind._replace(
        expected=f"{kind.expected}, or null",
        read=lambda value: None if value is None else kind.read(value),
        json={"anyOf": [kind.json, {"type": "null"}]},
    )


class OrList(NamedTuple):
    """A single value, or a list of values of one kind, read as a tuple."""

    #: whose `expected` also says what the list may be
    single: Single
    item: Single

    def check(self, node: Node, path: str, complaints: Complaints) -> Any:
        """The value, the tuple, or WRONG after complaining of every item that is wrong."""
        if not isinstance(node, Sequence):
            return self.single.check(node, path, complaints)
        items = tuple(self.item.check(item, f"{path}[{i}]", complaints) for i, item in enumerate(node.items))
        return WRONG if any(item is WRONG for item in items) else items

    def schema(self) -> JsonSchema:
        """Either side's JSON schema."""
        return {"anyOf": [self.single.schema(), {"type": "array", "items": self.item.schema()}]}


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """`; did you mean "causal"?` with the nearest of the words, or nothing where none is near."""
    from difflib import get_close_matches  # slow to import, and needed only for a mistake

    near = get_close_matches(word[:60].lower(), list(words), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""
