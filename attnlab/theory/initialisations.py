"""The score variance that a block starts with, from how its W_Q and W_K are drawn.

With independent entries of mean 0 and standard deviation σ, M = W_Q W_Kᵀ and c = 1/√d_k, the scores of standard normal
tokens have variance c²‖M‖_F², and over the drawing E c²‖M‖_F² = c² d² d_k σ⁴ = (d σ²)², whatever the width of a head.
"""

import math
from typing import NamedTuple

from attnlab.theory.products import ENTRY_KURTOSIS, Distribution


class Start(NamedTuple):
    """One common way to draw W_Q and W_K."""

    name: str
    d_model: int
    #: of one head
    d_k: int
    distribution: Distribution
    #: σ of each entry
    deviation: float

    @property
    def score_variance(self) -> float:
        """E c²‖M‖_F² = (d σ²)²; Xavier with fan-in d and fan-out d_k: (2d/(d + d_k))²."""
        return (self.d_model * self.deviation**2) ** 2

    @property
    def between_heads(self) -> float:
        """The standard deviation of c²‖M‖_F² from one head to the next.

        Source: derived here. ‖M‖_F² = Σ_r w_rᵀ G w_r over the rows w_r of W_Q, G = W_KᵀW_K: given G its variance is
        d σ⁴ [2 tr G² + (κ − 3) Σ G_ii²], and its mean d σ² tr G; both are averaged over W_K.
        """
        d, width, kappa = self.d_model, self.d_k, ENTRY_KURTOSIS[self.distribution]
        trace_of_square = d * width * (width + d + kappa - 2)
        diagonal_squares = width * d * (d + kappa - 1)
        given = d * (2 * trace_of_square + (kappa - 3) * diagonal_squares)
        between = d**3 * width * (kappa - 1)
        return self.deviation**4 * math.sqrt(given + between) / width


def xavier_deviation(fan_in: int, fan_out: int) -> float:
    """√(2/(fan_in + fan_out)).

    Source: Glorot & Bengio 2010, eq. 16 (uniform on ±√(6/(fan_in + fan_out))).
    """
    return math.sqrt(2 / (fan_in + fan_out))


def linear_deviation(fan_in: int) -> float:
    """1/√(3 fan_in).

    Source: torch.nn.Linear.reset_parameters: uniform on ±1/√fan_in (its biases, which add O(1/d), left out).
    """
    return math.sqrt(1 / (3 * fan_in))


def common_starts() -> tuple[Start, ...]:
    """What blocks in use start with.

    Sources: torch.nn.MultiheadAttention, which draws W_Q, W_K, W_V as one (3d, d) matrix; Radford et al. 2019 for 0.02.
    """
    return (
        Start("Xavier-uniform, head by head", 512, 64, "uniform", xavier_deviation(512, 64)),
        Start("Xavier-uniform, matrix whole", 512, 64, "uniform", xavier_deviation(512, 512)),
        Start("torch's fused in_proj", 512, 64, "uniform", xavier_deviation(512, 3 * 512)),
        Start("torch.nn.Linear's default", 512, 64, "uniform", linear_deviation(512)),
        Start("N(0, 0.02), GPT-2's width", 768, 64, "normal", 0.02),
        Start("N(0, 0.02), a wide model", 4096, 128, "normal", 0.02),
    )
