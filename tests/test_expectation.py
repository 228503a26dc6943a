"""What a run sets beside its scores, and the checks that it makes: right for right runs, and broken by wrong ones."""

import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab.experiments.checks import attention_checks, differences, equations_check, identity_check
from attnlab.experiments.expectation import Expectation, expectations
from attnlab.experiments.run_bench import expectations_of
from attnlab.maths.architecture import BlockSpec, Initialisation, Rotary
from attnlab.maths.block import LayerTrace, trace_block
from attnlab.maths.dense import dense_statistics
from attnlab.maths.weights import BlockWeights, initial_block, random_input
from attnlab.records import Check
from attnlab.theory.score_variance import log_z

Array = NDArray[Any]

#: Grouped-query, d_k not d_model / n_heads.
SPEC = BlockSpec(d_model=48, n_heads=4, n_kv_heads=2, d_k=6, d_v=5, d_ff=29)
N = 32
#: Wide enough that the bound of its steps in bfloat16 is 1.
WIDE = BlockSpec(d_model=256, n_heads=1, n_kv_heads=1, d_k=8, d_v=8, d_ff=None)


def weights_of(spec: BlockSpec) -> BlockWeights:
    """Drawn ones, with biases and gains that are not 0 and 1."""
    rng = np.random.default_rng(5)
    drawn = initial_block(spec, Initialisation(), layer=0, dtype=np.float32)
    small = {name: 0.3 * rng.standard_normal(array.shape) for name, array in drawn.items() if ".W_" not in name}
    return {name: (array + small.get(name, 0)).astype(np.float32) for name, array in drawn.items()}


def x_of(seed: int, n: int = N) -> Array:
    return random_input(n, SPEC.d_model, seed=seed, dtype=np.float32)


def expectation(spec: BlockSpec, layer: LayerTrace, head: int = 0, *, known: bool = True) -> Expectation:
    return expectations(spec, weights_of(spec), layer, [head], standard_normal=known)[0]


def z_scores(spec: BlockSpec, head: int, *, law: float = 1.0, runs: int = 300) -> Array:
    """How many predicted standard errors the measured score variance is from `law` times the predicted one."""
    weights = weights_of(spec)
    found: list[float] = []
    scores = None
    for seed in range(runs):
        layer = trace_block(spec, weights, x_of(seed))
        if scores is None:  # the same for all tokens
            scores = expectations(spec, weights, layer, [head], standard_normal=True)[0].scores
            assert scores is not None
            assert scores.standard_error is not None
        measured = float(dense_statistics(layer.attention, layer.v, causal=spec.causal).score_variance[head])
        found.append(log_z(measured / law, scores) or 0.0)
    return np.array(found)


BLOCKS = {
    "post": SPEC,
    "pre, layernorm": replace(SPEC, norm_position="pre"),
    "pre, rmsnorm": replace(SPEC, norm_position="pre", norm="rmsnorm"),
    "pre, an eps that matters": replace(SPEC, norm_position="pre", norm_eps=0.5),
    "sandwich": replace(SPEC, norm_position="sandwich"),
    "without biases": replace(SPEC, bias=False),
    "biases of q, k and v": replace(SPEC, bias=("qkv",)),
    "unscaled": replace(SPEC, scale=1.0),
    "causal": replace(SPEC, causal=True),
    "a window": replace(SPEC, window=2),
    "a causal window, pre": replace(SPEC, causal=True, window=5, norm_position="pre"),
    "rotary, causal": replace(SPEC, causal=True, position=Rotary(base=50.0)),
    "rotary, pre, rmsnorm": replace(
        SPEC, causal=True, norm_position="pre", norm="rmsnorm", position=Rotary(base=50.0, fraction=0.7)
    ),
    "rotary, a window": replace(SPEC, window=4, position=Rotary(base=50.0, pairing="interleaved")),
    "ALiBi": replace(SPEC, position="alibi", causal=True),
    "a softcap": replace(SPEC, softcap=0.5),
}


#: Where the norms stand, and what the feed-forward reads.
FORMS: dict[str, BlockSpec] = {
    "post": SPEC,
    "pre": replace(SPEC, norm_position="pre"),
    "parallel": replace(SPEC, norm_position="pre", parallel=True),
    "sandwich": replace(SPEC, norm_position="sandwich"),
    "output": replace(SPEC, norm_position="output"),
}


class TestThePopulation:
    @pytest.mark.parametrize("block", BLOCKS)
    @pytest.mark.parametrize("head", [0, 3])
    def test_is_met_as_closely_as_its_error_says(self, block: str, head: int) -> None:
        z = z_scores(BLOCKS[block], head)
        assert abs(z.mean()) < 4 / math.sqrt(len(z)) + 0.05  # 0.05: the error of fourth moments after a norm
        assert 0.7 < z.std() < 1.3

    @pytest.mark.parametrize("block", ["post", "pre, layernorm", "pre, rmsnorm", "causal", "rotary, causal"])
    @pytest.mark.parametrize("law", [1.5, 1 / 1.5])
    def test_a_wrong_law_is_not(self, block: str, law: float) -> None:
        z = z_scores(BLOCKS[block], 0, law=law)
        assert abs(z.mean()) > 4 / math.sqrt(len(z)) + 0.05

    @pytest.mark.parametrize(
        ("norm", "d", "variance", "error"),
        [("layernorm", 64, 7.861111, 0.41), ("rmsnorm", 16, 2.597656, 0.28), ("layernorm", 1, 0, 0)],
    )
    def test_of_an_identity_head_after_a_norm(self, norm: Any, d: int, variance: float, error: float) -> None:
        """By simulation 7.865 (spread 0.41) and 2.599 (spread 0.28): the length of a token varies no more."""
        one = BlockSpec(d_model=d, n_heads=1, n_kv_heads=1, d_k=d, d_v=d, d_ff=None)
        spec = replace(one, norm=norm, norm_position="pre", norm_eps=1e-12)
        weights = initial_block(spec, Initialisation(scheme="identity"), layer=0, dtype=np.float64)
        layer = trace_block(spec, weights, random_input(8, d, seed=0, dtype=np.float64))
        scores = expectations(spec, weights, layer, [0], standard_normal=True)[0].scores
        assert scores is not None
        assert scores.variance == pytest.approx(variance, rel=1e-6)
        assert scores.standard_error == pytest.approx(error, rel=0.15)  # the bar of 200 draws: 5 % of it

    def test_names_itself(self) -> None:
        found = expectation(SPEC, trace_block(SPEC, weights_of(SPEC), x_of(0)))
        assert (found.kind, found.reason) == ("population", "")


class TestIsotropic:
    def test_does_not_change_with_a_rotation_of_the_tokens_and_has_no_error_bar(self) -> None:
        turn = np.linalg.qr(np.random.default_rng(1).standard_normal((48, 48)))[0].astype(np.float32)
        x = x_of(2) * np.linspace(0.1, 4, 48, dtype=np.float32)
        one, other = (expectation(SPEC, trace_block(SPEC, weights_of(SPEC), y), known=False) for y in (x, x @ turn))
        assert one.kind == other.kind == "isotropic"
        assert one.scores is not None
        assert other.scores is not None
        assert one.scores.standard_error is None
        assert one.scores.variance == pytest.approx(other.scores.variance, rel=1e-4)

    def test_is_the_population_for_what_is_isotropic(self) -> None:
        layer = trace_block(SPEC, weights_of(SPEC), x_of(3, 2000))
        as_if, truly = (expectation(SPEC, layer, known=known).scores for known in (False, True))
        assert as_if is not None
        assert truly is not None
        assert as_if.variance == pytest.approx(truly.variance, rel=0.02)

    def test_has_an_interval_which_says_who_is_aligned(self) -> None:
        found = expectation(SPEC, trace_block(SPEC, weights_of(SPEC), x_of(2)), known=False)
        assert found.scores is not None
        assert found.interval is not None
        low, high = found.interval
        assert low < found.scores.variance < high
        seen = [found.aligned(value) for value in (0.99 * low, 1.01 * low, 0.99 * high, 1.01 * high, math.nan)]
        assert seen == [True, False, False, True, None]
        assert expectation(SPEC, trace_block(SPEC, weights_of(SPEC), x_of(2))).aligned(1.0) is None

    def test_is_the_same_whichever_heads_are_asked_for(self) -> None:
        layer = trace_block(SPEC, weights_of(SPEC), x_of(2))
        every = expectations(SPEC, weights_of(SPEC), layer, range(4), standard_normal=False, index=3)
        alone = expectations(SPEC, weights_of(SPEC), layer, [2], standard_normal=False, index=3)
        assert alone == [every[2]]

    def test_of_weights_that_are_not_finite_is_none(self) -> None:
        weights = weights_of(SPEC)
        weights["attn.W_K"][0, 0, 0] = np.nan
        layer = trace_block(SPEC, weights_of(SPEC), x_of(2))
        assert expectations(SPEC, weights, layer, [1], standard_normal=False) == [
            Expectation(kind=None, reason="a weight is not finite")
        ]


class TestOfARun:
    @pytest.mark.parametrize(("position", "kind"), [("none", "population"), ("sinusoidal", "isotropic")])
    def test_positions_added_to_random_tokens_are_no_longer_of_a_known_law(self, position: Any, kind: str) -> None:
        spec = replace(SPEC, position=position)
        layer = trace_block(spec, weights_of(spec), x_of(0))
        bench: Any = SimpleNamespace(
            config=SimpleNamespace(block=spec),
            random_input=True,
            stack=SimpleNamespace(specs=[spec] * 2, weights=[weights_of(spec)] * 2),
        )
        trace: Any = SimpleNamespace(layers=[layer, layer])
        assert [one.kind for one in expectations_of(bench, 0, trace.layers[0], [0, 1])] == [kind] * 2
        assert expectations_of(bench, 1, trace.layers[1], [0])[0].kind == "isotropic"


class TestNoLaw:
    @pytest.mark.parametrize(
        ("spec", "reason"),
        [
            (replace(SPEC, qk_norm="rmsnorm"), "no law is known under qk_norm"),
            (replace(SPEC, qk_norm="layernorm", causal=True), "no law is known under qk_norm"),
        ],
    )
    @pytest.mark.parametrize("known", [True, False])
    def test_gives_the_reason(self, spec: BlockSpec, reason: str, known: bool) -> None:
        found = expectation(spec, trace_block(spec, weights_of(spec), x_of(0)), known=known)
        assert found == Expectation(kind=None, reason=reason)

    def test_for_a_single_token(self) -> None:
        found = expectation(SPEC, trace_block(SPEC, weights_of(SPEC), x_of(0, 1)))
        assert found == Expectation(kind=None, reason="a single token has no variance")


def all_checks(spec: BlockSpec, layer: LayerTrace) -> dict[str, Check]:
    """Every check of one layer by its id."""
    statistics = dense_statistics(layer.attention, layer.v, causal=spec.causal)
    checks = [*attention_checks([layer.attention], [statistics]), equations_check([(spec, weights_of(spec), layer)])]
    if layer.visible is None:
        k = np.repeat(layer.k, spec.n_heads // spec.n_kv_heads, axis=0)
        checks.append(identity_check(list(zip(layer.q, k, layer.raw_scores, strict=True)), spec.score_scale))
    return {check.id: check for check in checks}


def broken(corrupt: Callable[[LayerTrace], LayerTrace], spec: BlockSpec = SPEC) -> set[str]:
    """The checks that a corrupted trace does not pass; the sound one passes all."""
    layer = trace_block(spec, weights_of(spec), x_of(0))
    assert all(check.holds for check in all_checks(spec, layer).values())
    return {name for name, check in all_checks(spec, corrupt(layer)).items() if not check.holds}


def changed(array: Array, place: tuple[int, ...], factor: float) -> Array:
    """The array with one entry multiplied."""
    copy = array.copy()
    copy[place] *= factor  # by NaN or infinity too
    return copy


class TestChecksOfWrongRuns:
    def test_a_row_that_does_not_sum_to_1(self) -> None:
        def corrupt(layer: LayerTrace) -> LayerTrace:
            return layer._replace(weights=changed(layer.weights, (1, 2, 3), 1.001))

        assert "rows_sum_to_1" in broken(corrupt)

    def test_a_negative_weight(self) -> None:
        def corrupt(layer: LayerTrace) -> LayerTrace:
            return layer._replace(weights=changed(layer.weights, (1, 2, 3), -1e-3))

        assert "weights_not_negative" in broken(corrupt)

    def test_an_output_longer_than_any_value(self) -> None:
        def corrupt(layer: LayerTrace) -> LayerTrace:
            longest = np.linalg.norm(layer.v, axis=-1).max()
            return layer._replace(heads=layer.heads * np.float32(1.01 * longest / np.linalg.norm(layer.heads[0, 0])))

        assert broken(corrupt) == {"norm_bound"}

    def test_scores_that_are_not_those_of_q_and_k(self) -> None:
        def corrupt(layer: LayerTrace) -> LayerTrace:
            return layer._replace(raw_scores=layer.raw_scores * np.float32(1.001))

        assert broken(corrupt) == {"score_variance_identity"}

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("step", ["t1", "t2", "t3", "t4", "t5", "output"])
    def test_a_step_that_is_not_its_equation(self, step: str, form: str) -> None:
        def corrupt(layer: LayerTrace) -> LayerTrace:
            array: Array = getattr(layer, "t4" if form == "output" and step == "t3" else step)
            largest = tuple(int(i) for i in np.unravel_index(np.abs(array).argmax(), array.shape))
            return layer._replace(**{step: changed(array, largest, 1.001)})

        if form != "output" or step != "t3":  # which has none
            assert broken(corrupt, FORMS[form]) == {"steps_equal_equations"}

    @pytest.mark.parametrize(("form", "other"), [("pre", "parallel"), ("parallel", "pre")])
    def test_a_feed_forward_that_reads_another_sum(self, form: str, other: str) -> None:
        layer = trace_block(FORMS[other], weights_of(FORMS[other]), x_of(0))
        assert {name for name, check in all_checks(FORMS[form], layer).items() if not check.holds} == {
            "steps_equal_equations"
        }
        assert all(check.holds for check in all_checks(FORMS[other], layer).values())

    @pytest.mark.parametrize("name", ["ln1_post.w", "ln2_post.w", "ln1_post.b"])
    @pytest.mark.parametrize("form", ["sandwich", "output"])
    def test_another_norm_after_a_part(self, form: str, name: str) -> None:
        spec, weights = FORMS[form], weights_of(FORMS[form])
        layer = trace_block(spec, weights | {name: weights[name] * np.float32(1.001)}, x_of(0))
        assert not equations_check([(spec, weights, layer)]).holds
        assert equations_check([(spec, weights, trace_block(spec, weights, x_of(0)))]).holds

    def test_attention_over_keys_that_are_hidden(self) -> None:
        spec = replace(SPEC, causal=True)

        def corrupt(layer: LayerTrace) -> LayerTrace:
            return layer._replace(weights=layer.weights + np.float32(1e-3) * (layer.weights == 0))

        assert "rows_sum_to_1" in broken(corrupt, spec)


class TestChecksOfHardRuns:
    """Where rounding, underflow or cancellation take most of a number, no right run is called wrong."""

    @pytest.mark.parametrize("size", [1e-45, 1e-30, 1e-12, 1e12])
    @pytest.mark.parametrize("form", FORMS)
    def test_of_any_size(self, size: float, form: str) -> None:
        layer = trace_block(FORMS[form], weights_of(FORMS[form]), x_of(0) * np.float32(size))
        assert all(check.holds for check in all_checks(FORMS[form], layer).values())

    @pytest.mark.parametrize("form", FORMS)
    def test_of_tokens_that_are_all_alike(self, form: str) -> None:
        layer = trace_block(FORMS[form], weights_of(FORMS[form]), np.repeat(x_of(0, 1), 5, axis=0))
        assert all(check.holds for check in all_checks(FORMS[form], layer).values())

    @pytest.mark.parametrize("form", FORMS)
    def test_of_tokens_that_cancel(self, form: str) -> None:
        spec = replace(FORMS[form], bias=False, scale=1e-9)
        layer = trace_block(spec, weights_of(spec), np.vstack([x_of(0), -x_of(0)]))
        assert all(check.holds for check in all_checks(spec, layer).values())

    @pytest.mark.parametrize("last", [1, np.nan])
    def test_of_a_gelu_that_leaves_next_to_nothing(self, last: float) -> None:
        spec = replace(SPEC, activation="gelu_tanh", d_ff=1, causal=True)
        weights = weights_of(spec) | {"mlp.b_in": np.full(1, -5.5, np.float32)}
        layer = trace_block(spec, weights, changed(x_of(0), (N - 1, 0), last))
        check = equations_check([(spec, weights, layer)])
        assert check.holds
        assert check.value is not None

    def test_with_nothing_finite_to_measure(self) -> None:
        layer = trace_block(SPEC, weights_of(SPEC), x_of(0) * np.float32(np.nan))
        found = all_checks(SPEC, layer)
        assert all(check.holds for check in found.values())
        assert "norm_bound" not in found
        assert all(math.isnan(check.value or 0) for check in found.values())
        assert {check.text for check in found.values()} == {
            "rows sum to 1 (not measured: no row is finite)",
            "no negative weight (not measured: no weight is finite)",
            "T1 … H equal their equations (not measured: no number is finite)",
            "Var(scores) follows from the moments of q and k (not measured: no number is finite)",
        }

    @pytest.mark.parametrize("hidden", [True, False])
    @pytest.mark.parametrize("number", [np.nan, np.inf])
    def test_with_one_token_that_is_not_finite(self, hidden: bool, number: float) -> None:
        spec = replace(SPEC, causal=hidden)
        x = x_of(0)
        x[7, 3] = number
        with np.errstate(invalid="ignore"):
            found = all_checks(spec, trace_block(spec, weights_of(spec), x))
        assert all(check.holds for check in found.values())
        assert math.isfinite(found["steps_equal_equations"].value or 0) == hidden

    def test_where_rounding_may_be_all_there_is(self) -> None:
        x = np.full((3, 8), 1e4, np.float32) + np.random.default_rng(0).normal(0, 1e-3, (3, 8)).astype(np.float32)
        found = identity_check([(x, x, x @ x.T)], 1.0)
        assert (found.holds, (found.bound or 0) >= 1) == (True, True)
        assert found.text.endswith("(not measured: rounding may be as large as the numbers)")
        wrong = identity_check([(x, x, x * np.float32(1e9))], 1.0)
        assert not wrong.holds
        assert "not measured" not in wrong.text

    def test_a_head_that_tells_nothing_speaks_for_no_other(self) -> None:
        x = np.full((3, 8), 1e4, np.float32) + np.random.default_rng(0).normal(0, 1e-3, (3, 8)).astype(np.float32)
        q = np.random.default_rng(1).standard_normal((5, 4))
        scores = np.array(x @ x.T) + np.float32(400) * np.eye(3, dtype=np.float32)
        found = identity_check([(x, x, scores), (q, q, q @ q.T)], 1.0)
        assert found.holds
        assert "not measured" not in found.text

    def test_of_steps_coarser_than_themselves(self) -> None:
        x = random_input(4, WIDE.d_model, seed=0, dtype=ml_dtypes.bfloat16)
        weights = initial_block(WIDE, Initialisation(), layer=0, dtype=ml_dtypes.bfloat16)
        found = equations_check([(WIDE, weights, trace_block(WIDE, weights, x))])
        assert found.holds
        assert found.text.endswith("(not measured: rounding may be as large as the numbers)")


class TestWhatIsNotFinite:
    @pytest.mark.parametrize("step", ["t1", "t2", "t3", "t4", "t5", "output"])
    @pytest.mark.parametrize("number", [np.nan, np.inf])
    def test_where_its_equation_is_finite_is_wrong(self, step: str, number: float) -> None:
        def corrupt(layer: LayerTrace) -> LayerTrace:
            return layer._replace(**{step: changed(getattr(layer, step), (1, 2), number)})

        assert "steps_equal_equations" in broken(corrupt)

    def test_and_is_finite_where_its_equation_is_not_is_wrong(self) -> None:
        def corrupt(layer: LayerTrace) -> LayerTrace:
            return layer._replace(t1=layer.t1 * np.float32(np.nan), t3=np.zeros_like(layer.t3))

        assert broken(corrupt) == {"steps_equal_equations"}

    def test_is_right_where_its_equation_overflows_the_dtype(self) -> None:
        with np.errstate(over="ignore"):
            assert differences(np.array([np.inf, 1], np.float32), np.array([1e39, 1])).tolist() == [0]

    def test_of_a_value_counts_though_its_weight_is_0(self) -> None:
        """A score of −inf gives a key no weight, and what is not finite there still makes the output NaN."""
        spec = replace(SPEC, n_heads=1, n_kv_heads=1, d_k=1)
        with np.errstate(invalid="ignore"):
            layer = trace_block(spec, weights_of(spec), changed(x_of(0), (7, 3), np.inf))
            found = equations_check([(spec, weights_of(spec), layer)])
        assert (layer.weights[0, :, 7] == 0).any()
        assert found.holds

    def test_hides_no_wrong_number_elsewhere(self) -> None:
        """A step whose other numbers overflowed is judged by those that did not."""
        x = x_of(0)
        x[7, 3] = np.nan
        spec = replace(SPEC, causal=True)
        layer = trace_block(spec, weights_of(spec), x)
        wrong = layer._replace(t2=changed(layer.t2, (2, 3), 1.5))
        assert equations_check([(spec, weights_of(spec), layer)]).holds
        assert not equations_check([(spec, weights_of(spec), wrong)]).holds

    def test_hides_no_wrong_head(self) -> None:
        q, k = np.random.default_rng(0).standard_normal((2, 5, 4))
        heads = [(q * np.nan, k, q), (q, k, q @ k.T * np.nan), (q, k, 1.1 * q @ k.T), (q, k, q @ k.T)]
        found = identity_check(heads, 1.0)
        assert not found.holds
        assert found.value == pytest.approx(0.21)
