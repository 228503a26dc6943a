"""What a streamed run shows in place of its matrices: a few queries' rows, and what each key receives."""

import numpy as np

from attnlab.experiments.run_record import HeadResult, Rows, RunRecord
from attnlab.records import Finding, FloatArray, Grid, Line, Series
from attnlab.show.numbers import number

#: Columns of the picture of a few rows, and points of the figure of what keys receive.
COLUMNS, POINTS = 12, 200
#: A key stands out from this many times what it would receive if every visible key were alike.
STANDS_OUT = 5.0


def kernel_note(record: RunRecord) -> list[Finding]:
    """Why there is no matrix, if there is none."""
    if record.kernel.name == "dense":
        return []
    return [Finding(text=f"Streamed, {record.kernel.reason}: exact statistics, no matrix.", kind="note")]


def sampled_grid(record: RunRecord, rows: Rows, name: str) -> Grid:
    """The weights of a few queries on stretches of keys, or on each key where these are few."""
    edges = stretches(record.m, COLUMNS)
    each = "" if len(edges) - 1 == record.m else f", summed over stretches of {number(record.m / COLUMNS)} keys"
    return Grid(
        title=f"Who attends to whom{name}: {len(rows.queries)} of {record.n:,} queries{each} (each row sums to 1)",
        values=np.add.reduceat(rows.weights.astype(np.float64), edges[:-1], axis=1),
        hidden=None if rows.hidden is None else np.logical_and.reduceat(rows.hidden, edges[:-1], axis=1),
        row_labels=[label(record, i) for i in rows.queries] if record.n == record.m else (),
        column_labels=[f"{edge:,}" if each else label(record, edge) for edge in edges[:-1]],
        column_axis="first key of the stretch" if each else "key",
    )


def label(record: RunRecord, index: int) -> str:
    """A token's text, or its number."""
    return record.tokens[index] if record.tokens else f"{index:,}"


def stretches(m: int, most: int) -> list[int]:
    """The edges of as many stretches of keys, as even as they can be: most of them, or one for each key."""
    return [int(edge) for edge in np.linspace(0, m, min(m, most) + 1)]


def alike(record: RunRecord) -> FloatArray | None:
    """What each key would receive if every visible key were alike, (m,), in equal shares; None where a mask says."""
    spec = record.spec
    if spec is None or spec.window is not None:
        plain = spec is None and record.shown.rows is not None and record.shown.rows.visible is None
        return np.ones(record.m) if plain else None
    if not spec.causal:
        return np.ones(record.m)
    share: FloatArray = np.cumsum(1 / np.arange(record.m, 0, -1))[::-1]  # key j is seen by the queries from j on
    return share


def received_in_words(record: RunRecord, head: HeadResult, name: str) -> str:
    """The key that receives most, beside what it would receive anyway; empty where no row is measured."""
    received = head.statistics.received
    if not np.isfinite(received).all():
        return ""
    at = int(received.argmax())
    usual = alike(record)
    if usual is None:
        return f"{name} gives most to key {at:,}: {number(float(received[at]))} of all its attention."
    ratio = float(received[at]) * record.m / float(usual[at])
    if ratio < STANDS_OUT:
        return (
            f"No key stands out in {name[0].lower()}{name[1:]}: the most that one gets is {ratio:.2f} × its even share."
        )
    share = number(float(received[at]))
    return f"{name} gives most to key {at:,}: {share} of all its attention, {number(ratio)} × an even share."


def received_series(record: RunRecord, head: HeadResult, title: str) -> Series:
    """What each key receives, in equal shares: by stretches of keys, the mean and the largest of each."""
    received = head.statistics.received * record.m
    starts = stretches(record.m, POINTS)[:-1]
    sizes = np.diff([*starts, record.m])
    usual = alike(record)
    means = np.add.reduceat(received, starts) / sizes
    lines = [Line(label="mean of a stretch of keys" if sizes.max() > 1 else "each key", x=starts, y=list(means))]
    if sizes.max() > 1:
        tops = np.maximum.reduceat(received, starts)
        lines.insert(0, Line(label="largest of the stretch", x=starts, y=list(tops)))
    if usual is not None:
        even = list(np.add.reduceat(usual, starts) / sizes)
        lines.append(Line(label="if every visible key were alike", x=starts, y=even, kind="theory"))
    return Series(
        title=title,
        x_axis="key",
        y_axis="attention received, × 1/keys",
        lines=lines,
        log_y=bool((means > 0).all()),
    )
