"""What a head's score variance would be if these very tokens pointed in random directions.

The tokens keep their lengths, their mean token and how they lie to each other, and the whole of them is turned against
the head's weights by a random rotation of the d dimensions (Haar). Whether a head's scores vary more than that is what
"aligned with the text" means; the spread over rotations says how many heads of random weights would by chance.

With W = [W_Q W_K] = Q R, p = min(d, 2 d_k), the projections of turned tokens X are X U R, where U is a (d, p) block of
the rotation: all heads of a layer share U, and of W only R is wanted.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from attnlab.theory.pairs import Places, pair_variances
from attnlab.theory.score_variance import Maps, products

Array = NDArray[Any]

#: Rotations behind an interval; fewer where each takes a pass over the tokens for every head. The share of them that it
#: holds.
ROTATIONS, PASSES, SHARE = 40, 16, 0.99
#: Multiply-adds beyond which a block of a rotation is not drawn, and numbers of a head's maps: wider than any model's.
MOST_WORK, WIDEST = 5e9, 1 << 22
#: Tokens, or coordinates, whose squares are summed at a time.
TOGETHER = 256


class Directions(NamedTuple):
    """The score variance of tokens in random directions: its mean, and the interval that holds `SHARE` of it."""

    mean: float
    low: float
    high: float


def random_directions(
    x: Array, heads: Sequence[Maps], places: Places, *, scale: float, rng: np.random.Generator
) -> list[Directions | None]:
    """What each of a layer's heads would have, None where it is not drawn: the head is too wide, or all is 0.

    Args:
        x: (n, d) what the projections read.
        heads: as `maps_of` gives them.
        scale: multiplies q·k.

    Source: derived here. The mean over all pairs is exact; under a mask or rotary positions it is that of the draws.
    """
    n, d = x.shape
    (p, d_k), r = heads[0].w_q.shape, min(n, d)
    if max(p, r) * min(p, r) ** 2 > MOST_WORK or 2 * p * d_k > WIDEST or not np.isfinite(x).all():
        return [None] * len(heads)
    factors = [np.hstack([head.w_q, head.w_k]) for head in heads]
    if not places.everything:
        drawn = scale**2 * drawn_by_passes(x, heads, factors, places, rng)
        return [_by_draws(own) for own in drawn]
    tokens = Tokens.of(x)
    drawn = scale**2 * drawn_by_moments(tokens, heads, factors, d, rng)
    return [_about(scale**2 * tokens.mean_variance(head, d), own) for head, own in zip(heads, drawn, strict=True)]


def _by_draws(drawn: Array) -> Directions | None:
    """The interval of the logarithms, which are nearly normal, about their own mean."""
    if not (drawn > 0).all():
        return None
    logs, count = np.log(drawn), len(drawn)
    half = t_quantile(count - 1) * float(logs.std(ddof=1)) * math.sqrt(1 + 1 / count)
    middle = float(logs.mean())
    return Directions(float(drawn.mean()), math.exp(middle - half), math.exp(middle + half))


def _about(mean: float, drawn: Array) -> Directions | None:
    """The interval of a lognormal of that mean, as wide as the draws lie about it."""
    if not mean > 0:
        return None
    spread = math.sqrt(math.log1p(float(np.square(drawn - mean).mean()) / mean**2))
    half, middle = t_quantile(len(drawn)) * spread, math.log(mean) - spread**2 / 2
    return Directions(mean, math.exp(middle - half), math.exp(middle + half))


def t_quantile(freedom: int) -> float:
    """Student's quantile that leaves (1 − SHARE)/2 above it, to 1e-3 from 15 degrees of freedom on.

    Source: the expansion about the normal's, Abramowitz and Stegun 26.7.5.
    """
    z = NormalDist().inv_cdf((1 + SHARE) / 2)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def drawn_by_moments(
    tokens: "Tokens", heads: Sequence[Maps], factors: Sequence[Array], d: int, rng: np.random.Generator
) -> Array:
    """The variances of all q·k, (heads, ROTATIONS); a rotation takes no pass over the tokens.

    Args:
        factors: (p, 2 d_k), each head's [W_Q W_K].
    """
    found = np.empty((len(heads), ROTATIONS))
    for draw in range(ROTATIONS):
        block = rotation_block(d, len(tokens.centre), len(factors[0]), rng)
        turned = tokens.root @ block
        spread, centre = turned.T @ turned, tokens.centre @ block
        found[:, draw] = [_of_moments(spread, centre, *pair) for pair in zip(factors, heads, strict=True)]
    return found


def drawn_by_passes(
    x: Array, heads: Sequence[Maps], factors: Sequence[Array], places: Places, rng: np.random.Generator
) -> Array:
    """The variances of the visible q·k, (heads, PASSES): for each head all tokens are projected and gone through."""
    root, d_k = _root(x, x.dtype), heads[0].w_q.shape[1]
    maps = [factor.astype(root.dtype) for factor in factors]
    biases = [np.concatenate([head.b_q, head.b_k]).astype(root.dtype) for head in heads]
    found = np.empty((len(heads), PASSES))
    for draw in range(PASSES):
        turned = root @ rotation_block(x.shape[1], root.shape[1], len(factors[0]), rng).astype(root.dtype)
        for h, (factor, bias) in enumerate(zip(maps, biases, strict=True)):
            both = turned @ factor + bias
            found[h, draw] = pair_variances(both[None, :, :d_k], both[None, :, d_k:], places)[0]
    return found


def _of_moments(spread: Array, centre: Array, factor: Array, head: Maps) -> float:
    """tr(Σ_q Σ_k) + μ_qᵀΣ_k μ_q + μ_kᵀΣ_q μ_k of turned tokens: of their covariance and mean token, in p dimensions."""
    d_k = len(head.b_q)
    both = factor.T @ spread @ factor
    of_q, of_k = both[:d_k, :d_k], both[d_k:, d_k:]
    mean_q, mean_k = centre @ factor[:, :d_k] + head.b_q, centre @ factor[:, d_k:] + head.b_k
    return float(np.sum(of_q * of_k) + mean_q @ of_k @ mean_q + mean_k @ of_q @ mean_k)


class Tokens(NamedTuple):
    """Tokens as far as a rotation of all of them leaves them: their mean and a root of their covariance."""

    #: (r,)
    centre: Array
    #: (c, r): rootᵀ root is the covariance, divisor n
    root: Array

    @classmethod
    def of(cls, x: Array) -> "Tokens":
        """Those of x (n, d)."""
        n, d = x.shape
        if n < d:
            root = _root(x, np.float64)
            centre = root.mean(axis=0)
            root -= centre
            return cls(centre, root / math.sqrt(n))
        centre = x.mean(axis=0, dtype=np.float64)
        covariance = np.zeros((d, d))
        for start in range(0, n, TOGETHER):
            some = x[start : start + TOGETHER] - centre
            covariance += some.T @ some
        sizes, axes = np.linalg.eigh(covariance / n)
        kept = sizes > sizes[-1] * 1e-12
        return cls(centre, (axes[:, kept] * np.sqrt(sizes[kept])).T)

    def mean_variance(self, head: Maps, d: int) -> float:
        """The mean over rotations of the variance of all n² products q·k, exactly.

        With f = ‖M‖², m = tr M², t = tr M and S the covariance: two quartic forms in the rotation (its second moments
        are Weingarten's), and what the biases see of S, which is tr S/d on average.
        """
        square_m, both = products(head.w_q, head.w_q, head.w_k)
        form = square_m, both + float(np.sum(head.w_q * head.w_k)) ** 2
        small = self.root @ self.root.T if len(self.root) <= self.root.shape[1] else self.root.T @ self.root
        trace, square = float(np.trace(small)), float(np.square(small).sum())
        length, along = float(self.centre @ self.centre), float(np.square(self.root @ self.centre).sum())
        turned = _quartic(form, trace**2, square, d) + 2 * _quartic(form, length * trace, along, d)
        return turned + trace / d * float(np.square(head.w_k @ head.b_q).sum() + np.square(head.w_q @ head.b_k).sum())


def _quartic(form: tuple[float, float], apart: float, crossed: float, d: int) -> float:
    """E tr(A O M Oᵀ B O Mᵀ Oᵀ) over rotations O: apart is tr A·tr B, crossed tr AB, form (‖M‖², tr M² + (tr M)²)."""
    if d == 1:
        return form[0] * apart
    own = ((d + 1) * apart - 2 * crossed) / (d * (d - 1) * (d + 2))
    other = (crossed - apart / d) / ((d - 1) * (d + 2))
    return own * form[0] + other * form[1]


def _root(x: Array, dtype: Any) -> Array:
    """(n, r) numbers that lie to each other as the tokens x (n, d) do, r ≤ min(n, d): x itself where n ≥ d."""
    n, d = x.shape
    if n >= d:
        return x
    gram = np.zeros((n, n))
    for start in range(0, d, TOGETHER):
        some = x[:, start : start + TOGETHER].astype(np.float64)
        gram += some @ some.T
    sizes, axes = np.linalg.eigh(gram)
    kept = sizes > sizes[-1] * 1e-12
    found: Array = (axes[:, kept] * np.sqrt(sizes[kept])).astype(dtype)
    return found


def rotation_block(d: int, rows: int, columns: int, rng: np.random.Generator) -> Array:
    """The first rows and columns of a random rotation of d dimensions (Haar), without the rest of it.

    Its columns are normal ones made orthonormal. Of the other d − rows coordinates only their Gram matrix counts, which
    is drawn as such. Source: Bartlett 1933.
    """
    if rows < columns:
        return rotation_block(d, columns, rows, rng).T
    drawn, rest = rng.standard_normal((rows, columns)), d - rows
    if rest >= columns:
        others = np.triu(rng.standard_normal((columns, columns)), 1)
        others[np.diag_indices(columns)] = np.sqrt(rng.chisquare(rest - np.arange(columns)))
    else:
        others = rng.standard_normal((rest, columns))
    lower = np.linalg.cholesky(drawn.T @ drawn + others.T @ others)
    block: Array = drawn @ np.linalg.inv(lower).T
    return block
