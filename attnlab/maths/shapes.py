"""What a block's attention is asked, without its numbers: to know its memory or its length beforehand."""

from functools import partial
from typing import Any

import numpy as np

from attnlab.maths.architecture import BlockSpec
from attnlab.maths.inputs import AttentionInputs
from attnlab.maths.precision import Array, working_dtype


def shape_only(spec: BlockSpec, n: int, dtype: np.dtype[Any], *, key_heads: int = 1) -> AttentionInputs:
    """A group's inputs as far as their shapes and settings go: one row of zeros stands for all.

    Args:
        key_heads: of the group.
    """
    r = spec.n_heads // spec.n_kv_heads
    zero = np.zeros((), working_dtype(dtype))
    q, k, v = (np.broadcast_to(zero, (key_heads, 1, width)) for width in (spec.d_k, spec.d_k, spec.d_v))
    bias = partial(alibi_panel, np.zeros(key_heads * r), q.dtype) if spec.position == "alibi" else None
    scale = spec.score_scale
    return AttentionInputs(
        q,
        k,
        v,
        None,
        bias,
        spec.causal,
        spec.window,
        scale,
        spec.softcap,
        (key_heads * r, n, n),
        np.dtype(dtype),
        headed=True,
    )


def alibi_panel(slopes: Array, dtype: np.dtype[Any], head: int, queries: slice, keys: slice) -> Array:
    """−slope·abs(i − j) of some queries and keys: `alibi_bias` without its n × n array."""
    i, j = (np.arange(part.start, part.stop).astype(dtype) for part in (queries, keys))
    distance: Array = i[:, None] - j
    np.abs(distance, out=distance)
    distance *= dtype.type(-slopes[head])
    return distance
