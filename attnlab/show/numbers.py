"""Numbers as a person reads them: three significant digits, no exponent until it helps."""

import math
from decimal import Decimal
from numbers import Integral

#: From here on, and below the first of them, numbers are written with an exponent.
_PLAIN_EXPONENTS = range(-3, 6)
#: An error this much smaller than its value says nothing about the digits that can be printed.
_NEGLIGIBLE = 1e-6


def number(x: float) -> str:
    """`x` in three significant digits: 0.982, 63.8, 1,808, 1.2e-7. Whole numbers stay whole; nan and inf spelled."""
    if isinstance(x, Integral):
        return f"{int(x):,}"
    if not math.isfinite(x):
        return str(float(x))
    if x == 0:
        return "0"
    exponent = _exponent(x)
    if exponent not in _PLAIN_EXPONENTS:
        mantissa = f"{x:.2e}".partition("e")[0].rstrip("0").rstrip(".")
        return f"{mantissa}e{exponent}"
    whole = float(x).is_integer()
    return f"{x:,.{0 if whole else max(0, 2 - exponent)}f}"


def with_error(value: float, standard_error: float) -> str:
    """A measured value with its standard error: the error in two significant digits, the value to the same decimal.

    Where the error says nothing about the digits (0, not finite, or far below them), both are plain numbers.
    """
    finite = math.isfinite(value) and math.isfinite(standard_error)
    if not finite or standard_error <= _NEGLIGIBLE * abs(value):
        return f"{number(value)} ± {number(standard_error)}"
    exponent = _exponent(max(abs(value), standard_error))
    if exponent not in _PLAIN_EXPONENTS:
        value, standard_error = (float(Decimal(float(x)).scaleb(-exponent)) for x in (value, standard_error))
        return f"({with_error(value, standard_error)})e{exponent}"
    decimals = 1 - int(f"{standard_error:.1e}".partition("e")[2])
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return " ± ".join(f"{round(x, decimals) + 0.0:,.{max(0, decimals)}f}" for x in (value, standard_error))


def weight(x: float) -> str:
    """A grid cell in at most four characters: ".69", "1.71", "12.3", "1e3"; "0" and "1" mean exactly that."""
    if not math.isfinite(x):
        return str(float(x))
    if x in (0, 1):
        return str(int(x))
    if x < 1:
        return f"{x:.2f}".replace("0.", ".", 1).replace("1.00", "1.0")
    if x < 999.5:
        return f"{x:#.3g}"[:4].rstrip(".")
    mantissa, _, exponent = f"{x:.0e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def _exponent(x: float) -> int:
    """The power of ten of `x` once it is rounded to three digits."""
    return int(f"{x:.2e}".partition("e")[2])
