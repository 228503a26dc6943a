"""Laws that hold for every attention, tried on streamed ones of any shape and settings by hypothesis."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from attnlab.maths.streaming import StreamedAttention
from tests.streaming_cases import Arrays, assert_same, cut_small, dense, draw, streamed

Array = NDArray[Any]

#: Statistics of where tokens look: not kept when tokens change places.
OF_PLACES = (
    *("received", "received_argmax", "received_by_seers_argmax", "sink_mass", "sink", "asymmetry"),
    *("self_mass", "previous_mass", "next_mass", "distance"),
)
OF_SCORES = ("score_mean", "score_max", "logit_max", "score_variance")

lengths = st.integers(1, 37)
seeds = st.integers(0, 2**32 - 1)
pieces = st.tuples(st.integers(1, 12), st.integers(1, 12))
sizes = st.sampled_from([0.1, 1.0, 5.0, 40.0])


@pytest.fixture(autouse=True)
def nothing_changed() -> Iterator[None]:
    """Patches of one example must not outlive it: each example undoes its own."""
    with pytest.MonkeyPatch.context() as patch:
        cut_small(patch)
        yield


def cut(height_and_tile: tuple[int, int], work: Callable[[], None]) -> None:
    """Do the work in panels and tiles of this size."""
    with pytest.MonkeyPatch.context() as patch:
        cut_small(patch, *height_and_tile)
        work()


def mask(n: int, m: int, seed: int) -> Array:
    """Any share of the keys visible, none and all included."""
    rng = np.random.default_rng(seed)
    return rng.random((n, m)) < rng.choice([0.0, 0.05, 0.5, 0.95, 1.0], size=(n, 1))


def sized(arrays: Arrays, size: float) -> Arrays:
    q, k, v = arrays
    return size * q, k, v


@st.composite
def kinds(draw: st.DrawFn, n: int, m: int) -> dict[str, Any]:
    """Settings of every kind, and of several at a time."""
    chosen: dict[str, Any] = {"causal": draw(st.booleans())}
    if draw(st.booleans()):
        chosen["window"] = draw(st.integers(1, 40))
    if draw(st.booleans()):
        chosen["softcap"] = draw(st.sampled_from([0.5, 3.0, 50.0]))
    if draw(st.booleans()):
        chosen["mask"] = mask(n, m, draw(seeds))
    if draw(st.booleans()):
        bias = np.random.default_rng(draw(seeds)).standard_normal((2, n, m))
        chosen["bias"] = np.where(mask(n, m, draw(seeds)), bias, -np.inf) if draw(st.booleans()) else 10 * bias
    return chosen


@settings(max_examples=80)
@given(st.data(), lengths, lengths, pieces, sizes, seeds)
def test_streaming_is_the_matrix(
    data: st.DataObject, n: int, m: int, parts: tuple[int, int], size: float, seed: int
) -> None:
    arrays = sized(draw(2, 1, n, m, seed=seed), size)
    chosen = data.draw(kinds(n, m))
    expected = dense(arrays, **chosen)
    but = tied(expected)
    cut(parts, lambda: assert_same(streamed(arrays, **chosen), expected, but=but))


def tied(found: StreamedAttention) -> tuple[str, ...]:
    """The choice of a key is not compared where two get as much to 1e-9 (a row of one visible key gives 1)."""
    received = np.sort(found.statistics.received, axis=-1)
    if received.shape[-1] > 1 and (received[..., -1] - received[..., -2] < 1e-9).any():
        return ("received_argmax", "received_by_seers_argmax")
    return ("received_by_seers_argmax",) if (found.statistics.received_by_seers_max > 1 - 1e-9).any() else ()


@settings(max_examples=25)
@given(lengths, lengths, pieces, seeds)
def test_keys_may_stand_in_any_order(n: int, m: int, parts: tuple[int, int], seed: int) -> None:
    (q, k, v), seen = draw(2, 1, n, m, seed=seed), mask(n, m, seed)
    order = np.random.default_rng(seed).permutation(m)

    def compare() -> None:
        found = streamed((q, k[:, order], v[:, order]), mask=seen[:, order])
        plain = streamed((q, k, v), mask=seen)
        assert_same(found, plain, rtol=1e-12, but=OF_PLACES)
        np.testing.assert_allclose(found.statistics.received, plain.statistics.received[:, order], rtol=1e-12)

    cut(parts, compare)


def test_keys_without_their_values_may_not() -> None:
    q, k, v = draw(2, 1, 23, 23)
    with pytest.raises(AssertionError, match="output"):
        assert_same(streamed((q, k[:, ::-1], v)), streamed((q, k, v)), rtol=1e-12, but=OF_PLACES)


@settings(max_examples=25)
@given(lengths, lengths, pieces, seeds, st.floats(-100, 100))
def test_a_constant_added_to_a_rows_logits_changes_its_lse_alone(
    n: int, m: int, parts: tuple[int, int], seed: int, constant: float
) -> None:
    arrays = draw(2, 1, n, m, seed=seed)
    bias = np.random.default_rng(seed).standard_normal((n, m))
    added = np.linspace(-constant, constant, n)[:, None]

    def compare() -> None:
        found, plain = streamed(arrays, bias=bias + added), streamed(arrays, bias=bias)
        np.testing.assert_allclose(found.lse - added[:, 0], plain.lse, atol=1e-12)
        plain = plain._replace(lse=found.lse)
        assert_same(found, plain, rtol=1e-11, but=("logit_max", *tied(plain)))

    cut(parts, compare)


def test_a_constant_added_to_some_keys_does_not_keep_the_rest() -> None:
    arrays, bias = draw(2, 1, 23, 23), np.zeros((23, 23))
    with pytest.raises(AssertionError, match="output"):
        assert_same(streamed(arrays, bias=bias + (np.arange(23) == 3) * 1e-6), streamed(arrays, bias=bias))


@settings(max_examples=25)
@given(st.integers(2, 37), pieces, seeds, st.integers(1, 36))
def test_the_future_does_not_change_the_past(n: int, parts: tuple[int, int], seed: int, first: int) -> None:
    first = min(first, n - 1)
    q, k, v = draw(2, 1, n, n, seed=seed)
    another = tuple(
        np.concatenate([a[:, :first], 1e3 * b[:, first:]], axis=1)
        for a, b in zip((q, k, v), draw(2, 1, n, n, seed=seed + 1), strict=True)
    )

    def compare() -> None:
        one, other = streamed((q, k, v), causal=True), streamed(another, causal=True)  # type: ignore[arg-type]
        np.testing.assert_allclose(one.output[:, :first], other.output[:, :first], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(one.lse[:, :first], other.lse[:, :first], rtol=1e-12, atol=1e-12)
        assert np.abs(one.lse[:, first:] - other.lse[:, first:]).max() > 1e-6

    cut(parts, compare)


@settings(max_examples=25)
@given(st.integers(1, 3), st.integers(1, 3), lengths, lengths, seeds, st.booleans())
def test_grouped_heads_are_repeated_ones(groups: int, each: int, n: int, m: int, seed: int, causal: bool) -> None:
    q, k, v = draw(groups * each, groups, n, m, seed=seed)
    repeated = (q, np.repeat(k, each, axis=0), np.repeat(v, each, axis=0))
    assert_same(streamed((q, k, v), causal=causal), streamed(repeated, causal=causal), rtol=1e-13)


def test_heads_in_turn_are_not() -> None:
    q, k, v = draw(6, 3, 23, 23)
    with pytest.raises(AssertionError, match="output"):
        assert_same(streamed((q, np.tile(k, (2, 1, 1)), np.tile(v, (2, 1, 1)))), streamed((q, k, v)))


@settings(max_examples=25)
@given(lengths, lengths, pieces, seeds)
def test_values_scaled_and_moved_move_the_output(n: int, m: int, parts: tuple[int, int], seed: int) -> None:
    """Weights sum to 1: o(a v + b) = a o(v) + b, and nothing of the weights changes."""
    q, k, v = draw(2, 1, n, m, seed=seed)

    def compare() -> None:
        found, plain = streamed((q, k, -3 * v + 7)), streamed((q, k, v))
        np.testing.assert_allclose(found.output, -3 * plain.output + 7, rtol=1e-12, atol=1e-12)
        assert_same(found, plain._replace(output=found.output), rtol=1e-14, but=("norm_bound",))

    cut(parts, compare)


@settings(max_examples=25)
@given(lengths, lengths, lengths, seeds)
def test_queries_apart_are_queries_together(one: int, two: int, m: int, seed: int) -> None:
    """Rows know nothing of each other: output and lse of two halves are those of the whole."""
    q, k, v = draw(1, 1, one + two, m, seed=seed)
    whole = streamed((q, k, v))
    for rows in (slice(0, one), slice(one, one + two)):
        part = streamed((q[:, rows], k, v))
        np.testing.assert_allclose(part.output, whole.output[:, rows], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(part.lse, whole.lse[:, rows], rtol=1e-12, atol=1e-12)
