"""The work of a streamed attention, panel by panel: handed to threads in order, and taken back in order."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np

from attnlab.maths.finished import PanelResult, tile_panel
from attnlab.maths.heads import Head, heads_of
from attnlab.maths.inputs import AttentionInputs
from attnlab.maths.kernels import Kernel, Way
from attnlab.maths.keyside import KeySide, key_side, spaced
from attnlab.maths.panel_rows import Workspace
from attnlab.maths.plain_rows import plain_panel
from attnlab.maths.plan import Plan
from attnlab.maths.precision import Array
from attnlab.maths.rows import bound_on_lengths, lengths
from attnlab.maths.strips import strip_panel, strips_for
from attnlab.maths.tiles import FLOORS, SLACK

#: How many runs of panels before a head's first what they share is begun.
BEFORE = 2
#: ‖q‖·‖k‖, scaled or not, below which no sum of finite numbers overflows on the way.
TAME = {"float32": 1e36, "float64": 1e300}


class Sides(NamedTuple):
    """What a head's panels share: its keys and values, made ready, and how large its scores may be."""

    keys: KeySide
    #: a bound on abs(scale·q·k)
    largest_score: float
    #: None = the plain way alone: a score of finite numbers could overflow
    way: Way | None


class Job(NamedTuple):
    """Panels of one head's queries, one after the other."""

    head: Head
    sides: Future[Sides]
    panels: Sequence[slice]
    #: (B, e), where their output is to be written
    output: Array

    @property
    def queries(self) -> slice:
        """All panels' queries."""
        return slice(self.panels[0].start, self.panels[-1].stop)


class Buffers:
    """One thread's buffers, for one way of taking panels at a time."""

    def __init__(self, plan: Plan, inputs: AttentionInputs) -> None:
        self.plan, self.inputs = plan, inputs
        self.maker: Callable[[Plan, AttentionInputs], Any] | None = None
        self.space: Any = None

    def for_way(self, way: Way) -> Any:
        """The buffers that this way needs."""
        if self.maker is not way.room:
            self.space = None
            self.space, self.maker = way.room(self.plan, self.inputs), way.room
        return self.space


class Ways(NamedTuple):
    """How the panels of some inputs may be taken, where a head's numbers allow."""

    plan: Plan
    kernel: Kernel
    #: whole
    whole: bool
    #: in strips, some panels together
    strips: bool


def ways_for(inputs: AttentionInputs, plan: Plan, kernel: Kernel) -> Ways:
    """What these inputs allow: whole panels only where nothing but places hides keys, and scores are logits."""
    plain = inputs.mask is None and inputs.bias is None and inputs.softcap is None
    sized = plan.stripes > 0 and inputs.q.shape[-1] > 0 and inputs.shape[-1] > 0
    whole = plain and sized and kernel.panels is not None
    return Ways(plan, kernel, whole, strips=not whole and plan.strip > 0)


def jobs_of(inputs: AttentionInputs, ways: Ways, pool: Executor, output: Array) -> Iterator[Job]:
    """All panels of all heads, in order.

    What a head's panels share is begun before the last panels of the head before, and of the first two heads at once:
    so no thread waits for it while there is other work.
    """
    panels, heads = ways.plan.panels(inputs.shape[-2], whole=ways.whole), list(heads_of(inputs))
    begun: list[Future[Sides]] = []
    for at, head in enumerate(heads if panels else []):
        # the last head's panels singly: so that all threads end at about one time
        count = ways.plan.run if ways.strips and at + 1 < len(heads) else 1
        runs = [panels[start : start + count] for start in range(0, len(panels), count)]
        for r, run in enumerate(runs):
            early = at == 0 or r >= len(runs) - BEFORE
            while len(begun) < min(at + 1 + early, len(heads)):
                own = heads[len(begun)]
                shared = begun[-1] if begun and own.group == heads[len(begun) - 1].group else None
                begun.append(pool.submit(_sides, own, shared, panels, ways))
            yield Job(head, begun[at], run, output[head.place][run[0].start : run[-1].stop])


def _sides(head: Head, shared: Future[Sides] | None, panels: Sequence[slice], ways: Ways) -> Sides:
    """What the head's panels share; the keys' part of it from a head before, where that has the same keys."""
    if shared is None:
        prefixes = spaced([head.keys_in_common(queries) for queries in panels], len(head.q[0]))
        keys = key_side(head.k, head.v, ways.plan.tile, prefixes, whole=ways.whole)
    else:
        keys = shared.result().keys
    name, query, scale = head.q.dtype.name, bound_on_lengths(head.q), abs(head.inputs.scale)
    if query is None:
        norms = lengths(head.q)
        query = float(norms[np.isfinite(norms)].max(initial=0))
    product = query * keys.largest_key
    deep = head.inputs.bias is not None or 2 * product * scale > -FLOORS[name] - SLACK
    tame = max(product, query * scale, product * scale) < TAME[name]
    return Sides(keys, product * scale, _way(ways, keys, deep=deep) if tame else None)


def _way(ways: Ways, keys: KeySide, *, deep: bool) -> Way:
    """How the head's panels are taken.

    Args:
        deep: a logit may lie below the floor.
    """
    if ways.kernel.panels is not None and ways.whole and keys.broken is None:
        return ways.kernel.panels
    if ways.strips and keys.broken is None and not deep:
        return Way(strips_for, strip_panel, runs=True)
    return Way(Workspace, partial(tile_panel, deep=deep, exponentials=ways.kernel.exponentials))


def panels_in_order(
    inputs: AttentionInputs, ways: Ways, pool: Executor, output: Array
) -> Iterator[tuple[Job, list[PanelResult]]]:
    """The panels' results in order, so that sums over them do not depend on which thread was first.

    The threads work on the panels ahead, those of the next head too.

    Args:
        output: (…, h, n, e), written.
    """
    rooms: SimpleQueue[Buffers] = SimpleQueue()
    for _ in range(ways.plan.threads):
        rooms.put(Buffers(ways.plan, inputs))
    ahead: deque[tuple[Job, Future[list[PanelResult]]]] = deque()
    for job in jobs_of(inputs, ways, pool, output):
        ahead.append((job, pool.submit(_work, job, rooms, ways.plan.plain)))
        if len(ahead) > 2 * ways.plan.threads:
            done, future = ahead.popleft()
            yield done, future.result()
    while ahead:
        done, future = ahead.popleft()
        yield done, future.result()


def _work(job: Job, rooms: "SimpleQueue[Buffers]", scores: int) -> list[PanelResult]:
    """What a thread does with a job's panels; the plain way holds so many scores at a time."""
    sides, room = job.sides.result(), rooms.get()
    way = sides.way
    try:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            together = way is not None and way.runs and len(job.panels) > 1
            found = _taken(job, job.queries, way, room) if together else None
            if found is not None:
                return [found]
            return [
                _taken(job, queries, way, room) or plain_panel(job.head, queries, scores, _rows_of(job, queries))
                for queries in job.panels
            ]
    finally:
        rooms.put(room)


def _taken(job: Job, queries: slice, way: Way | None, room: Buffers) -> PanelResult | None:
    """Some of a job's queries, taken the head's way; None where that will not do."""
    if way is None:
        return None
    return way.take(job.head, job.sides.result().keys, queries, room.for_way(way), _rows_of(job, queries))


def _rows_of(job: Job, queries: slice) -> Array:
    """Where the output of some of a job's queries is to be written."""
    first = job.panels[0].start
    return job.output[queries.start - first : queries.stop - first]
