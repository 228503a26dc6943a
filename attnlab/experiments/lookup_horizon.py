"""How far attention can look: what is left of the weight of a matching key as others crowd in."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from attnlab.maths.attention import attention_scores
from attnlab.maths.precision import Array
from attnlab.maths.softmax import log_sum_exp
from attnlab.maths.threads import single_threaded_products, usable_cores
from attnlab.maths.weights import stream
from attnlab.theory.lookup import horizon, match_weights

#: Keys drawn at a time, so that memory stays flat however many there are.
CHUNK = 1 << 14


@dataclass(frozen=True, kw_only=True)
class HorizonRow:
    """The weight of a key equal to the query among n others."""

    d_k: int
    n: int
    #: the mean over queries and repeats
    weight: float
    #: of that mean, from repeats with keys and queries of their own
    standard_error: float
    #: queries × repeats
    samples: int
    predicted: float


def horizon_bytes(d_k: int, *, max_n: int, queries: int, repeats: int) -> int:
    """What so many threads' keys, queries and scores take, and each repeat's means."""
    keys = min(CHUNK, max_n)
    one = 4 * (keys + queries) * d_k + 4 * 4 * queries * keys
    return min(usable_cores(), repeats) * one + 8 * 4 * repeats * max_n.bit_length()


def horizon_seconds(d_k: int, *, queries: int) -> float:
    """About how long a key takes: d_k numbers drawn, and its scores and their exponentials."""
    return 1e-8 * d_k + queries * (5e-10 * d_k + 2e-8)


def horizon_sizes(d_k: int, max_n: int) -> list[int]:
    """2, 4, 8, … up to max_n, and the rule of thumb's e^(√d_k − ½) if it lies between them."""
    sizes = {2**i for i in range(1, max_n.bit_length()) if 2**i <= max_n}
    mark = round(horizon(d_k))
    return sorted(sizes | ({mark} if 2 <= mark <= max_n else set()))


def horizon_rows(
    d_k: int, *, max_n: int, queries: int, repeats: int, seed: int, advance: Callable[[], None]
) -> list[HorizonRow]:
    """The measured weight of the match against n, beside its expectation; the same on any number of threads.

    Args:
        advance: called after each repeat.
    """
    sizes = horizon_sizes(d_k, max_n)

    def one(repeat: int) -> Array:
        rng = stream(seed, "lookup.horizon", d_k, repeat)
        return np.asarray(matching_weights(rng, d_k, sizes, queries).mean(axis=0))

    means = np.empty((repeats, len(sizes)))
    with single_threaded_products(), ThreadPoolExecutor(usable_cores()) as pool:
        for repeat, mean in enumerate(pool.map(one, range(repeats))):
            means[repeat] = mean
            advance()
    errors = means.std(axis=0, ddof=1) / math.sqrt(repeats)
    return [
        HorizonRow(
            d_k=d_k,
            n=n,
            weight=float(means[:, i].mean()),
            standard_error=float(errors[i]),
            samples=queries * repeats,
            predicted=predicted,
        )
        for i, (n, predicted) in enumerate(zip(sizes, match_weights(d_k, sizes), strict=True))
    ]


def matching_weights(rng: np.random.Generator, d_k: int, sizes: Sequence[int], queries: int) -> Array:
    """The weight of the match among the first n keys, for every n of `sizes` (rising): (queries, sizes).

    The softmax's denominator is carried from one n to the next: each key is drawn once, and none is kept.
    """
    q = rng.standard_normal((queries, d_k), dtype=np.float32)
    own = attention_scores(q, q).diagonal().astype(np.float64)
    lse, seen, columns = own, 0, []
    for n in sizes:
        while seen < n:
            count = min(CHUNK, n - seen)
            keys = rng.standard_normal((count, d_k), dtype=np.float32)
            lse = np.logaddexp(lse, log_sum_exp(attention_scores(q, keys)))
            seen += count
        columns.append(np.exp(own - lse))
    return np.stack(columns, axis=1)
