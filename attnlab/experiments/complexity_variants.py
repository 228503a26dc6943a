"""What `attnlab complexity` sets side by side: mechanisms, the kernels that compute them, and their inputs."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from attnlab.maths import streaming
from attnlab.maths.architecture import BlockSpec, Initialisation
from attnlab.maths.attention import attention
from attnlab.maths.inputs import attention_inputs
from attnlab.maths.mechanisms.banded import window_attention
from attnlab.maths.mechanisms.fourier import fourier_mixing
from attnlab.maths.mechanisms.fused import fused_attention
from attnlab.maths.mechanisms.kernelised import linear_attention
from attnlab.maths.mechanisms.lookup import argmax_lookup, hash_lookup, sorted_lookup
from attnlab.maths.mechanisms.mixed_block import HeadMixer, mixed_block, mixed_tokens
from attnlab.maths.mechanisms.one_query import query_attention
from attnlab.maths.precision import Array
from attnlab.maths.weights import initial_block, stream
from attnlab.theory import mechanism_costs as costs

Part = Literal["core", "block"]
PARTS: tuple[Part, ...] = get_args(Part)
Work = Callable[[], Array]
Tables = tuple[Array, Array]

MECHANISMS = ("full", "window", "linear", "fourier", "argmax", "sorted", "hash")
#: Ways to compute full attention; the other mechanisms have one each, in numpy.
KERNELS = ("dense", "streaming", "compiled", "query", "torch")
#: What is taken where nothing is asked for: a curve of each order. And the kernels of everything: numba's takes long to
#: be made.
DEFAULT_MECHANISMS, DEFAULT_KERNELS = ("full", "window", "sorted", "hash"), ("dense", "streaming")
ALL_KERNELS = ("dense", "streaming", "query", "torch")
NUMPY = "numpy"
#: A table's inputs change from call to call until so many keys have gone by: a processor that meets a short table
#: again and again learns its branches by heart, and times a small N far too fast.
KEYS_BEFORE_REPEATING = 1 << 15


class Setting(NamedTuple):
    """One size: n tokens, heads of width d."""

    n: int
    d: int
    heads: int
    window: int
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A mechanism and a kernel that computes it."""

    mechanism: str
    kernel: str
    label: str
    #: of one call's core; None: a table has none
    flops: Callable[[Setting], int] | None
    #: for a mechanism of heads: (q, k, v) -> output, or (h, n) places for argmax
    heads: Callable[[Setting], HeadMixer] | None = None
    #: (keys, queries) -> places, for a table of numbers
    table: Callable[[Array, Array], Array] | None = None
    #: whether it may stand in the place of attention in a block
    in_block: bool = True

    @property
    def key(self) -> str:
        """Its name in files: mechanism/kernel."""
        return f"{self.mechanism}/{self.kernel}"

    @property
    def short(self) -> str:
        """Its name where there is little room."""
        return self.label.removeprefix("full, ").removesuffix(" lookup")

    @property
    def cheap(self) -> bool:
        """Whether it costs little: anything but full attention."""
        return self.mechanism != "full"

    @property
    def uses_d(self) -> bool:
        """Whether its cost depends on the width."""
        return self.table is None

    def prepare(self, setting: Setting, part: Part) -> Work:
        """Draw the inputs, and return the work to time."""
        if part == "block":
            return self._block(setting)
        if self.table is not None:
            return in_turn(self.table, table_inputs(setting))
        if self.heads is None:
            x = token_inputs(setting)
            return lambda: fourier_mixing(x)
        q, k, v = head_inputs(setting)
        mix = self.heads(setting)
        return lambda: mix(q, k, v)

    def _block(self, setting: Setting) -> Work:
        spec = block_spec(setting)
        weights = initial_block(spec, Initialisation(seed=setting.seed), layer=0, dtype=np.float32)
        x = token_inputs(setting)
        if self.heads is None:
            return lambda: mixed_tokens(spec, weights, x, fourier_mixing)
        mix = self.heads(setting)
        return lambda: mixed_block(spec, weights, x, mix)

    def input_bytes(self, setting: Setting) -> int:
        """About what the inputs of one size take, without a block's weights."""
        if self.table is None:
            return 12 * setting.heads * setting.n * setting.d
        return 16 * max(setting.n, KEYS_BEFORE_REPEATING)

    def operations(self, setting: Setting, part: Part) -> int | None:
        """FLOPs of one call, by formula; None for a table."""
        if self.flops is None:
            return None
        if part == "core":
            return self.flops(setting)
        d_model = setting.heads * setting.d
        projections = 0 if self.heads is None else 4  # Fourier mixing takes the tokens as they are
        rest = costs.block_rest_flops(setting.n, d_model=d_model, d_ff=4 * d_model, projections=projections)
        return self.flops(setting) + rest


def block_spec(setting: Setting) -> BlockSpec:
    """A post-norm block of that many heads, feed-forward four times as wide."""
    d_model = setting.heads * setting.d
    return BlockSpec(
        d_model=d_model,
        n_heads=setting.heads,
        n_kv_heads=setting.heads,
        d_k=setting.d,
        d_v=setting.d,
        d_ff=4 * d_model,
    )


def head_inputs(setting: Setting) -> tuple[Array, Array, Array]:
    """q, k and v, each (h, n, d), standard normal, float32."""
    rng = stream(setting.seed, "complexity", setting.n, setting.d)
    shape = (setting.heads, setting.n, setting.d)
    q, k, v = (rng.standard_normal(shape, dtype=np.float32) for _ in range(3))
    return q, k, v


def token_inputs(setting: Setting) -> Array:
    """x, (n, h·d), standard normal, float32."""
    rng = stream(setting.seed, "complexity", setting.n, setting.d)
    return rng.standard_normal((setting.n, setting.heads * setting.d), dtype=np.float32)


def table_inputs(setting: Setting) -> list[Tables]:
    """Tables of n random keys, float64, each with its keys in another order as queries."""
    rng = stream(setting.seed, "complexity", setting.n)
    tables = []
    for _ in range(max(1, KEYS_BEFORE_REPEATING // setting.n)):
        keys = rng.standard_normal(setting.n)
        tables.append((keys, rng.permutation(keys)))
    return tables


def in_turn(look_up: Callable[[Array, Array], Array], tables: Sequence[Tables]) -> Work:
    """One call, one table; then the next."""
    turns = itertools.cycle(tables)
    return lambda: look_up(*next(turns))


def full_cost(s: Setting) -> int:
    """FLOPs of full attention."""
    return costs.full_flops(s.n, heads=s.heads, d=s.d)


def fourier_cost(s: Setting) -> int:
    """FLOPs of Fourier mixing of all heads' widths."""
    return costs.fourier_flops(s.n, d=s.heads * s.d)


def streamed(*, compiled: bool) -> Callable[[Setting], HeadMixer]:
    """Attention with all its statistics but asymmetry, and without its matrix; by numba's exponentials or numpy's."""

    def of(setting: Setting) -> HeadMixer:
        def mix(q: Array, k: Array, v: Array) -> Array:
            inputs = attention_inputs(
                q, k, v, mask=None, bias=None, causal=False, window=None, scale=None, softcap=None
            )
            return streaming.stream(inputs, threads=setting.threads, compiled=compiled).output

        return mix

    return of


def dense(q: Array, k: Array, v: Array) -> Array:
    """Attention with its matrix."""
    return attention(q, k, v).output


def causal_window(setting: Setting) -> HeadMixer:
    """Attention over the window nearest keys up to a query's own."""
    return lambda q, k, v: window_attention(q, k, v, window=setting.window, causal=True)


FULL: dict[str, tuple[str, Callable[[Setting], HeadMixer]]] = {
    "dense": ("full, dense", lambda _: dense),
    "streaming": ("full, streaming", streamed(compiled=False)),
    "compiled": ("full, compiled", streamed(compiled=True)),
    "query": ("full, one query", lambda _: query_attention),
    "torch": ("full, torch", lambda _: fused_attention),
}


def full_variant(kernel: str) -> Variant:
    """Full attention by one of the `KERNELS`."""
    label, heads = FULL[kernel]
    return Variant(mechanism="full", kernel=kernel, label=label, flops=full_cost, heads=heads)


def variant(mechanism: str, window: int) -> Variant:
    """Any other of the `MECHANISMS`."""
    match mechanism:
        case "window":
            return Variant(
                mechanism="window",
                kernel=NUMPY,
                label=f"window {window}",
                flops=lambda s: costs.window_flops(s.n, window=s.window, heads=s.heads, d=s.d),
                heads=causal_window,
            )
        case "linear":
            return Variant(
                mechanism="linear",
                kernel=NUMPY,
                label="linear",
                flops=lambda s: costs.linear_flops(s.n, heads=s.heads, d=s.d),
                heads=lambda _: linear_attention,
            )
        case "fourier":
            return Variant(mechanism="fourier", kernel=NUMPY, label="Fourier", flops=fourier_cost)
        case "argmax":
            return Variant(
                mechanism="argmax",
                kernel=NUMPY,
                label="argmax lookup",
                flops=lambda s: costs.argmax_flops(s.n, heads=s.heads, d=s.d),
                heads=lambda _: lambda q, k, v: argmax_lookup(q, k),
                in_block=False,
            )
        case _:
            table = hash_lookup if mechanism == "hash" else sorted_lookup
            return Variant(
                mechanism=mechanism,
                kernel=NUMPY,
                label=f"{mechanism} lookup",
                flops=None,
                table=table,
                in_block=False,
            )
