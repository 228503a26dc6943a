"""What a head's scores should be, from its weights and from what is known of its inputs.

s_ij = c (x_i W_Q + b_Q)·(x_j W_K + b_K) for tokens x with mean 0 and covariance I. With M = c W_Q W_Kᵀ,
a = c W_Q b_K and g = c W_K b_Q this is s_ij = x_iᵀ M x_j + aᵀ x_i + gᵀ x_j + c b_Q·b_K. Only the part of x that W_Q and
W_K read matters: in coordinates of their common span M is (2 d_k, 2 d_k) at most, and never (d, d) for a wide model.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: Scores that are held at a time where a variance is made of them.
AT_ONCE = 1 << 16


class ScorePrediction(NamedTuple):
    """What the scores of one head over n tokens should be."""

    mean: float
    #: of all n² scores about their own mean
    variance: float
    #: of that variance, from one set of n tokens to another; None where only "as if isotropic" is claimed
    standard_error: float | None


def through_norm(
    w: Array, b: Array | None, gain: Array, bias: Array | None, *, centred: bool, eps: float
) -> tuple[Array, Array]:
    """Weights (d, d_k) and bias (d_k,) that give on x ~ N(0, I) the moments that `w`, `b` give on its norm.

    A LayerNorm of normal numbers is uniform on the sphere of radius √d in the hyperplane Σ = 0, so its covariance is
    d/(d − 1)·(I − 11ᵀ/d); an RMSNorm's is I. An eps divides both by 1 + eps, to O(1/d), the variance of x being 1.
    Fourth moments are those of the sphere: see `score_prediction`.
    """
    d = w.shape[0]
    wide = gain.astype(np.float64)[:, None] * w.astype(np.float64) / math.sqrt(1 + eps)
    offset = np.zeros(w.shape[1]) if b is None else b.astype(np.float64)
    if bias is not None:
        offset = offset + bias.astype(np.float64) @ w.astype(np.float64)
    if centred:
        wide = (wide - wide.mean(axis=0)) * math.sqrt(d / (d - 1)) if d > 1 else wide * 0
    return wide, offset


def score_prediction(
    w_q: Array, w_k: Array, b_q: Array | None, b_k: Array | None, *, scale: float, n: int, sphere: int | None = None
) -> ScorePrediction:
    """Mean, variance and its standard error of the n² scores of n independent tokens x ~ N(0, I_d).

    Both count the diagonal, where x meets itself: with a large tr M (an identity head) it is most of the variance and
    of its error. Entries share tokens: treating them as independent would promise too much.

    Args:
        w_q, w_k: (d, d_k). b_q, b_k: (d_k,) or None.
        scale: multiplies q·k.
        n: tokens, 1 or more.
        sphere: D, when the tokens are uniform on the sphere of radius √D in D of the d dimensions, as after a norm.
            Their length is fixed, so the trace of M adds nothing to how xᵀMx varies. None = normal tokens.

    Source: derived here, from the moments of a normal vector (Isserlis 1918); on the sphere the variance is exact, and
    its error that of the normal with traceless quadratic forms, to O(1/D).
    """
    q, k = in_their_span(w_q, w_k)
    nothing = np.zeros(q.shape[1])
    b_q, b_k = (nothing if b is None else b.astype(np.float64) for b in (b_q, b_k))
    form = _Form(m=scale * q @ k.T, a=scale * q @ b_k, g=scale * k @ b_q)
    trace = float(np.trace(form.m))
    error = math.sqrt(max(_error_variance(form, n, sphere), 0.0)) if n > 1 else None
    return ScorePrediction(scale * float(b_q @ b_k) + trace / n, _variance(form, n, sphere), error)


def in_their_span(w_q: Array, w_k: Array) -> tuple[Array, Array]:
    """Matrices (r, d_k), r ≤ 2 d_k, that make of z ~ N(0, I_r) what w_q and w_k make of x ~ N(0, I_d)."""
    both = np.linalg.qr(np.hstack([w_q, w_k]).astype(np.float64)).R
    return both[:, : w_q.shape[1]], both[:, w_q.shape[1] :]


class _Form(NamedTuple):
    """s(x, y) = xᵀ M y + aᵀx + gᵀy, c inside M, a and g."""

    m: Array
    a: Array
    g: Array


def _inner(one: Array, other: Array) -> float:
    """Σ one_ij other_ij."""
    return float(np.sum(one * other))


class _Symmetric(NamedTuple):
    """A symmetric matrix: a block on the common span, and so many further dimensions with one number on each."""

    block: Array
    number: float = 0.0
    further: int = 0

    def times(self, other: "_Symmetric") -> "_Symmetric":
        return _Symmetric(self.block @ other.block, self.number * other.number, self.further)

    def trace(self) -> float:
        return float(np.trace(self.block)) + self.further * self.number


def _varying(block: Array, sphere: int | None) -> _Symmetric:
    """What of a quadratic form varies from token to token: all of it, or on the sphere its traceless part.

    The span may have a dimension more than the sphere, across its hyperplane: `further` is then −1 and takes it off.
    """
    if sphere is None:
        return _Symmetric(block)
    average = float(np.trace(block)) / sphere
    return _Symmetric(block - average * np.eye(len(block)), -average, sphere - len(block))


def _variance(form: _Form, n: int, sphere: int | None) -> float:
    """E of the variance of all n² scores: E of their mean square less E of their squared mean."""
    m, a, g = form
    f, m2, t2 = _inner(m, m), _inner(m, m.T), float(np.trace(m)) ** 2
    itself = (f + m2 + t2) * (1 if sphere is None else sphere / (sphere + 2))  # E (xᵀMx)²
    diagonal = itself + float((a + g) @ (a + g))
    square = (diagonal + (n - 1) * (f + float(a @ a + g @ g))) / n
    squared_mean = (itself + (n - 1) * (t2 + f + m2)) / n**3 + float((a + g) @ (a + g)) / n
    return square - squared_mean


def _error_variance(form: _Form, n: int, sphere: int | None) -> float:
    """Var of (1/n²) Σ_ij (s_ij − μ)², μ = tr M/n, by Hoeffding: what each token explains, and what pairs add.

    That the mean is the sample's own and not μ is left out: it makes the error at most 11 % too large at n = 5.
    """
    mu = float(np.trace(form.m)) / n
    return (n * (n - 1) / 2 * _of_pairs(form, mu) + n * _of_tokens(form, mu, n, sphere)) / n**4


def _of_pairs(form: _Form, mu: float) -> float:
    """Var of what (s_12 − μ)² + (s_21 − μ)² holds beyond functions of x_1 and of x_2, by its degrees in them."""
    m, a, g = form
    squared, f, m2, ag = m @ m, _inner(m, m), _inner(m, m.T), float(a @ g)
    c, c2 = (m + m.T) / 2, (squared + squared.T) / 2
    left, right = m @ m.T, m.T @ m
    aa, gg = float(a @ a), float(g @ g)
    two_two = 4 * f**2 + 4 * m2**2 + 4 * _inner(right, right) + 8 * _inner(c2, c2) - 4 * _inner(left, right)
    two_one = f * (aa + gg) + 2 * m2 * ag + a @ left @ a + g @ right @ g + 2 * (m @ a) @ (m.T @ g)
    one_one = 8 * (aa * gg + ag**2) - 32 * mu * (a @ c @ g) + 16 * mu**2 * _inner(c, c)
    return float(two_two + 8 * two_one + one_one)


def _of_tokens(form: _Form, mu: float, n: int, sphere: int | None) -> float:
    """Var over x of (n − 1) E[(s_12 − μ)² + (s_21 − μ)² | x_1 = x] + (s(x, x) − μ)².

    The first is, up to a constant, xᵀBx + lᵀx; s(x, x) is its mean plus e = xᵀCx − tr C + bᵀx. The rest is cumulants.
    """
    m, a, g = form
    b, c = a + g, _varying((m + m.T) / 2, sphere)
    quadratic = _varying(m @ m.T + m.T @ m + np.outer(a, a) + np.outer(g, g), sphere)
    linear = 2 * (m @ g + m.T @ a) - 2 * mu * b
    c_b, c_c = c.block @ b, c.times(c)
    of_others = 2 * quadratic.times(quadratic).trace() + linear @ linear
    with_e = 2 * quadratic.times(c).trace() + linear @ b
    with_e2 = 8 * quadratic.times(c_c).trace() + 2 * (b @ quadratic.block @ b) + 4 * (linear @ c_b)
    k2, k3 = 2 * c_c.trace() + b @ b, 8 * c_c.times(c).trace() + 6 * (b @ c_b)
    k4 = 48 * (c_c.times(c_c).trace() + c_b @ c_b)
    above = float(np.trace(m)) - mu
    of_itself = k4 + 2 * k2**2 + 4 * above * k3 + 4 * above**2 * k2
    return float((n - 1) ** 2 * of_others + 2 * (n - 1) * (with_e2 + 2 * above * with_e) + of_itself)


def score_variance_identity(q: Array, k: Array, *, scale: float) -> float:
    """c²[tr(Σ_q Σ_k) + μ_qᵀΣ_k μ_q + μ_kᵀΣ_q μ_k]: the variance of all n·m scores, from the moments of these very q, k.

    Not a prediction: an identity, equal to the measured variance up to rounding, with any biases and inputs. Vectors
    wider than there are of them have no (d, d) covariance made: with Q, K centred tr(Σ_q Σ_k) is ‖Q Kᵀ‖²/(nm).

    Args:
        q: (n, d). k: (m, d).
    """
    q, mean_q = _centred(q)
    k, mean_k = _centred(k)
    if q.shape[1] > min(len(q), len(k)):
        along = _mean_square(k @ mean_q) + _mean_square(q @ mean_k)
        return scale**2 * (_trace_of_covariances(q, k) + along)
    cov_q, cov_k = q.T @ q / len(q), k.T @ k / len(k)
    total = np.sum(cov_q * cov_k) + mean_q @ cov_k @ mean_q + mean_k @ cov_q @ mean_k
    return scale**2 * float(total)


def _centred(x: Array) -> tuple[Array, Array]:
    """Vectors (n, d) less their mean, and it; float64."""
    wide = x.astype(np.float64)
    mean = wide.mean(axis=0)
    wide -= mean
    return wide, mean


def _mean_square(numbers: Array) -> float:
    return float(np.square(numbers).mean())


def _trace_of_covariances(q: Array, k: Array) -> float:
    """tr(Σ_q Σ_k) of centred q (n, d) and k (m, d) as ‖q kᵀ‖²/(nm), some rows at a time."""
    height = max(1, AT_ONCE // len(k))
    rows = (q[start : start + height] @ k.T for start in range(0, len(q), height))
    return sum(float(np.square(some).sum()) for some in rows) / (len(q) * len(k))
