"""Where N² takes over: in a block, and in a stack whose layers have windows of their own."""

from collections.abc import Sequence
from dataclasses import dataclass

from attnlab.theory.costs import PROJECTIONS, BlockShape, Hidden, multiply_adds, part_costs


@dataclass(frozen=True, kw_only=True)
class Crossover:
    """The number of tokens from which the core's N² multiply-adds reach those that grow with N; None: they never do."""

    core_over_projections: int | None
    #: all other matrix products: projections and feed-forward
    core_over_rest: int | None


def crossover(shape: BlockShape, *, hidden: Hidden = "half") -> Crossover:
    """Where N² takes over: for the classic block at N = 2d and 6d, and where hidden pairs are skipped at 4d and 12d.

    Without a window it is the ratio of the two coefficients, b/a for the core's a N² and the others' b N, rounded up;
    the diagonal, which makes N(N + 1)/2 of causal pairs out of N²/2, is no N² and is left out. A window's core grows
    like N from N = w on, so that it may never get there.

    Source: derived here.
    """
    one = part_costs(shape, 1)
    projections = multiply_adds(one, PROJECTIONS)
    pair = shape.n_heads * (shape.d_k + shape.d_v)
    return Crossover(
        core_over_projections=_reaches(shape, pair, projections, hidden),
        core_over_rest=_reaches(shape, pair, projections + multiply_adds(one, ("feed_forward",)), hidden),
    )


def _reaches(s: BlockShape, pair: int, token: int, hidden: Hidden) -> int | None:
    """The least N at which N tokens' pairs, `pair` multiply-adds each, cost as much as `token` for each of N."""
    skips = hidden == "half"
    n = _ceiling(2 * token if s.causal and skips else token, pair)
    if s.window is None or not skips or n <= s.window + (0 if s.causal else 1):
        return n
    keys, cut = (s.window, s.window * (s.window - 1)) if s.causal else (2 * s.window + 1, 2 * s.window * (s.window + 1))
    beyond = keys * pair - token
    return max(1, _ceiling(cut * pair, 2 * beyond)) if beyond > 0 else None


def _ceiling(above: int, below: int) -> int:
    """above/below, rounded up, in whole numbers."""
    return -(-above // below)


def stack_crossover(shapes: Sequence[BlockShape], *, hidden: Hidden = "half") -> Crossover:
    """The number of tokens from which all layers' cores cost as much as all their projections, and as all the rest.

    As `crossover` counts, which it is where all layers are alike. Each layer's pairs grow with N faster than its other
    work does, or like it, so that once passed is passed for good.

    Source: derived here.
    """
    if len(set(shapes)) == 1:
        return crossover(shapes[0], hidden=hidden)
    ones = [part_costs(shape, 1) for shape in shapes]
    projections = sum(multiply_adds(one, PROJECTIONS) for one in ones)
    rest = projections + sum(multiply_adds(one, ("feed_forward",)) for one in ones)
    return Crossover(
        core_over_projections=_stack_reaches(shapes, projections, hidden),
        core_over_rest=_stack_reaches(shapes, rest, hidden),
    )


def _stack_reaches(shapes: Sequence[BlockShape], token: int, hidden: Hidden) -> int | None:
    """The least N at which the cores cost as much as `token` multiply-adds for each of N, by doubling and halving."""
    steepest = [_twice_keys_at_last(shape, hidden) for shape in shapes]
    if None not in steepest:
        pairs = zip(shapes, steepest, strict=True)
        if sum(_pair(shape) * (keys or 0) for shape, keys in pairs) <= 2 * token:
            return None

    def reached(n: int) -> bool:
        return sum(_pair(shape) * _twice_pairs(shape, n, hidden) for shape in shapes) >= 2 * n * token

    above = 1
    while not reached(above):
        above *= 2
    below = above // 2
    while above - below > 1:
        middle = (above + below) // 2
        above, below = (middle, below) if reached(middle) else (above, middle)
    return above


def _pair(s: BlockShape) -> int:
    """Multiply-adds of the core for one pair."""
    return s.n_heads * (s.d_k + s.d_v)


def _twice_keys_at_last(s: BlockShape, hidden: Hidden) -> int | None:
    """Twice the keys that a query far from the beginning sees; None: more and more."""
    if s.window is None or hidden == "full":
        return None
    return 2 * s.window if s.causal else 2 * (2 * s.window + 1)


def _twice_pairs(s: BlockShape, n: int, hidden: Hidden) -> int:
    """Twice the pairs of n tokens, the diagonal that makes N(N + 1)/2 out of N²/2 left out."""
    if hidden == "full":
        return 2 * n * n
    if s.causal:
        return n * n if s.window is None or n <= s.window else 2 * n * s.window - s.window * (s.window - 1)
    if s.window is None or n <= s.window + 1:
        return 2 * n * n
    return 2 * (n * (2 * s.window + 1) - s.window * (s.window + 1))
