"""The figures of a model's weights: layers × heads, and how heads change with depth beside random weights."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from attnlab.experiments.inspect_weights import HeadWeights, WeightsRecord
from attnlab.experiments.inspect_weights_findings import freezing_variance, median
from attnlab.experiments.inspect_weights_report import heads_of, known, of_all, skew_grid, span, variance_grid
from attnlab.records import Figure, Line, Panels, Series
from attnlab.show.numbers import number


def figures(record: WeightsRecord) -> list[Figure]:
    """The maps of score variance and skew share, and the panels by layer; those with nothing defined are left out."""
    drawn = []
    variances, shares = variance_grid(record), skew_grid(record)
    if np.isfinite(variances.values).any():
        title = f"Scores of unit-variance inputs have variance {span(known(record, lambda head: head.score_variance))}"
        drawn.append(Figure(name="score_variance", drawable=replace(variances, title=title)))
    if np.isfinite(shares.values).any():
        more = sum(head.skew_share < head.random_skew_share for head in record.heads)
        title = f"{of_all(more, record)} have a more symmetric M than random weights"
        drawn.append(Figure(name="skew_share", drawable=replace(shares, title=title)))
    if len(record.layers) > 1 and (panels := by_layer(record)):
        drawn.append(Figure(name="weights_by_layer", drawable=Panels(title=depth_in_words(record), panels=panels)))
    return drawn


def depth_in_words(record: WeightsRecord) -> str:
    """From the first layer to the last, in medians."""
    first, last = min(record.layers), max(record.layers)
    said = []
    for name, of in (("score variance", _variance), ("skew share", _skew)):
        ends = [median([of(head) for head in record.heads if head.layer == layer]) for layer in (first, last)]
        if not any(map(math.isnan, ends)):
            said.append(f"{name} from {number(ends[0])} to {number(ends[1])}")
    return f"The median head of layer {first} and of {last}: {', '.join(said)}"


def by_layer(record: WeightsRecord) -> list[Series]:
    """Every head over its layer, beside the line that theory has for it."""
    freezing = [freezing_variance(record, layer) for layer in record.layers]
    heads = [heads_of(record, layer) for layer in record.layers]
    skew = [median([head.random_skew_share for head in layer]) for layer in heads]
    rank = [median([head.random_qk_effective_rank for head in layer]) for layer in heads]
    return [
        series
        for series in (
            _series(record, "score variance", _variance, freezing, "2 ln N: a softmax over N keys freezes", log=True),
            _series(record, "skew share of M", _skew, skew, "random weights"),
            _series(record, "QK rank", lambda h: h.qk_effective_rank, rank, "random weights"),
            _series(record, "copying", _copying, [0.0] * len(record.layers), "random weights"),
        )
        if series is not None
    ]


def _variance(head: HeadWeights) -> float:
    return head.score_variance


def _skew(head: HeadWeights) -> float:
    return head.skew_share


def _copying(head: HeadWeights) -> float:
    return head.copying


def _series(
    record: WeightsRecord,
    quantity: str,
    of: Callable[[HeadWeights], float],
    theory: Sequence[float],
    law: str,
    *,
    log: bool = False,
) -> Series | None:
    points = [(head.layer, of(head)) for head in record.heads if not math.isnan(of(head))]
    if not points:
        return None
    lines = [
        Line(label="heads", x=[layer for layer, _ in points], y=[value for _, value in points]),
        Line(label=law, x=list(record.layers), y=list(theory), kind="theory"),
    ]
    return Series(title="", x_axis="layer", y_axis=quantity, lines=lines, log_y=log and all(y > 0 for _, y in points))
