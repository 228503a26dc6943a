"""What the statistics need to know of each row of an attention, and how a path with its matrix at hand fills it in.

A path without a matrix fills the same fields tile by tile; `statistics` makes the numbers that people read of them.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from attnlab.maths.attention import AttentionSteps
from attnlab.maths.precision import Array

#: Elements of a float64 temporary while rows are summed: 2 MiB, and about eight of them at a time.
PANEL = 1 << 18


class RowSums(NamedTuple):
    """What the statistics need to know of each row i; all float64 (…, h, n) unless said."""

    #: how many keys the row sees
    visible: Array
    #: whether the row sees a key, and its scores and output are finite; boolean
    sound: Array
    #: over visible keys, of the scores after scale, before cap and bias
    score_mean: Array
    #: Σ (score − score_mean)²
    score_m2: Array
    score_max: Array
    #: of the scores after cap and bias
    logit_max: Array
    #: −Σ p ln p
    entropy: Array
    #: Σ p²
    square: Array
    #: max p
    top: Array
    #: Σ p (1 − p)
    jacobian_trace: Array
    #: p on key 0
    first: Array
    #: p on keys i, i−1, i+1; NaN where the row does not see it, or n ≠ m
    itself: Array
    previous: Array
    following: Array
    #: Σ p·abs(i − j); NaN where n ≠ m
    distance: Array
    #: ‖o_i‖ / max over visible j of ‖v_j‖; NaN where that is 0
    norm_ratio: Array
    #: (…, h, m): Σ_i p_ij over sound rows
    received: Array
    #: (…, h, m): how many sound rows see the key
    seers: Array


def row_sums(steps: AttentionSteps, value_norms: Array, *, first: int = 0, square: bool | None = None) -> RowSums:
    """The row sums of an attention whose matrix is at hand, some rows at a time.

    Args:
        steps: scores (…, h, n, m) and what follows from them.
        value_norms: (…, h, m), the `lengths` of the values that each query head reads.
        first: which query the first row is, when the rows are some of a longer attention.
        square: whether query i and key i are the same token; None = when there are as many of both.
    """
    n, m = steps.scores.shape[-2:]
    heads = max(1, steps.scores[..., 0, 0].size) if n and m else 1
    height = max(1, PANEL // max(1, heads * m))
    places = first if (n == m if square is None else square) else None
    panels, received, seen = [], *np.zeros((2, *steps.scores.shape[:-2], m))
    for start in range(0, max(n, 1), height):
        panel = _panel(steps, value_norms, slice(start, min(start + height, n)), places)
        received += panel.received
        seen += panel.seers
        nothing = received[..., :0]  # one per panel would grow with n
        panels.append(panel._replace(received=nothing, seers=nothing))
    return RowSums(*joined_rows(panels))._replace(received=received, seers=seen)


def no_rows(n: int, m: int) -> RowSums:
    """Room for n rows on m keys, to be filled."""
    fields = {name: np.zeros(n) for name in RowSums._fields}
    return RowSums(**(fields | {"sound": np.zeros(n, dtype=bool), "received": np.zeros(m), "seers": np.zeros(m)}))


def joined_rows(panels: list[RowSums]) -> Iterator[Array]:
    """Panels one below the other; what belongs to keys is added up."""
    for name, parts in zip(RowSums._fields, zip(*panels, strict=True), strict=True):
        yield sum(parts[1:], parts[0]) if name in ("received", "seers") else np.concatenate(parts, axis=-1)


def _panel(steps: AttentionSteps, value_norms: Array, rows: slice, places: int | None) -> RowSums:
    """The row sums of some rows, by the definitions, from float64 weights made from the logits."""
    scores = steps.scores[..., rows, :].astype(np.float64)
    logits = steps.logits[..., rows, :].astype(np.float64)
    everything = np.ones((1, 1), dtype=bool) if steps.visible is None else steps.visible
    shape = steps.scores.shape
    seen = np.broadcast_to(everything, shape)[..., rows, :]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        count = seen.sum(axis=-1)
        finite = np.isfinite(steps.lse[..., rows]) & np.isfinite(steps.output[..., rows, :]).all(axis=-1)
        sound = (count > 0) & finite & ~(seen & ~np.isfinite(scores)).any(axis=-1)
        logits = np.where(seen & sound[..., None], logits, -np.inf)
        top = logits.max(axis=-1, initial=-np.inf)
        shifted = np.where(sound[..., None], logits - np.where(sound, top, 0)[..., None], -np.inf)
        e = np.exp(shifted)
        total = np.where(sound, e.sum(axis=-1), 1.0)
        p = e / total[..., None]
        mean = np.where(seen, scores, 0).sum(axis=-1) / count
        m2 = np.square(np.where(seen, scores - mean[..., None], 0)).sum(axis=-1)
        norm_ratio = _norm_ratio(steps.output[..., rows, :], value_norms, seen)
    itself, previous, following, distance = _places(p, seen, None if places is None else places + rows.start)
    return RowSums(
        visible=count.astype(np.float64),
        sound=sound,
        score_mean=mean,
        score_m2=m2,
        score_max=np.where(seen, scores, -np.inf).max(axis=-1, initial=-np.inf),
        logit_max=top,
        entropy=np.log(total) - (p * np.where(e > 0, shifted, 0)).sum(axis=-1),
        square=np.square(p).sum(axis=-1),
        top=p.max(axis=-1, initial=0),
        jacobian_trace=_jacobian_trace(p),
        first=p[..., 0].copy() if shape[-1] else np.zeros(p.shape[:-1]),
        itself=itself,
        previous=previous,
        following=following,
        distance=distance,
        norm_ratio=norm_ratio,
        received=p.sum(axis=-2),
        seers=(seen & sound[..., None]).sum(axis=-2, dtype=np.float64),
    )


def _jacobian_trace(p: Array) -> Array:
    """Σ p(1 − p) by row, with 1 − p_max as the sum of the others: exact where one key holds nearly everything."""
    if p.shape[-1] == 0:
        return np.zeros(p.shape[:-1])
    at = p.argmax(axis=-1)[..., None]
    top = np.take_along_axis(p, at, axis=-1)[..., 0]
    others = p.copy()
    np.put_along_axis(others, at, 0.0, axis=-1)
    trace: Array = top * others.sum(axis=-1) + (others * (1 - others)).sum(axis=-1)
    return trace


def _norm_ratio(output: Array, value_norms: Array, seen: Array) -> Array:
    """‖o_i‖ / max over visible j of ‖v_j‖; NaN where that is 0."""
    largest = np.where(seen, value_norms[..., None, :], 0).max(axis=-1, initial=0)
    return lengths(output) / np.where(largest > 0, largest, np.nan)


def lengths(vectors: Array) -> Array:
    """‖x‖ over the last axis in float64, of numbers whose squares would overflow too; (…, n, e) -> (…, n)."""
    n, height = vectors.shape[-2], max(1, PANEL // 8 // max(1, vectors[..., :1, :].size))
    found = np.empty(vectors.shape[:-1])
    room = np.empty((*vectors.shape[:-2], min(height, n), vectors.shape[-1]))
    for start in range(0, n, height):
        some, rows = vectors[..., start : start + height, :], found[..., start : start + height]
        wide = room[..., : some.shape[-2], :]
        np.copyto(wide, some)
        _write_lengths(wide, rows, tame=vectors.dtype == np.float32)
    return found


def bound_on_lengths(vectors: Array) -> float | None:
    """A little more than the largest ‖x‖ of float32 x (n, e); None where that takes float64, or one is not finite."""
    if vectors.dtype != np.float32:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        square = float(np.vecdot(vectors, vectors).max(initial=0))
    return 1.0001 * math.sqrt(square) if 1e-30 < square < 1e36 else None


def _write_lengths(wide: Array, found: Array, *, tame: bool) -> None:
    """Write those of some vectors, which are overwritten; tame: their squares neither overflow nor vanish."""
    size = None
    if not tame:
        top = np.abs(wide).max(axis=-1, keepdims=True, initial=0)
        size = np.where(np.isfinite(top) & (top > 0), top, 1)
        wide /= size
    np.sqrt(np.vecdot(wide, wide), out=found)
    if size is not None:
        found *= size[..., 0]


def _places(p: Array, seen: Array, first: int | None) -> tuple[Array, Array, Array, Array]:
    """Weight on keys i, i−1, i+1 (NaN where not seen) and Σ p·abs(i − j), for rows i = first …; all NaN if None."""
    if first is None:
        nothing = np.full(p.shape[:-1], np.nan)
        return nothing, nothing, nothing, nothing
    m = p.shape[-1]
    i = np.arange(first, first + p.shape[-2])
    found = []
    for j in (i, i - 1, i + 1):
        inside = (j >= 0) & (j < m)
        at = np.broadcast_to(np.clip(j, 0, m - 1)[:, None], (*p.shape[:-1], 1))
        there = inside & np.take_along_axis(seen, at, axis=-1)[..., 0]
        found.append(np.where(there, np.take_along_axis(p, at, axis=-1)[..., 0], np.nan))
    distance = (p * np.abs(i[:, None] - np.arange(m))).sum(axis=-1)
    return found[0], found[1], found[2], distance
