"""What a streamed attention weighs its tiles with: numpy alone, or compiled code where numba is there and it pays."""

import math
from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

from attnlab.maths.inputs import AttentionInputs
from attnlab.maths.precision import Array
from attnlab.maths.running import Running
from attnlab.maths.tiles import Exponentials, in_numpy

#: Scores from which the compiled kernel saves more time than its import and first compilation take: a second or two.
WORTH_COMPILING = 1 << 31


class RunOfTiles(NamedTuple):
    """What a run of tiles reads and leaves behind, besides the running sums."""

    #: (B, d + 1) scale·q, and minus the shift, which the run brings up to date
    q: Array
    #: (tiles, d + 1, T) and (m, e), as `KeySide` holds them
    tiles: Array
    v: Array
    keys: slice
    #: abs(x) from x = (first key) − (last query) on; anything so long where there is no distance
    away: Array
    #: room for BLOCK_ROWS·T scores and for BLOCK_ROWS outputs
    scores: Array
    outputs: Array
    #: B weights for each key, written
    weights: Array


class Kernel(NamedTuple):
    """What a panel's tiles are weighed with."""

    exponentials: Exponentials
    #: takes many tiles in one call; None = tile by tile
    take_run: Callable[[RunOfTiles, Running], list[Array] | None] | None = None


def kernel_for(inputs: AttentionInputs, compiled: bool | None) -> Kernel:
    """numpy alone, or the compiled kernel: where it is wanted, or, left open, where it is installed and pays."""
    if compiled is None:
        compiled = pays(math.prod(inputs.shape))
    if not compiled:
        return Kernel(in_numpy)
    from attnlab.maths.compiled import exponentials  # here: it imports numba and compiles
    from attnlab.maths.compiled_tiles import take_run

    return Kernel(exponentials, take_run)


def pays(scores: int) -> bool:
    """Whether so many scores are worth the compiled kernel: by their number alone, so that a seed keeps its digits."""
    return scores >= WORTH_COMPILING and has_numba()


def has_numba() -> bool:
    """Whether the compiled exponentials can be used."""
    return find_spec("numba") is not None
