"""Every kernel is checked against another way to the same result before it is timed: fast and wrong is no news."""

import math
from collections.abc import Sequence

import numpy as np

from attnlab.experiments.complexity_variants import Part, Setting, Variant, block_spec, head_inputs, token_inputs
from attnlab.maths.architecture import Initialisation
from attnlab.maths.attention import attention
from attnlab.maths.block import trace_block
from attnlab.maths.mechanisms.fourier import fourier_mixing
from attnlab.maths.mechanisms.kernelised import positive_features
from attnlab.maths.mechanisms.mixed_block import mixed_block
from attnlab.maths.precision import Array
from attnlab.maths.weights import initial_block
from attnlab.records import Check

#: Tokens of a check: a prime, so that no block or tile comes out even, and several of each.
TOKENS = 521
#: Of float32.
EPSILON = float(np.finfo(np.float32).eps)


def equality_checks(variants: Sequence[Variant], setting: Setting, part: Part) -> list[Check]:
    """One check a variant, on 521 tokens; and, where blocks are timed, the block against its own trace."""
    setting = setting._replace(n=TOKENS)
    checks = [equality_check(variant, setting) for variant in variants]
    return [*checks, block_check(setting)] if part == "block" else checks


def equality_check(variant: Variant, setting: Setting) -> Check:
    """The largest difference from the plain way to the same result, and what rounding may make of it."""
    if variant.table is not None:
        difference, bound, other = table_difference(variant, setting), 0.0, "the keys' own places"
    elif variant.heads is None:
        difference, bound, other = fourier_difference(setting)
    elif variant.mechanism == "argmax":
        difference, bound, other = argmax_difference(variant, setting)
    else:
        difference, bound, other = head_difference(variant, setting)
    return Check(
        id=f"equal-{variant.mechanism}-{variant.kernel}",
        holds=difference <= bound,
        value=difference,
        bound=bound,
        text=f"{variant.label} equals {other}",
    )


def head_difference(variant: Variant, setting: Setting) -> tuple[float, float, str]:
    """A mechanism of heads against its own matrix, in float64."""
    q, k, v = head_inputs(setting)
    wide = q.astype(np.float64), k.astype(np.float64), v.astype(np.float64)
    match variant.mechanism:
        case "linear":
            plain, other = quadratic_linear_attention(*wide), "the product with its N × N matrix"
        case "window":
            plain, other = attention(*wide, causal=True, window=setting.window).output, "attention with that window"
        case _:
            plain, other = attention(*wide).output, "attention in float64"
    if variant.heads is None:
        raise TypeError(f"{variant.label} mixes no heads")
    found = variant.heads(setting)(q, k, v)
    return farthest(found, plain), rounding_bound(q, k) * float(np.abs(v).max()), other


def rounding_bound(q: Array, k: Array) -> float:
    """How far a weight may be off, relatively: 16 eps (1 + max‖q‖ max‖k‖/√d)."""
    largest = float(np.linalg.norm(q, axis=-1).max() * np.linalg.norm(k, axis=-1).max())
    return 16 * EPSILON * (1 + largest / math.sqrt(q.shape[-1]))


def quadratic_linear_attention(q: Array, k: Array, v: Array) -> Array:
    """Σ_j w_ij v_j with w_ij = φ(q_i)·φ(k_j) / Σ_l φ(q_i)·φ(k_l), by its matrix.

    Source: Katharopoulos et al. 2020, equation 4.
    """
    weights: Array = positive_features(q) @ positive_features(k).swapaxes(-1, -2)
    output: Array = weights / weights.sum(axis=-1, keepdims=True) @ v
    return output


def fourier_difference(setting: Setting) -> tuple[float, float, str]:
    """Fourier mixing against the matrices of its transform."""
    x = token_inputs(setting)
    n, d = x.shape
    plain = (transform(n) @ x.astype(np.float64) @ transform(d)).real
    # A sum of n·d numbers whose signs are as good as random, in log2(n·d) roundings.
    bound = 4 * EPSILON * math.log2(n * d) * math.sqrt(n * d)
    return farthest(fourier_mixing(x), plain), bound, "the products with the transform's matrices"


def transform(n: int) -> Array:
    """The discrete Fourier transform's matrix: e^(−2πi jk/n), the product taken modulo n so that it stays exact."""
    places = np.arange(n)
    matrix: Array = np.exp(-2j * np.pi * (np.outer(places, places) % n) / n)
    return matrix


def argmax_difference(variant: Variant, setting: Setting) -> tuple[float, float, str]:
    """How far the score found lies below the largest: rounding may prefer another key, but none that scores less."""
    q, k, v = head_inputs(setting)
    if variant.heads is None:
        raise TypeError(f"{variant.label} mixes no heads")
    places = variant.heads(setting)(q, k, v)
    scores = q.astype(np.float64) @ k.astype(np.float64).swapaxes(-1, -2)
    found = np.take_along_axis(scores, places[..., None], axis=-1)[..., 0]
    bound = EPSILON * q.shape[-1] * float(np.abs(scores).max())
    return float((scores.max(axis=-1) - found).max()), bound, "the largest score"


def table_difference(variant: Variant, setting: Setting) -> float:
    """How many queries are not led to their key, of which some are not in the table."""
    rng = np.random.default_rng(setting.seed)
    keys, order = rng.standard_normal(TOKENS), rng.permutation(TOKENS)
    queries = np.concatenate([keys[order], [4.0, -4.0, 0.0]])  # the last three are no keys
    expected = np.concatenate([order, [-1, -1, -1]])
    if variant.table is None:
        raise TypeError(f"{variant.label} is no table")
    return float(np.count_nonzero(variant.table(keys, queries) != expected))


def block_check(setting: Setting) -> Check:
    """The block that is timed, with attention in it, against the block whose every step is checked elsewhere."""
    spec = block_spec(setting)
    weights = initial_block(spec, Initialisation(seed=setting.seed), layer=0, dtype=np.float64)
    x = token_inputs(setting).astype(np.float64)
    timed = mixed_block(spec, weights, x, lambda q, k, v: attention(q, k, v).output)
    difference = farthest(timed, trace_block(spec, weights, x).output)
    return Check(id="equal-block", holds=difference <= 1e-12, value=difference, bound=1e-12, text="the block is one")


def farthest(found: Array, plain: Array) -> float:
    """The largest difference; infinite where one of them is no number."""
    difference = float(np.abs(found - plain).max())
    return difference if math.isfinite(difference) else math.inf
