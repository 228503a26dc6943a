"""How far from symmetric a streamed attention is: the second pass against the whole matrix, and when there is none."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab.maths import skew
from attnlab.maths.attention import attention
from attnlab.maths.streaming import NOT_ASKED, attention_statistics, stream
from tests.streaming_cases import Arrays, cut_small, draw, inputs_of

Array = NDArray[Any]

N = 61


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_small(monkeypatch)


def from_the_matrix(weights: Array) -> Array:
    """‖A − Aᵀ‖_F / (2‖A‖_F), as it is written."""
    return np.asarray(
        np.linalg.norm(weights - weights.swapaxes(-1, -2), axis=(-2, -1)) / (2 * np.linalg.norm(weights, axis=(-2, -1)))
    )


def symmetric(size: float) -> Arrays:
    """Queries that are the keys, of one length: scores, and as rows have the same sums, weights are symmetric."""
    angles = 2 * np.pi * np.arange(N) / N
    x = size * np.stack([np.cos(angles), np.sin(angles)], axis=-1)[None]
    return x, x, draw(1, 1, N, N)[2]


def scaled(size: float) -> Arrays:
    q, k, v = draw(4, 2, N, N)
    return size * q, k, v


HALF = np.random.default_rng(1).random((4, N, N)) < 0.5
HALF[:, 7] = False
BIAS = np.random.default_rng(2).standard_normal((N, N))


def bias_of(head: int, queries: slice, keys: slice) -> Array:
    return np.asarray((head + 1) * BIAS[queries, keys])


CASES: dict[str, tuple[Arrays, dict[str, Any]]] = {
    "plain": (scaled(1), {}),
    "sharp": (scaled(30), {}),
    "sharper than exponents hold": (scaled(1e4), {}),
    "window": (scaled(1), {"window": 9}),
    "window within a block": (scaled(1), {"window": 1}),
    "mask": (scaled(1), {"mask": HALF}),
    "bias": (scaled(1), {"bias": BIAS}),
    "bias as a function": (scaled(1), {"bias": bias_of}),
    "bias that hides": (scaled(1), {"bias": np.where(HALF, BIAS, -np.inf)}),
    "bias by the row": (scaled(1), {"bias": 1e3 * np.arange(N)[:, None]}),
    "softcap": (scaled(30), {"softcap": 2.0}),
    "all together": (scaled(3), {"mask": HALF, "bias": bias_of, "softcap": 2.0, "window": 23}),
    "one token": (draw(2, 2, 1, 1), {}),
    "leading axes": (draw(2, 2, 23, 23, lead=(3,)), {}),
    "symmetric": (symmetric(1), {}),
}


def asked(arrays: Arrays, **settings: Any) -> Array:
    """The asymmetry of each head, without the matrix."""
    found = attention_statistics(*arrays, asymmetry=True, **settings).statistics
    assert "asymmetry" not in found.reasons
    return found.asymmetry


@pytest.mark.parametrize(("arrays", "settings"), CASES.values(), ids=CASES.keys())
def test_as_from_the_matrix(arrays: Arrays, settings: dict[str, Any]) -> None:
    expected = from_the_matrix(attention(*arrays, **settings).weights)
    np.testing.assert_allclose(asked(arrays, **settings), expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    "settings", [{}, {"mask": HALF}, {"bias": BIAS.astype(np.float32)}], ids=["plain", "mask", "bias"]
)
def test_so_it_is_in_float32(settings: dict[str, Any]) -> None:
    arrays = scaled(4)
    narrow = tuple(array.astype(np.float32) for array in arrays)
    exact = from_the_matrix(attention(*(array.astype(np.float64) for array in narrow), **settings).weights)
    np.testing.assert_allclose(asked(narrow, **settings), exact, rtol=1e-5)  # type: ignore[arg-type]


def test_large_scores_in_float32_do_not_outgrow_their_rows() -> None:
    """Scores of 10⁶ are rounded to 0.06: the second pass's products, rounded otherwise, need their own normalisers."""
    q, k, v = (array.astype(np.float32) for array in draw(4, 2, N, N, d=64))
    expected = from_the_matrix(attention(1e6 * q, k, v).weights.astype(np.float64))
    np.testing.assert_allclose(asked((1e6 * q, k, v)), expected, rtol=1e-4)


def test_with_blocks_of_their_own_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three blocks of 256 tokens, the last of them not full."""
    monkeypatch.undo()
    for window in (None, 300):
        arrays = draw(1, 1, 600, 600)
        expected = from_the_matrix(attention(*arrays, window=window).weights)
        np.testing.assert_allclose(asked(arrays, window=window), expected, rtol=1e-10)


def test_its_ends() -> None:
    """0 where A is symmetric, 1/√2 where no pair looks at each other."""
    assert asked(symmetric(3))[0] < 1e-15
    everyone_next = np.roll(np.eye(N, dtype=bool), 1, axis=1)
    np.testing.assert_allclose(asked(scaled(1), mask=everyone_next), math.sqrt(0.5), rtol=1e-14)


def test_a_nearly_symmetric_one_keeps_its_digits() -> None:
    """‖A‖² − tr AA, which one pass could gather, would leave only noise of 1e-8."""
    q, k, v = symmetric(1)
    moved = q.copy()
    moved[0, 5, 0] += 1e-9
    expected = from_the_matrix(attention(moved, k, v).weights)
    found = asked((moved, k, v))
    assert 1e-12 < found[0] < 1e-9
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    weights = attention(moved, k, v).weights[0]
    squared = (weights**2).sum() - (weights * weights.T).sum()
    assert not math.isclose(math.sqrt(max(0, squared) / 2 / (weights**2).sum()), expected[0], rel_tol=0.01)


@pytest.mark.parametrize("threads", [2, 4])
def test_any_number_of_threads_gives_the_same_bits(threads: int) -> None:
    inputs = inputs_of(scaled(1), {"mask": HALF})
    one, other = (stream(inputs, asymmetry=True, threads=count).statistics for count in (1, threads))
    np.testing.assert_array_equal(one.asymmetry, other.asymmetry)


class TestWhenThereIsNone:
    """NaN with the reason."""

    def undefined(self, arrays: Arrays, **settings: Any) -> str:
        found = attention_statistics(*arrays, **({"asymmetry": True} | settings)).statistics
        assert np.isnan(found.asymmetry).all()
        return found.reasons["asymmetry"]

    def test_it_was_not_asked_for(self) -> None:
        assert self.undefined(scaled(1), asymmetry=False) == NOT_ASKED

    @pytest.mark.parametrize("asked_for", [True, False])
    def test_causal(self, asked_for: bool) -> None:
        words = self.undefined(scaled(1), causal=True, asymmetry=asked_for)
        assert words == "causal: the half above the diagonal is hidden"

    @pytest.mark.parametrize("asked_for", [True, False])
    def test_queries_and_keys_are_not_the_same_tokens(self, asked_for: bool) -> None:
        words = self.undefined(draw(2, 2, 13, 23), asymmetry=asked_for)
        assert words == "13 queries and 23 keys are not the same tokens"

    def test_nothing_is_visible(self) -> None:
        words = self.undefined(scaled(1), mask=np.zeros((N, N), bool))
        assert words == "a row is not finite, or every row is empty"

    def test_a_row_is_not_finite(self) -> None:
        q, k, v = scaled(1)
        q[:, 3, 0] = np.nan
        assert self.undefined((q, k, v)) == "a row is not finite, or every row is empty"

    def test_the_second_pass_is_then_not_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def never(*_: object) -> float:
            raise AssertionError("a second pass")

        monkeypatch.setattr("attnlab.maths.streaming.head_asymmetry", never)
        self.undefined(scaled(1), asymmetry=False)
        self.undefined(scaled(1), causal=True)
        with pytest.raises(AssertionError, match="a second pass"):
            asked(scaled(1))


def test_blocks_beyond_the_window_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []
    between = skew.weights_between

    def counted(head: Any, rows: Any, queries: slice, keys: slice) -> Array:
        computed.append((queries, keys))
        return between(head, rows, queries, keys)

    monkeypatch.setattr(skew, "weights_between", counted)
    asked(draw(1, 1, N, N), window=3)
    assert len(computed) == 6 + 2 * 5  # six blocks of 11 with themselves, and with the one before
    computed.clear()
    asked(draw(1, 1, N, N))
    assert len(computed) == 6 * 6
