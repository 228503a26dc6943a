"""Costs by formula: equal to what a block really multiplies, writes and learns, in whole numbers of any size."""

import math
from collections.abc import Callable
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from attnlab.experiments.cost import shape_of
from attnlab.files.config import load_config
from attnlab.files.presets import preset_names
from attnlab.files.stacks import build_stack
from attnlab.maths.architecture import BlockSpec, Initialisation, LinearScaling, Rotary
from attnlab.maths.stack import Stack
from attnlab.maths.visibility import band
from attnlab.maths.weights import initial_block
from attnlab.theory.costs import (
    CORE,
    PROJECTIONS,
    BlockShape,
    PartCost,
    multiply_adds,
    part_costs,
    visible_pairs,
)
from attnlab.theory.crossovers import Crossover, crossover
from tests.flop_counter import Walk, agrees

#: Every axis another prime, or the product of two; two query heads to a key head.
SPEC = BlockSpec(d_model=11, n_heads=6, n_kv_heads=3, d_k=5, d_v=7, d_ff=13)
N = 17
SPECS = {
    "plain": SPEC,
    "one key head": replace(SPEC, n_kv_heads=1),
    "all key heads": replace(SPEC, n_kv_heads=6),
    "d_v = d_k": replace(SPEC, d_v=5),
    "no feed-forward": replace(SPEC, d_ff=None),
    "swiglu": replace(SPEC, activation="swiglu"),
    "geglu": replace(SPEC, activation="geglu"),
    "gelu": replace(SPEC, activation="gelu_tanh"),
    "no output projection": replace(SPEC, d_model=14, n_heads=2, n_kv_heads=2, output_projection=False),
    "no biases": replace(SPEC, bias=False),
    "rmsnorm": replace(SPEC, norm="rmsnorm"),
    "rmsnorm, no biases": replace(SPEC, norm="rmsnorm", bias=False),
    "pre-norm": replace(SPEC, norm_position="pre"),
    "pre-norm, no feed-forward": replace(SPEC, norm_position="pre", d_ff=None),
    "q and k normed": replace(SPEC, qk_norm="rmsnorm"),
    "q and k LayerNormed": replace(SPEC, qk_norm="layernorm"),
    "q and k LayerNormed, no biases": replace(SPEC, qk_norm="layernorm", bias=False),
    "causal": replace(SPEC, causal=True),
    "causal window": replace(SPEC, causal=True, window=3),
    "window": replace(SPEC, window=2),
    "alibi": replace(SPEC, position="alibi"),
    "rotary": replace(SPEC, position=Rotary(fraction=0.8)),
    "softcap": replace(SPEC, softcap=5.0),
    "scale": replace(SPEC, scale=1.0),
    "parallel": replace(SPEC, norm_position="pre", parallel=True),
    "sandwich": replace(SPEC, norm_position="sandwich", activation="geglu_tanh"),
    "sandwich, no feed-forward": replace(SPEC, norm_position="sandwich", d_ff=None),
    "output": replace(SPEC, norm_position="output", norm="rmsnorm"),
    "biases of q, k and v": replace(SPEC, bias=("qkv",)),
    "biases of the norms": replace(SPEC, bias=("norm",)),
    "biases of the output and the feed-forward": replace(SPEC, bias=("output", "mlp")),
    "q and k normed over all": replace(SPEC, qk_norm="rmsnorm", qk_norm_over="all"),
    "q and k LayerNormed over all": replace(SPEC, qk_norm="layernorm", qk_norm_over="all"),
    "rotary, stretched": replace(SPEC, position=Rotary(fraction=0.8, scaling=LinearScaling(4.0))),
}


def parts_of(spec: BlockSpec, n: int = N) -> dict[str, PartCost]:
    """The parts as a dense kernel computes them: hidden pairs too."""
    return {part.part: part for part in part_costs(shape_of(spec), n, hidden="full")}


class TestWalk:
    @pytest.mark.parametrize("name", SPECS)
    def test_the_formulas_count_every_product_that_is_carried_out(self, name: str) -> None:
        assert agrees(Walk(SPECS[name], N), [*parts_of(SPECS[name]).values()])

    def test_in_half_precision_too(self) -> None:
        assert agrees(Walk(SPEC, N, np.float16), [*parts_of(SPEC).values()])
        assert agrees(Walk(SPEC, N, ml_dtypes.bfloat16), [*parts_of(SPEC).values()])

    @pytest.mark.parametrize(
        "wrong",
        [
            lambda spec: replace(spec, n_heads=spec.n_heads - spec.n_kv_heads),
            lambda spec: replace(spec, n_kv_heads=spec.n_heads),
            lambda spec: replace(spec, d_k=spec.d_v),
            lambda spec: replace(spec, d_ff=None),
            lambda spec: replace(spec, activation="swiglu"),
            lambda spec: replace(spec, output_projection=False),
            lambda spec: replace(spec, d_model=spec.d_model + 1),
        ],
    )
    def test_a_wrong_formula_is_seen(self, wrong: Callable[[BlockSpec], BlockSpec]) -> None:
        """A head missing, grouped heads taken for whole ones, d_k for d_v, a part left out or too many …"""
        assert not agrees(Walk(SPEC, N), [*parts_of(wrong(SPEC)).values()])

    @pytest.mark.parametrize("part", [*PROJECTIONS, *CORE, "feed_forward"])
    def test_one_part_half_as_much_again_is_seen(self, part: str) -> None:
        parts = parts_of(SPEC)
        parts[part] = replace(parts[part], multiply_adds=parts[part].multiply_adds * 3 // 2)
        assert not agrees(Walk(SPEC, N), [*parts.values()])

    def test_another_length_is_seen(self) -> None:
        assert not agrees(Walk(SPEC, N), [*parts_of(SPEC, N + 1).values()])

    @pytest.mark.parametrize("name", SPECS)
    def test_elementwise_work_is_the_convention_times_the_numbers_it_goes_over(self, name: str) -> None:
        spec, walk, parts = SPECS[name], Walk(SPECS[name], N), parts_of(SPECS[name])
        assert parts["softmax"].elementwise == 5 * walk.elements["softmax"]
        steps = {"layernorm": 7 if spec.has_bias("norm") else 6, "rmsnorm": 4}
        normed = parts["norms"].elementwise + (parts["q_k_norms"].elementwise if spec.qk_norm else 0)
        assert normed == sum(steps[kind] * walk.elements[f"norms {kind}"] for kind in ("layernorm", "rmsnorm"))
        if spec.d_ff is not None:
            assert parts["activation"].elementwise == walk.elements["activation"] * (2 if spec.gated else 1)

    @pytest.mark.parametrize("name", SPECS)
    def test_bytes_are_the_results_that_a_trace_keeps(self, name: str) -> None:
        trace, parts = Walk(SPECS[name], N).trace, parts_of(SPECS[name])
        kept = {
            "q_projection": trace.q_projection,
            "k_projection": trace.k_projection,
            "v_projection": trace.v,
            "scores": trace.raw_scores,
            "softmax": trace.weights,
            "weighted_values": trace.heads,
            "output_projection": trace.t1,
        }
        for part, array in kept.items():
            if part in parts:
                assert parts[part].numbers == array.size
        if isinstance(SPECS[name].position, Rotary):
            assert parts["rotary_positions"].numbers == trace.q.size + trace.k.size
        sums = trace.t2.size + (0 if trace.t5 is None else trace.t5.size)
        assert parts["residuals"].numbers == parts["residuals"].elementwise == sums


class TestParameters:
    @pytest.mark.parametrize("name", SPECS)
    def test_every_option(self, name: str) -> None:
        self.agree(SPECS[name], Walk(SPECS[name], 2).weights)

    @pytest.mark.parametrize("name", preset_names())
    def test_every_preset(self, name: str) -> None:
        config = replace(load_config(name), layers=1)
        if config.weights.file is None:
            built = build_stack(config, max_bytes=2**31)
            self.agree(config.block, built.stack.weights[0])
        else:
            self.agree(config.block, initial_block(config.block, Initialisation(), layer=0, dtype=np.float32))

    @staticmethod
    def agree(spec: BlockSpec, weights: dict[str, np.ndarray]) -> None:
        found = {"biases": 0, "norms": 0}
        for name, array in weights.items():
            role = name.partition(".")[2]
            kind = "norms" if name.startswith("ln") else "q_k_norms" if "norm" in name else "biases"
            if role.startswith("W_"):
                kind = "feed_forward" if name.startswith("mlp") else f"{role[2:].lower()}_projection"
            kind = kind.replace("o_projection", "output_projection")
            found[kind] = found.get(kind, 0) + array.size
        parts = parts_of(spec)
        counted = {part: cost.parameters for part, cost in parts.items() if cost.parameters}
        assert counted == {kind: size for kind, size in found.items() if size}

    def test_another_formula_would_be_seen(self) -> None:
        with pytest.raises(AssertionError):
            self.agree(replace(SPEC, n_kv_heads=6), Walk(SPEC, 2).weights)

    @pytest.mark.parametrize(
        "name", ["sandwich", "biases of q, k and v", "biases of the norms", "q and k normed over all"]
    )
    def test_the_plain_block_s_would_be_seen(self, name: str) -> None:
        plain = replace(SPECS[name], norm_position="pre", bias=True, qk_norm_over="head")
        with pytest.raises(AssertionError):
            self.agree(plain, Walk(SPECS[name], 2).weights)


class TestByHand:
    def test_the_paper_s_block_at_512_tokens(self) -> None:
        """24 N d² + 4 N² d, d = N = 512: 28 · 2²⁷."""
        parts = parts_of(load_config("vaswani-base").block, 512)
        assert 2 * sum(part.multiply_adds for part in parts.values()) == 3_758_096_384 == 28 * 2**27
        assert parts["q_projection"].operations("flop") == 268_435_456
        assert parts["scores"].operations("mac") == 134_217_728
        assert parts["feed_forward"].operations("flop") == 2_147_483_648
        assert parts["softmax"].operations("flop") == 10_485_760
        assert parts["softmax"].operations("mac") == 0
        assert parts["biases"].parameters == 3 * 512 + 512 + 2048 + 512

    def test_a_head_of_two_tokens(self) -> None:
        shape = BlockShape(d_model=3, n_heads=1, n_kv_heads=1, d_k=1, d_v=3, d_ff=None, causal=True)
        parts = {part.part: part for part in part_costs(shape, 2)}
        assert parts["scores"].multiply_adds == 3
        assert parts["weighted_values"].multiply_adds == 9
        assert (parts["q_projection"].multiply_adds, parts["v_projection"].multiply_adds) == (6, 18)

    def test_what_is_done_to_each_pair_and_each_turned_number(self) -> None:
        """Two tokens under a causal mask, three heads: 9 pairs. 2·(3 + 1) vectors of q and k, 2 of 4 numbers turned."""
        shape = BlockShape(
            d_model=5, n_heads=3, n_kv_heads=1, d_k=4, d_v=7, d_ff=None, causal=True, softcap=True, alibi=True
        )
        parts = {part.part: part for part in part_costs(replace(shape, rotary_width=2), 2)}
        done = {
            "softcap": (9 * len(("divide", "tanh", "multiply")), "3·P·h"),
            "alibi_positions": (9 * len(("slope times distance", "add")), "2·P·h"),
            "rotary_positions": (16 * len(("times cosine", "other times sine", "add")), "3·N·(h+g)·2"),
        }
        for name, (operations, formula) in done.items():
            assert (parts[name].operations("flop"), parts[name].formula("flop")) == (operations, formula)
        assert parts["rotary_positions"].numbers == 8 * 4  # what is not turned is written, too

    def test_formulas_in_letters_say_what_is_counted(self) -> None:
        parts = parts_of(replace(SPEC, activation="swiglu", qk_norm="rmsnorm"))
        assert parts["feed_forward"].formula("flop") == "6·N·d·d_ff"
        assert parts["feed_forward"].formula("mac") == "3·N·d·d_ff"
        assert parts["q_projection"].formula("mac") == "N·d·h·d_k"
        assert (parts["softmax"].formula("flop"), parts["softmax"].formula("mac")) == ("5·P·h", "")

    @pytest.mark.parametrize("name", SPECS)
    @pytest.mark.parametrize("count", ["flop", "mac"])
    def test_the_letters_work_out_to_the_number(self, name: str, count: str) -> None:
        spec = SPECS[name]
        values = {"N": N, "d": spec.d_model, "h": spec.n_heads, "g": spec.n_kv_heads, "d_k": spec.d_k, "d_v": spec.d_v}
        values |= {"d_ff": spec.d_ff or 0, "P": N**2}
        for part in parts_of(spec).values():
            formula = part.formula(count)  # type: ignore[arg-type]
            worth = eval(formula.replace(",", "").replace("·", "*"), {}, values) if formula else 0
            assert worth == part.operations(count)  # type: ignore[arg-type]

    def test_whole_numbers_of_any_size(self) -> None:
        n = 2**62 + 1
        parts = {part.part: part for part in part_costs(shape_of(replace(SPEC, causal=True)), n)}
        assert parts["scores"].multiply_adds == n * (n + 1) // 2 * 6 * 5
        assert all(isinstance(part.multiply_adds, int) and isinstance(part.numbers, int) for part in parts.values())

    def test_sinusoids_are_added_once_for_all_layers(self) -> None:
        part = parts_of(replace(SPEC, position="sinusoidal"))["sinusoidal_positions"]
        assert (part.once, part.elementwise) == (True, N * 11)
        weights = initial_block(SPEC, Initialisation(), layer=0, dtype=np.float64)
        spec = replace(SPEC, position="sinusoidal")
        stack = Stack(specs=(spec, spec), weights=(weights, weights), dtype=np.dtype(np.float64))
        trace = stack.trace(np.zeros((N, 11)))
        assert np.any(trace.hidden_states[0])
        np.testing.assert_array_equal(trace.layers[1].x, trace.layers[0].output)


class TestPairs:
    @pytest.mark.parametrize("causal", [False, True])
    def test_are_those_that_the_mask_leaves(self, causal: bool) -> None:
        for n in range(1, 12):
            for window in (None, *range(1 if causal else 0, 14)):
                seen = band(n, n, causal=causal, window=window)
                assert visible_pairs(n, causal=causal, window=window) == (n * n if seen is None else seen.sum())

    def test_half_and_full(self) -> None:
        shape = shape_of(replace(SPEC, causal=True))
        half, full = (multiply_adds(part_costs(shape, 8, hidden=how), CORE) for how in ("half", "full"))
        assert half * 64 == full * 36
        assert multiply_adds(part_costs(shape, 8, hidden="half"), PROJECTIONS) == multiply_adds(
            part_costs(shape, 8, hidden="full"), PROJECTIONS
        )


def classic(d: int, *, causal: bool = False, window: int | None = None) -> BlockShape:
    return BlockShape(
        d_model=d, n_heads=4, n_kv_heads=4, d_k=d // 4, d_v=d // 4, d_ff=4 * d, causal=causal, window=window
    )


def least(reaches: Callable[[int], bool], most: int = 2000) -> int | None:
    """The first number of tokens for which it is so."""
    return next((n for n in range(1, most) if reaches(n)), None)


def counted(shape: BlockShape, n: int, names: tuple[str, ...]) -> int:
    return multiply_adds(part_costs(shape, n), names)


def core_reaches(shape: BlockShape, names: tuple[str, ...], most: int) -> int | None:
    """The first number of tokens at which the core multiplies as much as these parts."""
    return least(lambda n: counted(shape, n, CORE) >= counted(shape, n, names), most)


class TestCrossover:
    @pytest.mark.parametrize("d", [64, 512, 768])
    def test_the_classic_block(self, d: int) -> None:
        assert crossover([classic(d)]) == Crossover(core_over_projections=2 * d, core_over_rest=6 * d)
        assert crossover([classic(d, causal=True)]) == Crossover(core_over_projections=4 * d, core_over_rest=12 * d)
        assert crossover([classic(d, causal=True)], hidden="full") == crossover([classic(d)])

    def test_is_where_the_counts_are_equal(self) -> None:
        shape, (at, rest) = classic(64), (128, 384)
        assert counted(shape, at, CORE) == counted(shape, at, PROJECTIONS)
        assert counted(shape, rest, CORE) == counted(shape, rest, (*PROJECTIONS, "feed_forward"))

    def test_the_causal_diagonal_is_one_token_s_worth(self) -> None:
        """N(N + 1)/2 pairs reach the projections one token before N²/2 do."""
        shape = classic(64, causal=True)
        assert least(lambda n: counted(shape, n, CORE) >= counted(shape, n, PROJECTIONS)) == 4 * 64 - 1

    @pytest.mark.parametrize("name", SPECS)
    def test_odd_shapes(self, name: str) -> None:
        shape = shape_of(SPECS[name])
        over = crossover([shape], hidden="full").core_over_projections
        assert over is not None

        def core(n: int) -> bool:
            parts = part_costs(shape, n, hidden="full")
            return multiply_adds(parts, CORE) >= multiply_adds(parts, PROJECTIONS)

        assert least(core) == over

    @pytest.mark.parametrize("causal", [False, True])
    @pytest.mark.parametrize("window", [3, 10, 20, 31, 32, 33, 40, 63, 64, 65, 70, 100, 5000])
    def test_a_window_may_never_get_there(self, window: int, causal: bool) -> None:
        shape = classic(16, causal=causal, window=window)
        found = crossover([shape])
        for at, names in (
            (found.core_over_projections, PROJECTIONS),
            (found.core_over_rest, (*PROJECTIONS, "feed_forward")),
        ):
            tried = core_reaches(shape, names, 2000 + (at or 0))
            if at is None or tried is None:
                assert at is tried
            else:
                assert at - tried in ((0, 1) if causal else (0,))

    @pytest.mark.parametrize(
        ("causal", "windows", "at"),
        [
            (True, (65,), 64),  # N²/2 = 32 N before the window cuts
            (True, (64,), 64),  # its first 63 tokens are a triangle, 63²/2 < 32·63
            (True, (63,), 63),  # 63·64/2 = 32·63
            (True, (34,), 281),  # 34 N − 34·33/2 ≥ 32 N from N = 280.5 on
            (True, (33,), 528),  # 33 N − 33·32/2 = 32 N
            (True, (32,), None),  # 32 N − 32·31/2 never gets there
            (True, (31, 33), None),  # nor does 64 N − …
            (True, (32, 33), 1024),  # 65 N − 32·31/2 − 33·32/2 = 64 N
            (True, (33, 33), 528),
            (False, (31,), 32),  # N² = 32 N, the last N of which all see all
            (False, (30,), 33),  # 61 N − 30·31 ≥ 32 N from N = 32.07 on
            (False, (16,), 272),  # 33 N − 16·17 = 32 N
            (False, (15,), None),
            (False, (14, 17), None),  # 29 + 35 keys at last, of the 64 that it takes
        ],
    )
    def test_windows_by_hand(self, causal: bool, windows: tuple[int, ...], at: int | None) -> None:
        """d = 16: a token's projections cost 4·16² multiply-adds and a pair 2·16, so that 32 keys are worth them."""
        shapes = [classic(16, causal=causal, window=window) for window in windows]
        assert crossover(shapes).core_over_projections == at

    def test_what_multiplies_nothing_changes_nothing(self) -> None:
        shape = classic(16, causal=True, window=63)
        assert crossover([shape, replace(shape, softcap=True)]) == crossover([shape])

    def test_a_block_without_a_feed_forward_has_no_rest_but_the_projections(self) -> None:
        over = crossover([replace(classic(64), d_ff=None)])
        assert over.core_over_rest == over.core_over_projections == 128

    @pytest.mark.parametrize("causal", [False, True])
    @pytest.mark.parametrize("windows", [(None, 10), (5, None, 40), (31, 70), (3, 20), (64, 65)])
    def test_of_layers_with_windows_of_their_own(self, windows: tuple[int | None, ...], causal: bool) -> None:
        """Where the counts, added up, say so: up to the diagonal's token, which `crossover` leaves out, too."""
        shapes = [classic(16, causal=causal, window=window) for window in windows]
        found = crossover(shapes)
        for at, names in (
            (found.core_over_projections, PROJECTIONS),
            (found.core_over_rest, (*PROJECTIONS, "feed_forward")),
        ):
            tried = least(
                lambda n, names=names: sum(counted(s, n, CORE) - counted(s, n, names) for s in shapes) >= 0,  # type: ignore[misc]
                500 + (at or 1500),
            )
            assert at is tried is None or (at or 0) - (tried or 0) in ((0, 1) if causal else (0,))
        assert crossover(shapes[:1] * 3) == crossover(shapes[:1])

    def test_of_mixed_layers_is_neither_layer_s_own(self) -> None:
        wide, narrow = classic(16), classic(16, window=10)
        assert crossover([narrow]).core_over_rest is None
        over = crossover([wide, narrow]).core_over_rest
        assert over is not None
        assert over > (crossover([wide]).core_over_rest or 0)

    def test_one_and_a_half_times_would_be_seen(self) -> None:
        assert crossover([replace(classic(64), d_k=24)]) != crossover([classic(64)])
        assert math.isclose(crossover([classic(512)]).core_over_rest or 0, 3072)
