"""Arrays whose numbers start where a line of the processor's cache does: vectors then lie in one line each."""

import math
from typing import Any

import numpy as np

from attnlab.maths.precision import Array

#: Bytes of a line of the processor's cache.
LINE = 64


def aligned(shape: int | tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array that starts where a line does, its numbers not set."""
    size = shape if isinstance(shape, int) else math.prod(shape)
    room = np.empty(size + LINE // dtype.itemsize, dtype)
    start = -room.ctypes.data % LINE // dtype.itemsize
    return room[start : start + size].reshape(shape)


def first_of(room: Array, shape: tuple[int, ...]) -> Array:
    """So many of a flat array's first numbers, as an array of that shape."""
    return room[: math.prod(shape)].reshape(shape)
