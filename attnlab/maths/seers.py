"""How many rows see each key: what a key receives is weighed by it, since under a causal mask few see the last ones."""

import numpy as np

from attnlab.maths.heads import Head
from attnlab.maths.precision import Array
from attnlab.maths.rows import RowSums

#: Entries of a mask that are looked at together, and queries at most: causal order hides much of a higher block.
AT_ONCE, HIGHEST = 1 << 15, 32


def seers(head: Head, rows: RowSums) -> Array:
    """How many sound rows of a head see each key, (m,) float64.

    From the places alone where each row sees as many keys as its place lets it; else block by block.
    """
    n, m = len(head.q), len(head.k)
    first, last = _reached_from(head)
    if np.array_equal(rows.visible, _visible_by_place(head)):
        total = np.concatenate([[0.0], np.cumsum(rows.sound)])
        counts: Array = total[np.clip(last, 0, n)] - total[np.clip(first, 0, n)]
        return counts
    counts = np.zeros(m)
    height = max(1, min(HIGHEST, AT_ONCE // max(1, m), n if head.inputs.window is None else head.inputs.window))
    for start in range(0, n, height):
        queries = slice(start, min(start + height, n))
        keys, sound = head.keys_in_reach(queries), rows.sound[queries]
        if keys.start < keys.stop:
            hidden = head.hidden(queries, keys, head.bias(queries, keys))
            counts[keys] += sound.sum() if hidden is None else (~hidden & sound[:, None]).sum(axis=0)
    return counts


def _reached_from(head: Head) -> tuple[Array, Array]:
    """The first query whose place lets it see each key, and the one after the last, (m,) each; beyond 0 and n too."""
    n, j, window = len(head.q), np.arange(len(head.k)), head.inputs.window
    first = j if head.inputs.causal else np.zeros_like(j)
    last = np.full_like(j, n)
    if window is not None:
        first = j if head.inputs.causal else j - window
        last = j + window if head.inputs.causal else j + window + 1
    return first, np.maximum(last, first)


def _visible_by_place(head: Head) -> Array:
    """How many keys each row would see by its place alone, (n,)."""
    n, m, window = len(head.q), len(head.k), head.inputs.window
    i = np.arange(n)
    first, last = np.zeros_like(i), np.full_like(i, m)
    if head.inputs.causal:
        last = i + 1
    if window is not None:
        first = i - window + 1 if head.inputs.causal else i - window
        last = i + 1 if head.inputs.causal else i + window + 1
    counts: Array = np.maximum(np.clip(last, 0, m) - np.clip(first, 0, m), 0)
    return counts
