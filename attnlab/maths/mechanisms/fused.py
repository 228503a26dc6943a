"""PyTorch's fused attention, where it is installed: what others run."""

from importlib.util import find_spec

from attnlab.maths.precision import Array


def has_torch() -> bool:
    """Whether PyTorch can be imported."""
    return find_spec("torch") is not None


def use_threads(count: int) -> None:
    """Have PyTorch work on so many threads, for the rest of the process."""
    import torch  # an extra

    torch.set_num_threads(count)


def fused_attention(q: Array, k: Array, v: Array) -> Array:
    """PyTorch's scaled_dot_product_attention of (h, n, d) queries, keys and values: (h, n, e). No copies are made.

    Source: Dao et al. 2022, as PyTorch has it for processors.
    """
    import torch  # an extra

    with torch.no_grad():
        tensors = [torch.from_numpy(array)[None] for array in (q, k, v)]
        output: Array = torch.nn.functional.scaled_dot_product_attention(*tensors)[0].numpy()
    return output
