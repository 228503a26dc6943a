"""The families of checkpoints, one table each. To add one: a table of its own here or beside it, and a line below."""

from collections.abc import Mapping

from attnlab.models.decoders import BLOOM, GPT2, GPT_NEOX, OPT, PHI
from attnlab.models.encoders import BERT, DISTILBERT, ROBERTA
from attnlab.models.family import Family
from attnlab.models.llamas import GEMMA, GEMMA2, LLAMA, MISTRAL, OLMO2, QWEN2, QWEN3
from attnlab.models.rules import head_width, key_heads
from attnlab.models.settings import Rule, whole

#: Every family by config.json's model_type.
FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        BERT,
        ROBERTA,
        DISTILBERT,
        GPT2,
        GPT_NEOX,
        OPT,
        BLOOM,
        PHI,
        LLAMA,
        MISTRAL,
        QWEN2,
        QWEN3,
        GEMMA,
        GEMMA2,
        OLMO2,
    )
}

#: What a table need not say of a block: rules by BlockSpec's field.
COMMON: Mapping[str, Rule] = {
    "d_model": whole("d_model"),
    "n_heads": whole("n_heads"),
    "n_kv_heads": key_heads,
    "d_k": head_width,
    "d_v": head_width,
    "d_ff": whole("d_ff"),
}
