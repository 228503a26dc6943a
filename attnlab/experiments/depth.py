"""`attnlab depth`: what stacked layers make of the tokens, and what of the gradient comes back down."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from attnlab.experiments.depth_stack import DepthConfig, Profile, block_spec, check, first_weights, larger, profile
from attnlab.experiments.depth_variants import VARIANTS
from attnlab.maths.threads import single_threaded_products
from attnlab.records import Quantity

#: The sizes of all weight matrices, against what is drawn, at which gradients are measured.
GAINS = (0.5, 1.0, 2.0)


@dataclass(frozen=True, kw_only=True)
class DepthRow:
    """What goes into layer `layer` (0: the tokens; `layers`: what comes out of the last): means over the seeds."""

    variant: str
    layer: int
    #: ‖X − x̄‖/‖X‖, x̄ the mean token
    relative_residual: float
    standard_error: float
    #: the same free of float64's rounding, from the differences alone; None where even those would underflow, and for
    #: variants with more than attention
    unrounded: float | None
    #: ‖∂L/∂X‖ / ‖∂L/∂X_last‖ for L = Σ u∘X_last, u standard normal
    gradient: float
    gradient_standard_error: float
    #: ‖G − ḡ‖ / ‖∂L/∂X_last‖, G = ∂L/∂X and ḡ its mean token: what tells one token to move otherwise than another
    token_gradient: float
    token_gradient_standard_error: float
    samples: int


@dataclass(frozen=True, kw_only=True)
class GainRow:
    """What of the gradient reaches layer `layer` when every weight matrix is `gain` times as large."""

    variant: str
    gain: float
    layer: int
    gradient: float
    standard_error: float
    token_gradient: float
    token_gradient_standard_error: float
    samples: int


@dataclass(frozen=True, kw_only=True)
class DepthRecord:
    """All that was found."""

    config: DepthConfig
    rows: Sequence[DepthRow]
    gains: Sequence[GainRow]
    #: of attention alone, for each layer that all seeds were followed through: the power p of a `Collapse`, mean over
    #: the seeds
    powers: Sequence[Quantity]


def steps(config: DepthConfig) -> int:
    """How often `run` calls `advance`."""
    return len(dict.fromkeys(config.variants)) * len(GAINS) * config.seeds


@np.errstate(over="ignore", invalid="ignore")  # hundreds of layers outgrow float64: the result says so
def run(
    config: DepthConfig, *, advance: Callable[[], None] = lambda: None, max_bytes: int | None = None
) -> DepthRecord:
    """Run every variant up and back down.

    Args:
        advance: called after each stack.
        max_bytes: of memory that may be used; None = no limit.

    Raises:
        UsageError: a setting that cannot be.
        MemoryRefused: the attention matrices would take more than max_bytes.
    """
    check(config, max_bytes)
    rows: list[DepthRow] = []
    gains: list[GainRow] = []
    powers: list[Quantity] = []
    with single_threaded_products():  # they are small
        found = profiles(config, advance)
    for name in dict.fromkeys(config.variants):
        for gain in GAINS:
            of_layers = list(layer_rows(name, found[name, gain]))
            gains += [gain_row(gain, row) for row in of_layers]
            if gain == 1:
                rows += of_layers
                powers += collapse_powers(found[name, gain])
    return DepthRecord(config=config, rows=rows, gains=gains, powers=powers)


def profiles(config: DepthConfig, advance: Callable[[], None]) -> dict[tuple[str, float], list[Profile]]:
    """Every variant's profiles at every gain, by seed; variants that have the same weights share them as drawn."""
    names = list(dict.fromkeys(config.variants))
    found: dict[tuple[str, float], list[Profile]] = {(name, gain): [] for name in names for gain in GAINS}
    for repeat in range(config.seeds):
        for feed_forward in (False, True):
            alike = [name for name in names if VARIANTS[name].feed_forward == feed_forward]
            for name, gain, one in of_one_stack(config, repeat, alike, feed_forward=feed_forward):
                found[name, gain].append(one)
                advance()
    return found


def of_one_stack(
    config: DepthConfig, repeat: int, names: Sequence[str], *, feed_forward: bool
) -> Iterator[tuple[str, float, Profile]]:
    """The profiles of variants that have the same weights, at every gain; no more than two stacks are held."""
    if not names:
        return
    drawn = first_weights(config, block_spec(config, feed_forward=feed_forward), repeat)
    for gain in GAINS:
        weights = larger(drawn, gain)
        for name in names:
            yield name, gain, profile(config, VARIANTS[name], gain, repeat, weights=weights)
        del weights  # before others are made


def layer_rows(variant: str, profiles: Sequence[Profile]) -> Iterator[DepthRow]:
    """The profiles' means with their standard errors, a row per state."""
    for layer in range(len(profiles[0].residuals)):
        residual = mean_and_error([one.residuals[layer] for one in profiles])
        gradient = mean_and_error([one.gradients[layer] for one in profiles])
        between = mean_and_error([one.token_gradients[layer] for one in profiles])
        followed = [value for one in profiles if (value := one.unrounded[layer]) is not None]
        yield DepthRow(
            variant=variant,
            layer=layer,
            relative_residual=residual[0],
            standard_error=residual[1],
            unrounded=sum(followed) / len(followed) if len(followed) == len(profiles) else None,
            gradient=gradient[0],
            gradient_standard_error=gradient[1],
            token_gradient=between[0],
            token_gradient_standard_error=between[1],
            samples=len(profiles),
        )


def gain_row(gain: float, row: DepthRow) -> GainRow:
    """The gradients of a row, measured with weights of that size."""
    return GainRow(
        variant=row.variant,
        gain=gain,
        layer=row.layer,
        gradient=row.gradient,
        standard_error=row.gradient_standard_error,
        token_gradient=row.token_gradient,
        token_gradient_standard_error=row.token_gradient_standard_error,
        samples=row.samples,
    )


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))


def collapse_powers(profiles: Sequence[Profile]) -> list[Quantity]:
    """The power of each layer that all seeds were followed through: none but for attention alone."""
    of_layers = zip(*(one.powers for one in profiles), strict=False)  # one seed may be followed further than another
    found = [mean_and_error(of_layer) for of_layer in of_layers]
    return [Quantity(value=mean, standard_error=error, n=len(profiles)) for mean, error in found]
