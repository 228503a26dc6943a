"""What unscaled and scaled scores of independent queries and keys do to the softmax, beside the exact law."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from attnlab.errors import MemoryRefused
from attnlab.experiments.variance_sampling import BLOCK, CHUNK, matrix_shape
from attnlab.maths.attention import attention_steps
from attnlab.maths.dense import dense_statistics
from attnlab.maths.entries import Distribution, entries
from attnlab.maths.inputs import attention_inputs
from attnlab.maths.precision import Array
from attnlab.maths.softmax import softmax
from attnlab.maths.statistics import HeadStatistics
from attnlab.maths.weights import stream
from attnlab.records import Quantity
from attnlab.theory.random_energy import attention_law

#: Independent blocks of queries and keys: from the spread between them come the standard errors.
BLOCKS = 64
#: Queries of a block, at most, and its scores, at most (but for a single query).
QUERIES, BLOCK_SCORES = 32, 1 << 17
#: Scores whose statistics are taken at once, and entries of their keys: a few blocks, or one.
_AT_ONCE, _KEYS_AT_ONCE = 1 << 18, 1 << 22
#: Why there is no law for the entropy of other entries.
NO_LAW = "the exact law is for normal entries"


@dataclass(frozen=True, kw_only=True)
class SoftmaxResult:
    """The softmax of scores scale·q·k over `keys` keys: means over rows, their errors from independent blocks."""

    scale: float
    keys: int
    #: rows in all
    rows: int
    entropy: Quantity
    #: by theory; None where entries are not normal
    expected_entropy: float | None
    effective_keys: Quantity
    saturated_fraction: Quantity

    @property
    def z(self) -> float | None:
        """How many standard errors the entropy is off the law; None without one."""
        error = self.entropy.standard_error
        if self.expected_entropy is None or not error or self.entropy.value is None:
            return None
        return (self.entropy.value - self.expected_entropy) / error


def softmax_results(
    seed: int,
    d_k: int,
    keys: int,
    distribution: Distribution,
    *,
    scales: Sequence[float],
    advance: Callable[[], None] = lambda: None,
) -> list[SoftmaxResult]:
    """Run attention on independent blocks of queries and keys, the same ones for every scale.

    `advance` is called softmax_steps(keys) times.
    """
    at_once = drawn_at_once(keys, d_k)
    found: list[list[HeadStatistics]] = [[] for _ in scales]
    for first in range(0, BLOCKS, at_once):
        blocks = range(first, min(first + at_once, BLOCKS))
        of_blocks = _statistics_of(seed, d_k, keys, distribution, blocks, scales)
        for of_scale, statistics in zip(found, of_blocks, strict=True):
            of_scale.append(statistics)
        for block in blocks:
            if block % blocks_at_once(keys) == 0:
                advance()
    return [_result(of_scale, d_k, keys, distribution, scale) for of_scale, scale in zip(found, scales, strict=True)]


def _result(
    found: Sequence[HeadStatistics], d_k: int, keys: int, distribution: Distribution, scale: float
) -> SoftmaxResult:
    rows = BLOCKS * block_queries(keys)
    law = attention_law(keys, d_k, scale) if distribution == "normal" else None
    return SoftmaxResult(
        scale=scale,
        keys=keys,
        rows=rows,
        entropy=_mean([statistics.entropy for statistics in found], rows),
        expected_entropy=None if law is None else law.entropy,
        effective_keys=_mean([statistics.effective_keys for statistics in found], rows),
        saturated_fraction=_mean([statistics.saturated_fraction for statistics in found], rows),
    )


def softmax_steps(keys: int) -> int:
    """How many times one scale's softmax says that it is further."""
    return -(-BLOCKS // blocks_at_once(keys)) if keys > 0 else 0


def block_queries(keys: int) -> int:
    """Queries of a block."""
    return max(1, min(QUERIES, BLOCK_SCORES // keys))


def blocks_at_once(keys: int) -> int:
    """Blocks whose scores are handled together."""
    return max(1, min(BLOCKS, _AT_ONCE // (keys * block_queries(keys))))


def drawn_at_once(keys: int, d_k: int) -> int:
    """Blocks whose queries and keys are drawn together."""
    return max(1, min(blocks_at_once(keys), _KEYS_AT_ONCE // (max(keys, block_queries(keys)) * d_k)))


def _statistics_of(
    seed: int, d_k: int, keys: int, distribution: Distribution, blocks: range, scales: Sequence[float]
) -> list[HeadStatistics]:
    """The statistics of some blocks for each scale; their queries and keys are let go of before others are drawn."""
    drawn = [_block(seed, d_k, keys, distribution, block) for block in blocks]
    q, k = (np.stack(arrays) for arrays in zip(*drawn, strict=True))
    return [_statistics(q, k, scale) for scale in scales]


def _statistics(q: Array, k: Array, scale: float) -> HeadStatistics:
    """The statistics of some blocks, each as if it were a head; there are no values to weigh."""
    inputs = attention_inputs(
        *(q, k, np.zeros((*k.shape[:-1], 1), np.float32)),
        mask=None,
        bias=None,
        causal=False,
        window=None,
        scale=scale,
        softcap=None,
    )
    found = dense_statistics(attention_steps(inputs), inputs.v)
    return found._replace(received=np.zeros((len(q), 0)))  # of every block it would grow with the keys


def _block(seed: int, d_k: int, keys: int, distribution: Distribution, block: int) -> tuple[Array, Array]:
    rng = stream(seed, "variance.softmax", d_k, BLOCK, block)
    return entries(rng, (block_queries(keys), d_k), distribution), entries(rng, (keys, d_k), distribution)


def one_softmax(seed: int, d_k: int, keys: int, distribution: Distribution, *, scales: Sequence[float]) -> list[Array]:
    """The weights of one query of the first block, (keys,), at each scale: the median one by the first's largest."""
    q, k = _block(seed, d_k, keys, distribution, 0)
    scores = (q @ k.T).astype(np.float64)
    of_scale = [softmax(scale * scores).weights for scale in scales]
    largest = of_scale[0].max(axis=1)
    usual = int(np.argsort(largest)[len(largest) // 2])
    return [weights[usual] for weights in of_scale]


def _mean(of_groups: Sequence[Array], rows: int) -> Quantity:
    """The mean over blocks, and its standard error from their spread."""
    values = np.concatenate(of_groups)
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return Quantity(value=float(values.mean()), standard_error=error, n=rows)


def require_memory(d_k: int, keys: int, threads: int, *, max_bytes: int) -> None:
    """Check that the widest of the arrays drawn fit.

    Raises:
        MemoryRefused: says how much they take.
    """
    n, m = matrix_shape(keys)
    pairs = 2 * 4 * max(CHUNK, 2 * d_k) * threads
    matrix = 4 * (n + m) * d_k + (4 + 2 * 8) * n * m
    block = 2 * 4 * drawn_at_once(keys, d_k) * (block_queries(keys) + keys) * d_k + 12 * 8 * block_queries(keys) * keys
    needed = pairs + max(matrix, block, 12 * 8 * _AT_ONCE)
    if needed > max_bytes:
        raise MemoryRefused(
            f"--dk {d_k} and --keys {keys} would need {needed / 2**30:,.1f} GiB, and {max_bytes / 2**30:,.1f} GiB may "
            "be used; take fewer keys or a smaller width, or give --max-memory more"
        )
