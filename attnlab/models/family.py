"""What a table says about a family of checkpoints. A new family is one more table; nothing else changes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from attnlab.models.settings import Rule

#: A module's part of a layer: which of our tensors it holds.
Role = Literal[
    "q", "k", "v", "qkv", "o", "q_norm", "k_norm", "ln1", "ln2", "ln1_post", "ln2_post", "mlp_in", "mlp_gate", "mlp_out"
]


class LearnedPositions(NamedTuple):
    """A table of positions, added to the tokens' embeddings."""

    module: str
    #: the row of the first token
    offset: int = 0
    #: positions count only tokens that are no padding, and begin after its id (RoBERTa)
    after_padding: bool = False


@dataclass(frozen=True, kw_only=True)
class Family:
    """Checkpoints of one kind: where their tensors lie, and what config.json says of their blocks.

    Where a field takes a rule, it is a value, or a function of the settings that gives one.
    """

    #: config.json's model_type
    name: str
    #: what may stand before every tensor's name, as a model with a head on top is saved
    prefixes: tuple[str, ...]
    #: the module of the tokens' embeddings
    tokens: str
    #: what stands before a layer's modules, with {} for its number
    layer: str
    modules: Mapping[Role, str]
    #: BlockSpec's fields: rules for those that differ from what `families.COMMON` says
    block: Mapping[str, Rule]
    #: how a fused module's rows go: all queries first, or head by head
    fused: Literal["parts", "heads"] = "parts"
    #: linear maps are stored (in, out), as GPT-2's Conv1D, and not (out, in)
    transposed: bool = False
    #: what is added to the norms' stored gains
    gain: float = 0.0
    #: rules for one layer's window and scale, as functions of the settings and the layer's number; None: the block's
    window: Rule = None
    scale: Rule = None
    positions: LearnedPositions | None = None
    #: modules of what else happens to embeddings; rules, empty where there is none
    types: Rule = ""
    input_norm: Rule = ""
    input_projection: Rule = ""
    final_norm: Rule = ""
    #: what embeddings are multiplied by
    input_scale: Rule = 1.0
    #: settings that change what a block computes to something that attnlab does not: key -> what it has to be
    only: Mapping[str, object] = field(default_factory=dict)
