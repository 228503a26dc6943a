"""A block's tensors: names, shapes, how they are drawn, and the random streams they are drawn from."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab.maths.architecture import BlockSpec, Initialisation
from attnlab.maths.weights import (
    ROLES,
    initial_block,
    initial_weight,
    linear,
    parameter_count,
    random_input,
    stream,
    weight_shapes,
)

Array = NDArray[Any]

#: Widths all different primes, as far as heads allow.
BASE = BlockSpec(d_model=13, n_heads=2, n_kv_heads=2, d_k=5, d_v=3, d_ff=17)


class TestWeightShapes:
    def test_of_the_full_block(self) -> None:
        assert weight_shapes(BASE) == {
            "attn.W_Q": (2, 13, 5),
            "attn.W_K": (2, 13, 5),
            "attn.W_V": (2, 13, 3),
            "attn.W_O": (2, 3, 13),
            "attn.b_Q": (2, 5),
            "attn.b_K": (2, 5),
            "attn.b_V": (2, 3),
            "attn.b_O": (13,),
            "ln1.w": (13,),
            "ln1.b": (13,),
            "ln2.w": (13,),
            "ln2.b": (13,),
            "mlp.W_in": (13, 17),
            "mlp.W_out": (17, 13),
            "mlp.b_in": (17,),
            "mlp.b_out": (13,),
        }

    def test_of_llamas(self) -> None:
        spec = dataclasses.replace(
            BASE, n_kv_heads=1, activation="swiglu", norm="rmsnorm", bias=False, qk_norm="rmsnorm"
        )
        assert weight_shapes(spec) == {
            "attn.W_Q": (2, 13, 5),
            "attn.W_K": (1, 13, 5),
            "attn.W_V": (1, 13, 3),
            "attn.W_O": (2, 3, 13),
            "attn.q_norm.w": (5,),
            "attn.k_norm.w": (5,),
            "ln1.w": (13,),
            "ln2.w": (13,),
            "mlp.W_in": (13, 17),
            "mlp.W_gate": (13, 17),
            "mlp.W_out": (17, 13),
        }

    @pytest.mark.parametrize(
        ("changes", "extra"),
        [
            ({"norm_position": "sandwich"}, {"ln1_post.w": (13,), "ln2_post.w": (13,)}),
            ({"norm_position": "output"}, {"ln1_post.w": (13,), "ln2_post.w": (13,), "ln1.w": None, "ln2.w": None}),
            ({"parallel": True, "norm_position": "pre"}, {}),
            ({"bias": ("qkv",)}, {"attn.b_Q": (2, 5), "attn.b_K": (1, 5), "attn.b_V": (1, 3)}),
            ({"bias": ("output",)}, {"attn.b_O": (13,)}),
            ({"bias": ("mlp",)}, {"mlp.b_in": (17,), "mlp.b_out": (13,)}),
            ({"bias": ("norm",)}, {"ln1.b": (13,), "ln2.b": (13,)}),
            (
                {"qk_norm": "layernorm", "qk_norm_over": "all", "bias": ("norm",)},
                {"attn.q_norm.w": (10,), "attn.k_norm.w": (5,), "attn.q_norm.b": (10,), "attn.k_norm.b": (5,),
                 "ln1.b": (13,), "ln2.b": (13,)},
            ),
        ],
    )  # fmt: skip
    def test_of_each_form(self, changes: dict[str, Any], extra: dict[str, tuple[int, ...] | None]) -> None:
        plain = dataclasses.replace(BASE, n_kv_heads=1, bias=False)
        expected = {name: shape for name, shape in (weight_shapes(plain) | extra).items() if shape is not None}
        assert weight_shapes(dataclasses.replace(plain, **changes)) == expected

    def test_of_the_textbooks_single_head(self) -> None:
        spec = dataclasses.replace(BASE, d_v=13, d_ff=None, output_projection=False, bias=False)
        assert list(weight_shapes(spec)) == ["attn.W_Q", "attn.W_K", "attn.W_V", "ln1.w"]

    def test_parameters_of_the_original_base_layer(self) -> None:
        """4 d² + 4 d attention, 2 · 4 d² + 5 d feed-forward, 4 d norms."""
        d = 512
        spec = BlockSpec(d_model=d, n_heads=8, n_kv_heads=8, d_k=64, d_v=64, d_ff=4 * d)
        assert parameter_count(spec) == 12 * d * d + 13 * d


#: Wide enough for a variance to be told within 5 %.
WIDE = BlockSpec(d_model=96, n_heads=4, n_kv_heads=2, d_k=24, d_v=32, d_ff=160)
#: Fan-in and fan-out: all heads side by side, and each head alone.
FANS: dict[str, dict[str, tuple[int, int]]] = {
    "matrix": {
        "attn.W_Q": (96, 96),
        "attn.W_K": (96, 48),
        "attn.W_V": (96, 64),
        "attn.W_O": (128, 96),
        "mlp.W_in": (96, 160),
        "mlp.W_out": (160, 96),
    },
    "head": {
        "attn.W_Q": (96, 24),
        "attn.W_K": (96, 24),
        "attn.W_V": (96, 32),
        "attn.W_O": (32, 96),
        "mlp.W_in": (96, 160),
        "mlp.W_out": (160, 96),
    },
}


@pytest.mark.parametrize("per", ["matrix", "head"])
@pytest.mark.parametrize("name", FANS["matrix"])
class TestInitialisation:
    def matrix(self, name: str, **how: Any) -> Array:
        return initial_weight(name, weight_shapes(WIDE)[name], Initialisation(**how), layer=0, dtype=np.float64)

    def test_xavier_uniform_fills_its_bounds(self, name: str, per: str) -> None:
        bound = math.sqrt(6 / sum(FANS[per][name]))
        drawn = self.matrix(name, scheme="xavier_uniform", per=per)
        assert 0.99 * bound < np.abs(drawn).max() <= bound * (1 + 1e-6)
        assert drawn.var() == pytest.approx(bound**2 / 3, rel=0.05)
        assert abs(drawn.mean()) < bound / 20

    @pytest.mark.parametrize("scheme", ["xavier_normal", "lecun_normal", "normal"])
    def test_normal_ones_have_their_variance(self, name: str, per: str, scheme: Any) -> None:
        fan_in, fan_out = FANS[per][name]
        expected = {"xavier_normal": 2 / (fan_in + fan_out), "lecun_normal": 1 / fan_in, "normal": 0.02**2}
        drawn = self.matrix(name, scheme=scheme, standard_deviation=0.02, per=per)
        assert drawn.var() == pytest.approx(expected[scheme], rel=0.08)
        assert np.abs(drawn).max() > 3 * drawn.std()

    def test_all_heads_side_by_side_are_the_identity(self, name: str, per: str) -> None:
        drawn = self.matrix(name, scheme="identity", per=per)
        if drawn.ndim == 3:
            drawn = np.concatenate(list(drawn), axis=0 if name == "attn.W_O" else 1)
        np.testing.assert_array_equal(drawn, np.eye(*drawn.shape))

    def test_float32_and_float64_are_the_same_numbers(self, name: str, per: str) -> None:
        shape, how = weight_shapes(WIDE)[name], Initialisation(per=per)  # type: ignore[arg-type]
        single, double = (initial_weight(name, shape, how, layer=0, dtype=dtype) for dtype in ("float32", "float64"))
        assert (single.dtype.name, double.dtype.name) == ("float32", "float64")
        np.testing.assert_array_equal(single, double)


class TestInitialBlock:
    def test_biases_are_0_and_gains_1(self) -> None:
        weights = initial_block(BASE, Initialisation(), layer=0, dtype=np.float32)
        assert weights.keys() == weight_shapes(BASE).keys()
        for name, shape in weight_shapes(BASE).items():
            assert (weights[name].shape, weights[name].dtype.name) == (shape, "float32")
        assert all((weights[name] == 0).all() for name in weights if ".b" in name)
        assert (weights["ln1.w"] == 1).all()
        assert (weights["ln2.w"] == 1).all()

    def test_what_is_given_stays(self) -> None:
        given = {"attn.W_V": np.ones((2, 13, 3))}
        weights = initial_block(BASE, Initialisation(), layer=0, dtype=np.float64, given=given)
        assert weights["attn.W_V"] is given["attn.W_V"]
        others = initial_block(BASE, Initialisation(), layer=0, dtype=np.float64)
        np.testing.assert_array_equal(weights["attn.W_Q"], others["attn.W_Q"])


class TestStreams:
    def test_weights_and_inputs_of_one_seed_differ(self) -> None:
        how = Initialisation(scheme="normal", standard_deviation=1.0, seed=4)
        x = random_input(13, 8, seed=4, dtype=np.float32)
        w_in = initial_weight("mlp.W_in", (13, 8), how, layer=0, dtype=np.float32)
        assert not np.isin(x, w_in).any()

    def test_no_two_roles_or_layers_share_numbers(self) -> None:
        spec = dataclasses.replace(BASE, activation="swiglu")
        how = Initialisation(scheme="normal", standard_deviation=1.0)
        blocks = [initial_block(spec, how, layer=layer, dtype=np.float32) for layer in range(3)]
        drawn = np.concatenate([w.ravel() for block in blocks for name, w in block.items() if "W_" in name])
        assert len(np.unique(drawn)) > 0.999 * len(drawn)

    def test_order_does_not_matter(self) -> None:
        how, shapes = Initialisation(), weight_shapes(BASE)
        forward = {
            (name, i): initial_weight(name, shapes[name], how, layer=i, dtype=float) for i in (0, 1) for name in shapes
        }
        for name, layer in reversed(forward):
            again = initial_weight(name, shapes[name], how, layer=layer, dtype=float)
            np.testing.assert_array_equal(again, forward[name, layer])

    def test_the_seed_matters(self) -> None:
        first, second = (stream(seed, "attn.W_Q", 0).standard_normal(5) for seed in (0, 1))
        assert not np.isin(first, second).any()

    def test_inputs_are_the_same_numbers_in_every_dtype(self) -> None:
        single, double = (random_input(7, 5, seed=2, dtype=dtype) for dtype in (np.float32, np.float64))
        assert (single.dtype.name, double.dtype.name) == ("float32", "float64")
        np.testing.assert_array_equal(single, double)

    def test_longer_inputs_begin_with_shorter_ones(self) -> None:
        np.testing.assert_array_equal(
            random_input(9, 5, seed=2, dtype=np.float32)[:4], random_input(4, 5, seed=2, dtype=np.float32)
        )

    def test_a_streams_numbers_never_change(self) -> None:
        """A seed means the same in every version: these numbers are part of the contract."""
        drawn = {role: int(stream(5, role, 1).integers(10**6)) for role in ROLES}
        assert drawn == {
            "input": 824052,
            "attn.W_Q": 575660,
            "attn.W_K": 50090,
            "attn.W_V": 177226,
            "attn.W_O": 187097,
            "mlp.W_in": 687441,
            "mlp.W_gate": 202710,
            "mlp.W_out": 196351,
            "variance": 818663,
            "variance.softmax": 569043,
            "gradient": 345782,
            "lookup": 236044,
            "lookup.horizon": 944962,
            "depth": 111280,
            "depth.gradient": 864358,
            "verify": 328021,
            "complexity": 885547,
        }


def test_linear_by_hand() -> None:
    x, w, b = np.array([[1.0, 2.0]]), np.array([[3.0, 5.0, 7.0], [11.0, 13.0, 17.0]]), np.array([1.0, 1, 1])
    np.testing.assert_array_equal(linear(x, w, b), [[26, 32, 42]])
    np.testing.assert_array_equal(linear(x, w, None), [[25, 31, 41]])


def test_linear_of_halves_is_summed_in_float32() -> None:
    x, w = np.full((1, 4096), 1, np.float16), np.full((4096, 1), 1, np.float16)
    assert linear(x, w, np.full(1, 1, np.float16)).item() == 4096
    assert linear(x, w * np.float16(16), None).item() == np.inf
    assert linear(x, w, None).dtype == np.float16
