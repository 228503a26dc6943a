"""Corollary 1: an output is no longer than the longest value, since it lies in the hull of the values."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from attnlab.experiments.claims.claim import Claim, Evidence, Setting, Trial, highest, lowest, true_as_it_stands
from attnlab.experiments.claims.combination import row_sum_bound
from attnlab.experiments.claims.laws import Laws
from attnlab.maths.precision import Array
from attnlab.show.numbers import number

#: So many sets at a time of N tokens, PIECES times for each kind of set: 1,017,600 rows in all.
SETS, PIECES, N, D = 1325, 4, 32, 8
#: What scores are multiplied by where one key is to win.
PEAKED = 30.0
#: The share of keys that a row sees where most are hidden: 1 row in 180 then sees none.
SEEN = 0.15
#: Sizes that squares overflow or vanish at in float32.
HUGE, TINY = 1e30, 1e-30
#: How far a point is pushed out of the hull, as a share of its width.
PUSH = 0.01
#: The length of the bias that is added, about that of a longest value.
BIAS = 4.0


class Case(NamedTuple):
    """A set of tokens to attend over, each array (SETS, N, D)."""

    q: Array
    k: Array
    v: Array
    #: (SETS, N, N) boolean, or None
    mask: Array | None = None


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Sets of six kinds: ordinary, peaked, masked, causal, one value for all keys, values that degenerate."""
    q, k, v = rng.standard_normal((3, SETS, N, D), dtype=np.float32)
    yield Case(q, k, v)
    yield Case(q * np.float32(PEAKED), k, v)
    yield Case(q, k, v, rng.random((SETS, N, N), dtype=np.float32) < SEEN)
    yield Case(q, k, v, np.broadcast_to(np.tri(N, dtype=bool), (SETS, N, N)))
    yield Case(q, k, np.broadcast_to(v[:, :1], v.shape))
    sizes = np.array([HUGE, TINY, 1.0, 0.0], dtype=np.float32)
    yield Case(q, k, v * sizes[rng.integers(len(sizes), size=(SETS, N, 1))])


class Lengths(NamedTuple):
    """Of some rows, all float64."""

    #: the largest of ‖o‖ ÷ Σ α‖v‖ − 1 and Σ α‖v‖ ÷ max‖v‖ − 1
    excess: float
    #: how far o lies outside [min u·v, max u·v], as a share of ‖u‖ max‖v‖; below 0 is inside
    outside: float
    #: the share of points pushed outside that this test turns away, and that the length alone would have
    caught: float
    caught_by_length: float
    #: ‖o‖ ÷ max‖v‖: its mean and its largest
    tightness: float
    tightest: float
    #: how tight each step is, on average: ‖o‖ ÷ Σ α‖v‖ and Σ α‖v‖ ÷ max‖v‖
    triangle: float
    averaged: float
    #: ‖o W_O‖ and ‖o + b‖ ÷ max‖v‖, the largest
    projected: float
    shifted: float
    #: how many rows see nothing, and the largest ‖o‖ among them and those that see only values of 0
    empty: int
    nothing: float


def lengths(laws: Laws, case: Case, rng: np.random.Generator) -> Lengths:
    """Attend, and compare outputs with values."""
    o, a, _ = laws.attention(*case[:3], mask=case.mask)
    seen = np.ones((1, N, N), dtype=bool) if case.mask is None else case.mask
    some = np.broadcast_to(seen.any(axis=-1), (SETS, N))
    v, o = case.v.astype(np.float64), o.astype(np.float64)
    value_norms = np.linalg.norm(v, axis=-1)
    average = (a.astype(np.float64) @ value_norms[..., None])[..., 0]
    longest = np.where(seen, value_norms[:, None], 0).max(axis=-1)
    some = some & (longest > 0)
    nothing = float(np.abs(o[~some]).max(initial=0.0))
    o, average, longest = o[some], average[some], longest[some]
    norms = np.linalg.norm(o, axis=-1)
    u = rng.standard_normal(D)
    along = np.broadcast_to((v @ u)[:, None], (SETS, N, N))
    top, low = (
        end[some] for end in (np.where(seen, along, -np.inf).max(axis=-1), np.where(seen, along, np.inf).min(axis=-1))
    )
    room, size = row_sum_bound(N, np.float32), np.linalg.norm(u) * longest
    wide = top - low > room * size / PUSH * 2  # rows of one point have no width to be pushed by
    pushed = (o + np.outer(top + PUSH * (top - low) - o @ u, u / (u @ u)))[wide]
    w_o, b = rng.standard_normal((D, D)) / math.sqrt(D), BIAS * u / np.linalg.norm(u)
    return Lengths(
        excess=float(highest((norms / average).max(), (average / longest).max()) - 1),
        outside=float(outside_of(o @ u, low, top, size).max()),
        caught=share(outside_of(pushed @ u, low[wide], top[wide], size[wide]) > room),
        caught_by_length=share(np.linalg.norm(pushed, axis=-1) > longest[wide] * (1 + room)),
        tightness=float((norms / longest).mean()),
        tightest=float((norms / longest).max()),
        triangle=float((norms / average).mean()),
        averaged=float((average / longest).mean()),
        projected=float((np.linalg.norm(o @ w_o, axis=-1) / longest).max()),
        shifted=float((np.linalg.norm(o + b, axis=-1) / longest).max()),
        empty=int((~seen.any(axis=-1)).sum()) * (1 if len(seen) > 1 else SETS),
        nothing=nothing,
    )


def outside_of(point: Array, low: Array, top: Array, size: Array) -> Array:
    """How far a point lies outside the interval, as a share of `size`."""
    return np.asarray(np.maximum(point - top, low - point) / size)


def share(true: Array) -> float:
    """The share of true ones; 1 of none."""
    return float(true.mean()) if true.size else 1.0


def norm_bound(setting: Setting) -> Evidence:
    """Corollary 1."""
    found = [
        lengths(setting.laws, case, rng) for rng in setting.rounds(3) for _ in range(PIECES) for case in cases(rng)
    ]
    rows, bound = len(found) * SETS * N, row_sum_bound(N, np.float32)
    excess, empty = highest(*(one.excess for one in found)), sum(one.empty for one in found)
    ordinary, *_ = found
    return Evidence(
        measured=excess,
        bound=bound,
        in_short="Σα = 1 is needed, α ≤ 1 will not do",
        samples=rows,
        unit="rows",
        finding=f"In {rows:,} rows, {empty:,} of which see no key, no output is longer than the longest value by more "
        f"than {number(highest(excess, 0.0))} of it; ordinary ones have {number(ordinary.tightness)} of its length.",
        trials=hull_trials(found, excess, bound),
    )


def hull_trials(found: Sequence[Lengths], excess: float, bound: float) -> tuple[Trial, ...]:
    """What Corollary 1 is judged by."""
    ordinary = found[0]
    return (
        Trial(what="‖o‖ ÷ Σ α‖v‖ and Σ α‖v‖ ÷ max‖v‖: the largest, less 1", value=excess, high=bound),
        Trial(
            what="u·o beyond the values' u·v, ÷ ‖u‖ max‖v‖, for random u",
            value=highest(*(one.outside for one in found)),
            high=bound,
        ),
        Trial(
            what="rows that see no key, or only values of 0: the largest ‖o‖",
            value=highest(*(one.nothing for one in found)),
            high=0.0,
        ),
        Trial(
            what=f"points pushed out by {PUSH:.0%} of the width: share that this catches",
            value=lowest(*(one.caught for one in found)),
            low=1.0,
        ),
        Trial(what="points pushed out that the length alone lets pass", value=1 - ordinary.caught_by_length),
        Trial(what="‖o‖ ÷ max‖v‖, ordinary rows, on average", value=ordinary.tightness),
        Trial(what="‖o‖ ÷ max‖v‖, the largest", value=highest(*(one.tightest for one in found)), low=1 - bound),
        Trial(
            what="after a random W_O, the largest ‖o W_O‖ ÷ max‖v‖",
            value=highest(*(one.projected for one in found)),
            low=1.1,
        ),
        Trial(what="with a bias b of length 4, the largest ‖o + b‖ ÷ max‖v‖", value=ordinary.shifted, low=1.1),
        Trial(what="‖o‖ ÷ Σ α‖v‖, ordinary rows, on average", value=ordinary.triangle),
        Trial(what="Σ α‖v‖ ÷ max‖v‖, ordinary rows, on average", value=ordinary.averaged),
        Trial(what=f"weights of ½ each, {N} equal values: ‖o‖ ÷ max‖v‖", value=half_weights(), low=1.1, proof=True),
    )


def half_weights() -> float:
    """‖Σ_j ½ v‖ ÷ ‖v‖ over N keys of one value: every weight is below 1, and their sum is not."""
    v = np.ones((N, D))
    return float(np.linalg.norm(np.full(N, 0.5) @ v) / np.linalg.norm(v[0]))


COROLLARY_1 = Claim(
    id="corollary-1",
    quote="A saída do mecanismo de atenção para cada posição é uma combinação convexa dos values, garantindo que a "
    "magnitude da saída permaneça controlada: ‖O_i‖ ≤ Σ_j α_ij ‖v_j‖ ≤ max_j ‖v_j‖",
    translation="The output of the attention mechanism for each position is a convex combination of the values, which "
    "guarantees that the magnitude of the output stays under control: ‖O_i‖ ≤ Σ_j α_ij ‖v_j‖ ≤ max_j ‖v_j‖",
    place="Corollary 1",
    statement="no output is longer than the longest value",
    source="",
    argument="The first step is the triangle inequality, the second replaces every length by the longest: an average "
    "is no more than the most. More is true: o is a point of the hull of the values, so in every direction u it lies "
    "between the least and the greatest u·v_j.",
    method="Six kinds of rows in float32: ordinary ones, scores thirty times as large, most keys hidden (some rows "
    "see none), causal ones, one value for all keys, and values of 1e30, 1e-30 and 0. Rounding may add (4 + log2 m) "
    "eps. The hull is tried along random directions, and the trial itself on points pushed just outside.",
    experiment=norm_bound,
    rule=true_as_it_stands,
    expected_verdict="holds",
    proof="mended",
    mending="Step 3 says that the weighted sum is at most the largest length because each α_ij ≤ 1. That would not do: "
    f"weights of ½ on {N} equal values are all at most 1, and their sum is {N // 2} times too long. What carries the "
    "step stands in step 1 already: the α_ij are not negative and sum to 1.",
    remains="It ends at the values: W_O, or a bias after it, may make an output longer than any of them.",
)
