"""Streamed attention in float32 and in half precision against float64: a tolerance for each number, and torch's."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab.maths.attention import attention
from attnlab.maths.streaming import StreamedAttention, attention_statistics
from tests.streaming_cases import BOTH_KINDS, Arrays, changed, cut_small, dense, draw, numbers, streamed

Array = NDArray[Any]

EPS = float(np.finfo(np.float32).eps)
#: How far each number may lie from that of float64, relative to the larger of itself and 1, in units of eps (1 + L):
#: L is the largest |score| or |logit|. About twice the worst of 200 attentions of 61 to 2,000 tokens.
TOLERANCES = {
    "output": 4.0,
    "lse": 2.0,
    "score_mean": 0.25,
    "score_variance": 0.25,
    "score_max": 1.0,
    "logit_max": 1.0,
    "entropy": 0.25,
    "normalized_entropy": 0.25,
    "perplexity": 0.25,
    "effective_keys": 0.25,
    "max_weight": 0.25,
    "jacobian_trace_mean": 0.25,
    "jacobian_trace_median": 0.5,
    "sink_mass": 0.25,
    "received": 0.25,
    "received_max": 0.25,
    "received_by_seers_max": 0.25,
    "self_mass": 0.25,
    "previous_mass": 0.25,
    "next_mass": 0.25,
    "distance": 0.25,
    "asymmetry": 0.25,
    "norm_bound": 1.0,
}
#: Counts and choices: the same, unless a row or a key stands within rounding of where they change.
SAME = (
    *("saturated_fraction", "sink", "received_argmax", "received_by_seers_argmax"),
    *("rows", "choosing_rows", "empty_rows", "nonfinite_rows"),
)
N = 307
HALF_SEEN = np.random.default_rng(0).random((2, N, N)) < 0.5
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"causal": True},
    "window": {"window": 40},
    "causal window": {"window": 40, "causal": True},
    "mask": {"mask": HALF_SEEN},
    "bias": {"bias": np.random.default_rng(1).standard_normal((N, N)).astype(np.float32)},
    "softcap": {"softcap": 2.0},
}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_small(monkeypatch, height=83, tile=149)


def as_float32(arrays: Arrays) -> Arrays:
    q, k, v = (array.astype(np.float32) for array in arrays)
    return q, k, v


def as_float64(arrays: Arrays) -> Arrays:
    q, k, v = (array.astype(np.float64) for array in arrays)
    return q, k, v


def too_far(found: StreamedAttention, exact: StreamedAttention) -> list[str]:
    """The numbers that lie further from the exact ones than their tolerance."""
    largest = max(np.abs(exact.statistics.score_max).max(), np.abs(exact.statistics.logit_max).max())
    unit, wanted, far = EPS * (1 + float(largest)), numbers(exact), []
    for name, value in numbers(found).items():
        apart = np.abs(value.astype(np.float64) - wanted[name]) / np.maximum(1, np.abs(wanted[name]))
        undefined = np.isnan(wanted[name])
        if (np.isnan(value) != undefined).any() or (apart[~undefined] > TOLERANCES.get(name, 0) * unit).any():
            far.append(name)
    return far


def case(size: float) -> Arrays:
    """Normal queries, keys and values of width 64, the queries times a size: scores of a standard deviation of it."""
    q, k, v = draw(2, 1, N, N, d=64, seed=8)
    return as_float32((size * q, k, v))


def test_each_number_has_a_tolerance() -> None:
    assert {*TOLERANCES, *SAME} == {*numbers(dense(draw(1, 1, 3, 3)))}


@pytest.mark.parametrize("compiled", BOTH_KINDS)
@pytest.mark.parametrize("size", [1, 16])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_float32_is_within_its_tolerances(settings: dict[str, Any], size: int, compiled: bool) -> None:
    arrays = case(size)
    assert too_far(streamed(arrays, compiled=compiled, **settings), dense(as_float64(arrays), **settings)) == []


@pytest.mark.parametrize("name", TOLERANCES)
def test_the_tolerances_find_an_error_of_their_size(name: str) -> None:
    exact = dense(as_float64(case(1)))
    largest = float(np.abs(exact.statistics.score_max).max())
    value = numbers(exact)[name]
    off = 1.01 * TOLERANCES[name] * EPS * (1 + largest) * np.maximum(1, np.abs(value))
    assert too_far(changed(exact, name, value + off), exact) == [name]
    assert too_far(changed(exact, name, value + off / 2), exact) == []


def test_scores_rounded_to_half_precision_are_too_far() -> None:
    """What a product in lower precision would give: nearly every number shows it."""
    q, k, v = case(1)
    rounded = as_float32((q.astype(ml_dtypes.bfloat16), k.astype(ml_dtypes.bfloat16), v))
    assert {*TOLERANCES} - {*too_far(streamed(rounded), dense(as_float64((q, k, v))))} <= {"asymmetry", "sink_mass"}


@pytest.mark.parametrize("compiled", BOTH_KINDS)
@pytest.mark.parametrize("offset", [1e2, 1e4])
def test_a_common_offset_leaves_the_variance(offset: float, compiled: bool) -> None:
    """Scores of 10⁴ and a standard deviation of 1: squares in float32 would say 24."""
    q, k, v = draw(1, 1, N, N, d=2)
    q[..., 1], k[..., 1] = 1.0, offset
    arrays = as_float32((q, k, v))
    for settings in ({}, {"causal": True}, {"mask": HALF_SEEN[:1]}):
        found = streamed(arrays, compiled=compiled, scale=1.0, **settings).statistics.score_variance[0]
        exact = dense(as_float64(arrays), scale=1.0, **settings).statistics.score_variance[0]
        # a score is rounded to eps·offset before anyone can subtract
        assert found == pytest.approx(exact, rel=4 * EPS * offset)


@pytest.mark.parametrize("compiled", BOTH_KINDS)
@pytest.mark.parametrize("causal", [False, True])
def test_a_row_sums_to_one(causal: bool, compiled: bool) -> None:
    """With values of 1 the output is each row's sum; what keys receive sums to 1 too."""
    q, k, v = case(4)
    found = streamed((q, k, np.ones_like(v)), causal=causal, compiled=compiled)
    assert np.abs(found.output - 1).max() <= (4 + np.log2(N)) * EPS
    np.testing.assert_allclose(found.statistics.received.sum(axis=-1), 1, atol=(4 + np.log2(N)) * EPS)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_computed_in_float32_and_returned_as_it_came(dtype: Any) -> None:
    q, k, v = (array.astype(dtype) for array in draw(2, 1, N, N))
    found = attention_statistics(q, k, v, causal=True)
    wide = attention_statistics(*(array.astype(np.float32) for array in (q, k, v)), causal=True)
    assert (found.output.dtype, found.lse.dtype) == (np.dtype(dtype), np.dtype(np.float32))
    np.testing.assert_array_equal(found.output, wide.output.astype(dtype))
    np.testing.assert_array_equal(found.lse, wide.lse)
    assert found.statistics.entropy.dtype == np.float64
    np.testing.assert_array_equal(found.statistics.entropy, wide.statistics.entropy)


@pytest.mark.parametrize("dtypes", [(np.float32, np.float64, np.float32), (np.float16, np.float32, np.float16)])
def test_mixed_dtypes_follow_numpy(dtypes: tuple[type[np.floating], ...]) -> None:
    q, k, v = (array.astype(dtype) for array, dtype in zip(draw(2, 1, 23, 23), dtypes, strict=True))
    found = attention_statistics(q, k, v)
    assert found.output.dtype == attention(q, k, v).output.dtype == np.result_type(*dtypes)


@pytest.mark.parametrize("compiled", BOTH_KINDS)
@pytest.mark.parametrize("causal", [False, True])
def test_the_output_is_that_of_torch(causal: bool, compiled: bool) -> None:
    torch = pytest.importorskip("torch")
    q, k, v = as_float32(draw(4, 4, 512, 512, d=64))
    theirs = torch.nn.functional.scaled_dot_product_attention(
        *(torch.from_numpy(array)[None] for array in (q, k, v)), is_causal=causal
    )[0].numpy()
    ours = streamed((q, k, v), causal=causal, compiled=compiled).output
    assert np.abs(ours - theirs).max() <= 1e-6
    another = streamed((q, k, v), causal=causal, compiled=compiled, scale=0.125 * (1 + 1e-4)).output
    assert np.abs(another - theirs).max() > 1e-6


@pytest.mark.parametrize("m", [1000, 4160])
@pytest.mark.parametrize("compiled", BOTH_KINDS)
def test_keys_with_one_logit_are_off_by_a_hundred_times_that_at_most(m: int, compiled: bool) -> None:
    """Thousands of equal weights beside one that is about as large as all of them: roundings go one way."""
    rng = np.random.default_rng(m)
    for _ in range(5):
        k = np.full((1, m, 1), rng.uniform(-3, 3))
        k[0, m // 3] += np.log(m) + rng.uniform(-1, 4)
        arrays = (np.ones((1, 4, 1), np.float32), k.astype(np.float32), np.ones((1, m, 1), np.float32))
        found = streamed(arrays, compiled=compiled).statistics
        exact = dense(as_float64(arrays)).statistics
        for name in ("entropy", "perplexity", "effective_keys", "jacobian_trace_mean", "jacobian_trace_median"):
            value, wanted = float(getattr(found, name)[0]), float(getattr(exact, name)[0])
            assert abs(value - wanted) <= 25 * EPS * (1 + np.abs(k).max()) * max(1, abs(wanted)), name
