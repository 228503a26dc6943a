"""What one tile of scores, some queries against some keys, adds to the sums over its rows.

B queries by T keys. Everything is relative to a shift per row, close to the row's largest logit so far: weights are
e^(logit − shift), never beyond e^SLACK, and `combining` puts tiles with different shifts together. Which keys are
visible comes as numbers, 1 or 0: to multiply by them is several times as fast as to choose by booleans.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from attnlab.maths.precision import Array

#: How far a logit may lie above its row's shift before the shift is raised to it.
SLACK = 8.0
#: Logits this far below the shift weigh e^FLOOR: less than any sum can show, more than the numbers that slow a
#: processor down (below 2⁻¹²⁶, or 2⁻¹⁰²²).
FLOORS = {"float32": -80.0, "float64": -700.0}
#: Taken from the logit of a hidden key: it is then below any other, and stays finite.
PENALTIES = {"float32": 2.0**120, "float64": 2.0**1000}


class TileSums(NamedTuple):
    """Of one tile, by row: (B,) each. Σ over all its visible keys."""

    #: what the weights are relative to, float64, -inf where nothing has been visible yet; None = as it was
    shift: Array | None
    #: largest logit − shift; -inf where every key is hidden
    top: Array
    #: Σ w, Σ w², Σ w·(logit − shift)
    total: Array
    square: Array
    slope: Array
    #: Σ w·abs(i − j); None where there is no such distance
    distance: Array | None


class Moments(NamedTuple):
    """Of the visible scores of each row of a tile: (B,) each, float64."""

    #: how many there are
    entries: Array
    mean: Array
    #: Σ (score − mean)²
    m2: Array


class ExponentialSums(NamedTuple):
    """Of each row, (B,): its largest s, then Σ w, Σ w², Σ w·s and Σ w·distance (None without distances)."""

    #: NaN where it is not looked for
    top: Array

    total: Array
    square: Array
    slope: Array
    distance: Array | None


#: (s, e, distances, deep) -> sums: writes e = e^max(s, floor) and sums its rows.
Exponentials = Callable[[Array, Array, Array | None, bool], ExponentialSums]


def in_numpy(s: Array, e: Array, distances: Array | None, deep: bool) -> ExponentialSums:
    """e^s and its rows' sums, with numpy alone.

    Args:
        s: (B, T), overwritten by max(s, floor) if deep.
        e: (B, T), written.
        distances: (B, T), or None.
        deep: whether some s may lie below the floor.
    """
    if deep:
        np.maximum(s, FLOORS[s.dtype.name], out=s)
    np.exp(s, out=e)
    distance = None if distances is None else np.vecdot(e, distances)
    total = e @ ones(s.shape[1], s.dtype.name)
    return ExponentialSums(np.array(np.nan), total, np.vecdot(e, e), np.vecdot(e, s), distance)


@cache
def ones(count: int, dtype: str) -> Array:
    """So many ones, not to be written to: a product with them sums rows faster than `sum` does."""
    return np.ones(count, dtype=dtype)


def weigh_tile(
    s: Array,
    e: Array,
    *,
    shift: Array,
    subtracted: bool,
    shown: Array | None,
    distances: Array | None,
    deep: bool,
    exponentials: Exponentials = in_numpy,
) -> TileSums:
    """Weights e = e^(logit − shift) of a tile and their sums; s is overwritten.

    A row's shift is raised to its largest logit here where it has none yet, or one further below that than SLACK.

    Args:
        s: (B, T) finite logits, those of hidden keys far below all others (`hide`).
        e: (B, T), written: the weights, 0 where hidden.
        shift: (B,) float64, -inf where a row has none yet.
        subtracted: whether s has the shifts (that there are) subtracted from it already.
        shown: (B, T) 1 where visible, 0 where hidden; None = all is visible.
        distances: (B, T) abs(i − j), or None.
        deep: whether a logit may lie below the floor.
        exponentials: numpy's, or compiled ones.
    """
    unset = np.isneginf(shift)
    if exponentials is not in_numpy and subtracted and shown is None and not unset.any():
        sums = exponentials(s, e, distances, deep)
        if (sums.top <= SLACK).all():
            return TileSums(None, *sums)
    top = s[places(len(s)), s.argmax(axis=1)].astype(np.float64)  # several times as fast as s.max(axis=1)
    if shown is not None:
        top = np.where(top < -PENALTIES[s.dtype.name] / 2, -np.inf, top)
    given = np.where(unset, 0.0, shift)
    above = (top - (0.0 if subtracted else given) > SLACK) | (unset & (top > -np.inf))
    raised = None
    if above.any():
        raised = np.where(above, given + top if subtracted else top, shift)
    if subtracted:
        less = np.where(above, top, 0.0)
    else:
        less = given if raised is None else np.where(np.isneginf(raised), 0.0, raised)
    if raised is not None or not subtracted:
        s -= less.astype(s.dtype)[:, None]
        top -= less
    sums = exponentials(s, e, distances, deep or shown is not None)
    if shown is not None:
        e *= shown
    return TileSums(raised, top, *sums[1:])


@cache
def places(count: int) -> Array:
    """0 … count − 1, not to be written to."""
    return np.arange(count)


def hide(s: Array, shown: Array, scratch: Array) -> None:
    """Put hidden keys' logits far below all others.

    Args:
        s: (B, T) finite logits, changed.
        shown: (B, T) 1 where visible, 0 where hidden.
        scratch: (B, T), overwritten.
    """
    np.subtract(shown, 1, out=scratch)
    scratch *= s.dtype.type(PENALTIES[s.dtype.name])
    s += scratch


def tile_moments(s: Array, shown: Array | None, scratch: Array) -> Moments:
    """Count, mean and Σ (score − mean)² of a tile's visible scores, in two passes; relative to whatever shift s has.

    Args:
        s: (B, T), left as it is.
        shown: (B, T) 1 where visible, 0 where hidden; None = all is visible.
        scratch: (B, T), overwritten.
    """
    all_keys = ones(s.shape[1], s.dtype.name)
    entries = np.full(len(s), float(s.shape[1])) if shown is None else (shown @ all_keys).astype(np.float64)
    share = 1 / np.maximum(entries, 1)
    total = s @ all_keys if shown is None else np.vecdot(s, shown)
    centre = (total * share).astype(s.dtype)
    np.subtract(s, centre[:, None], out=scratch)
    if shown is not None:
        scratch *= shown
    rest = (scratch @ all_keys) * share
    m2 = np.maximum(np.vecdot(scratch, scratch) - entries * np.square(rest), 0)
    return Moments(entries, centre + rest, m2)
