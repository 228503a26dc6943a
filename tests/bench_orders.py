"""How often the fit of orders is right and wrong, law by law: 1,000 trials with 5 % noise on each of 7 repeats.

python -m tests.bench_orders [TRIALS]
"""

import sys
import time

from tests.order_laws import HARD, PURE, rates, sizes

RANGES = ((128, 4096, 2), (128, 4096, 1), (64, 4096, 1), (64, 1024, 2), (64, 4096, 2))


def main() -> None:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    for low, high, steps in RANGES:
        n = sizes(low, high, steps)
        sys.stdout.write(
            f"\nN = {low} … {high}, {len(n)} sizes, {trials} trials; in %: right, wrong, and with outliers the same\n"
        )
        started = time.perf_counter()
        for name, law in {**PURE, **HARD}.items():
            plain, struck = (rates(law, n, trials, outliers=outliers) for outliers in (False, True))
            row = "  ".join(f"{100 * share:6.1f}" for share in (*plain, *struck))
            sys.stdout.write(f"  {name:26} {law.order:8} {row}\n")
            sys.stdout.flush()
        fits = 2 * trials * len({**PURE, **HARD})
        sys.stdout.write(f"  {1e3 * (time.perf_counter() - started) / fits:.1f} ms a fit\n")


if __name__ == "__main__":
    main()
