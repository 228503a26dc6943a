"""The introduction's contexts of any length: that attention takes them, and how sharply it can look through them."""

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
    spread_over,
    standard_errors_away,
    true_as_it_stands,
)
from attnlab.experiments.claims.laws import Laws
from attnlab.maths.precision import Array
from attnlab.show.numbers import number, with_error
from attnlab.theory.lookup import horizon, match_weights

#: Texts through which one key is looked for; width of keys and values.
LENGTHS, D = (16, 1024, 65_536), 64
#: What the matching key is multiplied by, so that it is found at any of these lengths.
SHARP = 3.0
FOUND, ROUNDING = 0.99, 1e-5
#: Sets of keys, and queries to each, for the weight of a match that is no sharper than others.
SETS, QUERIES = 24, 32


def far_and_near(laws: Laws, rng: np.random.Generator, n: int) -> tuple[float, float]:
    """The weight of a sharp match as the farthest token; and how far the output moves when it is the nearest."""
    q = rng.standard_normal((1, D), dtype=np.float32)
    k, v = rng.standard_normal((2, n, D), dtype=np.float32)
    k[0] = np.float32(SHARP) * q[0]
    far, near = laws.attention(q, k, v), laws.attention(q, np.roll(k, -1, axis=0), np.roll(v, -1, axis=0))
    return float(far.weights[0, 0]), float(np.abs(far.output - near.output).max() / np.abs(far.output).max())


def plain_matches(laws: Laws, rng: np.random.Generator, n: int) -> Array:
    """The mean weight of a key equal to the query among n others, one for each set of keys."""
    found = []
    for _ in range(SETS):
        q, k = rng.standard_normal((QUERIES, D), dtype=np.float32), rng.standard_normal((n, D), dtype=np.float32)
        own = np.diagonal(laws.scores(q, q))[:, None]
        found.append(float(laws.softmax(np.concatenate([laws.scores(q, k), own], axis=1))[:, -1].mean()))
    return np.array(found)


def contexts(setting: Setting) -> Evidence:
    """The introduction."""
    laws, weight, moved, matches = setting.laws, math.inf, 0.0, list[Array]()
    n = round(horizon(D))
    for rng in setting.rounds(19):
        found = [far_and_near(laws, rng, length) for length in LENGTHS]
        weight, moved = lowest(weight, *(one for one, _ in found)), highest(moved, *(other for _, other in found))
        matches.append(plain_matches(laws, rng, n))
    mean, error = spread_over(np.concatenate(matches))
    expected, longest = match_weights(D, [n, LENGTHS[-1]])
    return Evidence(
        measured=weight,
        bound=FOUND,
        in_short=f"a match keeps {number(mean)} among {n:,} others at d_k {D}",
        samples=len(LENGTHS) * setting.samples,
        unit="lengths",
        finding=f"A sharp match keeps all but {number(1 - weight)} of the weight in up to {LENGTHS[-1]:,} tokens, and "
        f"whether it is the farthest or the nearest moves the output by {number(moved)} at most. A match no longer "
        f"than the other keys keeps {with_error(mean, error)} among {n:,} at d_k = {D}, and would keep "
        f"{number(longest)} among {LENGTHS[-1]:,}.",
        trials=(
            Trial(what=f"{SHARP:g} × q as a key: its weight in up to {LENGTHS[-1]:,} tokens", value=weight, low=FOUND),
            Trial(what="the same, farthest or nearest: the output moves by", value=moved, high=ROUNDING),
            Trial(
                what=f"a key equal to q among {n:,}: weight, in standard errors from {expected:.3f}",
                value=standard_errors_away(mean, expected, error),
                high=MOST_ERRORS,
            ),
            Trial(what=f"the same among {LENGTHS[-1]:,}, by the exact law", value=longest),
        ),
    )


CONTEXT = Claim(
    id="context",
    quote="uma inovação que permite à rede extrair e utilizar informações de contextos arbitrariamente grandes",
    translation="an innovation that allows the network to extract and use information from arbitrarily large contexts",
    place="Introduction",
    statement="attention takes contexts of any length",
    source="the horizon is derived here, in the manner of Derrida 1981",
    argument="The equations ask nothing of N: the same matrices serve a text of any length, and without positions a "
    "token far away is as near as the next one. What N does ask is contrast. For N other keys of unit variance the "
    "sum of e^score is about N e^½, and a key equal to the query adds e^√d_k: it keeps half of the weight up to N of "
    f"about e^(√d_k − ½), {horizon(D):,.0f} at d_k = {D}. A longer key is found among more.",
    method=f"One token's key is {SHARP:g} times the query, first the farthest and then the nearest of "
    f"{', '.join(f'{n:,}' for n in LENGTHS)}. Then a key equal to the query among {horizon(D):,.0f} others, {SETS} "
    f"sets of them, beside the exact average.",
    experiment=contexts,
    rule=true_as_it_stands,
    expected_verdict="holds",
    proof=None,
    remains="All of it. The context is arbitrarily long; the lookup is not arbitrarily sharp: a match keeps half of "
    "the weight up to a horizon of about e^(√d_k − ½) keys. `attnlab lookup` shows it.",
)
