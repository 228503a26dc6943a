"""Panels taken whole by compiled code: its products beside numpy's, and its statistics beside the matrix's, where
stripes, chunks and steps end in odd places.
"""

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab.maths import jobs, plan
from attnlab.maths.bands import Band, largest_in_band
from attnlab.maths.plan import plan_for, stripe_bytes
from attnlab.maths.streaming import stream
from tests.patience import PATIENCE
from tests.streaming_cases import assert_same, dense, draw, inputs_of, needs_numba, streamed

Array = NDArray[Any]

DTYPES = [np.float32, np.float64]


def filled(shape: tuple[int, ...], dtype: type, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@cache
def compiled_steps() -> Callable[..., None]:
    """A step's product from a row on, or its addition to what is there, compiled."""
    import numba

    from attnlab.maths.compiled_vectors import multiply

    def by_steps(a: Array, b: Array, c: Array, first: int, rows: int, apart: int, step: int, add: bool) -> None:
        place = np.int64(a.ctypes.data) + first * apart * a.itemsize
        places = (place, np.int64(b.ctypes.data), np.int64(c[first:].ctypes.data))
        if add:
            multiply(places, rows - first, apart, step, b.shape[0], True, b.dtype.type(0))
        else:
            multiply(places, rows - first, apart, step, b.shape[0], False, b.dtype.type(1))

    steps: Callable[..., None] = numba.njit(by_steps)
    return steps


def products(a: Array, b: Array, before: Array, *, turned: bool) -> tuple[Array, Array]:
    """a b by steps of rows, and before + a b; turned: a is given by columns."""
    rows, columns = a.shape
    lies = np.ascontiguousarray(a.T) if turned else a
    apart, step = (1, rows) if turned else (columns, 1)
    found = []
    for add in (False, True):
        c = np.concatenate([before, np.zeros((8, b.shape[1]), b.dtype)])
        for first in range(0, rows, len(before) - rows):
            compiled_steps()(lies, b, c, first, rows, apart, step, add)
        found.append(c[:rows])
    return found[0], found[1]


@needs_numba
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("turned", [False, True])
def test_its_products_are_those_of_numpy(dtype: type, turned: bool) -> None:
    from attnlab.maths.compiled_vectors import shape_for

    shape, eps = shape_for(np.dtype(dtype).itemsize * 8), float(np.finfo(dtype).eps)
    for rows, columns in ((1, 1), (1, 67), (2, 5), (7, 64), (8, 1), (9, 2), (13, 129)):
        a, b = filled((rows, columns), dtype, rows), filled((columns, shape.lanes), dtype, columns)
        before = filled((rows + shape.rows, shape.lanes), dtype, 1)
        alone, added = products(a, b, before, turned=turned)
        exact = a.astype(np.longdouble) @ b.astype(np.longdouble)
        bound = eps * (columns + 1) * (np.abs(a) @ np.abs(b) + 1)
        assert (np.abs(alone - exact) <= bound).all()
        assert (np.abs(added - before[:rows] - exact) <= bound + eps * np.abs(added)).all()


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"causal": True},
    "window": {"window": 9},
    "wide window": {"window": 300},
    "causal window": {"causal": True, "window": 70},
    "one key each": {"window": 0},
    "peaked": {"scale": 30.0},
    "scores of one sign": {"scale": 0.0},
    "turned around": {"scale": -2.0},
}


@needs_numba
@pytest.mark.parametrize("chunk", [8, 256])
@pytest.mark.parametrize("setting", SETTINGS)
def test_as_the_matrix_has_it(setting: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from attnlab.maths import compiled_panels

    monkeypatch.setattr(compiled_panels, "CHUNK", chunk)
    for n, m, d, seed in (
        (1, 1, 1, 0),
        (5, 3, 2, 1),
        (24, 24, 8, 2),
        (101, 101, 7, 3),
        (307, 211, 5, 4),
        (61, 601, 9, 5),
    ):
        arrays = draw(2, 1, n, m, seed=seed, d=d)
        assert_same(streamed(arrays, compiled=True, **SETTINGS[setting]), dense(arrays, **SETTINGS[setting]))


@needs_numba
@pytest.mark.parametrize("causal", [False, True])
def test_logits_that_keep_rising_are_followed(causal: bool) -> None:
    """Every few keys exceed all before by more than the shift allows; or come after thousands below the floor."""
    q, k, v = draw(1, 1, 301, 301, d=2)
    q[..., 0], q[..., 1] = 1, 0
    for rise in (0.5, 3.0, 40.0, 1000.0, -40.0):
        k[..., 0] = rise * np.arange(301)
        assert_same(streamed((q, k, v), compiled=True, causal=causal), dense((q, k, v), causal=causal))


@needs_numba
def test_wholly_taken_panels_do_without_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(jobs, "tile_panel", refuse)
    monkeypatch.setattr(jobs, "strip_panel", refuse)
    arrays = draw(2, 1, 61, 61)
    taken: list[dict[str, Any]] = [{}, {"causal": True}, {"window": 5}]
    for settings in taken:
        streamed(arrays, compiled=True, **settings)
    others: list[dict[str, Any]] = [{"softcap": 2.0}, {"mask": np.ones((61, 61), bool)}, {"bias": np.zeros((61, 61))}]
    for settings in others:
        with pytest.raises(AssertionError):
            streamed(arrays, compiled=True, **settings)
    with pytest.raises(AssertionError):
        streamed(arrays, compiled=True, max_bytes=1000)


@needs_numba
def test_keys_and_queries_may_lie_anyhow() -> None:
    q, k, v = (array.swapaxes(-1, -2).copy().swapaxes(-1, -2) for array in draw(2, 2, 61, 61))
    assert_same(streamed((q, k, v), compiled=True), dense((q, k, v)))


def test_what_stripes_take_is_within_what_is_allowed() -> None:
    inputs = inputs_of(draw(1, 1, 3000, 3000), {})
    for max_bytes in (1 << 20, 1 << 21, 1 << 22, 1 << 24):
        found = plan_for(inputs, max_bytes, threads=2)
        assert found.threads * stripe_bytes(found.stripes, inputs) <= max_bytes
    assert plan_for(inputs, 1 << 24, threads=2).stripes == plan.TOGETHER
    assert plan_for(inputs, 1000).stripes == 0


@pytest.mark.parametrize("band", [Band(0, 0, 40), Band(3, 0, 40), Band(2, 5, 33), Band(100, 0, 40), Band(100, 7, 20)])
def test_the_largest_in_a_band(band: Band) -> None:
    numbers = np.abs(filled((band.keys,), np.float64, 0))
    for queries in (slice(0, 1), slice(0, 40), slice(13, 17), slice(30, 61)):
        wanted = [
            numbers[max(0, i - band.back) : i + band.ahead + 1].max(initial=0)
            for i in range(queries.start, queries.stop)
        ]
        np.testing.assert_array_equal(largest_in_band(numbers, band, queries), wanted)


PLAINEST = """
import numpy as np
from attnlab.maths.compiled_vectors import shape_for
from tests.streaming_cases import assert_same, dense, draw, streamed
print(*shape_for(32))
arrays = draw(1, 1, 61, 61)
assert_same(streamed(arrays, compiled=True, causal=True), dense(arrays, causal=True))
"""


@needs_numba
@pytest.mark.slow
@pytest.mark.parametrize(
    ("features", "shape"), [("", "4 4"), ("+avx,+avx2,+fma", "8 4"), ("+avx,+avx2,+fma,+avx512f", "16 8")]
)
def test_processors_of_other_kinds(features: str, shape: str, tmp_path: Any) -> None:
    """Vectors of 128 bits without a joint multiplication and addition, of 256, and of 512 where there are such."""
    from llvmlite import binding

    here = binding.get_host_cpu_features()
    if not all(here.get(feature.strip("+"), False) for feature in features.split(",") if feature):
        pytest.skip("this processor lacks them")
    made = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)}
    found = subprocess.run(
        [sys.executable, "-c", PLAINEST],
        env=made | {"PYTHONPATH": ":".join(filter(None, sys.path)), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (found.stdout, found.stderr) == (f"{shape}\n", "")


@needs_numba
def test_too_little_memory_is_taken_tile_by_tile() -> None:
    inputs = inputs_of(draw(1, 1, 61, 61), {})
    found, usual = stream(inputs, compiled=True, max_bytes=20_000), stream(inputs, compiled=True)
    assert_same(found, usual)
