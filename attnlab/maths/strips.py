"""Queries whose logits need no shift, a strip of them at a time, whose scores and weights stay in a processor's cache.

Nothing but causal order hides keys here. There are as few calls on large arrays as can be, and no large array is made
on the way: threads wait for each other at both. What `PanelPass` does tile by tile means the same.
"""

import math
from functools import cache
from typing import NamedTuple

import numpy as np

from attnlab.maths.bands import band_of, largest_in_band
from attnlab.maths.finished import SHARES, Gathered, PanelResult, finished, sums_of_others
from attnlab.maths.heads import Head
from attnlab.maths.inputs import AttentionInputs
from attnlab.maths.keyside import KeySide, scores_moments, strip_moments
from attnlab.maths.lines import aligned, first_of
from attnlab.maths.panel_rows import Weighed
from attnlab.maths.panels import length
from attnlab.maths.plan import READ, SUMS, Plan
from attnlab.maths.precision import Array
from attnlab.maths.running import Running, Totals, merged
from attnlab.maths.tiles import Moments, tile_moments


class Strips(NamedTuple):
    """One thread's buffers, with b queries a strip and T keys a tile; flat unless a shape is given."""

    #: (1 + tiles, b, T): the scores of one tile, then the weights of each
    tiles: Array
    #: keys that a strip is multiplied with at a time
    block: int
    #: (b, b + w): 1 where a strip's queries see the strip's own keys, and those after them, in causal order
    triangle: Array
    #: of a strip, once for each block of a tile's keys, and once
    outputs: Array
    output: Array
    #: (tiles · T,) what each key receives from a strip, and float64 from all
    received: Array
    all_received: Array
    #: of all queries: times the scale; sums by tile; outputs in float64; weights that are read of each row, and where
    queries: Array
    sums: Array
    all_outputs: Array
    read: Array
    places: Array
    #: scores of a strip's queries with its own keys, where causal order hides some
    corners: Array
    #: weights that are summed again at once
    again: int


def strips_for(plan: Plan, inputs: AttentionInputs) -> Strips:
    """Room for one thread's strips."""
    dtype, d, e = inputs.q.dtype, inputs.q.shape[-1], inputs.v.shape[-1]
    wide, whole = np.dtype(np.float64), np.dtype(np.intp)
    tiles = -(-plan.reach // plan.tile)
    height = min(plan.run * plan.height, inputs.shape[-2])
    return Strips(
        tiles=aligned((1 + tiles, plan.strip, plan.tile), dtype),
        block=plan.block,
        triangle=np.tri(plan.strip, plan.strip + plan.block, dtype=dtype),
        outputs=aligned(plan.tile // plan.block * plan.strip * e, dtype),
        output=aligned(plan.strip * e, dtype),
        received=aligned(tiles * plan.tile, dtype),
        all_received=aligned(tiles * plan.tile, wide),
        queries=aligned(height * d, dtype),
        sums=aligned(SUMS * tiles * height, dtype),
        all_outputs=aligned(height * e, wide),
        read=aligned(height * READ, dtype),
        places=aligned(height * READ, whole),
        corners=aligned(height * plan.strip if inputs.causal else 0, dtype),
        again=plan.again,
    )


def strip_panel(head: Head, side: KeySide, queries: slice, space: Strips, output: Array) -> PanelResult | None:
    """The queries' rows, their output written; None where something is not finite: the plain path has to look at it."""
    panel = StripPass(head, side, queries, space)
    if not np.isfinite(panel.q).all():
        return None
    for begin in range(0, panel.height, panel.rows):
        panel.take(slice(begin, min(begin + panel.rows, panel.height)))
    return finished(panel.gathered(), output)


class Views(NamedTuple):
    """A strip of b queries and a tile's keys up to a whole number of blocks: k of them, w keys each."""

    #: (b, kw)
    scores: Array
    weights: Array
    #: (k, b, w)
    score_blocks: Array
    weight_blocks: Array
    #: (k, d, w) keys as columns, (k, w, e) values
    columns: Array
    values: Array
    #: (k, b, e)
    outputs: Array


class StripPass:
    """The way of some of a head's queries through the keys, strip by strip."""

    def __init__(self, head: Head, side: KeySide, queries: slice, space: Strips) -> None:
        self.head, self.side, self.queries, self.space = head, side, queries, space
        self.height, self.e, self.square = length(queries), head.v.shape[1], len(head.q) == len(head.k)
        self.unit = unit(head.q.dtype.name)
        self.power = np.exp if self.unit == 1 else np.exp2
        self.reach, self.causal = head.keys_in_reach(queries), head.inputs.causal
        _, self.rows, self.width = space.tiles.shape
        tiles = -(-self.reach.stop // self.width)
        #: (B, d) queries times the scale and `unit`
        self.q = first_of(space.queries, (self.height, head.q.shape[1]))
        np.multiply(head.q[queries], head.inputs.scale * self.unit, out=self.q, casting="same_kind")
        #: (`SUMS`, tiles, B): the largest weight, Σ w, Σ w·abs(i − j), Σ w², Σ w·score·`unit`
        self.sums = _zeros(space.sums, (SUMS, tiles, self.height))
        self.output = first_of(space.all_outputs, (self.height, self.e))
        self.received = _zeros(space.all_received, (self.reach.stop,))
        #: (B, `READ`): the weights on keys 0, i, i − 1, i + 1, and their places among the space's numbers
        self.read, self.places = first_of(space.read, (self.height, READ)), self._places()
        self.corners = _zeros(space.corners, (self.height if self.causal else 0, self.rows))
        self.views: dict[tuple[int, int, int], Views] = {}

    def take(self, rows: slice) -> None:
        """Take some of the queries through all their keys, and share their weights out."""
        queries = slice(self.queries.start + rows.start, self.queries.start + rows.stop)
        tiles, sums, count = self._tiles(queries), self.sums[:, :, rows], length(rows)
        for t, keys in enumerate(tiles):
            self._weigh(rows, queries, keys, sums[:, t])
        share = (1 / sums[1].sum(axis=0, dtype=np.float64)).astype(self.q.dtype)
        *whole, last = tiles  # beyond the last tile's keys lies what an earlier strip left
        received = self.space.received
        if whole:
            parts = first_of(received, (len(whole), self.width))
            np.matmul(share, self.space.tiles[1 : len(tiles), :count], out=parts)
        np.matmul(share, self.space.tiles[len(tiles), :count, : length(last)], out=received[last])
        self.received[: last.stop] += received[: last.stop]
        self.space.tiles.ravel().take(self.places[rows], out=self.read[rows], mode="clip")

    def _places(self) -> Array:
        """Where the weights that are read lie while their strip is taken; anywhere where there is none."""
        i = np.arange(self.height)[:, None]
        keys = np.maximum(i + self.queries.start + np.array([0, 0, -1, 1]), 0)
        keys[:, 0] = 0
        tile, place = np.divmod(keys, self.width)
        places = first_of(self.space.places, keys.shape)
        places[:] = ((tile + 1) * self.rows + i % self.rows) * self.width + place
        return places

    def _tiles(self, queries: slice) -> list[slice]:
        """The keys in these queries' reach, tile by tile."""
        last = self.head.keys_in_reach(queries).stop
        return [slice(start, min(start + self.width, last)) for start in range(0, last, self.width)]

    def _weigh(self, rows: slice, queries: slice, keys: slice, sums: Array) -> None:
        """Weigh some rows' scores on a tile's keys, (b, T), and sum them."""
        view = self._views(length(rows), keys)
        np.matmul(self.q[rows], view.columns, out=view.score_blocks)
        self.power(view.scores, out=view.weights)  # beyond the last key scores are 0, weights 1, and values 0
        s, e = view.scores[:, : length(keys)], view.weights[:, : length(keys)]
        if self.causal and keys.stop > queries.start:
            self._hide(rows, queries, keys, view)
        e.max(axis=1, out=sums[0])
        np.vecdot(e, self._factors(queries, keys), out=sums[1:3] if self.square else sums[1:2])
        np.vecdot(e, e, out=sums[3])
        np.vecdot(e, s, out=sums[4])
        output = first_of(self.space.output, view.outputs.shape[1:])
        np.matmul(view.weight_blocks, view.values, out=view.outputs)
        np.add.reduce(view.outputs, axis=0, out=output)
        if keys.start == 0:
            self.output[rows] = output
        else:
            self.output[rows] += output

    def _factors(self, queries: slice, keys: slice) -> Array:
        """Ones and, where queries and keys are the same tokens, abs(i − j): (1 or 2, b, T), as a view."""
        line, distances = self.side.line, self.side.distances
        first = length(queries) - 1
        second = len(line) - len(distances) + len(distances) // 2 + keys.start - queries.start
        shape = (2 if self.square else 1, length(queries), length(keys))
        strides = ((second - first) * line.itemsize, -line.itemsize, line.itemsize)
        return np.ndarray(shape, line.dtype, line, first * line.itemsize, strides)

    def _views(self, count: int, keys: slice) -> Views:
        """The views of so many rows by a tile's keys, made once."""
        place = count, keys.start, keys.stop
        found = self.views.get(place)
        if found is None:
            found = self.views[place] = self._new_views(*place)
        return found

    def _new_views(self, count: int, start: int, stop: int) -> Views:
        d, wide, t = self.q.shape[1], self.space.block, start // self.width
        blocks = -(-(stop - start) // wide)
        size = blocks * wide
        scores, weights = self.space.tiles[0, :count, :size], self.space.tiles[1 + t, :count, :size]
        return Views(
            scores=scores,
            weights=weights,
            score_blocks=scores.reshape(count, blocks, wide).swapaxes(0, 1),
            weight_blocks=weights.reshape(count, blocks, wide).swapaxes(0, 1),
            columns=self.side.tiles[t, :d, :size].reshape(d, blocks, wide).swapaxes(0, 1),
            values=self.side.v[start : start + size].reshape(blocks, wide, self.e),
            outputs=first_of(self.space.outputs, (blocks, count, self.e)),
        )

    def _hide(self, rows: slice, queries: slice, keys: slice, view: Views) -> None:
        """Take away the weights on keys that come after the queries; keep the strip's scores with its own keys."""
        first = max(keys.start, queries.start)
        later, own = view.weights[:, first - keys.start :], first - queries.start
        self.corners[rows, own : keys.stop - queries.start] = view.scores[:, first - keys.start : length(keys)]
        later *= self.space.triangle[: length(rows), own : own + later.shape[1]]

    def gathered(self) -> Gathered:
        """What the strips have gathered."""
        i, m = np.arange(self.queries.start, self.queries.stop), len(self.head.k)
        visible = np.minimum(i + 1, m) if self.causal else np.full(self.height, m)
        totals = self._totals()
        first, *near = self.read.T * (totals.share / (1 + totals.others))
        if self.square:
            near[1][i == 0] = near[2][(i == m - 1) | self.causal] = np.nan
        return Gathered(
            visible=visible.astype(np.float64),
            totals=totals,
            moments=self._moments(),
            score_max=None,
            value_max=largest_in_band(self.side.value_norms, band_of(self.head), self.queries),
            output=self.output,
            first=first,
            near=np.array(near) if self.square else np.full((3, self.height), np.nan),
            keys=self.reach,
            received=self.received.copy(),
        )

    def _moments(self) -> Moments:
        """The scores' moments: those of the keys that all of a strip's queries see, and those of its corner."""
        q, scale = self.head.q[self.queries], self.head.inputs.scale
        if not self.causal:
            m = len(self.head.k)
            return Moments(np.full(self.height, float(m)), *scores_moments(self.side.moments[m], q, scale))
        common = strip_moments(self.side, q, scale, self.queries.start, self.rows)
        seen = np.tile(self.space.triangle[:, : self.rows], (-(-self.height // self.rows), 1))[: self.height]
        if self.queries.stop > len(self.head.k):
            i = np.arange(self.height)
            first = (self.queries.start + i - i % self.rows)[:, None]
            seen *= first + np.arange(self.rows) < len(self.head.k)
        found = tile_moments(self.corners, seen, np.empty_like(seen))
        return merged(common, found._replace(mean=found.mean / self.unit, m2=found.m2 / self.unit**2))

    def _totals(self) -> Totals:
        """The sums relative to each row's largest logit; those that have lost their digits are made again."""
        running = Running(self.height, 0)
        running.shift[:] = 0
        running.top = np.log(self.sums[0].max(axis=0), dtype=np.float64)
        _, running.total, running.distance, running.square, slope = self.sums.sum(axis=1, dtype=np.float64)
        running.slope = slope / self.unit
        totals = running.totals()
        alone = np.flatnonzero(totals.others < SHARES[self.q.dtype.name])
        for start in range(0, alone.size, self.rows):
            self._sum_again(totals, alone[start : start + self.rows])
        return totals

    def _sum_again(self, totals: Totals, rows: Array) -> None:
        """Weigh a few rows again, and sum over the others without the largest."""
        q, weighed = self.q[rows], []
        queries = slice(self.queries.start, self.queries.start + int(rows[-1]) + 1)
        for t, keys in enumerate(self._tiles(queries)):
            e = self.space.tiles[1 + t, : len(rows), : length(keys)]
            np.matmul(q, self.side.tiles[t, : q.shape[1], : length(keys)], out=e)
            self.power(e, out=e)
            if self.causal:
                e *= np.arange(keys.start, keys.stop) <= self.queries.start + rows[:, None]
            weighed.append(Weighed(keys, e, np.zeros(len(rows))))
        found = sums_of_others(weighed, totals.largest[rows], np.arange(len(rows)), self.space.again)
        totals.others[rows], totals.square[rows], totals.slope[rows] = found


def _zeros(room: Array, shape: tuple[int, ...]) -> Array:
    """So many of a flat array's first numbers, all 0."""
    found = first_of(room, shape)
    found[...] = 0
    return found


@cache
def unit(dtype: str) -> float:
    """What a logit is multiplied by: log₂e where numpy has vectors for 2^x (it then takes half as long), else 1."""
    introspect = getattr(np.lib, "introspect", None)
    if introspect is None:
        return 1.0
    found: dict[str, dict[str, dict[str, str]]] = introspect.opt_func_info(func_name="^exp2$", signature=dtype)
    fitting = [kind["current"] for kinds in found.values() for kind in kinds.values()]
    return 1 / math.log(2) if fitting and not any(kind.startswith("baseline") for kind in fitting) else 1.0
