"""From token ids to what the first block is given, and from the last block's output to the model's."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from attnlab.errors import InputError
from attnlab.files.numpy_files import Array
from attnlab.maths.architecture import BlockSpec
from attnlab.maths.norms import norm
from attnlab.maths.weights import linear
from attnlab.models.family import Family
from attnlab.models.layout import CONFIG, Tensors, missing
from attnlab.models.settings import Settings, resolved
from attnlab.models.tensors import Source, check_tensor, stored_name


@dataclass(frozen=True, kw_only=True)
class Ends:
    """What a model has below its first block and above its last. Tables are read row by row, as tokens need them."""

    family: Family
    settings: Settings
    tensors: Tensors
    prefix: str
    #: of the first block: its width and norm are those of both ends
    spec: BlockSpec

    def check(self) -> None:
        """Check every tensor of both ends before any is read.

        Raises:
            InputError: one is missing, misshapen, or holds no floats.
        """
        words = self._name(f"{self.family.tokens}.weight")
        if words not in self.tensors:
            raise missing(words, self.tensors, f"as the words' embeddings of {self.family.name}")
        narrow = self.tensors.shape(words)[-1] if self._named("input_projection") else self.spec.d_model
        tables = {f"{self.family.tokens}.weight": narrow}
        if self.family.positions is not None:
            tables[f"{self.family.positions.module}.weight"] = self.spec.d_model
        if self._has_types:
            tables[f"{self.family.types}.weight"] = self.spec.d_model
        for name, width in tables.items():
            rows = self.tensors.shape(self._name(name))[:1] if self._name(name) in self.tensors else (0,)
            check_tensor(self.tensors, self.prefix, Source(name, (*rows, width), lambda table: table))
        for source in self._sources(narrow):
            check_tensor(self.tensors, self.prefix, source)

    @property
    def vocabulary(self) -> int:
        """How many different tokens there are."""
        return self.tensors.shape(self._name(f"{self.family.tokens}.weight"))[0]

    @property
    def most_positions(self) -> int | None:
        """The longest text that the table of positions allows; None without a table."""
        if self.family.positions is None:
            return None
        rows = self.tensors.shape(self._name(f"{self.family.positions.module}.weight"))[0]
        return max(0, rows - self.family.positions.offset - (self._padding + 1 if self._after_padding else 0))

    def embedded(self, ids: Array) -> Array:
        """What the first block is given, (n, d_model) float32, for ids (n,) that are in the vocabulary."""
        x = self._rows(f"{self.family.tokens}.weight", ids)
        x *= np.float32(resolved(self.family.input_scale, self.settings))
        if module := self._named("input_projection"):
            x = linear(x, self._read(f"{module}.weight").T, None)
        if self._has_types:
            x += self._rows(f"{self.family.types}.weight", np.zeros(1, np.int64))
        if (table := self.family.positions) is not None:
            x += self._rows(f"{table.module}.weight", self._positions(ids, table.offset))
        return self._normed(self._named("input_norm"), x)

    def finished(self, x: Array) -> Array:
        """The last hidden state, from what the last block puts out, (n, d_model)."""
        return self._normed(self._named("final_norm"), x)

    def _positions(self, ids: Array, offset: int) -> Array:
        """The rows of the table of positions that the tokens take."""
        if not self._after_padding:
            return np.arange(len(ids)) + offset
        real = ids != self._padding
        rows: Array = np.cumsum(real) * real + self._padding
        return rows

    @property
    def _after_padding(self) -> bool:
        return self.family.positions is not None and self.family.positions.after_padding

    @property
    def _padding(self) -> int:
        return self.settings.whole("pad_token_id", default=1, least=0)

    @property
    def _has_types(self) -> bool:
        return bool(self.family.types) and self.settings.whole("type_vocab_size", default=2, least=0) > 0

    def _normed(self, module: str, x: Array) -> Array:
        """The norm of that module; x itself where there is none."""
        if not module:
            return x
        gain = self._read(f"{module}.weight") + np.float32(self.family.gain)
        bias = self._read(f"{module}.bias") if self._norms_have_biases else None
        return norm(self.spec.norm, x, gain, bias, eps=self.spec.norm_eps)

    @property
    def _norms_have_biases(self) -> bool:
        return self.spec.norm == "layernorm" and self.spec.has_bias("norm")

    def _sources(self, narrow: int) -> Iterator[Source]:
        """The tensors of both ends that are read whole."""
        width = self.spec.d_model
        for role in ("input_norm", "final_norm"):
            if module := self._named(role):
                for kind in ("weight", "bias") if self._norms_have_biases else ("weight",):
                    yield Source(f"{module}.{kind}", (width,), lambda stored: stored)
        if module := self._named("input_projection"):
            yield Source(f"{module}.weight", (width, narrow), lambda stored: stored)

    def _named(self, role: str) -> str:
        """The module of a role, empty where this model has none."""
        module: str = resolved(getattr(self.family, role), self.settings)
        return module

    def _name(self, name: str) -> str:
        return stored_name(self.tensors, self.prefix + name)

    def _read(self, name: str) -> Array:
        return self.tensors.read(self._name(name)).astype(np.float32, copy=False)

    def _rows(self, name: str, indices: Array) -> Array:
        return self.tensors.rows(self._name(name), indices).astype(np.float32, copy=False)


def checked_ids(ids: Array, vocabulary: int, most: int | None) -> Array:
    """Token ids as they can be used: (n,) whole numbers, each in the vocabulary, no more than there are positions.

    Raises:
        InputError: they are something else.
    """
    ids = np.asarray(ids)
    if ids.ndim != 1 or ids.size == 0 or ids.dtype.kind not in "iu":
        raise InputError(f"ids: {ids.dtype} of shape {ids.shape}; expected one or more whole numbers, (n,)")
    wrong = ids[(ids < 0) | (ids >= vocabulary)]
    if wrong.size:
        raise InputError(f"ids: {wrong[0]}; expected 0 to {vocabulary - 1:,}, set by the words' embeddings")
    if most is not None and len(ids) > most:
        raise InputError(
            f"{len(ids):,} tokens; expected at most {most:,}, the positions that the model has ({CONFIG}); "
            "--truncate takes the first of them"
        )
    return ids.astype(np.int64, copy=False)
