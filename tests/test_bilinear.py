"""M = c W_Q W_Kᵀ and W_V W_O through their factors: against the (d, d) matrices, and against random ones' laws."""

import math
from typing import Any, NamedTuple

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab.maths.bilinear import copying, effective_rank, score_form, value_map
from attnlab.theory.random_weights import (
    copying_deviation,
    effective_dimension,
    random_effective_rank,
    random_skew_share,
    random_symmetric_share,
    share_deviation,
    symmetry_deviation,
)
from attnlab.theory.scores import score_prediction, through_norm

Array = NDArray[Any]

#: (d, width): narrow heads as models have them, a square one, and a head wider than its model.
SIZES = [(17, 5), (7, 7), (5, 11), (13, 1), (1, 3)]
SCALE = 0.37


def factors(d: int, width: int, seed: int = 0) -> tuple[Array, Array, Array, Array]:
    """W_Q, W_K (d, width) and b_Q, b_K (width,)."""
    rng = np.random.default_rng([seed, d, width])
    w_q, w_k = rng.standard_normal((2, d, width))
    b_q, b_k = rng.standard_normal((2, width))
    return w_q, w_k, b_q, b_k


@pytest.mark.parametrize(("d", "width"), SIZES)
class TestAgainstTheMatrix:
    def test_scores(self, d: int, width: int) -> None:
        w_q, w_k, b_q, b_k = factors(d, width)
        m = SCALE * w_q @ w_k.T
        form = score_form(w_q, w_k, b_q, b_k, scale=SCALE)
        near = pytest.approx
        assert form.frobenius == near(np.linalg.norm(m), rel=1e-13)
        assert form.trace == near(np.trace(m), rel=1e-12, abs=1e-13 * form.frobenius)
        assert form.symmetric == near(np.linalg.norm((m + m.T) / 2), rel=1e-12)
        assert form.skew == near(np.linalg.norm((m - m.T) / 2), rel=1e-12, abs=1e-13 * form.frobenius)
        assert form.query_bias == near(SCALE * np.linalg.norm(w_q @ b_k), rel=1e-12)
        assert form.key_bias == near(SCALE * np.linalg.norm(w_k @ b_q), rel=1e-12)
        assert form.constant == near(SCALE * b_q @ b_k, rel=1e-12)
        values = np.linalg.svdvals(m)[: min(d, width)]
        np.testing.assert_allclose(form.singular_values, values, rtol=1e-10, atol=1e-13 * form.frobenius)

    def test_values(self, d: int, width: int) -> None:
        w_v, w_o = factors(d, width)[0], factors(d, width)[1].T
        ov, found = w_v @ w_o, value_map(w_v, w_o)
        rank = min(d, width)
        np.testing.assert_allclose(found.singular_values, np.linalg.svdvals(ov)[:rank], rtol=1e-10)
        assert found.frobenius == pytest.approx(np.linalg.norm(ov), rel=1e-13)
        whole = np.linalg.eigvals(ov)
        assert copying(found.eigenvalues) == pytest.approx(whole.sum().real / np.abs(whole).sum(), rel=1e-6)

    def test_variance_is_that_of_infinitely_many_tokens(self, d: int, width: int) -> None:
        w_q, w_k, b_q, b_k = factors(d, width)
        predicted = score_prediction(w_q, w_k, b_q, b_k, scale=SCALE, n=10**9).variance
        assert score_form(w_q, w_k, b_q, b_k, scale=SCALE).variance == pytest.approx(predicted, rel=1e-6)


def test_a_transposed_factor_is_another_form() -> None:
    """The comparison above can fail: the other order of the factors has another trace and other sides."""
    w_q, w_k, _, _ = factors(7, 7)
    assert score_form(w_q.T, w_k.T, None, None, scale=1.0).frobenius != pytest.approx(np.linalg.norm(w_q @ w_k.T))
    assert score_form(w_q, w_k, None, None, scale=2.0).trace == pytest.approx(2 * np.trace(w_q @ w_k.T))


def test_the_smallest_skew_part_is_seen() -> None:
    """From tr M² alone, ‖M‖² − tr M² would leave 1e-8 of nothing."""
    w_q = factors(17, 5)[0]
    twins = score_form(w_q, 2 * w_q, None, None, scale=1.0)
    assert twins.skew <= 1e-14 * twins.frobenius
    near = score_form(w_q, 2 * w_q + 1e-11 * factors(17, 5)[1], None, None, scale=1.0)
    assert 1e-13 < near.skew / near.frobenius < 1e-10


def test_the_singular_values_in_50_digits() -> None:
    w_q, w_k, _, _ = factors(7, 3)
    with mpmath.workdps(50):
        m = mpmath.matrix(w_q.tolist()) * mpmath.matrix(w_k.tolist()).T
        exact = sorted((float(value) for value in mpmath.svd_r(m, compute_uv=False)), reverse=True)[:3]
    np.testing.assert_allclose(score_form(w_q, w_k, None, None, scale=1.0).singular_values, exact, rtol=1e-13)


def test_measured_scores_have_the_variance() -> None:
    w_q, w_k, b_q, b_k = factors(17, 5)
    form = score_form(w_q, w_k, b_q, b_k, scale=SCALE)
    x, y = np.random.default_rng(1).standard_normal((2, 100_000, 17))
    s = SCALE * np.einsum("nd,nd->n", x @ w_q + b_q, y @ w_k + b_k)
    error = float(np.square(s - s.mean()).std()) / math.sqrt(len(s))
    assert abs(float(s.var()) - form.variance) <= 4 * error
    assert abs(float(s.var()) - 1.5 * form.variance) > 4 * error
    assert abs(float(s.var()) - form.frobenius**2) > 4 * error, "biases count"


class TestCopying:
    def test_by_hand(self) -> None:
        assert copying(np.array([2.0, 1.0, 1.0], complex)) == 1
        assert copying(np.array([-2.0, -1.0], complex)) == -1
        assert copying(np.array([3.0, -1.0], complex)) == 0.5
        assert copying(np.array([1j, -1j])) == 0
        assert math.isnan(copying(np.zeros(3, complex)))

    def test_a_head_that_copies_and_one_that_turns(self) -> None:
        w = factors(17, 5)[0]
        assert copying(value_map(w, w.T).eigenvalues) == pytest.approx(1)
        assert copying(value_map(w, -w.T).eigenvalues) == pytest.approx(-1)


def test_effective_rank_by_hand() -> None:
    assert effective_rank(np.array([3.0, 3.0, 3.0, 0.0])) == pytest.approx(3)
    assert effective_rank(np.array([5.0, 0.0])) == 1
    assert effective_rank(np.array([2.0, 1.0])) == pytest.approx(25 / 17)
    assert effective_rank(np.array([2e-200, 1e-200])) == pytest.approx(25 / 17)
    assert math.isnan(effective_rank(np.zeros(2)))


class Sample(NamedTuple):
    """What random heads are like: a number of each."""

    #: tr M²/‖M‖²
    symmetry: Array
    #: ‖M‖² and tr M² themselves
    square: Array
    trace_of_square: Array
    skew: Array
    #: Σσ⁴
    fourth: Array
    copying: Array


def sample(d: int, width: int, *, heads: int, gain: Array | None = None, centred: bool = False) -> Sample:
    rng = np.random.default_rng([3, d, width])
    rows: list[tuple[float, ...]] = []
    for _ in range(heads):
        w_q, w_k, w_v, w_o = rng.standard_normal((4, d, width))
        if gain is not None:
            w_q, w_k = (through_norm(w, None, gain, None, centred=centred, eps=0.0)[0] for w in (w_q, w_k))
        form, values = score_form(w_q, w_k, None, None, scale=1.0), value_map(w_v, w_o.T)
        square, trace = form.frobenius**2, form.symmetric**2 - form.skew**2
        fourth = float(np.sum(form.singular_values**4))
        rows.append((trace / square, square, trace, form.skew / form.frobenius, fourth, copying(values.eigenvalues)))
    return Sample(*np.array(rows).T)


def away(values: Array, expected: float) -> float:
    """Of the mean of independent values, in standard errors."""
    return abs(float(values.mean()) - expected) / (float(values.std(ddof=1)) / math.sqrt(len(values)))


def ratio_away(top: Array, bottom: Array, expected: float) -> float:
    """Of a ratio of two means, in standard errors."""
    return away(top - expected * bottom, 0.0)


@pytest.mark.parametrize(("d", "width"), [(11, 5), (13, 3), (5, 7), (31, 7)])
class TestRandomWeights:
    def test_shares(self, d: int, width: int) -> None:
        """The same whatever d_k; a law with d_k in the place of d is turned away."""
        found = sample(d, width, heads=2000)
        assert away(found.symmetry, 1 / d) <= 4
        assert away(found.symmetry, 1.5 / d) > 4
        assert away(found.symmetry, 1 / width) > 4
        assert away(found.skew**2, random_skew_share(d) ** 2) <= 4
        assert away(1 - found.skew**2, random_symmetric_share(d) ** 2) <= 4

    def test_their_spread(self, d: int, width: int) -> None:
        found = sample(d, width, heads=2000)
        rank = 1 / float((found.fourth / found.square**2).mean())
        off = np.square(found.symmetry - 1 / d)
        assert away(off, symmetry_deviation(d, rank) ** 2) <= 4
        assert away(off, (1.5 * symmetry_deviation(d, rank)) ** 2) > 4
        assert float(found.skew.std()) == pytest.approx(share_deviation(d, rank), rel=0.1)

    def test_effective_rank(self, d: int, width: int) -> None:
        found, law = sample(d, width, heads=2000), random_effective_rank(d, d, width)
        assert ratio_away(found.square**2, found.fourth, law) <= 4
        assert ratio_away(found.square**2, found.fourth, 1.1 * law) > 4

    def test_copying(self, d: int, width: int) -> None:
        """The spread is a law of large matrices: a tenth off at these sizes."""
        found = sample(d, width, heads=2000)
        assert away(found.copying, 0) <= 4
        assert float(found.copying.std()) == pytest.approx(copying_deviation(d, width), rel=0.1)


def test_the_law_of_copying_is_of_large_matrices() -> None:
    rng = np.random.default_rng(5)
    pairs = rng.standard_normal((400, 2, 96, 24))
    found = [copying(value_map(w_v, w_o.T).eigenvalues) for w_v, w_o in pairs]
    spread = float(np.std(found))
    room = 4 / math.sqrt(2 * len(found))
    assert spread == pytest.approx(copying_deviation(96, 24), rel=room)
    assert spread != pytest.approx(1.5 * copying_deviation(96, 24), rel=room)


def test_without_an_output_matrix() -> None:
    """Rows of an orthogonal matrix for W_O: what is left is one Gaussian factor."""
    d, width, rng = 40, 16, np.random.default_rng(6)
    maps = [value_map(w_v, np.eye(d)[:width]) for w_v in rng.standard_normal((1000, d, width))]
    squares = np.array([np.square(one.singular_values).sum() ** 2 for one in maps])
    fourths = np.array([(one.singular_values**4).sum() for one in maps])
    law = random_effective_rank(d, None, width)
    assert ratio_away(squares, fourths, law) <= 4
    assert ratio_away(squares, fourths, random_effective_rank(d, d, width)) > 4
    spread = float(np.std([copying(one.eigenvalues) for one in maps]))
    assert spread == pytest.approx(copying_deviation(None, width), rel=4 / math.sqrt(2 * len(maps)))


class TestGains:
    GAIN = np.linspace(0.2, 3, 11) ** 2

    @pytest.mark.parametrize("centred", [False, True])
    def test_shares_are_those_of_fewer_directions(self, centred: bool) -> None:
        found = sample(11, 5, heads=4000, gain=self.GAIN, centred=centred)
        dimension = effective_dimension(11, self.GAIN, centred=centred)
        assert ratio_away(found.trace_of_square, found.square, 1 / dimension) <= 4
        assert ratio_away(found.trace_of_square, found.square, 1 / 11) > 4, "the gain counts"
        law = random_effective_rank(dimension, dimension, 5)
        assert ratio_away(found.square**2, found.fourth, law) <= 4

    def test_dimension_against_the_matrix(self) -> None:
        p = np.eye(11) - 1 / 11
        a = p @ np.diag(self.GAIN**2) @ p
        expected = np.trace(a) ** 2 / np.trace(a @ a)
        assert effective_dimension(11, self.GAIN, centred=True) == pytest.approx(expected, rel=1e-12)

    def test_plain_dimensions(self) -> None:
        assert effective_dimension(11) == 11
        assert effective_dimension(11, np.full(11, 0.3)) == pytest.approx(11)
        assert effective_dimension(11, centred=True) == pytest.approx(10)
        assert effective_dimension(1, centred=True) == 0
        assert effective_dimension(3, np.array([0.0, 2.0, 0.0])) == 1

    def test_one_direction_cannot_be_skew(self) -> None:
        assert (random_skew_share(1), random_symmetric_share(1)) == (0, 1)
        assert symmetry_deviation(1, 1) == share_deviation(1, 1) == 0
