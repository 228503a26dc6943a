"""Theorem 6 and Lemma 6: the variance of q·k, and of the scaled score."""

import math

import numpy as np

from attnlab.experiments.claims.claim import (
    MOST_ERRORS,
    Claim,
    Evidence,
    Setting,
    Trial,
    highest,
    lowest,
    standard_errors_away,
    true_as_it_stands,
)
from attnlab.experiments.claims.laws import Laws
from attnlab.maths.entries import entries
from attnlab.maths.moments import Moments, merged, moments
from attnlab.show.numbers import number, with_error
from attnlab.theory.products import (
    Distribution,
    matrix_standard_error,
    pairs_standard_error,
    product_variance,
)

DISTRIBUTIONS: dict[Distribution, str] = {"normal": "normal", "uniform": "uniform", "sign": "±1"}
#: Theorem 6: the widths, the one that stands for all, its pairs, and the most numbers drawn for another one.
WIDTHS, MAIN, PAIRS, MOST_DRAWN = (1, 4, 16, 64, 256), 64, 200_000, 3_200_000
#: Numbers drawn at a time.
CHUNK = 1 << 20
#: What rounding may add, where ±1 entries leave no other error.
ROUNDING = 1e-12
#: Lemma 6: the widths, and so many matrices of N × N scores for each.
SCALED_WIDTHS, MATRICES, N = tuple(2**i for i in range(11)), 25, 64


def products(
    laws: Laws, rng: np.random.Generator, pairs: int, d_k: int, distribution: Distribution, *, same: bool = False
) -> Moments:
    """The moments of q·k over so many independent pairs; `same`: of q·q."""
    total, height = Moments(), max(1, CHUNK // d_k)
    for start in range(0, pairs, height):
        q, k = entries(rng, (2, min(height, pairs - start), d_k), distribution)
        total = merged(total, moments(laws.dot(q, q if same else k)))
    return total


def pairs_of(d_k: int, distribution: Distribution) -> int:
    """How many pairs are drawn in a round."""
    return PAIRS if (d_k, distribution) == (MAIN, "normal") else min(PAIRS, MOST_DRAWN // d_k)


def error_of(d_k: int, pairs: int, distribution: Distribution) -> float:
    """The standard error of the variance, or the rounding error where that is more."""
    return max(pairs_standard_error(d_k, pairs, distribution), ROUNDING * d_k)


def product_trial(found: Moments, d_k: int, distribution: Distribution) -> Trial:
    """The mean square of q·k, whose mean is 0, beside d_k."""
    expected, error = product_variance(d_k), error_of(d_k, found.count, distribution)
    return Trial(
        what=f"Var(q·k), {DISTRIBUTIONS[distribution]} entries, d_k = {d_k}",
        value=found.mean_square(),
        low=expected - MOST_ERRORS * error,
        high=expected + MOST_ERRORS * error,
    )


def product_variances(setting: Setting) -> Evidence:
    """Theorem 6."""
    cases = [(d_k, distribution) for distribution in DISTRIBUTIONS for d_k in WIDTHS]
    found, same = dict.fromkeys(cases, Moments()), Moments()
    for rng in setting.rounds(6):
        for case in cases:
            found[case] = merged(found[case], products(setting.laws, rng, pairs_of(*case), *case))
        same = merged(same, products(setting.laws, rng, MOST_DRAWN // MAIN, MAIN, "normal", same=True))
    main = found[MAIN, "normal"]
    error = error_of(MAIN, main.count, "normal")
    away = {
        case: standard_errors_away(one.mean_square(), product_variance(case[0]), error_of(case[0], one.count, case[1]))
        for case, one in found.items()
    }
    worst, written = highest(*away.values()), with_error(main.mean_square(), error)
    return Evidence(
        measured=main.mean_square(),
        standard_error=error,
        expected=float(MAIN),
        in_short=f"d_k {MAIN}: Var(q·k) {written}",
        samples=main.count,
        unit="pairs",
        finding=f"At d_k = {MAIN} Var(q·k) is {written}, and at none of {len(WIDTHS)} widths from {WIDTHS[0]} to "
        f"{WIDTHS[-1]}, with normal, uniform or ±1 entries, is it more than {number(worst)} standard errors from d_k.",
        trials=(
            *(product_trial(one, *case) for case, one in found.items()),
            Trial(what=f"k = q, not independent: Var(q·q) ÷ d_k, d_k = {MAIN}", value=same.variance / MAIN, low=1.5),
        ),
    )


THEOREM_6 = Claim(
    id="theorem-6",
    statement="q, k independent, mean 0, variance 1 ⇒ Var(q·k) = d_k",
    source="the course, Theorem 6; Vaswani et al. 2017, footnote 4",
    argument="q·k is a sum of d_k products. Each has mean 0 and variance 1, because for independent numbers of mean "
    "0 the variance of the product is the product of the variances; and variances of independent terms add. Nothing "
    "in this asks for a normal distribution: that shows in the next moment only, and with it in the error bar.",
    method="Independent pairs at five widths and with three distributions, float32, summed in float64. Each variance "
    f"has its own standard error, d_k √((kurtosis − 1)/pairs), and must be within {MOST_ERRORS} of them. To show what "
    "independence is for, k = q is tried too.",
    experiment=product_variances,
    rule=true_as_it_stands,
    expected_verdict="holds",
    remains="It needs q and k to be independent, with mean 0: trained ones are not, and k = q doubles it.",
)


def scaled_variances(setting: Setting) -> Evidence:
    """Lemma 6."""
    laws, off = setting.laws, 0.0
    scaled, unscaled = dict.fromkeys(SCALED_WIDTHS, Moments()), dict.fromkeys(SCALED_WIDTHS, Moments())
    for rng in setting.rounds(7):
        for d_k in SCALED_WIDTHS:
            q, k = entries(rng, (2, MATRICES, N, d_k))
            divided, whole = laws.scores(q, k), laws.scores(q, k, scale=1.0)
            off = highest(off, float(np.abs(divided * math.sqrt(d_k) - whole).max() / np.abs(whole).max()))
            scaled[d_k] = merged(scaled[d_k], moments(divided))
            unscaled[d_k] = merged(unscaled[d_k], moments(whole))
    matrices = MATRICES * setting.samples
    errors = {d_k: matrix_standard_error(d_k, N, N) / d_k / math.sqrt(matrices) for d_k in SCALED_WIDTHS}
    found = {d_k: one.mean_square() for d_k, one in scaled.items()}
    away = highest(*(standard_errors_away(found[d_k], 1.0, errors[d_k]) for d_k in SCALED_WIDTHS))
    last = SCALED_WIDTHS[-1]
    low, high = lowest(*found.values()), highest(*found.values())
    return Evidence(
        measured=found[last],
        standard_error=errors[last],
        expected=1.0,
        in_short=f"Var {number(low)} … {number(high)}, d_k 1 … {last:,}",
        samples=matrices * N * N,
        unit="scores",
        finding=f"From d_k = 1 to {last:,} the scaled variance stays between {number(low)} and {number(high)}, at most "
        f"{number(away)} standard errors from 1, while unscaled it rises from {number(unscaled[1].mean_square())} to "
        f"{number(unscaled[last].mean_square())}.",
        trials=(
            *(
                Trial(
                    what=f"Var(q·k/√d_k), d_k = {d_k:,}",
                    value=found[d_k],
                    low=1 - MOST_ERRORS * errors[d_k],
                    high=1 + MOST_ERRORS * errors[d_k],
                )
                for d_k in SCALED_WIDTHS
            ),
            Trial(what="scaled × √d_k less unscaled ÷ the largest, the same draws", value=off, high=1e-6),
        ),
    )


LEMMA_6 = Claim(
    id="lemma-6",
    statement="scaled, the variance is 1 whatever d_k",
    source="the course, Lemma 6; Vaswani et al. 2017, section 3.2.1",
    argument="A constant comes out of a variance squared: Var(q·k/√d_k) = Var(q·k)/d_k, which by Theorem 6 is 1.",
    method=f"QKᵀ of normal queries and keys, {MATRICES} matrices of {N} × {N} for each of {len(SCALED_WIDTHS)} "
    "widths, with attention's own default scale and, from the same draws, without. Scores of one matrix share "
    f"queries and keys, and the standard error allows for that; each variance must be within {MOST_ERRORS} of them.",
    experiment=scaled_variances,
    rule=true_as_it_stands,
    expected_verdict="holds",
    remains="1 is the variance for queries and keys of variance 1; what a block starts with is Corollary 3's matter.",
)
