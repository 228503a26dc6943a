"""The figures of a run: the matrix, all heads side by side, the scores over what was predicted, and the steps."""

import math
from dataclasses import replace

import numpy as np

from attnlab.experiments.run_findings import findings, head_name, is_measured
from attnlab.experiments.run_record import HeadResult, Rows, RunRecord
from attnlab.experiments.run_report import counted, times, weights_grid
from attnlab.experiments.run_streamed_report import received_in_words, received_series
from attnlab.records import Figure, FloatArray, Grid, GridSheet, Histogram, Line, Series
from attnlab.show.numbers import number, with_error
from attnlab.theory.scores import ScorePrediction

#: Of the figure of steps: there are so many colours.
MOST_LINES = 5


def figures(record: RunRecord) -> list[Figure]:
    """Every figure of a run, the matrix first."""
    shown = weights_grid(record, record.shown)
    drawn = []
    if record.shown.weights is None:
        drawn += streamed_figures(record)
    elif shown is not None:
        title = next(iter(findings(record)), shown.title).rstrip(".")
        drawn.append(Figure(name="attention", drawable=retitled(shown, title)))
        if len(record.heads) > 1:
            drawn.append(Figure(name="heads", drawable=head_sheet(record)))
    rows = record.shown.rows
    if is_measured(record.shown) and rows is not None and np.isfinite(rows.visible_scores).any():
        drawn.append(Figure(name="scores", drawable=score_histogram(record, rows)))
    if record.steps:
        drawn.append(Figure(name="steps", drawable=step_series(record)))
    return drawn


def streamed_figures(record: RunRecord) -> list[Figure]:
    """What is drawn in place of the matrices: a few rows, and what each key receives."""
    shown, head = weights_grid(record, record.shown), record.shown
    drawn = [] if shown is None else [Figure(name="attention", drawable=shown)]
    title = received_in_words(record, head, head_name(record, head).capitalize()).rstrip(".")
    if title:
        drawn.insert(0, Figure(name="received", drawable=received_series(record, head, title)))
    return drawn


def retitled(grid: Grid, title: str) -> Grid:
    """The same grid under another title."""
    return replace(grid, title=title)


def head_sheet(record: RunRecord) -> GridSheet:
    """Every head reported: layers down, heads across."""
    layers = sorted({head.layer for head in record.heads})
    heads = sorted({head.head for head in record.heads})
    return GridSheet(
        title=counted(len(record.heads), "head") + spread_of_heads(record) + sink_in_words(record),
        grids=[
            [
                Grid(title=head_name(record, head), values=head.weights, hidden=head.rows and head.rows.hidden)
                for head in record.heads
                if head.layer == layer and head.weights is not None
            ]
            for layer in layers
        ],
        row_labels=[f"layer {layer}" for layer in layers],
        column_labels=[f"head {head}" for head in heads],
    )


def spread_of_heads(record: RunRecord) -> str:
    """From how concentrated to how spread out the heads are, after a colon; empty where none can choose."""
    shares = [float(head.statistics.normalized_entropy) for head in record.heads]
    shares = sorted(share for share in shares if not math.isnan(share))
    if not shares:
        return ""
    least, most = f"{shares[0]:.2f}", f"{shares[-1]:.2f}"
    span = least if least == most else f"from {least} to {most}"
    return f": {span} as spread out as they can be"


def sink_in_words(record: RunRecord) -> str:
    """The head that gives key 0 most, if it is a sink and looks ahead: under a causal mask key 0 gets much anyway."""
    sinks = [head for head in record.heads if head.statistics.sink == 1 and looks_ahead(head)]
    if not sinks:
        return ""
    top = max(sinks, key=lambda head: float(head.statistics.sink_mass))
    return f"; {head_name(record, top)} gives {float(top.statistics.sink_mass):.2f} to key 0"


def looks_ahead(head: HeadResult) -> bool:
    """Whether any query gives weight to a key after it."""
    return head.weights is not None and bool(np.triu(head.weights, 1).any())


def score_histogram(record: RunRecord, rows: Rows) -> Histogram:
    """The shown head's visible scores over the normal density of their predicted mean and variance."""
    head = record.shown
    finite = rows.visible_scores[np.isfinite(rows.visible_scores)].astype(np.float64)
    of = "" if head.weights is not None else f" (bars: {len(rows.queries)} queries' scores)"
    density, edges = np.histogram(finite, bins=bins(finite), density=True)
    measured = float(head.statistics.score_variance)
    scores = head.expectation.scores
    if scores is None or not scores.variance > 0:
        why = f" ({head.expectation.reason})" if head.expectation.reason else ""
        return Histogram(
            title=f"The scores' variance is {number(measured)}{why}{of}",
            quantity="score",
            edges=edges,
            density=density,
        )
    x = np.linspace(min(edges[0], -4 * scores.variance**0.5), max(edges[-1], 4 * scores.variance**0.5), 400)
    middle = float(head.statistics.score_mean) if math.isnan(scores.mean) else scores.mean
    label = "predicted" if head.expectation.kind == "population" else "random directions"
    expected = variance_in_words(scores)
    ratio = f"{times(measured / scores.variance)} the {expected} of random directions"
    beside = ratio if scores.standard_error is None else f"predicted {expected}"
    return Histogram(
        title=f"The scores' variance is {number(measured)}: {beside}{of}",
        quantity="score",
        edges=edges,
        density=density,
        theory_x=x,
        theory_density=normal_density(x, middle, scores.variance),
        theory_label=f"normal, variance {expected} ({label})",
    )


def variance_in_words(scores: ScorePrediction) -> str:
    """The expected variance as the table writes it."""
    error = scores.standard_error
    return number(scores.variance) if error is None else with_error(scores.variance, error)


def bins(values: FloatArray) -> FloatArray:
    """Edges of 10 to 60 bins of equal width that hold all values."""
    low, high = float(values.min()), float(values.max())
    count = int(np.clip(round(math.sqrt(values.size)), 10, 60))
    return np.linspace(low, high, count + 1) if high > low else np.linspace(low - 0.5, high + 0.5, count + 1)


def normal_density(x: FloatArray, mean: float, variance: float) -> FloatArray:
    """The density of N(mean, variance)."""
    density: FloatArray = np.exp(-np.square(x - mean) / (2 * variance)) / math.sqrt(2 * math.pi * variance)
    return density


def step_series(record: RunRecord) -> Series:
    """The variance from X through T1 … H, a line for each of at most MOST_LINES layers."""
    layers = sorted({step.layer for step in record.steps})
    if len(layers) > MOST_LINES:
        layers = [layers[i] for i in np.linspace(0, len(layers) - 1, MOST_LINES).round().astype(int)]
    names = list(dict.fromkeys(step.name for step in record.steps))
    lines = [
        Line(
            label=f"layer {layer}",
            x=list(range(len(names))),
            y=[step.variance for step in record.steps if step.layer == layer],
        )
        for layer in layers
    ]
    first, last = record.steps[0], record.steps[-1]
    over = "the block" if len(layers) == 1 else f"layers {first.layer} to {last.layer}"
    ends = " and ".join(f"{number(step.variance)} in {step.name}" for step in (first, last))
    return Series(
        title=f"Variance through {over}: {ends}",
        x_axis="step",
        y_axis="variance of all entries",
        lines=lines,
        x_ticks=names,
        log_y=all(step.variance > 0 for step in record.steps),
    )
