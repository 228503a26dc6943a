"""The mathematics on trial. Each experiment calls it by these names, so that a test can hand it a wrong law."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from attnlab.maths.attention import Attention, AttentionSteps, attention, attention_scores, attention_steps
from attnlab.maths.block import LayerTrace, trace_block
from attnlab.maths.jacobian import jacobian, query_gradient
from attnlab.maths.norms import layer_norm
from attnlab.maths.precision import Array
from attnlab.maths.softmax import softmax
from attnlab.maths.streaming import StreamedAttention, stream
from attnlab.maths.weights import linear
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
    #: the Jacobian of the softmax from its weights, (…, m) → (…, m, m)
    jacobian: Callable[[Array], Array] = jacobian
    #: c Cov_p(k, g): what reaches the query
    query_gradient: Callable[..., Array] = query_gradient
    #: the largest share of weight that a lookup may leave to other keys
    rest_bound: Callable[[Array, float, int], Array] = rest_bound
