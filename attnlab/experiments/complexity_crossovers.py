"""Where one way to mix tokens becomes faster than full attention, and stays so."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from attnlab.experiments.complexity_record import ComplexityRecord, Point
from attnlab.experiments.complexity_variants import Variant


class Crossover(NamedTuple):
    """`variant` is faster than `against` from `at` on: the median times' crossing on log axes."""

    variant: Variant
    against: Variant
    at: float


def crossovers(record: ComplexityRecord) -> list[Crossover]:
    """Of every other mechanism with the first full kernel; none where the times do not cross in the range."""
    full = [v for v in record.variants if v.mechanism == "full"]
    if not full:
        return []
    found = []
    for variant in record.variants:
        if variant.mechanism != "full":
            at = crossing(record.of(variant), record.of(full[0]), record.config.sweep)
            if at is not None:
                found.append(Crossover(variant, full[0], at))
    return found


def crossing(points: Sequence[Point], against: Sequence[Point], sweep: str) -> float | None:
    """The last place where the first changes from slower to faster; None: there is none, or it is slower at the end."""
    sizes = [float(getattr(point.setting, sweep)) for point in points]
    lead = [math.log(other.timing.median / point.timing.median) for point, other in zip(points, against, strict=True)]
    for i in range(len(lead) - 1, 0, -1):
        if lead[i] <= 0:
            return None
        if lead[i - 1] < 0:
            share = -lead[i - 1] / (lead[i] - lead[i - 1])
            return float(sizes[i - 1] * (sizes[i] / sizes[i - 1]) ** share)
    return None
