"""What an interrupted run of `attnlab complexity` was asked, as its run.json has it; checked: anyone may edit it."""

from collections.abc import Mapping
from typing import Any

from attnlab.experiments.complexity_record import SWEEPS, ComplexityConfig, Sweep
from attnlab.experiments.complexity_sizes import LEAST
from attnlab.experiments.complexity_variants import KERNELS, MECHANISMS, PARTS
from attnlab.files.fields import OBJECT, Kind, maybe, number, one_of, require, rising, several, whole
from attnlab.measure.orders import FEWEST_SIZES

#: Larger sizes would not fit the machine's numbers.
_BITS = 31
#: Four sizes to each halving from there down to one, and some to spare.
_MOST_SIZES = 200
_COUNT = whole(1, _BITS)
_SWEPT = rising(several(whole(LEAST, _BITS), FEWEST_SIZES, _MOST_SIZES))
_FIXED = several(_COUNT, 1, 1)
_ALIKE: Mapping[str, Kind] = {
    "mechanisms": several(one_of(MECHANISMS)),
    "kernels": several(one_of(KERNELS)),
    "part": one_of(PARTS),
    "sweep": one_of(SWEEPS),
    "heads": _COUNT,
    "window": _COUNT,
    "repeats": _COUNT,
    "threads": _COUNT,
    "budget_seconds": maybe(number(1e-3, 1e9)),
}
#: What run.json's "config" holds, by what is swept.
SETTINGS: Mapping[Sweep, Mapping[str, Kind]] = {
    "n": {**_ALIKE, "n": _SWEPT, "d": _FIXED},
    "d": {**_ALIKE, "n": _FIXED, "d": _SWEPT},
}


def config_of(manifest: Mapping[str, Any], *, max_bytes: int) -> ComplexityConfig:
    """The configuration that `complexity_document.settings` and the seed were made of.

    Raises:
        InputError: they were made of none; names the first key that shows it.
    """
    where = "run.json"
    require(manifest, {"seed": whole(0), "config": OBJECT}, where, others=True)
    where = f"{where}: config"
    sweep = require(manifest["config"], {"sweep": one_of(SWEEPS)}, where, others=True)["sweep"]
    found = require(manifest["config"], SETTINGS[sweep], where)
    lists = {name: tuple(value) for name, value in found.items() if isinstance(value, list)}
    return ComplexityConfig(**{**found, **lists}, seed=manifest["seed"], max_bytes=max_bytes)
