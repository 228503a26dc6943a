"""The crucial point: what large scores do to their exponentials, and to gradients."""

import math

import numpy as np

from attnlab.experiments.claims.claim import Claim, Evidence, Setting, Trial, highest, lowest, true_as_it_stands
from attnlab.experiments.claims.laws import Laws
from attnlab.maths.jacobian import jacobian_trace
from attnlab.maths.precision import Array
from attnlab.show.numbers import number

#: Where a largest score is looked for: in steps of STEP around what is expected.
STEP, AROUND = 2.0**-7, 0.5
FORMATS: tuple[tuple[str, type[np.floating]], ...] = (("float16", np.float16), ("float32", np.float32))
#: Keys whose exponentials are added up.
KEYS = 256
#: Scores at which the digits of e^s are looked at, and how many.
SMALL, LARGE, DRAWN = 1.0, 80.0, 2000
#: Rows whose scores are LARGE apart, and what is left of their gradient.
ROWS, SPREAD = 500, 200.0
LEFT = 1e-3
#: What rounding may do to the sum of a row.
SUMS = 2e-6


@np.errstate(over="ignore")
def largest_score(laws: Laws, kind: type[np.floating], keys: int) -> float:
    """The largest s, in steps, for which e^s of so many equal scores has a sum that the format can hold."""
    expected = math.log(float(np.finfo(kind).max) / keys)
    first = math.floor((expected - AROUND) / STEP) * STEP
    s = (first + STEP * np.arange(round(2 * AROUND / STEP))).astype(kind)
    sums = np.add.reduce(np.repeat(laws.exp(s)[:, None], keys, axis=1), axis=1, dtype=None)
    return float(s[np.isfinite(sums)].max(initial=-np.inf))


def digits_lost(laws: Laws, rng: np.random.Generator, size: float) -> float:
    """How far e^s in float32 is off e^s, as a share, for scores of about that size: the median."""
    s = size * rng.uniform(0.9, 1.1, DRAWN)
    return float(np.median(np.abs(laws.exp(s.astype(np.float32)).astype(np.float64) / np.exp(s) - 1)))


def shifted_away(laws: Laws, s: Array) -> tuple[float, float]:
    """How far rows of attention's own softmax are from a sum of 1; and their median tr J."""
    p = laws.softmax(s)
    return float(np.abs(p.sum(axis=-1, dtype=np.float64) - 1).max()), float(np.median(jacobian_trace(p)))


def too_large(setting: Setting) -> Evidence:
    """The crucial point."""
    laws, lost, least, sums, left, calm = setting.laws, 0.0, math.inf, 0.0, 0.0, math.inf
    for rng in setting.rounds(22):
        small, large = (digits_lost(laws, rng, size) for size in (SMALL, LARGE))
        lost, least = highest(lost, small), lowest(least, large / small)
        s = rng.standard_normal((ROWS, KEYS), dtype=np.float32)
        off, faint = shifted_away(laws, np.float32(SPREAD) * s)
        sums, left, calm = highest(sums, off), highest(left, faint), lowest(calm, shifted_away(laws, s)[1])
    tops = {(name, keys): largest_score(laws, kind, keys) for name, kind in FORMATS for keys in (1, KEYS)}
    half, single = tops["float16", 1], tops["float32", 1]
    return Evidence(
        measured=half,
        expected=math.log(float(np.finfo(np.float16).max)),
        in_short=f"e^s is infinite from {half:.2f} on in float16, from {single:.2f} in float32",
        samples=ROWS * setting.samples,
        unit="rows",
        finding=f"e^s is finite up to s = {half:.2f} in float16 and {single:.2f} in float32, and the sum of {KEYS} of "
        f"them up to ln {KEYS} = {math.log(KEYS):.2f} less. Near s = {LARGE:g} float32 is off {number(least)} times as "
        f"far as near {SMALL:g}. With the largest score subtracted nothing overflows, and the median tr J is still "
        f"{number(left)}, beside {number(calm)} for small scores.",
        trials=(
            *(top_trial(name, kind, keys, tops[name, keys]) for name, kind in FORMATS for keys in (1, KEYS)),
            Trial(what=f"float32: e^s at {LARGE:g} is off so many times as far as at {SMALL:g}", value=least, low=5.0),
            Trial(what=f"scores spread by {SPREAD:g}, largest subtracted: rows off a sum of 1", value=sums, high=SUMS),
            Trial(what="the same rows: tr J, the median (gradients are lost all the same)", value=left, high=LEFT),
            Trial(what="scores spread by 1: tr J, the median", value=calm, low=0.5),
        ),
    )


def top_trial(name: str, kind: type[np.floating], keys: int, found: float) -> Trial:
    """The largest score that does not overflow, beside ln(largest number ÷ keys)."""
    expected = math.log(float(np.finfo(kind).max) / keys)
    what = f"{name}: the largest s with a finite " + ("e^s" if keys == 1 else f"sum of {keys} e^s")
    room = 2 * STEP if keys == 1 else 4 * STEP
    return Trial(what=f"{what}, {expected:.2f} in theory", value=found, low=expected - room, high=expected + room)


OVERFLOW = Claim(
    id="overflow",
    quote="A exponenciação de valores muito grandes no softmax pode causar problemas numéricos e perda efetiva de "
    "gradientes durante o treinamento",
    translation="Exponentiating very large values in the softmax can cause numerical problems and an effective loss of "
    "gradients during training",
    place="“Ponto Crucial”, after Lemma 6; footnote 15 says the same",
    statement="e^s of large scores loses digits and gradients",
    source="Milakov & Gimelshein 2018 for subtracting the largest score",
    argument="The largest number of float16 is 65,504 = e^11.09, that of float32 e^88.72: beyond it e^s is infinite, "
    "and a sum of N of them from ln N lower on. Before that e^s loses digits, since a rounding of s by s·eps is one of "
    "e^s by as much. A softmax therefore subtracts the row's largest score first, which changes nothing but the "
    "numerics: no exponent is above 0. It does not bring back the gradient: where one score stands far above the "
    "others, p is 1 and 0, and p_i(δ_ij − p_j) is nothing, however it is computed.",
    method=f"e^s in steps of {STEP:g} around the largest that float16 and float32 can hold, alone and {KEYS} added up; "
    f"{DRAWN:,} scores near {SMALL:g} and near {LARGE:g} against float64; {ROWS} rows of {KEYS} scores spread by "
    f"{SPREAD:g} through attention's own softmax.",
    experiment=too_large,
    rule=true_as_it_stands,
    expected_verdict="holds",
    proof=None,
    remains="All of it. Subtracting the largest score mends the overflow and not the saturation; against that there "
    "is the scale 1/√d_k, on the premise of Theorem 6.",
)
