"""How often the fit of orders is right and wrong, law by law: 1,000 trials with 5 % noise on each of 7 repeats.

First over each shape of noise at the 11 sizes that docs/theory.md speaks of, then over more ranges, with outliers too.

python -m tests.bench_orders [TRIALS]
"""

import sys
import time
from collections.abc import Sequence

from tests.order_laws import HARD, LIMITS, NONE, PURE, SHAPES, rates, sizes

LAWS = {**PURE, **NONE, **LIMITS, **HARD}
RANGES = ((128, 4096, 2), (128, 4096, 1), (64, 4096, 1), (64, 1024, 2), (64, 4096, 2))


def main() -> None:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    by_shape(trials)
    for low, high, steps in RANGES:
        n = sizes(low, high, steps)
        sys.stdout.write(
            f"\nN = {low} … {high}, {len(n)} sizes, {trials} trials; in %: right, wrong, and with outliers the same\n"
        )
        started = time.perf_counter()
        for name, law in LAWS.items():
            plain, struck = (rates(law, n, trials, outliers=outliers) for outliers in (False, True))
            write(name, law.order, (*plain, *struck))
        fits = 2 * trials * len(LAWS)
        sys.stdout.write(f"  {1e3 * (time.perf_counter() - started) / fits:.1f} ms a fit\n")


def by_shape(trials: int) -> None:
    """The first table."""
    sys.stdout.write(f"N = 128 … 4096, 11 sizes, {trials} trials; in %: right, wrong for {', '.join(SHAPES)} noise\n")
    for name, law in LAWS.items():
        found = [rates(law, sizes(128, 4096, 2), trials, shape=shape) for shape in SHAPES]
        write(name, law.order, [share for each in found for share in each])


def write(name: str, order: str | None, shares: Sequence[float]) -> None:
    """A line."""
    row = "  ".join(f"{100 * share:6.1f}" for share in shares)
    sys.stdout.write(f"  {name:26} {order or 'none':8} {row}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
