"""Where N² takes over: in a block, and in a stack whose layers have windows of their own."""

from collections.abc import Sequence
from dataclasses import dataclass

from attnlab.theory.costs import PROJECTIONS, BlockShape, Hidden, computed_pairs, multiply_adds, part_costs


@dataclass(frozen=True, kw_only=True)
class Crossover:
    """The number of tokens from which the core's N² multiply-adds reach those that grow with N; None: they never do."""

    core_over_projections: int | None
    #: all other matrix products: projections and feed-forward
    core_over_rest: int | None


def crossover(shapes: Sequence[BlockShape], *, hidden: Hidden = "half") -> Crossover:
    """The number of tokens from which all layers' cores cost as much as all their projections, and as all the rest.

    For the classic block N = 2d and 6d, and where hidden pairs are skipped 4d and 12d: without a window it is the
    ratio of the two coefficients, b/a for the cores' a N² and the others' b N, rounded up. The diagonal, which makes
    N(N + 1)/2 of causal pairs out of N²/2, is no N² and is left out. A window's core grows like N from N = w on, so
    that it may never get there. Each layer's pairs grow with N faster than its other work does, or like it, so that
    once passed is passed for good.

    Args:
        shapes: those of the layers, one or more.

    Source: derived here.
    """
    ones = [part_costs(shape, 1) for shape in shapes]
    projections = sum(multiply_adds(one, PROJECTIONS) for one in ones)
    rest = projections + sum(multiply_adds(one, ("feed_forward",)) for one in ones)
    return Crossover(
        core_over_projections=_reaches(shapes, projections, hidden),
        core_over_rest=_reaches(shapes, rest, hidden),
    )


def _reaches(shapes: Sequence[BlockShape], token: int, hidden: Hidden) -> int | None:
    """The least N at which the cores cost as much as `token` multiply-adds for each of N, by doubling and halving."""

    def twice_cores(n: int) -> int:
        return sum(s.n_heads * (s.d_k + s.d_v) * _twice_pairs(s, n, hidden) for s in shapes)

    windows = [shape.window for shape in shapes if shape.window is not None and hidden == "half"]
    if len(windows) == len(shapes):
        far = max(windows)  # from here on they grow like N
        if twice_cores(far + 1) - twice_cores(far) <= 2 * token:
            return None
    above = 1
    while twice_cores(above) < 2 * above * token:
        above *= 2
    below = above // 2
    while above - below > 1:
        middle = (above + below) // 2
        above, below = (above, middle) if twice_cores(middle) < 2 * middle * token else (middle, below)
    return above


def _twice_pairs(s: BlockShape, n: int, hidden: Hidden) -> int:
    """Twice the pairs of n tokens, without the diagonal that makes N(N + 1)/2 out of N²/2 while no window cuts it."""
    pairs = 2 * computed_pairs(s, n, hidden)
    triangle = s.causal and hidden == "half" and (s.window is None or n < s.window)
    return pairs - n if triangle else pairs
