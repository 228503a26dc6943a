"""An inspection as JSON and CSV: views of its record."""

from attnlab.experiments.inspect import InspectRecord
from attnlab.experiments.inspect_findings import KINDS, HeadFinding
from attnlab.experiments.inspect_words import sink_rate, variance_ratios
from attnlab.experiments.nonfinite import not_finite_fields
from attnlab.experiments.run_document import aligned_by_chance, head_fields, heads_table


def document(record: InspectRecord) -> dict[str, object]:
    """The fields of `attnlab.inspect/1`; what is not defined is null, with its reason beside it."""
    return {
        "model": record.model.document(),
        "tokens": list(record.tokens) or None,
        "n": record.n,
        "text_tokens": record.text_tokens,
        "kernel": record.kernel.name,
        "heads": [
            {name: value for name, value in head_fields(head).items() if name != "received"} for head in record.heads
        ],
        "findings": [finding_fields(one) for one in record.findings],
        "thresholds": {kind.name: {"rule": kind.rule, "source": kind.source} for kind in KINDS},
        "sink_rate": rate_fields(record),
        "score_variance_over_isotropic": ratio_fields(record),
        "aligned_by_chance": aligned_by_chance(record.heads),
        "checks": [{"id": c.id, "holds": c.holds, "value": c.value, "bound": c.bound} for c in record.checks],
        "not_finite": not_finite_fields(record.not_finite),
    }


def finding_fields(one: HeadFinding) -> dict[str, object]:
    """One finding; `other` is the head that it hardly differs from, `key` the token that a sink is."""
    fields = {"layer": one.layer, "head": one.head, "kind": one.kind, "value": one.value, "text": one.text}
    return fields | {name: value for name, value in (("other", one.other), ("key", one.key)) if value is not None}


def rate_fields(record: InspectRecord) -> dict[str, object]:
    """The share of heads that are sinks on key 0, and of how many."""
    sinks, measured = sink_rate(record)
    return {"value": sinks / measured if measured else None, "n": measured}


def ratio_fields(record: InspectRecord) -> dict[str, object] | None:
    """Least, median and largest; None where no head has an expectation: each says why."""
    ratios = variance_ratios(record.heads)
    if not len(ratios):
        return None
    middle = len(ratios) // 2
    median = ratios[middle] if len(ratios) % 2 else (ratios[middle - 1] + ratios[middle]) / 2
    return {"least": ratios[0], "median": median, "largest": ratios[-1], "n": len(ratios)}


def csv_table(record: InspectRecord) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Columns and rows of result.csv: a row per layer and head."""
    return heads_table(record.heads)
