"""Attention and all its statistics without its matrix: panels of queries against tiles of keys, exact at any length.

Memory beyond inputs and results is a few panels; what a query cannot see is skipped. The meaning is that of
`attention`, entry for entry: a panel with anything that is not finite is computed by the plain path itself.
"""

import math
from collections.abc import Callable
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np

from attnlab.maths.finished import PanelSums, head_rows
from attnlab.maths.heads import heads_of
from attnlab.maths.inputs import AttentionInputs, attention_inputs
from attnlab.maths.jobs import Job, panels_in_order, ways_for
from attnlab.maths.kernels import kernel_for
from attnlab.maths.panels import PanelFunction
from attnlab.maths.plan import plan_for
from attnlab.maths.precision import Array, rounded
from attnlab.maths.rows import RowSums, no_rows
from attnlab.maths.seers import seers
from attnlab.maths.skew import Normalisers, blocks_of, head_asymmetry
from attnlab.maths.statistics import NO_ASYMMETRY, GatheredHeads, HeadStatistics, place_reasons
from attnlab.maths.threads import single_threaded_products
from attnlab.maths.workers import Crew

NOT_ASKED = "not asked for: it takes a second pass"


class StreamedAttention(NamedTuple):
    """Attention without its weights. Without a head axis in the inputs there is none here."""

    #: (…, h, n, e)
    output: Array
    #: (…, h, n): log of the softmax's denominator, -inf on rows that see no key; float32 for half inputs
    lse: Array
    #: one number per head, (…, h); received is (…, h, m)
    statistics: HeadStatistics


def attention_statistics(
    q: Array,
    k: Array,
    v: Array,
    *,
    mask: Array | PanelFunction | None = None,
    bias: Array | PanelFunction | None = None,
    causal: bool = False,
    window: int | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    asymmetry: bool = False,
    max_bytes: int | None = None,
) -> StreamedAttention:
    """The output, lse and statistics of `attention` without its (n, m) matrix: memory O(n + m).

    In float64 each number is that of the matrix to 1e-10. In float32 it is off from the float64 one, relative to
    max(1, abs(value)), by at most eps·(1 + L) times 4 for the output, 2 for lse, 1 for score_max, logit_max and
    norm_bound, 0.5 for the median of tr J and 0.25 for all others, L being the largest score or logit in size. Where
    thousands of keys share one logit, all roundings go one way, and sums over them (entropy, effective keys, tr J) may
    be off a hundred times as much: about 1e-5 of themselves.

    Args:
        q, k, v, mask, bias, causal, window, scale, softcap: as `attention` has them.
        asymmetry: also measure ‖A − Aᵀ‖_F / (2‖A‖_F), by a second pass over the scores.
        max_bytes: of working memory beyond the inputs, the results and one head's keys and values made ready, a copy
            of them; at least what one query takes. None = 160 MiB.

    Raises:
        ShapeError: shapes, dtypes or settings that do not go together; names both.
    """
    inputs = attention_inputs(q, k, v, mask=mask, bias=bias, causal=causal, window=window, scale=scale, softcap=softcap)
    found = stream(inputs, asymmetry=asymmetry, max_bytes=max_bytes)
    output = rounded(found.output, inputs.dtype)
    if inputs.headed:
        return found._replace(output=output)
    return StreamedAttention(output[0], found.lse[0], found.statistics.of_head(0))


def stream(
    inputs: AttentionInputs,
    *,
    asymmetry: bool = False,
    max_bytes: int | None = None,
    threads: int | None = None,
    compiled: bool | None = None,
    advance: Callable[[], None] = lambda: None,
) -> StreamedAttention:
    """`attention_statistics` of checked inputs, in the dtype computed in.

    Args:
        threads: None = one for each core; small work takes one, whatever is said.
        compiled: whether the compiled kernel is used; None = where numba is installed and the work is large.
        advance: called once per panel of queries, `panel_count` times in all.
    """
    plan = plan_for(inputs, max_bytes, threads)
    *lead, h, n, m = inputs.shape
    output = np.empty((*lead, h, n, inputs.v.shape[-1]), dtype=inputs.q.dtype)
    lse = np.empty((*lead, h, n), dtype=inputs.q.dtype)
    reasons = place_reasons(n, m, causal=inputs.causal)
    wanted = asymmetry and "asymmetry" not in reasons
    if not asymmetry:
        reasons = {"asymmetry": NOT_ASKED} | reasons
    heads = GatheredHeads(reasons)
    panels: list[PanelSums | RowSums] = []
    received = np.zeros(m)
    with single_threaded_products(), Crew(plan.threads) as pool:
        for job, found in panels_in_order(inputs, ways_for(inputs, plan, kernel_for(inputs, compiled)), pool, output):
            place = job.head.place
            lse[place][job.queries] = np.concatenate([panel.lse for panel in found])
            for panel in found:
                received[panel.keys] += panel.received
                panels.append(panel.sums)
            for _ in job.panels:
                advance()
            if job.queries.stop == n:
                rows = head_rows(panels, output[place], received, square=n == m)
                rows = rows._replace(seers=seers(job.head, rows))
                skew = _skew(job, rows, pool, advance) if wanted else None
                heads.add(rows, skew)
                panels, received = [], np.zeros(m)
    if n == 0:
        for _ in heads_of(inputs):
            heads.add(no_rows(0, m), None)
    statistics = heads.statistics((*lead, h), m)
    if wanted and np.isnan(statistics.asymmetry).any():
        statistics = statistics._replace(reasons={**statistics.reasons, "asymmetry": NO_ASYMMETRY})
    return StreamedAttention(output, lse, statistics)


def _skew(job: Job, rows: RowSums, pool: Executor, advance: Callable[[], None]) -> Array:
    """The head's asymmetry, from its rows' normalisers where all of its rows have them."""
    seen = rows.visible > 0
    normalisers = Normalisers(np.where(seen, rows.logit_max, 0), rows.top) if (rows.sound | ~seen).all() else None
    return np.array(head_asymmetry(job.head, normalisers, job.sides.result().largest_score, pool, advance))


def panel_count(inputs: AttentionInputs, *, asymmetry: bool = False, max_bytes: int | None = None) -> int:
    """How often `stream` calls `advance`, when nothing is wrong with the values."""
    *heads, n, m = inputs.shape
    second = len(blocks_of(n)) if asymmetry and "asymmetry" not in place_reasons(n, m, causal=inputs.causal) else 0
    return math.prod(heads) * (len(plan_for(inputs, max_bytes).panels(n)) + second)
