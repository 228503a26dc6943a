"""The mathematics on trial. Each experiment calls it by these names, so that a test can hand it a wrong law."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from attnlab.experiments.depth_variants import layer_step
from attnlab.maths.attention import Attention, AttentionSteps, attention, attention_scores, attention_steps
from attnlab.maths.backward import Step
from attnlab.maths.block import LayerTrace, trace_block
from attnlab.maths.jacobian import jacobian, query_gradient
from attnlab.maths.mechanisms.lookup import argmax_lookup, hash_lookup, sorted_lookup
from attnlab.maths.norms import layer_norm
from attnlab.maths.precision import Array
from attnlab.maths.softmax import softmax
from attnlab.maths.streaming import StreamedAttention, stream
from attnlab.maths.weights import linear
from attnlab.theory.costs import PartCost, part_costs
from attnlab.theory.lookup import rest_bound


def softmax_weights(logits: Array) -> Array:
    """The softmax over the last axis, (…, m)."""
    return softmax(logits[..., None, :]).weights[..., 0, :]


def dot(q: Array, k: Array) -> Array:
    """q·k of each pair: (…, d), (…, d) → (…,)."""
    return np.asarray(np.einsum("...d,...d->...", q, k))


class Laws(NamedTuple):
    """What the claims are about, as attnlab computes it."""

    #: x W + b
    linear: Callable[[Array, Array, Array | None], Array] = linear
    #: q·k of pairs
    dot: Callable[[Array, Array], Array] = dot
    #: scale·q kᵀ of every pair; 1/√d_k where no scale is given
    scores: Callable[..., Array] = attention_scores
    softmax: Callable[[Array], Array] = softmax_weights
    attention: Callable[..., Attention] = attention
    #: attention from checked inputs, with its matrix and without
    steps: Callable[..., AttentionSteps] = attention_steps
    streaming: Callable[..., StreamedAttention] = stream
    layer_norm: Callable[[Array], Array] = layer_norm
    block: Callable[[Any, Any, Array], LayerTrace] = trace_block
    #: a layer of a stack, which parts it has and its way back
    layer: Callable[..., Step] = layer_step
    #: the Jacobian of the softmax from its weights, (…, m) → (…, m, m)
    jacobian: Callable[[Array], Array] = jacobian
    #: c Cov_p(k, g): what reaches the query
    query_gradient: Callable[..., Array] = query_gradient
    #: the largest share of weight that a lookup may leave to other keys
    rest_bound: Callable[[Array, float, int], Array] = rest_bound
    #: the multiply-adds of a block's parts, for a shape and so many tokens
    costs: Callable[[Any, int], Sequence[PartCost]] = part_costs
    #: which key each query finds: by a hash table, in sorted order, by the largest q·k
    hash_lookup: Callable[[Array, Array], Array] = hash_lookup
    sorted_lookup: Callable[[Array, Array], Array] = sorted_lookup
    argmax_lookup: Callable[[Array, Array], Array] = argmax_lookup
    #: e^x in the precision of x
    exp: Callable[[Array], Array] = np.exp
