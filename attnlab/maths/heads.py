"""One head of an attention at a time: its own queries, keys and values, and which keys some of its queries may see."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from attnlab.maths.inputs import AttentionInputs
from attnlab.maths.panels import length, panel
from attnlab.maths.precision import Array, rounded
from attnlab.maths.visibility import band_between


class Head(NamedTuple):
    """One query head and the key/value head that it reads."""

    #: its place among the leading axes and the heads
    place: tuple[int, ...]
    #: its key/value head's
    group: tuple[int, ...]
    #: (n, d)
    q: Array
    #: (m, d)
    k: Array
    #: (m, e)
    v: Array
    #: the settings, and mask and bias of all heads
    inputs: AttentionInputs

    def keys_in_reach(self, queries: slice) -> slice:
        """The keys that the queries' places let one of them see: the others need not be computed."""
        m, window = len(self.k), self.inputs.window
        low, high = 0, m
        if window is not None:
            low = max(0, queries.start - window + (1 if self.inputs.causal else 0))
            high = min(m, queries.stop + window)
        if self.inputs.causal:
            high = min(m, queries.stop)
        return slice(min(low, high), high)

    def keys_in_common(self, queries: slice) -> int:
        """How many leading keys each of the queries sees whole, their scores' moments being those of the keys."""
        inputs = self.inputs
        if inputs.mask is not None or inputs.bias is not None or inputs.window is not None:
            return 0
        return min(len(self.k), queries.start) if inputs.causal else len(self.k)

    def bias(self, queries: slice, keys: slice) -> Array | None:
        """What is added to these scores, broadcastable to (len(queries), len(keys)), in the dtype computed in."""
        if self.inputs.bias is None:
            return None
        return rounded(panel("bias", self.inputs.bias, self.place, queries, keys), self.q.dtype)

    def hidden(self, queries: slice, keys: slice, bias: Array | None) -> Array | None:
        """Which of these keys are hidden from which of these queries, (len(queries), len(keys)); None = none is.

        Args:
            bias: of the same queries and keys; -inf hides a key.
        """
        parts = []
        seen = band_between(queries, keys, causal=self.inputs.causal, window=self.inputs.window)
        if seen is not None:
            parts.append(~seen)
        if self.inputs.mask is not None:
            parts.append(~panel("mask", self.inputs.mask, self.place, queries, keys))
        if bias is not None:
            parts.append(np.isneginf(bias))
        hidden: Array | None = None
        for part in parts:
            if part.any():
                hidden = part if hidden is None else hidden | part
        return None if hidden is None else np.broadcast_to(hidden, (length(queries), length(keys)))


def heads_of(inputs: AttentionInputs) -> Iterator[Head]:
    """The query heads in order, those that share a key/value head one after the other."""
    *lead, h, n, _ = inputs.shape
    q = inputs.q.reshape(*lead, h, n, inputs.q.shape[-1])
    shared = h // inputs.k.shape[-3] if h else 1
    for place in np.ndindex(*lead, h):
        group = (*place[:-1], place[-1] // shared)
        yield Head(place, group, q[place], inputs.k[group], inputs.v[group], inputs)
