"""What `attnlab inspect` looks at: a checkpoint on a text, or a configuration's blocks on their own input."""

import os.path
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attnlab.cli import texts
from attnlab.cli.choices import Asked, choose_config, is_checkpoint, refuse_for_checkpoint, seed_of
from attnlab.errors import InputError

if TYPE_CHECKING:
    from attnlab.experiments.inspect import ModelFacts
    from attnlab.files.config import Config
    from attnlab.files.stacks import Bench


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is inspected: a checkpoint on a text, or a configuration's blocks on their own input."""

    facts: "ModelFacts"
    bench: "Bench"
    #: tokens of the whole text; more than the bench's where it was cut
    whole: int
    #: the longest text that it can take, or else that its config.json speaks of; None: nothing says
    positions: int | None
    #: as run.json has it
    document: dict[str, object]
    seed: int | None
    #: what a person should know of the text; empty: nothing
    remark: str = ""


def subject_of(asked: Asked, given: texts.Given, budget: int, *, text: bool) -> Subject:
    """What the command line names.

    Args:
        text: whether a text is run; else the weights alone are looked at.
    """
    from attnlab.files.config import config_document
    from attnlab.files.opening import shown
    from attnlab.files.presets import preset_names
    from attnlab.files.stacks import load_bench
    from attnlab.maths.weights import parameter_count

    source = asked.config
    if source is not None and is_checkpoint(source):
        refuse_for_checkpoint(source, asked.settings)
        return checkpoint_subject(source, given, budget, text=text)
    if source is not None and source not in preset_names() and not os.path.lexists(source):
        raise InputError(f"{shown(source)}: no such folder; expected a checkpoint's, a configuration file or a preset")
    texts.refuse_without_checkpoint(given)
    config = choose_config(asked, budget)
    bench = load_bench(config, max_bytes=budget, kernel="streaming")
    return Subject(
        facts=facts_of(config, sum(parameter_count(spec) for spec in config.blocks)),
        bench=bench,
        whole=len(bench.x),
        positions=None,
        document=config_document(config),
        seed=seed_of(config),
    )


def checkpoint_subject(folder: str, given: texts.Given, budget: int, *, text: bool) -> Subject:
    """A checkpoint and a text for it; of the sample text, where none is run, a single token.

    Raises:
        MemoryRefused: a layer on the text takes more than the budget, with its matrices and without.
    """
    from attnlab.experiments.inspect_kernel import inspection_need
    from attnlab.files.config import config_document
    from attnlab.files.kernels import choose_kernel
    from attnlab.files.stacks import UNBOUNDED
    from attnlab.models.checkpoint import load_checkpoint
    from attnlab.models.tokenizer import Text

    model = load_checkpoint(folder, keep=False, max_bytes=budget)
    tokens, whole = texts.given_tokens(model, given, budget) if text else (Text(np.zeros(1, np.int64), ("",)), 1)
    if text:  # before its embeddings take what may not be taken
        choose_kernel("streaming", inspection_need(model.config, len(tokens.ids), kept=0), budget)
    return Subject(
        facts=facts_of(model.config, model.parameters, family=model.family, unused=model.unused_settings),
        bench=model.bench(tokens, kernel="streaming", max_bytes=UNBOUNDED),
        whole=whole,
        positions=model.longest_text,
        document=model.document(tokens, whole) if text else config_document(model.config),
        seed=None,
        remark=texts.beyond_training(model, len(tokens.ids)) if text else "",
    )


def facts_of(
    config: "Config", parameters: int, *, family: str | None = None, unused: Mapping[str, Any] | None = None
) -> "ModelFacts":
    """A model in a few words and numbers."""
    from attnlab.experiments.inspect import ModelFacts

    return ModelFacts(
        name=config.name,
        family=family,
        layers=config.layers,
        heads=config.block.n_heads,
        kv_heads=config.block.n_kv_heads,
        d_model=config.block.d_model,
        d_k=config.block.d_k,
        parameters=parameters,
        unused_settings=unused or {},
    )
