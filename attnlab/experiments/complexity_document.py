"""The complexity experiment as JSON and CSV: views of its record."""

from attnlab.experiments.complexity_crossovers import crossovers
from attnlab.experiments.complexity_record import ComplexityConfig, ComplexityRecord, Fit, Point

#: of result.csv
COLUMNS = (
    "mechanism",
    "kernel",
    "part",
    "d",
    "heads",
    "window",
    "threads",
    "n",
    "seconds_min",
    "seconds_median",
    "seconds_mad",
    "peak_bytes",
    "flops",
    "gflops",
)


def settings(config: ComplexityConfig) -> dict[str, object]:
    """The experiment's settings, as a configuration has them."""
    return {
        "mechanisms": list(config.mechanisms),
        "kernels": list(config.kernels),
        "part": config.part,
        "sweep": config.sweep,
        "n": list(config.n),
        "d": list(config.d),
        "heads": config.heads,
        "window": config.window,
        "repeats": config.repeats,
        "threads": config.threads,
        "budget_seconds": config.budget_seconds,
    }


def document(record: ComplexityRecord) -> dict[str, object]:
    """The fields of `attnlab.complexity/1`. Orders are in what is swept: "N" stands for d where that is d."""
    return {
        "sweep": record.config.sweep,
        "points": [point_fields(record, point) for point in record.points],
        "fits": [fit_fields(record, fit) for fit in record.fits],
        "crossovers": [
            {
                "mechanism": c.variant.mechanism,
                "kernel": c.variant.kernel,
                "against": c.against.key,
                record.config.sweep: c.at,
            }
            for c in crossovers(record)
        ],
        "matrix_product_gflops": record.matrix_product_gflops,
        "matrix_outgrows_memory": record.outgrows,
        "memory_agreement": record.memory_agreement,
        "noise": record.noise,
        "checks": [{"id": c.id, "holds": c.holds, "value": c.value, "bound": c.bound} for c in record.checks],
    }


def point_fields(record: ComplexityRecord, point: Point) -> dict[str, object]:
    """One point."""
    return dict(zip(COLUMNS, point_row(record, point), strict=True))


def point_row(record: ComplexityRecord, point: Point) -> tuple[object, ...]:
    """One point, in the order of `COLUMNS`."""
    return (
        point.variant.mechanism,
        point.variant.kernel,
        record.config.part,
        point.setting.d,
        point.setting.heads,
        point.setting.window if point.variant.mechanism == "window" else None,
        point.threads,
        point.setting.n,
        point.timing.minimum,
        point.timing.median,
        point.timing.mad,
        point.peak_bytes,
        point.flops,
        point.gflops,
    )


def fit_fields(record: ComplexityRecord, fit: Fit) -> dict[str, object]:
    """One fit."""
    return {
        "mechanism": fit.variant.mechanism,
        "kernel": fit.variant.kernel,
        "part": record.config.part,
        "quantity": fit.quantity,
        "order": fit.fit.order,
        "settled": fit.fit.settled,
        "reason": fit.fit.reason,
        "coefficients": dict(fit.fit.coefficients),
        "local_slope": fit.fit.local_slope,
        "slope_interval": list(fit.fit.slope_interval),
        "window": list(fit.fit.window),
    }


def csv_table(record: ComplexityRecord) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Columns and rows of result.csv: one a point."""
    return COLUMNS, [point_row(record, point) for point in record.points]
