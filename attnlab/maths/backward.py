"""A block's steps with their pullbacks: from ∂L/∂(what a step gives) to ∂L/∂(what it was given), exactly.

A pullback is a vector-Jacobian product by the chain rule; nothing is differenced. The values are those of `block`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from attnlab.errors import ShapeError
from attnlab.maths.architecture import BlockSpec
from attnlab.maths.attention import AttentionSteps
from attnlab.maths.block import Projections, block_norm, feed_forward, join_heads, project, self_attention
from attnlab.maths.precision import Array
from attnlab.maths.weights import BlockWeights, linear


class Step(NamedTuple):
    """One step's value and the way back through it."""

    #: (n, d_model)
    value: Array
    #: ∂L/∂value, (n, d_model) -> ∂L/∂x, (n, d_model)
    pullback: Callable[[Array], Array]


def check_differentiable(spec: BlockSpec) -> None:
    """Refuse blocks whose way back is not written here.

    Raises:
        ShapeError: naming what is in the way.
    """
    for name, given, known in (
        ("position", spec.position, ("none", "sinusoidal", "alibi")),
        ("softcap", spec.softcap, (None,)),
        ("qk_norm", spec.qk_norm, (None,)),
        ("norm", spec.norm, ("layernorm",)),
        ("activation", spec.activation, ("relu",)),
    ):
        if given not in known:
            raise ShapeError(f"{name}: {given}; expected {' or '.join(map(str, known))}: no gradient is known here")


def attention_step(spec: BlockSpec, weights: BlockWeights, x: Array) -> Step:
    """T = SelfAttention(x), the heads joined.

    With P the weights, o = P v and G = ∂L/∂o: ∂L/∂v = Pᵀ G; ∂L/∂s = P∘(R − Σ_j P∘R), R = G vᵀ; and from the scores
    s = c q kᵀ on to q, k and x, of which all three are made.

    Raises:
        ShapeError: rotary positions, softcap or qk_norm.
    """
    check_differentiable(spec)
    projections = project(spec, weights, x)
    steps = self_attention(spec, projections)

    def pullback(g: Array) -> Array:
        of_heads = heads_pullback(spec, weights, g)
        of_each = projections_pullback(spec, projections, steps, of_heads)
        of_x = np.zeros_like(x)
        for role, of_role in zip("QKV", of_each, strict=True):
            of_x += np.sum(of_role @ weights[f"attn.W_{role}"].swapaxes(-1, -2), axis=0)
        return of_x

    return Step(join_heads(spec, weights, steps.output), pullback)


def heads_pullback(spec: BlockSpec, weights: BlockWeights, g: Array) -> Array:
    """∂L/∂o for every head, (h, n, d_v), from ∂L/∂T (n, d_model)."""
    if not spec.output_projection:
        return g.reshape(len(g), spec.n_heads, spec.d_v).transpose(1, 0, 2)
    return np.asarray(g @ weights["attn.W_O"].swapaxes(-1, -2))


def projections_pullback(
    spec: BlockSpec, p: Projections, steps: AttentionSteps, g: Array
) -> tuple[Array, Array, Array]:
    """∂L/∂q (h, n, d_k), ∂L/∂k and ∂L/∂v (g, n, …) from ∂L/∂o (h, n, d_v)."""
    h, n, _ = p.q.shape
    groups = len(p.k)
    share = h // groups
    weights, keys, values = steps.weights, np.repeat(p.k, share, axis=0), np.repeat(p.v, share, axis=0)
    of_scores = spec.score_scale * softmax_pullback(weights, g @ values.swapaxes(-1, -2))
    of_q = of_scores @ keys
    of_k = (of_scores.swapaxes(-1, -2) @ p.q).reshape(groups, share, n, -1).sum(axis=1)
    of_v = (weights.swapaxes(-1, -2) @ g).reshape(groups, share, n, -1).sum(axis=1)
    return of_q, of_k, of_v


def softmax_pullback(p: Array, g: Array) -> Array:
    """∂L/∂s_i = p_i (g_i − Σ_j p_j g_j): the Jacobian p_i(δ_ij − p_j), which is symmetric, times g."""
    return np.asarray(p * (g - (p * g).sum(axis=-1, keepdims=True)))


def norm_step(spec: BlockSpec, weights: BlockWeights, name: str, x: Array) -> Step:
    """LayerNorm(x), "ln1" or "ln2". With y the normalised row: ∂L/∂x = (g − mean g − y·mean(g∘y))/√(σ² + ε).

    Source: Ba et al. 2016, section 3, differentiated.

    Raises:
        ShapeError: another norm.
    """
    check_differentiable(spec)
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + spec.norm_eps)
    y = centred / deviation

    def pullback(g: Array) -> Array:
        g = g * weights[f"{name}.w"]
        along = (g * y).mean(axis=-1, keepdims=True)
        return np.asarray((g - g.mean(axis=-1, keepdims=True) - y * along) / deviation)

    return Step(block_norm(spec, weights, name, x), pullback)


def feed_forward_step(spec: BlockSpec, weights: BlockWeights, x: Array) -> Step:
    """relu(x W_in + b_in) W_out + b_out; relu's slope at 0 is taken as 0.

    Raises:
        ShapeError: another activation.
    """
    check_differentiable(spec)
    open_units = linear(x, weights["mlp.W_in"], weights.get("mlp.b_in")) > 0

    def pullback(g: Array) -> Array:
        return np.asarray((g @ weights["mlp.W_out"].T * open_units) @ weights["mlp.W_in"].T)

    return Step(feed_forward(spec, weights, x), pullback)
