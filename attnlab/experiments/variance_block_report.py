"""What a person sees of `attnlab variance --config` and `--inits`: what scores start with."""

from attnlab.experiments.agreement import farthest
from attnlab.experiments.run_report import MOST_HEADS, counted, scale_in_words
from attnlab.experiments.variance_block import BlockRecord, HeadScores
from attnlab.experiments.variance_report import signed
from attnlab.maths.architecture import BlockSpec
from attnlab.records import Cell, Finding, Part, Report, Table
from attnlab.show.numbers import number


def report(record: BlockRecord) -> Report:
    """The block's heads if there is a block, else the common initialisations."""
    starts: list[Part] = [Finding(text=starts_finding(record)), starts_table(record)]
    if record.spec is None or not record.heads:
        following = ["attnlab variance --config gpt2-small", "attnlab variance --dk 64"]
        return Report(heading=f"What scores start with · seed {record.seed}", parts=starts, next=following)
    return Report(
        heading=block_heading(record, record.spec),
        parts=[Finding(text=heads_finding(record)), heads_table(record)],
        details=starts,
        next=["attnlab variance --inits"],
    )


def ends(record: BlockRecord) -> tuple[float, float]:
    """The least and the largest variance that an initialisation gives."""
    variances = [result.start.score_variance for result in record.starts]
    return min(variances), max(variances)


def block_heading(record: BlockRecord, spec: BlockSpec) -> str:
    """The block in one line."""
    return (
        f"Scores of {record.name} · {counted(spec.n_heads, 'head')} of d_k {spec.d_k}, {scale_in_words(spec)} · "
        f"{record.heads[0].variance.n} sets of {record.n} random tokens × {spec.d_model} · seed {record.seed}"
    )


def heads_finding(record: BlockRecord) -> str:
    """Between what the variances lie, and whether theory says so."""
    values = [head.variance.value or 0.0 for head in record.heads]
    span = number(values[0]) if len(values) == 1 else f"{number(min(values))} to {number(max(values))}"
    text = f"This block's scores have variance {span} in its first layer, where unit-variance q and k would give 1."
    offs = [abs(head.z) for head in record.heads if head.z is not None]
    if not offs:
        return f"{text} Not predicted: {record.heads[0].reason}."
    worst = max(offs)
    agrees = "as its weights predict" if worst <= farthest(len(offs)) else "which is not what its weights predict"
    which = "the head" if len(offs) == 1 else f"the farthest of {len(offs)} heads"
    return f"{text} That is {agrees}: {which} is {worst:.1f} standard errors off."


def heads_table(record: BlockRecord) -> Table:
    """One line per head."""
    rows: list[tuple[Cell, ...]] = [
        (f"{head.head}", head.variance, head.expected, off(head), head.norm_squared)
        for head in record.heads[:MOST_HEADS]
    ]
    cut = f" (the first {MOST_HEADS} of {len(record.heads)})" if len(record.heads) > MOST_HEADS else ""
    return Table(
        title=f"The first layer's heads{cut}",
        columns=("head", "Var(score)", "predicted", "off", "of two tokens"),
        rows=rows,
        note="off: standard errors from what the weights predict for these tokens, which meet themselves on the "
        "diagonal and share queries and keys; of two tokens: by the weights, of two different ones without biases",
    )


def off(head: HeadScores) -> Cell:
    """The z-score as it is printed."""
    return None if head.z is None else signed(head.z)


def starts_finding(record: BlockRecord) -> str:
    """How far apart the common initialisations start."""
    low, high = (number(end) for end in ends(record))
    return (
        f"Dividing by √d_k does not make the variance 1: the common ways to draw W_Q and W_K start it anywhere from "
        f"{low} to {high}. It is (d σ²)², σ² the variance of their entries."
    )


def starts_table(record: BlockRecord) -> Table:
    """One line per initialisation."""
    rows: list[tuple[Cell, ...]] = [
        (
            result.start.name,
            f"{result.start.d_model:,} × {result.start.d_k}",
            result.start.score_variance,
            result.measured,
            signed(result.z),
        )
        for result in record.starts
    ]
    heads = record.starts[0].measured.n
    return Table(
        title="The score variance that weights start with, c²‖W_Q W_Kᵀ‖²",
        columns=("W_Q, W_K", "d × d_k", "theory", "drawn", "off"),
        rows=rows,
        note=f"drawn: the mean over {heads} heads drawn that way; off: in standard errors",
    )
