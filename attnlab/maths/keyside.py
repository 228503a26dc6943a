"""Keys and values of one head, made ready for every panel of queries that reads them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from attnlab.maths.lines import aligned
from attnlab.maths.panels import length
from attnlab.maths.plan import GROUP, IN_FLOAT64, STRIP
from attnlab.maths.precision import Array
from attnlab.maths.rows import bound_on_lengths, lengths
from attnlab.maths.tiles import Moments

#: Keys whose moments are taken at once.
CHUNK = 1024
#: Keys, for each of a key's d numbers, between two prefixes whose d² moments are kept.
SPACED = 4
#: Of wider vectors no moments are made: d² numbers outgrow the keys, and sums over the scores cost little beside them.
WIDEST = 256
#: Distances on either side of those that there are, for vectors that reach beyond the last key or query.
PADDING = 64


class KeySide(NamedTuple):
    """What all queries of a key/value head share. What is not finite stands as 0 here, and is listed."""

    #: (m, d), in order
    k: Array
    #: (tiles, d + 1, T): the keys as columns, tile by tile, a row of ones below them; zeros beyond m. No tiles where
    #: panels are taken whole
    tiles: Array
    #: (m, e); zeros beyond them, as many as there are beyond the last tile's keys, where panels are not taken whole
    v: Array
    #: (m,) float64: ‖v_j‖
    value_norms: Array
    #: (m,) boolean: keys that hold, or whose values hold, a NaN or inf; None = none does
    broken: Array | None
    #: max ‖k_j‖, or a little more
    largest_key: float
    #: of the first p keys, by p: where some panel's queries see just those, or those and more. Empty where panels are
    #: taken whole
    moments: dict[int, "KeyMoments"]
    #: ones, as many as a tile has keys and a strip rows, and then the distances: what sums weights in one go
    line: Array
    #: (2 PADDING + 2m + 1,): abs(x) for x = −PADDING − m … m + PADDING; the line's end
    distances: Array

    def known(self, count: int) -> int:
        """The most of the first keys, at most so many, whose moments are kept; 0 = none's are."""
        return max((prefix for prefix in self.moments if prefix <= count), default=0)


class KeyMoments(NamedTuple):
    """Of some keys; float64."""

    #: (d,)
    mean: Array
    #: (d, d): Σ (k − mean)(k − mean)ᵀ
    scatter: Array


@np.errstate(over="ignore", invalid="ignore")  # what overflows is noticed: the plain path is taken then
def key_side(k: Array, v: Array, tile: int, prefixes: Sequence[int], *, whole: bool = False) -> KeySide:
    """Keys (m, d) and values (m, e) in tiles of so many keys; moments of the first p keys for each p, in order.

    Args:
        whole: panels are taken whole if all is finite, and tiles need not be cut then.
    """
    m, d = k.shape
    largest_key, value_norms = bound_on_lengths(k), lengths(v)
    broken: Array = ~np.isfinite(value_norms)
    if largest_key is None:
        key_norms = lengths(k)
        broken |= ~np.isfinite(key_norms)
        largest_key = float(key_norms[~broken].max(initial=0))
    if broken.any():
        k, v = np.where(broken[:, None], k.dtype.type(0), k), np.where(broken[:, None], v.dtype.type(0), v)
        value_norms[broken] = 0
    whole = whole and not broken.any()
    ones = min(tile, m) + STRIP
    line = np.abs(np.arange(-m - PADDING - ones, m + PADDING + 1)).astype(k.dtype)
    line[:ones] = 1
    return KeySide(
        k=np.ascontiguousarray(k) if whole else k,
        tiles=np.zeros((0, d + 1, tile), k.dtype) if whole else _tiles(k, tile),
        v=np.ascontiguousarray(v) if whole else _padded(v, tile),
        value_norms=value_norms,
        broken=broken if broken.any() else None,
        largest_key=largest_key,
        moments={} if whole else moments_of_prefixes(k, prefixes),
        line=line,
        distances=line[ones:],
    )


def _tiles(k: Array, tile: int) -> Array:
    """Keys (m, d) as columns, tile by tile."""
    m, d = k.shape
    tiles = aligned((-(-m // tile), d + 1, tile), k.dtype)
    tiles[:, d] = 1
    for t, columns in enumerate(tiles):
        own = k[t * tile : (t + 1) * tile]
        columns[:d, : len(own)] = own.T
        columns[:d, len(own) :] = 0
    return tiles


def _padded(v: Array, tile: int) -> Array:
    """Values (m, e), and zeros to the end of the last tile."""
    m, e = v.shape
    padded = aligned((-(-m // tile) * tile, e), v.dtype)
    padded[:m], padded[m:] = v, 0
    return padded


def spaced(prefixes: Sequence[int], d: int) -> list[int]:
    """Those of the prefixes whose moments are kept, in order: so far apart that they take less than the keys do."""
    kept: list[int] = []
    for prefix in sorted(prefixes) if d <= WIDEST else ():
        if prefix >= (kept[-1] + SPACED * d if kept else 1):
            kept.append(prefix)
    return kept


def moments_of_prefixes(k: Array, prefixes: Sequence[int]) -> dict[int, KeyMoments]:
    """The moments of the first p keys, for each p in ascending order, each from the one before.

    Source: Chan, Golub and LeVeque 1983, for vectors.
    """
    if not prefixes:
        return {}
    mean, scatter = np.zeros(k.shape[1]), np.zeros((k.shape[1], k.shape[1]))
    found, before, room = {}, 0, np.empty((min(CHUNK, len(k)), k.shape[1]))
    for p in prefixes:
        for start in range(before, p, CHUNK):
            some = k[start : min(start + CHUNK, p)]
            own = room[: len(some)]
            np.copyto(own, some)
            own_mean = own.mean(axis=0)
            own -= own_mean
            apart, total = own_mean - mean, start + len(own)
            scatter = scatter + own.T @ own + np.outer(apart, apart) * (start * len(own) / total)
            mean = mean + apart * (len(own) / total)
        found[p], before = KeyMoments(mean, scatter), p
    return found


def scores_moments(moments: KeyMoments, q: Array, scale: float) -> tuple[Array, Array]:
    """By row, the mean of scale·q·k over those keys and Σ (score − mean)²: scale q·k̄ and scale² qᵀ Σ(k−k̄)(k−k̄)ᵀ q.

    No pass over the scores; only for keys that every query sees. Centred, so that a common offset costs no accuracy.

    Args:
        q: (B, d) queries.
    """
    mean, m2 = np.empty((2, len(q)))
    room = np.empty((2, min(IN_FLOAT64, len(q)), q.shape[1]))
    for start in range(0, len(q), IN_FLOAT64):
        rows = slice(start, start + IN_FLOAT64)
        wide, product = room[:, : len(q[rows])]
        np.copyto(wide, q[rows])
        np.matmul(wide, moments.mean, out=mean[rows])
        np.matmul(wide, moments.scatter, out=product)
        np.vecdot(product, wide, out=m2[rows])
    mean *= scale
    m2 *= scale**2
    return mean, np.maximum(m2, 0, out=m2)


def strip_moments(side: KeySide, q: Array, scale: float, start: int, rows: int) -> Moments:
    """The moments of scale·q·k over the keys before the strip of so many rows that each query is in, in causal order.

    Strip by strip from the moments of the most of the keys before that are known: Σ (q·(k − c))² is
    qᵀ Σ(k − c)(k − c)ᵀ q, c being the mean of those keys, and (q·Σ(k − c))² / count is taken away.

    Args:
        q: (B, d) queries, the first of them at `start`.
    """
    height, d = q.shape
    strips, first, m = -(-height // rows), min(start, len(side.k)), len(side.k)
    known = side.known(first)
    together = min(GROUP, strips)
    # Σ(k − c)(k − c)ᵀ and Σ(k − c) of the keys before each strip of a group, and before the next group
    scatters, sums = np.zeros((together + 1, d, d)), np.zeros((together + 1, d))
    if known:
        centre, scatters[0] = side.moments[known]
    else:
        centre = side.k[: max(first, rows)].mean(axis=0, dtype=np.float64)
    if known < first:
        between = side.k[known:first] - centre
        scatters[0] += between.T @ between
        sums[0] = between.sum(axis=0)
    squares, apart = np.zeros((2, strips, rows))
    room = np.zeros((2, together, rows, d))
    for begin in range(0, strips, together):
        group = slice(begin, min(begin + together, strips))
        keys, queries = room[:, : length(group)]
        _fill(keys, side.k[first + begin * rows : first + group.stop * rows] - centre)
        _fill(queries, q[begin * rows : group.stop * rows])
        np.matmul(keys.mT, keys, out=scatters[1 : length(group) + 1])
        np.sum(keys, axis=1, out=sums[1 : length(group) + 1])
        for s in range(length(group)):
            scatters[s + 1] += scatters[s]
            sums[s + 1] += sums[s]
        np.vecdot(queries @ scatters[: length(group)], queries, out=squares[group])
        np.vecdot(queries, sums[: length(group), None], out=apart[group])
        scatters[0], sums[0] = scatters[length(group)], sums[length(group)]
    entries = np.repeat(np.minimum(start + rows * np.arange(strips), m), rows)[:height].astype(np.float64)
    squares, apart = squares.ravel()[:height], apart.ravel()[:height]
    beside = apart / np.maximum(entries, 1)
    return Moments(entries, (q @ centre + beside) * scale, np.maximum(squares - apart * beside, 0) * scale**2)


def _fill(room: Array, rows: Array) -> None:
    """Put rows into some strips; zeros follow them."""
    flat = room.reshape(-1, rows.shape[1])
    flat[: len(rows)], flat[len(rows) :] = rows, 0
