"""The section on parallel processing: how many of attention's steps must wait for each other."""

import math
import sys
from collections.abc import Callable
from types import FrameType

import numpy as np

from attnlab.experiments.claims.claim import Claim, Evidence, Setting, Trial, true_as_it_stands
from attnlab.experiments.claims.laws import Laws
from attnlab.experiments.claims.steps import one_by_one
from attnlab.maths.threads import usable_cores
from attnlab.measure.stopwatch import fastest

#: Width of the tokens whose steps are counted, and how many tokens there are.
D, LENGTHS = 16, (4, 32, 256, 2048)
#: The length at which the same is counted token by token, so that the count is seen to see.
SEEN = 32
#: Where speeds are compared: tokens, width, runs of which the fastest counts.
TIMED_N, TIMED_D, RUNS = 1024, 64, 3


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


def few_steps(setting: Setting) -> Evidence:
    """The section on parallel processing."""
    laws, counts, ratios = setting.laws, list[int](), (math.nan, math.nan)
    for rng in setting.rounds(16):
        counts += [count_steps(laws, n) for n in LENGTHS]
        ratios = speeds(laws, rng)
    q = np.ones((SEEN, D))
    alone, more = calls(lambda: one_by_one(q, q, q)), max(counts) - min(counts)
    return Evidence(
        measured=float(counts[-1]),
        expected=float(counts[0]),
        bound=float(counts[0]),
        in_short=f"{counts[0]} steps in a row at {LENGTHS[0]} tokens, {counts[-1]} at {LENGTHS[-1]:,}",
        samples=len(counts),
        unit="lengths",
        finding=f"The matrix form takes {counts[0]} calls one after the other for {LENGTHS[0]} tokens, and "
        f"{counts[-1]} for {LENGTHS[-1]:,}; token by token it takes {alone:,} for {SEEN} tokens.",
        trials=(
            Trial(
                what=f"calls in a row, matrix form, {LENGTHS[0]} to {LENGTHS[-1]:,} tokens: most less fewest",
                value=float(more),
                high=0.0,
            ),
            Trial(
                what=f"calls in a row, {SEEN} tokens, token by token (so the count can see them)",
                value=float(alone),
                low=float(SEEN**2),
            ),
            Trial(what=f"speed, N = {TIMED_N:,}: one matrix ÷ query by query", value=ratios[0], clocked=True),
            Trial(what=f"speed, N = {TIMED_N:,}: {usable_cores()} threads ÷ one", value=ratios[1], clocked=True),
        ),
    )


PARALLEL = Claim(
    id="parallel",
    quote="O cálculo do self-attention pode ser paralelizado eficientemente usando operações matriciais",
    translation="The computation of self-attention can be parallelised efficiently using matrix operations",
    place="“Processamento Paralelo Eficiente”",
    statement="attention parallelises: N tokens take no more steps",
    source="Vaswani et al. 2017, table 1",
    argument="No query needs another query's result, so all of them go through QKᵀ, softmax and the product with V "
    "together. The number of steps that must wait for each other is the same for any number of tokens; inside a step "
    "the sums over keys and over the width, added in a tree, wait for log2 of their length. That is what "
    "“paralelizado eficientemente” means: the work still grows like N², but it need not be done in turn.",
    method=f"Function calls, Python's and numpy's, counted for {', '.join(f'{n:,}' for n in LENGTHS)} tokens. How many "
    "times faster several threads are than one is the machine's: it is shown and not judged.",
    experiment=few_steps,
    rule=true_as_it_stands,
    expected_verdict="holds",
    proof=None,
    remains="All of it, with as many processors as there is work: the number of steps does not depend on N.",
    not_tried="how near many processors come to it",
)
