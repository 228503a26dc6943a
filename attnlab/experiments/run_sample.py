"""What a streamed run shows of its matrices and checks itself by: a few queries worked out in full, in float64."""

import math
from collections.abc import Sequence

import numpy as np

from attnlab.experiments.checks import Tokens, check, epsilon, largest, max_norm, widened
from attnlab.experiments.run_record import Rows
from attnlab.maths.architecture import BlockSpec
from attnlab.maths.attention import AttentionSteps
from attnlab.maths.chunks import token_chunks
from attnlab.maths.inputs import AttentionInputs
from attnlab.maths.precision import Array
from attnlab.maths.sampled_rows import head_of, sampled_rows
from attnlab.maths.statistics import HeadStatistics
from attnlab.maths.streamed_block import HeadGroup, StreamedLayer
from attnlab.maths.streaming import StreamedAttention
from attnlab.maths.weights import BlockWeights
from attnlab.records import Check
from attnlab.show.numbers import number

#: Queries worked out in full.
SAMPLE = 8


def sample_of(n: int) -> tuple[int, ...]:
    """The first query, the last, and others evenly between: SAMPLE in all, or all there are."""
    return tuple(dict.fromkeys(int(i) for i in np.linspace(0, n - 1, min(n, SAMPLE)).round()))


def sampled(n: int, one: str, many: str) -> str:
    """How many of n are in the sample: "1 query", "8 queries"."""
    count = min(n, SAMPLE)
    return f"{count} {one if count == 1 else many}"


def rows_of(queries: Sequence[int], steps: AttentionSteps) -> Rows:
    """Those rows of one head."""
    visible = None if steps.visible is None else np.broadcast_to(steps.visible, steps.scores.shape)[0]
    return Rows(np.asarray(queries), steps.weights[0], steps.scores[0], visible)


class Gathered:
    """What the sampled queries of every head of a layer gather, as groups of heads go by."""

    def __init__(self, spec: BlockSpec, weights: BlockWeights, queries: Sequence[int], shown: int | None) -> None:
        """Shown: the head whose rows are kept; None = none of this layer."""
        self.spec, self.wide, self.queries, self.shown = spec, widened(weights), queries, shown
        self.heads = np.zeros((spec.n_heads, len(queries), spec.d_v))
        self.rows: Rows | None = None
        self.errors: list[tuple[float, float]] = []

    def look(self, group: HeadGroup) -> None:
        """Work out the sampled queries of a group of heads."""
        for own in range(group.inputs.shape[0]):
            steps = sampled_rows(head_of(group.inputs, own), self.queries)
            self.errors.append(row_error(group.inputs, group.attention, own, self.queries, steps))
            self.heads[group.first + own] = self.gathered(group, own, steps)
            self.keep(group.first + own, steps)

    def keep(self, head: int, steps: AttentionSteps) -> None:
        """Keep the rows of a head that is shown."""
        if head == self.shown:
            self.rows = rows_of(self.queries, steps)

    def gathered(self, group: HeadGroup, own: int, steps: AttentionSteps) -> Array:
        """Σ_j p_ij v_j as (P X) W_V + b_V, (queries, d_v): not with the values that were streamed.

        Args:
            own: the head's place in the group.
        """
        p, x, key_head = steps.weights[0], group.x, group.key_head(own)
        seen = np.broadcast_to(True if steps.visible is None else steps.visible[0], p.shape)
        mixed = np.zeros((len(p), x.shape[1]))
        for tokens in token_chunks(*x.shape):
            wide = x[tokens].astype(np.float64)
            finite = np.asarray(np.isfinite(wide).all(axis=1))
            mixed += p[:, tokens] @ np.where(finite[:, None], wide, 0)
            mixed[(seen[:, tokens] & ~finite).any(axis=1)] = np.nan
        found: Array = mixed @ self.wide["attn.W_V"][key_head]
        if "attn.b_V" in self.wide:
            found += p.sum(axis=1, keepdims=True) * self.wide["attn.b_V"][key_head]
        return found

    def tokens(self, layer: StreamedLayer) -> Tokens:
        """The sampled tokens of the layer, once all groups have gone by."""
        x = layer.attention_input
        longest = (max_norm(part[np.isfinite(part).all(axis=1)]) for part in (x[t] for t in token_chunks(*x.shape)))
        return Tokens(layer.sampled, self.heads, max(longest, default=0.0))


def row_error(
    inputs: AttentionInputs, streamed: StreamedAttention, head: int, queries: Sequence[int], steps: AttentionSteps
) -> tuple[float, float]:
    """How far streamed outputs are from the sampled ones, as a share of the longest value, and the bound on that.

    Weights may be off by a factor of e^(bound): 16 eps (1 + scale·max‖q‖·max‖k‖ + max abs(bias)).
    """
    own = head_of(inputs, head)
    size = abs(inputs.scale) * max_norm(finite_rows(own.q)) * max_norm(finite_rows(own.k))
    shift = np.abs(np.where(np.isfinite(steps.logits), steps.logits, 0)).max(initial=0)
    bound = 16 * epsilon(own.q.dtype) * (1 + size + (float(shift) if inputs.bias is not None else 0.0))
    difference = streamed.output[head, list(queries)].astype(np.float64) - steps.output[0]
    longest = max_norm(finite_rows(own.v))
    apart = np.linalg.norm(difference, axis=1) / longest if longest > 0 else np.zeros(len(queries))
    return largest([apart]), bound


def finite_rows(x: Array) -> Array:
    """The rows that are finite."""
    return x[np.isfinite(x).all(axis=-1)]


def streamed_checks(
    n: int,
    m: int,
    dtype: np.dtype[np.generic],
    statistics: Sequence[HeadStatistics],
    errors: Sequence[tuple[float, float]],
) -> list[Check]:
    """What can be checked of n queries and m keys without the matrices.

    Received weights sum to 1, outputs are no longer than the values, and the sampled queries' outputs are those of the
    matrix formula.
    """
    rounding = (4 + math.log2(max(m, 1))) * epsilon(dtype)
    off = largest([np.abs(one.received.sum(axis=-1) - 1) for one in statistics])
    ratio = largest([one.norm_bound for one in statistics])
    apart = f"off by at most {number(off)}" if not math.isnan(off) else "not measured: no row is finite"
    checks = [check("received_sums_to_1", off, rounding, f"what the keys receive sums to 1 ({apart})")]
    if not math.isnan(ratio):
        checks.append(
            check("norm_bound", ratio, 1 + rounding, f"no output is longer than the longest value ({ratio:.2f} of it)")
        )
    finite = [pair for pair in errors if not math.isnan(pair[0])] or [(math.nan, 0.0)]
    value, bound = max(finite, key=lambda pair: pair[0] / pair[1] if pair[1] else 0.0)
    said = f"to {number(value)}" if not math.isnan(value) else "not measured: no row is finite"
    text = f"{sampled(n, 'query', 'queries')} of each head equal the matrix formula in float64 ({said})"
    return [*checks, check("sampled_rows_equal_formula", value, bound, text)]
