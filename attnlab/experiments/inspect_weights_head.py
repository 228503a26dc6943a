"""One head's factors as its scores and values read them: norms folded in, shared keys and values looked up."""

from typing import NamedTuple

import numpy as np

from attnlab.maths.architecture import BlockSpec
from attnlab.maths.precision import Array
from attnlab.maths.weights import BlockWeights
from attnlab.theory.random_weights import effective_dimension
from attnlab.theory.scores import through_norm


class HeadFactors(NamedTuple):
    """What makes a head's queries, keys and values of unit-variance inputs, and of its values what it adds."""

    #: (d_model, d_k)
    w_q: Array
    w_k: Array
    #: (d_k,), None without biases
    b_q: Array | None
    b_k: Array | None
    #: (d_model, d_v), (d_v, d_model)
    w_v: Array
    w_o: Array
    #: how many of the d_model directions random weights would read: see `theory.random_weights`
    dimension: float

    @property
    def finite(self) -> bool:
        """Whether every number of them is."""
        return all(bool(np.isfinite(part).all()) for part in self[:6] if part is not None)


def head_factors(spec: BlockSpec, weights: BlockWeights, head: int) -> HeadFactors:
    """The factors of one head, in float64 where a norm is folded in."""
    group = head // (spec.n_heads // spec.n_kv_heads)
    w_q, b_q = _normalised(spec, weights, "q", head)
    w_k, b_k = _normalised(spec, weights, "k", group)
    w_v = weights["attn.W_V"][group]
    w_o = weights["attn.W_O"][head] if spec.output_projection else own_columns(spec, head)
    if not spec.norms_inputs:
        return HeadFactors(w_q, w_k, b_q, b_k, w_v, w_o, float(spec.d_model))
    gain, bias, centred = weights["ln1.w"], weights.get("ln1.b"), spec.norm == "layernorm"
    # Tokens of unit variance are what the norm leaves: its eps has had its effect.
    w_q, b_q = through_norm(w_q, b_q, gain, bias, centred=centred, eps=0.0)
    w_k, b_k = through_norm(w_k, b_k, gain, bias, centred=centred, eps=0.0)
    w_v, _ = through_norm(w_v, None, gain, None, centred=centred, eps=0.0)
    return HeadFactors(w_q, w_k, b_q, b_k, w_v, w_o, effective_dimension(spec.d_model, gain, centred=centred))


def own_columns(spec: BlockSpec, head: int) -> Array:
    """Where a head's output stands among all heads' side by side, as a W_O: (d_v, d_model) of 0s and 1s."""
    return np.eye(spec.d_v, spec.d_model, k=head * spec.d_v)


def _normalised(spec: BlockSpec, weights: BlockWeights, letter: str, head: int) -> tuple[Array, Array | None]:
    """W_Q (or W_K) and its bias with the gain, and for a LayerNorm the centring, of qk_norm; lengths are left alone."""
    every, biases = weights[f"attn.W_{letter.upper()}"], weights.get(f"attn.b_{letter.upper()}")
    w, b = every[head], None if biases is None else biases[head]
    if spec.qk_norm is None:
        return w, b
    gain = weights[f"attn.{letter}_norm.w"]
    if spec.qk_norm == "layernorm":
        together = gain.size > spec.d_k or len(every) == 1
        of = every if together else every[head : head + 1]
        w = w - of.mean(axis=(0, 2), dtype=np.float64)[:, None]
        if b is not None and biases is not None:
            b = b - (biases if together else b).mean(dtype=np.float64)
    gain = gain.reshape(-1, spec.d_k)[head if gain.size > spec.d_k else 0].astype(np.float64)
    return w * gain, None if b is None else b * gain
