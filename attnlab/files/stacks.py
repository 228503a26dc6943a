"""From a configuration to a stack of blocks, and to what it is run on."""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from attnlab.errors import InputError
from attnlab.files.config import Config, RandomInput, load_config
from attnlab.files.embeddings import Embeddings, read_embeddings, read_tensors
from attnlab.files.kernels import DENSE, Kernel, KernelWish, Need, choose_kernel
from attnlab.files.opening import listed, quoted, sha256, shown, unchanging
from attnlab.maths.architecture import BlockSpec, Initialisation, Rotary
from attnlab.maths.kernels import pays
from attnlab.maths.plan import WORKING, plan_for, thread_bytes
from attnlab.maths.precision import Array, rounded
from attnlab.maths.shapes import shape_only
from attnlab.maths.stack import Stack
from attnlab.maths.weights import initial_block, parameter_count, random_input, weight_shapes
from attnlab.theory.memory import BlockSize, block_run_bytes, streamed_run_bytes

#: A streamed attention can do with so much beyond its inputs and results; more makes it faster.
LEAST_WORKING = 16 << 20
#: No bound: for callers who know what they load.
UNBOUNDED = 1 << 62


def load_stack(source: str | Path | Mapping[str, object]) -> Stack:
    """The stack that a preset, a configuration file or a configuration as a dict describes.

    Raises:
        ConfigError: the configuration is wrong or not found.
        InputError: its weights file is, or does not fit the block.
    """
    return build_stack(load_config(source), max_bytes=UNBOUNDED).stack


@dataclass(frozen=True, kw_only=True)
class BuiltStack:
    """A stack, and where its weights came from."""

    stack: Stack
    #: of the weights file; None without one
    sha256: str | None
    #: the tensors (of block 0) that were drawn and not read: names such as "mlp.W_in"
    initialised: tuple[str, ...]


def build_stack(config: Config, *, max_bytes: int, advance: Callable[[], None] = lambda: None) -> BuiltStack:
    """Read or draw every weight of a configuration; `advance` is called after each layer.

    Raises:
        MemoryRefused: the weights file takes more than max_bytes.
        InputError: the weights file is missing, unreadable, or does not fit the block.
    """
    dtype = float_dtype(config.dtype)
    with unchanging():
        given = given_weights(config, max_bytes=max_bytes)
        digest = sha256(config.weights.file) if config.weights.file else None
    how = config.weights.initialisation or Initialisation()
    blocks = []
    for i, spec in enumerate(config.blocks):
        blocks.append(initial_block(spec, how, layer=i, dtype=dtype, given=layer_weights(given, i, dtype)))
        advance()
    first = layer_weights(given, 0, dtype)
    return BuiltStack(
        stack=Stack(specs=config.blocks, weights=tuple(blocks), dtype=dtype),
        sha256=digest,
        initialised=tuple(name for name in weight_shapes(config.block) if name not in first),
    )


def float_dtype(name: str) -> np.dtype[np.generic]:
    """The numpy dtype of that name; bfloat16 is ml_dtypes'."""
    if name == "bfloat16":
        import ml_dtypes

        name = ml_dtypes.bfloat16
    dtype: np.dtype[np.generic] = np.dtype(name)
    return dtype


def given_weights(config: Config, *, max_bytes: int) -> dict[str, Array]:
    """The tensors of the weights file, by full name, each known to fit; empty without a file.

    Raises:
        InputError: a name that the block does not have, a wrong shape, or, when nothing may be drawn, a missing one.
    """
    path = config.weights.file
    if path is None:
        return {}
    shapes = weight_shapes(config.block)  # what differs from layer to layer is no tensor's
    expected = {f"blocks.{i}.{name}": shape for i in range(config.layers) for name, shape in shapes.items()}
    tensors = read_tensors(path, max_bytes=max_bytes)
    for name, tensor in tensors.items():
        if name not in expected:
            raise InputError(
                f"{shown(path)}: {quoted(name, limit=120)}: no tensor of {config.name}; expected {listed(expected)}"
            )
        if tensor.shape != expected[name]:
            raise InputError(
                f"{shown(path)}: {name}: shape {tensor.shape}; expected {expected[name]}, set by block of {config.name}"
            )
    missing = [name for name in expected if name not in tensors]
    if missing and config.weights.initialisation is None:
        raise InputError(
            f"{shown(path)}: no {listed(missing)}; expected every tensor of {config.name}, "
            "or weights.init to say how the rest are drawn"
        )
    return tensors


def layer_weights(tensors: Mapping[str, Array], layer: int, dtype: np.dtype[np.generic]) -> dict[str, Array]:
    """The tensors of one layer, by their names within it."""
    prefix = f"blocks.{layer}."
    return {
        name.removeprefix(prefix): rounded(tensor, dtype) for name, tensor in tensors.items() if name.startswith(prefix)
    }


@dataclass(frozen=True, kw_only=True)
class Bench:
    """All that an experiment on a block needs: the stack, what it is run on, and where both came from."""

    config: Config
    stack: Stack
    #: (n, d_model)
    x: Array
    #: n names, or none
    tokens: tuple[str, ...]
    #: whether x was drawn: independent, standard normal
    random_input: bool
    initialised: tuple[str, ...]
    #: file name -> SHA-256 of what was read
    sha256: Mapping[str, str]
    #: of a checkpoint: what tells the weights that have been read from another's
    fingerprint: Callable[[], Mapping[str, object]] | None = None
    #: how its attention is to be computed
    kernel: Kernel = DENSE
    #: for a streamed attention, beyond its inputs and results
    working_bytes: int = WORKING


def load_bench(
    config: Config, *, max_bytes: int, kernel: KernelWish = None, advance: Callable[[], None] = lambda: None
) -> Bench:
    """Read or draw the weights and the embeddings of a configuration; `advance` is called after each layer.

    Args:
        kernel: how its attention may be computed; None = with its matrices, for work that needs them.

    Raises:
        InputError: a file is missing, unreadable, or does not fit the block.
        MemoryRefused: the weights, the embeddings or a run on them would take more than max_bytes.
    """
    if config.input.random is not None:
        choose_kernel(kernel, run_need(config, config.input.random.n), max_bytes)
    embeddings = load_input(config, max_bytes=max_bytes)
    need = run_need(config, len(embeddings.x))
    taken = choose_kernel(kernel, need, max_bytes)
    built = build_stack(config, max_bytes=max_bytes, advance=advance)
    names = config.input.tokens
    files = {
        config.weights.file: built.sha256,
        config.input.file: embeddings.sha256,
        names: None if names is None else sha256(names),
    }
    return Bench(
        config=config,
        stack=built.stack,
        x=embeddings.x,
        tokens=embeddings.tokens,
        random_input=config.input.random is not None,
        initialised=built.initialised,
        sha256={str(path): digest for path, digest in files.items() if path is not None and digest is not None},
        kernel=taken,
        working_bytes=min(WORKING, LEAST_WORKING + max_bytes - need.streaming),
    )


def run_need(config: Config, n: int) -> Need:
    """What a run of n tokens takes, with its matrices and without."""

    def way_out(kernel: Literal["dense", "streaming"], max_bytes: int) -> str:
        size = run_bytes if kernel == "dense" else streamed_bytes
        most = bisect_left(range(n), True, key=lambda tokens: size(config, tokens) > max_bytes) - 1
        return f"take {most:,} tokens" if most > 0 else "take fewer layers or smaller widths"

    return Need(
        what=f"{config.name}: {n:,} tokens",
        dense=run_bytes(config, n),
        streaming=streamed_bytes(config, n),
        way_out=way_out,
    )


def run_bytes(config: Config, n: int) -> int:
    """What a run of n tokens takes at its largest when everything is kept."""
    return block_run_bytes([(block_size(spec, config.dtype), count) for spec, count in config.counted.items()], n)


def streamed_bytes(config: Config, n: int, max_bytes: int = LEAST_WORKING, *, steep: bool = True) -> int:
    """What a run of n tokens takes at its largest without its matrices, at most so much of it to work with.

    Args:
        steep: logits may be far apart, which takes more; only the numbers themselves tell.
    """
    working = max(working_bytes(spec, n, config.dtype, max_bytes, steep=steep) for spec in config.counted)
    return streamed_run_bytes(block_size(config.block, config.dtype), n, layers=config.layers, working=working)


def working_bytes(spec: BlockSpec, n: int, dtype: str, max_bytes: int, *, steep: bool) -> int:
    """What a block's streamed attention takes beyond its inputs and results, at most about max_bytes.

    Args:
        steep: logits may be far apart.
    """
    inputs = shape_only(spec, n, float_dtype(dtype))
    plan = plan_for(inputs, max_bytes)
    biases = plan.height * plan.tile * 2 * inputs.q.dtype.itemsize * (spec.position == "alibi")
    return plan.threads * (thread_bytes(plan, inputs, steep=steep, compiled=pays(math.prod(inputs.shape))) + biases)


def block_size(block: BlockSpec, dtype: str) -> BlockSize:
    """A block as far as memory goes."""
    over_all = block.qk_norm is not None and block.qk_norm_over == "all"
    return BlockSize(
        d_model=block.d_model,
        heads=block.n_heads,
        shared=block.n_kv_heads,
        d_k=block.d_k,
        d_v=block.d_v,
        d_ff=block.d_ff or 0,
        parameters=parameter_count(block),
        norm_position=block.norm_position,
        moments=(4 if block.qk_norm == "layernorm" else 2) if over_all else 0,
        prepared=block.qk_norm is not None or isinstance(block.position, Rotary),
        hidden=block.causal or block.window is not None,
        capped=block.softcap is not None,
        biased=block.position == "alibi",
        itemsize=float_dtype(dtype).itemsize,
    )


def load_input(config: Config, *, max_bytes: int) -> Embeddings:
    """The embeddings that a configuration names, or those that its seed draws (sha256 then empty)."""
    source = config.input
    if source.file is None:
        random = source.random or RandomInput()
        dtype = float_dtype(config.dtype)
        return Embeddings(random_input(random.n, config.block.d_model, seed=random.seed, dtype=dtype), (), "")
    return read_embeddings(
        source.file,
        tokens=source.tokens,
        d_model=config.block.d_model,
        set_by=f"block.d_model of {config.name}",
        max_bytes=max_bytes,
    )
