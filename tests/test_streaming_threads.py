"""As many threads as one likes give the same bits, round after round: products called from several may not disturb.

OpenBLAS has been built so that they did (numpy issue 11046).
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

from attnlab.maths import jobs, plan
from attnlab.maths.inputs import AttentionInputs
from attnlab.maths.streaming import StreamedAttention, stream
from attnlab.maths.strips import StripPass
from tests.streaming_cases import BOTH_KINDS, assert_same_bits, cut_small, draw, inputs_of, streamed

Array = NDArray[Any]

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"causal": True},
    "window": {"window": 9},
    "mask": {"mask": np.random.default_rng(0).random((61, 61)) < 0.5},
    "softcap and bias": {"softcap": 2.0, "bias": np.linspace(-2, 2, 61)},
}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_small(monkeypatch)


@pytest.mark.parametrize("compiled", BOTH_KINDS)
@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_threads_gives_the_same_bits(kind: str, compiled: bool) -> None:
    q, k, v = (array.astype(np.float32) for array in draw(4, 2, 61, 61))
    one, *more = (streamed((q, k, v), threads=threads, compiled=compiled, **KINDS[kind]) for threads in (1, 2, 4))
    for other in more:
        assert_same_bits(other, one)


def test_the_threads_are_those_asked_for() -> None:
    inputs = inputs_of(draw(4, 2, 61, 61), {})
    for threads in (1, 2, 4):
        assert plan.plan_for(inputs, threads=threads).threads == threads


def many_rounds(compiled: bool, rounds: int) -> tuple[StreamedAttention, list[StreamedAttention]]:
    """One thread's result, and those of many rounds of four threads: 300 tokens, products of 48 × 64 × 16."""
    q, k, v = (array.astype(np.float32) for array in draw(4, 4, 300, 300, d=16))
    inputs = inputs_of((q, k, v), {"causal": True})
    alone = stream(inputs, threads=1, compiled=compiled)
    return alone, [stream(inputs, threads=4, compiled=compiled) for _ in range(rounds)]


@pytest.mark.parametrize("compiled", BOTH_KINDS)
def test_products_from_several_threads_do_not_disturb_each_other(
    compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_small(monkeypatch, height=48, tile=64, strip=24)
    alone, rounds = many_rounds(compiled, 30)
    for found in rounds:
        assert_same_bits(found, alone)


def disturbed(product: Callable[..., Array], at: int, again: int) -> Callable[..., Array]:
    """The product, but one call is off by a thousandth in one number, which the strip's last query sees: that of the
    same numbers as the at-th, when they come again for so manieth a time. Threads take their products in any order.
    """
    count, same = itertools.count(), itertools.count()
    chosen: list[Array] = []

    def multiply(a: Array, b: Array, out: Array) -> Array:
        product(a, b, out=out)
        if next(count) == at:
            chosen.extend((a.copy(), b.copy()))
        elif chosen and np.array_equal(a, chosen[0]) and np.array_equal(b, chosen[1]) and next(same) == again:
            out[(*[-1] * (out.ndim - 1), 0)] += 1e-3
        return out

    return multiply


def test_one_disturbed_product_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """One number of one product in some four thousand: the 150th of one thread's, in the sixth of the rounds after."""
    cut_small(monkeypatch, height=48, tile=64, strip=24)
    monkeypatch.setattr(np, "matmul", disturbed(np.matmul, 150, 5))
    alone, rounds = many_rounds(False, 8)
    spoiled = 0
    for found in rounds:
        try:
            assert_same_bits(found, alone)
        except AssertionError:
            spoiled += 1
    assert spoiled == 1


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_products_take_one_thread_each_while_panels_go_by(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    take = StripPass.take

    def counted(panel: StripPass, rows: slice) -> None:
        seen.append(blas_threads())
        take(panel, rows)

    monkeypatch.setattr(StripPass, "take", counted)
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        streamed(draw(2, 2, 23, 23), threads=2)
        assert blas_threads() == before
    assert seen
    assert all(threads <= {1} for threads in seen)


class TestAPanelThatFails:
    """What goes wrong in a thread ends the whole, with nothing left behind."""

    def broken(self, monkeypatch: pytest.MonkeyPatch) -> AttentionInputs:
        def fail(head: Any, queries: slice, *_: Any) -> Any:
            raise MemoryError(f"of panel {queries.start}")

        monkeypatch.setattr(jobs, "plain_panel", fail)
        q, k, v = draw(2, 2, 61, 61)
        q[1, 33] = np.nan
        return inputs_of((q, k, v), {})

    @pytest.mark.parametrize("threads", [1, 4])
    def test_its_error_is_the_callers(self, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
        with threadpool_limits(2, "blas"):
            before = blas_threads()
            with pytest.raises(MemoryError, match="of panel 30"):
                stream(self.broken(monkeypatch), threads=threads)
            assert blas_threads() == before

    def test_an_interrupt_while_progress_is_told_is_too(self) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            stream(inputs_of(draw(2, 2, 61, 61), {}), threads=4, advance=interrupt)
