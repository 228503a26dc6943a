"""Sums over the rows of a panel while its tiles go by, relative to a shift per row that a larger logit may raise."""

from typing import NamedTuple

import numpy as np

from attnlab.maths.precision import Array
from attnlab.maths.tiles import Moments, TileSums


class Totals(NamedTuple):
    """Of whole rows; (B,) float64, weights relative to the row's largest logit, whose own weight is 1."""

    #: the largest logit; -inf where no key is visible
    largest: Array
    #: e^(shift − largest), 0 where no key is visible: makes these of the weights relative to the shift
    share: Array
    #: over the other keys: Σ w, Σ w², Σ w·(logit − largest)
    others: Array
    square: Array
    slope: Array
    #: over all keys: Σ w·abs(i − j)
    distance: Array


class Running:
    """Sums over the tiles so far; every array is (B,) float64 unless said."""

    def __init__(self, height: int, width: int) -> None:
        #: -inf where nothing has been visible yet
        self.shift = np.full(height, -np.inf)
        #: the largest logit − shift
        self.top = np.full(height, -np.inf)
        self.total = np.zeros(height)
        self.square = np.zeros(height)
        #: Σ w·(logit − shift)
        self.slope = np.zeros(height)
        self.distance = np.zeros(height)
        #: (B, width): Σ w v
        self.output = np.zeros((height, width))

    @property
    def subtracted(self) -> Array:
        """What logits are taken relative to: the shift, or 0 where there is none yet."""
        return np.where(np.isneginf(self.shift), 0.0, self.shift)

    def add(self, tile: TileSums) -> None:
        """Add a tile's sums, once the shift that they are relative to is taken over."""
        if tile.shift is not None:
            self._raise(tile.shift)
        np.maximum(self.top, tile.top, out=self.top)
        self.total += tile.total
        self.square += tile.square
        self.slope += tile.slope
        if tile.distance is not None:
            self.distance += tile.distance

    def _raise(self, shift: Array) -> None:
        """Say all sums relative to a raised shift; rows without one have no sums to say."""
        raised = np.where(np.isneginf(self.shift), 0.0, shift - self.shift)
        kept = np.exp(-raised)
        self.shift = shift
        self.top -= raised
        self.slope -= raised * self.total
        for sums in (self.total, self.slope, self.distance):
            sums *= kept
        self.square *= np.square(kept)
        self.output *= kept[:, None]

    def totals(self) -> Totals:
        """The sums relative to each row's largest logit, the largest weight taken out where that is asked for."""
        seen = np.isfinite(self.top)
        top = np.where(seen, self.top, 0)
        weight = np.exp(top)
        share = np.where(seen, 1 / weight, 0)
        return Totals(
            largest=np.where(seen, self.subtracted + top, -np.inf),
            share=share,
            others=np.where(seen, np.maximum(self.total * share - 1, 0), 0),
            square=np.where(seen, np.maximum(self.square * np.square(share) - 1, 0), 0),
            slope=np.where(seen, (self.slope - top * self.total) * share, 0),
            distance=self.distance * share,
        )


def merged(one: Moments, other: Moments) -> Moments:
    """Count, mean and Σ (score − mean)² of two parts of a row.

    Source: Chan, Golub and LeVeque 1983.
    """
    if not other.entries.any():
        return one
    entries = one.entries + other.entries
    apart = other.mean - one.mean
    share = other.entries / np.maximum(entries, 1)
    return Moments(entries, one.mean + apart * share, one.m2 + other.m2 + np.square(apart) * one.entries * share)
