"""A panel of queries by the plain path: what streaming falls back to where something is not finite."""

import numpy as np

from attnlab.maths.attention import attention_steps
from attnlab.maths.finished import PanelResult
from attnlab.maths.heads import Head
from attnlab.maths.panels import length
from attnlab.maths.rows import RowSums, joined_rows, row_sums


def plain_panel(head: Head, queries: slice, scores: int) -> PanelResult:
    """The queries' rows as `attention` and its statistics have them, so many scores at a time."""
    height = max(1, scores // max(1, len(head.k)))
    starts = range(queries.start, queries.stop, height)
    parts = [_rows(head, slice(start, min(start + height, queries.stop))) for start in starts]
    rows = RowSums(*joined_rows([part.sums for part in parts if isinstance(part.sums, RowSums)]))
    output, lse = (np.concatenate(column) for column in ([p.output for p in parts], [p.lse for p in parts]))
    return PanelResult(rows, output, lse, slice(0, len(head.k)), rows.received)


def _rows(head: Head, queries: slice) -> PanelResult:
    """The same, all of the rows at once."""
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
    sums = row_sums(steps, alone.v, first=queries.start, square=m == head.inputs.shape[-2])
    return PanelResult(RowSums(*(field[0] for field in sums)), steps.output[0], steps.lse[0], keys, sums.received[0])
