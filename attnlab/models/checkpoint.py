"""A checkpoint of the usual layout, opened: its blocks are a Stack like any other, its tokens become what goes in."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from attnlab.errors import InputError, UsageError
from attnlab.files.config import Config, Input, PerLayer, RandomInput, Weights, config_document
from attnlab.files.kernels import KernelWish, choose_kernel
from attnlab.files.numpy_files import Array
from attnlab.files.opening import StrPath, sha256, shown
from attnlab.files.stacks import LEAST_WORKING, UNBOUNDED, Bench, run_need
from attnlab.maths.architecture import BlockSpec, Initialisation
from attnlab.maths.plan import WORKING
from attnlab.maths.stack import HeadRow, Stack, StackTrace
from attnlab.models.blocks import block_specs, family_of
from attnlab.models.embedding import Ends, checked_ids
from attnlab.models.family import Family
from attnlab.models.keys import unused
from attnlab.models.layout import (
    CONFIG,
    TOKENIZER,
    Tensors,
    checkpoint_folder,
    missing,
    open_tensors,
    read_settings,
    stored_numbers,
    tokenizer_file,
)
from attnlab.models.settings import Settings
from attnlab.models.tensors import Layers
from attnlab.models.tokenizer import MAX_BYTES, Text, Tokenizer, numbers_as_tokens


@dataclass(frozen=True, kw_only=True)
class Model:
    """A checkpoint, ready to run: every tensor's name and shape is checked, and read when it is needed."""

    folder: Path
    #: "bert", …: config.json's model_type
    family: str
    #: its block as a configuration; the name is the folder's
    config: Config
    stack: Stack
    ends: Ends
    #: how many numbers the checkpoint holds
    parameters: int
    #: the longest text that it can take; None: any
    max_positions: int | None
    #: the longest text that config.json speaks of; None: none
    trained_positions: int | None
    #: keys of config.json that are not used and not known to be harmless
    unused_settings: Mapping[str, Any]
    #: of memory, for its tokenizer and the texts that it reads
    max_bytes: int

    @property
    def longest_text(self) -> int | None:
        """How many tokens it can take, or else those that config.json speaks of; None: nothing says."""
        return self.trained_positions if self.max_positions is None else self.max_positions

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """Its tokenizer; None where the folder has none.

        Raises:
            UsageError: the extra `models` is not installed.
            InputError: tokenizer.json is not one.
            MemoryRefused: reading it would take more than may be used.
        """
        path = tokenizer_file(self.folder)
        return None if path is None else Tokenizer(path, max_bytes=self.max_bytes)

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """What tells its weights from another model's: see `Tensors.fingerprint`."""
        return self.ends.tensors.fingerprint

    @property
    def sha256(self) -> Mapping[str, str]:
        """The SHA-256 of the small files that say what the model is; the weights are too large to read for it."""
        names = [name for name in (CONFIG, TOKENIZER) if (self.folder / name).exists()]
        return {str(self.folder / name): sha256(self.folder / name) for name in names}

    def encode(self, text: str, *, most: int | None = None) -> Text:
        """A text's tokens, the special ones around it among them.

        Args:
            most: a longer text is cut at its end until there are no more tokens than these.

        Raises:
            InputError: the folder has no tokenizer.json, or one that cannot read the text.
            MemoryRefused: reading it would take more than may be used.
            UsageError: the extra `models` is not installed.
        """
        if self.tokenizer is None:
            raise InputError(
                f"{shown(self.folder)}: no {TOKENIZER}; expected one to read a text, or --ids with the tokens' numbers"
            )
        return self.tokenizer.encode(text, most=most)

    def tokens_of(self, ids: Array) -> tuple[str, ...]:
        """What the tokens of these ids (n,) are called: their numbers, where nothing is there to name them."""
        try:
            tokenizer = self.tokenizer
        except UsageError:  # the package is not installed, and the ids are there without it
            tokenizer = None
        return numbers_as_tokens(ids) if tokenizer is None else tokenizer.tokens_of(ids)

    def embedded(self, ids: Array) -> Array:
        """What the first block is given, (n, d_model) float32.

        Args:
            ids: (n,) whole numbers.

        Raises:
            InputError: an id is not in the vocabulary, or there are more than the model has positions for.
        """
        return self.ends.embedded(checked_ids(ids, self.ends.vocabulary, self.max_positions))

    def trace(self, ids: Array, *, advance: Callable[[], None] = lambda: None) -> StackTrace:
        """Run the model and keep every intermediate; the last hidden state is that after the final norm.

        Args:
            ids: (n,) whole numbers.
            advance: called after each layer.

        Raises:
            InputError: as `embedded`.
        """
        trace = self.stack.trace(self.embedded(ids), advance=advance)
        *states, last = trace.hidden_states
        return trace._replace(hidden_states=(*states, self.ends.finished(last)))

    def statistics(
        self,
        ids: Array,
        *,
        asymmetry: bool = False,
        max_bytes: int | None = None,
        advance: Callable[[], None] = lambda: None,
    ) -> list[HeadRow]:
        """Every statistic of every head on a text of any length, one row per layer and head: memory O(n).

        Args:
            ids: (n,) whole numbers.
            asymmetry, max_bytes, advance: as `Stack.statistics` has them.

        Raises:
            InputError: as `embedded`.
        """
        return self.stack.statistics(self.embedded(ids), asymmetry=asymmetry, max_bytes=max_bytes, advance=advance)

    def document(self, text: Text, text_tokens: int) -> dict[str, object]:
        """What run.json says of the model on a text, which had so many tokens before it was cut."""
        digest = hashlib.sha256(text.ids.astype("<i8").tobytes()).hexdigest()
        return {
            **config_document(self.config),
            "input": {"n": len(text.ids), "text_tokens": text_tokens, "ids_sha256": digest},
        }

    def bench(self, text: Text, *, kernel: KernelWish = None, max_bytes: int = UNBOUNDED) -> Bench:
        """The model on a text, as experiments on a block take it.

        Raises:
            InputError: as `embedded`.
            MemoryRefused: a run would take more than max_bytes.
        """
        need = run_need(self.config, len(text.ids))
        taken = choose_kernel(kernel, need, max_bytes)
        return Bench(
            config=self.config,
            stack=self.stack,
            x=self.embedded(text.ids),
            tokens=text.tokens,
            random_input=False,
            initialised=(),
            sha256=self.sha256,
            fingerprint=lambda: self.fingerprint,
            kernel=taken,
            working_bytes=min(WORKING, LEAST_WORKING + max_bytes - need.streaming),
        )


def load_checkpoint(folder: StrPath, *, keep: bool = True, max_bytes: int = MAX_BYTES) -> Model:
    """Open a folder in the usual layout: config.json, model.safetensors or shards with an index, tokenizer.json.

    Weights are read layer by layer when they are first used, as float32, whatever they are stored in.

    Args:
        folder: the checkpoint's folder.
        keep: whether layers that have been read stay in memory; else each is let go of when the next has been read.
        max_bytes: of memory, for config.json, for the tensors' names and places, and for the tokenizer with its texts.

    Raises:
        InputError: something is missing, damaged, or does not go together; names what, and what was expected.
        MemoryRefused: one of these files is too large for max_bytes.
    """
    path = checkpoint_folder(folder)
    settings = Settings(read_settings(path, max_bytes=max_bytes), shown(path / CONFIG))
    family = family_of(settings)
    specs = block_specs(family, settings)
    tensors = open_tensors(path, max_bytes=max_bytes)
    prefix = prefix_of(family, tensors)
    ends = Ends(family=family, settings=settings, tensors=tensors, prefix=prefix, spec=specs[0])
    ends.check()
    layers = Layers(family, specs, tensors, prefix, keep=keep)
    return Model(
        folder=path,
        family=family.name,
        config=replace(
            block_config(path, specs),
            weights=Weights(initialisation=None, file=path),
            input=Input(random=None, file=None, tokens=None),
        ),
        stack=Stack(specs=specs, weights=layers, dtype=np.dtype(np.float32)),
        ends=ends,
        parameters=stored_numbers(tensors),
        max_positions=ends.most_positions,
        trained_positions=settings.whole("positions") if settings.found("positions")[1] is not None else None,
        unused_settings=unused(settings),
        max_bytes=max_bytes,
    )


def prefix_of(family: Family, tensors: Tensors) -> str:
    """What stands before every tensor's name.

    Raises:
        InputError: the words' embeddings are under none of the names that the family has for them.
    """
    name = f"{family.tokens}.weight"
    for prefix in family.prefixes:
        if prefix + name in tensors:
            return prefix
    raise missing(family.prefixes[0] + name, tensors, f"as the words' embeddings of {family.name}")


def config_of(folder: StrPath, *, max_bytes: int = UNBOUNDED) -> Config:
    """The blocks that a checkpoint's config.json describes, as a configuration that draws its own weights and input.

    Raises:
        InputError: there is no config.json, or it is wrong, or of a family that is not known.
        MemoryRefused: reading it would take more than max_bytes.
    """
    path = checkpoint_folder(folder)
    settings = Settings(read_settings(path, max_bytes=max_bytes), shown(path / CONFIG))
    return block_config(path, block_specs(family_of(settings), settings))


def block_config(folder: Path, specs: Sequence[BlockSpec]) -> Config:
    """A checkpoint's blocks as a configuration of the folder's name."""
    windows, scales = tuple(spec.window for spec in specs), tuple(spec.scale for spec in specs)
    return Config(
        name=shown(folder.resolve().name),
        path=None,
        block=specs[0],
        layers=len(specs),
        per_layer=PerLayer(
            window=windows if len(set(windows)) > 1 else None, scale=scales if len(set(scales)) > 1 else None
        ),
        weights=Weights(initialisation=Initialisation(), file=None),
        input=Input(random=RandomInput(), file=None, tokens=None),
        dtype="float32",
    )
