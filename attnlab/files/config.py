"""Configurations: a preset, a YAML file or plain Python data, checked and resolved into frozen records."""

import os.path
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from attnlab.files.config_keys import ROOT, head_width, value_width
from attnlab.files.kinds import Complaints
from attnlab.files.opening import shown
from attnlab.files.presets import preset_names, preset_path
from attnlab.files.python_nodes import from_python
from attnlab.files.schema import Values
from attnlab.files.settings import Setting, named, with_settings
from attnlab.files.yaml_nodes import Option, parse, read_bytes, yaml_text
from attnlab.maths.architecture import (
    BlockSpec,
    Initialisation,
    LinearScaling,
    Llama3Scaling,
    Position,
    Rotary,
)


@dataclass(frozen=True, kw_only=True)
class RandomInput:
    """n standard normal embeddings."""

    n: int = 8
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where weights come from: drawn, from a file, or from a file with the rest drawn. One of the two is not None."""

    #: None: the file has to give every tensor.
    initialisation: Initialisation | None
    file: Path | None


@dataclass(frozen=True, kw_only=True)
class Input:
    """What the block runs on: random embeddings, or a file's. One of the two is not None."""

    random: RandomInput | None
    file: Path | None
    #: The tokens' texts, where a file gives them.
    tokens: Path | None


@dataclass(frozen=True, kw_only=True)
class PerLayer:
    """What differs between the layers, one entry for each; None: it is the block's in all of them."""

    window: tuple[int | None, ...] | None = None
    scale: tuple[float | None, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Config:
    """A checked configuration: every default filled in, every path absolute."""

    #: The preset's name, the file's name without its ending, or "config" for Python data; with what options change.
    name: str
    #: Where it was read; no part of what it says.
    path: Path | None = field(compare=False)
    #: the first layer's
    block: BlockSpec
    layers: int
    per_layer: PerLayer = PerLayer()
    weights: Weights
    input: Input
    #: float16, bfloat16, float32 or float64
    dtype: str

    @property
    def counted(self) -> Mapping[BlockSpec, int]:
        """How many layers there are of each kind, in the order in which each comes first."""
        alike = all(entries is None for entries in vars(self.per_layer).values())
        return {self.block: self.layers} if alike else Counter(self.blocks)

    @property
    def blocks(self) -> tuple[BlockSpec, ...]:
        """Every layer's."""
        own = {key: entries for key, entries in vars(self.per_layer).items() if entries is not None}
        return tuple(
            replace(self.block, **{key: entries[i] for key, entries in own.items()}) for i in range(self.layers)
        )


def load_config(
    source: str | Path | Mapping[str, object], settings: Sequence[Setting] = (), *, name: str = "config"
) -> Config:
    """The configuration, checked.

    Args:
        source: a preset's name, a YAML file, or the same as plain data. Paths in a file are relative to the file's
            folder, paths in data and in settings to the working directory.
        settings: keys that the command line sets, in place of what the source says of them.
        name: what plain data are called.

    Raises:
        ConfigError: not found, not readable, or wrong; every mistake is listed with its place.
    """
    if isinstance(source, Mapping):
        path, root, complaints = None, from_python(source, name), Complaints(name, ROOT.homes)
    else:
        path = _path(source)
        root, complaints = parse(read_bytes(path), shown(path)), Complaints(shown(path), ROOT.homes)
        name = shown(path.stem)
    values = ROOT.check(with_settings(root, settings), "", complaints)
    return _config(values, complaints, named(name, settings), path)


def _path(source: str | Path) -> Path:
    is_file = isinstance(source, Path) or (source not in preset_names() and os.path.lexists(source))
    return Path(source) if is_file else preset_path(str(source))


def _config(root: Values, complaints: Complaints, name: str, path: Path | None) -> Config:
    complaints.raise_any()
    folder = (path or Path("config")).absolute().parent
    per_layer = PerLayer(**root["per_layer"].values)
    return Config(
        name=name,
        path=path,
        block=_block(root["block"], per_layer),
        layers=root["layers"],
        per_layer=per_layer,
        weights=_weights(root["weights"], folder),
        input=_input(root["input"], folder),
        dtype=root["dtype"],
    )


def _block(block: Values, per_layer: PerLayer) -> BlockSpec:
    """The first layer's block."""
    first = {key: entries[0] for key, entries in vars(per_layer).items() if entries is not None}
    resolved: dict[str, Any] = {
        "n_kv_heads": block["n_kv_heads"] or block["n_heads"],
        "d_k": head_width(block),
        "d_v": value_width(block),
        "position": _position(block["position"]),
    }
    return BlockSpec(**{**block.values, **resolved, **first})


def _position(position: Any) -> Position:
    if isinstance(position, Values):
        rotary = position["rotary"].values
        return Rotary(**{**rotary, "scaling": _scaling(rotary["scaling"])})
    word: Position = Rotary() if position == "rotary" else position
    return word


def _scaling(scaling: Values | None) -> LinearScaling | Llama3Scaling | None:
    if scaling is None or scaling["kind"] == "linear":
        return None if scaling is None else LinearScaling(scaling["factor"])
    return Llama3Scaling(**{key: value for key, value in scaling.values.items() if key != "kind"})


def _weights(weights: Values, folder: Path) -> Weights:
    file = _file(weights, "file", folder)
    drawn = weights["init"] is not None and (file is None or "init" in weights.given)
    return Weights(initialisation=_initialisation(weights) if drawn else None, file=file)


def _initialisation(weights: Values) -> Initialisation:
    init = weights["init"]
    settings = {"per": weights["per"], "seed": weights["seed"]}
    if isinstance(init, Values):
        return Initialisation(scheme="normal", standard_deviation=init["normal"], **settings)
    return Initialisation(scheme=init, **settings)


def _input(source: Values, folder: Path) -> Input:
    if source["file"] is None:
        return Input(random=RandomInput(**source["random"].values), file=None, tokens=None)
    return Input(random=None, file=_file(source, "file", folder), tokens=_file(source, "tokens", folder))


def _file(section: Values, key: str, folder: Path) -> Path | None:
    """The path that a key gives, if it does: in its configuration's folder, or an option's in the working directory."""
    if section[key] is None:
        return None
    given: Path = (Path.cwd() if isinstance(section.given[key].place, Option) else folder) / section[key]
    return given


def with_seed(config: Config, seed: int) -> Config:
    """The configuration with one seed (0 or more) for its weights and its input."""
    drawn, random = config.weights.initialisation, config.input.random
    return replace(
        config,
        weights=replace(config.weights, initialisation=drawn and replace(drawn, seed=seed)),
        input=replace(config.input, random=random and replace(random, seed=seed)),
    )


def config_document(config: Config) -> dict[str, object]:
    """The configuration in the shape of its YAML file, resolved: plain data that JSON can hold."""
    block, own = config.block, {key: value for key, value in vars(config.per_layer).items() if value is not None}
    bias = block.bias if isinstance(block.bias, bool) else list(block.bias)
    return {
        "block": {**vars(block), "bias": bias, "position": _position_document(block.position)},
        "layers": config.layers,
        **({"per_layer": {key: list(entries) for key, entries in own.items()}} if own else {}),
        "weights": _weights_document(config.weights),
        "input": _input_document(config.input),
        "dtype": config.dtype,
    }


def config_yaml(config: Config) -> str:
    """The same as YAML; `load_config` reads an equal configuration from a file of that text and the same name."""
    return yaml_text(config_document(config))


def json_schema() -> dict[str, object]:
    """The configuration as a JSON schema (draft 2020-12), for editors; most rules between keys are beyond it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "attnlab configuration",
        "description": "A Transformer block, its weights and its input.",
        **ROOT.schema(),
        "type": "object",
    }


def _position_document(position: Position) -> object:
    if not isinstance(position, Rotary):
        return position
    scaling = position.scaling
    written = None
    if scaling is not None:
        written = {"kind": "linear" if isinstance(scaling, LinearScaling) else "llama3", **vars(scaling)}
    return {"rotary": {**vars(position), "scaling": written}}


def _weights_document(weights: Weights) -> dict[str, object]:
    file = None if weights.file is None else str(weights.file)
    drawn = weights.initialisation
    if drawn is None:
        return {"init": None, "file": file}
    init: object = {"normal": drawn.standard_deviation} if drawn.scheme == "normal" else drawn.scheme
    return {"init": init, "per": drawn.per, "seed": drawn.seed, "file": file}


def _input_document(source: Input) -> dict[str, object]:
    if source.random is not None:
        return {"random": dict(vars(source.random))}
    return {
        "file": None if source.file is None else str(source.file),
        "tokens": None if source.tokens is None else str(source.tokens),
    }
