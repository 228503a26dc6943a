"""What an interrupted run of `attnlab complexity` was asked, as its run.json has it; checked: anyone may edit it."""

from collections.abc import Mapping
from typing import Any

from attnlab.errors import InputError
from attnlab.experiments.complexity_record import SWEEPS, ComplexityConfig
from attnlab.experiments.complexity_variants import KERNELS, MECHANISMS, PARTS
from attnlab.files.opening import as_text, quoted

#: No size is this large; what is would not fit the machine's numbers.
_LARGEST = 2**31


def config_of(settings: object, *, seed: object, max_bytes: int) -> ComplexityConfig:
    """The configuration that `complexity_document.settings` and the seed were made of.

    Raises:
        InputError: they were made of none; names the first key that shows it.
    """
    if not isinstance(settings, Mapping):
        raise _complaint("config", settings, "the settings of attnlab complexity")
    return ComplexityConfig(
        mechanisms=_several(settings, "mechanisms", MECHANISMS),
        kernels=_several(settings, "kernels", KERNELS),
        part=_one(settings, "part", PARTS),
        sweep=_one(settings, "sweep", SWEEPS),
        n=_sizes(settings, "n"),
        d=_sizes(settings, "d"),
        heads=_whole(settings, "heads"),
        window=_whole(settings, "window"),
        repeats=_whole(settings, "repeats"),
        threads=_whole(settings, "threads"),
        seed=_whole({"seed": seed}, "seed", least=0, most=2**63),
        max_bytes=max_bytes,
    )


def _one(settings: Mapping[str, object], key: str, known: tuple[Any, ...]) -> Any:
    """One of the words."""
    value = settings.get(key)
    if value not in known:
        raise _complaint(key, value, f"one of {', '.join(known)}")
    return value


def _several(settings: Mapping[str, object], key: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """A list of some of the words."""
    value = settings.get(key)
    if not isinstance(value, list) or any(item not in known for item in value):
        raise _complaint(key, value, f"a list of some of {', '.join(known)}")
    return tuple(value)


def _sizes(settings: Mapping[str, object], key: str) -> tuple[int, ...]:
    """A list of whole numbers."""
    value = settings.get(key)
    if not isinstance(value, list) or not value:
        raise _complaint(key, value, "a list of whole numbers")
    return tuple(_whole({key: item}, key) for item in value)


def _whole(settings: Mapping[str, object], key: str, *, least: int = 1, most: int = _LARGEST) -> int:
    value = settings.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < most:
        raise _complaint(key, value, f"a whole number of {least} or more")
    return value


def _complaint(key: str, value: object, expected: str) -> InputError:
    said = "missing" if value is None else quoted(as_text(value))
    return InputError(f"run.json: config: {key}: {said}; expected {expected}")
