"""Scaled dot-product attention, with its matrix: softmax(scale·q kᵀ, capped, biased, masked) v.

Every other path (streaming, compiled) is held to what this file computes.
"""

from typing import NamedTuple

import numpy as np

from attnlab.maths.inputs import AttentionInputs, attention_inputs
from attnlab.maths.panels import PanelFunction, whole
from attnlab.maths.precision import Array, rounded
from attnlab.maths.scores import scaled_scores
from attnlab.maths.softmax import softmax
from attnlab.maths.visibility import visible_keys


class Attention(NamedTuple):
    """The result of attention. Without a head axis in the inputs there is none here."""

    #: (…, h, n, e)
    output: Array
    #: (…, h, n, m): each row sums to 1, or is all 0 where no key is visible
    weights: Array
    #: (…, h, n): log of the softmax's denominator, -inf on such rows; float32 for half inputs
    lse: Array


class AttentionSteps(NamedTuple):
    """Every step of one attention, in the dtype computed in."""

    #: (…, h, n, m): scale·q·k, before cap, bias and mask
    scores: Array
    #: (…, h, n, m): what the softmax is given; -inf where a key is not visible
    logits: Array
    weights: Array
    lse: Array
    #: (…, h, n, e)
    output: Array
    #: boolean, broadcastable to the scores' shape; None = every key is visible
    visible: Array | None


def attention(
    q: Array,
    k: Array,
    v: Array,
    *,
    mask: Array | PanelFunction | None = None,
    bias: Array | PanelFunction | None = None,
    causal: bool = False,
    window: int | None = None,
    scale: float | None = None,
    softcap: float | None = None,
) -> Attention:
    """softmax(scale·q kᵀ) v, with the scores capped, biased and masked in that order.

    A row that sees no key gives zeros and lse = -inf. A key that a query may not see has no influence on it, whatever
    it holds. A NaN in a query makes that row NaN and no other; one in a key or value, the rows that see it.

    Args:
        q: (…, h, n, d) queries, or (n, d).
        k: (…, g, m, d) keys, or (m, d); g divides h, and query head i uses key/value head i // (h/g).
        v: (…, g, m, e) values, or (m, e).
        mask: boolean, broadcastable to (…, h, n, m); True = may attend. Or a function f(head, queries, keys) that
            gives it for two slices, (len(queries), len(keys)).
        bias: floating, broadcastable to (…, h, n, m); added to the scores; -inf hides a key. Or such a function.
        causal: query i sees keys j ≤ i.
        window: the window nearest keys up to and including the query's own when causal (1 or more); else so many
            on either side (0 or more).
        scale: multiplies q·k; None = 1/√d.
        softcap: scores become softcap·tanh(scores/softcap).

    Raises:
        ShapeError: shapes, dtypes or settings that do not go together; names both.

    Source: Vaswani et al. 2017, section 3.2.1; the meaning of an empty row and of masks is that of ONNX's Attention.
    """
    inputs = attention_inputs(q, k, v, mask=mask, bias=bias, causal=causal, window=window, scale=scale, softcap=softcap)
    steps = attention_steps(inputs)
    output, weights = rounded(steps.output, inputs.dtype), rounded(steps.weights, inputs.dtype)
    return Attention(inputs.returned(output), inputs.returned(weights), inputs.returned(steps.lse))


def attention_scores(
    q: Array,
    k: Array,
    *,
    mask: Array | PanelFunction | None = None,
    bias: Array | PanelFunction | None = None,
    causal: bool = False,
    window: int | None = None,
    scale: float | None = None,
    softcap: float | None = None,
) -> Array:
    """What the softmax is given: scale·q kᵀ after cap, bias and mask, (…, h, n, m); -inf where a key is hidden.

    Half inputs give half scores: beyond 65504 float16 says inf, though `attention` itself, in float32, does not.

    Args and Raises: as `attention`.
    """
    inputs = attention_inputs(q, k, k, mask=mask, bias=bias, causal=causal, window=window, scale=scale, softcap=softcap)
    bias, visible = bias_and_visible(inputs)
    logits = capped_biased_masked(inputs, scaled_scores(inputs), bias, visible)
    return inputs.returned(rounded(logits, inputs.dtype))


def attention_steps(inputs: AttentionInputs) -> AttentionSteps:
    """Attention in full view, from checked inputs."""
    bias, visible = bias_and_visible(inputs)
    scores = scaled_scores(inputs)
    logits = capped_biased_masked(inputs, scores, bias, visible)
    weights, lse = softmax(logits, visible)
    return AttentionSteps(scores, logits, weights, lse, weighted_values(inputs, weights, visible), visible)


def bias_and_visible(inputs: AttentionInputs) -> tuple[Array | None, Array | None]:
    """What is added to the scores, and whether each query may see each key: both broadcastable to the scores' shape."""
    bias = whole("bias", inputs.bias, inputs.shape)
    bias = None if bias is None else rounded(bias, inputs.q.dtype)
    mask = whole("mask", inputs.mask, inputs.shape)
    return bias, visible_keys(inputs.shape, mask=mask, bias=bias, causal=inputs.causal, window=inputs.window)


def capped_biased_masked(inputs: AttentionInputs, scores: Array, bias: Array | None, visible: Array | None) -> Array:
    """The logits: cap·tanh(scores/cap) + bias, -inf where hidden. The scores themselves when there is none of these."""
    logits = scores
    with np.errstate(over="ignore", invalid="ignore"):
        if inputs.softcap is not None:
            cap = scores.dtype.type(inputs.softcap)
            logits = np.tanh(logits / cap) * cap
        if bias is not None:
            logits = logits + bias
    return logits if visible is None else np.where(visible, logits, logits.dtype.type(-np.inf))


def weighted_values(inputs: AttentionInputs, weights: Array, visible: Array | None) -> Array:
    """Σ_j p_ij v_j, (…, h, n, e), where a value that is not finite reaches only the rows that see it."""
    v = inputs.v
    finite = np.asarray(np.isfinite(v).all(axis=-1, keepdims=True))
    grouped_weights = weights.reshape(*inputs.q.shape[:-1], v.shape[-2])
    if finite.all():
        output: Array = _means(grouped_weights, v)
    else:
        output = grouped_weights @ np.where(finite, v, v.dtype.type(0))
        seen = np.broadcast_to(np.True_ if visible is None else visible, inputs.shape).reshape(grouped_weights.shape)
        add_seen(output, seen, grouped_weights, v, ~finite[..., 0])
    return output.reshape(*inputs.shape[:-1], v.shape[-1])


def _means(weights: Array, v: Array) -> Array:
    """weights @ v of finite values. No mean is larger than they are, so near the dtype's end no sum may overflow.

    Half of each is taken there, and what rounding has added to the largest is taken off again.
    """
    most = float(np.finfo(v.dtype).max) / 2
    if v.size == 0 or max(float(v.max()), -float(v.min())) <= most:
        found: Array = weights @ v
        return found
    return 2 * np.clip(weights @ (v / 2), -most, most)


def add_seen(output: Array, seen: Array, weights: Array, v: Array, chosen: Array) -> None:
    """Add p_ij v_j for the chosen keys j, (…, g, m) boolean, to the rows that see them and to no other."""
    for j in np.flatnonzero(chosen.any(axis=tuple(range(chosen.ndim - 1)))):
        rows = seen[..., j, None] & chosen[..., None, None, j]
        with np.errstate(invalid="ignore"):
            output += np.where(rows, weights[..., j, None] * v[..., None, j, :], output.dtype.type(0))
