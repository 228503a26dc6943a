"""The variance of a head's scores on random tokens, under any order, window, rotary positions, norm and biases.

Tokens x are independent and standard normal, or uniform on a sphere behind a norm. `scores.score_prediction` has the
case in which all pairs are scored wherever they stand; here pairs may be hidden, or turned by where they stand. The
error bar is that of draws: with W = [W_Q W_K] only its span matters, so that no draw is d wide.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from attnlab.theory.pairs import WHOLE, Places, Rotation, pair_variances
from attnlab.theory.scores import ScorePrediction

Array = NDArray[Any]

#: Draws behind an error bar: the error of the bar is 1/√(2·draws) of it. Of more tokens fewer, which vary less.
MOST_DRAWS, FEWEST_DRAWS, TOKENS_DRAWN = 200, 32, 20_000
#: Planes of rotation up to which all distances are taken at once: their products are planes × planes.
PLANES = 256
#: Numbers that are held at a time: of draws, or of products of weights for several distances.
AT_ONCE = 1 << 17


class Maps(NamedTuple):
    """What makes a head's queries and keys of tokens: x W_Q + b_Q and x W_K + b_K."""

    #: (d, d_k)
    w_q: Array
    w_k: Array
    #: (d_k,)
    b_q: Array
    b_k: Array


def maps_of(w_q: Array, w_k: Array, b_q: Array | None, b_k: Array | None) -> Maps:
    """The maps in float64, of p = min(d, 2 d_k) coordinates: those of the span of W_Q and W_K, where that is smaller.

    Whatever is the same for all directions of x (normal tokens, random rotations) is told from these as from the whole.
    A bias that is not there is 0.
    """
    d_k = w_q.shape[1]
    nothing = np.zeros(d_k)
    b_q, b_k = (nothing if b is None else b.astype(np.float64) for b in (b_q, b_k))
    if len(w_q) <= 2 * d_k:
        return Maps(w_q.astype(np.float64), w_k.astype(np.float64), b_q, b_k)
    both: Array = np.asarray(np.linalg.qr(np.hstack([w_q, w_k]).astype(np.float64), mode="r"))
    return Maps(both[:, :d_k], both[:, d_k:], b_q, b_k)


def placed_score_prediction(
    maps: Maps, places: Places, *, scale: float, sphere: int | None, rng: np.random.Generator
) -> ScorePrediction:
    """Mean and variance of the visible scores, exactly, and the variance's standard error by draws.

    Args:
        scale: multiplies q·k.
        sphere: as `score_prediction` has it.
        rng: of the draws.

    Source: derived here, from second and fourth moments of independent tokens (Isserlis 1918).
    """
    mean, variance = placed_moments(maps, places, sphere=sphere)
    drawn = population_draws(maps, places, sphere=sphere, count=draws_for(places.n), rng=rng)
    error = float(np.sqrt(np.square(drawn - variance).mean()))
    return ScorePrediction(scale * mean, scale**2 * variance, scale**2 * error)


def draws_for(n: int) -> int:
    """How many draws stand behind an error bar for n tokens."""
    return max(FEWEST_DRAWS, min(MOST_DRAWS, TOKENS_DRAWN // max(n, 1)))


class _ByDistance(NamedTuple):
    """What of the scores of tokens i and j hangs on i − j alone; (distances,) unless said."""

    #: ‖M_Δ‖², and tr(M_Δ M_−Δ)
    square: Array
    both: Array
    #: b_qᵀ R_Δ b_k
    constant: Array
    #: (distances, p): W_Q R_Δ b_k, and W_K R_Δᵀ b_q
    of_query: Array
    of_key: Array


def placed_moments(maps: Maps, places: Places, *, sphere: int | None) -> tuple[float, float]:
    """E of the mean of the visible q·k, and E of their variance about it."""
    kappa = 1.0 if sphere is None else sphere / (sphere + 2)
    parts, trace = _by_distance(maps, places), float(np.sum(maps.w_q * maps.w_k))
    counts, itself = places.counts.astype(np.float64), int(np.flatnonzero(places.steps == 0)[0])
    pairs, others, n = counts.sum(), counts.copy(), places.n
    others[itself] = 0
    own = float(parts.constant[itself])
    alone = np.square(parts.of_query).sum(axis=1) + np.square(parts.of_key).sum(axis=1)
    squares = float(others @ (parts.square + alone + parts.constant**2))
    squares += n * kappa * (float(parts.square[itself] + parts.both[itself]) + trace**2)
    squares += n * float(np.square(parts.of_query[itself] + parts.of_key[itself]).sum())
    squares += n * (own**2 + 2 * own * trace)
    total = float(counts @ parts.constant) + n * trace
    mirrored = np.where(np.isin(-places.steps, places.steps), others, 0.0)
    varies = _linear_part(parts, places) + float(others @ parts.square + mirrored @ parts.both)
    varies += n * (kappa * float(parts.square[itself] + parts.both[itself]) + (kappa - 1) * trace**2)
    return total / pairs, float(squares / pairs - (total**2 + varies) / pairs**2)


def _by_distance(maps: Maps, places: Places) -> _ByDistance:
    """The parts by distance; all alike without rotary positions."""
    steps, turn = places.steps, places.rotation
    if turn is None:
        like = np.ones(len(steps))
        square, both = products(maps.w_q, maps.w_q, maps.w_k)
        alike = [np.broadcast_to(w @ b, (len(steps), len(w))) for w, b in ((maps.w_q, maps.b_k), (maps.w_k, maps.b_q))]
        return _ByDistance(like * square, like * both, like * float(maps.b_q @ maps.b_k), *alike)
    if len(turn.angles) <= PLANES:
        squares, boths = _products_by_planes(maps, steps, turn)
    else:
        q, k = maps.w_q, maps.w_k
        each = [products(turn.turned(q, np.array(step)), turn.turned(q, np.array(-step)), k) for step in steps]
        squares, boths = np.array(each).T
    queries = turn.turned(np.broadcast_to(maps.b_q, (len(steps), len(maps.b_q))), steps)
    keys = turn.turned(np.broadcast_to(maps.b_k, (len(steps), len(maps.b_k))), -steps)
    return _ByDistance(squares, boths, queries @ maps.b_k, keys @ maps.w_q.T, queries @ maps.w_k.T)


def _products_by_planes(maps: Maps, steps: Array, turn: Rotation) -> tuple[Array, Array]:
    """‖M_Δ‖² and tr(M_Δ M_−Δ) at every distance: trigonometric sums over pairs of planes, M_Δ itself is never made.

    With the coordinates of plane c as one complex number M_Δ = Re Σ_c e^(iθ_cΔ) q_c k_cᴴ + C: q_c and k_c are columns
    of W_Q and W_K, and C is what the coordinates that do not turn give.
    """
    (q, u_q), (k, u_k) = turn.planes(maps.w_q), turn.planes(maps.w_k)
    still = u_q.T @ u_q, u_k.T @ u_k, u_k.T @ u_q
    square = (q.conj().T @ q) * (k.conj().T @ k).conj(), (q.T @ q) * (k.T @ k).conj()
    one, other = k.conj().T @ q, k.T @ q
    both = one * one.T, other.conj() * other.T
    with_still = 2 * ((q.T @ u_q) * (k.conj().T @ u_k)).sum(axis=1), ((k.conj().T @ u_q) * (q.T @ u_k)).sum(axis=1)
    squares, boths = np.empty((2, len(steps)))
    height = max(1, AT_ONCE // max(1, len(turn.angles)))
    for start in range(0, len(steps), height):
        some = slice(start, start + height)
        e = np.exp(1j * steps[some, None] * turn.angles)
        squares[some] = 0.5 * (_form(e.conj(), square[0], e) + _form(e, square[1], e)) + (e @ with_still[0]).real
        boths[some] = 0.5 * (_form(e, both[0], e.conj()) + _form(e, both[1], e))
        boths[some] += 2 * (e.real @ with_still[1]).real
    return squares + float(np.sum(still[0] * still[1])), boths + float(np.sum(still[2] * still[2].T))


def _form(left: Array, matrix: Array, right: Array) -> Array:
    """Re Σ left_c matrix_cd right_d for every row, (rows,)."""
    found: Array = ((left @ matrix) * right).sum(axis=1).real
    return found


def products(forth: Array, back: Array, w_k: Array) -> tuple[float, float]:
    """‖M_Δ‖² and tr(M_Δ M_−Δ) for M_Δ = (W_Q R_Δ) W_Kᵀ: of (d_k, d_k) matrices, or (p, p) where those are smaller."""
    if w_k.shape[1] <= len(w_k):
        one, other = forth.T @ w_k, back.T @ w_k
        return float(np.sum((forth.T @ forth) * (w_k.T @ w_k))), float(np.sum(one * other.T))
    one, other = forth @ w_k.T, back @ w_k.T
    return float(np.square(one).sum()), float(np.sum(one * other.T))


def _linear_part(parts: _ByDistance, places: Places) -> float:
    """Σ_i ‖ℓ_i‖²: what each token alone adds to the sum of the scores, through the biases."""
    if not (parts.of_query.any() or parts.of_key.any()):
        return 0.0
    low, high = places.reach
    i = np.arange(places.n)
    as_query = _summed(parts.of_query, np.maximum(low, i - places.n + 1) - low, np.minimum(high, i) - low)
    as_key = _summed(parts.of_key, np.maximum(low, -i) - low, np.minimum(high, places.n - 1 - i) - low)
    return float(np.square(as_query + as_key).sum())


def _summed(rows: Array, first: Array, last: Array) -> Array:
    """Σ of rows first … last, for each pair of these; (pairs, p)."""
    sums = np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(rows, axis=0)])
    found: Array = sums[last + 1] - sums[first]
    return found


def population_draws(maps: Maps, places: Places, *, sphere: int | None, count: int, rng: np.random.Generator) -> Array:
    """The variance of the visible q·k on `count` sets of random tokens, (count,)."""
    p, d_k = maps.w_q.shape
    found, n = np.empty(count), places.n
    at_once = max(1, AT_ONCE // (n * max(p, 2 * d_k, n if n <= WHOLE else 1)))
    dtype = np.float64 if n <= WHOLE else np.float32
    maps = Maps(*(part.astype(dtype) for part in maps))
    for start in range(0, count, at_once):
        some = min(at_once, count - start)
        y = rng.standard_normal((some, n, p), dtype=dtype)
        if sphere is not None:
            y *= _onto_sphere(y, sphere, rng)
        found[start : start + some] = pair_variances(y @ maps.w_q + maps.b_q, y @ maps.w_k + maps.b_k, places)
    return found


def _onto_sphere(y: Array, sphere: int, rng: np.random.Generator) -> Array:
    """What makes normal tokens, of which y are p coordinates, of length √sphere: (…, n, 1)."""
    p = y.shape[-1]
    if p > sphere:  # the hyperplane that a LayerNorm leaves
        y -= y.mean(axis=-1, keepdims=True)
    square = np.square(y).sum(axis=-1, keepdims=True)
    if sphere > p:
        square = square + rng.chisquare(sphere - p, square.shape).astype(y.dtype)
    found: Array = np.sqrt(sphere / square)
    return found


def log_z(measured: float, predicted: ScorePrediction) -> float | None:
    """How far a measured variance lies from its prediction, in standard errors of its logarithm; None without an error.

    The variance is skewed where tokens are few, and its logarithm hardly: (ln(V/E) + s²/2)/s with
    s² = ln(1 + (SE/E)²).
    """
    expected, error = predicted.variance, predicted.standard_error
    if error is None or not error > 0 or not expected > 0 or not measured > 0:
        return None
    spread = math.log1p((error / expected) ** 2)
    return (math.log(measured / expected) + spread / 2) / math.sqrt(spread)
