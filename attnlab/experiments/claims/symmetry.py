"""Lemma 4: what makes attention asymmetric."""

import math
from collections.abc import Sequence
from fractions import Fraction

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
from attnlab.maths.attention import Attention
from attnlab.maths.precision import Array
from attnlab.show.numbers import number

#: The three tokens, in units of √ln 2: every e^score is then a whole power of 2.
TOKENS = (1, 1, 0)
#: Random M = W_Q W_Kᵀ: so many of them, d × d, by way of d_k columns.
MATRICES, D, D_K, N = 2000, 12, 5, 7
#: What float64 may leave of a difference that is 0, and what counts as an asymmetry.
NOTHING, MUCH = 1e-12, 0.1


def exact_weights() -> list[list[Fraction]]:
    """The rows of softmax(x_i x_j) for x = √ln 2 times the tokens: e^(x_i x_j) = 2^(their product)."""
    rows = [[Fraction(2) ** (i * j) for j in TOKENS] for i in TOKENS]
    return [[power / sum(row) for power in row] for row in rows]


def skew_share(s: Array) -> Array:
    """‖(S − Sᵀ)/2‖ ÷ ‖S‖, (…, n, n) → (…,): 0 for symmetric S."""
    return np.asarray(np.linalg.norm((s - s.swapaxes(-1, -2)) / 2, axis=(-2, -1)) / np.linalg.norm(s, axis=(-2, -1)))


def by_hand(laws: Laws) -> tuple[Array, list[list[Fraction]]]:
    """The weights among three tokens with W_Q = W_K = 1, as attention computes them and as fractions."""
    x = math.sqrt(math.log(2)) * np.array(TOKENS, dtype=np.float64)[:, None]
    return laws.attention(x, x, x).weights, exact_weights()


def round_trip(weights: Array) -> Array:
    """ln of α_12 α_23 α_31 ÷ α_13 α_32 α_21, (…, n, n) → (…,): 0 where walking round three tokens has no direction.

    Source: Kolmogorov's criterion; Kelly 1979, section 1.5.
    """
    log = np.log(weights[..., :3, :3])
    there, back = (log[..., 0, i] + log[..., i, j] + log[..., j, 0] for i, j in ((1, 2), (2, 1)))
    return np.asarray(there - back)


def imbalance(found: Attention, bias: Array | float = 0.0) -> float:
    """The largest abs(π_i α_ij − π_j α_ji), π_i ∝ Z_i e^(b_i): what flows from i to j and not back.

    Args:
        bias: b_j, what is added to all scores of key j.
    """
    log = found.lse + bias
    pi = np.exp(log - log.max(axis=-1, keepdims=True))
    flow = (pi / pi.sum(axis=-1, keepdims=True))[..., None] * found.weights
    return float(np.abs(flow - flow.swapaxes(-1, -2)).max())


def biased_imbalance(laws: Laws, q: Array, rng: np.random.Generator) -> float:
    """The same where each key has a bias of its own: one coordinate more, 1 for every query and b_j √d_k for key j."""
    b = rng.standard_normal(q.shape[:-1])
    scale = 1 / math.sqrt(q.shape[-1])
    asked = np.concatenate([q, np.ones_like(b)[..., None]], axis=-1)
    offered = np.concatenate([q, b[..., None] / scale], axis=-1)
    return imbalance(laws.attention(asked, offered, q, scale=scale), b)


class _Shares:
    """Squared lengths of M, and of its symmetric and skew parts, gathered over rounds."""

    def __init__(self) -> None:
        self.whole: list[Array] = []
        self.skew: list[Array] = []

    def add(self, m: Array) -> None:
        """Count matrices (…, d, d)."""
        whole = np.square(m).sum(axis=(-2, -1))
        self.whole.append(whole)
        self.skew.append(whole * np.square(skew_share(m)))

    def skew_part(self) -> tuple[float, float]:
        """E‖skew part‖² ÷ E‖M‖² with its standard error, that of a ratio of two means."""
        whole, skew = np.concatenate(self.whole), np.concatenate(self.skew)
        ratio = skew.mean() / whole.mean()
        error = (skew - ratio * whole).std(ddof=1) / (whole.mean() * math.sqrt(len(whole)))
        return float(ratio), float(error)


def scores_of(laws: Laws, x: Array, w_q: Array, w_k: Array) -> Array:
    """Scores among the tokens x, (…, n, n)."""
    return laws.scores(laws.linear(x, w_q, None), laws.linear(x, w_k, None))


def asymmetry(setting: Setting) -> Evidence:
    """Lemma 4."""
    laws, shares, tied, least, flow, turn = setting.laws, _Shares(), 0.0, math.inf, 0.0, math.inf
    for rng in setting.rounds(4):
        x = rng.standard_normal((MATRICES, N, D))
        w_q, w_k = rng.standard_normal((2, MATRICES, D, D_K))
        s = rng.standard_normal((MATRICES, D_K, D_K))
        for twin in (2 * w_q, w_q @ (s + s.swapaxes(-1, -2))):
            tied = highest(tied, float(skew_share(scores_of(laws, x, w_q, twin)).max()))
        least = lowest(least, float(np.median(skew_share(scores_of(laws, x, w_q, w_k)))))
        q, k = laws.linear(x, w_q, None), laws.linear(x, w_k, None)
        flow = highest(flow, imbalance(laws.attention(q, 2 * q, x)), biased_imbalance(laws, q, rng))
        turn = lowest(turn, float(np.median(np.abs(round_trip(laws.attention(q, k, x).weights)))))
        shares.add(scores_of(laws, np.eye(D), w_q, w_k) * math.sqrt(D_K))  # of the unit vectors: M itself
    weights, exact = by_hand(laws)
    here, back = as_fraction(weights[0, 2]), as_fraction(weights[2, 0])
    return Evidence(
        measured=least,
        bound=MUCH,
        in_short=f"W_Q = W_K has α_13 {here}, α_31 {back}",
        samples=MATRICES * setting.samples,
        unit="matrices",
        finding=f"Separate random matrices make scores whose skew part has {number(least)} of their length, where one "
        f"matrix for both makes none. Symmetric scores are not yet symmetric weights: with W_Q = W_K = 1 the first "
        f"token gives the third {here} and gets {back} back. And with W_K = 2 W_Q scores are symmetric to "
        f"{number(tied)}, though the matrices differ.",
        trials=(*skew_trials(shares, least, tied), *flow_trials(flow, turn), *hand_trials(weights, exact)),
    )


def as_fraction(weight: float) -> str:
    """The nearest fraction with a small denominator: "1/5"."""
    return str(Fraction(weight).limit_denominator(99)) if math.isfinite(weight) else str(weight)


def skew_trials(shares: "_Shares", least: float, tied: float) -> tuple[Trial, ...]:
    """What Lemma 4 is judged by, of random matrices."""
    skew, error = shares.skew_part()
    expected = (1 - 1 / D) / 2
    law = f"standard errors from √((1 − 1/d)/2) = {math.sqrt(expected):.3f}"
    return (
        Trial(what="M ≠ Mᵀ: skew share of the scores, the median", value=least, low=MUCH),
        Trial(
            what=f"skew share of M = W_Q W_Kᵀ, d = {D}: {law}",
            value=standard_errors_away(skew, expected, error),
            high=MOST_ERRORS,
        ),
        Trial(what="the same share as measured", value=math.sqrt(skew)),
        Trial(what="its symmetric share, √((1 + 1/d)/2) in theory", value=math.sqrt(1 - skew)),
        Trial(what="W_K = 2 W_Q, or W_Q S, S = Sᵀ: skew share of the scores", value=tied, high=NOTHING, proof=True),
    )


def flow_trials(flow: float, turn: float) -> tuple[Trial, ...]:
    """What separate matrices buy: with symmetric scores attention is a walk that looks the same backwards."""
    return (
        Trial(
            what="M = Mᵀ: π_i α_ij − π_j α_ji with π_i ∝ Z_i, biased keys Z_i e^(b_i): the largest",
            value=flow,
            high=NOTHING,
        ),
        Trial(what="M ≠ Mᵀ: ln(α_12 α_23 α_31 ÷ α_13 α_32 α_21), the median", value=turn, low=MUCH),
    )


def hand_trials(weights: Array, exact: Sequence[Sequence[Fraction]]) -> tuple[Trial, ...]:
    """What its proof is judged by, of three tokens worked out in fractions."""
    off = highest(*(abs(weights[i][j] - exact[i][j]) for i in range(3) for j in range(3)))
    return (
        Trial(what="W_Q = W_K: weights differ from the fractions by", value=float(off), high=NOTHING, proof=True),
        Trial(
            what=f"W_Q = W_K: abs(α_13 − α_31), {abs(exact[0][2] - exact[2][0])} in theory",
            value=float(abs(weights[0, 2] - weights[2, 0])),
            low=MUCH,
            proof=True,
        ),
    )


LEMMA_4 = Claim(
    id="lemma-4",
    quote="A separação em queries e keys permite que o modelo capture relações assimétricas na linguagem.",
    translation="The separation into queries and keys allows the model to capture asymmetric relations in language.",
    place="Lemma 4",
    statement="separate queries and keys can capture asymmetry",
    source="the fractions and shares are derived here; Kelly 1979 for walks that look the same backwards",
    argument="What decides about the scores is M = W_Q W_Kᵀ: x_i M x_jᵀ = x_j M x_iᵀ for all tokens only if M = Mᵀ, "
    "and separate matrices need not have that. Random ones have both parts: on average the symmetric one has (1 + "
    "1/d)/2 of ‖M‖², the skew one (1 − 1/d)/2. What the separation buys is more than α_ij ≠ α_ji. With symmetric "
    "scores, under a symmetric mask, attention is a walk that looks the same backwards: π_i α_ij = π_j α_ji with π_i "
    "∝ Z_i, the row's softmax sum (Z_i e^(b_i) where keys have biases), so that what asymmetry there is comes from "
    "one number a token. With M ≠ Mᵀ three tokens can be gone round in one direction more readily than in the other.",
    method=f"Three tokens by exact fractions and by attention in float64; then {MATRICES:,} random M for tokens of "
    f"width {D}, and as many with W_K = 2 W_Q and W_K = W_Q S.",
    experiment=asymmetry,
    rule=true_as_it_stands,
    expected_verdict="holds",
    proof="mended",
    mending="Step 3 concludes α_ij ≠ α_ji from W^Q ≠ W^K. In general it is so, as the step says; but W^Q ≠ W^K is "
    "neither needed nor enough. Not needed: the softmax divides each row by that row's own sum. Take one-dimensional "
    "tokens x = (√ln 2, √ln 2, 0) and W_Q = W_K = 1: the scores x_i x_j are ln 2 or 0, e^score is 2 or 1, the first "
    "row is (2, 2, 1)/5 and the third (1, 1, 1)/3. Not enough: with W_K = 2 W_Q, or W_Q S for a symmetric S, the "
    "scores are symmetric. Put W_Q W_Kᵀ ≠ W_K W_Qᵀ in its place, and the lemma follows for the scores.",
    remains="All of it: with separate matrices W_Q W_Kᵀ can differ from its transpose, and with one matrix it cannot.",
)
