"""Operation counts of the mechanisms that mix tokens, and what holds a matrix in memory: closed forms.

One multiply-add counts as two operations (FLOPs), the softmax as five per score by convention, a comparison as none.
"""

import math

from attnlab.theory.costs import SOFTMAX, visible_pairs


def full_flops(n: int, *, heads: int, d: int) -> int:
    """Attention of n queries on n keys of width d, values too: N²·h·(2d + 2d + 5)."""
    return n * n * heads * (4 * d + SOFTMAX)


def window_pairs(n: int, window: int) -> int:
    """The scores of a causal window w: N·w − w(w − 1)/2, the first w queries seeing fewer keys; all pairs at w ≥ N."""
    return visible_pairs(n, causal=True, window=window)


def window_flops(n: int, *, window: int, heads: int, d: int) -> int:
    """Attention over a causal window: as `full_flops`, for the visible pairs alone."""
    return window_pairs(n, window) * heads * (4 * d + SOFTMAX)


def linear_flops(n: int, *, heads: int, d: int) -> int:
    """φ(k)ᵀv and φ(q) times it, N·d² multiply-adds each, and the normaliser; the feature map is not counted.

    Source: Katharopoulos et al. 2020, section 3.2.1.
    """
    return n * heads * (4 * d * d + 4 * d)


def fourier_flops(n: int, *, d: int) -> int:
    """A two-dimensional transform of real numbers: 2.5·N·d·log2(N·d), rounded.

    Source: the convention of Frigo & Johnson 2005, section VII, for real transforms.
    """
    return round(2.5 * n * d * math.log2(max(n * d, 1)))


def argmax_flops(n: int, *, heads: int, d: int) -> int:
    """The scores of a hard lookup: 2·N²·h·d."""
    return 2 * n * n * heads * d


def block_rest_flops(n: int, *, d_model: int, d_ff: int, projections: int = 4) -> int:
    """What surrounds the core in a block: square projections of width d_model, and a feed-forward of two layers.

    The full block has four projections: 8·N·d_model² + 4·N·d_model·d_ff. Norms and biases are not counted.
    """
    return 2 * n * d_model * (projections * d_model + 2 * d_ff)


def dense_core_bytes(n: int, *, heads: int, d: int, itemsize: int = 4) -> int:
    """The most that dense attention holds beyond its inputs: scores and weights, and the output, (h, n, d)."""
    return itemsize * heads * n * (2 * n + d)


def matrix_outgrows(available: int, *, heads: int, itemsize: int = 4) -> int:
    """The largest N whose scores and weights still fit in so many bytes."""
    return math.isqrt(available // (2 * itemsize * heads))
