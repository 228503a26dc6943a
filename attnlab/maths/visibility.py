"""Which key a query may see: causal order, windows, masks, and biases of -inf, joined into one boolean array."""

import numpy as np

from attnlab.errors import ShapeError
from attnlab.maths.precision import Array


def band(n: int, m: int, *, causal: bool, window: int | None) -> Array | None:
    """Whether query i may see key j by their places alone, (n, m) boolean; None where every key is visible.

    Causal: j ≤ i (top-left aligned). A window w: the w keys i−w+1 … i when causal, else abs(i − j) ≤ w.
    """
    if not causal and window is None:
        return None
    return _seen(slice(0, n), slice(0, m), causal=causal, window=window)


def band_between(queries: slice, keys: slice, *, causal: bool, window: int | None) -> Array | None:
    """`band` for some queries and some keys only; None where each of these queries may see each of these keys."""
    nearest, furthest = keys.start - (queries.stop - 1), keys.stop - 1 - queries.start
    inside = furthest <= 0 if causal else window is None or furthest <= window
    if window is not None:
        inside = inside and nearest > -window if causal else inside and nearest >= -window
    return None if inside else _seen(queries, keys, causal=causal, window=window)


def _seen(queries: slice, keys: slice, *, causal: bool, window: int | None) -> Array:
    i, j = np.arange(queries.start, queries.stop)[:, None], np.arange(keys.start, keys.stop)
    seen: Array = j <= (i if causal or window is None else i + window)
    if window is not None:
        seen &= j > i - window if causal else j >= i - window
    return seen


def check_window(window: int | None, *, causal: bool) -> None:
    """Refuse a window that lets a causal query see nothing, or that is not a whole number.

    Raises:
        ShapeError: naming the window and the least it may be.
    """
    if window is None:
        return
    least = 1 if causal else 0
    if isinstance(window, bool) or not isinstance(window, int | np.integer) or window < least:
        raise ShapeError(f"window: {window!r}; expected a whole number of {least} or more")


def broadcastable(name: str, array: Array, shape: tuple[int, ...]) -> Array:
    """The array, once it is known to broadcast to `shape` (…, h, n, m) without widening it.

    Raises:
        ShapeError: naming both shapes.
    """
    try:
        fits = np.broadcast_shapes(array.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(f"{name}: shape {array.shape}; expected one that broadcasts to {shape}, set by q and k")
    return array


def visible_keys(
    shape: tuple[int, ...], *, mask: Array | None, bias: Array | None, causal: bool, window: int | None
) -> Array | None:
    """Whether each query may see each key: boolean, broadcastable to `shape` (…, h, n, m); None = every key.

    A bias of -inf hides its key as a mask does.
    """
    parts = [band(shape[-2], shape[-1], causal=causal, window=window), mask]
    if bias is not None and np.isneginf(bias).any():
        parts.append(~np.isneginf(bias))
    visible: Array | None = None
    for part in parts:
        if part is not None:
            visible = part if visible is None else visible & part
    return visible
