"""The work of a streamed attention, panel by panel: handed to threads in order, and taken back in order."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np

from attnlab.maths.finished import PanelResult, finished
from attnlab.maths.heads import Head, heads_of
from attnlab.maths.inputs import AttentionInputs
from attnlab.maths.kernels import Kernel
from attnlab.maths.keyside import KeySide, key_side
from attnlab.maths.panel_rows import PanelPass, Workspace
from attnlab.maths.plain_rows import plain_panel
from attnlab.maths.plan import Plan
from attnlab.maths.precision import Array
from attnlab.maths.rows import bound_on_lengths, lengths
from attnlab.maths.tiles import FLOORS, SLACK

#: How many panels before a head's first what they share is begun.
BEFORE = 2
#: ‖q‖·‖k‖, scaled or not, below which no sum of finite numbers overflows on the way.
TAME = {"float32": 1e36, "float64": 1e300}


class Sides(NamedTuple):
    """What a head's panels share: its keys and values, made ready, and how large its scores may be."""

    keys: KeySide
    #: a bound on abs(scale·q·k)
    largest_score: float
    #: whether a logit may lie below the floor
    deep: bool
    #: whether no score of finite numbers can overflow
    tame: bool
    #: whether panels are to be taken whole
    whole: bool


class Job(NamedTuple):
    """A panel of one head's queries."""

    head: Head
    sides: Future[Sides]
    queries: slice
    #: (B, e), where a panel taken whole may write its output
    output: Array


class Room:
    """One thread's buffers: for panels taken whole or tile by tile, one kind at a time."""

    def __init__(self, plan: Plan, inputs: AttentionInputs, kernel: Kernel) -> None:
        self.plan, self.inputs, self.kernel = plan, inputs, kernel
        self.stripes: Any = None
        self.tiles: Workspace | None = None

    def whole(self, job: Job, sides: Sides) -> PanelResult | None:
        """The panel taken whole; None where something is not finite."""
        if self.kernel.panels is None:
            return None
        if self.stripes is None:
            self.tiles = None
            self.stripes = self.kernel.panels.room(self.plan, self.inputs)
        return self.kernel.panels.take(job.head, sides.keys, job.queries, self.stripes, job.output)

    def by_tiles(self, job: Job, sides: Sides) -> PanelResult | None:
        """The panel tile by tile; None where something is not finite."""
        if self.tiles is None:
            self.stripes = None
            self.tiles = Workspace(self.plan, self.inputs)
        exponentials = self.kernel.exponentials
        panel = PanelPass(job.head, sides.keys, job.queries, self.tiles, deep=sides.deep, exponentials=exponentials)
        return finished(panel) if panel.run() else None


def takes_whole(inputs: AttentionInputs, plan: Plan, kernel: Kernel) -> bool:
    """Whether the kernel takes panels whole: nothing but places hides keys, and the scores are the logits."""
    plain = inputs.mask is None and inputs.bias is None and inputs.softcap is None
    return plain and kernel.panels is not None and plan.stripes > 0 and inputs.q.shape[-1] > 0 and inputs.shape[-1] > 0


def jobs_of(inputs: AttentionInputs, plan: Plan, pool: Executor, output: Array, *, whole: bool) -> Iterator[Job]:
    """All panels of all heads, in order.

    What a head's panels share is begun before the last panels of the head before, and of the first two heads at once:
    so no thread waits for it while there is other work.
    """
    panels, heads = plan.panels(inputs.shape[-2], whole=whole), list(heads_of(inputs))
    begun: list[Future[Sides]] = []
    for at, head in enumerate(heads if panels else []):
        for p, queries in enumerate(panels):
            early = at == 0 or p >= len(panels) - BEFORE
            while len(begun) < min(at + 1 + early, len(heads)):
                own = heads[len(begun)]
                shared = begun[-1] if begun and own.group == heads[len(begun) - 1].group else None
                begun.append(pool.submit(_sides, own, shared, plan, whole))
            yield Job(head, begun[at], queries, output[head.place][queries])


def _sides(head: Head, shared: Future[Sides] | None, plan: Plan, whole: bool) -> Sides:
    """What the head's panels share; the keys' part of it from a head before, where that has the same keys."""
    if shared is None:
        prefixes = sorted({head.keys_in_common(queries) for queries in plan.panels(len(head.q), whole=whole)} - {0})
        keys = key_side(head.k, head.v, plan.tile, prefixes, whole=whole)
    else:
        keys = shared.result().keys
    name, query, scale = head.q.dtype.name, bound_on_lengths(head.q), abs(head.inputs.scale)
    if query is None:
        norms = lengths(head.q)
        query = float(norms[np.isfinite(norms)].max(initial=0))
    product = query * keys.largest_key
    deep = head.inputs.bias is not None or 2 * product * scale > -FLOORS[name] - SLACK
    tame = max(product, query * scale, product * scale) < TAME[name]
    return Sides(keys, product * scale, deep, tame, whole and keys.broken is None)


def panels_in_order(
    inputs: AttentionInputs, plan: Plan, kernel: Kernel, pool: Executor, output: Array
) -> Iterator[tuple[Job, PanelResult]]:
    """The panels' results in order, so that sums over them do not depend on which thread was first.

    The threads work on the panels ahead, those of the next head too.

    Args:
        output: (…, h, n, e), where panels taken whole write theirs.
    """
    rooms: SimpleQueue[Room] = SimpleQueue()
    for _ in range(plan.threads):
        rooms.put(Room(plan, inputs, kernel))
    ahead: deque[tuple[Job, Future[PanelResult]]] = deque()
    for job in jobs_of(inputs, plan, pool, output, whole=takes_whole(inputs, plan, kernel)):
        ahead.append((job, pool.submit(_work, job, rooms, plan.plain)))
        if len(ahead) > 2 * plan.threads:
            done, future = ahead.popleft()
            yield done, future.result()
    while ahead:
        done, future = ahead.popleft()
        yield done, future.result()


def _work(job: Job, rooms: "SimpleQueue[Room]", scores: int) -> PanelResult:
    """What a thread does with one panel; the plain path holds so many scores at a time."""
    sides, room = job.sides.result(), rooms.get()
    try:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            if sides.tame:
                found = room.whole(job, sides) if sides.whole else room.by_tiles(job, sides)
                if found is not None:
                    return found
            return plain_panel(job.head, job.queries, scores)
    finally:
        rooms.put(room)
