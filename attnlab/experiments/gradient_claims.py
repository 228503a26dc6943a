"""Two things said of exp(‖s‖), tried: that a gradient follows it, and where exp itself gives up."""

from dataclasses import dataclass

import ml_dtypes
import numpy as np

from attnlab.maths.jacobian import jacobian
from attnlab.maths.softmax import softmax
from attnlab.maths.weights import stream
from attnlab.theory.gradients import expected_largest_score, overflow_score, overflow_width

#: What is added to every score.
SHIFT = 100.0
#: After the role, where other streams have their d_k, which is never 0.
_TRIAL = 0


@dataclass(frozen=True, kw_only=True)
class ShiftTrial:
    """The same softmax of s and of s + t: ‖s‖ changes at will, J does not."""

    shift: float
    #: ‖s‖ and ‖s + t‖
    norm: float
    shifted_norm: float
    #: the largest change of an entry of J
    jacobian_change: float


@dataclass(frozen=True, kw_only=True)
class Overflow:
    """Where exp of a score is infinite in a format."""

    dtype: str
    #: exp of a larger score is infinite
    score: float
    #: so is the sum of exp over n equal scores of more than this
    sum_score: float
    #: the smallest d_k at which the largest of n unscaled scores is expected to pass `score`
    d_k: int


def shift_trial(seed: int, n: int) -> ShiftTrial:
    """J of n standard normal scores, and of the same scores with SHIFT added."""
    s = stream(seed, "gradient", _TRIAL).standard_normal(n)
    before, after = (jacobian(softmax(scores).weights) for scores in (s, s + SHIFT))
    return ShiftTrial(
        shift=SHIFT,
        norm=float(np.linalg.norm(s)),
        shifted_norm=float(np.linalg.norm(s + SHIFT)),
        jacobian_change=float(np.abs(after - before).max()),
    )


def overflows(n: int) -> list[Overflow]:
    """float16, bfloat16 and float32, from the largest number that each can hold."""
    found = []
    for dtype in (np.float16, ml_dtypes.bfloat16, np.float32):
        largest = float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]  # ml_dtypes does not say
        found.append(
            Overflow(
                dtype=np.dtype(dtype).name,
                score=overflow_score(largest),
                sum_score=overflow_score(largest / n),
                d_k=overflow_width(n, largest),
            )
        )
    return found


def largest_scaled_score(n: int) -> float:
    """The largest of n scaled scores is expected below this at every d_k: E‖q‖ is less than √d_k."""
    return expected_largest_score(n, 1 << 40) / float(1 << 20)
