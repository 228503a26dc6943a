"""Theorem 6 and Lemma 6: the variance of q·k, and of the scaled score."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from attnlab.experiments.claims.claim import (
    MOST_ERRORS,
    Claim,
    Evidence,
    Setting,
    Trial,
    highest,
    in_need_of_correction,
    lowest,
    spread_over,
    standard_errors_away,
    true_as_it_stands,
)
from attnlab.experiments.claims.laws import Laws
from attnlab.maths.entries import entries
from attnlab.maths.moments import Moments, merged, moments
from attnlab.maths.precision import Array
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
#: Entries of one q, and of one k, that go together: every two of them have this correlation. The last has k = q too.
SHARED = ((0.0, 0.5), (0.5, 0.5), (1.0, 1.0))
#: Pairs for each of those.
SHARED_PAIRS = 20_000
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


def together(rng: np.random.Generator, correlation: float) -> Array:
    """Vectors whose entries have mean 0, variance 1, and this correlation with each other, (pairs, d_k)."""
    one, own = rng.standard_normal((SHARED_PAIRS, 1)), rng.standard_normal((SHARED_PAIRS, MAIN))
    return np.asarray(math.sqrt(correlation) * one + math.sqrt(1 - correlation) * own)


def shared_trial(rho_q: float, rho_k: float, found: Array) -> Trial:
    """Var(q·k) beside tr Σ_qΣ_k = d_k + d_k (d_k − 1) ρ_q ρ_k; against the words where that is not d_k."""
    expected = MAIN + MAIN * (MAIN - 1) * rho_q * rho_k
    _, error = spread_over(np.square(found))
    names = "q = g·1, k = h·1" if rho_q == rho_k == 1 else f"entries correlated by {rho_q:g} in q, {rho_k:g} in k"
    return Trial(
        what=f"Var(q·k), {names}: tr Σ_qΣ_k = {expected:,.0f}",
        value=float(np.square(found).mean()),
        low=expected - MOST_ERRORS * error,
        high=expected + MOST_ERRORS * error,
        counter=expected != MAIN,
    )


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
    shared: dict[tuple[float, float], list[Array]] = {pair: [] for pair in SHARED}
    for rng in setting.rounds(6):
        for case in cases:
            found[case] = merged(found[case], products(setting.laws, rng, pairs_of(*case), *case))
        same = merged(same, products(setting.laws, rng, MOST_DRAWN // MAIN, MAIN, "normal", same=True))
        for rhos, drawn in shared.items():
            drawn.append(setting.laws.dot(*(together(rng, rho) for rho in rhos)))
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
        in_short=f"where entries are uncorrelated: {written} at {MAIN}",
        samples=main.count,
        unit="pairs",
        finding=f"With independent entries Var(q·k) is {written} at d_k = {MAIN}, and at none of {len(WIDTHS)} widths "
        f"from {WIDTHS[0]} to {WIDTHS[-1]}, normal, uniform or ±1, is it more than {number(worst)} standard errors "
        f"from d_k. Entries that all move together meet the statement too, and have {number(alike(shared))}.",
        trials=(
            *(product_trial(one, *case) for case, one in found.items()),
            *(shared_trial(*rhos, np.concatenate(drawn)) for rhos, drawn in shared.items()),
            Trial(
                what=f"k = q: Var(q·q) ÷ d_k at d_k = {MAIN}, 2 in theory",
                value=same.variance / MAIN,
                low=1.8,
                high=2.2,
                counter=True,
            ),
        ),
    )


def alike(shared: Mapping[tuple[float, float], Sequence[Array]]) -> float:
    """Var(q·k) where all entries of q are one number, and all of k another."""
    return float(np.square(np.concatenate(shared[1.0, 1.0])).mean())


THEOREM_6 = Claim(
    id="theorem-6",
    quote="Para vetores query e key aleatoriamente inicializados com média zero e variância unitária, a variância do "
    "produto escalar é proporcional a d_k: Var(q_i^⊤ k_j) = d_k",
    translation="For query and key vectors randomly initialised with mean zero and unit variance, the variance of the "
    "dot product is proportional to d_k: Var(q_i^⊤ k_j) = d_k",
    place="Theorem 6",
    statement="q, k random, mean 0, variance 1: Var(q·k) = d_k",
    source="Vaswani et al. 2017, footnote 4",
    argument="The proof is right, and says what the statement leaves out: the components are independent. Then q·k "
    "is a sum of d_k products, each of mean 0 and variance 1, and variances of independent terms add. (The entries "
    "need not be normal: which distribution they have shows only in higher moments.) Mean 0 and variance 1 alone do "
    "not carry it. For independent q and k Var(q·k) = tr Σ_qΣ_k: d_k wherever the entries are uncorrelated in q or "
    "in k. With q = g·1 and k = h·1, every entry the same number, it is d_k². And where q and k are not independent, "
    "as with k = q, it is 2d_k for normal entries.",
    method="Independent pairs at five widths and with three distributions, float32, summed in float64. Each variance "
    f"has its own standard error, d_k √((kurtosis − 1)/pairs), and must be within {MOST_ERRORS} of them. Then entries "
    "that are correlated in k, in both, and all the same; and k = q.",
    experiment=product_variances,
    rule=in_need_of_correction,
    expected_verdict="corrected",
    proof="sound",
    remains="Var(q·k) = d_k for q and k independent of each other, with entries uncorrelated in one of them at "
    "least: the premise of the proof, and of Corollary 3 and Lemma 6. Over fresh draws of the weights the entries "
    "are uncorrelated, with a variance that the weights set (see Corollary 3); trained weights need not meet it.",
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
    quote="O fator de escala 1/√d_k mantém a variância dos scores em uma faixa adequada independentemente da "
    "dimensionalidade.",
    translation="The scale factor 1/√d_k keeps the variance of the scores in an adequate range, whatever the "
    "dimension.",
    place="Lemma 6",
    statement="scaled by 1/√d_k, the variance is 1 at every d_k",
    source="Vaswani et al. 2017, section 3.2.1",
    argument="A constant comes out of a variance squared: Var(q·k/√d_k) = Var(q·k)/d_k, which by Theorem 6 is 1.",
    method=f"QKᵀ of normal queries and keys, {MATRICES} matrices of {N} × {N} for each of {len(SCALED_WIDTHS)} "
    "widths, with attention's own default scale and, from the same draws, without. Scores of one matrix share "
    f"queries and keys, and the standard error allows for that; each variance must be within {MOST_ERRORS} of them.",
    experiment=scaled_variances,
    rule=true_as_it_stands,
    expected_verdict="holds",
    proof="sound",
    remains="All of it, on the premise of Theorem 6. What a block starts with is Corollary 3's matter.",
)
