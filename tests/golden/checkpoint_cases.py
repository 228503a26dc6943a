"""Small random checkpoints of every family: what each is made of, and how its files are spelt.

`make_checkpoints.py` makes them with transformers; `tests/sweep_checkpoints.py` compares attnlab with them. Widths are
as unlike one another as each family allows, so that no transposition passes; windows are shorter than the text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Case:
    """One checkpoint: transformers' classes and settings, and what is changed in the files that they write."""

    #: the stem of transformers' config class: "Llama" -> LlamaConfig
    config: str
    #: the model class that is saved; its base model gives what is expected
    model: str
    settings: Mapping[str, object]
    stored_as: Literal["float32", "bfloat16", "float16"] = "float32"
    #: to save in shards with an index
    max_shard_size: str | None = None
    #: ends of tensor names -> what older files have there
    older_tensors: Mapping[str, str] = field(default_factory=dict)
    #: buffers that older files hold beside the weights: their names with {layer} -> shape
    buffers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    #: keys of config.json, or of its rope_scaling -> what older files call them
    older_keys: Mapping[str, str] = field(default_factory=dict)
    #: keys of config.json -> values that older files have there and that mean the same
    older_values: Mapping[str, object] = field(default_factory=dict)
    #: keys that are left out of config.json: their family's default stands
    left_out: tuple[str, ...] = ()
    #: rope_parameters become rope_theta, rope_scaling and partial_rotary_factor, as before transformers 5
    older_rope: bool = False
    #: the key of config.json for which attnlab refuses it
    refused: str = ""
    vocabulary: int = 97
    #: tokens of its text
    n: int = 23
    #: the text itself; otherwise drawn, without the ids that are often special
    ids: tuple[int, ...] = ()
    #: sentences whose words a tokenizer knows; the first is the text that is run
    sentences: tuple[str, ...] = ()


BERT: dict[str, object] = {
    "hidden_size": 30,
    "num_attention_heads": 5,
    "num_hidden_layers": 3,
    "intermediate_size": 41,
    "max_position_embeddings": 29,
}
GPT2: dict[str, object] = {"n_embd": 35, "n_head": 5, "n_layer": 3, "n_inner": 47, "n_positions": 29}
LLAMA: dict[str, object] = {
    "hidden_size": 42,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "num_hidden_layers": 3,
    "intermediate_size": 37,
    "max_position_embeddings": 31,
    "tie_word_embeddings": False,
}
NEOX: dict[str, object] = {
    "hidden_size": 40,
    "num_attention_heads": 5,
    "num_hidden_layers": 3,
    "intermediate_size": 53,
    "max_position_embeddings": 31,
}
OPT: dict[str, object] = {
    "hidden_size": 35,
    "word_embed_proj_dim": 35,
    "num_attention_heads": 5,
    "num_hidden_layers": 3,
    "ffn_dim": 43,
    "max_position_embeddings": 29,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 700.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}

CASES: dict[str, Case] = {
    "bert": Case(config="Bert", model="BertModel", settings=BERT),
    "bert-prefix": Case(
        config="Bert", model="BertForMaskedLM", settings=BERT | {"hidden_act": "gelu_new", "layer_norm_eps": 1e-6}
    ),
    "bert-gamma-beta": Case(
        config="Bert",
        model="BertForMaskedLM",
        settings=BERT | {"hidden_act": "relu"},
        older_tensors={"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"},
        buffers={"bert.embeddings.position_ids": (1, 29)},
        left_out=("layer_norm_eps",),
    ),
    "roberta": Case(
        config="Roberta", model="RobertaForMaskedLM", settings=BERT | {"type_vocab_size": 1, "pad_token_id": 1}
    ),
    "roberta-padding": Case(
        config="Roberta",
        model="RobertaModel",
        settings=BERT | {"type_vocab_size": 1, "pad_token_id": 1},
        ids=(0, 31, 7, 1, 1, 52, 31, 7, 1, 96, 2),
    ),
    "distilbert": Case(
        config="DistilBert",
        model="DistilBertForMaskedLM",
        settings={"dim": 30, "n_heads": 5, "n_layers": 3, "hidden_dim": 41, "max_position_embeddings": 29},
    ),
    "gpt2": Case(config="GPT2", model="GPT2LMHeadModel", settings=GPT2),
    "gpt2-bare": Case(
        config="GPT2",
        model="GPT2Model",
        settings=GPT2 | {"n_inner": None, "activation_function": "gelu"},
        buffers={"h.{layer}.attn.bias": (1, 1, 29, 29), "h.{layer}.attn.masked_bias": ()},
        left_out=("n_inner",),
    ),
    "gpt2-inverse-layer": Case(
        config="GPT2", model="GPT2LMHeadModel", settings=GPT2 | {"scale_attn_by_inverse_layer_idx": True}
    ),
    "gpt2-unscaled": Case(config="GPT2", model="GPT2LMHeadModel", settings=GPT2 | {"scale_attn_weights": False}),
    "llama": Case(
        config="Llama",
        model="LlamaForCausalLM",
        settings=LLAMA | {"num_attention_heads": 7, "num_key_value_heads": 7, "head_dim": None},
        left_out=("head_dim", "num_key_value_heads"),
    ),
    "llama-grouped": Case(config="Llama", model="LlamaForCausalLM", settings=LLAMA, max_shard_size="20KB"),
    "llama-bias": Case(
        config="Llama", model="LlamaForCausalLM", settings=LLAMA | {"attention_bias": True, "mlp_bias": True}
    ),
    "llama-attention-bias": Case(config="Llama", model="LlamaForCausalLM", settings=LLAMA | {"attention_bias": True}),
    "llama-llama3-rope": Case(
        config="Llama", model="LlamaForCausalLM", settings=LLAMA | {"rope_parameters": LLAMA3_ROPE}, older_rope=True
    ),
    "llama-linear-rope": Case(
        config="Llama",
        model="LlamaForCausalLM",
        settings=LLAMA | {"rope_parameters": {"rope_type": "linear", "rope_theta": 900.0, "factor": 2.5}},
        older_rope=True,
        older_keys={"rope_type": "type"},
    ),
    "llama-tied": Case(config="Llama", model="LlamaForCausalLM", settings=LLAMA | {"tie_word_embeddings": True}),
    "llama-bfloat16": Case(config="Llama", model="LlamaForCausalLM", settings=LLAMA, stored_as="bfloat16"),
    "llama-float16": Case(config="Llama", model="LlamaForCausalLM", settings=LLAMA, stored_as="float16"),
    "mistral": Case(config="Mistral", model="MistralForCausalLM", settings=LLAMA | {"sliding_window": 7}),
    "mistral-no-window": Case(config="Mistral", model="MistralForCausalLM", settings=LLAMA | {"sliding_window": None}),
    "qwen2": Case(
        config="Qwen2",
        model="Qwen2ForCausalLM",
        settings={k: v for k, v in LLAMA.items() if k != "head_dim"}
        | {"num_attention_heads": 3}
        | {"num_key_value_heads": 1},
        left_out=("layer_types",),
    ),
    "qwen2-window": Case(
        config="Qwen2",
        model="Qwen2ForCausalLM",
        settings={k: v for k, v in LLAMA.items() if k != "head_dim"}
        | {"num_attention_heads": 3}
        | {"num_key_value_heads": 1, "use_sliding_window": True, "sliding_window": 7, "max_window_layers": 2}
        | {"num_hidden_layers": 4},
        left_out=("layer_types",),
    ),
    "qwen3": Case(config="Qwen3", model="Qwen3ForCausalLM", settings=LLAMA),
    "qwen3-bias-window": Case(
        config="Qwen3",
        model="Qwen3ForCausalLM",
        settings=LLAMA
        | {"attention_bias": True, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
        left_out=("layer_types",),
    ),
    "gemma": Case(config="Gemma", model="GemmaForCausalLM", settings=LLAMA | {"tie_word_embeddings": True}),
    "gemma-older-gelu": Case(
        config="Gemma",
        model="GemmaForCausalLM",
        settings=LLAMA | {"tie_word_embeddings": True},
        older_values={"hidden_act": "gelu", "hidden_activation": None},
    ),
    "gemma2": Case(
        config="Gemma2",
        model="Gemma2ForCausalLM",
        settings=LLAMA
        | {"sliding_window": 5, "query_pre_attn_scalar": 17, "attn_logit_softcapping": 3.0, "num_hidden_layers": 4}
        | {"final_logit_softcapping": 30.0, "tie_word_embeddings": True},
        left_out=("layer_types",),
    ),
    "gpt_neox": Case(
        config="GPTNeoX",
        model="GPTNeoXForCausalLM",
        settings=NEOX
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 800.0, "partial_rotary_factor": 0.5}},
    ),
    "gpt_neox-no-bias": Case(config="GPTNeoX", model="GPTNeoXForCausalLM", settings=NEOX | {"attention_bias": False}),
    "gpt_neox-serial": Case(
        config="GPTNeoX",
        model="GPTNeoXForCausalLM",
        settings=NEOX
        | {"use_parallel_residual": False}
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25}},
        buffers={
            "gpt_neox.layers.{layer}.attention.bias": (1, 1, 31, 31),
            "gpt_neox.layers.{layer}.attention.masked_bias": (),
            "gpt_neox.layers.{layer}.attention.rotary_emb.inv_freq": (1,),
        },
        older_rope=True,
        older_keys={"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"},
    ),
    "opt": Case(config="OPT", model="OPTForCausalLM", settings=OPT),
    "opt-post-norm": Case(
        config="OPT",
        model="OPTForCausalLM",
        settings=OPT | {"do_layer_norm_before": False, "word_embed_proj_dim": 19},
    ),
    "opt-no-bias": Case(config="OPT", model="OPTForCausalLM", settings=OPT | {"enable_bias": False}),
    "bloom": Case(config="Bloom", model="BloomForCausalLM", settings={"hidden_size": 42, "n_head": 6, "n_layer": 3}),
    "bloom-residual": Case(
        config="Bloom",
        model="BloomModel",
        settings={"hidden_size": 42, "n_head": 7, "n_layer": 3, "apply_residual_connection_post_layernorm": True},
        older_keys={"hidden_size": "n_embed", "n_head": "num_attention_heads"},
        refused="apply_residual_connection_post_layernorm",
    ),
    "phi": Case(
        config="Phi",
        model="PhiForCausalLM",
        settings={k: v for k, v in LLAMA.items() if k != "head_dim"}
        | {"hidden_size": 40, "num_attention_heads": 5, "num_key_value_heads": 5}
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}},
        older_rope=True,
    ),
    "phi-qk-norm": Case(
        config="Phi",
        model="PhiForCausalLM",
        settings={k: v for k, v in LLAMA.items() if k != "head_dim"}
        | {"hidden_size": 48, "num_attention_heads": 6, "num_key_value_heads": 2, "qk_layernorm": True},
    ),
    "olmo2-bias": Case(
        config="Olmo2",
        model="Olmo2ForCausalLM",
        settings={k: v for k, v in LLAMA.items() if k != "head_dim"} | {"hidden_size": 48, "attention_bias": True},
    ),
    "olmo2": Case(
        config="Olmo2",
        model="Olmo2ForCausalLM",
        settings={k: v for k, v in LLAMA.items() if k != "head_dim"} | {"hidden_size": 48},
    ),
}

SENTENCES = (
    "the bank near the river lent money to the boat",
    "a boat on the river ran near the bank",
    "they lent the money to a man on the boat",
)
TINY: dict[str, object] = {
    "hidden_size": 18,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "num_hidden_layers": 2,
    "intermediate_size": 13,
    "max_position_embeddings": 17,
}
TINY_BERT: dict[str, object] = {
    "hidden_size": 12,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "intermediate_size": 17,
    "max_position_embeddings": 19,
}


def _smaller(name: str, settings: Mapping[str, object]) -> Case:
    return replace(CASES[name], settings={**CASES[name].settings, **settings}, vocabulary=53, n=11)


#: The same families smaller still: committed, for tests without torch.
GOLDEN: dict[str, Case] = {
    "bert": replace(_smaller("bert", TINY_BERT), vocabulary=73, sentences=SENTENCES),
    "gpt2": _smaller("gpt2", {"n_embd": 15, "n_head": 3, "n_layer": 2, "n_inner": 19, "n_positions": 17}),
    "llama-grouped": replace(_smaller("llama-grouped", TINY), max_shard_size="10KB"),
    "gemma2": _smaller("gemma2", TINY),
    "gpt_neox": _smaller(
        "gpt_neox", {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 2, "intermediate_size": 17}
    ),
    "olmo2": _smaller("olmo2", {key: TINY[key] for key in TINY if key != "head_dim"} | {"hidden_size": 24}),
    "bloom": _smaller("bloom", {"hidden_size": 18, "n_head": 3, "n_layer": 2}),
}
