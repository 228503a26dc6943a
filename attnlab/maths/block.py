"""One Transformer block, every step in view: T1 = SelfAttention(X) … H.

`BlockSpec` says the equations; this file computes them, top down.
"""

from typing import NamedTuple

import numpy as np

from attnlab.maths.activations import ELEMENTWISE
from attnlab.maths.architecture import BlockSpec, NormKind, Rotary
from attnlab.maths.attention import AttentionSteps, attention_steps
from attnlab.maths.chunks import token_chunks
from attnlab.maths.inputs import attention_inputs
from attnlab.maths.norms import Moments, moments, norm, normalised
from attnlab.maths.positions import alibi_bias, rotary
from attnlab.maths.precision import Array, rounded, working_dtype
from attnlab.maths.weights import BlockWeights, linear


class LayerTrace(NamedTuple):
    """Every intermediate of one block on n tokens. Without a feed-forward t4 and t5 are None."""

    #: what went in, (n, d_model)
    x: Array
    #: what the projections read: x, or its norm (pre-norm, sandwich)
    attention_input: Array
    #: (h, n, d_k) and (g, n, d_k): x W + b
    q_projection: Array
    k_projection: Array
    #: the same after qk_norm and rotary, as the scores use them
    q: Array
    k: Array
    #: (g, n, d_v)
    v: Array
    #: (h, n, n): scale·q·k, before cap, bias and mask
    raw_scores: Array
    #: (h, n, n): after cap, bias and mask; -inf where a key is hidden
    scores: Array
    weights: Array
    #: (h, n)
    lse: Array
    #: (h, n, d_v): Σ_j p_ij v_j, per head
    heads: Array
    t1: Array
    t2: Array
    #: None when nothing is normalised between attention and feed-forward, or (but post-norm) there is no feed-forward
    t3: Array | None
    t4: Array | None
    t5: Array | None
    #: H, (n, d_model)
    output: Array
    #: boolean, broadcastable to the scores; None = every key is visible
    visible: Array | None

    @property
    def steps(self) -> dict[str, Array]:
        """T1 … H by name, those that the block has."""
        return named_steps(self.t1, LaterSteps(self.t2, self.t3, self.t4, self.t5, self.output))

    @property
    def attention(self) -> AttentionSteps:
        """The attention itself, as its statistics read it."""
        return AttentionSteps(self.raw_scores, self.scores, self.weights, self.lse, self.heads, self.visible)


class LaterSteps(NamedTuple):
    """What follows attention, (n, d_model) each; None as in `LayerTrace`."""

    t2: Array
    t3: Array | None
    t4: Array | None
    t5: Array | None
    output: Array


def named_steps(t1: Array, later: LaterSteps) -> dict[str, Array]:
    """T1 … H by name, those that the block has."""
    named = {"T1": t1, "T2": later.t2, "T3": later.t3, "T4": later.t4, "T5": later.t5, "H": later.output}
    return {name: array for name, array in named.items() if array is not None}


class Projections(NamedTuple):
    """Queries, keys and values of one block."""

    q_projection: Array
    k_projection: Array
    q: Array
    k: Array
    v: Array


@np.errstate(over="ignore", invalid="ignore")
def trace_block(spec: BlockSpec, weights: BlockWeights, x: Array) -> LayerTrace:
    """Run one block on x (n, d_model) and keep everything; what half precision cannot hold becomes inf, then NaN.

    Source: Vaswani et al. 2017, section 3.1.
    """
    attention_input = read_by_attention(spec, weights, x)
    projections = project(spec, weights, attention_input)
    steps = self_attention(spec, projections)
    t1 = added(spec, weights, "ln1", join_heads(spec, weights, rounded(steps.output, x.dtype)))
    later = after_attention(spec, weights, x, t1)
    return LayerTrace(
        x=x,
        attention_input=attention_input,
        **projections._asdict(),
        raw_scores=steps.scores,
        scores=steps.logits,
        weights=steps.weights,
        lse=steps.lse,
        heads=steps.output,
        t1=t1,
        **later._asdict(),
        visible=steps.visible,
    )


def after_attention(spec: BlockSpec, weights: BlockWeights, x: Array, t1: Array) -> LaterSteps:
    """T2 … H, which treat every token by itself, of some tokens' x and T1, (n, d_model) each."""
    post = spec.norm_position == "post"
    t2 = x + t1
    t3 = t4 = t5 = None
    if post:
        t3 = block_norm(spec, weights, "ln1", t2)
    elif spec.norms_inputs and spec.d_ff is not None:
        t3 = block_norm(spec, weights, "ln2", x if spec.parallel else t2)
    if spec.d_ff is None:
        return LaterSteps(t2, t3, t4, t5, t2 if t3 is None else t3)
    t4 = added(spec, weights, "ln2", feed_forward(spec, weights, t2 if t3 is None else t3))
    t5 = (t3 if post and t3 is not None else t2) + t4
    return LaterSteps(t2, t3, t4, t5, block_norm(spec, weights, "ln2", t5) if post else t5)


def read_by_attention(spec: BlockSpec, weights: BlockWeights, x: Array) -> Array:
    """What the projections read of the block's input: its norm, or itself."""
    return block_norm(spec, weights, "ln1", x) if spec.norms_inputs else x


def added(spec: BlockSpec, weights: BlockWeights, part: str, x: Array) -> Array:
    """What is added to the residual stream of what a part ("ln1": attention, "ln2": feed-forward) made of it."""
    return block_norm(spec, weights, f"{part}_post", x) if spec.norms_outputs else x


def block_norm(spec: BlockSpec, weights: BlockWeights, name: str, x: Array) -> Array:
    """The block's norm of that name: one of `spec.norms`."""
    return norm(spec.norm, x, weights[f"{name}.w"], weights.get(f"{name}.b"), eps=spec.norm_eps)


def project(spec: BlockSpec, weights: BlockWeights, x: Array) -> Projections:
    """q = x W_Q + b_Q, k and v alike, for every head; then qk_norm and rotary positions on q and k."""
    q, k, v = (linear(x, weights[f"attn.W_{role}"], _row(weights.get(f"attn.b_{role}"))) for role in "QKV")
    return Projections(q, k, prepared(spec, weights, "q", q), prepared(spec, weights, "k", k), v)


def _row(bias: Array | None) -> Array | None:
    """A head's bias (h, d) as (h, 1, d), to add to every token."""
    return None if bias is None else bias[:, None]


def prepared(spec: BlockSpec, weights: BlockWeights, role: str, x: Array) -> Array:
    """Queries ("q") or keys ("k") of all heads after qk_norm and rotary positions, in that order."""
    return rotated(spec, x if spec.qk_norm is None else head_normed(spec, weights, role, x, spec.qk_norm))


def head_normed(
    spec: BlockSpec,
    weights: BlockWeights,
    role: str,
    x: Array,
    kind: NormKind,
    *,
    heads: slice = slice(None),
    over_all: Moments | None = None,
) -> Array:
    """Queries or keys (heads, n, d_k) after that norm, each head's own or one over all of them.

    Args:
        heads: those that x holds, of all.
        over_all: the tokens' `moments_over_all`, where x does not hold all heads that one norm takes together.
    """
    gain, bias = weights.get(f"attn.{role}_norm.w"), weights.get(f"attn.{role}_norm.b")
    if spec.qk_norm_over == "head":
        return norm(kind, x, gain, bias, eps=spec.norm_eps)
    gain, bias = (None if one is None else one.reshape(-1, 1, spec.d_k)[heads] for one in (gain, bias))
    return normalised(x, over_all or moments_over_all(spec, kind, x), gain, bias)


def rotated(spec: BlockSpec, x: Array) -> Array:
    """Queries or keys (heads, n, d_k) turned by their positions, where the block has rotary ones."""
    return rotary(x, spec.position) if isinstance(spec.position, Rotary) else x


def moments_over_all(spec: BlockSpec, kind: NormKind, x: Array) -> Moments:
    """What a norm over all heads' queries or keys (heads, n, d_k) side by side divides each token's by, (n, 1)."""
    return moments(kind, x.transpose(1, 0, 2).reshape(x.shape[1], -1), eps=spec.norm_eps)


def self_attention(spec: BlockSpec, p: Projections) -> AttentionSteps:
    """The attention of every head, its matrix kept."""
    n = p.q.shape[-2]
    bias = None
    if spec.position == "alibi":
        bias = alibi_bias(spec.n_heads, n).astype(working_dtype(p.q.dtype))
    inputs = attention_inputs(
        p.q,
        p.k,
        p.v,
        mask=None,
        bias=bias,
        causal=spec.causal,
        window=spec.window,
        scale=spec.scale,
        softcap=spec.softcap,
    )
    return attention_steps(inputs)


def join_heads(spec: BlockSpec, weights: BlockWeights, heads: Array) -> Array:
    """(h, n, d_v) → (n, d_model): the heads side by side, times W_O where the block has one."""
    h, n, e = heads.shape
    joined = heads.transpose(1, 0, 2).reshape(n, h * e)
    if not spec.output_projection:
        return joined
    w_o = weights["attn.W_O"]
    return linear(joined, w_o.reshape(h * e, w_o.shape[-1]), weights.get("attn.b_O"))


def feed_forward(spec: BlockSpec, weights: BlockWeights, x: Array) -> Array:
    """act(x W_in + b_in) W_out + b_out; gated: (act(x W_gate + b_gate) · (x W_in + b_in)) W_out + b_out."""
    found = [_feed_forward(spec, weights, x[tokens]) for tokens in token_chunks(len(x), spec.d_ff or 1)]
    return found[0] if len(found) == 1 else np.concatenate(found) if found else x.copy()


def _feed_forward(spec: BlockSpec, weights: BlockWeights, x: Array) -> Array:
    hidden = linear(x, weights["mlp.W_in"], weights.get("mlp.b_in"))
    activation = ELEMENTWISE[spec.activation]
    if spec.gated:
        hidden *= activation(linear(x, weights["mlp.W_gate"], weights.get("mlp.b_gate")))
    else:
        hidden = activation(hidden)
    return linear(hidden, weights["mlp.W_out"], weights.get("mlp.b_out"))
