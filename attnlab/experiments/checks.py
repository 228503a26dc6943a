"""What must hold of any attention and any block, whatever the input: measured, beside the bound that it must keep."""

import math
from collections.abc import Sequence

import numpy as np

from attnlab.maths.architecture import BlockSpec
from attnlab.maths.attention import AttentionSteps
from attnlab.maths.block import LayerTrace, block_norm, feed_forward, join_heads
from attnlab.maths.precision import Array
from attnlab.maths.statistics import HeadStatistics
from attnlab.maths.weights import BlockWeights
from attnlab.records import Check
from attnlab.show.numbers import number
from attnlab.theory.scores import score_variance_identity


def attention_checks(attentions: Sequence[AttentionSteps], statistics: Sequence[HeadStatistics]) -> list[Check]:
    """Rows sum to 1, no weight is negative, and no output is longer than the longest value it is made of."""
    working = attentions[0].weights.dtype
    m = attentions[0].weights.shape[-1]
    rounding = (4 + math.log2(max(m, 1))) * float(np.finfo(working).eps)
    off = largest([row_sum_error(steps) for steps in attentions])
    least = -largest([-steps.weights for steps in attentions])
    ratio = largest([one.norm_bound for one in statistics])
    apart = f"off by at most {number(off)}" if not math.isnan(off) else "not measured: no row is finite"
    unseen = " (not measured: no weight is finite)" if math.isnan(least) else ""
    checks = [
        check("rows_sum_to_1", off, rounding, f"rows sum to 1 ({apart})"),
        Check(
            id="weights_not_negative", holds=not least < 0, value=least, bound=0.0, text=f"no negative weight{unseen}"
        ),
    ]
    if not math.isnan(ratio):
        checks.append(check("norm_bound", ratio, 1 + rounding, f"‖o‖ ≤ max‖v‖ ({ratio:.2f} of it)"))
    return checks


def row_sum_error(steps: AttentionSteps) -> Array:
    """abs(Σ_j p_ij − 1) for rows that see a key; NaN rows stay NaN."""
    seen = ~np.isneginf(steps.lse)
    off: Array = np.abs(steps.weights.sum(axis=-1, dtype=np.float64) - 1)
    return off[seen]


def identity_check(layers: Sequence[tuple[Array, Array, Array]], scale: float) -> Check:
    """The variance of all scores equals what the moments of these very q and k give: an identity, not a prediction.

    Args:
        layers: per head q (n, d), k (m, d), and their scores (n, m), none of them hidden.
    """
    errors = [identity_error(q, k, scores, scale) for q, k, scores in layers]
    finite = [(apart, bound) for apart, bound in errors if not math.isnan(apart)] or [(math.nan, 0.0)]
    telling = [(apart, bound) for apart, bound in finite if apart > bound or bound < 1]
    value, bound = max(telling or finite, key=lambda pair: pair[0] / pair[1] if pair[1] else pair[0])
    text = f"Var(scores) follows from the moments of q and k ({closeness(value, bound)})"
    return check("score_variance_identity", value, bound, text)


def closeness(value: float, bound: float) -> str:
    """How closely two things agree, as a share of their size; or why that says nothing."""
    if math.isnan(value):
        return "not measured: no number is finite"
    if value <= bound and bound >= 1:
        return "not measured: rounding may be as large as the numbers"
    return f"to {number(value)}"


def identity_error(q: Array, k: Array, scores: Array, scale: float) -> tuple[float, float]:
    """How far the two are apart as a share of the variance, and how far rounding and underflow may bring them."""
    expected = score_variance_identity(q, k, scale=scale)
    wide = scores.astype(np.float64)
    measured = float(np.square(wide - wide.mean()).mean())
    size = abs(scale) * max_norm(q) * max_norm(k)
    limits = np.finfo(scores.dtype)
    underflow = max(1.0, abs(scale)) * q.shape[-1] * float(limits.tiny)
    error = 8 * float(limits.eps) * size + underflow
    rounding = error / math.sqrt(expected) if expected > 0 else math.inf
    apart = abs(measured - expected) / expected if expected > 0 else abs(measured)
    return apart, 2 * rounding + rounding**2


def max_norm(x: Array) -> float:
    """The longest row."""
    return float(np.linalg.norm(x.astype(np.float64), axis=-1).max(initial=0.0))


def equations_check(layers: Sequence[tuple[BlockSpec, BlockWeights, LayerTrace]]) -> Check:
    """Every step T1 … H equals its equation, worked out again in float64 from the steps before it."""
    errors = [error for spec, weights, layer in layers for error in step_errors(spec, weights, layer)]
    spec, _, layer = layers[0]
    eps = float(np.finfo(layer.output.dtype).eps) if layer.output.dtype.kind == "f" else 2.0**-7
    width = max(spec.d_model, spec.d_ff or 1, spec.n_heads * spec.d_v, len(layer.x))
    value = largest(errors)
    bound = 8 * eps * math.sqrt(width)
    return check("steps_equal_equations", value, bound, f"T1 … H equal their equations ({closeness(value, bound)})")


@np.errstate(over="ignore", invalid="ignore")  # what is not finite is an error only where the two sides differ in it
def step_errors(spec: BlockSpec, weights: BlockWeights, layer: LayerTrace) -> list[Array]:
    """For each step, the differences from its equation as shares of the step's largest number.

    Below the dtype's smallest normal number there are fewer digits to agree in: shares are of no less than that.
    Where one side is finite and the other is not, the difference is inf; where neither is, there is none.
    """
    errors = []
    least = float(np.finfo(layer.output.dtype).tiny) if layer.output.dtype.kind == "f" else 2.0**-126
    wide = widened(weights)
    for name, expected in step_equations(spec, wide, layer).items():
        sizes = (least, rounded_at(wide, name, layer), float(np.abs(expected[np.isfinite(expected)]).max(initial=0)))
        errors.append(differences(layer.steps[name], expected) / max(filter(math.isfinite, sizes)))
    return errors


def differences(step: Array, expected: Array) -> Array:
    """abs(step − expected) where either is finite in the step's dtype, in one row."""
    finite = np.isfinite(step.astype(np.float64))
    expected_finite = np.isfinite(expected.astype(step.dtype).astype(np.float64))
    difference = np.where(finite & expected_finite, np.abs(step.astype(np.float64) - expected), np.inf)
    return difference[finite | expected_finite]


def rounded_at(weights: BlockWeights, name: str, layer: LayerTrace) -> float:
    """How large the numbers are whose rounding a step inherits: in T1 and T4 the products' before anything cancels.

    Opposite signs or a gelu may leave next to nothing of a number, but not of its rounding.
    """
    if name == "T1":
        x, first, last = layer.attention_input, "attn.W_V", "attn.W_O"
    elif name == "T4":
        x, first, last = layer.steps["T3"], "mlp.W_in", "mlp.W_out"
    else:
        return 0.0
    x = x[np.isfinite(x.astype(np.float64)).all(axis=-1)]
    columns = float(np.linalg.norm(weights[first], axis=-2).max())
    return max_norm(x) * columns * (float(np.abs(weights[last]).max()) if last in weights else 1.0)


def step_equations(spec: BlockSpec, weights: BlockWeights, layer: LayerTrace) -> dict[str, Array]:
    """The right-hand sides of T1 … H in float64. T1 is put together the other way round: (P X) W_V, not P (X W_V)."""
    x = layer.x.astype(np.float64)
    have = {name: step.astype(np.float64) for name, step in layer.steps.items()}
    post = spec.norm_position == "post"
    sides = {"T1": join_heads(spec, weights, gathered(spec, weights, layer)), "T2": x + have["T1"]}
    if "T3" in have:
        sides["T3"] = block_norm(spec, weights, "ln1" if post else "ln2", have["T2"])
    if "T4" in have:
        sides["T4"] = feed_forward(spec, weights, have["T3"])
        sides["T5"] = have["T3" if post else "T2"] + have["T4"]
        sides["H"] = block_norm(spec, weights, "ln2", have["T5"]) if post else have["T5"]
    else:
        sides["H"] = have["T3" if post else "T2"]
    return sides


def gathered(spec: BlockSpec, weights: BlockWeights, layer: LayerTrace) -> Array:
    """Σ_j p_ij v_j of every head as (P X) W_V + b_V, (h, n, d_v) float64; rows that see nothing give 0.

    A token that is not finite reaches the rows that see it, and no other.
    """
    p = layer.weights.astype(np.float64)
    shared = spec.n_heads // spec.n_kv_heads
    x = layer.attention_input.astype(np.float64)
    finite = np.asarray(np.isfinite(x).all(axis=-1))
    heads: Array = p @ np.where(finite[:, None], x, 0) @ np.repeat(weights["attn.W_V"], shared, axis=0)
    if "attn.b_V" in weights:
        heads += p.sum(axis=-1, keepdims=True) * np.repeat(weights["attn.b_V"], shared, axis=0)[:, None]
    seen = np.broadcast_to(True if layer.visible is None else layer.visible, p.shape)
    heads[(seen & ~finite).any(axis=-1)] = np.nan
    return heads


def widened(weights: BlockWeights) -> BlockWeights:
    """The weights in float64."""
    return {name: tensor.astype(np.float64) for name, tensor in weights.items()}


def largest(arrays: Sequence[Array]) -> float:
    """The largest number of all; what is NaN is passed over, and NaN only if there is nothing else."""
    finite = [array[~np.isnan(array)] for array in map(np.asarray, arrays)]
    tops = [float(array.max()) for array in finite if array.size]
    return max(tops, default=math.nan)


def check(name: str, value: float, bound: float, text: str) -> Check:
    """A check that a value stays at or below its bound; with nothing to measure (NaN) nothing is broken."""
    return Check(id=name, holds=not value > bound, value=value, bound=bound, text=text)
