"""What a person sees of a model's weights: what stands out, then layers × heads, then the heads worth a look."""

import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from statistics import NormalDist

import numpy as np

from attnlab.experiments.agreement import SELDOM, tail
from attnlab.experiments.inspect_weights import HeadWeights, WeightsRecord
from attnlab.experiments.inspect_weights_findings import (
    KINDS,
    Kind,
    WeightFinding,
    flat_variance,
    freezing_variance,
    keys_in_sight,
    median,
    of_kind,
    symmetry,
)
from attnlab.experiments.inspect_weights_reading import heading, reading, remarks
from attnlab.records import Cell, Finding, Grid, Part, Report, Table
from attnlab.show.numbers import number
from attnlab.theory.random_directions import SHARE

#: Up to so many heads and layers a map of numbers fits 80 columns and one screen.
MOST_HEADS, MOST_LAYERS = 14, 20
#: Columns that the strongest heads for a reason to look may take, and the heads that are named beside a layer.
STRONGEST, BESIDE = 28, 3
#: Standard deviations of random weights outside which one in a hundred of them lies.
OUTSIDE = NormalDist().inv_cdf((1 + SHARE) / 2)


def report(record: WeightsRecord) -> Report:
    """The findings, the maps or a table by layer, and the heads worth a look."""
    said = [variance_in_words(record), symmetry_in_words(record), values_in_words(record)]
    parts: list[Part] = [Finding(text=text) for text in said if text]
    details: list[Part] = []
    if is_small(record):
        maps = [grid for grid in (variance_grid(record), skew_grid(record)) if np.isfinite(grid.values).any()]
        parts += maps[:1]
        details += [*maps[1:], layers_table(record)]
    else:
        details.append(spread_table(record))
    parts.append(worth_a_look(record))
    details += [Finding(text=text, kind="note") for text in [reading(record), *remarks(record)]]
    return Report(heading=heading(record), parts=parts, details=details, next=["attnlab variance --inits"])


def is_small(record: WeightsRecord) -> bool:
    """Whether layers × heads can be shown as numbers."""
    heads = {head.head for head in record.heads}
    return len(heads) <= MOST_HEADS and len(record.layers) <= MOST_LAYERS


def known(record: WeightsRecord, of: Callable[[HeadWeights], float]) -> list[float]:
    """A number of every head for which it is defined."""
    return [value for head in record.heads if not math.isnan(value := of(head))]


def variance_in_words(record: WeightsRecord) -> str:
    """How large scores of unit-variance inputs are, and in how many heads the softmax freezes."""
    values = known(record, lambda head: head.score_variance)
    if not values:
        return ""
    text = (
        f"Scores of unit-variance inputs have variance {span(values)}; 1 is what a division by √d_k is meant to give."
    )
    frozen = [head for head in record.heads if head.row_variance > freezing_variance(record, head.layer)]
    if frozen:
        text += (
            f" In {of_all(len(frozen), record)} that along a row is above {limit_in_words(record)}, where a softmax "
            "over that many keys freezes onto a few."
        )
    return text


def limit_in_words(record: WeightsRecord) -> str:
    """ "2 ln 512 = 12.5"; layers with windows have limits of their own."""
    limits = {layer: freezing_variance(record, layer) for layer in record.layers}
    if len(set(limits.values())) > 1:
        return (
            f"2 ln N = {number(min(limits.values()))} to {number(max(limits.values()))}, N the keys that its layer sees"
        )
    layer = record.layers[0]
    return f"2 ln {keys_in_sight(record, layer):,} = {number(limits[layer])}"


def symmetry_in_words(record: WeightsRecord) -> str:
    """Whether the heads' M are more, or less, symmetric than random weights, beyond what chance makes of those."""
    shares = known(record, lambda head: head.skew_share)
    if not shares:
        return ""
    aways = [(head.random_skew_share - head.skew_share, head.random_share_deviation) for head in record.heads]
    random = median([head.random_skew_share for head in record.heads])
    spread = median([head.random_share_deviation for head in record.heads])
    scores = known(record, symmetry)
    return (
        f"The skew share of M is {span(shares)}; random weights have {random:.3f} ± {number(spread)}. "
        f"{beyond_chance(aways, 'more symmetric', 'less')}. symmetric² − skew²: median {median(scores):.2f}, 0 at "
        "random."
    )


def beyond_chance(aways: Sequence[tuple[float, float]], more: str, less: str) -> str:
    """How many heads lie outside 99 % of random weights, and how many would by chance.

    Args:
        aways: of each head, how far it is from random weights' mean, and their standard deviation; NaN where unknown.
        more, less: what those are called that lie above, and below.
    """
    known = [away / deviation for away, deviation in aways if deviation > 0 and not math.isnan(away)]
    above, below = (sum(sign * away > OUTSIDE for away in known) for sign in (1, -1))
    chance = (1 - SHARE) * len(known)
    if not tail(above + below, len(known), 1 - SHARE) <= SELDOM * (1 + 1e-9):
        return (
            f"No head is known to differ from them ({above + below} of {len(known):,} seem to; by chance: {chance:.2g})"
        )
    return (
        f"Outside 99 % of those, {above:,} of {len(known):,} heads are {more} and {below:,} {less} "
        f"(by chance: {chance:.2g})"
    )


def values_in_words(record: WeightsRecord) -> str:
    """Whether what heads read is written back."""
    values = known(record, lambda head: head.copying)
    if not values:
        return ""
    chance = median([head.random_copying_deviation for head in record.heads])
    aways = [(head.copying, head.random_copying_deviation) for head in record.heads]
    return (
        f"How much of what they read heads write back (copying: Σλ/Σ|λ| of W_V W_O) is {span(values)}; random weights "
        f"have 0 ± {number(chance)}. {beyond_chance(aways, 'copying', 'inverting')}."
    )


def span(values: Sequence[float]) -> str:
    """ "0.5 to 41.2 (median 3.1)"."""
    low, high = number(min(values)), number(max(values))
    return low if low == high else f"{low} to {high} (median {number(median(values))})"


def of_all(count: int, record: WeightsRecord) -> str:
    """ "7 of 72 heads"."""
    return f"{count:,} of {len(record.heads):,} heads"


# --- layers × heads


def variance_grid(record: WeightsRecord) -> Grid:
    """The score variance of every head."""
    return grid_of(record, lambda head: head.score_variance, "Score variance that the weights give", "score variance")


def skew_grid(record: WeightsRecord) -> Grid:
    """The skew share of every head."""
    random = median([head.random_skew_share for head in record.heads])
    title = f"Skew share of M: 0 symmetric, {random:.2f} random, 1 one-way"
    return grid_of(record, lambda head: head.skew_share, title, "skew share")


def grid_of(record: WeightsRecord, of: Callable[[HeadWeights], float], title: str, quantity: str) -> Grid:
    """A number of every head, layers down, heads across; NaN where it is not defined."""
    rows, columns = list(record.layers), list(dict.fromkeys(head.head for head in record.heads))
    values = np.full((len(rows), len(columns)), np.nan)
    for head in record.heads:
        values[rows.index(head.layer), columns.index(head.head)] = of(head)
    return Grid(
        title=title,
        values=values,
        row_labels=[str(layer) for layer in rows],
        column_labels=[str(head) for head in columns],
        row_axis="layer",
        column_axis="head",
        quantity=quantity,
    )


def heads_of(record: WeightsRecord, layer: int) -> list[HeadWeights]:
    """The heads of one layer."""
    return [head for head in record.heads if head.layer == layer]


def layers_table(record: WeightsRecord) -> Table:
    """The medians of each layer, and the ranks that random weights would have."""
    rows: list[tuple[Cell, ...]] = [
        (f"{layer}", *(cell(median([of(head) for head in heads_of(record, layer)])) for of in MEDIANS.values()))
        for layer in record.layers
    ]
    first = record.heads[0]
    rows.append(("random", *map(cell, (math.nan, first.random_skew_share, first.random_qk_effective_rank)), None, 0))
    return Table(
        title="Medians by layer",
        columns=("layer", *MEDIANS),
        rows=rows,
        note="QK rank: how many directions share ‖M‖² evenly, (Σσ²)²/Σσ⁴; ‖OV‖: the most that W_V W_O lengthens a "
        "token; copying: 1 writes back what it reads, −1 takes it away",
    )


MEDIANS: dict[str, Callable[[HeadWeights], float]] = {
    "Var(score)": lambda head: head.score_variance,
    "skew": lambda head: head.skew_share,
    "QK rank": lambda head: head.qk_effective_rank,
    "‖OV‖": lambda head: head.ov_singular_values[0] if head.ov_singular_values else math.nan,
    "copying": lambda head: head.copying,
}


def cell(value: float) -> float | None:
    """A number, or a dash."""
    return None if math.isnan(value) else value


def spread_table(record: WeightsRecord) -> Table:
    """A row per layer where heads are too many for a map: least, median, most, and the heads worth a look."""
    rows: list[tuple[Cell, ...]] = []
    worth = [finding for kind in KINDS for finding in of_kind(record, kind)]
    for layer in record.layers:
        heads = heads_of(record, layer)
        numbers = [*three([head.score_variance for head in heads]), *three([head.skew_share for head in heads])]
        named = sorted({finding.head for finding in worth if finding.layer == layer})
        more = f" +{len(named) - BESIDE}" if len(named) > BESIDE else ""
        rows.append((f"{layer}", *numbers, " ".join(map(str, named[:BESIDE])) + more))
    return Table(
        title="Score variance and skew share by layer",
        columns=("layer", "Var least", "median", "most", "skew least", "median", "most", "heads to look at"),
        rows=rows,
        note="every head: result.csv",
    )


def three(values: Sequence[float]) -> list[float | None]:
    """The least, the median and the most."""
    defined = [value for value in values if not math.isnan(value)] or [math.nan]
    return [cell(value) for value in (min(defined), median(defined), max(defined))]


# --- heads worth a look


def worth_a_look(record: WeightsRecord) -> Part:
    """For each reason to look: how many heads, and the strongest."""
    found = [(kind, of_kind(record, kind)) for kind in KINDS]
    rows = [(criterion(record, kind), len(heads), strongest(heads)) for kind, heads in found if heads]
    if not rows:
        return Finding(text="No head is worth a look by its weights alone.")
    return Table(
        title="Heads worth a look",
        columns=("", f"of {len(record.heads):,}", "the strongest"),
        rows=rows,
        note="Var(row): the variance along a row, which the softmax sees"
        if any("Var" in row[0] for row in rows)
        else "",
    )


def strongest(found: Sequence[WeightFinding]) -> str:
    """The first ones with their numbers, as many as stand on a line."""
    text = ""
    for one in found:
        longer = f"{text}, {one.layer}.{one.head}: {number(one.value)}".removeprefix(", ")
        if text and len(longer) > STRONGEST:
            break
        text = longer
    return text


def criterion(record: WeightsRecord, kind: Kind) -> str:
    """What it takes, with this model's numbers; where layers see more or fewer keys, the law."""
    layers = {keys_in_sight(record, layer): layer for layer in record.layers}
    if len(layers) > 1:
        return kind.criterion.format(frozen="2 ln N", flat="0.02 ln N", keys="N").removesuffix(" (2 ln N)")
    ((keys, layer),) = layers.items()
    frozen, flat = number(freezing_variance(record, layer)), number(flat_variance(record, layer))
    return kind.criterion.format(frozen=frozen, flat=flat, keys=f"{keys:,}")


# --- files


def document(record: WeightsRecord) -> dict[str, object]:
    """The fields of the document that the weights fill; what is not defined is null, with its reason beside it."""
    return {
        "model": record.model.document(),
        "heads": [head_fields(head) for head in record.heads],
        "findings": [vars(finding) for kind in KINDS for finding in of_kind(record, kind)],
        "thresholds": {kind.id: {"rule": criterion(record, kind), "source": kind.source} for kind in KINDS},
    }


def head_fields(head: HeadWeights) -> dict[str, object]:
    """One head's numbers."""
    found: dict[str, object] = {}
    for name in (one.name for one in fields(head) if one.name != "reasons"):
        if name in head.reasons:
            found |= {name: None, f"{name}_reason": head.reasons[name]}
        else:
            found[name] = getattr(head, name)
    return found


def csv_table(record: WeightsRecord) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Columns and rows of result.csv: a row per layer and head; of the singular values the first."""
    names = tuple(one.name for one in fields(HeadWeights) if one.name != "reasons")
    rows = []
    for head in record.heads:
        values = {name: getattr(head, name) for name in names}
        for name in ("qk_singular_values", "ov_singular_values"):
            values[name] = values[name][0] if values[name] else None
        rows.append(tuple(values.values()))
    return tuple(name.replace("_singular_values", "_norm") for name in names), rows
