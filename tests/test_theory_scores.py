"""What scores should be, against simulation at fixed seeds; a law that is wrong by half is seen to be turned away."""

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab.maths.norms import layer_norm, rms_norm
from attnlab.theory.scores import ScorePrediction, score_prediction, score_variance_identity, through_norm

Array = NDArray[Any]


class Head(NamedTuple):
    """One head's weights (d, d_k) and biases."""

    w_q: Array
    w_k: Array
    b_q: Array | None
    b_k: Array | None
    scale: float

    def scores(self, x: Array) -> Array:
        """(…, n, n) from tokens (…, n, d)."""
        q = x @ self.w_q + (0 if self.b_q is None else self.b_q)
        k = x @ self.w_k + (0 if self.b_k is None else self.b_k)
        return self.scale * q @ k.swapaxes(-1, -2)

    def predicted(self, n: int, sphere: int | None = None) -> ScorePrediction:
        return score_prediction(*self[:4], scale=self.scale, n=n, sphere=sphere)


def random_head(d: int, d_k: int, *, bias: float = 0.0, seed: int = 1) -> Head:
    rng = np.random.default_rng(seed)
    w_q, w_k = rng.standard_normal((2, d, d_k)) / math.sqrt(d)
    b_q, b_k = bias * rng.standard_normal((2, d_k))
    return Head(w_q, w_k, b_q if bias else None, b_k if bias else None, d_k**-0.5)


def identity_head(d: int) -> Head:
    return Head(np.eye(d), np.eye(d), None, None, d**-0.5)


def tied_head(d: int, d_k: int) -> Head:
    """W_Q = W_K: a token agrees most with itself."""
    head = random_head(d, d_k, bias=0.5)
    return head._replace(w_k=head.w_q)


HEADS = {
    "without biases": random_head(24, 6),
    "with biases": random_head(24, 6, bias=0.4),
    "one bias": random_head(24, 6, bias=0.4)._replace(b_k=None),
    "wider than its model": random_head(5, 11, bias=0.2),
    "identity": identity_head(16),
    "tied, with biases": tied_head(24, 6),
}


class Simulated(NamedTuple):
    """A number in many repetitions: its average, spread, and the standard errors of both."""

    mean: float
    mean_error: float
    spread: float
    spread_error: float


def simulated(numbers: Array) -> Simulated:
    off = numbers - numbers.mean()
    spread, count = float(off.std()), math.sqrt(len(numbers))
    spread_error = float(np.sqrt((off**4).mean() - spread**4)) / (2 * spread * count)
    return Simulated(float(numbers.mean()), spread / count, spread, spread_error)


def repeated(head: Head, n: int, repetitions: int) -> tuple[Simulated, Simulated]:
    """The mean and the variance of the n² scores, over sets of tokens."""
    rng = np.random.default_rng([2, n])
    scores = head.scores(rng.standard_normal((repetitions, n, len(head.w_q)))).reshape(repetitions, -1)
    return simulated(scores.mean(axis=1)), simulated(scores.var(axis=1))


@pytest.mark.parametrize("n", [5, 16, 64])
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS.keys())
class TestPrediction:
    def test_mean_and_variance(self, head: Head, n: int) -> None:
        mean, variance = repeated(head, n, 64000 // n)
        predicted = head.predicted(n)
        assert abs(mean.mean - predicted.mean) <= 4 * mean.mean_error
        assert abs(variance.mean - predicted.variance) <= 4 * variance.mean_error

    def test_a_law_wrong_by_half_is_turned_away(self, head: Head, n: int) -> None:
        _, variance = repeated(head, n, 64000 // n)
        assert abs(variance.mean - 1.5 * head.predicted(n).variance) > 4 * variance.mean_error

    def test_standard_error(self, head: Head, n: int) -> None:
        """Up to 1/√(1 − 1/n) too large by its own account, where biases are all there is."""
        _, variance = repeated(head, n, 64000 // n)
        error = head.predicted(n).standard_error
        assert error is not None
        room = 4 * variance.spread_error
        assert variance.spread - room <= error <= variance.spread / math.sqrt(1 - 1 / n) + room
        assert not variance.spread - room <= 1.5 * error <= variance.spread / math.sqrt(1 - 1 / n) + room


def normal_tokens(n: int, d: int) -> tuple[Array, Array]:
    """Sets of n tokens (·, n, d) and their weights: Gauss's rule for x ~ N(0, I), exact to degree 9 in each number."""
    at, weight = np.polynomial.hermite_e.hermegauss(5)
    x, w = (np.stack(np.meshgrid(*[one] * (n * d), indexing="ij"), axis=-1) for one in (at, weight))
    return x.reshape(-1, n, d), w.reshape(-1, n * d).prod(axis=-1) / math.sqrt(2 * math.pi) ** (n * d)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize(
    "head", [random_head(2, 2, bias=0.7), random_head(2, 3, bias=2.0, seed=3), tied_head(2, 2), identity_head(2)]
)
def test_every_moment_of_two_and_three_tokens(head: Head, n: int) -> None:
    """Polynomials, integrated and not sampled: in the simulations above terms of a few per cent hide in the noise.

    The standard error is that of the mean square about the predicted mean, not about the sample's own.
    """
    x, weight = normal_tokens(n, 2)
    scores, predicted = head.scores(x), head.predicted(n)
    assert weight @ scores.mean(axis=(1, 2)) == pytest.approx(predicted.mean, rel=1e-9, abs=1e-12)
    assert weight @ scores.var(axis=(1, 2)) == pytest.approx(predicted.variance, rel=1e-9)
    about = np.square(scores - predicted.mean).mean(axis=(1, 2))
    error = math.sqrt(weight @ np.square(about) - (weight @ about) ** 2)
    assert predicted.standard_error == pytest.approx(error, rel=1e-9)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("head", [random_head(2, 2, bias=0.7), random_head(2, 3, bias=2.0, seed=3), tied_head(2, 2)])
def test_mean_and_variance_on_a_circle(head: Head, n: int) -> None:
    """Every set of n tokens out of twelve evenly spread ones of length √2: exact for what turns up to eleven times."""
    angle = 2 * math.pi * np.arange(12) / 12
    circle = math.sqrt(2) * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    x = circle[np.stack(np.meshgrid(*[range(12)] * n, indexing="ij"), axis=-1).reshape(-1, n)]
    scores, predicted = head.scores(x), head.predicted(n, sphere=2)
    assert scores.mean() == pytest.approx(predicted.mean, rel=1e-9)
    assert scores.var(axis=(1, 2)).mean() == pytest.approx(predicted.variance, rel=1e-9)


def z_scores(head: Head, n: int, seeds: int) -> Array:
    predicted = head.predicted(n)
    x = [np.random.default_rng(seed).standard_normal((n, len(head.w_q))) for seed in range(seeds)]
    return np.array(
        [(head.scores(tokens).var() - predicted.variance) / (predicted.standard_error or 0) for tokens in x]
    )


@pytest.mark.parametrize(
    "head", [random_head(64, 16), random_head(64, 16, bias=0.3), identity_head(64), tied_head(64, 16)]
)
def test_z_scores_have_mean_0_and_spread_1(head: Head) -> None:
    """An identity head's were 1.7 wide when the standard error left the diagonal out: most warnings were false."""
    z = z_scores(head, 48, 200)
    assert abs(z.mean()) <= 4 / math.sqrt(200)
    assert abs(z.std() - 1) <= 4 / math.sqrt(400)


def off_diagonal_error(m: Array, n: int) -> float:
    """The closed form of the second moment off the diagonal, no biases: the course's known case gives 0.0544."""
    f, t, u = np.sum(m * m), np.trace(m.T @ m @ m.T @ m), np.trace(m.T @ m @ m @ m.T)
    c = (m @ m + (m @ m).T) / 2
    r = 2 * t + 2 * np.trace(m @ m) ** 2 + 4 * np.trace(c @ c)
    return math.sqrt((2 * f**2 + 6 * t + 4 * (n - 2) * (t + u) + r) / (n * (n - 1)))


def test_the_known_case_of_sixty_four() -> None:
    """M = I/8 at d = N = 64: 0.0544 off the diagonal. Half the signs turned, tr M is 0 and the diagonal nearly mute."""
    assert off_diagonal_error(np.eye(64) / 8, 64) == pytest.approx(0.0544, abs=5e-5)
    signs = np.diag(np.tile([1.0, -1.0], 32))
    turned = score_prediction(signs, np.eye(64), None, None, scale=1 / 8, n=64)
    assert turned.standard_error == pytest.approx(0.0544, rel=0.02)


def test_a_head_of_independent_scores_is_c_squared_times_the_norm_of_m() -> None:
    head = random_head(24, 6)
    m = head.scale * head.w_q @ head.w_k.T
    assert head.predicted(10**6).variance == pytest.approx(np.sum(m * m), rel=1e-5)


def test_one_token_has_no_variance_and_no_error() -> None:
    predicted = random_head(24, 6, bias=0.4).predicted(1)
    assert predicted.variance == pytest.approx(0, abs=1e-12)
    assert predicted.standard_error is None


@pytest.mark.parametrize(("d", "d_k"), [(64, 64), (128, 16), (96, 32)])
def test_xavier_uniform_starts_at_its_closed_form(d: int, d_k: int) -> None:
    rng, bound = np.random.default_rng(3), math.sqrt(6 / (d + d_k))
    pairs = rng.uniform(-bound, bound, (200, 2, d, d_k))
    drawn = [Head(w_q, w_k, None, None, d_k**-0.5) for w_q, w_k in pairs]
    variances = simulated(np.array([head.predicted(10**9).variance for head in drawn]))
    expected = (2 * d / (d + d_k)) ** 2
    assert abs(variances.mean - expected) <= 4 * variances.mean_error
    assert abs(variances.mean - 1.5 * expected) > 4 * variances.mean_error


def test_float16_weights_are_taken_as_float64() -> None:
    head = random_head(24, 6)
    half = head._replace(w_q=head.w_q.astype(np.float16), w_k=head.w_k.astype(np.float16))
    wide = half._replace(w_q=half.w_q.astype(np.float64), w_k=half.w_k.astype(np.float64))
    assert half.predicted(7) == wide.predicted(7)


#: In the tests of norms: as good as none, for the sphere to be exact.
EPS = 1e-9


def after_norm(head: Head, n: int, repetitions: int, *, centred: bool, eps: float = EPS) -> tuple[Simulated, Simulated]:
    """The mean and the variance of the n² scores of normed tokens."""
    x = np.random.default_rng(9).standard_normal((repetitions, n, len(head.w_q)))
    normed = layer_norm(x, eps=eps) if centred else rms_norm(x, eps=eps)
    scores = head.scores(normed).reshape(repetitions, -1)
    return simulated(scores.mean(axis=1)), simulated(scores.var(axis=1))


def through(head: Head, *, centred: bool, eps: float = EPS) -> Head:
    """The head as normal tokens see it through a norm without gain and bias."""
    ones = np.ones(len(head.w_q))
    w_q, b_q = through_norm(head.w_q, head.b_q, ones, None, centred=centred, eps=eps)
    w_k, b_k = through_norm(head.w_k, head.b_k, ones, None, centred=centred, eps=eps)
    return head._replace(w_q=w_q, w_k=w_k, b_q=b_q, b_k=b_k)


class TestOnTheSphere:
    """Tokens of one length: xᵀMx varies only by the traceless part of M."""

    @pytest.mark.parametrize("centred", [True, False])
    @pytest.mark.parametrize(
        ("head", "n"),
        [
            (identity_head(64), 8),
            (identity_head(16), 8),
            (tied_head(24, 6), 8),
            (tied_head(24, 20), 12),
            (random_head(48, 8), 16),
            (random_head(5, 11, bias=0.2), 8),
        ],
    )
    def test_variance_and_its_error(self, head: Head, n: int, centred: bool) -> None:
        d = len(head.w_q)
        mean, variance = after_norm(head, n, 6000, centred=centred)
        predicted = through(head, centred=centred).predicted(n, d - centred)
        assert abs(mean.mean - predicted.mean) <= 4 * mean.mean_error + 1e-6
        assert abs(variance.mean - predicted.variance) <= 4 * variance.mean_error
        assert predicted.standard_error == pytest.approx(variance.spread, rel=0.15 if d > 5 else 0.5)

    def test_a_span_that_leaves_dimensions_over_is_that_of_the_whole_matrix(self) -> None:
        """W_Q and W_K with zero columns span all dimensions formally, and give the same numbers."""
        head = tied_head(24, 6)._replace(b_q=None, b_k=None)
        nothing = np.zeros((24, 18))
        wide = head._replace(w_q=np.hstack([head.w_q, nothing]), w_k=np.hstack([head.w_k, nothing]))
        assert wide.predicted(8, 24) == pytest.approx(head.predicted(8, 24), rel=1e-9)

    def test_far_out_it_is_flat(self) -> None:
        head = tied_head(24, 6)
        assert head.predicted(8, 10**9) == pytest.approx(head.predicted(8), rel=1e-6)

    @pytest.mark.parametrize("centred", [True, False])
    def test_an_eps_shrinks_the_tokens(self, centred: bool) -> None:
        head = random_head(64, 8)
        _, variance = after_norm(head, 10, 3000, centred=centred, eps=1.0)
        predicted = through(head, centred=centred, eps=1.0).predicted(10, 64 - centred).variance
        assert variance.mean == pytest.approx(predicted, rel=4 * variance.mean_error / predicted + 1 / 64)
        assert variance.mean < 0.5 * through(head, centred=centred).predicted(10, 64 - centred).variance


class TestThroughNorm:
    d, d_k = 48, 6

    def given(self) -> tuple[Head, Array, Array]:
        rng = np.random.default_rng(8)
        return random_head(self.d, self.d_k, bias=0.3), rng.uniform(0.3, 2, self.d), 0.3 * rng.standard_normal(self.d)

    def normed(self, x: Array, gain: Array, bias: Array, *, centred: bool) -> Array:
        return layer_norm(x, gain, bias, eps=EPS) if centred else rms_norm(x, gain, eps=EPS)

    def seen_through(self, head: Head, gain: Array, bias: Array, *, centred: bool) -> Head:
        offset = bias if centred else None
        w_q, b_q = through_norm(head.w_q, head.b_q, gain, offset, centred=centred, eps=EPS)
        w_k, b_k = through_norm(head.w_k, head.b_k, gain, offset, centred=centred, eps=EPS)
        return Head(w_q, w_k, b_q, b_k, head.scale)

    @pytest.mark.parametrize("centred", [True, False])
    def test_covariance_and_mean_of_the_queries(self, centred: bool) -> None:
        head, gain, bias = self.given()
        y = self.normed(np.random.default_rng(4).standard_normal((40_000, self.d)), gain, bias, centred=centred)
        q = y @ head.w_q + head.b_q
        seen = self.seen_through(head, gain, bias, centred=centred)
        expected = seen.w_q.T @ seen.w_q
        error = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / len(q))
        assert (np.abs(np.cov(q.T) - expected) <= 4.5 * error).all()
        assert seen.b_q is not None
        assert (np.abs(q.mean(axis=0) - seen.b_q) <= 4.5 * np.sqrt(np.diag(expected) / len(q))).all()

    @pytest.mark.parametrize("centred", [True, False])
    def test_mean_and_variance_of_the_scores(self, centred: bool) -> None:
        head, gain, bias = self.given()
        x = np.random.default_rng(5).standard_normal((1500, 32, self.d))
        scores = head.scores(self.normed(x, gain, bias, centred=centred)).reshape(len(x), -1)
        mean, variance = simulated(scores.mean(axis=1)), simulated(scores.var(axis=1))
        predicted = self.seen_through(head, gain, bias, centred=centred).predicted(32, self.d - centred)
        assert abs(mean.mean - predicted.mean) <= 4 * mean.mean_error
        assert abs(variance.mean - predicted.variance) <= 4 * variance.mean_error
        assert abs(variance.mean - 1.5 * predicted.variance) > 4 * variance.mean_error
        assert predicted.standard_error == pytest.approx(variance.spread, rel=0.15)

    def test_without_gains_biases_or_centring_nothing_changes(self) -> None:
        w = np.random.default_rng(0).standard_normal((5, 3))
        wide, offset = through_norm(w, None, np.ones(5), None, centred=False, eps=0.0)
        np.testing.assert_array_equal(wide, w)
        np.testing.assert_array_equal(offset, np.zeros(3))

    def test_one_number_centred_is_nothing(self) -> None:
        wide, offset = through_norm(np.ones((1, 3)), np.ones(3), np.ones(1), np.full(1, 2.0), centred=True, eps=0.0)
        np.testing.assert_array_equal(wide, np.zeros((1, 3)))
        np.testing.assert_array_equal(offset, np.full(3, 3.0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "m"), [(7, 7), (5, 11), (1, 3)])
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_the_identity_is_the_measured_variance(dtype: Any, n: int, m: int, offset: float) -> None:
    rng = np.random.default_rng(6)
    q, k = (rng.standard_normal((n, 6)) + offset).astype(dtype), (rng.standard_normal((m, 6)) - offset).astype(dtype)
    measured = (0.3 * q.astype(np.float64) @ k.astype(np.float64).T).var()
    assert score_variance_identity(q, k, scale=0.3) == pytest.approx(measured, rel=1e-12 if offset == 0 else 1e-11)


def test_the_identity_without_its_means_would_not_have_passed() -> None:
    q, k = np.random.default_rng(7).standard_normal((2, 9, 6)) + 1
    centred = score_variance_identity(q - q.mean(axis=0), k - k.mean(axis=0), scale=1.0)
    assert abs(centred / (q @ k.T).var() - 1) > 0.5
