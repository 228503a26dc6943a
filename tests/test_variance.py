"""The variance experiment: z-scores that are z-scores, softmax columns on their law, and what it says of itself."""

import math
import re
import threading
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab import records
from attnlab.errors import MemoryRefused, UsageError
from attnlab.experiments.variance import (
    WIDTHS,
    ScoreResult,
    VarianceConfig,
    VarianceRecord,
    check,
    matrix_result,
    pairs_result,
    run,
    steps,
)
from attnlab.experiments.variance_block import block_steps, head_scores, run_block
from attnlab.experiments.variance_block_report import report as block_report
from attnlab.experiments.variance_document import COLUMNS, block_csv_table, block_document, csv_table, document
from attnlab.experiments.variance_figures import figures
from attnlab.experiments.variance_report import report
from attnlab.experiments.variance_sampling import (
    CHUNK,
    in_order,
    matrix_shape,
    pair_chunks,
    pair_moments,
    some_products,
)
from attnlab.experiments.variance_softmax import BLOCKS, block_queries, softmax_results, softmax_steps
from attnlab.files.config import load_config
from attnlab.files.stacks import Bench, load_bench
from attnlab.maths.entries import Distribution
from attnlab.show.plots import draw
from attnlab.theory.products import pairs_standard_error
from tests.rendered import whole

Array = NDArray[Any]

DISTRIBUTIONS: tuple[Distribution, ...] = ("normal", "uniform", "sign")
SEEDS = 200
SMALL = VarianceConfig(d_k=(4, 16, 64), samples=3_000, keys=32)


@pytest.fixture(scope="module")
def sweep() -> VarianceRecord:
    return run(SMALL)


@pytest.fixture(scope="module")
def single() -> VarianceRecord:
    return run(replace(SMALL, d_k=(64,)))


def are_z_scores(z: Array) -> bool:
    """Mean near 0 and spread near 1."""
    return abs(float(z.mean())) < 0.25 and 0.85 < float(z.std()) < 1.15


def z_of(results: list[ScoreResult]) -> Array:
    return np.array([result.z for result in results], dtype=np.float64)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
class TestZScores:
    def test_of_pairs(self, distribution: Distribution) -> None:
        config = VarianceConfig(samples=1_500, distribution=distribution)
        z = z_of([pairs_result(replace(config, seed=seed), 8) for seed in range(SEEDS)])
        assert are_z_scores(z)
        assert not are_z_scores(z / 1.5)

    def test_of_a_matrix(self, distribution: Distribution) -> None:
        config = VarianceConfig(keys=48, distribution=distribution)
        results = [matrix_result(replace(config, seed=seed), 16) for seed in range(SEEDS)]
        assert are_z_scores(z_of(results))
        alone = [replace(one, standard_error=pairs_standard_error(16, 48 * 48, distribution)) for one in results]
        # ±1 queries all have one length: rows share nothing, and the two formulas are one.
        assert are_z_scores(z_of(alone)) == (distribution == "sign")

    def test_a_law_wrong_by_half_is_turned_away(self, distribution: Distribution) -> None:
        config = VarianceConfig(samples=1_500, keys=48, distribution=distribution)
        for result in (pairs_result(config, 8), matrix_result(config, 8)):
            assert abs(result.z or 0.0) <= 4
            assert abs(replace(result, expected=1.5 * result.expected).z or 0.0) > 4


def test_z_scores_of_correlated_pairs() -> None:
    config = VarianceConfig(samples=1_500, correlation=-0.6)
    results = [pairs_result(replace(config, seed=seed), 16) for seed in range(SEEDS)]
    assert are_z_scores(z_of(results))
    assert not are_z_scores(z_of([replace(one, expected=16.0) for one in results]))


def small_bench(**block: Any) -> Bench:
    shape = {"d_model": 24, "n_heads": 2, "d_k": 6, "d_ff": None, **block}
    return load_bench(load_config({"block": shape, "input": {"random": {"n": 16}}}), max_bytes=1 << 30)


def nothing() -> None:
    """For progress that nobody watches."""


@pytest.mark.parametrize(("position", "width"), [("post", 24), ("pre", 128)])
def test_z_scores_of_self_attention(position: str, width: int) -> None:
    """X M Xᵀ over standard normal tokens: entries share tokens, and meet themselves on the diagonal.

    Behind a norm fourth moments are the normal's to O(1/d) only: that block is wider.
    """
    bench, draws = small_bench(norm_position=position, d_model=width), 12
    heads = [head for seed in range(SEEDS) for head in head_scores(bench, seed, draws, nothing)]
    assert are_z_scores(np.array([head.z for head in heads], dtype=np.float64))
    alone = math.sqrt(2 / (draws * 16 * 16))
    off = [(head.variance.value or 0.0) / (head.expected or 1.0) - 1 for head in heads]
    assert not are_z_scores(np.array(off) / alone)


def test_signs_of_width_1_are_exact() -> None:
    row = run(VarianceConfig(d_k=(1,), samples=1_000, distribution="sign")).rows[0]
    assert row.matrix is not None
    for result in (row.pairs, row.matrix):
        assert result.variance == pytest.approx(1, abs=1e-15)
        assert (result.standard_error, result.z) == (0, None)


class TestStreams:
    def test_threads_change_nothing(self) -> None:
        config = VarianceConfig(d_k=(3, 50), samples=5 * CHUNK // 6, keys=8)
        assert pair_chunks(config.pairs(3), 3).number > 4
        one, four = (run(replace(config, threads=threads)).rows for threads in (1, 4))
        assert [row.pairs for row in one] == [row.pairs for row in four]

    def test_pairs_are_as_many_as_their_numbers_allow_unless_they_are_counted(self) -> None:
        config = VarianceConfig()
        assert [config.pairs(d_k) for d_k in (1, 64, 128, 1024, 10**9)] == [100_000, 100_000, 50_000, 6_250, 2]
        assert {replace(config, samples=7).pairs(d_k) for d_k in (1, 1024)} == {7}
        row = run(replace(config, d_k=(128,), keys=2)).rows[0]
        assert row.pairs.samples == 50_000

    def test_other_widths_change_nothing(self, sweep: VarianceRecord, single: VarianceRecord) -> None:
        assert csv_table(sweep)[1][-2:] == csv_table(single)[1]
        assert csv_table(run(replace(SMALL, d_k=(64, 64)))) == csv_table(single)

    def test_seeds_do(self, single: VarianceRecord) -> None:
        other = csv_table(run(replace(single.config, seed=1)))[1]
        for column in map(COLUMNS.index, ("variance", "entropy", "scaled_effective_keys")):
            assert {row[column] for row in other}.isdisjoint({row[column] for row in csv_table(single)[1]})

    def test_every_pair_is_drawn_once(self) -> None:
        chunks = pair_chunks(1_000_003, 7)
        assert sum(map(chunks.pairs, range(chunks.number))) == 1_000_003
        assert pair_moments(0, 300, 1_000, "normal").count == 1_000

    @pytest.mark.parametrize("threads", [1, 3])
    def test_results_come_in_order_and_little_is_ahead(self, threads: int) -> None:
        started, lock, most = 0, threading.Lock(), 0

        def work(number: int) -> int:
            nonlocal started
            with lock:
                started += 1
            return number

        for asked, result in enumerate(in_order(work, range(100), threads)):
            assert result == asked
            most = max(most, started - asked)
        assert most <= 4 * threads + 1

    @pytest.mark.parametrize("d_k", [1, 64])
    def test_memory_is_flat(self, d_k: int) -> None:
        def peak(samples: int) -> int:
            tracemalloc.start()
            pair_moments(0, d_k, samples, "normal")
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            return most

        chunk = pair_chunks(1, d_k).size
        peak(chunk)
        assert peak(40 * chunk) <= 1.1 * peak(4 * chunk)


def test_progress_is_told_as_often_as_was_said() -> None:
    config = VarianceConfig(d_k=(2, 5, 2), samples=5 * CHUNK, keys=1000, threads=2)
    told = 0

    def advance() -> None:
        nonlocal told
        told += 1

    run(config, advance=advance)
    assert told == steps(config)
    told = 0
    run(replace(config, correlation=0.5), advance=advance)
    assert told == steps(replace(config, correlation=0.5))


class TestSoftmax:
    @pytest.mark.parametrize("d_k", [1, 16, 256])
    def test_entropy_is_on_its_law(self, d_k: int) -> None:
        for result in softmax_results(2, d_k, 100, "normal", scales=(1.0, 1 / math.sqrt(d_k))):
            assert abs(result.z or 0.0) <= 4
            wrong = replace(result, expected_entropy=1.5 * (result.expected_entropy or 0.0))
            assert abs(wrong.z or 0.0) > 4

    def test_a_missing_scale_is_seen(self) -> None:
        unscaled, scaled = softmax_results(0, 64, 100, "normal", scales=(1.0, 1 / 8))
        swapped = replace(scaled, expected_entropy=unscaled.expected_entropy)
        assert abs(swapped.z or 0.0) > 100
        assert (unscaled.effective_keys.value or 0) < 4 < 30 < (scaled.effective_keys.value or 0)

    def test_z_scores_over_seeds(self) -> None:
        results = [softmax_results(seed, 8, 12, "normal", scales=(1.0,))[0] for seed in range(100)]
        assert are_z_scores(np.array([result.z for result in results], dtype=np.float64))

    def test_large_rows_come_in_small_blocks(self) -> None:
        assert block_queries(128) == 32
        assert block_queries(1 << 20) == 1
        assert softmax_steps(1 << 20) == BLOCKS
        assert matrix_shape(128) == (128, 128)
        assert matrix_shape(1 << 20) == (4, 1 << 20)
        result = softmax_results(0, 3, 100_000, "normal", scales=(1.0,))[0]
        assert result.rows == BLOCKS
        assert abs(result.z or 0.0) <= 4

    def test_other_entries_have_no_law(self) -> None:
        result = softmax_results(0, 4, 8, "sign", scales=(1.0,))[0]
        assert (result.expected_entropy, result.z) == (None, None)
        assert 0 < (result.entropy.value or 0.0) < math.log(8)


class TestBlock:
    def test_heads_and_starts(self) -> None:
        record = run_block(small_bench(), seed=3, draws=32)
        assert [head.head for head in record.heads] == [0, 1]
        assert all(abs(head.z or 9.0) <= 4 for head in record.heads)
        assert [abs(result.z) <= 4 for result in record.starts] == [True] * 6
        measured = [result.measured.value for result in record.starts]
        assert measured == pytest.approx([3.16, 1.0, 0.25, 0.111, 0.0944, 2.68], rel=0.02)

    def test_c_squared_norm_is_the_big_matrix_s(self) -> None:
        bench = small_bench(scale=0.3)
        w = bench.stack.weights[0]
        head = run_block(bench, seed=0, draws=2).heads[1]
        m = 0.3 * w["attn.W_Q"][1].astype(np.float64) @ w["attn.W_K"][1].astype(np.float64).T
        assert head.norm_squared == pytest.approx(np.sum(m * m), rel=1e-6)

    @pytest.mark.parametrize(
        ("block", "reason"),
        [
            ({"qk_norm": "rmsnorm"}, "no law is known under qk_norm"),
            ({"position": "sinusoidal"}, "positions are added to the tokens"),
        ],
    )
    def test_what_has_no_law_says_why(self, block: dict[str, Any], reason: str) -> None:
        record = run_block(small_bench(**block), seed=0, draws=3)
        assert {(head.expected, head.z, head.reason) for head in record.heads} == {(None, None, reason)}
        assert f"Not predicted: {reason}." in texts(block_report(record))
        fields = block_document(record)["heads"]
        assert isinstance(fields, list)
        assert fields[0]["expected_reason"] == reason

    def test_initialisations_alone(self) -> None:
        told = 0

        def advance() -> None:
            nonlocal told
            told += 1

        record = run_block(None, seed=0, advance=advance)
        assert told == block_steps(None)
        assert (record.heads, len(record.starts)) == ((), 6)
        columns, rows = block_csv_table(record)
        assert (len(columns), len(rows)) == (6, 6)
        assert "0.0944 to 3.16" in texts(block_report(record))


def texts(written: records.Report) -> str:
    return "\n".join(part.text for part in whole(written) if isinstance(part, records.Finding))


def tables(written: records.Report) -> list[records.Table]:
    return [part for part in whole(written) if isinstance(part, records.Table)]


class TestReport:
    def test_one_width_side_by_side(self, single: VarianceRecord) -> None:
        written = report(single)
        assert isinstance(written.parts[0], records.Finding)
        assert written.parts[0].text.startswith("Var(q·k) = ")
        assert "agrees" in texts(written)
        assert "frozen: " in texts(written)
        assert "2 ln 32 = 6.9" in texts(written)
        assert "one long query makes its whole row large" in texts(written)
        table, of_matrix = tables(written)
        assert [row[0] for row in of_matrix.rows] == ["as a 32 × 32 matrix"]
        assert table.rows[1][1:] == (64.0, 1.0)

    def test_a_narrow_width_is_not_frozen(self) -> None:
        assert "not frozen yet" in texts(report(run(replace(SMALL, d_k=(2,)))))

    def test_a_disagreement_is_said(self, sweep: VarianceRecord) -> None:
        rows = [replace(row, pairs=replace(row.pairs, expected=1.5 * row.d_k)) for row in sweep.rows]
        assert "does not agree" in texts(report(replace(sweep, rows=rows[:1])))
        assert "does not follow" in texts(report(replace(sweep, rows=rows)))

    def test_a_sweep_has_a_row_per_width(self, sweep: VarianceRecord) -> None:
        for table in tables(report(sweep)):
            assert [row[0] for row in table.rows] == ["4", "16", "64"]
        assert "follows d_k" in texts(report(sweep))

    def test_the_ends_are_those_of_the_range_whatever_the_order_asked_for(self, sweep: VarianceRecord) -> None:
        said = texts(report(sweep))
        assert re.search(r"falls from 2\.\d\d at d_k 4 to 0\.\d\d at 64, of 3\.47 nat", said)
        backwards = replace(sweep.config, d_k=(64, 4, 16, 4))
        assert [row.d_k for row in run(backwards).rows] == [4, 16, 64]
        assert texts(report(run(backwards))) == said

    def test_that_the_law_is_for_normal_entries_is_said_of_others_alone(self, sweep: VarianceRecord) -> None:
        *_, softmax = tables(report(sweep))
        *_, of_signs = tables(report(run(replace(SMALL, samples=1_000, distribution="sign"))))
        assert "the exact law is" not in softmax.note
        assert of_signs.note.endswith("; the exact law is for normal entries")
        assert [row[2] for row in of_signs.rows] == [None] * 3

    def test_correlated_pairs_have_no_matrix(self) -> None:
        record = run(replace(SMALL, correlation=0.5))
        (table,) = tables(report(record))
        assert [row[-1] for row in table.rows] == [None] * 3
        assert "d_k (1 + ρ²), ρ = 0.5" in texts(report(record))
        alone = run(replace(SMALL, d_k=(16,), correlation=0.5))
        assert "theory ρ d_k = 8" in texts(report(alone))
        assert "only q_i and k_i" in tables(report(alone))[0].note


#: What every row of a document has.
NAMES = {
    *("d_k", "distribution", "sampling", "samples", "keys", "variance", "standard_error", "expected", "z"),
    *("scaled_variance", "scaled_expected", "kurtosis", "expected_kurtosis"),
    *("entropy", "expected_entropy", "scaled_entropy", "expected_scaled_entropy"),
    *("effective_keys", "scaled_effective_keys", "saturated_fraction", "scaled_saturated_fraction"),
}


class TestDocument:
    def rows(self, record: VarianceRecord) -> list[dict[str, Any]]:
        found = document(record)["rows"]
        assert isinstance(found, list)
        return found

    def test_two_rows_per_width(self, sweep: VarianceRecord) -> None:
        rows = self.rows(sweep)
        assert [(row["d_k"], row["sampling"]) for row in rows[:3]] == [(4, "pairs"), (4, "matrix"), (16, "pairs")]
        assert all(set(row) >= NAMES for row in rows)
        first = rows[0]
        assert first["scaled_variance"] == first["variance"] / 4
        assert first["samples"] == 3_000
        assert rows[1]["samples"] == 32 * 32
        assert first["expected_entropy"] > 0

    def test_the_csv_has_the_same_numbers(self, sweep: VarianceRecord) -> None:
        columns, rows = csv_table(sweep)
        assert columns == COLUMNS
        assert [dict(zip(columns, row, strict=True))["z"] for row in rows] == [row["z"] for row in self.rows(sweep)]

    def test_what_is_null_says_why(self) -> None:
        (row, *more) = self.rows(run(replace(SMALL, d_k=(4,), correlation=0.5)))
        assert (more, row["entropy"], row["keys"]) == ([], None, None)
        assert "only q_i and k_i" in row["entropy_reason"]
        row = self.rows(run(replace(SMALL, d_k=(1,), distribution="sign")))[0]
        assert (row["z"], row["expected_entropy"]) == (None, None)
        assert "law is for normal entries" in row["expected_entropy_reason"]
        assert "do not vary" in row["z_reason"]


class TestFigure:
    def test_points_stand_on_their_lines(self, sweep: VarianceRecord) -> None:
        (figure,) = figures(sweep)
        assert isinstance(figure.drawable, records.Panels)
        above, below = figure.drawable.panels
        lines = {line.label: line for line in (*above.lines, *below.lines)}
        assert lines["q·k"].y == [row.pairs.variance for row in sweep.rows]
        assert lines["theory: d_k"].x == lines["theory: d_k"].y
        assert set(lines["theory, scaled: 1"].y) == {1.0}
        assert lines["unscaled"].y == [row.unscaled.entropy.value for row in sweep.rows if row.unscaled]
        law = dict(zip(lines["exact law"].x, lines["exact law"].y, strict=True))
        assert [law[row.d_k] for row in sweep.rows] == [
            row.unscaled.expected_entropy for row in sweep.rows if row.unscaled
        ]
        assert [mark.x for panel in (above, below) for mark in panel.marks] == pytest.approx([2 * math.log(32)] * 2)
        assert len(draw(figure).axes) == 2

    def test_the_title_is_the_finding(self, sweep: VarianceRecord) -> None:
        def title(record: VarianceRecord) -> str:
            (figure,) = figures(record)
            return figure.drawable.title

        assert title(sweep).startswith("Unscaled, Var(q·k) is d_k and the softmax freezes")
        assert (
            title(replace(sweep, config=replace(sweep.config, keys=10**20)))
            == "Var(q·k) is d_k; divided by √d_k it is 1"
        )
        wrong = [replace(row, pairs=replace(row.pairs, expected=1.5 * row.d_k)) for row in sweep.rows]
        assert title(replace(sweep, rows=wrong)).startswith("Var(q·k) is not d_k")

    def test_a_single_width_has_its_distributions_and_a_softmax_under_each(self, single: VarianceRecord) -> None:
        (figure,) = figures(single)
        assert isinstance(figure.drawable, records.SideBySide)
        for histogram, variance in zip(figure.drawable.above, (64, 1), strict=True):
            middles = (histogram.edges[1:] + histogram.edges[:-1]) / 2
            widths = np.diff(histogram.edges)
            assert (histogram.density * widths).sum() == pytest.approx(1, abs=0.01)
            assert (histogram.density * widths * middles**2).sum() == pytest.approx(variance, rel=0.2)
            assert np.trapezoid(histogram.theory_density * histogram.theory_x**2, histogram.theory_x) == pytest.approx(
                variance, rel=0.01
            )
        unscaled, scaled = figure.drawable.below
        np.testing.assert_allclose([unscaled.heights.sum(), scaled.heights.sum()], 1)
        assert unscaled.heights.argmax() == scaled.heights.argmax()
        np.testing.assert_allclose(
            np.log(unscaled.heights / unscaled.heights[0]), 8 * np.log(scaled.heights / scaled.heights[0]), atol=1e-6
        )

    def test_its_scores_are_the_first_of_those_measured(self) -> None:
        config = replace(SMALL, d_k=(16,), samples=50)
        drawn = some_products(config.seed, 16, 50, config.distribution)
        assert np.mean(drawn**2) == pytest.approx(run(config).rows[0].pairs.variance)

    def test_of_correlated_pairs_has_no_softmax(self) -> None:
        (figure,) = figures(run(replace(SMALL, d_k=(16,), correlation=0.5)))
        assert isinstance(figure.drawable, records.SideBySide)
        assert figure.drawable.below == []
        assert figure.drawable.title.startswith("q·k has variance ")

    def test_a_correlated_sweep_has_one_panel(self) -> None:
        (figure,) = figures(run(replace(SMALL, correlation=0.5)))
        assert isinstance(figure.drawable, records.Panels)
        (panel,) = figure.drawable.panels
        assert panel.marks == []
        assert next(line for line in panel.lines if line.label == "theory: d_k × 1.25").y[0] == 5


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"d_k": (4, 0)}, "--dk 0; expected a width of 1 or more"),
            ({"d_k": (-2,)}, "--dk -2; expected a width of 1 or more"),
            ({"samples": 1}, "--samples 1; expected 2 pairs or more"),
            ({"keys": 1}, "--keys 1; expected 2 keys or more: over one key a softmax has nothing to choose"),
            ({"correlation": 1.01}, "--correlation 1.01; expected a number from -1 to 1"),
            ({"correlation": math.nan}, "--correlation nan; expected a number from -1 to 1"),
            (
                {"correlation": 0.5, "distribution": "uniform"},
                "--correlation 0.5: not with uniform entries; expected normal ones",
            ),
        ],
    )
    def test_settings_that_cannot_be(self, change: dict[str, Any], text: str) -> None:
        with pytest.raises(UsageError) as refused:
            run(replace(SMALL, **change))
        assert str(refused.value) == text

    def test_more_than_there_is_memory(self) -> None:
        with pytest.raises(MemoryRefused, match=r"--dk 64 and --keys 1000000 would need .* GiB"):
            run(replace(SMALL, keys=10**6, max_bytes=1 << 28))
        check(replace(SMALL, d_k=WIDTHS, max_bytes=1 << 28))
