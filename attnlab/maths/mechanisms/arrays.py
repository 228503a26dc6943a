"""What the mechanisms take: q, k and v of one shape but for the values' width, in float32 or float64."""

from typing import NamedTuple

from attnlab.errors import ShapeError
from attnlab.maths.inputs import check_axes
from attnlab.maths.precision import Array, common_dtype, working_dtype


class Heads(NamedTuple):
    """Queries, keys and values with a head axis, in the dtype to compute in."""

    #: (h, n, d)
    q: Array
    #: (h, n, d)
    k: Array
    #: (h, n, e)
    v: Array
    #: whether the caller gave the head axis, and gets it back
    headed: bool

    def returned(self, output: Array) -> Array:
        """The output as the caller's arrays came: without the head axis that was added for them."""
        return output if self.headed else output[0]


def self_attention_heads(q: Array, k: Array, v: Array) -> Heads:
    """Check the inputs of a self-attention: (h, n, d) or (n, d), as many keys as queries, a key/value head for each.

    Raises:
        ShapeError: shapes or dtypes that do not go together.
    """
    working = working_dtype(common_dtype({"q": q, "k": k, "v": v}))
    headed = check_axes(q, k, v)
    if q.shape != k.shape or q.ndim > 3:
        raise ShapeError(f"q {q.shape}, k {k.shape}; expected the same (h, n, d) or (n, d) for both")
    q, k, v = (array.astype(working, copy=False) for array in (q, k, v))
    return Heads(q, k, v, True) if headed else Heads(q[None], k[None], v[None], False)
