"""Streamed attention against the same from its matrix, in float64: output, lse and every statistic of every kind."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab.maths import jobs
from tests.streaming_cases import (
    BOTH_KINDS,
    Arrays,
    assert_same,
    bias_of,
    changed,
    cut_small,
    dense,
    draw,
    mask_of,
    numbers,
    streamed,
)

Array = NDArray[Any]
RNG = np.random.default_rng(5)


def some(h: int, n: int, m: int, share: float = 0.5) -> Array:
    """A random mask with a row that sees nothing, one that sees one key, and keys that nobody sees."""
    mask = np.random.default_rng(3).random((h, n, m)) < share
    mask[:, min(8, n - 1)] = False
    mask[:, min(9, n - 1)] = np.arange(m) == m // 2
    mask[..., m // 3] = False
    return mask


def hiding(h: int, n: int, m: int) -> Array:
    """A bias that hides half the keys."""
    return np.where(some(h, n, m), np.random.default_rng(4).standard_normal((h, n, m)), -np.inf)


CASES: dict[str, tuple[Arrays, dict[str, Any]]] = {
    "plain": (draw(2, 2, 43, 43), {}),
    "fits one tile": (draw(2, 2, 4, 4), {}),
    "ends with a panel and a tile": (draw(1, 1, 35, 35), {}),
    "grouped": (draw(6, 2, 23, 23), {"causal": True}),
    "leading axes": (draw(2, 1, 17, 17, lead=(2, 3)), {"causal": True}),
    "leading axes to broadcast": ((draw(2, 2, 17, 23, lead=(3,))[0], *draw(2, 2, 17, 23)[1:]), {}),
    "no head axis": (tuple(a[0] for a in draw(1, 1, 23, 23)), {}),
    "more keys than queries": (draw(2, 1, 13, 61), {}),
    "more queries than keys": (draw(2, 1, 61, 13), {}),
    "causal": (draw(2, 2, 43, 43), {"causal": True}),
    "causal, more keys": (draw(2, 2, 23, 43), {"causal": True}),
    "causal, more queries": (draw(2, 2, 43, 23), {"causal": True}),
    "window": (draw(2, 2, 43, 43), {"window": 9}),
    "window, more queries": (draw(2, 2, 61, 19), {"window": 4}),
    "a window of none but itself": (draw(2, 2, 23, 23), {"window": 0}),
    "causal window": (draw(2, 2, 43, 43), {"causal": True, "window": 9}),
    "causal window, more queries": (draw(2, 2, 61, 19), {"causal": True, "window": 4}),
    "a causal window of one": (draw(2, 2, 23, 23), {"causal": True, "window": 1}),
    "a window wider than all": (draw(2, 2, 23, 23), {"causal": True, "window": 10**9}),
    "mask for all heads": (draw(2, 2, 43, 43), {"mask": some(1, 43, 43)[0]}),
    "mask by head": (draw(4, 2, 43, 43), {"mask": some(4, 43, 43)}),
    "mask of keys": (draw(2, 2, 43, 43), {"mask": np.arange(43) > 8}),
    "mask of queries": (draw(2, 2, 43, 43), {"mask": np.arange(43)[:, None] % 3 > 0}),
    "mask by leading axis": (draw(2, 2, 23, 31, lead=(2,)), {"mask": some(2, 23, 31)[:, None]}),
    "mask that shows little": (draw(2, 2, 43, 43), {"mask": some(2, 43, 43, 0.04)}),
    "nothing visible": (draw(2, 2, 23, 23), {"mask": np.zeros((23, 23), bool)}),
    "first tiles hidden": (draw(2, 2, 43, 43), {"mask": np.arange(43) > 30}),
    "bias": (draw(2, 2, 43, 43), {"bias": RNG.standard_normal((43, 43)) * 3}),
    "bias of one number": (draw(2, 2, 23, 23), {"bias": np.array(0.5)}),
    "bias that hides": (draw(2, 2, 43, 43), {"bias": hiding(2, 43, 43)}),
    "softcap": (draw(2, 2, 43, 43), {"softcap": 1.5}),
    "softcap, causal": (draw(2, 2, 43, 43), {"softcap": 1.5, "causal": True, "scale": 2.0}),
    "scale": (draw(2, 2, 43, 43), {"scale": 30.0}),
    "scale below zero": (draw(2, 2, 43, 43), {"scale": -3.0}),
    "a scale of nothing": (draw(2, 2, 23, 23), {"scale": 0.0}),
    "mask as a function": (draw(4, 2, 43, 43), {"mask": mask_of}),
    "bias as a function": (draw(4, 2, 43, 43), {"bias": bias_of, "causal": True}),
    "functions, leading axes": (draw(4, 2, 23, 31, lead=(2,)), {"bias": bias_of, "mask": mask_of}),
    "all together": (
        draw(4, 2, 61, 61),
        {"mask": mask_of, "bias": hiding(4, 61, 61), "softcap": 1.5, "causal": True, "window": 29, "scale": 2.0},
    ),
    "one token": (draw(2, 2, 1, 1), {}),
    "one causal token": (draw(2, 2, 1, 1), {"causal": True}),
    "one key": (draw(2, 2, 13, 1), {}),
    "no token": (draw(2, 2, 0, 0), {}),
    "no query": (draw(2, 2, 0, 9), {}),
    "no key": (draw(2, 2, 13, 0), {}),
    "no key, all together": (draw(2, 2, 13, 0), {"causal": True, "window": 3, "mask": np.ones((13, 0), bool)}),
}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_small(monkeypatch)


def no_way_back(*_: object) -> None:
    raise AssertionError("a panel of finite numbers went the plain way")


@pytest.mark.parametrize("compiled", BOTH_KINDS)
@pytest.mark.parametrize(("arrays", "settings"), CASES.values(), ids=CASES.keys())
def test_every_number_is_that_of_the_matrix(
    arrays: Arrays, settings: dict[str, Any], compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "plain_panel", no_way_back)
    assert_same(streamed(arrays, compiled=compiled, **settings), dense(arrays, **settings))


@pytest.mark.parametrize("max_bytes", [1, 3000, 30_000])
@pytest.mark.parametrize("name", ["plain", "causal", "causal window, more queries", "all together", "no key"])
def test_so_it_is_in_the_smallest_panels(name: str, max_bytes: int) -> None:
    arrays, settings = CASES[name]
    assert_same(streamed(arrays, max_bytes=max_bytes, **settings), dense(arrays, **settings))


@pytest.mark.parametrize("compiled", BOTH_KINDS)
@pytest.mark.parametrize("name", ["plain", "causal", "causal window", "mask as a function", "bias as a function"])
def test_so_it_is_in_larger_ones(name: str, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Panels and tiles that the compiled kernel cuts up once more, 331 of them by 331."""
    cut_small(monkeypatch, height=83, tile=149)
    arrays, settings = draw(2, 1, 331, 331, d=13), CASES[name][1]
    assert_same(streamed(arrays, compiled=compiled, **settings), dense(arrays, **settings))


@pytest.mark.slow
@pytest.mark.parametrize("compiled", BOTH_KINDS)
def test_so_it_is_at_4096(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    arrays, settings = draw(1, 1, 4096, 4096, d=16), {} if compiled else {"causal": True}
    assert_same(streamed(arrays, compiled=compiled, **settings), dense(arrays, **settings))


def as_views(arrays: Arrays, view: Callable[[Array], Array]) -> Arrays:
    """The same numbers, lying in memory as the view leaves them."""
    q, k, v = (view(array) for array in arrays)
    return q, k, v


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "heads inside": lambda a: np.ascontiguousarray(a.swapaxes(-2, -3)).swapaxes(-2, -3),
    "columns first": lambda a: np.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2),
    "every other": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "every other row": lambda a: np.repeat(a, 2, axis=-2)[..., ::2, :],
    "backwards": lambda a: np.ascontiguousarray(a[..., ::-1, ::-1])[..., ::-1, ::-1],
    "one number for all": lambda a: np.broadcast_to(a[..., :1, :1], a.shape),
    "big-endian": lambda a: a.astype(">f8"),
    "not to be written": lambda a: np.frombuffer(a.tobytes()).reshape(a.shape),
}


@pytest.mark.parametrize("compiled", BOTH_KINDS)
@pytest.mark.parametrize("view", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_however_the_arrays_lie_in_memory(view: Callable[[Array], Array], compiled: bool) -> None:
    arrays = as_views(draw(2, 2, 43, 43), view)
    plain = as_views(arrays, lambda a: np.array(a, dtype=np.float64, order="C"))
    for settings in ({}, {"causal": True}, {"mask": mask_of}):
        expected = dense(plain, **settings)
        alike = np.ptp(expected.statistics.received) < 1e-12
        but = ("received_argmax", "received_by_seers_argmax") if alike else ()
        assert_same(streamed(arrays, compiled=compiled, **settings), expected, but=but)
    for array, before in zip(arrays, plain, strict=True):
        np.testing.assert_array_equal(array, before)


def flipped(mask: Array, at: tuple[int, ...]) -> Array:
    wrong = mask.copy()
    wrong[at] = ~wrong[at]
    return wrong


#: One step away from a case above: each must be told from it.
WRONG: list[tuple[str, dict[str, Any]]] = [
    ("plain", {"causal": True}),
    ("causal", {"causal": False}),
    ("window", {"window": 10}),
    ("window", {"window": 8}),
    ("causal window", {"window": 10}),
    ("causal window", {"window": 8}),
    ("mask by head", {"mask": flipped(CASES["mask by head"][1]["mask"], (2, 40, 41))}),
    ("mask as a function", {"mask": lambda head, queries, keys: mask_of(head + 1, queries, keys)}),
    ("bias", {"bias": CASES["bias"][1]["bias"] + 1e-6 * (np.arange(43) == 41)}),
    ("bias as a function", {"bias": lambda head, queries, keys: bias_of(head, queries, keys) * (1 + 1e-8)}),
    ("softcap", {"softcap": 1.5 * (1 + 1e-8)}),
    ("scale", {"scale": 30 * (1 + 1e-9)}),
]


@pytest.mark.parametrize(("name", "wrong"), WRONG, ids=[f"{name}: {[*wrong]}" for name, wrong in WRONG])
def test_an_attention_one_step_away_is_told_from_it(name: str, wrong: dict[str, Any]) -> None:
    arrays, settings = CASES[name]
    with pytest.raises(AssertionError, match="Mismatch"):
        assert_same(streamed(arrays, **(settings | wrong)), dense(arrays, **settings))


def test_every_number_is_compared() -> None:
    expected = dense(*CASES["plain"][:1])
    for name, value in numbers(expected).items():
        wrong = ~value if value.dtype == np.bool_ else value + 1e-8 * np.maximum(1, np.abs(value))
        with pytest.raises(AssertionError, match=name):
            assert_same(changed(expected, name, wrong), expected)
