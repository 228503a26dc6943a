"""What a head's scores should be: predicted where its input is known, else as if its tokens pointed anywhere."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from attnlab.maths.architecture import BlockSpec, LinearScaling, Llama3Scaling, Rotary
from attnlab.maths.precision import Array
from attnlab.maths.threads import single_threaded_products
from attnlab.maths.weights import BlockWeights
from attnlab.theory.pairs import WHOLE, Places, Rotation, rotation
from attnlab.theory.random_directions import random_directions
from attnlab.theory.score_variance import Maps, maps_of, placed_score_prediction
from attnlab.theory.scores import ScorePrediction, score_prediction, through_norm

#: Of the streams of random draws: the same for a layer whichever of its heads are reported.
_ENTROPY = 20170612
#: What a run in float32 leaves of two variances that are the same one: W_Q = W_K = 1 is the same in every direction.
ROUNDING = 1e-4


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """The scores that a head should have, or the reason why nothing can be said.

    kind: "population" is a prediction for random input, with an error bar; "isotropic" is what these very tokens would
    give if they pointed in random directions, with the interval that holds 99 % of those; None is neither.
    """

    kind: Literal["population", "isotropic"] | None
    scores: ScorePrediction | None = None
    #: of "isotropic": the score variances that random directions give but once in a hundred lie outside
    interval: tuple[float, float] | None = None
    reason: str = ""

    def aligned(self, score_variance: float) -> bool | None:
        """Whether a head's score variance is none that random directions would give; None where they are not known."""
        if self.interval is None or math.isnan(score_variance):
            return None
        low, high = self.interval
        return not (1 - ROUNDING) * low <= score_variance <= (1 + ROUNDING) * high


class LayerInput(Protocol):
    """A layer that has run, as far as its input goes."""

    @property
    def x(self) -> Array:
        """What went in, (n, d_model)."""

    @property
    def attention_input(self) -> Array:
        """What the projections read, (n, d_model)."""


def expectations(
    spec: BlockSpec,
    weights: BlockWeights,
    layer: LayerInput,
    heads: Sequence[int],
    *,
    standard_normal: bool,
    index: int = 0,
) -> list[Expectation]:
    """What the scores of some heads of a layer should be.

    Args:
        heads: each 0 … h − 1.
        standard_normal: whether the block's input is known to be independent and standard normal.
        index: the layer's number.
    """
    if reason := no_law(spec, len(layer.x)):
        return [Expectation(kind=None, reason=reason) for _ in heads]
    with single_threaded_products():  # many small ones: threads would wait for each other
        return _expectations(spec, weights, layer, heads, standard_normal=standard_normal, index=index)


def _expectations(
    spec: BlockSpec,
    weights: BlockWeights,
    layer: LayerInput,
    heads: Sequence[int],
    *,
    standard_normal: bool,
    index: int,
) -> list[Expectation]:
    places = Places(len(layer.x), spec.causal, spec.window, rotation_of(spec))
    if standard_normal:
        return [_predicted(spec, weights, head, places, index) for head in heads]
    named = ("attn.W_Q", "attn.W_K", "attn.b_Q", "attn.b_K")
    if not all(np.isfinite(weights[name]).all() for name in named if name in weights):
        return [Expectation(kind=None, reason="a weight is not finite") for _ in heads]
    maps = [maps_of(*_weights_of(spec, weights, head)) for head in heads]
    rng = np.random.default_rng(np.random.SeedSequence(_ENTROPY, spawn_key=(index,)))
    return list(_as_if(layer.attention_input, maps, places, spec.score_scale, rng))


def _predicted(spec: BlockSpec, weights: BlockWeights, head: int, places: Places, index: int) -> Expectation:
    """The prediction for random input."""
    w_q, w_k, b_q, b_k = _weights_of(spec, weights, head)
    sphere = None
    if spec.norms_inputs:
        gain, bias, centred = weights["ln1.w"], weights.get("ln1.b"), spec.norm == "layernorm"
        w_q, b_q = through_norm(w_q, b_q, gain, bias, centred=centred, eps=spec.norm_eps)
        w_k, b_k = through_norm(w_k, b_k, gain, bias, centred=centred, eps=spec.norm_eps)
        sphere = max(spec.d_model - centred, 1)
    if places.everything and places.n > WHOLE:  # enough of them for the error of the closed form
        scores = score_prediction(w_q, w_k, b_q, b_k, scale=spec.score_scale, n=places.n, sphere=sphere)
        return Expectation(kind="population", scores=scores)
    rng = np.random.default_rng(np.random.SeedSequence(_ENTROPY, spawn_key=(index, head)))
    maps = maps_of(w_q, w_k, b_q, b_k)
    scores = placed_score_prediction(maps, places, scale=spec.score_scale, sphere=sphere, rng=rng)
    return Expectation(kind="population", scores=scores)


def _as_if(
    x: Array, maps: Sequence[Maps], places: Places, scale: float, rng: np.random.Generator
) -> Iterator[Expectation]:
    """What these tokens would give in random directions, head by head."""
    mean_token = x.mean(axis=0, dtype=np.float64)
    length = float(mean_token @ mean_token) / x.shape[1]
    for head, found in zip(maps, random_directions(x, maps, places, scale=scale, rng=rng), strict=True):
        if found is None:
            yield Expectation(kind=None, reason="random directions are not drawn for such a head")
            continue
        mean = scale * (length * float(np.sum(head.w_q * head.w_k)) + float(head.b_q @ head.b_k))
        scores = ScorePrediction(mean if places.everything else math.nan, found.mean, None)
        yield Expectation(kind="isotropic", scores=scores, interval=(found.low, found.high))


def _weights_of(spec: BlockSpec, weights: BlockWeights, head: int) -> tuple[Array, Array, Array | None, Array | None]:
    """W_Q, W_K, b_Q and b_K of one head."""
    group = head // (spec.n_heads // spec.n_kv_heads)
    b_q, b_k = weights.get("attn.b_Q"), weights.get("attn.b_K")
    return (
        weights["attn.W_Q"][head],
        weights["attn.W_K"][group],
        None if b_q is None else b_q[head],
        None if b_k is None else b_k[group],
    )


def rotation_of(spec: BlockSpec) -> Rotation | None:
    """The rotary positions of a block as theory states them; None without any."""
    if not isinstance(spec.position, Rotary):
        return None
    given, width = spec.position, int(spec.position.fraction * spec.d_k)
    interleaved = given.pairing == "interleaved"
    match given.scaling:
        case None:
            return rotation(width, base=given.base, interleaved=interleaved)
        case LinearScaling(factor):
            return rotation(width, base=given.base, interleaved=interleaved, factor=factor)
        case Llama3Scaling() as stretched:
            return rotation(
                width,
                base=given.base,
                interleaved=interleaved,
                factor=stretched.factor,
                slow_turns=stretched.low_freq_factor,
                fast_turns=stretched.high_freq_factor,
                original_length=stretched.original_length,
            )


def no_law(spec: BlockSpec, n: int) -> str:
    """Why nothing is known of the score variance of such a block; empty where something is.

    A softcap, ALiBi and every other bias come after the scores, and do not matter to them.
    """
    if n < 2:
        return "a single token has no variance"
    return "no law is known under qk_norm" if spec.qk_norm is not None else ""
