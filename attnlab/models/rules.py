"""Rules that several families share: activations, rotary positions, biases, windows."""

import math
from collections.abc import Callable
from typing import Any

from attnlab.maths.architecture import LinearScaling, Llama3Scaling, Rotary
from attnlab.models.settings import Rule, Settings, resolved

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
_GATED = {"gelu": "geglu", "gelu_tanh": "geglu_tanh", "silu": "swiglu"}


def activation(default: str = "") -> Callable[[Settings], str]:
    """The feed-forward's activation by config.json's word for it."""
    return lambda settings: settings.word(_ACTIVATIONS, "activation", default=default)


def gated(default: str = "", *, gelu: str = "geglu") -> Callable[[Settings], str]:
    """The same of a feed-forward that multiplies its hidden layer by an activated one.

    Args:
        gelu: what the word "gelu" stands for: Gemma's first releases mean the approximation by it.
    """
    known = {word: _GATED[plain] for word, plain in _ACTIVATIONS.items() if plain in _GATED} | {"gelu": gelu}
    return lambda settings: settings.word(known, "activation", default=default)


def head_width(settings: Settings) -> int:
    """head_dim, or d_model divided by the heads.

    Raises:
        InputError: there is no head_dim, and the heads do not divide the width.
    """
    if settings.found("d_k")[1] is not None:
        return settings.whole("d_k")
    width, heads = settings.whole("d_model"), settings.whole("n_heads")
    if width % heads:
        key, expected = settings.found("n_heads")[0], f"a divisor of {settings.found('d_model')[0]}, {width}"
        raise settings.complaint(key, heads, expected)
    return width // heads


def key_heads(settings: Settings) -> int:
    """The key/value heads, which are the heads where nothing else is said.

    Raises:
        InputError: they do not divide the heads.
    """
    heads = settings.whole("n_heads")
    shared = settings.whole("n_kv_heads", default=heads)
    if heads % shared:
        expected = f"a divisor of {settings.found('n_heads')[0]}, {heads}"
        raise settings.complaint(settings.found("n_kv_heads")[0], shared, expected)
    return shared


def rotary(*, share: float = 1.0, base: float = 10000.0) -> Callable[[Settings], Rotary]:
    """Rotary positions as config.json has them: rope_parameters, or the older rope_theta and rope_scaling."""

    def rule(settings: Settings) -> Rotary:
        given, older = settings.section("rope_parameters"), settings.section("rope_scaling")

        def place(name: str) -> Settings:
            nearer, further = given.found(name), settings.found(name)
            return given if nearer[1] is not None or (given.values and further[1] is None) else settings

        said = place("rope_share")
        fraction = said.number("rope_share", default=share)
        width = int(min(fraction, 1.0) * head_width(settings))
        if fraction > 1 or width % 2 or width < 2:
            key, expected = said.found("rope_share")[0], "a share of head_dim that turns an even number"
            raise said.complaint(key, fraction, f"{expected} of {head_width(settings)}")
        scaling = _scaling(given if given.values else older)
        return Rotary(base=place("rope_base").number("rope_base", default=base), fraction=fraction, scaling=scaling)

    return rule


def _scaling(given: Settings) -> LinearScaling | Llama3Scaling | None:
    """How rotations are slowed for texts longer than those of training."""
    for key in ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"):
        given.get(key)  # a kind that does not take them goes without them
    kinds = {"default": "", "linear": "linear", "llama3": "llama3"}
    match given.word(kinds, "rope_type", "type", default="default"):
        case "linear":
            return LinearScaling(given.number("factor"))
        case "llama3":
            return Llama3Scaling(
                factor=given.number("factor"),
                low_freq_factor=given.number("low_freq_factor"),
                high_freq_factor=given.number("high_freq_factor"),
                original_length=given.whole("original_max_position_embeddings"),
            )
        case _:
            return None


def biases(
    *, qkv: Rule = False, output: Rule = False, mlp: Rule = False, norm: bool = False
) -> Callable[[Settings], bool | tuple[str, ...]]:
    """Which parts of a block have biases: rules that are true or false."""

    def rule(settings: Settings) -> bool | tuple[str, ...]:
        parts = {"qkv": qkv, "output": output, "mlp": mlp, "norm": norm}
        has = tuple(name for name, truth in parts.items() if resolved(truth, settings))
        return has if 0 < len(has) < len(parts) else bool(has)

    return rule


def sliding_by_layer(settings: Settings, layer: int) -> int | None:
    """sliding_window in the layers that layer_types calls so, or else from max_window_layers on."""
    first = settings.whole("max_window_layers", default=28, least=0)
    kinds, window = settings.get("layer_types"), settings.get("sliding_window")
    if not settings.truth("use_sliding_window") or window is None:
        return None
    if kinds is not None:
        return layer_type_window(settings, layer)
    return settings.whole("sliding_window") if layer >= first else None


def every_second_window(settings: Settings, layer: int) -> int | None:
    """sliding_window in the layers that layer_types calls so, or else in the first, third, …"""
    if settings.get("layer_types") is not None:
        return layer_type_window(settings, layer)
    return settings.whole("sliding_window", default=4096) if layer % 2 == 0 else None


def layer_type_window(settings: Settings, layer: int) -> int | None:
    """sliding_window where layer_types calls the layer "sliding_attention".

    Raises:
        InputError: layer_types is no list of the two known words, one for each layer.
    """
    kinds = settings.get("layer_types")
    known, count = ("full_attention", "sliding_attention"), settings.whole("layers")
    if not isinstance(kinds, list) or len(kinds) != count or any(kind not in known for kind in kinds):
        raise settings.complaint("layer_types", kinds, f"{count} of {' or '.join(known)}")
    return settings.whole("sliding_window") if kinds[layer] == known[1] else None


def root_of(*names: str) -> Callable[[Settings], float]:
    """√ of a whole number of config.json."""
    return lambda settings: math.sqrt(settings.whole(*names))


def one_over_root_of(name: str) -> Callable[[Settings], float]:
    """1/√ of a number of config.json."""
    return lambda settings: 1 / math.sqrt(settings.number(name))


def optional_number(name: str) -> Callable[[Settings], float | None]:
    """A number of config.json, None where it is null."""
    return lambda settings: None if settings.get(name) is None else settings.number(name)


def optional_whole(name: str) -> Callable[[Settings], int | None]:
    """A whole number of config.json, None where it is null."""
    return lambda settings: None if settings.get(name) is None else settings.whole(name)


def whole_or(default: Callable[[Settings], Any], *names: str) -> Callable[[Settings], Any]:
    """A whole number of config.json, or what another rule says."""
    return lambda settings: default(settings) if settings.found(*names)[1] is None else settings.whole(*names)
