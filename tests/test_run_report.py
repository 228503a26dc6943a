"""What is said of a run, on screen and above its figures: records in, words out."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab.experiments.expectation import Expectation
from attnlab.experiments.run_document import csv_table
from attnlab.experiments.run_figures import figures
from attnlab.experiments.run_findings import findings
from attnlab.experiments.run_qkv import run_qkv
from attnlab.experiments.run_record import HeadResult, NotFinite, RunRecord, Selection, StepResult
from attnlab.experiments.run_report import ratio_in_words, report, times
from attnlab.files.embeddings import QKV
from attnlab.records import Finding, Grid, Histogram, Series, Table
from attnlab.theory.scores import ScorePrediction
from tests.rendered import whole

Array = NDArray[Any]


def record_of(logits: Array, mask: Array | None = None) -> RunRecord:
    """A run whose scores are these, (heads, n, n): q is the scores, k the unit vectors."""
    h, _, m = logits.shape
    q, k = logits * math.sqrt(m), np.broadcast_to(np.eye(m), (h, m, m))
    return run_qkv("given", QKV(q, k, np.ones((h, m, 1)), mask, None), Selection(), max_bytes=2**24)


def shares(*rows: tuple[float, ...]) -> Array:
    """The scores of one head that has these weights."""
    scores: Array = np.log(np.array([rows]))
    return scores


def named(record: RunRecord) -> RunRecord:
    """The same run, of tokens a, b, c, …"""
    return replace(record, tokens=tuple(chr(ord("a") + i % 26) for i in range(record.n)))


def expecting(record: RunRecord, variance: float, standard_error: float | None) -> RunRecord:
    """The same run, every head's scores expected to have this variance."""
    scores = ScorePrediction(0.0, variance, standard_error)
    expectation = Expectation(kind="isotropic" if standard_error is None else "population", scores=scores)
    heads = [replace(head, expectation=expectation) for head in record.heads]
    return replace(record, heads=heads, shown=heads[0])


def measuring(head: HeadResult, variance: float) -> HeadResult:
    return replace(head, statistics=head.statistics._replace(score_variance=np.array(variance)))


def tables(record: RunRecord) -> dict[str, Table]:
    return {part.title: part for part in whole(report(record, seed=None)) if isinstance(part, Table)}


def titles(record: RunRecord) -> dict[str, str]:
    return {figure.name: figure.drawable.title for figure in figures(record)}


class TestThePair:
    def test_that_stands_out_leads_on_the_screen_and_above_the_picture(self) -> None:
        record = named(record_of(shares((0.5, 0.25, 0.25), (0.1, 0.1, 0.8), (0.3, 0.2, 0.5))))
        looks = '"b" looks most at "c" (0.80), which gives 0.20 back: not symmetric'
        assert findings(record) == [f"{looks}."]
        assert titles(record)["attention"] == looks

    def test_with_a_semicolon_in_its_name_is_named_whole(self) -> None:
        record = replace(record_of(shares((0.1, 0.9), (0.5, 0.5))), tokens=("a; b", "c"))
        assert titles(record)["attention"].startswith('"a; b" looks most at "c" (0.90), which gives')

    def test_of_a_token_that_looks_more_at_itself(self) -> None:
        record = named(record_of(shares((0.7, 0.3), (0.1, 0.9))))
        assert findings(record)[0].startswith('Between different tokens, "a" looks most at "b" (0.30), which')

    @pytest.mark.parametrize("tilt", [0.0, 0.005])
    def test_is_none_where_rows_are_uniform(self, tilt: float) -> None:
        record = named(record_of(np.array([[[0, tilt, 0], [0, 0, tilt], [tilt, 0, 0]]], dtype=float)))
        said = "Head 0 hardly chooses: its rows are 100% as spread out as they can be"
        assert findings(record) == [f"{said}."]
        assert titles(record)["attention"] == said

    def test_is_none_where_rows_are_uniform_over_the_keys_that_they_see(self) -> None:
        record = named(record_of(np.zeros((1, 4, 4)), np.tri(4, dtype=bool)))
        assert findings(record)[0].startswith("Head 0 hardly chooses")

    def test_is_none_where_its_weight_prints_as_nothing(self) -> None:
        record = named(record_of(np.random.default_rng(0).normal(scale=0.02, size=(1, 300, 300))))
        assert findings(record)[0].startswith("Head 0 hardly chooses")

    def test_is_none_of_a_single_token(self) -> None:
        assert findings(named(record_of(np.zeros((1, 1, 1))))) == []


class TestTokensWithoutNames:
    def test_are_told_of_by_how_far_they_spread(self) -> None:
        said = findings(record_of(shares((0.5, 0.25, 0.25), (0.1, 0.1, 0.8), (0.3, 0.2, 0.5))))
        keys = (1 / (0.25 + 2 * 0.0625) + 1 / 0.66 + 1 / 0.38) / 3
        assert said[0].startswith(
            f"Head 0 spreads a token's attention over {keys:.2f} of 3 keys on average, and is not"
        )
        assert not any("looks most at" in sentence for sentence in said)

    def test_are_not_called_asymmetric_where_they_are_symmetric(self) -> None:
        (said,) = findings(record_of(shares((0.8, 0.2), (0.2, 0.8))))
        assert "symmetric" not in said

    def test_are_shown_by_some_rows_where_they_are_many(self) -> None:
        record = record_of(np.random.default_rng(0).normal(size=(1, 60, 60)))
        (grid,) = (part for part in report(record, seed=None).parts if isinstance(part, Grid))
        assert grid.values.shape[0] == 8
        np.testing.assert_allclose(grid.values.sum(axis=1), 1)
        (few,) = (part for part in report(named(record), seed=None).parts if isinstance(part, Grid))
        assert few.values.shape == (60, 60)


class TestTheOtherFindings:
    def test_hardly_chooses(self) -> None:
        record = record_of(shares((0.4, 0.3, 0.3), (0.3, 0.4, 0.3), (0.3, 0.3, 0.4)))
        assert findings(record)[1] == "It hardly chooses: its rows are 99% as spread out as they can be."

    def test_hardly_hesitates(self) -> None:
        record = record_of(shares((0.001, 0.999), (0.999, 0.001)))
        assert findings(record)[1] == "It hardly hesitates: in 100% of its rows one key holds more than 0.99."

    def test_empty_rows_are_told(self) -> None:
        mask = np.ones((3, 3), dtype=bool)
        mask[1] = False
        said = findings(record_of(np.zeros((2, 3, 3)), mask))
        assert said[-1] == "2 of 6 rows see no key: their weights and outputs are 0, and no mean counts them."

    def test_rows_that_are_not_finite_are_told(self) -> None:
        logits = np.zeros((1, 3, 3))
        logits[0, 2] = np.nan
        record = replace(record_of(logits), not_finite=NotFinite("q", "NaN", (0, 2, 1), 1, 9))
        first = report(record, seed=None).parts[0]
        assert isinstance(first, Finding)
        assert first.text == (
            "Not finite: q holds NaN: 1 of 9 numbers, the first at head 0, row 2, column 1. "
            "1 of 3 rows of the heads' weights are not finite; no mean counts them."
        )


class TestNothingToMeasure:
    def said(self, record: RunRecord) -> list[str]:
        return [part.text for part in whole(report(record, seed=None)) if isinstance(part, Finding)]

    @pytest.mark.parametrize("heads", [1, 2])
    def test_is_a_sentence_and_no_table(self, heads: int) -> None:
        record = record_of(np.full((heads, 2, 2), np.nan))
        assert self.said(record)[-1] == "No row of head 0 is finite: nothing to measure."
        assert tables(record) == {}
        assert "scores" not in titles(record)

    def test_where_no_row_sees_a_key(self) -> None:
        record = record_of(np.zeros((1, 2, 2)), np.zeros((2, 2), dtype=bool))
        assert self.said(record)[-1] == "No row of head 0 sees a key: nothing to measure."

    @pytest.mark.parametrize(
        ("dtype", "advice"), [("float32", "float32; try dtype: float64."), ("float64", "float64.")]
    )
    def test_names_an_overflow(self, dtype: str, advice: str) -> None:
        huge = np.full((1, 2, 2), np.finfo(dtype).max / 2, dtype)
        record = run_qkv("given", QKV(huge, huge, huge, None, None), Selection(), max_bytes=2**20)
        record = replace(record, arrays={**record.arrays, **{f"blocks.0.attn.hook_{name}": huge[0] for name in "qk"}})
        assert self.said(record)[-1] == f"No row of head 0 is finite: nothing to measure. q·k is beyond {advice}"

    def test_of_the_shown_head_alone_leaves_the_others(self) -> None:
        logits = np.zeros((2, 2, 2))
        logits[0] = np.nan
        assert list(tables(record_of(logits))) == ["Heads"]


class TestTheVariance:
    @pytest.mark.parametrize(
        ("measured", "heads", "said"),
        [
            (1.29, 1, "2.6 standard errors away: agrees"),
            (0.69, 1, "3.7 standard errors away: does not agree"),
            (0.69, 30, "3.7 standard errors away: agrees"),
        ],
    )
    def test_agrees_up_to_three_standard_errors_or_more_of_many_heads(
        self, measured: float, heads: int, said: str
    ) -> None:
        record = expecting(record_of(np.zeros((1, 2, 2))), 1.0, 0.1)
        assert ratio_in_words(measuring(record.shown, measured), heads) == said

    def test_is_a_multiple_of_what_random_tokens_give(self) -> None:
        record = expecting(record_of(np.zeros((1, 2, 2))), 1.35, None)
        assert ratio_in_words(measuring(record.shown, 1.95), 1) == "1.44 × that"

    @pytest.mark.parametrize(
        ("ratio", "written"),
        [(1.006, "1.01 ×"), (0.42, "0.42 ×"), (9.5, "9.50 ×"), (12.34, "12.3 ×"), (1e-4, "1e-4 ×")],
    )
    def test_has_two_decimals_below_ten(self, ratio: float, written: str) -> None:
        assert times(ratio) == written

    def test_is_written_above_the_figure_as_in_the_table(self) -> None:
        record = record_of(np.zeros((1, 2, 2)))
        for error, title, label in (
            (0.1704, "The scores' variance is 1.13: predicted 0.99 ± 0.17", "normal, variance 0.99 ± 0.17 (predicted)"),
            (None, "The scores' variance is 1.13: 1.14 × the 0.989 of random directions", "0.989 (random directions)"),
        ):
            expected = expecting(record, 0.9887, error)
            expected = replace(expected, shown=measuring(expected.shown, 1.1304))
            (histogram,) = (figure.drawable for figure in figures(expected) if figure.name == "scores")
            assert isinstance(histogram, Histogram)
            assert histogram.title == title
            assert histogram.theory_label.endswith(label)

    def test_without_a_prediction_stands_alone_with_the_reason(self) -> None:
        title = titles(record_of(np.zeros((1, 2, 2))))["scores"]
        assert title == "The scores' variance is 0 (q, k and v were given: nothing is known of what made them)"


class TestHeads:
    def test_are_beside_what_is_expected_where_something_is(self) -> None:
        record = record_of(np.random.default_rng(0).normal(size=(2, 3, 3)))
        bare = tables(record)["Heads"]
        turned = tables(expecting(record, 1.0, None))["Heads (at random: the same tokens, turned any way)"]
        predicted = tables(expecting(record, 1.0, 0.1))["Heads"]
        assert bare.columns == ["", "Var(score)", "entropy", "keys", "max p", "on key 0"]
        assert turned.columns == ["", "Var(score)", "at random", "entropy", "keys", "max p", "on key 0"]
        assert predicted.columns == ["", "Var(score)", "predicted", "entropy", "keys", "max p", "on key 0"]
        assert {len(row) for row in bare.rows} == {6}
        assert {len(row) for row in (*turned.rows, *predicted.rows)} == {7}

    def test_are_titled_by_how_spread_out_they_are(self) -> None:
        even = shares((0.5, 0.5), (0.5, 0.5))
        uneven = shares((0.2, 0.8), (0.2, 0.8))
        assert titles(record_of(np.concatenate([even, uneven])))["heads"] == (
            "2 heads: from 0.72 to 1.00 as spread out as they can be; head 0 gives 0.50 to key 0"
        )
        assert (
            titles(record_of(np.concatenate([uneven, uneven])))["heads"] == "2 heads: 0.72 as spread out as they can be"
        )
        assert titles(record_of(np.full((2, 2, 2), np.nan)))["heads"] == "2 heads"

    def test_that_cannot_look_ahead_are_no_sinks(self) -> None:
        title = titles(record_of(np.zeros((2, 2, 2)), np.tri(2, dtype=bool)))["heads"]
        assert title == "2 heads: 1.00 as spread out as they can be"


class TestSteps:
    def test_are_titled_as_the_table_writes_them_and_have_a_colour_each(self) -> None:
        steps = [
            StepResult(layer=layer, name=name, mean=0.0, variance=variance, norm=1.0)
            for layer in range(7)
            for name, variance in (("X", 0.23394), ("H", 0.99996))
        ]
        record = replace(record_of(np.zeros((1, 2, 2))), steps=steps, n_layers=7)
        (series,) = (figure.drawable for figure in figures(record) if figure.name == "steps")
        assert isinstance(series, Series)
        assert series.title == "Variance through layers 0 to 6: 0.234 in X and 1.00 in H"
        assert [line.label for line in series.lines] == [f"layer {i}" for i in (0, 2, 3, 4, 6)]


def test_the_csv_writes_truth_as_json_does() -> None:
    columns, rows = csv_table(expecting(record_of(np.zeros((1, 4, 4))), 1.0, 0.25))
    row = dict(zip(columns, rows[0], strict=True))
    assert row["sink"] == "false"
    assert row["predicted_score_variance_standard_error"] == 0.25
    assert row["empty_rows"] == 0


def test_the_asymmetry_is_measured_without_matrices_only_where_it_is_asked_for() -> None:
    q, k, v = np.random.default_rng(0).standard_normal((3, 1, 9, 4))
    given = QKV(q, k, v, None, None)
    streaming: dict[str, Any] = {"kernel": "streaming"}
    plain, asked, dense = (
        run_qkv("given", given, Selection(), max_bytes=2**26, **wish).heads[0].statistics
        for wish in (streaming, {**streaming, "asymmetry": True}, {"kernel": "dense"})
    )
    assert np.isnan(plain.asymmetry)
    assert "asymmetry" in plain.reasons
    assert asked.asymmetry == pytest.approx(float(dense.asymmetry), rel=1e-9)
