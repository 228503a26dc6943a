"""What families' tables say, on settings and tensors small enough to check by hand."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab.errors import InputError
from attnlab.maths.activations import ELEMENTWISE
from attnlab.maths.architecture import LinearScaling, Llama3Scaling, Rotary
from attnlab.maths.weights import weight_shapes
from attnlab.models.blocks import block_specs, family_of
from attnlab.models.families import FAMILIES
from attnlab.models.settings import Settings, resolved
from attnlab.models.tensors import layer_sources

Array = NDArray[Any]

#: d_model 10, 5 heads of 2: enough for every family.
SMALL = {"hidden_size": 10, "num_hidden_layers": 4, "num_attention_heads": 5}
#: What a family says besides; all but these have an intermediate_size of 7.
OWN: dict[str, dict[str, object]] = {
    "distilbert": {"hidden_dim": 7},
    "opt": {"ffn_dim": 7},
    "bloom": {},
    "phi": {"intermediate_size": 7, "partial_rotary_factor": 1.0},
    "gpt_neox": {"intermediate_size": 7, "rotary_pct": 1.0},
    "gemma2": {"intermediate_size": 7, "query_pre_attn_scalar": 9},
}


def specs(family: str, **settings: object) -> Any:
    """The blocks of a family with SMALL and these settings; None leaves a key out."""
    given = {**SMALL, **OWN.get(family, {"intermediate_size": 7}), "model_type": family, **settings}
    return block_specs(FAMILIES[family], Settings(given, "config.json"))


def refused(family: str, **settings: object) -> str:
    with pytest.raises(InputError) as caught:
        specs(family, **settings)
    return str(caught.value)


class TestEveryFamily:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_has_a_place_for_every_tensor_of_its_blocks(self, family: str) -> None:
        spec = specs(family, head_dim=2)[1]
        sources = layer_sources(FAMILIES[family], spec, 1)
        assert list(sources) == list(weight_shapes(spec))
        for name, shape in weight_shapes(spec).items():
            stored = np.zeros(sources[name].shape, np.float32)
            assert sources[name].ours(stored).shape == shape
            assert ".1." in sources[name].name

    @pytest.mark.parametrize("family", FAMILIES)
    def test_is_found_by_its_model_type(self, family: str) -> None:
        assert family_of(Settings({"model_type": family}, "config.json")) is FAMILIES[family]

    def test_an_unknown_one_lists_those_that_are_known(self) -> None:
        with pytest.raises(InputError, match=r"model_type: 'mamba'; expected one of bert, roberta, .*olmo2"):
            family_of(Settings({"model_type": "mamba"}, "config.json"))


class TestFusedTensors:
    """2 heads of 3 out of width 5; each number of the fused matrix says which part, head and coordinate it is of."""

    def fused(self, family: str, order: str) -> dict[str, Array]:
        settings: dict[str, object] = {"hidden_size": 6, "num_attention_heads": 2, "num_hidden_layers": 1}
        if family == "gpt_neox":
            settings["rotary_pct"] = 0.7  # two of three
        spec = specs(family, **settings)[0]
        part, head, coordinate = np.meshgrid(range(3), range(2), range(3), indexing="ij")
        codes = 100 * part + 10 * head + coordinate
        row = (codes if order == "parts" else codes.transpose(1, 0, 2)).ravel().astype(np.float32)
        sources = layer_sources(FAMILIES[family], spec, 0)
        stored = np.outer(row, [1, 0, 0, 0, 0, 0]).astype(np.float32)  # (out, in): each output reads input 0
        stored = stored.T if FAMILIES[family].transposed else stored
        matrices = {role: sources[f"attn.W_{role}"].ours(stored)[:, 0] for role in "QKV"}
        biases = {f"b_{role}": sources[f"attn.b_{role}"].ours(row) for role in "QKV"}
        return matrices | biases

    @pytest.mark.parametrize(("family", "order"), [("gpt2", "parts"), ("gpt_neox", "heads"), ("bloom", "heads")])
    def test_come_apart_by_role_and_head(self, family: str, order: str) -> None:
        found = self.fused(family, order)
        for part, role in enumerate("QKV"):
            expected = [[100 * part + 10 * head + c for c in range(3)] for head in range(2)]
            np.testing.assert_array_equal(found[role], expected)
            np.testing.assert_array_equal(found[f"b_{role}"], expected)

    def test_the_other_order_would_be_seen(self) -> None:
        assert not np.array_equal(self.fused("gpt2", "heads")["K"], self.fused("gpt2", "parts")["K"])


class TestSpellings:
    def test_gpt2s_own(self) -> None:
        own = {"n_embd": 12, "n_head": 3, "n_layer": 2, "layer_norm_epsilon": 1e-3, "model_type": "gpt2"}
        first, second = block_specs(FAMILIES["gpt2"], Settings(own, "config.json"))
        assert (first.d_model, first.n_heads, first.d_k, first.d_ff, first.norm_eps) == (12, 3, 4, 48, 1e-3)
        assert first == second

    def test_distilberts_own(self) -> None:
        own = {"dim": 12, "n_heads": 3, "n_layers": 1, "hidden_dim": 5, "activation": "relu"}
        (spec,) = block_specs(FAMILIES["distilbert"], Settings(own, "config.json"))
        assert (spec.d_model, spec.n_heads, spec.d_ff, spec.activation) == (12, 3, 5, "relu")

    def test_gemma_2_prefers_its_newer_activation(self) -> None:
        found = specs("gemma2", head_dim=2, hidden_act="gelu", hidden_activation="gelu_pytorch_tanh")
        assert found[0].activation == "geglu_tanh"

    def test_a_null_counts_as_not_there(self) -> None:
        assert specs("llama", head_dim=None, num_key_value_heads=None)[0].d_k == 2


def normal_share(x: float) -> float:
    return (1 + math.erf(x / math.sqrt(2))) / 2


def tanh_share(x: float) -> float:
    return (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


class TestActivations:
    """By the formulas that the words name in transformers (activations.py)."""

    @pytest.mark.parametrize(
        ("word", "share"),
        [
            ("gelu", normal_share),
            ("gelu_python", normal_share),
            ("gelu_new", tanh_share),
            ("gelu_pytorch_tanh", tanh_share),
            ("gelu_fast", lambda x: (1 + math.tanh(x * 0.7978845608 * (1 + 0.044715 * x * x))) / 2),
            ("gelu_accurate", tanh_share),
            ("relu", lambda x: float(x > 0)),
            ("silu", lambda x: 1 / (1 + math.exp(-x))),
            ("swish", lambda x: 1 / (1 + math.exp(-x))),
        ],
    )
    def test_each_word_s(self, word: str, share: Callable[[float], float]) -> None:
        """x·share(x); the two gelus are 5e-4 apart at most, and 1e-4 where they are tried."""
        x = np.array([-2.5, -0.5, 0.3, 2.0])
        expected = [value * share(value) for value in x.tolist()]
        np.testing.assert_allclose(ELEMENTWISE[specs("bert", hidden_act=word)[0].activation](x), expected, rtol=1e-9)
        if word == "relu":
            assert "hidden_act: 'relu'; expected gelu, " in refused("llama", hidden_act=word)
        else:
            gated = specs("llama", hidden_act=word)[0]
            assert gated.gated
            np.testing.assert_allclose(ELEMENTWISE[gated.activation](x), expected, rtol=1e-9)

    def test_gemma_s_first_releases_mean_the_approximation_by_gelu(self) -> None:
        assert specs("gemma", head_dim=2, hidden_act="gelu")[0].activation == "geglu_tanh"
        assert specs("llama", hidden_act="gelu")[0].activation == "geglu"


class TestRotary:
    def test_the_newer_spelling(self) -> None:
        given = {"rope_theta": 500.0, "rope_type": "linear", "factor": 4.0}
        position = specs("llama", rope_parameters=given)[0].position
        assert position == Rotary(base=500.0, scaling=LinearScaling(4.0))

    def test_the_older_spelling(self) -> None:
        position = specs("llama", rope_theta=500, rope_scaling={"type": "linear", "factor": 4})[0].position
        assert position == Rotary(base=500.0, scaling=LinearScaling(4.0))

    def test_llama_3(self) -> None:
        given = {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        }
        expected = Llama3Scaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_length=8192)
        assert specs("llama", rope_scaling=given)[0].position.scaling == expected

    def test_a_part_of_each_head_under_each_spelling(self) -> None:
        for settings in (
            {"partial_rotary_factor": None, "rotary_pct": 0.5},
            {"rope_parameters": {"partial_rotary_factor": 0.5}},
        ):
            position = specs("gpt_neox", hidden_size=20, **settings)[0].position
            assert position == Rotary(fraction=0.5)

    @pytest.mark.parametrize(("share", "heads"), [(0.9, 2), (0.7, 2), (2 / 3, 2), (1.0, 5)])
    def test_a_part_that_ends_between_two_numbers_turns_those_before(self, share: float, heads: int) -> None:
        """Two of three, as transformers' int(head_dim * partial_rotary_factor) has it, or both of two."""
        position = specs(
            "phi", hidden_size=2 * 3 if heads == 2 else 10, num_attention_heads=heads, partial_rotary_factor=share
        )
        assert position[0].position == Rotary(fraction=share)

    @pytest.mark.parametrize("share", [0.3, 0.6, 1.0, 1.01, 2.0, 1e308])
    def test_a_part_that_turns_none_or_an_odd_number_or_more_than_there_are(self, share: float) -> None:
        """Of three numbers: 0, 1, 3, and more than there are, up to what no number holds."""
        line = refused("phi", hidden_size=6, num_attention_heads=2, partial_rotary_factor=share)
        said = f"partial_rotary_factor: {share}; expected a share of head_dim that turns an even number of 3"
        assert line == f"config.json: {said}"

    @pytest.mark.parametrize("share", [1.01, 1e308])
    def test_more_than_all_is_refused_where_all_is_even(self, share: float) -> None:
        assert "expected a share of head_dim that turns an even number of 2" in refused(
            "phi", partial_rotary_factor=share
        )

    def test_what_is_not_known_is_refused(self) -> None:
        line = refused("llama", rope_scaling={"rope_type": "yarn", "factor": 4.0})
        assert line == "config.json: rope_scaling: rope_type: 'yarn'; expected default, linear, llama3"
        assert "partial_rotary_factor: 0.5; expected a share of head_dim" in refused("phi", partial_rotary_factor=0.5)
        assert "factor: missing; expected a number above 0" in refused("llama", rope_scaling={"type": "linear"})


class TestWindowsAndScales:
    def test_gpt2_divides_by_the_layers_number(self) -> None:
        scales = [spec.scale for spec in specs("gpt2", scale_attn_by_inverse_layer_idx=True)]
        np.testing.assert_allclose(scales, [2**-0.5, 2**-0.5 / 2, 2**-0.5 / 3, 2**-0.5 / 4])
        assert [spec.scale for spec in specs("gpt2", scale_attn_weights=False)] == [1.0] * 4
        assert {spec.scale for spec in specs("gpt2")} == {None}  # 1/√d_k, and said as that

    def test_gemma_2_sees_a_window_in_every_second_layer(self) -> None:
        assert [s.window for s in specs("gemma2", head_dim=2, sliding_window=3)] == [3, None, 3, None]
        kinds = ["full_attention", "full_attention", "sliding_attention", "full_attention"]
        assert [s.window for s in specs("gemma2", head_dim=2, sliding_window=3, layer_types=kinds)] == [
            None,
            None,
            3,
            None,
        ]
        assert specs("gemma2", head_dim=2)[0].scale == pytest.approx(1 / 3)

    def test_qwen_2_from_a_layer_on(self) -> None:
        def windows(**settings: object) -> list[int | None]:
            return [spec.window for spec in specs("qwen2", sliding_window=3, **settings)]

        assert windows(use_sliding_window=True, max_window_layers=3) == [None, None, None, 3]
        assert windows(use_sliding_window=False, max_window_layers=3) == [None] * 4

    def test_mistral_in_every_layer(self) -> None:
        assert [spec.window for spec in specs("mistral", sliding_window=3)] == [3] * 4
        assert [spec.window for spec in specs("mistral", sliding_window=None)] == [None] * 4

    def test_layer_types_of_another_length_or_kind_are_refused(self) -> None:
        for kinds in (["full_attention"], ["full_attention"] * 3 + ["chunked_attention"], "full_attention"):
            line = refused("gemma2", head_dim=2, layer_types=kinds)
            assert "expected 4 of full_attention or sliding_attention" in line


class TestWrongSettings:
    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"hidden_size": None}, "hidden_size: missing; expected a whole number of 1 or more"),
            ({"hidden_size": 10.0}, "hidden_size: 10.0; expected a whole number of 1 or more"),
            ({"hidden_size": True}, "hidden_size: True; expected a whole number of 1 or more"),
            ({"num_attention_heads": 3}, "num_attention_heads: 3; expected a divisor of hidden_size, 10"),
            ({"num_key_value_heads": 2}, "num_key_value_heads: 2; expected a divisor of num_attention_heads, 5"),
            ({"rms_norm_eps": float("nan")}, "rms_norm_eps: nan; expected a number above 0"),
            ({"rms_norm_eps": "1e-5"}, "rms_norm_eps: '1e-5'; expected a number above 0"),
            ({"attention_bias": "no"}, "attention_bias: 'no'; expected true or false"),
            ({"hidden_act": "tanh"}, "hidden_act: 'tanh'; expected gelu, "),
            ({"rope_scaling": 4}, "rope_scaling: 4; expected an object"),
            ({"num_hidden_layers": 0}, "num_hidden_layers: 0; expected a whole number of 1 or more"),
        ],
    )
    def test_are_named_with_what_was_expected(self, settings: dict[str, object], said: str) -> None:
        assert refused("llama", **settings).startswith(f"config.json: {said}")

    @pytest.mark.parametrize(
        ("family", "key", "value"),
        [
            ("bert", "position_embedding_type", "relative_key"),
            ("bloom", "apply_residual_connection_post_layernorm", True),
            ("gemma", "use_bidirectional_attention", True),
            ("opt", "layer_norm_elementwise_affine", False),
        ],
    )
    def test_kinds_that_are_not_computed_are_refused(self, family: str, key: str, value: object) -> None:
        assert f"{key}: {value!r}; expected" in refused(family, head_dim=2, **{key: value})


class TestGains:
    def test_gemmas_are_stored_less_one(self) -> None:
        stored = np.array([-0.5, 0.25], np.float32)
        source = layer_sources(FAMILIES["gemma"], specs("gemma", head_dim=2)[0], 0)["ln1.w"]
        np.testing.assert_array_equal(source.ours(stored), np.array([0.5, 1.25], np.float32))
        plain = layer_sources(FAMILIES["llama"], specs("llama")[0], 0)["ln1.w"]
        np.testing.assert_array_equal(plain.ours(stored), stored)


class TestWhatIsNotSaid:
    """The defaults of transformers' configuration classes, for config.json leaves out what equals them."""

    @pytest.mark.parametrize(
        ("family", "eps", "activation", "position"),
        [
            ("bert", 1e-12, "gelu", "none"),
            ("roberta", 1e-12, "gelu", "none"),
            ("distilbert", 1e-12, "gelu", "none"),
            ("gpt2", 1e-5, "gelu_tanh", "none"),
            ("gpt_neox", 1e-5, "gelu", Rotary(fraction=0.25)),
            ("opt", 1e-5, "relu", "none"),
            ("bloom", 1e-5, "gelu_tanh", "alibi"),
            ("phi", 1e-5, "gelu_tanh", Rotary(fraction=0.5)),
            ("llama", 1e-6, "swiglu", Rotary()),
            ("mistral", 1e-6, "swiglu", Rotary()),
            ("qwen2", 1e-6, "swiglu", Rotary()),
            ("gemma", 1e-6, "geglu_tanh", Rotary()),
            ("gemma2", 1e-6, "geglu_tanh", Rotary()),
            ("olmo2", 1e-5, "swiglu", Rotary()),
        ],
    )
    def test_of_every_family(self, family: str, eps: float, activation: str, position: object) -> None:
        widths = {"num_attention_heads": 2, "num_hidden_layers": 1, "hidden_size": 16, "intermediate_size": 7}
        own: dict[str, object] = {**widths, "head_dim": 8}
        if family == "distilbert":
            own = {"dim": 16, "n_heads": 2, "n_layers": 1, "hidden_dim": 7, "head_dim": 8}
        elif family == "bloom":
            del own["intermediate_size"]
        elif family == "gemma2":
            own["query_pre_attn_scalar"] = 8
        (spec,) = block_specs(FAMILIES[family], Settings(own, "config.json"))
        assert (spec.norm_eps, spec.activation, spec.position) == (eps, activation, position)
        assert (spec.n_kv_heads, spec.d_k, spec.d_ff) == (2, 8, 64 if family == "bloom" else 7)

    @pytest.mark.parametrize(
        ("said", "norm", "position"),
        [
            ({}, "final_layer_norm", "pre"),
            ({"_remove_final_layer_norm": True}, "", "pre"),
            ({"do_layer_norm_before": False}, "", "post"),
            ({"do_layer_norm_before": True, "_remove_final_layer_norm": False}, "final_layer_norm", "pre"),
        ],
    )
    def test_opt_norms_last_unless_it_norms_after_or_its_early_release_did_not(
        self, said: dict[str, object], norm: str, position: str
    ) -> None:
        given = {**SMALL, "ffn_dim": 7, "model_type": "opt", **said}
        assert resolved(FAMILIES["opt"].final_norm, Settings(given, "config.json")) == norm
        assert specs("opt", **said)[0].norm_position == position

    def test_opt_has_biases_unless_it_says_no(self) -> None:
        assert specs("opt")[0].bias is True
        assert specs("opt", enable_bias=False)[0].bias == ("norm",)
