"""Lemma 2: attention as a soft table lookup, and its hard limit."""

import math

import numpy as np

from attnlab.experiments.claims.claim import Claim, Evidence, Setting, Trial, highest, lowest, true_as_it_stands
from attnlab.experiments.claims.laws import Laws
from attnlab.maths.precision import Array
from attnlab.show.numbers import number
from attnlab.theory.lookup import FLOAT32_GAP, distance_bound

#: So many tables at a time of N keys and values, D wide, each asked N times.
TABLES, N, D = 100, 16, 8
#: What q·k is multiplied by.
BETAS = tuple(2.0**i for i in range(13))
#: From here on βΔ leaves e^(−40) = 4e-18 of a weight to another key: the lookup is as hard as float64 can tell.
HARD = 40.0
ROUNDING = 1e-12
#: A weight below this is not looked at as a share of its bound, which underflows.
LEAST = 1e-290
#: β for a tie, and the gap of the other keys in the table that reaches its bound.
TIE_BETA, GAP = 2.0**20, 0.75


class _Worst:
    """The worst of what was found over tables and β."""

    def __init__(self) -> None:
        self.rest = self.distance = self.hard = 0.0
        self.retrieved = 1.0
        self.rows = self.hard_rows = 0

    def add(self, laws: Laws, q: Array, k: Array, v: Array, beta: float) -> None:
        """Ask tables: q, k and v (TABLES, N, D)."""
        o, p, _ = laws.attention(q, k, v, scale=beta)
        products = np.einsum("tid,tjd->tij", q, k)
        best = products.argmax(axis=-1)
        ranked = np.sort(products, axis=-1)
        gap = ranked[..., -1] - ranked[..., -2]
        rest = p.sum(axis=-1, where=np.arange(N) != best[..., None])
        target = np.take_along_axis(v, best[..., None], axis=1)
        spread = np.linalg.norm(v[:, None] - target[:, :, None], axis=-1).max(axis=-1)
        away = np.linalg.norm(o - target, axis=-1)
        bound = laws.rest_bound(gap, beta, N)
        told = np.maximum(bound, LEAST)
        self.rest = highest(self.rest, float((rest / told).max()))
        self.distance = highest(self.distance, float(((away - distance_bound(rest, spread)) / spread).max()))
        hard = beta * gap >= HARD
        self.hard = highest(self.hard, float((away / spread).max(initial=0.0, where=hard)))
        self.retrieved = lowest(self.retrieved, float((p.argmax(axis=-1) == best).mean()))
        self.rows, self.hard_rows = self.rows + rest.size, self.hard_rows + int(hard.sum())


def reached(laws: Laws, beta: float) -> float:
    """(1 − p_max) ÷ its bound where all other keys lie the same gap below the best: 1."""
    k = np.concatenate([np.full((1, 1), GAP), np.zeros((N - 1, 1))])
    p = laws.attention(np.ones((1, 1)), k, k, scale=beta).weights[0]
    return float(p[1:].sum() / laws.rest_bound(np.array(GAP), beta, N))


def tie(laws: Laws) -> float:
    """How far the weights of two equal keys are from ½ each."""
    k = np.array([[1.0], [1.0], [0.0]])
    p = laws.attention(np.ones((1, 1)), k, k, scale=TIE_BETA).weights[0]
    return float(np.abs(p[:2] - 0.5).max())


def nearest_found(laws: Laws, q: Array, k: Array) -> float:
    """The share of queries whose heaviest key is also the nearest one."""
    p = laws.attention(q, k, k, scale=BETAS[-1]).weights
    apart = np.linalg.norm(q[:, :, None] - k[:, None], axis=-1)
    return float((p.argmax(axis=-1) == apart.argmin(axis=-1)).mean())


def vanishing_gap(laws: Laws) -> float:
    """The largest gap, in steps of ¼, at which float32 still gives the lesser of two keys a weight above 0."""
    gaps = np.arange(80.0, 120.0, 0.25, dtype=np.float32)
    k = np.stack([np.zeros_like(gaps), -gaps], axis=-1)[..., None]
    p = laws.attention(np.ones((len(gaps), 1, 1), np.float32), k, k, scale=1.0).weights[:, 0, 1]
    return float(gaps[p > 0].max(initial=0.0))


def zeros(q: Array, k: Array, laws: Laws) -> float:
    """The share of weights that are exactly 0 in float32 at the largest β."""
    single = laws.attention(q.astype(np.float32), k.astype(np.float32), k.astype(np.float32), scale=BETAS[-1])
    return float((single.weights == 0).mean())


def lookup(setting: Setting) -> Evidence:
    """Lemma 2."""
    laws, worst, equal, unequal, itself, gone = setting.laws, _Worst(), 1.0, 0.0, 0.0, 0.0
    for rng in setting.rounds(9):
        q, k, v = rng.standard_normal((3, TABLES, N, D))
        for beta in BETAS:
            worst.add(laws, q, k, v, beta)
        equal = lowest(equal, nearest_found(laws, q, k / np.linalg.norm(k, axis=-1, keepdims=True)))
        gone = highest(gone, zeros(q, k, laws))
        unequal, itself = highest(unequal, nearest_found(laws, q, k)), highest(itself, nearest_found(laws, k, k))
    return Evidence(
        measured=worst.rest,
        bound=1.0,
        in_short=f"by q·k, {itself:.0%} of keys find themselves",
        samples=worst.rows,
        unit="rows",
        finding=f"In {worst.rows:,} rows the weight on other keys is never more than {number(worst.rest)} of r/(1 + "
        f"r), and from βΔ = {HARD:g} on, in {worst.hard_rows:,} rows, the output is the best key's value within "
        f"{number(worst.hard)} of the values' spread.",
        trials=lookup_trials(laws, worst) + nearest_trials(equal, unequal, itself, gone),
    )


def lookup_trials(laws: Laws, worst: "_Worst") -> tuple[Trial, ...]:
    """What Lemma 2 is judged by: the bounds, ties, and what float32 can hold."""
    sharpest = lowest(*(reached(laws, beta) for beta in (1.0, 8.0)))
    return (
        Trial(what="share of rows whose heaviest key has the largest q·k", value=worst.retrieved, low=1.0),
        Trial(what="(1 − p_max) ÷ r/(1 + r), the largest", value=worst.rest, high=1 + ROUNDING),
        Trial(what="the same where all others tie: it is reached", value=sharpest, low=1 - ROUNDING, high=1 + ROUNDING),
        Trial(what="‖o − v*‖ ÷ max‖v_j − v*‖, less 1 − p_max", value=worst.distance, high=ROUNDING),
        Trial(what=f"‖o − v*‖ ÷ max‖v_j − v*‖ from βΔ = {HARD:g} on", value=worst.hard, high=ROUNDING),
        Trial(what=f"a tie at β = {TIE_BETA:,.0f}: weights differ from ½ by", value=tie(laws), high=ROUNDING),
        Trial(
            what="float32: the largest gap that leaves a weight above 0",
            value=vanishing_gap(laws),
            low=math.floor(FLOAT32_GAP) - 1,
            high=FLOAT32_GAP,
        ),
    )


def nearest_trials(equal: float, unequal: float, itself: float, gone: float) -> tuple[Trial, ...]:
    """What its proof is judged by: the largest q·k is not always the nearest key; and how many weights are left."""
    return (
        Trial(what="keys of equal length: the heaviest is the nearest", value=equal, low=1.0),
        Trial(what="keys of any length: the heaviest is the nearest", value=unequal, high=0.95, proof=True),
        Trial(what="keys as queries: a key finds itself", value=itself, high=0.99, proof=True),
        Trial(what=f"float32, β = {BETAS[-1]:,.0f}: share of weights that are exactly 0", value=gone),
    )


LEMMA_2 = Claim(
    id="lemma-2",
    quote="O mecanismo de atenção pode ser formalizado como uma generalização contínua de uma tabela de consulta "
    "discreta",
    translation="The attention mechanism can be formalised as a continuous generalisation of a discrete lookup table",
    place="Lemma 2",
    statement="attention is a lookup table made soft",
    source="the bounds are derived here",
    argument="Multiply the scores by β and let it grow. If every other key lies at least Δ below the best, each has "
    "at most e^(−βΔ) of its weight, so all N − 1 together have at most r/(1 + r) with r = (N − 1) e^(−βΔ), and the "
    "output is no farther from the best key's value than that share of the values' spread. Two equal keys share the "
    f"weight at every β. In float32 a weight is exactly 0 from a gap of {FLOAT32_GAP:.0f} on: there not all values "
    "contribute any more.",
    method=f"{TABLES} tables of {N} keys, {D} wide, float64, each asked {N} times at β = 1, 2, 4 … {BETAS[-1]:,.0f}; "
    "one in which all other keys tie, so that the bound is reached; a tie; and two keys in float32, ever farther "
    "apart.",
    experiment=lookup,
    rule=true_as_it_stands,
    expected_verdict="holds",
    proof="mended",
    mending="The proof looks up the key that “corresponde exatamente ou é mais semelhante a q”, and takes the dot "
    "product for similarity. The dot product, its example of a similarity, does not always mean that: a longer key "
    "may win over a nearer one, and a key need not find itself, its exact match. Say the key with the largest q·k "
    "throughout (or make all keys equally long, where the two agree), and every step holds.",
    remains="All of it: a lookup by the largest q·k, soft as long as βΔ is small, and soft for ever at a tie.",
)
