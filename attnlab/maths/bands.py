"""Which keys their places let queries see, where no mask says otherwise: a band along the diagonal."""

from typing import NamedTuple

import numpy as np

from attnlab.maths.heads import Head
from attnlab.maths.panels import length
from attnlab.maths.precision import Array


class Band(NamedTuple):
    """Which keys places let a query see: from (i − back) to (i + ahead), as far as there are such keys."""

    back: int
    ahead: int
    keys: int


def band_of(head: Head) -> Band:
    """The head's band."""
    n, m, window = len(head.q), len(head.k), head.inputs.window
    if head.inputs.causal:
        return Band(n if window is None else window - 1, 0, m)
    return Band(n + m, n + m, m) if window is None else Band(window, window, m)


def largest_in_band(numbers: Array, band: Band, queries: slice) -> Array:
    """The largest of the numbers (none negative) that each query's band holds, 0 where it holds none.

    Each stretch of as many numbers as the band is wide ends in one block of that width and began in the one before:
    the largest from there to the block's end, and from its start to here.
    """
    first, last = max(0, queries.start - band.back), min(band.keys, queries.stop + band.ahead)
    if first == 0 and queries.stop - 1 <= band.back and queries.start + band.ahead + 1 >= band.keys:
        return np.full(length(queries), numbers.max(initial=0))
    if band.back >= queries.stop:
        so_far = np.maximum.accumulate(np.append(0.0, numbers[:last]))
        return np.asarray(so_far[np.minimum(np.arange(queries.start, queries.stop) + band.ahead + 1, last)])
    width = band.back + band.ahead + 1
    blocks = np.zeros((-(-(length(queries) + width - 1) // width), width))
    before = first - (queries.start - band.back)
    blocks.ravel()[before : before + max(0, last - first)] = numbers[first : max(first, last)]
    onward = np.maximum.accumulate(blocks, axis=1).ravel()
    back = np.maximum.accumulate(blocks[:, ::-1], axis=1)[:, ::-1].ravel()
    starts = np.arange(length(queries))
    return np.maximum(back[starts], onward[starts + width - 1])


def away(distances: Array, queries: slice, keys: slice) -> Array:
    """abs(i − j), (B, T), as a view of abs(x) for x = −c … c."""
    start, step = len(distances) // 2 + keys.start - queries.start, distances.itemsize
    return np.ndarray((length(queries), length(keys)), distances.dtype, distances, start * step, (-step, step))
