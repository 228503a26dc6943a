"""Which configuration a command line means: CONFIG, and what --embeddings, --n and --seed change in it."""

import os.path
from dataclasses import replace
from pathlib import Path

from attnlab.errors import UsageError
from attnlab.files.config import Config, Input, load_config, with_seed
from attnlab.files.embeddings import read_embeddings
from attnlab.files.presets import DEFAULT, preset_names, preset_path, preset_summary


def config_or_checkpoint(source: str, budget: int) -> Config:
    """The configuration of that name or in that file; of a checkpoint's folder, the blocks that it describes."""
    if not is_checkpoint(source):
        return load_config(source)
    from attnlab.models.checkpoint import config_of  # here: most command lines name none

    return config_of(source, max_bytes=budget)


def is_checkpoint(source: str | None) -> bool:
    """Whether a name on the command line is a checkpoint's: a folder, where no preset has the name."""
    return source is not None and source not in preset_names() and os.path.isdir(source)


def choose_config(
    config: str | None, embeddings: Path | None, tokens: Path | None, n: int | None, seed: int | None, budget: int
) -> Config:
    """The configuration asked for, with the input, length and seed that the command line sets."""
    if embeddings is None and tokens is not None:
        raise UsageError(f"--tokens {tokens}: names nothing; expected --embeddings FILE beside it")
    if config is None and embeddings is not None:
        chosen = identity_config(embeddings, budget)
    else:
        chosen = config_or_checkpoint(DEFAULT if config is None else config, budget)
    if embeddings is not None:
        chosen = replace(chosen, input=Input(random=None, file=embeddings, tokens=tokens))
    if n is not None:
        chosen = with_length(chosen, n)
    return chosen if seed is None else with_seed(chosen, seed)


def identity_config(embeddings: Path, budget: int) -> Config:
    """One head that compares the embeddings themselves: W_Q = W_K = W_V = 1, of the file's width."""
    width = read_embeddings(embeddings, max_bytes=budget).x.shape[1]
    block = {"d_model": width, "n_heads": 1, "d_ff": None, "bias": False, "output_projection": False}
    return replace(load_config({"block": block, "weights": {"init": "identity"}}), name="identity head")


def with_length(config: Config, n: int) -> Config:
    """The configuration with so many random tokens."""
    if n < 1:
        raise UsageError(f"--n {n}; expected 1 token or more")
    if config.input.random is None:
        raise UsageError(
            f"--n {n}: the input of {config.name} is a file; expected a configuration with random input, such as "
            "vaswani-base"
        )
    return replace(config, input=replace(config.input, random=replace(config.input.random, n=n)))


def seed_of(config: Config) -> int | None:
    """The seed behind the input, or else behind the weights; None when nothing is drawn."""
    if config.input.random is not None:
        return config.input.random.seed
    drawn = config.weights.initialisation
    return None if drawn is None or drawn.scheme == "identity" else drawn.seed


def summary_of(config: Config) -> str:
    """A preset in one sentence; nothing for a configuration of the user's own."""
    return preset_summary(config.name) if is_preset(config) else ""


def is_preset(config: Config) -> bool:
    """Whether the configuration is a preset's."""
    return config.name in preset_names() and config.path == preset_path(config.name)
