"""The fit of orders: right where it says so, silent where nothing is settled, and wrong hardly ever.

`bench_orders` tries every law 1,000 times over more ranges.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from attnlab.errors import UsageError
from attnlab.measure.order_models import POWERS, Array, Points, f_quantile, fit_all, fit_law, fit_power, non_negative
from attnlab.measure.orders import OrderFit, fit_order, pooled, verdict
from tests.order_laws import HARD, LIMITS, NONE, PURE, SHAPES, Law, block, rates, rising, sizes, timings

WIDE = sizes(128, 4096, 2)
TRIALS = 50


def fitted(law: Law, n: list[int], seed: int = 0) -> OrderFit:
    return fit_order(n, timings(law, n, seed).tolist(), late_start=law.late_start)


def squared(n: Array, share: float) -> Array:
    """N, and an N² term that has that share of the cost at the largest N."""
    return n + share / (1 - share) * n**2 / n[-1]


def exactly(law: Law, n: list[int]) -> OrderFit:
    return fit_order(n, [[float(cost)] for cost in law.cost(np.asarray(n, dtype=float))])


class TestRates:
    """1,000 series of each law: 250 of each shape of noise."""

    @pytest.mark.parametrize("name", ["N", "N log N", "N²"])
    def test_the_three_orders_are_named(self, name: str) -> None:
        found = [rates(PURE[name], WIDE, 250, shape=shape) for shape in SHAPES]
        assert min(share.right for share in found) >= 0.95
        assert sum(share.right for share in found) >= 0.97 * len(SHAPES)
        assert max(share.wrong for share in found) == 0

    @pytest.mark.parametrize("name", ["N^1.4", "N^1.5", "N^1.585", "N²/log N", "N, 35 % dearer"])
    def test_what_is_none_of_them_is_not(self, name: str) -> None:
        assert sum(rates(NONE[name], WIDE, 250, shape=shape).wrong for shape in SHAPES) <= 0.01 * len(SHAPES)

    @pytest.mark.parametrize("name", NONE)
    def test_nor_without_noise(self, name: str) -> None:
        assert exactly(NONE[name], WIDE).order is None
        assert fit_order(WIDE, [[cost] * 7 for cost in NONE[name].cost(np.asarray(WIDE, dtype=float))]).order is None

    @pytest.mark.parametrize("name", sorted({*NONE} - {"N^1.4", "N^1.5", "N^1.585", "N²/log N", "N, 35 % dearer"}))
    def test_nor_are_others_like_them(self, name: str) -> None:
        assert rates(NONE[name], WIDE, TRIALS).wrong == 0

    def test_what_is_said_not_to_be_seen_is_not(self) -> None:
        """The limits that the reader is told of are no worse, and no better."""
        assert rates(LIMITS["N^1.15"], WIDE, TRIALS).wrong > 0.9
        assert 0.02 < rates(LIMITS["N, 50 % dearer"], WIDE, 200).wrong < 0.2
        assert rates(Law(None, lambda n: rising(n, 0.7)), WIDE, TRIALS).wrong > 0.9
        assert 0 < rates(LIMITS["a + N²/log N"], WIDE, 200).wrong < 0.1
        assert rates(Law("N^2", partial(squared, share=0.03)), WIDE, TRIALS).wrong > 0.5
        assert rates(Law("N^2", partial(squared, share=0.14)), WIDE, 200).wrong == 0
        assert rates(Law("N log N", lambda n: n[0] * 2 + n * np.log2(n)), WIDE, TRIALS) == (0, 0)
        assert rates(HARD["4× beyond the crossover"], WIDE, TRIALS) == (0, 0)
        assert rates(HARD["8× beyond the crossover"], WIDE, TRIALS).right > 0.8

    def test_a_law_with_a_constant_settles_too(self) -> None:
        assert rates(PURE["a + bN + cN², 16× beyond"], WIDE, 200).right >= 0.9
        assert rates(Law("N", lambda n: n[0] / 4 + n), WIDE, 200).right >= 0.9
        assert rates(Law("N log N", lambda n: n[0] / 4 + n * np.log2(n)), WIDE, 200).right >= 0.9

    @pytest.mark.parametrize("name", PURE)
    def test_an_outlier_at_every_size_does_not_matter(self, name: str) -> None:
        found = rates(PURE[name], sizes(64, 4096, 1), TRIALS // 2, outliers=True)
        assert found.right >= 0.8
        assert found.wrong == 0

    @pytest.mark.parametrize("name", HARD)
    def test_no_other_order_is_named_for_hard_ones(self, name: str) -> None:
        assert rates(HARD[name], WIDE, TRIALS // 2).wrong == 0

    @pytest.mark.parametrize("steps", [1, 2])
    def test_six_sizes_do_not_make_it_bold(self, steps: int) -> None:
        little = Law("N^2", partial(squared, share=0.3))
        for law in (PURE["N"], PURE["N log N"], HARD["block, d = 768"], NONE["N^1.5"], little):
            assert rates(law, [round(128 * 2 ** (i / steps)) for i in range(6)], TRIALS).wrong == 0

    def test_a_one_term_fit_at_the_same_settings_is_wrong(self) -> None:
        """What big_O and Google Benchmark do: the nearest of N, N log N and N² by least squares, without a constant."""
        n = np.asarray(sizes(64, 4096, 1), dtype=float)
        terms = {"N": n, "N log N": n * np.log2(n), "N^2": n**2}
        cost = block(n)
        off = {name: float(np.sum((cost - term * (term @ cost) / (term @ term)) ** 2)) for name, term in terms.items()}
        assert min(off, key=lambda name: off[name]) == "N log N"
        assert fitted(HARD["block, d = 768"], sizes(64, 4096, 1)).order is None

    def test_the_block_settles_once_the_range_is_long_enough(self) -> None:
        assert fitted(HARD["block, d = 768"], sizes(4096, 4096 * 32, 1)).order == "N^2"


class TestSlope:
    def test_the_interval_covers(self) -> None:
        """Of 400 intervals of 99.5 % at most 2 % miss (bootstrapping seven values is a little narrow); and they can."""
        law, n = PURE["N"], sizes(64, 4096, 1)
        found = [fitted(law, n, seed).slope_interval for seed in range(400)]
        missed = sum(not low <= 1 <= high for low, high in found)
        assert missed <= 8
        assert sum(not low <= 1.05 <= high for low, high in found) > 100

    def test_it_is_of_the_top_octaves(self) -> None:
        found = exactly(Law("N", lambda n: 1e4 + n), sizes(64, 8192, 1))
        assert found.window == (1024, 8192)
        top = np.array([1024.0, 2048, 4096, 8192])
        assert found.local_slope == pytest.approx(np.polyfit(np.log(top), np.log(1e4 + top), 1)[0], rel=1e-9)
        assert found.slope_interval == (found.local_slope, found.local_slope)

    def test_it_has_four_sizes_at_least(self) -> None:
        assert exactly(PURE["N"], [1, 10, 100, 1000, 10_000, 100_000]).window == (100, 100_000)


class TestExactValues:
    @pytest.mark.parametrize("name", PURE)
    def test_settle(self, name: str) -> None:
        assert exactly(PURE[name], WIDE).order == PURE[name].order

    def test_bytes_of_a_matrix(self) -> None:
        found = exactly(Law("N^2", lambda n: 900 + 512 * n + 4 * n**2), WIDE)
        assert (found.order, found.settled) == ("N^2", True)
        assert found.coefficients == pytest.approx({"1": 900, "N": 512, "N^2": 4}, rel=1e-6)

    def test_a_window_s_count(self) -> None:
        w = 64
        found = fit_order(
            sizes(4 * w, 4096, 2), [[n * w - w * (w - 1) / 2] for n in sizes(4 * w, 4096, 2)], late_start=1 / 7
        )
        assert found.order == "N"
        assert found.coefficients == pytest.approx({"1": -w * (w - 1) / 2, "N": w}, rel=1e-6)

    def test_with_a_constant_too(self) -> None:
        """Bytes as `complexity` counts them: five to ten sizes, with what Python itself takes."""
        for n in (sizes(128, 4096, 1), sizes(256, 4096, 2), sizes(724, 4096, 2)):
            assert exactly(Law("N", lambda n: 55_000 + 1000 * n), n).order == "N"
            assert exactly(Law("N", lambda n: 3000 + 1320 * n + 200 * np.sin(n)), n).order == "N"
            assert exactly(Law("N^2", lambda n: 9000 + 512 * n + 8 * n**2), n).order == "N^2"

    def test_an_exact_count_is_not_to_be_repeated(self) -> None:
        found = exactly(Law(None, lambda n: n * np.log2(n) ** 0.3), sizes(3000, 4096, 12))
        assert found.order is None
        assert "go to larger N" in found.reason
        assert "repeats" not in found.reason


class TestWords:
    @pytest.mark.parametrize(
        ("law", "said"),
        [
            (PURE["N"], "a + bN fits within 1.4%, and a + bN log N does not"),
            (PURE["N log N"], "a + bN log N fits within 1.4%, and a + bN does not"),
            (PURE["a + bN + cN², 16× beyond"], "the N² term passes the rest at about N = 320"),
            (NONE["N^1.5"], "between N log N and N²: exponent 1.50 ± 0.01"),
            (NONE["N²/log N"], "between N log N and N²: exponent 1.85 ± 0.01"),
            (NONE["N, 35 % dearer"], "N log N, or N that grows dearer; begin at larger N"),
            (HARD["N, small constant"], "near N: exponent 0.98 ± 0.02; go to larger N"),
            (Law(None, lambda n: n**0.7), "flatter than N: exponent 0.70 ± 0.01"),
            (Law(None, lambda n: n**3), "steeper than N²: exponent 3.00 ± 0.01"),
            (HARD["block, d = 768"], "N² would pass the rest near N = 4,600; go to 37,000"),
            (LIMITS["a + N²/log N"], "N², or a power just below; go to 8,200"),
            (HARD["a third of the way there"], "N log N, or N with a little N²; go to larger N"),
            (HARD["a fifth of the way there"], "N or N log N; go to larger N, or take more repeats"),
            (HARD["N log N, ×1.3"], "no law within 13% (error 2.5%): steps; go to larger N"),
            (Law("N", lambda n: 3 * n[-1] + n), "a fixed cost is 75% of it even there; go to larger N"),
        ],
    )
    def test_say_why(self, law: Law, said: str) -> None:
        found = fitted(law, WIDE, seed=3)
        assert said in found.reason
        assert found.settled == (found.order is not None) == (not found.reason.startswith("not settled: "))
        assert found.settled or len(found.reason.removeprefix("not settled: ")) <= 55

    def test_noise_is_named(self) -> None:
        """Whatever fits: N² would here, with a slope between 1.78 and 2.17."""
        draw = np.random.default_rng(0)
        samples = [(n**2 * np.exp(0.3 * draw.standard_normal(7))).tolist() for n in WIDE]
        at = pooled(np.array(WIDE, dtype=float), np.log(samples), 0.0)
        assert verdict(at, fit_all(at)) == "N^2"
        found = fit_order(WIDE, samples)
        assert found.order is None
        assert "the timings scatter too much; take more repeats" in found.reason

    def test_an_unsettled_fit_gives_the_polynomial(self) -> None:
        found = fitted(HARD["block, d = 768"], WIDE)
        assert found.order is None
        assert list(found.coefficients) == ["1", "N", "N^2"]
        assert found.coefficients["N^2"] == pytest.approx(4 * 768, rel=0.3)


class TestRefusals:
    @pytest.mark.parametrize("n", [[64, 128, 256, 512, 1024], [64] * 6, [0, 1, 2, 3, 4, 5]])
    def test_sizes(self, n: list[int]) -> None:
        with pytest.raises(UsageError, match=r"sizes: \d different ones; expected 6 or more to fit an order"):
            fit_order(n, [[1.0] * 7] * len(n))

    @pytest.mark.parametrize("samples", [[[1.0] * 6] * 6, [[1.0] * 7] * 5 + [[1.0]], [[1.0, 1.0]] * 6])
    def test_repeats(self, samples: list[list[float]]) -> None:
        with pytest.raises(UsageError, match="expected 7 or more, as many at each, or one exact value each"):
            fit_order(sizes(1, 32, 1), samples)

    @pytest.mark.parametrize("cost", [0.0, -1.0, math.inf, math.nan])
    def test_costs(self, cost: float) -> None:
        with pytest.raises(UsageError, match="not positive and finite; expected seconds, bytes or counts"):
            fit_order(sizes(1, 32, 1), [[1.0]] * 5 + [[cost]])


def test_the_same_seed_gives_the_same_fit_in_any_order() -> None:
    samples = timings(PURE["N log N"], WIDE, 0).tolist()
    once = fit_order(WIDE, samples, seed=5)
    assert fit_order(WIDE, samples, seed=5) == once
    assert fit_order(WIDE[::-1], samples[::-1], seed=5) == once
    assert fit_order(WIDE, samples, seed=6).slope_interval != once.slope_interval


def test_a_fit_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Least squares are most of it: hardly more than one for each law."""
    solved, solve = list[int](), np.linalg.lstsq

    def counted(basis: Array, wanted: Array, rcond: None = None) -> Any:
        solved.append(len(wanted))
        return solve(basis, wanted, rcond=rcond)

    monkeypatch.setattr(np.linalg, "lstsq", counted)
    for seed in range(10):
        fitted(PURE["N"], WIDE, seed)
    assert len(solved) / 10 < 10


def points(n: list[float], cost: list[float], error: float) -> Points:
    return Points(np.array(n), np.array(cost), error, math.inf, 0.0)


class TestLeastSquares:
    def test_never_below_zero(self) -> None:
        """By hand: the line through (1, 2), (2, 1) falls, so the best that may not is the constant 3/2."""
        basis, wanted = np.array([[1.0, 1.0], [1.0, 2.0]]), np.array([2.0, 1.0])
        assert non_negative(basis, wanted).tolist() == pytest.approx([1.5, 0])
        assert non_negative(basis, -wanted).tolist() == [0, 0]

    def test_residuals_are_relative(self) -> None:
        """A point is wrong by a share of itself: the unit does not matter, and a small cost counts like a large one."""
        n, cost = [1.0, 2, 4, 8], [1.1, 2, 4, 8]
        fit, scaled = (fit_law(points(n, [unit * c for c in cost], 0.01), ("1", "N")) for unit in (1, 1e-9))
        assert 0.01 < fit.rms < 0.02
        assert fit.chi2 == pytest.approx(4 * (fit.rms / 0.01) ** 2)
        assert scaled.chi2 == pytest.approx(fit.chi2)

    @pytest.mark.parametrize("cost", [[3.0, 4, 6, 10, 18, 34], [5.0, 5, 5, 5, 5, 5], [32.0, 16, 8, 4, 2, 1]])
    def test_a_power_s_constant_and_factor_are_those_of_the_law(self, cost: list[float]) -> None:
        """The closed form against `non_negative` at p = 1: both terms, the constant alone, a cost that falls."""
        at = points([1.0, 2, 4, 8, 16, 32], cost, 0.01)
        chi2_at = fit_power(at).chi2_at[np.abs(POWERS - 1).argmin()]
        assert chi2_at == pytest.approx(fit_law(at, ("1", "N")).chi2, rel=1e-6, abs=1e-9)

    def test_a_power_is_found_with_its_interval(self) -> None:
        n = [float(size) for size in WIDE]
        found = fit_power(points(n, [size**1.5 + 50 for size in n], 0.02))
        assert found.p == pytest.approx(1.5, abs=0.006)
        assert found.low < 1.5 < found.high
        assert found.high - found.low == pytest.approx(2 * found.error * math.sqrt(7.88), rel=1e-2)
        assert found.nearest(1.3) > found.nearest(1.95) == found.chi2

    @pytest.mark.parametrize(
        ("above", "below", "beyond", "tabled"),
        [
            (8, 55, 0.01, 2.858), (9, 40, 0.01, 2.888), (3, 24, 0.01, 4.718), (1, 60, 0.005, 8.495),
            (9, math.inf, 0.01, 2.407), (1, math.inf, 0.005, 7.879),
        ],
    )  # fmt: skip
    def test_f_as_in_tables(self, above: float, below: float, beyond: float, tabled: float) -> None:
        assert f_quantile(above, below, beyond) == pytest.approx(tabled, rel=0.01)


class TestSteeperThanItsLaw:
    """Over less than an octave, too."""

    n = tuple(range(100, 160, 10))

    def fitted(self, cost: Callable[[int], float], late_start: float = 0.0) -> OrderFit:
        return fit_order(self.n, [[cost(n)] for n in self.n], late_start=late_start)

    def test_a_steeper_power_is_not_named(self) -> None:
        found = self.fitted(lambda n: n**2.6)
        assert found.order is None
        assert "steeper than N²: exponent 2.60 ± 0.03" in found.reason

    def test_n_squared_that_begins_late_is(self) -> None:
        """N² − N₀²/8 has the slope 2/(1 − 1/8) = 2.29 at N₀."""
        found = self.fitted(lambda n: n**2 - 100**2 / 8, late_start=1 / 7)
        assert found.local_slope > 2.15
        assert found.order == "N^2"
