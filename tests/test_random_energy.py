"""The exact law of the softmax of normal scores against simulation, other integrals, and its known limits."""

import itertools
import math
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab.theory.random_energy import SoftmaxLaw, attention_law, freezing_deviation, softmax_law

Array = NDArray[Any]


def simulated(scores: Array) -> tuple[tuple[float, float], tuple[float, float]]:
    """Entropy and Σp² of the softmax over the last axis: mean and standard error of each."""
    p = np.exp(scores - scores.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    rows = (-(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1), np.square(p).sum(axis=-1))
    entropy, square = ((float(row.mean()), float(row.std()) / math.sqrt(len(row))) for row in rows)
    return entropy, square


def met(law: SoftmaxLaw, entropy: tuple[float, float], square: tuple[float, float]) -> bool:
    """Whether both agree within 4 standard errors."""
    return abs(entropy[0] - law.entropy) <= 4 * entropy[1] and abs(square[0] - law.square) <= 4 * square[1]


@pytest.mark.parametrize("sigma", [0.5, 1.0, 8.0, 32.0])
@pytest.mark.parametrize("n", [12, 128, 4096])
def test_the_law_against_simulation(n: int, sigma: float) -> None:
    rows = max(1000, min(40_000, 4_000_000 // n))
    entropy, square = simulated(sigma * np.random.default_rng([n, int(sigma)]).standard_normal((rows, n)))
    law = softmax_law(n, sigma)
    assert met(law, entropy, square)
    assert not met(SoftmaxLaw(1.5 * law.entropy, law.square), entropy, square)
    assert not met(SoftmaxLaw(law.entropy, 1.5 * law.square), entropy, square)
    assert not met(softmax_law(n, 1.5 * sigma), entropy, square)


@pytest.mark.parametrize("d_k", [1, 2, 16, 200])
@pytest.mark.parametrize("scaled", [True, False])
def test_attention_against_simulation(d_k: int, scaled: bool) -> None:
    scale = 1 / math.sqrt(d_k) if scaled else 1.0
    rng = np.random.default_rng(d_k)
    # Given q the scores of normal keys are independent N(0, ‖q‖²): drawing them saves drawing the keys.
    lengths = np.sqrt(np.square(rng.standard_normal((30_000, d_k))).sum(axis=1, keepdims=True))
    entropy, square = simulated(scale * lengths * rng.standard_normal((30_000, 32)))
    assert met(attention_law(32, d_k, scale), entropy, square)
    assert not met(attention_law(32, d_k, 1.5 * scale), entropy, square)


@pytest.mark.parametrize("sigma", [0.03, 0.5, 1.0, 8.0, 32.0])
def test_two_scores_by_another_integral(sigma: float) -> None:
    """Of two scores only the difference counts: N(0, 2σ²), and p its logistic function."""

    def average(f: Any) -> float:
        points = [0, *(x for x in (0.01, 0.1, 0.5, 1, 2, 4, 7, 10) if x < 10), 13]
        return float(2 * mpmath.quad(lambda z: mpmath.npdf(z) * f(math.sqrt(2) * sigma * z), points))

    def entropy(difference: Any) -> Any:
        p = 1 / (1 + mpmath.exp(-difference))
        return difference * (1 - p) + mpmath.log1p(mpmath.exp(-difference))

    def square(difference: Any) -> Any:
        return 1 - 1 / (1 + mpmath.cosh(difference))

    law = softmax_law(2, sigma)
    assert law.entropy == pytest.approx(average(entropy), rel=1e-9)
    assert law.square == pytest.approx(average(square), rel=1e-9)


def nested(n: int, sigma: float) -> tuple[float, float]:
    """E H and E Σp² with E Σp·s as an integral of its own and no use of Stein's lemma: integrals within integrals."""
    z = np.linspace(-9, 9, 4001)
    normal = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    nodes, weights = np.polynomial.legendre.leggauss(24)
    edges = np.concatenate([np.linspace(-9 * sigma - 12, 5, 9), [5 + 3 * sigma]])
    lse = score = square = 0.0
    for low, high in itertools.pairwise(edges):
        y = (low + high) / 2 + (high - low) / 2 * nodes
        share = weights * (high - low) / 2
        raised = np.exp(np.minimum(y[:, None] + sigma * z, 700))
        kept = np.exp(-raised)
        rest = (kept @ normal) ** (n - 1)
        lse += share @ (np.exp(-np.exp(y)) - rest * (kept @ normal))
        score += share @ (n * rest * ((sigma * z * raised * kept) @ normal))
        square += share @ (n * rest * ((raised**2 * kept) @ normal))
    return lse - score, square


@pytest.mark.parametrize(("n", "sigma", "known"), [(64, 1.0, (3.685, 0.0388)), (128, 8.0, (0.6576, 0.6811))])
def test_the_known_cases_by_nested_integrals(n: int, sigma: float, known: tuple[float, float]) -> None:
    law = softmax_law(n, sigma)
    assert law == pytest.approx(nested(n, sigma), abs=2e-6)
    assert law == pytest.approx(known, abs=6e-5 if sigma > 1 else 6e-4)


def test_nearly_equal_scores_lose_half_their_variance_of_entropy() -> None:
    for sigma in (0.01, 0.1):
        assert softmax_law(1000, sigma).entropy == pytest.approx(math.log(1000) - sigma**2 / 2, abs=2 * sigma**2 / 1000)


@pytest.mark.parametrize("n", [2, 7, 1000])
def test_equal_scores_are_uniform(n: int) -> None:
    assert softmax_law(n, 0.0) == pytest.approx((math.log(n), 1 / n))
    assert softmax_law(n, 1e-6) == pytest.approx((math.log(n), 1 / n), rel=1e-9)
    assert softmax_law(1, 3.0) == (0, 1)


def test_the_law_is_steady_over_nine_orders_of_magnitude() -> None:
    """Entropy falls and Σp² rises with σ, without a jump where the grid changes; very wide scores pick one key."""
    laws = [softmax_law(50, 10.0**exponent) for exponent in np.linspace(-5, 3, 81)]
    assert (np.diff([law.entropy for law in laws]) <= 1e-9).all()
    assert (np.diff([law.square for law in laws]) >= -1e-9).all()
    assert laws[-1].entropy < 0.005
    assert laws[-1].square > 0.997


def test_the_entropy_bends_where_the_softmax_freezes() -> None:
    """For many scores the entropy is nearly ln n − σ²/2 below √(2 ln n), and nearly nothing above it."""
    assert freezing_deviation(128) ** 2 == pytest.approx(9.70, abs=0.005)
    n, frozen = 10**6, freezing_deviation(10**6)
    assert softmax_law(n, 0.5 * frozen).entropy == pytest.approx(math.log(n) - (0.5 * frozen) ** 2 / 2, rel=0.02)
    assert softmax_law(n, 1.5 * frozen).entropy < 0.15 * math.log(n)
