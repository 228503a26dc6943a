"""How often right predictions are called wrong, and random heads aligned: `python -m tests.calibrate_predictions`.

Prints, for n = 10 … 64 tokens and each kind of order, the share of |z| > 3 among 10,000 predictions of score variance
and the standard deviation of z, and for several texts the share of 2,000 heads of random weights that lie outside 99 %
of random directions. The tests hold smaller runs of both. Some minutes.
"""

from tests.test_random_directions import outside
from tests.test_score_variance import beyond

KINDS = (
    ("all", "none", False),
    ("all", "none", True),
    ("causal", "none", False),
    ("causal", "half", False),
    ("causal", "half", True),
    ("window", "half", False),
)


def main() -> None:
    print("10,000 predictions each (100 heads, 100 sets of tokens): share of |z| > 3, sd of z")
    for n in (10, 16, 24, 64):
        for order, turned, biases in KINDS:
            share, spread = beyond(n, order, turned, biases=biases, heads=100, of_each=100)
            kind = f"{order}, rotary {turned}" + (", biases" if biases else "")
            print(f"n {n:3}  {kind:32} {share:7.2%}  {spread:.3f}", flush=True)
    print("2,000 heads of random weights each: share called aligned")
    for n in (12, 60, 200):
        for order in ("all", "causal", "rotary"):
            print(f"n {n:3}  {order:32} {outside(n, order, 2000):7.2%}", flush=True)


if __name__ == "__main__":
    main()
