"""What a person sees of a run: the finding first, then the matrix, then numbers beside what they should be."""

import math

import numpy as np

from attnlab.experiments.agreement import farthest
from attnlab.experiments.nonfinite import not_finite_in_words
from attnlab.experiments.run_findings import findings, head_name, is_measured, nothing_measured
from attnlab.experiments.run_record import HeadResult, Rows, RunRecord
from attnlab.experiments.run_sample import sample_of
from attnlab.experiments.run_streamed_report import kernel_note, sampled_grid
from attnlab.files.presets import DEFAULT, preset_names
from attnlab.maths.architecture import BlockSpec
from attnlab.records import (
    Cell,
    Checks,
    Finding,
    Grid,
    Part,
    Quantity,
    Report,
    Table,
)
from attnlab.show.numbers import number
from attnlab.theory.score_variance import log_z

#: What each step is where the norms stand there; "parallel" is pre-norm.
EQUATIONS = {
    "post": {
        "T1": "SelfAttention(X)",
        "T2": "X + T1",
        "T3": "Norm(T2)",
        "T4": "FFN(T3)",
        "T5": "T3 + T4",
        "H": "Norm(T5)",
    },
    "pre": {
        "T1": "SelfAttention(Norm(X))",
        "T2": "X + T1",
        "T3": "Norm(T2)",
        "T4": "FFN(T3)",
        "T5": "T2 + T4",
        "H": "T5",
    },
}
EQUATIONS |= {
    "parallel": EQUATIONS["pre"] | {"T3": "Norm(X)"},
    "sandwich": EQUATIONS["pre"] | {"T1": "Norm(SelfAttention(Norm(X)))", "T4": "Norm(FFN(T3))"},
    "output": EQUATIONS["pre"] | {"T1": "Norm(SelfAttention(X))", "T4": "Norm(FFN(T2))"},
}
NORM_NAMES = {"layernorm": "LayerNorm", "rmsnorm": "RMSNorm"}
#: More heads than this are cut to the shown one's layer, with --details too: the rest is in result.csv.
MOST_HEADS = 32
#: Lines of heads on a first screen.
FEW_HEADS = 8
#: Rows of a matrix of tokens without names that a screen shows whole.
MOST_ROWS = 40
#: What the column of that name holds.
AT_RANDOM = "at random: the same tokens, turned any way"


def report(record: RunRecord, *, seed: int | None, summary: str = "") -> Report:
    """The report of a run.

    Args:
        seed: printed in the heading; None when nothing was drawn.
        summary: the configuration in one sentence, if it has one.
    """
    broken = not_finite_in_words(record.not_finite, record.heads)
    parts: list[Part] = [Finding(text=broken)] if broken else []
    parts += kernel_note(record)
    parts += [grid for grid in [screen_grid(record, record.shown)] if grid is not None]
    said = findings(record)
    parts += [Finding(text=" ".join(said))] if said else []
    details: list[Part] = []
    measured = is_measured(record.shown)
    if not measured:
        parts.append(Finding(text=nothing_measured(record, record.shown)))
    if len(record.heads) > 1 and any(map(is_measured, record.heads)):
        parts.append(heads_table(record, FEW_HEADS))
        details += [head_table(record)] if measured else []
        details += [heads_table(record, MOST_HEADS)] if len(record.heads) > FEW_HEADS else []
    elif measured:
        parts.append(head_table(record))
    if record.steps:
        parts.append(steps_table(record))
    details += [lets_through(record)] if measured else []
    return Report(
        heading="\n".join(filter(None, [heading(record, seed), summary])),
        parts=parts,
        details=details,
        checks=Checks(checks=record.checks),
        next=next_commands(record),
    )


def next_commands(record: RunRecord) -> list[str]:
    """What to type next: the strongest weight by hand, and the same block drawn."""
    if record.name not in preset_names():
        return []
    given = "" if record.name == DEFAULT else f" {record.name}"
    return [f"attnlab why{given or ' bank river'}", f"attnlab diagram attention{given}"]


def lets_through(record: RunRecord) -> Table:
    """What the shown head lets through to training, and what only some ask for."""
    values = record.shown.statistics
    rows: list[tuple[Cell, ...]] = [
        ("largest score", float(values.score_max), ""),
        ("Σp(1 − p), mean", float(values.jacobian_trace_mean), "what the softmax lets through to training, of 1"),
        ("e^entropy", float(values.perplexity), f"keys, of {record.m:,}: another count of those in use"),
        ("largest weight", float(values.max_weight), "of a row, mean"),
        ("on key 0", float(values.sink_mass), "mean"),
    ]
    if record.n == record.m:
        rows.append(("distance", float(values.distance), "tokens from a query to what it looks at, mean"))
    return Table(title=f"More of {head_name(record, record.shown)}", columns=("", "measured", ""), rows=rows)


def heading(record: RunRecord, seed: int | None) -> str:
    """The run in one line."""
    parts = [record.name, f"{record.n:,} tokens × {record.width:,}" if record.n == record.m else ""]
    if record.n != record.m:
        parts[-1] = f"{record.n:,} queries × {record.m:,} keys"
    spec = record.spec
    if spec is not None:
        if record.n_layers > 1:
            parts.append(f"{record.n_layers} layers")
        parts.append(f"{counted(spec.n_heads, 'head')} of d_k {spec.d_k}, {scale_in_words(spec)}")
    else:
        parts.append(counted(len(record.heads), "head"))
    parts.append(record.dtype)
    if seed is not None:
        parts.append(f"seed {seed}")
    return " · ".join(parts)


def counted(number: int, noun: str) -> str:
    """ "1 head", "8 heads"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def scale_in_words(spec: BlockSpec) -> str:
    """How scores are scaled."""
    return f"scores ÷ √{spec.d_k}" if spec.scale is None else f"scores × {spec.scale:g}"


def screen_grid(record: RunRecord, head: HeadResult) -> Grid | None:
    """The matrix, but of many tokens without names some rows of it: averaged over areas they would all be alike."""
    if head.rows is None or head.weights is None or record.tokens or record.n <= MOST_ROWS:
        return weights_grid(record, head)
    some = list(sample_of(record.n))
    visible = None if head.rows.visible is None else head.rows.visible[some]
    rows = Rows(np.asarray(some), head.rows.weights[some], head.rows.scores[some], visible)
    return sampled_grid(record, rows, of_head(record))


def weights_grid(record: RunRecord, head: HeadResult) -> Grid | None:
    """The attention matrix of one head, or the rows of it that are at hand; None where none is."""
    of = f", {head_name(record, head)}" if len(record.heads) > 1 else ""
    if head.weights is None:
        return None if head.rows is None else sampled_grid(record, head.rows, of)
    return Grid(
        title=f"Who attends to whom{of} (a row looks at the columns; each row sums to 1)",
        values=head.weights,
        hidden=None if head.rows is None else head.rows.hidden,
        row_labels=record.tokens,
        column_labels=record.tokens if record.n == record.m else (),
    )


def head_table(record: RunRecord) -> Table:
    """The shown head's scores and softmax, measured beside what they should be."""
    head = record.shown
    values, expectation = head.statistics, head.expectation
    share, saturated = float(values.normalized_entropy), 100 * float(values.saturated_fraction)
    possible = "" if math.isnan(share) else f"{share:.2f} of what is possible"
    rows: list[tuple[Cell, ...]] = [
        ("score mean", float(values.score_mean), expected_mean(head), ""),
        (
            "score variance",
            float(values.score_variance),
            expected_variance(head),
            ratio_in_words(head, len(record.heads)),
        ),
        ("entropy", in_units(float(values.entropy), "nat"), None, possible),
        ("effective keys", float(values.effective_keys), None, f"of {record.m:,}"),
        ("rows above 0.99", in_units(saturated, "%"), None, "where one key holds nearly all"),
    ]
    if record.kernel.name == "streaming" and not math.isnan(values.asymmetry):
        rows.append(("asymmetry", float(values.asymmetry), None, "0 symmetric, 0.707 one-way"))
    column = {"population": "predicted", "isotropic": "at random", None: "predicted"}[expectation.kind]
    return Table(
        title=f"Scores and softmax{of_head(record)}{second_column(head)}",
        columns=("", "measured", column, ""),
        rows=rows,
        note=f"not predicted: {expectation.reason}" if expectation.kind is None else "",
    )


def of_head(record: RunRecord) -> str:
    """Whose table it is, where there are several heads."""
    return f", {head_name(record, record.shown)}" if len(record.heads) > 1 else ""


def second_column(head: HeadResult) -> str:
    """What the column "at random" is."""
    if head.expectation.kind != "isotropic":
        return ""
    return f" ({AT_RANDOM})"


def in_units(value: float, unit: str) -> Quantity:
    """A number and its unit; what is not a number has none."""
    return Quantity(value=value, unit="" if math.isnan(value) else unit)


def expected_mean(head: HeadResult) -> Cell:
    """The predicted mean, None where there is no prediction."""
    scores = head.expectation.scores
    return None if scores is None or math.isnan(scores.mean) else scores.mean


def expected_variance(head: HeadResult) -> Cell:
    """The predicted variance, with its error bar where it has one."""
    scores = head.expectation.scores
    return None if scores is None else Quantity(value=scores.variance, standard_error=scores.standard_error)


def ratio_in_words(head: HeadResult, heads: int) -> str:
    """How far the measured variance of one of so many heads is from the expected one."""
    scores, measured = head.expectation.scores, float(head.statistics.score_variance)
    if scores is None or not scores.variance > 0 or math.isnan(measured):
        return ""
    if scores.standard_error:
        away = log_z(measured, scores)
        if away is None:
            return ""
        verdict = "agrees" if abs(away) <= farthest(heads) else "does not agree"
        return f"{abs(away):.1f} standard errors away: {verdict}"
    outside = head.expectation.aligned(measured)
    inside = "" if outside is None else f", {'outside' if outside else 'within'} 99 % of it"
    return f"{times(measured / scores.variance)} that{inside}"


def times(ratio: float) -> str:
    """ "1.44 ×", "0.42 ×", "12.3 ×"."""
    return f"{ratio:.2f} ×" if 0.01 <= ratio < 10 else f"{number(ratio)} ×"


def heads_table(record: RunRecord, most: int) -> Table:
    """One line per head; where there are more than so many, those of the shown head's layer, it first."""
    heads = record.heads
    remarks = []
    if len(heads) > most:
        shown = record.shown
        own = [head for head in heads if head.layer == shown.layer]
        heads = own[:most] if shown in own[:most] else [shown, *own[: most - 1]]
        remarks.append(f"{len(heads)} of {len(record.heads)}")
    columns = ["", "Var(score)", "entropy", "keys", "max p", "on key 0"]
    note = "entropy: share of what is possible; keys: effective number; max p: a row's largest weight, mean"
    rows = [head_row(record, head) for head in heads]
    kinds = {head.expectation.kind for head in heads}
    if any(head.expectation.scores is not None for head in heads):
        expected = "predicted" if kinds == {"population"} else "at random" if kinds == {"isotropic"} else "expected"
        columns.insert(2, expected)
        rows = [[*row[:2], expected_variance(head), *row[2:]] for row, head in zip(rows, heads, strict=True)]
        remarks += [AT_RANDOM] if expected == "at random" else []
    title = f"Heads ({'; '.join(remarks)})" if remarks else "Heads"
    return Table(title=title, columns=columns, rows=rows, note=note)


def head_row(record: RunRecord, head: HeadResult) -> list[Cell]:
    """A head's name and what was measured of it."""
    values = head.statistics
    return [
        head_name(record, head).removeprefix("head "),
        float(values.score_variance),
        float(values.normalized_entropy),
        float(values.effective_keys),
        float(values.max_weight),
        float(values.sink_mass),
    ]


def steps_table(record: RunRecord) -> Table:
    """T1 … H of the shown head's layer."""
    spec = record.spec
    norm = NORM_NAMES[spec.norm] if spec is not None else ""
    equations = EQUATIONS["post" if spec is None else "parallel" if spec.parallel else spec.norm_position]
    last = [step for step in record.steps if step.layer == record.shown.layer]
    rows = []
    for step in last:
        equation = equations.get(step.name, "").replace("Norm", norm)
        if spec is not None and spec.d_ff is None and step.name == "H":
            equation = "T3" if spec.norm_position == "post" else "T2"
        named = f"{step.name} = {equation}" if step.name != "X" else "X, the input"
        rows.append((named, step.mean, step.variance, step.norm))
    drawn = weights_in_words(record)
    title = "The block's steps" if record.n_layers == 1 else f"The block's steps, layer {record.shown.layer}"
    return Table(title=f"{title} ({drawn})" if drawn else title, columns=("", "mean", "variance", "length"), rows=rows)


def weights_in_words(record: RunRecord) -> str:
    """Which weights no file gave."""
    if not record.weights_from_file:
        return f"weights: {record.drawn}"
    drawn = [name for name in record.initialised if ".W_" in name]
    if not drawn:
        return ""
    if all(name.startswith("mlp.") for name in drawn):
        return f"feed-forward weights: {record.drawn}"
    return f"{record.drawn}, because the weights file has none: {', '.join(drawn)}"
