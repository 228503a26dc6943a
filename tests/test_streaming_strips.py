"""Strips: which inputs are taken in them, how they are cut, what they take, and the moments that they start from."""

import tracemalloc
from typing import Any

import numpy as np
import pytest

from attnlab.maths import jobs, plan
from attnlab.maths.heads import heads_of
from attnlab.maths.keyside import SPACED, key_side, spaced, strip_moments
from attnlab.maths.plain_rows import plain_panel
from attnlab.maths.strips import strip_panel, strips_for
from tests.streaming_cases import Arrays, assert_same, cut_small, dense, draw, inputs_of, streamed

N = 61
SQUARE = draw(4, 2, N, N)
STEEP = (40 * SQUARE[0], SQUARE[1], SQUARE[2])


def poisoned() -> Arrays:
    q, k, v = (array.copy() for array in SQUARE)
    k[1, 7, 2] = np.nan
    return q, k, v


#: Arrays, settings, and how many of the four heads are taken in strips.
TAKEN: dict[str, tuple[Arrays, dict[str, Any], int]] = {
    "plain": (SQUARE, {}, 4),
    "causal": (SQUARE, {"causal": True}, 4),
    "more keys": (draw(4, 2, 23, N), {}, 4),
    "more queries, causal": (draw(4, 2, N, 23), {"causal": True}, 4),
    "window": (SQUARE, {"window": 9}, 0),
    "mask": (SQUARE, {"mask": np.ones((N, N), bool)}, 0),
    "bias": (SQUARE, {"bias": np.zeros((N, N))}, 0),
    "softcap": (SQUARE, {"softcap": 2.0}, 0),
    "one key": (draw(4, 2, N, 1), {}, 0),
    "logits below the floor": ((100 * STEEP[0], 100 * STEEP[1], STEEP[2]), {}, 0),
    "a NaN in a key of two heads": (poisoned(), {}, 2),
}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[int, ...], int]]:
    """Which heads' queries are taken in strips, and how many together, in small pieces."""
    cut_small(monkeypatch)
    found = []

    def counted(head: Any, side: Any, queries: slice, *rest: Any) -> Any:
        found.append((head.place, queries.stop - queries.start))
        return strip_panel(head, side, queries, *rest)

    monkeypatch.setattr(jobs, "strip_panel", counted)
    return found


@pytest.mark.parametrize("name", TAKEN)
def test_those_are_taken_in_strips_whose_logits_need_no_shift(
    name: str, taken: list[tuple[tuple[int, ...], int]]
) -> None:
    arrays, settings, heads = TAKEN[name]
    assert_same(streamed(arrays, **settings), dense(arrays, **settings))
    assert len({place for place, _ in taken}) == heads
    assert sum(height for _, height in taken) == heads * arrays[0].shape[-2]


def test_all_but_the_last_heads_panels_are_taken_together(taken: list[tuple[tuple[int, ...], int]]) -> None:
    streamed(SQUARE, threads=1)
    assert {height for (place,), height in taken if place < 3} == {15, 1}
    assert {height for (place,), height in taken if place == 3} == {5, 1}


@pytest.mark.parametrize("m", [1, 15, 160, 161, 4096, 4160, 4161, 8192, 16384, 65536])
def test_tiles_are_few_and_about_equal_and_whole_numbers_of_blocks(m: int) -> None:
    for most in (96, plan.NARROW, plan.BLOCK):
        tile = plan.tile_of(m, most)
        keys = plan.block_of(tile, most)
        assert -(-m // tile) == -(-m // plan.TILE)
        assert tile % keys == keys % plan.VECTOR == 0
        assert keys <= most
        assert tile * -(-m // tile) - m < plan.VECTOR * (1 + tile // keys) * -(-m // tile)


@pytest.mark.parametrize(("d", "most"), [(1, plan.BLOCK), (64, plan.BLOCK), (128, plan.NARROW), (160, 0)])
def test_where_vectors_are_too_wide_for_small_products_there_are_no_strips(d: int, most: int) -> None:
    found = plan.plan_for(inputs_of(draw(1, 1, 3000, 3000, d=d), {}))
    assert found.strip == (plan.STRIP if most else 0)
    assert not most or most - plan.VECTOR < found.block <= most
    assert found.strip * found.block * d <= plan.SMALL


@pytest.mark.parametrize("settings", [{}, {"causal": True}], ids=["plain", "causal"])
@pytest.mark.parametrize("n", [300, 5000])
def test_what_strips_take_is_what_is_counted(n: int, settings: dict[str, Any]) -> None:
    """Buffers, and what passes while the panels taken together are finished: most where one key has all but a trace."""
    q, k, v = (array.astype(np.float32) for array in draw(1, 1, n, n, d=16))
    q[:], k[0, 0] = 1, 4.5
    inputs = inputs_of((q, k / 8, v), settings | {"scale": 2.0})
    found = plan.plan_for(inputs)
    queries = slice(max(0, n - found.run * found.height), n)
    head = next(heads_of(inputs))
    side, output = key_side(head.k, head.v, found.tile, [head.keys_in_common(queries)]), np.empty_like(head.v[queries])
    tracemalloc.start()
    try:
        assert strip_panel(head, side, queries, strips_for(found, inputs), output) is not None
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    counted = plan.strip_bytes(found, inputs)
    assert most <= 1.02 * counted
    assert counted < 2 * most


@pytest.mark.parametrize("max_bytes", [1 << 20, 1 << 21, 1 << 22, 1 << 24])
def test_narrower_strips_fit_into_less(max_bytes: int) -> None:
    inputs = inputs_of(draw(1, 1, 8192, 8192), {})
    found = plan.plan_for(inputs, max_bytes, threads=2)
    assert found.threads * plan.strip_bytes(found, inputs) <= max_bytes
    assert 0 < found.strip <= min(found.run * found.height, plan.STRIP)
    assert plan.plan_for(inputs, threads=2).strip == plan.STRIP


@pytest.mark.parametrize(("start", "m"), [(0, 50), (20, 50), (20, 31), (20, 9)])
@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_moments_before_each_strip(start: int, m: int, offset: float) -> None:
    """Of the scores with all keys before the strip that a query is in; an offset of all keys costs no digits."""
    rng = np.random.default_rng(0)
    q, k, rows = rng.standard_normal((22, 6)), rng.standard_normal((m, 6)), 4
    side = key_side(k + offset, k, 7, [count for count in (min(start, m),) if count])
    found = strip_moments(side, q, 0.3, start, rows)
    for i in range(len(q)):
        scores = 0.3 * (k[: start + i - i % rows] @ q[i])
        assert found.entries[i] == len(scores)
        if len(scores):
            mean = scores.mean() + 0.3 * offset * q[i].sum()
            assert found.mean[i] == pytest.approx(mean, rel=1e-12, abs=1e-12 * max(1, offset))
            spread = ((scores - scores.mean()) ** 2).sum()
            assert found.m2[i] == pytest.approx(spread, rel=1e-12 * max(1, offset), abs=1e-12 * max(1, offset))


@pytest.mark.parametrize("gap", [20.0, 60.0])
def test_a_saturated_row_in_causal_order_keeps_the_digits_of_the_others_share(
    gap: float, taken: list[tuple[tuple[int, ...], int]]
) -> None:
    """Key 0 holds all but i·e^−gap of row i: those that come later are not among the others that are summed again.

    Both are means over the rows that see more than one key.
    """
    q, k, v = np.ones((1, N, 1)), np.zeros((1, N, 1)), np.ones((1, N, 1))
    k[0, 0] = gap
    found = streamed((q, k, v), causal=True).statistics
    i = np.arange(1, N)
    others = i * np.exp(-gap)
    p = others / (1 + others)
    assert taken
    trace, entropy = (1 - p) * p + p * (1 - p / i), np.log1p(others) + p * gap
    assert found.jacobian_trace_mean[0] == pytest.approx(trace.mean(), rel=1e-12, abs=0)
    assert found.entropy[0] == pytest.approx(entropy.mean(), rel=1e-12, abs=0)


@pytest.mark.parametrize("start", [0, 3, 40])
def test_prefixes_whose_moments_are_kept_take_less_than_the_keys(start: int) -> None:
    d, ends = 6, list(range(start, 4000, 5))
    kept = spaced(ends, d)
    assert set(kept) <= set(ends)
    assert len(kept) * d * d * 8 <= 4000 * d * 4
    assert all(any(0 <= end - prefix < 5 + SPACED * d for prefix in kept) for end in ends if end)


def test_low_panels_in_causal_order_do_with_few_prefixes(taken: list[tuple[tuple[int, ...], int]]) -> None:
    """Panels of five queries, and 24 keys from prefix to prefix: strips and tiles start between two of them."""
    for arrays in (SQUARE, STEEP):
        assert_same(streamed(arrays, causal=True), dense(arrays, causal=True))
    assert taken


@pytest.mark.parametrize("n", [61, 20])
def test_one_query_that_is_not_finite_takes_its_own_panel_the_plain_way(
    n: int, taken: list[tuple[tuple[int, ...], int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    q, k, v = draw(2, 1, n, n)
    q[0, 7, 0] = np.nan
    plain = []

    def counted(head: Any, queries: slice, *rest: Any) -> Any:
        plain.append((head.place, queries))
        return plain_panel(head, queries, *rest)

    monkeypatch.setattr(jobs, "plain_panel", counted)
    assert_same(streamed((q, k, v)), dense((q, k, v)))
    assert plain == [((0,), slice(5, 10))]
