"""A whole panel of queries in one compiled call, where nothing but places hides keys: stripes, and their rows' sums.

Python is not needed between tiles, and so several threads do not wait for each other. What `PanelPass` does tile by
tile means the same.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from attnlab.maths.bands import Band, band_of, largest_in_band
from attnlab.maths.compiled import compiled
from attnlab.maths.compiled_stripes import (
    LN2,
    MEANS,
    SCATTERS,
    SCORES,
    SUMMED,
    Keys,
    Stripes,
    sum_others,
    weigh_stripes,
)
from attnlab.maths.compiled_vectors import multiply, shape_for, sum_lanes
from attnlab.maths.compiled_weights import CEILING, HELD, SHIFT, TOP
from attnlab.maths.finished import SHARES, PanelResult, PanelSums
from attnlab.maths.heads import Head
from attnlab.maths.inputs import AttentionInputs
from attnlab.maths.keyside import PADDING, KeyMoments, KeySide
from attnlab.maths.panels import length
from attnlab.maths.plan import CHUNK, Plan, reach_of
from attnlab.maths.precision import Array

#: Numbers of a row, in the order of `Found.rows`.
ROWS = PanelSums._fields
VISIBLE, OTHERS, SQUARES, SLOPES, DISTANCES, LARGEST, SCORE_MEAN, SCORE_M2, _, VALUE_MAX, FIRST, ITSELF = range(12)
COUNTED = len(ROWS)
#: Bytes of a line of the processor's cache.
LINE = 64


class Found(NamedTuple):
    """What a panel of B queries leaves behind, written in place."""

    #: (15, B) float64: PanelSums, and how many scores their moments are of
    rows: Array
    #: (B, e)
    output: Array
    #: (keys in reach,) float64
    received: Array
    #: the panel's first query, and the first key in reach
    start: int
    first: int


class Common(NamedTuple):
    """The moments of the keys that all queries of a panel see, as `KeyMoments` has them."""

    #: how many; 0 = none, and the rest means nothing
    entries: float
    mean: Array
    scatter: Array
    scale: float


@compiled
def _start(q: Array, begin: int, factor: float, first: int, band: Band, space: Any, g: int) -> None:
    """Set a stripe up: its queries, times a factor, from one place of the panel on; past the panel's last it again."""
    held, lanes = space.held[g], space.held.shape[2]
    for lane in range(lanes):
        own = min(begin + lane, q.shape[0] - 1)
        i = first + own
        space.seen[g, 0, lane] = min(max(0, i - band.back), band.keys)
        space.seen[g, 1, lane] = min(i + band.ahead + 1, band.keys)
        for c in range(q.shape[1]):
            space.queries[g, c, lane] = np.float64(q[own, c]) * factor
    held[:] = 0
    held[CEILING] = -np.inf
    held[TOP] = -np.inf
    space.sums[g] = 0
    space.recent[g] = 0
    space.outputs[g] = 0


@compiled
def _sum_row(space: Any, g: int, lane: int, row: Array) -> None:
    """One row's numbers from its lane's sums, relative to its largest logit."""
    sums, first, last = space.sums[g, :, lane], space.seen[g, 0, lane], space.seen[g, 1, lane]
    top = np.float64(space.held[g, TOP, lane])
    row[VISIBLE], row[LARGEST] = max(0, last - first), top * LN2
    row[COUNTED], row[SCORE_MEAN], row[SCORE_M2] = sums[SCORES], sums[MEANS] * LN2, sums[SCATTERS] * LN2**2
    row[OTHERS : DISTANCES + 1] = 0
    if last <= first:
        return
    above = top - np.float64(space.held[g, SHIFT, lane])
    share = 2.0**-above
    row[OTHERS] = max(sums[0] * share - 1, 0.0)
    row[SQUARES] = max(sums[1] * share * share - 1, 0.0)
    row[SLOPES] = (sums[2] - above * sums[0]) * share * LN2
    row[DISTANCES] = sums[3] * share


@compiled
def _add_common(space: Any, q: Array, begin: int, lanes: int, common: Common, rows: Array) -> None:
    """Join the moments of the scores of the keys in common, by `scores_moments`, to those of the others.

    Source: Chan, Golub and LeVeque 1983.
    """
    d, step, like = q.shape[1], space.products.shape[0] - q.shape[1], np.float64(0)
    for low in range(0, lanes, space.wide.shape[1]):
        own = min(space.wide.shape[1], lanes - low)
        for c in range(d):
            for lane in range(own):
                space.wide[c, lane] = q[begin + low + lane, c]
        for c in range(0, d, step):
            left = np.int64(common.scatter[c:].ctypes.data)
            places = (left, np.int64(space.wide.ctypes.data), np.int64(space.products[c:].ctypes.data))
            multiply(places, d - c, d, 1, d, False, like)
        for lane in range(own):
            mean, m2, row = 0.0, 0.0, rows[:, low + lane]
            for c in range(d):
                mean += common.mean[c] * space.wide[c, lane]
                m2 += space.products[c, lane] * space.wide[c, lane]
            both = common.entries + row[COUNTED]
            apart = mean * common.scale - row[SCORE_MEAN]
            row[SCORE_MEAN] += apart * common.entries / both
            row[SCORE_M2] += max(m2, 0.0) * common.scale**2 + apart * apart * common.entries * row[COUNTED] / both


@compiled
def _receive(keys: Keys, space: Any, g: int, factors: Array, base: int, received: Array) -> None:
    """Add what each key receives from one stripe; a chunk's weights times its factors are shares of attention."""
    low, high, like = space.seen[g, 0].min(), space.seen[g, 1].max(), keys.k.dtype.type(0)
    for c in range((low - base) // keys.chunk, -(-(high - base) // keys.chunk)):
        own = np.int64(factors[c].ctypes.data)
        for j in range(max(base + c * keys.chunk, low), min(base + (c + 1) * keys.chunk, high)):
            received[j - base] += sum_lanes(np.int64(space.weights[g, j - base].ctypes.data), own, like)


@compiled
def _shares(space: Any, g: int, lanes: int, rows: Array, factors: Array) -> None:
    """What turns each chunk's weights into shares of attention, (chunks, lanes); 0 past the last row."""
    for c in range(factors.shape[0]):
        for lane in range(factors.shape[1]):
            if lane >= lanes or rows[VISIBLE, lane] == 0:
                factors[c, lane] = 0
            elif c > 0 and space.shifts[g, c, lane] == space.shifts[g, c - 1, lane]:
                factors[c, lane] = factors[c - 1, lane]
            else:
                depth = np.float64(space.shifts[g, c, lane]) - np.float64(space.held[g, TOP, lane])
                factors[c, lane] = 2.0 ** min(depth, 0.0) / (1 + rows[OTHERS, lane])


@compiled
def _sum_again(keys: Keys, space: Any, g: int, begin: int, lanes: int, least: float, rows: Array) -> None:
    """Sum the others again where their share is small: the difference of the sums would have lost their digits."""
    few = False
    for lane in range(lanes):
        few |= rows[VISIBLE, lane] > 0 and rows[OTHERS, lane] < least
    if not few:
        return
    sum_others(keys, space, g, begin)
    for lane in range(lanes):
        if rows[VISIBLE, lane] > 0 and rows[OTHERS, lane] < least:
            rows[OTHERS, lane], rows[SQUARES, lane] = space.sums[g, 0, lane], space.sums[g, 1, lane]
            rows[SLOPES, lane] = space.sums[g, 2, lane] * LN2


@compiled
def _finish(
    keys: Keys, space: Any, g: int, q: Array, begin: int, base: int, common: Common, least: float, found: Found
) -> None:
    """Write down the rows of a stripe whose first query is the panel's begin-th."""
    lanes = min(space.held.shape[2], found.rows.shape[1] - begin)
    rows = found.rows[:, begin : begin + lanes]
    for lane in range(lanes):
        _sum_row(space, g, lane, rows[:, lane])
        above = np.float64(space.held[g, TOP, lane]) - np.float64(space.held[g, SHIFT, lane])
        share = 2.0**-above / (1 + rows[OTHERS, lane]) if rows[VISIBLE, lane] > 0 else 0.0
        for c in range(found.output.shape[1]):
            found.output[begin + lane, c] = space.outputs[g, c, lane] * share
    if common.entries > 0:
        _add_common(space, q, begin, lanes, common, rows)
    _sum_again(keys, space, g, begin, lanes, least, rows)
    factors = space.factors[: -(-(found.first + len(found.received) - base) // keys.chunk)]
    _shares(space, g, lanes, rows, factors)
    _receive(keys, space, g, factors, base, found.received[base - found.first :])
    for lane in range(lanes):
        low, high, i = space.seen[g, 0, lane], space.seen[g, 1, lane], found.start + begin + lane
        for p, j in enumerate((0, i, i - 1, i + 1)):
            own = low <= j < high and (p == 0 or keys.apart != 0)
            none = 0.0 if p == 0 else np.nan
            rows[FIRST + p, lane] = (
                space.weights[g, j - base, lane] * factors[(j - base) // keys.chunk, lane] if own else none
            )


@compiled
def _run(keys: Keys, space: Any, q: Array, common: Common, band: Band, least: float, found: Found) -> None:
    """Take a panel's queries (B, d) through their keys, some stripes at a time."""
    together, _, lanes = space.held.shape
    for begin in range(0, q.shape[0], lanes * together):
        count = min(together, -(-(q.shape[0] - begin) // lanes))
        base, last = band.keys, 0
        for g in range(count):
            _start(q, begin + g * lanes, common.scale / LN2, found.start, band, space, g)
            base, last = min(base, space.seen[g, 0].min()), max(last, space.seen[g, 1].max())
        weigh_stripes(keys, space, count, begin, base, last)
        for g in range(count):
            _finish(keys, space, g, q, begin + g * lanes, base, common, least, found)


def room_for(plan: Plan, inputs: AttentionInputs) -> Stripes:
    """Room for the plan's stripes."""
    shape, dtype, count = shape_for(inputs.q.dtype.itemsize * 8), inputs.q.dtype, plan.stripes
    reach = reach_of(inputs, count * shape.lanes)
    chunks, columns = -(-reach // CHUNK) + 1, inputs.v.shape[-1] + shape.rows
    wide = shape_for(64)
    whole = np.int32 if dtype.itemsize == 4 else np.int64
    return Stripes(
        weights=_aligned((count, reach + 2 * shape.rows, shape.lanes), dtype),
        queries=_aligned((count, inputs.q.shape[-1], shape.lanes), dtype),
        held=_aligned((count, HELD, shape.lanes), dtype),
        seen=np.zeros((count, 2, shape.lanes), whole),
        shifts=np.zeros((count, chunks, shape.lanes), dtype),
        factors=np.zeros((chunks, shape.lanes), dtype),
        wide=_aligned((inputs.q.shape[-1], wide.lanes), np.dtype(np.float64)),
        products=_aligned((inputs.q.shape[-1] + wide.rows, wide.lanes), np.dtype(np.float64)),
        recent=_aligned((count, columns, shape.lanes), dtype),
        outputs=np.zeros((count, columns, shape.lanes)),
        sums=np.zeros((count, SUMMED, shape.lanes)),
    )


def _aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array whose numbers start where a line of the processor's cache does."""
    size = math.prod(shape)
    room = np.empty(size + LINE // dtype.itemsize, dtype)
    start = -room.ctypes.data % LINE // dtype.itemsize
    return room[start : start + size].reshape(shape)


def whole_panel(head: Head, side: KeySide, queries: slice, space: Stripes, output: Array) -> PanelResult | None:
    """The panel's rows; None where a query or a sum is not finite, which the plain path has to look at."""
    q, reach, common = np.ascontiguousarray(head.q[queries]), head.keys_in_reach(queries), head.keys_in_common(queries)
    if not np.isfinite(q).all():
        return None
    n, m = head.inputs.shape[-2:]
    zero, apart = (PADDING + m + queries.start, 1) if n == m else (0, 0)
    away = side.distances if n == m else np.zeros(space.held.shape[2], q.dtype)
    keys = Keys(side.k, side.v, away, zero, apart, common, CHUNK, shape_for(q.itemsize * 8).rows)
    rows = np.empty((COUNTED + 1, len(q)))
    found = Found(rows, output, np.zeros(length(reach)), queries.start, reach.start)
    moments = side.moments[common] if common else KeyMoments(np.zeros(0), np.zeros((0, 0)))
    known = Common(float(common), moments.mean, moments.scatter, float(head.inputs.scale))
    _run(keys, space, q, known, band_of(head), SHARES[q.dtype.name], found)
    seen, total = rows[VISIBLE] > 0, 1 + rows[OTHERS]
    rows[LARGEST, ~seen] = -np.inf
    lse = (rows[LARGEST] + np.log(total)).astype(q.dtype)
    largest = largest_in_band(side.value_norms, band_of(head), queries)
    sums = PanelSums(*rows[:COUNTED])._replace(score_max=rows[LARGEST], value_max=largest)
    together = total + sums.square + sums.slope + sums.distance + sums.score_mean + sums.score_m2
    if not (np.isfinite(output).all() and np.isfinite(together[seen]).all()):
        return None
    return PanelResult(sums, output, lse, reach, found.received)
