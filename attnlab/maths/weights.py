"""A block's tensors: their names, their shapes, and how they are drawn when no file gives them.

Names and shapes are TransformerLens's: per head, W_Q (h, d_model, d_k), W_K and W_V (g, …), W_O (h, d_v, d_model).
Where a norm stands before a part and another after it, they are "ln1" and "ln1_post", "ln2" and "ln2_post".
"""

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from attnlab.maths.architecture import BlockSpec, Initialisation, NormKind
from attnlab.maths.precision import Array, rounded

#: A block's tensors by name, without the "blocks.0." in front.
BlockWeights = dict[str, Array]

#: Roles of random streams. A role's number never changes, so that a seed means the same in every version.
ROLES = {
    "input": 0,
    "attn.W_Q": 1,
    "attn.W_K": 2,
    "attn.W_V": 3,
    "attn.W_O": 4,
    "mlp.W_in": 5,
    "mlp.W_gate": 6,
    "mlp.W_out": 7,
    "variance": 20,
    "variance.softmax": 21,
    "gradient": 30,
    "lookup": 40,
    "lookup.horizon": 41,
    "depth": 50,
    "depth.gradient": 51,
    "verify": 60,
    "complexity": 70,
}


def stream(seed: int, role: str, *further: int) -> np.random.Generator:
    """The random stream of one role (and layer, chunk, …): independent of every other one, and of their order."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(ROLES[role], *further)))


def random_input(n: int, width: int, *, seed: int, dtype: DTypeLike) -> Array:
    """Embeddings of n tokens: independent standard normal numbers, (n, width).

    Drawn in float32 and then converted, so that every dtype is given the same numbers.
    """
    return rounded(stream(seed, "input").standard_normal((n, width), dtype=np.float32), dtype)


def norm_shapes(name: str, kind: NormKind, width: int, *, bias: bool) -> dict[str, tuple[int, ...]]:
    """The gain, and for a LayerNorm with biases its bias."""
    shapes: dict[str, tuple[int, ...]] = {f"{name}.w": (width,)}
    if bias and kind == "layernorm":
        shapes[f"{name}.b"] = (width,)
    return shapes


def weight_shapes(spec: BlockSpec) -> dict[str, tuple[int, ...]]:
    """Every tensor that a block of this shape has, in the order in which they are used."""
    h, g, d, d_k, d_v = spec.n_heads, spec.n_kv_heads, spec.d_model, spec.d_k, spec.d_v
    shapes: dict[str, tuple[int, ...]] = {
        "attn.W_Q": (h, d, d_k),
        "attn.W_K": (g, d, d_k),
        "attn.W_V": (g, d, d_v),
    }
    if spec.output_projection:
        shapes["attn.W_O"] = (h, d_v, d)
    if spec.qk_norm is not None:
        for name, heads in (("attn.q_norm", h), ("attn.k_norm", g)):
            width = heads * d_k if spec.qk_norm_over == "all" else d_k
            shapes |= norm_shapes(name, spec.qk_norm, width, bias=spec.has_bias("norm"))
    for name in spec.norms:
        shapes |= norm_shapes(name, spec.norm, d, bias=spec.has_bias("norm"))
    if spec.d_ff is not None:
        shapes["mlp.W_in"] = (d, spec.d_ff)
        shapes["mlp.W_out"] = (spec.d_ff, d)
        if spec.gated:
            shapes["mlp.W_gate"] = (d, spec.d_ff)
    return shapes | bias_shapes(spec)


def bias_shapes(spec: BlockSpec) -> dict[str, tuple[int, ...]]:
    """The biases of its matrix products."""
    h, g, d, d_k, d_v = spec.n_heads, spec.n_kv_heads, spec.d_model, spec.d_k, spec.d_v
    shapes: dict[str, tuple[int, ...]] = {}
    if spec.has_bias("qkv"):
        shapes |= {"attn.b_Q": (h, d_k), "attn.b_K": (g, d_k), "attn.b_V": (g, d_v)}
    if spec.has_bias("output") and spec.output_projection:
        shapes["attn.b_O"] = (d,)
    if spec.has_bias("mlp") and spec.d_ff is not None:
        shapes |= {"mlp.b_in": (spec.d_ff,), "mlp.b_out": (d,)}
        if spec.gated:
            shapes["mlp.b_gate"] = (spec.d_ff,)
    return shapes


def initial_weight(name: str, shape: tuple[int, ...], how: Initialisation, *, layer: int, dtype: DTypeLike) -> Array:
    """One tensor as `how` says: matrices drawn (in float32, then converted), biases 0, norm gains 1."""
    if name not in ROLES:
        return np.full(shape, 1.0 if name.endswith(".w") else 0.0, dtype)
    matrix = side_by_side(name, shape)
    fan_in, fan_out = (shape[-2], shape[-1]) if how.per == "head" else matrix
    if how.scheme == "identity":
        return rounded(as_heads(name, np.eye(*matrix, dtype=np.float32), shape), dtype)
    rng = stream(how.seed, name, layer)
    return rounded(as_heads(name, drawn(rng, matrix, how, fan_in, fan_out), shape), dtype)


def drawn(rng: np.random.Generator, shape: tuple[int, int], how: Initialisation, fan_in: int, fan_out: int) -> Array:
    """A float32 matrix of that scheme.

    Sources: Glorot & Bengio 2010, eq. 16 (xavier); LeCun et al. 1998, section 4.6 (lecun).
    """
    if how.scheme == "xavier_uniform":
        bound = math.sqrt(6 / (fan_in + fan_out))
        uniform: Array = rng.random(shape, dtype=np.float32)  # large, so changed where it stands
        uniform *= 2
        uniform -= 1
        uniform *= np.float32(bound)
        return uniform
    deviations = {
        "xavier_normal": math.sqrt(2 / (fan_in + fan_out)),
        "lecun_normal": math.sqrt(1 / fan_in),
        "normal": how.standard_deviation or 0.0,
    }
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(deviations[how.scheme])


def side_by_side(name: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """The matrix that all heads make together: (d_model, h·d_k), for W_O (h·d_v, d_model)."""
    if len(shape) == 2:
        return shape[0], shape[1]
    h, rows, columns = shape
    return (h * rows, columns) if name == "attn.W_O" else (rows, h * columns)


def as_heads(name: str, matrix: Array, shape: tuple[int, ...]) -> Array:
    """That matrix cut into heads."""
    if len(shape) == 2 or name == "attn.W_O":
        return matrix.reshape(shape)
    h, rows, columns = shape
    return np.ascontiguousarray(matrix.reshape(rows, h, columns).transpose(1, 0, 2))


def initial_block(
    spec: BlockSpec, how: Initialisation, *, layer: int, dtype: DTypeLike, given: BlockWeights | None = None
) -> BlockWeights:
    """A block's weights: what is given, and the rest as `how` says."""
    given = given or {}
    return {
        name: given[name] if name in given else initial_weight(name, shape, how, layer=layer, dtype=dtype)
        for name, shape in weight_shapes(spec).items()
    }


def parameter_count(spec: BlockSpec) -> int:
    """How many numbers a block of this shape learns."""
    return sum(math.prod(shape) for shape in weight_shapes(spec).values())


def linear(x: Array, w: Array, b: Array | None) -> Array:
    """x w + b, (…, n, i) × (…, i, o) → (…, n, o); half inputs in float32, returned as they came."""
    dtype: np.dtype[Any] = np.result_type(x, w)
    work = np.dtype(np.float32) if dtype.itemsize == 2 else dtype
    with np.errstate(over="ignore", invalid="ignore"):
        y = x.astype(work, copy=False) @ w.astype(work, copy=False)
        if b is not None:
            y += b.astype(work, copy=False)
    return rounded(y, dtype)
