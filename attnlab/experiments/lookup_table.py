"""Look-ups in a table of keys and values, soft beside hard: how near they come, and whether the bounds are kept."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from attnlab.maths.attention import attention, attention_scores
from attnlab.maths.precision import Array
from attnlab.maths.softmax import softmax
from attnlab.theory.lookup import FLOAT32_GAP, distance_bound, rest_bound

#: β is doubled no further than this: a gap that small is a tie.
MOST_DOUBLINGS = 60
#: How many times its rounding a number must be before it says how near it came to a bound.
COMPARABLE = 1000
#: The unit roundoff of float64, doubled.
EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, kw_only=True)
class LookupRow:
    """Every query's look-up at one β. Means are over queries; errors are standard errors of those means."""

    beta: float
    #: the largest q·k less the second, before β: mean and smallest
    gap: float
    smallest_gap: float
    #: ‖o − v*‖, and (1 − p_max)·max_j‖v_j − v*‖
    distance: float
    distance_standard_error: float
    bound: float
    #: of the query furthest from its hard lookup: how far, and its own bound
    largest_distance: float
    bound_of_largest: float
    #: p_max, and 1/(1 + r)
    max_weight: float
    max_weight_standard_error: float
    smallest_max_weight: float
    max_weight_bound: float
    #: 1 − p_max as the sum of the other weights, and r/(1 + r)
    rest: float
    rest_bound: float
    #: the largest of distance/bound and of (1 − p_max)/(r/(1 + r)) over the queries that rounding lets compare
    nearest_to_bound: float
    nearest_to_weight_bound: float
    #: queries that break a bound by more than rounding
    broken: int
    samples: int
    #: of all weights in float32: exact zeros, and those whose scores lie more than 150 ln 2 below the row's largest
    float32_zeros: int
    expected_float32_zeros: int
    weights: int


@dataclass(frozen=True, kw_only=True)
class Table:
    """Queries, keys and values, and what theory needs to know of them; q·k has variance 1."""

    q: Array
    k: Array
    v: Array
    #: (queries,): which key has the largest q·k, by how much, and max_j ‖v_j − v*‖
    best: Array
    gap: Array
    spread: Array
    #: (queries, keys): the largest q·k of the row less each
    below: Array
    #: the largest |q·k|
    largest: float


def table(q: Array, k: Array, v: Array) -> Table:
    """The table of these queries (n, d), keys (m, d) and values (m, e)."""
    products = attention_scores(q, k, scale=1.0)
    ordered = np.sort(products, axis=1)
    best = products.argmax(axis=1)
    return Table(
        q=q,
        k=k,
        v=v,
        best=best,
        gap=ordered[:, -1] - ordered[:, -2],
        spread=np.array([np.linalg.norm(v - v[j], axis=1).max() for j in best]),
        below=ordered[:, -1:] - products,
        largest=float(np.abs(products).max()),
    )


def hardening(table: Table) -> list[float]:
    """β = 1, 2, 4, … up to the first at which no float32 row has a second weight above 0."""
    betas = [1.0]
    while len(betas) <= MOST_DOUBLINGS and np.count_nonzero(float32_weights(table, betas[-1])) > len(table.q):
        betas.append(2 * betas[-1])
    return betas


def float32_weights(table: Table, beta: float) -> Array:
    """The weights as float32 computes them; the scores are exact first, so that the same key stays the best."""
    shifted = (-beta * table.below).astype(np.float32)
    return softmax(shifted).weights


def measured(table: Table, beta: float) -> LookupRow:
    """Every query's look-up at one β, and whether it keeps its bounds."""
    looked = attention(table.q, table.k, table.v, scale=beta)
    rest = others(looked.weights, table.best)
    distance = np.linalg.norm(looked.output - table.v[table.best], axis=1)
    bound, weight_bound = distance_bound(rest, table.spread), rest_bound(table.gap, beta, len(table.k))
    room = rounding(table, beta)
    zeros = np.count_nonzero(float32_weights(table, beta) == 0)
    count = math.sqrt(len(distance))
    return LookupRow(
        beta=beta,
        gap=float(table.gap.mean()),
        smallest_gap=float(table.gap.min()),
        distance=float(distance.mean()),
        distance_standard_error=float(distance.std(ddof=1)) / count,
        bound=float(bound.mean()),
        largest_distance=float(distance.max()),
        bound_of_largest=float(bound[distance.argmax()]),
        max_weight=float((1 - rest).mean()),
        max_weight_standard_error=float(rest.std(ddof=1)) / count,
        smallest_max_weight=float((1 - rest).min()),
        max_weight_bound=float((1 - weight_bound).mean()),
        rest=float(rest.mean()),
        rest_bound=float(weight_bound.mean()),
        nearest_to_bound=nearest(distance, bound, float(room.distance.max())),
        nearest_to_weight_bound=nearest(rest, weight_bound, 0.0),
        broken=int(np.sum((distance > bound + room.distance) | (rest > weight_bound * (1 + room.relative)))),
        samples=len(distance),
        float32_zeros=int(zeros),
        expected_float32_zeros=int(np.count_nonzero(beta * table.below > FLOAT32_GAP)),
        weights=table.below.size,
    )


class Rounding(NamedTuple):
    """What float64 may add."""

    #: (queries,): to a distance
    distance: Array
    #: to a ratio of weights, as a share of it
    relative: float


def rounding(table: Table, beta: float) -> Rounding:
    """(4 + log2 m) eps·max‖v‖ twice (for the output and for v*), and eps for each unit of the scores' size."""
    longest = float(np.linalg.norm(table.v, axis=1).max())
    distance = 2 * (4 + math.log2(len(table.k))) * EPS * longest
    return Rounding(np.full(len(table.q), distance), 4 * EPS * (len(table.k) + beta * table.largest))


def others(weights: Array, best: Array) -> Array:
    """1 − p_max as the sum of the other weights: exact where one key holds nearly everything. (queries,)"""
    left = weights.copy()
    left[np.arange(len(best)), best] = 0
    rest: Array = left.sum(axis=1)
    return rest


def nearest(found: Array, bound: Array, room: float) -> float:
    """The largest found/bound, of those bounds that rounding leaves something of; 0 when there is none."""
    told = bound > max(COMPARABLE * room, COMPARABLE * float(np.finfo(np.float64).tiny))
    return float((found[told] / bound[told]).max(initial=0.0))
