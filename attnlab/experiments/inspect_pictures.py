"""Small pictures of attention matrices: every head's for the overview, and a larger one of the head that is shown.

A cell is the weight that the queries of one stretch give, on average, to all the keys of another: a row sums to 1
however few its cells are. Where the matrix was never made, some queries, evenly apart, stand for all.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from attnlab.maths.architecture import BlockSpec
from attnlab.maths.heads import Head
from attnlab.maths.precision import Array
from attnlab.maths.sampled_rows import sampled_rows

#: Rows and columns of a head's picture in the overview.
SMALL = 48
#: Up to so many tokens the head that is shown is worked out query by query, whatever the kernel: 8 MiB in float64.
WHOLE = 1024
#: Beyond that, so many queries and stretches of keys.
LARGE = 512
#: Weights of a few queries on all keys that are held at a time.
AT_ONCE = 1 << 18


class Shown(NamedTuple):
    """The matrix of the head that is shown, or what stands for it."""

    layer: int
    head: int
    #: (rows,): the queries that the rows are
    queries: Array
    #: (columns + 1,): where the stretches of keys begin, and the number of keys
    edges: Array
    #: (rows, columns)
    weights: Array

    @property
    def is_whole(self) -> bool:
        """Whether every query has its row and every key its column."""
        return self.weights.shape == (self.edges[-1], self.edges[-1])


def edges_of(count: int, most: int) -> Array:
    """Where so many tokens are cut into at most `most` stretches, as even as they can be; the last is their number."""
    edges: Array = np.linspace(0, count, min(count, most) + 1).astype(np.intp)
    return edges


def evenly(count: int, most: int) -> Array:
    """So many of `count` queries, evenly apart; the first and the last are among them."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.intp)


def small_picture(weights: Array) -> Array:
    """A matrix (n, m) at hand in SMALL × SMALL cells or fewer: rows averaged, weights on a stretch of keys summed."""
    rows, columns = (edges_of(size, SMALL) for size in weights.shape)
    summed = np.add.reduceat(weights, columns[:-1], axis=1, dtype=np.float64)
    return np.asarray(np.add.reduceat(summed, rows[:-1], axis=0) / np.diff(rows)[:, None])


def sampled_picture(head: Head, queries: Array, edges: Array) -> Array:
    """The weights of these queries on the stretches of keys, (queries, stretches), worked out some at a time."""
    height = max(1, AT_ONCE // max(1, len(head.k)))
    parts = [
        np.add.reduceat(sampled_rows(head, rows.tolist()).weights[0], edges[:-1], axis=1)
        for rows in np.split(queries, range(height, len(queries), height))
    ]
    return np.concatenate(parts)


def hidden_cells(spec: BlockSpec, first: Array, last: Array, edges: Array) -> Array | None:
    """The cells of a picture in which no query may see any key, boolean; None where there are none.

    Args:
        first, last: (rows,), the first and the last query of each row.
        edges: (columns + 1,), where the stretches of keys begin, and their number.
    """
    nearest, furthest = edges[:-1] - last[:, None], edges[1:] - 1 - first[:, None]  # the least and largest j − i
    hidden = np.zeros(nearest.shape, bool)
    if spec.causal:
        hidden |= nearest > 0
    if spec.window is not None:
        hidden |= (furthest <= -spec.window) if spec.causal else (furthest < -spec.window) | (nearest > spec.window)
    return hidden if hidden.any() else None


def hidden_in_small(spec: BlockSpec, n: int) -> Array | None:
    """`hidden_cells` of a small picture of n tokens."""
    edges = edges_of(n, SMALL)
    return hidden_cells(spec, edges[:-1], edges[1:] - 1, edges)


def whole_shown(layer: int, head: int, weights: Array) -> Shown:
    """The shown head, its matrix (n, n) at hand."""
    n = len(weights)
    return Shown(layer, head, np.arange(n), np.arange(n + 1), weights)


def sampled_shown(layer: int, index: int, head: Head) -> Shown:
    """The shown head where its matrix was never made: every query of a short text, or some on stretches of keys."""
    n = len(head.q)
    most = n if n <= WHOLE else LARGE
    queries, edges = evenly(n, most), edges_of(n, most)
    return Shown(layer, index, queries, edges, sampled_picture(head, queries, edges).astype(np.float32))


class Pair(NamedTuple):
    """Two heads of a layer, and how far apart their weights are."""

    one: int
    other: int
    #: ½ Σ_j |p_ij − p'_ij|, the mean over rows: the share of its weight that a row would have to move
    distance: float
    #: how many rows were compared
    rows: int


def nearest_heads(heads: Sequence[int], rows: Array) -> list[Pair]:
    """For each of these heads the nearest other of them, each pair once; none where no row tells.

    Rows are compared by total variation, over those that see two keys or more and are finite.

    Args:
        rows: (heads, rows, m) weights.
    """
    telling = np.isfinite(rows).all(axis=(0, 2)) & ((rows > 0).sum(axis=2) > 1).any(axis=0)
    if len(heads) < 2 or not telling.any():
        return []
    rows = rows[:, telling]
    apart = np.full((len(heads), len(heads)), np.inf)
    for i in range(len(heads) - 1):
        apart[i, i + 1 :] = np.abs(rows[i + 1 :] - rows[i]).sum(axis=2).mean(axis=1) / 2
    apart = np.minimum(apart, apart.T)
    nearest = apart.argmin(axis=1)
    pairs = {(min(i, int(j)), max(i, int(j))) for i, j in enumerate(nearest)}
    return [Pair(heads[i], heads[j], float(apart[i, j]), rows.shape[1]) for i, j in sorted(pairs)]
