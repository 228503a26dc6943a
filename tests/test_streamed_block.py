"""A block without its matrices gives the numbers of the block with them, whatever its configuration."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab.maths import chunks, plan, streamed_block
from attnlab.maths.architecture import BlockSpec, Initialisation
from attnlab.maths.block import LayerTrace, trace_block
from attnlab.maths.dense import dense_statistics
from attnlab.maths.shapes import alibi_panel
from attnlab.maths.stack import Stack
from attnlab.maths.statistics import HeadStatistics
from attnlab.maths.step_sums import StepSums
from attnlab.maths.streamed_block import HeadGroup, StreamedLayer, block_panels, stream_block
from attnlab.maths.weights import initial_block, random_input
from tests.test_block import EPS, VARIANTS, N, case

Array = NDArray[Any]

#: Prime, and several panels of two or three tokens.
SAMPLED = (0, 4, 10)


@pytest.fixture(autouse=True)
def few_tokens_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every loop over tokens goes round several times."""
    monkeypatch.setattr(chunks, "AT_ONCE", 40)


def both(changes: dict[str, Any]) -> tuple[LayerTrace, HeadStatistics, StreamedLayer]:
    spec, weights, x = case(changes)
    trace = trace_block(spec, weights, x)
    statistics = dense_statistics(trace.attention, trace.v, causal=spec.causal)
    return trace, statistics, stream_block(spec, weights, x, sampled=SAMPLED, asymmetry=True)


def numbers(statistics: HeadStatistics) -> dict[str, Array]:
    return {name: value for name, value in statistics._asdict().items() if name != "reasons"}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
class TestEveryConfiguration:
    def test_has_the_same_statistics(self, changes: dict[str, Any]) -> None:
        _, dense, streamed = both(changes)
        assert dict(streamed.statistics.reasons).keys() == dict(dense.reasons).keys()
        for name, value in numbers(dense).items():
            np.testing.assert_allclose(numbers(streamed.statistics)[name], value, rtol=1e-10, atol=1e-12, err_msg=name)

    def test_has_the_same_steps(self, changes: dict[str, Any]) -> None:
        trace, _, streamed = both(changes)
        np.testing.assert_allclose(streamed.output, trace.output, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(streamed.attention_input, trace.attention_input, rtol=1e-12, atol=1e-13)
        for name, step in {"X": trace.x, **trace.steps}.items():
            sums = streamed.sums[name]
            found = (sums.count, sums.tokens, sums.mean, sums.variance, sums.norm)
            expected = (step.size, N, step.mean(), step.var(), np.linalg.norm(step, axis=-1).mean())
            np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13, err_msg=name)
            np.testing.assert_allclose(streamed.sampled[name], step[list(SAMPLED)], rtol=1e-10, atol=1e-12)
        assert list(streamed.sums) == list(streamed.sampled) == ["X", *trace.steps]


@pytest.mark.parametrize("name", ["post", "pre", "grouped", "alibi", "rotary", "swiglu", "sandwich", "olmo2's"])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
def test_narrow_dtypes_round_where_the_dense_block_rounds(name: str, dtype: Any) -> None:
    spec, weights, x = case(VARIANTS[name])
    small, x = {name: w.astype(dtype) for name, w in weights.items()}, x.astype(dtype)
    trace, streamed = trace_block(spec, small, x), stream_block(spec, small, x)
    assert streamed.output.dtype == trace.output.dtype == dtype
    size = np.abs(trace.output.astype(np.float64)).max()
    difference = np.abs(streamed.output.astype(np.float64) - trace.output.astype(np.float64)).max()
    assert difference <= 4 * EPS[np.dtype(dtype).name] * size
    expected = dense_statistics(trace.attention, trace.v, causal=spec.causal)
    for statistic in ("entropy", "score_variance", "effective_keys", "sink_mass", "norm_bound", "distance"):
        np.testing.assert_allclose(numbers(streamed.statistics)[statistic], numbers(expected)[statistic], rtol=1e-5)


class TestGroups:
    def test_are_handed_over_one_after_the_other_with_what_they_ran_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(streamed_block, "TOGETHER", 1)
        spec, weights, x = case(VARIANTS["grouped"])
        trace = trace_block(spec, weights, x)
        seen: list[tuple[int, int]] = []

        def look(group: HeadGroup) -> None:
            seen.append((group.first, group.shared))
            own = slice(group.first, group.first + 3)
            np.testing.assert_allclose(group.inputs.q.reshape(3, N, -1), trace.q[own], rtol=1e-12)
            np.testing.assert_allclose(group.inputs.k[0], trace.k[group.shared], rtol=1e-12)
            np.testing.assert_allclose(group.attention.lse, trace.lse[own], rtol=1e-12)
            np.testing.assert_allclose(group.attention.output, trace.heads[own], rtol=1e-10, atol=1e-13)

        stream_block(spec, weights, x, on_group=look)
        assert seen == [(0, 0), (3, 1)]

    def test_of_a_short_text_are_taken_together(self) -> None:
        spec, weights, x = case(VARIANTS["grouped"])
        trace = trace_block(spec, weights, x)
        taken: list[HeadGroup] = []
        stream_block(spec, weights, x, on_group=taken.append)
        (group,) = taken
        np.testing.assert_allclose(group.inputs.k, trace.k, rtol=1e-12)
        np.testing.assert_allclose(group.attention.output, trace.heads, rtol=1e-10, atol=1e-13)
        assert [group.key_head(own) for own in range(spec.n_heads)] == [0, 0, 0, 1, 1, 1]

    def test_taken_together_or_alone_make_the_same_block(self, monkeypatch: pytest.MonkeyPatch) -> None:
        spec, weights, x = case(VARIANTS["grouped"])
        together = stream_block(spec, weights, x)
        monkeypatch.setattr(streamed_block, "TOGETHER", 1)
        alone = stream_block(spec, weights, x)
        np.testing.assert_allclose(together.output, alone.output, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(together.statistics.entropy, alone.statistics.entropy, rtol=1e-12)

    def test_that_disagree_about_what_is_defined_keep_their_numbers(self) -> None:
        """A NaN in one head's key weights leaves the other head's statistics alone."""
        spec, weights, x = case({})
        weights["attn.W_K"][1] = np.nan
        statistics = stream_block(spec, weights, x).statistics
        np.testing.assert_array_equal(statistics.nonfinite_rows, [0, N])
        assert "entropy" not in statistics.reasons
        np.testing.assert_array_equal(np.isnan(statistics.entropy), [False, True])


def test_alibi_panels_are_parts_of_its_bias() -> None:
    from attnlab.maths.positions import alibi_bias, alibi_slopes

    slopes = alibi_slopes(12)
    found = alibi_panel(slopes[4:8], np.dtype(np.float64), 3, slice(2, 5), slice(1, 9))
    np.testing.assert_array_equal(found, alibi_bias(12, 11)[7, 2:5, 1:9])


class TestStepSums:
    def test_lose_nothing_at_a_large_mean(self) -> None:
        """E x² − (E x)² would give 24 here for a variance of 1 (float32), and 0.98 of it in float64 at 10⁸."""
        x = 1e8 + np.random.default_rng(0).standard_normal((997, 3))
        parts = [StepSums.of(x[i : i + 100]) for i in range(0, 997, 100)]
        merged = StepSums()
        for part in parts:
            merged = merged.merged(part)
        assert merged.variance == pytest.approx(x.var(), rel=1e-9)
        assert merged.mean == pytest.approx(x.mean(), rel=1e-15)
        naive = (x**2).mean() - x.mean() ** 2
        assert naive != pytest.approx(x.var(), rel=1e-3)

    def test_of_nothing(self) -> None:
        empty = StepSums().merged(StepSums.of(np.empty((0, 5))))
        assert (empty.count, empty.tokens) == (0, 0)
        assert np.isnan([empty.variance, empty.norm]).all()


WIDE = BlockSpec(d_model=64, n_heads=8, n_kv_heads=8, d_k=8, d_v=8, d_ff=256)


def peak(work: Callable[[], object]) -> int:
    tracemalloc.start()
    work()
    bytes_at_most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return bytes_at_most


@pytest.mark.parametrize("changes", [{}, {"norm_position": "pre", "activation": "geglu"}, {"position": "alibi"}])
def test_memory_grows_with_the_tokens_and_not_with_their_square(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "AT_ONCE", 1 << 16)
    monkeypatch.setattr(streamed_block, "TOGETHER", 1)  # as where texts are long
    spec = replace(WIDE, **changes)
    weights = initial_block(spec, Initialisation(), layer=0, dtype=np.float32)
    x = {n: random_input(n, spec.d_model, seed=0, dtype=np.float32) for n in (500, 1000, 2000)}
    peaks = [peak(partial(stream_block, spec, weights, given, max_bytes=1 << 20)) for given in x.values()]
    assert peaks[2] < 2.3 * peaks[1] < 2.3 * 2.3 * peaks[0]
    assert peaks[2] < 4 * x[2000].nbytes + (4 << 20)  # one head's matrix alone is 16 MB


def test_heads_taken_together_take_no_more_than_was_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries, keys, values and outputs of so many numbers, and as much again while they are made."""
    together = streamed_block.TOGETHER
    weights = initial_block(WIDE, Initialisation(), layer=0, dtype=np.float32)
    for n in (500, 1000):
        x, peaks = random_input(n, WIDE.d_model, seed=0, dtype=np.float32), []
        for numbers in (1, together):
            monkeypatch.setattr(streamed_block, "TOGETHER", numbers)
            peaks.append(peak(partial(stream_block, WIDE, weights, x, max_bytes=1 << 20)))
        assert peaks[0] < peaks[1] < peaks[0] + 2 * 4 * together


@pytest.mark.parametrize("asymmetry", [False, True])
@pytest.mark.parametrize("name", ["grouped", "causal window", "alibi"])
def test_progress_is_counted_in_advance(name: str, asymmetry: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "HEIGHT", 4)
    spec, weights, x = case(VARIANTS[name])
    steps = []
    stream_block(spec, weights, x, asymmetry=asymmetry, advance=lambda: steps.append(1))
    assert len(steps) == block_panels(spec, N, x.dtype, asymmetry=asymmetry)
    assert len(steps) >= 3 * spec.n_heads


class TestStack:
    def test_statistics_are_a_row_per_layer_and_head(self) -> None:
        spec, _, x = case(VARIANTS["grouped"])
        weights = [initial_block(spec, Initialisation(), layer=i, dtype=np.float64) for i in range(2)]
        stack = Stack(specs=[spec] * 2, weights=weights, dtype=np.dtype(np.float64))
        rows = stack.statistics(x, asymmetry=True)
        assert [(row.layer, row.head) for row in rows] == [(i, j) for i in range(2) for j in range(6)]
        for i, layer in enumerate(stack.trace(x).layers):
            expected = dense_statistics(layer.attention, layer.v)
            for row in rows[6 * i : 6 * i + 6]:
                for name, value in numbers(expected.of_head(row.head)).items():
                    np.testing.assert_allclose(getattr(row, name), value, rtol=1e-9, atol=1e-12, err_msg=name)

    def test_a_statistic_that_is_none_is_refused(self) -> None:
        spec, weights, x = case({})
        (row, *_) = Stack(specs=[spec], weights=[weights], dtype=np.dtype(np.float64)).statistics(x)
        with pytest.raises(AttributeError, match="a head has no statistic 'entropie'; expected one of score_mean"):
            _ = row.entropie
