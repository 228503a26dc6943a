"""A panel that has gone through all its tiles, and a head's panels put together as its row sums."""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from attnlab.maths.heads import Head
from attnlab.maths.keyside import KeySide
from attnlab.maths.panel_rows import PanelPass, Weighed, Workspace
from attnlab.maths.panels import length
from attnlab.maths.precision import Array
from attnlab.maths.rows import RowSums, joined_rows, lengths
from attnlab.maths.running import Totals
from attnlab.maths.tiles import PENALTIES, Exponentials, Moments

#: Where the others' share of a row is smaller, they are summed again without the largest: the difference of the sums
#: would have lost their digits.
SHARES = {"float32": 1e-2, "float64": 1e-4}


class PanelSums(NamedTuple):
    """What a panel's B rows leave for the head's statistics; (B,) float64, weights relative to the largest logit."""

    visible: Array
    #: over all keys but the one with the largest logit: Σ w, Σ w², Σ w·(logit − largest)
    others: Array
    square: Array
    slope: Array
    distance: Array
    largest: Array
    score_mean: Array
    score_m2: Array
    score_max: Array
    value_max: Array
    #: attention weights on key 0, and on keys i, i − 1, i + 1 (NaN where not seen)
    first: Array
    itself: Array
    previous: Array
    following: Array


class PanelResult(NamedTuple):
    """What a panel of B queries gives."""

    #: from the plain path: finished rows
    sums: PanelSums | RowSums
    #: (B,)
    lse: Array
    keys: slice
    #: (keys,): what each receives from the panel, Σ_i p_ij
    received: Array


class Gathered(NamedTuple):
    """What a panel's B queries have gathered on their way through the keys."""

    #: (B,) how many keys are visible
    visible: Array
    totals: Totals
    moments: Moments
    #: (B,) the largest score; None = it is the largest logit
    score_max: Array | None
    #: (B,) the largest ‖v_j‖
    value_max: Array
    #: (B, e) Σ w v, relative to the shift
    output: Array
    #: attention weights on key 0, (B,), and on keys i, i − 1, i + 1, (3, B): NaN where not seen
    first: Array
    near: Array
    keys: slice
    #: (keys,): what each receives from the panel, Σ_i p_ij
    received: Array


def tile_panel(
    head: Head,
    side: KeySide,
    queries: slice,
    work: Workspace,
    output: Array,
    *,
    deep: bool,
    exponentials: Exponentials,
) -> PanelResult | None:
    """The panel's rows, and its output written, tile by tile; None where something is not finite.

    Args:
        deep: a logit may lie below the floor.
        output: (B, e).
    """
    panel = PanelPass(head, side, queries, work, deep=deep, exponentials=exponentials)
    return finished(gathered(panel), output) if panel.run() else None


def gathered(panel: PanelPass) -> Gathered:
    """What the panel has gathered tile by tile; sums that have lost their digits are made again."""
    totals, seen = panel.running.totals(), panel.visible > 0
    alone = np.flatnonzero(seen & (totals.others < SHARES[panel.q.dtype.name]))
    if alone.size:
        totals = _summed_again(panel, totals, alone)
    factors = _factors(panel, totals.largest, np.where(seen, 1 + totals.others, 1.0))
    return Gathered(
        visible=panel.visible,
        totals=totals,
        moments=panel.moments,
        score_max=panel.score_max if np.isfinite(panel.score_max).any() else None,
        value_max=panel.value_max,
        output=panel.running.output,
        first=_first(panel, factors),
        near=_place_shares(panel, factors),
        keys=panel.reach,
        received=_received(panel, factors),
    )


def finished(found: Gathered, output: Array) -> PanelResult | None:
    """The panel's rows; None where a sum is not finite, which the plain path has to look at.

    Args:
        output: (B, e), written.
    """
    totals, seen = found.totals, found.visible > 0
    total = np.where(seen, 1 + totals.others, 1.0)
    np.multiply(found.output, (totals.share / total)[:, None], out=output, casting="same_kind")
    together = total + totals.square + totals.slope + totals.distance + found.moments.mean + found.moments.m2
    faint = totals.largest[seen] < -PENALTIES[output.dtype.name] / 4  # the row's bias alone is that large
    if faint.any() or not (np.isfinite(output).all() and np.isfinite(together[seen]).all()):
        return None
    itself, previous, following = found.near
    sums = PanelSums(
        visible=found.visible,
        others=totals.others,
        square=totals.square,
        slope=totals.slope,
        distance=totals.distance,
        largest=totals.largest,
        score_mean=found.moments.mean,
        score_m2=found.moments.m2,
        score_max=totals.largest if found.score_max is None else found.score_max,
        value_max=found.value_max,
        first=found.first,
        itself=itself,
        previous=previous,
        following=following,
    )
    lse = np.where(seen, totals.largest + np.log(total), -np.inf)
    return PanelResult(sums, lse.astype(output.dtype), found.keys, found.received)


def _summed_again(panel: PanelPass, totals: Totals, rows: Array) -> Totals:
    """The totals with Σ w, Σ w² and Σ w·(logit − largest) over the others summed from the weights of these rows."""
    others, square, slope = totals.others.copy(), totals.square.copy(), totals.slope.copy()
    others[rows], square[rows], slope[rows] = sums_of_others(panel.tiles, totals.largest[rows], rows, panel.work.again)
    return totals._replace(others=others, square=square, slope=slope)


def sums_of_others(tiles: Sequence[Weighed], largest: Array, rows: Array, at_once: int) -> Array:
    """Σ w, Σ w² and Σ w·(logit − largest) over all keys but that of the largest logit: (3, rows).

    Args:
        largest: (rows,) their largest logits.
        rows: their places in the tiles.
        at_once: how many weights are taken at a time.
    """
    sums = np.zeros((3, rows.size))
    height = max(1, at_once // max(length(tile.keys) for tile in tiles))
    for start in range(0, rows.size, height):
        some = slice(start, start + height)
        _add_others(tiles, largest[some], rows[some], sums[:, some])
    return sums


def _add_others(tiles: Sequence[Weighed], largest: Array, rows: Array, sums: Array) -> None:
    """Add the sums of some rows' others."""
    which, at = _place_of_largest(tiles, rows)
    for t, tile in enumerate(tiles):
        w = tile.weights[rows].astype(np.float64)
        w[which == t, at[which == t]] = 0
        shift = tile.shift[rows]
        w *= np.where(np.isneginf(shift), 0, np.exp(np.where(np.isneginf(shift), 0, shift - largest)))[:, None]
        logs = np.log(w, where=w > 0, out=np.zeros_like(w))
        sums += np.stack([w.sum(axis=1), np.vecdot(w, w), np.vecdot(w, logs)])


def _place_of_largest(tiles: Sequence[Weighed], rows: Array) -> tuple[Array, Array]:
    """In which tile, and at which of its keys, each of these rows has its largest logit."""
    places = [tile.weights[rows].argmax(axis=1) for tile in tiles]
    found = []
    for tile, place in zip(tiles, places, strict=True):
        weight = tile.weights[rows, place].astype(np.float64)
        found.append(np.where(weight > 0, tile.shift[rows] + np.log(weight), -np.inf))
    which: Array = np.argmax(found, axis=0)
    return which, np.stack(places)[which, np.arange(rows.size)]


def _factors(panel: PanelPass, largest: Array, total: Array) -> list[Array]:
    """What turns each tile's weights into attention weights, (B,) each; tiles with one shift share it."""
    made: dict[int, Array] = {}
    for tile in panel.tiles:
        if id(tile.shift) not in made:
            known = np.isfinite(tile.shift)
            depth = np.where(known, tile.shift - np.where(known, largest, 0), 0)
            made[id(tile.shift)] = np.where(known, np.exp(depth) / total, 0)
    return [made[id(tile.shift)] for tile in panel.tiles]


def _first(panel: PanelPass, factors: list[Array]) -> Array:
    """The weights on key 0."""
    if not panel.tiles or panel.reach.start > 0:
        return np.zeros(panel.height)
    return np.asarray(panel.tiles[0].weights[:, 0] * factors[0])


def _received(panel: PanelPass, factors: list[Array]) -> Array:
    """What each key in reach receives from the panel, Σ_i p_ij."""
    if not panel.tiles:
        return np.zeros(length(panel.reach))
    parts = [own.astype(panel.q.dtype) @ tile.weights for own, tile in zip(factors, panel.tiles, strict=True)]
    return np.concatenate(parts)


def _place_shares(panel: PanelPass, factors: list[Array]) -> Array:
    """The weights on keys i, i − 1 and i + 1: (3, B)."""
    if factors and all(own is factors[0] for own in factors):
        return panel.place_weights * factors[0]
    shares = panel.place_weights.copy()
    for t in np.flatnonzero(np.bincount(panel.place_tiles.ravel())) if factors else ():
        here = panel.place_tiles == t
        shares[here] *= np.broadcast_to(factors[t], shares.shape)[here]
    return shares


def head_rows(panels: Sequence[PanelSums | RowSums], output: Array, received: Array, *, square: bool) -> RowSums:
    """A head's rows from its panels, in order; who sees each key is counted elsewhere.

    Args:
        output: (n, e).
        received: (m,) Σ_i p_ij.
        square: whether query i and key i are the same token.
    """
    parts, start = [], 0
    for kind, run in groupby(panels, type):
        own = list(run)
        count = sum(len(panel.visible) for panel in own)
        if kind is RowSums:
            parts += [
                panel._replace(received=np.zeros(0), seers=np.zeros(0)) for panel in own if isinstance(panel, RowSums)
            ]
        else:
            whole = PanelSums(*(np.concatenate(column) for column in zip(*own, strict=True)))
            parts.append(_row_sums(whole, output[start : start + count], square=square))
        start += count
    return RowSums(*joined_rows(parts))._replace(received=received)


def _row_sums(sums: PanelSums, output: Array, *, square: bool) -> RowSums:
    """What the statistics need to know of each row; what is received is added up elsewhere."""
    seen, total = sums.visible > 0, np.where(sums.visible > 0, 1 + sums.others, 1)
    top, others, squares = np.where(seen, 1 / total, 0), sums.others / total, sums.square / np.square(total)
    return RowSums(
        visible=sums.visible,
        sound=seen,
        score_mean=np.where(seen, sums.score_mean, np.nan),
        score_m2=sums.score_m2,
        score_max=sums.score_max,
        logit_max=sums.largest,
        entropy=np.log1p(sums.others) - sums.slope / total,
        square=np.square(top) + squares,
        top=top,
        jacobian_trace=top * others + (others - squares),
        first=sums.first,
        itself=sums.itself,
        previous=sums.previous,
        following=sums.following,
        distance=sums.distance / total if square else np.full(len(seen), np.nan),
        norm_ratio=lengths(output) / np.where(sums.value_max > 0, sums.value_max, np.nan),
        received=np.zeros(0),
        seers=np.zeros(0),
    )
