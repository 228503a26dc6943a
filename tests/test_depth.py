"""Stacked layers: exact gradients, tokens that grow alike as fast as they should, and the residual path's part."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mpmath
import numpy as np
import pytest

from attnlab.errors import MemoryRefused, ShapeError, UsageError
from attnlab.experiments.depth import DepthRecord, run, steps
from attnlab.experiments.depth_figures import figures
from attnlab.experiments.depth_report import csv_table, document, gain_of, gains_csv_table, report, rows_at, rows_of
from attnlab.experiments.depth_stack import DepthConfig, followed, profile, relative_residual
from attnlab.experiments.depth_variants import VARIANTS, layer_step
from attnlab.maths.architecture import BlockSpec, Initialisation, Rotary
from attnlab.maths.backward import Step, attention_step, feed_forward_step, norm_step, softmax_pullback
from attnlab.maths.block import trace_block
from attnlab.maths.weights import BlockWeights, initial_block
from attnlab.records import Finding, Panels, Table
from tests.rendered import told, whole

Array = np.ndarray[Any, np.dtype[Any]]

#: Every axis another prime, biases on, two query heads to a key head.
SPEC = BlockSpec(d_model=11, n_heads=6, n_kv_heads=3, d_k=5, d_v=7, d_ff=13)
N = 4
SMALL = DepthConfig(n=8, d_model=16, heads=2, layers=3, seeds=2)


def drawn(spec: BlockSpec, seed: int = 0) -> BlockWeights:
    """Weights with biases and gains that are not 0 and 1."""
    rng = np.random.default_rng(seed)
    weights = initial_block(spec, Initialisation(seed=seed), layer=0, dtype=np.float64)
    return {name: w + 0.3 * rng.standard_normal(w.shape) for name, w in weights.items()}


def tokens(n: int = N, width: int = SPEC.d_model) -> Array:
    return np.random.default_rng(9).standard_normal((n, width))


def disagreement(step: Callable[[Array], Step], x: Array, of: Callable[[Array], Array] = lambda g: g) -> float:
    """How far the pullback of a random gradient is from central differences, as a share of the largest entry."""
    u = np.random.default_rng(5).standard_normal(step(x).value.shape)
    found, width = of(step(x).pullback(u)), 1e-6
    differences = np.empty_like(x)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += width
        down[index] -= width
        differences[index] = np.sum(u * (step(up).value - step(down).value)) / (2 * width)
    return float(np.abs(found - differences).max() / np.abs(differences).max())


SPECS = {
    "plain": SPEC,
    "causal": replace(SPEC, causal=True),
    "window": replace(SPEC, causal=True, window=2),
    "alibi": replace(SPEC, position="alibi"),
    "unscaled": replace(SPEC, scale=1.0),
    "one head, not joined": replace(SPEC, n_heads=1, n_kv_heads=1, d_v=11, output_projection=False),
    "without biases": replace(SPEC, bias=False),
}


class TestBackward:
    @pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
    def test_attention_is_exact(self, spec: BlockSpec) -> None:
        weights = drawn(spec)
        assert disagreement(lambda x: attention_step(spec, weights, x), tokens()) < 1e-6

    def test_norm_is_exact(self) -> None:
        weights = drawn(SPEC)
        assert disagreement(lambda x: norm_step(SPEC, weights, "ln2", x), 3 + tokens()) < 1e-6

    def test_feed_forward_is_exact(self) -> None:
        weights = drawn(SPEC)
        assert disagreement(lambda x: feed_forward_step(SPEC, weights, x), tokens()) < 1e-6

    @pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
    def test_a_layer_of_every_variant_is_exact(self, variant: Any) -> None:
        weights = drawn(SPEC)
        assert disagreement(lambda x: layer_step(variant, SPEC, weights, x), tokens()) < 1e-6

    def test_a_stack_is_exact(self) -> None:
        weights = [drawn(SPEC, seed) for seed in range(3)]

        def stacked(x: Array) -> Step:
            layers = []
            for one in weights:
                layers.append(layer_step(VARIANTS["block"], SPEC, one, x))
                x = layers[-1].value

            def pullback(g: Array) -> Array:
                for layer in reversed(layers):
                    g = layer.pullback(g)
                return g

            return Step(x, pullback)

        assert disagreement(stacked, tokens()) < 1e-6

    def test_wrong_gradients_are_seen(self) -> None:
        weights = drawn(SPEC)

        def step(x: Array) -> Step:
            return layer_step(VARIANTS["residual"], SPEC, weights, x)

        u = np.random.default_rng(5).standard_normal((N, SPEC.d_model))
        assert disagreement(step, tokens(), of=lambda g: 1.5 * g) > 0.1
        assert disagreement(step, tokens(), of=lambda g: g - u) > 0.1

    def test_softmax_by_hand(self) -> None:
        p = np.array([0.5, 0.5])
        np.testing.assert_allclose(softmax_pullback(p, np.array([1.0, 0.0])), [0.25, -0.25])

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"softcap": 30.0}, "softcap: 30.0; expected None"),
            ({"position": Rotary()}, "position: Rotary.*; expected none or sinusoidal or alibi"),
            ({"qk_norm": "rmsnorm"}, "qk_norm: rmsnorm; expected None"),
            ({"norm": "rmsnorm"}, "norm: rmsnorm; expected layernorm"),
            ({"activation": "gelu"}, "activation: gelu; expected relu"),
        ],
    )
    def test_refuses_what_it_cannot_differentiate(self, change: dict[str, Any], complaint: str) -> None:
        spec = replace(SPEC, **change)
        for step in (attention_step, feed_forward_step):
            with pytest.raises(ShapeError, match=complaint):
                step(spec, drawn(spec), tokens())
        with pytest.raises(ShapeError, match=complaint):
            norm_step(spec, drawn(spec), "ln1", tokens())


class TestForward:
    def test_a_block_is_the_block(self) -> None:
        weights = drawn(SPEC)
        expected = trace_block(SPEC, weights, tokens()).output
        np.testing.assert_array_equal(layer_step(VARIANTS["block"], SPEC, weights, tokens()).value, expected)

    def test_residual_and_norm_are_the_block_without_feed_forward(self) -> None:
        spec = replace(SPEC, d_ff=None)
        weights = drawn(spec)
        trace = trace_block(spec, weights, tokens())
        np.testing.assert_array_equal(
            layer_step(VARIANTS["residual_norm"], spec, weights, tokens()).value, trace.output
        )
        np.testing.assert_array_equal(layer_step(VARIANTS["residual"], spec, weights, tokens()).value, trace.t2)
        np.testing.assert_array_equal(layer_step(VARIANTS["attention"], spec, weights, tokens()).value, trace.t1)


def precise_residuals(weights: list[BlockWeights], x: Array) -> list[float]:
    """‖X − x̄‖/‖X‖ through one-headed attention alone, in 300 digits."""
    with mpmath.workdps(300):
        state, found = mpmath.matrix(x.tolist()), []
        for one in weights:
            w_q, w_k, w_v, w_o = (mpmath.matrix(one[f"attn.W_{role}"][0].tolist()) for role in "QKVO")
            scores = (state * w_q) * (state * w_k).T / mpmath.sqrt(w_q.cols)
            rows = []
            for i in range(scores.rows):
                exponentials = [mpmath.exp(scores[i, j]) for j in range(scores.cols)]
                rows.append([e / mpmath.fsum(exponentials) for e in exponentials])
            state = mpmath.matrix(rows) * state * w_v * w_o
            n = state.rows
            mean = [mpmath.fsum(state[i, j] for i in range(n)) / n for j in range(state.cols)]
            apart = mpmath.matrix([[state[i, j] - mean[j] for j in range(state.cols)] for i in range(n)])
            found.append(float(mpmath.mnorm(apart, "f") / mpmath.mnorm(state, "f")))
        return found


class TestUnrounded:
    spec = BlockSpec(d_model=6, n_heads=1, n_kv_heads=1, d_k=6, d_v=6, d_ff=None, bias=False)

    def weights(self, layers: int) -> list[BlockWeights]:
        how = Initialisation(seed=1)
        return [initial_block(self.spec, how, layer=layer, dtype=np.float64) for layer in range(layers)]

    def test_follows_the_tokens_beyond_rounding(self) -> None:
        weights = self.weights(6)
        found = followed(self.spec, weights, tokens(5, 6)).residuals
        told = [value for value in found[1:] if value is not None]
        assert min(told) < 1e-60
        np.testing.assert_allclose(told, precise_residuals(weights[: len(told)], tokens(5, 6)), rtol=1e-6)

    def test_gives_up_where_even_differences_underflow(self) -> None:
        found = followed(self.spec, self.weights(9), tokens(5, 6))
        assert found.residuals[-1] is None
        assert min(value for value in found.residuals if value is not None) > 0
        assert len(found.powers) == sum(value is not None for value in found.residuals) - 1

    def test_halved_differences_come_out_an_eighth(self) -> None:
        """Against 300 digits, a layer by itself: 1 + 1e-5 of noise in, so that 2^2 or 2^4 would be seen."""
        weights, apart = self.weights(1), 1e-5 * tokens(5, 6)
        mean = np.random.default_rng(2).standard_normal((1, 6))
        (power,) = followed(self.spec, weights, mean + apart).powers
        apart = apart - apart.mean(axis=0)
        into, out = (
            [of(mean + part) for part in (apart, apart / 2)]
            for of in (relative_residual, lambda x: precise_residuals(weights, x)[0])
        )
        assert math.log(out[0] / out[1]) / math.log(into[0] / into[1]) == pytest.approx(power, abs=1e-4)
        assert power == pytest.approx(3, abs=1e-3)


@pytest.fixture(scope="module")
def record() -> DepthRecord:
    return run(DepthConfig())


def by_layer(record: DepthRecord, variant: str) -> Array:
    return np.array([row.relative_residual for row in rows_of(record, variant)])


class TestTokens:
    def test_attention_alone_collapses_doubly_exponentially(self, record: DepthRecord) -> None:
        """A cube a layer in the limit; a square, or a plain exponential (1), would be seen, and 2.99."""
        powers = [power.value or math.nan for power in record.powers]
        assert len(powers) == 5
        assert [abs(power - 3) < bound for power, bound in zip(powers, (99, 4, 2e-3, 1e-6, 1e-6), strict=True)] == (
            [True] * 5
        )
        assert abs(powers[1] - 3) > 1e-1 > abs(powers[2] - 3)

    def test_the_full_block_falls_by_a_constant_factor_at_most(self, record: DepthRecord) -> None:
        logs = np.log(by_layer(record, "block"))
        assert (np.diff(logs[4:]) / np.diff(logs[3:-1])).max() < 2

    def test_without_rounding_is_what_the_run_shows_while_it_can(self, record: DepthRecord) -> None:
        rows = rows_of(record, "attention")
        for row in rows[:4]:
            assert row.unrounded == pytest.approx(row.relative_residual, rel=1e-6)
        assert rows[4].unrounded is not None
        assert rows[4].unrounded < 1e-20 < 1e-16 < rows[4].relative_residual < 1e-15

    def test_the_residual_path_slows_it_and_does_not_stop_it(self, record: DepthRecord) -> None:
        for name in ("residual", "residual_norm", "block"):
            rows = rows_of(record, name)
            assert (np.diff(by_layer(record, name)) < 0).all()
            for row, alone in zip(rows[1:], rows_of(record, "attention")[1:], strict=True):
                assert row.relative_residual - alone.relative_residual > 4 * row.standard_error

    def test_known_numbers(self, record: DepthRecord) -> None:
        """0.10 after 12 layers of residual and LayerNorm, and the feed-forward makes it less."""
        last = rows_of(record, "residual_norm")[12]
        assert abs(last.relative_residual - 0.10) <= 4 * last.standard_error
        block = rows_of(record, "block")[12]
        assert last.relative_residual - block.relative_residual > 2 * (last.standard_error + block.standard_error)

    def test_random_tokens_begin_with_nothing_in_common(self, record: DepthRecord) -> None:
        """The mean of n of them has a share 1/n of the square."""
        first = record.rows[0]
        expected = math.sqrt(1 - 1 / 32)
        assert abs(first.relative_residual - expected) <= 4 * first.standard_error
        assert abs(first.relative_residual - 1.5 * expected) > 4 * first.standard_error

    def test_nothing_at_all_is_all_alike(self) -> None:
        assert relative_residual(np.zeros((3, 2))) == 0


class TestGradients:
    def test_without_the_residual_path_one_averaging_and_the_weights_are_all_there_is(
        self, record: DepthRecord
    ) -> None:
        """1/√32 for any depth as drawn; a quarter of it for each further layer with both matrices half as large."""
        middle = rows_of(record, "attention")[6]
        assert abs(middle.gradient - 1 / math.sqrt(32)) <= 4 * middle.gradient_standard_error
        assert abs(middle.gradient - 1.5 / math.sqrt(32)) > 2 * middle.gradient_standard_error
        half, drawn_row = gain_of(record, "attention", 0.5), gain_of(record, "attention", 1.0)
        assert half is not None
        assert drawn_row is not None
        assert math.log(half.gradient / drawn_row.gradient) / math.log(0.25) == pytest.approx(12, abs=0.5)

    def test_the_residual_path_keeps_small_weights_from_losing_it(self, record: DepthRecord) -> None:
        half, with_it = gain_of(record, "attention", 0.5), gain_of(record, "residual", 0.5)
        assert half is not None
        assert with_it is not None
        assert with_it.gradient / half.gradient > 1e6
        assert abs(with_it.gradient - 1) < 0.1

    def test_what_differs_between_tokens_is_lost_without_it_and_kept_with_it(self, record: DepthRecord) -> None:
        assert max(row.token_gradient for row in rows_of(record, "block_without_residual")[6:12]) < 1e-14
        assert min(row.token_gradient for row in rows_of(record, "block")) > 0.05

    def test_the_gradient_at_the_end_is_the_whole(self, record: DepthRecord) -> None:
        assert {row.gradient for row in record.rows if row.layer == 12} == {1.0}


class TestRun:
    def test_repeats_itself_whatever_else_is_asked_for(self) -> None:
        whole, part = run(SMALL), run(replace(SMALL, variants=("block", "block")))
        assert document(run(SMALL)) == document(whole)
        assert list(part.rows) == rows_of(whole, "block")
        assert part.powers == []
        assert run(replace(SMALL, seed=1)).rows[0] != whole.rows[0]

    def test_more_layers_do_not_change_the_first(self) -> None:
        variant = VARIANTS["attention"]
        short, long = profile(SMALL, variant, 1.0, 0), profile(replace(SMALL, layers=5), variant, 1.0, 0)
        assert long.residuals[:4] == short.residuals

    def test_advances_as_often_as_it_says(self) -> None:
        count = 0

        def advance() -> None:
            nonlocal count
            count += 1

        run(SMALL, advance=advance)
        assert count == steps(SMALL)

    def test_what_outgrows_float64_is_not_hidden(self) -> None:
        deep = run(DepthConfig(n=2, d_model=2, heads=1, layers=600, seeds=2, variants=("residual",)))
        grown = gain_of(deep, "residual", 2.0)
        assert grown is not None
        assert not math.isfinite(grown.gradient)

    @pytest.mark.parametrize("init", ["xavier_normal", "lecun_normal"])
    def test_other_initialisations(self, init: str) -> None:
        assert run(replace(SMALL, init=init)).rows[1] != run(SMALL).rows[1]

    @pytest.mark.parametrize(
        ("wrong", "complaint"),
        [
            (replace(SMALL, layers=0), "--layers 0; expected 1 or more"),
            (replace(SMALL, n=1), "--n 1; expected 2 or more"),
            (replace(SMALL, d_model=1), "--d-model 1; expected 2 or more"),
            (replace(SMALL, heads=0), "--heads 0; expected 1 or more"),
            (replace(SMALL, heads=3), "--d-model 16; expected a multiple of 3, set by --heads"),
            (replace(SMALL, seeds=1), "--seeds 1; expected 2 or more"),
            (replace(SMALL, variants=("blok",)), "--variant 'blok'; expected one of attention, residual"),
            (replace(SMALL, init="zeros"), "--init 'zeros'; expected one of xavier_uniform"),
        ],
    )
    def test_settings_that_cannot_be(self, wrong: DepthConfig, complaint: str) -> None:
        with pytest.raises(UsageError, match=complaint):
            run(wrong)

    def test_matrices_too_large_are_refused(self) -> None:
        with pytest.raises(MemoryRefused, match=r"60,000 tokens would need .* GiB for the matrices of 3 layers"):
            run(replace(SMALL, n=60_000), max_bytes=2**30)


class TestReport:
    def test_findings_say_what_the_rows_say(self, record: DepthRecord) -> None:
        findings = [part.text for part in whole(report(record)) if isinstance(part, Finding)]
        assert len(findings) == 5
        assert "5.41e-67 after layer 5; in the end a layer takes it to the power 3.00" in findings[0]
        assert "in the full block" in findings[0]
        assert "of half-size weights 1.07e-8 of one comes through" in findings[1]
        assert "after layers 1 to 5" in findings[2]
        assert "shrink by 2 to the power 5.3382, 3.0007, 3.0000, 3.0000." in findings[2]
        assert re.search(r"A run in float64 stops at its rounding, [2-8]\.\d\de-16 from layer 4 on", findings[2])
        assert "1 layer below the top" in findings[3]
        assert "times as much" in findings[4]

    def test_the_title_says_what_the_text_says(self, record: DepthRecord) -> None:
        (figure,) = figures(record)
        assert isinstance(figure.drawable, Panels)
        text = next(part.text for part in whole(report(record)) if isinstance(part, Finding))
        assert "5.41e-67" in text
        assert figure.drawable.title == (
            "Tokens grow alike through 12 layers: what tells them apart is 5.41e-67 in attention alone after layer 5, "
            "0.0487 in the full block"
        )

    def test_rounding_is_called_so_in_table_and_figure(self, record: DepthRecord) -> None:
        table = next(part for part in whole(report(record)) if isinstance(part, Table))
        rows = {row[0]: row[1:] for row in table.rows}
        assert rows["attention alone"][1] == pytest.approx(1.03e-22, rel=0.01)
        assert rows["attention alone"][2] == rows["no residual path"][2] == "rounding"
        (figure,) = figures(record)
        assert isinstance(figure.drawable, Panels)
        floor = figure.drawable.panels[0].lines[-1]
        assert (floor.label, floor.kind, set(floor.y)) == ("rounding of float64", "reference", {2.0**-52})
        (shallow,) = figures(run(replace(SMALL, layers=1)))
        assert isinstance(shallow.drawable, Panels)
        assert {line.kind for line in shallow.drawable.panels[0].lines} == {"measured"}

    def test_a_path_that_stops_the_collapse_is_said_to(self, record: DepthRecord) -> None:
        rows = [replace(row, relative_residual=1.0) if row.variant == "residual" else row for row in record.rows]
        assert "The residual path stops this: with it 1 at layer 4" in told(report(replace(record, rows=rows)))

    def test_a_layer_is_told_of_once(self) -> None:
        few = report(run(replace(SMALL, layers=3)))
        told = next(part.text for part in few.parts if isinstance(part, Finding) and "slows" in part.text)
        told = told[told.index("The residual path slows") :]
        assert " and " not in told.replace("slows this and does not", "")
        assert told.count("at layer 3") == 3

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_one_variant_alone_is_told_without_the_others(self, variant: str) -> None:
        some = run(replace(SMALL, variants=(variant,), layers=1))
        assert report(some).parts
        assert figures(some)

    def test_document_and_csv_have_the_promised_fields(self, record: DepthRecord) -> None:
        written = document(record)
        assert isinstance(written["rows"], list)
        assert {"variant", "layer", "relative_residual", "standard_error"} <= set(written["rows"][0])
        assert len(written["rows"]) == 5 * 13
        for columns, rows in (csv_table(record), gains_csv_table(record)):
            assert {len(row) for row in rows} == {len(columns)}

    def test_the_figure_holds_the_rows(self, record: DepthRecord) -> None:
        (figure,) = figures(record)
        assert isinstance(figure.drawable, Panels)
        above, below, halved = figure.drawable.panels
        assert list(above.lines[0].y) == [row.relative_residual for row in rows_of(record, "attention")]
        assert list(below.lines[1].y) == [row.gradient for row in rows_of(record, "residual")]
        assert list(below.lines[1].standard_error) == [
            row.gradient_standard_error for row in rows_of(record, "residual")
        ]
        assert list(halved.lines[0].y) == [row.gradient for row in rows_at(record, "attention", 0.5)]

    def test_a_tall_stack_names_some_of_its_layers(self) -> None:
        (figure,) = figures(run(replace(SMALL, layers=60, variants=("block",))))
        assert isinstance(figure.drawable, Panels)
        ticks = figure.drawable.panels[0].x_ticks
        assert (len(ticks), ticks[0], ticks[1], ticks[60]) == (61, "0", "", "60")
