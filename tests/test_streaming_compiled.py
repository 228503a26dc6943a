"""The compiled exponentials: how close to e^x, where they are taken, and that they need no place to be kept."""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

import attnlab
from attnlab.maths import kernels
from attnlab.maths.kernels import kernel_for
from attnlab.maths.streaming import attention_statistics
from attnlab.maths.tiles import FLOORS, in_numpy
from tests.oracles import DEFAULTS
from tests.patience import PATIENCE
from tests.streaming_cases import HAS_NUMBA, draw, inputs_of, needs_numba

Array = NDArray[Any]

DTYPES = [np.float32, np.float64]


def exact(x: Array) -> Array:
    """e^x: of float32 in float64, whose own error is nothing there; of float64 in two parts of 30 digits."""
    if x.dtype == np.float32:
        return np.exp(x.astype(np.float64))
    with mpmath.workdps(30):
        return np.array([mpmath.exp(mpmath.mpf(float(value))) for value in x], dtype=object)


def ulps(found: Array, x: Array) -> float:
    """The largest distance of found from e^x, in units of e^x's last place."""
    size = np.exp(x.astype(np.float64)).astype(x.dtype)
    last_place = np.spacing(size).astype(np.float64)
    apart = [abs(float(a - b)) for a, b in zip(found.astype(np.float64), exact(x), strict=True)]
    return float((np.array(apart) / last_place).max())


def every_so_often(dtype: type[np.floating]) -> Array:
    """Arguments over all of the range, near its ends, near 0, and where 2ⁿ changes."""
    end = FLOORS[np.dtype(dtype).name]
    rng = np.random.default_rng(0)
    halves = (np.arange(2 * int(end), -2 * int(end)) + 1) * math.log(2) / 2
    parts = [
        rng.uniform(end, -end, 4000),
        rng.uniform(-1, 1, 2000),
        np.nextafter(halves[abs(halves) < -end], 0),
        rng.uniform(-1, 1, 500) * 10.0 ** rng.integers(-37, -1, 500),
        np.array([end, -end, 0.0]),
    ]
    return np.concatenate(parts).astype(dtype)


def compiled(x: Array) -> Array:
    """e^x as a row of weights."""
    from attnlab.maths.compiled import exponentials as with_numba

    weights = np.empty((1, len(x)), x.dtype)
    with_numba(x[None].copy(), weights, None, True)
    return weights[0]


@needs_numba
@pytest.mark.parametrize("dtype", DTYPES)
def test_e_to_the_x_is_right_to_two_units_in_the_last_place(dtype: type[np.floating]) -> None:
    x = every_so_often(dtype)
    assert ulps(compiled(x), x) <= 2


@needs_numba
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_wrong_exponential_is_found_so(dtype: type[np.floating]) -> None:
    """One ln 2 in place of two parts, and the series a term short; numpy's own is right (to 2.52 units, it says)."""
    x = every_so_often(dtype)
    assert ulps(np.exp(x), x) <= 2.52
    n = np.rint(x / dtype(math.log(2)))
    in_one_part = x - n * dtype(math.log(2))
    assert ulps(np.ldexp(np.exp(in_one_part), n.astype(int)), x) > 2
    r = x.astype(np.longdouble) - n * np.longdouble("0.693147180559945309417232121458")
    terms = 7 if dtype == np.float32 else 12
    short = sum(r**power / math.factorial(power) for power in range(terms))
    assert ulps(np.ldexp(short.astype(dtype), n.astype(int)), x) > 2


@needs_numba
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_lies_below_the_floor_weighs_as_the_floor(dtype: type[np.floating]) -> None:
    floor = FLOORS[np.dtype(dtype).name]
    lowest = -np.finfo(dtype).max
    x = np.array([0, lowest, floor * 2, np.nextafter(dtype(floor), lowest), -np.inf], dtype)
    np.testing.assert_allclose(compiled(x), [1, *[math.exp(floor)] * 4], rtol=1e-6)


@needs_numba
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [1, 2, 7, 8, 33, 960])
def test_the_sums_of_a_tile_are_those_of_numpy(dtype: type[np.floating], columns: int) -> None:
    from attnlab.maths.compiled import exponentials as with_numba

    rows, rng = 5, np.random.default_rng(columns)
    s = (4 * rng.standard_normal((rows, columns))).astype(dtype)
    line = np.abs(np.arange(-7, rows + columns)).astype(dtype)
    distances = np.lib.stride_tricks.sliding_window_view(line, columns)[:rows][::-1]
    e = np.empty_like(s)
    found = with_numba(s.copy(), e, distances, True)
    np.testing.assert_array_equal(found.top, s.max(axis=1))
    x, eps = s.astype(np.float64), float(np.finfo(dtype).eps)
    w = np.exp(x)
    np.testing.assert_allclose(e, w, rtol=4 * eps)
    for ours, terms in zip(found[1:], (w, w * w, w * x, w * distances), strict=True):
        assert ours is not None
        np.testing.assert_array_less(np.abs(ours - terms.sum(axis=1)), (8 + columns) * eps * np.abs(terms).sum(axis=1))
    assert with_numba(s, e, None, True).distance is None


class TestWhereTheyAreTaken:
    """Large work alone pays for importing and compiling them."""

    def test_not_for_small_work(self) -> None:
        assert kernel_for(inputs_of(draw(2, 2, 50, 50), DEFAULTS), None).exponentials is in_numpy

    @needs_numba
    def test_for_large_work(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kernels, "WORTH_COMPILING", 5000)
        assert kernel_for(inputs_of(draw(2, 2, 49, 50), DEFAULTS), None).exponentials is in_numpy
        assert kernel_for(inputs_of(draw(2, 2, 50, 50), DEFAULTS), None).exponentials is not in_numpy

    @needs_numba
    def test_not_where_they_are_not_wanted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kernels, "WORTH_COMPILING", 0)
        assert kernel_for(inputs_of(draw(2, 2, 5, 5), DEFAULTS), False).exponentials is in_numpy
        assert kernel_for(inputs_of(draw(2, 2, 5, 5), DEFAULTS), True).exponentials is not in_numpy

    def test_not_where_numba_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kernels, "WORTH_COMPILING", 0)
        monkeypatch.setattr(kernels, "find_spec", lambda name: None)
        assert kernel_for(inputs_of(draw(2, 2, 5, 5), DEFAULTS), None).exponentials is in_numpy


def ended(code: str, *, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A Python of its own that runs the code."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA")}
    python = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(
        python, cwd=cwd, env=kept | environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


SMALL = """
import sys, numpy as np
from attnlab.maths.streaming import attention_statistics
x = np.random.default_rng(0).standard_normal((2, 300, 8))
attention_statistics(x, x, x, causal=True, asymmetry=True)
print("numba" in sys.modules)
"""


def test_small_work_does_not_import_numba(tmp_path: Path) -> None:
    root = str(Path(attnlab.__file__).parents[1])
    found = ended(SMALL, cwd=tmp_path, PYTHONPATH=root)
    assert (found.stdout, found.stderr) == ("False\n", "")
    forced = ended(SMALL.replace("import sys,", "import numba, sys,"), cwd=tmp_path, PYTHONPATH=root)
    assert forced.stdout == ("True\n" if HAS_NUMBA else ""), "the log of imports shows it where it is"


MODULE = """
from attnlab.maths import compiled, kernels
print(compiled.__file__)
print({type(made._cache).__name__ for made in vars(compiled).values() if hasattr(made, "_cache")})
"""
LARGE = """
import numpy as np
from attnlab.maths.streaming import attention_statistics
kernels.WORTH_COMPILING = 0
x = np.random.default_rng(0).standard_normal((1, 40, 8))
print(repr(float(attention_statistics(x, x, x).statistics.entropy[0])))
"""


def in_an_installation(code: str, folder: Path, *, writable: bool) -> list[str]:
    """What the code prints in an installation of its own. Files stand where numba would make directories: that stops
    root too.
    """
    installed, home = folder / "installed", folder / "home"
    shutil.copytree(Path(attnlab.__file__).parent, installed / "attnlab", ignore=shutil.ignore_patterns("__pycache__"))
    if not writable:
        home.touch()
        (installed / "attnlab" / "maths" / "__pycache__").touch()
    places = {"PYTHONPATH": str(installed), "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    found = ended(code, cwd=folder, PYTHONDONTWRITEBYTECODE="1", **places)
    assert found.returncode == 0, found.stderr
    place, *lines = found.stdout.splitlines()
    assert place.startswith(str(installed))
    return lines


@needs_numba
def test_a_read_only_home_and_installation_are_enough(tmp_path: Path) -> None:
    kinds, entropy = in_an_installation(MODULE + LARGE, tmp_path, writable=False)
    assert kinds == "{'NullCache'}"
    x = np.random.default_rng(0).standard_normal((1, 40, 8))
    assert float(entropy) == pytest.approx(attention_statistics(x, x, x).statistics.entropy[0], rel=1e-13)


@needs_numba
def test_what_is_compiled_is_kept_where_it_can_be(tmp_path: Path) -> None:
    assert in_an_installation(MODULE, tmp_path, writable=True) == ["{'FunctionCache'}"]
