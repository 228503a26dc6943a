"""The exponentials of a tile and their sums, compiled: one pass instead of five.

This file and those that begin with its name need numba, for large work: compiling takes seconds the first time. e^x is
a polynomial here, since numba's wheels bring no exponential of vectors.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from attnlab.maths.precision import Array
from attnlab.maths.tiles import FLOORS, ExponentialSums

#: Sums may be taken in any order, as vectors need; NaN never comes here, -inf (hidden) does.
_LOOSE = {"reassoc", "contract", "nsz", "nnan"}


def compiled(function: Callable[..., Any]) -> Any:
    """The function compiled, without Python's lock; kept on disk where there is a place for it."""
    return _made(function, fastmath=_LOOSE)


def compiled_as_written(function: Callable[..., Any]) -> Any:
    """The same, but sums stay in the order in which they stand, those of intrinsics too."""
    return _made(function, fastmath=False)


def _made(function: Callable[..., Any], *, fastmath: Any) -> Any:
    try:
        return numba.njit(nogil=True, cache=True, fastmath=fastmath)(function)
    except RuntimeError:  # no directory to keep compiled code in: a read-only home and installation
        return numba.njit(nogil=True, fastmath=fastmath)(function)


@intrinsic
def _two_to(typingctx: Any, exponent: Any, like: Any) -> Any:
    """2ⁿ for a whole n, given as int32 or int64, in the float of the same width: n stands in the exponent's bits."""
    wide = like == types.float64
    bits, bias, shift = (64, 1023, 52) if wide else (32, 127, 23)
    number = types.float64 if wide else types.float32

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.IntType(bits)
        raised = builder.add(arguments[0], ir.Constant(kind, bias))
        moved = builder.shl(raised, ir.Constant(kind, shift))
        return builder.bitcast(moved, context.get_value_type(number))

    return number(types.int64 if wide else types.int32, number), generate


@intrinsic
def ordered(typingctx: Any, x: Any) -> Any:
    """A whole number that is the larger, the larger x is: a largest whole number is found by vectors, a float not."""
    bits = x.bitwidth
    whole = types.int64 if bits == 64 else types.int32

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.IntType(bits)
        raw = builder.bitcast(arguments[0], kind)
        sign = builder.ashr(raw, ir.Constant(kind, bits - 1))
        return builder.xor(raw, builder.and_(sign, ir.Constant(kind, (1 << (bits - 1)) - 1)))

    return whole(x), generate


def _exp(x: Any) -> Any:
    """e^x of a float32 or float64, chosen when what calls it is compiled."""
    return np.exp(x)


@overload(_exp, jit_options={"fastmath": {"contract", "nsz"}})  # not in any order: r would lose its digits
def _exp_of(x: Any) -> Any:
    return _exp32 if x == types.float32 else _exp64


def _exp32(x: Any) -> Any:
    """e^x for abs(x) < 87: 2ⁿ e^r with abs(r) ≤ ln 2 / 2, and e^r by its series to r⁷ (off by 5e-9)."""
    one = np.float32(1)
    n = np.rint(x * np.float32(1.4426950408889634))
    r = x - n * np.float32(0.693359375)  # ln 2 in two parts, the first so short that n times it is exact
    r = r + n * np.float32(2.12194440054690583e-4)
    p = np.float32(1 / 5040) * r + np.float32(1 / 720)
    p = p * r + np.float32(1 / 120)
    p = p * r + np.float32(1 / 24)
    p = p * r + np.float32(1 / 6)
    p = p * r + np.float32(0.5)
    p = (p * r) * r + r + one
    return p * _two_to(np.int32(n), one)


def _exp64(x: Any) -> Any:
    """e^x for abs(x) < 708: as in float32, the series to r¹³ (off by 5e-18)."""
    n = np.rint(x * 1.4426950408889634)
    r = x - n * 0.693145751953125
    r = r - n * 1.42860682030941723e-6
    p = 1 / 6227020800 * r + 1 / 479001600
    p = p * r + 1 / 39916800
    p = p * r + 1 / 3628800
    p = p * r + 1 / 362880
    p = p * r + 1 / 40320
    p = p * r + 1 / 5040
    p = p * r + 1 / 720
    p = p * r + 1 / 120
    p = p * r + 1 / 24
    p = p * r + 1 / 6
    p = p * r + 0.5
    p = (p * r) * r + r + 1.0
    return p * _two_to(np.int64(n), 1.0)


@intrinsic
def number_of(typingctx: Any, key: Any) -> Any:
    """The float that `ordered` made a whole number of."""
    bits = key.bitwidth
    number = types.float64 if bits == 64 else types.float32

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.IntType(bits)
        sign = builder.ashr(arguments[0], ir.Constant(kind, bits - 1))
        raw = builder.xor(arguments[0], builder.and_(sign, ir.Constant(kind, (1 << (bits - 1)) - 1)))
        return builder.bitcast(raw, context.get_value_type(number))

    return number(key), generate


@compiled
def row_sums(row: Array, e: Array, distances: Array, floor: float) -> tuple[float, float, float, float, float]:
    """e = e^x with x = row kept between the floor and −floor; the row's largest, Σ e, Σ e², Σ e·x and Σ e·distance."""
    zero = floor - floor
    total, square, slope, distance = zero, zero, zero, zero
    key = ordered(row[0])
    for c in range(len(row)):
        x = row[c]
        own = ordered(x)
        key = own if own > key else key
        x = x if x > floor else floor
        x = x if x < -floor else -floor
        w = _exp(x)
        e[c] = w
        total += w
        square += w * w
        slope += w * x
        distance += w * distances[c]
    return number_of(key), total, square, slope, distance


@compiled
def largest(row: Array) -> Any:
    """The largest of a row."""
    key = ordered(row[0])
    for c in range(len(row)):
        own = ordered(row[c])
        key = own if own > key else key
    return number_of(key)


@compiled
def _sums(s: Array, e: Array, floor: float, away: Array, sums: Array) -> None:
    """`row_sums` of every row of a tile into sums, (5, B). Row r's distances are away[B − 1 − r] …"""
    rows, columns = s.shape
    for r in range(rows):
        distances = away[rows - 1 - r : rows - 1 - r + columns] if len(away) else s[r]
        top, total, square, slope, distance = row_sums(s[r], e[r], distances, floor)
        sums[0, r], sums[1, r], sums[2, r], sums[3, r], sums[4, r] = top, total, square, slope, distance


def exponentials(s: Array, e: Array, distances: Array | None, deep: bool) -> ExponentialSums:
    """As `tiles.in_numpy`, in one pass, with the largest of each row; s is left as it is."""
    sums = np.empty((5, len(s)), s.dtype)
    away = np.empty(0, s.dtype) if distances is None else _line(distances)
    _sums(s, e, s.dtype.type(FLOORS[s.dtype.name]), away, sums)
    return ExponentialSums(sums[0], sums[1], sums[2], sums[3], None if distances is None else sums[4])


def _line(distances: Array) -> Array:
    """The numbers behind a view whose rows are each the one above moved by one: its last row, and the first's rest."""
    return np.concatenate([distances[::-1, 0], distances[0, 1:]])
