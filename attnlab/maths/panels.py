"""Masks and biases panel by panel: an array's part, or what a function says of some queries and some keys of a head."""

from collections.abc import Callable

import numpy as np

from attnlab.errors import ShapeError
from attnlab.maths.precision import FLOATS, Array

#: f(head, queries, keys) -> (len(queries), len(keys)): a mask (boolean) or bias (floating) that is never held whole.
PanelFunction = Callable[[int, slice, slice], Array]


def panel(name: str, given: Array | PanelFunction, head: tuple[int, ...], queries: slice, keys: slice) -> Array:
    """The mask or bias of some queries and keys of one head: (len(queries), len(keys)), or broadcastable to it.

    Args:
        name: "mask" or "bias".
        given: broadcastable to (…, h, n, m), or a function.
        head: the head's place among the leading axes and the heads.

    Raises:
        ShapeError: a function's answer is not of that shape, or not boolean for a mask and floating for a bias.
    """
    if callable(given):
        return checked(name, np.asarray(given(head[-1], queries, keys)), (length(queries), length(keys)))
    own = given[tuple(0 if size == 1 else at for at, size in zip(_last(head, given), given.shape[:-2], strict=True))]
    if own.ndim < 2:
        own = own.reshape((1,) * (2 - own.ndim) + own.shape)
    part: Array = own[queries if own.shape[0] > 1 else slice(None), keys if own.shape[1] > 1 else slice(None)]
    return part


def _last(head: tuple[int, ...], array: Array) -> tuple[int, ...]:
    """The head's place in the axes that the array has."""
    axes = max(0, array.ndim - 2)
    return head[len(head) - axes :]


def checked(name: str, array: Array, shape: tuple[int, int]) -> Array:
    """What a function returned, once it is of the right kind.

    Raises:
        ShapeError: it is not.
    """
    kinds = ("bool",) if name == "mask" else FLOATS
    if array.shape != shape or array.dtype.name not in kinds:
        raise ShapeError(
            f"{name}: its function returned {array.dtype} of shape {array.shape}; expected "
            f"{'bool' if name == 'mask' else 'floating numbers'} of shape {shape}, set by the slices it was given"
        )
    return array


def whole(name: str, given: Array | PanelFunction | None, shape: tuple[int, ...]) -> Array | None:
    """The mask or bias of every query and key, broadcastable to `shape` (…, h, n, m)."""
    if given is None or not callable(given):
        return given
    *_, h, n, m = shape
    if not h:
        return None
    return np.stack([panel(name, given, (head,), slice(0, n), slice(0, m)) for head in range(h)])


def length(part: slice) -> int:
    """How many places a slice with both ends holds."""
    count: int = part.stop - part.start
    return count
