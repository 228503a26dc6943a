"""How fast attention's statistics come without the matrix, as ratios to torch: `python tests/bench_streaming.py`.

Each rival runs in turn, round after round; medians. Width 64, 4 heads, float32, as many threads as this process may
use. Torch, where it is installed: its fused attention, which gives the output alone, and the same statistics (but
where tokens look, and the median) from its whole matrix.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from attnlab.maths.inputs import attention_inputs
from attnlab.maths.kernels import has_numba
from attnlab.maths.streaming import stream
from attnlab.maths.threads import usable_cores


def torch_rivals(q: Any, k: Any, v: Any) -> dict[str, Callable[[], object]]:
    """torch's output alone, and its statistics from the matrix."""
    try:
        import torch
    except ImportError:
        return {}
    torch.set_num_threads(usable_cores())
    queries, keys, values = (torch.from_numpy(array)[None] for array in (q, k, v))

    def fused() -> object:
        return torch.nn.functional.scaled_dot_product_attention(queries, keys, values)

    def from_matrix() -> object:
        n = q.shape[-2]
        scores = queries @ keys.mT / q.shape[-1] ** 0.5
        logs = torch.log_softmax(scores, -1)
        p = logs.exp()
        output, square, top = p @ values, p.square().sum(-1), p.amax(-1)
        away = (torch.arange(n)[:, None] - torch.arange(n)).abs()
        return (
            *(output, top, square, scores.mean(), scores.var(), scores.amax(), -(p * logs).sum(-1)),
            *((p * (1 - p)).sum(-1), p.mean(-2), p[..., 0], (p * away).sum(-1)),
            *(p.diagonal(offset, -2, -1) for offset in (-1, 0, 1)),
        )

    return {"torch, output only": fused, "torch, statistics from the matrix": from_matrix}


def rivals(n: int, heads: int, width: int) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((heads, n, width), dtype=np.float32) for _ in range(3))
    nothing: dict[str, Any] = {"mask": None, "bias": None, "window": None, "scale": None, "softcap": None}
    inputs = attention_inputs(q, k, v, causal=False, **nothing)
    ours: dict[str, Callable[[], object]] = {"numpy": lambda: stream(inputs, compiled=False)}
    if has_numba():
        ours["compiled"] = lambda: stream(inputs, compiled=True)
    causal = attention_inputs(q, k, v, causal=True, **nothing)
    ours["numpy, causal"] = lambda: stream(causal, compiled=False)
    theirs = torch_rivals(q, k, v)
    if heads * n * n * 4 > 1 << 28:
        theirs.pop("torch, statistics from the matrix", None)
    return theirs | ours


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n", type=int, nargs="*", default=[4096, 16384])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--heads", type=int, default=4)
    arguments = parser.parse_args()
    for n in arguments.n:
        works = rivals(n, arguments.heads, 64)
        times: dict[str, list[float]] = {name: [] for name in works}
        for work in works.values():
            work()
        for _ in range(arguments.rounds):
            for name, work in works.items():
                times[name].append(seconds(work))
        medians = {name: statistics.median(taken) for name, taken in times.items()}
        base = medians.get("torch, output only", medians["numpy"])
        print(f"n = {n:,}, {arguments.heads} heads of 64, {usable_cores()} threads, {arguments.rounds} rounds")
        for name, median in medians.items():
            per_score = median / (arguments.heads * n * n) * 1e9
            print(f"  {name:36} {median:8.3f} s  {per_score:6.2f} ns a score  {median / base:5.2f} ×")


if __name__ == "__main__":
    main()
