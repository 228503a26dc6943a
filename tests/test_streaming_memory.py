"""What a streamed attention takes beyond its inputs and results: max_bytes, and a little for each query and key."""

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab.maths.attention import attention
from attnlab.maths.inputs import AttentionInputs
from attnlab.maths.plan import WORKING, plan_for
from attnlab.maths.streaming import attention_statistics, stream
from tests.streaming_cases import Arrays, draw, inputs_of, needs_numba

Array = NDArray[Any]

MIB = 2**20
WIDTH = 8
#: For each query and key, whatever max_bytes is: a row's 17 sums in float64, twice while panels are joined, and the
#: statistics' own passes over them; a key's column and shares received, those of panels under way too.
PER_TOKEN = 400
#: Python's own objects, and temporaries of fixed size.
FIXED = 256 * 1024


def normal(n: int, size: float = 1.0) -> Arrays:
    q, k, v = (array.astype(np.float32) for array in draw(1, 1, n, n, d=WIDTH))
    return np.float32(size) * q, k, v


def with_a_nan(n: int) -> Arrays:
    q, k, v = normal(n)
    q[0, 5, 0] = np.nan
    return q, k, v


def every_third(head: int, queries: slice, keys: slice) -> Array:
    """Hides every third key, and takes no memory itself to say so."""
    return np.broadcast_to(
        np.arange(keys.start, keys.stop) % 3 > 0, (queries.stop - queries.start, keys.stop - keys.start)
    )


def slope(head: int, queries: slice, keys: slice) -> Array:
    line = np.linspace(0, 1, keys.stop - keys.start, dtype=np.float32)
    return np.broadcast_to(line, (queries.stop - queries.start, len(line)))


CASES: dict[str, tuple[Callable[[int], Arrays], dict[str, Any]]] = {
    "plain": (normal, {}),
    "causal": (normal, {"causal": True}),
    "window": (normal, {"window": 100}),
    "mask": (normal, {"mask": every_third}),
    "softcap and bias": (normal, {"softcap": 2.0, "bias": slope}),
    "saturated": (lambda n: normal(n, 40.0), {}),
    "a NaN": (with_a_nan, {}),
}


def peak(work: Callable[[], object]) -> int:
    """Bytes that Python and numpy hold at once, at most, while the work is done, beyond those held before."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        work()
        return int(tracemalloc.get_traced_memory()[1]) - before
    finally:
        tracemalloc.stop()


def extra(inputs: AttentionInputs, max_bytes: int, *, compiled: bool = False, asymmetry: bool = False) -> int:
    """The peak less output and lse, which are there at the end."""
    *_, n, _ = inputs.shape
    results = n * (inputs.v.shape[-1] + 1) * inputs.q.dtype.itemsize
    return (
        peak(lambda: stream(inputs, max_bytes=max_bytes, threads=2, compiled=compiled, asymmetry=asymmetry)) - results
    )


def bound(max_bytes: int, n: int) -> int:
    return max_bytes + FIXED + 2 * n * PER_TOKEN


def test_what_is_counted_is_what_is_taken() -> None:
    assert peak(lambda: np.ones(MIB)) == pytest.approx(8 * MIB, rel=0.01)


@pytest.mark.parametrize("name", CASES)
def test_it_stays_under_max_bytes(name: str) -> None:
    make, settings = CASES[name]
    inputs = inputs_of(make(2048), settings)
    for max_bytes in (2 * MIB, 16 * MIB):
        assert extra(inputs, max_bytes) <= bound(max_bytes, 2048)


@needs_numba
@pytest.mark.parametrize("name", ["plain", "causal"])
def test_compiled_it_does_too(name: str) -> None:
    make, settings = CASES[name]
    inputs = inputs_of(make(2048), settings)
    stream(inputs, compiled=True)  # what is made once, the compiled kernel, is not counted
    for max_bytes in (2 * MIB, 16 * MIB):
        assert extra(inputs, max_bytes, compiled=True) <= bound(max_bytes, 2048)


@pytest.mark.parametrize("name", ["plain", "causal"])
def test_so_it_does_at_four_times_the_length(name: str) -> None:
    make, settings = CASES[name]
    assert extra(inputs_of(make(8192), settings), 8 * MIB) <= bound(8 * MIB, 8192)


def test_the_second_pass_does_too() -> None:
    assert extra(inputs_of(normal(2048), {}), 8 * MIB, asymmetry=True) <= bound(8 * MIB, 2048)


def test_a_matrix_does_not() -> None:
    q, k, v = normal(2048)
    assert peak(lambda: attention(q, k, v)) > bound(8 * MIB, 2048)


def test_a_quarter_of_it_is_exceeded() -> None:
    """What max_bytes allows is taken where it makes larger panels, tile by tile, and the bound sees so much more."""
    inputs = inputs_of(normal(8192, 40.0), {})
    assert extra(inputs, 32 * MIB) > bound(8 * MIB, 8192)


@pytest.mark.parametrize("max_bytes", [0, 1, 1000])
def test_too_little_is_one_query_at_a_time(max_bytes: int) -> None:
    inputs = inputs_of(normal(307), {})
    plan = plan_for(inputs, max_bytes, threads=4)
    assert (plan.height, plan.threads) == (1, 1)
    found, usual = stream(inputs, max_bytes=max_bytes), stream(inputs)
    np.testing.assert_allclose(found.output, usual.output, atol=1e-6)
    np.testing.assert_allclose(found.statistics.entropy, usual.statistics.entropy, rtol=1e-6)


def test_the_documented_default_is_the_default() -> None:
    assert f"None = {WORKING >> 20} MiB" in str(attention_statistics.__doc__)
    q = np.broadcast_to(np.zeros((1, 1), np.float32), (2**20, 64))
    assert plan_for(inputs_of((q, q, q), {})) == plan_for(inputs_of((q, q, q), {}), WORKING)


def test_panels_grow_with_the_memory_allowed() -> None:
    inputs = inputs_of(normal(8192), {})
    heights = [plan_for(inputs, max_bytes, threads=2).height for max_bytes in (0, MIB, 4 * MIB, 16 * MIB, WORKING)]
    assert heights == sorted(heights)
    assert heights[0] < heights[1] < heights[-1]
