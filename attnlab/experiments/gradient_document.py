"""The gradient experiment as JSON and CSV: views of its record."""

from dataclasses import fields

from attnlab.experiments.gradient import GradientRecord, GradientRow, NamedSlope, Prediction, Regime
from attnlab.experiments.gradient_claims import largest_scaled_score
from attnlab.experiments.gradient_rows import QUERIES, VALUE_WIDTH
from attnlab.records import Quantity


def document(record: GradientRecord) -> dict[str, object]:
    """The fields of `attnlab.gradient/1`; a measured number has its standard error beside it."""
    return {
        "n": record.config.n,
        "samples": record.samples,
        "value_width": VALUE_WIDTH,
        "queries_sharing_keys": QUERIES,
        "freezing_point": record.freezing_point,
        "rows": [row_fields(row) for row in record.rows],
        "slopes": [slope_fields(slope) for slope in record.slopes],
        "shift": vars(record.shift),
        "overflow": [vars(overflow) for overflow in record.overflows],
        "largest_scaled_score": largest_scaled_score(record.config.n),
        "checks": [{"id": c.id, "holds": c.holds, "value": c.value, "bound": c.bound} for c in record.checks],
    }


def row_fields(row: GradientRow) -> dict[str, object]:
    """One d_k."""
    return {
        "d_k": row.d_k,
        "n": row.n,
        "scaled": regime_fields(row.scaled),
        "unscaled": regime_fields(row.unscaled),
        "predicted": {
            "scaled": prediction_fields(row.predicted_scaled),
            "unscaled": prediction_fields(row.predicted_unscaled),
        },
    }


def regime_fields(regime: Regime) -> dict[str, object]:
    """What was measured; what no row defines is null."""
    found: dict[str, object] = {}
    for name in (field.name for field in fields(Regime)):
        value = getattr(regime, name)
        if isinstance(value, Quantity):
            found |= {name: value.value, f"{name}_standard_error": value.standard_error}
        else:
            found[name] = value
    return found


def prediction_fields(prediction: Prediction) -> dict[str, object]:
    """The closed forms; a limit that is not near is left out."""
    return {name: value for name, value in vars(prediction).items() if value is not None}


def slope_fields(named: NamedSlope) -> dict[str, object]:
    """One fitted power of d_k."""
    slope = named.slope
    return {
        "quantity": named.quantity,
        "regime": "scaled" if named.scaled else "unscaled",
        "slope": slope.value,
        "interval": [slope.low, slope.high],
        "window": list(slope.window),
    }


def csv_table(record: GradientRecord) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Columns and rows of result.csv: a row per d_k and regime, predictions last."""
    measured = tuple(regime_fields(record.rows[0].scaled))
    predicted = tuple(field.name for field in fields(Prediction))
    rows = []
    for row in record.rows:
        for regime, prediction in ((row.scaled, row.predicted_scaled), (row.unscaled, row.predicted_unscaled)):
            name = "scaled" if regime is row.scaled else "unscaled"
            values = regime_fields(regime)
            closed = [getattr(prediction, column) for column in predicted]
            rows.append((row.d_k, row.n, name, *(values[column] for column in measured), *closed))
    return ("d_k", "n", "regime", *measured, *(f"predicted_{column}" for column in predicted)), rows
