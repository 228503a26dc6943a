"""Keys of a configuration that the command line sets: `block.causal=true`, read as YAML and put in a file's place."""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from attnlab.errors import UsageError
from attnlab.files.opening import quoted
from attnlab.files.yaml_nodes import Mapping, Node, Option, Scalar, brief, parse_value

#: More names than any key has.
_MOST_NAMES = 16


class Setting(NamedTuple):
    """A key, the value that it gets, and the option that says so."""

    option: Option
    #: every place in it is the option
    value: Node
    #: the value as it was written, cut where it is long
    text: str

    @property
    def key(self) -> tuple[str, ...]:
        """The names on the way to it: ("block", "causal")."""
        return tuple(self.option.key.split("."))


def read_setting(text: str) -> Setting:
    """What `--set KEY=VALUE` says: a key by its full name, and its value in YAML, flow mappings and lists among them.

    Raises:
        ConfigError: the value is no YAML, or there is none.
        UsageError: there is no =, or no key before it.
    """
    key, equals, value = text.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names) or len(names) > _MOST_NAMES:
        raise UsageError(f"--set {quoted(text)}; expected KEY=VALUE, such as block.causal=true")
    return _setting(f"--set {brief(key.strip())}={brief(value)}", key.strip(), value)


def short_setting(option: str, key: str, value: str, *, flag: bool = False) -> Setting:
    """What an option that is short for `--set KEY=VALUE` says.

    Args:
        flag: it takes no value of its own, as --causal.

    Raises:
        ConfigError: the value is no YAML, or there is none.
    """
    return _setting(option if flag else f"{option} {brief(value)}", key, value)


def _setting(shown: str, key: str, value: str) -> Setting:
    option = Option(shown, key)
    return Setting(option, parse_value(value, option), brief(value.strip()))


def refuse_overlaps(settings: Sequence[Setting]) -> None:
    """Refuse two settings of one key, or of a key and one within it.

    Raises:
        UsageError: naming both.
    """
    for first, second in combinations(settings, 2):
        if overlap(first.key, second.key):
            inner = brief(max(first.option.key, second.option.key, key=len))
            raise UsageError(f"{second.option.text}: not together with {first.option.text}; expected {inner} once")


def overlap(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two keys are the same, or one lies within the other."""
    return all(a == b for a, b in zip(one, other, strict=False))


def with_settings(root: Mapping, settings: Sequence[Setting]) -> Mapping:
    """The tree of a configuration with the settings' values in place of its own; what a key needs around it is made.

    Whether there is such a key, and whether it takes the value, is for the schema to say.
    """
    for setting in settings:
        root = _with_value(root, setting.key, setting.value)
    return root


def _with_value(node: Mapping, key: Sequence[str], value: Node) -> Mapping:
    first, *within = key
    old = next((entry for name, entry in node.entries if name.text == first), None)
    if within:
        value = _with_value(old if isinstance(old, Mapping) else Mapping((), value.place), within, value)
    if old is None:
        return Mapping((*node.entries, (Scalar(first, first, value.place), value)), node.place)
    entries = tuple((name, value if entry is old else entry) for name, entry in node.entries)
    return Mapping(entries, node.place)


def named(name: str, settings: Sequence[Setting]) -> str:
    """A configuration's name with what is changed in it: `single-head with d_k=16`."""
    changes = [f"{setting.option.key.removeprefix('block.')}={setting.text}" for setting in settings]
    return f"{name} with {', '.join(changes)}" if changes else name
