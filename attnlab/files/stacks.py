"""From a configuration to a stack of blocks, and to what it is run on."""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attnlab.errors import InputError, MemoryRefused
from attnlab.files.config import Config, RandomInput, load_config
from attnlab.files.embeddings import Embeddings, read_embeddings, read_tensors
from attnlab.files.opening import listed, sha256, shown
from attnlab.maths.architecture import Initialisation
from attnlab.maths.precision import Array, rounded
from attnlab.maths.stack import Stack
from attnlab.maths.weights import initial_block, parameter_count, random_input, weight_shapes
from attnlab.theory.memory import dense_bytes

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
    given = given_weights(config, max_bytes=max_bytes)
    how = config.weights.initialisation or Initialisation()
    blocks = []
    for i in range(config.layers):
        blocks.append(initial_block(config.block, how, layer=i, dtype=dtype, given=layer_weights(given, i, dtype)))
        advance()
    first = layer_weights(given, 0, dtype)
    return BuiltStack(
        stack=Stack(specs=(config.block,) * config.layers, weights=tuple(blocks), dtype=dtype),
        sha256=sha256(config.weights.file) if config.weights.file else None,
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
    expected = {
        f"blocks.{i}.{name}": shape for i in range(config.layers) for name, shape in weight_shapes(config.block).items()
    }
    tensors = read_tensors(path, max_bytes=max_bytes)
    for name, tensor in tensors.items():
        if name not in expected:
            raise InputError(f"{shown(path)}: {name!r}: no tensor of {config.name}; expected {listed(expected)}")
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


def load_bench(config: Config, *, max_bytes: int, advance: Callable[[], None] = lambda: None) -> Bench:
    """Read or draw the weights and the embeddings of a configuration; `advance` is called after each layer.

    Raises:
        InputError: a file is missing, unreadable, or does not fit the block.
        MemoryRefused: the weights, the embeddings or the matrices of a trace would take more than max_bytes.
    """
    if config.input.random is not None:
        require_memory(config, config.input.random.n, max_bytes=max_bytes)
    embeddings = load_input(config, max_bytes=max_bytes)
    require_memory(config, len(embeddings.x), max_bytes=max_bytes)
    built = build_stack(config, max_bytes=max_bytes, advance=advance)
    files = {config.weights.file: built.sha256, config.input.file: embeddings.sha256}
    return Bench(
        config=config,
        stack=built.stack,
        x=embeddings.x,
        tokens=embeddings.tokens,
        random_input=config.input.random is not None,
        initialised=built.initialised,
        sha256={str(path): digest for path, digest in files.items() if path is not None and digest is not None},
    )


def require_memory(config: Config, n: int, *, max_bytes: int) -> None:
    """Check that a run of n tokens may take what it needs.

    Raises:
        MemoryRefused: says how much that is, and the largest n that fits.
    """
    needed = run_bytes(config, n)
    if needed > max_bytes:
        most = bisect_left(range(n), True, key=lambda tokens: run_bytes(config, tokens) > max_bytes) - 1
        way_out = f"take {most:,} tokens" if most > 0 else "take fewer layers or smaller widths"
        raise MemoryRefused(
            f"{config.name}: {n:,} tokens would need {in_words(needed)}, and {in_words(max_bytes)} may be used; "
            f"{way_out}, or give --max-memory more"
        )


def in_words(size: int) -> str:
    """Bytes as people read them: "16.0 GiB", below a tenth of one "31.4 MiB"."""
    return f"{size / 2**30:,.1f} GiB" if size > 0.1 * 2**30 else f"{size / 2**20:,.1f} MiB"


def run_bytes(config: Config, n: int) -> int:
    """What a run of n tokens takes at its largest: the weights, every matrix and vector of the trace, and one block's
    weights and vectors again in float64, to check its equations.
    """
    block, layers = config.block, config.layers
    hidden = block.causal or block.window is not None or block.softcap is not None or block.position == "alibi"
    size = 8 if config.dtype == "float64" else 4
    matrices = dense_bytes(n, n, heads=block.n_heads, layers=layers, hidden=hidden, itemsize=size)
    weights = parameter_count(block) * (float_dtype(config.dtype).itemsize * layers + 8)
    width = 8 * block.d_model + 2 * (block.n_heads + block.n_kv_heads) * (block.d_k + block.d_v)
    passing = (block.n_heads + 3) * block.d_model + 3 * (block.d_ff or 0)
    return matrices + weights + n * (width * size * layers + passing * 8)


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
