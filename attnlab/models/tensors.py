"""Where each tensor of a block lies in a checkpoint, in what shape, and how it becomes ours."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from attnlab.errors import InputError
from attnlab.files.numpy_files import Array
from attnlab.maths.architecture import BlockSpec
from attnlab.maths.weights import BlockWeights, weight_shapes
from attnlab.models.family import Family, Role
from attnlab.models.layout import BUFFERS, CONFIG, Tensors, missing

#: The older names of a norm's tensors.
_OLDER = {"weight": "gamma", "bias": "beta"}
_ROLES: Mapping[str, Role] = {
    "attn.q_norm": "q_norm",
    "attn.k_norm": "k_norm",
    "ln1": "ln1",
    "ln2": "ln2",
    "ln1_post": "ln1_post",
    "ln2_post": "ln2_post",
}


class Source(NamedTuple):
    """One of our tensors as a checkpoint stores it."""

    #: the stored tensor, without the checkpoint's prefix
    name: str
    #: as it should be stored
    shape: tuple[int, ...]
    #: from the stored tensor, float32, to ours
    ours: Callable[[Array], Array]
    #: what set the shape
    set_by: str = ""


def layer_sources(family: Family, spec: BlockSpec, layer: int) -> dict[str, Source]:
    """Where every tensor of one block lies, by our names for them."""
    before = family.layer.format(layer)
    return {name: _source(family, spec, before, name, shape) for name, shape in weight_shapes(spec).items()}


def _source(family: Family, spec: BlockSpec, before: str, name: str, shape: tuple[int, ...]) -> Source:
    """Where one tensor lies."""
    part, kind = name.rsplit(".", 1)
    if part in _ROLES:
        return _norm(family, before + family.modules[_ROLES[part]], kind, shape)
    if part == "mlp":
        module = before + family.modules[{"in": "mlp_in", "gate": "mlp_gate", "out": "mlp_out"}[kind[2:]]]  # type: ignore[index]
        return _linear(family, module, kind, shape, lambda stored: stored)
    if kind.endswith("O"):
        return _linear(family, before + family.modules["o"], kind, _joined(kind, shape), lambda w: w.reshape(shape))
    role = kind[-1]
    if "qkv" not in family.modules:
        module = before + family.modules[{"Q": "q", "K": "k", "V": "v"}[role]]  # type: ignore[index]
        return _linear(family, module, kind, _joined(kind, shape), lambda stored: _heads(stored, kind, shape))
    return _fused(family, spec, before + family.modules["qkv"], kind, shape)


def _norm(family: Family, module: str, kind: str, shape: tuple[int, ...]) -> Source:
    """A norm's gain or bias."""
    added = np.float32(family.gain)
    if kind == "w":
        return Source(f"{module}.weight", shape, (lambda gain: gain + added) if family.gain else _as_it_is, "the width")
    return Source(f"{module}.bias", shape, _as_it_is, "the width")


def _linear(family: Family, module: str, kind: str, ours: tuple[int, ...], take: Callable[[Array], Array]) -> Source:
    """A linear map whose matrix is (in, out) here, or its bias; `take` gives it our shape."""
    if kind.startswith("b"):
        return Source(f"{module}.bias", ours, take)
    if family.transposed:
        return Source(f"{module}.weight", ours, take)
    return Source(f"{module}.weight", ours[::-1], lambda stored: take(stored.T))


def _fused(family: Family, spec: BlockSpec, module: str, kind: str, shape: tuple[int, ...]) -> Source:
    """Queries, keys or values out of one matrix (d, 3·h·d_k), or out of its bias (3·h·d_k,)."""
    which, heads, width = "QKV".index(kind[-1]), spec.n_heads, spec.d_k
    rows = spec.d_model if kind.startswith("W") else 1

    def own(stored: Array) -> Array:
        if family.fused == "parts":
            part = stored.reshape(rows, 3, heads, width)[:, which]
        else:
            part = stored.reshape(rows, heads, 3, width)[:, :, which]
        return np.ascontiguousarray(part.transpose(1, 0, 2)).reshape(shape)

    whole = (3 * heads * width,) if kind.startswith("b") else (rows, 3 * heads * width)
    return _linear(family, module, kind, whole, own)


def _joined(kind: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of all heads side by side: (in, out), or (out,) of a bias."""
    if kind.startswith("b"):
        return (int(np.prod(shape)),)
    h, rows, columns = shape
    return (h * rows, columns) if kind.endswith("O") else (rows, h * columns)


def _heads(stored: Array, kind: str, shape: tuple[int, ...]) -> Array:
    """Side by side (d, h·k) as heads (h, d, k); a bias (h·k,) as (h, k)."""
    if kind.startswith("b"):
        return stored.reshape(shape)
    h, rows, columns = shape
    return stored.reshape(rows, h, columns).transpose(1, 0, 2)


def _as_it_is(stored: Array) -> Array:
    return stored


class Layers(Sequence[BlockWeights]):
    """The blocks' weights, each read, as float32, when it is asked for.

    Every tensor's name, shape and dtype is checked when this is made, before any is read.
    """

    def __init__(
        self, family: Family, specs: Sequence[BlockSpec], tensors: Tensors, prefix: str, *, keep: bool
    ) -> None:
        """Keep: what has been read stays in memory.

        Raises:
            InputError: a tensor is missing, misshapen or no floats, or there are more layers than config.json says.
        """
        self._tensors, self._keep, self._prefix = tensors, keep, prefix
        self._sources: list[dict[str, Source]] = []
        self._read: dict[int, BlockWeights] = {}
        for layer, spec in enumerate(specs):  # one by one: config.json may promise more layers than there are
            self._sources.append(layer_sources(family, spec, layer))
            for source in self._sources[-1].values():
                check_tensor(tensors, prefix, source)
        self._refuse_others(family)

    def _refuse_others(self, family: Family) -> None:
        """Refuse tensors of layers that take no part in what config.json describes.

        Raises:
            InputError: naming one.
        """
        before, after = (self._prefix + family.layer).split("{}")
        used = {stored_name(self._tensors, self._prefix + s.name) for own in self._sources for s in own.values()}
        for name in self._tensors.names:
            layer = name.removeprefix(before).partition(after)[0]
            if not name.startswith(before) or not layer.isdecimal() or name in used or name.endswith(BUFFERS):
                continue
            if int(layer) >= len(self):
                raise InputError(f"{self._tensors.where(name)}: expected {len(self)} layers, set by {CONFIG}")
            raise InputError(f"{self._tensors.where(name)}: expected none of that name, by {CONFIG} of {family.name}")

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        """One layer's weights, or those of a slice of them."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        layer = range(len(self))[index]
        if layer in self._read:
            return self._read[layer]
        found = self._weights(layer)
        if self._keep:
            self._read[layer] = found
        return found

    def __iter__(self) -> Iterator[BlockWeights]:
        return (self[layer] for layer in range(len(self)))

    def _weights(self, layer: int) -> BlockWeights:
        """Read one layer; a tensor that several of ours come from is read once."""
        held: dict[str, Array] = {}
        weights = {}
        for name, source in self._sources[layer].items():
            stored = stored_name(self._tensors, self._prefix + source.name)
            if stored not in held:
                held[stored] = self._tensors.read(stored).astype(np.float32, copy=False)
            weights[name] = source.ours(held[stored])
        return weights


def stored_name(tensors: Tensors, name: str) -> str:
    """The tensor's name as this checkpoint has it: a norm's may be the older one."""
    if name in tensors:
        return name
    module, kind = name.rsplit(".", 1)
    older = f"{module}.{_OLDER.get(kind, kind)}"
    return older if older in tensors else name


def check_tensor(tensors: Tensors, prefix: str, source: Source) -> None:
    """Check that a tensor is there, holds floats and has the shape that config.json makes it have.

    Raises:
        InputError: naming both shapes.
    """
    name = stored_name(tensors, prefix + source.name)
    if name not in tensors:
        raise missing(name, tensors, f"for the model that {CONFIG} describes")
    shape = tensors.shape(name)
    if shape != source.shape:
        turned = " (transposed?)" if shape == source.shape[::-1] else ""
        raise InputError(f"{tensors.where(name)}: shape {shape}; expected {source.shape}, set by {CONFIG}{turned}")
    tensors.require_floats(name)
