"""What a config.json says, each key checked when it is asked for, under the spellings that families have used."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from attnlab.errors import InputError
from attnlab.files.opening import as_text, quoted

#: What a family's table may give for a setting: the value itself, or how it follows from config.json.
Rule = Any

#: No setting of a model is this large, and sizes made of such would not fit the machine's numbers.
_LARGEST = 2**31
#: Settings that every family has, and how they are spelt; the first one found counts.
SPELLINGS: Mapping[str, Sequence[str]] = {
    "d_model": ("hidden_size", "n_embd", "dim", "n_embed"),
    "layers": ("num_hidden_layers", "n_layer", "n_layers"),
    "n_heads": ("num_attention_heads", "n_head", "n_heads"),
    "n_kv_heads": ("num_key_value_heads",),
    "d_k": ("head_dim",),
    "d_ff": ("intermediate_size", "n_inner", "ffn_dim", "hidden_dim"),
    "activation": ("hidden_activation", "hidden_act", "activation_function", "activation"),
    "positions": ("max_position_embeddings", "n_positions", "n_ctx", "seq_length", "max_sequence_length"),
    "rope_base": ("rope_theta", "rotary_emb_base"),
    "rope_share": ("partial_rotary_factor", "rotary_pct"),
}


@dataclass(frozen=True)
class Settings:
    """A config.json, the name that complaints give it, and which of its keys have been asked for."""

    values: Mapping[str, Any]
    where: str
    #: every key that was asked for, there or not; "section.key" within a section
    asked: set[str] = field(default_factory=set)
    #: what stands before a section's keys in `asked`
    prefix: str = ""

    def get(self, key: str) -> Any:
        """A key's value, None where it is not there."""
        self.asked.add(self.prefix + key)
        return self.values.get(key)

    def found(self, *names: str) -> tuple[str, Any]:
        """The first of these keys that is there and not null, and its value; (first name, None) without any."""
        spelt = [spelling for name in names for spelling in SPELLINGS.get(name, (name,))]
        given = [(key, value) for key in spelt if (value := self.get(key)) is not None]
        return given[0] if given else (spelt[0], None)

    def unasked(self) -> dict[str, Any]:
        """What is there and was not asked for; of a section that was read, its keys as "section.key"."""
        left = {key: value for key, value in self.values.items() if self.prefix + key not in self.asked}
        for name, value in self.values.items():
            if name not in left and isinstance(value, dict):
                section = Settings(value, self.where, self.asked, f"{self.prefix}{name}.")
                left |= {f"{name}.{key}": within for key, within in section.unasked().items()}
        return left

    def whole(self, *names: str, default: int | None = None, least: int = 1) -> int:
        """A whole number.

        Raises:
            InputError: it is something else, or is not there and has no default.
        """
        key, value = self.found(*names)
        value = default if value is None else value
        if type(value) is not int or not least <= value < _LARGEST:
            raise self.complaint(key, value, f"a whole number of {least} or more")
        return value

    def number(self, *names: str, default: float | None = None) -> float:
        """A finite number above 0.

        Raises:
            InputError: as `whole`.
        """
        key, value = self.found(*names)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= sys.float_info.max:
            raise self.complaint(key, value, "a number above 0")
        return float(value)

    def truth(self, name: str, default: bool = False) -> bool:
        """True or false.

        Raises:
            InputError: it is something else.
        """
        value = self.get(name)
        value = default if value is None else value
        if not isinstance(value, bool):
            raise self.complaint(name, value, "true or false")
        return value

    def word(self, known: Mapping[str, str], *names: str, default: str = "") -> str:
        """What one of the words known stands for.

        Raises:
            InputError: it is none of them; the text lists them.
        """
        key, value = self.found(*names)
        value = default if value is None else value
        if not isinstance(value, str) or value not in known:
            raise self.complaint(key, value, ", ".join(known))
        return known[value]

    def section(self, name: str) -> "Settings":
        """An object within; empty where there is none.

        Raises:
            InputError: it is something else.
        """
        value = self.get(name)
        if value is not None and not isinstance(value, dict):
            raise self.complaint(name, value, "an object")
        return Settings(value or {}, f"{self.where}: {name}", self.asked, f"{self.prefix}{name}.")

    def complaint(self, key: str, value: object, expected: str) -> InputError:
        """What is wrong with a key, for raising."""
        said = "missing" if value is None else quoted(value) if isinstance(value, str) else quoted(as_text(value))[1:-1]
        return InputError(f"{self.where}: {quoted(key)[1:-1]}: {said}; expected {expected}")


def resolved(rule: Rule, settings: Settings) -> Any:
    """The value that a table gives, or that its rule finds."""
    return rule(settings) if callable(rule) else rule


def whole(*names: str, default: int | None = None) -> Callable[[Settings], int]:
    """The rule that a setting is this whole number of config.json."""
    return lambda settings: settings.whole(*names, default=default)


def truth(name: str, default: bool = False) -> Callable[[Settings], bool]:
    """The rule that a setting is this truth of config.json."""
    return lambda settings: settings.truth(name, default)


def either(name: str, yes: Rule, no: Rule, *, default: bool = False) -> Callable[[Settings], Any]:
    """The rule that a truth of config.json decides between two."""
    return lambda settings: resolved(yes if settings.truth(name, default) else no, settings)
