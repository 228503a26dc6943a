"""Lemma 1, attention as a linear combination, and Theorem 3, the three roles that a token plays in it."""

import math

import numpy as np

from attnlab.experiments.claims.claim import (
    Claim,
    Evidence,
    Setting,
    Trial,
    highest,
    in_need_of_correction,
    lowest,
    true_as_it_stands,
)
from attnlab.experiments.claims.laws import Laws
from attnlab.maths.attention import Attention
from attnlab.maths.precision import Array
from attnlab.show.numbers import number

#: Lemma 1's tokens: so many sets of N tokens of width D, whose values are as wide, so that the two can be compared.
SETS, N, D, D_K = 64, 64, 32, 16
#: Theorem 3's.
ROLE_SETS, ROLE_N, ROLE_D, ROLE_D_K, ROLE_D_V = 16, 23, 29, 7, 11
#: What float64 may leave of a difference that is 0, and what counts as a change.
NOTHING, CHANGED = 1e-12, 0.1


def row_sum_bound(keys: int, dtype: type[np.floating]) -> float:
    """(4 + log2 m) eps: how far rounding may bring a row's sum from 1."""
    return (4 + math.log2(keys)) * float(np.finfo(dtype).eps)


def largest_apart(one: Array, other: Array) -> float:
    """The largest difference, as a share of the largest number."""
    return float(np.abs(one - other).max() / np.abs(one).max())


def distance(one: Array, other: Array) -> float:
    """‖one − other‖ as a share of ‖one‖, over everything."""
    return float(np.linalg.norm((one - other).astype(np.float64)) / np.linalg.norm(one.astype(np.float64)))


def combination(setting: Setting) -> Evidence:
    """Lemma 1."""
    laws, off, least, ways, bare, untouched = setting.laws, 0.0, math.inf, 0.0, math.inf, 0.0
    for rng in setting.rounds(1):
        x = rng.standard_normal((SETS, N, D), dtype=np.float32)
        w_q, w_k = rng.standard_normal((2, D, D_K), dtype=np.float32) / math.sqrt(D)
        w_v = rng.standard_normal((D, D), dtype=np.float32) / math.sqrt(D)
        q, k, v = (laws.linear(x, w.astype(np.float32), None) for w in (w_q, w_k, w_v))
        y, a, _ = laws.attention(q, k, v)
        off = highest(off, float(np.abs(a.sum(axis=-1, dtype=np.float64) - 1).max()))
        least = lowest(least, float(a.min()))
        ways = highest(ways, largest_apart(y, key_by_key(a, v)), largest_apart(y, a @ x @ w_v))
        bare = lowest(bare, distance(y, a @ x))
        untouched = highest(untouched, largest_apart(laws.attention(q, k, x).output, a @ x))
    rows, bound = SETS * N * setting.samples, row_sum_bound(N, np.float32)
    rounding = 8 * float(np.finfo(np.float32).eps) * math.sqrt(N)
    return Evidence(
        measured=off,
        bound=bound,
        in_short=f"of the values x_m W_V; without W_V it is {bare:.0%} off",
        samples=rows,
        unit="rows",
        finding=f"In {rows:,} rows no weight is below 0 and the sums are 1 within {number(off)}; Y is made of the "
        f"values x W_V, and lies {number(bare)} of its own length away from A X, the combination of the inputs "
        "themselves.",
        trials=(
            Trial(what="least weight", value=least, low=0.0),
            Trial(what="row sums: largest distance from 1", value=off, high=bound),
            Trial(what="softmax(c QKᵀ)V, Σ a_nm v_m and (A X) W_V: how far apart", value=ways, high=rounding),
            Trial(what="with W_V = 1, Y and A X: how far apart", value=untouched, high=rounding),
            Trial(what="with a random W_V, ‖Y − A X‖ ÷ ‖Y‖", value=bare, low=CHANGED, counter=True),
        ),
    )


def key_by_key(a: Array, v: Array) -> Array:
    """Σ_m a_nm v_m, one key after the other."""
    total = np.zeros((*a.shape[:-1], v.shape[-1]), a.dtype)
    for m in range(v.shape[-2]):
        total += a[..., m, None] * v[..., m, None, :]
    return total


LEMMA_1 = Claim(
    id="lemma-1",
    quote="Para cada vetor de saída y_n, existe uma representação como combinação linear dos vetores de entrada, "
    "ponderada por coeficientes de atenção a_nm: y_n = Σ_m a_nm x_m",
    translation="For each output vector y_n there is a representation as a linear combination of the input vectors, "
    "weighted by attention coefficients a_nm: y_n = Σ_m a_nm x_m",
    place="Lemma 1",
    statement="outputs are weighted means of the inputs x_m",
    source="Bishop & Bishop 2024, section 12.1",
    argument="An exponential is never negative, and the softmax divides a row by its own sum: so the weights are a "
    "probability distribution, and each output is an average. But an average of what? The statement says x_m; "
    "the course's own proof ends in y_n = Σ_m a_nm x_m W_V, and that is right: what is combined are the values v_m = "
    "x_m W_V. The inputs enter linearly, and through W_V, which turns and stretches them first; where it makes them "
    "wider or narrower, Σ_m a_nm x_m has not even the width of y_n.",
    method=f"Random tokens, {N} at a time, {D} wide, float32. Y is computed in three ways: as attention does, one key "
    "after the other, and as (A X) W_V. Then Y is held against A X, with a random W_V and with W_V = 1.",
    experiment=combination,
    rule=in_need_of_correction,
    expected_verdict="corrected",
    proof="sound",
    remains="Everything but one letter: y_n = Σ_m a_nm v_m with v_m = x_m W_V, as the proof's last formulas have it; "
    "its closing sentence leaves W_V out again. Non-negativity and normalisation stand as they are.",
)


def with_one_changed(setting: Setting, rng: np.random.Generator) -> dict[str, float]:
    """What changes when a matrix, or a single token's query, key or value, is another one."""
    laws = setting.laws
    x = rng.standard_normal((ROLE_SETS, ROLE_N, ROLE_D))
    w_q, w_k, other_q, other_k = rng.standard_normal((4, ROLE_D, ROLE_D_K)) / math.sqrt(ROLE_D)
    w_v, other_v = rng.standard_normal((2, ROLE_D, ROLE_D_V)) / math.sqrt(ROLE_D)
    q, k, v = (laws.linear(x, w, None) for w in (w_q, w_k, w_v))
    before = laws.attention(q, k, v)
    asked = laws.attention(laws.linear(x, other_q, None), k, v)
    offered = laws.attention(q, laws.linear(x, other_k, None), v)
    told = laws.attention(q, k, laws.linear(x, other_v, None))
    return {
        "W_V: the weights move by": largest_apart(before.weights, told.weights),
        "W_V: the outputs move by": distance(before.output, told.output),
        "W_Q: the weights move by": distance(before.weights, asked.weights),
        "W_K: the weights move by": distance(before.weights, offered.weights),
        "W_K: outputs differ from the new weights on the old values by": largest_apart(
            offered.weights @ v, offered.output
        ),
    } | one_token_changed(laws, (q, k, v), rng, before)


def one_token_changed(
    laws: Laws, qkv: tuple[Array, Array, Array], rng: np.random.Generator, before: Attention
) -> dict[str, float]:
    """What changes when token 2's query alone, its key alone, or its value alone is another one."""
    token, changed = 2, []
    for role in range(3):
        arrays = [array.copy() for array in qkv]
        arrays[role][:, token] += rng.standard_normal(arrays[role][:, token].shape)
        changed.append((arrays[role][:, token] - qkv[role][:, token], laws.attention(*arrays)))
    (_, asked), (_, offered), (step, told) = changed
    others = np.delete(np.arange(ROLE_N), token)
    logs, logs_after = np.log(before.weights[..., others]), np.log(offered.weights[..., others])
    shifts = logs_after - logs
    expected = before.output + before.weights[..., token, None] * step[:, None]
    return {
        "one query: the other rows move by": largest_apart(before.output[:, others], asked.output[:, others]),
        "one query: its own row moves by": distance(before.output[:, token], asked.output[:, token]),
        "one key: the odds between other keys move by": float(np.ptp(shifts, axis=-1).max()),
        "one key: its own column moves by": distance(before.weights[..., token], offered.weights[..., token]),
        "one value: outputs differ from y_i + α_ij Δv_j by": largest_apart(expected, told.output),
    }


def three_roles(setting: Setting) -> Evidence:
    """Theorem 3."""
    found = [with_one_changed(setting, rng) for rng in setting.rounds(2)]
    stays = ("W_V: the weights", "W_K: outputs", "one query: the other", "one key: the odds", "one value:")
    trials = []
    for what in found[0]:
        values = [one[what] for one in found]
        if what.startswith(stays):
            trials.append(Trial(what=what, value=highest(*values), high=NOTHING))
        else:
            trials.append(Trial(what=what, value=lowest(*values), low=CHANGED))
    still = highest(*(trial.value for trial in trials if trial.high == NOTHING))
    moved = lowest(*(trial.value for trial in trials if trial.low == CHANGED))
    rows = ROLE_SETS * ROLE_N * setting.samples
    return Evidence(
        measured=still,
        bound=NOTHING,
        in_short=f"what should stay moves by {number(still)} at most",
        samples=rows,
        unit="rows",
        finding=f"Changing one of W_Q, W_K, W_V, or one token's query, key or value, moves what its role says by "
        f"{number(moved)} of its size or more, and everything else by {number(still)} at most.",
        trials=trials,
    )


THEOREM_3 = Claim(
    id="theorem-3",
    quote="Para cada embedding de entrada x, existem três transformações lineares distintas que produzem suas "
    "representações como query, key e value: q = x W^Q, k = x W^K, v = x W^V",
    translation="For each input embedding x there are three distinct linear transformations that produce its "
    "representations as query, key and value: q = x W^Q, k = x W^K, v = x W^V",
    place="Theorem 3",
    statement="three roles by three matrices W_Q, W_K, W_V",
    source="Jurafsky & Martin, Speech and Language Processing, ch. 10",
    argument="A token asks with its query, is found by its key, and gives its value. The query of token i stands in "
    "row i of the scores and nowhere else. The key of token j stands in column j: changed, it takes from all the "
    "other keys in proportion, so that the odds between those stay. The value of token j is in no score at all, and "
    "enters each output with the weight α_ij.",
    method=f"{ROLE_N} tokens at a time, float64. One matrix after the other is drawn anew, then the query, the key or "
    "the value of a single token, and everything before and after is compared.",
    experiment=three_roles,
    rule=true_as_it_stands,
    expected_verdict="holds",
    proof=None,
    remains="Within one layer W_V never changes who attends to whom; W_Q and W_K never change the values.",
)
