"""What a person sees of `attnlab lookup`: how it hardens, what it is not, how far it looks."""

from collections.abc import Sequence
from dataclasses import asdict

from attnlab.experiments.lookup import EXAMPLE_KEYS, ExampleRow, LookupRecord
from attnlab.experiments.lookup_horizon import HorizonRow
from attnlab.experiments.lookup_table import LookupRow
from attnlab.records import Cell, Check, Checks, Finding, Quantity, Report, Table
from attnlab.show.numbers import number
from attnlab.theory.lookup import horizon

#: The distance to the hard lookup, as a share of that at β = 1, from which attention is said to be one.
HARD = 0.01
#: A distance below this share of that at β = 1 is left to the details.
NOTHING = 1e-6
#: Weights that rounding may put on the other side of the smallest float32: so many per β, and of all so large a share.
SLACK, SLACK_SHARE = 2, 1e-4


def report(record: LookupRecord) -> Report:
    """The findings, then the table of β, the example by hand, the horizon."""
    config = record.config
    heading = (
        f"{config.keys} keys, {config.queries} queries · d_k = d_v = {config.width} · scores β·q·k, where β = 1 is "
        f"q·k/√d_k, of variance 1 · seed {config.seed}"
    )
    return Report(
        heading=heading,
        parts=[Finding(text=hardening_in_words(record)), short_table(record), Finding(text=horizon_in_words(record))],
        details=[
            hardening_table(record),
            Finding(text=example_in_words(record), kind="note"),
            example_table(record.examples),
            horizon_table(record),
        ],
        checks=bound_checks(record),
        next=["attnlab verify lemma-2 --explain", "attnlab variance --dk 64"],
    )


def hardening_in_words(record: LookupRecord) -> str:
    """From ordinary attention to a table lookup, by numbers."""
    first, last = record.rows[0], record.rows[-1]
    near = next((row for row in record.rows if row.distance <= HARD * first.distance), last)
    return (
        f"Attention is a table lookup that is soft: at β = 1 the best of {record.config.keys} keys has "
        f"{number(first.max_weight)} of the weight and the output is {number(first.distance)} away from its value; at "
        f"β = {number(near.beta)} it is {number(near.distance)}. From β = {number(last.beta)} on, every row of float32 "
        "weights is one-hot."
    )


def short_table(record: LookupRecord) -> Table:
    """What the best key holds, and how far the output is from its value, up to where all weights are one-hot."""
    rows: list[Sequence[Cell]] = [
        (
            number(row.beta),
            Quantity(value=row.max_weight, standard_error=row.max_weight_standard_error, n=row.samples),
            Quantity(value=row.distance, standard_error=row.distance_standard_error, n=row.samples),
            row.bound,
        )
        for row in record.rows
        if row.distance > NOTHING * record.rows[0].distance
    ]
    return Table(
        title="",
        columns=("β", "best key's weight", "output to its value", "at most"),
        rows=rows,
        note="means over the queries; at most: by the weight that the other keys have",
    )


def horizon_in_words(record: LookupRecord) -> str:
    """How far a match can be found among others."""
    ends = [of_width(record, d_k)[-1] for d_k in widths(record)]
    at_the_end = ", ".join(f"{number(row.weight)} at d_k {row.d_k}" for row in ends)
    text = "It looks only so far: a key that equals the query keeps half of the weight among about e^(√d_k − ½) others"
    marks = [row for d_k in widths(record) if (row := at_mark(record, d_k)) is not None]
    if marks:
        last = marks[-1]
        text += f" ({number(last.weight)} measured among {last.n:,} at d_k {last.d_k})"
    return f"{text}. Among {ends[0].n:,} it keeps {at_the_end}."


def widths(record: LookupRecord) -> list[int]:
    """The d_k of the horizon, in order."""
    return list(dict.fromkeys(row.d_k for row in record.horizon))


def of_width(record: LookupRecord, d_k: int) -> list[HorizonRow]:
    """The horizon's rows of one d_k, n rising."""
    return [row for row in record.horizon if row.d_k == d_k]


def at_mark(record: LookupRecord, d_k: int) -> HorizonRow | None:
    """The row at the rule of thumb's N."""
    return next((row for row in of_width(record, d_k) if row.n == round(horizon(d_k))), None)


def hardening_table(record: LookupRecord) -> Table:
    """Distance and largest weight beside their bounds, a row per β."""
    return Table(
        title="From soft to hard (means over the queries)",
        columns=("β", "‖o − v*‖", "at most", "1 − p_max", "at most", "zeros"),
        rows=[hardening_row(row) for row in record.rows],
        note=(
            "o: the output; v*: the value of the key with the largest q·k; p_max: the largest weight; at most: "
            "(1 − p_max)·max‖v_j − v*‖, and r/(1 + r), r = (N − 1)e^(−βΔ), Δ the gap to the second key, "
            f"{number(record.rows[0].gap)} on average and {number(record.rows[0].smallest_gap)} at least; "
            "zeros: weights that are exactly 0 in float32, where a score is 104 or more below the row's largest"
        ),
    )


def hardening_row(row: LookupRow) -> Sequence[Cell]:
    """One β."""
    return (
        number(row.beta),
        Quantity(value=row.distance, standard_error=row.distance_standard_error, n=row.samples),
        row.bound,
        Quantity(value=row.rest, standard_error=row.max_weight_standard_error, n=row.samples),
        row.rest_bound,
        f"{100 * row.float32_zeros / row.weights:.1f} %",
    )


def bound_checks(record: LookupRecord) -> Checks:
    """That no query broke a bound at any β, and that the float32 zeros are those expected."""
    rows = record.rows
    broken, tried = sum(row.broken for row in rows), sum(row.samples for row in rows)
    found, expected = sum(row.float32_zeros for row in rows), sum(row.expected_float32_zeros for row in rows)
    nearest = max(row.nearest_to_bound for row in rows)
    weight = max(row.nearest_to_weight_bound for row in rows)
    return Checks(
        checks=[
            Check(
                id="lookup-bounds",
                holds=broken == 0,
                value=float(broken),
                bound=0.0,
                text=f"both bounds kept by every one of {tried:,} look-ups (the nearest at {nearest:.2f} and "
                f"{weight:.2f} of them)",
            ),
            Check(
                id="float32-zeros",
                holds=abs(found - expected) <= SLACK * len(rows) + SLACK_SHARE * expected,
                value=float(found),
                bound=float(expected),
                text=f"{found:,} weights are 0 in float32; {expected:,} scores lie 150 ln 2 = 104.0 below the largest",
            ),
        ]
    )


def example_in_words(record: LookupRecord) -> str:
    """What a lookup by dot products is not, by hand."""
    own, tie = (row for row in record.examples if row.beta == record.rows[-1].beta)
    a, b, c = (as_vector(key) for key in EXAMPLE_KEYS)
    return (
        f"Two things that it is not, with keys a {a}, b {b}, c {c}. Nearest: the query a itself retrieves b "
        f"({own.weights[1]:.2g}), whose score is larger because it is longer. Hard: two equal largest scores share the "
        f"weight at every β ({tie.weights[1]:.2g}, {tie.weights[2]:.2g})."
    )


def example_table(examples: Sequence[ExampleRow]) -> Table:
    """The example by hand."""
    rows: list[Sequence[Cell]] = [
        (f"{as_vector(row.query)}, β = {number(row.beta)}", *(f"{score:g}" for score in row.scores), *row.weights)
        for row in examples
    ]
    return Table(title="", columns=("query", "q·a", "q·b", "q·c", "p_a", "p_b", "p_c"), rows=rows)


def as_vector(numbers: Sequence[float]) -> str:
    """ "(1, 0)"."""
    return f"({', '.join(f'{x:g}' for x in numbers)})"


def horizon_table(record: LookupRecord) -> Table:
    """Half of the weight: up to where, and what is left at the last N."""
    rows: list[Sequence[Cell]] = []
    for d_k in widths(record):
        mark, last = at_mark(record, d_k), of_width(record, d_k)[-1]
        rows.append(
            (
                str(d_k),
                round(horizon(d_k)) if horizon(d_k) < 1e6 else horizon(d_k),
                None if mark is None else as_quantity(mark),
                None if mark is None else mark.predicted,
                as_quantity(last),
                last.predicted,
            )
        )
    end, sample = record.horizon[-1].n, record.horizon[-1].samples
    return Table(
        title="The weight that a key equal to the query keeps among N others, scores q·k/√d_k",
        columns=("d_k", "e^(√d_k − ½)", "at that N", "predicted", f"at {end:,}", "predicted"),
        rows=rows,
        note=f"{sample:,} queries each; predicted: exactly, by an integral; every N is in matches.csv and the figure",
    )


def as_quantity(row: HorizonRow) -> Quantity:
    """A measured weight with its error."""
    return Quantity(value=row.weight, standard_error=row.standard_error, n=row.samples)


def document(record: LookupRecord) -> dict[str, object]:
    """The fields of `attnlab.lookup/1`."""
    return {
        "rows": [asdict(row) for row in record.rows],
        "examples": [asdict(row) for row in record.examples],
        "horizon": [asdict(row) for row in record.horizon],
        "checks": [
            {"id": check.id, "holds": check.holds, "value": check.value, "bound": check.bound}
            for check in bound_checks(record).checks
        ],
    }


def csv_table(record: LookupRecord) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Columns and rows of result.csv: a row per β."""
    return as_table([asdict(row) for row in record.rows])


def horizon_csv_table(record: LookupRecord) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Columns and rows of matches.csv: a row per d_k and N."""
    return as_table([asdict(row) for row in record.horizon])


def as_table(rows: Sequence[dict[str, object]]) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Dictionaries of the same keys as columns and rows."""
    return tuple(rows[0]), [tuple(row.values()) for row in rows]
