"""Families whose tokens see each other in both directions."""

from attnlab.models.family import Family, LearnedPositions
from attnlab.models.rules import activation
from attnlab.models.settings import truth, whole

_BERT_BLOCK = {
    "norm": "layernorm",
    "norm_position": "post",
    "activation": activation("gelu"),
    "causal": truth("is_decoder"),
    "norm_eps": lambda settings: settings.number("layer_norm_eps", default=1e-12),
}

#: Devlin et al. 2019.
BERT = Family(
    name="bert",
    prefixes=("bert.", ""),
    tokens="embeddings.word_embeddings",
    types="embeddings.token_type_embeddings",
    positions=LearnedPositions("embeddings.position_embeddings"),
    input_norm="embeddings.LayerNorm",
    layer="encoder.layer.{}.",
    modules={
        "q": "attention.self.query",
        "k": "attention.self.key",
        "v": "attention.self.value",
        "o": "attention.output.dense",
        "ln1": "attention.output.LayerNorm",
        "mlp_in": "intermediate.dense",
        "mlp_out": "output.dense",
        "ln2": "output.LayerNorm",
    },
    block=_BERT_BLOCK,
    only={"position_embedding_type": "absolute", "add_cross_attention": False},
)

#: Liu et al. 2019: positions begin after the padding token's id.
ROBERTA = Family(
    name="roberta",
    prefixes=("roberta.", ""),
    tokens=BERT.tokens,
    types=BERT.types,
    positions=LearnedPositions("embeddings.position_embeddings", after_padding=True),
    input_norm=BERT.input_norm,
    layer=BERT.layer,
    modules=BERT.modules,
    block=_BERT_BLOCK,
    only=BERT.only,
)

#: Sanh et al. 2019.
DISTILBERT = Family(
    name="distilbert",
    prefixes=("distilbert.", ""),
    tokens="embeddings.word_embeddings",
    positions=LearnedPositions("embeddings.position_embeddings"),
    input_norm="embeddings.LayerNorm",
    layer="transformer.layer.{}.",
    modules={
        "q": "attention.q_lin",
        "k": "attention.k_lin",
        "v": "attention.v_lin",
        "o": "attention.out_lin",
        "ln1": "sa_layer_norm",
        "mlp_in": "ffn.lin1",
        "mlp_out": "ffn.lin2",
        "ln2": "output_layer_norm",
    },
    block={**_BERT_BLOCK, "d_ff": whole("hidden_dim"), "causal": False, "norm_eps": 1e-12},
)
