"""The scores that `attnlab variance` draws: independent pairs, streamed by chunks on several threads, and a matrix.

Every chunk has its own random stream and chunks are merged in their order, so that neither the number of threads nor
their pace shows in a result; only a few chunks are held at a time.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np

from attnlab.maths.entries import Distribution, entries, pair_products
from attnlab.maths.moments import Moments, merged, moments
from attnlab.maths.precision import Array
from attnlab.maths.weights import stream

#: Numbers drawn per chunk, q and k together: 1 MiB, which stays in a core's cache.
CHUNK = 1 << 18
#: Chunks behind one step of a progress bar.
STEP = 16
#: Scores of the matrix, at most: longer rows make it less tall.
MOST_SCORES = 1 << 22
#: Scores behind a histogram: its bins are then sure to a tenth.
MOST_PICTURED = 10_000
#: Chunks under way or waiting to be merged, per thread.
_AHEAD = 4
#: After d_k, in the keys of the random streams of role "variance.softmax": the matrix, or a block of a softmax.
MATRIX, BLOCK = 0, 1

T = TypeVar("T")


class Chunks(NamedTuple):
    """How so many pairs are cut into chunks."""

    #: in all, and per chunk but perhaps the last
    samples: int
    size: int

    @property
    def number(self) -> int:
        """How many chunks."""
        return -(-self.samples // self.size)

    @property
    def steps(self) -> int:
        """How many times their progress is told."""
        return -(-self.number // STEP)

    def pairs(self, chunk: int) -> int:
        """Pairs in one of them."""
        return min(self.size, self.samples - chunk * self.size)


def pair_chunks(samples: int, d_k: int) -> Chunks:
    """The chunks of so many pairs of that width."""
    return Chunks(samples, max(1, CHUNK // (2 * d_k)))


def pair_moments(
    seed: int,
    d_k: int,
    samples: int,
    distribution: Distribution,
    correlation: float = 0.0,
    *,
    threads: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> Moments:
    """The moments of q·k over independent pairs."""
    chunks = pair_chunks(samples, d_k)

    def of_chunk(chunk: int) -> Moments:
        rng = stream(seed, "variance", d_k, chunk)
        return moments(pair_products(rng, chunks.pairs(chunk), d_k, distribution, correlation))

    total = Moments()
    for chunk, found in enumerate(in_order(of_chunk, range(chunks.number), threads)):
        total = merged(total, found)
        if chunk % STEP == 0:
            advance()
    return total


def some_products(seed: int, d_k: int, samples: int, distribution: Distribution, correlation: float = 0.0) -> Array:
    """The first q·k of those pairs, MOST_PICTURED at most: what a picture of them is made of."""
    chunks, found, count = pair_chunks(samples, d_k), [], 0
    for chunk in range(chunks.number):
        rng = stream(seed, "variance", d_k, chunk)
        found.append(pair_products(rng, chunks.pairs(chunk), d_k, distribution, correlation))
        count += len(found[-1])
        if count >= MOST_PICTURED:
            break
    products: Array = np.concatenate(found)[:MOST_PICTURED]
    return products


def in_order(work: Callable[[int], T], numbers: Iterable[int], threads: int) -> Iterator[T]:
    """work(number) for each number, in their order, done on so many threads, never far ahead of what is asked for."""
    if threads == 1:
        yield from map(work, numbers)
        return
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for number in numbers:
            if len(waiting) == _AHEAD * threads:
                yield waiting.popleft().result()
            waiting.append(pool.submit(work, number))
        while waiting:
            yield waiting.popleft().result()


def matrix_shape(keys: int) -> tuple[int, int]:
    """(queries, keys): as many queries as keys, unless that would be more than MOST_SCORES scores."""
    return min(keys, max(1, MOST_SCORES // keys)), keys


def matrix_moments(seed: int, d_k: int, keys: int, distribution: Distribution) -> Moments:
    """The moments of the entries of one QKᵀ."""
    n, m = matrix_shape(keys)
    rng = stream(seed, "variance.softmax", d_k, MATRIX)
    q, k = entries(rng, (n, d_k), distribution), entries(rng, (m, d_k), distribution)
    return moments(q @ k.T)
