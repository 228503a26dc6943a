"""What a block's forward pass costs by formula, part by part: operations, bytes and parameters, as whole numbers.

Letters: N tokens, d the model's width, h query heads, g key/value heads, d_k and d_v their widths, P the pairs (query,
key) that are computed. One multiply-add of a matrix product is two FLOPs, or one MAC. Elementwise work has no
multiply-adds; its FLOPs are counted by a convention, one for each number in each step:

    softmax        5 a pair: scale, subtract the largest, exp, add up, divide
    norms          LayerNorm 6 a number (mean, subtract, square, add up, divide, gain) and 1 for a bias; RMSNorm 4
    activation     1 a hidden number, and 1 more where a gate multiplies it
    biases, residuals, sinusoids   1 a number
    positions      rotary 3 a turned number; ALiBi 2 a pair
    softcap        3 a pair: divide, tanh, multiply

Bytes are those of the results that a part writes, each kept once and whole: what a pass takes that keeps everything,
the two N × N matrices with it whatever is hidden. What is added in place (biases, ALiBi) writes nothing.

Source: derived here from the equations of a block; for the classic one, 24 N d² + 4 N² d, Vaswani et al. 2017, table 1.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

#: What is counted: FLOPs, two to a multiply-add, or multiply-adds alone.
Count = Literal["flop", "mac"]
#: Hidden pairs, under a causal mask or outside of a window: "half": they are skipped; "full": they are computed too.
Hidden = Literal["half", "full"]
Norm = Literal["layernorm", "rmsnorm"]
#: What may have biases.
BiasPart = Literal["qkv", "output", "mlp", "norm"]
BIASES: tuple[BiasPart, ...] = ("qkv", "output", "mlp", "norm")

#: FLOPs by convention, for each pair or number.
SOFTMAX, SOFTCAP, ALIBI, ROTARY = 5, 3, 2, 3
NORM: dict[Norm, int] = {"layernorm": 6, "rmsnorm": 4}

#: The parts that matrix products of the tokens with weights make, and those that grow with pairs of tokens.
PROJECTIONS = ("q_projection", "k_projection", "v_projection", "output_projection")
CORE = ("scores", "weighted_values")


@dataclass(frozen=True, kw_only=True)
class BlockShape:
    """All of a block that its cost depends on. Widths are resolved: none is None but d_ff, for no feed-forward."""

    d_model: int
    n_heads: int
    n_kv_heads: int
    d_k: int
    d_v: int
    d_ff: int | None
    gated: bool = False
    norm: Norm = "layernorm"
    #: a norm both before and after attention and feed-forward
    sandwich: bool = False
    qk_norm: Norm | None = None
    #: that norm is one over all heads, and has a gain for each
    qk_norm_over_all: bool = False
    #: what has biases
    bias: tuple[BiasPart, ...] = BIASES
    output_projection: bool = True
    sinusoidal: bool = False
    alibi: bool = False
    #: how many of a head's d_k coordinates are turned; 0 = no rotary positions
    rotary_width: int = 0
    softcap: bool = False
    causal: bool = False
    window: int | None = None


@dataclass(frozen=True, kw_only=True)
class PartCost:
    """What one part of one block costs."""

    part: str
    #: what is counted, in the module's letters: of matrix products `factor` times `letters` multiply-adds
    letters: str
    factor: int = 1
    #: multiply-adds of its matrix products
    multiply_adds: int = 0
    #: elementwise operations, by the convention above
    elementwise: int = 0
    #: how many numbers it writes
    numbers: int = 0
    parameters: int = 0
    #: whether it happens once, before the first block, and not in every block
    once: bool = False

    def operations(self, count: Count) -> int:
        """FLOPs, or multiply-adds alone."""
        return self.multiply_adds if count == "mac" else 2 * self.multiply_adds + self.elementwise

    def formula(self, count: Count) -> str:
        """What `operations` counts, in letters: "4·N·d·d_ff"; empty where it counts nothing."""
        if not self.operations(count):
            return ""
        factor = self.factor * (2 if count == "flop" and self.multiply_adds else 1)
        return self.letters if factor == 1 else f"{factor}·{self.letters}"


def visible_pairs(n: int, *, causal: bool, window: int | None) -> int:
    """How many pairs (query, key) of n tokens may see each other: n² but for what order and window hide.

    Causal: n(n + 1)/2; with a window of w keys n·w − w(w − 1)/2. A window of w on either side: n(2w + 1) − w(w + 1).
    """
    if causal:
        keys = n if window is None else min(window, n)
        return n * keys - keys * (keys - 1) // 2
    if window is None or window >= n - 1:
        return n * n
    return n * (2 * window + 1) - window * (window + 1)


def computed_pairs(shape: BlockShape, n: int, hidden: Hidden) -> int:
    """The pairs that a kernel computes: all n², or only the visible ones."""
    return n * n if hidden == "full" else visible_pairs(n, causal=shape.causal, window=shape.window)


def part_costs(shape: BlockShape, n: int, *, hidden: Hidden = "half") -> tuple[PartCost, ...]:
    """Every part that a block of this shape has, in the order of its equations, for n tokens."""
    pairs = computed_pairs(shape, n, hidden)
    parts = (
        *_projections(shape, n),
        *_attention(shape, n, pairs),
        *_after_attention(shape, n),
        *_elementwise(shape, n, pairs),
    )
    return tuple(parts)


def _projections(s: BlockShape, n: int) -> Iterator[PartCost]:
    for name, heads, width, letters in (
        ("q", s.n_heads, s.d_k, "h·d_k"),
        ("k", s.n_kv_heads, s.d_k, "g·d_k"),
        ("v", s.n_kv_heads, s.d_v, "g·d_v"),
    ):
        weights = s.d_model * heads * width
        yield PartCost(
            part=f"{name}_projection",
            letters=f"N·d·{letters}",
            multiply_adds=n * weights,
            numbers=n * heads * width,
            parameters=weights,
        )


def _attention(s: BlockShape, n: int, pairs: int) -> Iterator[PartCost]:
    matrix = s.n_heads * n * n
    yield PartCost(part="scores", letters="P·h·d_k", multiply_adds=pairs * s.n_heads * s.d_k, numbers=matrix)
    if s.softcap:
        yield PartCost(
            part="softcap", factor=SOFTCAP, letters="P·h", elementwise=SOFTCAP * pairs * s.n_heads, numbers=matrix
        )
    yield PartCost(
        part="softmax", factor=SOFTMAX, letters="P·h", elementwise=SOFTMAX * pairs * s.n_heads, numbers=matrix
    )
    yield PartCost(
        part="weighted_values",
        letters="P·h·d_v",
        multiply_adds=pairs * s.n_heads * s.d_v,
        numbers=n * s.n_heads * s.d_v,
    )


def _after_attention(s: BlockShape, n: int) -> Iterator[PartCost]:
    if s.output_projection:
        weights = s.n_heads * s.d_v * s.d_model
        yield PartCost(
            part="output_projection",
            letters="N·h·d_v·d",
            multiply_adds=n * weights,
            numbers=n * s.d_model,
            parameters=weights,
        )
    if s.d_ff is not None:
        matrices = 3 if s.gated else 2
        weights = matrices * s.d_model * s.d_ff
        yield PartCost(
            part="feed_forward",
            factor=matrices,
            letters="N·d·d_ff",
            multiply_adds=n * weights,
            numbers=n * ((matrices - 1) * s.d_ff + s.d_model),
            parameters=weights,
        )


def _elementwise(s: BlockShape, n: int, pairs: int) -> Iterator[PartCost]:
    if s.d_ff is not None:
        hidden = n * s.d_ff
        steps = 2 if s.gated else 1
        yield PartCost(part="activation", factor=steps, letters="N·d_ff", elementwise=steps * hidden, numbers=hidden)
    yield from _norms(s, n)
    if biases := _bias_count(s):
        yield PartCost(part="biases", letters=f"N·{biases:,}", elementwise=n * biases, parameters=biases)
    sums = 1 if s.d_ff is None else 2
    numbers = sums * n * s.d_model
    yield PartCost(part="residuals", factor=sums, letters="N·d", elementwise=numbers, numbers=numbers)
    yield from _positions(s, n, pairs)


def _norms(s: BlockShape, n: int) -> Iterator[PartCost]:
    """The block's norms, one or two to each part, and those of q and k where it has them."""
    times = (1 if s.d_ff is None else 2) * (2 if s.sandwich else 1)
    steps, numbers = times * _norm_steps(s, s.norm), n * s.d_model
    gains = times * s.d_model * _tensors(s, s.norm)
    yield PartCost(
        part="norms",
        factor=steps,
        letters="N·d",
        elementwise=steps * numbers,
        numbers=times * numbers,
        parameters=gains,
    )
    if s.qk_norm is not None:
        own, heads = _norm_steps(s, s.qk_norm), s.n_heads + s.n_kv_heads
        numbers = n * heads * s.d_k
        yield PartCost(
            part="q_k_norms",
            factor=own,
            letters="N·(h+g)·d_k",
            elementwise=own * numbers,
            numbers=numbers,
            parameters=(heads if s.qk_norm_over_all else 2) * s.d_k * _tensors(s, s.qk_norm),
        )


def _norm_steps(s: BlockShape, norm: Norm) -> int:
    """FLOPs for each number that a norm writes."""
    return NORM[norm] + _tensors(s, norm) - 1


def _tensors(s: BlockShape, norm: Norm) -> int:
    """A gain, and a LayerNorm's bias."""
    return 2 if "norm" in s.bias and norm == "layernorm" else 1


def _bias_count(s: BlockShape) -> int:
    """The numbers that are added after matrix products."""
    counts: dict[BiasPart, int] = {
        "qkv": s.n_heads * s.d_k + s.n_kv_heads * (s.d_k + s.d_v),
        "output": s.d_model if s.output_projection else 0,
        "mlp": 0 if s.d_ff is None else (2 if s.gated else 1) * s.d_ff + s.d_model,
    }
    return sum(count for part, count in counts.items() if part in s.bias)


def _positions(s: BlockShape, n: int, pairs: int) -> Iterator[PartCost]:
    if s.rotary_width:
        heads = s.n_heads + s.n_kv_heads
        turned = n * heads * s.rotary_width
        written, letters = n * heads * s.d_k, f"{ROTARY}·N·(h+g)·{s.rotary_width}"
        yield PartCost(part="rotary_positions", letters=letters, elementwise=ROTARY * turned, numbers=written)
    if s.alibi:
        yield PartCost(part="alibi_positions", factor=ALIBI, letters="P·h", elementwise=ALIBI * pairs * s.n_heads)
    if s.sinusoidal:
        numbers = n * s.d_model
        yield PartCost(part="sinusoidal_positions", letters="N·d", elementwise=numbers, numbers=numbers, once=True)


def multiply_adds(parts: Sequence[PartCost], names: Sequence[str]) -> int:
    """The multiply-adds of the parts with these names."""
    return sum(part.multiply_adds for part in parts if part.part in names)
