"""The complexity experiment, with a clock that follows laws: what is named, told, written and drawn."""

import dataclasses
import functools
import json
import math
import re
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, get_args

import numpy as np
import pytest

from attnlab.errors import AttnlabError, InputError, MemoryRefused, UsageError
from attnlab.experiments import complexity
from attnlab.experiments.complexity import KEPT, Telling, chosen_variants, installed, require_sound, run
from attnlab.experiments.complexity_checks import equality_checks
from attnlab.experiments.complexity_crossovers import crossovers
from attnlab.experiments.complexity_document import COLUMNS, csv_table, document, settings
from attnlab.experiments.complexity_figures import LOOKS, figures
from attnlab.experiments.complexity_record import ComplexityConfig, ComplexityRecord, Sweep
from attnlab.experiments.complexity_report import amount, doubling, report, share
from attnlab.experiments.complexity_resumed import config_of
from attnlab.experiments.complexity_saved import SavedPoints, experiment
from attnlab.experiments.complexity_sizes import octaves, sizes
from attnlab.experiments.complexity_variants import KERNELS, MECHANISMS, Part, Setting, Variant, full_variant, variant
from attnlab.maths.mechanisms.kernelised import linear_attention
from attnlab.measure import timing
from attnlab.measure.peak import PeakBytes
from attnlab.measure.timing import REFERENCE, Task, Timing
from attnlab.records import Finding, Growth, Panels, Quantity, Series, Table
from attnlab.theory import mechanism_costs as costs
from tests.rendered import whole

SIZES = (128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
CONFIG = ComplexityConfig(n=SIZES, mechanisms=MECHANISMS, kernels=("dense", "streaming", "query"))

#: Seconds of a call at N.
LAWS: Mapping[str, Callable[[float], float]] = {
    "full/dense": lambda n: 20e-6 + 4e-9 * n * n,
    "full/streaming": lambda n: 1e-3 + 3e-9 * n * n,
    "full/query": lambda n: 1e-6 * n + 9e-9 * n * n,
    "window/numpy": lambda n: 20e-6 + 1.3e-6 * n,
    "linear/numpy": lambda n: 10e-6 + 0.3e-6 * n,
    "fourier/numpy": lambda n: 3e-6 + 0.08e-6 * n * math.log2(n),
    "argmax/numpy": lambda n: 5e-6 + 1e-9 * n * n,
    "sorted/numpy": lambda n: 4e-7 + 1.2e-8 * n * math.log2(n),
    "hash/numpy": lambda n: 1e-6 + 1.5e-7 * n,
}
ORDERS = {
    "full": "N^2",
    "argmax": "N^2",
    "window": "N",
    "linear": "N",
    "hash": "N",
    "fourier": "N log N",
    "sorted": "N log N",
}


def clock(laws: Mapping[str, Callable[[float], float]], noise: float = 0.01) -> Callable[..., dict[str, Timing]]:
    """In the place of `time_interleaved`: timings by the law, with that share of noise; each is told of at once."""

    def time_interleaved(
        tasks: Sequence[Task],
        *,
        repeats: int,
        seed: int,
        done: Mapping[str, Sequence[float]],
        on_sample: Callable[[str, float, int], None],
        advance: Callable[[], None],
        clock: Callable[[], int],
    ) -> dict[str, Timing]:
        rng = np.random.default_rng(seed)
        timings = {}
        for task in tasks:
            key, _, rest = task.key.rpartition("/")[0].rpartition("/")
            law = laws[key](float(rest)) if key else 1e-2
            samples = [*done.get(task.key, ())]
            for _ in range(repeats - len(samples)):
                samples.append(law * math.exp(noise * rng.standard_normal()))
                on_sample(task.key, samples[-1], 1)
                advance()
            timings[task.key] = Timing(tuple(samples), 1)
        return timings

    return time_interleaved


def lay_down_laws(monkeypatch: pytest.MonkeyPatch) -> None:
    """No clock, no memory: what takes time is a law."""
    monkeypatch.setattr(complexity, "time_interleaved", clock(LAWS))
    monkeypatch.setattr(complexity, "peak_bytes", by_formula)
    monkeypatch.setattr(complexity, "agreement", lambda predicted, peak: f"{predicted} {peak.traced}")
    monkeypatch.setattr(Variant, "prepare", lambda v, setting, part: lambda: np.zeros(setting.n))


@pytest.fixture
def lawful(monkeypatch: pytest.MonkeyPatch) -> None:
    lay_down_laws(monkeypatch)


@pytest.fixture(scope="module")
def record() -> ComplexityRecord:
    with pytest.MonkeyPatch.context() as monkeypatch:
        lay_down_laws(monkeypatch)
        return run(CONFIG)


def by_formula(work: Callable[[], object]) -> PeakBytes:
    """The bytes of what the work returns: O(N)."""
    size = np.asarray(work()).nbytes
    return PeakBytes(size, size, "")


class TestSizes:
    def test_the_default_range(self) -> None:
        assert sizes(None, 4096, name="n", fitted_from=256) == SIZES

    def test_a_short_range_has_finer_steps(self) -> None:
        found = sizes(None, 1024, name="n", fitted_from=256)
        assert found[0] == 64
        assert [n for n in found if n >= 256] == [256, 320, 384, 448, 512, 640, 768, 896, 1024]

    def test_a_long_range_has_octaves(self) -> None:
        assert sizes(64, 65536, name="n") == tuple(2**k for k in range(6, 17))

    def test_the_largest_is_always_there(self) -> None:
        assert sizes(100, 3000, name="n")[-1] == 3000

    def test_octaves_halve_the_largest(self) -> None:
        assert octaves(SIZES) == [128, 256, 512, 1024, 2048, 4096]
        assert octaves([]) == []

    @pytest.mark.parametrize(
        ("low", "high", "text"),
        [
            (
                64,
                100,
                r"--min-n 64 --max-n 100: room for 3 of the 6 sizes that a fit needs; expected --max-n 146 or more",
            ),
            (64, 32, r"--min-n 64 --max-n 32: room for 0 of the 6 sizes"),
            (4, 4096, r"--min-n 4; expected 8 or more"),
        ],
    )
    def test_too_short_a_range_says_what_is_needed(self, low: int, high: int, text: str) -> None:
        with pytest.raises(UsageError, match=text):
            sizes(low, high, name="n")

    def test_what_it_says_is_enough(self) -> None:
        assert len(sizes(64, 146, name="n")) == 6
        with pytest.raises(UsageError):
            sizes(64, 145, name="n")


class TestCosts:
    def test_window_pairs_are_counted(self) -> None:
        for n, w in ((1, 1), (7, 3), (7, 7), (7, 20), (100, 64)):
            assert costs.window_pairs(n, w) == sum(min(i + 1, w) for i in range(n))

    def test_a_window_of_everything_costs_half_the_square_and_half_the_diagonal(self) -> None:
        assert costs.window_flops(9, window=9, heads=2, d=4) * 2 == costs.full_flops(9, heads=2, d=4) + 9 * 2 * 21

    def test_by_hand(self) -> None:
        assert costs.full_flops(10, heads=2, d=3) == 100 * 2 * (12 + 5)
        assert costs.linear_flops(10, heads=2, d=3) == 10 * 2 * (36 + 12)
        assert costs.argmax_flops(10, heads=2, d=3) == 2 * 100 * 6
        assert costs.fourier_flops(8, d=4) == 2.5 * 32 * 5
        assert costs.block_rest_flops(10, d_model=3, d_ff=12) == 24 * 10 * 9
        assert costs.dense_core_bytes(10, heads=2, d=3) == 4 * (2 * 200 + 60)
        assert costs.matrix_outgrows(8 * 50 * 50, heads=1) == 50


class TestChecks:
    variants = (
        *(full_variant(k) for k in KERNELS if installed(k)),
        *(variant(m, 16) for m in MECHANISMS[1:]),
    )
    setting = Setting(n=1, d=8, heads=2, window=16, seed=0)

    def test_every_kernel_equals_another_way(self) -> None:
        checks = equality_checks(self.variants, self.setting, "block")
        assert len(checks) == len(self.variants) + 1
        assert [check.id for check in checks if not check.holds] == []

    @pytest.mark.parametrize("mechanism", ["full", "window", "argmax"])
    def test_another_mechanism_in_its_place_is_seen(self, mechanism: str) -> None:
        right = full_variant("query") if mechanism == "full" else variant(mechanism, 16)
        wrong = (lambda q, k, v: np.zeros(q.shape[:-1], int)) if mechanism == "argmax" else linear_attention
        (check,) = equality_checks([dataclasses.replace(right, heads=lambda _: wrong)], self.setting, "core")
        assert not check.holds

    def test_a_wrong_table_is_seen(self) -> None:
        wrong = dataclasses.replace(variant("hash", 16), table=lambda keys, queries: np.zeros(len(queries), int))
        (check,) = equality_checks([wrong], self.setting, "core")
        assert not check.holds

    def test_a_number_that_is_none_is_seen(self) -> None:
        wrong = dataclasses.replace(full_variant("query"), heads=lambda _: lambda q, k, v: v * np.nan)
        (check,) = equality_checks([wrong], self.setting, "core")
        assert not check.holds

    def test_what_differs_is_not_timed(self, lawful: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(complexity, "time_interleaved", lambda *_, **__: pytest.fail("timed"))
        monkeypatch.setattr(
            "attnlab.experiments.complexity_variants.FULL", {"query": ("full, one query", lambda _: linear_attention)}
        )
        with pytest.raises(
            AttnlabError, match=r"not so: full, one query equals attention in float64: off by .*timed"
        ) as e:
            run(dataclasses.replace(CONFIG, mechanisms=("full",), kernels=("query",)))
        assert e.value.exit_code == 1


class TestOrders:
    def test_each_mechanism_has_its_own(self, record: ComplexityRecord) -> None:
        named = {v.key: record.fit(v, "time").order for v in record.variants}
        assert named == {key: ORDERS[key.partition("/")[0]] for key in LAWS}

    def test_a_law_that_is_none_of_them_is_not_named(self, lawful: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(complexity, "time_interleaved", clock({"full/query": lambda n: 1e-11 * n**3}))
        found = run(dataclasses.replace(CONFIG, mechanisms=("full",), kernels=("query",), n=SIZES[:-2]))
        assert found.fit(found.variants[0], "time").order is None

    @pytest.mark.parametrize(
        ("law", "why"),
        [
            (lambda n: 1e-8 * n**1.5, "between N log N and N²: exponent 1.50 ± 0.01"),
            (lambda n: 3e-6 + 1.2e-8 * n * math.log2(n), "N log N, or N that grows dearer; begin at larger N"),
            (lambda n: 1e-8 * n * (1 + 0.1 * math.log(n / 128)), "between N and N log N: exponent 1.08 ± 0.01"),
        ],
    )
    def test_what_stays_open_is_said_in_a_line(
        self, law: Callable[[float], float], why: str, lawful: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(complexity, "time_interleaved", clock({"sorted/numpy": law}))
        found = run(dataclasses.replace(CONFIG, mechanisms=("sorted",)))
        notes = [part.text for part in whole(report(found)) if isinstance(part, Finding)]
        assert f"sorted lookup, time: {why}." in "\n".join(notes).splitlines()
        assert max(len(line) for line in "\n".join(notes).splitlines() if "lookup, time" in line) <= 80

    def test_a_window_is_fitted_from_four_windows_on(self, record: ComplexityRecord) -> None:
        window = next(v for v in record.variants if v.mechanism == "window")
        assert record.fit(window, "time").window[0] >= 256

    def test_too_few_sizes_beyond_the_window_say_so(self, lawful: None) -> None:
        found = run(dataclasses.replace(CONFIG, mechanisms=("window",), window=512))
        fit = found.fit(found.variants[0], "time")
        assert (fit.order, fit.settled) == (None, False)
        assert fit.reason == "not settled: 3 of the 6 sizes that it takes from N = 2,048 (four windows) on"

    def test_a_block_is_not_called_n_log_n(self, lawful: None, monkeypatch: pytest.MonkeyPatch) -> None:
        d = 768
        block = {"full/dense": lambda n: 1e-11 * (24 * n * d * d + 4 * n * n * d)}
        monkeypatch.setattr(complexity, "time_interleaved", clock(block))
        found = run(
            dataclasses.replace(CONFIG, mechanisms=("full",), kernels=("dense",), part="block", heads=1, d=(d,))
        )
        assert found.fit(found.variants[0], "time").order in (None, "N^2")


class TestCrossovers:
    def test_they_lie_where_the_laws_cross(self, record: ComplexityRecord) -> None:
        found = {c.variant.mechanism: c.at for c in crossovers(record)}
        # 20 + 1.3 N = 20 + 0.004 N²; the others are faster from the start, or never: the range begins at 128.
        assert found == {"window": pytest.approx(325, rel=0.03)}


class TestDocument:
    def test_fields_are_those_promised(self, record: ComplexityRecord) -> None:
        found: Any = document(record)
        assert len(found["points"]) == len(LAWS) * len(SIZES)
        assert tuple(found["points"][0]) == COLUMNS
        assert tuple(found["fits"][0]) == (
            "mechanism", "kernel", "part", "quantity", "order", "settled", "reason", "coefficients", "local_slope",
            "slope_interval", "window",
        )  # fmt: skip
        assert {fit["quantity"] for fit in found["fits"]} == {"time", "memory"}

    def test_a_point_is_its_timing(self, record: ComplexityRecord) -> None:
        found: Any = document(record)
        point = next(p for p in found["points"] if (p["kernel"], p["n"]) == ("dense", 4096))
        law = LAWS["full/dense"](4096)
        assert point["seconds_median"] == pytest.approx(law, rel=0.02)
        assert point["seconds_min"] <= point["seconds_median"]
        assert point["flops"] == 4096**2 * (4 * 64 + 5)
        assert point["gflops"] == pytest.approx(point["flops"] / point["seconds_median"] / 1e9)
        assert point["peak_bytes"] == 8 * 4096
        assert point["window"] is None
        table = next(p for p in found["points"] if p["mechanism"] == "hash")
        assert (table["flops"], table["gflops"], table["threads"]) == (None, None, 1)

    def test_the_csv_has_the_same_rows(self, record: ComplexityRecord) -> None:
        columns, rows = csv_table(record)
        assert [dict(zip(columns, row, strict=True)) for row in rows] == document(record)["points"]

    def test_settings_come_back(self) -> None:
        widths = dataclasses.replace(CONFIG, sweep="d", n=(1024,), d=SIZES)
        for config in (CONFIG, widths):
            found = config_of({"config": settings(config), "seed": 10**400}, max_bytes=7)
            assert found == dataclasses.replace(config, max_bytes=7, seed=10**400)

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"mechanisms": None}, "mechanisms: null; expected a list of 1 or more, each full, window, "),
            ({"mechanisms": ["magic"]}, r"mechanisms: \"\['magic'\]\"; expected a list of 1 or more, each full, "),
            ({"kernels": [["dense"]]}, r"kernels: .*; expected a list of 1 or more, each dense, "),
            ({"kernels": []}, r"kernels: '\[\]'; expected a list of 1 or more"),
            ({"part": 7}, "part: '7'; expected core or block"),
            ({"sweep": "h"}, "sweep: 'h'; expected n or d"),
            (
                {"n": [2**62]},
                r"n: '\[4611686018427387904\]'; expected a list of 6 to 200, each a whole number of 8 or ",
            ),
            ({"n": [*SIZES[:5], 2**31]}, r"n: .*; expected .*, and below 2\^31, rising"),
            ({"n": SIZES[:5]}, "n: .*; expected a list of 6 to 200"),
            ({"n": [*range(8, 209)]}, "n: .*; expected a list of 6 to 200"),
            ({"n": [64] * 6}, "n: .*; expected .*, rising"),
            ({"n": SIZES[::-1]}, "n: .*; expected .*, rising"),
            ({"n": [7, *SIZES]}, "n: .*; expected .*, each a whole number of 8 or more"),
            ({"d": [64, 65]}, r"d: '\[64, 65\]'; expected a list of 1, each a whole number of 1 or more"),
            ({"sweep": "d"}, "n: .*; expected a list of 1, each"),
            ({"heads": True}, r"heads: 'True'; expected a whole number of 1 or more, and below 2\^31"),
            ({"window": 2**31}, "window: '2147483648'; expected a whole number"),
            ({"threads": 1.0}, "threads: '1.0'; expected a whole number"),
            ({"repeats": 0}, "repeats: '0'; expected a whole number"),
            ({"more": 1}, "'more': unknown; expected mechanisms, .* alone"),
        ],
        ids=str,
    )
    def test_what_are_no_settings(self, changes: Mapping[str, Any], told: str) -> None:
        listed = json.loads(json.dumps({**settings(CONFIG), **changes}))
        with pytest.raises(InputError, match=f"^run.json: config: {told}"):
            config_of({"config": listed, "seed": 0}, max_bytes=7)

    @pytest.mark.parametrize("name", [*settings(CONFIG)])
    def test_each_has_to_be_there(self, name: str) -> None:
        listed = {key: value for key, value in settings(CONFIG).items() if key != name}
        with pytest.raises(InputError, match=f"^run.json: config: {name}: missing; expected "):
            config_of({"config": listed, "seed": 0}, max_bytes=7)

    @pytest.mark.parametrize(
        ("manifest", "told"),
        [
            ({"config": {}}, "seed: missing; expected a whole number of 0 or more"),
            ({"config": {}, "seed": True}, "seed: 'True'; expected a whole number of 0 or more"),
            ({"config": {}, "seed": -1}, "seed: '-1'; expected"),
            ({"config": [], "seed": 0}, r"config: '\[\]'; expected an object"),
            ({"seed": 0}, "config: missing; expected an object"),
        ],
        ids=str,
    )
    def test_what_is_no_run_of_it(self, manifest: Mapping[str, Any], told: str) -> None:
        with pytest.raises(InputError, match=f"^run.json: {told}"):
            config_of(manifest, max_bytes=7)


class TestReport:
    def test_the_orders_have_a_line_each(self, record: ComplexityRecord) -> None:
        table = report(record).parts[1]
        assert isinstance(table, Table)
        said = {row[0]: (row[1], row[3], row[4]) for row in table.rows}
        assert said["full, dense"] == ("N²", "N²", "N")  # the stand-in for memory is linear
        assert said["sorted lookup"] == ("N log N", "N log N", "N")

    def test_streaming_memory_is_fitted_where_its_panels_have_their_full_height(self, record: ComplexityRecord) -> None:
        streaming, dense = (record.fit(full_variant(kernel), "memory") for kernel in ("streaming", "dense"))
        assert (streaming.window, dense.window) == ((768, 4096), (512, 4096))

    def test_what_follows_comes_first(self, record: ComplexityRecord) -> None:
        first = report(record).parts[0]
        assert isinstance(first, Finding)
        assert first.text.startswith(
            "In the long run, doubling the text costs full attention four times the time. "
            "At N = 4,096 the matrix of attention weights takes 64 MiB a head; "
        )
        assert "window 64 from N = 3" in first.text

    @pytest.mark.parametrize(
        ("sweep", "part", "said"),
        [
            ("n", "core", "By the formulas, doubling the text costs full attention four times the work"),
            ("n", "block", "By the formulas, doubling the text costs a block of full attention four times the work"),
            ("d", "core", "By the formulas, doubling a large width costs full attention twice the work"),
            (
                "d",
                "block",
                "By the formulas, doubling a large width costs a block of full attention four times the work",
            ),
        ],
    )
    def test_what_is_not_settled_is_said_by_the_formulas(
        self, sweep: Sweep, part: Part, said: str, record: ComplexityRecord
    ) -> None:
        fits = [fit._replace(fit=dataclasses.replace(fit.fit, order=None, settled=False)) for fit in record.fits]
        config = dataclasses.replace(record.config, sweep=sweep, part=part)
        (text,) = doubling(dataclasses.replace(record, fits=fits, config=config))
        assert text == f"{said} in the long run."
        none = dataclasses.replace(record, variants=[v for v in record.variants if v.mechanism != "full"])
        assert doubling(none) == []

    def test_no_speed_is_beyond_the_machine_s_own(self, record: ComplexityRecord) -> None:
        """As where its matrix product was timed while the machine was busy."""
        point = next(point for point in record.points if point.gflops)
        own = point.gflops or 0.0
        cells = [share(dataclasses.replace(record, matrix_product_gflops=speed * own), point) for speed in (4, 0.25)]
        assert [(cell.value, cell.unit) for cell in cells if isinstance(cell, Quantity)] == [(25, "%")]
        assert cells[1] is None

    def test_noise_is_told(self, record: ComplexityRecord) -> None:
        noisy = dataclasses.replace(record, noise="too noisy to say")
        assert "Take the times with care: too noisy to say." in [
            part.text for part in whole(report(noisy)) if isinstance(part, Finding)
        ]

    @pytest.mark.parametrize(
        ("count", "text"), [(7, "7 B"), (2048, "2 KiB"), (3 << 20, "3 MiB"), (float(1 << 34), "16 GiB")]
    )
    def test_amounts(self, count: float, text: str) -> None:
        assert amount(count) == text


class TestFigures:
    def test_time_left_and_memory_right(self, record: ComplexityRecord) -> None:
        first, _, _ = figures(record)
        assert [figure.name for figure in figures(record)] == ["complexity", "growth", "gflops"]
        assert isinstance(first.drawable, Panels)
        assert first.drawable.beside
        time, memory = first.drawable.panels
        dense = time.lines[0]
        assert (dense.label, list(dense.x)) == ("dense", list(SIZES))
        assert list(dense.y) == [1e3 * point.timing.median for point in record.of(record.variants[0])]
        assert list(dense.standard_error) == [1e3 * point.timing.mad for point in record.of(record.variants[0])]
        assert [line.label for line in memory.lines if line.kind == "reference"] == ["O(N²)", "O(N log N)", "O(N)"]
        assert [mark.label for mark in time.marks] == ["window 64 overtakes"]

    def test_what_the_orders_mean_stands_beside_what_was_measured(self, record: ComplexityRecord) -> None:
        drawn = figures(record)[1].drawable
        assert isinstance(drawn, Growth)
        assert drawn.size == SIZES[-1] / 2
        short = dataclasses.replace(record, config=dataclasses.replace(record.config, n=(16, 63)))
        assert "growth" not in [figure.name for figure in figures(short)]

    def test_reference_slopes_are_what_they_say(self, record: ComplexityRecord) -> None:
        drawable = figures(record)[0].drawable
        assert isinstance(drawable, Panels)
        growth = {line.label: line.y[-1] / line.y[0] for line in drawable.panels[0].lines if line.kind == "reference"}
        assert growth == pytest.approx({"O(N)": 32, "O(N log N)": 32 * 12 / 7, "O(N²)": 1024})

    def test_speed_stands_beside_the_machines_own(self, record: ComplexityRecord) -> None:
        drawable = figures(record)[2].drawable
        assert isinstance(drawable, Series)
        assert list(drawable.lines[-1].y) == [record.matrix_product_gflops] * 2
        assert record.matrix_product_gflops == pytest.approx(2 * 1024**3 / 1e-2 / 1e9, rel=0.05)  # as `clock` has it
        assert {line.label for line in drawable.lines} == {
            "dense", "streaming", "window 64", "linear", "matrix product",
        }  # fmt: skip

    def test_a_variant_looks_alike_wherever_it_is_drawn_and_like_no_other(self, record: ComplexityRecord) -> None:
        everything = dataclasses.replace(record, variants=record.variants[::-1])
        looks: dict[str, set[int | None]] = {}
        for found in (record, everything):
            first, _, speed = figures(found)
            for series in (*getattr(first.drawable, "panels", ()), speed.drawable):
                for line in series.lines:
                    if line.kind == "measured":
                        looks.setdefault(line.label, set()).add(line.look)
        assert len(looks) == 6
        assert all(len(one) == 1 for one in looks.values())
        assert len(set.union(*looks.values())) == 6

    def test_every_variant_has_a_look(self) -> None:
        assert {v.key for kernels in (KERNELS,) for v in map(full_variant, kernels)} < {*LOOKS}
        assert {variant(name, 4).key for name in MECHANISMS if name != "full"} < {*LOOKS}

    def test_where_full_attention_is_open_the_title_says_what_it_takes(self, record: ComplexityRecord) -> None:
        fits = [fit._replace(fit=dataclasses.replace(fit.fit, order=None, settled=False)) for fit in record.fits]
        title = figures(dataclasses.replace(record, fits=fits))[0].drawable.title
        assert re.fullmatch(r"At N = 4,096 dense takes [\d.]+ ms, window 64 takes [\d.]+ ms", title)

    def test_the_memory_is_outgrown_in_sight(self, record: ComplexityRecord) -> None:
        drawable = figures(dataclasses.replace(record, outgrows=9000))[0].drawable
        assert isinstance(drawable, Panels)
        assert [mark.x for mark in drawable.panels[1].marks] == [9000]


class TestChoice:
    @pytest.mark.parametrize(
        ("changes", "error", "text"),
        [
            ({"heads": 0}, UsageError, r"--heads 0; expected 1 or more"),
            ({"d": (0,)}, UsageError, r"--d 0; expected 1 or more"),
            ({"repeats": 3}, UsageError, r"--repeats 3; expected 7 or more"),
            ({"mechanisms": ("hash",), "part": "block"}, UsageError, "none of hash can stand in attention's place"),
            ({"max_bytes": 64 << 20}, MemoryRefused, r"4,096 tokens would need 0.1 GiB .* add --kernel streaming"),
            ({"max_bytes": 1 << 20}, MemoryRefused, r"0.1 GiB for full .* and 1.0 MiB may be used; take a smaller"),
            (
                {"max_bytes": 8 << 20, "kernels": ("streaming",), "mechanisms": ("full",)},
                MemoryRefused,
                r"for the inputs and what is made of them, and 8.0 MiB may be used; take a smaller",
            ),
        ],
    )
    def test_what_cannot_be(self, changes: dict[str, Any], error: type[Exception], text: str) -> None:
        with pytest.raises(error, match=text):
            require_sound(dataclasses.replace(CONFIG, **changes))

    @pytest.mark.parametrize("part", get_args(Part))
    @pytest.mark.parametrize("kernel", ["dense", "streaming", "query"])
    def test_memory_needed_is_what_is_taken(self, part: Part, kernel: str) -> None:
        config = dataclasses.replace(CONFIG, mechanisms=("full",), kernels=(kernel,), part=part, n=(1024,))
        tracemalloc.start()
        try:
            full_variant(kernel).prepare(config.settings[-1], part)()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert 0.5 < peak / complexity.needed_bytes(config, [full_variant(kernel)]) < 1.1

    def test_without_dense_it_fits(self) -> None:
        lean = dataclasses.replace(CONFIG, kernels=("streaming",))
        need = complexity.needed_bytes(lean, chosen_variants(lean))
        assert need < 16 << 20
        require_sound(dataclasses.replace(lean, max_bytes=need))
        for config in (dataclasses.replace(lean, max_bytes=need - 1), dataclasses.replace(CONFIG, max_bytes=need)):
            with pytest.raises(MemoryRefused):
                require_sound(config)

    def test_a_block_has_no_tables(self) -> None:
        found = {v.mechanism for v in chosen_variants(dataclasses.replace(CONFIG, part="block"))}
        assert found == {"full", "window", "linear", "fourier"}

    def test_a_sweep_of_widths_has_no_tables(self) -> None:
        found = chosen_variants(dataclasses.replace(CONFIG, sweep="d", n=(1024,), d=SIZES))
        assert {v.mechanism for v in found} == {"full", "window", "linear", "fourier", "argmax"}


TIME = {"kind": "time", "key": "k", "seconds": 0.5, "calls": 3}
MEMORY = {"kind": "memory", "key": "k", "traced": 4096, "resident": None, "note": "by tracemalloc"}
LINE = "points.jsonl: line 2"


class TestSaved:
    def test_what_is_saved_is_not_timed_again(self, lawful: None, monkeypatch: pytest.MonkeyPatch) -> None:
        config = dataclasses.replace(CONFIG, mechanisms=("hash",))
        file = Kept()
        saved = SavedPoints(complexity.timings_wanted(config))
        saved.file = file  # type: ignore[assignment]
        counted = []
        first = run(config, saved=saved, telling=Telling(advance=lambda: counted.append(1)))
        assert len(counted) == complexity.steps(config, SavedPoints()) == 11 * 21 + 7 + 11
        assert saved.count == len(counted)
        again = SavedPoints(complexity.timings_wanted(config))
        for point in file.points:
            again.take(point, LINE)
        again.file = file  # type: ignore[assignment]
        assert complexity.steps(config, again) == 0
        before = again.count
        second = run(config, saved=again)
        assert again.count == before
        assert document(second)["points"] == document(first)["points"]

    def test_a_kernel_that_is_no_longer_installed_is_taken_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(complexity, "has_torch", lambda: False)
        config = dataclasses.replace(CONFIG, mechanisms=("full",), kernels=("dense", "torch"))
        saved = SavedPoints(complexity.timings_wanted(config))
        before = complexity.steps(config, saved)
        for point in (TIME, MEMORY):
            saved.take({**point, "key": f"full/torch/{SIZES[0]}/64"}, LINE)
        assert complexity.steps(config, saved) == before

    @pytest.mark.parametrize(
        ("point", "told"),
        [
            ({**TIME, "kind": "speed"}, "kind: 'speed'; expected time or memory"),
            ({**TIME, "kind": ["time"]}, "kind: .*; expected time or memory"),
            ({**TIME, "key": None}, "key: null; expected text"),
            ({**TIME, "seconds": 5e-324}, "seconds: '5e-324'; expected a number from 1e-12 to 1e.12"),
            ({**TIME, "seconds": float("nan")}, "seconds: 'nan'; expected a number"),
            ({**TIME, "seconds": float("inf")}, "seconds: 'inf'; expected a number"),
            ({**TIME, "seconds": True}, "seconds: 'True'; expected a number"),
            ({**TIME, "seconds": 10**400}, "seconds: '10+…'; expected a number"),
            ({**TIME, "calls": 0}, "calls: '0'; expected a whole number of 1 or more"),
            ({**TIME, "note": ""}, "'note': unknown; expected kind, key, seconds, calls alone"),
            (
                {**MEMORY, "traced": 10**400},
                r"traced: '10+…'; expected a whole number of 0 or more, and below 2\^62, or",
            ),
            ({**MEMORY, "traced": False}, "traced: 'False'; expected a whole number"),
            ({**MEMORY, "resident": -1}, "resident: '-1'; expected a whole number of 0 or more"),
            ({**MEMORY, "note": {}}, "note: '{}'; expected text"),
            ({**MEMORY, "key": "other"}, "memory of 'other': one too many; expected no more than the run takes"),
        ],
        ids=str,
    )
    def test_what_is_no_point_of_the_run(self, point: Mapping[str, Any], told: str) -> None:
        with pytest.raises(InputError, match=f"^points.jsonl: line 2: {told}"):
            SavedPoints({"k": 2}).take(point, LINE)

    def test_no_more_of_them_than_the_run_takes(self) -> None:
        saved = SavedPoints({"k": 2})
        for point in (TIME, MEMORY, TIME):
            saved.take(point, LINE)
        assert saved.seconds == {"k": [0.5, 0.5]}
        assert saved.peaks == {"k": PeakBytes(4096, None, "by tracemalloc")}
        for kind, point in (("time", TIME), ("memory", MEMORY)):
            with pytest.raises(InputError, match=f"{kind} of 'k': one too many; expected no more than the run takes"):
                saved.take(point, LINE)

    def test_many_of_one_key_take_no_longer_each(self) -> None:
        """Counted in what Python has to copy, not in seconds: tuples that grow by one are copied whole each time."""
        saved = SavedPoints({"k": 2_000})
        saved.take(TIME, LINE)
        first = saved.seconds["k"]
        for _ in range(1_999):
            saved.take(TIME, LINE)
        assert saved.seconds["k"] is first
        assert len(first) == 2_000

    def test_lists_are_told_as_text(self) -> None:
        found = experiment({"n": [1, 2], "part": "core"}, cpu="c", numpy="2")
        assert found == {
            "schema": "attnlab.complexity-points/1", "cpu": "c", "numpy": "2", "n": "1 2", "part": "core",
        }  # fmt: skip


class Kept:
    """A points file that keeps its points in memory."""

    def __init__(self) -> None:
        self.points: list[Mapping[str, object]] = []

    @property
    def count(self) -> int:
        return len(self.points)

    def append(self, point: Mapping[str, object]) -> None:
        self.points.append(dict(point))


def test_a_run_in_earnest(monkeypatch: pytest.MonkeyPatch) -> None:
    """No clock but the machine's: every variant, in small, core and block; what orders it has is not asked."""
    monkeypatch.setattr(timing, "SAMPLE_SECONDS", 1e-5)
    monkeypatch.setattr("attnlab.measure.peak.gc.collect", lambda: 0)  # there is much to collect in a test session
    config = ComplexityConfig(n=(16, 20, 24, 28, 32, 40), d=(4,), window=4, heads=2)
    block = dataclasses.replace(config, part="block", mechanisms=("full", "fourier"), kernels=("dense",))
    for asked in (config, block):
        found = run(asked)
        for point in found.points:
            assert point.timing.minimum > 0
            assert point.peak_bytes is None or point.peak_bytes > 0
        assert REFERENCE not in {point.variant.key for point in found.points}


def test_a_sweep_in_earnest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SAMPLE_SECONDS", 1e-5)
    monkeypatch.setattr("attnlab.measure.peak.gc.collect", lambda: 0)  # there is much to collect in a test session
    widths = (8, 10, 12, 14, 16, 20)
    config = ComplexityConfig(n=(32,), d=widths, sweep="d", window=4, mechanisms=("full", "linear"), kernels=("dense",))
    found = run(config)
    assert {point.setting.d for point in found.points} == {8, 10, 12, 14, 16, 20}
    assert any("d (width" in series.x_axis for f in figures(found) for series in getattr(f.drawable, "panels", []))
    assert report(found).heading.startswith("core · N 32 · 1 head of 8–20")
    assert [fit.fit.reason for fit in found.fits if "N" in fit.fit.reason] == []


@pytest.mark.slow
def test_full_attention_grows_faster_than_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one test of a real machine's time, by the clock of its own process, which stands still while others work."""
    by_own_clock = functools.partial(timing.time_interleaved, clock=time.process_time_ns)
    monkeypatch.setattr(complexity, "time_interleaved", by_own_clock)
    found = run(ComplexityConfig(n=sizes(None, 1024, name="n"), mechanisms=("argmax", "hash")))
    slope = {fit.variant.mechanism: fit.fit.local_slope for fit in found.fits if fit.quantity == "time"}
    assert slope["hash"] < 1.5 < slope["argmax"]


NOTHING: Mapping[str, Callable[[float], float]] = {}


class TestBudget:
    """Time that only the works take: the fake clock's samples, and nothing else."""

    def spent(
        self,
        monkeypatch: pytest.MonkeyPatch,
        budget: float | None,
        laws: Mapping[str, Callable[[float], float]] = NOTHING,
        noise: float = 0.1,
    ) -> Any:
        now, told = [0.0], list[str]()
        lay_down_laws(monkeypatch)
        timed = clock({**LAWS, **laws}, noise)

        def passing(tasks: Sequence[Task], *, on_sample: Callable[[str, float, int], None], **settings: Any) -> Any:
            def on(key: str, seconds: float, calls: int) -> None:
                now[0] += max(seconds, 0.006)
                on_sample(key, seconds, calls)

            return timed(tasks, on_sample=on, **settings)

        monkeypatch.setattr(complexity, "time_interleaved", passing)
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        config = dataclasses.replace(CONFIG, mechanisms=("full", "hash"), kernels=("dense",), budget_seconds=budget)
        found = run(config, telling=Telling(note=told.append))
        counts = {v.key: {len(point.timing.samples) for point in found.of(v)} for v in found.variants}
        return now[0], counts, told

    #: Between the orders: never settled.
    CUBIC: ClassVar[Mapping[str, Callable[[float], float]]] = {"full/dense": lambda n: 1e-11 * n**3}

    def test_goes_to_the_orders_that_are_open_and_is_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        without, counts, _ = self.spent(monkeypatch, None, self.CUBIC)
        assert counts == {"full/dense": {7}, "hash/numpy": {21}}
        for budget in (3 * without, 5 * without):
            seconds, counts, told = self.spent(monkeypatch, budget, self.CUBIC)
            assert seconds <= (1 - KEPT) * budget
            assert counts["hash/numpy"] == {21}
            assert min(counts["full/dense"]) > 7
            assert told == []

    def test_is_not_spent_where_all_is_settled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        _, counts, _ = self.spent(monkeypatch, 1e6, noise=0.01)
        assert counts == {"full/dense": {7}, "hash/numpy": {21}}

    def test_is_not_spent_where_more_timings_tell_nothing_more(self, monkeypatch: pytest.MonkeyPatch) -> None:
        _, counts, _ = self.spent(monkeypatch, 1e6, self.CUBIC, noise=0.005)
        assert counts == {"full/dense": {7}, "hash/numpy": {21}}

    def test_that_is_too_small_is_told_and_no_timing_is_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        _, counts, told = self.spent(monkeypatch, 1.0, self.CUBIC)
        assert counts == {"full/dense": {7}, "hash/numpy": {21}}
        assert re.fullmatch(r"7 timings of each size will take about \d+ s, more than the budget of 1 s", told[0])
