"""What attention is asked to do, checked once: shapes, dtypes and settings, for every path that computes it."""

import math
from typing import Any, NamedTuple

import numpy as np

from attnlab.errors import ShapeError
from attnlab.maths.panels import PanelFunction
from attnlab.maths.precision import Array, common_dtype, working_dtype
from attnlab.maths.visibility import broadcastable, check_window


class AttentionInputs(NamedTuple):
    """Checked inputs, in the dtype to compute in, with query heads grouped by the key/value head that they use.

    r = h/g query heads share a key/value head; their queries stand one after the other in one axis of r·n rows.
    """

    #: (…, g, r·n, d)
    q: Array
    #: (…, g, m, d)
    k: Array
    #: (…, g, m, e)
    v: Array
    #: boolean, broadcastable to `shape`, or a function of a panel; None = everything may be seen
    mask: Array | PanelFunction | None
    #: floating, broadcastable to `shape`, or a function of a panel; None = nothing is added
    bias: Array | PanelFunction | None
    causal: bool
    window: int | None
    scale: float
    softcap: float | None
    #: of the scores: (…, h, n, m)
    shape: tuple[int, ...]
    #: what results come back in
    dtype: np.dtype[Any]
    #: whether the caller gave a head axis, and gets one back
    headed: bool

    @property
    def hides(self) -> bool:
        """Whether some key may be hidden from some query (a bias can, by -inf)."""
        return self.causal or self.window is not None or self.mask is not None or self.bias is not None

    def returned(self, array: Array) -> Array:
        """The array as the caller's arrays came: without the head axis that was added for them."""
        return array if self.headed else array[0]


def attention_inputs(
    q: Array,
    k: Array,
    v: Array,
    *,
    mask: Array | PanelFunction | None,
    bias: Array | PanelFunction | None,
    causal: bool,
    window: int | None,
    scale: float | None,
    softcap: float | None,
) -> AttentionInputs:
    """Check and group the inputs of attention; see `attnlab.attention` for their meaning. For scores alone, v is k.

    A bias that is a function does not take part in the common dtype: what it returns is converted to it.

    Raises:
        ShapeError: widths, heads, lengths, dtypes or settings that do not go together.
    """
    q, k, v = np.asarray(q), np.asarray(k), np.asarray(v)
    mask = mask if mask is None or callable(mask) else np.asarray(mask)
    bias = bias if bias is None or callable(bias) else np.asarray(bias)
    check_mask_and_bias(None if callable(mask) else mask, None if callable(bias) else bias)
    check_window(window, causal=causal)
    dtype = common_dtype({"q": q, "k": k, "v": v, "bias": None if callable(bias) else bias})
    headed = check_axes(q, k, v)
    if not headed:
        q, k, v = q[None], k[None], v[None]
    lead = leading_shape(q, k, v)
    shape = (*lead, q.shape[-3], q.shape[-2], k.shape[-2])
    working = working_dtype(dtype)
    if bias is not None and not callable(bias):
        bias = broadcastable("bias", bias, shape).astype(working, copy=False)
    return AttentionInputs(
        q=grouped(q.astype(working, copy=False), lead, k.shape[-3]),
        k=spread(k.astype(working, copy=False), lead),
        v=spread(v.astype(working, copy=False), lead),
        mask=mask if mask is None or callable(mask) else broadcastable("mask", mask, shape),
        bias=bias,
        causal=causal,
        window=None if window is None else int(window),
        scale=checked_scale(scale, q.shape[-1], working),
        softcap=checked_softcap(softcap, working),
        shape=shape,
        dtype=dtype,
        headed=headed,
    )


def check_mask_and_bias(mask: Array | None, bias: Array | None) -> None:
    """A mask is boolean and a bias is not; each given for the other is a mistake, told as such."""
    if mask is not None and mask.dtype != np.bool_:
        raise ShapeError(f"mask: dtype {mask.dtype}; expected bool, True = may attend (numbers to add go in bias)")
    if bias is not None and bias.dtype == np.bool_:
        raise ShapeError("bias: dtype bool; expected floating numbers to add to the scores (booleans go in mask)")


def check_axes(q: Array, k: Array, v: Array) -> bool:
    """Whether q, k and v have a head axis, once their widths, lengths and heads are known to agree."""
    arrays = {"q": q, "k": k} if v is k else {"q": q, "k": k, "v": v}
    shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
    axes = {array.ndim for array in arrays.values()}
    if not (axes == {2} or min(axes) >= 3):
        raise ShapeError(f"{shapes}; expected (n, d) for all, or (…, heads, n, d) for all")
    if q.shape[-1] != k.shape[-1]:
        raise ShapeError(f"k: width {k.shape[-1]}; expected {q.shape[-1]}, set by q ({shapes})")
    if q.shape[-1] == 0:
        raise ShapeError(f"q: width 0; expected a width of 1 or more ({shapes})")
    if v.shape[-2] != k.shape[-2]:
        raise ShapeError(f"v: {v.shape[-2]} keys; expected {k.shape[-2]}, set by k ({shapes})")
    headed = axes != {2}
    if headed and v.shape[-3] != k.shape[-3]:
        raise ShapeError(f"v: {v.shape[-3]} heads; expected {k.shape[-3]}, set by k ({shapes})")
    if headed and (k.shape[-3] == 0 or q.shape[-3] % k.shape[-3]):
        raise ShapeError(f"k: {k.shape[-3]} heads; expected a number that divides q's {q.shape[-3]} ({shapes})")
    return headed


def leading_shape(q: Array, k: Array, v: Array) -> tuple[int, ...]:
    """The axes before the heads, broadcast together."""
    leads = [array.shape[:-3] for array in (q, k, v)]
    try:
        return np.broadcast_shapes(*leads)
    except ValueError:
        raise ShapeError(f"leading axes {' and '.join(map(str, leads))} of q, k, v do not broadcast") from None


def grouped(q: Array, lead: tuple[int, ...], groups: int) -> Array:
    """(…, h, n, d) → (…, g, r·n, d): the queries that share a key/value head, in one axis of rows."""
    h, n, d = q.shape[-3:]
    return spread(q, lead).reshape(*lead, groups, h // groups * n, d)


def spread(array: Array, lead: tuple[int, ...]) -> Array:
    """The array with its leading axes broadcast to `lead`."""
    return np.broadcast_to(array, (*lead, *array.shape[-3:]))


def checked_scale(scale: float | None, d: int, working: np.dtype[Any]) -> float:
    """1/√d, or the number given, which the dtype computed in must be able to hold."""
    if scale is None:
        return 1 / math.sqrt(d)
    given = number_or_nan(scale)
    if not abs(given) <= float(np.finfo(working).max):
        raise ShapeError(f"scale: {scale}; expected a number that is finite in {working}, or None for 1/√d")
    return given


def checked_softcap(softcap: float | None, working: np.dtype[Any]) -> float | None:
    """None, or the positive number given, which the dtype computed in must be able to hold."""
    if softcap is None:
        return None
    given = number_or_nan(softcap)
    if not float(np.finfo(working).tiny) <= given <= float(np.finfo(working).max):
        raise ShapeError(f"softcap: {softcap}; expected a number above 0 that is finite in {working}, or None")
    return given


def number_or_nan(setting: Any) -> float:
    """A setting as a Python float, NaN when it is no number: a NumPy scalar would meet the limits in its own dtype."""
    try:
        return math.nan if isinstance(setting, str) else float(setting)
    except (TypeError, ValueError, OverflowError):
        return math.nan
