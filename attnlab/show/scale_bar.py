"""What a heat map's shades mean: the terminal's own, as matplotlib takes them, and the bar that says so."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from attnlab.records import Grid
from attnlab.show import palette
from attnlab.show.canvas import drawable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure

#: Characters of a label: of an inch, and at least.
_COLUMNS_AN_INCH, _FEWEST_COLUMNS = 13, 12
#: Shades from the scale's dark end to its bright one.
STEPS = 256


def shading(scale: palette.Scale) -> "tuple[Colormap, Normalize]":
    """The terminal's shades, with its grey for what is no number, and where on them a number lies."""
    from matplotlib.colors import ListedColormap, PowerNorm

    shades = ListedColormap([fractions(palette.shade(step / (STEPS - 1))) for step in range(STEPS)])
    missing = fractions(palette.MISSING)
    return shades.with_extremes(bad=missing), PowerNorm(scale.power, vmin=0.0, vmax=scale.largest or 1.0)


def mappable(scale: palette.Scale) -> "ScalarMappable":
    """Numbers to shades."""
    from matplotlib.cm import ScalarMappable

    shades, norm = shading(scale)
    return ScalarMappable(norm, shades)


def fractions(colour: palette.Colour) -> tuple[float, float, float]:
    """Red, green and blue, each 0 to 1."""
    return colour.red / 255, colour.green / 255, colour.blue / 255


def colour_bar(figure: "Figure", axes: "Axes", grids: Sequence[Grid], scale: palette.Scale) -> None:
    """The scale beside the axes, with what its numbers are and what cells without one look like."""
    label = drawable(grids[0].quantity)
    if scale.power != 1:
        label += ", shades by square root"
    if not all(np.isfinite(grid.values if grid.hidden is None else grid.values[~grid.hidden]).all() for grid in grids):
        label += "; grey: not a number"
    if any(grid.hidden is not None and grid.hidden.any() for grid in grids):
        label += "; hatched: hidden by the mask"
    columns = max(_FEWEST_COLUMNS, int(_COLUMNS_AN_INCH * (figure.get_figheight() - 1)))
    figure.colorbar(mappable(scale), ax=axes, label=textwrap.fill(label, columns), fraction=0.05, pad=0.02)
