"""A run of tiles that every query of a panel sees whole, with logits so small that they need no shift: in numpy.

As few calls as can be, since threads wait for each other between them. Logits are to base 2 where numpy's 2^x is the
faster; what is handed back is to base e. What `PanelPass` does tile by tile means the same.
"""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np

from attnlab.maths.keyside import KeySide
from attnlab.maths.panels import length
from attnlab.maths.precision import Array
from attnlab.maths.running import Running
from attnlab.maths.tiles import places


def weigh_level(
    q: Array,
    side: KeySide,
    tiles: Sequence[slice],
    first: int | None,
    scores: Array,
    weights: Sequence[Array],
    outputs: Array,
    running: Running,
) -> None:
    """Weights e^logit of some tiles, and their sums added to the running ones, whose shifts are 0.

    Args:
        q: (B, d) queries times the scale, and times `unit`.
        first: the place of the first query where queries and keys are the same tokens; else None.
        scores: room for B scores of each key of a tile.
        weights: (B, T) of each tile, written.
        outputs: (B, e), room.
    """
    height, width, power = len(q), side.tiles.shape[2], np.exp if unit(q.dtype.name) == 1 else np.exp2
    places_of_top = np.empty((len(tiles), height), np.intp)
    square, slope = np.empty((2, len(tiles), height), q.dtype)
    sums, rooms = np.empty((len(tiles), height, 2), q.dtype), [_first(scores, e.shape) for e in weights]
    columns = [side.tiles[keys.start // width, :-1, keys.start % width :][:, : length(keys)] for keys in tiles]
    counting = [_counting(length(keys), q.dtype.name) for keys in tiles]
    values = [side.v[keys] for keys in tiles]
    for t, (s, e) in enumerate(zip(rooms, weights, strict=True)):
        np.matmul(q, columns[t], out=s)
        s.argmax(axis=1, out=places_of_top[t])
        power(s, out=e)
        np.vecdot(e, s, out=slope[t])
        np.vecdot(e, e, out=square[t])
        np.matmul(e, counting[t], out=sums[t])
        np.matmul(e, values[t], out=outputs)
        np.add(running.output, outputs, out=running.output)
    largest = [e[places(height), own] for e, own in zip(weights, places_of_top, strict=True)]
    running.top = np.maximum(running.top, np.log(np.max(largest, axis=0), dtype=np.float64))
    running.square += square.sum(axis=0, dtype=np.float64)
    running.slope += slope.sum(axis=0, dtype=np.float64) / unit(q.dtype.name)
    running.total += sums[:, :, 0].sum(axis=0, dtype=np.float64)
    if first is not None:
        for keys, e, own in zip(tiles, weights, sums, strict=True):
            running.distance += _distances(e, own, keys, first, side)


def _first(room: Array, shape: tuple[int, ...]) -> Array:
    """So much of the room, as an array."""
    return room[: math.prod(shape)].reshape(shape)


@cache
def unit(dtype: str) -> float:
    """What a logit is multiplied by: log₂e where numpy has vectors for 2^x (it then takes half as long), else 1."""
    introspect = getattr(np.lib, "introspect", None)
    if introspect is None:
        return 1.0
    found: dict[str, dict[str, dict[str, str]]] = introspect.opt_func_info(func_name="^exp2$", signature=dtype)
    fitting = [kind["current"] for kinds in found.values() for kind in kinds.values()]
    return 1 / math.log(2) if fitting and not any(kind.startswith("baseline") for kind in fitting) else 1.0


@cache
def _counting(count: int, dtype: str) -> Array:
    """Ones, and 0 … count − 1, as columns; not to be written to."""
    return np.stack([np.ones(count), np.arange(count)], axis=1).astype(dtype)


def _distances(e: Array, sums: Array, keys: slice, first: int, side: KeySide) -> Array:
    """Σ w·abs(i − j) by row; of keys all to one side of the queries from Σ w and Σ w·j.

    Args:
        sums: (B, 2) Σ w and Σ w·(j − the tile's first key).
    """
    height = len(e)
    if first < keys.stop and keys.start < first + height:
        return np.asarray(np.vecdot(e, away(side, first, height, keys)))
    return np.asarray(np.abs((places(height) + float(first - keys.start)) * sums[:, 0] - sums[:, 1]))


def away(side: KeySide, first: int, height: int, keys: slice) -> Array:
    """abs(i − j) of the queries from the first on, (B, T), as a view: every row the one above moved by one."""
    base = side.distances
    offset = (len(base) // 2 + keys.start - first) * base.itemsize
    return np.ndarray((height, length(keys)), base.dtype, base, offset, (-base.itemsize, base.itemsize))
