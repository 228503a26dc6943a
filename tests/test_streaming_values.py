"""Streamed attention of numbers that break lesser ones: NaN and inf, seen or hidden, huge scores, saturated rows."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab.maths import jobs
from attnlab.maths.attention import attention_steps
from attnlab.maths.plain_rows import plain_panel
from attnlab.maths.streaming import StreamedAttention
from tests.oracles import naive_statistics
from tests.streaming_cases import (
    BOTH_KINDS,
    Arrays,
    assert_same,
    cut_small,
    dense,
    draw,
    inputs_of,
    streamed,
)

Array = NDArray[Any]

N = 41


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_small(monkeypatch)


def poisoned(which: str, where: tuple[int, ...], value: float) -> Arrays:
    """Normal queries, keys and values of two heads, with one number of one of them replaced."""
    arrays = draw(2, 2, N, N)
    arrays["qkv".index(which)][where] = value
    return arrays


def scaled(q: float = 1, k: float = 1, v: float = 1) -> Arrays:
    return tuple(size * array for size, array in zip((q, k, v), draw(2, 2, N, N), strict=True))  # type: ignore[return-value]


def rising(step: float) -> Arrays:
    """Scores that grow with the key, by a step: the shift is raised tile after tile."""
    _, _, v = draw(2, 2, N, N)
    return np.ones((2, N, 1)), np.broadcast_to(step * np.arange(N)[:, None], (2, N, 1)), v


def endless() -> Arrays:
    """Scores of ±inf from numbers that are finite, all terms of one score of one sign: their order does not matter."""
    q, k, v = draw(2, 2, N, N)
    return 1e200 * np.abs(q), 1e200 * np.abs(k) * np.sign(k[..., :1]), v


def biased(value: float, where: tuple[Any, ...]) -> Array:
    bias = np.random.default_rng(7).standard_normal((2, N, N))
    bias[where] = value
    return bias


LOWEST = float(np.finfo(np.float64).min)
HALF = np.random.default_rng(1).random((2, N, N)) < 0.5
HALF[:, 4] = False
NOT_20 = np.broadcast_to(np.arange(N) != 20, (N, N))

NOT_FINITE: dict[str, tuple[Arrays, dict[str, Any]]] = {
    "a NaN in a query": (poisoned("q", (0, 3, 1), np.nan), {}),
    "a NaN in a query that sees nothing": (poisoned("q", (0, 4, 1), np.nan), {"mask": HALF}),
    "an inf in a query": (poisoned("q", (0, 3, 1), np.inf), {}),
    "a NaN in a key": (poisoned("k", (0, 39, 1), np.nan), {}),
    "a NaN in a key, causal": (poisoned("k", (0, 20, 1), np.nan), {"causal": True}),
    "a NaN in a key, window": (poisoned("k", (0, 20, 1), np.nan), {"window": 2}),
    "a NaN in a key, causal window": (poisoned("k", (1, 20, 1), np.nan), {"window": 3, "causal": True}),
    "a NaN in a key, masked": (poisoned("k", (0, 20, 1), np.nan), {"mask": HALF}),
    "a NaN in a hidden key": (poisoned("k", (0, 20, 1), np.nan), {"mask": NOT_20}),
    "an inf in a key, softcap": (poisoned("k", (0, 20, 1), np.inf), {"softcap": 2.0}),
    "an inf in a value, causal": (poisoned("v", (1, 20, 1), np.inf), {"causal": True}),
    "a NaN in a value": (poisoned("v", (1, 20, 1), np.nan), {}),
    "an inf in a hidden value": (poisoned("v", (0, 20, 0), -np.inf), {"mask": NOT_20}),
    "a bias of +inf": (draw(2, 2, N, N), {"bias": biased(np.inf, (0, 2, 3))}),
    "a bias of NaN": (draw(2, 2, N, N), {"bias": biased(np.nan, (1, 5, 5))}),
    "a bias of NaN on a hidden key": (draw(2, 2, N, N), {"bias": biased(np.nan, (1, 5, 20)), "mask": NOT_20}),
    "scores beyond the largest number": (endless(), {}),
    "scores beyond it, capped": (endless(), {"softcap": 3.0}),
    "values near the largest number": (scaled(v=4e307), {}),
}
FINITE: dict[str, tuple[Arrays, dict[str, Any]]] = {
    "large scores": (scaled(q=30, k=30), {}),
    "scores of a million": (scaled(q=1000, k=1000), {}),
    "scores of a million, causal": (scaled(q=1000, k=1000), {"causal": True}),
    "scores of 1e100": (scaled(q=1e50, k=1e50), {}),
    "scores of 1e-100": (scaled(q=1e-50, k=1e-50), {}),
    "saturated": (scaled(q=6, k=6), {}),
    "saturated, masked": (scaled(q=6, k=6), {"mask": HALF}),
    "rising by less than the slack": (rising(0.9), {}),
    "rising by the slack": (rising(8.0), {}),
    "rising by far more": (rising(1000.0), {}),
    "rising, causal": (rising(3.0), {"causal": True}),
    "falling": (rising(-9.0), {}),
    "values of 1e-300": (scaled(v=1e-300), {}),
    "values of nothing": (scaled(v=0), {}),
    "a cap that binds": (scaled(q=50, k=50), {"softcap": 20.0, "causal": True}),
    "all biases -1e30": (draw(2, 2, N, N), {"bias": np.linspace(-1.001e30, -1e30, N)}),
    "hidden by the least number": (draw(2, 2, N, N), {"bias": np.where(HALF, 0, LOWEST)}),
    "hidden by -1e9": (draw(2, 2, N, N), {"bias": np.where(HALF, 0, -1e9)}),
    "all biases the least number": (draw(2, 2, N, N), {"bias": np.full((N, N), LOWEST), "causal": True}),
    "all scores the same, causal": ((np.ones((2, N, 4)), np.ones((2, N, 4)), scaled()[2]), {"causal": True}),
}


@pytest.mark.parametrize("compiled", BOTH_KINDS)
@pytest.mark.parametrize(("arrays", "settings"), (NOT_FINITE | FINITE).values(), ids=(NOT_FINITE | FINITE).keys())
def test_as_the_matrix_has_it(arrays: Arrays, settings: dict[str, Any], compiled: bool) -> None:
    assert_same(streamed(arrays, compiled=compiled, **settings), dense(arrays, **settings))


def spoiled_rows(found: StreamedAttention) -> set[tuple[int, int]]:
    """The rows, (head, query), whose output is not finite."""
    return {(int(h), int(i)) for h, i in np.argwhere(~np.isfinite(found.output).all(axis=-1))}


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("a NaN in a query", {(0, 3)}),
        ("a NaN in a query that sees nothing", set()),
        ("a NaN in a key", {(0, i) for i in range(N)}),
        ("a NaN in a key, causal", {(0, i) for i in range(20, N)}),
        ("a NaN in a key, window", {(0, i) for i in range(18, 23)}),
        ("a NaN in a key, causal window", {(1, i) for i in range(20, 23)}),
        ("a NaN in a hidden key", set()),
        ("an inf in a value, causal", {(1, i) for i in range(20, N)}),
        ("an inf in a hidden value", set()),
        ("a bias of NaN", {(1, 5)}),
        ("a bias of NaN on a hidden key", set()),
    ],
)
def test_what_is_not_finite_reaches_those_who_see_it(name: str, rows: set[tuple[int, int]]) -> None:
    arrays, settings = NOT_FINITE[name]
    found = streamed(arrays, **settings)
    assert spoiled_rows(found) == rows
    assert found.statistics.nonfinite_rows.tolist() == [sum(head == at for at, _ in rows) for head in (0, 1)]


def test_what_a_hidden_key_holds_is_seen_in_no_number() -> None:
    for which in "kv":
        quiet, loud = (poisoned(which, (0, 20, 1), value) for value in (0.5, np.nan))
        found = streamed(loud, mask=NOT_20)
        assert_same(found, streamed(quiet, mask=NOT_20), rtol=1e-14)


def test_one_broken_row_leaves_its_neighbours_in_the_panel() -> None:
    """A whole panel goes the plain way for one row; the statistics are those of all other rows."""
    arrays = poisoned("q", (0, 3, 1), np.nan)
    others = (np.delete(arrays[0], 3, axis=1)[:1], arrays[1][:1], arrays[2][:1])
    ours, theirs = streamed(arrays).statistics, dense(others).statistics
    for name in ("entropy", "max_weight", "effective_keys", "jacobian_trace_median", "score_variance", "received"):
        np.testing.assert_allclose(getattr(ours, name)[0], getattr(theirs, name)[0], rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("name", NOT_FINITE)
def test_the_plain_way_is_what_those_take(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were no panel to take it, the tests above would say nothing of it; nor need what is hidden take it."""
    taken = []

    def counted(head: Any, queries: slice, *rest: Any) -> Any:
        taken.append(queries)
        return plain_panel(head, queries, *rest)

    monkeypatch.setattr(jobs, "plain_panel", counted)
    streamed(NOT_FINITE[name][0], **NOT_FINITE[name][1])
    assert bool(taken) == (name not in ("a NaN in a hidden key", "an inf in a hidden value"))


@pytest.mark.parametrize("name", [name for name in FINITE if "bias" not in name and "least" not in name])
def test_what_is_finite_does_not_take_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shifts are raised in time: no weight overflows."""

    def no_way_back(*_: object) -> None:
        raise AssertionError("went the plain way")

    monkeypatch.setattr(jobs, "plain_panel", no_way_back)
    streamed(FINITE[name][0], **FINITE[name][1])


@pytest.mark.parametrize("compiled", BOTH_KINDS)
@pytest.mark.parametrize("gap", [3.0, 20.0, 27.6, 60.0])
def test_a_saturated_row_keeps_the_digits_of_the_others_share(gap: float, compiled: bool) -> None:
    """One key holds all but e^−gap: Σ p(1 − p) and the entropy come from the others, not from 1 − p."""
    q, k, v = np.ones((1, N, 1)), np.zeros((1, N, 1)), np.ones((1, N, 1))
    k[0, 17] = gap
    found = streamed((q, k, v), compiled=compiled).statistics
    others = 40 * np.exp(-gap)
    p = others / (1 + others)
    trace = (1 - p) * p + p * (1 - p / 40)
    assert found.jacobian_trace_mean[0] == pytest.approx(trace, rel=1e-12, abs=0)
    assert found.entropy[0] == pytest.approx(np.log1p(others) + p * gap, rel=1e-12, abs=0)


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6])
def test_a_common_offset_of_the_scores_leaves_their_variance(offset: float) -> None:
    """E[s²] − E[s]² would have lost every digit at 10⁶."""
    q, k, v = draw(1, 1, N, N, d=2)
    q[..., 1], k[..., 1] = 1.0, offset
    for settings in ({}, {"causal": True}, {"mask": HALF[:1]}, {"window": 9}):
        found = streamed((q, k, v), scale=1.0, **settings).statistics
        s = q[0, :, :1] * k[0, :, 0]
        seen = np.asarray(dense_visible(settings))
        assert found.score_variance[0] == pytest.approx(s[seen].var(), rel=1e-9)


def dense_visible(settings: dict[str, Any]) -> Array:
    visible = attention_steps(inputs_of(draw(1, 1, N, N), settings)).visible
    return np.ones((N, N), bool) if visible is None else np.broadcast_to(visible, (1, N, N))[0]


def test_against_the_loops_too() -> None:
    """The matrix's statistics are tested against the definitions in loops; so are the streamed ones, once."""
    arrays = draw(1, 1, 23, 23)
    settings: dict[str, Any] = {"mask": HALF[:1, :23, :23], "softcap": 1.5}
    steps = attention_steps(inputs_of(arrays, settings))
    naive = naive_statistics(steps.scores[0], steps.logits[0], np.asarray(steps.visible)[0], arrays[2][0])
    found = streamed(arrays, **settings).statistics
    for name, expected in naive.items():
        np.testing.assert_allclose(getattr(found, name)[0], expected, rtol=1e-11, atol=1e-14, err_msg=name)
