"""What a person sees of the gradient experiment: what is true of the softmax's gradient, and then the numbers."""

import math
from collections.abc import Sequence

from attnlab.experiments.gradient import (
    GradientRecord,
    GradientRow,
    NamedSlope,
    Regime,
    deviations,
)
from attnlab.experiments.gradient_claims import largest_scaled_score
from attnlab.experiments.gradient_rows import QUERIES, VALUE_WIDTH
from attnlab.maths.statistics import SATURATED
from attnlab.records import Cell, Checks, Finding, Part, Quantity, Report, Table
from attnlab.show.numbers import number

#: Measured number -> what it is, and the power of d_k that it tends to, unscaled (theory/gradients.py).
LIMITS = {
    "query_gradient_gain": ("rms of ‖∂L/∂q‖ / ‖J‖_F", "½"),
    "query_gradient_p99_unsaturated": ("99th percentile, unsaturated", "½"),
    "query_gradient_p99": ("99th percentile, all rows", "–"),
    "query_gradient_rms": ("rms", "¼"),
    "query_gradient_mean": ("mean", "0"),
}
#: So many widths have two ends.
FEWEST_ON_THE_WAY = 3


def report(record: GradientRecord) -> Report:
    """The report: a sweep, or the one d_k that was asked for."""
    parts: list[Part] = [Finding(text=" ".join(findings(record)))]
    details: list[Part] = [Finding(text=trap(record.rows), kind="note")] if trapped(record.rows) else []
    details += [Finding(text=refuted_law(record)), overflow_table(record)]
    if len(record.rows) > 1:
        parts += [query_table(record), Finding(text=refuted_in_short(record))]
        slopes = [slopes_table(record)] if record.slopes else []
        details = [*slopes, softmax_table(record), law_table(record), *details]
    else:
        parts += [short_table(record), Finding(text=refuted_in_short(record))]
        details = [single_table(record), *details]
    return Report(
        heading=heading(record),
        parts=parts,
        details=[*details, setting(record)],
        checks=Checks(checks=record.checks),
        next=["attnlab verify corollary-4 --explain", "attnlab variance --dk 64"],
    )


def heading(record: GradientRecord) -> str:
    """The experiment in one line."""
    config = record.config
    return f"{widths(record)} · softmax over {config.n:,} keys · {record.samples:,} rows each · seed {config.seed}"


def widths(record: GradientRecord) -> str:
    """ "d_k 64", or "d_k 1 to 1,024"."""
    first, last = record.rows[0].d_k, record.rows[-1].d_k
    return f"d_k {first:,}" if first == last else f"d_k {first:,} to {last:,}"


def findings(record: GradientRecord) -> list[str]:
    """What the numbers say."""
    if len(record.rows) == 1:
        return [one_width(record.rows[0])]
    return [sentence for sentence in (most_rows(record.rows), the_largest(record.rows)) if sentence]


def one_width(row: GradientRow) -> str:
    """The two regimes of one d_k beside each other."""
    pairs = [
        f"{name} {said(row.unscaled, field)} against {said(row.scaled, field)}"
        for name, field in (("median", "query_gradient_median"), ("99th percentile", "query_gradient_p99"))
    ]
    return f"What reaches the query, ‖∂L/∂q‖, unscaled against scaled: {', '.join(pairs)}."


def most_rows(rows: Sequence[GradientRow]) -> str:
    """The median's rise and fall."""
    peak = max(rows, key=lambda row: row.unscaled.query_gradient_median.value or 0.0)
    last = rows[-1]
    name = "query_gradient_median"
    if (last.unscaled.query_gradient_median.value or 0.0) > (peak.unscaled.query_gradient_median.value or 0.0) / 2:
        return ""
    return (
        f"Unscaled, most queries lose their gradient: its length has the median {said(peak.unscaled, name)} at "
        f"d_k {peak.d_k:,} and {said(last.unscaled, name)} at {last.d_k:,} (scaled: {said(last.scaled, name)})."
    )


def the_largest(rows: Sequence[GradientRow]) -> str:
    """The growth of the 99th percentile, and with which power of d_k from end to end."""
    name, first, last = "query_gradient_p99", rows[0], rows[-1]
    ends = [said(regime, name) for row in (first, last) for regime in (row.unscaled, row.scaled)]
    low, high = (row.unscaled.query_gradient_p99.value or 0.0 for row in (first, last))
    text = f"The 99th percentile goes from {ends[0]} to {ends[2]}"
    if low > 0 and high > 0:
        text += f", like d_k^{math.log(high / low) / math.log(last.d_k / first.d_k):.2f}"
    return f"{text}; scaled, from {ends[1]} to {ends[3]}."


def slopes_table(record: GradientRecord) -> Table:
    """How fast what reaches the query grows with d_k, beside what the frozen softmax tends to."""
    found = {(named.quantity, named.scaled): in_words(named) for named in record.slopes}
    window = record.slopes[0].slope.window
    last = record.rows[-1]
    alive = 100 * (1 - (last.unscaled.saturated_fraction.value or 0.0))
    rows = [
        (label, found.get((name, False)), limit, found.get((name, True))) for name, (label, limit) in LIMITS.items()
    ]
    return Table(
        title=f"Growing with which power of d_k, from {number(int(window[0]))} to {number(int(window[1]))}?",
        columns=("", "unscaled", "limit", "scaled"),
        rows=rows,
        note="[95 % interval]; ½ is √d_k; limit: for d_k far above 2 ln n, when two keys are left. "
        f"{on_the_way(record.rows, window)}Over all rows the 99th percentile falls behind √d_k, because ever fewer are "
        f"unsaturated ({alive:.0f} % at d_k = {last.d_k:,})",
    )


def on_the_way(rows: Sequence[GradientRow], window: tuple[float, float]) -> str:
    """The power with which the rms grows, by its exact law, at both ends of the widths fitted: more than its limit."""
    within = [row for row in rows if window[0] <= row.d_k <= window[1]]
    if len(within) < FEWEST_ON_THE_WAY:
        return ""
    local = [
        math.log(above.predicted_unscaled.query_gradient_rms / below.predicted_unscaled.query_gradient_rms)
        / math.log(above.d_k / below.d_k)
        for below, above in (within[:2], within[-2:])
    ]
    return (
        f"The rms is slow to come to its ¼: by the exact law {local[0]:.2f} from {within[0].d_k:,} to "
        f"{within[1].d_k:,}, {local[1]:.2f} from {within[-2].d_k:,} to {within[-1].d_k:,}. "
    )


def in_words(named: NamedSlope) -> str:
    """ "0.50 [0.47, 0.52]"."""
    value, low, high = (f"{round(x, 2) + 0.0:.2f}" for x in (named.slope.value, named.slope.low, named.slope.high))
    return f"{value} [{low}, {high}]"


def said(regime: Regime, field: str) -> str:
    """A measured number as it stands in a sentence."""
    quantity: Quantity = getattr(regime, field)
    return "–" if quantity.value is None else number(quantity.value)


def query_table(record: GradientRecord) -> Table:
    """What reaches the query."""
    names = ("query_gradient_median", "query_gradient_p99")
    return Table(
        title="What of the gradient reaches a query: the length of ∂L/∂q",
        columns=("d_k", "median", "scaled", "99th percentile", "scaled"),
        rows=[
            (row.d_k, *(getattr(regime, name) for name in names for regime in (row.unscaled, row.scaled)))
            for row in record.rows
        ],
    )


def softmax_table(record: GradientRecord) -> Table:
    """What the softmax lets through."""
    rows: list[tuple[Cell, ...]] = []
    for row in record.rows:
        share = row.unscaled.saturated_fraction.value or 0.0
        cells = [regime.jacobian_trace_median.value for regime in (row.unscaled, row.scaled)]
        norms = [regime.jacobian_frobenius_mean.value for regime in (row.unscaled, row.scaled)]
        rows.append((row.d_k, *cells, *norms, Quantity(value=100 * share, unit="%")))
    return Table(
        title="What the softmax lets through: its Jacobian J = ∂p/∂s, unscaled and scaled",
        columns=("d_k", "median tr J", "scaled", "mean ‖J‖_F", "scaled", "saturated"),
        rows=rows,
        note=f"saturated: rows where one key holds more than {SATURATED}; scaled: "
        f"{100 * max(row.scaled.saturated_fraction.value or 0.0 for row in record.rows):.2g} % of rows at most",
    )


def law_table(record: GradientRecord) -> Table:
    """The numbers that have an exact law, beside it."""
    away = [abs(deviation) for deviation in deviations(record.rows)]
    rows: list[tuple[Cell, ...]] = []
    for row in record.rows:
        found, law = row.unscaled, row.predicted_unscaled
        trace, rms, gain = found.jacobian_trace_mean, found.query_gradient_rms, found.query_gradient_gain
        rows.append(
            (row.d_k, trace, law.jacobian_trace_mean, rms, law.query_gradient_rms, gain, law.query_gradient_gain)
        )
    return Table(
        title="Unscaled, beside theory",
        columns=(
            "d_k",
            "mean tr J",
            "theory",
            "rms ‖∂L/∂q‖",
            "theory",
            "for ‖J‖_F",
            f"{number(math.sqrt(VALUE_WIDTH))}√d_k",
        ),
        rows=rows,
        note=f"theory: exact at every d_k and n; of {len(away)} numbers with such a law, scaled ones too, the farthest "
        f"is {max(away, default=0.0):.1f} standard errors away. for ‖J‖_F: ‖∂L/∂q‖ / ‖J‖_F, rms; theory to O(1/d_k)",
    )


def short_table(record: GradientRecord) -> Table:
    """One d_k: what reaches the query, and what the softmax lets through."""
    row = record.rows[0]
    names = (
        ("gradient, median", "query_gradient_median"),
        ("  99th percentile", "query_gradient_p99"),
        ("let through, of 1", "jacobian_trace_mean"),
    )
    rows: list[tuple[Cell, ...]] = [
        (label, getattr(row.unscaled, name), getattr(row.scaled, name)) for label, name in names
    ]
    frozen = [100 * (regime.saturated_fraction.value or 0.0) for regime in (row.unscaled, row.scaled)]
    rows.append(("rows above 0.99", *(Quantity(value=share, unit="%") for share in frozen)))
    return Table(
        title="",
        columns=("", "unscaled", f"÷ √{row.d_k}"),
        rows=rows,
        note="gradient: ‖∂L/∂q‖; let through: Σp(1 − p) of a row, mean; above 0.99: where one key holds so much",
    )


def single_table(record: GradientRecord) -> Table:
    """One d_k in full."""
    row = record.rows[0]
    one, other = row.unscaled, row.scaled
    laws = row.predicted_unscaled, row.predicted_scaled
    names = (
        ("‖∂L/∂q‖ median", "query_gradient_median"),
        ("  mean", "query_gradient_mean"),
        ("  rms", "query_gradient_rms"),
        ("  90th percentile", "query_gradient_p90"),
        ("  99th percentile", "query_gradient_p99"),
        ("  bound, mean", "query_gradient_bound"),
        ("‖∂L/∂q‖ / ‖J‖_F, rms", "query_gradient_gain"),
        ("tr J mean", "jacobian_trace_mean"),
        ("  median", "jacobian_trace_median"),
        ("‖J‖_F mean", "jacobian_frobenius_mean"),
        ("  rms", "jacobian_frobenius_rms"),
        ("‖J‖₂ mean", "jacobian_spectral_mean"),
        ("  median", "jacobian_spectral_median"),
        ("rows above 0.99", "saturated_fraction"),
    )
    rows = [
        (
            label,
            getattr(one, name),
            getattr(laws[0], name, None),
            getattr(other, name),
            getattr(laws[1], name, None),
        )
        for label, name in names
    ]
    return Table(
        title=f"d_k = {row.d_k:,}: what reaches the query, and what the softmax lets through (J = ∂p/∂s)",
        columns=("", "unscaled", "theory", f"÷ √{row.d_k}", "theory"),
        rows=rows,
        note="theory: exact, but for ‖∂L/∂q‖ / ‖J‖_F: c √(64 d_k), to O(1/d_k)",
    )


def trapped(rows: Sequence[GradientRow]) -> list[GradientRow]:
    """The rows where unscaled scores have the larger mean ‖J‖_F."""
    return [
        row
        for row in rows
        if row.d_k > 1
        and (row.unscaled.jacobian_frobenius_mean.value or 0) > (row.scaled.jacobian_frobenius_mean.value or 0)
    ]


def trap(rows: Sequence[GradientRow]) -> str:
    """Why a mean of ‖J‖_F proves nothing."""
    larger = trapped(rows)
    worst = max(larger, key=lambda row: row.unscaled.jacobian_frobenius_mean.value or 0.0)
    unscaled, scaled = (said(regime, "jacobian_frobenius_mean") for regime in (worst.unscaled, worst.scaled))
    place, at = f"from d_k = {larger[0].d_k:,} to {larger[-1].d_k:,}", f" at {worst.d_k:,}"
    if len(larger) == 1:
        place, at = f"at d_k = {worst.d_k:,}", ""
    return (
        f"A trap: {place} the mean ‖J‖_F is larger without the scale ({unscaled} against {scaled}{at}), as if not "
        "scaling were better. But a uniform softmax has a small ‖J‖_F too, about 1/√n; it is largest halfway, where "
        "two keys share a row. What tells them apart is tr J, which falls from 1 − 1/n to 0 as a row hardens, its "
        "median, and the share of saturated rows."
    )


def refuted_in_short(record: GradientRecord) -> str:
    """What is said against exp‖s‖, by computation, in two sentences."""
    shift = record.shift
    largest = max(max(row.scaled.jacobian_spectral_max, row.unscaled.jacobian_spectral_max) for row in record.rows)
    return (
        f"The course's e^‖s‖ is not its law: with {shift.shift:g} added to every score ‖s‖ is "
        f"{number(shift.shifted_norm / shift.norm)} times as long, and ∂p/∂s the same to "
        f"{number(shift.jacobian_change)}. No softmax explodes: its ∂p/∂s was {largest:.3f} at most, and cannot pass ½."
    )


def refuted_law(record: GradientRecord) -> str:
    """The same in full, and what is true in its place."""
    shift, n = record.shift, record.config.n
    scaled = record.rows[-1].scaled
    return (
        f'The law "like exp‖s‖" cannot hold: with {shift.shift:g} added to every score ‖s‖ goes from '
        f"{number(shift.norm)} to {number(shift.shifted_norm)}, and no entry of ∂p/∂s changes by more than "
        f"{number(shift.jacobian_change)}. Nor can exp(‖s‖/√d_k) when scaled: about e^√{n} = "
        f"{number(math.exp(math.sqrt(n)))}, where tr J is {said(scaled, 'jacobian_trace_mean')}. The "
        "conclusion stands: divide by √d_k. The reason is this one: ‖∂L/∂q‖ ≤ (c/4) max‖k_a − k_b‖ (max g − min g), "
        "g = ∂L/∂p, where the keys' distance grows like √d_k and c = 1/√d_k takes it back."
    )


def overflow_table(record: GradientRecord) -> Table:
    """Where exp itself overflows."""
    rows = [(o.dtype, f"{o.score:.2f}", f"{o.sum_score:.2f}", o.d_k) for o in record.overflows]
    return Table(
        title="Where exp(s) overflows, if the largest score is not subtracted first",
        columns=("", "exp(s) above s =", f"sum of {record.config.n:,} above", "unscaled, from d_k ="),
        rows=rows,
        note="from d_k: where the largest score of a row is expected there; scaled it stays below "
        f"{number(largest_scaled_score(record.config.n))} at every d_k",
    )


def setting(record: GradientRecord) -> Finding:
    """What was drawn."""
    return Finding(
        kind="note",
        text=f"L = u·o; q, k, v, u independent N(0, 1); d_v = {VALUE_WIDTH} (the size of ∂L/∂q depends on it); c = "
        f"1/√d_k or 1 on the same draws; {QUERIES} queries share their {record.config.n:,} keys, and ± (one standard "
        "error) is over such blocks",
    )
