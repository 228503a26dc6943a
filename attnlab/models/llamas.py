"""LLaMA and the families laid out as it is: RMSNorm, rotary positions, a gated feed-forward."""

from collections.abc import Mapping

from attnlab.models.family import Family, Role
from attnlab.models.rules import (
    biases,
    every_second_window,
    gated,
    one_over_root_of,
    optional_number,
    optional_whole,
    root_of,
    rotary,
    sliding_by_layer,
)
from attnlab.models.settings import Rule, truth

_RMSNORM: Mapping[str, Rule] = {
    "norm": "rmsnorm",
    "norm_position": "pre",
    "causal": True,
    "activation": gated("silu"),
    "norm_eps": lambda settings: settings.number("rms_norm_eps", default=1e-6),
    "position": rotary(),
    "bias": biases(qkv=truth("attention_bias"), output=truth("attention_bias"), mlp=truth("mlp_bias")),
}

#: Touvron et al. 2023; with grouped heads and stretched rotations from 2 and 3.1 on.
LLAMA = Family(
    name="llama",
    prefixes=("model.", ""),
    tokens="embed_tokens",
    final_norm="norm",
    layer="layers.{}.",
    modules={
        "q": "self_attn.q_proj",
        "k": "self_attn.k_proj",
        "v": "self_attn.v_proj",
        "o": "self_attn.o_proj",
        "ln1": "input_layernorm",
        "ln2": "post_attention_layernorm",
        "mlp_in": "mlp.up_proj",
        "mlp_gate": "mlp.gate_proj",
        "mlp_out": "mlp.down_proj",
    },
    block=_RMSNORM,
)


def like_llama(
    name: str,
    *,
    block: Mapping[str, Rule],
    modules: Mapping[Role, str] | None = None,
    window: Rule = None,
    gain: float = 0.0,
    input_scale: Rule = 1.0,
    only: Mapping[str, object] | None = None,
) -> Family:
    """A family that is laid out as LLaMA is, and what differs."""
    return Family(
        name=name,
        prefixes=LLAMA.prefixes,
        tokens=LLAMA.tokens,
        final_norm=LLAMA.final_norm,
        layer=LLAMA.layer,
        modules=LLAMA.modules if modules is None else modules,
        block={**_RMSNORM, **block},
        window=window,
        gain=gain,
        input_scale=input_scale,
        only=only or {},
    )


_QK_NORMS: Mapping[Role, str] = {"q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm"}
_SANDWICH: Mapping[Role, str] = {
    "ln1_post": "post_attention_layernorm",
    "ln2": "pre_feedforward_layernorm",
    "ln2_post": "post_feedforward_layernorm",
}
_GEMMA: Mapping[str, Rule] = {
    "activation": gated("gelu_pytorch_tanh", gelu="geglu_tanh"),
    "bias": biases(qkv=truth("attention_bias"), output=truth("attention_bias")),
}
_ONE_WAY = {"use_bidirectional_attention": False}

#: Jiang et al. 2023.
MISTRAL = like_llama("mistral", block={"window": optional_whole("sliding_window"), "bias": biases()})
#: Yang et al. 2024.
QWEN2 = like_llama("qwen2", block={"bias": biases(qkv=True)}, window=sliding_by_layer)
#: Qwen Team 2025: queries and keys normalised head by head.
QWEN3 = like_llama(
    "qwen3",
    block={"qk_norm": "rmsnorm", "bias": biases(qkv=truth("attention_bias"), output=truth("attention_bias"))},
    modules={**LLAMA.modules, **_QK_NORMS},
    window=sliding_by_layer,
)
#: Gemma Team 2024: gains are stored less 1, embeddings are multiplied by √d_model.
GEMMA = like_llama("gemma", block=_GEMMA, gain=1.0, input_scale=root_of("d_model"), only=_ONE_WAY)
#: Gemma Team 2024b: norms before and after each part, capped scores, every second layer sees a window.
GEMMA2 = like_llama(
    "gemma2",
    block={
        **_GEMMA,
        "norm_position": "sandwich",
        "scale": one_over_root_of("query_pre_attn_scalar"),
        "softcap": optional_number("attn_logit_softcapping"),
    },
    modules={**LLAMA.modules, **_SANDWICH},
    window=every_second_window,
    gain=1.0,
    input_scale=root_of("d_model"),
    only=_ONE_WAY,
)
#: OLMo Team 2025: norms after each part, and over all heads' queries and keys.
OLMO2 = like_llama(
    "olmo2",
    block={
        "norm_position": "output",
        "qk_norm": "rmsnorm",
        "qk_norm_over": "all",
        "norm_eps": lambda settings: settings.number("rms_norm_eps", default=1e-5),
        "bias": biases(qkv=truth("attention_bias"), output=truth("attention_bias")),
    },
    modules={
        **{role: module for role, module in LLAMA.modules.items() if role not in ("ln1", "ln2")},
        **_QK_NORMS,
        "ln1_post": "post_attention_layernorm",
        "ln2_post": "post_feedforward_layernorm",
    },
)
