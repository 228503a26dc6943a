"""The feed-forward's activations against 50 digits, and positions against their formulas spelled out."""

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab.errors import ShapeError
from attnlab.maths.activations import ELEMENTWISE, gelu, gelu_tanh, relu, silu
from attnlab.maths.architecture import LinearScaling, Llama3Scaling, Rotary
from attnlab.maths.error_function import erfc
from attnlab.maths.positions import alibi_bias, alibi_slopes, rotary, rotary_angles, rotate, scaled, sinusoidal

Array = NDArray[Any]

POINTS = [-1e4, -37.5, -20.0, -8.3, -5.0, -1.0, -0.3, -1e-9, 0.0, 1e-300, 1e-9, 0.7, 3.0, 9.0, 50.0, 1e4]


def in_50_digits(formula: Callable[[Any], Any]) -> list[float]:
    with mpmath.workdps(50):
        return [float(formula(mpmath.mpf(x))) for x in POINTS]


class TestErfc:
    """Against 50 digits, in units of 2⁻⁵² of the value, on both sides of every seam of its three approximations."""

    @pytest.mark.parametrize(
        "ends", [(-6, -0.47), (-0.46875, 0.46875), (0.46, 0.48), (0.47, 4), (3.99, 4.01), (4, 10), (10, 26)]
    )
    def test_is_right_to_the_last_bits(self, ends: tuple[float, float]) -> None:
        x = np.random.default_rng(0).uniform(*ends, 1500)
        with mpmath.workdps(50):
            exact = [mpmath.erfc(mpmath.mpf(float(value))) for value in x]
            errors = [abs(mpmath.mpf(float(found)) / true - 1) for found, true in zip(erfc(x), exact, strict=True)]
            plain = [abs(mpmath.mpf(math.exp(-y * y)) / mpmath.exp(-(mpmath.mpf(float(y)) ** 2)) - 1) for y in x]
        assert max(errors) <= 4 * 2.0**-52
        if ends == (10, 26):  # without Dekker's splitting e^(−y²) alone would be off by more
            assert max(plain) > 40 * 2.0**-52

    def test_of_what_is_at_the_ends(self) -> None:
        x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 30.0, 1e300, -1e300, 5e-324])
        np.testing.assert_array_equal(erfc(x), [np.nan, 0, 2, 1, 1, 0, 0, 2, 1])

    def test_of_any_shape_and_of_more_than_one_chunk(self) -> None:
        x = np.random.default_rng(1).standard_normal((3, 7, 2003))[:, ::-1]
        np.testing.assert_allclose(erfc(x), np.vectorize(math.erfc)(x), rtol=1e-15)
        assert erfc(np.empty((0, 3))).shape == (0, 3)


class TestActivations:
    def test_gelu_loses_nothing_for_large_negative_numbers(self) -> None:
        """x·Φ(x) amplifies the last bit of x by x²: at −37.5 that is 1e-13."""
        exact = np.array(in_50_digits(lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2))
        allowed = 2.0**-52 * (2 + np.square(POINTS)) * np.abs(exact) + 1e-320
        assert (np.abs(gelu(np.array(POINTS)) - exact) <= allowed).all()

    def test_the_shorter_formula_for_gelu_would_not_have_passed(self) -> None:
        assert 1 + math.erf(-9 / math.sqrt(2)) == 0
        assert gelu(np.array([-9.0]))[0] == pytest.approx(-1.0157e-18, rel=1e-4)

    def test_gelu_of_float32_is_the_float64_one_rounded(self) -> None:
        x = np.concatenate([np.linspace(-13, 40, 100_003), [-3e38, 3e38, 0, 1e-30, -1e-30]]).astype(np.float32)
        with np.errstate(under="ignore"):
            exact = gelu(x.astype(np.float64))
            off = np.abs(gelu(x) - exact) / np.spacing(np.maximum(np.abs(exact), 1e-37).astype(np.float32))
            assert off.max() <= 0.54
            assert (np.abs(gelu_tanh(x) - exact) > 2 * np.spacing(np.abs(exact).astype(np.float32))).any()

    def test_gelu_tanh(self) -> None:
        exact = in_50_digits(
            lambda x: x / 2 * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf("0.044715") * x**3)))
        )
        np.testing.assert_allclose(gelu_tanh(np.array(POINTS)), exact, rtol=1e-14, atol=1e-14)

    def test_silu(self) -> None:
        exact = np.array(in_50_digits(lambda x: x / (1 + mpmath.exp(-x))))
        np.testing.assert_allclose(silu(np.array(POINTS)), exact, rtol=1e-15)

    def test_relu(self) -> None:
        np.testing.assert_array_equal(relu(np.array([-2.0, 0.0, 3.0, np.nan])), [0, 0, 3, np.nan])

    @pytest.mark.parametrize("activation", [gelu, gelu_tanh, silu, relu])
    @pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
    def test_narrow_dtypes_come_back_rounded(self, activation: Callable[[Array], Array], dtype: Any) -> None:
        x = np.linspace(-9, 9, 37).astype(dtype)
        found = activation(x)
        assert found.dtype == dtype
        rounding = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23}[np.dtype(dtype).name]
        np.testing.assert_allclose(
            found.astype(np.float64), activation(x.astype(np.float64)), rtol=rounding, atol=1e-6 + rounding * 1e-3
        )

    @pytest.mark.parametrize("activation", [gelu, gelu_tanh, silu])
    def test_at_the_infinities_they_are_their_formulas(self, activation: Callable[[Array], Array]) -> None:
        found = activation(np.array([-np.inf, np.inf, np.nan]))
        np.testing.assert_array_equal(found, [np.nan, np.inf, np.nan])

    def test_gated_ones_name_their_elementwise_part(self) -> None:
        assert (ELEMENTWISE["swiglu"], ELEMENTWISE["geglu"]) == (silu, gelu)


class TestSinusoidal:
    @pytest.mark.parametrize(("n", "width"), [(7, 10), (5, 3), (1, 1)])
    def test_each_entry_is_its_formula(self, n: int, width: int) -> None:
        found = sinusoidal(n, width)
        assert found.shape == (n, width)
        for i in range(n):
            for c in range(width):
                angle = i / 10000 ** ((c - c % 2) / width)
                assert found[i, c] == pytest.approx(math.cos(angle) if c % 2 else math.sin(angle), abs=1e-15)


def turned(x: Array, pairing: Any, base: float = 10000.0) -> Array:
    """Each pair as a complex number, times e^(iθ)."""
    n, width = x.shape
    out = x.copy()
    for i in range(n):
        for j in range(width // 2):
            a, b = (j, j + width // 2) if pairing == "half" else (2 * j, 2 * j + 1)
            z = complex(x[i, a], x[i, b]) * complex(math.cos(t := i * base ** (-2 * j / width)), math.sin(t))
            out[i, a], out[i, b] = z.real, z.imag
    return out


@pytest.mark.parametrize("pairing", ["half", "interleaved"])
class TestRotary:
    def test_each_pair_is_turned_by_its_angle(self, pairing: Any) -> None:
        x = np.random.default_rng(0).standard_normal((7, 10))
        found = rotary(x, Rotary(base=500.0, pairing=pairing))
        np.testing.assert_allclose(found, turned(x, pairing, 500.0), rtol=1e-13, atol=1e-14)

    def test_scores_depend_on_the_distance_alone(self, pairing: Any) -> None:
        q, k = np.random.default_rng(1).standard_normal((2, 8))
        n = 11
        scores = (
            rotary(np.tile(q, (n, 1)), Rotary(pairing=pairing)) @ rotary(np.tile(k, (n, 1)), Rotary(pairing=pairing)).T
        )
        for distance in range(-n + 1, n):
            diagonal = scores.diagonal(distance)
            np.testing.assert_allclose(diagonal, diagonal[0], rtol=0, atol=1e-13)
        assert np.ptp(scores[0]) > 0.1

    def test_lengths_are_kept_and_the_first_token_stays(self, pairing: Any) -> None:
        x = np.random.default_rng(2).standard_normal((3, 7, 6))
        found = rotary(x, Rotary(pairing=pairing))
        np.testing.assert_allclose(np.linalg.norm(found, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-14)
        np.testing.assert_array_equal(found[:, 0], x[:, 0])

    def test_a_fraction_turns_the_first_coordinates_as_a_narrower_head_would(self, pairing: Any) -> None:
        x = np.random.default_rng(3).standard_normal((5, 8))
        found = rotary(x, Rotary(fraction=0.5, pairing=pairing))
        np.testing.assert_array_equal(found[:, 4:], x[:, 4:])
        np.testing.assert_array_equal(found[:, :4], rotary(x[:, :4], Rotary(pairing=pairing)))

    def test_half_is_turned_in_float32(self, pairing: Any) -> None:
        x = np.random.default_rng(4).standard_normal((5, 8)).astype(np.float16)
        found = rotary(x, Rotary(pairing=pairing))
        assert found.dtype == np.float16
        np.testing.assert_array_equal(found, rotary(x.astype(np.float32), Rotary(pairing=pairing)).astype(np.float16))


def test_the_two_pairings_of_one_quarter_turn() -> None:
    x, cos, sin = np.array([[1.0, 2, 3, 4]]), np.zeros((1, 2)), np.ones((1, 2))
    np.testing.assert_array_equal(rotate(x, cos, sin, pairing="half"), [[-3, -4, 1, 2]])
    np.testing.assert_array_equal(rotate(x, cos, sin, pairing="interleaved"), [[-2, 1, -4, 3]])


def test_rotary_angles() -> None:
    np.testing.assert_allclose(rotary_angles(np.array([0, 2]), 4, base=100.0), np.array([[0, 0], [2, 0.2]]), rtol=1e-15)


class TestStretched:
    """Angles 2π/wavelength of wavelengths 100, 20 and 10 tokens, for texts of 40: 0.4, 2 and 4 turns."""

    ANGLES = 2 * np.pi / np.array([100.0, 20.0, 10.0])

    def test_not_at_all(self) -> None:
        np.testing.assert_array_equal(scaled(self.ANGLES, None), self.ANGLES)

    def test_linear_divides_every_angle(self) -> None:
        np.testing.assert_array_equal(scaled(self.ANGLES, LinearScaling(8.0)), self.ANGLES / 8)

    def test_llama_3_divides_the_slow_keeps_the_fast_and_mixes_those_between(self) -> None:
        """Two turns lie a third of the way from 1 to 4: 2/3 of a/8 and 1/3 of a are 5/12 of a."""
        setting = Llama3Scaling(factor=8, low_freq_factor=1, high_freq_factor=4, original_length=40)
        np.testing.assert_allclose(scaled(self.ANGLES, setting), self.ANGLES * [1 / 8, 5 / 12, 1], rtol=1e-15)

    def test_is_continuous_at_both_ends_of_the_band(self) -> None:
        setting = Llama3Scaling(factor=8, low_freq_factor=1, high_freq_factor=4, original_length=40)
        for turns in (1, 4):
            near = np.array([turns * (1 - 1e-9), turns * (1 + 1e-9)]) * 2 * np.pi / 40
            below, above = scaled(near, setting)
            assert math.isclose(below, above, rel_tol=1e-7)

    def test_positions_apart_by_the_factor_look_alike(self) -> None:
        x = np.random.default_rng(0).standard_normal((13, 6))
        stretched = rotary(x, Rotary(scaling=LinearScaling(4.0)))
        np.testing.assert_allclose(stretched[::4], rotary(x[::4], Rotary()), rtol=1e-14)


class TestAlibi:
    def test_eight_heads(self) -> None:
        np.testing.assert_array_equal(alibi_slopes(8), [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256])

    @pytest.mark.parametrize(("heads", "ratio"), [(1, 2.0**-8), (2, 2.0**-4), (16, 2.0**-0.5)])
    def test_powers_of_two_are_a_geometric_sequence_from_its_own_ratio(self, heads: int, ratio: float) -> None:
        np.testing.assert_allclose(alibi_slopes(heads), ratio ** np.arange(1, heads + 1), rtol=1e-14)

    def test_twelve_heads_as_published(self) -> None:
        """The eight of 8 heads, then the 1st, 3rd, 5th and 7th of 16."""
        expected = [2.0**-i for i in range(1, 9)] + [2.0**-0.5, 2.0**-1.5, 2.0**-2.5, 2.0**-3.5]
        np.testing.assert_allclose(alibi_slopes(12), expected, rtol=1e-15)

    def test_the_bias_falls_with_distance_on_both_sides(self) -> None:
        np.testing.assert_array_equal(alibi_bias(8, 3)[1], [[0, -0.25, -0.5], [-0.25, 0, -0.25], [-0.5, -0.25, 0]])


def test_rotary_refuses_a_coordinate_without_a_partner() -> None:
    with pytest.raises(ShapeError, match="rotary: 3 of 6 coordinates to turn; expected an even number"):
        rotary(np.ones((2, 6)), Rotary(fraction=0.5))
