"""Keys of config.json that a family's table did not ask for: which may be passed over, and which must not.

A key is used, or it is in HARMLESS with the reason, or it changes what a block computes in some family and is refused
here unless it says what is so anyway, or it is named to the person. Patterns are fnmatch's.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import chain
from typing import Any

from attnlab.files.opening import as_text, quoted
from attnlab.maths.architecture import BlockSpec
from attnlab.models.family import Family
from attnlab.models.settings import SPELLINGS, Settings

#: Why a key does not change what the blocks compute, and which such keys are passed over in silence.
HARMLESS: Mapping[str, str] = {
    "says where the model comes from, or how it is stored": """
        model_type architectures _name_or_path name_or_path _commit_hash transformers_version transformers.js_config
        torch_dtype dtype torchscript tokenizer_class prefix use_safetensors pad_token""",
    "belongs to training": """
        *dropout* *_pdrop layerdrop *layer_drop initializer_* init_std init_device *_init_std gradient_checkpointing
        router_aux_loss_coef label_smoothing* aux_loss_* mask_time_* mask_feature_* z_loss*""",
    "belongs to generating text": """
        top_k top_p temperature typical_p do_sample *num_beams num_beam_groups num_return_sequences max_length
        min_length max_new_tokens early_stopping *_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size
        bad_words_ids *suppress_tokens forced_* exponential_decay_* remove_invalid_values use_cache
        cache_implementation return_dict* output_* generation_config""",
    "numbers a token, or sizes a table whose own shape counts": """
        *_token_id *_token_ids vocab_size type_vocab_size unk_index mask_index pad_index""",
    "belongs to what is built upon the hidden states": """
        id2label label2id num_labels problem_type finetuning_task task_specific_params summary_* classifier_* pooler_*
        tie_* final_logit_softcapping logit_scale logits_scaling num_logits_to_keep keys_to_ignore_at_inference""",
    "says how it is computed, not what": """
        pretraining_tp chunk_size_feed_forward *attn_implementation* use_bfloat16 *_in_fp32 reorder_and_upcast_attn
        slow_but_exact masked_softmax_fusion skip_bias_add* deterministic_flash_attn use_flash_attn* flash_attn*""",
    "says how long its texts were; the table of positions has its own shape": " ".join(
        ("max_window_layers", "model_max_length", "sinusoidal_pos_embds", *SPELLINGS["positions"])
    ),
}

#: Keys that change what a block computes in some family.
_CHANGING = """
    *causal* *bidirectional* is_decoder is_encoder* *cross_att* layer_types layers_block_type attention_types
    attention_layers no_rope* nope* use_rope* *rope* *rotary* alibi* *alibi position_* *positions* *pos_emb*
    relative_attention* *relative_pos* max_relative_positions pos_att_type
    *window* local_attention* global_attn* *chunk_size attention_multiplier residual_multiplier embedding_multiplier
    *_multiplier mup_* scale_* *_scale embedding_scale *_scaling *softcap* query_pre_attn_scalar attn_* attention_*
    clip_* *qk_norm* *qk_layernorm* q_norm k_norm *norm* no_bias *bias multi_query new_decoder_architecture
    num_kv_heads num_key_value* *kv_heads *kv_shared* *_lora_rank *_head_dim head_dim hidden_act* activation*
    *_activation afn *parallel* num_ln_* *expert* moe_* mlp_only_layers first_k_dense_replace decoder_sparse_step
    *layer_period *layer_offset linear_* *mamba* *conv* altup_* laurel_* swiglu_* lambda_std_dev sinks *_sink*
    *_sinks pruned_heads quantization_config compression_config adapter* hidden_size_per_layer_input embedding_size
    word_embed_proj_dim embedding_fraction embed_scale inner_group_num num_hidden_groups expansion_ratio
    asm causal bias dff d_ff ffn_* num_nextn_predict_layers
"""
CHANGING = (*_CHANGING.split(), *chain.from_iterable(SPELLINGS.values()))

#: What such a key may say because it is so anyway; every other may be off: null, false, 0, or empty.
Anyway = Callable[[Any, Sequence[BlockSpec], Settings], bool]
_ANYWAY: Mapping[str, Anyway] = {
    "is_causal": lambda value, specs, _: value is specs[0].causal,
    "causal": lambda value, specs, _: value is specs[0].causal,
    "is_decoder": lambda value, specs, _: not value or specs[0].causal,
    "use_bidirectional_attention": lambda value, specs, _: value in (False, None) if specs[0].causal else True,
    "num_kv_heads": lambda value, specs, _: value == specs[0].n_kv_heads,
    "attention_multiplier": lambda value, specs, _: all(
        _close(value, spec.scale if spec.scale is not None else spec.d_k**-0.5) for spec in specs
    ),
    "residual_multiplier": lambda value, specs, _: _close(value, 1.0),
    "embedding_multiplier": lambda value, specs, _: _close(value, 1.0),
    "scale_emb": lambda value, specs, _: _close(value, 1.0),
    "scale_attn_weights": lambda value, specs, _: value is True,
    "layer_types": lambda value, specs, _: (
        value == ["full_attention" if spec.window is None else "sliding_attention" for spec in specs]
    ),
    "no_rope_layers": lambda value, specs, _: value in ([], [1] * len(specs)),
    "sliding_window": lambda value, specs, settings: (
        settings.values.get("use_sliding_window") is False or all(value == spec.window for spec in specs)
    ),
    "use_parallel_residual": lambda value, specs, _: value is specs[0].parallel,
    "parallel_attn": lambda value, specs, _: value is specs[0].parallel,
    "do_layer_norm_before": lambda value, specs, _: value is (specs[0].norm_position == "pre"),
    "word_embed_proj_dim": lambda value, specs, _: value == specs[0].d_model,
    "embedding_size": lambda value, specs, _: value == specs[0].d_model,
    # a bias that is stored and not used is refused where the tensors are looked at
    "attention_bias": lambda value, specs, _: isinstance(value, bool),
    "mlp_bias": lambda value, specs, _: isinstance(value, bool),
    "use_bias": lambda value, specs, _: isinstance(value, bool),
}
_KINDS_OF_POSITIONS = {"rope": "rotary", "rotary": "rotary", "alibi": "alibi"}
#: Their hidden_act is that of their first release, and stands beside the hidden_activation that counts.
_TWO_ACTIVATIONS = ("gemma", "gemma2")
#: Of a value that a line names.
_MOST_SHOWN = 40
#: Of a value that JSON gives back as it was.
DEEPEST = 20


def require_understood(settings: Settings, specs: Sequence[BlockSpec], family: Family) -> None:
    """Refuse a config.json that asks for something of a block that its family's table knows nothing of.

    Args:
        settings: after the table has asked for all that it uses.
        specs: what came of it, for each layer.

    Raises:
        InputError: naming the first such key.
    """
    for name in SPELLINGS:
        if name == "positions" or (name == "activation" and family.name in _TWO_ACTIVATIONS):
            continue
        said = [(key, value) for key in SPELLINGS[name] if (value := settings.values.get(key)) is not None]
        for key, value in said[1:]:
            if value != said[0][1]:
                raise settings.complaint(key, value, f"{as_text(said[0][1])}, as {said[0][0]} says")
    for key, value in settings.unasked().items():
        if not _harmless(key) and _changing(key, settings) and not _so_anyway(key, value, specs, settings, family):
            raise settings.complaint(
                key, value, f"a {family.name} without it: it changes what a block computes, and is not used here"
            )


def unused(settings: Settings) -> dict[str, Any]:
    """The keys that were not used, and of which nothing is known: for a person to judge. What nests deep is text."""
    return {
        key: value if _is_shallow(value) else as_text(value)
        for key, value in settings.unasked().items()
        if value is not None and not _harmless(key) and not _changing(key, settings)
    }


def _is_shallow(value: Any) -> bool:
    """Whether a value out of JSON nests no deeper than `DEEPEST`, as what is written out again must not."""
    level = [value]
    for _ in range(DEEPEST):
        level = [one for held in level for one in _within(held)]
        if not level:
            return True
    return False


def _within(value: Any) -> Iterable[Any]:
    """What a list or an object holds; nothing, of all else."""
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def unused_in_words(left: Mapping[str, Any]) -> str:
    """One line that names them; empty without any."""
    if not left:
        return ""
    said = [f"{quoted(key)[1:-1]}: {_brief(value)}" for key, value in left.items()]
    keys = "1 key" if len(said) == 1 else f"{len(said)} keys"
    shown = ", ".join(said[:3]) + (f" and {len(said) - 3} more" if len(said) > 3 else "")
    return f"Not used, and not known here: {keys} of config.json ({shown})."


def _brief(value: object) -> str:
    text = quoted(as_text(value))[1:-1]
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _matches(key: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _harmless(key: str) -> bool:
    return _matches(key, tuple(chain.from_iterable(words.split() for words in HARMLESS.values())))


def _changing(key: str, settings: Settings) -> bool:
    """Whether it is such a key, or one within a section that was read."""
    section, dot, _ = key.partition(".")
    return (bool(dot) and section in settings.asked) or _matches(key, CHANGING)


def _so_anyway(key: str, value: Any, specs: Sequence[BlockSpec], settings: Settings, family: Family) -> bool:
    """Whether a block is what the key says even where nobody asked for it."""
    if value is None:
        return True
    if key == "position_embedding_type":
        position = specs[0].position if isinstance(specs[0].position, str) else "rotary"
        if value == "absolute":
            return family.positions is not None
        return isinstance(value, str) and _KINDS_OF_POSITIONS.get(value) == position
    if "norm_eps" in key or "norm_epsilon" in key:
        return _close(value, specs[0].norm_eps)
    for name, spelt in SPELLINGS.items():
        if key in spelt and hasattr(specs[0], name):
            return bool(value == getattr(specs[0], name))
    if key in _ANYWAY:
        return _ANYWAY[key](value, specs, settings)
    return not value


def _close(value: Any, expected: float) -> bool:
    return isinstance(value, int | float) and math.isclose(value, expected, rel_tol=1e-6)
