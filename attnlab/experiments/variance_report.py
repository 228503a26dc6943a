"""What a person sees of `attnlab variance`: the finding, two columns or a sweep, and what becomes of the softmax."""

import math

from attnlab.experiments.variance import NO_MATRIX, ScoreResult, VarianceConfig, VarianceRecord, VarianceRow
from attnlab.experiments.variance_sampling import matrix_shape
from attnlab.experiments.variance_softmax import NO_LAW, SoftmaxResult
from attnlab.records import Cell, Finding, Part, Quantity, Report, Table
from attnlab.show.numbers import number, with_error
from attnlab.theory.products import matrix_standard_error, pairs_standard_error
from attnlab.theory.random_energy import freezing_deviation

#: Standard errors within which a measurement agrees with theory.
AGREES = 3.0
ENTRIES = {"normal": "normal", "uniform": "uniform (±√3)", "sign": "±1"}


def report(record: VarianceRecord) -> Report:
    """One width: both columns side by side. Several: a row each."""
    single = len(record.rows) == 1
    parts, details = single_parts(record.config, record.rows[0]) if single else sweep_parts(record)
    d_k = record.rows[0].d_k if single else 64
    following = ["attnlab variance", "attnlab variance --inits"] if single else ["attnlab variance --dk 64"]
    return Report(
        heading=heading(record),
        parts=parts,
        details=[*details, Finding(text=closing_note(record), kind="note")],
        next=[*following, f"attnlab gradient --dk {d_k}" if single else "attnlab gradient"],
    )


def heading(record: VarianceRecord) -> str:
    """The experiment in one line."""
    config, widths = record.config, [row.d_k for row in record.rows]
    span = f"d_k {widths[0]:,}" if len(widths) == 1 else f"d_k {widths[0]:,} to {widths[-1]:,}"
    pairs = [config.pairs(d_k) for d_k in widths]
    counted = f"{max(pairs):,}" if min(pairs) == max(pairs) else f"{min(pairs):,} to {max(pairs):,}"
    drawn = f"{counted} pairs of {ENTRIES[config.distribution]} entries"
    related = f" · correlation {config.correlation:g}" if config.correlation else ""
    return f"Var(q·k) · {span} · {drawn}{related} · seed {config.seed}"


# --- one width


def single_parts(config: VarianceConfig, row: VarianceRow) -> tuple[list[Part], list[Part]]:
    """The finding, the table of two columns, and what freezes; and the details."""
    parts: list[Part] = [Finding(text=variance_finding(row)), side_by_side(config, row)]
    details: list[Part] = []
    if row.unscaled is not None and row.scaled is not None:
        parts.append(Finding(text=freezing_finding(row.d_k, row.unscaled, row.scaled)))
        details.append(Finding(text=freezing_law(row.unscaled.keys), kind="note"))
    if row.matrix is not None and row.matrix.z is not None:
        details += [matrix_table(config, row, row.matrix), Finding(text=matrix_note(config, row.d_k, row.matrix))]
    return parts, details


def variance_finding(row: VarianceRow) -> str:
    """The measured variance beside theory, and what dividing does to it."""
    pairs = row.pairs
    measured = with_error(pairs.variance, pairs.standard_error) if pairs.standard_error else number(pairs.variance)
    text = (
        f"Var(q·k) = {measured}; theory {number(pairs.expected)} ({verdict(pairs)}). Divided by √{row.d_k}: "
        f"{number(pairs.variance / row.d_k)}; theory {number(pairs.expected / row.d_k)}."
    )
    if pairs.expected_mean:
        error = math.sqrt(pairs.expected / pairs.samples)
        text += f" Mean {with_error(pairs.mean, error)}; theory ρ d_k = {number(pairs.expected_mean)}."
    return text


def verdict(scores: ScoreResult) -> str:
    """How far off a variance is, in words."""
    if scores.z is None:
        return "exactly: every product is 1 or −1"
    return f"{abs(scores.z):.1f} standard errors away: {'agrees' if abs(scores.z) <= AGREES else 'does not agree'}"


def side_by_side(config: VarianceConfig, row: VarianceRow) -> Table:
    """Unscaled and scaled, line by line."""
    rows: list[tuple[Cell, Cell, Cell]] = [
        ("variance", *both(row.pairs, row.d_k)),
        ("  theory", row.pairs.expected, row.pairs.expected / row.d_k),
    ]
    if row.unscaled is not None and row.scaled is not None:
        rows += softmax_rows(row.unscaled, row.scaled)
    return Table(title="", columns=("", "unscaled", f"÷ √{row.d_k} (same draws)"), rows=rows, note=table_note(config))


def matrix_table(config: VarianceConfig, row: VarianceRow, matrix: ScoreResult) -> Table:
    """The variance of every query with every key."""
    n, m = matrix_shape(config.keys)
    return Table(
        title="",
        columns=("", "unscaled", f"÷ √{row.d_k}"),
        rows=[(f"as a {n:,} × {m:,} matrix", *both(matrix, row.d_k))],
    )


def both(scores: ScoreResult, d_k: int) -> tuple[Quantity, Quantity]:
    """The variance with its error, unscaled and scaled."""
    error = scores.standard_error or None
    return (
        Quantity(value=scores.variance, standard_error=error, n=scores.samples),
        Quantity(value=scores.variance / d_k, standard_error=error and error / d_k, n=scores.samples),
    )


def softmax_rows(unscaled: SoftmaxResult, scaled: SoftmaxResult) -> list[tuple[Cell, Cell, Cell]]:
    """The softmax's lines of the table."""
    possible, keys = f"of {math.log(unscaled.keys):.2f} nat", f"of {unscaled.keys:,}"
    saturated = percent(unscaled.saturated_fraction), percent(scaled.saturated_fraction)
    return [
        ("entropy", with_unit(unscaled.entropy, possible), with_unit(scaled.entropy, possible)),
        ("  theory", law_cell(unscaled), law_cell(scaled)),
        ("effective keys", with_unit(unscaled.effective_keys, keys), with_unit(scaled.effective_keys, keys)),
        ("rows above 0.99", with_unit(saturated[0], "%"), with_unit(saturated[1], "%")),
    ]


def law_cell(side: SoftmaxResult) -> Quantity:
    """The exact law's entropy, and how far off the measured one is."""
    return Quantity(value=side.expected_entropy, unit="" if side.z is None else f"({abs(side.z):.1f} off)")


def with_unit(quantity: Quantity, unit: str) -> Quantity:
    """The same with a unit, and without an error of 0, which a share of 0 rows would have."""
    return Quantity(value=quantity.value, standard_error=quantity.standard_error or None, n=quantity.n, unit=unit)


def percent(share: Quantity) -> Quantity:
    """A share in hundredths."""
    return Quantity(value=100 * (share.value or 0.0), standard_error=100 * (share.standard_error or 0.0), n=share.n)


def table_note(config: VarianceConfig) -> str:
    """What the columns cannot say."""
    if config.correlation:
        return f"no matrix and no softmax: {NO_MATRIX}"
    note = f"entropy, effective keys, rows above 0.99: of the softmax over {config.keys:,} keys"
    return f"{note}; off: in standard errors" if config.distribution == "normal" else f"{note}; {NO_LAW}"


def freezing_finding(d_k: int, unscaled: SoftmaxResult, scaled: SoftmaxResult) -> str:
    """Where the softmax freezes, why there, and on which side of it this width is."""
    keys = unscaled.keys
    left, kept = (number(side.effective_keys.value or 0.0) for side in (unscaled, scaled))
    if d_k >= freezing_deviation(keys) ** 2:
        state = f"Unscaled, the softmax has frozen: {left} effective keys of {keys:,}; scaled, {kept}."
    else:
        state = f"Unscaled, the softmax is not frozen yet: {left} effective keys of {keys:,}; scaled, {kept}."
    return f"{state} {where_it_freezes(keys)}"


def where_it_freezes(keys: int) -> str:
    """The freezing point in a sentence."""
    point = freezing_deviation(keys) ** 2
    return (
        f"It freezes about d_k = 2 ln {keys:,} = {point:.1f}: there, of many keys, the largest e^score is as much as "
        "all the others together."
    )


def freezing_law(keys: int) -> str:
    """Why there."""
    return (
        f"Why from 2 ln {keys:,} on: N scores of variance d_k sum to about N e^(d_k/2), until the largest alone, "
        "e^√(2 d_k ln N), is as much as all of that."
    )


def matrix_note(config: VarianceConfig, d_k: int, matrix: ScoreResult) -> str:
    """Why the matrix is less sure than as many independent pairs."""
    n, m = matrix_shape(config.keys)
    alone = pairs_standard_error(d_k, matrix.samples, config.distribution)
    shared = matrix_standard_error(d_k, n, m, config.distribution)
    where = f" It is {abs(matrix.z or 0.0):.1f} of its own standard errors off."
    if shared <= 1.01 * alone:
        return f"QKᵀ as a whole is as sure of its variance as {matrix.samples:,} independent pairs.{where}"
    return (
        f"The matrix's error bar is {shared / alone:.1f} times that of {matrix.samples:,} independent pairs: its "
        f"entries share {n:,} queries and {m:,} keys, and one long query makes its whole row large.{where}"
    )


# --- a sweep


def sweep_parts(record: VarianceRecord) -> tuple[list[Part], list[Part]]:
    """The findings and a table; and the details."""
    parts: list[Part] = [Finding(text=sweep_finding(record))]
    if record.config.correlation:
        return [*parts, scores_table(record)], []
    last = record.rows[-1]
    if last.unscaled is None or last.scaled is None:
        return [*parts, scores_table(record)], []
    parts += [both_table(record), Finding(text=freezing_sweep(record))]
    return parts, [
        scores_table(record),
        softmax_table(record),
        Finding(text=freezing_law(record.config.keys), kind="note"),
    ]


def both_table(record: VarianceRecord) -> Table:
    """The scores' variance and the softmax's entropy by width, unscaled and scaled."""
    rows: list[tuple[Cell, ...]] = []
    for row in record.rows:
        sides = [None if side is None else side.entropy.value for side in (row.unscaled, row.scaled)]
        measured, scaled = both(row.pairs, row.d_k)
        rows.append((f"{row.d_k:,}", measured, row.pairs.expected, off(row.pairs), scaled, *sides))
    return Table(
        title="",
        columns=("d_k", "Var(q·k)", "theory", "off", "÷ √d_k", "entropy", "scaled"),
        rows=rows,
        note=f"off: standard errors from theory; entropy: of the softmax over {record.config.keys:,} keys, in nat",
    )


def sweep_finding(record: VarianceRecord) -> str:
    """Whether the variance follows its law over all widths."""
    law = "d_k" if not record.config.correlation else f"d_k (1 + ρ²), ρ = {record.config.correlation:g}"
    offs = [abs(row.pairs.z) for row in record.rows if row.pairs.z is not None]
    worst = max(offs, default=0.0)
    follows = "follows" if worst <= AGREES else "does not follow"
    scaled = [row.pairs.variance / row.d_k for row in record.rows]
    return (
        f"Var(q·k) {follows} {law}: the farthest of {len(record.rows)} points is {worst:.1f} standard errors off. "
        f"Divided by √d_k it stays between {number(min(scaled))} and {number(max(scaled))}, whatever d_k."
    )


def scores_table(record: VarianceRecord) -> Table:
    """Var(q·k) by width."""
    rows: list[tuple[Cell, ...]] = []
    for row in record.rows:
        measured, scaled = both(row.pairs, row.d_k)
        matrix = None if row.matrix is None else both(row.matrix, row.d_k)[0]
        rows.append((f"{row.d_k:,}", measured, row.pairs.expected, off(row.pairs), scaled, matrix))
    return Table(
        title="Scores",
        columns=("d_k", "Var(q·k)", "theory", "off", "÷ √d_k", "as a matrix"),
        rows=rows,
        note=matrix_column_note(record),
    )


def matrix_column_note(record: VarianceRecord) -> str:
    """What the columns are."""
    text = "off: standard errors from theory"
    if record.config.correlation:
        return f"{text}; no matrix: {NO_MATRIX}"
    n, m = matrix_shape(record.config.keys)
    worst = max([abs(row.matrix.z) for row in record.rows if row.matrix and row.matrix.z is not None], default=0.0)
    return (
        f"{text}; as a matrix: over {n:,} × {m:,} entries of QKᵀ, whose error bar is larger because entries share "
        f"their queries and keys, at most {worst:.1f} off"
    )


def off(scores: ScoreResult) -> Cell:
    """The z-score as it is printed."""
    return "exact" if scores.z is None else signed(scores.z)


def signed(z: float) -> str:
    """A z-score with its sign and no -0.0."""
    return f"{round(z, 1) + 0.0:+.1f}"


def freezing_sweep(record: VarianceRecord) -> str:
    """How the softmax freezes along the sweep."""
    keys = record.config.keys
    first, last = record.rows[0], record.rows[-1]
    ends = [row.unscaled.entropy.value or 0.0 for row in (first, last) if row.unscaled is not None]
    kept = [row.scaled.entropy.value or 0.0 for row in (first, last) if row.scaled is not None]
    return (
        f"Unscaled, the entropy falls from {ends[0]:.2f} at d_k {first.d_k:,} to {ends[-1]:.2f} at {last.d_k:,}, of "
        f"{math.log(keys):.2f} nat; scaled, from {kept[0]:.2f} to {kept[-1]:.2f}. {where_it_freezes(keys)}"
    )


def softmax_table(record: VarianceRecord) -> Table:
    """The softmax by width."""
    rows: list[tuple[Cell, ...]] = []
    for row in record.rows:
        if row.unscaled is not None and row.scaled is not None:
            sides = [(side.entropy, side.expected_entropy) for side in (row.unscaled, row.scaled)]
            rows.append((f"{row.d_k:,}", *sides[0], *sides[1], percent(row.unscaled.saturated_fraction).value))
    softmaxes = [side for row in record.rows for side in (row.unscaled, row.scaled) if side is not None]
    worst = max([abs(side.z) for side in softmaxes if side.z is not None], default=None)
    note = "above 0.99: share of rows, unscaled, in which one key holds more than 0.99"
    note += "" if worst is None else f"; theory: exact, met within {worst:.1f} standard errors throughout"
    if record.config.distribution != "normal":
        note += f"; {NO_LAW}"
    return Table(
        title=f"Entropy of the softmax over {record.config.keys:,} keys [nat]",
        columns=("d_k", "unscaled", "theory", "scaled", "theory", "above 0.99 [%]"),
        rows=rows,
        note=note,
    )


def closing_note(record: VarianceRecord) -> str:
    """What was drawn, and where to read on."""
    if len(record.rows) == 1:
        pairs = record.rows[0].pairs
        kurtosis = "" if math.isnan(pairs.kurtosis) else f"Kurtosis {number(pairs.kurtosis)}"
        text = f"{kurtosis}, theory {number(pairs.expected_kurtosis)} (3: normal). "
    else:
        text = ""
    return (
        text + "1 is the variance for q and k of variance 1. What a block starts with depends on how W_Q and W_K are "
        "drawn: --inits shows the common ways, --config NAME a block's own."
    )
