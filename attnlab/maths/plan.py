"""How a streamed attention is cut up: how many queries make a panel, how many keys a tile, how many threads work."""

import math
from itertools import product
from typing import NamedTuple

from attnlab.maths.inputs import AttentionInputs
from attnlab.maths.threads import usable_cores

#: Queries of a panel and keys of a tile, where memory allows. Not powers of two: rows 4 KiB apart fall on each other in
#: a processor's cache.
HEIGHT, TILE = 768, 4160
#: Working memory beyond inputs and results, in bytes, over all threads, unless the caller says otherwise.
WORKING = 160 << 20
#: Heights are whole numbers of these where memory allows.
STEP = 64
#: Rows of a strip where memory allows; the keys that they are multiplied with at a time: at most, and at least.
STRIP, BLOCK, NARROW = 64, 160, 112
#: Panels that are taken together where they are taken in strips.
RUN = 3
#: Queries, and strips, that are taken in float64 at once for the scores' moments: as many as stay in a core's cache.
IN_FLOAT64, GROUP = 512, 8
#: Sums of each row and tile of a strip, and weights that are read of each row.
SUMS, READ = 5, 4
#: Multiply-adds up to which OpenBLAS takes a product as it is, without copying the factors into an order of its own.
SMALL = 1_000_000
#: Keys of a block, the most of them too, are whole numbers of these.
VECTOR = 16
#: Heights of panels of about one size are whole numbers of these: a vector's numbers, and a stripe's lanes. Those that
#: may be taken in strips are whole numbers of strips.
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
    #: where panels may be taken in strips: rows of a strip (0 = they may not), keys of a block, and panels together
    strip: int = 0
    block: int = 1
    run: int = 1

    @property
    def again(self) -> int:
        """Weights that a thread may sum again at once, where a row's largest had cost the others their digits."""
        return max(1, self.plain // 2)

    def panels(self, n: int, *, whole: bool = False) -> list[slice]:
        """The panels of n queries, in order: as few as can be, and about equal, so that no thread is left with more.

        Args:
            whole: they are taken whole, stripe by stripe; there are as many as without.
        """
        count = -(-n // self.height)
        even = -(-n // count) if count else 1
        step = LANED if whole else self.strip or EVEN
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
    wide = _block(inputs)
    tile = tile_of(m, wide or BLOCK)
    for workers, smallest in ((most, STEP), (1, 1)):
        row = tile_bytes(Plan(1, tile, workers, reach_of(inputs, HEIGHT)), inputs)
        height = min(HEIGHT, budget // workers // row)
        if height >= smallest:
            height = height // STEP * STEP or height
            plain = min(PLAIN_SCORES, budget // workers // PLAIN)
            stripes = _stripes(inputs, budget // workers)
            plan = Plan(min(height, max(n, 1)), tile, workers, reach_of(inputs, height), plain, stripes)
            return _with_strips(plan._replace(block=block_of(tile, wide)), inputs, budget // workers) if wide else plan
    return Plan(1, tile, 1, reach_of(inputs, 1), 1)


def tile_of(m: int, block: int) -> int:
    """Keys of a tile of m: tiles are as few as can be, about equal, and whole numbers of blocks of at most so many."""
    keys = -(-m // -(-m // TILE)) if m else 1
    blocks = -(-keys // block)
    return blocks * -(-keys // (blocks * VECTOR)) * VECTOR


def block_of(tile: int, block: int) -> int:
    """Keys of a block, where a tile was cut for blocks of at most so many."""
    return tile // -(-tile // block)


def reach_of(inputs: AttentionInputs, height: int) -> int:
    """Keys that a panel of so many queries may have in reach, at most."""
    m = inputs.shape[-1]
    if inputs.window is None:
        return m
    sides = 1 if inputs.causal else 2
    return min(m, height + sides * inputs.window)


def _block(inputs: AttentionInputs) -> int:
    """The most keys of a block where panels may be taken in strips, else 0.

    They may where nothing but causal order hides keys, and the scores are the logits. Not where vectors are so wide
    that only products with few keys are small: a panel's large ones are faster then. Nor for a single key, to which all
    rows are to give exactly 1: they do where its logit is the shift.
    """
    plain = inputs.mask is None and inputs.bias is None and inputs.softcap is None and inputs.window is None
    width = max(1, inputs.q.shape[-1], inputs.v.shape[-1])
    keys = min(BLOCK, SMALL // (STRIP * width) // VECTOR * VECTOR)
    return keys if plain and inputs.shape[-1] > 1 and keys >= min(NARROW, BLOCK) else 0


def _with_strips(plan: Plan, inputs: AttentionInputs, budget: int) -> Plan:
    """The plan with the widest strips, then the most panels together, that fit into so many bytes.

    The last head's panels are not taken together, nor are an only head's.
    """
    runs = (RUN, 1) if math.prod(inputs.shape[:-2]) > 1 else (1,)
    for strip, run in product(range(STRIP, 0, -1), runs):
        found = plan._replace(strip=strip, run=run)
        if strip <= min(run * plan.height, max(1, inputs.shape[-2])) and strip_bytes(found, inputs) <= budget:
            return found
    return plan


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


def strip_bytes(plan: Plan, inputs: AttentionInputs, *, steep: bool = True) -> int:
    """One thread's buffers where panels are taken in strips, and what it needs to finish those taken together.

    Args:
        steep: one key may have all but a trace of a row.
    """
    n, d, e, itemsize = inputs.shape[-2], inputs.q.shape[-1], inputs.v.shape[-1], int(inputs.q.dtype.itemsize)
    rows, tiles = min(n, plan.run * plan.height), -(-plan.reach // plan.tile)
    keys, corner = tiles * plan.tile, plan.strip if inputs.causal else 0
    strip = plan.strip * (plan.tile + keys + plan.strip + plan.block + (plan.tile // plan.block + 1) * e) + keys
    numbers = strip + rows * (d + SUMS * tiles + READ + 3 * corner)
    group = min(GROUP, -(-rows // plan.strip))
    moments = d * (4 * group * plan.strip + (group + 1) * d if inputs.causal else 2 * min(IN_FLOAT64, rows))
    again = 3 * min(plan.again, plan.strip * plan.tile) if steep else 0
    found: int = numbers * itemsize + 8 * (4 * keys + rows * (e + READ + 40) + moments + again)
    return found


def thread_bytes(plan: Plan, inputs: AttentionInputs, *, steep: bool, compiled: bool) -> int:
    """One thread's buffers, however panels are taken.

    Args:
        compiled: they may be taken whole.
        steep: logits may be far apart: strips may not do, and a row's largest weight may dwarf the others.
    """
    strips = strip_bytes(plan, inputs, steep=steep) if plan.strip else 0
    tiles = tile_bytes(plan, inputs) if steep or not strips else 0
    return max(tiles, strips, stripe_bytes(plan.stripes, inputs) if compiled and plan.stripes else 0)


def tile_bytes(plan: Plan, inputs: AttentionInputs) -> int:
    """One thread's buffers: tiles, the weights of a panel, its queries and outputs, and its sums in float64.

    Where keys may be hidden, one more tile says which are seen, and a few booleans stand for each of its entries.
    """
    width, itemsize = max(inputs.q.shape[-1], inputs.v.shape[-1]), int(inputs.q.dtype.itemsize)
    hides = inputs.causal or inputs.window is not None or inputs.mask is not None
    tiles = (3 * itemsize + (5 if hides else 1) if inputs.hides else 2 * itemsize) * plan.tile
    row: int = tiles + plan.reach * itemsize + (3 * width + 1) * (itemsize + 8) + 40 * 8
    return plan.height * row
