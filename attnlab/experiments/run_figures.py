"""The figures of a run: the matrix, all heads side by side, the scores over what was predicted, and the steps."""

import math

import numpy as np

from attnlab.experiments.run import RunRecord
from attnlab.experiments.run_report import counted, findings, head_name, weights_grid
from attnlab.records import Figure, FloatArray, Grid, GridSheet, Histogram, Line, Series

#: Of the figure of steps.
MOST_LINES = 6


def figures(record: RunRecord) -> list[Figure]:
    """Every figure of a run, the matrix first."""
    said = findings(record)
    shown = weights_grid(record, record.shown)
    title = said[0].split(";")[0].rstrip(".") if said else shown.title
    drawn = [Figure(name="attention", drawable=retitled(shown, title))]
    if len(record.heads) > 1:
        drawn.append(Figure(name="heads", drawable=head_sheet(record)))
    if np.isfinite(record.shown.scores).any():
        drawn.append(Figure(name="scores", drawable=score_histogram(record)))
    if record.steps:
        drawn.append(Figure(name="steps", drawable=step_series(record)))
    return drawn


def retitled(grid: Grid, title: str) -> Grid:
    """The same grid under another title."""
    return Grid(title=title, values=grid.values, row_labels=grid.row_labels, column_labels=grid.column_labels)


def head_sheet(record: RunRecord) -> GridSheet:
    """Every head reported: layers down, heads across."""
    layers = sorted({head.layer for head in record.heads})
    heads = sorted({head.head for head in record.heads})
    top = max(record.heads, key=lambda head: float(np.nan_to_num(head.statistics.sink_mass)))
    share = float(top.statistics.sink_mass)
    return GridSheet(
        title=f"{counted(len(record.heads), 'head')}; {head_name(record, top)} gives key 0 most ({share:.2f})",
        grids=[
            [Grid(title=head_name(record, head), values=head.weights) for head in record.heads if head.layer == layer]
            for layer in layers
        ],
        row_labels=[f"layer {layer}" for layer in layers],
        column_labels=[f"head {head}" for head in heads],
    )


def score_histogram(record: RunRecord) -> Histogram:
    """The shown head's visible scores over the normal density of their predicted mean and variance."""
    head = record.shown
    finite = head.scores[np.isfinite(head.scores)].astype(np.float64)
    density, edges = np.histogram(finite, bins=bins(finite), density=True)
    measured = float(head.statistics.score_variance)
    scores = head.expectation.scores
    if scores is None or not scores.variance > 0:
        why = f" ({head.expectation.reason})" if head.expectation.reason else ""
        return Histogram(
            title=f"The scores' variance is {measured:.2g}{why}", quantity="score", edges=edges, density=density
        )
    x = np.linspace(min(edges[0], -4 * scores.variance**0.5), max(edges[-1], 4 * scores.variance**0.5), 400)
    label = "predicted" if head.expectation.kind == "population" else "if isotropic"
    ratio = f"{measured / scores.variance:.2g} times what random tokens would give"
    beside = (
        ratio if scores.standard_error is None else f"predicted {scores.variance:.2g} ± {scores.standard_error:.1g}"
    )
    return Histogram(
        title=f"The scores' variance is {measured:.2g}: {beside}",
        quantity="score",
        edges=edges,
        density=density,
        theory_x=x,
        theory_density=normal_density(x, scores.mean, scores.variance),
        theory_label=f"normal, variance {scores.variance:.2g} ({label})",
    )


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
    return Series(
        title=f"Variance through {over}: {first.variance:.2g} in {first.name}, {last.variance:.2g} in {last.name}",
        x_axis="step",
        y_axis="variance of all entries",
        lines=lines,
        x_ticks=names,
        log_y=all(step.variance > 0 for step in record.steps),
    )
