"""Theorem 7: attention in four steps, token by token and all at once."""

import math

import numpy as np

from attnlab.experiments.claims.claim import Claim, Evidence, Setting, Trial, highest, true_as_it_stands
from attnlab.experiments.claims.combination import row_sum_bound
from attnlab.experiments.claims.laws import Laws
from attnlab.maths.precision import Array
from attnlab.show.numbers import number

#: Sets of N tokens, with D wide queries and keys and D_V wide values.
SETS, N, D, D_V = 6, 48, 16, 12
#: Weights below this are too small for float32 to have all their digits.
SMALLEST = 2.0**-126


def one_by_one(q: Array, k: Array, v: Array) -> tuple[Array, Array]:
    """Outputs and weights in four steps for each query: q·k_j key by key, ÷ √d_k, softmax, Σ_j p_j v_j; float64."""
    outputs, weights = [], []
    for query in q.astype(np.float64):
        products = [query @ key for key in k.astype(np.float64)]
        scores = [product / math.sqrt(len(query)) for product in products]
        powers = [math.exp(score - max(scores)) for score in scores]
        row = [power / sum(powers) for power in powers]
        outputs.append(sum(p * value for p, value in zip(row, v.astype(np.float64), strict=True)))
        weights.append(row)
    return np.array(outputs), np.array(weights)


def accuracy_bound(q: Array, k: Array) -> float:
    """16 eps (1 + max‖q‖ max‖k‖/√d_k): how far rounding in float32 may bring the logarithm of a weight."""
    longest = [float(np.linalg.norm(x.astype(np.float64), axis=-1).max()) for x in (q, k)]
    return 16 * float(np.finfo(np.float32).eps) * (1 + longest[0] * longest[1] / math.sqrt(q.shape[-1]))


def compared(laws: Laws, rng: np.random.Generator) -> tuple[float, float]:
    """The largest distance of ln p from ln P, and of outputs as a share of max|v|, both as shares of their bounds."""
    q, k = rng.standard_normal((2, N, D), dtype=np.float32)
    v = rng.standard_normal((N, D_V), dtype=np.float32)
    output, weights = one_by_one(q, k, v)
    at_once, bound = laws.attention(q, k, v), accuracy_bound(q, k)
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.abs(np.log(at_once.weights.astype(np.float64)) - np.log(weights))
    apart = np.abs(at_once.output - output).max() / np.abs(v).max()
    seen = weights >= SMALLEST
    return float(off[seen].max() / bound), float(apart / (bound + row_sum_bound(N, np.float32)))


def four_steps(setting: Setting) -> Evidence:
    """Theorem 7."""
    found = [compared(setting.laws, rng) for rng in setting.rounds(14) for _ in range(SETS)]
    weights, outputs = (highest(*column) for column in zip(*found, strict=True))
    return Evidence(
        measured=weights,
        bound=1.0,
        in_short=f"equal to the matrix form to {number(weights)} of what rounding may do",
        samples=SETS * N * setting.samples,
        unit="rows",
        finding=f"Token by token and in one matrix the weights agree to {number(weights)} of what rounding may do, and "
        f"the outputs to {number(outputs)}.",
        trials=(
            Trial(what="ln p off the token-by-token ln P, ÷ 16 eps (1 + ‖q‖‖k‖/√d_k)", value=weights, high=1.0),
            Trial(what="outputs off the token-by-token ones, ÷ their bound", value=outputs, high=1.0),
        ),
    )


THEOREM_7 = Claim(
    id="theorem-7",
    quote="Para um vetor de entrada x_i, o cálculo completo do self-attention segue quatro etapas fundamentais: 1. "
    "Projeção […] 2. Cálculo dos Scores […] 3. Normalização (Softmax) […] 4. Agregação",
    translation="For an input vector x_i, the complete computation of self-attention follows four fundamental steps: "
    "1. Projection […] 2. Computing the scores […] 3. Normalisation (softmax) […] 4. Aggregation",
    place="Theorem 7",
    statement="self-attention is four steps for each token",
    source="Vaswani et al. 2017, section 3.2.1",
    argument="Products q_i·k_j, division by √d_k, softmax, weighted sum: no query's steps need another query's result. "
    "So all queries may go through each step together, as rows of one matrix, and nothing else changes.",
    method=f"{SETS} sets of {N} tokens: each weight from its own Python loop in float64, against attention in float32, "
    "within what rounding may do.",
    experiment=four_steps,
    rule=true_as_it_stands,
    expected_verdict="holds",
    proof=None,
    remains="All of it. That the steps can be done for all tokens at once is an entry of its own, `parallel`.",
)
