"""A block whose tokens are mixed by any mechanism: the equations around attention, with attention left open."""

from collections.abc import Callable

import numpy as np

from attnlab.maths.architecture import BlockSpec
from attnlab.maths.block import block_norm, feed_forward, join_heads, project
from attnlab.maths.precision import Array
from attnlab.maths.weights import BlockWeights

#: (q, k, v), each (h, n, d) -> (h, n, d): what stands in the place of attention.
HeadMixer = Callable[[Array, Array, Array], Array]


def mixed_block(spec: BlockSpec, weights: BlockWeights, x: Array, mix: HeadMixer) -> Array:
    """H of a post-norm block, (n, d_model), whose heads are mix(q, k, v): T1 = joined heads · W_O, then T2 … H."""
    projections = project(spec, weights, x)
    return after_mixing(spec, weights, x, join_heads(spec, weights, mix(projections.q, projections.k, projections.v)))


def mixed_tokens(spec: BlockSpec, weights: BlockWeights, x: Array, mix: Callable[[Array], Array]) -> Array:
    """H of a post-norm block, (n, d_model), with T1 = mix(x): no projections at all.

    Source: Lee-Thorp et al. 2022, section 3.
    """
    return after_mixing(spec, weights, x, mix(x))


def after_mixing(spec: BlockSpec, weights: BlockWeights, x: Array, t1: Array) -> Array:
    """T2 = X + T1, T3 = Norm(T2), T4 = FFN(T3), T5 = T3 + T4, H = Norm(T5).

    Source: Vaswani et al. 2017, section 3.1.
    """
    t3 = block_norm(spec, weights, "ln1", np.add(x, t1))
    return block_norm(spec, weights, "ln2", t3 + feed_forward(spec, weights, t3))
