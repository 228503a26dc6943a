"""Which sizes to time: the largest and its halves, in finer steps where the range is short, smooth for a transform."""

from collections.abc import Sequence

from attnlab.errors import UsageError
from attnlab.measure.orders import FEWEST_SIZES

#: Sizes to each halving, from coarse to fine: n/2ᵏ·(1, ¾) and n/2ᵏ·(1, ⅞, ¾, ⅝) have small factors if n does.
STEPS = (1, 2, 4)
#: More sizes than the fewest that a fit takes make it surer.
WANTED = 8
#: A window's cost is N·w from here on: so many times the window.
WINDOWS = 4
#: The smallest size by default: so many times below the largest, but no smaller than this.
RANGE, SMALLEST = 32, 64
#: Below this a call's own cost, in Python, hides the order.
LEAST = 8


def spaced(low: int, high: int, steps: int) -> tuple[int, ...]:
    """`high` and what lies below it down to `low`, `steps` sizes to each halving, rising."""
    found = set()
    octave = float(high)
    while octave >= low:
        found |= {round(octave * (2 * steps - i) / (2 * steps)) for i in range(steps)}
        octave /= 2
    return tuple(sorted(n for n in found if low <= n <= high))


def sizes(low: int | None, high: int, *, name: str, fitted_from: int = 0) -> tuple[int, ...]:
    """The sizes from `low` to `high`: as few as give `WANTED` of `fitted_from` or more, else as many as there are.

    Args:
        low: None: `RANGE` times below `high`.
        name: of the size in options: "n" or "d".
        fitted_from: the smallest size that the strictest fit takes.

    Raises:
        UsageError: there is no room for six sizes.
    """
    start = max(high // RANGE, SMALLEST) if low is None else low
    if start < LEAST:
        raise UsageError(f"--min-{name} {start}; expected {LEAST} or more")
    for steps in STEPS:
        found = spaced(start, high, steps)
        if len([n for n in found if n >= fitted_from]) >= WANTED:
            return found
    if len(found) < FEWEST_SIZES:
        raise UsageError(
            f"--min-{name} {start} --max-{name} {high}: room for {len(found)} of the {FEWEST_SIZES} sizes "
            f"that a fit needs; expected --max-{name} {least_range(start):,} or more, or a smaller --min-{name}"
        )
    return found


def least_range(low: int) -> int:
    """The smallest `high` with room for six sizes."""
    high = max(low, 16 * low // 7 - 2 * LEAST)  # six sizes, four to a halving, end at 7/16 of the largest
    while len(spaced(low, high, STEPS[-1])) < FEWEST_SIZES:
        high += 1
    return high


def octaves(found: Sequence[int]) -> list[int]:
    """Those of the sizes that halve the largest: enough for a table."""
    return [n for n in found if n in spaced(found[0], found[-1], 1)] if found else []
