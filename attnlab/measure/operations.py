"""Multiply-adds counted as they happen: arrays that note the shapes of every matrix product they take part in."""

from collections.abc import Iterable
from math import prod
from typing import Any, NamedTuple

import numpy as np

from attnlab.maths.precision import Array


class Product(NamedTuple):
    """One matrix product that was carried out."""

    #: of the array that noted it
    name: str
    multiply_adds: int


class CountedArray(np.ndarray[Any, np.dtype[Any]]):
    """An array that adds each of its matrix products to `ledger`, under its name.

    Views, slices, transposes and conversions of it count too; what is computed from it does not: results are plain
    arrays, so that each product is noted once, by the operand that was given to be watched (the right one of two).
    """

    name: str = ""
    ledger: list[Product] | None = None

    def __array_finalize__(self, source: object) -> None:
        """Views and copies take the name and the ledger with them."""
        if isinstance(source, CountedArray):
            self.name, self.ledger = source.name, source.ledger

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **settings: Any) -> Any:
        """The ufunc on plain arrays; a matrix product is noted first."""
        given = settings.get("out", ())
        if given:
            settings["out"] = tuple(map(plain, given))
        if ufunc is np.matmul and method == "__call__":
            watched = [array for array in inputs if isinstance(array, CountedArray)]
            if watched and watched[-1].ledger is not None:
                watched[-1].ledger.append(Product(watched[-1].name, multiply_adds(*map(np.shape, inputs))))
        result = getattr(ufunc, method)(*map(plain, inputs), **settings)
        return given[0] if len(given) == 1 else result


def counted(array: Array, name: str, ledger: list[Product]) -> CountedArray:
    """A view of the array that notes its matrix products in the ledger under that name."""
    view = array.view(CountedArray)
    view.name, view.ledger = name, ledger
    return view


def plain(array: Any) -> Any:
    """The array without its ledger."""
    return array.view(np.ndarray) if isinstance(array, CountedArray) else array


def multiply_adds(left: tuple[int, ...], right: tuple[int, ...]) -> int:
    """Those of the product of two stacks of matrices, (…, n, k) × (…, k, m): n·k·m for each."""
    stack = np.broadcast_shapes(left[:-2], right[:-2])
    return prod(stack) * left[-2] * left[-1] * right[-1]


def total(ledger: Iterable[Product], name: str | None = None) -> int:
    """All multiply-adds of a ledger, or those noted under one name."""
    return sum(product.multiply_adds for product in ledger if name is None or product.name == name)
