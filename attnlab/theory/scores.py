"""What a head's scores should be, from its weights and from what is known of its inputs.

s_ij = c (x_i W_Q + b_Q)·(x_j W_K + b_K) for tokens x with mean 0 and covariance I. With M = c W_Q W_Kᵀ,
a = c W_Q b_K and g = c W_K b_Q this is s_ij = x_iᵀ M x_j + aᵀ x_i + gᵀ x_j + c b_Q·b_K. Everything below is written
in the Gram matrices A = W_QᵀW_Q, B = W_KᵀW_K and G = W_KᵀW_Q, (d_k, d_k) each: M, (d, d), is never formed.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class ScorePrediction(NamedTuple):
    """What the scores of one head over n tokens should be."""

    mean: float
    #: of all n² scores about their own mean
    variance: float
    #: of that variance, from one set of n tokens to another; None where only "as if isotropic" is claimed
    standard_error: float | None


def through_norm(w: Array, b: Array | None, gain: Array, bias: Array | None, *, centred: bool) -> tuple[Array, Array]:
    """Weights (d, d_k) and bias (d_k,) that give on x ~ N(0, I) the moments that `w`, `b` give on its norm.

    A LayerNorm of normal numbers is uniform on the sphere of radius √d in the hyperplane Σ = 0, so its covariance is
    d/(d − 1)·(I − 11ᵀ/d); an RMSNorm's is I. (eps is left out; fourth moments are those of the normal to O(1/d).)
    """
    d = w.shape[0]
    wide = gain.astype(np.float64)[:, None] * w.astype(np.float64)
    offset = np.zeros(w.shape[1]) if b is None else b.astype(np.float64)
    if bias is not None:
        offset = offset + bias.astype(np.float64) @ w.astype(np.float64)
    if centred:
        wide = (wide - wide.mean(axis=0)) * math.sqrt(d / (d - 1)) if d > 1 else wide * 0
    return wide, offset


def score_prediction(
    w_q: Array, w_k: Array, b_q: Array | None, b_k: Array | None, *, scale: float, n: int
) -> ScorePrediction:
    """Mean, variance and its standard error of the n² scores of n independent tokens x ~ N(0, I_d).

    The expected variance counts the diagonal, where x meets itself, and that the mean is the sample's own. The
    standard error is that of the second moment off the diagonal, whose entries share tokens: treating them as
    independent would promise too much.

    Args:
        w_q, w_k: (d, d_k). b_q, b_k: (d_k,) or None.
        scale: multiplies q·k.
        n: tokens, 1 or more.

    Source: derived here. With S = Σ over pairs of (s_ij² + s_ji²), Var S splits into what one token explains (h) and
    what pairs add (p); each is a moment of at most fourth order of a normal vector (Isserlis 1918).
    """
    t = _Traces.of(w_q, w_k, b_q, b_k, scale)
    variance = t.f * (1 - 1 / n**2) + (1 - 1 / n) * ((t.aa + t.gg) + (t.m2 + t.m**2) / n)
    error = None
    if n > 1:
        of_pairs, of_tokens = _pair_variance(t), _token_variance(t)
        squared = (of_pairs + 2 * (n - 2) * of_tokens) / (2 * n * (n - 1))
        error = math.sqrt(max(squared, 0.0))
    return ScorePrediction(t.c0 + t.m / n, variance, error)


class _Traces(NamedTuple):
    """The traces and products that the moments are made of, with c inside them."""

    c0: float  # c b_Q·b_K
    f: float  # ‖M‖²
    m: float  # tr M
    m2: float  # tr M²
    t: float  # tr (MᵀM)²
    u: float  # tr MᵀM MMᵀ
    cc: float  # tr C², C the symmetric part of M²
    aa: float
    gg: float
    ag: float
    mg_mg: float  # ‖M g‖²
    ma_ma: float  # ‖Mᵀa‖²
    mg_ma: float  # (M g)·(Mᵀa)
    a_side: float  # ‖M a‖²
    g_side: float  # ‖Mᵀg‖²
    a_g_side: float  # (M a)·(Mᵀg)
    acg: float  # aᵀ C g

    @classmethod
    def of(cls, w_q: Array, w_k: Array, b_q: Array | None, b_k: Array | None, c: float) -> "_Traces":
        q, k = w_q.astype(np.float64), w_k.astype(np.float64)
        nothing = np.zeros(q.shape[1])
        p = nothing if b_q is None else b_q.astype(np.float64)
        r = nothing if b_k is None else b_k.astype(np.float64)
        a, b, g = q.T @ q, k.T @ k, k.T @ q
        ar, bp, gr, gtp = a @ r, b @ p, g @ r, g.T @ p
        u = c**4 * float(np.sum((a @ g @ b) * g))
        return cls(
            c0=c * float(p @ r),
            f=c**2 * float(np.sum(a * b)),
            m=c * float(np.trace(g)),
            m2=c**2 * float(np.sum(g * g.T)),
            t=c**4 * float(np.sum((a @ b) * (a @ b).T)),
            u=u,
            cc=(c**4 * float(np.sum((g @ g) * (g @ g).T)) + u) / 2,
            aa=c**2 * float(r @ ar),
            gg=c**2 * float(p @ bp),
            ag=c**2 * float(r @ gtp),
            mg_mg=c**4 * float(bp @ a @ bp),
            ma_ma=c**4 * float(ar @ b @ ar),
            mg_ma=c**4 * float(bp @ g.T @ ar),
            a_side=c**4 * float(gr @ a @ gr),
            g_side=c**4 * float(gtp @ b @ gtp),
            a_g_side=c**4 * float(gr @ g.T @ gtp),
            acg=c**4 * float(ar @ g @ bp + p @ g @ g @ gr) / 2,
        )


def _token_variance(t: _Traces) -> float:
    """Var of E[s_12² + s_21² | x_1], a quadratic form and a linear one: 2 tr B² + 4 ‖M g + Mᵀa‖²."""
    square = 2 * t.t + 2 * t.u + t.aa**2 + t.gg**2 + 2 * t.ag**2 + 2 * (t.ma_ma + t.a_side + t.mg_mg + t.g_side)
    return 2 * square + 4 * (t.mg_mg + t.ma_ma + 2 * t.mg_ma)


def _pair_variance(t: _Traces) -> float:
    """Var(s_12² + s_21²): given x_1 both are normal in x_2, and the rest is the variance that x_1 explains."""
    alpha4 = (t.f + t.gg) ** 2 + 2 * t.t + 4 * t.mg_mg
    beta4 = (t.f + t.aa) ** 2 + 2 * t.t + 4 * t.ma_ma
    covariance2 = (t.m2 + t.ag) ** 2 + 2 * t.cc + t.a_side + t.g_side + 2 * t.a_g_side
    crossed = t.aa * t.f + 2 * t.ma_ma + t.gg * t.f + 2 * t.mg_mg + 2 * t.aa * t.gg
    mixed = t.ag * t.m2 + 2 * t.acg + t.ag**2
    given = 2 * alpha4 + 2 * beta4 + 4 * crossed + 4 * covariance2 + 8 * mixed
    return given + _token_variance(t)


def score_variance_identity(q: Array, k: Array, *, scale: float) -> float:
    """c²[tr(Σ_q Σ_k) + μ_qᵀΣ_k μ_q + μ_kᵀΣ_q μ_k]: the variance of all n·m scores, from the moments of these very q, k.

    Not a prediction: an identity, equal to the measured variance up to rounding, with any biases and inputs.

    Args:
        q: (n, d). k: (m, d).
    """
    q, k = q.astype(np.float64), k.astype(np.float64)
    mean_q, mean_k = q.mean(axis=0), k.mean(axis=0)
    q, k = q - mean_q, k - mean_k
    cov_q, cov_k = q.T @ q / len(q), k.T @ k / len(k)
    total = np.sum(cov_q * cov_k) + mean_q @ cov_k @ mean_q + mean_k @ cov_q @ mean_k
    return scale**2 * float(total)
