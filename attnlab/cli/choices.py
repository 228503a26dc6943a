"""Which configuration a command line means: CONFIG, and what --set, --embeddings, --n and --seed change in it."""

import os.path
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from attnlab.cli import options
from attnlab.errors import ConfigError, UsageError
from attnlab.files.config import Config, Input, load_config, with_seed
from attnlab.files.embeddings import read_embeddings
from attnlab.files.opening import quoted
from attnlab.files.presets import DEFAULT, preset_names, preset_path, preset_summary
from attnlab.files.settings import Setting, overlap, read_setting, refuse_overlaps, short_setting

if TYPE_CHECKING:
    from attnlab.files.stacks import Bench

#: What runs without CONFIG where the default's weights do not fit.
PLAIN = "single-head"
LENGTH = ("input", "random", "n")
SEEDS = (("weights", "seed"), ("input", "random", "seed"))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line says about the configuration; None or nothing where it says nothing."""

    #: a preset's name or a file's; None is the default
    config: str | None = None
    #: keys that it sets, by --set and by the options that are short for it
    settings: tuple[Setting, ...] = ()
    embeddings: Path | None = None
    tokens: Path | None = None
    n: int | None = None
    #: names for random vectors, with blanks between them
    words: str | None = None
    seed: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The words one by one, or none."""
        return tuple((self.words or "").split())

    @property
    def given(self) -> dict[str, object]:
        """The options about the input -> their values, None where one is not given."""
        return {
            "--embeddings": self.embeddings,
            "--tokens": self.tokens,
            "--words": self.words,
            "--n": self.n,
            "--seed": self.seed,
        }

    @property
    def own_keys(self) -> dict[str, tuple[tuple[str, ...], ...]]:
        """The other options that are given, and the keys of which each is the only one to say anything."""
        table = (
            (f"--embeddings {self.embeddings}", self.embeddings, (("input",),)),
            (f"--n {self.n}", self.n, (LENGTH,)),
            ("--words", self.words, (LENGTH, ("input", "file"), ("input", "tokens"))),
            (f"--seed {self.seed}", self.seed, SEEDS),
        )
        return {option: keys for option, value, keys in table if value is not None}

    def check(self) -> None:
        """Refuse options that say the same thing twice, and words that are none.

        Raises:
            UsageError: naming both, or the words.
        """
        refuse_overlaps(self.settings)
        if self.words is not None:
            others = {"--embeddings": self.embeddings, "--tokens": self.tokens, "--n": self.n}
            options.refuse_beside("--words, which name random vectors", others)
            if not self.names or re.search("[\ud800-\udfff]", self.words):  # bytes that Python let through
                raise UsageError(f"--words {quoted(self.words)}; expected words in UTF-8 with blanks between them")
        for setting in self.settings:
            for option, keys in self.own_keys.items():
                if any(overlap(setting.key, key) for key in keys):
                    raise UsageError(f"{setting.option.text}: not together with {option}; expected one of the two")


def settings_of(
    texts: Sequence[str] | None, *, dk: str | None = None, causal: bool = False, scale: str | None = None
) -> tuple[Setting, ...]:
    """What --set, and the options that are short for it, say.

    Raises:
        ConfigError, UsageError: as `read_setting`.
    """
    found = [read_setting(text) for text in texts or ()]
    found += [short_setting("--dk", "block.d_k", dk)] if dk is not None else []
    found += [short_setting("--causal", "block.causal", "true", flag=True)] if causal else []
    found += [short_setting("--scale", "block.scale", scale)] if scale is not None else []
    return tuple(found)


def config_or_checkpoint(asked: Asked, budget: int) -> Config:
    """The configuration asked for; of a checkpoint's folder, the blocks that it describes."""
    if asked.config is None or not is_checkpoint(asked.config):
        return choose_config(asked, budget)
    refuse_for_checkpoint(asked.config, asked.settings)
    from attnlab.models.checkpoint import config_of  # here: most command lines name none

    config = config_of(asked.config, max_bytes=budget)
    return config if asked.seed is None else with_seed(config, asked.seed)


def is_checkpoint(source: str | None) -> bool:
    """Whether a name on the command line is a checkpoint's: a folder, where no preset has the name."""
    return source is not None and source not in preset_names() and os.path.isdir(source)


def refuse_for_checkpoint(folder: str, settings: Sequence[Setting]) -> None:
    """Refuse settings for a checkpoint, which is what it is.

    Raises:
        UsageError: naming the first.
    """
    if settings:
        option = settings[0].option.text
        raise UsageError(f"{option}: not together with the checkpoint {folder}, whose config.json sets that")


def choose_config(asked: Asked, budget: int) -> Config:
    """The configuration asked for, with the settings, input, length and seed that the command line sets.

    Raises:
        ConfigError: it is wrong or not found, or a setting is.
        UsageError: options that do not go together.
    """
    asked.check()
    if asked.embeddings is None and asked.tokens is not None:
        raise UsageError(f"--tokens {asked.tokens}: names nothing; expected --embeddings FILE beside it")
    if asked.config is not None:
        chosen = load_config(asked.config, asked.settings)
    elif asked.embeddings is not None:
        chosen = identity_config(asked.embeddings, asked.settings, budget)
    else:
        chosen = default_config(asked)
    if asked.embeddings is not None:
        chosen = replace(chosen, input=Input(random=None, file=asked.embeddings, tokens=asked.tokens))
    if asked.n is not None:
        chosen = with_length(chosen, asked.n, f"--n {asked.n}")
    if asked.words is not None:
        chosen = with_length(chosen, len(asked.names), "--words")
        chosen = replace(chosen, name=f"{chosen.name} on random vectors with names")
    return chosen if asked.seed is None else with_seed(chosen, asked.seed)


def default_config(asked: Asked) -> Config:
    """The default with the settings; the plain single head where its own weights and tokens do not go with them.

    Raises:
        ConfigError: a setting is wrong.
    """
    drawn = asked.n is not None or asked.words is not None
    return load_config(PLAIN if drawn or not default_fits(asked.settings) else DEFAULT, asked.settings)


def default_fits(settings: Sequence[Setting]) -> bool:
    """Whether the default's own weights and tokens still go with it when these keys are changed."""
    from attnlab.maths.weights import weight_shapes

    if not settings:
        return True
    default = load_config(DEFAULT)
    try:
        changed = load_config(DEFAULT, settings)
    except ConfigError:  # of two values that do not go together one may be the default's alone
        return False
    same = changed.layers == default.layers and (changed.input.random is None) == (default.input.random is None)
    return same and weight_shapes(changed.block) == weight_shapes(default.block)


def identity_config(embeddings: Path, settings: Sequence[Setting], budget: int) -> Config:
    """One head that compares the embeddings themselves: W_Q = W_K = W_V = 1, of the file's width."""
    width = read_embeddings(embeddings, max_bytes=budget).x.shape[1]
    block = {"d_model": width, "n_heads": 1, "d_ff": None, "bias": False, "output_projection": False}
    return load_config({"block": block, "weights": {"init": "identity"}}, settings, name="identity head")


def with_length(config: Config, n: int, option: str) -> Config:
    """The configuration with so many random tokens, as the option wants.

    Raises:
        UsageError: n is less than 1, or the input is a file.
    """
    if n < 1:
        raise UsageError(f"{option}; expected 1 token or more")
    if config.input.random is None:
        raise UsageError(
            f"{option}: the input of {config.name} is a file; expected a configuration with random input, such as "
            "vaswani-base"
        )
    return replace(config, input=replace(config.input, random=replace(config.input.random, n=n)))


def seed_of(config: Config) -> int | None:
    """The seed behind the input, or else behind the weights; None when nothing is drawn."""
    if config.input.random is not None:
        return config.input.random.seed
    drawn = config.weights.initialisation
    return None if drawn is None or drawn.scheme == "identity" else drawn.seed


def with_names(bench: "Bench", asked: Asked) -> "Bench":
    """The bench, its random vectors called by the words of the command line, if there are any."""
    return replace(bench, tokens=asked.names) if asked.names else bench


def summary_of(config: Config, asked: Asked) -> str:
    """A preset in one sentence, or why it is the plain one; nothing for a configuration of the user's own."""
    if asked.words is not None:
        weights = "The weights are random too" if config.weights.file is None else "The weights are a file's"
        return f"The words are names of random vectors: no number here knows what they mean. {weights}."
    if asked.config is None and config.path == preset_path(PLAIN):
        apart = [setting for setting in asked.settings if not default_fits([setting])] or asked.settings
        changes = [f"--n {asked.n}"] if asked.n is not None else [setting.option.text for setting in apart]
        return (
            f"The {DEFAULT} that is the default has weights and tokens of its own, which do not go with "
            f"{' and '.join(changes)}: this is {PLAIN}, with random ones."
        )
    return preset_summary(config.name) if is_preset(config) else ""


def is_preset(config: Config) -> bool:
    """Whether the configuration is a preset's."""
    return config.name in preset_names() and config.path == preset_path(config.name)
