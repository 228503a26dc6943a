"""A panel of queries by the plain path: what streaming falls back to where something is not finite."""

import numpy as np

from attnlab.maths.attention import attention_steps
from attnlab.maths.finished import PanelResult
from attnlab.maths.heads import Head
from attnlab.maths.panels import length
from attnlab.maths.precision import Array
from attnlab.maths.rows import RowSums, joined_rows, lengths, row_sums


def plain_panel(head: Head, queries: slice, scores: int, output: Array) -> PanelResult:
    """The queries' rows as `attention` and its statistics have them, so many scores at a time; their output written."""
    height = max(1, scores // max(1, len(head.k)))
    starts = range(queries.start, queries.stop, height)
    parts = []
    for start in starts:
        own = slice(start, min(start + height, queries.stop))
        parts.append(_rows(head, own, output[own.start - queries.start : own.stop - queries.start]))
    rows = RowSums(*joined_rows([rows for rows, _ in parts]))
    return PanelResult(rows, np.concatenate([lse for _, lse in parts]), slice(0, len(head.k)), rows.received)


def _rows(head: Head, queries: slice, output: Array) -> tuple[RowSums, Array]:
    """The sums and the lse of these rows, all at once; their output written."""
    m, keys = len(head.k), slice(0, len(head.k))
    bias = head.bias(queries, keys)
    hidden = head.hidden(queries, keys, bias)
    alone = head.inputs._replace(
        q=head.q[None, queries],
        k=head.k[None],
        v=head.v[None],
        mask=None if hidden is None else ~hidden,
        bias=bias,
        causal=False,
        window=None,
        shape=(1, length(queries), m),
    )
    steps = attention_steps(alone)
    sums = row_sums(steps, lengths(alone.v), first=queries.start, square=m == head.inputs.shape[-2])
    output[:] = steps.output[0]
    return RowSums(*(field[0] for field in sums)), steps.lse[0]
