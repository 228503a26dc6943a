"""What a person sees of the claims, and the same as JSON and CSV: views of a record."""

import math
from collections.abc import Sequence
from textwrap import wrap

from attnlab.experiments.claims.claim import Evidence, Trial
from attnlab.experiments.verify import Tried, VerifyRecord
from attnlab.records import Cell, Finding, Part, Report, Table
from attnlab.show.numbers import number

#: Characters of a line in the columns measured, expected and on; and of what was tried.
MEASURED, EXPECTED, ON, WHAT = 32, 10, 11, 42
#: The claim that the last line names, if it is there and nothing else is.
MOST_TELLING = "corollary-4"
#: Verdicts, and how one and several claims are said to have got them.
SAID = (
    ("holds", "holds", "hold"),
    ("corrected", "is corrected", "are corrected"),
    ("refuted", "is refuted", "are refuted"),
)


def report(record: VerifyRecord, *, explain: bool = False) -> Report:
    """The verdicts in a table, or each claim explained."""
    config, count = record.config, len(record.tried)
    first = record.tried[0]
    alone = f"{first.claim.id}: {first.verdict}" if explain else first.claim.id
    heading = f"{count} claims of the course" if count > 1 else alone
    times = f" · {config.samples:,} × the usual samples" if config.samples > 1 else ""
    heading += f" · seed {config.seed}{times}"
    parts: list[Part] = [Finding(text=surprise(one)) for one in record.tried if not one.as_expected]
    if explain:
        for one in record.tried:
            parts += [Finding(text=f"{one.claim.id}: {one.verdict}")] if count > 1 else []
            parts += explanation(one)
    else:
        parts += [verdict_table(record.tried), Finding(text=count_in_words(record.tried))]
    return Report(heading=heading, parts=parts)


def surprise(one: Tried) -> str:
    """What to say of a verdict that is not the expected one."""
    failed = [trial.what for trial in one.evidence.trials if not trial.holds]
    return f"{one.claim.id}: {one.verdict}; expected: {one.claim.expected_verdict}. Not shown: {'; '.join(failed)}."


def count_in_words(tried: Sequence[Tried]) -> str:
    """How many hold, are corrected, are refuted; and how to learn why."""
    said = []
    for verdict, one, many in SAID:
        count = sum(claim.verdict == verdict for claim in tried)
        said += [f"{count} {one if count == 1 else many}"] if count else []
    ids = [one.claim.id for one in tried]
    named = MOST_TELLING if MOST_TELLING in ids else ids[-1]
    claims = "1 claim" if len(tried) == 1 else f"{len(tried)} claims"
    return f"{claims}: {', '.join(said)}.\n`attnlab verify {named} --explain` says why."


def verdict_table(tried: Sequence[Tried]) -> Table:
    """One row per claim; below it, for those that do not hold as they stand, what remains."""
    rows: list[tuple[Cell, ...]] = []
    for one in tried:
        evidence = one.evidence
        measured, on = lines(evidence.in_short, MEASURED), lines(f"{evidence.samples:,} {evidence.unit}", ON)
        rows.append((one.claim.id, one.verdict, measured, lines(expected(evidence), EXPECTED), on))
        if one.verdict != "holds":
            rows.append(("", "", lines(f"→ {one.claim.remains}", MEASURED), "", ""))
    columns = ("claim", "verdict", "measured", "expected", "on")
    remark = "→ what remains of it" if any(one.verdict != "holds" for one in tried) else ""
    return Table(title="", columns=columns, rows=rows, note=remark)


def lines(text: str, width: int) -> str:
    """The text broken into lines of that width."""
    return "\n".join(wrap(text, width, break_long_words=False, break_on_hyphens=False))


def expected(evidence: Evidence) -> str:
    """What the measured number should be, or must not exceed."""
    if isinstance(evidence.expected, str):
        return evidence.expected
    if evidence.expected is not None:
        return number(evidence.expected)
    return "–" if evidence.bound is None else f"≤ {number(evidence.bound)}"


def explanation(one: Tried) -> list[Part]:
    """One claim: its words, why, what was tried, the numbers, and what remains."""
    claim, evidence = one.claim, one.evidence
    parts: list[Part] = [
        Finding(text=f"“{claim.statement}”\n{claim.source}", kind="note"),
        Finding(text=evidence.finding),
        Finding(text=f"Why: {claim.argument}", kind="note"),
        Finding(text=f"Tried: {claim.method}", kind="note"),
    ]
    core = [trial for trial in evidence.trials if trial.judged and not trial.counter]
    counter = [trial for trial in evidence.trials if trial.counter]
    seen = [trial for trial in evidence.trials if not trial.judged]
    if counter:
        parts.append(trial_table("Against its words as they stand", counter))
    parts.append(trial_table("What is true" if counter else "What it says", core))
    if seen:
        rows = [(lines(trial.what, WHAT), trial.value) for trial in seen]
        parts.append(Table(title="Shown, not judged", columns=("", "found"), rows=rows))
    if evidence.table is not None:
        parts.append(evidence.table)
    return [*parts, Finding(text=f"What remains: {claim.remains}")]


def trial_table(title: str, trials: Sequence[Trial]) -> Table:
    """What was found, beside what it must be to count."""
    rows = [
        (lines(trial.what, WHAT), trial.value, limits(trial), "shown" if trial.holds else "NOT SHOWN")
        for trial in trials
    ]
    return Table(title=title, columns=("", "found", "must be", ""), rows=rows)


def limits(trial: Trial) -> str:
    """Between which bounds a number must lie."""
    low, high = number(trial.low), number(trial.high)
    if math.isinf(trial.low):
        return f"≤ {high}"
    if math.isinf(trial.high):
        return f"≥ {low}"
    return low if low == high else f"{low} to {high}"


def document(record: VerifyRecord) -> dict[str, object]:
    """The fields of `attnlab.verify/1` that a record fills."""
    return {"samples": record.config.samples, "claims": [claim_fields(one) for one in record.tried]}


def claim_fields(one: Tried) -> dict[str, object]:
    """One claim; numbers where there are numbers. What a clock measured is another thing at every run: left out."""
    claim, evidence = one.claim, one.evidence
    return {
        "id": claim.id,
        "verdict": one.verdict,
        "expected_verdict": claim.expected_verdict,
        "statement": claim.statement,
        "measured": evidence.measured,
        "standard_error": evidence.standard_error,
        "expected": evidence.expected,
        "bound": evidence.bound,
        "samples": evidence.samples,
        "unit": evidence.unit,
        "finding": evidence.finding,
        "remains": claim.remains,
        "checks": [trial_fields(trial) for trial in evidence.trials if not trial.clocked],
    }


def trial_fields(trial: Trial) -> dict[str, object]:
    """One number found, and the bounds it was held to."""
    return {
        "what": trial.what,
        "value": trial.value,
        "low": trial.low if math.isfinite(trial.low) else None,
        "high": trial.high if math.isfinite(trial.high) else None,
        "holds": trial.holds if trial.judged else None,
        "against": trial.counter,
    }


def csv_table(record: VerifyRecord) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Columns and rows of result.csv: a row per claim."""
    columns = (
        "id",
        "verdict",
        "expected_verdict",
        "measured",
        "standard_error",
        "expected",
        "bound",
        "samples",
        "unit",
    )
    rows = []
    for one in record.tried:
        fields = claim_fields(one)
        rows.append(tuple(fields[column] for column in columns))
    return columns, rows
