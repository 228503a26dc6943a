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
    lowest,
    spread_over,
    standard_errors_away,
    true_as_it_stands,
)
from attnlab.experiments.claims.laws import Laws
from attnlab.maths.entries import entries
from attnlab.maths.precision import Array
from attnlab.show.numbers import number, with_error
from attnlab.theory.initialisations import Start, common_starts
from attnlab.theory.products import matrix_standard_error

#: So many heads with weights and tokens of their own; N queries and N other tokens as keys, d wide.
HEADS, N, D, D_K = 200, 32, 48, 64
#: Heads drawn for each of the common initialisations.
STARTS = 4
#: Widths over which a variance is to keep its range, matrices of SCORED × SCORED scores for each, and the powers of d_k
#: that are tried as the factor: only −½ keeps it.
NARROW, WIDE, MATRICES, SCORED = 4, 1024, 10, 48
POWERS = (0.0, -0.25, -0.5, -0.75, -1.0)
NOTHING = 1e-12


def over_the_widths(laws: Laws, rng: np.random.Generator) -> dict[float, float]:
    """By what factor the variance of d_k^power·q·k changes from the narrow heads to the wide ones."""
    pairs = {d_k: rng.standard_normal((2, MATRICES, SCORED, d_k)) for d_k in (NARROW, WIDE)}
    found = {}
    for power in POWERS:
        narrow, wide = (
            float(np.square(laws.scores(q, k, scale=None if power == -0.5 else d_k**power)).mean())
            for d_k, (q, k) in pairs.items()
        )
        found[power] = wide / narrow
    return found


def width_trial(power: float, found: Sequence[float]) -> Trial:
    """That factor beside (WIDE/NARROW)^(1 + 2 power)."""
    expected = (WIDE / NARROW) ** (1 + 2 * power)
    errors = [matrix_standard_error(d_k, SCORED, SCORED) / d_k for d_k in (NARROW, WIDE)]
    room = MOST_ERRORS * math.hypot(*errors) / math.sqrt(MATRICES * len(found))
    return Trial(
        what=f"q·k × d_k^({power:g}): variance at d_k {WIDE:,} ÷ at {NARROW}",
        value=float(np.mean(found)),
        low=expected * (1 - room),
        high=expected * (1 + room),
    )


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
    changes: list[dict[float, float]] = []
    for rng in setting.rounds(8):
        one, other, difference = two_ways(setting.laws, rng)
        scaled.append(one)
        smaller.append(other)
        apart = highest(apart, difference)
        changes.append(over_the_widths(setting.laws, rng))
        for start in starts:
            drawn[start.name] += started(rng, start)
    (with_scale, error), (without, other_error) = (spread_over(np.concatenate(found)) for found in (scaled, smaller))
    means = {name: float(np.mean(values)) for name, values in drawn.items()}
    low, high = lowest(*means.values()), highest(*means.values())
    heads = HEADS * setting.samples
    return Evidence(
        measured=with_scale,
        standard_error=error,
        expected=1.0,
        in_short=f"with it {with_error(with_scale, error)}, without it d_k",
        samples=heads,
        unit="heads",
        finding=f"From d_k = {NARROW} to {WIDE:,} the unscaled variance grows "
        f"{number(float(np.mean([one[0.0] for one in changes])))} times, with 1/d_k it falls to "
        f"{number(float(np.mean([one[-1.0] for one in changes])))} of itself; with 1/√d_k it stays: "
        f"{with_error(with_scale, error)} at {D_K}. In a block a W_Q smaller by √d_k does the same "
        f"({with_error(without, other_error)}), and common ways to draw the weights start at {number(low)} to "
        f"{number(high)}.",
        trials=scale_trials(drawn, changes, apart, (with_scale, error), (without, other_error)),
    )


def scale_trials(
    drawn: Mapping[str, Sequence[float]],
    changes: Sequence[Mapping[float, float]],
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
        *(width_trial(power, [one[power] for one in changes]) for power in POWERS),
        *(start_trial(start, drawn[start.name]) for start in common_starts()),
        Trial(what="without, W_Q ÷ √d_k: scores differ by", value=apart, high=NOTHING),
        Trial(
            what="without, W_Q ÷ √d_k: variance, in standard errors from 1",
            value=standard_errors_away(smaller[0], 1.0, smaller[1]),
            high=MOST_ERRORS,
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
    quote="A escala 1/√d_k na função de atenção é necessária para manter a variância dos scores em um intervalo "
    "adequado para o softmax",
    translation="The scale 1/√d_k in the attention function is necessary to keep the variance of the scores in a range "
    "that suits the softmax",
    place="Corollary 3",
    statement="1/√d_k is necessary to keep the variance in range",
    source="Raffel et al. 2020 (T5); Glorot & Bengio 2010",
    argument="On the premise of Theorem 6, entries of q and k uncorrelated with variance 1, a factor c makes the "
    "variance c² d_k: it stays in a range for every d_k only if c is of the order of 1/√d_k. Outside of that premise "
    "the factor may sit elsewhere. A W_Q smaller by √d_k gives the very same scores, and T5 is trained that way, "
    "without a scale; and for independent tokens of unit variance the score variance that a block starts with is "
    "c²‖W_Q W_Kᵀ‖_F², on average (d σ²)² for weights of standard deviation σ.",
    method=f"Scores of normal q and k at d_k = {NARROW} and {WIDE:,}, each multiplied by d_k to the {len(POWERS)} "
    f"powers from 0 to −1. {HEADS} heads with tokens and weights of their own, float64, d_k = {D_K}: scores with the "
    f"scale, and unscaled with W_Q ÷ √{D_K}. Then c²‖M‖_F² of heads drawn in six ways that are in use, each beside (d "
    "σ²)².",
    experiment=scale_or_start,
    rule=true_as_it_stands,
    expected_verdict="holds",
    proof="sound",
    remains="All of it, on the premise of Theorem 6. 1/√d_k keeps d_k out of the variance; the weights set the rest.",
)
