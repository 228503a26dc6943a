"""Linear attention: a feature map in the place of the softmax, so that keys and values are summed up once. O(N)."""

import numpy as np

from attnlab.maths.mechanisms.arrays import self_attention_heads
from attnlab.maths.precision import Array

#: Tokens taken at a time: their features stay in the cache, whatever N is.
TOKENS_HELD = 64


def positive_features(x: Array) -> Array:
    """φ(x) = elu(x) + 1: x + 1 above 0, e^x below. Always above 0, as the weights that are made of it must be.

    Source: Katharopoulos et al. 2020, equation 7.
    """
    features: Array = np.exp(np.minimum(x, 0))
    features += np.maximum(x, 0)
    return features


def linear_attention(q: Array, k: Array, v: Array) -> Array:
    """o_i = φ(q_i)·Σ_j φ(k_j) v_jᵀ / φ(q_i)·Σ_j φ(k_j): both sums are the same for every query, so time is O(N·d·e).

    Equal to Σ_j w_ij v_j with weights w_ij = φ(q_i)·φ(k_j) / Σ_l φ(q_i)·φ(k_l), which would take O(N²).

    Args:
        q: (h, n, d) or (n, d) queries.
        k: keys, of the same shape.
        v: (h, n, e) or (n, e) values.

    Raises:
        ShapeError: shapes or dtypes that do not go together.

    Source: Katharopoulos et al. 2020, section 3.2.
    """
    heads = self_attention_heads(q, k, v)
    h, n, d = heads.q.shape
    output = np.empty(heads.v.shape, heads.q.dtype)
    products = np.zeros((h, d, heads.v.shape[-1]), heads.q.dtype)
    normaliser = np.zeros((h, d, 1), heads.q.dtype)
    parts = [slice(start, start + TOKENS_HELD) for start in range(0, n, TOKENS_HELD)]
    for part in parts:
        keys = positive_features(heads.k[:, part])
        products += keys.swapaxes(-1, -2) @ heads.v[:, part]
        normaliser[..., 0] += keys.sum(axis=-2)
    for part in parts:
        queries = positive_features(heads.q[:, part])
        np.divide(queries @ products, queries @ normaliser, out=output[:, part])
    return heads.returned(output)
