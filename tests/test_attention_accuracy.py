"""How near float32 attention comes to the exact one: three bounds, on scores of size 1 to 10,000.

Exact means float64 from the same float32 inputs, itself held to mpmath's 50 digits on a sample. The judge is seen to
turn away two sloppy softmaxes.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab import attention
from tests.oracles import EPS, TINY, exact_log_weights, worst_log_error

Array = NDArray[Any]

SIZES = [1.0, 10.0, 100.0, 1000.0, 10_000.0]
WIDTHS = [1, 3, 64, 4096]
KEYS = [1, 2, 64, 4096]
#: (size, d, m); the two largest together, which take a second each, at the ends only
GRID = [(s, d, m) for s in SIZES for d in WIDTHS for m in KEYS if d * m < 4096**2 or s in (SIZES[0], SIZES[-1])]
QUERIES = 5


class Case(NamedTuple):
    """Float32 inputs whose scores have about the standard deviation asked for."""

    q: Array
    k: Array
    #: (m,), or None
    bias: Array | None = None

    @property
    def scale(self) -> float:
        return float(self.q.shape[1] ** -0.5)

    @property
    def exact_logits(self) -> Array:
        scores = self.scale * (self.q.astype(np.float64) @ self.k.astype(np.float64).T)
        return scores if self.bias is None else scores + self.bias.astype(np.float64)

    @property
    def bound(self) -> float:
        """16 eps (1 + |scale|·max‖q‖·max‖k‖ + max finite |bias|)."""
        norms = [float(np.linalg.norm(x.astype(np.float64), axis=1).max()) for x in (self.q, self.k)]
        largest = 0.0 if self.bias is None else float(np.abs(self.bias[np.isfinite(self.bias)]).max())
        return 16 * EPS * (1 + self.scale * norms[0] * norms[1] + largest)


def case_of(size: float, d: int, m: int, *, bias: float = 0.0, spread: float | None = None) -> Case:
    """spread: keys so much alike that a row's scores differ by about this much only, and many keep some weight."""
    rng = np.random.default_rng([int(size), d, m])
    q, k = rng.standard_normal((QUERIES, d)), rng.standard_normal((m, d))
    if spread is not None:
        k = rng.standard_normal(d) + k * spread / size
    added = (bias * rng.standard_normal(m)).astype(np.float32) if bias else None
    return Case((q * size).astype(np.float32), k.astype(np.float32), added)


def ours(case: Case) -> Array:
    return attention(case.q, case.k, np.ones((len(case.k), 1), np.float32), bias=case.bias).weights


def float32_logits(case: Case) -> Array:
    scores: Array = (case.q @ case.k.T) * np.float32(case.scale)
    return scores if case.bias is None else scores + case.bias


def plain(case: Case) -> Array:
    """The textbook's float32 softmax, its largest score subtracted."""
    logits = float32_logits(case)
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    weights: Array = e / e.sum(axis=1, keepdims=True)
    return weights


def nothing_subtracted(case: Case) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        e = np.exp(float32_logits(case))
        weights: Array = e / e.sum(axis=1, keepdims=True)
        return weights


def half_precision_scores(case: Case) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        logits = float32_logits(case).astype(np.float16).astype(np.float32)
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        weights: Array = e / e.sum(axis=1, keepdims=True)
        return weights


def sums_too_wide(case: Case) -> Array:
    weights: Array = ours(case) * np.float32(1 + 40 * EPS)
    return weights


def complaints(case: Case, softmax: Callable[[Case], Array]) -> list[str]:
    """Which of the three bounds the float32 weights of this softmax break."""
    p, log_p = softmax(case), exact_log_weights(case.exact_logits)
    worst = worst_log_error(p, log_p)
    found = []
    if not worst <= case.bound:
        found.append(f"ln p is off by {worst:.3g}; bound {case.bound:.3g}")
    allowed = max(2 * worst_log_error(plain(case), log_p), 4 * EPS)
    if not worst <= allowed:
        found.append(f"ln p is off by {worst:.3g}; {allowed:.3g} allowed beside the plain formula")
    off = float(np.abs(p.astype(np.float64).sum(axis=1) - 1).max())
    if not off <= (4 + math.log2(p.shape[1])) * EPS:
        found.append(f"rows sum to 1 within {off:.3g} only")
    return found


@pytest.mark.parametrize(("size", "d", "m"), GRID)
def test_the_bounds_hold(size: float, d: int, m: int) -> None:
    assert complaints(case_of(size, d, m), ours) == []


@pytest.mark.parametrize(("size", "d", "m"), GRID)
def test_the_bounds_hold_where_large_scores_differ_little(size: float, d: int, m: int) -> None:
    case = case_of(size, d, m, spread=8)
    assert complaints(case, ours) == []
    assert (ours(case) > TINY).mean() > 0.5  # most weights were compared


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("bias", [1.0, 1e4])
def test_the_bounds_hold_with_a_bias(size: float, bias: float) -> None:
    assert complaints(case_of(size, 64, 257, bias=bias), ours) == []


def test_the_bounds_hold_with_a_bias_that_hides_keys() -> None:
    case = case_of(10, 64, 257, bias=3.0)
    assert case.bias is not None
    case.bias[::3] = -np.inf
    assert complaints(case, ours) == []


@pytest.mark.parametrize("gap", [80, 86, 87, 88, 90, 95, 103, 104, 110, 1000])
def test_weights_near_the_end_of_float32_go_to_nothing_quietly(gap: float) -> None:
    case = Case(np.array([[1.0]], np.float32), np.array([[0.0], [-gap]], np.float32))
    assert complaints(case, ours) == []
    assert ours(case)[0, 0] == 1


def exact_in_50_digits(case: Case, i: int, keys: list[int]) -> list[float]:
    with mpmath.workdps(50):
        q = [mpmath.mpf(float(x)) for x in case.q[i]]
        scores = [mpmath.fdot(q, map(float, key)) / mpmath.sqrt(len(q)) for key in case.k]
        log_total = mpmath.log(mpmath.fsum(mpmath.exp(score) for score in scores))
        return [float(scores[j] - log_total) for j in keys]


@pytest.mark.parametrize(("size", "d", "m"), [(1.0, 64, 64), (100.0, 3, 257), (10_000.0, 64, 64), (10.0, 1024, 16)])
def test_the_float64_reference_is_exact_enough(size: float, d: int, m: int) -> None:
    case = case_of(size, d, m)
    exact = exact_log_weights(case.exact_logits)[2]
    np.testing.assert_allclose(exact, exact_in_50_digits(case, 2, list(range(m))), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_our_weights_against_50_digits(size: float) -> None:
    case = case_of(size, 16, 31)
    exact = np.array(exact_in_50_digits(case, 0, list(range(31))))
    assert worst_log_error(ours(case)[0], exact) <= case.bound


@pytest.mark.parametrize("size", SIZES)
def test_float64_attention_is_right_to_float64(size: float) -> None:
    case = case_of(size, 16, 31)
    p = attention(case.q.astype(np.float64), case.k.astype(np.float64), np.ones((31, 1))).weights[0]
    exact = np.array(exact_in_50_digits(case, 0, list(range(31))))
    shown = exact > math.log(TINY)
    assert np.abs(np.log(p[shown]) - exact[shown]).max() <= case.bound * 2.0**-29


@pytest.mark.parametrize(
    ("softmax", "size", "complaint"),
    [
        (nothing_subtracted, 1000.0, "ln p is off by inf"),
        (half_precision_scores, 1.0, "ln p is off by"),
        (half_precision_scores, 100.0, "ln p is off by"),
        (half_precision_scores, 10_000.0, "ln p is off by"),
        (sums_too_wide, 1.0, "rows sum to 1 within"),
    ],
)
def test_the_judge_turns_sloppy_softmaxes_away(softmax: Callable[[Case], Array], size: float, complaint: str) -> None:
    found = complaints(case_of(size, 64, 257, spread=8), softmax)
    assert any(text.startswith(complaint) for text in found)


def test_the_judge_sees_a_weight_that_should_have_vanished() -> None:
    log_p = np.array([0.0, -200.0])
    assert worst_log_error(np.array([1, 0], np.float32), log_p) == 0
    assert worst_log_error(np.array([1, 1e-30], np.float32), log_p) == math.inf


def test_the_judge_sees_a_weight_that_should_not_have() -> None:
    log_p = np.array([0.0, -50.0])
    assert worst_log_error(np.array([1, 0], np.float32), log_p) == math.inf


def test_the_judge_sees_nan() -> None:
    assert worst_log_error(np.array([np.nan], np.float32), np.zeros(1)) == math.inf
