"""What a person sees of the claims, and the same as JSON and CSV: views of a record."""

import math
from collections.abc import Sequence
from textwrap import wrap

from attnlab.experiments.claims.claim import Evidence, Trial
from attnlab.experiments.verify import Tried, VerifyRecord
from attnlab.records import Cell, Finding, Part, Report, Table
from attnlab.show.numbers import number

#: Characters of a line in the column of what is claimed, and of what was tried.
SAYS, WHAT = 52, 42
#: The claim that the last line names, if it is there and nothing else is.
MOST_TELLING = "corollary-4"
#: Verdicts, and how one and several claims are said to have got them.
SAID = (
    ("holds", "holds", "hold"),
    ("corrected", "is corrected", "are corrected"),
    ("refuted", "is refuted", "are refuted"),
)


def report(record: VerifyRecord, *, explain: bool = False) -> Report:
    """The verdicts in a table, or each claim explained; how each was tried are its details."""
    config, count = record.config, len(record.tried)
    times = f" · {config.samples:,} × the usual samples" if config.samples > 1 else ""
    heading = f"{count} claims of the course" if count > 1 else named(record.tried[0])
    parts: list[Part] = [Finding(text=surprise(one)) for one in record.tried if not one.as_expected]
    details: list[Part] = []
    if explain and count > 1:
        for one in record.tried:
            parts += [Finding(text=named(one)), *in_short(one)]
            details += [Finding(text=named(one)), *explanation(one), *how_tried(one)]
    elif explain:
        parts += explanation(record.tried[0])
        details += how_tried(record.tried[0])
    else:
        parts += [Finding(text=count_in_words(record.tried)), verdict_table(record.tried, details=bool(config.claims))]
        for one in record.tried:
            details += [Finding(text=named(one)), *how_tried(one)]
    return Report(
        heading=f"{heading} · seed {config.seed}{times}",
        parts=parts,
        details=details,
        next=[] if explain and count == 1 else [pointer(record.tried)],
    )


def in_short(one: Tried) -> list[Part]:
    """A claim among others: the verdict with its numbers, and what remains."""
    said = f"{one.verdict.capitalize()}. {one.evidence.finding}"
    if one.verdict == "holds":
        return [Finding(text=said, kind="note")]
    return [Finding(text=f"{said} What remains: {one.claim.remains}", kind="note")]


def named(one: Tried) -> str:
    """The claim's name, and where it stands in the course."""
    return f"{one.claim.id} · {one.claim.place}"


def surprise(one: Tried) -> str:
    """What to say of a verdict that is not the expected one."""
    claim = one.claim
    failed = [trial.what for trial in one.evidence.trials if not trial.holds]
    found, wanted = one.verdict, claim.expected_verdict
    if found == wanted:
        return f"{claim.id}: proof {one.proof}; expected: {claim.proof}. Not shown: {'; '.join(failed)}."
    return f"{claim.id}: {found}; expected: {wanted}. Not shown: {'; '.join(failed)}."


def count_in_words(tried: Sequence[Tried]) -> str:
    """How many hold, are corrected, are refuted; of one, which."""
    if len(tried) == 1:
        return f"{tried[0].verdict.capitalize()}{', with the proof mended' if mended_only(tried[0]) else ''}."
    said = []
    for verdict, one, many in SAID:
        alike = [claim for claim in tried if claim.verdict == verdict]
        mended = sum(map(mended_only, alike))
        by_proof = f" ({mended} with the proof mended)" if mended else ""
        said += [f"{len(alike)} {one if len(alike) == 1 else many}{by_proof}"] if alike else []
    return f"{', '.join(said)}."


def pointer(tried: Sequence[Tried]) -> str:
    """How to learn why."""
    ids = [one.claim.id for one in tried]
    return f"attnlab verify {MOST_TELLING if MOST_TELLING in ids else ids[-1]} --explain"


def mended_only(one: Tried) -> bool:
    """Whether the claim holds, and its proof needed mending."""
    return one.verdict == "holds" and one.proof == "mended"


def verdict_table(tried: Sequence[Tried], *, details: bool = False) -> Table:
    """A row per claim; below it, for those that do not simply hold, or with `details` for all, what is true."""
    rows: list[tuple[Cell, ...]] = []
    for one in tried:
        rows.append((one.claim.id, lines(one.claim.statement, SAYS), one.verdict))
        if second := below(one, details=details):
            rows.append(("", lines(second, SAYS), ""))
    return Table(title="", columns=("claim", "says", "verdict"), rows=rows)


def below(one: Tried, *, details: bool) -> str:
    """What is true in place of the claim's words, of its proof, or what was not tried; empty if it simply holds."""
    if mended_only(one):
        return f"proof mended: {one.evidence.in_short}"
    if one.verdict != "holds" or details:
        return one.evidence.in_short
    return f"not tried: {one.claim.not_tried}" if one.claim.not_tried else ""


def lines(text: str, width: int) -> str:
    """The text broken into lines of that width."""
    return "\n".join(wrap(text, width, break_long_words=False, break_on_hyphens=False))


def explanation(one: Tried) -> list[Part]:
    """One claim: its words, the verdict with its numbers, why, the proof, what was not tried, and what remains."""
    claim, evidence = one.claim, one.evidence
    parts: list[Part] = [
        Finding(text=f"“{claim.quote}”\n(“{claim.translation}”)", kind="note"),
        Finding(text=f"Verdict: {one.verdict}. {evidence.finding}"),
        Finding(text=f"Why: {claim.argument}", kind="note"),
    ]
    if one.proof is not None:
        parts.append(Finding(text=said_of_the_proof(one), kind="note"))
    if claim.not_tried:
        parts.append(Finding(text=f"Not tried here: {claim.not_tried}.", kind="note"))
    return [*parts, Finding(text=f"What remains: {claim.remains}")]


def how_tried(one: Tried) -> list[Part]:
    """One claim: how it was tried, after whom, and every number found."""
    claim = one.claim
    parts: list[Part] = [Finding(text=f"Tried: {claim.method}", kind="note")]
    if claim.source:
        parts.append(Finding(text=f"Sources: {claim.source}", kind="note"))
    return [*parts, *trial_tables(one.evidence), *one.evidence.tables]


def said_of_the_proof(one: Tried) -> str:
    """Whether the course's proof is sound or mended, and where."""
    if one.proof == "mended":
        return f"The proof{'' if one.verdict == 'refuted' else ', mended'}: {one.claim.mending}"
    if one.verdict == "holds":
        return "The proof is sound."
    return "The proof is sound as far as it goes: its steps hold."


def trial_tables(evidence: Evidence) -> list[Part]:
    """What was found: against the claim's words, against its proof, of what is true, and what is only shown."""
    judged = [trial for trial in evidence.trials if trial.judged]
    against = [trial for trial in judged if trial.counter]
    found: list[Part] = [
        trial_table(title, trials)
        for title, trials in (
            ("Against its words as they stand", against),
            ("Against a step of its proof", [trial for trial in judged if trial.proof and not trial.counter]),
            ("What is true" if against else "What it says", [trial for trial in judged if trial.core]),
        )
        if trials
    ]
    if seen := [trial for trial in evidence.trials if not trial.judged]:
        rows = [(lines(trial.what, WHAT), trial.value) for trial in seen]
        found.append(Table(title="Measured, not judged", columns=("", "found"), rows=rows))
    return found


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
        "proof": one.proof,
        "expected_verdict": claim.expected_verdict,
        "quote": claim.quote,
        "translation": claim.translation,
        "place": claim.place,
        "statement": claim.statement,
        "measured": evidence.measured,
        "standard_error": evidence.standard_error,
        "expected": evidence.expected,
        "bound": evidence.bound,
        "samples": evidence.samples,
        "unit": evidence.unit,
        "finding": evidence.finding,
        "remains": claim.remains,
        "not_tried": claim.not_tried or None,
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
        "against_proof": trial.proof,
    }


def csv_table(record: VerifyRecord) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Columns and rows of result.csv: a row per claim."""
    columns = (
        "id",
        "verdict",
        "proof",
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
