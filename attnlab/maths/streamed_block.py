"""One Transformer block on any number of tokens, without an n × n array: the equations of `block`, streamed.

Heads come in groups: a key/value head and the query heads that use it, or several such where the text is short. Only
one group's queries, keys and values are held at a time, and only some tokens' feed-forward.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from attnlab.maths.architecture import BlockSpec
from attnlab.maths.block import (
    added,
    after_attention,
    head_normed,
    moments_over_all,
    named_steps,
    read_by_attention,
    rotated,
)
from attnlab.maths.chunks import token_chunks
from attnlab.maths.inputs import AttentionInputs, attention_inputs
from attnlab.maths.kernels import pays
from attnlab.maths.norms import Moments
from attnlab.maths.positions import alibi_slopes
from attnlab.maths.precision import Array, rounded, working_dtype
from attnlab.maths.shapes import alibi_panel, shape_only
from attnlab.maths.statistics import HeadStatistics, joined_heads
from attnlab.maths.step_sums import StepSums
from attnlab.maths.streaming import StreamedAttention, panel_count, stream
from attnlab.maths.weights import BlockWeights, linear

#: Numbers of a group's queries, keys, values and outputs up to which heads are taken together: 2 MiB in float32, and
#: as much again while they are made.
TOGETHER = 1 << 19


class HeadGroup(NamedTuple):
    """The query heads that use one key/value head or a few, and what streaming made of them."""

    #: what was projected, (n, d_model): the block's input, or its norm (pre-norm, sandwich)
    x: Array
    #: the first of the query heads, and of the key/value heads
    first: int
    shared: int
    inputs: AttentionInputs
    attention: StreamedAttention

    def key_head(self, own: int) -> int:
        """The block's key/value head that one of the group's query heads, counted from 0, uses."""
        together = self.inputs.shape[0] // len(self.inputs.k)
        return self.shared + own // together


class StreamedLayer(NamedTuple):
    """What one block leaves of n tokens when nothing of size n × n is kept."""

    x: Array
    #: what the projections read: x, or its norm (pre-norm, sandwich)
    attention_input: Array
    #: one number per head, (h,)
    statistics: HeadStatistics
    #: X and T1 … H in a few numbers each
    sums: Mapping[str, StepSums]
    #: X and T1 … H of the tokens asked for, (tokens, d_model) each
    sampled: Mapping[str, Array]
    #: H, (n, d_model)
    output: Array


@np.errstate(over="ignore", invalid="ignore")
def stream_block(
    spec: BlockSpec,
    weights: BlockWeights,
    x: Array,
    *,
    sampled: Sequence[int] = (),
    asymmetry: bool = False,
    max_bytes: int | None = None,
    last: bool = False,
    summed: bool = True,
    on_group: Callable[[HeadGroup], None] = lambda _: None,
    advance: Callable[[], None] = lambda: None,
) -> StreamedLayer:
    """Run one block on x (n, d_model); the numbers are those of `trace_block` and `dense_statistics` to rounding.

    Args:
        sampled: tokens whose every step is kept.
        asymmetry: also measure it, by a second pass over the scores.
        max_bytes: of the working memory of the attention; None = as `stream` has it.
        last: nobody reads what comes out: sums and output are of the sampled tokens alone.
        summed: whether the sums are wanted; without them there are none.
        on_group: called with each group of heads while its queries, keys and values are at hand.
        advance: called as `stream` calls it.
    """
    attention_input = normed(spec, weights, x) if spec.norms_inputs else x
    over_all = tokens_moments(spec, weights, attention_input)
    joined = np.zeros((len(x), spec.d_model), working_dtype(np.result_type(x, weights["attn.W_V"])))
    parts = []
    for shared in key_heads_together(spec, len(x)):
        group = stream_group(spec, weights, attention_input, shared, over_all, asymmetry, max_bytes, advance)
        add_heads(spec, weights, joined, group, x.dtype)
        parts.append(group.attention.statistics)
        on_group(group)
        del group
    if last:
        here = list(sampled)
        steps = later_steps(spec, weights, x[here], joined[here], range(len(here)), summed)
    else:
        steps = later_steps(spec, weights, x, joined, sampled, summed)
    return StreamedLayer(x, attention_input, joined_heads(parts), *steps)


def key_heads_together(spec: BlockSpec, n: int) -> Iterator[slice]:
    """The key/value heads, as many at a time as are small together; one where the text is long."""
    one = n * (spec.n_heads // spec.n_kv_heads + 1) * (spec.d_k + spec.d_v)
    count = max(1, TOGETHER // max(1, one))
    for start in range(0, spec.n_kv_heads, count):
        yield slice(start, min(start + count, spec.n_kv_heads))


def normed(spec: BlockSpec, weights: BlockWeights, x: Array) -> Array:
    """The norm before the attention, (n, d_model)."""
    found = np.empty_like(x)
    for tokens in token_chunks(*x.shape):
        found[tokens] = read_by_attention(spec, weights, x[tokens])
    return found


class TokensMoments(NamedTuple):
    """What one norm over all heads divides each token's queries and keys by; None where there is no such norm."""

    q: Moments | None
    k: Moments | None


def tokens_moments(spec: BlockSpec, weights: BlockWeights, x: Array) -> TokensMoments:
    """Those of x (n, d_model), which needs every head's queries and keys: some tokens at a time, and none are kept."""
    if spec.qk_norm is None or spec.qk_norm_over == "head":
        return TokensMoments(None, None)
    kind, parts = spec.qk_norm, []
    for tokens in token_chunks(len(x), max(spec.d_model, spec.n_heads * spec.d_k)):
        both = (projected(x[tokens], weights, role, slice(None)) for role in "QK")
        parts.append([moments_over_all(spec, kind, heads) for heads in both])
    return TokensMoments(*(joined_moments(of_role) for of_role in zip(*parts, strict=True)))


def joined_moments(parts: Sequence[Moments]) -> Moments:
    """Those of some tokens after the others'."""
    means = [part.mean for part in parts if part.mean is not None]
    return Moments(np.concatenate(means) if means else None, np.concatenate([part.deviation for part in parts]))


def stream_group(
    spec: BlockSpec,
    weights: BlockWeights,
    x: Array,
    shared: slice,
    over_all: TokensMoments,
    asymmetry: bool,
    max_bytes: int | None,
    advance: Callable[[], None],
) -> HeadGroup:
    """Project the query heads of some key/value heads and stream their attention."""
    inputs = group_inputs(spec, weights, x, shared, over_all)
    compiled = pays(spec.n_heads * len(x) ** 2)  # of all heads, so that groups of one block are computed alike
    attention = stream(inputs, asymmetry=asymmetry, max_bytes=max_bytes, compiled=compiled, advance=advance)
    return HeadGroup(x, shared.start * (spec.n_heads // spec.n_kv_heads), shared.start, inputs, attention)


def group_inputs(
    spec: BlockSpec, weights: BlockWeights, x: Array, shared: slice, over_all: TokensMoments
) -> AttentionInputs:
    """Queries (s·r, n, d_k), keys (s, n, d_k) and values of s key/value heads, checked, with the block's settings."""
    r = spec.n_heads // spec.n_kv_heads
    own = slice(shared.start * r, shared.stop * r)
    q = prepared(spec, weights, "Q", projected(x, weights, "Q", own), own, over_all.q)
    k = prepared(spec, weights, "K", projected(x, weights, "K", shared), shared, over_all.k)
    bias = partial(alibi_panel, alibi_slopes(spec.n_heads)[own], working_dtype(q.dtype))
    return attention_inputs(
        q,
        k,
        projected(x, weights, "V", shared),
        mask=None,
        bias=bias if spec.position == "alibi" else None,
        causal=spec.causal,
        window=spec.window,
        scale=spec.scale,
        softcap=spec.softcap,
    )


def prepared(
    spec: BlockSpec, weights: BlockWeights, role: str, x: Array, heads: slice, over_all: Moments | None
) -> Array:
    """Some heads' queries or keys after qk_norm, some tokens at a time and in their place, and rotary positions."""
    if spec.qk_norm is not None:
        for tokens in token_chunks(x.shape[1], x.shape[0] * x.shape[2]):
            here = None if over_all is None else over_all.of(tokens)
            x[:, tokens] = head_normed(
                spec, weights, role.lower(), x[:, tokens], spec.qk_norm, heads=heads, over_all=here
            )
    return rotated(spec, x)


def block_panels(
    spec: BlockSpec, n: int, dtype: np.dtype[Any], *, asymmetry: bool = False, max_bytes: int | None = None
) -> int:
    """How often `stream_block` calls `advance` for n tokens."""
    groups = (shape_only(spec, n, dtype, key_heads=s.stop - s.start) for s in key_heads_together(spec, n))
    return sum(panel_count(group, asymmetry=asymmetry, max_bytes=max_bytes) for group in groups)


def projected(x: Array, weights: BlockWeights, role: str, heads: slice) -> Array:
    """x W + b of some heads, (heads, n, width)."""
    w, b = weights[f"attn.W_{role}"][heads], weights.get(f"attn.b_{role}")
    count, width = len(w), w.shape[-1]
    found = np.empty((count, len(x), width), np.result_type(x, w))
    matrix = w.transpose(1, 0, 2).reshape(-1, count * width)  # side by side: one product for all
    bias = None if b is None else b[heads].ravel()
    for tokens in token_chunks(len(x), max(x.shape[1], count * width)):
        found[:, tokens] = linear(x[tokens], matrix, bias).reshape(-1, count, width).transpose(1, 0, 2)
    return found


def add_heads(spec: BlockSpec, weights: BlockWeights, joined: Array, group: HeadGroup, dtype: np.dtype[Any]) -> None:
    """Add what a group's heads contribute to T1 (without b_O and a norm), which is rounded only once all are in."""
    outputs = rounded(group.attention.output, dtype)
    columns = slice(group.first * spec.d_v, (group.first + len(outputs)) * spec.d_v)
    for tokens in token_chunks(len(joined), max(joined.shape[1], columns.stop - columns.start)):
        here = outputs[:, tokens].transpose(1, 0, 2)
        side_by_side = here.reshape(len(here), -1).astype(joined.dtype, copy=False)
        if spec.output_projection:
            w_o = weights["attn.W_O"].reshape(-1, spec.d_model)[columns].astype(joined.dtype, copy=False)
            joined[tokens] += side_by_side @ w_o
        else:
            joined[tokens, columns] = side_by_side


def later_steps(
    spec: BlockSpec, weights: BlockWeights, x: Array, joined: Array, sampled: Sequence[int], summed: bool
) -> tuple[dict[str, StepSums], dict[str, Array], Array]:
    """T1 … H some tokens at a time: their sums, those of the sampled tokens, and H.

    Args:
        joined: (n, d_model), T1 without b_O and before a norm; where it has H's dtype, H takes its place.
    """
    dtype = np.result_type(x, weights["attn.W_V"])
    output = joined if joined.dtype == dtype else np.empty(joined.shape, dtype)
    wanted = np.asarray(sampled, dtype=np.intp)
    sums: dict[str, StepSums] = {}
    kept: dict[str, Array] = {}
    for tokens in token_chunks(len(x), max(spec.d_model, spec.d_ff or 0)):
        if spec.output_projection and "attn.b_O" in weights:
            joined[tokens] += weights["attn.b_O"].astype(joined.dtype, copy=False)
        t1 = added(spec, weights, "ln1", rounded(joined[tokens], dtype))
        later = after_attention(spec, weights, x[tokens], t1)
        here = (wanted >= tokens.start) & (wanted < tokens.stop)
        for name, step in {"X": x[tokens], **named_steps(t1, later)}.items():
            if summed:
                sums[name] = sums.get(name, StepSums()).merged(StepSums.of(step))
            rows = kept.setdefault(name, np.empty((len(wanted), spec.d_model), step.dtype))
            rows[here] = step[wanted[here] - tokens.start]
        output[tokens] = later.output
    return sums, kept, output
