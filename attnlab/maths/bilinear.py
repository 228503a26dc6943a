"""What a head's weights alone say: the form that scores are of two tokens, and the map that values go through.

M = c W_Q W_Kᵀ and W_V W_O are (d, d), of rank d_k and d_v at most, and are never formed. What they do lies in the span
of their factors: in its coordinates, which a QR decomposition gives, M is (2 d_k, 2 d_k) at most. All in float64.
"""

import math
from typing import NamedTuple

import numpy as np

from attnlab.maths.precision import Array


class ScoreForm(NamedTuple):
    """s(x, y) = xᵀ M y + aᵀx + gᵀy + b, the score of a query token x and a key token y; c is inside all four.

    The term a says how much a query likes keys in general: it is the same along a row, and the softmax does not see it.
    """

    #: ‖M‖_F
    frobenius: float
    #: tr M
    trace: float
    #: ‖(M + Mᵀ)/2‖_F and ‖(M − Mᵀ)/2‖_F
    symmetric: float
    skew: float
    #: of M, falling: (min(d, d_k),)
    singular_values: Array
    #: ‖a‖, a = c W_Q b_K
    query_bias: float
    #: ‖g‖, g = c W_K b_Q
    key_bias: float
    #: b = c b_Q·b_K
    constant: float

    @property
    def row_variance(self) -> float:
        """‖M‖_F² + ‖g‖²: Var over x and y of what varies along a row, for independent tokens of covariance I."""
        return self.frobenius**2 + self.key_bias**2

    @property
    def variance(self) -> float:
        """‖M‖_F² + ‖a‖² + ‖g‖²: Var s(x, y) for independent tokens x, y of mean 0 and covariance I."""
        return self.row_variance + self.query_bias**2


def score_form(w_q: Array, w_k: Array, b_q: Array | None, b_k: Array | None, *, scale: float) -> ScoreForm:
    """The form of one head.

    Args:
        w_q, w_k: (d, d_k). b_q, b_k: (d_k,) or None. All finite.
        scale: c, multiplies q·k.
    """
    w_q, w_k = w_q.astype(np.float64), w_k.astype(np.float64)
    nothing = np.zeros(w_q.shape[1])
    b_q, b_k = (nothing if b is None else b.astype(np.float64) for b in (b_q, b_k))
    both = _triangle(np.hstack([w_q, w_k]))
    q, k = both[:, : w_q.shape[1]], both[:, w_q.shape[1] :]
    m = scale * q @ k.T
    rank = min(w_q.shape)
    return ScoreForm(
        frobenius=float(np.linalg.norm(m)),
        trace=float(np.trace(m)),
        symmetric=float(np.linalg.norm(m + m.T)) / 2,
        skew=float(np.linalg.norm(m - m.T)) / 2,
        singular_values=np.linalg.svdvals(m[:rank]),  # R is triangular: q, and so m, is 0 below
        query_bias=abs(scale) * float(np.linalg.norm(q @ b_k)),
        key_bias=abs(scale) * float(np.linalg.norm(k @ b_q)),
        constant=scale * float(b_q @ b_k),
    )


class ValueMap(NamedTuple):
    """W_V W_O: what a token attended to adds to the one that attends, per unit of weight."""

    #: (min(d, d_v),), falling; the first is the map's norm: no token grows by more
    singular_values: Array
    #: (min(d, d_v),) complex: of W_V W_O, or of W_O W_V, whichever is smaller; the 0s are left out that the larger has
    #: for its width
    eigenvalues: Array

    @property
    def frobenius(self) -> float:
        """‖W_V W_O‖_F."""
        return float(np.linalg.norm(self.singular_values))


def value_map(w_v: Array, w_o: Array) -> ValueMap:
    """The map of one head.

    Args:
        w_v: (d, d_v). w_o: (d_v, d). Both finite.
    """
    w_v, w_o = w_v.astype(np.float64), w_o.astype(np.float64)
    core = _triangle(w_v) @ _triangle(w_o.T).T
    square = w_o @ w_v if w_v.shape[1] <= len(w_v) else w_v @ w_o
    return ValueMap(np.linalg.svdvals(core), np.linalg.eigvals(square).astype(np.complex128))


def _triangle(w: Array) -> Array:
    """R of w = QR: w in coordinates of its own span."""
    return np.asarray(np.linalg.qr(w, mode="r"))


def copying(eigenvalues: Array) -> float:
    """Re Σλ / Σ abs(λ): 1 where all are positive (what is read is written back), −1 where all are negative.

    NaN where all are 0.

    Source: Elhage et al. 2021, "Detecting copying behavior", there with the embedding on either side.
    """
    size = float(np.abs(eigenvalues).sum())
    return float(eigenvalues.sum().real) / size if size > 0 else math.nan


def effective_rank(singular_values: Array) -> float:
    """(Σσ²)² / Σσ⁴: so many equal singular values would be as even; from 1 to their number, NaN where all are 0."""
    largest = float(singular_values.max(initial=0.0))
    if not largest > 0:
        return math.nan
    squares = np.square(singular_values / largest)
    return float(squares.sum()) ** 2 / float(np.square(squares).sum())
