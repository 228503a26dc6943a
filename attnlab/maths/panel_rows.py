"""One panel of queries against all keys that they may see, tile by tile: outputs, normalisers and its rows' sums.

Weights are kept for the panel alone, (B, keys in reach), since what each key receives needs the rows' normalisers.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from attnlab.maths.bands import away
from attnlab.maths.heads import Head
from attnlab.maths.inputs import AttentionInputs
from attnlab.maths.keyside import KeySide, scores_moments
from attnlab.maths.panels import length
from attnlab.maths.plan import Plan
from attnlab.maths.precision import Array
from attnlab.maths.running import Running, merged
from attnlab.maths.tiles import PENALTIES, Exponentials, Moments, hide, tile_moments, weigh_tile

#: Where a row looks beside itself: keys i, i − 1 and i + 1.
OFFSETS = (0, -1, 1)


class Workspace:
    """Buffers of one thread: a tile of scores and one to spare, a panel of weights."""

    def __init__(self, plan: Plan, inputs: AttentionInputs) -> None:
        dtype, self.again = inputs.q.dtype, plan.again
        self.scores = np.empty(plan.height * plan.tile, dtype)
        self.scratch = np.empty(plan.height * plan.tile, dtype)
        self.shown = np.empty(plan.height * plan.tile if inputs.hides else 0, dtype)
        self.weights = np.empty(plan.height * plan.reach, dtype)
        self.queries = np.empty((plan.height, inputs.q.shape[-1] + 1), dtype)
        self.outputs = np.empty((plan.height, inputs.v.shape[-1]), dtype)


class Weighed(NamedTuple):
    """A tile of B queries by T keys that has been weighed."""

    keys: slice
    #: (B, T): e^(logit − shift)
    weights: Array
    #: (B,) float64; -inf where no key has been visible yet
    shift: Array


class PanelPass:
    """A panel's way through the keys; what it gathers is read by `gathered`."""

    def __init__(
        self,
        head: Head,
        side: KeySide,
        queries: slice,
        work: Workspace,
        *,
        deep: bool,
        exponentials: Exponentials,
    ) -> None:
        self.head, self.side, self.queries, self.work, self.deep = head, side, queries, work, deep
        self.exponentials = exponentials
        self.height = height = length(queries)
        inputs = head.inputs
        #: how many leading keys' scores have their moments from the keys' own
        self.common = side.known(head.keys_in_common(queries))
        self.square = inputs.shape[-1] == inputs.shape[-2]
        self.reach = head.keys_in_reach(queries)
        self.tiles: list[Weighed] = []
        self.running = Running(height, head.v.shape[1])
        self.moments = Moments(*np.zeros((3, height)))
        #: the largest score before cap and bias, where it may not be the largest logit
        self.score_max = np.full(height, -np.inf)
        #: how many keys are visible, and the largest ‖v_j‖ of one
        self.visible, self.value_max = np.zeros((2, height))
        #: weight (relative to its tile's shift) and tile of keys i, i − 1, i + 1; NaN where not seen
        self.place_weights = np.full((len(OFFSETS), height), np.nan)
        self.place_tiles = np.zeros((len(OFFSETS), height), dtype=np.intp)
        #: whether the shift rides along in the product: not where a cap needs the scores themselves, nor where a bias
        #: of −10⁹ on all the keys so far would, as a shift, cost the next scores their digits
        self.folded = inputs.softcap is None and inputs.bias is None
        #: scale·q, and minus the shift as one more coordinate
        self.q = work.queries[:height]
        np.multiply(head.q[queries], head.q.dtype.type(inputs.scale), out=self.q[:, :-1])
        self.q[:, -1] = 0

    def run(self) -> bool:
        """Go through all tiles; False where something is not finite, which the plain path has to look at."""
        if not np.isfinite(self.q).all():
            return False
        width = self.side.tiles.shape[2]
        for keys in self._tiles(width):
            t = keys.start // width
            if not self._tile(keys, self.side.tiles[t][:, keys.start - t * width : keys.stop - t * width]):
                return False
        if self.common:
            mean, m2 = scores_moments(self.side.moments[self.common], self.head.q[self.queries], self.head.inputs.scale)
            self.moments = merged(Moments(np.full(self.height, float(self.common)), mean, m2), self.moments)
        return True

    def _tiles(self, width: int) -> Iterator[slice]:
        """The keys in reach, cut where tiles end and where not all queries see them any more."""
        start, last = self.reach.start, self.reach.stop
        while start < last:
            ends = (last, start - start % width + width, self.common)
            stop = min(end for end in ends if end > start)
            yield slice(start, stop)
            start = stop

    def _tile(self, keys: slice, columns: Array) -> bool:
        """Scores, logits, weights and sums of one tile; False where a query sees what is not finite."""
        head, running = self.head, self.running
        bias = head.bias(self.queries, keys)
        hidden = head.hidden(self.queries, keys, bias) if head.inputs.hides else None
        if self._out_of_range(keys, hidden, bias):
            return False
        s = self._buffer(self.work.scores, columns.shape[1])
        np.matmul(self.q, columns, out=s)
        shown = self._count(keys, hidden, s.shape)
        self._logits(keys, s, bias, hidden, shown)
        start = self.height * (keys.start - self.reach.start)
        e = self.work.weights[start : start + s.size].reshape(s.shape)
        distances = away(self.side.distances, self.queries, keys) if self.square else None
        sums = weigh_tile(
            s,
            e,
            shift=running.shift,
            subtracted=self.folded,
            shown=shown,
            distances=distances,
            deep=self.deep,
            exponentials=self.exponentials,
        )
        running.add(sums)
        if sums.shift is not None and self.folded:
            self.q[:, -1] = -running.subtracted
        output = self.work.outputs[: self.height]
        np.matmul(e, self.side.v[keys], out=output)
        running.output += output
        self._places(keys, e, shown)
        self.tiles.append(Weighed(keys, e, running.shift))
        return True

    def _buffer(self, room: Array, columns: int) -> Array:
        """Part of a buffer as a tile, (B, columns)."""
        return room[: self.height * columns].reshape(self.height, columns)

    def _out_of_range(self, keys: slice, hidden: Array | None, bias: Array | None) -> bool:
        """Whether a query sees a key that is not finite, or a bias that is NaN or +inf."""
        if bias is not None and not (bias < np.inf).all():
            return True
        if self.side.broken is None or not (broken := self.side.broken[keys]).any():
            return False
        return hidden is None or not bool(hidden[:, broken].all())

    def _count(self, keys: slice, hidden: Array | None, shape: tuple[int, ...]) -> Array | None:
        """Count the visible keys and note the largest ‖v_j‖; what is visible as numbers, None where all is."""
        if hidden is None:
            self.visible += length(keys)
            np.maximum(self.value_max, self.side.value_norms[keys].max(), out=self.value_max)
            return None
        shown = self._buffer(self.work.shown, shape[1])
        np.copyto(shown, ~hidden)
        self.visible += shown.sum(axis=1, dtype=np.float64)
        np.maximum(self.value_max, largest_shown(self.side.value_norms[keys], shown), out=self.value_max)
        return shown

    def _logits(self, keys: slice, s: Array, bias: Array | None, hidden: Array | None, shown: Array | None) -> None:
        """Turn a tile's scores into logits; gather the scores' moments, and their largest where cap or bias follow."""
        cap, scratch = self.head.inputs.softcap, self._buffer(self.work.scratch, s.shape[1])
        if keys.start >= self.common:
            found = tile_moments(s, shown, scratch)
            shift = self.running.subtracted if self.folded else 0.0
            self.moments = merged(self.moments, found._replace(mean=found.mean + shift))
        if not self.folded:
            largest = s.max(axis=1, where=np.True_ if hidden is None else ~hidden, initial=-np.inf)
            np.maximum(self.score_max, largest, out=self.score_max)
        if cap is not None:
            s /= s.dtype.type(cap)
            np.tanh(s, out=s)
            s *= s.dtype.type(cap)
        if bias is not None:
            s += np.maximum(bias, -PENALTIES[s.dtype.name])
        if shown is not None:
            hide(s, shown, scratch)

    def _places(self, keys: slice, e: Array, shown: Array | None) -> None:
        """Keep the weights on keys i, i − 1 and i + 1 that lie in this tile and are seen."""
        if not self.square or keys.stop < self.queries.start or keys.start > self.queries.stop:
            return
        for o, offset in enumerate(OFFSETS):
            diagonal = self.queries.start + offset - keys.start
            found = e.diagonal(diagonal)
            rows = slice(max(0, -diagonal), max(0, -diagonal) + len(found))
            if shown is None:
                self.place_weights[o, rows], self.place_tiles[o, rows] = found, len(self.tiles)
            else:
                seen = shown.diagonal(diagonal) > 0
                np.copyto(self.place_weights[o, rows], found, where=seen)
                np.copyto(self.place_tiles[o, rows], len(self.tiles), where=seen)


def largest_shown(norms: Array, shown: Array) -> Array:
    """The largest of the norms that each row is shown, (B,); some rows at a time, to need little room."""
    parts = np.array_split(shown, 1 + len(shown) // 32)
    return np.concatenate([(norms * part).max(axis=1) for part in parts])
