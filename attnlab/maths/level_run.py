"""All tiles of a panel whose logits are so small that they need no shift, only places hiding keys: in numpy.

As few calls as can be, since threads wait for each other between them. Logits are to base 2 where numpy's 2^x is the
faster; what is handed back is to base e. What `PanelPass` does tile by tile means the same.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from attnlab.maths.bands import Band
from attnlab.maths.keyside import KeySide
from attnlab.maths.panels import length
from attnlab.maths.precision import Array
from attnlab.maths.running import Running, merged
from attnlab.maths.tiles import Moments, places, tile_moments


class LevelTile(NamedTuple):
    """A tile of B queries by T keys."""

    keys: slice
    #: (B, T), written: the weights
    weights: Array
    #: (B, T) 1 where visible, 0 where hidden; None = all is visible
    shown: Array | None
    #: whether its scores' moments are wanted
    counted: bool


class Room(NamedTuple):
    """Buffers: twice B numbers for each key of a tile, and (B, e + 2)."""

    scores: Array
    scratch: Array
    outputs: Array


def weigh_level(
    q: Array, side: KeySide, tiles: Sequence[LevelTile], first: int | None, room: Room, running: Running
) -> Moments:
    """Weights e^logit of the tiles; their sums are added to the running ones, whose shifts are 0.

    Args:
        q: (B, d) queries times the scale, and times `unit`.
        first: the place of the first query where queries and keys are the same tokens; else None.
    """
    height, width, name = len(q), side.tiles.shape[2], q.dtype.name
    power, moments = np.exp if unit(name) == 1 else np.exp2, Moments(*np.zeros((3, height)))
    square, slope = np.empty((2, len(tiles), height), q.dtype)
    sums = np.empty((len(tiles), height, 2), q.dtype)
    tops = np.empty((len(tiles), height), np.intp)
    columns = [side.tiles[k.start // width, :-1, k.start % width :][:, : length(k)] for k, *_ in tiles]
    values = [side.v[tile.keys] for tile in tiles]
    for t, (_, e, shown, counted) in enumerate(tiles):
        s = _first(room.scores, e.shape)
        np.matmul(q, columns[t], out=s)
        if counted:
            moments = merged(moments, tile_moments(s, shown, _first(room.scratch, e.shape)))
        power(s, out=e)
        if shown is not None:
            np.multiply(e, shown, out=e)
        e.argmax(axis=1, out=tops[t])
        np.vecdot(e, s, out=slope[t])
        np.vecdot(e, e, out=square[t])
        np.matmul(e, values[t], out=room.outputs)
        np.add(running.output, room.outputs[:, :-2], out=running.output)
        sums[t] = room.outputs[:, -2:]
    largest = [tile.weights[places(height), own] for tile, own in zip(tiles, tops, strict=True)]
    running.top = np.log(np.max(largest, axis=0), dtype=np.float64)
    running.square += square.sum(axis=0, dtype=np.float64)
    running.slope += slope.sum(axis=0, dtype=np.float64) / unit(name)
    running.total += sums[:, :, 0].sum(axis=0, dtype=np.float64)
    if first is not None:
        for tile, own in zip(tiles, sums, strict=True):
            running.distance += _distances(tile, own, first, side)
    return Moments(moments.entries, moments.mean / unit(name), moments.m2 / unit(name) ** 2)


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


def _distances(tile: LevelTile, sums: Array, first: int, side: KeySide) -> Array:
    """Σ w·abs(i − j) by row; of keys all to one side of the queries from Σ w and Σ w·j.

    Args:
        sums: (B, 2) Σ w and Σ w·j, j counted from the first key of the keys' own tile.
    """
    keys, height = tile.keys, len(sums)
    start = keys.start // side.tiles.shape[2] * side.tiles.shape[2]
    if first < keys.stop and keys.start < first + height:
        return np.asarray(np.vecdot(tile.weights, away(side, first, height, keys)))
    return np.asarray(np.abs((places(height) + float(first - start)) * sums[:, 0] - sums[:, 1]))


def away(side: KeySide, first: int, height: int, keys: slice) -> Array:
    """abs(i − j) of the queries from the first on, (B, T), as a view."""
    return moved(side.distances, len(side.distances) // 2 + keys.start - first, (height, length(keys)))


def shown_between(band: Band, queries: slice, keys: slice, dtype: str) -> Array | None:
    """1 where a query's band holds a key, 0 elsewhere, (B, T), as a view; None where all bands hold all keys."""
    nearest, furthest = keys.start - (queries.stop - 1), keys.stop - 1 - queries.start
    if nearest >= -band.back and furthest <= band.ahead:
        return None
    ahead = np.arange(nearest, furthest + 1)
    seen = ((ahead >= -band.back) & (ahead <= band.ahead)).astype(dtype)
    return moved(seen, length(queries) - 1, (length(queries), length(keys)))


def moved(line: Array, start: int, shape: tuple[int, int]) -> Array:
    """Numbers of a line as a view: the first row from the start on, every row the one above moved by one."""
    return np.ndarray(shape, line.dtype, line, start * line.itemsize, (-line.itemsize, line.itemsize))
