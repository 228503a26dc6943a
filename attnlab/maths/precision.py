"""Which numbers attention computes in: half inputs in float32, returned as they came; float64 stays float64."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from attnlab.errors import ShapeError

Array = NDArray[Any]

#: bfloat16 is ml_dtypes' and is known here by its name alone, so that nothing need be imported for it.
HALF = ("float16", "bfloat16")
FLOATS = (*HALF, "float32", "float64")


def common_dtype(arrays: Mapping[str, Array | None]) -> np.dtype[Any]:
    """The dtype that results come back in: numpy's `result_type` of the arrays given.

    Raises:
        ShapeError: an array is not of floating numbers, or two are halves of different kinds; arrays are named by
            the keyword they were given by.
    """
    given = {name: array for name, array in arrays.items() if array is not None}
    for name, array in given.items():
        if array.dtype.name not in FLOATS:
            raise ShapeError(f"{name}: dtype {array.dtype}; expected one of {', '.join(FLOATS)}")
    try:
        return np.result_type(*given.values())
    except np.exceptions.DTypePromotionError:
        kinds = ", ".join(f"{name} {array.dtype}" for name, array in given.items())
        raise ShapeError(f"{kinds}: dtypes without a common one; expected float16 or bfloat16, not both") from None


def working_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """The dtype to compute in: float32 for half precision, else the dtype itself."""
    return np.dtype(np.float32) if np.dtype(dtype).name in HALF else np.dtype(dtype)


def rounded(array: Array, dtype: DTypeLike) -> Array:
    """The array in `dtype`; what is too large for it becomes inf, without a warning."""
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(dtype, copy=False)
