"""What streamed attention asks of functions, leaves out and tells, and that its statistics are those of every path."""

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab.errors import ShapeError
from attnlab.maths import statistics
from attnlab.maths.rows import RowSums
from attnlab.maths.streaming import NOT_ASKED, attention_statistics, panel_count, stream
from tests.oracles import DEFAULTS
from tests.streaming_cases import bias_of, cut_small, dense, draw, inputs_of, mask_of, numbers, streamed

Array = NDArray[Any]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_small(monkeypatch)


class TestOneDefinition:
    """Each statistic comes from one reducer, which both paths share."""

    @pytest.mark.parametrize("name", [name for name in statistics.STATISTICS if name not in ("sink", "received")])
    def test_a_changed_one_is_changed_on_both(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        before, arrays = statistics.STATISTICS[name], draw(2, 1, 13, 13)
        usual = numbers(dense(arrays))[name]
        monkeypatch.setitem(statistics.STATISTICS, name, lambda rows: 3 * before(rows) + 1)
        for found in (dense(arrays), streamed(arrays)):
            np.testing.assert_allclose(numbers(found)[name], 3 * usual + 1, rtol=1e-12)

    def test_a_new_one_is_there_on_both(self, monkeypatch: pytest.MonkeyPatch) -> None:
        *names, reasons = statistics.HeadStatistics._fields
        extended = namedtuple("extended", [*names, "thin_rows", reasons])  # type: ignore[misc]
        monkeypatch.setattr(statistics, "HeadStatistics", extended)

        def thin_rows(rows: RowSums) -> Array:
            return np.asarray((rows.visible < 7).sum(axis=-1))

        monkeypatch.setitem(statistics.STATISTICS, "thin_rows", thin_rows)
        arrays = draw(2, 1, 23, 23)
        for found in (dense(arrays, causal=True), streamed(arrays, causal=True)):
            assert np.asarray(found.statistics.thin_rows).tolist() == [6, 6]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "function", "words"),
    [
        ("mask", lambda head, queries, keys: np.ones((1, 1), bool), r"mask: its function returned bool of shape \(1, "),
        ("mask", lambda head, queries, keys: bias_of(head, queries, keys), "mask: its function returned float64"),
        ("bias", lambda head, queries, keys: mask_of(head, queries, keys), "bias: its function returned bool"),
    ],
)
def test_a_function_that_returns_something_else_is_refused(
    name: str, function: Callable[[int, slice, slice], Array], words: str
) -> None:
    with pytest.raises(ShapeError, match=words):
        stream(inputs_of(draw(2, 2, 23, 23), {name: function}))


def test_functions_are_asked_for_nothing_beyond_the_tokens() -> None:
    asked: list[tuple[int, slice, slice]] = []

    def seen(head: int, queries: slice, keys: slice) -> Array:
        asked.append((head, queries, keys))
        return mask_of(head, queries, keys)

    streamed(draw(3, 1, 23, 31), mask=seen, threads=1)
    assert {head for head, _, _ in asked} == {0, 1, 2}
    for _, queries, keys in asked:
        assert 0 <= queries.start < queries.stop <= 23
        assert 0 <= keys.start < keys.stop <= 31
        assert queries.step is keys.step is None


def test_what_is_out_of_reach_is_not_computed() -> None:
    """A causal window of w on n tokens: the function is asked for O(n·w) entries, once to attend and once to count."""
    counted = 0

    def seen(head: int, queries: slice, keys: slice) -> Array:
        nonlocal counted
        counted += (queries.stop - queries.start) * (keys.stop - keys.start)
        return mask_of(head, queries, keys)

    arrays = draw(1, 1, 211, 211)
    inputs = inputs_of(arrays, {"mask": seen, "causal": True, "window": 3})
    stream(inputs, threads=1)
    assert counted <= 2 * 211 * (3 + 4 + 4)
    counted = 0
    stream(inputs._replace(window=None), threads=1)
    assert 211 * 212 <= counted <= 211 * 211 + 2 * 211 * 20


@pytest.mark.parametrize("asymmetry", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("tokens", [0, 1, 23, 35])
def test_progress_is_told_as_often_as_announced(tokens: int, causal: bool, asymmetry: bool) -> None:
    inputs = inputs_of(draw(4, 2, tokens, tokens), {"causal": causal})
    told: list[None] = []
    stream(inputs, asymmetry=asymmetry, advance=lambda: told.append(None))
    assert len(told) == panel_count(inputs, asymmetry=asymmetry)
    assert len(told) >= 4 * (tokens // 5)


def test_as_a_caller_has_it() -> None:
    q, k, v = draw(1, 1, 23, 23)
    headed = attention_statistics(q, k, v, causal=True)
    alone = attention_statistics(q[0], k[0], v[0], causal=True)
    assert (headed.output.shape, headed.lse.shape) == ((1, 23, 3), (1, 23))
    assert (alone.output.shape, alone.lse.shape) == ((23, 3), (23,))
    assert headed.statistics.received.shape == (1, 23)
    assert (alone.statistics.received.shape, np.ndim(alone.statistics.entropy)) == ((23,), 0)
    np.testing.assert_array_equal(alone.output, headed.output[0])
    assert alone.statistics.entropy == headed.statistics.entropy[0]
    assert "asymmetry" in headed.statistics.reasons


def test_what_is_not_asked_for_says_so() -> None:
    found = attention_statistics(*draw(2, 1, 13, 13))
    assert np.isnan(found.statistics.asymmetry).all()
    assert found.statistics.reasons == {"asymmetry": NOT_ASKED}
    assert stream(inputs_of(draw(2, 1, 13, 13), DEFAULTS), asymmetry=True).statistics.reasons == {}
