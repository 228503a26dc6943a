"""Attention by hand, and its meaning at the edges."""

import math
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab import attention, attention_scores

Array = NDArray[Any]

LN2 = math.log(2)


def column(*numbers: float) -> Array:
    return np.array(numbers, dtype=np.float64)[:, None]


def fractions(*rows: str) -> Array:
    """Rows such as "2/5 2/5 1/5" as numbers."""
    return np.array([[float(Fraction(cell)) for cell in row.split()] for row in rows])


def close(ours: Array, expected: Array) -> None:
    np.testing.assert_allclose(ours, expected, rtol=4e-16, atol=1e-16)


def primes(dtype: Any = np.float64) -> dict[str, Any]:
    """Every axis a different prime, but for 10 query heads over 5 key/value heads."""
    rng = np.random.default_rng(1)
    shapes = {"q": (3, 10, 7, 11), "k": (3, 5, 13, 11), "v": (3, 5, 13, 17)}
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


class TestByHand:
    """Tokens 1, 2, 3 with keys ln 2, ln 2, 0: e to the score is 2, 2, 1."""

    q = column(1, 0)
    k = column(LN2, LN2, 0)
    v = np.array([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]])

    def test_weights_are_the_exponentials_shares(self) -> None:
        close(attention(self.q, self.k, self.v).weights, fractions("2/5 2/5 1/5", "1/3 1/3 1/3"))

    def test_output_is_the_weighted_sum_of_the_values(self) -> None:
        close(attention(self.q, self.k, self.v).output, fractions("7/5 7/5", "2 2"))

    def test_lse_is_the_log_of_the_denominator(self) -> None:
        close(attention(self.q, self.k, self.v).lse, np.log([5, 3]))

    def test_a_mask_takes_keys_out(self) -> None:
        found = attention(self.q, self.k, self.v, mask=np.array([[True, False, True], [False, False, True]]))
        close(found.weights, fractions("2/3 0 1/3", "0 0 1"))
        close(found.lse, np.log([3, 1]))

    def test_a_bias_is_added_to_the_scores(self) -> None:
        close(attention(self.q, self.k, self.v, bias=np.array([0, LN2, LN2])).weights[0], fractions("1/4 1/2 1/4")[0])

    def test_a_bias_of_minus_infinity_hides(self) -> None:
        found = attention(self.q, self.k, self.v, bias=np.array([-np.inf, 0, 0]))
        close(found.weights, fractions("0 2/3 1/3", "0 1/2 1/2"))

    def test_scale_multiplies(self) -> None:
        close(attention(self.q, self.k, self.v, scale=2).weights[0], fractions("4/9 4/9 1/9")[0])

    def test_scale_is_one_over_the_root_of_the_width(self) -> None:
        q, k = np.full((1, 4), 1.0), np.stack([np.full(4, LN2 / 2), np.zeros(4)])
        close(attention(q, k, np.eye(2)).weights, fractions("2/3 1/3"))

    def test_softcap_bends_before_the_bias(self) -> None:
        scores = attention_scores(self.q, self.k, softcap=0.5, bias=np.array([0, 10.0, 0]))
        bent = 0.5 * math.tanh(LN2 / 0.5)
        close(scores, np.array([[bent, bent + 10, 0], [0, 10, 0]]))

    def test_scores_are_what_the_softmax_is_given(self) -> None:
        scores = attention_scores(self.q, self.k, causal=True)
        np.testing.assert_array_equal(scores, [[LN2, -np.inf, -np.inf], [0, 0, -np.inf]])

    def test_a_lookup_returns_the_value_of_the_key_it_matches(self) -> None:
        names = np.eye(3)
        values = np.array([[2.0], [3.0], [5.0]])
        np.testing.assert_array_equal(attention(names[[2, 0]], names, values, scale=1e4).output, [[5.0], [2.0]])


class TestPlaces:
    """With equal scores a row's weights tell which keys it sees."""

    @pytest.mark.parametrize(
        ("causal", "window", "rows"),
        [
            (True, None, ["1 0 0 0", "1/2 1/2 0 0", "1/3 1/3 1/3 0"]),
            (True, 1, ["1 0 0 0", "0 1 0 0", "0 0 1 0"]),
            (True, 2, ["1 0 0 0", "1/2 1/2 0 0", "0 1/2 1/2 0"]),
            (False, 0, ["1 0 0 0", "0 1 0 0", "0 0 1 0"]),
            (False, 1, ["1/2 1/2 0 0", "1/3 1/3 1/3 0", "0 1/3 1/3 1/3"]),
            (False, None, ["1/4 1/4 1/4 1/4"] * 3),
        ],
    )
    def test_causal_order_and_windows(self, causal: bool, window: int | None, rows: list[str]) -> None:
        found = attention(np.zeros((3, 2)), np.ones((4, 2)), np.ones((4, 1)), causal=causal, window=window)
        close(found.weights, fractions(*rows))

    def test_queries_past_the_last_key_see_what_the_window_leaves(self) -> None:
        found = attention(np.zeros((3, 1)), np.zeros((2, 1)), np.ones((2, 1)), causal=True, window=1)
        np.testing.assert_array_equal(found.weights, [[1, 0], [0, 1], [0, 0]])

    def test_mask_and_causal_order_both_hide(self) -> None:
        found = attention(
            np.zeros((2, 1)), np.zeros((2, 1)), np.ones((2, 1)), causal=True, mask=np.array([False, True])
        )
        np.testing.assert_array_equal(found.weights, [[0, 0], [0, 1]])


class TestNothingVisible:
    def test_the_row_is_zeros_and_its_lse_minus_infinity(self) -> None:
        found = attention(column(1, 1), column(1, 2), column(3, 4), mask=np.array([[False, False], [True, False]]))
        np.testing.assert_array_equal(found.weights, [[0, 0], [1, 0]])
        np.testing.assert_array_equal(found.output, [[0], [3]])
        np.testing.assert_array_equal(found.lse, [-np.inf, 1])

    def test_no_keys_at_all(self) -> None:
        found = attention(np.ones((2, 3)), np.ones((0, 3)), np.ones((0, 5)))
        np.testing.assert_array_equal(found.output, np.zeros((2, 5)))
        np.testing.assert_array_equal(found.lse, [-np.inf, -np.inf])

    def test_no_queries_at_all(self) -> None:
        assert attention(np.ones((0, 3)), np.ones((2, 3)), np.ones((2, 5))).output.shape == (0, 5)


class TestNotFinite:
    def test_a_visible_infinite_score_makes_its_row_nan(self) -> None:
        found = attention(column(1, 0), column(1, 2), column(3, 4), bias=np.array([[0, np.inf], [0, 0]]))
        assert np.isnan(found.weights[0]).all()
        np.testing.assert_array_equal(found.weights[1], [0.5, 0.5])

    def test_a_nan_row_still_gives_hidden_keys_no_weight(self) -> None:
        found = attention(column(np.nan, 0), column(1, 2), column(3, 4), causal=True)
        np.testing.assert_array_equal(found.weights, [[np.nan, 0], [0.5, 0.5]])

    def test_infinite_values_reach_the_rows_that_see_them(self) -> None:
        found = attention(column(0, 0), column(0, 0), column(1, np.inf), causal=True)
        np.testing.assert_array_equal(found.output, [[1], [np.inf]])

    def test_opposite_infinities_are_nan(self) -> None:
        assert np.isnan(attention(column(0), column(0, 0), column(-np.inf, np.inf)).output).all()

    def test_each_head_keeps_its_own_infinite_values(self) -> None:
        v = np.ones((2, 3, 1))
        v[0, 1] = np.nan
        found = attention(np.zeros((4, 2, 1)), np.zeros((2, 3, 1)), v).output
        np.testing.assert_array_equal(np.isnan(found[..., 0, 0]), [True, True, False, False])


class TestShapes:
    def test_every_axis_a_different_prime(self) -> None:
        found = attention(**primes())
        assert found.output.shape == (3, 10, 7, 17)
        assert found.weights.shape == (3, 10, 7, 13)
        assert found.lse.shape == (3, 10, 7)

    def test_each_entry_is_its_formula(self) -> None:
        given = primes()
        found = attention(**given)
        for batch, head, i in [(0, 0, 0), (1, 3, 5), (2, 9, 6)]:
            q, k, v = given["q"][batch, head, i], given["k"][batch, head // 2], given["v"][batch, head // 2]
            e = [math.exp(sum(q * key) / math.sqrt(11)) for key in k]
            expected = sum(weight / sum(e) * value for weight, value in zip(e, v, strict=True))
            np.testing.assert_allclose(found.output[batch, head, i], expected, rtol=1e-13)
            assert found.lse[batch, head, i] == pytest.approx(math.log(sum(e)), rel=1e-14)

    def test_without_a_head_axis_there_is_none_in_the_result(self) -> None:
        found = attention(np.ones((2, 3)), np.ones((5, 3)), np.ones((5, 7)))
        assert [array.shape for array in found] == [(2, 7), (2, 5), (2,)]
        assert attention_scores(np.ones((2, 3)), np.ones((5, 3))).shape == (2, 5)

    def test_leading_axes_broadcast(self) -> None:
        found = attention(np.ones((2, 1, 1, 3, 5)), np.ones((7, 1, 4, 5)), np.ones((1, 4, 6)))
        assert found.output.shape == (2, 7, 1, 3, 6)

    def test_mask_and_bias_broadcast_per_head(self) -> None:
        q, k, v = np.zeros((2, 3, 1)), np.zeros((1, 2, 1)), np.ones((1, 2, 1))
        mask = np.array([[[True, False]], [[True, True]]])
        bias = np.array([[[0.0]], [[5.0]]])
        found = attention(q, k, v, mask=mask, bias=bias)
        np.testing.assert_array_equal(found.weights, [[[1, 0]] * 3, [[0.5, 0.5]] * 3])

    def test_one_token_of_width_one(self) -> None:
        found = attention(column(3), column(-7), column(5))
        assert (found.output.item(), found.weights.item(), found.lse.item()) == (5, 1, -21)

    def test_lists_are_taken(self) -> None:
        output = attention([[1.0]], [[1.0]], [[2.0]]).output  # type: ignore[arg-type]
        np.testing.assert_array_equal(output, [[2.0]])


class TestDtypes:
    @pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
    def test_results_come_back_as_the_inputs_came(self, dtype: Any) -> None:
        found = attention(**primes(dtype))
        assert found.output.dtype == found.weights.dtype == dtype
        assert found.lse.dtype == (np.float64 if dtype == np.float64 else np.float32)

    @pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
    def test_half_is_computed_in_float32_and_rounded_once(self, dtype: Any) -> None:
        given = primes(dtype)
        wide = attention(*(array.astype(np.float32) for array in given.values()))
        np.testing.assert_array_equal(attention(**given).output, wide.output.astype(dtype))

    def test_mixed_dtypes_follow_numpy(self) -> None:
        given = primes(np.float32)
        given["v"] = given["v"].astype(np.float64)
        assert attention(**given).output.dtype == np.float64

    def test_a_wider_bias_widens_the_result(self) -> None:
        assert attention(**primes(np.float16), bias=np.zeros(13, np.float32)).weights.dtype == np.float32

    def test_float16_scores_beyond_its_range_are_weighed_all_the_same(self) -> None:
        q = np.full((1, 4), 200, np.float16)
        k = np.array([[200.0] * 4, [199.875] * 4], np.float16)
        found = attention(q, k, np.eye(2, dtype=np.float16), scale=1.0)
        np.testing.assert_array_equal(found.weights, [[1, 0]])
        assert found.lse.item() == 160_000
        assert np.isposinf(attention_scores(q, k, scale=1.0)).all()


class TestABiasThatIsAFunction:
    """What it returns is converted to what is computed in, as an array of that dtype would be."""

    bias = np.random.default_rng(4).standard_normal((7, 13))

    def given(self, head: int, queries: slice, keys: slice) -> Array:
        return np.asarray(self.bias[queries, keys])

    def test_float32_stays_float32(self) -> None:
        arrays = primes(np.float32)
        arrays = {name: array[0] for name, array in arrays.items()}
        found, expected = attention(**arrays, bias=self.given), attention(**arrays, bias=self.bias.astype(np.float32))
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.dtype == np.float32
            np.testing.assert_array_equal(ours, theirs)
        scores = attention_scores(arrays["q"], arrays["k"], bias=self.given)
        assert scores.dtype == np.float32

    def test_one_that_float32_cannot_hold_hides_the_key(self) -> None:
        q, k, v = (np.ones((3, 2), np.float32) for _ in range(3))
        found = attention(q, k, v, bias=lambda head, queries, keys: np.full((3, 3), -1e39))
        assert (found.lse == -np.inf).all()
        assert not found.weights.any()

    def test_half_inputs_are_computed_in_float32_and_their_bias_too(self) -> None:
        """float16 ends at 65504: 100,000 and 99,999 would both be infinite."""
        q, k, v = (np.ones((1, 2), np.float16), np.ones((2, 2), np.float16), np.array([[1.0], [0.0]], np.float16))
        found = attention(q, k, v, bias=lambda head, queries, keys: np.array([[1e5, 1e5 - 1]]))
        share = 1 / (1 + math.exp(-1))
        np.testing.assert_allclose(found.weights, [[share, 1 - share]], rtol=2**-10)
