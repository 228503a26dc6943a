"""Two remarks on the course's notation: footnote 6's symmetry, and transposes of row vectors."""

import math

import numpy as np

from attnlab.experiments.claims.claim import Claim, Evidence, Setting, Trial, highest, in_need_of_correction, lowest
from attnlab.experiments.claims.laws import Laws
from attnlab.experiments.claims.symmetry import TOKENS, as_fraction
from attnlab.maths.precision import Array
from attnlab.show.numbers import number

#: So many tokens on a circle, each with the same neighbours: all rows have the same sum Z.
CIRCLE = 12
#: Sets of random tokens, with W_K = W_Q.
SETS, N, D, D_K, D_V = 200, 13, 7, 5, 3
NOTHING, MUCH = 1e-12, 0.1


def unevenness(weights: Array) -> Array:
    """The largest abs(α_ij − α_ji), (…, n, n) → (…,)."""
    return np.asarray(np.abs(weights - weights.swapaxes(-1, -2)).max(axis=(-2, -1)))


def on_a_circle() -> Array:
    """Tokens (cos φ, sin φ) at equal angles, (CIRCLE, 2): x_i·x_j depends on i − j alone."""
    angles = 2 * math.pi * np.arange(CIRCLE) / CIRCLE
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def normalised_symmetry(setting: Setting) -> Evidence:
    """Footnote 6."""
    laws, least = setting.laws, math.inf
    for rng in setting.rounds(23):
        x = rng.standard_normal((SETS, N, D))
        q = laws.linear(x, rng.standard_normal((SETS, D, D_K)), None)
        least = lowest(least, float(np.median(unevenness(laws.attention(q, q, x).weights))))
    three = math.sqrt(math.log(2)) * np.array(TOKENS, dtype=np.float64)[:, None]
    by_hand = laws.attention(three, three, three).weights
    circle = on_a_circle()
    even = float(unevenness(laws.attention(circle, circle, circle).weights))
    here, back = as_fraction(by_hand[0, 2]), as_fraction(by_hand[2, 0])
    return Evidence(
        measured=even,
        bound=NOTHING,
        in_short="as a rule; not where all rows have equal sums",
        samples=SETS * setting.samples,
        unit="sets",
        finding=f"From symmetric scores the softmax makes α_13 = {here} and α_31 = {back} in the example of Lemma 4; "
        f"in random sets the largest difference has a median of {number(least)}. But {CIRCLE} tokens on a circle, "
        f"whose Z_i are all equal, keep a matrix that is symmetric to {number(even)}.",
        trials=(
            Trial(what="three tokens, symmetric scores: abs(α_13 − α_31)", value=abs_difference(by_hand), low=MUCH),
            Trial(what="random sets, symmetric scores: the largest, median", value=least, low=MUCH),
            Trial(what=f"{CIRCLE} tokens on a circle: the largest α_ij − α_ji", value=even, high=NOTHING, counter=True),
        ),
    )


def abs_difference(weights: Array) -> float:
    """abs(α_13 − α_31)."""
    return float(abs(weights[0, 2] - weights[2, 0]))


SYMMETRY_NOTE = Claim(
    id="symmetry-note",
    quote="A normalização por softmax significa que a distribuição não é simétrica, embora a matriz de atenção "
    "resultante não seja ela própria simétrica.",
    translation="Normalisation by softmax means that the distribution is not symmetric, although the resulting "
    "attention matrix is not itself symmetric.",
    place="footnote 6",
    statement="the softmax makes the attention matrix asymmetric",
    source="Bishop & Bishop 2024, chapter 12, is what the note cites",
    argument="The note is cited from a book, and a word seems to have been lost on the way: as it stands, “embora” "
    "joins two halves that say the same. What is probably meant is: although the scores may be symmetric, the "
    "softmax makes a matrix that is not. As a rule the note is right, since α_ij = e^(s_ij)/Z_i and α_ji = "
    "e^(s_ij)/Z_j have different sums under them. It need not: where all Z_i are equal the matrix stays symmetric, "
    "as for tokens at equal angles on a circle.",
    method=f"The three tokens of Lemma 4; {SETS} sets of {N} random tokens with W_K = W_Q; and {CIRCLE} tokens on a "
    "circle.",
    experiment=normalised_symmetry,
    rule=in_need_of_correction,
    expected_verdict="corrected",
    proof=None,
    remains="As a rule the note is right: symmetric scores with unequal row sums Z_i give an asymmetric matrix.",
)


def transposes(laws: Laws, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Of one pair of row vectors x W: what q kᵀ and q·k differ by; entries and rank of qᵀk; and q·k off its trace."""
    x = rng.standard_normal((2, 1, D))
    q, k = (
        laws.linear(x[0], rng.standard_normal((D, D_K)), None),
        laws.linear(x[1], rng.standard_normal((D, D_K)), None),
    )
    inner, outer = q @ k.T, q.T @ k
    score = laws.scores(q, k) * math.sqrt(D_K)
    if inner.shape != (1, 1):
        return math.inf, float(outer.size), math.nan, math.inf
    product = float(inner[0, 0])
    apart = highest(*(abs(float(other) - product) for other in (laws.dot(q, k)[0], score[0, 0])))
    rank = float(np.linalg.matrix_rank(outer)) if np.isfinite(outer).all() else math.nan
    return apart / abs(product), float(outer.size), rank, abs(float(np.trace(outer)) - product) / abs(product)


def row_vectors(setting: Setting) -> Evidence:
    """Theorems 6 and 7 and Lemma 4."""
    laws, found, names = setting.laws, [], set[tuple[tuple[int, ...], tuple[int, ...]]]()
    for rng in setting.rounds(24):
        found += [transposes(laws, rng) for _ in range(SETS)]
        q, k = rng.standard_normal((2, N, D_K))
        attended = laws.attention(q, k, rng.standard_normal((N, D_V)))
        names.add((attended.weights.shape, attended.output.shape))
    apart, entries, rank, trace = (highest(*column) for column in zip(*found, strict=True))
    fewest = lowest(*(one[1] for one in found))
    two = float(all(weights != output for weights, output in names))
    return Evidence(
        measured=entries,
        expected=1.0,
        in_short=f"q_i k_j^⊤; for rows q_i^⊤ k_j is a {D_K} × {D_K} matrix",
        samples=len(found),
        unit="pairs",
        finding=f"For row vectors q_i = x_i W_Q with d_k = {D_K}, q_i k_j^⊤ is one number and equals Σ_l q_il k_jl "
        f"within {number(apart)}; q_i^⊤ k_j has {entries:.0f} entries and rank {rank:.0f}.",
        trials=(
            Trial(what="q_i k_jᵀ: off q·k and off √d_k × the score, as a share", value=apart, high=NOTHING * 100),
            Trial(what="trace of q_iᵀk_j: off q·k, as a share", value=trace, high=NOTHING * 100),
            Trial(what=f"entries of q_iᵀk_j, d_k = {D_K}, the fewest", value=fewest, low=2.0, counter=True),
            Trial(what="A as weights and A as outputs are of different shapes", value=two, low=1.0, counter=True),
        ),
    )


ROW_VECTORS = Claim(
    id="row-vectors",
    quote="O produto escalar é q_i^⊤ k_j = Σ_l q_il k_jl",
    translation="The dot product is q_i^⊤ k_j = Σ_l q_il k_jl",
    place="Theorem 6, step 2 of its proof; likewise Lemma 4 and Theorem 7",
    statement="the dot product of rows q_i, k_j is q_i^⊤ k_j",
    source="",
    argument="The course writes vectors as rows, q_i = x_i W^Q. For rows q_i^⊤ k_j is a column times a row: a d_k × "
    "d_k matrix of rank 1, whose trace is the number meant. That number is q_i k_j^⊤, as in QK^⊤, which the course has "
    "right. q_i^⊤ k_j is the way of texts that write vectors as columns. Two more words to keep apart: footnote 15's "
    "“tamanho dos embeddings”, to which the factor is related, is d_k, the width of q and k, and not d; and A names "
    "the weights, N × N, in Lemma 3, and the outputs, N × d_v, under “Processamento Paralelo Eficiente”.",
    method=f"{SETS} pairs of row vectors x W, d = {D}, d_k = {D_K}, float64: both products, beside q·k and the score "
    "that attention computes.",
    experiment=row_vectors,
    rule=in_need_of_correction,
    expected_verdict="corrected",
    proof=None,
    remains="The sum Σ_l q_il k_jl, and every number made of it; only the transpose belongs to the other factor.",
)
