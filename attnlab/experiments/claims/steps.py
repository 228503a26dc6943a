"""Theorem 7: attention in four steps, token by token and all at once."""

import math
import sys
from collections.abc import Callable
from types import FrameType

import numpy as np

from attnlab.experiments.claims.claim import Claim, Evidence, Setting, Trial, highest, true_as_it_stands
from attnlab.experiments.claims.combination import row_sum_bound
from attnlab.experiments.claims.laws import Laws
from attnlab.maths.precision import Array
from attnlab.maths.threads import usable_cores
from attnlab.measure.stopwatch import fastest
from attnlab.show.numbers import number

#: Sets of N tokens, with D wide queries and keys and D_V wide values.
SETS, N, D, D_V = 6, 48, 16, 12
#: Lengths at which the steps of the matrix form are counted.
LENGTHS = (4, 32, 256)
#: Where speeds are compared: tokens, width, runs of which the fastest counts.
TIMED_N, TIMED_D, RUNS = 1024, 64, 3
#: Weights below this are too small for float32 to have all their digits.
SMALLEST = 2.0**-126


def one_by_one(q: Array, k: Array, v: Array) -> tuple[Array, Array]:
    """Outputs and weights in four steps for each query: q·k_j key by key, ÷ √d_k, softmax, Σ_j p_j v_j; float64."""
    outputs, weights = [], []
    for query in q.astype(np.float64):
        products = [query @ key for key in k.astype(np.float64)]
        scores = [product / math.sqrt(len(query)) for product in products]
        powers = [math.exp(score - max(scores)) for score in scores]
        row = [power / sum(powers) for power in powers]
        outputs.append(sum(p * value for p, value in zip(row, v.astype(np.float64), strict=True)))
        weights.append(row)
    return np.array(outputs), np.array(weights)


def calls(work: Callable[[], object]) -> int:
    """How many function calls, Python's and C's, the interpreter makes one after the other while it does the work."""
    count, before = 0, sys.getprofile()

    def counted(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def accuracy_bound(q: Array, k: Array) -> float:
    """16 eps (1 + max‖q‖ max‖k‖/√d_k): how far rounding in float32 may bring the logarithm of a weight."""
    longest = [float(np.linalg.norm(x.astype(np.float64), axis=-1).max()) for x in (q, k)]
    return 16 * float(np.finfo(np.float32).eps) * (1 + longest[0] * longest[1] / math.sqrt(q.shape[-1]))


def compared(laws: Laws, rng: np.random.Generator) -> tuple[float, float]:
    """The largest distance of ln p from ln P, and of outputs as a share of max|v|, both as shares of their bounds."""
    q, k = rng.standard_normal((2, N, D), dtype=np.float32)
    v = rng.standard_normal((N, D_V), dtype=np.float32)
    output, weights = one_by_one(q, k, v)
    at_once, bound = laws.attention(q, k, v), accuracy_bound(q, k)
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.abs(np.log(at_once.weights.astype(np.float64)) - np.log(weights))
    apart = np.abs(at_once.output - output).max() / np.abs(v).max()
    seen = weights >= SMALLEST
    return float(off[seen].max() / bound), float(apart / (bound + row_sum_bound(N, np.float32)))


def count_steps(laws: Laws, n: int) -> int:
    """The calls of the matrix form for n tokens."""
    q, k, v = np.ones((3, n, D), dtype=np.float32)
    return calls(lambda: laws.attention(q, k, v))


def speeds(laws: Laws, rng: np.random.Generator) -> tuple[float, float]:
    """How many times faster all queries in one matrix are than one at a time; and all threads than one of them."""
    from threadpoolctl import threadpool_limits  # here: it looks at every library of the process

    q, k, v = rng.standard_normal((3, TIMED_N, TIMED_D), dtype=np.float32)

    def at_once() -> None:
        laws.attention(q, k, v)

    def in_turn() -> None:
        for query in q:
            laws.attention(query[None], k, v)

    whole, alone = fastest(at_once, RUNS), fastest(in_turn, 1)
    with threadpool_limits(limits=usable_cores(), user_api="blas"):
        all_threads = fastest(at_once, RUNS)
    return alone / whole, whole / all_threads


def four_steps(setting: Setting) -> Evidence:
    """Theorem 7."""
    laws, found, ratios = setting.laws, [], (math.nan, math.nan)
    for rng in setting.rounds(14):
        found += [compared(laws, rng) for _ in range(SETS)]
        ratios = speeds(laws, rng)
    weights, outputs = (highest(*column) for column in zip(*found, strict=True))
    counts = [count_steps(laws, n) for n in LENGTHS]
    q = np.ones((LENGTHS[1], D))
    alone = calls(lambda: one_by_one(q, q, q))
    rows = SETS * N * setting.samples
    more = max(counts) - min(counts)
    return Evidence(
        measured=weights,
        bound=1.0,
        in_short=f"{number(weights)} of what rounding may do",
        samples=rows,
        unit="rows",
        finding=f"Token by token and in one matrix the weights agree to {number(weights)} of what rounding may do; the "
        f"matrix form takes {counts[0]} calls for {LENGTHS[0]} tokens and {counts[-1]} for {LENGTHS[-1]}.",
        trials=step_trials(weights, outputs, more, alone, ratios),
    )


def step_trials(
    weights: float, outputs: float, more: int, alone: int, ratios: tuple[float, float]
) -> tuple[Trial, ...]:
    """What Theorem 7 is judged by, and the speeds beside it."""
    return (
        Trial(what="ln p off the token-by-token ln P, ÷ 16 eps (1 + ‖q‖‖k‖/√d_k)", value=weights, high=1.0),
        Trial(what="outputs off the token-by-token ones, ÷ their bound", value=outputs, high=1.0),
        Trial(what=f"calls in a row, {LENGTHS[-1]} tokens less {LENGTHS[0]}, matrix form", value=float(more), high=0.0),
        Trial(
            what=f"calls in a row, {LENGTHS[1]} tokens, token by token (so the count can see them)",
            value=float(alone),
            low=float(LENGTHS[1] ** 2),
        ),
        Trial(
            what=f"speed, N = {TIMED_N:,}: one matrix ÷ query by query",
            value=ratios[0],
            clocked=True,
        ),
        Trial(
            what=f"speed, N = {TIMED_N:,}: {usable_cores()} threads ÷ one",
            value=ratios[1],
            clocked=True,
        ),
    )


THEOREM_7 = Claim(
    id="theorem-7",
    statement="four steps, token by token",
    source="the course, Theorem 7; Vaswani et al. 2017, section 3.2.1",
    argument="Products q·k_j, division by √d_k, softmax, weighted sum: no query's steps need another query's result. "
    "So all queries may go through each step together, as rows of one matrix, and nothing else changes. The number "
    "of steps that must wait for each other is the same for any number of tokens (inside a step the sums over keys "
    "and over the width, added in a tree, wait for log2 of their length). That is what “efficient in parallel” means: "
    "the work still grows like N².",
    method=f"{SETS} sets of {N} tokens: each weight from its own Python loop in float64, against attention in float32, "
    f"within what rounding may do. Function calls are counted for {', '.join(map(str, LENGTHS))} tokens. Speeds are "
    "shown and not judged: they are the machine's.",
    experiment=four_steps,
    rule=true_as_it_stands,
    expected_verdict="holds",
    remains="The number of steps in a row does not depend on N; the work does, and grows like N².",
)
