"""What must hold of any attention and any block, whatever the input: measured, beside the bound that it must keep."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from attnlab.maths.architecture import BlockSpec
from attnlab.maths.attention import AttentionSteps
from attnlab.maths.block import LayerTrace, block_norm, feed_forward, join_heads
from attnlab.maths.norms import moments
from attnlab.maths.precision import Array
from attnlab.maths.statistics import HeadStatistics
from attnlab.maths.weights import BlockWeights
from attnlab.records import Check
from attnlab.show.numbers import number
from attnlab.theory.scores import score_variance_identity

#: Rows of a matrix that are held in float64 at a time.
ROWS = 256


def attention_checks(attentions: Sequence[AttentionSteps], statistics: Sequence[HeadStatistics]) -> list[Check]:
    """Rows sum to 1, no weight is negative, and no output is longer than the longest value it is made of."""
    working = attentions[0].weights.dtype
    m = attentions[0].weights.shape[-1]
    rounding = (4 + math.log2(max(m, 1))) * float(np.finfo(working).eps)
    off = largest([row_sum_error(steps) for steps in attentions])
    least = -largest([-least_of(steps.weights) for steps in attentions])
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
        checks.append(
            check("norm_bound", ratio, 1 + rounding, f"no output is longer than the longest value ({ratio:.2f} of it)")
        )
    return checks


def row_sum_error(steps: AttentionSteps) -> Array:
    """abs(Σ_j p_ij − 1) for rows that see a key; NaN rows stay NaN."""
    seen = ~np.isneginf(steps.lse)
    off: Array = np.abs(steps.weights.sum(axis=-1, dtype=np.float64) - 1)
    return off[seen]


def least_of(weights: Array) -> Array:
    """The least number of all, passing over NaN; NaN if there is nothing else, or nothing at all."""
    return np.fmin.reduce(weights, axis=None) if weights.size else np.array(np.nan)


def identity_check(layers: Sequence[tuple[Array, Array, Array]], scale: float | Sequence[float]) -> Check:
    """The variance of all scores equals what the moments of these very q and k give: an identity, not a prediction.

    Args:
        layers: per head q (n, d), k (m, d), and their scores (n, m), none of them hidden.
        scale: of all, or of each.
    """
    scales = [scale] * len(layers) if isinstance(scale, int | float) else scale
    errors = [identity_error(*head, own) for head, own in zip(layers, scales, strict=True)]
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
    measured = variance(scores)
    size = abs(scale) * max_norm(q) * max_norm(k)
    limits = np.finfo(scores.dtype)
    underflow = max(1.0, abs(scale)) * q.shape[-1] * float(limits.tiny)
    error = 8 * float(limits.eps) * size + underflow
    rounding = error / math.sqrt(expected) if expected > 0 else math.inf
    apart = abs(measured - expected) / expected if expected > 0 else abs(measured)
    return apart, 2 * rounding + rounding**2


def variance(numbers: Array) -> float:
    """Of all the numbers of (n, m), in float64 and two passes, some rows at a time."""
    parts = [numbers[i : i + ROWS] for i in range(0, len(numbers), ROWS)]
    mean = sum(float(part.sum(dtype=np.float64)) for part in parts) / numbers.size
    return sum(float(np.square(part.astype(np.float64) - mean).sum()) for part in parts) / numbers.size


def max_norm(x: Array) -> float:
    """The longest row."""
    return float(np.linalg.norm(x.astype(np.float64), axis=-1).max(initial=0.0))


class Tokens(NamedTuple):
    """Some tokens of a block: each step that they went through, and what the attention gathered for them."""

    #: X and T1 … H, (tokens, d_model) each
    steps: Mapping[str, Array]
    #: Σ_j p_ij v_j of every head as (P X) W_V + b_V: (h, tokens, d_v) float64
    heads: Array
    #: the longest of all the tokens that the projections read, those not finite apart
    longest: float


def traced_tokens(spec: BlockSpec, weights: BlockWeights, layer: LayerTrace) -> Tokens:
    """Every token of a block whose matrices were kept."""
    finite = np.isfinite(layer.attention_input.astype(np.float64)).all(axis=-1)
    heads = gathered(spec, widened(weights), layer)
    return Tokens({"X": layer.x, **layer.steps}, heads, max_norm(layer.attention_input[finite]))


def equations_check(layers: Sequence[tuple[BlockSpec, BlockWeights, LayerTrace]]) -> Check:
    """Every step T1 … H of every token equals its equation, worked out again in float64 from the steps before it."""
    tokens = ((spec, weights, traced_tokens(spec, weights, layer)) for spec, weights, layer in layers)
    return tokens_check(len(layers[0][2].x), tokens)


def tokens_check(n: int, layers: Iterable[tuple[BlockSpec, BlockWeights, Tokens]], of: str = "") -> Check:
    """The same for the tokens at hand.

    Args:
        n: tokens that an output may gather from.
        of: which tokens, where not all: " of 8 tokens".
    """
    value, bound = math.nan, 0.0
    for spec, weights, tokens in layers:
        width = max(spec.d_model, spec.d_ff or 1, spec.n_heads * spec.d_v, n)
        value = largest([*step_errors(spec, weights, tokens), np.array(value)])
        bound = 8 * epsilon(tokens.steps["H"].dtype) * math.sqrt(width)
    text = f"T1 … H{of} equal their equations ({closeness(value, bound)})"
    return check("steps_equal_equations", value, bound, text)


def epsilon(dtype: np.dtype[Any]) -> float:
    """The distance from 1 to the next number; bfloat16's is unknown to numpy."""
    return float(np.finfo(dtype).eps) if dtype.kind == "f" else 2.0**-7


@np.errstate(over="ignore", invalid="ignore")  # what is not finite is an error only where the two sides differ in it
def step_errors(spec: BlockSpec, weights: BlockWeights, tokens: Tokens) -> list[Array]:
    """For each step, the largest difference from its equation as a share of the step's largest number.

    Below the dtype's smallest normal number there are fewer digits to agree in: shares are of no less than that.
    Where one side is finite and the other is not, the difference is inf; where neither is, there is none.
    """
    errors = []
    dtype = tokens.steps["H"].dtype
    least = float(np.finfo(dtype).tiny) if dtype.kind == "f" else 2.0**-126
    wide = widened(weights)
    made = parts_made(spec, wide, tokens)
    for name, expected in step_equations(spec, wide, tokens, made).items():
        rounded_at = sizes_rounded(spec, wide, tokens, name, made)
        rounded_at = np.where(np.isfinite(rounded_at), rounded_at, 0)
        largest_number = float(np.abs(expected[np.isfinite(expected)]).max(initial=0))
        size = np.maximum(rounded_at, max(least, largest_number))
        errors.append(np.array(largest([differences(tokens.steps[name], expected, size)])))
    return errors


def differences(step: Array, expected: Array, size: Array | float = 1.0) -> Array:
    """abs(step − expected) as a share of the size, where either is finite in the step's dtype, in one row."""
    finite = np.isfinite(step.astype(np.float64))
    expected_finite = np.isfinite(expected.astype(step.dtype).astype(np.float64))
    difference = np.where(finite & expected_finite, np.abs(step.astype(np.float64) - expected), np.inf)
    difference /= size
    return difference[finite | expected_finite]


def sizes_rounded(
    spec: BlockSpec, weights: BlockWeights, tokens: Tokens, name: str, made: Mapping[str, Array]
) -> Array:
    """How large the numbers are whose rounding a step inherits: in T1 and T4 the products' before anything cancels.

    Opposite signs or a gelu may leave next to nothing of a number, but not of its rounding; a norm that follows makes
    both larger or smaller alike, each token's by its own deviation: (tokens, 1), or () where all share one.
    """
    if name == "T1":
        longest, first, last, norm = tokens.longest, "attn.W_V", "attn.W_O", "ln1_post"
    elif name == "T4":
        read = tokens.steps["T3" if "T3" in tokens.steps else "T2"]
        longest = max_norm(read[np.isfinite(read.astype(np.float64)).all(axis=-1)])
        first, last, norm = "mlp.W_in", "mlp.W_out", "ln2_post"
    else:
        return np.array(0.0)
    columns = float(np.linalg.norm(weights[first], axis=-2).max())
    size = np.array(longest * columns * (float(np.abs(weights[last]).max()) if last in weights else 1.0))
    if not spec.norms_outputs:
        return size
    by = moments(spec.norm, made[name], eps=spec.norm_eps)
    return size * float(np.abs(weights[f"{norm}.w"]).max()) / by.deviation


def parts_made(spec: BlockSpec, weights: BlockWeights, tokens: Tokens) -> dict[str, Array]:
    """What attention and feed-forward make in float64, T1 and T4 before any norm of them.

    T1 is put together the other way round: (P X) W_V, not P (X W_V).
    """
    made = {"T1": join_heads(spec, weights, tokens.heads)}
    if "T4" in tokens.steps:
        read = tokens.steps["T3" if "T3" in tokens.steps else "T2"]
        made["T4"] = feed_forward(spec, weights, read.astype(np.float64))
    return made


def step_equations(
    spec: BlockSpec, weights: BlockWeights, tokens: Tokens, made: Mapping[str, Array]
) -> dict[str, Array]:
    """The right-hand sides of T1 … H in float64, of the steps before them and of what the parts made."""
    have = {name: step.astype(np.float64) for name, step in tokens.steps.items()}
    post = spec.norm_position == "post"
    sides = dict(made)
    if spec.norm_position in ("sandwich", "output"):
        sides = {name: block_norm(spec, weights, f"ln{1 if name == 'T1' else 2}_post", made[name]) for name in made}
    sides["T2"] = have["X"] + have["T1"]
    if post:
        sides["T3"] = block_norm(spec, weights, "ln1", have["T2"])
    elif "T3" in have:
        sides["T3"] = block_norm(spec, weights, "ln2", have["X" if spec.parallel else "T2"])
    if "T4" not in have:
        return sides | {"H": have["T3" if post else "T2"]}
    sides["T5"] = have["T3" if post else "T2"] + have["T4"]
    return sides | {"H": block_norm(spec, weights, "ln2", have["T5"]) if post else have["T5"]}


def gathered(spec: BlockSpec, weights: BlockWeights, layer: LayerTrace) -> Array:
    """Σ_j p_ij v_j of every head as (P X) W_V + b_V, (h, n, d_v) float64; rows that see nothing give 0.

    A token that is not finite reaches the rows that see it, and no other.
    """
    x = layer.attention_input.astype(np.float64)
    finite = np.asarray(np.isfinite(x).all(axis=-1))
    x[~finite] = 0
    seen = np.broadcast_to(True if layer.visible is None else layer.visible, layer.weights.shape)
    heads = np.empty((spec.n_heads, len(layer.x), spec.d_v))
    for head, start in itertools.product(range(spec.n_heads), range(0, len(layer.x), ROWS)):
        shared = head // (spec.n_heads // spec.n_kv_heads)
        rows = slice(start, start + ROWS)
        p = layer.weights[head, rows].astype(np.float64)
        heads[head, rows] = p @ x @ weights["attn.W_V"][shared]
        if "attn.b_V" in weights:
            heads[head, rows] += p.sum(axis=-1, keepdims=True) * weights["attn.b_V"][shared]
        if not finite.all():
            heads[head, rows][(seen[head, rows] & ~finite).any(axis=-1)] = np.nan
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
