"""Theorem 8: the derivative of the softmax."""

import math

import numpy as np

from attnlab.experiments.claims.claim import Claim, Evidence, Setting, Trial, highest, true_as_it_stands
from attnlab.experiments.claims.laws import Laws
from attnlab.maths.precision import Array
from attnlab.show.numbers import number

#: Rows compared with differences, and how many keys each has; their scores spread by 10^u, u uniform on ±1.
ROWS, KEYS = 1000, 7
#: Rows whose Jacobian's size is taken, and the least and most keys of one.
SIZED, FEWEST, MOST = 100_000, 2, 9
#: Steps of the central and of the complex difference; the second loses no digits, however small.
STEP, COMPLEX_STEP = 1e-5, 1e-100
CENTRAL, ROUNDING = 1e-8, 1e-12
#: What no entry, and no ‖J‖₂, is above.
ENTRY, NORM = 0.25, 0.5


def central_differences(laws: Laws, s: Array) -> Array:
    """∂p_i/∂s_j from attention's own softmax, (rows, m) → (rows, m, m)."""
    steps = STEP * np.eye(s.shape[-1])
    up, down = laws.softmax(s[:, None] + steps), laws.softmax(s[:, None] - steps)
    return np.asarray((up - down) / (2 * STEP)).swapaxes(-1, -2)


def complex_steps(s: Array) -> Array:
    """The same from Im e^(z_i)/Σ e^(z_k) at z = s + i·h: exact to rounding.

    Source: Squire & Trapp 1998.
    """
    e = np.exp(s[:, None] - s.max(axis=-1)[:, None, None] + 1j * COMPLEX_STEP * np.eye(s.shape[-1]))
    return np.asarray((e / e.sum(axis=-1, keepdims=True)).imag / COMPLEX_STEP).swapaxes(-1, -2)


def scores(rng: np.random.Generator, rows: int, keys: int) -> Array:
    """Rows of scores, from nearly equal ones to some that saturate the softmax."""
    return np.asarray(rng.standard_normal((rows, keys)) * 10 ** rng.uniform(-1, 1, (rows, 1)))


def spectral_norm(j: Array) -> float:
    """The largest ‖J‖₂ of symmetric matrices (…, m, m); NaN where LAPACK has no answer: a number is not finite."""
    return float(np.abs(np.linalg.eigvalsh(j)).max()) if np.isfinite(j).all() else math.nan


def jacobians(setting: Setting) -> Evidence:
    """Theorem 8."""
    laws, central, exact, sums, entry, norm = setting.laws, 0.0, 0.0, 0.0, 0.0, 0.0
    for rng in setting.rounds(10):
        s = scores(rng, ROWS, KEYS)
        formula = laws.jacobian(laws.softmax(s))
        central = highest(central, float(np.abs(central_differences(laws, s) - formula).max()))
        exact = highest(exact, float(np.abs(complex_steps(s) - formula).max()))
        for keys in range(FEWEST, MOST + 1):
            j = laws.jacobian(laws.softmax(scores(rng, SIZED // (MOST - FEWEST + 1), keys)))
            sums = highest(sums, float(np.abs(j.sum(axis=-1)).max()))
            entry = highest(entry, float(np.abs(j).max()))
            norm = highest(norm, spectral_norm(j))
    even = laws.jacobian(np.array([[0.5, 0.5]]))[0]
    rows = SIZED * setting.samples
    return Evidence(
        measured=central,
        bound=CENTRAL,
        in_short=f"off finite differences by {number(central)}",
        samples=rows,
        unit="rows",
        finding=f"Over {rows:,} rows ‖J‖₂ is {norm:.4f} at most, and p_i(δ_ij − p_j) differs from central differences "
        f"by {number(central)} and from complex ones by {number(exact)}.",
        trials=(
            Trial(what="J less central differences, the largest", value=central, high=CENTRAL),
            Trial(what="J less complex-step differences, the largest", value=exact, high=ROUNDING),
            Trial(what="rows of J sum to 0 within", value=sums, high=ROUNDING),
            Trial(what="largest entry of J", value=entry, high=ENTRY * (1 + ROUNDING)),
            Trial(what="largest ‖J‖₂", value=norm, high=NORM * (1 + ROUNDING)),
            Trial(
                what="‖J‖₂ at p = (½, ½)",
                value=spectral_norm(even),
                low=NORM * (1 - ROUNDING),
                high=NORM * (1 + ROUNDING),
            ),
        ),
    )


THEOREM_8 = Claim(
    id="theorem-8",
    quote="O gradiente da função softmax em relação aos scores é dado por: ∂softmax(z)_i/∂z_j = softmax(z)_i (δ_ij − "
    "softmax(z)_j)",
    translation="The gradient of the softmax function with respect to the scores is given by: ∂softmax(z)_i/∂z_j = "
    "softmax(z)_i (δ_ij − softmax(z)_j)",
    place="Theorem 8",
    statement="∂softmax_i/∂z_j = p_i (δ_ij − p_j)",
    source="Bishop & Bishop 2024, section 6.4",
    argument="Write p_i = e^(z_i)/S and differentiate the quotient: e^(z_i) brings p_i where i = j, and S brings "
    "−p_i p_j everywhere. So J = diag(p) − ppᵀ: the covariance of drawing a key by p. An entry p_i(1 − p_i) is ¼ at "
    "most. Along a direction u, uᵀJu is the variance of u under p, which for a unit vector is at most ½: half of the "
    "weight on each of two keys.",
    method=f"{ROWS:,} rows of {KEYS} scores in float64, from nearly equal to saturated: the formula against central "
    f"differences of attention's own softmax, and against complex ones. Then ‖J‖₂ of {SIZED:,} rows of {FEWEST} to "
    f"{MOST} keys.",
    experiment=jacobians,
    rule=true_as_it_stands,
    expected_verdict="holds",
    proof=None,
    remains="At every scale no entry is above ¼ and ‖J‖₂ is not above ½, and p = (½, ½) reaches both: the softmax "
    "never enlarges a gradient.",
)
