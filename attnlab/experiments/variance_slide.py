"""The figure of one width: how q·k is distributed, unscaled and divided by √d_k, and one softmax of each."""

import math

import numpy as np

from attnlab.experiments.variance import VarianceConfig, VarianceRecord, VarianceRow
from attnlab.experiments.variance_sampling import some_products
from attnlab.experiments.variance_softmax import one_softmax
from attnlab.records import Bars, Figure, FloatArray, Histogram, SideBySide
from attnlab.show.numbers import number

#: Bins of the histogram, and the standard deviations on either side that it shows.
BINS, WIDE = 60, 4.5


def slide(record: VarianceRecord) -> Figure:
    """The figure, with the scores and the softmax of the very draws that were measured."""
    config, row = record.config, record.rows[0]
    products = some_products(config.seed, row.d_k, config.pairs(row.d_k), config.distribution, config.correlation)
    scales = (1.0, 1 / math.sqrt(row.d_k))
    names = ("q·k", f"q·k ÷ √{row.d_k}")
    above = [histogram(row, products * scale, scale, name) for scale, name in zip(scales, names, strict=True)]
    below = [] if row.scaled is None else softmaxes(config, row, scales, names)
    return Figure(name="variance", drawable=SideBySide(title=title(row), above=above, below=below))


def title(row: VarianceRow) -> str:
    """Both regimes in numbers."""
    variances = number(row.pairs.variance), number(row.pairs.variance / row.d_k)
    if row.unscaled is None or row.scaled is None:
        return f"q·k has variance {variances[0]}; divided by √{row.d_k}, {variances[1]}"
    kept = [number(side.effective_keys.value or 0.0) for side in (row.unscaled, row.scaled)]
    return (
        f"q·k of variance {variances[0]} leaves {kept[0]} of {row.unscaled.keys:,} keys in use; divided by √{row.d_k} "
        f"it has {variances[1]} and leaves {kept[1]}"
    )


def histogram(row: VarianceRow, scores: FloatArray, scale: float, name: str) -> Histogram:
    """Scores at one scale, beside the normal law of the variance that theory gives them."""
    mean, variance = scale * row.pairs.expected_mean, scale**2 * row.pairs.expected
    half = WIDE * math.sqrt(variance)
    edges = np.linspace(mean - half, mean + half, BINS + 1)
    density, _ = np.histogram(scores, bins=edges)
    x = np.linspace(edges[0], edges[-1], 400)
    return Histogram(
        title=f"{name}: variance {number(scale**2 * row.pairs.variance)}",
        quantity="score",
        edges=edges,
        density=density / (len(scores) * (edges[1] - edges[0])),
        theory_x=x,
        theory_density=np.exp(-np.square(x - mean) / (2 * variance)) / math.sqrt(2 * math.pi * variance),
        theory_label=f"normal, variance {number(variance)}",
    )


def softmaxes(
    config: VarianceConfig, row: VarianceRow, scales: tuple[float, float], names: tuple[str, str]
) -> list[Bars]:
    """The weights of one query at both scales."""
    weights = one_softmax(config.seed, row.d_k, config.keys, config.distribution, scales=scales)
    return [
        Bars(
            title=f"softmax of {name}: largest {number(float(heights.max()))}",
            x_axis="key, of a usual query",
            y_axis="attention weight",
            heights=heights,
            even=1 / config.keys,
        )
        for name, heights in zip(names, weights, strict=True)
    ]
