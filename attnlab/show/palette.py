"""Colours that keep their meaning in every picture, and that colour-blind readers can tell apart.

Roles and lines: Okabe and Ito 2008, "Color Universal Design". The scale of heat maps, in the terminal and in figures:
viridis (van der Walt and Smith 2015), which rises evenly in lightness, so that it survives a grey printer too.
"""

from typing import NamedTuple

import numpy as np

from attnlab.records import FloatArray

#: One colour for each part of attention.
QUERY = "#e69f00"
KEY = "#56b4e9"
VALUE = "#009e73"
OUTPUT = "#cc79a7"

#: A prediction is this colour, and nothing else is.
THEORY = "#d55e00"
#: Measured series, in order.
MEASURED = ("#0072b2", "#009e73", "#e69f00", "#cc79a7", "#56b4e9")


class Colour(NamedTuple):
    """Red, green and blue, each 0 to 255."""

    red: int
    green: int
    blue: int


BLACK = Colour(0, 0, 0)
WHITE = Colour(255, 255, 255)
#: A cell without a number.
MISSING = Colour(160, 160, 160)

_VIRIDIS = (
    Colour(68, 1, 84),
    Colour(71, 45, 123),
    Colour(59, 82, 139),
    Colour(44, 114, 142),
    Colour(33, 145, 140),
    Colour(40, 174, 128),
    Colour(94, 201, 98),
    Colour(173, 220, 48),
    Colour(253, 231, 37),
)


#: Where the mean is less than this share of the largest number, all but a few cells would be black on an even scale.
_SKEWED = 1 / 20


class Scale(NamedTuple):
    """Where numbers lie between the heat map's dark end, 0, and its bright end."""

    largest: float
    #: 1: evenly; 0.5: by their square roots
    power: float

    @classmethod
    def of(cls, values: FloatArray) -> "Scale":
        """The scale of a grid of non-negative numbers: by square roots where a few of them tower over the rest."""
        finite = values[np.isfinite(values)]
        largest = float(finite.max(initial=0.0))
        skewed = largest > 0 and float(finite.mean(dtype=np.float64)) < _SKEWED * largest
        return cls(largest, 0.5 if skewed else 1.0)

    def fraction(self, value: float) -> float:
        """The share of the scale at which `value` lies, 0 to 1; NaN where it is not finite."""
        if not np.isfinite(value):
            return np.nan
        return float(max(value, 0.0) / self.largest) ** self.power if self.largest > 0 else 0.0


def shade(fraction: float) -> Colour:
    """The heat map's colour at `fraction` of its scale: 0 dark, 1 bright; NaN is `MISSING`."""
    if fraction != fraction:
        return MISSING
    place = min(max(fraction, 0.0), 1.0) * (len(_VIRIDIS) - 1)
    step = min(int(place), len(_VIRIDIS) - 2)
    low, high = _VIRIDIS[step], _VIRIDIS[step + 1]
    return Colour(*(round(a + (b - a) * (place - step)) for a, b in zip(low, high, strict=True)))


def ink(background: Colour) -> Colour:
    """Black or white, whichever stands out more: contrast as WCAG 2 defines it."""
    red, green, blue = (_linear(part / 255) for part in background)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    # The two contrasts, (1 + 0.05) / (L + 0.05) with white and (L + 0.05) / 0.05 with black, are equal here.
    return BLACK if luminance > (1.05 * 0.05) ** 0.5 - 0.05 else WHITE


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
