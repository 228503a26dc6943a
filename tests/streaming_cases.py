"""Attentions to stream, the same from their matrix, and how the two are compared."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab.maths import keyside, plan, skew
from attnlab.maths.attention import attention_steps
from attnlab.maths.dense import dense_statistics
from attnlab.maths.inputs import AttentionInputs, attention_inputs
from attnlab.maths.statistics import HeadStatistics
from attnlab.maths.streaming import StreamedAttention, stream
from tests.oracles import DEFAULTS

Array = NDArray[Any]
Arrays = tuple[Array, Array, Array]

HAS_NUMBA = find_spec("numba") is not None
needs_numba = pytest.mark.skipif(not HAS_NUMBA, reason="numba is not installed")
#: What a test that takes `compiled` goes through.
BOTH_KINDS = [pytest.param(False, id="numpy"), pytest.param(True, id="compiled", marks=needs_numba)]
#: Queries of a panel and a strip, keys of a tile, and tokens of a block of the second pass: a few cross many of each.
HEIGHT, STRIP, TILE, BLOCK = 5, 4, 7, 11


def cut_small(monkeypatch: pytest.MonkeyPatch, height: int = HEIGHT, tile: int = TILE, strip: int = STRIP) -> None:
    """Panels, strips, tiles and blocks of a few tokens, for any number of threads."""
    monkeypatch.setattr(plan, "HEIGHT", height)
    monkeypatch.setattr(plan, "TILE", tile)
    monkeypatch.setattr(plan, "STEP", 1)
    monkeypatch.setattr(plan, "STRIP", strip)
    monkeypatch.setattr(plan, "BLOCK", 4)
    monkeypatch.setattr(plan, "VECTOR", 1)
    monkeypatch.setattr(plan, "FEW", 0)
    monkeypatch.setattr(skew, "SIDE", BLOCK)
    monkeypatch.setattr(keyside, "CHUNK", 13)
    monkeypatch.setattr(plan, "PLAIN_SCORES", 40)


def draw(h: int, g: int, n: int, m: int, *, seed: int = 0, lead: tuple[int, ...] = (), d: int = 6) -> Arrays:
    """Normal queries (…, h, n, d), keys (…, g, m, d) and values (…, g, m, 3) in float64."""
    rng = np.random.default_rng(seed)
    return (
        rng.standard_normal((*lead, h, n, d)),
        rng.standard_normal((*lead, g, m, d)),
        rng.standard_normal((*lead, g, m, 3)),
    )


def mask_of(head: int, queries: slice, keys: slice) -> Array:
    """A mask that differs by head: every third key, counted from the query, is hidden."""
    i, j = np.arange(queries.start, queries.stop)[:, None], np.arange(keys.start, keys.stop)
    return np.asarray((i - j + head) % 3 != 0)


def bias_of(head: int, queries: slice, keys: slice) -> Array:
    """Straight lines in the distance, steeper by head."""
    i, j = np.arange(queries.start, queries.stop)[:, None], np.arange(keys.start, keys.stop)
    return np.asarray(-np.abs(i - j) * 0.5 ** (head + 1))


def inputs_of(arrays: Arrays, settings: Mapping[str, Any]) -> AttentionInputs:
    return attention_inputs(*arrays, **(DEFAULTS | dict(settings)))


def dense(arrays: Arrays, **settings: Any) -> StreamedAttention:
    """What streaming is to give, from the matrix."""
    inputs = inputs_of(arrays, settings)
    with np.errstate(over="ignore", invalid="ignore"):
        steps = attention_steps(inputs)
        statistics = dense_statistics(steps, inputs.v, causal=inputs.causal)
    return StreamedAttention(steps.output, steps.lse, statistics)


def streamed(
    arrays: Arrays, *, compiled: bool = False, threads: int | None = None, max_bytes: int | None = None, **settings: Any
) -> StreamedAttention:
    """The same without the matrix, asymmetry included."""
    inputs = inputs_of(arrays, settings)
    return stream(inputs, asymmetry=True, compiled=compiled, threads=threads, max_bytes=max_bytes)


def numbers(found: StreamedAttention) -> dict[str, Array]:
    """Output, lse and every statistic, by name."""
    values = {name: value for name, value in found.statistics._asdict().items() if name != "reasons"}
    return {"output": found.output, "lse": found.lse, **values}


def assert_same(
    found: StreamedAttention, expected: StreamedAttention, *, rtol: float = 1e-10, but: tuple[str, ...] = ()
) -> None:
    """Every number of both within rtol of the larger of the number and 1; in the output, of the largest one.

    Args:
        but: statistics not to compare.
    """
    wanted = numbers(expected)
    for name, value in numbers(found).items():
        if name in but:
            continue
        size = np.abs(wanted[name])
        largest = float(size[np.isfinite(size)].max(initial=0))
        atol = rtol * (largest if name == "output" else 1e-2)
        np.testing.assert_allclose(value, wanted[name], rtol=rtol, atol=atol, err_msg=name)
    reasons = ({n: why for n, why in each.statistics.reasons.items() if n not in but} for each in (found, expected))
    assert next(reasons) == next(reasons)


def assert_same_bits(found: StreamedAttention, expected: StreamedAttention) -> None:
    wanted = numbers(expected)
    for name, value in numbers(found).items():
        np.testing.assert_array_equal(value, wanted[name], err_msg=name, strict=True)


def changed(found: StreamedAttention, name: str, value: Any) -> StreamedAttention:
    """The same with one of its numbers replaced."""
    one: dict[str, Any] = {name: value}
    if name in HeadStatistics._fields:
        return found._replace(statistics=found.statistics._replace(**one))
    return found._replace(**one)
