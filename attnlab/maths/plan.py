"""How a streamed attention is cut up: how many queries make a panel, how many keys a tile, how many threads work."""

import math
from typing import NamedTuple

from attnlab.maths.inputs import AttentionInputs
from attnlab.maths.threads import usable_cores

#: Queries of a panel and keys of a tile, where memory allows. Not powers of two: rows 4 KiB apart fall on each other in
#: a processor's cache.
HEIGHT, TILE = 768, 2064
#: Working memory beyond inputs and results, in bytes, over all threads, unless the caller says otherwise.
WORKING = 160 << 20
#: Heights are whole numbers of these where memory allows.
STEP = 64
#: Heights of panels of about one size are whole numbers of these: a vector's numbers, and a stripe's lanes.
EVEN, LANED = 16, 48
#: Where panels are taken whole: stripes at a time, keys of a chunk, and bytes of a number of each of a stripe's lanes.
TOGETHER, CHUNK, LANES = 4, 256, 192
#: Bytes that the plain path takes for each score, and how many scores it holds at a time where memory allows.
PLAIN, PLAIN_SCORES = 128, 1 << 18
#: Scores below which a second thread is not worth starting.
FEW = 1 << 20


class Plan(NamedTuple):
    """Panels of so many queries, tiles of so many keys, on so many threads."""

    height: int
    tile: int
    threads: int
    #: keys that one panel's queries may have in reach, at most
    reach: int
    #: scores that a thread may hold at once where it has to take the plain path
    plain: int = 1
    #: stripes that a thread may hold at once where panels are taken whole; 0 = not one
    stripes: int = 0

    def panels(self, n: int, *, whole: bool = False) -> list[slice]:
        """The panels of n queries, in order: as few as can be, and about equal, so that no thread is left with more.

        Args:
            whole: they are taken whole, stripe by stripe; there are as many as without.
        """
        count = -(-n // self.height)
        even = -(-n // count) if count else 1
        step = LANED if whole else EVEN
        height = min(self.height, -(-even // step) * step)
        return [slice(start, min(start + height, n)) for start in range(0, n, height)]


def plan_for(inputs: AttentionInputs, max_bytes: int | None = None, threads: int | None = None) -> Plan:
    """The largest panels, on the most threads, whose buffers fit into max_bytes; at least one query on one thread."""
    # An eighth is left for what passes while panels are put together.
    budget = (WORKING if max_bytes is None else max_bytes) * 7 // 8
    *_, n, m = inputs.shape
    cores = usable_cores() if threads is None else threads
    # Over small heads threads wait for each other.
    most = cores if math.prod(inputs.shape) > FEW and n * m > FEW // 2 else 1
    tile = max(1, min(TILE, m))
    for workers, smallest in ((most, STEP), (1, 1)):
        row = tile_bytes(Plan(1, tile, workers, reach_of(inputs, HEIGHT)), inputs)
        height = min(HEIGHT, budget // workers // row)
        if height >= smallest:
            height = height // STEP * STEP or height
            plain = min(PLAIN_SCORES, budget // workers // PLAIN)
            stripes = _stripes(inputs, budget // workers)
            return Plan(min(height, max(n, 1)), tile, workers, reach_of(inputs, height), plain, stripes)
    return Plan(1, tile, 1, reach_of(inputs, 1), 1)


def reach_of(inputs: AttentionInputs, height: int) -> int:
    """Keys that a panel of so many queries may have in reach, at most."""
    m = inputs.shape[-1]
    if inputs.window is None:
        return m
    sides = 1 if inputs.causal else 2
    return min(m, height + sides * inputs.window)


def _stripes(inputs: AttentionInputs, budget: int) -> int:
    """The most stripes that fit into so many bytes and have queries to hold."""
    most = min(TOGETHER, -(-inputs.shape[-2] * inputs.q.dtype.itemsize // LANES))
    return max((count for count in range(most + 1) if stripe_bytes(count, inputs) <= budget), default=0)


def stripe_bytes(count: int, inputs: AttentionInputs) -> int:
    """One thread's buffers where panels are taken whole: weights, shifts, queries, outputs and sums."""
    itemsize = int(inputs.q.dtype.itemsize)
    d, e, wide = int(inputs.q.shape[-1]), int(inputs.v.shape[-1]), 8 // itemsize
    reach = reach_of(inputs, count * LANES // itemsize)
    return LANES * (
        count * (reach + reach // CHUNK + d + (1 + wide) * (e + 8) + 7 * wide + 32) + 2 * d + reach // CHUNK + 12
    )


def thread_bytes(plan: Plan, inputs: AttentionInputs) -> int:
    """One thread's buffers, whether panels are taken whole or tile by tile."""
    return max(tile_bytes(plan, inputs), stripe_bytes(plan.stripes, inputs) if plan.stripes else 0)


def tile_bytes(plan: Plan, inputs: AttentionInputs) -> int:
    """One thread's buffers: tiles, the weights of a panel, its queries and outputs, and its sums in float64.

    Where keys may be hidden, one more tile says which are seen, and a few booleans stand for each of its entries.
    """
    width, itemsize = max(inputs.q.shape[-1], inputs.v.shape[-1]), int(inputs.q.dtype.itemsize)
    hides = inputs.causal or inputs.window is not None or inputs.mask is not None
    tiles = (3 * itemsize + (5 if hides else 1) if inputs.hides else 2 * itemsize) * plan.tile
    row: int = tiles + plan.reach * itemsize + (3 * width + 1) * (itemsize + 8) + 40 * 8
    return plan.height * row
