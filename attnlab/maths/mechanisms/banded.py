"""Window attention in O(N·w): blocks of queries against the keys that some query of the block may see."""

from typing import NamedTuple

import numpy as np

from attnlab.maths.inputs import checked_scale
from attnlab.maths.mechanisms.arrays import self_attention_heads
from attnlab.maths.precision import Array
from attnlab.maths.softmax import softmax
from attnlab.maths.visibility import check_window

#: Queries that are taken together, at least: fewer would leave the matrix products nothing to do.
FEWEST_QUERIES = 16
#: Scores held at a time: they stay in the cache, and the memory beyond inputs and output does not grow with N.
SCORES_HELD = 1 << 15


class Reach(NamedTuple):
    """How many keys before and after its own place a query may see."""

    before: int
    after: int


def window_attention(
    q: Array, k: Array, v: Array, *, window: int, causal: bool = False, scale: float | None = None
) -> Array:
    """softmax(scale·q kᵀ) v over the keys near each query: attention(…, window=w)'s output, (h, n, e) or (n, e).

    A block of b queries meets b + 2w keys (b + w − 1 when causal), whatever N is, so time is O(N·w·d). At w ≥ N it is
    full attention, and O(N²).

    Args:
        q: (h, n, d) or (n, d) queries.
        k: keys, of the same shape.
        v: (h, n, e) or (n, e) values.
        window: the window nearest keys up to and including the query's own when causal (1 or more); else so many
            on either side (0 or more).

    Raises:
        ShapeError: shapes, dtypes or settings that do not go together.

    Source: Beltagy, Peters & Cohan 2020, section 3.1.
    """
    check_window(window, causal=causal)
    heads = self_attention_heads(q, k, v)
    n, d = heads.q.shape[-2:]
    near = min(window, n)
    reach = Reach(near - 1, 0) if causal else Reach(near, near)
    block = max(near, FEWEST_QUERIES)
    queries = blocked(heads.q * heads.q.dtype.type(checked_scale(scale, d, heads.q.dtype)), block, Reach(0, 0))
    keys, values = blocked(heads.k, block, reach), blocked(heads.v, block, reach)
    output = np.empty((*queries.shape[:-1], values.shape[-1]), heads.q.dtype)
    together = max(1, SCORES_HELD // (len(heads.q) * block * keys.shape[-2]))
    for start in range(0, queries.shape[1], together):
        part = slice(start, start + together)
        seen = visible_band(part, queries.shape[1], block, n, reach)
        weights = softmax(queries[:, part] @ keys[:, part].swapaxes(-1, -2), seen).weights
        np.matmul(weights, values[:, part], out=output[:, part])
    return heads.returned(output.reshape(len(heads.q), -1, output.shape[-1])[:, :n])


def blocked(array: Array, block: int, reach: Reach) -> Array:
    """(h, n, d) → (h, blocks, block + before + after, d): blocks with their neighbours, a view of a padded copy."""
    h, n, d = array.shape
    blocks = -(-n // block)
    padded = np.zeros((h, blocks * block + sum(reach), d), array.dtype)
    padded[:, reach.before : reach.before + n] = array
    head, row, column = padded.strides
    shape = (h, blocks, block + sum(reach), d)
    return np.lib.stride_tricks.as_strided(padded, shape, (head, block * row, row, column), writeable=False)


def visible_band(part: slice, blocks: int, block: int, n: int, reach: Reach) -> Array:
    """Which of a block's keys each of its queries may see, (blocks, block, keys) boolean: near enough, and there."""
    starts = np.arange(*part.indices(blocks))[:, None, None] * block
    query, key = np.arange(block)[:, None], np.arange(-reach.before, block + reach.after)
    near = (key >= query - reach.before) & (key <= query + reach.after)
    there = (starts + key >= 0) & (starts + key < n)
    visible: Array = near & there
    return visible
