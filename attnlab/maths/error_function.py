"""The complementary error function for whole arrays: numpy has none, and the C library's takes one number at a time."""

import math

import numpy as np

from attnlab.maths.precision import Array

#: Elements at a time: what they need stays in the second-level cache.
_CHUNK = 1 << 14
#: Beyond this e^(−y²) is 0 in float64.
_BEYOND = 30.0
#: Where Cody's three approximations meet.
_NEAR, _FAR = 0.46875, 4.0

#: Rational functions, as coefficients of the numerator and of the denominator from the highest power down.
_Ratio = tuple[tuple[float, ...], tuple[float, ...]]

#: erf(x)/x in x², for abs(x) ≤ 0.46875
_AT_NEAR: _Ratio = (
    (
        *(1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2),
        *(3.77485237685302021e2, 3.20937758913846947e3),
    ),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)
#: e^(y²) erfc(y) in y, for 0.46875 ≤ y ≤ 4
_BETWEEN: _Ratio = (
    (
        *(2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0),
        *(6.61191906371416295e1, 2.98635138197400131e2, 8.81952221241769090e2),
        *(1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3),
    ),
    (
        *(1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2),
        *(1.62138957456669019e3, 3.29079923573345963e3, 4.36261909014324716e3),
        *(3.43936767414372164e3, 1.23033935480374942e3),
    ),
)
#: y² (1/√π − y e^(y²) erfc(y)) in 1/y², for y ≥ 4
_AT_FAR: _Ratio = (
    (
        *(1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1),
        *(1.25781726111229246e-1, 1.60837851487422766e-2, 6.58749161529837803e-4),
    ),
    (
        *(1.0, 2.56852019228982242e0, 1.87295284992346725e0),
        *(5.27905102951428412e-1, 6.05183413124413191e-2, 2.33520497626869185e-3),
    ),
)

#: (1 + 2y) e^(y²) erfc(y) in (y − 3)/(y + 3), for 0 ≤ y ≤ 10.5: within 2.2e-9 of itself
_FOR_FLOAT32: tuple[float, ...] = (
    *(-2.6436333873932125e-4, -7.678801083743062e-4, 2.0076964473372157e-3, 2.563956232832005e-3),
    *(-2.380151368809428e-2, 6.829577140237758e-2, -1.1927024642734521e-1, 1.296464835158363e-1),
    *(-4.756244177975589e-2, -1.3562114246188425e-1, 1.2530080595161375),
)


def erfc(x: Array) -> Array:
    """2/√π ∫ₓ^∞ e^(−t²) dt, float64, within 4·2⁻⁵² of itself (more where it is below the smallest normal number).

    Source: Cody 1969, "Rational Chebyshev approximations for the error function"; the coefficients are those of his
    published routine CALERF.

    Args:
        x: any shape, float64.
    """
    flat = x.ravel()
    found = np.empty(flat.shape)
    for start in range(0, flat.size, _CHUNK):
        found[start : start + _CHUNK] = _chunk(flat[start : start + _CHUNK])
    return found.reshape(x.shape)


def gelu_float32(x: Array) -> Array:
    """x·Φ(x) = max(x, 0) − abs(x)·Φ(−abs(x)) of float32 numbers, within 0.54 units of the last place; NaN at -inf.

    Source: the form (1 + 2y) e^(y²) erfc(y) is Shepherd & Laframboise 1981's; the coefficients were fitted here, to
    the smallest largest relative error.

    Args:
        x: any shape, float32.
    """
    flat = x.ravel()
    found = np.empty_like(flat)
    for start in range(0, flat.size, _CHUNK):
        chunk = slice(start, start + _CHUNK)
        _gelu_float32(flat[chunk], found[chunk])
    np.copyto(found, flat, where=flat > _BEYOND)  # inf among them
    return found.reshape(x.shape)


def _gelu_float32(x: Array, found: Array) -> None:
    """Write that of few enough numbers to stay in the cache."""
    size = np.abs(x).astype(np.float64)
    y = size * math.sqrt(0.5)
    place, lost = y + 3, y - 3
    np.divide(lost, place, out=place)
    np.multiply(place, _FOR_FLOAT32[0], out=lost)
    for coefficient in _FOR_FLOAT32[1:-1]:
        lost += coefficient
        lost *= place
    lost += _FOR_FLOAT32[-1]
    np.multiply(y, y, out=place)
    np.negative(place, out=place)
    lost *= np.exp(place, out=place)
    y *= 4
    y += 2
    lost /= y
    lost *= size
    np.maximum(x, np.float32(0), out=found)
    np.subtract(found, lost, out=found, casting="same_kind")


def _chunk(x: Array) -> Array:
    """erfc of few enough numbers (k,) to stay in the cache: the middle approximation for all, then its neighbours'."""
    y = np.minimum(np.abs(x), _BEYOND)
    decay = _gaussian(y)
    found = _ratio(_BETWEEN, np.clip(y, _NEAR, _FAR))
    found *= decay
    far = np.flatnonzero(y > _FAR)
    if far.size:
        inverse = 1 / np.square(y[far])
        found[far] = decay[far] / y[far] * (1 / math.sqrt(math.pi) - inverse * _ratio(_AT_FAR, inverse))
    np.subtract(2.0, found, out=found, where=x < 0)
    near = np.flatnonzero(y <= _NEAR)
    if near.size:
        found[near] = 1 - x[near] * _ratio(_AT_NEAR, np.square(x[near]))
    return found


def _ratio(coefficients: _Ratio, x: Array) -> Array:
    """A rational function by Horner's rule; the denominator's first coefficient is 1."""
    over, under = coefficients
    value, divisor = over[0] * x + over[1], x + under[1]
    for coefficient in over[2:]:
        value *= x
        value += coefficient
    for coefficient in under[2:]:
        divisor *= x
        divisor += coefficient
    value /= divisor
    return value


def _gaussian(y: Array) -> Array:
    """e^(−y²), with the rounding error of y² put back: that error, found by Dekker's splitting, grows with y²."""
    square = y * y
    upper = y * 134217729.0  # 2²⁷ + 1
    upper -= upper - y
    lower = y - upper
    error = upper * upper - square
    error += 2 * upper * lower
    error += lower * lower
    decay: Array = np.exp(-square)
    decay -= decay * error
    return decay
