"""What attention and its statistics are, spelled out in python loops: slow, and shared with nothing in the package.

One head at a time: scores, logits and visible are (n, m), v is (m, e).
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from attnlab.maths.attention import attention_steps
from attnlab.maths.dense import dense_statistics
from attnlab.maths.inputs import attention_inputs
from attnlab.maths.statistics import HeadStatistics

Array = NDArray[Any]

EPS = float(np.finfo(np.float32).eps)
#: The smallest normal float32: below it weights may be rounded to nothing.
TINY = 2.0**-126
DEFAULTS: dict[str, Any] = {
    "mask": None,
    "bias": None,
    "causal": False,
    "window": None,
    "scale": None,
    "softcap": None,
}


def statistics_of(q: Array, k: Array, v: Array, **settings: Any) -> HeadStatistics:
    """The package's own statistics of one attention, from its matrix."""
    inputs = attention_inputs(q, k, v, **(DEFAULTS | settings))
    return dense_statistics(attention_steps(inputs), inputs.v, causal=settings.get("causal", False))


def sees(i: int, j: int, *, causal: bool, window: int | None) -> bool:
    if causal:
        return j <= i and (window is None or i - j < window)
    return window is None or abs(i - j) <= window


def exact_log_weights(logits: Array) -> Array:
    """ln p from logits in float64; -inf where hidden. Rows that see nothing are not for this."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def worst_log_error(p: Array, log_p: Array) -> float:
    """The largest |ln p − ln P| where both are normal float32 numbers.

    Infinite where p is NaN, where p is not small although P is, or the other way round.

    Args:
        p: float32 weights, any shape.
        log_p: ln P, float64, of the same shape.
    """
    wide = p.astype(np.float64)
    vanishing = np.exp(log_p) < TINY
    if np.isnan(wide).any() or (wide[vanishing] > 2 * TINY).any():
        return math.inf
    normal = ~vanishing & (wide >= TINY)
    # P just above TINY may be rounded below it, never to nothing
    if (wide[~vanishing] < TINY / 2).any():
        return math.inf
    return float(np.abs(np.log(wide[normal]) - log_p[normal]).max(initial=0.0))


class Row(NamedTuple):
    """One row of an attention that sees something finite."""

    i: int
    keys: list[int]
    scores: list[float]
    logits: list[float]
    #: over all keys, 0 where hidden
    p: list[float]
    output_norm: float


def naive_row(i: int, scores: Array, logits: Array, visible: Array, v: Array) -> Row | None:
    """None for a row that is not finite."""
    keys = [j for j in range(scores.shape[1]) if visible[i, j]]
    seen = [float(logits[i, j]) for j in keys]
    if not all(math.isfinite(x) for x in seen) or not all(math.isfinite(x) for j in keys for x in v[j]):
        return None
    e = [math.exp(x - max(seen)) for x in seen]
    p = [0.0] * scores.shape[1]
    for j, x in zip(keys, e, strict=True):
        p[j] = x / math.fsum(e)
    output = [math.fsum(p[j] * float(v[j, c]) for j in keys) for c in range(v.shape[1])]
    return Row(i, keys, [float(scores[i, j]) for j in keys], seen, p, math.hypot(*output))


def average(numbers: list[float]) -> float:
    return math.fsum(numbers) / len(numbers) if numbers else math.nan


def median(numbers: list[float]) -> float:
    ordered, half = sorted(numbers), len(numbers) // 2
    if not ordered:
        return math.nan
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def entropy(row: Row) -> float:
    return -math.fsum(p * math.log(p) for p in row.p if p > 0)


def jacobian_trace(row: Row) -> float:
    return math.fsum(p * (1 - p) for p in row.p)


def naive_statistics(scores: Array, logits: Array, visible: Array, v: Array) -> dict[str, Any]:
    """Every statistic of design section 5 but the asymmetry, each by its definition."""
    n, m = scores.shape
    non_empty = [i for i in range(n) if visible[i].any()]
    every = [naive_row(i, scores, logits, visible, v) for i in non_empty]
    rows = [row for row in every if row is not None]
    numbers = {
        "rows": len(rows),
        "choosing_rows": sum(len(row.keys) > 1 for row in rows),
        "empty_rows": n - len(non_empty),
        "nonfinite_rows": len(every) - len(rows),
    }
    return (
        numbers | _of_scores(rows) | _of_choice(rows) | _of_keys(rows, m) | _of_places(rows, n, m) | _of_norms(rows, v)
    )


def _of_scores(rows: list[Row]) -> dict[str, float]:
    entries = [score for row in rows for score in row.scores]
    mean = average(entries)
    return {
        "score_mean": mean,
        "score_variance": average([(score - mean) ** 2 for score in entries]),
        "score_max": max(entries, default=math.nan),
        "logit_max": max((logit for row in rows for logit in row.logits), default=math.nan),
    }


def _of_choice(rows: list[Row]) -> dict[str, float]:
    choosing = [row for row in rows if len(row.keys) > 1]
    return {
        "entropy": average([entropy(row) for row in choosing]),
        "normalized_entropy": average([entropy(row) / math.log(len(row.keys)) for row in choosing]),
        "perplexity": average([math.exp(entropy(row)) for row in choosing]),
        "effective_keys": average([1 / math.fsum(p * p for p in row.p) for row in choosing]),
        "max_weight": average([max(row.p) for row in choosing]),
        "saturated_fraction": average([1.0 if max(row.p) > 0.99 else 0.0 for row in choosing]),
        "jacobian_trace_mean": average([jacobian_trace(row) for row in choosing]),
        "jacobian_trace_median": median([jacobian_trace(row) for row in choosing]),
    }


def _of_keys(rows: list[Row], m: int) -> dict[str, Any]:
    received = [average([row.p[j] for row in rows]) for j in range(m)]
    best = max(received)
    seers = [[row for row in rows if j in row.keys] for j in range(m)]
    enough = max(min(4, len(rows)), len(rows) / 10)
    by_seers = {j: average([row.p[j] for row in own]) for j, own in enumerate(seers) if own and len(own) >= enough}
    most = max(by_seers.values(), default=math.nan)
    return {
        "sink_mass": received[0],
        "sink": received[0] > 0.3,
        "received": received,
        "received_max": best,
        "received_argmax": received.index(best) if rows else math.nan,
        "received_by_seers_max": most,
        "received_by_seers_argmax": next((j for j, share in by_seers.items() if share == most), math.nan),
    }


def _of_places(rows: list[Row], n: int, m: int) -> dict[str, float]:
    if n != m:
        return dict.fromkeys(["self_mass", "previous_mass", "next_mass", "distance"], math.nan)

    def beside(step: int) -> float:
        return average([row.p[row.i + step] for row in rows if row.i + step in row.keys])

    distances = [math.fsum(p * abs(row.i - j) for j, p in enumerate(row.p)) for row in rows]
    return {"self_mass": beside(0), "previous_mass": beside(-1), "next_mass": beside(1), "distance": average(distances)}


def _of_norms(rows: list[Row], v: Array) -> dict[str, float]:
    largest = [(row.output_norm, max(math.hypot(*map(float, v[j])) for j in row.keys)) for row in rows]
    return {"norm_bound": max((norm / top for norm, top in largest if top > 0), default=math.nan)}
