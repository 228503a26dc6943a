"""Attention as a table lookup: bounds never broken, a horizon on its curve, and wrong laws turned away."""

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from attnlab.errors import MemoryRefused, UsageError
from attnlab.experiments import lookup_horizon
from attnlab.experiments.lookup import LookupConfig, LookupRecord, run, steps
from attnlab.experiments.lookup_figures import figures, predicted_line
from attnlab.experiments.lookup_horizon import horizon_rows, horizon_sizes, matching_weights
from attnlab.experiments.lookup_report import SLACK, bound_checks, csv_table, document, horizon_csv_table, report
from attnlab.experiments.lookup_table import Table, float32_weights, hardening, measured, others, table
from attnlab.maths.attention import attention
from attnlab.maths.softmax import log_sum_exp, softmax
from attnlab.records import Finding, Panels, Series
from attnlab.theory.lookup import FLOAT32_GAP, distance_bound, horizon, match_weights, match_weights_at, rest_bound
from tests.rendered import whole

BETAS = (0.3, 1.0, 8.0, 64.0)
SMALL = LookupConfig(keys=7, queries=11, widths=(5, 16), max_n=64, matches=8, repeats=5)


def normal_table(keys: int, queries: int = 6000, seed: int = 0) -> Table:
    rng = np.random.default_rng([seed, keys])
    q, k, v = rng.standard_normal((queries, 4)), rng.standard_normal((keys, 4)), rng.standard_normal((keys, 3))
    return table(q / 2, k, v)


def tied_table(keys: int, queries: int = 6000) -> Table:
    """Small whole numbers: exact ties in most rows, and values of any size."""
    rng = np.random.default_rng([1, keys])
    q, k = rng.integers(-1, 2, (queries, 3)).astype(float), rng.integers(-1, 2, (keys, 3)).astype(float)
    return table(q, k, 10.0 ** rng.integers(-6, 7, (keys, 1)) * rng.standard_normal((keys, 5)))


TABLES = [normal_table(keys) for keys in (2, 3, 17, 64)] + [tied_table(keys) for keys in (2, 5, 31)]


class TestBounds:
    def test_are_never_broken_on_a_hundred_thousand_rows(self) -> None:
        rows = [measured(one, beta) for one in TABLES for beta in BETAS]
        assert sum(row.samples for row in rows) >= 100_000
        assert sum(row.broken for row in rows) == 0
        assert sum((one.gap == 0).sum() for one in TABLES) > 1000

    @pytest.mark.parametrize("one", TABLES)
    def test_a_gap_twice_as_wide_is_broken_at_the_same_settings(self, one: Table) -> None:
        wrong = replace(one, gap=2 * one.gap)
        assert sum(measured(wrong, beta).broken for beta in BETAS) > 1000

    def test_half_the_distance_is_broken_at_the_same_settings(self) -> None:
        one = normal_table(17)
        assert measured(replace(one, spread=one.spread / 2), 8.0).broken > 0

    def test_fewer_keys_than_there_are_is_broken_at_the_same_settings(self) -> None:
        one = normal_table(64)
        rest = others(attention(one.q, one.k, one.v, scale=0.3).weights, one.best)
        assert (rest <= rest_bound(one.gap, 0.3, 64)).all()
        assert (rest > rest_bound(one.gap, 0.3, 4)).any()

    def test_two_keys_reach_both(self) -> None:
        one = normal_table(2)
        looked = attention(one.q, one.k, one.v, scale=3.0)
        rest = others(looked.weights, one.best)
        np.testing.assert_allclose(rest, rest_bound(one.gap, 3.0, 2), rtol=1e-12)
        distance = np.linalg.norm(looked.output - one.v[one.best], axis=1)
        np.testing.assert_allclose(distance, distance_bound(rest, one.spread), rtol=1e-9, atol=1e-14)

    def test_a_tie_promises_one_part_in_n(self) -> None:
        assert rest_bound(np.zeros(1), 1e9, 5)[0] == pytest.approx(4 / 5)

    def test_the_sum_of_the_others_is_exact_where_one_less_the_largest_is_not(self) -> None:
        weights = np.array([[1.0, 1e-30, 2e-30]])
        assert others(weights, np.array([0]))[0] == pytest.approx(3e-30)
        assert 1 - weights.max() == 0


class TestFloat32:
    def test_zeros_are_counted_where_scores_lie_104_below(self) -> None:
        one = normal_table(64, queries=400)
        rows = [measured(one, beta) for beta in (8.0, 32.0, 64.0)]
        assert all(abs(row.float32_zeros - row.expected_float32_zeros) <= SLACK for row in rows)
        assert rows[1].float32_zeros > 1000

    def test_another_threshold_would_not_have_passed(self) -> None:
        """87.3 is where float32 leaves its normal range, and many weights lie between."""
        one = normal_table(64, queries=400)
        zeros = np.count_nonzero(float32_weights(one, 32.0) == 0)
        assert abs(FLOAT32_GAP - 103.97) < 0.01
        assert np.count_nonzero(32.0 * one.below > 87.3) > zeros + 100

    def test_hardening_ends_at_the_first_one_hot_beta(self) -> None:
        one = normal_table(17, queries=50)
        betas = hardening(one)
        assert betas == [2.0**i for i in range(len(betas))]
        assert [np.count_nonzero(float32_weights(one, beta)) == 50 for beta in betas[-2:]] == [False, True]

    def test_a_tie_never_hardens_and_is_given_up(self) -> None:
        one = table(np.ones((2, 1)), np.ones((2, 1)), np.eye(2))
        assert len(hardening(one)) == 61
        assert measured(one, 2.0**60).max_weight == 0.5


class TestExamples:
    record = run(SMALL)

    def test_a_key_need_not_retrieve_itself(self) -> None:
        own = self.record.examples[1]
        assert (own.query, own.scores) == ((1.0, 0.0), (1.0, 2.0, 0.0))
        assert own.weights == pytest.approx((0, 1, 0), abs=1e-12)

    def test_a_tie_stays_soft(self) -> None:
        soft, hard = self.record.examples[2:]
        assert hard.beta == self.record.rows[-1].beta > 100
        assert hard.weights == pytest.approx((0, 0.5, 0.5), abs=1e-12)
        e = math.e
        assert soft.weights == pytest.approx((1 / (1 + 2 * e), e / (1 + 2 * e), e / (1 + 2 * e)))


class TestMatchWeights:
    def test_alone_it_keeps_everything(self) -> None:
        assert match_weights(7, [0]) == pytest.approx([1.0], abs=1e-12)

    @pytest.mark.parametrize(("sigma", "score"), [(0.3, 0.0), (1.0, 8.0), (2.5, -3.0), (12.0, 4.0)])
    def test_beside_one_other_key_it_is_the_mean_of_a_logistic(self, sigma: float, score: float) -> None:
        x = np.linspace(-9, 9, 20_001)
        density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        mean = np.trapezoid(density / (1 + np.exp(sigma * x - score)), x)
        assert match_weights_at(np.array([1.0]), sigma, score)[0] == pytest.approx(mean, abs=1e-9)

    def test_scores_without_spread_share_as_arithmetic_says(self) -> None:
        found = match_weights_at(np.array([1.0, 10.0, 1e6]), 1e-4, 3.0)
        e = math.exp(3)
        np.testing.assert_allclose(found, [e / (e + 1), e / (e + 10), e / (e + 1e6)], rtol=1e-6)

    @pytest.mark.parametrize("d_k", [16, 32, 64, 128, 256])
    def test_half_is_left_at_the_rule_of_thumb(self, d_k: int) -> None:
        (weight,) = match_weights(d_k, [round(horizon(d_k))])
        assert 0.48 < weight < 0.51

    def test_the_known_horizon_of_sixty_four(self) -> None:
        assert round(horizon(64)) == 1808

    def test_widths_beyond_what_a_float_holds_have_a_horizon(self) -> None:
        assert math.isfinite(horizon(10**9))


class TestHorizon:
    @pytest.mark.parametrize("d_k", [4, 16, 32, 64, 128])
    def test_is_on_its_curve_and_on_no_other(self, d_k: int) -> None:
        rows = horizon_rows(d_k, max_n=8192, queries=64, repeats=24, seed=3, advance=lambda: None)
        half = horizon(d_k)
        for row in rows:
            assert abs(row.weight - row.predicted) <= 4 * row.standard_error
            if row.n >= half:
                assert abs(row.weight - 1.5 * row.predicted) > 4 * row.standard_error
            else:
                assert abs((1 - row.weight) - 1.5 * (1 - row.predicted)) > 4 * row.standard_error

    def test_a_law_without_the_scale_is_turned_away(self) -> None:
        """q·k unscaled at d_k = 16: a = 16 and σ = 4 on average, where the match would keep far more."""
        rows = horizon_rows(16, max_n=1024, queries=64, repeats=16, seed=3, advance=lambda: None)
        unscaled = match_weights_at(np.array([row.n for row in rows], dtype=float), 4.0, 16.0)
        wrong = [abs(row.weight - other) > 4 * row.standard_error for row, other in zip(rows, unscaled, strict=True)]
        assert all(wrong)

    def test_weights_are_those_of_attention(self) -> None:
        d_k, sizes, queries = 5, [2, 3, 7, 11], 3
        found = matching_weights(np.random.default_rng(4), d_k, sizes, queries)
        rng = np.random.default_rng(4)
        q = rng.standard_normal((queries, d_k), dtype=np.float32)
        k = rng.standard_normal((sizes[-1], d_k), dtype=np.float32)
        for i in range(queries):
            for j, n in enumerate(sizes):
                keys = np.concatenate([q[i : i + 1], k[:n]]).astype(np.float64)
                weights = attention(q[i : i + 1].astype(np.float64), keys, keys).weights
                assert found[i, j] == pytest.approx(weights[0, 0], rel=1e-5)

    def test_does_not_depend_on_how_many_keys_are_drawn_at_a_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = matching_weights(np.random.default_rng(4), 16, [8, 50], 7)
        monkeypatch.setattr(lookup_horizon, "CHUNK", 7)
        np.testing.assert_allclose(matching_weights(np.random.default_rng(4), 16, [8, 50], 7), whole, rtol=1e-5)

    def test_sizes_double_and_take_in_the_mark(self) -> None:
        assert horizon_sizes(16, 100) == [2, 4, 8, 16, 32, 33, 64]
        assert horizon_sizes(64, 5) == [2, 4]
        assert horizon_sizes(64, 2) == [2]


@pytest.fixture(scope="module")
def record() -> LookupRecord:
    return run(SMALL)


class TestRun:
    def test_repeats_itself_and_its_parts_do_not_depend_on_each_other(self, record: LookupRecord) -> None:
        assert document(run(SMALL)) == document(record)
        other = run(replace(SMALL, widths=(16,), keys=9))
        assert list(other.horizon) == [row for row in record.horizon if row.d_k == 16]
        assert run(replace(SMALL, seed=1)).rows[0] != record.rows[0]

    def test_advances_as_often_as_it_says(self) -> None:
        count = 0

        def advance() -> None:
            nonlocal count
            count += 1

        run(SMALL, advance=advance)
        assert count == steps(SMALL)

    @pytest.mark.parametrize(
        ("wrong", "complaint"),
        [
            (replace(SMALL, max_n=1), "--max-n 1; expected 2 or more keys"),
            (replace(SMALL, keys=1), "--keys 1; expected 2 or more"),
            (replace(SMALL, widths=(64, 0)), "--dk 0; expected a width of 1 or more"),
            (replace(SMALL, queries=1), "--queries 1; expected 2 or more"),
            (replace(SMALL, repeats=1), "--repeats 1; expected 2 or more"),
        ],
    )
    def test_settings_that_cannot_be(self, wrong: LookupConfig, complaint: str) -> None:
        with pytest.raises(UsageError, match=complaint):
            run(wrong)

    def test_matrices_too_large_are_refused(self) -> None:
        with pytest.raises(MemoryRefused, match=r"11 queries and 10,000,000 keys would need 35\.2 GiB"):
            run(replace(SMALL, keys=10_000_000), max_bytes=2**30)


class TestReport:
    def test_findings_say_what_the_rows_say(self, record: LookupRecord) -> None:
        findings = [part.text for part in whole(report(record)) if isinstance(part, Finding)]
        assert f"From β = {record.rows[-1].beta:,.0f} on" in findings[0]
        assert re.search(r"\(0\.\d+ measured among \d+ at d_k \d+\)", findings[1])
        assert "(0.5, 0.5)" in findings[2]

    def test_a_mark_that_was_not_reached_is_not_told(self) -> None:
        near = run(replace(SMALL, widths=(64,), max_n=16))
        findings = [part.text for part in whole(report(near)) if isinstance(part, Finding)]
        assert "measured" not in findings[1]
        assert "Among 16 it keeps" in findings[1]

    def test_a_broken_bound_fails_its_check(self, record: LookupRecord) -> None:
        assert all(check.holds for check in bound_checks(record).checks)
        worse = replace(record, rows=[replace(record.rows[0], broken=1, float32_zeros=1000)])
        assert [check.holds for check in bound_checks(worse).checks] == [False, False]

    def test_document_and_csv_have_the_promised_fields(self, record: LookupRecord) -> None:
        written = document(record)
        assert isinstance(written["rows"], list)
        assert isinstance(written["horizon"], list)
        promised = {"beta", "gap", "distance", "bound", "max_weight", "max_weight_bound"}
        assert promised <= set(written["rows"][0])
        assert {"d_k", "n", "weight", "predicted", "standard_error"} <= set(written["horizon"][0])
        for columns, rows in (csv_table(record), horizon_csv_table(record)):
            assert {len(row) for row in rows} == {len(columns)}

    def test_figures_hold_the_measured_numbers_and_their_curves(self, record: LookupRecord) -> None:
        hardening_figure, horizon_figure = figures(record)
        assert isinstance(hardening_figure.drawable, Panels)
        weight, distance = hardening_figure.drawable.panels
        betas = list(weight.lines[1].x)
        assert list(weight.lines[1].y) == [row.max_weight for row in record.rows if row.beta in betas]
        assert [line.kind for line in distance.lines] == ["theory", "theory", "measured", "measured"]
        mean_bound, furthest_bound, mean, furthest = (np.array(line.y) for line in distance.lines)
        assert min(mean) > 0
        assert (mean <= mean_bound * (1 + 1e-9)).all()
        assert (furthest <= furthest_bound + 1e-14).all()
        drawn = horizon_figure.drawable
        assert isinstance(drawn, Series)
        assert [round(mark.x) for mark in drawn.marks] == [6, 33]
        curve = predicted_line(16, 64)
        assert curve.kind == "theory"
        assert dict(zip(curve.x, curve.y, strict=True))[64] == pytest.approx(match_weights(16, [64])[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_sum_of_exponentials_is_the_softmax_s(dtype: Any) -> None:
    logits = np.random.default_rng(0).normal(scale=30, size=(3, 5, 40)).astype(dtype)
    np.testing.assert_allclose(log_sum_exp(logits.copy()), softmax(logits).lse, rtol=4 * np.finfo(dtype).eps)
