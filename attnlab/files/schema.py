"""Sections of a configuration: the keys that may stand in a mapping, their defaults, and the rules between them.

Checking does not stop at a mistake: a value that is wrong is complained of and left out, and the rules that need it
pass it over.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from attnlab.files.kinds import WRONG, Complaints, JsonSchema, Kind, Single, did_you_mean
from attnlab.files.yaml_nodes import Mapping, Node, Option, Origin, Scalar, brief, described, where

#: The default of a key that must be given.
REQUIRED = object()


class Key(NamedTuple):
    """A key of a section: its kind, one sentence on what it means, its default as it would stand in the file."""

    kind: Kind
    about: str
    #: A section's default is that of its own keys.
    default: Any = None

    def check(self, node: Node | None, path: str, section: Mapping, complaints: Complaints) -> Any:
        """The value of the key's node; where the key was not given, the default."""
        if node is not None:
            return self.kind.check(node, path, complaints)
        if self.default is REQUIRED:
            complaints.add(section.place, path, "missing; expected a value")
            return WRONG
        if isinstance(self.kind, Section):
            return self.kind.check(Mapping((), section.place), path, complaints)
        return self.default

    def schema(self) -> JsonSchema:
        """The kind's JSON schema with the sentence and the default."""
        if self.default is REQUIRED or isinstance(self.kind, Section):
            return {"description": f"{self.about}.", **self.kind.schema()}
        about = f"{self.about} (default {_written(self.default)})."
        return {"description": about, "default": self.default, **self.kind.schema()}


@dataclass(eq=False, repr=False)
class Values:
    """A section that has been checked."""

    path: str
    place: Origin | None
    #: The values by key, defaults filled in; a key whose value is wrong is missing.
    values: dict[str, Any]
    #: The nodes of the keys that were given.
    given: dict[str, Node]
    complaints: Complaints

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def know(self, *keys: str) -> bool:
        """Whether none of these keys' values was wrong."""
        return all(key in self.values for key in keys)

    def complain(self, key: str, text: str) -> None:
        """Complain of a key: at its value's place if it was given, else at the section's."""
        place = self.given[key].place if key in self.given else self.place
        self.complaints.add(place, _joined(self.path, key), text)

    def origin(self, key: str) -> str:
        """The key's value and who set it: `512 (the default)`, `512 (set at mine.yaml:2:12)`, `8 (set by --dk 8)`."""
        if key not in self.given:
            return f"{_written(self[key])} (the default)"
        place = self.given[key].place
        setter = f"at {where(self.complaints.source, place)}"
        if place is None or isinstance(place, Option):
            setter = f"by {_joined(self.path, key) if place is None else place.text}"
        return f"{_written(self[key])} (set {setter})"


class Section(NamedTuple):
    """A mapping with these keys and no others. Nothing (null) in its place leaves every key at its default."""

    keys: dict[str, Key]
    #: What must hold between the values; run after the keys, each rule passing over values that are not known.
    rules: tuple[Callable[[Values], None], ...] = ()
    #: The rules as JSON schema keywords, as far as those can say them.
    json_rules: JsonSchema | None = None

    def check(self, node: Node, path: str, complaints: Complaints) -> Any:
        """The section's Values, or WRONG after complaining of something that is no mapping."""
        if isinstance(node, Scalar) and node.value is None:
            node = Mapping((), node.place)
        if not isinstance(node, Mapping):
            complaints.add(node.place, path, f"{described(node)}; expected the keys {', '.join(self.keys)}")
            return WRONG
        given = self._given(node, path, complaints)
        values = {
            name: key.check(given.get(name), _joined(path, name), node, complaints) for name, key in self.keys.items()
        }
        known = {name: value for name, value in values.items() if value is not WRONG}
        section = Values(path=path, place=node.place, values=known, given=given, complaints=complaints)
        for rule in self.rules:
            rule(section)
        return section

    def schema(self) -> JsonSchema:
        """The section as a JSON schema."""
        required = [name for name, key in self.keys.items() if key.default is REQUIRED]
        return {
            "type": ["object", "null"],
            "properties": {name: key.schema() for name, key in self.keys.items()},
            "additionalProperties": False,
            **({"required": required} if required else {}),
            **(self.json_rules or {}),
        }

    def homes(self, name: str, path: str = "") -> Iterator[str]:
        """The sections, this one and those within it, in which a key of that name may stand; this one is ""."""
        if name in self.keys:
            yield path
        for own, key in self.keys.items():
            inner = key.kind.section if isinstance(key.kind, WordOr) else key.kind
            if isinstance(inner, Section):
                yield from inner.homes(name, _joined(path, own))

    def _given(self, node: Mapping, path: str, complaints: Complaints) -> dict[str, Node]:
        """The nodes of the known keys; complains of the others, and of keys given twice."""
        given: dict[str, Node] = {}
        first: dict[str, Origin | None] = {}
        for key, value in node.entries:
            name = _joined(path, brief(key.text))
            if key.text in first:
                at = where(complaints.source, first[key.text])
                complaints.add(key.place, name, f"given twice; expected once, as at {at}")
                continue
            first[key.text] = key.place
            if key.text in self.keys:
                given[key.text] = value
            else:
                complaints.add(key.place, name, self._unknown(key.text, complaints))
        return given

    def _unknown(self, name: str, complaints: Complaints) -> str:
        if complaints.crowded:
            return "unknown key; expected none of that name"
        if near := did_you_mean(name, self.keys):
            return f"unknown key{near}"
        homes = [f'under "{path}"' if path else "at the top level" for path in complaints.homes(name)]
        if homes:
            return f"unknown key here; it belongs {' or '.join(homes)}"
        return f"unknown key; expected {', '.join(self.keys)}"


class WordOr(NamedTuple):
    """One of some words, or a mapping: `none`, or `{rotary: {base: 10000}}`."""

    word: Single
    section: Section

    def check(self, node: Node, path: str, complaints: Complaints) -> Any:
        """The word, the section's Values, or WRONG after complaining."""
        kind: Kind = self.section if isinstance(node, Mapping) else self.word
        return kind.check(node, path, complaints)

    def schema(self) -> JsonSchema:
        """Either side's JSON schema."""
        return {"anyOf": [self.word.schema(), {**self.section.schema(), "type": "object"}]}


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _written(value: object) -> str:
    """A default or a checked value as it would be written in YAML."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
