"""What a head's scores should be: predicted where its input is known, else as if that were isotropic."""

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from attnlab.maths.architecture import BlockSpec, Rotary
from attnlab.maths.precision import Array
from attnlab.maths.weights import BlockWeights
from attnlab.theory.scores import ScorePrediction, score_prediction, through_norm

#: Tokens that are held in float64 at a time.
TOKENS = 1024


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """The scores that a head should have, or the reason why nothing can be said.

    kind: "population" is a prediction for random input, with an error bar; "isotropic" is what random tokens as spread
    out as these, but in no particular direction, would give; None is neither.
    """

    kind: Literal["population", "isotropic"] | None
    scores: ScorePrediction | None = None
    reason: str = ""


class LayerInput(Protocol):
    """A layer that has run, as far as its input goes."""

    @property
    def x(self) -> Array:
        """What went in, (n, d_model)."""

    @property
    def attention_input(self) -> Array:
        """What the projections read, (n, d_model)."""


def expected_scores(
    spec: BlockSpec,
    weights: BlockWeights,
    layer: LayerInput,
    head: int,
    *,
    standard_normal: bool,
    deviation: float | None = None,
) -> Expectation:
    """What the scores of one head should be.

    Args:
        head: 0 … h − 1.
        standard_normal: whether the block's input is known to be independent and standard normal.
        deviation: the `isotropic_deviation` of the layer's input, where it is known: all heads share it.
    """
    reason = no_law(spec, len(layer.x))
    if reason:
        return Expectation(kind=None, reason=reason)
    group = head // (spec.n_heads // spec.n_kv_heads)
    w_q, w_k = weights["attn.W_Q"][head], weights["attn.W_K"][group]
    b_q, b_k = _row(weights.get("attn.b_Q"), head), _row(weights.get("attn.b_K"), group)
    n = len(layer.x)
    if not standard_normal:
        if deviation is None:
            deviation = isotropic_deviation(layer.attention_input)
        scores = score_prediction(w_q * deviation, w_k * deviation, b_q, b_k, scale=spec.score_scale, n=n)
        return Expectation(kind="isotropic", scores=scores._replace(standard_error=None))
    sphere = None
    if spec.norms_inputs:
        gain, bias, centred = weights["ln1.w"], weights.get("ln1.b"), spec.norm == "layernorm"
        w_q, b_q = through_norm(w_q, b_q, gain, bias, centred=centred, eps=spec.norm_eps)
        w_k, b_k = through_norm(w_k, b_k, gain, bias, centred=centred, eps=spec.norm_eps)
        sphere = max(spec.d_model - centred, 1)
    scores = score_prediction(w_q, w_k, b_q, b_k, scale=spec.score_scale, n=n, sphere=sphere)
    return Expectation(kind="population", scores=scores)


def no_law(spec: BlockSpec, n: int) -> str:
    """Why the score variance of such a block follows no closed form here; empty where it does."""
    present = {
        "a causal mask": spec.causal,
        "a window": spec.window is not None,
        "rotary positions": isinstance(spec.position, Rotary),
        "ALiBi": spec.position == "alibi",
        "a softcap": spec.softcap is not None,
        "qk_norm": spec.qk_norm is not None,
        "a single token": n < 2,
    }
    reasons = [name for name, is_present in present.items() if is_present]
    return f"no closed form under {' and '.join(reasons)}" if reasons else ""


def isotropic_deviation(x: Array) -> float:
    """The standard deviation per coordinate of tokens (n, d) about their mean, from the unbiased covariance's trace."""
    n, d = x.shape
    mean = x.mean(axis=0, dtype=np.float64)
    square = sum(float(np.square(x[i : i + TOKENS] - mean).sum()) for i in range(0, n, TOKENS))
    return math.sqrt(square / ((n - 1) * d))


def _row(biases: Array | None, index: int) -> Array | None:
    return None if biases is None else biases[index]
