"""The work of a streamed attention, panel by panel: handed to threads in order, and taken back in order."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np

from attnlab.maths.finished import PanelResult, finished
from attnlab.maths.heads import Head, heads_of
from attnlab.maths.inputs import AttentionInputs
from attnlab.maths.kernels import Kernel
from attnlab.maths.keyside import KeySide, key_side
from attnlab.maths.panel_rows import PanelPass, Workspace
from attnlab.maths.plain_rows import plain_panel
from attnlab.maths.plan import Plan
from attnlab.maths.rows import lengths
from attnlab.maths.tiles import FLOORS, SLACK

#: ‖q‖·‖k‖, scaled or not, below which no sum of finite numbers overflows on the way.
TAME = {"float32": 1e36, "float64": 1e300}


class Sides(NamedTuple):
    """What a head's panels share: its queries' size and its keys and values, made ready."""

    keys: KeySide
    #: the largest ‖q_i‖ of a query that is finite
    largest_query: float
    #: a bound on abs(scale·q·k)
    largest_score: float
    #: whether a logit may lie below the floor
    deep: bool
    #: whether no score of finite numbers can overflow
    tame: bool


class Job(NamedTuple):
    """A panel of one head's queries."""

    head: Head
    sides: Future[Sides]
    queries: slice


def jobs_of(inputs: AttentionInputs, plan: Plan, pool: Executor) -> Iterator[Job]:
    """All panels of all heads, in order."""
    keys: Future[KeySide] | None = None
    group: tuple[int, ...] | None = None
    for head in heads_of(inputs):
        if keys is None or group != head.group:
            prefixes = sorted({head.keys_in_common(queries) for queries in plan.panels(inputs.shape[-2])} - {0})
            group, keys = head.group, pool.submit(key_side, head.k, head.v, plan.tile, prefixes)
        sides = pool.submit(_sides, head, keys)
        for queries in plan.panels(inputs.shape[-2]):
            yield Job(head, sides, queries)


def _sides(head: Head, ready: Future[KeySide]) -> Sides:
    """What the head's panels share; the keys were handed to the threads before, and so do not wait for this."""
    keys, norms, name = ready.result(), lengths(head.q), head.q.dtype.name
    query, scale = float(norms[np.isfinite(norms)].max(initial=0)), abs(head.inputs.scale)
    product = query * keys.largest_key
    deep = head.inputs.bias is not None or 2 * product * scale > -FLOORS[name] - SLACK
    return Sides(keys, query, product * scale, deep, max(product, query * scale, product * scale) < TAME[name])


def panels_in_order(
    inputs: AttentionInputs, plan: Plan, kernel: Kernel, pool: Executor
) -> Iterator[tuple[Job, PanelResult]]:
    """The panels' results in order, so that sums over them do not depend on which thread was first.

    The threads work on the panels ahead, those of the next head too.
    """
    spaces: SimpleQueue[Workspace] = SimpleQueue()
    for _ in range(plan.threads):
        spaces.put(Workspace(plan, inputs))
    ahead: deque[tuple[Job, Future[PanelResult]]] = deque()
    for job in jobs_of(inputs, plan, pool):
        ahead.append((job, pool.submit(_work, job, spaces, kernel, plan.plain)))
        if len(ahead) > 2 * plan.threads:
            done, future = ahead.popleft()
            yield done, future.result()
    while ahead:
        done, future = ahead.popleft()
        yield done, future.result()


def _work(job: Job, spaces: "SimpleQueue[Workspace]", kernel: Kernel, scores: int) -> PanelResult:
    """What a thread does with one panel; the plain path holds so many scores at a time."""
    sides, space = job.sides.result(), spaces.get()
    try:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            if sides.tame:
                panel = PanelPass(job.head, sides.keys, job.queries, space, deep=sides.deep, kernel=kernel)
                found = finished(panel) if panel.run() else None
                if found is not None:
                    return found
            return plain_panel(job.head, job.queries, scores)
    finally:
        spaces.put(space)
