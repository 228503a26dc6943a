"""What attention means, spelled out in loops over visible keys, and every path of the package that computes it.

A path is given queries, keys, values and settings, and says what attention it was and what it made of it: the block and
the checkpoint project their own queries, keys and values, so those are what they are judged by.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import attnlab
from attnlab.maths.architecture import BlockSpec
from attnlab.maths.block import LayerTrace
from attnlab.maths.mechanisms.one_query import query_attention
from attnlab.maths.positions import alibi_bias
from attnlab.maths.stack import Stack
from attnlab.maths.streamed_block import HeadGroup
from attnlab.maths.weights import weight_shapes
from tests.oracles import sees
from tests.streaming_cases import streamed

Array = NDArray[Any]
Settings = Mapping[str, Any]


class Seen(NamedTuple):
    """An attention, and what a path made of it."""

    q: Array
    k: Array
    v: Array
    settings: Settings
    output: Array
    #: None where the path gives none
    lse: Array | None


class Made(NamedTuple):
    """What the definition makes of it, in float64."""

    output: Array
    lse: Array
    #: largest |ln p − ln P| that float arithmetic with this eps may bring
    slack: float


Rule = Callable[..., tuple[Array, Array]]


def row(
    q: Array, k: Array, v: Array, bias: Array, seen: Array, scale: float, softcap: float | None
) -> tuple[Array, Array]:
    """One query over the keys that it sees: scale, cap, bias, softmax, values."""
    if not seen.any():
        return np.zeros(v.shape[1]), np.array(-np.inf)
    s = scale * (k[seen] @ q)
    s = (s if softcap is None else softcap * np.tanh(s / softcap)) + bias[seen]
    e = np.exp(s - s.max())
    return np.asarray(e / e.sum() @ v[seen]), np.asarray(s.max() + np.log(e.sum()))


def visible(settings: Settings, h: int, n: int, m: int, see: Callable[..., bool] = sees) -> Array:
    """Whether query i of head h may see key j."""
    causal, window = settings.get("causal", False), settings.get("window")
    place = np.array([[see(i, j, causal=causal, window=window) for j in range(m)] for i in range(n)], bool).reshape(
        n, m
    )
    mask = np.broadcast_to(settings.get("mask", True), (h, n, m))
    return np.asarray(place & mask & ~np.isneginf(np.broadcast_to(settings.get("bias", 0.0), (h, n, m))))


@np.errstate(all="ignore")
def by_definition(given: Seen, rule: Rule = row, see: Callable[..., bool] = sees) -> Made:
    """What attention has to be; `rule` and `see` may be wrong ones, to be told from it."""
    q, k, v = (array.astype(np.float64) for array in (given.q, given.k, given.v))
    (h, n, d), (g, m, _) = q.shape, k.shape
    scale = given.settings.get("scale")
    scale, softcap = 1 / math.sqrt(d) if scale is None else scale, given.settings.get("softcap")
    bias = np.broadcast_to(np.asarray(given.settings.get("bias", 0.0), np.float64), (h, n, m))
    seen = visible(given.settings, h, n, m, see)
    output, lse = np.zeros((h, n, v.shape[-1])), np.zeros((h, n))
    for head in range(h):
        shared = head // (h // g)
        for i in range(n):
            output[head, i], lse[head, i] = rule(
                q[head, i], k[shared], v[shared], bias[head, i], seen[head, i], scale, softcap
            )
    return Made(output, lse, _slack(given, q, k, bias, scale))


def _slack(given: Seen, q: Array, k: Array, bias: Array, scale: float) -> float:
    """16 eps (1 + |scale|·max‖q‖·max‖k‖ + max finite |bias|), of what is finite; small enough to compare by."""
    norms = [np.linalg.norm(array[np.isfinite(array).all(axis=-1)], axis=-1).max(initial=0) for array in (q, k)]
    added = np.abs(bias[np.isfinite(bias)]).max(initial=0)
    working = np.float64 if given.output.dtype == np.float64 else np.float32
    largest = 1 + abs(scale) * float(norms[0]) * float(norms[1]) + float(added)
    return min(16 * float(np.finfo(working).eps) * largest, 1e-3)


#: Of the last rounding, where it is to half precision.
ROUNDING = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
#: Below them numbers have no full set of digits.
SMALLEST = {"float64": 2.0**-1022, "float32": 2.0**-126, "bfloat16": 2.0**-126, "float16": 2.0**-24}


def apart(given: Seen, made: Made) -> list[str]:
    """How a path's attention differs from the definition's; nothing where it does not."""
    found = _differs(
        "output", given.output, made.output, made.slack, float(np.abs(given.v[np.isfinite(given.v)]).max(initial=0))
    )
    if given.lse is not None:
        found += _differs("lse", given.lse, made.lse, made.slack, 1.0)
    return found


def _differs(name: str, ours: Array, theirs: Array, slack: float, size: float) -> list[str]:
    wide = ours.astype(np.float64)
    kinds = [(test.__name__, test(wide), test(theirs)) for test in (np.isnan, np.isposinf, np.isneginf)]
    found = [f"{name}: {kind} at {np.argwhere(a != b).tolist()[:4]}" for kind, a, b in kinds if (a != b).any()]
    both = np.isfinite(wide) & np.isfinite(theirs)
    wide, exact = wide[both], theirs[both]
    allowed = 2 * slack * np.maximum(np.abs(exact), size) + ROUNDING.get(ours.dtype.name, 0.0) * np.abs(exact)
    off = np.abs(wide - exact) / (allowed + SMALLEST[ours.dtype.name])
    return found + ([f"{name}: off by {off.max():.3g} times what is allowed"] if (off > 1).any() else [])


def dense(q: Array, k: Array, v: Array, settings: Settings) -> Iterator[Seen]:
    found = attnlab.attention(q, k, v, **settings)
    yield Seen(q, k, v, settings, found.output, found.lse)


def streaming(q: Array, k: Array, v: Array, settings: Settings) -> Iterator[Seen]:
    """As it is called; what is computed in float32 comes back as it came."""
    found = attnlab.attention_statistics(q, k, v, **settings)
    yield Seen(q, k, v, settings, found.output, found.lse)


def _kernel(compiled: bool, q: Array, k: Array, v: Array, settings: Settings) -> Iterator[Seen]:
    found = streamed((q, k, v), compiled=compiled, **settings)
    yield Seen(q, k, v, settings, found.output, found.lse)


def numpy_kernel(q: Array, k: Array, v: Array, settings: Settings) -> Iterator[Seen]:
    yield from _kernel(False, q, k, v, settings)


def compiled_kernel(q: Array, k: Array, v: Array, settings: Settings) -> Iterator[Seen]:
    yield from _kernel(True, q, k, v, settings)


def one_query(q: Array, k: Array, v: Array, settings: Settings) -> Iterator[Seen]:
    """The mechanism that `complexity` times: every query sees every key, and there are as many heads of each."""
    plain = not {*settings} - {"scale"} and k.shape == q.shape and q.size > 0
    if plain and q.dtype in (np.float32, np.float64):
        with np.errstate(invalid="ignore"):
            yield Seen(q, k, v, settings, query_attention(q, k, v, **settings), None)


def _block(q: Array, k: Array, v: Array, settings: Settings) -> tuple[Stack, Array] | None:
    """A block whose projections pick q, k and v out of its input; None where no block has such settings."""
    if {*settings} & {"mask", "bias"} or q.shape[1] != k.shape[1] or not q.size:
        return None
    (h, n, d), (g, _, e) = q.shape, v.shape
    width = h * d + g * (d + e)
    spec = BlockSpec(d_model=width, n_heads=h, n_kv_heads=g, d_k=d, d_v=e, d_ff=None, bias=False, **settings)
    weights = {name: np.zeros(shape, q.dtype) for name, shape in weight_shapes(spec).items()}
    columns = np.eye(width, dtype=q.dtype)
    ends = np.cumsum([h * d, g * d, g * e])
    for name, part in zip("QKV", np.split(columns, ends[:2], axis=1), strict=True):
        weights[f"attn.W_{name}"] = np.ascontiguousarray(
            part.reshape(width, h if name == "Q" else g, -1).transpose(1, 0, 2)
        )
    weights["ln1.w"] += q.dtype.type(1)
    x = np.concatenate([array.transpose(1, 0, 2).reshape(n, -1) for array in (q, k, v)], axis=1)
    return Stack(specs=(spec,), weights=(weights,), dtype=q.dtype), x


def traced_block(q: Array, k: Array, v: Array, settings: Settings) -> Iterator[Seen]:
    """A NaN in a query is one in its token, and so in its keys and values too: 0·NaN is NaN."""
    if built := _block(q, k, v, settings):
        stack, x = built
        yield from of_traces(stack, stack.trace(x).layers)


def streamed_block(q: Array, k: Array, v: Array, settings: Settings) -> Iterator[Seen]:
    if built := _block(q, k, v, settings):
        yield from of_streams(*built)


def of_traces(stack: Stack, layers: tuple[LayerTrace, ...]) -> Iterator[Seen]:
    for spec, layer in zip(stack.specs, layers, strict=True):
        yield Seen(layer.q, layer.k, layer.v, settings_of(spec, len(layer.x)), layer.heads, layer.lse)


def of_streams(stack: Stack, x: Array) -> Iterator[Seen]:
    """Every group of heads of every layer."""
    found: list[Seen] = []

    def keep(layer: int, group: HeadGroup) -> None:
        inputs, (output, lse, _) = group.inputs, group.attention
        g, d = inputs.k.shape[0], inputs.q.shape[-1]
        settings = dict(settings_of(stack.specs[layer], len(x)))
        if "bias" in settings:
            settings["bias"] = settings["bias"][group.first : group.first + len(output)]
        q = inputs.q.reshape(len(output), -1, d)
        assert len(output) % g == 0
        found.append(Seen(q, inputs.k, inputs.v, settings, output, lse))

    for _ in stack.stream(x, on_group=keep):
        yield from found
        found.clear()


def settings_of(spec: BlockSpec, n: int) -> Settings:
    """A block's attention in `attention`'s words."""
    settings = {name: getattr(spec, name) for name in ("causal", "window", "scale", "softcap")}
    return settings | ({"bias": alibi_bias(spec.n_heads, n)} if spec.position == "alibi" else {})


PATHS: Mapping[str, Callable[[Array, Array, Array, Settings], Iterator[Seen]]] = {
    "dense": dense,
    "streaming": streaming,
    "numpy kernel": numpy_kernel,
    "compiled kernel": compiled_kernel,
    "one query": one_query,
    "traced block": traced_block,
    "streamed block": streamed_block,
}


def checkpoint(folder: Path, ids: Array) -> Iterator[Seen]:
    """Every layer of a checkpoint, traced and streamed."""
    model = attnlab.load_checkpoint(folder)
    yield from of_traces(model.stack, model.trace(ids).layers)
    yield from of_streams(model.stack, model.embedded(ids))
