"""From a family's table and a config.json to the blocks' specs, one for each layer."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from attnlab.maths.architecture import MOST_LAYERS, BlockSpec
from attnlab.models.families import COMMON, FAMILIES
from attnlab.models.family import Family
from attnlab.models.keys import require_understood
from attnlab.models.settings import Settings, resolved


def family_of(settings: Settings) -> Family:
    """The family that model_type names.

    Raises:
        InputError: there is no such family; the text lists those there are.
    """
    name = settings.get("model_type")
    if not isinstance(name, str) or name not in FAMILIES:
        raise settings.complaint("model_type", name, f"one of {', '.join(FAMILIES)}")
    return FAMILIES[name]


def block_specs(family: Family, settings: Settings) -> Sequence[BlockSpec]:
    """The blocks of a checkpoint, from below.

    Raises:
        InputError: config.json lacks a key, gives one a wrong value, or asks for what attnlab does not compute.
    """
    for key, value in family.only.items():
        found = settings.get(key)
        if found is not None and found != value:
            raise settings.complaint(key, found, f"{value!r}: of {family.name} no other kind is known")
    fields: dict[str, Any] = {name: resolved(rule, settings) for name, rule in {**COMMON, **family.block}.items()}
    spec = BlockSpec(**fields)
    layers = settings.whole("layers")
    if layers > MOST_LAYERS:
        raise settings.complaint(settings.found("layers")[0], layers, f"{MOST_LAYERS:,} at most")
    specs = tuple(_of_layer(family, settings, spec, layer) for layer in range(layers))
    for rule in (family.types, family.input_norm, family.input_projection, family.final_norm, family.input_scale):
        resolved(rule, settings)  # so that its keys have been asked for
    require_understood(settings, specs, family)
    return specs


def _of_layer(family: Family, settings: Settings, spec: BlockSpec, layer: int) -> BlockSpec:
    """The block with this layer's own window and scale."""
    if family.window is not None:
        spec = replace(spec, window=family.window(settings, layer))
    return spec if family.scale is None else replace(spec, scale=family.scale(settings, layer))
