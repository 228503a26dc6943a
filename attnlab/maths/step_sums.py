"""What is said of a block's steps, from some of their tokens at a time."""

from dataclasses import dataclass

import numpy as np

from attnlab.maths.precision import Array


@dataclass(frozen=True)
class StepSums:
    """Of one step's numbers: how many, their mean, and Σ (x − mean)²; of its tokens: how many, and Σ ‖token‖."""

    count: int = 0
    mean: float = 0.0
    m2: float = 0.0
    tokens: int = 0
    length: float = 0.0

    @classmethod
    def of(cls, step: Array) -> "StepSums":
        """Of some tokens (k, width), in float64 and two passes."""
        wide = step.astype(np.float64)
        length = float(np.linalg.norm(wide, axis=-1).sum())
        mean = float(wide.mean()) if wide.size else 0.0
        wide -= mean
        return cls(wide.size, mean, float(np.square(wide, out=wide).sum()), len(step), length)

    @property
    def variance(self) -> float:
        """Of all the numbers about their common mean; NaN of none."""
        return self.m2 / self.count if self.count else np.nan

    @property
    def norm(self) -> float:
        """The mean length of a token; NaN of none."""
        return self.length / self.tokens if self.tokens else np.nan

    def merged(self, other: "StepSums") -> "StepSums":
        """Both together.

        Source: Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance", equation 2.1.
        """
        count = self.count + other.count
        apart, share = other.mean - self.mean, other.count / max(count, 1)
        return StepSums(
            count,
            self.mean + share * apart,
            self.m2 + other.m2 + apart * apart * self.count * share,
            self.tokens + other.tokens,
            self.length + other.length,
        )
