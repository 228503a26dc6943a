"""The statistics of one attention, per head, each defined once: from sums over its rows to the numbers people read.

A new statistic is one entry of `STATISTICS` and one field of `HeadStatistics`; every path that fills `RowSums` has it.
Rows weigh equally, and each statistic is a mean over one of two populations. *Rows*: all but those that see no key and
those that hold a NaN or inf; where tokens look. *Choosing rows*: rows with two visible keys or more; how a row chooses.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from attnlab.maths.precision import Array
from attnlab.maths.rows import PANEL, RowSums

#: A row is saturated when one key holds more than this.
SATURATED = 0.99
#: Rows, of one head or of several, from which their statistics are taken.
TOGETHER = 1 << 12
#: Why a mean over no rows is not defined.
NO_ROW = "no row of this attention defines it"
#: Why the asymmetry of a square, uncausal attention is not defined.
NO_ASYMMETRY = "a row is not finite, or every row is empty"
#: The statistics that need query i and key i to be the same token.
SQUARE_ONLY = ("self_mass", "previous_mass", "next_mass", "distance", "asymmetry")
#: A key that fewer rows see than this share of them, or than so many, is not ranked by what its seers give it: what the
#: last of a causal text give to themselves is no sink.
SEERS, FEWEST_SEERS = 0.1, 4
#: A head is a sink when key 0 gets more than this on average (Gu et al. 2024).
SINK = 0.3


class HeadStatistics(NamedTuple):
    """One number per head (…, h), float64; NaN where a statistic is not defined (no such rows, or see `reasons`)."""

    score_mean: Array
    score_variance: Array
    score_max: Array
    logit_max: Array
    entropy: Array
    normalized_entropy: Array
    perplexity: Array
    effective_keys: Array
    max_weight: Array
    saturated_fraction: Array
    jacobian_trace_mean: Array
    jacobian_trace_median: Array
    sink_mass: Array
    sink: Array
    #: (…, h, m)
    received: Array
    received_max: Array
    received_argmax: Array
    received_by_seers_max: Array
    received_by_seers_argmax: Array
    self_mass: Array
    previous_mass: Array
    next_mass: Array
    distance: Array
    asymmetry: Array
    norm_bound: Array
    rows: Array
    choosing_rows: Array
    empty_rows: Array
    nonfinite_rows: Array
    #: why a statistic is not defined here at all, by its name
    reasons: Mapping[str, str]

    def of_head(self, index: int) -> "HeadStatistics":
        """The statistics of one head of (h,), each a number; received is (m,)."""
        return self._replace(**{name: getattr(self, name)[index] for name in self._fields if name != "reasons"})


def joined_heads(parts: Sequence[HeadStatistics]) -> HeadStatistics:
    """The statistics of several groups of heads, one or more, as those of all heads, in that order.

    A statistic has a reason not to be defined here only where no group defines it.
    """
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in HeadStatistics._fields[:-1]}
    return HeadStatistics(**joined, reasons=shared_reasons(parts))


def head_statistics(rows: RowSums, asymmetry: Array | None, reasons: Mapping[str, str]) -> HeadStatistics:
    """Every statistic of `STATISTICS` from the row sums; the asymmetry, which needs the whole matrix, is handed in."""
    values = {name: reduce(rows) for name, reduce in STATISTICS.items()}
    nowhere = np.full(rows.sound.shape[:-1], np.nan)
    undefined = {name: NO_ROW for name, value in values.items() if value.size and np.isnan(value).all()}
    return HeadStatistics(
        **values, asymmetry=nowhere if asymmetry is None else asymmetry, reasons={**undefined, **reasons}
    )


def mean_over(rows: Array, chosen: Array) -> Array:
    """The mean of a row quantity over the chosen rows, (…, h); NaN where none is chosen."""
    count = chosen.sum(axis=-1)
    total: Array = np.where(chosen, rows, 0.0).sum(axis=-1)
    return total / np.where(count > 0, count, np.nan)


def _mean(field: Callable[[RowSums], Array]) -> Callable[[RowSums], Array]:
    """The mean over all sound rows."""
    return lambda rows: mean_over(field(rows), rows.sound)


def _choosing(rows: RowSums) -> Array:
    """Sound rows with two visible keys or more: the others have nothing to choose between."""
    return rows.sound & (rows.visible > 1)


def _mean_choosing(field: Callable[[RowSums], Array]) -> Callable[[RowSums], Array]:
    """The mean over sound rows with two visible keys or more."""
    return lambda rows: mean_over(field(rows), _choosing(rows))


def _mean_seen(field: Callable[[RowSums], Array]) -> Callable[[RowSums], Array]:
    """The mean over the sound rows for which the quantity exists."""
    return lambda rows: mean_over(field(rows), rows.sound & ~np.isnan(field(rows)))


def _largest(field: Callable[[RowSums], Array]) -> Callable[[RowSums], Array]:
    """The largest over the sound rows for which the quantity exists; NaN where there is none."""

    def largest(rows: RowSums) -> Array:
        values = field(rows)
        exists = rows.sound & ~np.isnan(values)
        top = np.where(exists, values, -np.inf).max(axis=-1, initial=-np.inf)
        return np.where(exists.any(axis=-1), top, np.nan)

    return largest


def _score_mean(rows: RowSums) -> Array:
    """The mean over visible entries of sound rows (entries, not rows, weigh equally)."""
    count = np.where(rows.sound, rows.visible, 0.0)
    total = count.sum(axis=-1)
    mean: Array = (count * np.where(rows.sound, rows.score_mean, 0.0)).sum(axis=-1) / np.where(total > 0, total, np.nan)
    return mean


def _score_variance(rows: RowSums) -> Array:
    """The population variance over visible entries: within rows and, about the common mean, between them."""
    count = np.where(rows.sound, rows.visible, 0.0)
    total = count.sum(axis=-1)
    between = count * np.square(np.where(rows.sound, rows.score_mean, 0.0) - _score_mean(rows)[..., None])
    within = np.where(rows.sound, rows.score_m2, 0.0)
    variance: Array = (np.where(rows.sound, between, 0.0) + within).sum(axis=-1) / np.where(total > 0, total, np.nan)
    return variance


def _median_jacobian_trace(rows: RowSums) -> Array:
    """The median over sound rows with two visible keys or more; NaN where there is none."""
    chosen = _choosing(rows)
    ordered = np.sort(np.where(chosen, rows.jacobian_trace, np.inf), axis=-1)
    count = chosen.sum(axis=-1)
    if ordered.shape[-1] == 0:
        return np.full(count.shape, np.nan)
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, ordered.shape[-1] - 1)
    middle = [np.take_along_axis(ordered, at[..., None], axis=-1)[..., 0] for at in (low, high)]
    return np.where(count > 0, (middle[0] + middle[1]) / 2, np.nan)


def _received(rows: RowSums) -> Array:
    """Per key, the mean weight that it gets: (…, h, m), summing to 1."""
    count = rows.sound.sum(axis=-1)
    return rows.received / np.where(count > 0, count, np.nan)[..., None]


def _received_max(rows: RowSums) -> Array:
    """The largest share that one key gets."""
    return _received(rows).max(axis=-1) if rows.received.shape[-1] else np.full(rows.sound.shape[:-1], np.nan)


def _received_argmax(rows: RowSums) -> Array:
    """The key that gets it; NaN where no row is sound."""
    if rows.received.shape[-1] == 0:
        return np.full(rows.sound.shape[:-1], np.nan)
    return np.where(rows.sound.any(axis=-1), rows.received.argmax(axis=-1), np.nan)


def _by_seers(rows: RowSums) -> Array:
    """Per key, the mean weight that the rows which see it give it, (…, h, m); −inf where too few do.

    Source: Gu et al. 2024's α_k.
    """
    count = rows.sound.sum(axis=-1)[..., None]
    enough = np.maximum(np.minimum(FEWEST_SEERS, count), SEERS * count)
    ranked = (rows.seers > 0) & (rows.seers >= enough)
    return np.where(ranked, rows.received / np.where(rows.seers > 0, rows.seers, 1), -np.inf)


def _by_seers_max(rows: RowSums) -> Array:
    """The largest of these; NaN where no row is sound."""
    largest = _by_seers(rows).max(axis=-1, initial=-np.inf)
    return np.where(np.isneginf(largest), np.nan, largest)


def _by_seers_argmax(rows: RowSums) -> Array:
    """The key that gets it; NaN where no row is sound."""
    shares = _by_seers(rows)
    if shares.shape[-1] == 0:
        return np.full(rows.sound.shape[:-1], np.nan)
    return np.where(np.isneginf(shares.max(axis=-1)), np.nan, shares.argmax(axis=-1))


_sink_mass = _mean(lambda rows: rows.first)

#: name -> how it comes from the row sums
STATISTICS: dict[str, Callable[[RowSums], Array]] = {
    "score_mean": _score_mean,
    "score_variance": _score_variance,
    "score_max": _largest(lambda rows: rows.score_max),
    "logit_max": _largest(lambda rows: rows.logit_max),
    "entropy": _mean_choosing(lambda rows: rows.entropy),
    "normalized_entropy": _mean_choosing(lambda rows: rows.entropy / np.log(np.maximum(rows.visible, 2))),
    "perplexity": _mean_choosing(lambda rows: np.exp(rows.entropy)),
    "effective_keys": _mean_choosing(lambda rows: 1 / np.where(rows.square > 0, rows.square, 1)),
    "max_weight": _mean_choosing(lambda rows: rows.top),
    "saturated_fraction": _mean_choosing(lambda rows: (rows.top > SATURATED).astype(np.float64)),
    "jacobian_trace_mean": _mean_choosing(lambda rows: rows.jacobian_trace),
    "jacobian_trace_median": _median_jacobian_trace,
    "sink_mass": _sink_mass,
    "sink": lambda rows: _sink_mass(rows) > SINK,
    "received": _received,
    "received_max": _received_max,
    "received_argmax": _received_argmax,
    "received_by_seers_max": _by_seers_max,
    "received_by_seers_argmax": _by_seers_argmax,
    "self_mass": _mean_seen(lambda rows: rows.itself),
    "previous_mass": _mean_seen(lambda rows: rows.previous),
    "next_mass": _mean_seen(lambda rows: rows.following),
    "distance": _mean_seen(lambda rows: rows.distance),
    "norm_bound": _largest(lambda rows: rows.norm_ratio),
    "rows": lambda rows: rows.sound.sum(axis=-1),
    "choosing_rows": lambda rows: _choosing(rows).sum(axis=-1),
    "empty_rows": lambda rows: (rows.visible == 0).sum(axis=-1),
    "nonfinite_rows": lambda rows: ((rows.visible > 0) & ~rows.sound).sum(axis=-1),
}


def asymmetry(weights: Array) -> Array:
    """‖A − Aᵀ‖_F / (2‖A‖_F), from 0 (symmetric) to 1/√2 (A_ij A_ji = 0 throughout); (…, n, n) → (…); NaN if A is 0.

    Some rows and the same columns at a time: nothing as large as A is made in float64.
    """
    n = weights.shape[-1]
    heads = weights[..., 0, 0].size if n else 1
    height = max(1, PANEL // max(1, heads * n))
    square, difference = np.zeros(weights.shape[:-2]), np.zeros(weights.shape[:-2])
    for start in range(0, n, height):
        wide = weights[..., start : start + height, :].astype(np.float64)
        square += np.square(wide).sum(axis=(-2, -1))
        wide -= weights[..., :, start : start + height].swapaxes(-1, -2)
        difference += np.square(wide, out=wide).sum(axis=(-2, -1))
    return asymmetry_of(np.sqrt(difference), np.sqrt(square))


def asymmetry_of(difference: Array, norm: Array) -> Array:
    """The asymmetry from ‖A − Aᵀ‖_F and ‖A‖_F; NaN if A is 0."""
    share: Array = difference / (2 * np.where(norm > 0, norm, np.nan))
    return share


def place_reasons(n: int, m: int, *, causal: bool) -> dict[str, str]:
    """The statistics of where tokens look that n queries and m keys, or causal order, leave undefined, and why."""
    if n != m:
        return dict.fromkeys(SQUARE_ONLY, f"{n} queries and {m} keys are not the same tokens")
    if not causal:
        return {}
    return {
        "asymmetry": "causal: the half above the diagonal is hidden",
        "next_mass": "causal: no query sees the key after it",
    }


class GatheredHeads:
    """Heads one after the other, their statistics taken of a few together where they are short."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons = reasons
        self.waiting: list[tuple[RowSums, Array | None]] = []
        self.parts: list[HeadStatistics] = []

    def add(self, rows: RowSums, asymmetry: Array | None) -> None:
        """The next head: its rows (n,), and what it is told of the asymmetry, a number or None."""
        self.waiting.append((rows, asymmetry))
        if len(self.waiting) * max(rows.visible.size, rows.received.size) >= TOGETHER:
            self._take()

    def _take(self) -> None:
        """The statistics of the heads that wait."""
        rows, asymmetries = zip(*self.waiting, strict=True)
        told = [asymmetry for asymmetry in asymmetries if asymmetry is not None]
        together = RowSums(*(np.stack(field) for field in zip(*rows, strict=True)))
        self.parts.append(head_statistics(together, np.array(told) if told else None, self.reasons))
        self.waiting = []

    def statistics(self, shape: tuple[int, ...], m: int) -> HeadStatistics:
        """Those of all heads, (…, h); received is (…, h, m)."""
        if self.waiting:
            self._take()
        fields = {}
        for name in HeadStatistics._fields[:-1]:
            width = (m,) if name == "received" else ()
            values = [getattr(part, name) for part in self.parts] or [np.zeros(0)]
            fields[name] = np.concatenate(values).reshape(*shape, *width)
        return HeadStatistics(**fields, reasons=shared_reasons(self.parts))


def shared_reasons(parts: Sequence[HeadStatistics]) -> dict[str, str]:
    """A statistic has a reason not to be defined only where no part defines it."""
    return {
        name: why for part in parts[:1] for name, why in part.reasons.items() if all(name in p.reasons for p in parts)
    }
