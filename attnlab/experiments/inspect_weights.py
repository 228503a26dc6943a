"""What a stack's weights alone say of its heads: no text, and no matrix wider than a head.

A block that normalises what its attention reads reads gain · normed x: the gain, and the centring of a LayerNorm, then
count as part of W_Q, W_K and W_V, and "unit-variance inputs" are tokens as the norm leaves them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from attnlab.experiments.inspect_weights_head import HeadFactors, head_factors
from attnlab.experiments.run_record import chosen
from attnlab.maths.architecture import BlockSpec
from attnlab.maths.bilinear import ScoreForm, ValueMap, copying, effective_rank, score_form, value_map
from attnlab.maths.stack import Stack
from attnlab.maths.threads import single_threaded_products
from attnlab.maths.weights import BlockWeights
from attnlab.theory.random_weights import (
    copying_deviation,
    random_effective_rank,
    random_skew_share,
    random_symmetric_share,
    share_deviation,
)

if TYPE_CHECKING:
    from attnlab.experiments.inspect import ModelFacts

#: Of each head's singular values so many are kept.
LEADING = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadWeights:
    """One head. M = c W_Q W_Kᵀ, c the scale of its scores; a number that is not defined is NaN, with its reason.

    "Unit-variance inputs" are independent tokens of mean 0 and covariance I.
    """

    layer: int
    head: int
    #: whose W_K and W_V it reads: head // (n_heads / n_kv_heads)
    kv_head: int
    #: ‖M‖_F
    frobenius: float
    #: of unit-variance inputs, biases included: ‖M‖_F² + ‖c W_Q b_K‖² + ‖c W_K b_Q‖²
    score_variance: float
    #: without ‖c W_Q b_K‖², which is the same along a row: what the softmax sees
    row_variance: float
    #: of a token with itself: tr M + c b_Q·b_K; other pairs have c b_Q·b_K
    score_mean_diagonal: float
    trace: float
    #: ‖(M ± Mᵀ)/2‖_F / ‖M‖_F; their squares add to 1
    symmetric_share: float
    skew_share: float
    random_symmetric_share: float
    random_skew_share: float
    #: of the skew share from one random head to the next; the symmetric one's is close to it
    random_share_deviation: float
    #: at most LEADING, falling
    qk_singular_values: Sequence[float]
    ov_singular_values: Sequence[float]
    #: the first direction's share of ‖M‖²
    qk_leading_share: float
    #: (Σσ²)²/Σσ⁴
    qk_effective_rank: float
    ov_effective_rank: float
    random_qk_effective_rank: float
    random_ov_effective_rank: float
    #: ‖W_V W_O‖_F
    ov_frobenius: float
    #: Σλ/Σ abs(λ) of W_V W_O
    copying: float
    random_copying_deviation: float
    #: field -> why it is not defined
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightsRecord:
    """All that was found, layer by layer."""

    model: "ModelFacts"
    #: the longest text that the model takes, in tokens; None where nothing limits it
    positions: int | None
    #: one per layer of the stack, those not asked for too
    specs: Sequence[BlockSpec]
    layers: Sequence[int]
    heads: Sequence[HeadWeights]


def run(
    stack: Stack,
    model: "ModelFacts",
    *,
    positions: int | None = None,
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    advance: Callable[[], None] = lambda: None,
) -> WeightsRecord:
    """Look at every head asked for; one layer's weights at a time are read, and those of other layers never.

    Args:
        positions: the longest text that the model takes, in tokens; None = nothing limits it.
        layers, heads: counted from 0; None = all.
        advance: called after each layer.

    Raises:
        UsageError: the stack has no such layer or head.
    """
    wanted = chosen("layer", layers, len(stack.specs))
    found: list[HeadWeights] = []
    with single_threaded_products():  # they are small
        for layer in wanted:
            found += of_layer(stack.specs[layer], stack.weights[layer], heads, layer)
            advance()
    return WeightsRecord(model=model, positions=positions, specs=tuple(stack.specs), layers=wanted, heads=found)


def of_layer(spec: BlockSpec, weights: BlockWeights, heads: Sequence[int] | None, layer: int) -> list[HeadWeights]:
    """The heads asked for of one layer, in the order in which they were asked for."""
    return [
        of_head(spec, head_factors(spec, weights, head), layer=layer, head=head)
        for head in chosen("head", heads, spec.n_heads)
    ]


def of_head(spec: BlockSpec, factors: HeadFactors, *, layer: int, head: int) -> HeadWeights:
    """Everything about one head."""
    if not factors.finite:
        return _record(spec, factors, None, None, layer, head)
    form = score_form(factors.w_q, factors.w_k, factors.b_q, factors.b_k, scale=spec.score_scale)
    return _record(spec, factors, form, value_map(factors.w_v, factors.w_o), layer, head)


#: What qk_norm leaves without meaning, and what a zero M or W_V W_O does.
SIZES = ("frobenius", "score_variance", "row_variance", "score_mean_diagonal", "trace")
OF_M = ("symmetric_share", "skew_share", "qk_leading_share", "qk_effective_rank")
OF_OV = ("copying", "ov_effective_rank")


def _record(
    spec: BlockSpec, factors: HeadFactors, form: ScoreForm | None, values: ValueMap | None, layer: int, head: int
) -> HeadWeights:
    reasons = _reasons(spec, form, values)
    measured = {**_of_scores(form), **_of_values(values)}
    measured |= dict.fromkeys(reasons, math.nan)
    rank, dimension = measured["qk_effective_rank"], factors.dimension or math.nan
    joined = spec.d_model if spec.output_projection else None
    return HeadWeights(
        layer=layer,
        head=head,
        kv_head=head // (spec.n_heads // spec.n_kv_heads),
        **measured,
        random_symmetric_share=random_symmetric_share(dimension),
        random_skew_share=random_skew_share(dimension),
        random_share_deviation=math.nan if math.isnan(rank) else share_deviation(dimension, rank),
        qk_singular_values=() if form is None else tuple(form.singular_values[:LEADING].tolist()),
        ov_singular_values=() if values is None else tuple(values.singular_values[:LEADING].tolist()),
        random_qk_effective_rank=random_effective_rank(dimension, dimension, spec.d_k),
        random_ov_effective_rank=random_effective_rank(dimension, joined, spec.d_v),
        random_copying_deviation=copying_deviation(joined, spec.d_v),
        reasons=reasons,
    )


def _of_scores(form: ScoreForm | None) -> dict[str, float]:
    if form is None:
        return {}
    size = form.frobenius or math.nan
    return {
        "frobenius": form.frobenius,
        "score_variance": form.variance,
        "row_variance": form.row_variance,
        "score_mean_diagonal": form.trace + form.constant,
        "trace": form.trace,
        "symmetric_share": form.symmetric / size,
        "skew_share": form.skew / size,
        "qk_leading_share": float(form.singular_values[0]) ** 2 / size**2,
        "qk_effective_rank": effective_rank(form.singular_values),
    }


def _of_values(values: ValueMap | None) -> dict[str, float]:
    if values is None:
        return {}
    return {
        "ov_frobenius": values.frobenius,
        "copying": copying(values.eigenvalues),
        "ov_effective_rank": effective_rank(values.singular_values),
    }


def _reasons(spec: BlockSpec, form: ScoreForm | None, values: ValueMap | None) -> dict[str, str]:
    """Why which numbers are not defined."""
    if form is None or values is None:
        return dict.fromkeys((*SIZES, *OF_M, *OF_OV, "ov_frobenius"), "the head's weights hold NaN or infinity")
    reasons: dict[str, str] = {}
    if spec.qk_norm is not None:
        reasons |= dict.fromkeys(SIZES, "qk_norm divides the lengths of queries and keys out: weights do not set it")
    if not form.frobenius:
        reasons |= dict.fromkeys(OF_M, "M is 0")
    if not values.frobenius:
        reasons |= dict.fromkeys(OF_OV, "W_V W_O is 0")
    elif math.isnan(copying(values.eigenvalues)):
        reasons["copying"] = "every eigenvalue of W_V W_O is 0"
    return reasons
