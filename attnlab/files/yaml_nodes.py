"""YAML read strictly: text in, a small tree of nodes with their places out; or a ConfigError that names the place.

Only PyYAML's events are used, never its constructor: scalars are read as YAML 1.2's core schema has them (1e-5 is a
number, 012 is 12, yes and 1:30 are text), and nothing in a file can make an object.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

import yaml

from attnlab.errors import COMMAND_LINE, ConfigError, InputError
from attnlab.files.opening import StrPath, open_regular, shown

MAX_BYTES = 2**18
MAX_DEPTH = 32
TOO_DEEP = f"nested more than {MAX_DEPTH} deep; expected two or three levels"

# libyaml where PyYAML was built with it: several times faster.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Value = str | int | float | bool | None

_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS: dict[str, Value] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}

#: Control characters, surrogates, and the separators that YAML 1.1 takes for line breaks and editors do not: refused,
#: so that the line numbers in complaints are the ones that an editor shows.
REFUSED_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_INDENTING_TAB = re.compile(r"^ *(\t)", re.MULTILINE)
_WORD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_LINE_BREAK = re.compile(r"\r\n|\r|\n")


class Place(NamedTuple):
    """Where something stands in a file: both counted from 1, the column in characters."""

    line: int
    column: int


class Option(NamedTuple):
    """Where a value stands on the command line."""

    #: as complaints show it: `--set block.causal=true`, `--dk 64`
    text: str
    #: what it sets: `block.causal`
    key: str

    def complaint(self, path: str, text: str) -> str:
        """A complaint of a key; its name and its value are left out where the option shows them."""
        if path != self.key:
            return f"{self.text}: {path}: {text}"
        given = text.partition(";")[0]
        if self.text.endswith((f"={given}", f" {given}")):
            return self.text + text.removeprefix(given)
        return f"{self.text}: {text}"


Origin = Place | Option


class Scalar(NamedTuple):
    """A single value, and the text that it was written as (without quotes)."""

    value: Value
    text: str
    place: Origin | None = None


class Sequence(NamedTuple):
    """A list."""

    items: "tuple[Node, ...]"
    place: Origin | None = None


class Mapping(NamedTuple):
    """Keys and their values in the file's order. A key that was given twice stands here twice."""

    entries: "tuple[tuple[Scalar, Node], ...]"
    place: Origin | None = None


Node = Scalar | Sequence | Mapping


def parse(data: bytes, source: str) -> Mapping:
    """The file's bytes as a tree.

    Args:
        data: YAML in UTF-8, with or without a byte order mark.
        source: the file's name as complaints should show it.

    Raises:
        ConfigError: anything that is not one mapping in plain YAML; anchors, aliases, tags, tabs as indentation and
            control characters are refused. Keys given twice are left to the schema, which knows their full names.
    """
    text = _decoded(data, source)
    _refuse_characters(text, source)
    root = _tree(_events(text, source), source)
    if root is None or (isinstance(root, Scalar) and root.value is None):
        refuse(source, Place(1, 1), 'an empty file; expected keys, such as "block:"')
    if not isinstance(root, Mapping):
        refuse(source, root.place, f'{described(root)}; expected keys, such as "block:"')
    return root


def parse_value(text: str, option: Option) -> Node:
    """The value that an option of the command line sets, as a tree whose every place is the option.

    Raises:
        ConfigError: as `parse`; nothing at all is refused too, since null can be said.
    """
    _refuse_characters(text, option)
    node = _tree(_events(text, option), option)
    if node is None or node == Scalar(None, "", node.place):
        refuse(option, None, "no value; expected one, such as true, 64 or null")
    return _placed(node, option)


def _placed(node: Node, option: Option) -> Node:
    """The tree with another place for every node of it."""
    if isinstance(node, Scalar):
        return node._replace(place=option)
    if isinstance(node, Sequence):
        return Sequence(tuple(_placed(item, option) for item in node.items), option)
    return Mapping(tuple((key._replace(place=option), _placed(value, option)) for key, value in node.entries), option)


def read_bytes(path: StrPath) -> bytes:
    """The bytes of a regular file of at most MAX_BYTES.

    Raises:
        ConfigError: missing, unreadable, a directory, a pipe or a device, or too large.
    """
    try:
        with open_regular(path) as file:
            data = file.read(MAX_BYTES + 1)
    except InputError as problem:
        raise ConfigError(str(problem)) from problem
    if len(data) > MAX_BYTES:
        refuse(shown(path), None, "more than 256 KiB; expected a configuration of a few lines")
    return data


def yaml_text(document: dict[str, Any]) -> str:
    """Plain data as YAML text that `parse` reads back as the same values."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6)


def resolve(text: str) -> Value:
    """What an unquoted scalar means in YAML 1.2's core schema."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        try:
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        except ValueError:  # more digits than Python converts
            return float(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def where(source: str | Option, place: Origin | None) -> str:
    """FILE:LINE:COLUMN, or the source alone where there is no place; of an option, the option."""
    for option in (source, place):
        if isinstance(option, Option):
            return option.text
    return f"{source}:{place.line}:{place.column}" if isinstance(place, Place) else str(source)


def refuse(source: str | Option, place: Origin | None, text: str) -> NoReturn:
    """Raise the one-line ConfigError that begins with the place."""
    complaint = f"{where(source, place)}: {text}"
    raise ConfigError(complaint, source=COMMAND_LINE) if isinstance(source, Option) else ConfigError(complaint)


def described(node: Node) -> str:
    """The node in a few words, for a complaint: `"eight" (text)`, `8.5`, `nothing (null)`, `a list`."""
    if isinstance(node, Sequence):
        return "a list"
    if isinstance(node, Mapping):
        return "a mapping of keys"
    text = brief(node.text)
    if isinstance(node.value, str):
        return f'"{text}" (text)'
    if isinstance(node.value, bool):
        return f"{text} (a boolean)"
    return text or "nothing (null)"


def brief(text: str) -> str:
    """Text out of a configuration as it may be printed: escaped, and cut where it is long."""
    return shown(text if len(text) <= 60 else f"{text[:57]}…")


def _decoded(data: bytes, source: str) -> str:
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode().removeprefix("\ufeff")
        refuse(source, _end(before), f"byte 0x{data[error.start]:02x} is not UTF-8; expected text in UTF-8")


def _end(text: str) -> Place:
    """The place just after a text that begins the file."""
    breaks = list(_LINE_BREAK.finditer(text))
    return Place(len(breaks) + 1, len(text) - (breaks[-1].end() if breaks else 0) + 1)


def _refuse_characters(text: str, source: str | Option) -> None:
    if found := REFUSED_CHARACTER.search(text):
        character = f"the character U+{ord(found[0]):04X}"
        refuse(source, _end(text[: found.start()]), f"{character}; expected printable text")
    if found := _INDENTING_TAB.search(text):
        refuse(source, _end(text[: found.start(1)]), "a tab; expected spaces")


def _events(text: str, source: str | Option) -> Iterator[Any]:
    place = Place(1, 1)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            place = _place(event.end_mark)
            yield event
    except yaml.MarkedYAMLError as error:
        if error.problem_mark:
            place = _place(error.problem_mark)
            _refuse_depth(text[: error.problem_mark.index], source)
        problem = ", ".join(filter(None, (error.context, error.problem)))
        refuse(source, place, f"not valid YAML: {shown(problem[:200])}")
    except (ValueError, OverflowError) as error:  # PyYAML lets these through: "\UFFFFFFFF"
        refuse(source, place, f"not valid YAML: {shown(str(error)[:200])}")


def _refuse_depth(text: str, source: str | Option) -> None:
    """Refuse nesting in the text before a mistake: parsers look far ahead, and some have a limit of their own."""
    depth = 0
    with suppress(yaml.YAMLError):  # the text ends in the middle
        for event in yaml.parse(text, Loader=_LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                refuse(source, _place(event.start_mark), TOO_DEEP)


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1)


@dataclass(eq=False, repr=False)
class _Open:
    """A list or mapping that is still being read: a mapping's keys and values lie in `nodes` alternately."""

    is_mapping: bool
    place: Place | None
    nodes: list[Node] = field(default_factory=list)

    def expects_key(self) -> bool:
        return self.is_mapping and len(self.nodes) % 2 == 0

    def closed(self) -> Node:
        if self.is_mapping:
            keys = (node for node in self.nodes[::2] if isinstance(node, Scalar))
            return Mapping(tuple(zip(keys, self.nodes[1::2], strict=True)), self.place)
        return Sequence(tuple(self.nodes), self.place)


def _tree(events: Iterable[Any], source: str | Option) -> Node | None:
    """The one document's root, None where there is no document. A loop with a stack: nesting costs no recursion."""
    document = _Open(is_mapping=False, place=None)
    stack = [document]
    for event in events:
        _refuse_event(event, stack, source)
        if isinstance(event, yaml.ScalarEvent):
            value = resolve(event.value) if event.implicit[0] else event.value
            stack[-1].nodes.append(Scalar(value, event.value, _place(event.start_mark)))
        elif isinstance(event, yaml.CollectionStartEvent):
            stack.append(_Open(isinstance(event, yaml.MappingStartEvent), _place(event.start_mark)))
        elif isinstance(event, yaml.CollectionEndEvent):
            node = stack.pop().closed()
            stack[-1].nodes.append(node)
    return document.nodes[0] if document.nodes else None


def _refuse_event(event: Any, stack: list[_Open], source: str | Option) -> None:
    place = _place(event.start_mark)
    if isinstance(event, yaml.AliasEvent):
        refuse(source, place, f"an alias, *{brief(str(event.anchor))}; expected the value itself")
    if getattr(event, "anchor", None) is not None:
        refuse(source, place, f"an anchor, &{brief(event.anchor)}; expected a plain value")
    if getattr(event, "tag", None) is not None:
        refuse(source, place, f"a tag, {brief(event.tag)}; expected a plain value")
    if isinstance(event, yaml.DocumentStartEvent) and stack[0].nodes:
        refuse(source, place, "a second document; expected one")
    if isinstance(event, yaml.CollectionStartEvent):
        if stack[-1].expects_key():
            refuse(source, place, "a list or mapping as a key; expected a name")
        if len(stack) > MAX_DEPTH:
            refuse(source, place, TOO_DEEP)


class _Dumper(yaml.SafeDumper):
    """Quotes whatever is not a word: left alone, PyYAML would quote by YAML 1.1, which takes 1e-5 for text."""

    def text(self, text: str) -> yaml.ScalarNode:
        word = _WORD.fullmatch(text) and resolve(text) == text
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if word else '"')


_Dumper.add_representer(str, _Dumper.text)
