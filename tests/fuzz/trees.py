"""JSON and YAML that is nearly right: a good document with values of other types, keys twice, nesting without end.

A document is edited as a tree, in which an object is a list of its pairs: so a key can stand there twice.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

Draw = st.DrawFn


class Object(list[Any]):
    """An object as a list of [key, value]."""


class Raw(str):
    """Text that goes into the file as it is."""


def nested(depth: int) -> Raw:
    return Raw("[" * depth + "]" * depth)


def mapped(depth: int) -> Raw:
    return Raw('{"a":' * depth + "1" + "}" * depth)


#: Values that readers stumble over. How deep Python goes depends on where it stands: so many depths.
ODD: Sequence[Raw] = (
    *map(Raw, ("null", "true", "false", "0", "1", "2", "3", "-1", "-0", "1.5", "0.1", "-0.0", "5e-324", "1e-46")),
    *map(Raw, ("1e39", "1e308")),
    *map(Raw, ("1e999", "-1e999", "NaN", "Infinity", "-Infinity", "64", "1000", "65536", "2147483647", "2147483648")),
    *map(Raw, ("4294967296", "9007199254740993", "9223372036854775807", "9223372036854775808")),
    *map(Raw, ("18446744073709551615",)),
    *(Raw("1" + "0" * digits) for digits in (25, 154, 308, 309, 400, 2000, 4299, 4300, 5000)),
    *map(Raw, ('""', '"a"', '"1"', '"\\u0000"', '"\\ud800"', '"\\u202eabc"', '"\\u001b[31m"', '"\\n"', '"[/x]"')),
    *map(Raw, ('"../x"', '"/"')),
    *map(Raw, ('"é"', '"\U0001f642"', '"' + "a" * 300 + '"', '"' + "a" * 5000 + '"', '"' + "\\u0007" * 2000 + '"')),
    *map(Raw, ("[]", "{}", "[[]]")),
    *map(Raw, ("[1, 2]", "[null]", '["a", "a"]', '{"a": 1, "a": 2}', '{"": 1}', "[1" + ", 1" * 3000 + "]")),
    *map(Raw, ("[1" + ", -1" * 70 + "]",)),
    *map(nested, (10, 33, 100, 200, 250, 300, 320, 400, 450, 480, 600, 900, 1500, 50_000)),
    *map(mapped, (33, 200, 300, 450, 480, 900, 1500)),
)  # fmt: skip
KEYS: Sequence[Raw] = (
    *map(Raw, ('""', '"a"', '"\\u0000"', '"\\ud800"', '"\\u202e"', '"\\u001b[2J"', '"__class__"', '"[/x]"', '"é"')),
    *map(Raw, ('" "', '"1"')),
    *map(Raw, ('"' + "k" * 300 + '"', '"' + "k" * 5000 + '"', '"' + "\\u0007" * 2000 + '"', '"\\n"')),
)  # fmt: skip


def tree(value: Any) -> Any:
    """Plain data as a tree to be edited."""
    if isinstance(value, dict):
        return Object([[key, tree(held)] for key, held in value.items()])
    return [tree(item) for item in value] if isinstance(value, list) else value


def written(node: Any) -> str:
    """The tree as JSON, or as nearly that as it is."""
    if isinstance(node, Raw):
        return node
    if isinstance(node, Object):
        return "{" + ", ".join(f"{written(key)}: {written(value)}" for key, value in node) + "}"
    if isinstance(node, list):
        return "[" + ", ".join(map(written, node)) + "]"
    return json.dumps(node)


def slots(node: Any) -> Iterator[tuple[list[Any], int]]:
    """Every value in the tree: the list that holds it, and where in it."""
    for i, held in enumerate(node):
        holder, at = (held, 1) if isinstance(node, Object) else (node, i)
        yield holder, at
        if isinstance(holder[at], list):
            yield from slots(holder[at])


def objects(node: Any) -> Iterator[Object]:
    if isinstance(node, Object):
        yield node
    if isinstance(node, list):
        for held in node:
            yield from objects(held[1] if isinstance(node, Object) else held)


def _replaced(draw: Draw, root: Any, odd: Sequence[Raw]) -> None:
    holder, at = draw(st.sampled_from(list(slots(root))))
    holder[at] = draw(st.sampled_from(odd))


def _swapped(draw: Draw, root: Any, odd: Sequence[Raw]) -> None:
    """A value where another stood: of the right file, and of the wrong type."""
    (one, i), (other, j) = (draw(st.sampled_from(list(slots(root)))) for _ in range(2))
    one[i] = Raw(written(other[j]))


def _dropped(draw: Draw, root: Any, odd: Sequence[Raw]) -> None:
    holder = draw(st.sampled_from([*objects(root)]))
    if holder:
        del holder[draw(st.integers(0, len(holder) - 1))]


def _twice(draw: Draw, root: Any, odd: Sequence[Raw]) -> None:
    holder = draw(st.sampled_from([*objects(root)]))
    if holder:
        key, value = draw(st.sampled_from(holder))
        holder.append([key, value if draw(st.booleans()) else draw(st.sampled_from(odd))])


def _renamed(draw: Draw, root: Any, odd: Sequence[Raw]) -> None:
    holder = draw(st.sampled_from([*objects(root)]))
    if holder:
        pair = draw(st.sampled_from(holder))
        typo = isinstance(pair[0], str) and not isinstance(pair[0], Raw) and draw(st.booleans())
        pair[0] = pair[0][:-1] if typo else draw(st.sampled_from(KEYS))


def _moved(draw: Draw, root: Any, odd: Sequence[Raw]) -> None:
    """A pair into another object."""
    one, other = (draw(st.sampled_from([*objects(root)])) for _ in range(2))
    if one:
        key, value = draw(st.sampled_from(one))
        other.append([key, Raw(written(value))])  # as text: an object may be moved into itself


def _many(draw: Draw, root: Any, odd: Sequence[Raw]) -> None:
    """More keys than anyone writes."""
    holder, count = draw(st.sampled_from([*objects(root)])), draw(st.sampled_from([70, 2000]))
    holder += [[f"k{i}", Raw("1")] for i in range(count)]


EDITS = (_replaced, _replaced, _replaced, _swapped, _dropped, _twice, _renamed, _moved, _many)


@st.composite
def edited(draw: Draw, goods: Sequence[Any], odd: Sequence[Raw] = ODD, extra: Sequence[tuple[str, Raw]] = ()) -> Any:
    """The tree of one of the good documents after one to four edits.

    Args:
        extra: keys and values that may be set besides, anywhere: what other documents of the kind say.
    """
    root = tree(draw(st.sampled_from(goods)))
    for key, value in draw(st.lists(st.sampled_from(extra), max_size=3)) if extra else ():
        holder = root if draw(st.booleans()) else draw(st.sampled_from([*objects(root)]))
        holder[:] = [pair for pair in holder if pair[0] != key] + [[key, value]]
    for _ in range(draw(st.sampled_from([0 if extra else 1, 1, 1, 1, 2, 3, 4]))):
        if any(slots(root)):
            draw(st.sampled_from(EDITS))(draw, root, odd)
    return root


def json_bytes(root: Any) -> bytes:
    return written(root).encode("utf-8", "surrogatepass")


@st.composite
def edited_json(draw: Draw, goods: Sequence[Any], extra: Sequence[tuple[str, Raw]] = ()) -> bytes:
    """The same as a file."""
    return json_bytes(draw(edited(goods, extra=extra)))
