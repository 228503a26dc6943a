"""Whether an inspection makes its matrices or streams: as asked, or as is faster."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from attnlab.files.config import Config, PerLayer
from attnlab.files.kernels import Kernel, KernelWish, Need, choose_kernel
from attnlab.files.stacks import LEAST_WORKING, block_size, run_bytes, streamed_bytes
from attnlab.maths.plan import WORKING
from attnlab.theory.memory import looking_bytes

#: From here on "auto" streams: it is faster, and what the matrices have over it is the asymmetry and whole pictures.
DENSE_TOKENS = 256


def inspection_kernel(config: Config, n: int, wish: KernelWish, *, kept: int, max_bytes: int) -> tuple[Kernel, int]:
    """The kernel for n tokens, and the working memory that a streamed one may take.

    Args:
        wish: None where every array is to be kept.
        kept: layers of which every array is kept; 0 otherwise.

    Raises:
        MemoryRefused: it takes more than max_bytes.
    """
    need = inspection_need(config, n, kept)
    working = min(WORKING, max(LEAST_WORKING, LEAST_WORKING + max_bytes - need.streaming))
    if wish != "auto":
        return choose_kernel(wish, need, max_bytes), working
    if n <= DENSE_TOKENS:
        return choose_kernel("dense", need, max_bytes), working
    streaming = choose_kernel("streaming", need, max_bytes)
    return streaming._replace(reason=f"which is faster beyond {DENSE_TOKENS} tokens"), working


def inspection_need(config: Config, n: int, kept: int) -> Need:
    """What an inspection takes, which holds one layer at a time."""

    def dense(tokens: int) -> int:
        return max(run_bytes(alone, tokens) for alone in layers_alone(config, max(kept, 1)))

    def streaming(tokens: int) -> int:  # the next layer is read while one is let go of
        return max(streamed_bytes(alone, tokens) for alone in layers_alone(config, min(2, config.layers)))

    def way_out(kernel: Literal["dense", "streaming"], max_bytes: int) -> str:
        size = dense if kernel == "dense" else streaming
        most = bisect_left(range(n), True, key=lambda tokens: size(tokens) > max_bytes) - 1
        return f"take {most:,} tokens" if most > 0 else "take a smaller model"

    return Need(what=f"{config.name}: {n:,} tokens", dense=dense(n), streaming=streaming(n), way_out=way_out)


def layers_alone(config: Config, layers: int) -> Iterator[Config]:
    """For each kind of layer that the stack has, so many of it and nothing else."""
    for spec in config.counted:
        yield replace(config, block=spec, layers=layers, per_layer=PerLayer())


def require_weights_memory(config: Config, max_bytes: int) -> None:
    """Refuse to look at weights alone where a layer's, the next one's and what is made of a head's would not fit.

    Raises:
        MemoryRefused: says how much they take.
    """
    sizes = [block_size(spec, config.dtype) for spec in config.counted]
    needed = max(2 * size.parameters * size.itemsize + looking_bytes(size) for size in sizes)
    way_out = "take a smaller model"
    choose_kernel(
        None,
        Need(what=f"{config.name}: its weights", dense=needed, streaming=needed, way_out=lambda *_: way_out),
        max_bytes,
    )
