"""Mathematics that is wrong in one place, with the claims that it must turn."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from attnlab.experiments.claims.laws import Laws
from attnlab.experiments.depth_variants import layer_step
from attnlab.maths.attention import Attention, AttentionSteps, attention, attention_scores, attention_steps
from attnlab.maths.backward import Step
from attnlab.maths.block import LayerTrace, trace_block
from attnlab.maths.inputs import AttentionInputs
from attnlab.maths.jacobian import jacobian, query_gradient
from attnlab.maths.norms import layer_norm
from attnlab.maths.precision import Array
from attnlab.maths.softmax import softmax
from attnlab.maths.streaming import StreamedAttention, stream
from attnlab.maths.weights import linear
from attnlab.theory.costs import PROJECTIONS, part_costs
from attnlab.theory.lookup import rest_bound

#: The axes of the scores (…, n, m) that a softmax may run over.
KEYS, QUERIES, BOTH = (-1,), (-2,), (-2, -1)


def attention_over(axes: tuple[int, ...], *, scaled: bool = True) -> Callable[..., Attention]:
    """Attention whose softmax runs over those axes, with or without 1/√d_k."""

    @np.errstate(all="ignore")
    def wrong(q: Array, k: Array, v: Array, *, mask: Array | None = None, scale: float | None = None) -> Attention:
        c = scale if scale is not None else 1 / math.sqrt(q.shape[-1]) if scaled else 1.0
        s = q @ k.swapaxes(-1, -2) * q.dtype.type(c)
        s = s if mask is None else np.where(mask, s, -np.inf)
        top = s.max(axis=axes, keepdims=True)
        e = np.exp(s - np.where(np.isfinite(top), top, 0))
        total = e.sum(axis=axes, keepdims=True)
        p = e / np.where(total > 0, total, 1)
        return Attention(p @ v, p, np.broadcast_to(np.log(total), s.shape)[..., 0])

    return wrong


def attention_of_keys(q: Array, k: Array, v: Array, **settings: Any) -> Attention:
    """The values hear of the keys: a role too many."""
    return attention(q, k, v + k.mean(axis=-1, keepdims=True), **settings)


def long_attention(q: Array, k: Array, v: Array, **settings: Any) -> Attention:
    """Outputs a hundred-thousandth too long."""
    found = attention(q, k, v, **settings)
    return found._replace(output=found.output * found.output.dtype.type(1 + 1e-5))


def attention_in_turn(q: Array, k: Array, v: Array, **settings: Any) -> Attention:
    """The right numbers, one query after the other."""
    rows = [attention(q[..., i : i + 1, :], k, v, **settings) for i in range(q.shape[-2])]
    output, weights = (np.concatenate([row[part] for row in rows], axis=-2) for part in range(2))
    return Attention(output, weights, np.concatenate([row.lse for row in rows], axis=-1))


def attention_on_its_side(q: Array, k: Array, v: Array, **settings: Any) -> Attention:
    found = attention(q, k, v, **settings)
    return found._replace(output=found.output.swapaxes(-1, -2))


def unscaled(q: Array, k: Array, *, scale: float | None = None) -> Array:
    return attention_scores(q, k, scale=1.0 if scale is None else scale)


def over_scaled(q: Array, k: Array, *, scale: float | None = None) -> Array:
    return attention_scores(q, k, scale=1 / q.shape[-1] if scale is None else scale)


def larger(q: Array, k: Array, *, scale: float | None = None) -> Array:
    """Scores whose variance is off by 1.5."""
    return attention_scores(q, k, scale=scale) * np.float32(math.sqrt(1.5))


def symmetric(q: Array, k: Array, *, scale: float | None = None) -> Array:
    s = attention_scores(q, k, scale=scale)
    return (s + s.swapaxes(-1, -2)) / 2 if s.shape[-1] == s.shape[-2] else s


def standardised(q: Array, k: Array, *, scale: float | None = None) -> Array:
    """Scores that no initialisation can spread."""
    s = attention_scores(q, k, scale=scale)
    return s if scale is None else 2 * s


def pre_norm(spec: Any, weights: Any, x: Array) -> LayerTrace:
    return trace_block(replace(spec, norm_position="pre"), weights, x)


def unscaled_block(spec: Any, weights: Any, x: Array) -> LayerTrace:
    return trace_block(replace(spec, scale=1.0), weights, x)


def skipping_block(spec: Any, weights: Any, x: Array) -> LayerTrace:
    """No residual path around the attention."""
    trace = trace_block(spec, weights, x)
    return trace._replace(t2=trace.t1)


def sigmoid(s: Array) -> Array:
    """Weights that a shift of all scores changes."""
    return np.asarray((1 + np.tanh(s / 2)) / 2)


def hot(s: Array) -> Array:
    return softmax(2 * s[..., None, :]).weights[..., 0, :]


def diagonal_jacobian(p: Array) -> Array:
    return np.asarray(p[..., None] * np.eye(p.shape[-1]))


def streaming_with_the_matrix(inputs: AttentionInputs, **settings: Any) -> StreamedAttention:
    """The right numbers, from scores and weights held whole."""
    kept = attention_steps(inputs._replace(bias=None))
    return stream(inputs, **settings)._replace(output=kept.output)


def streaming_half_of_the_keys(inputs: AttentionInputs, **settings: Any) -> StreamedAttention:
    """As if the other half were not there."""
    half = inputs.k.shape[-2] // 2
    shape = (*inputs.shape[:-1], half)
    return stream(inputs._replace(k=inputs.k[..., :half, :], v=inputs.v[..., :half, :], shape=shape), **settings)


def streaming_too_long(inputs: AttentionInputs, **settings: Any) -> StreamedAttention:
    """Outputs that are longer by a hundredth."""
    found = stream(inputs, **settings)
    return found._replace(output=found.output * np.float32(1.01))


def streaming_twice(inputs: AttentionInputs, **settings: Any) -> StreamedAttention:
    """The right numbers with twice the work."""
    stream(inputs, **settings)
    return stream(inputs, **settings)


def steps_with_a_copy(inputs: AttentionInputs) -> AttentionSteps:
    """The right numbers with a matrix too many."""
    found = attention_steps(inputs)
    return found._replace(logits=found.logits.copy())


def linear_twice(x: Array, w: Array, b: Array | None) -> Array:
    """The right numbers with twice the work."""
    return (linear(x, w, b) + linear(x, w, b)) / 2


def with_a_nan(name: str) -> Laws:
    """attnlab's own laws, but for a NaN as the last number that the one of that name gives."""
    right = getattr(Laws(), name)

    def spoilt(*arguments: Any, **settings: Any) -> Any:
        found = right(*arguments, **settings)
        if isinstance(found, Attention):
            return found._replace(output=ending_in_nan(found.output), weights=ending_in_nan(found.weights))
        if isinstance(found, Step):
            return Step(ending_in_nan(found.value), lambda g: ending_in_nan(found.pullback(g)))
        if isinstance(found, LayerTrace | AttentionSteps | StreamedAttention):
            return found._replace(output=ending_in_nan(found.output))
        return ending_in_nan(found)

    return Laws()._replace(**{name: spoilt})


def ending_in_nan(array: Array) -> Array:
    spoilt = np.array(array)
    spoilt[(-1,) * spoilt.ndim] = np.nan
    return spoilt


def looking_back(window: int) -> Callable[..., Attention]:
    """Attention that sees so many keys and no more."""

    def wrong(q: Array, k: Array, v: Array) -> Attention:
        found = attention(q, k[-window:], v[-window:])
        weights = np.concatenate([np.zeros((len(q), max(len(k) - window, 0)), found.weights.dtype), found.weights], 1)
        return found._replace(weights=weights)

    return wrong


def dot_of_shuffled(q: Array, k: Array) -> Array:
    """Each entry from a pair of its own: what entries share within a vector is lost, and q·q too."""
    return np.asarray(sum(q[:, i] * np.roll(k[:, i], i + 1) for i in range(q.shape[-1])))


def fading_without_the_path(variant: Any, spec: Any, weights: Any, x: Array) -> Step:
    """The way back is shorter where there is no path beside it."""
    value, pullback = layer_step(variant, spec, weights, x)
    return Step(value, pullback if variant.residual else lambda g: 0.3 * pullback(g))


def steps_of_64_keys(inputs: AttentionInputs) -> AttentionSteps:
    shape = (*inputs.shape[:-1], 64)
    return attention_steps(inputs._replace(k=inputs.k[..., :64, :], v=inputs.v[..., :64, :], shape=shape))


def weights_for_outputs(q: Array, k: Array, v: Array) -> Attention:
    found = attention(q, k, v)
    return found._replace(output=found.weights)


def causal_attention(q: Array, k: Array, v: Array) -> Attention:
    return attention(q, k, v, causal=True)


def layer_by(change: Callable[[Any], Any], gain: float = 1.0) -> Callable[..., Step]:
    """A layer with other parts than it was asked for, or whose way back is `gain` times as long."""

    def wrong(variant: Any, spec: Any, weights: Any, x: Array) -> Step:
        value, pullback = layer_step(change(variant), spec, weights, x)
        return Step(value, lambda g: gain * pullback(g))

    return wrong


def windowed_costs(shape: Any, n: int) -> Any:
    """A core that grows like N."""
    return part_costs(replace(shape, causal=True, window=64), n)


def costs_with_dear_projections(shape: Any, n: int) -> Any:
    return [
        replace(part, multiply_adds=3 * part.multiply_adds) if part.part in PROJECTIONS else part
        for part in part_costs(shape, n)
    ]


def steps_of_half_of_the_keys(inputs: AttentionInputs) -> AttentionSteps:
    half = inputs.k.shape[-2] // 2
    shape = (*inputs.shape[:-1], half)
    return attention_steps(inputs._replace(k=inputs.k[..., :half, :], v=inputs.v[..., :half, :], shape=shape))


def steps_of_no_product(inputs: AttentionInputs) -> AttentionSteps:
    """The right numbers, from q and v that note nothing: half of the multiply-adds go unseen."""
    return attention_steps(inputs._replace(q=np.array(inputs.q)))


def linear_search(keys: Array, queries: Array) -> Array:
    """One key after the other."""
    rows = [next((place for place, key in enumerate(keys) if key == query), -1) for query in queries]
    return np.array(rows, dtype=np.intp)


def first_of_sorted(keys: Array, queries: Array) -> Array:
    """Sorted, and the wrong place told."""
    return np.argsort(keys, kind="stable")[: len(queries)]


def columns(x: Array, w: Array, b: Array | None) -> Array:
    """Projections that stand upright."""
    return np.asarray((x @ w).swapaxes(-1, -2)) if x.shape[0] == 1 else linear(x, w, b)


@np.errstate(all="ignore")
def plain_softmax(s: Array) -> Array:
    """e^s ÷ Σ e^s without the largest score subtracted."""
    e = np.exp(s)
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def cool(s: Array) -> Array:
    """Weights that never saturate."""
    return softmax(np.tanh(s)[..., None, :]).weights[..., 0, :]


#: claim -> name of what is wrong -> the laws, and the verdict, on the words or on the proof, that they lead to
WRONG: dict[str, dict[str, tuple[Laws, str]]] = {
    "lemma-1": {
        "a softmax over the queries": (Laws(attention=attention_over(QUERIES)), "refuted"),
        "values that are the inputs": (
            Laws(linear=lambda x, w, b: x if x.shape[-1] == w.shape[-1] else linear(x, w, b)),
            "refuted",
        ),
    },
    "theorem-1": {
        "pre-norm": (Laws(block=pre_norm), "refuted"),
        "a missing 1/√d_k": (Laws(block=unscaled_block), "refuted"),
        "no residual path": (Laws(block=skipping_block), "refuted"),
        "a LayerNorm without ε": (Laws(layer_norm=lambda x: layer_norm(x, eps=0.0)), "refuted"),
    },
    "lemma-2": {
        "a bound halved": (Laws(rest_bound=lambda gap, beta, n: rest_bound(gap, beta, n) / 2), "refuted"),
        "a bound for half of the keys": (
            Laws(rest_bound=lambda gap, beta, n: rest_bound(gap, beta, n // 2)),
            "refuted",
        ),
        "a softmax over the queries": (Laws(attention=attention_over(QUERIES)), "refuted"),
    },
    "corollary-1": {
        "a softmax over the queries": (Laws(attention=attention_over(QUERIES)), "refuted"),
        "outputs too long by 1e-5": (Laws(attention=long_attention), "refuted"),
    },
    "lemma-3": {
        "streaming that holds the matrix": (Laws(streaming=streaming_with_the_matrix), "holds"),
        "streaming past half of the keys": (Laws(streaming=streaming_half_of_the_keys), "refuted"),
        "streaming's outputs too long by 1e-2": (Laws(streaming=streaming_too_long), "holds"),
        "streaming twice over": (Laws(streaming=streaming_twice), "refuted"),
        "a matrix too many": (Laws(steps=steps_with_a_copy), "refuted"),
        "projections twice over": (Laws(linear=linear_twice), "holds"),
    },
    "theorem-3": {
        "a softmax over the queries": (Laws(attention=attention_over(QUERIES)), "refuted"),
        "a softmax over the whole matrix": (Laws(attention=attention_over(BOTH)), "refuted"),
        "values that hear of the keys": (Laws(attention=attention_of_keys), "refuted"),
    },
    "lemma-4": {
        "a softmax over the whole matrix": (Laws(attention=attention_over(BOTH)), "sound"),
        "a softmax over the queries": (Laws(attention=attention_over(QUERIES)), "refuted"),
        "symmetric scores": (Laws(scores=symmetric), "refuted"),
    },
    "theorem-5": {
        "a matrix on its side": (Laws(linear=lambda x, w, b: (x @ w).swapaxes(-1, -2)), "refuted"),
        "an output on its side": (Laws(attention=attention_on_its_side), "refuted"),
    },
    "theorem-6": {
        "a variance off by 1.5": (Laws(dot=lambda q, k: math.sqrt(1.5) * (q * k).sum(axis=-1)), "refuted"),
        "a coordinate too few": (Laws(dot=lambda q, k: (q * k)[..., 1:].sum(axis=-1)), "refuted"),
        "entries that never move together": (Laws(dot=dot_of_shuffled), "holds"),
    },
    "corollary-3": {
        "a missing 1/√d_k": (Laws(scores=unscaled), "refuted"),
        "a variance off by 1.5": (Laws(scores=larger), "refuted"),
        "a smaller W_Q that would not do": (Laws(scores=standardised), "refuted"),
        "1/d_k": (Laws(scores=over_scaled), "refuted"),
    },
    "lemma-6": {
        "a missing 1/√d_k": (Laws(scores=unscaled), "refuted"),
        "1/d_k": (Laws(scores=over_scaled), "refuted"),
        "a variance off by 1.5": (Laws(scores=larger), "refuted"),
    },
    "theorem-7": {
        "a missing 1/√d_k": (Laws(attention=attention_over(KEYS, scaled=False)), "refuted"),
        "a softmax over the queries": (Laws(attention=attention_over(QUERIES)), "refuted"),
    },
    "theorem-8": {
        "no − p_i p_j": (Laws(jacobian=diagonal_jacobian), "refuted"),
        "off by 1.5": (Laws(jacobian=lambda p: 1.5 * jacobian(p)), "refuted"),
        "the softmax of 2 z": (Laws(softmax=hot), "refuted"),
    },
    "corollary-4": {
        "weights that a shift changes": (Laws(softmax=sigmoid), "holds"),
        "a Jacobian three times as large": (Laws(jacobian=lambda p: 3 * jacobian(p)), "corrected"),
        "a missing 1/√d_k": (Laws(scores=unscaled), "corrected"),
        "gradients beyond their bound": (
            Laws(query_gradient=lambda p, g, k, scale: 4 * query_gradient(p, g, k, scale=scale)),
            "corrected",
        ),
    },
    "residual": {
        "a path that does not carry the gradient": (
            Laws(layer=layer_by(lambda variant: replace(variant, residual=False))),
            "refuted",
        ),
        "gradients that vanish everywhere": (Laws(layer=layer_by(lambda variant: variant, gain=0.4)), "refuted"),
        "gradients that vanish without it": (Laws(layer=fading_without_the_path), "holds"),
    },
    "layernorm": {
        "no LayerNorm": (Laws(layer=layer_by(lambda variant: replace(variant, norm=False))), "refuted"),
        "LayerNorm everywhere": (Laws(layer=layer_by(lambda variant: replace(variant, norm=True))), "refuted"),
    },
    "context": {
        "a window of 64 keys": (Laws(attention=looking_back(64)), "refuted"),
        "a missing 1/√d_k": (Laws(scores=unscaled), "refuted"),
        "the softmax of 2 z": (Laws(softmax=hot), "refuted"),
    },
    "quadratic-limit": {
        "a window's costs": (Laws(costs=windowed_costs), "refuted"),
        "projections that take three times as much": (Laws(costs=costs_with_dear_projections), "refuted"),
        "half of the keys": (Laws(steps=steps_of_64_keys), "refuted"),
    },
    "lookup-question": {
        "one key after the other": (Laws(hash_lookup=linear_search), "refuted"),
        "sorted by comparing all": (Laws(sorted_lookup=linear_search), "refuted"),
        "a wrong place": (Laws(sorted_lookup=first_of_sorted), "refuted"),
        "half of the keys": (Laws(steps=steps_of_half_of_the_keys), "refuted"),
        "half of the products": (Laws(steps=steps_of_no_product), "refuted"),
        "the least q·k": (Laws(argmax_lookup=lambda q, k: (q @ k.T).argmin(axis=-1)), "refuted"),
    },
    "parallel": {
        "one query after the other": (Laws(attention=attention_in_turn), "refuted"),
    },
    "overflow": {
        "the largest score not subtracted": (Laws(softmax=plain_softmax), "refuted"),
        "e^s in float64": (Laws(exp=lambda s: np.exp(s.astype(np.float64))), "refuted"),
        "a softmax that never saturates": (Laws(softmax=cool), "refuted"),
    },
    "symmetry-note": {
        "a softmax over the whole matrix": (Laws(attention=attention_over(BOTH)), "refuted"),
        "a causal mask": (Laws(attention=causal_attention), "holds"),
    },
    "row-vectors": {
        "columns": (Laws(linear=columns), "refuted"),
        "a variance off by 1.5": (Laws(dot=lambda q, k: math.sqrt(1.5) * (q * k).sum(axis=-1)), "refuted"),
        "a missing 1/√d_k": (Laws(scores=unscaled), "refuted"),
        "outputs as weights": (Laws(attention=weights_for_outputs), "holds"),
    },
}
