"""Full attention token by token, as the textbook's four steps say it: O(N²) time, one row of scores at a time."""

import numpy as np

from attnlab.maths.inputs import checked_scale
from attnlab.maths.mechanisms.arrays import self_attention_heads
from attnlab.maths.precision import Array


def query_attention(q: Array, k: Array, v: Array, *, scale: float | None = None) -> Array:
    """softmax(scale·q kᵀ) v, one query after the other: attention's output, (h, n, e) or (n, e), in O(N) memory.

    Args:
        q: (h, n, d) or (n, d) queries.
        k: keys, of the same shape.
        v: (h, n, e) or (n, e) values.

    Raises:
        ShapeError: shapes, dtypes or settings that do not go together.
    """
    heads = self_attention_heads(q, k, v)
    scaled = heads.q * heads.q.dtype.type(checked_scale(scale, heads.q.shape[-1], heads.q.dtype))
    output = np.empty((*heads.q.shape[:-1], heads.v.shape[-1]), heads.q.dtype)
    for queries, keys, values, outputs in zip(scaled, heads.k, heads.v, output, strict=True):
        for i, query in enumerate(queries):
            scores = keys @ query
            weights = np.exp(scores - scores.max())
            outputs[i] = weights @ values / weights.sum()
    return heads.returned(output)
