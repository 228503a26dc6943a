"""How fast `attnlab variance` draws, as a share of how fast numpy alone draws the same normals on as many threads.

Run by hand on a machine that does nothing else: python tests/bench_variance.py [WIDTH …]
"""

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from attnlab.experiments.variance_sampling import CHUNK, in_order, pair_moments
from attnlab.maths.threads import usable_cores
from attnlab.maths.weights import stream

#: Normals drawn in a repetition, and repetitions; d_k = 64 makes 2,000,000 pairs of them.
NORMALS, REPETITIONS = 256_000_000, 7


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def numpy_alone(threads: int) -> None:
    """As many normals, one long stream on each thread, into an array that stays in the cache."""

    def draw(thread: int) -> None:
        rng, drawn = stream(0, "variance", 0, thread), np.empty(CHUNK, np.float32)
        for _ in range(NORMALS // threads // CHUNK):
            rng.standard_normal(out=drawn, dtype=np.float32)

    for _ in in_order(draw, range(threads), threads):
        pass


def main() -> None:
    threads = usable_cores()
    for d_k in [int(word) for word in sys.argv[1:]] or [1, 2, 8, 64, 1024]:
        pairs = NORMALS // (2 * d_k)
        ratios, speeds = [], []
        for _ in range(REPETITIONS):
            alone = seconds(lambda: numpy_alone(threads))
            ours = seconds(partial(pair_moments, 0, d_k, pairs, "normal", threads=threads))
            ratios.append(alone / ours)
            speeds.append(1e9 * ours / NORMALS)
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        sys.stdout.write(
            f"d_k {d_k:5}: {pairs:11,} pairs on {threads} threads, {statistics.median(speeds):.2f} ns a normal, "
            f"{statistics.median(ratios):.0%} of numpy alone ({spread})\n"
        )


if __name__ == "__main__":
    main()
