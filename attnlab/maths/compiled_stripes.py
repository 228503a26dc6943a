"""Stripes of a panel against their keys, compiled: weights, sums and outputs, a few keys at a time, in one call.

Logits are to base 2 here, log₂e being taken into the scale; what is handed back is to base e. Neither a matrix of
scores nor a product of whole tiles is made: weights are kept for a stripe alone, until its rows' sums are known.
"""

from typing import Any, NamedTuple

import numpy as np

from attnlab.maths.compiled import compiled, compiled_as_written
from attnlab.maths.compiled_vectors import multiply
from attnlab.maths.compiled_weights import (
    APART,
    CEILING,
    CENTRE,
    COUNT,
    HELD,
    LARGEST,
    SHIFT,
    SPREAD,
    TOP,
    TOTAL,
    weigh_seen,
    weigh_some,
)
from attnlab.maths.precision import Array
from attnlab.maths.tiles import SLACK

LN2 = np.log(2.0)
#: How far a logit to base 2 may lie above its shift.
_SLACK = SLACK / LN2
#: Rows of `Stripes.sums`: Σ w, Σ w², Σ w·(logit − shift), Σ w·distance; count, mean and Σ (score − mean)².
SUMS, SCORES, MEANS, SCATTERS, SUMMED = 4, 4, 5, 6, 7
#: Chunks after which outputs are added up in float64.
FLUSHED = 8


class Keys(NamedTuple):
    """What the queries are set against."""

    #: (m, d) and (m, e), in order
    k: Array
    v: Array
    #: (…,) distances, and the place of distance 0 from the first query to key 0; a step of 0 = there is none
    distances: Array
    zero: int
    apart: int
    #: keys of a chunk
    chunk: int
    #: keys weighed at a time
    rows: int
    #: what makes logits to base 2 of q·k, a float of the keys' kind
    factor: Any


class Stripes(NamedTuple):
    """Room for some stripes; one stripe each along the first axis."""

    #: (stripes, keys + rows, lanes)
    weights: Array
    #: (stripes, d, lanes)
    queries: Array
    #: (stripes, 11, lanes), as `compiled_vectors` holds them
    held: Array
    #: (stripes, 2, lanes) whole numbers: the first key and the last + 1 that each lane sees
    seen: Array
    #: (stripes, chunks, lanes): the shift of a chunk's weights
    shifts: Array
    #: (chunks, lanes): what makes shares of attention of a stripe's weights
    factors: Array
    #: (stripes, columns, lanes): Σ w v of a few chunks, and of all in float64
    recent: Array
    outputs: Array
    #: (stripes, 7, lanes) float64
    sums: Array


@compiled
def _flush(held: Array, sums: Array) -> None:
    """Add the sums of a chunk, or of a part of one, to those in float64."""
    for s in range(SUMS):
        for lane in range(held.shape[1]):
            sums[s, lane] += held[TOTAL + s, lane]
            held[TOTAL + s, lane] = 0


@compiled
def _flush_moments(held: Array, sums: Array) -> None:
    """Join the moments of a chunk's scores to those so far; the next chunk's are taken about the mean of all.

    Source: Chan, Golub and LeVeque 1983.
    """
    for lane in range(held.shape[1]):
        own, before = np.float64(held[COUNT, lane]), sums[SCORES, lane]
        distance = np.float64(held[APART, lane]) / max(own, 1.0)
        both = max(own + before, 1.0)
        apart = distance + np.float64(held[CENTRE, lane]) - sums[MEANS, lane]
        spread = max(np.float64(held[SPREAD, lane]) - distance * distance * own, 0.0)
        sums[SCORES, lane] = own + before
        sums[MEANS, lane] += apart * own / both
        sums[SCATTERS, lane] += spread + apart * apart * own * before / both
        held[COUNT, lane], held[APART, lane], held[SPREAD, lane] = 0, 0, 0
        held[CENTRE, lane] = sums[MEANS, lane] if own + before > 0 else held[CENTRE, lane]


@compiled
def _flush_outputs(recent: Array, outputs: Array) -> None:
    """Add the outputs of a few chunks to those in float64."""
    for c in range(recent.shape[0]):
        for lane in range(recent.shape[1]):
            outputs[c, lane] += recent[c, lane]
            recent[c, lane] = 0


@compiled
def _raise(space: Any, g: int, first: int, now: int) -> None:
    """Raise the shift of each lane whose logits exceed its ceiling to the largest of them.

    Args:
        first, now: places of the weights of this chunk, as far as there are any.
    """
    held, sums, outputs = space.held[g], space.sums[g], space.outputs[g]
    _flush(held, sums)
    for lane in range(held.shape[1]):
        largest = held[LARGEST, lane]
        if largest <= held[CEILING, lane]:
            continue
        raised = np.float64(largest) - np.float64(held[SHIFT, lane])
        if held[CEILING, lane] > -np.inf:
            kept = np.exp2(-raised)
            sums[2, lane] -= raised * sums[0, lane]
            for s in (0, 2, 3):
                sums[s, lane] *= kept
            sums[1, lane] *= kept * kept
            for c in range(outputs.shape[0]):
                outputs[c, lane] *= kept
                space.recent[g, c, lane] *= kept
            for j in range(first, now):
                space.weights[g, j, lane] *= kept
        held[SHIFT, lane] = largest
        held[CEILING, lane] = largest + held.dtype.type(_SLACK)


@compiled_as_written
def _weigh_chunk(keys: Keys, space: Any, g: int, base: int, start: int, stop: int, begin: int, again: bool) -> None:
    """Weigh the keys from start to stop, which are one chunk's.

    Args:
        base: the key whose weights stand first.
        begin: the first query's place among the panel's.
        again: leave out each lane's largest, at the shift, and keep no weights.
    """
    d, rows, seen = keys.k.shape[1], keys.rows, space.seen[g]
    first, last = seen[0].max(), seen[1].min()
    like, bound = keys.k.dtype.type(0), keys.k.dtype.type(0 if again else np.inf)
    held, ends = np.int64(space.held[g].ctypes.data), np.int64(seen.ctypes.data)
    for j in range(start, stop, rows):
        place = space.weights.shape[1] - rows if again else j - base
        weights = np.int64(space.weights[g, place:].ctypes.data)
        away = np.int64(keys.distances[keys.zero + (begin - j) * keys.apart :].ctypes.data)
        product = (np.int64(keys.k[j:].ctypes.data), np.int64(space.queries[g].ctypes.data), weights)
        own = (weights, held, away)
        multiply(product, stop - j, d, 1, d, False, keys.factor)
        if j >= first and j + rows <= last and not again:
            while weigh_seen(own, keys.apart, like):
                _raise(space, g, start - base, j - base)
        else:
            while weigh_some(own, keys.apart, ends, j, bound):
                _raise(space, g, start - base, j - base)
    _flush(space.held[g], space.sums[g])
    _flush_moments(space.held[g], space.sums[g])


@compiled_as_written
def weigh_stripes(
    keys: Keys, space: Any, which: tuple[int, int], begin: int, reach: tuple[int, int], again: bool
) -> None:
    """Take some stripes through their keys, chunk by chunk.

    Args:
        which: the first of the stripes, and the last + 1.
        begin: the first stripe's first query's place among the panel's.
        reach: the first key that any of them sees, and the last + 1.
        again: only to sum what is not the largest, which `forget` has prepared.
    """
    lanes, chunk, rows, e, like = space.held.shape[2], keys.chunk, keys.rows, keys.v.shape[1], keys.v.dtype.type(0)
    base, last = reach
    for c in range(-(-(last - base) // chunk)):
        start = base + c * chunk
        for g in range(which[0], which[1]):
            low, high = space.seen[g, 0].min(), space.seen[g, 1].max()
            own, stop = start + max(0, low - start) // rows * rows, min(start + chunk, high)
            if own < stop:
                _weigh_chunk(keys, space, g, base, own, stop, begin + g * lanes, again)
            for column in range(0, e if own < stop and not again else 0, rows):
                values, weights = keys.v[own, column:].ctypes.data, space.weights[g, own - base :].ctypes.data
                places = (np.int64(values), np.int64(weights), np.int64(space.recent[g, column:].ctypes.data))
                multiply(places, e - column, 1, e, stop - own, True, like)
            if again:
                continue
            for lane in range(lanes):
                space.shifts[g, c, lane] = space.held[g, SHIFT, lane]
            if c % FLUSHED == FLUSHED - 1 or start + chunk >= last:
                _flush_outputs(space.recent[g], space.outputs[g])


@compiled
def forget(held: Array, sums: Array) -> None:
    """Ready a stripe to be summed again relative to its largest logits, and without them."""
    for lane in range(held.shape[1]):
        held[SHIFT, lane] = held[TOP, lane] if held[TOP, lane] > -np.inf else 0
        held[CEILING, lane] = np.inf
    held[TOTAL : TOTAL + SUMS] = 0
    sums[:] = 0


@compiled
def begin_stripe(space: Any, g: int, middle: Array, factor: float) -> None:
    """Nothing seen yet, with queries and what they see in place.

    Args:
        middle: (d,) a key in the midst of the first ones, about whose scores moments are taken at first.
        factor: as `Keys` has it.
    """
    held, queries = space.held[g], space.queries[g]
    for what in range(HELD):
        held[what] = -np.inf if what in (CEILING, TOP) else 0
    for c in range(queries.shape[0]):
        for lane in range(held.shape[1]):
            held[CENTRE, lane] += middle[c] * queries[c, lane] * factor
    space.sums[g] = 0
    space.recent[g] = 0
    space.outputs[g] = 0
