"""Where the matrix product that numpy itself calls can be called from compiled code, without Python in between."""

import ctypes
from functools import cache
from typing import NamedTuple

import numpy as np

from attnlab.maths.precision import Array


class Products(NamedTuple):
    """The addresses of cblas_sgemm and cblas_dgemm, whose whole numbers are of 64 bits."""

    float32: int
    float64: int

    def address(self, dtype: str) -> int:
        """The one for a dtype."""
        return self.float32 if dtype == "float32" else self.float64


@cache
def products() -> Products | None:
    """numpy's own products, proved on a small one; None where numpy's library does not show them as OpenBLAS does."""
    from threadpoolctl import threadpool_info  # here: it looks at every library of the process

    for library in threadpool_info():
        if library["internal_api"] != "openblas":
            continue
        try:
            loaded = ctypes.CDLL(library["filepath"])
            found = [getattr(loaded, f"scipy_cblas_{kind}gemm64_") for kind in "sd"]
        except (OSError, AttributeError):
            continue
        if all(_multiplies(product, dtype) for product, dtype in zip(found, (np.float32, np.float64), strict=True)):
            return Products(*(ctypes.cast(product, ctypes.c_void_p).value or 0 for product in found))
    return None


def _multiplies(product: "ctypes._FuncPointer", dtype: type) -> bool:
    """Whether the function multiplies a 2 × 3 by a 3 × 5 matrix of this dtype."""
    a: Array = np.arange(6).reshape(2, 3).astype(dtype)
    b: Array = np.arange(15).reshape(3, 5).astype(dtype)
    c: Array = np.ones((2, 5)).astype(dtype)
    number = ctypes.c_float if dtype == np.float32 else ctypes.c_double
    sizes = [ctypes.c_int64(size) for size in (2, 5, 3)]
    row_major, as_it_is = ctypes.c_int(101), ctypes.c_int(111)
    pointer = [ctypes.c_void_p(array.ctypes.data) for array in (a, b, c)]
    widths = [ctypes.c_int64(size) for size in (3, 5, 5)]
    product(
        *(row_major, as_it_is, as_it_is, *sizes, number(1)),
        *(pointer[0], widths[0], pointer[1], widths[1], number(0), pointer[2], widths[2]),
    )
    return bool((c == a @ b).all())
