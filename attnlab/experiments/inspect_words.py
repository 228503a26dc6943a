"""What the statistics of §5 are called, and what a model's heads say in plain words."""

import math
from collections.abc import Sequence

import numpy as np

from attnlab.experiments.agreement import Alignment, alignment
from attnlab.experiments.inspect import InspectRecord
from attnlab.experiments.inspect_findings import EVEN_SHARES, even_share, percent
from attnlab.experiments.run_document import scalar
from attnlab.experiments.run_record import HeadResult
from attnlab.experiments.run_report import counted
from attnlab.maths.precision import Array
from attnlab.maths.statistics import SINK
from attnlab.records import FloatArray
from attnlab.show.numbers import number

#: statistic -> what a table or map of it is called
TITLES = {
    "score_mean": "Mean of the scores",
    "score_variance": "Variance of the scores",
    "score_max": "Largest score",
    "logit_max": "Largest score, after cap and bias",
    "entropy": "Entropy, in nat",
    "normalized_entropy": "Entropy, as a share of what is possible",
    "perplexity": "Perplexity e^H",
    "effective_keys": "Effective number of keys, 1/Σp²",
    "max_weight": "Largest weight of a row, on average",
    "saturated_fraction": "Share of rows in which one key holds over 0.99",
    "jacobian_trace_mean": "What the softmax lets through to training, tr ∂p/∂s",
    "jacobian_trace_median": "The same, of the middle row",
    "sink_mass": "Weight on token 0",
    "sink": f"Sinks: 1 where token 0 has more than {SINK} of the weight",
    "received_max": "Share that the most-received key gets",
    "received_argmax": "Which key receives most",
    "received_by_seers_max": "Most that the rows which see a key give it, on average",
    "received_by_seers_argmax": "Which key that is",
    "self_mass": "Weight on the token itself",
    "previous_mass": "Weight on the token before",
    "next_mass": "Weight on the token after",
    "distance": "How far it looks, in tokens",
    "asymmetry": "Asymmetry, 0 to 0.707",
    "norm_bound": "Longest output over longest value",
    "rows": "Rows that the means are taken over",
    "choosing_rows": "Rows that see two keys or more",
    "empty_rows": "Rows that see no key",
    "nonfinite_rows": "Rows that hold NaN or infinity",
}


def layers_and_heads(record: InspectRecord) -> tuple[list[int], list[int]]:
    """Those reported, in the order in which they were asked for."""
    layers = list(dict.fromkeys(head.layer for head in record.heads))
    return layers, list(dict.fromkeys(head.head for head in record.heads))


def statistic_map(record: InspectRecord, name: str) -> FloatArray:
    """A statistic of every head reported, (layers, heads); NaN where it is not defined."""
    layers, heads = layers_and_heads(record)
    values = np.full((len(layers), len(heads)), np.nan)
    for head in record.heads:
        if name not in head.statistics.reasons:
            values[layers.index(head.layer), heads.index(head.head)] = scalar(head.statistics, name)
    return values


def why_undefined(record: InspectRecord, name: str) -> str:
    """Why no head has the statistic; empty where one has."""
    reasons = [head.statistics.reasons.get(name, "") for head in record.heads]
    return reasons[0] if reasons and all(reasons) else ""


def sink_rate(record: InspectRecord) -> tuple[int, int]:
    """How many of the heads that have a weight on token 0 at all are sinks, and how many have one."""
    measured = [head for head in record.heads if not math.isnan(head.statistics.sink_mass)]
    return sum(bool(head.statistics.sink) for head in measured), len(measured)


def sinks_in_words(record: InspectRecord) -> str:
    """The model's sink rate."""
    sinks, measured = sink_rate(record)
    if not measured:
        return ""
    rate = number(sinks / measured)
    said = (
        f"Sink rate {rate}: {sinks:,} of {measured:,} heads put over {SINK} of their weight on token 0, "
        f"at {record.n:,} tokens"
    )
    even = max(even_share(spec, record.n, 0) for spec in record.specs.values())
    if sinks and EVEN_SHARES * even > SINK:
        said += f"; but on so short a text uniform weights put {even:.2f} there"
    return f"{said}."


def variance_ratios(heads: Sequence[HeadResult]) -> Array:
    """Score variance over that of the tokens in random directions, of the heads for which that is known."""
    pairs = [
        (float(head.statistics.score_variance), head.expectation.scores.variance)
        for head in heads
        if head.expectation.scores is not None and head.expectation.kind == "isotropic"
    ]
    ratios = [measured / expected for measured, expected in pairs if expected > 0 and not math.isnan(measured)]
    return np.array(sorted(ratios))


def variance_in_words(record: InspectRecord) -> str:
    """How the scores' variance compares with that of the same tokens in random directions, and with chance."""
    ratios, found = variance_ratios(record.heads), alignment(record.heads)
    if not len(ratios):
        reasons = dict.fromkeys(head.expectation.reason for head in record.heads if head.expectation.reason)
        return f"Score variance is not set beside random directions: {next(iter(reasons), 'none of it is finite')}."
    three = (*ratios[[0, -1]], np.median(ratios))
    low, high, middle = (f"{ratio:.2g}" if ratio < 10 else number(ratio) for ratio in three)
    if len(record.heads) == 1:
        known = "aligned with the text" if found.more_than_chance else "not known to be aligned with the text"
        return f"Score variance: the head is {known}: {low} times what these tokens would give in random directions."
    return (
        f"Score variance: {alignment_in_words(found)} It is {low} to {high} times what these tokens would give in "
        f"random directions (median {middle})."
    )


def alignment_in_words(found: Alignment) -> str:
    """Which heads are aligned with the text, beside how many would be by chance."""
    chance, heads = f"by chance: {found.by_chance:.2g}", f"{found.outside} of {counted(found.total, 'head')}"
    if not found.more_than_chance:
        return f"no head is known to be aligned with the text ({found.outside} of {found.total} seem so; {chance})."
    sides = f", {found.below} of them against it" if found.below else ""
    return f"{heads} {'is' if found.total == 1 else 'are'} aligned with the text{sides} ({chance})."


def rows_in_words(record: InspectRecord) -> list[str]:
    """Rows that must not be overlooked."""
    rows = record.n * len(record.heads)
    counts = {
        "see no key: their weights and outputs are 0, and no mean counts them": "empty_rows",
    }
    found = {words: int(sum(getattr(head.statistics, name) for head in record.heads)) for words, name in counts.items()}
    return [f"{count:,} of {rows:,} rows {words}." for words, count in found.items() if count]


def head_in_words(record: InspectRecord, head: HeadResult, *, brief: bool = False) -> str:
    """What one head does, in a sentence of its numbers: the first two of them, or all."""
    values = head.statistics
    said = [
        (values.normalized_entropy, f"entropy {number(float(values.normalized_entropy))} of what is possible"),
        (values.sink_mass, f"{percent(float(values.sink_mass))} of its weight on token 0"),
        (values.previous_mass, f"{percent(float(values.previous_mass))} on the token before"),
        (values.effective_keys, f"{number(float(values.effective_keys))} effective keys of {record.n:,}"),
        (values.distance, f"it looks {number(float(values.distance))} tokens away on average"),
    ]
    known = [words for value, words in said if not math.isnan(value)]
    return f"Head {head.layer}.{head.head}: {', '.join(known[: 2 if brief else None]) or 'nothing to measure'}."
