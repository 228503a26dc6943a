"""Each mechanism equals another way to the same result: attention with its matrix, a transform's matrix, a search."""

import sys

import numpy as np
import pytest

from attnlab import attention
from attnlab.errors import ShapeError
from attnlab.experiments.complexity_variants import Setting, block_spec, table_inputs
from attnlab.maths.mechanisms import banded, lookup
from attnlab.maths.mechanisms.banded import window_attention
from attnlab.maths.mechanisms.fourier import fourier_mixing
from attnlab.maths.mechanisms.fused import fused_attention, has_torch
from attnlab.maths.mechanisms.kernelised import linear_attention, positive_features
from attnlab.maths.mechanisms.lookup import argmax_lookup, hash_lookup, sorted_lookup
from attnlab.maths.mechanisms.mixed_block import mixed_block, mixed_tokens
from attnlab.maths.mechanisms.one_query import query_attention
from attnlab.maths.precision import Array

H, D, E = 3, 5, 7


def qkv(n: int, dtype: str = "float64") -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(n)
    q, k, v = (rng.standard_normal((H, n, width)).astype(dtype) for width in (D, D, E))
    return q, k, v


@pytest.mark.parametrize("n", [1, 2, 23, 131])
@pytest.mark.parametrize("window", [1, 2, 5, 17, 64, 200])
@pytest.mark.parametrize("causal", [True, False])
class TestWindow:
    def test_it_is_attention_with_that_window(self, n: int, window: int, causal: bool) -> None:
        found = window_attention(*qkv(n), window=window, causal=causal)
        np.testing.assert_allclose(found, attention(*qkv(n), window=window, causal=causal).output, atol=1e-13)


@pytest.mark.parametrize("window", [1, 5, 17])
@pytest.mark.parametrize("causal", [True, False])
def test_a_window_one_wider_is_another(window: int, causal: bool) -> None:
    found = window_attention(*qkv(23), window=window + 1, causal=causal)
    assert np.abs(found - attention(*qkv(23), window=window, causal=causal).output).max() > 1e-3


def test_a_window_of_no_neighbours_is_the_value_itself() -> None:
    q, k, v = qkv(11)
    np.testing.assert_array_equal(window_attention(q, k, v, window=0), v)


def test_windows_taken_in_several_parts_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = window_attention(*qkv(131), window=5)
    monkeypatch.setattr(banded, "SCORES_HELD", 1)
    np.testing.assert_allclose(window_attention(*qkv(131), window=5), whole, atol=1e-15)


def test_a_window_takes_a_scale_and_arrays_without_heads() -> None:
    q, k, v = (array[0] for array in qkv(23))
    found = window_attention(q, k, v, window=4, scale=0.3)
    assert found.shape == (23, E)
    np.testing.assert_allclose(found, attention(q, k, v, window=4, scale=0.3).output, atol=1e-13)


@pytest.mark.parametrize("mix", [query_attention, lambda q, k, v: window_attention(q, k, v, window=64)])
def test_float32_stays_float32(mix: object) -> None:
    assert callable(mix)
    assert mix(*qkv(23, "float32")).dtype == np.float32


@pytest.mark.parametrize("n", [1, 23])
def test_one_query_at_a_time_is_attention(n: int) -> None:
    np.testing.assert_allclose(query_attention(*qkv(n)), attention(*qkv(n)).output, atol=1e-13)
    np.testing.assert_allclose(query_attention(*qkv(n), scale=2.0), attention(*qkv(n), scale=2.0).output, atol=1e-13)


@pytest.mark.parametrize("n", [1, 23, 601])
def test_linear_attention_is_its_own_matrix(n: int) -> None:
    q, k, v = qkv(n)
    weights = positive_features(q) @ positive_features(k).swapaxes(-1, -2)
    weights /= weights.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(linear_attention(q, k, v), weights @ v, atol=1e-13)
    if n > 1:
        assert np.abs(linear_attention(q, k, v) - attention(q, k, v).output).max() > 1e-2


def test_the_feature_map_is_elu_plus_one() -> None:
    x = np.array([-2.0, -0.5, 0.0, 0.5, 3.0])
    np.testing.assert_allclose(positive_features(x), [np.exp(-2), np.exp(-0.5), 1, 1.5, 4])


@pytest.mark.parametrize(("n", "d"), [(1, 1), (1, 4), (2, 2), (5, 1), (7, 5), (8, 6), (12, 11), (601, 3)])
def test_fourier_mixing_is_the_transform(n: int, d: int) -> None:
    x = np.random.default_rng(0).standard_normal((n, d))

    def matrix(size: int) -> Array:
        places = np.arange(size)
        return np.exp(-2j * np.pi * np.outer(places, places) / size)

    np.testing.assert_allclose(fourier_mixing(x), (matrix(n) @ x @ matrix(d)).real, atol=1e-12)


def test_fourier_mixing_of_one_token_adds_up() -> None:
    found = fourier_mixing(np.array([[1.0, 2.0, 3.0]]))
    np.testing.assert_allclose(found, [[6.0, -1.5, -1.5]], atol=1e-15)


@pytest.mark.parametrize("look_up", [hash_lookup, sorted_lookup])
class TestTables:
    def test_each_query_finds_its_key(self, look_up: object) -> None:
        assert callable(look_up)
        rng = np.random.default_rng(0)
        keys, order = rng.standard_normal(131), rng.permutation(131)
        np.testing.assert_array_equal(look_up(keys, keys[order]), order)

    def test_what_is_not_there_is_not_found(self, look_up: object) -> None:
        assert callable(look_up)
        found = look_up(np.array([2.0, 0.0, 1.0]), np.array([-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 9.0]))
        np.testing.assert_array_equal(found, [-1, 1, -1, 2, -1, 0, -1])

    def test_of_equal_keys_the_last(self, look_up: object) -> None:
        assert callable(look_up)
        np.testing.assert_array_equal(look_up(np.array([3.0, 1.0, 3.0, 1.0]), np.array([1.0, 3.0])), [3, 2])

    def test_an_empty_table(self, look_up: object) -> None:
        assert callable(look_up)
        np.testing.assert_array_equal(look_up(np.empty(0), np.array([1.0])), [-1])


class TestArgmax:
    def test_it_is_the_best_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        q, k, _ = qkv(131)
        best = np.array(
            [[max(range(131), key=lambda j: float(q[h, i] @ k[h, j])) for i in range(131)] for h in (0, 1, 2)]
        )
        np.testing.assert_array_equal(argmax_lookup(q, k), best)
        monkeypatch.setattr(lookup, "QUERIES_HELD", 7)
        np.testing.assert_array_equal(argmax_lookup(q, k), best)

    def test_it_is_attention_of_a_large_scale(self) -> None:
        q, k, v = qkv(23)
        hard = np.take_along_axis(v, argmax_lookup(q, k)[..., None], axis=-2)
        np.testing.assert_allclose(attention(q, k, v, scale=1e6).output, hard, atol=1e-12)

    def test_of_equal_keys_the_first(self) -> None:
        np.testing.assert_array_equal(argmax_lookup(np.ones((1, 1)), np.array([[0.0], [2.0], [2.0]])), [1])


def test_blocks_mix_by_whatever_they_are_given() -> None:
    from attnlab.maths.architecture import Initialisation
    from attnlab.maths.block import trace_block
    from attnlab.maths.weights import initial_block

    spec = block_spec(Setting(n=11, d=4, heads=3, window=2, seed=0))
    weights = initial_block(spec, Initialisation(), layer=0, dtype=np.float64)
    x = np.random.default_rng(0).standard_normal((11, spec.d_model))
    plain = trace_block(spec, weights, x).output
    np.testing.assert_allclose(mixed_block(spec, weights, x, query_attention), plain, atol=1e-12)
    assert np.abs(mixed_block(spec, weights, x, linear_attention) - plain).max() > 1e-3
    without = mixed_tokens(spec, weights, x, lambda tokens: trace_block(spec, weights, tokens).t1)
    np.testing.assert_allclose(without, plain, atol=1e-12)


@pytest.mark.skipif(not has_torch(), reason="PyTorch is not installed")
def test_the_fused_kernel_is_attention() -> None:
    q, k, v = qkv(131, "float32")
    np.testing.assert_allclose(fused_attention(q, k, v), attention(q, k, v).output, atol=1e-6)


def test_torch_is_not_imported_to_see_whether_it_is_there() -> None:
    before = "torch" in sys.modules
    has_torch()
    assert ("torch" in sys.modules) == before


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: window_attention(*qkv(5), window=0, causal=True), r"window: 0; expected a whole number of 1 or more"),
        (lambda: window_attention(*qkv(5), window=1, scale=np.inf), r"scale: inf; expected a number that is finite"),
        (
            lambda: query_attention(qkv(5)[0], *(array[:1] for array in qkv(5)[1:])),
            r"q \(3, 5, 5\), k \(1, 5, 5\); expected",
        ),
        (lambda: linear_attention(qkv(5)[0], *qkv(6)[1:]), r"expected the same \(h, n, d\) or \(n, d\) for both"),
        (lambda: fourier_mixing(np.ones(3)), r"x: shape \(3,\); expected \(n, d\)"),
        (lambda: argmax_lookup(np.ones((2, 3)), np.ones((2, 4))), r"q \(2, 3\), k \(2, 4\); expected the same width"),
        (lambda: argmax_lookup(np.ones((2, 3)), np.ones((0, 3))), r"expected the same width, and a key or more"),
    ],
)
def test_what_does_not_go_together_is_told(call: object, text: str) -> None:
    assert callable(call)
    with pytest.raises(ShapeError, match=text):
        call()


@pytest.mark.parametrize(("n", "tables"), [(1 << 13, 4), (1 << 15, 1), (5 << 13, 1), (3 << 13, 1)])
def test_short_tables_differ_from_call_to_call(n: int, tables: int) -> None:
    """A processor learns by heart what it meets again before 32,768 keys have gone by."""
    drawn = table_inputs(Setting(n=n, d=4, heads=1, window=2, seed=3))
    assert len(drawn) == tables
    for keys, queries in drawn:
        assert len(keys) == n
        np.testing.assert_array_equal(np.sort(keys), np.sort(queries))
        assert (keys != queries).any()
    assert len({keys.tobytes() for keys, _ in drawn}) == tables
