"""When a measurement agrees with its prediction, and how many heads would not by chance alone."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

from attnlab.experiments.run_record import HeadResult
from attnlab.theory.random_directions import SHARE

#: How rarely one right prediction may be said not to agree: that of three standard errors.
RARELY = 0.0027
#: How rarely as many heads may lie outside their intervals by chance where they are said to be more than chance's.
SELDOM = 0.01


def farthest(count: int) -> float:
    """Standard errors off, up to which the farthest of so many right predictions is said to agree: 3 of one."""
    return NormalDist().inv_cdf(1 - RARELY / (2 * max(count, 1)))


class Alignment(NamedTuple):
    """How many heads' scores vary more, or less, than those of their tokens in random directions would."""

    above: int
    below: int
    #: heads for which it is known
    total: int

    @property
    def outside(self) -> int:
        """Those that are aligned with the text or against it."""
        return self.above + self.below

    @property
    def by_chance(self) -> float:
        """How many heads of random weights would be."""
        return (1 - SHARE) * self.total

    @property
    def more_than_chance(self) -> bool:
        """Whether chance would make it so many in one text of a hundred or fewer."""
        return tail(self.outside, self.total, 1 - SHARE) <= SELDOM * (1 + 1e-9)


def alignment(heads: Sequence[HeadResult]) -> Alignment:
    """That of the heads for which it is known."""
    above = below = total = 0
    for head in heads:
        measured, interval = float(head.statistics.score_variance), head.expectation.interval
        if interval is None or math.isnan(measured):
            continue
        low, high = interval
        total, above, below = total + 1, above + (measured > high), below + (measured < low)
    return Alignment(above, below, total)


def tail(least: int, count: int, share: float) -> float:
    """The chance that of `count` independent trials with this chance each `least` or more succeed."""
    if least <= 0:
        return 1.0
    logs = (
        math.lgamma(count + 1)
        - math.lgamma(i + 1)
        - math.lgamma(count - i + 1)
        + i * math.log(share)
        + (count - i) * math.log1p(-share)
        for i in range(least, count + 1)
    )
    return math.fsum(math.exp(one) for one in logs)
