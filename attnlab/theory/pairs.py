"""Which pairs of tokens are scored, and the variance of q·k over them: order, windows and rotary positions.

Stated here anew, and not taken from `maths`: a prediction that calls what it predicts agrees with itself.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: Up to so many tokens all scores of all draws are made at once; beyond, block by block of queries.
WHOLE, BLOCK = 96, 128


class Rotation(NamedTuple):
    """Rotary positions: pairs of coordinates that turn together as q and k move from token to token."""

    #: (w/2,) by token, in radians
    angles: Array
    #: coordinate 2j with 2j + 1, and not j with j + w/2
    interleaved: bool = False

    @property
    def pairs(self) -> tuple[slice, slice]:
        """Which coordinates turn together: the first of each pair, and the second."""
        half = len(self.angles)
        if self.interleaved:
            return slice(0, 2 * half, 2), slice(1, 2 * half, 2)
        return slice(0, half), slice(half, 2 * half)

    def planes(self, x: Array) -> tuple[Array, Array]:
        """Vectors x (…, d) as one complex number for each pair, and the coordinates that do not turn."""
        one, other = self.pairs
        return x[..., one] + 1j * x[..., other], x[..., 2 * len(self.angles) :]

    def turned(self, x: Array, steps: Array) -> Array:
        """Vectors x (…, d), each turned by as many tokens as `steps` (broadcastable to x's leading axes) says."""
        one, other = self.pairs
        phase = np.asarray(steps, dtype=np.float64)[..., None] * self.angles
        cos, sin = np.cos(phase).astype(x.dtype), np.sin(phase).astype(x.dtype)
        found, a, b = x.copy(), x[..., one], x[..., other]
        found[..., one], found[..., other] = a * cos - b * sin, a * sin + b * cos
        return found


def rotation(
    width: int,
    *,
    base: float,
    interleaved: bool = False,
    factor: float = 1.0,
    slow_turns: float | None = None,
    fast_turns: float | None = None,
    original_length: int = 1,
) -> Rotation:
    """The rotation of `width` coordinates by base^(−2j/width) a token.

    Stretched: angles divided by `factor`; where slow_turns and fast_turns are given only those of fewer turns in the
    original length than the first, none of more than the second, and in between in proportion (LLaMA 3).
    """
    angles = np.exp(-math.log(base) * np.arange(0, width, 2) / width)
    if slow_turns is None or fast_turns is None:
        return Rotation(angles / factor, interleaved)
    turns = angles * original_length / math.tau
    share = np.minimum(np.maximum((turns - slow_turns) / (fast_turns - slow_turns), 0.0), 1.0)
    return Rotation(angles * (share + (1 - share) / factor), interleaved)


class Places(NamedTuple):
    """n tokens, and which pairs (i, j) of them are scored."""

    n: int
    #: j ≤ i only
    causal: bool = False
    #: i − j < window when causal, else abs(i − j) ≤ window
    window: int | None = None
    rotation: Rotation | None = None

    @property
    def everything(self) -> bool:
        """Whether all pairs are scored, and alike wherever they stand."""
        return not self.causal and self.window is None and self.rotation is None

    @property
    def reach(self) -> tuple[int, int]:
        """The least and the largest i − j."""
        far = self.n - 1
        if self.window is not None:
            far = min(far, self.window - 1 if self.causal else self.window)
        return (0 if self.causal else -far), far

    @property
    def steps(self) -> Array:
        """Every i − j that occurs, in order."""
        low, high = self.reach
        return np.arange(low, high + 1)

    @property
    def counts(self) -> Array:
        """How many pairs stand so far apart, by `steps`."""
        return self.n - np.abs(self.steps)

    def visible(self) -> Array:
        """(n, n) boolean."""
        low, high = self.reach
        apart = np.arange(self.n)[:, None] - np.arange(self.n)
        seen: Array = (apart >= low) & (apart <= high)
        return seen


def pair_variances(q: Array, k: Array, places: Places) -> Array:
    """The variance of q_i·k_j over the visible pairs about their own mean: (draws, n, d) each -> (draws,).

    q and k are as they were projected: they are turned here.
    """
    if places.everything:
        return _of_all_pairs(q, k)
    if places.rotation is not None:
        at = np.arange(places.n)
        q, k = places.rotation.turned(q, at), places.rotation.turned(k, at)
    if places.n <= WHOLE:
        scores = (q @ k.swapaxes(-1, -2)).astype(np.float64)
        found: Array = scores[:, places.visible()].var(axis=-1)
        return found
    return np.array([_by_blocks(*pair, places) for pair in zip(q, k, strict=True)])


def _of_all_pairs(q: Array, k: Array) -> Array:
    """tr(Σ_q Σ_k) + μ_qᵀΣ_k μ_q + μ_kᵀΣ_q μ_k of each draw: no score is made, unless d is the larger."""
    n = q.shape[1]
    mean_q, mean_k = (x.mean(axis=1, keepdims=True, dtype=np.float64) for x in (q, k))
    q, k = q - mean_q, k - mean_k
    turned = k.swapaxes(1, 2)
    along = np.square(mean_q @ turned).mean(axis=(1, 2)) + np.square(q @ mean_k.swapaxes(1, 2)).mean(axis=(1, 2))
    across = np.square(q @ turned) if n < q.shape[2] else (q.swapaxes(1, 2) @ q) * (turned @ k)
    found: Array = across.sum(axis=(1, 2)) / n**2 + along
    return found


def _by_blocks(q: Array, k: Array, places: Places) -> float:
    """The same of one draw, some queries at a time; what all of them see stands as two moments where order hides."""
    low, high = places.reach
    first = second = 0.0
    before = places.causal and places.window is None
    scatter, total = np.zeros((k.shape[1], k.shape[1])), np.zeros(k.shape[1])
    for start in range(0, places.n, BLOCK):
        stop = min(start + BLOCK, places.n)
        own = q[start:stop].astype(np.float64)
        begin = start if before else max(0, start - high)
        keys = k[begin : min(places.n, stop - low)].astype(np.float64)
        apart = np.arange(start, stop)[:, None] - np.arange(begin, begin + len(keys))
        scores = np.where((apart >= low) & (apart <= high), own @ keys.T, 0.0)
        first, second = first + float(scores.sum()), second + float(np.square(scores).sum())
        if before:
            first, second = first + float((own @ total).sum()), second + float(((own @ scatter) * own).sum())
            scatter += keys.T @ keys
            total += keys.sum(axis=0)
    count = float(places.counts.sum())
    return max(second / count - (first / count) ** 2, 0.0)
