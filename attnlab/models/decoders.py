"""Families whose tokens see only those before them, with LayerNorm; those like LLaMA are in `llamas`."""

from collections.abc import Mapping

from attnlab.models.family import Family, LearnedPositions
from attnlab.models.rules import activation, biases, head_width, rotary, whole_or
from attnlab.models.settings import Rule, Settings, either, whole


def four_widths(settings: Settings) -> int:
    """4 d_model: the hidden width of those that do not name it."""
    return 4 * settings.whole("d_model")


def words_projection(settings: Settings) -> str:
    """The module that widens the words' embeddings, where they have a width of their own."""
    width = settings.whole("d_model")
    return "project_in" if settings.whole("word_embed_proj_dim", default=width) != width else ""


def scale_by_layer(settings: Settings, layer: int) -> float | None:
    """1/√d_k, or 1 where scale_attn_weights is off, divided by the layer's number from 1 where that is asked for."""
    divided = settings.truth("scale_attn_weights", default=True)
    by_layer = settings.truth("scale_attn_by_inverse_layer_idx")
    if divided and not by_layer:
        return None  # as every block's
    scale = head_width(settings) ** -0.5 if divided else 1.0
    return scale / (layer + 1) if by_layer else scale


_LAYERNORM: Mapping[str, Rule] = {"norm": "layernorm", "norm_position": "pre", "causal": True}
#: One matrix gives queries, keys and values: there are as many heads of each, whatever config.json may say besides.
_FUSED: Mapping[str, Rule] = {"n_kv_heads": whole("n_heads")}

#: Radford et al. 2019.
GPT2 = Family(
    name="gpt2",
    prefixes=("transformer.", ""),
    tokens="wte",
    positions=LearnedPositions("wpe"),
    final_norm="ln_f",
    layer="h.{}.",
    modules={
        "qkv": "attn.c_attn",
        "o": "attn.c_proj",
        "ln1": "ln_1",
        "ln2": "ln_2",
        "mlp_in": "mlp.c_fc",
        "mlp_out": "mlp.c_proj",
    },
    transposed=True,
    block={
        **_LAYERNORM,
        **_FUSED,
        "d_ff": whole_or(four_widths, "d_ff"),
        "activation": activation("gelu_new"),
        "norm_eps": lambda settings: settings.number("layer_norm_epsilon", default=1e-5),
    },
    scale=scale_by_layer,
    only={"add_cross_attention": False},
)

#: Black et al. 2022: queries, keys and values fused head by head; a part of each head is turned.
GPT_NEOX = Family(
    name="gpt_neox",
    prefixes=("gpt_neox.", ""),
    tokens="embed_in",
    final_norm="final_layer_norm",
    layer="layers.{}.",
    modules={
        "qkv": "attention.query_key_value",
        "o": "attention.dense",
        "ln1": "input_layernorm",
        "ln2": "post_attention_layernorm",
        "mlp_in": "mlp.dense_h_to_4h",
        "mlp_out": "mlp.dense_4h_to_h",
    },
    fused="heads",
    block={
        **_LAYERNORM,
        **_FUSED,
        "parallel": either("use_parallel_residual", True, False, default=True),
        "activation": activation("gelu"),
        "norm_eps": lambda settings: settings.number("layer_norm_eps", default=1e-5),
        "position": rotary(share=0.25),
        "bias": either(
            "attention_bias",
            biases(qkv=True, output=True, mlp=True, norm=True),
            biases(mlp=True, norm=True),
            default=True,
        ),
    },
)

#: Zhang et al. 2022: the first position is row 2; the 350M model normalises after and has narrower embeddings.
OPT = Family(
    name="opt",
    prefixes=("model.decoder.", "decoder.", ""),
    tokens="embed_tokens",
    positions=LearnedPositions("embed_positions", offset=2),
    input_projection=words_projection,
    final_norm=either(
        "do_layer_norm_before", either("_remove_final_layer_norm", "", "final_layer_norm"), "", default=True
    ),
    layer="layers.{}.",
    modules={
        "q": "self_attn.q_proj",
        "k": "self_attn.k_proj",
        "v": "self_attn.v_proj",
        "o": "self_attn.out_proj",
        "ln1": "self_attn_layer_norm",
        "ln2": "final_layer_norm",
        "mlp_in": "fc1",
        "mlp_out": "fc2",
    },
    block={
        **_LAYERNORM,
        "norm_position": either("do_layer_norm_before", "pre", "post", default=True),
        "activation": activation("relu"),
        "norm_eps": 1e-5,
        "bias": either(
            "enable_bias", biases(qkv=True, output=True, mlp=True, norm=True), biases(norm=True), default=True
        ),
    },
    only={"layer_norm_elementwise_affine": True},
)


#: Le Scao et al. 2022: ALiBi instead of positions.
BLOOM = Family(
    name="bloom",
    prefixes=("transformer.", ""),
    tokens="word_embeddings",
    input_norm="word_embeddings_layernorm",
    final_norm="ln_f",
    layer="h.{}.",
    modules={
        "qkv": "self_attention.query_key_value",
        "o": "self_attention.dense",
        "ln1": "input_layernorm",
        "ln2": "post_attention_layernorm",
        "mlp_in": "mlp.dense_h_to_4h",
        "mlp_out": "mlp.dense_4h_to_h",
    },
    fused="heads",
    block={
        **_LAYERNORM,
        **_FUSED,
        "d_ff": four_widths,
        "activation": "gelu_tanh",
        "norm_eps": lambda settings: settings.number("layer_norm_epsilon", default=1e-5),
        "position": "alibi",
    },
    only={"apply_residual_connection_post_layernorm": False},
)

#: Li et al. 2023 (Phi-1.5): attention and feed-forward read the same normed input.
PHI = Family(
    name="phi",
    prefixes=("model.", ""),
    tokens="embed_tokens",
    final_norm="final_layernorm",
    layer="layers.{}.",
    modules={
        "q": "self_attn.q_proj",
        "k": "self_attn.k_proj",
        "v": "self_attn.v_proj",
        "o": "self_attn.dense",
        "q_norm": "self_attn.q_layernorm",
        "k_norm": "self_attn.k_layernorm",
        "ln1": "input_layernorm",
        "ln2": "input_layernorm",
        "mlp_in": "mlp.fc1",
        "mlp_out": "mlp.fc2",
    },
    block={
        **_LAYERNORM,
        "parallel": True,
        "activation": activation("gelu_new"),
        "norm_eps": lambda settings: settings.number("layer_norm_eps", default=1e-5),
        "position": rotary(share=0.5),
        "qk_norm": either("qk_layernorm", "layernorm", None),
    },
)
