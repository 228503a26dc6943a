"""The statistics of an attention whose matrix is at hand."""

import numpy as np

from attnlab.maths.attention import AttentionSteps
from attnlab.maths.precision import Array
from attnlab.maths.rows import row_sums
from attnlab.maths.statistics import HeadStatistics, asymmetry, head_statistics

#: The statistics that need query i and key i to be the same token.
SQUARE_ONLY = ("self_mass", "previous_mass", "next_mass", "distance", "asymmetry")


def dense_statistics(steps: AttentionSteps, v: Array, *, causal: bool = False) -> HeadStatistics:
    """Every statistic of an attention, per head.

    Args:
        steps: the attention in full view, (…, h, n, m).
        v: (…, g, m, e) its values, or (…, h, m, e).
        causal: that the future is hidden; the asymmetry then says nothing and is not given.
    """
    *_, h, n, m = steps.scores.shape
    reasons: dict[str, str] = {}
    skewness = None
    if n != m:
        reasons = dict.fromkeys(SQUARE_ONLY, f"{n} queries and {m} keys are not the same tokens")
    elif causal:
        reasons["asymmetry"] = "causal: the half above the diagonal is hidden"
        reasons["next_mass"] = "causal: no query sees the key after it"
    else:
        skewness = asymmetry(steps.weights)
        if np.isnan(skewness).any():
            reasons["asymmetry"] = "a row is not finite, or every row is empty"
    per_query_head = np.repeat(v, h // v.shape[-3], axis=-3)
    return head_statistics(row_sums(steps, per_query_head), skewness, reasons)
