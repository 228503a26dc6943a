"""The figures of an inspection: the contact sheet, maps of layers and heads, both by depth, and the head shown."""

import numpy as np

from attnlab.experiments.inspect import InspectRecord
from attnlab.experiments.inspect_pictures import hidden_in_small
from attnlab.experiments.inspect_report import shown_grid
from attnlab.experiments.inspect_words import (
    TITLES,
    head_in_words,
    layers_and_heads,
    sinks_in_words,
    statistic_map,
    why_undefined,
)
from attnlab.experiments.run_figures import retitled
from attnlab.records import Figure, FloatArray, Grid, GridMaps, GridSheet, Line, Panels, Series
from attnlab.show.numbers import number

#: The statistics that everybody's maps show; the one asked for comes first if it is none of them.
MAPS = (
    "normalized_entropy",
    "saturated_fraction",
    "sink_mass",
    "received_max",
    "previous_mass",
    "next_mass",
    "distance",
    "logit_max",
)
#: Of the contact sheet: heads of one layer are folded into lines of so many where there are this many times more heads
#: than layers.
FOLD, FOLD_LAYERS = 16, 4
#: Their titles where there is room for few words only.
SHORT_TITLES = {
    "normalized_entropy": "entropy, share of possible",
    "saturated_fraction": "rows above 0.99",
    "sink_mass": "weight on token 0",
    "received_max": "most that one key receives",
    "previous_mass": "weight on the token before",
    "next_mass": "weight on the token after",
    "distance": "distance, in tokens",
    "logit_max": "largest score",
}


def figures(record: InspectRecord) -> list[Figure]:
    """Every figure of an inspection: that of the head asked for first."""
    drawn = []
    if record.shown is not None:
        grid = shown_grid(record, record.shown)
        head = next(h for h in record.heads if (h.layer, h.head) == record.shown[:2])
        title = head_in_words(record, head, brief=True).rstrip(".")
        drawn.append(Figure(name="attention", drawable=retitled(grid, title)))
    if record.pictures:
        drawn.append(Figure(name="heads", drawable=contact_sheet(record)))
    drawn.append(Figure(name="statistics", drawable=statistic_maps(record)))
    layers, _ = layers_and_heads(record)
    if len(layers) > 1 and (panels := by_depth(record)).panels:
        drawn.append(Figure(name="depth", drawable=panels))
    return drawn


def contact_sheet(record: InspectRecord) -> GridSheet:
    """Every head's matrix, small: layers down, heads across; many heads of few layers go on line after line."""
    layers, heads = layers_and_heads(record)
    folded = len(heads) > FOLD and FOLD_LAYERS * len(layers) <= len(heads)
    across = FOLD if folded else len(heads)
    pictures, quantity = list(record.pictures), picture_quantity(record)
    lines = [(i, start) for i in range(len(layers)) for start in range(0, len(heads), across)]
    return GridSheet(
        title=sinks_in_words(record).rstrip("."),
        grids=[
            [
                Grid(
                    title=f"head {layers[i]}.{head}",
                    values=pictures[i * len(heads) + k],
                    hidden=hidden_in_small(record.specs[layers[i]], record.n),
                    quantity=quantity,
                )
                for k, head in list(enumerate(heads))[start : start + across]
            ]
            for i, start in lines
        ],
        row_labels=[f"layer {layers[i]}" + (f", head {heads[start]} …" if folded else "") for i, start in lines],
        column_labels=[f"+{k}" for k in range(across)] if folded else [f"head {head}" for head in heads],
    )


def picture_quantity(record: InspectRecord) -> str:
    """What a cell of a small picture is."""
    columns = len(record.pictures[0][0])
    if columns == record.n:
        return "attention weight"
    return f"attention weight on a stretch of {number(record.n / columns)} keys"


def statistic_maps(record: InspectRecord) -> GridMaps:
    """Layers down, heads across, a map for each main statistic that is defined."""
    names = [record.statistic, *(name for name in MAPS if name != record.statistic)]
    layers, heads = layers_and_heads(record)
    shown = [name for name in names if not why_undefined(record, name)]
    entropy = statistic_map(record, "normalized_entropy")
    return GridMaps(
        title=f"{len(record.heads)} heads: {entropy_in_words(entropy)}",
        grids=[
            Grid(
                title=SHORT_TITLES.get(name, TITLES[name]),
                values=statistic_map(record, name),
                row_labels=[str(layer) for layer in layers],
                column_labels=[str(head) for head in heads],
                row_axis="layer",
                column_axis="head",
                quantity=name,
            )
            for name in shown
        ],
    )


def entropy_in_words(entropy: FloatArray) -> str:
    """From how concentrated to how spread out the heads are."""
    finite = entropy[np.isfinite(entropy)]
    if not finite.size:
        return "no row of them has two keys to choose between"
    return f"entropy from {finite.min():.2f} to {finite.max():.2f} of what is possible"


def by_depth(record: InspectRecord) -> Panels:
    """Entropy and the largest score of each head against its layer, and their means."""
    entropy, score = (depth_series(record, name) for name in ("normalized_entropy", "logit_max"))
    panels = [series for series in (entropy, score) if series is not None]
    return Panels(title=depth_in_words(record), panels=panels)


def depth_in_words(record: InspectRecord) -> str:
    """How the entropy changes from the first layer reported to the last."""
    layers, _ = layers_and_heads(record)
    entropy = statistic_map(record, "normalized_entropy")
    if not np.isfinite(entropy[[0, -1]]).any(axis=1).all():
        return "Entropy and the largest score by layer"
    first, last = (np.nanmean(entropy[i]) for i in (0, -1))
    return f"Mean entropy is {first:.2f} of what is possible in layer {layers[0]}, {last:.2f} in layer {layers[-1]}"


def depth_series(record: InspectRecord, name: str) -> Series | None:
    """One statistic of each head against its layer, and the mean of the layer; None where it is nowhere defined."""
    layers, _ = layers_and_heads(record)
    values = statistic_map(record, name)
    finite = np.isfinite(values)
    if not finite.any():
        return None
    rows, _ = np.nonzero(finite)
    measured = [i for i in range(len(layers)) if finite[i].any()]
    heads = Line(label="a head", x=[layers[i] for i in rows], y=list(values[finite]))
    mean = Line(
        label="their mean",
        x=[layers[i] for i in measured],
        y=[float(values[i][finite[i]].mean()) for i in measured],
        kind="reference",
    )
    return Series(title=TITLES[name], x_axis="layer", y_axis=SHORT_TITLES[name], lines=[heads, mean])
