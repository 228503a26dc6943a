"""A whole panel of queries in one compiled call, where nothing but places hides keys: stripes, and their rows' sums.

Python is not needed between tiles, and so several threads do not wait for each other. What `PanelPass` does tile by
tile means the same.
"""

from typing import Any, NamedTuple

import numpy as np

from attnlab.maths.bands import Band, band_of, largest_in_band
from attnlab.maths.compiled import compiled
from attnlab.maths.compiled_stripes import (
    LN2,
    MEANS,
    SCATTERS,
    SUMMED,
    Keys,
    Stripes,
    begin_stripe,
    forget,
    weigh_stripes,
)
from attnlab.maths.compiled_vectors import shape_for, sum_lanes
from attnlab.maths.compiled_weights import HELD, SHIFT, TOP
from attnlab.maths.finished import SHARES, PanelResult, PanelSums
from attnlab.maths.heads import Head
from attnlab.maths.inputs import AttentionInputs
from attnlab.maths.keyside import PADDING, KeySide
from attnlab.maths.lines import aligned
from attnlab.maths.panels import length
from attnlab.maths.plan import CHUNK, Plan, reach_of
from attnlab.maths.precision import Array

#: Rows of `Found.rows`.
VISIBLE, OTHERS, SQUARES, SLOPES, DISTANCES, LARGEST, SCORE_MEAN, SCORE_M2, _, VALUE_MAX, FIRST, ITSELF = range(12)


class Found(NamedTuple):
    """What a panel of B queries leaves behind, written in place."""

    #: (14, B) float64, as PanelSums has them
    rows: Array
    #: (B, e)
    output: Array
    #: (keys in reach,) float64
    received: Array
    #: the panel's first query, and the first key in reach
    start: int
    first: int


@compiled
def _start(q: Array, begin: int, first: int, band: Band, space: Any, g: int) -> None:
    """Put a stripe's queries in place, from one of the panel's on; past the last of them it again."""
    for lane in range(space.held.shape[2]):
        own = min(begin + lane, q.shape[0] - 1)
        i = first + own
        space.seen[g, 0, lane] = min(max(0, i - band.back), band.keys)
        space.seen[g, 1, lane] = min(i + band.ahead + 1, band.keys)
        for c in range(q.shape[1]):
            space.queries[g, c, lane] = q[own, c]


@compiled
def _sum_rows(space: Any, g: int, least: float, rows: Array, output: Array) -> bool:
    """Each row's numbers from its lane's sums, relative to its largest logit, and its output.

    Whether the others' share of some row is so small that they are to be summed again: the difference of the sums has
    lost their digits.
    """
    few = False
    for lane in range(rows.shape[1]):
        sums, count = space.sums[g, :, lane], space.seen[g, 1, lane] - space.seen[g, 0, lane]
        row, top = rows[:, lane], np.float64(space.held[g, TOP, lane])
        row[VISIBLE], row[LARGEST] = max(0, count), top * LN2
        row[SCORE_MEAN], row[SCORE_M2] = sums[MEANS] * LN2, sums[SCATTERS] * LN2**2
        above = top - np.float64(space.held[g, SHIFT, lane]) if count > 0 else 0.0
        share = np.exp2(-above) if count > 0 else 0.0
        row[OTHERS] = max(sums[0] * share - 1, 0.0)
        row[SQUARES] = max(sums[1] * share * share - 1, 0.0)
        row[SLOPES] = (sums[2] - above * sums[0]) * share * LN2
        row[DISTANCES] = sums[3] * share
        few |= count > 0 and row[OTHERS] < least
        for c in range(output.shape[1]):
            output[lane, c] = space.outputs[g, c, lane] * share / (1 + row[OTHERS])
    return few


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
                factors[c, lane] = np.exp2(min(depth, 0.0)) / (1 + rows[OTHERS, lane])


@compiled
def _replace_sums(sums: Array, least: float, rows: Array) -> None:
    """Put the others' sums, made again, in the place of those that had lost their digits."""
    for lane in range(rows.shape[1]):
        if rows[VISIBLE, lane] > 0 and rows[OTHERS, lane] < least:
            rows[OTHERS, lane], rows[SQUARES, lane], rows[SLOPES, lane] = (
                sums[0, lane],
                sums[1, lane],
                sums[2, lane] * LN2,
            )


@compiled
def _share_out(keys: Keys, space: Any, g: int, begin: int, base: int, found: Found) -> None:
    """What each key receives from a stripe, and the rows' shares of key 0 and of keys i, i − 1 and i + 1."""
    lanes = min(space.held.shape[2], found.rows.shape[1] - begin)
    rows = found.rows[:, begin : begin + lanes]
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
def _run(keys: Any, space: Any, q: Array, band: Band, least: float, found: Found) -> None:
    """Take a panel's queries (B, d) through their keys, some stripes at a time."""
    together, _, lanes = space.held.shape
    none, no = np.int64(0), np.bool_(False)  # a 0 or False in place would be a type of its own, and compiled for it
    middle = np.zeros(q.shape[1])
    for begin in range(0, q.shape[0], lanes * together):
        count = min(together, -(-(q.shape[0] - begin) // lanes))
        base, last = band.keys, none
        for g in range(count):
            _start(q, begin + g * lanes, found.start, band, space, g)
            base, last = min(base, space.seen[g, 0].min()), max(last, space.seen[g, 1].max())
        middle[:] = 0
        some = min(base + keys.chunk, last)
        for j in range(base, some):
            middle += keys.k[j] / np.float64(some - base)
        for g in range(count):
            begin_stripe(space, g, middle, keys.factor)
        weigh_stripes(keys, space, (none, count), begin, (base, last), no)
        for g in range(count):
            first, stop = begin + g * lanes, min(begin + (g + 1) * lanes, q.shape[0])
            rows = found.rows[:, first:stop]
            few = _sum_rows(space, g, least, rows, found.output[first:stop])
            if few:
                forget(space.held[g], space.sums[g])
                weigh_stripes(keys, space, (g, g + 1), begin, (base, last), few)
                _replace_sums(space.sums[g], least, rows)
            _share_out(keys, space, g, first, base, found)


def room_for(plan: Plan, inputs: AttentionInputs) -> Stripes:
    """Room for the plan's stripes."""
    shape, dtype, count = shape_for(inputs.q.dtype.itemsize * 8), inputs.q.dtype, plan.stripes
    reach = reach_of(inputs, count * shape.lanes)
    chunks, columns = -(-reach // CHUNK) + 1, inputs.v.shape[-1] + shape.rows
    whole = np.int32 if dtype.itemsize == 4 else np.int64
    return Stripes(
        weights=aligned((count, reach + 2 * shape.rows, shape.lanes), dtype),
        queries=aligned((count, inputs.q.shape[-1], shape.lanes), dtype),
        held=aligned((count, HELD, shape.lanes), dtype),
        seen=np.zeros((count, 2, shape.lanes), whole),
        shifts=np.zeros((count, chunks, shape.lanes), dtype),
        factors=np.zeros((chunks, shape.lanes), dtype),
        recent=aligned((count, columns, shape.lanes), dtype),
        outputs=np.zeros((count, columns, shape.lanes)),
        sums=np.zeros((count, SUMMED, shape.lanes)),
    )


def whole_panel(head: Head, side: KeySide, queries: slice, space: Stripes, output: Array) -> PanelResult | None:
    """The panel's rows; None where a query or a sum is not finite, which the plain path has to look at."""
    q, reach = np.ascontiguousarray(head.q[queries]), head.keys_in_reach(queries)
    if not np.isfinite(q).all():
        return None
    n, m = head.inputs.shape[-2:]
    zero, apart = (PADDING + m + queries.start, 1) if n == m else (0, 0)
    away = side.distances if n == m else np.zeros(space.held.shape[2], q.dtype)
    factor = q.dtype.type(head.inputs.scale / LN2)
    keys = Keys(side.k, side.v, away, zero, apart, CHUNK, shape_for(q.itemsize * 8).rows, factor)
    rows = np.empty((len(PanelSums._fields), len(q)))
    found = Found(rows, output, np.zeros(length(reach)), queries.start, reach.start)
    _run(keys, space, q, band_of(head), SHARES[q.dtype.name], found)
    seen, total = rows[VISIBLE] > 0, 1 + rows[OTHERS]
    rows[LARGEST, ~seen] = -np.inf
    lse = (rows[LARGEST] + np.log(total)).astype(q.dtype)
    largest = largest_in_band(side.value_norms, band_of(head), queries)
    sums = PanelSums(*rows)._replace(score_max=rows[LARGEST], value_max=largest)
    together = total + sums.square + sums.slope + sums.distance + sums.score_mean + sums.score_m2
    if not (np.isfinite(output).all() and np.isfinite(together[seen]).all()):
        return None
    return PanelResult(sums, lse, reach, found.received)
