"""The rows that `attnlab gradient` draws: a softmax's Jacobian and the gradient at its query, one number each per row.

In a block, `QUERIES` queries share n keys and their values; each has its own loss L = u·o. Blocks are independent.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from attnlab.maths import jacobian
from attnlab.maths.precision import Array
from attnlab.maths.softmax import softmax
from attnlab.maths.weights import stream

#: Width of the values and of u: the size of the gradient depends on it.
VALUE_WIDTH = 64
#: Queries that share their keys, and blocks that come from one random stream.
QUERIES, BLOCKS = 64, 4
#: Arrays of (queries, keys) and of (keys, keys) that a block holds at once, at most.
_OF_ROWS, _OF_KEYS = 14, 3


class RowValues(NamedTuple):
    """One number per row, (blocks, QUERIES), float64."""

    trace: Array
    frobenius: Array
    spectral: Array
    #: the largest weight
    top: Array
    #: ‖∂L/∂q‖, and what it cannot pass
    gradient: Array
    bound: Array


class Draws(NamedTuple):
    """What scaled and unscaled attention share."""

    #: q·k, (blocks, QUERIES, n)
    scores: Array
    #: ∂L/∂p = u·v, of the same shape
    g: Array
    #: (blocks, n, d_k)
    k: Array
    #: what ‖∂L/∂q‖ cannot pass with the scale 1, (blocks, QUERIES)
    bound: Array


def batches(rows: int) -> int:
    """Random streams for so many rows, each of BLOCKS blocks; the last one is drawn whole."""
    return -(-rows // (QUERIES * BLOCKS))


def batch_bytes(n: int, d_k: int) -> int:
    """Bytes that one batch needs, at most."""
    tokens = n + QUERIES
    return 8 * BLOCKS * (tokens * (2 * d_k + VALUE_WIDTH) + _OF_ROWS * QUERIES * n + _OF_KEYS * n * n)


def draws(seed: int, n: int, d_k: int, batch: int) -> Draws:
    """Independent standard normal q, k, v and u of one batch."""
    rng = stream(seed, "gradient", d_k, batch)
    q, k = (rng.standard_normal((BLOCKS, rows, d_k)) for rows in (QUERIES, n))
    u, v = (rng.standard_normal((BLOCKS, rows, VALUE_WIDTH)) for rows in (QUERIES, n))
    g = u @ v.swapaxes(-1, -2)
    return Draws(q @ k.swapaxes(-1, -2), g, k, jacobian.query_gradient_bound(g, k, scale=1.0))


def row_values(given: Draws, scale: float) -> RowValues:
    """What a softmax of scale·q·k does to each row."""
    p = softmax(scale * given.scores).weights
    return RowValues(
        trace=jacobian.jacobian_trace(p),
        frobenius=jacobian.jacobian_frobenius(p),
        spectral=jacobian.jacobian_spectral(p),
        top=p.max(axis=-1),
        gradient=np.linalg.norm(jacobian.query_gradient(p, given.g, given.k, scale=scale), axis=-1),
        bound=scale * given.bound,
    )


def sampled(
    seed: int, n: int, d_k: int, rows: int, scales: tuple[float, ...], *, threads: int, advance: Callable[[], None]
) -> list[RowValues]:
    """The rows of one d_k for each scale, on the same draws; `advance` is called once a batch.

    The same numbers for any number of threads: each batch has its stream, and each product one thread.
    """

    def of_batch(batch: int) -> list[RowValues]:
        given = draws(seed, n, d_k, batch)
        return [row_values(given, scale) for scale in scales]

    def told() -> Iterator[list[RowValues]]:
        for found in pool.map(of_batch, range(batches(rows))):
            advance()
            yield found

    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        of_scale = zip(*told(), strict=True)
        return [RowValues(*map(np.concatenate, zip(*parts, strict=True))) for parts in of_scale]
