"""What a person sees of `attnlab depth`: tokens grow alike, and what that does to gradients."""

import math
from collections.abc import Sequence
from dataclasses import asdict

from attnlab.experiments.depth import DepthRecord, DepthRow, GainRow
from attnlab.experiments.depth_variants import VARIANTS
from attnlab.records import Cell, Finding, Part, Quantity, Report, Table
from attnlab.show.numbers import number

#: What a float64 run cannot tell from 0, as a share: below it differences are rounding.
ROUNDING = 1e-14
#: What stands in the place of such a number.
ROUNDED = "rounding"
#: So many layers show a power that comes to its limit.
CUBED = 3
#: An early layer that the table shows beside the first and the last.
EARLY = 4


def report(record: DepthRecord) -> Report:
    """The findings, then tokens and gradients by variant."""
    config = record.config
    heading = (
        f"{config.layers} layers · {config.n} tokens × {config.d_model} · {config.heads} heads · random weights "
        f"({config.init}) · {config.seeds} stacks · seed {config.seed}"
    )
    first = [collapse_in_short(record), slowed_in_words(record)]
    parts: list[Part] = [Finding(text=text) for text in [" ".join(filter(None, first))] if text]
    parts += [residual_table(record)]
    parts += [Finding(text=text) for text in [size_in_short(record)] if text]
    said = [collapse_in_words(record), difference_in_words(record), size_in_words(record)]
    details: list[Part] = [Finding(text=text) for text in said if text]
    return Report(
        heading=heading,
        parts=parts,
        details=[*details, gradient_table(record), gain_table(record)],
        next=["attnlab verify residual --explain", "attnlab run vaswani-base"],
    )


def rows_of(record: DepthRecord, variant: str) -> list[DepthRow]:
    """One variant's rows, layer by layer; none if it was not asked for."""
    return [row for row in record.rows if row.variant == variant]


def collapse_in_short(record: DepthRecord) -> str:
    """Attention alone: how alike tokens are after a few layers."""
    followed = [row for row in rows_of(record, "attention") if row.unrounded is not None]
    if len(followed) < 2:
        return ""
    text = (
        f"Attention alone makes all tokens one: what differs between them is {number(followed[1].unrounded or 0.0)} of "
        f"their length after layer {followed[1].layer}"
    )
    if len(followed) > 2:
        text += f" and {number(followed[-1].unrounded or 0.0)} after layer {followed[-1].layer}"
    if len(record.powers) >= CUBED:
        text += f"; in the end a layer takes it to the power {record.powers[-1].value:.2f}"
    return f"{text}."


def size_in_short(record: DepthRecord) -> str:
    """What of a gradient comes through attention, with and without the residual path."""
    found = [gain_of(record, variant, gain) for gain in (0.5, 1.0) for variant in ("attention", "residual")]
    half, half_with, drawn, drawn_with = found
    if half is None or half_with is None or drawn is None or drawn_with is None:
        return ""
    return (
        f"Gradients: through {record.config.layers} layers of attention of half-size weights "
        f"{number(half.gradient)} of one comes through, with the residual path {number(half_with.gradient)}; of "
        f"weights as drawn {number(drawn.gradient)} and {number(drawn_with.gradient)}."
    )


def collapse_in_words(record: DepthRecord) -> str:
    """Attention alone: how fast tokens become one."""
    rows = rows_of(record, "attention")
    followed = [row for row in rows if row.unrounded is not None]
    if len(followed) < 2:
        return ""
    path = ", ".join(number(row.unrounded or 0.0) for row in followed[1:])
    text = f"Attention alone makes all tokens one: ‖X − x̄‖/‖X‖ is {path} after layers 1 to {followed[-1].layer}."
    if len(record.powers) >= CUBED:
        powers = ", ".join(f"{power.value:.4f}" for power in record.powers[1:])
        text += (
            f" The limit is a cube a layer (doubly exponential, Dong et al. 2021): halve the differences between the "
            f"tokens that go into layers 2 to {len(record.powers)}, and those that come out shrink by 2 to the power "
            f"{powers}."
        )
    floor = next((row for row in rows if row.relative_residual < ROUNDING), None)
    if floor is not None:
        text += (
            f" A run in float64 stops at its rounding, {number(floor.relative_residual)} from layer {floor.layer} on; "
            "these values are carried past it."
        )
    return text


def slowed_in_words(record: DepthRecord) -> str:
    """What the residual path, LayerNorm and the feed-forward do about it."""
    said = []
    for name in ("residual", "residual_norm", "block"):
        if rows := rows_of(record, name):
            early, last = rows[min(EARLY, len(rows) - 1)], rows[-1]
            further = "" if last is early else f" and {number(last.relative_residual)} at {last.layer}"
            said.append(f"{VARIANTS[name].words} {number(early.relative_residual)} at layer {early.layer}{further}")
    if not said:
        return ""
    kept = [rows for name in ("residual", "residual_norm", "block") if (rows := rows_of(record, name))]
    stopped = any(rows[-1].relative_residual >= rows[0].relative_residual for rows in kept)
    slows = "stops this" if stopped else "slows this and does not stop it"
    return f"The residual path {slows}: {'; '.join(said)}."


def difference_in_words(record: DepthRecord) -> str:
    """Of the gradient at initialisation's own size: the part that differs between tokens is what goes."""
    without, with_it = rows_of(record, "block_without_residual"), rows_of(record, "block")
    if not without or not with_it:
        return ""
    lost = next((row for row in reversed(without) if row.token_gradient < ROUNDING), None)
    inner = with_it[: lost.layer + 1] if lost else []
    if lost is None:
        return ""
    least = min(row.token_gradient for row in inner)
    below = len(without) - 1 - lost.layer
    return (
        "Without its residual path a block also loses what a gradient says to one token and not to another: "
        f"{below} layer{'s' if below > 1 else ''} below the top that is {number(lost.token_gradient)} of the whole "
        f"(rounding; tokens that are alike get one gradient). With it, it never falls below {number(least)}."
    )


def size_in_words(record: DepthRecord) -> str:
    """Does the residual path keep the gradient from vanishing: by what factor, and when."""
    pairs = [(gain_of(record, "attention", gain), gain_of(record, "residual", gain)) for gain in (1.0, 0.5)]
    (drawn, drawn_with), (half, half_with) = pairs
    if drawn is None or drawn_with is None or half is None or half_with is None:
        return ""
    n, layers = record.config.n, record.config.layers
    return (
        "Does the residual path keep gradients from vanishing? With weights half as large as drawn, yes: through "
        f"{layers} layers of attention {number(half.gradient)} of the gradient's size reaches the tokens without it, "
        f"{number(half_with.gradient)} with it: {number(half_with.gradient / half.gradient)} times as much. With "
        f"weights as drawn nothing vanishes: {number(drawn.gradient)} without it (averaging over {n} tokens costs "
        f"1/√{n} = {number(1 / math.sqrt(n))}, once), and {number(drawn_with.gradient)} with it."
        f"{norms_in_words(record)}"
    )


def norms_in_words(record: DepthRecord) -> str:
    """What LayerNorm does about the size, in a block."""
    with_it, without = gain_of(record, "block", 1.0), gain_of(record, "block_without_residual", 1.0)
    if with_it is None or without is None:
        return ""
    return (
        f" In a block LayerNorm keeps the size: {number(with_it.gradient)} with it, {number(without.gradient)} without."
    )


def gain_of(record: DepthRecord, variant: str, gain: float) -> GainRow | None:
    """What reaches the tokens themselves: a variant's row of layer 0 at one size of the weights."""
    return next((row for row in rows_at(record, variant, gain) if row.layer == 0), None)


def rows_at(record: DepthRecord, variant: str, gain: float) -> list[GainRow]:
    """A variant's gradients at one size of the weights, layer by layer."""
    return [row for row in record.gains if row.variant == variant and row.gain == gain]


def variants_of(record: DepthRecord) -> list[str]:
    """Those measured, in order."""
    return list(dict.fromkeys(row.variant for row in record.rows))


def residual_table(record: DepthRecord) -> Table:
    """How alike tokens are after the first, an early and the last layer."""
    last = record.config.layers
    shown = sorted({1, min(EARLY, last), last})
    rows: list[Sequence[Cell]] = []
    for name in variants_of(record):
        of_layers = rows_of(record, name)
        rows.append((VARIANTS[name].label, *(residual_cell(of_layers[layer]) for layer in shown)))
    before = number(record.rows[0].relative_residual)
    note = f"‖X − x̄‖/‖X‖, x̄ the mean token; before the first layer {before}; every layer is in the figure"
    if any(ROUNDED in row for row in rows):
        note += f"; rounding: below {number(ROUNDING)}, no more than that"
    return Table(
        title="How unlike the tokens are (1: they share nothing; 0: all one)",
        columns=("", *(f"layer {layer}" for layer in shown)),
        rows=rows,
        note=note,
    )


def residual_cell(row: DepthRow) -> Cell:
    """What the tokens differ by; past float64's rounding, where they were followed that far, without an error."""
    if row.relative_residual < ROUNDING:
        return ROUNDED if row.unrounded is None else row.unrounded
    return Quantity(value=row.relative_residual, standard_error=row.standard_error, n=row.samples)


def gradient_table(record: DepthRecord) -> Table:
    """What of the gradient at the output reaches the tokens, and its part that differs between them."""
    middle = record.config.layers // 2
    rows: list[Sequence[Cell]] = []
    for name in variants_of(record):
        first, half = rows_of(record, name)[0], rows_of(record, name)[middle]
        rows.append(
            (
                VARIANTS[name].label,
                Quantity(value=first.gradient, standard_error=first.gradient_standard_error, n=first.samples),
                Quantity(value=half.gradient, standard_error=half.gradient_standard_error, n=half.samples),
                ROUNDED
                if half.token_gradient < ROUNDING
                else Quantity(
                    value=half.token_gradient, standard_error=half.token_gradient_standard_error, n=half.samples
                ),
            )
        )
    return Table(
        title=f"What comes back down: ‖∂L/∂X‖ at a layer ÷ that at layer {record.config.layers}",
        columns=("", "layer 0", f"layer {middle}", "its differences"),
        rows=rows,
        note=(
            f"L = Σ u∘X_last, u standard normal; its differences: ‖G − ḡ‖ at layer {middle}, ḡ the mean token's "
            "gradient; exact backward passes, no finite differences"
        ),
    )


def gain_table(record: DepthRecord) -> Table:
    """What reaches the tokens when all weights are half, or twice, as large."""
    gains = list(dict.fromkeys(row.gain for row in record.gains))
    rows: list[Sequence[Cell]] = []
    for name in variants_of(record):
        found = [gain_of(record, name, gain) for gain in gains]
        cells = [Quantity(value=row.gradient, standard_error=row.standard_error, n=row.samples) for row in found if row]
        rows.append((VARIANTS[name].label, *cells))
    return Table(
        title="The same at layer 0, with every weight matrix × ½, as drawn, and × 2",
        columns=("", *("as drawn" if gain == 1 else f"× {gain:g}" for gain in gains)),
        rows=rows,
    )


def document(record: DepthRecord) -> dict[str, object]:
    """The fields of `attnlab.depth/1`."""
    last = record.powers[-1] if record.powers else None
    return {
        "rows": [asdict(row) for row in record.rows],
        "gains": [asdict(row) for row in record.gains],
        "collapse_exponent": None if last is None else last.value,
        "collapse_exponent_standard_error": None if last is None else last.standard_error,
        "collapse_exponents": [
            {"layer": layer, "exponent": power.value, "standard_error": power.standard_error}
            for layer, power in enumerate(record.powers, 1)
        ],
    }


def csv_table(record: DepthRecord) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Columns and rows of result.csv: a row per variant and layer."""
    rows = [asdict(row) for row in record.rows]
    return tuple(rows[0]), [tuple(row.values()) for row in rows]


def gains_csv_table(record: DepthRecord) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Columns and rows of gains.csv: a row per variant, size of the weights and layer."""
    rows = [asdict(row) for row in record.gains]
    return tuple(rows[0]), [tuple(row.values()) for row in rows]
