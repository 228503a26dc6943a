"""`attnlab variance` as JSON and CSV: views of its records."""

from attnlab.experiments.variance import NO_MATRIX, ScoreResult, VarianceConfig, VarianceRecord, VarianceRow
from attnlab.experiments.variance_block import BlockRecord, HeadScores, StartResult
from attnlab.experiments.variance_softmax import NO_LAW, SoftmaxResult
from attnlab.records import Quantity

#: Columns of result.csv, and the fields of a row that are numbers or words.
COLUMNS = (
    *("d_k", "distribution", "correlation", "sampling", "samples", "mean", "expected_mean"),
    *("variance", "standard_error", "expected", "z", "scaled_variance", "scaled_standard_error", "scaled_expected"),
    *("kurtosis", "expected_kurtosis", "keys"),
    *("entropy", "entropy_standard_error", "expected_entropy"),
    *("scaled_entropy", "scaled_entropy_standard_error", "expected_scaled_entropy"),
    *("effective_keys", "effective_keys_standard_error"),
    *("scaled_effective_keys", "scaled_effective_keys_standard_error"),
    *("saturated_fraction", "saturated_fraction_standard_error"),
    *("scaled_saturated_fraction", "scaled_saturated_fraction_standard_error"),
)


def document(record: VarianceRecord) -> dict[str, object]:
    """The fields of `attnlab.variance/1`: two rows per width, with the same softmax columns."""
    return {"rows": [fields for row in record.rows for fields in row_fields(record.config, row)]}


def settings(config: VarianceConfig) -> dict[str, object]:
    """What was asked for, as the document's config: settings that do not show in the numbers left out."""
    return {
        "d_k": list(config.d_k),
        "samples": config.samples,
        "keys": config.keys,
        "distribution": config.distribution,
        "correlation": config.correlation,
    }


def row_fields(config: VarianceConfig, row: VarianceRow) -> list[dict[str, object]]:
    """The pairs' row, and the matrix's where there is one."""
    softmax = softmax_fields(config, row.unscaled, row.scaled)
    return [
        {"d_k": row.d_k, "distribution": config.distribution, **score_fields(config, scores, row.d_k), **softmax}
        for scores in (row.pairs, row.matrix)
        if scores is not None
    ]


def score_fields(config: VarianceConfig, scores: ScoreResult, d_k: int) -> dict[str, object]:
    """The scores, unscaled and scaled."""
    fields: dict[str, object] = {
        "correlation": config.correlation,
        "sampling": scores.sampling,
        "samples": scores.samples,
        "mean": scores.mean,
        "expected_mean": scores.expected_mean,
        "variance": scores.variance,
        "standard_error": scores.standard_error,
        "expected": scores.expected,
        "z": scores.z,
        "scaled_variance": scores.variance / d_k,
        "scaled_standard_error": scores.standard_error / d_k,
        "scaled_expected": scores.expected / d_k,
        "kurtosis": scores.kurtosis,
        "expected_kurtosis": scores.expected_kurtosis,
    }
    if scores.z is None:
        fields["z_reason"] = "the squares do not vary: the variance has no standard error"
    return fields


def softmax_fields(
    config: VarianceConfig, unscaled: SoftmaxResult | None, scaled: SoftmaxResult | None
) -> dict[str, object]:
    """The softmax's columns; null, with the reason, where there are none."""
    fields: dict[str, object] = {"keys": config.keys}
    for before, side in (("", unscaled), ("scaled_", scaled)):
        for name in ("entropy", "effective_keys", "saturated_fraction"):
            quantity = None if side is None else getattr(side, name)
            fields[f"{before}{name}"] = None if quantity is None else quantity.value
            fields[f"{before}{name}_standard_error"] = None if quantity is None else quantity.standard_error
        fields[f"expected_{before}entropy"] = None if side is None else side.expected_entropy
    if unscaled is None:
        fields |= {"keys": None, "entropy_reason": NO_MATRIX}
    elif unscaled.expected_entropy is None:
        fields["expected_entropy_reason"] = NO_LAW
    return fields


def csv_table(record: VarianceRecord) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Columns and rows of result.csv."""
    rows = [fields for row in record.rows for fields in row_fields(record.config, row)]
    return COLUMNS, [tuple(fields[column] for column in COLUMNS) for fields in rows]


def block_document(record: BlockRecord) -> dict[str, object]:
    """The same of a block's heads and of the common initialisations."""
    return {
        "rows": [],
        "heads": [head_fields(head) for head in record.heads],
        "initialisations": [start_fields(result) for result in record.starts],
    }


def head_fields(head: HeadScores) -> dict[str, object]:
    """One head of the first layer."""
    fields: dict[str, object] = {
        "layer": 0,
        "head": head.head,
        "samples": head.variance.n,
        "variance": head.variance.value,
        "standard_error": head.variance.standard_error,
        "expected": head.expected,
        "z": head.z,
        "norm_squared": head.norm_squared,
    }
    return fields if not head.reason else {**fields, "expected_reason": head.reason}


def start_fields(result: StartResult) -> dict[str, object]:
    """One initialisation."""
    return {
        "initialisation": result.start.name,
        "d_model": result.start.d_model,
        "d_k": result.start.d_k,
        "expected": result.start.score_variance,
        "heads": result.measured.n,
        "variance": result.measured.value,
        "standard_error": result.measured.standard_error,
        "z": result.z,
    }


def block_csv_table(record: BlockRecord) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Columns and rows of result.csv: the heads, then the initialisations."""
    columns = ("of", "variance", "standard_error", "expected", "z", "samples")
    heads = [(f"head {h.head}", *measured(h.variance), h.expected, h.z, h.variance.n) for h in record.heads]
    starts = [(r.start.name, *measured(r.measured), r.start.score_variance, r.z, r.measured.n) for r in record.starts]
    return columns, [*heads, *starts]


def measured(quantity: Quantity) -> tuple[float | None, float | None]:
    """A value and its standard error."""
    return quantity.value, quantity.standard_error
