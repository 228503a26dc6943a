"""What a block is made of, as plain data: the keys of a configuration's `block:` with their default values."""

import math
from dataclasses import dataclass
from typing import Literal

Activation = Literal["relu", "gelu", "gelu_tanh", "silu", "swiglu", "geglu"]
NormKind = Literal["layernorm", "rmsnorm"]


@dataclass(frozen=True, kw_only=True)
class Rotary:
    """Rotary positions: the first `fraction` of each head's width is turned by angles i·base^(−2j/width).

    pairing: which two coordinates turn together: "half" (j with j + width/2: GPT-NeoX, LLaMA) or
    "interleaved" (2j with 2j + 1: the paper, GPT-J).
    """

    base: float = 10000.0
    fraction: float = 1.0
    pairing: Literal["half", "interleaved"] = "half"


Position = Literal["none", "sinusoidal", "alibi"] | Rotary


@dataclass(frozen=True, kw_only=True)
class BlockSpec:
    """One Transformer block, as far as its shape and its equations go. Every width is resolved: none is None.

    Post-norm: T1 = SelfAttention(X), T2 = X + T1, T3 = Norm(T2), T4 = FFN(T3), T5 = T3 + T4, H = Norm(T5).
    Pre-norm: T1 = SelfAttention(Norm(X)), T2 = X + T1, T3 = Norm(T2), T4 = FFN(T3), T5 = T2 + T4, H = T5.
    Without a feed-forward (d_ff None) the block ends after its attention: H = T3 (post) or T2 (pre).
    """

    d_model: int
    n_heads: int
    #: fewer than n_heads: grouped-query attention
    n_kv_heads: int
    d_k: int
    d_v: int
    d_ff: int | None
    activation: Activation = "relu"
    norm: NormKind = "layernorm"
    norm_position: Literal["post", "pre"] = "post"
    norm_eps: float = 1e-5
    bias: bool = True
    #: False: the heads' outputs, side by side, are the block's: n_heads · d_v = d_model
    output_projection: bool = True
    position: Position = "none"
    causal: bool = False
    window: int | None = None
    #: None: 1/sqrt(d_k)
    scale: float | None = None
    softcap: float | None = None
    qk_norm: NormKind | None = None

    @property
    def gated(self) -> bool:
        """Whether the feed-forward multiplies its hidden layer by a second, gating one."""
        return self.activation in ("swiglu", "geglu")

    def largest_product(self, n: int) -> int:
        """The multiply-adds of the largest matrix product that n tokens take, all heads of one together."""
        widths = self.d_model * max(self.n_heads * max(self.d_k, self.d_v), self.d_ff or 0)
        return n * max(widths, n * self.n_heads * max(self.d_k, self.d_v))

    @property
    def score_scale(self) -> float:
        """The number that q·k is multiplied by: `scale`, or 1/√d_k."""
        return 1 / math.sqrt(self.d_k) if self.scale is None else self.scale


Scheme = Literal["xavier_uniform", "xavier_normal", "lecun_normal", "identity", "normal"]


@dataclass(frozen=True, kw_only=True)
class Initialisation:
    """How weights that no file gives are drawn. Biases start at 0, norm gains at 1.

    per: whether "matrix" (all heads side by side) or "head" sets the fan-in and fan-out of W_Q, W_K, W_V and W_O.
    """

    scheme: Scheme = "xavier_uniform"
    #: for scheme "normal" only
    standard_deviation: float | None = None
    per: Literal["matrix", "head"] = "matrix"
    seed: int = 0
