"""Stripes of a panel against their keys, compiled: weights, sums and outputs, a few keys at a time, in one call.

Logits are to base 2 here, log₂e being taken into the queries; what is handed back is to base e. Neither a matrix of
scores nor a product of whole tiles is made: weights are kept for a stripe alone, until its rows' sums are known.
"""

from typing import Any, NamedTuple

import numpy as np

from attnlab.maths.compiled import compiled, compiled_as_written
from attnlab.maths.compiled_vectors import multiply
from attnlab.maths.compiled_weights import (
    CEILING,
    COUNT,
    LARGEST,
    MEAN,
    SCATTER,
    SHIFT,
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


class Keys(NamedTuple):
    """What the queries are set against."""

    #: (m, d) and (m, e), in order
    k: Array
    v: Array
    #: (…,) distances, and the place of distance 0 from the first query to key 0; a step of 0 = there is none
    distances: Array
    zero: int
    apart: int
    #: leading keys whose scores' moments are known
    common: int
    #: keys of a chunk
    chunk: int
    #: keys weighed at a time
    rows: int


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
    #: (d, lanes) and (columns, lanes) in float64, with as many lanes as float64 has: queries, and their products
    wide: Array
    products: Array
    #: (stripes, columns, lanes): Σ w v of a few chunks, and of all in float64
    recent: Array
    outputs: Array
    #: (stripes, 7, lanes) float64
    sums: Array


@compiled
def _flush(held: Array, sums: Array) -> None:
    """Add the sums of a chunk to those in float64."""
    for s in range(SUMS):
        for lane in range(held.shape[1]):
            sums[s, lane] += held[TOTAL + s, lane]
            held[TOTAL + s, lane] = 0


@compiled
def _flush_outputs(recent: Array, outputs: Array) -> None:
    """Add the outputs of a few chunks to those in float64."""
    for c in range(recent.shape[0]):
        for lane in range(recent.shape[1]):
            outputs[c, lane] += recent[c, lane]
            recent[c, lane] = 0


@compiled
def _add_moments(held: Array, sums: Array) -> None:
    """Join the moments of the last few keys' scores to those so far.

    Source: Chan, Golub and LeVeque 1983.
    """
    for lane in range(held.shape[1]):
        own, before = np.float64(held[COUNT, lane]), sums[SCORES, lane]
        both = max(own + before, 1.0)
        apart = np.float64(held[MEAN, lane]) + np.float64(held[SHIFT, lane]) - sums[MEANS, lane]
        sums[SCORES, lane] = own + before
        sums[MEANS, lane] += apart * own / both
        sums[SCATTERS, lane] += np.float64(held[SCATTER, lane]) + apart * apart * own * before / both


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
            kept = 2.0**-raised
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
def _weigh_chunk(keys: Keys, space: Any, g: int, base: int, start: int, stop: int, begin: int) -> None:
    """Weigh the keys from start to stop, which are one chunk's.

    Args:
        base: the key whose weights stand first.
        begin: the first query's place among the panel's.
    """
    like, d, rows = keys.k.dtype.type(0), keys.k.shape[1], keys.rows
    seen, queries = space.seen[g], np.int64(space.queries[g].ctypes.data)
    first, last = seen[0].max(), min(seen[1].min(), keys.common)
    for j in range(start, stop, rows):
        weights = np.int64(space.weights[g, j - base :].ctypes.data)
        away = np.int64(keys.distances[keys.zero + (begin - j) * keys.apart :].ctypes.data)
        product = (np.int64(keys.k[j:].ctypes.data), queries, weights)
        own = (weights, np.int64(space.held[g].ctypes.data), away)
        multiply(product, stop - j, d, 1, d, False, like)
        if j >= first and j + rows <= last:
            while weigh_seen(own, keys.apart, like):
                _raise(space, g, start - base, j - base)
        else:
            ends, all_of_them = np.int64(seen.ctypes.data), keys.k.dtype.type(np.inf)
            while weigh_some(own, keys.apart, ends, j, keys.common, all_of_them):
                _raise(space, g, start - base, j - base)
            _add_moments(space.held[g], space.sums[g])
    _flush(space.held[g], space.sums[g])


@compiled_as_written
def _add_outputs(keys: Keys, space: Any, g: int, base: int, start: int, stop: int) -> None:
    """Add the values of these keys, by their weights."""
    e, like = keys.v.shape[1], keys.v.dtype.type(0)
    weights = np.int64(space.weights[g, start - base :].ctypes.data)
    for c in range(0, e, keys.rows):
        places = (np.int64(keys.v[start, c:].ctypes.data), weights, np.int64(space.recent[g, c:].ctypes.data))
        multiply(places, e - c, 1, e, stop - start, True, like)


@compiled
def weigh_stripes(keys: Keys, space: Any, count: int, begin: int, base: int, last: int) -> None:
    """Take some stripes through the keys from base to last, chunk by chunk.

    Args:
        count: how many stripes.
        begin: their first query's place among the panel's.
    """
    lanes, chunk, flushed = space.held.shape[2], keys.chunk, 8
    for c in range(-(-(last - base) // chunk)):
        start = base + c * chunk
        for g in range(count):
            low, high = space.seen[g, 0].min(), space.seen[g, 1].max()
            own = start + max(0, low - start) // keys.rows * keys.rows
            stop = min(start + chunk, high)
            if own < stop:
                _weigh_chunk(keys, space, g, base, own, stop, begin + g * lanes)
                _add_outputs(keys, space, g, base, own, stop)
            space.shifts[g, c] = space.held[g, SHIFT]
            if c % flushed == flushed - 1 or start + chunk >= last:
                _flush_outputs(space.recent[g], space.outputs[g])


@compiled_as_written
def sum_others(keys: Keys, space: Any, g: int, begin: int) -> None:
    """Sum one stripe again into its held sums without each lane's largest, and relative to it."""
    held, seen, zero = space.held[g], space.seen[g], keys.k.dtype.type(0)
    for lane in range(held.shape[1]):
        held[SHIFT, lane] = held[TOP, lane] if held[TOP, lane] > -np.inf else 0
        held[CEILING, lane] = np.inf
        for s in range(SUMS):
            held[TOTAL + s, lane] = 0
            space.sums[g, s, lane] = 0
    d, last = keys.k.shape[1], seen[1].max()
    weights = np.int64(space.weights[g, space.weights.shape[1] - keys.rows :].ctypes.data)
    for j in range(seen[0].min(), last, keys.rows):
        away = np.int64(keys.distances[keys.zero + (begin - j) * keys.apart :].ctypes.data)
        product = (np.int64(keys.k[j:].ctypes.data), np.int64(space.queries[g].ctypes.data), weights)
        multiply(product, last - j, d, 1, d, False, zero)
        own = (weights, np.int64(held.ctypes.data), away)
        weigh_some(own, keys.apart, np.int64(seen.ctypes.data), j, last, zero)
        if (j // keys.rows) % 16 == 15:
            _flush(held, space.sums[g])
    _flush(held, space.sums[g])
