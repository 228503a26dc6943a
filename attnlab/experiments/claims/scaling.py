"""Corollary 3: whether 1/√d_k is needed to keep the variance of the scores in range."""

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
)
from attnlab.experiments.claims.laws import Laws
from attnlab.maths.entries import entries
from attnlab.maths.precision import Array
from attnlab.show.numbers import number, with_error
from attnlab.theory.initialisations import Start, common_starts

#: So many heads with weights and tokens of their own; N queries and N other tokens as keys, d wide.
HEADS, N, D, D_K = 200, 32, 48, 64
#: Heads drawn for each of the common initialisations.
STARTS = 4
#: How far from 1 a variance must be to be called another one.
APART = 0.05
NOTHING = 1e-12


def two_ways(laws: Laws, rng: np.random.Generator) -> tuple[Array, Array, float]:
    """Mean squares per head of scores scaled by 1/√d_k, and of unscaled ones with W_Q smaller; how far they differ."""
    tokens, others = rng.standard_normal((2, HEADS, N, D))
    w_q, w_k = rng.standard_normal((2, HEADS, D, D_K)) / math.sqrt(D)
    k = laws.linear(others, w_k, None)
    scaled = laws.scores(laws.linear(tokens, w_q, None), k)
    smaller = laws.scores(laws.linear(tokens, w_q / math.sqrt(D_K), None), k, scale=1.0)
    squares = [np.square(scores).mean(axis=(-2, -1)) for scores in (scaled, smaller)]
    return squares[0], squares[1], float(np.abs(scaled - smaller).max() / np.abs(scaled).max())


def started(rng: np.random.Generator, start: Start) -> list[float]:
    """c²‖M‖_F² of heads drawn as `start` says, as tr(W_QᵀW_Q·W_KᵀW_K)/d_k."""
    found = []
    for _ in range(STARTS):
        w_q, w_k = entries(rng, (2, start.d_model, start.d_k), start.distribution) * np.float32(start.deviation)
        found.append(float(np.sum((w_q.T @ w_q) * (w_k.T @ w_k), dtype=np.float64)) / start.d_k)
    return found


def scale_or_start(setting: Setting) -> Evidence:
    """Corollary 3."""
    scaled, smaller, apart, starts = [], [], 0.0, common_starts()
    drawn: dict[str, list[float]] = {start.name: [] for start in starts}
    for rng in setting.rounds(8):
        one, other, difference = two_ways(setting.laws, rng)
        scaled.append(one)
        smaller.append(other)
        apart = highest(apart, difference)
        for start in starts:
            drawn[start.name] += started(rng, start)
    (with_scale, error), (without, other_error) = (spread_over(np.concatenate(found)) for found in (scaled, smaller))
    means = {name: float(np.mean(values)) for name, values in drawn.items()}
    low, high = lowest(*means.values()), highest(*means.values())
    heads = HEADS * setting.samples
    return Evidence(
        measured=without,
        standard_error=other_error,
        expected=1.0,
        in_short=f"unscaled, but W_Q ÷ √{D_K}: Var = {with_error(without, other_error)}",
        samples=heads,
        unit="heads",
        finding=f"Without any scale, but with W_Q smaller by √{D_K}, the variance is "
        f"{with_error(without, other_error)}, from the very same scores; and with the scale common ways to draw the "
        f"weights start at {number(low)} to {number(high)}, not at 1.",
        trials=scale_trials(drawn, means, apart, (with_scale, error), (without, other_error)),
    )


def scale_trials(
    drawn: Mapping[str, Sequence[float]],
    means: Mapping[str, float],
    apart: float,
    scaled: tuple[float, float],
    smaller: tuple[float, float],
) -> tuple[Trial, ...]:
    """What Corollary 3 is judged by: variances come with their standard errors."""
    return (
        Trial(
            what="with 1/√d_k: variance, in standard errors from 1",
            value=standard_errors_away(scaled[0], 1.0, scaled[1]),
            high=MOST_ERRORS,
        ),
        *(start_trial(start, drawn[start.name]) for start in common_starts()),
        Trial(what="without, W_Q ÷ √d_k: scores differ by", value=apart, high=NOTHING, counter=True),
        Trial(
            what="without, W_Q ÷ √d_k: variance, in standard errors from 1",
            value=standard_errors_away(smaller[0], 1.0, smaller[1]),
            high=MOST_ERRORS,
            counter=True,
        ),
        Trial(
            what=f"of {len(means)} initialisations, more than {APART:.0%} from 1",
            value=float(sum(abs(mean - 1) > APART for mean in means.values())),
            low=1.0,
            counter=True,
        ),
    )


def start_trial(start: Start, found: Sequence[float]) -> Trial:
    """What heads start with, beside what they should."""
    room = MOST_ERRORS * start.between_heads / math.sqrt(len(found))
    return Trial(
        what=f"starts with: {start.name}, d = {start.d_model:,}",
        value=float(np.mean(found)),
        low=start.score_variance - room,
        high=start.score_variance + room,
    )


COROLLARY_3 = Claim(
    id="corollary-3",
    statement="1/√d_k is necessary to keep the variance in range",
    source="the course, Corollary 3; Raffel et al. 2020 (T5); Glorot & Bengio 2010",
    argument="It is sufficient. But a factor on the scores can as well sit in the weights: a W_Q smaller by √d_k gives "
    "the very same scores, and T5 is trained that way, without any scale. And 1 is the variance for queries and "
    "keys of variance 1. What a block starts with is c²‖W_Q W_Kᵀ‖_F², on average (d σ²)² for entries of standard "
    "deviation σ: the initialisation decides, and 1/√d_k sees to it that the width of a head does not.",
    method=f"{HEADS} heads with tokens and weights of their own, float64, d_k = {D_K}: scores with the scale, and "
    f"unscaled with W_Q ÷ √{D_K}. Then c²‖M‖_F² of heads drawn in six ways that are in use, each beside (d σ²)².",
    experiment=scale_or_start,
    rule=in_need_of_correction,
    expected_verdict="corrected",
    remains="1/√d_k keeps d_k out of the variance, as a smaller W_Q would; the initialisation sets it.",
)
