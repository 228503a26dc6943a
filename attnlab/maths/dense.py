"""The statistics of an attention whose matrix is at hand."""

import numpy as np

from attnlab.maths.attention import AttentionSteps
from attnlab.maths.precision import Array
from attnlab.maths.rows import lengths, row_sums
from attnlab.maths.statistics import NO_ASYMMETRY, HeadStatistics, asymmetry, head_statistics, place_reasons


def dense_statistics(steps: AttentionSteps, v: Array, *, causal: bool = False) -> HeadStatistics:
    """Every statistic of an attention, per head.

    Args:
        steps: the attention in full view, (…, h, n, m).
        v: (…, g, m, e) its values, or (…, h, m, e).
        causal: that the future is hidden; the asymmetry then says nothing and is not given.
    """
    *_, h, n, m = steps.scores.shape
    reasons = place_reasons(n, m, causal=causal)
    skewness = None
    if "asymmetry" not in reasons:
        skewness = asymmetry(steps.weights)
        if np.isnan(skewness).any():
            reasons["asymmetry"] = NO_ASYMMETRY
    value_norms = np.repeat(lengths(v), h // v.shape[-3], axis=-2)
    return head_statistics(row_sums(steps, value_norms), skewness, reasons)
