"""What a streamed attention weighs its tiles with: numpy alone, or compiled code where numba is there and it pays."""

import math
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

from attnlab.maths.finished import PanelResult
from attnlab.maths.heads import Head
from attnlab.maths.inputs import AttentionInputs
from attnlab.maths.keyside import KeySide
from attnlab.maths.plan import Plan
from attnlab.maths.precision import Array
from attnlab.maths.tiles import Exponentials, in_numpy

#: Scores from which the compiled kernel saves seconds. Its import takes a quarter of one; its compilation, once for
#: each kind of float and then kept on disk, some six.
WORTH_COMPILING = 1 << 31


class Way(NamedTuple):
    """A way to take a panel through its keys, in room of its own."""

    #: a thread's room; what it is, is the way's own affair
    room: Callable[[Plan, AttentionInputs], Any]
    #: a panel's rows, its output written where it is wanted; None where a query or a sum is not finite
    take: Callable[[Head, KeySide, slice, Any, Array], PanelResult | None]
    #: whether panels that follow each other are taken as one
    runs: bool = False


class Kernel(NamedTuple):
    """What a panel's tiles are weighed with."""

    exponentials: Exponentials
    #: takes panels whole where it can; None = tile by tile
    panels: Way | None = None


def kernel_for(inputs: AttentionInputs, compiled: bool | None) -> Kernel:
    """numpy alone, or the compiled kernel: where it is wanted, or, left open, where it is installed and pays."""
    if compiled is None:
        compiled = pays(math.prod(inputs.shape))
    if not compiled:
        return Kernel(in_numpy)
    from attnlab.maths.compiled import exponentials  # here: it imports numba and compiles
    from attnlab.maths.compiled_panels import room_for, whole_panel

    return Kernel(exponentials, Way(room_for, whole_panel))


def pays(scores: int) -> bool:
    """Whether so many scores are worth the compiled kernel: by their number alone, so that a seed keeps its digits."""
    return scores >= WORTH_COMPILING and has_numba()


def has_numba() -> bool:
    """Whether the compiled exponentials can be used."""
    return find_spec("numba") is not None
