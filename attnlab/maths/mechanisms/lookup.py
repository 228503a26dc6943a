"""Lookup tables: for each query the place of its key. What attention is a soft version of, at three prices."""

import numpy as np

from attnlab.errors import ShapeError
from attnlab.maths.precision import Array

#: Queries that `argmax_lookup` takes at a time: a fixed number, so that its memory is O(N) from the smallest N on.
QUERIES_HELD = 64


def hash_lookup(keys: Array, queries: Array) -> Array:
    """The place of the equal key by a hash table, (m,): O(N) expected for N keys and N queries; -1 where none is equal.

    Python's dict, so that a step costs the same whatever N, as long as the table stays in one level of cache: past it
    the time per query rises by the cache's misses, which is no part of the count. Of equal keys the last is found.

    Args:
        keys: (n,) numbers.
        queries: (m,) numbers.
    """
    table = dict(zip(keys.tolist(), range(len(keys)), strict=True))
    missing = -1
    return np.array([table.get(query, missing) for query in queries.tolist()], dtype=np.intp)


def sorted_lookup(keys: Array, queries: Array) -> Array:
    """The place of the equal key by sorting and halving, (m,): O(N log N) comparisons; -1 where none is equal.

    Queries are sorted too: looked up in order they find the keys they need still in the cache.

    Of equal keys the last is found.

    Args:
        keys: (n,) numbers.
        queries: (m,) numbers.
    """
    order, asked = np.argsort(keys, kind="stable"), np.argsort(queries, kind="stable")
    rising, wanted = keys[order], queries[asked]  # side by side in memory, so that a step costs the same at every N
    places = np.searchsorted(rising, wanted, side="right") - 1
    found = np.full(len(queries), -1, dtype=np.intp)
    if len(keys):
        found[asked] = np.where(rising[places] == wanted, order[places], -1)
    return found


def argmax_lookup(q: Array, k: Array) -> Array:
    """The place of the key with the largest q·k, (…, n): O(N²·d) time, O(N) memory; of equal ones the first.

    Args:
        q: (…, n, d) queries.
        k: (…, m, d) keys, one or more.

    Raises:
        ShapeError: widths that disagree, or no key.

    Source: the limit of attention's weights as its scale grows.
    """
    if q.shape[-1] != k.shape[-1] or k.shape[-2] == 0:
        raise ShapeError(f"q {q.shape}, k {k.shape}; expected the same width, and a key or more")
    found = np.empty(q.shape[:-1], dtype=np.intp)
    transposed = k.swapaxes(-1, -2)
    for start in range(0, q.shape[-2], QUERIES_HELD):
        part = slice(start, start + QUERIES_HELD)
        found[..., part] = (q[..., part, :] @ transposed).argmax(axis=-1)
    return found
