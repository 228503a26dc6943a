"""A run as JSON and CSV: views of its record."""

import math
from collections.abc import Sequence

import numpy as np

from attnlab.experiments.agreement import alignment
from attnlab.experiments.nonfinite import not_finite_fields
from attnlab.experiments.run_record import HeadResult, RunRecord
from attnlab.maths.statistics import HeadStatistics

#: Up to so many tokens the matrices themselves are in the document.
MATRIX_TOKENS = 64
#: Statistics that are not floating numbers.
WHOLE = (
    "received_argmax",
    "received_by_seers_argmax",
    "rows",
    "choosing_rows",
    "empty_rows",
    "nonfinite_rows",
)
#: Statistics with one number per head, in the order in which they are documented.
SCALARS = tuple(name for name in HeadStatistics._fields if name not in ("received", "reasons"))


def document(record: RunRecord) -> dict[str, object]:
    """The fields of `attnlab.run/1` that a record fills; what is not defined is null, with its reason beside it."""
    return {
        "tokens": list(record.tokens) or None,
        "n": record.n,
        "kernel": record.kernel.name,
        "heads": [head_fields(head) for head in record.heads],
        "steps": [vars(step) for step in record.steps if step.name != "X"],
        "aligned_by_chance": aligned_by_chance(record.heads),
        "checks": [{"id": c.id, "holds": c.holds, "value": c.value, "bound": c.bound} for c in record.checks],
        "not_finite": not_finite_fields(record.not_finite),
        "barred_rows": record.barred_rows,
        "attention": [
            {"layer": head.layer, "head": head.head, "weights": head.weights.astype(np.float64).tolist()}
            for head in record.heads
            if head.weights is not None and max(record.n, record.m) <= MATRIX_TOKENS
        ],
    }


def aligned_by_chance(heads: Sequence[HeadResult]) -> float | None:
    """How many of these heads would be aligned by chance; None where it is known of none."""
    found = alignment(heads)
    return found.by_chance if found.total else None


def head_fields(head: HeadResult) -> dict[str, object]:
    """One head's statistics and the variance that its scores should have."""
    fields: dict[str, object] = {"layer": head.layer, "head": head.head}
    for name in SCALARS:
        if name in head.statistics.reasons:
            fields |= {name: None, f"{name}_reason": head.statistics.reasons[name]}
        else:
            fields[name] = scalar(head.statistics, name)
    fields["received"] = head.statistics.received.tolist()
    scores = head.expectation.scores
    fields["predicted_score_variance"] = None if scores is None else scores.variance
    fields["predicted_score_variance_standard_error"] = None if scores is None else scores.standard_error
    fields["predicted_score_mean"] = None if scores is None or math.isnan(scores.mean) else scores.mean
    low, high = head.expectation.interval or (None, None)
    measured = float(head.statistics.score_variance)
    fields |= {"aligned": head.expectation.aligned(measured), "isotropic_low": low, "isotropic_high": high}
    fields["prediction"] = head.expectation.kind
    if head.expectation.reason:
        fields["prediction_reason"] = head.expectation.reason
    return fields


def scalar(statistics: HeadStatistics, name: str) -> bool | int | float:
    """A statistic as the number that it is."""
    value = getattr(statistics, name)
    if name == "sink":
        return bool(value)
    return int(value) if name in WHOLE and not np.isnan(value) else float(value)


def csv_table(record: RunRecord) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Columns and rows of result.csv."""
    return heads_table(record.heads)


def heads_table(heads: Sequence[HeadResult]) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Columns and rows, one for each layer and head; true and false as in the document."""
    predicted = ("predicted_score_variance", "predicted_score_variance_standard_error")
    columns = ("layer", "head", *SCALARS, *predicted, "prediction", "aligned", "isotropic_low", "isotropic_high")
    rows = []
    for head in heads:
        fields = head_fields(head)
        fields |= {name: str(value).lower() for name, value in fields.items() if isinstance(value, bool)}
        rows.append(tuple(fields[column] for column in columns))
    return columns, rows
