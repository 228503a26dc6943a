"""What a block is made of, as plain data: the keys of a configuration's `block:` with their default values."""

import math
from dataclasses import dataclass
from typing import Literal

#: No stack has more layers; a larger number is a mistake, and would take all memory.
MOST_LAYERS = 10_000

Activation = Literal["relu", "gelu", "gelu_tanh", "silu", "swiglu", "geglu", "geglu_tanh"]
NormKind = Literal["layernorm", "rmsnorm"]
NormPosition = Literal["post", "pre", "sandwich", "output"]
#: What may have biases: the queries, keys and values; what joins the heads; the feed-forward; the norms.
BiasPart = Literal["qkv", "output", "mlp", "norm"]


@dataclass(frozen=True)
class LinearScaling:
    """Every angle divided by the factor, so that so many times more tokens turn as far. Source: Chen et al. 2023."""

    factor: float


@dataclass(frozen=True, kw_only=True)
class Llama3Scaling:
    """Slow rotations divided by the factor, fast ones as they were, those between by a mixture.

    Slow: a wavelength above original_length / low_freq_factor tokens; fast: one below original_length /
    high_freq_factor. Source: Meta's code for Llama 3.1 (`apply_scaling`).
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    #: tokens of the texts that the model learned on before it was stretched
    original_length: int


@dataclass(frozen=True, kw_only=True)
class Rotary:
    """Rotary positions: the first `fraction` of each head's width is turned by angles i·base^(−2j/width).

    pairing: which two coordinates turn together: "half" (j with j + width/2: GPT-NeoX, LLaMA) or
    "interleaved" (2j with 2j + 1: the paper, GPT-J).
    """

    base: float = 10000.0
    fraction: float = 1.0
    pairing: Literal["half", "interleaved"] = "half"
    #: how the angles of a model that was stretched to longer texts differ; None: not at all
    scaling: LinearScaling | Llama3Scaling | None = None


Position = Literal["none", "sinusoidal", "alibi"] | Rotary


@dataclass(frozen=True, kw_only=True)
class BlockSpec:
    """One Transformer block, as far as its shape and its equations go. Every width is resolved: none is None.

    Post-norm: T1 = SelfAttention(X), T2 = X + T1, T3 = Norm(T2), T4 = FFN(T3), T5 = T3 + T4, H = Norm(T5).
    Pre-norm: T1 = SelfAttention(Norm(X)), T2 = X + T1, T3 = Norm(T2), T4 = FFN(T3), T5 = T2 + T4, H = T5.
    Parallel (pre only): T4 = FFN(T3) with T3 = Norm(X), another norm of the same input; the rest as pre.
    Sandwich: T1 = Norm(SelfAttention(Norm(X))), T2 = X + T1, T3 = Norm(T2), T4 = Norm(FFN(T3)), T5 = T2 + T4, H = T5.
    Output: T1 = Norm(SelfAttention(X)), T2 = X + T1, T4 = Norm(FFN(T2)), T5 = T2 + T4, H = T5; there is no T3.
    Without a feed-forward (d_ff None) the block ends after its attention: H = T3 (post) or T2 (the others).
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
    norm_position: NormPosition = "post"
    #: the feed-forward reads the block's input beside the attention, and not after it; pre-norm only
    parallel: bool = False
    norm_eps: float = 1e-5
    #: whether every part has biases, or none has, or which have
    bias: bool | tuple[BiasPart, ...] = True
    #: False: the heads' outputs, side by side, are the block's: n_heads · d_v = d_model
    output_projection: bool = True
    position: Position = "none"
    causal: bool = False
    window: int | None = None
    #: None: 1/sqrt(d_k)
    scale: float | None = None
    softcap: float | None = None
    qk_norm: NormKind | None = None
    #: "head": one norm that all heads share, over each head's width; "all": one over all heads side by side
    qk_norm_over: Literal["head", "all"] = "head"

    def has_bias(self, part: BiasPart) -> bool:
        """Whether that part has biases; a norm's are those of a LayerNorm, an RMSNorm has none anyway."""
        return self.bias if isinstance(self.bias, bool) else part in self.bias

    @property
    def norms(self) -> tuple[str, ...]:
        """The names of its norms, in the order of its steps; "_post" stands after the part whose number it has."""
        before, after = self.norms_inputs or self.norm_position == "post", self.norms_outputs
        parts = ("ln1",) if self.d_ff is None else ("ln1", "ln2")
        return tuple(name + end for name in parts for end, has in (("", before), ("_post", after)) if has)

    @property
    def norms_inputs(self) -> bool:
        """Whether the attention and the feed-forward read a norm of what they are given."""
        return self.norm_position in ("pre", "sandwich")

    @property
    def norms_outputs(self) -> bool:
        """Whether what the attention and the feed-forward make is normalised before it is added."""
        return self.norm_position in ("sandwich", "output")

    @property
    def gated(self) -> bool:
        """Whether the feed-forward multiplies its hidden layer by a second, gating one."""
        return self.activation in ("swiglu", "geglu", "geglu_tanh")

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
