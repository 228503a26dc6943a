"""`attnlab gradient` on its own terms: the numbers that the theory promises, what is said of them, what is refused."""

import re
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.text import Text

from attnlab.errors import MemoryRefused, UsageError
from attnlab.experiments.gradient import (
    GradientConfig,
    GradientRecord,
    NamedSlope,
    bound_checks,
    deviations,
    run,
    steps,
)
from attnlab.experiments.gradient_claims import largest_scaled_score, overflows, shift_trial
from attnlab.experiments.gradient_document import csv_table, document
from attnlab.experiments.gradient_figures import figures
from attnlab.experiments.gradient_report import report
from attnlab.experiments.gradient_rows import batch_bytes, draws, row_values
from attnlab.files.documents import json_bytes
from attnlab.records import Finding, Panels, Quantity, Table
from attnlab.show.plots import draw
from tests.rendered import whole


@pytest.fixture(scope="module")
def sweep() -> GradientRecord:
    return run(GradientConfig(threads=2))


@pytest.fixture(scope="module")
def small() -> GradientRecord:
    return run(GradientConfig(d_k=(4, 64, 256, 1024), rows=256))


def quantity(record: GradientRecord, d_k: int, regime: str, name: str) -> Quantity:
    (row,) = [row for row in record.rows if row.d_k == d_k]
    found = getattr(getattr(row, regime), name)
    assert isinstance(found, Quantity)
    return found


def near(found: Quantity, expected: float, *, rounding: float) -> bool:
    """Within 4 standard errors and the digits that `expected` was written with."""
    assert found.value is not None
    assert found.standard_error is not None
    return abs(found.value - expected) <= 4 * found.standard_error + rounding


#: (d_k, regime, number, expected, half of its last digit), n = 128
PUBLISHED = [
    (64, "unscaled", "query_gradient_median", 7.6, 0.05),
    (64, "scaled", "query_gradient_median", 1.0, 0.05),
    (64, "unscaled", "query_gradient_mean", 12, 0.5),
    (64, "scaled", "query_gradient_mean", 1.1, 0.05),
    (64, "unscaled", "query_gradient_p99", 55, 0.5),
    (64, "scaled", "query_gradient_p99", 2.1, 0.05),
    (16, "unscaled", "jacobian_frobenius_mean", 0.293, 0.0005),
    (16, "scaled", "jacobian_frobenius_mean", 0.136, 0.0005),
    (64, "unscaled", "saturated_fraction", 0.15, 0.005),
]


@pytest.mark.parametrize(("d_k", "regime", "name", "expected", "rounding"), PUBLISHED)
def test_known_numbers(
    sweep: GradientRecord, d_k: int, regime: str, name: str, expected: float, rounding: float
) -> None:
    found = quantity(sweep, d_k, regime, name)
    assert near(found, expected, rounding=rounding)
    assert not near(found, 1.5 * expected, rounding=rounding)


@pytest.mark.slow
def test_known_numbers_at_256_keys() -> None:
    record = run(GradientConfig(d_k=(1024,), n=256, rows=16384, threads=2))
    assert near(quantity(record, 1024, "unscaled", "query_gradient_median"), 0.14, rounding=0.005)
    assert near(quantity(record, 1024, "scaled", "query_gradient_median"), 0.75, rounding=0.005)
    assert near(quantity(record, 1024, "unscaled", "query_gradient_p99"), 190, rounding=5)
    assert near(quantity(record, 1024, "scaled", "query_gradient_p99"), 1.4, rounding=0.05)


class TestLaws:
    def test_measured_is_exact_within_its_error(self, sweep: GradientRecord) -> None:
        z = np.array(deviations(sweep.rows))
        assert z.size == 6 * len(sweep.rows)
        assert np.abs(z).max() < 4
        assert 0.6 < z.std() < 1.6

    @pytest.mark.parametrize("name", ["jacobian_trace_mean", "jacobian_frobenius_rms", "query_gradient_rms"])
    def test_a_wrong_law_is_turned_away(self, sweep: GradientRecord, name: str) -> None:
        for row in sweep.rows:
            found = getattr(row.unscaled, name)
            assert not near(found, 1.5 * getattr(row.predicted_unscaled, name), rounding=0)
            if row.d_k >= 8:  # a missing 1/√d_k: the unscaled law for scaled scores
                assert not near(getattr(row.scaled, name), getattr(row.predicted_unscaled, name), rounding=0)

    def test_limits_are_given_only_where_they_are_near(self, sweep: GradientRecord) -> None:
        for row in sweep.rows:
            assert (row.predicted_unscaled.frozen_median_factor is not None) == (row.d_k >= 64)
            assert row.predicted_scaled.frozen_jacobian_trace_mean is None


def slope(record: GradientRecord, name: str, *, scaled: bool) -> NamedSlope:
    (found,) = [s for s in record.slopes if s.quantity == name and s.scaled == scaled]
    return found


class TestFindings:
    def test_the_largest_gradients_grow_like_the_root(self, sweep: GradientRecord) -> None:
        for name in ("query_gradient_gain", "query_gradient_p99_unsaturated"):
            found = slope(sweep, name, scaled=False).slope
            assert found.window == (64, 1024)
            assert found.low <= 0.5 <= found.high
            assert found.high - found.low < 0.1
            assert abs(slope(sweep, name, scaled=True).slope.value) < 0.07

    def test_over_all_rows_the_percentile_falls_behind(self, sweep: GradientRecord) -> None:
        found = slope(sweep, "query_gradient_p99", scaled=False).slope
        assert 0.35 < found.value < 0.5

    def test_mean_levels_off_and_rms_does_not(self, sweep: GradientRecord) -> None:
        assert slope(sweep, "query_gradient_mean", scaled=False).slope.high < 0.15
        assert 0.25 < slope(sweep, "query_gradient_rms", scaled=False).slope.value < 0.35

    def test_the_median_collapses(self, sweep: GradientRecord) -> None:
        medians = [quantity(sweep, d_k, "unscaled", "query_gradient_median").value or 0 for d_k in (32, 256, 1024)]
        assert medians[0] > 2.5 * medians[1] > 25 * medians[2]
        assert quantity(sweep, 1024, "scaled", "query_gradient_median").value == pytest.approx(1, abs=0.05)

    def test_the_trap(self, sweep: GradientRecord) -> None:
        name = "jacobian_frobenius_mean"
        for row in sweep.rows[1:]:
            one, other = getattr(row.unscaled, name), getattr(row.scaled, name)
            assert (one.value > other.value) == (row.d_k <= 256)
        at_256 = quantity(sweep, 256, "unscaled", name)
        assert near(at_256, quantity(sweep, 256, "scaled", name).value or 0, rounding=0)
        traces = [row.unscaled.jacobian_trace_mean.value or 0 for row in sweep.rows]
        assert traces == sorted(traces, reverse=True)

    def test_bounds_hold_over_more_than_50_000_rows(self, sweep: GradientRecord) -> None:
        assert sweep.samples * 2 * len(sweep.rows) > 50_000
        assert [check.holds for check in sweep.checks] == [True, True]
        assert (sweep.checks[0].value or 1) <= 0.5

    def test_a_broken_bound_is_seen(self, small: GradientRecord) -> None:
        row = small.rows[0]
        for change in ({"jacobian_spectral_max": 0.51}, {"query_gradient_bound_share": 1.01}):
            broken = replace(row, unscaled=replace(row.unscaled, **change))  # type: ignore[arg-type]
            assert sorted(check.holds for check in bound_checks([broken])) == [False, True]


class TestClaims:
    def test_shift(self) -> None:
        found = shift_trial(0, 128)
        assert found.shifted_norm > 80 * found.norm
        assert found.jacobian_change < 1e-14

    def test_overflow(self) -> None:
        found = {overflow.dtype: overflow for overflow in overflows(128)}
        assert [*found] == ["float16", "bfloat16", "float32"]
        assert found["float16"].score == pytest.approx(11.0899, abs=1e-4)
        assert found["bfloat16"].score == pytest.approx(88.7189, abs=1e-4)
        assert found["float32"].score == pytest.approx(88.7228, abs=1e-4)
        assert found["float16"].sum_score == pytest.approx(found["float16"].score - np.log(128))
        assert found["float16"].d_k < 20 < 1000 < found["float32"].d_k
        assert 2.5 < largest_scaled_score(128) < 2.7


class TestRows:
    def test_same_draws_whatever_the_threads_and_the_other_widths(self) -> None:
        one = run(GradientConfig(d_k=(3, 17), n=11, rows=700))
        two = run(GradientConfig(d_k=(17,), n=11, rows=700, threads=3))
        assert json_bytes({"row": document(one)["rows"]}) != json_bytes({"row": document(two)["rows"]})
        assert vars(one.rows[1].unscaled.query_gradient_p99) == vars(two.rows[0].unscaled.query_gradient_p99)
        assert one.samples == 768

    def test_another_seed_draws_others(self) -> None:
        one, two = (run(GradientConfig(d_k=(3,), n=5, rows=256, seed=seed)) for seed in (0, 1))
        assert one.rows[0].scaled.query_gradient_mean.value != two.rows[0].scaled.query_gradient_mean.value

    def test_scale_1_is_unscaled_at_width_1(self) -> None:
        row = run(GradientConfig(d_k=(1,), n=5, rows=256)).rows[0]
        assert vars(row.scaled.query_gradient_p99) == vars(row.unscaled.query_gradient_p99)

    def test_progress_is_told_as_often_as_promised(self) -> None:
        told = []
        config = GradientConfig(d_k=(1, 2), n=5, rows=600, threads=2)
        run(config, advance=lambda: told.append(1))
        assert len(told) == steps(config) == 6

    def test_bound_goes_with_the_scale(self) -> None:
        given = draws(0, 7, 5, 0)
        one, two = row_values(given, 1.0), row_values(given, 0.25)
        assert (one.bound * 0.25 == two.bound).all()
        assert (two.gradient <= two.bound).all()


@pytest.mark.parametrize(("n", "d_k"), [(1500, 3), (5, 20_000), (128, 64)])
def test_a_batch_needs_no_more_memory_than_was_said(n: int, d_k: int) -> None:
    row_values(draws(0, 3, 2, 0), 1.0)  # what is loaded once is not the batch's
    tracemalloc.start()
    row_values(draws(0, n, d_k, 0), 1.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert batch_bytes(n, d_k) / 4 < peak <= batch_bytes(n, d_k)


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"d_k": (0,)}, "--dk 0; expected a width of 1 or more"),
            ({"d_k": (4, -3)}, "--dk -3; expected a width of 1 or more"),
            ({"n": 1}, "--n 1; expected 2 keys or more: one key leaves the softmax nothing to choose"),
            ({"rows": 255}, "--rows 255; expected 256 or more, for a 99th percentile"),
        ],
    )
    def test_settings_that_cannot_be(self, change: dict[str, Any], text: str) -> None:
        with pytest.raises(UsageError) as caught:
            run(GradientConfig(**change))
        assert str(caught.value) == text

    def test_too_much_memory(self) -> None:
        config = GradientConfig(d_k=(64,), n=4096, threads=2, max_bytes=2 * batch_bytes(4096, 64) - 1)
        with pytest.raises(
            MemoryRefused, match=r"4,096 keys of width 64 would need 3\.\d GiB, and 3\.\d GiB may be used"
        ):
            run(config)


def texts(record: GradientRecord) -> str:
    return " ".join(part.text for part in whole(report(record)) if isinstance(part, Finding))


class TestReport:
    def test_says_what_was_found(self, sweep: GradientRecord) -> None:
        said = texts(sweep)
        assert "cannot pass ½" in said
        assert "most queries lose their gradient: its length has the median 7." in said
        assert "A trap: from d_k = 2 to 256" in said
        assert 'The law "like exp‖s‖" cannot hold' in said
        assert "The conclusion stands" in said

    def test_a_law_is_said_with_its_number(self, sweep: GradientRecord) -> None:
        """Which another softmax, or other draws, would change."""
        assert re.search(r"like d_k\^0\.5\d; scaled", texts(sweep))
        assert "∂p/∂s the same to 0.250." in texts(replace(sweep, shift=replace(sweep.shift, jacobian_change=0.25)))
        flat = [replace(row, unscaled=row.scaled) for row in sweep.rows]
        assert "like d_k^-0.1" in texts(replace(sweep, rows=flat))

    def test_tables(self, sweep: GradientRecord) -> None:
        tables = [part for part in whole(report(sweep)) if isinstance(part, Table)]
        assert [len(table.rows) for table in tables] == [11, 5, 11, 11, 3]
        assert all(len(row) == len(table.columns) for table in tables for row in table.rows)

    def test_one_width(self) -> None:
        record = run(GradientConfig(d_k=(64,), rows=256))
        tables = [part for part in whole(report(record)) if isinstance(part, Table)]
        assert tables[0].columns == ("", "unscaled", "÷ √64")
        assert tables[1].columns == ("", "unscaled", "theory", "÷ √64", "theory")
        assert "unscaled against scaled" in texts(record)
        assert figures(record) == []

    def test_a_limit_is_not_said_to_be_reached(self, sweep: GradientRecord) -> None:
        tables = [part for part in whole(report(sweep)) if isinstance(part, Table)]
        note = next(table.note for table in tables if "limit" in table.columns)
        assert "slow to come to its ¼: by the exact law 0.33 from 64 to 128, 0.27 from 512 to 1,024." in note

    def test_nothing_is_said_that_a_short_sweep_does_not_show(self) -> None:
        said = texts(run(GradientConfig(d_k=(1, 2), rows=256)))
        assert "most queries lose" not in said
        assert said.count("99th percentile goes from") == 1

    def test_a_softmax_over_two_keys_that_hardly_choose(self) -> None:
        """n = 2 freezes early, and has no trap at large widths."""
        record = run(GradientConfig(d_k=(512, 1024), n=2, rows=256))
        assert "A trap" not in texts(record)


class TestDocument:
    def test_fields(self, small: GradientRecord) -> None:
        row: Any = document(small)["rows"][0]  # type: ignore[index]
        of_jacobian = ("trace_mean", "trace_median", "frobenius_mean", "spectral_max")
        of_gradient = ("mean", "rms", "median", "p90", "p99", "bound")
        names = ["saturated_fraction", *(f"jacobian_{name}" for name in of_jacobian)]
        names += [f"query_gradient_{name}" for name in of_gradient]
        assert row["d_k"] == 4
        assert row["n"] == 128
        for regime in ("scaled", "unscaled"):
            assert all(isinstance(row[regime][name], float) for name in names)
            assert row["predicted"][regime]["query_gradient_rms"] > 0
        assert b"NaN" not in json_bytes(document(small))

    def test_csv(self, small: GradientRecord) -> None:
        columns, rows = csv_table(small)
        assert columns[:4] == ("d_k", "n", "regime", "scale")
        assert [row[2] for row in rows] == ["scaled", "unscaled"] * 4
        assert {len(row) for row in rows} == {len(columns)}


class TestFigure:
    def test_magnitude_with_and_without_the_factor_and_what_is_left_for_most_rows(self, small: GradientRecord) -> None:
        (figure,) = figures(small)
        assert isinstance(figure.drawable, Panels)
        above, beneath = figure.drawable.panels
        assert [(line.kind, line.label) for line in above.lines] == [
            ("measured", "without 1/√d_k"), ("measured", "with 1/√d_k"), ("claimed", "as claimed: leaves the page"),
        ]  # fmt: skip
        assert [line.label.split(",")[0] for line in beneath.lines] == ["99th percentile"] * 2 + ["median"] * 2
        assert above.joined
        assert beneath.joined
        for line, scaled in zip(above.lines[:2], (False, True), strict=True):
            regimes = [row.scaled if scaled else row.unscaled for row in small.rows]
            assert list(line.x) == [4, 64, 256, 1024]
            assert list(line.y) == [regime.query_gradient_rms.value for regime in regimes]
            assert list(line.standard_error) == [regime.query_gradient_rms.standard_error for regime in regimes]
        assert above.marks[0].x == pytest.approx(2 * np.log(128))
        assert all(series.x_axis and series.y_axis for series in (above, beneath))

    def test_the_claimed_law_is_the_claimed_law(self, small: GradientRecord) -> None:
        """Its logarithm grows like √(n d_k) from the first point on that is measured, and leaves the page."""
        measured, _, line = figures(small)[0].drawable.panels[0].lines  # type: ignore[union-attr]
        x, y = np.array(line.x), np.array(line.y)
        assert (x[0], y[0]) == pytest.approx((4, measured.y[0]))
        assert np.log(y / y[0]) == pytest.approx(np.sqrt(128 * x) - np.sqrt(128 * 4))
        assert y[-1] > max(measured.y)
        assert x[-1] < 2 * x[0]

    def test_its_points_are_joined_with_error_bars_and_its_panels_titles_clear_of_the_legends(
        self, small: GradientRecord
    ) -> None:
        drawn = draw(figures(small)[0])
        drawn.canvas.draw()
        for axes, joined in zip(drawn.axes, (2, 4), strict=True):
            assert len([bars for bars in axes.containers if isinstance(bars, ErrorbarContainer)]) == joined
            lines = [
                line for line in axes.lines if line.get_linestyle() == "-" and len(np.asarray(line.get_xdata())) == 4
            ]
            assert len(lines) == joined
            legend = axes.get_legend()
            assert legend is not None
            (title,) = [text for text in axes.findobj(Text) if text.get_text() == axes.get_title(loc="left")]
            assert not title.get_window_extent().overlaps(legend.get_window_extent())
