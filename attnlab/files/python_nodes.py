"""Plain Python data as the tree of nodes that a YAML file gives, so that one schema checks both."""

import os
from collections import abc
from numbers import Integral

from attnlab.errors import ConfigError
from attnlab.files.yaml_nodes import MAX_DEPTH, TOO_DEEP, Mapping, Node, Scalar, Sequence, refuse


def from_python(data: abc.Mapping[str, object], source: str, depth: int = 1) -> Mapping:
    """The data as nodes without places.

    Args:
        data: text, numbers, booleans, None, paths, and lists and mappings of them.
        source: what complaints name in place of a file.
        depth: how many mappings and lists lie around and in it, itself included.

    Raises:
        ConfigError: keys that are not text, values that YAML could not hold either, nesting without end.
    """
    return Mapping(tuple((_key(key, source), _node(value, source, depth)) for key, value in data.items()))


def _node(value: object, source: str, depth: int) -> Node:
    if not isinstance(value, abc.Mapping | list | tuple):
        return _scalar(value, source)
    if depth == MAX_DEPTH:
        refuse(source, None, TOO_DEEP)
    if isinstance(value, abc.Mapping):
        return from_python(value, source, depth + 1)
    return Sequence(tuple(_node(item, source, depth + 1) for item in value))


def _key(key: object, source: str) -> Scalar:
    if not isinstance(key, str):
        refuse(source, None, f"a key of type {type(key).__name__}; expected text")
    return Scalar(key, key)


def _scalar(value: object, source: str) -> Scalar:
    if value is None:
        return Scalar(None, "null")
    if isinstance(value, bool):
        return Scalar(value, str(value).lower())
    if isinstance(value, Integral):
        whole = int(value)
        # str() refuses integers of many digits; hex() takes any.
        return Scalar(whole, str(whole) if whole.bit_length() < 128 else hex(whole))
    if isinstance(value, float):
        return Scalar(float(value), repr(float(value)))
    if isinstance(value, str | os.PathLike):
        return Scalar(os.fsdecode(value), os.fsdecode(value))
    kind = type(value).__name__
    raise ConfigError(f"{source}: a value of type {kind}; expected text, a number, true, false or null")
