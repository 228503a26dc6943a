"""`attnlab cost` from the inside: what it finds and says, what is drawn, and a run set beside the count."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest

from attnlab.errors import MemoryRefused, UsageError
from attnlab.experiments import cost_measured
from attnlab.experiments.cost import CostConfig, CostRecord, run, shape_of, steps
from attnlab.experiments.cost_figures import figures, lengths
from attnlab.experiments.cost_measured import MATRICES, MeasuredPart, affordable_tokens
from attnlab.experiments.cost_report import byte_unit, csv_table, document, duration, in_bytes, percent, report, scaled
from attnlab.experiments.cost_tasks import PIECES, SQUARE, block_tasks, core_inputs, slope_panels
from attnlab.files.config import load_config
from attnlab.maths.architecture import BlockSpec, Initialisation, Rotary
from attnlab.maths.attention import attention_steps
from attnlab.maths.block import project, self_attention
from attnlab.maths.positions import alibi_bias
from attnlab.maths.streaming import stream
from attnlab.maths.weights import initial_block
from attnlab.measure.timing import REFERENCE, Task
from attnlab.records import Finding, Line, Panels, Series, Table
from attnlab.show.plots import draw
from attnlab.theory.costs import part_costs
from tests.rendered import shown, told, whole

PAPER = load_config("vaswani-base")
LONG = CostConfig(name="vaswani-base", block=PAPER.block, layers=6, n=131_072)
SMALL = BlockSpec(d_model=11, n_heads=6, n_kv_heads=3, d_k=5, d_v=7, d_ff=13)


def small(**changes: Any) -> CostConfig:
    return CostConfig(name="small", block=replace(SMALL, **changes), layers=1, n=17)


class TestCount:
    def test_layers_with_windows_of_their_own_are_added_up(self) -> None:
        block = replace(SMALL, causal=True)
        mixed = CostConfig(name="mixed", block=block, layers=3, windows=(None, 4, None), n=17)
        whole = run(CostConfig(name="whole", block=block, layers=1, n=17))
        cut = run(CostConfig(name="cut", block=replace(block, window=4), layers=1, n=17))
        for row, one, other in zip(run(mixed).rows, whole.rows, cut.rows, strict=True):
            assert row.flops == 2 * one.flops + other.flops
            assert row.parameters == 2 * one.parameters + other.parameters
        text = told(report(run(mixed)))
        assert "P = N(N+1)/2 in 2 layers, N·4 − 4·3/2 in 1: hidden pairs are skipped" in " ".join(text.split())

    def test_the_rows_are_all_layers_the_parts_one(self) -> None:
        record = run(LONG)
        assert [row.flops for row in record.rows] == [6 * part.operations("flop") for part in record.parts]
        assert record.total.parameters == 18_914_304
        assert record.matrix_bytes == 8 * 131_072**2 * 4
        assert record.streaming_bytes == 8 * 131_072 * 4

    def test_multiply_adds_alone(self) -> None:
        flop, mac = run(LONG), run(replace(LONG, count="mac"))
        products = [part for part in flop.parts if part.multiply_adds]
        assert mac.total.flops == 6 * sum(part.multiply_adds for part in products)
        assert {row.part for row in mac.rows if row.flops} == {part.part for part in products}
        assert [row.bytes for row in mac.rows] == [row.bytes for row in flop.rows]

    @pytest.mark.parametrize(("dtype", "size"), [("float16", 2), ("bfloat16", 2), ("float32", 4), ("float64", 8)])
    def test_bytes_are_of_the_configuration_s_numbers(self, dtype: str, size: int) -> None:
        (row,) = [row for row in run(replace(LONG, dtype=dtype)).rows if row.part == "q_projection"]
        assert row.bytes == 6 * 131_072 * 512 * size

    def test_sinusoids_are_added_once(self) -> None:
        config = replace(small(position="sinusoidal"), layers=3)
        (row,) = [row for row in run(config).rows if row.part == "sinusoidal_positions"]
        assert row.flops == 17 * 11

    @pytest.mark.parametrize("n", [0, -5])
    def test_no_tokens_are_refused(self, n: int) -> None:
        with pytest.raises(UsageError, match=f"^--n {n}; expected 1 token or more$"):
            run(replace(LONG, n=n))

    def test_too_many_tokens_are_refused(self) -> None:
        with pytest.raises(UsageError, match=r"^--n 9223372036854775808; expected 1 token or more, and below 2\^63$"):
            run(replace(LONG, n=2**63))


class TestReport:
    @pytest.mark.parametrize("n", [1, 1024, 131_072, 2**63 - 1])
    @pytest.mark.parametrize("name", ["vaswani-base", "llama-like", "single-head"])
    def test_fits_eighty_columns(self, name: str, n: int) -> None:
        config = load_config(name)
        record = run(CostConfig(name=name, block=config.block, layers=config.layers, n=n))
        assert max(map(len, shown(report(record)))) <= 80

    def test_the_finding_comes_first(self) -> None:
        first, *_ = report(run(LONG)).parts
        assert isinstance(first, Finding)
        assert first.text.startswith(
            "At N = 131,072 the attention core (QKᵀ and weights × V) takes 95.9 % of the work. It passes the "
            "projections at N = 1,024, projections and feed-forward together at 3,072."
        )
        assert "8 × N² numbers, would take 512 GiB; streaming gives the same output and keeps 4 MiB" in first.text

    def test_the_conventions_are_printed(self) -> None:
        assert "One multiply-add counts as 2 FLOPs" in told(report(run(LONG)))
        assert "MACs: multiply-adds" in told(report(run(replace(LONG, count="mac"))))
        assert "P = N² pairs of tokens" in told(report(run(LONG)))
        causal = small(causal=True)
        assert "P = N(N+1)/2 pairs: hidden ones are skipped" in told(report(run(causal)))
        assert "P = N² pairs: hidden ones are computed too" in told(report(run(replace(causal, hidden="full"))))

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"causal": True, "window": 3}, "P = N·3 − 3·2/2 pairs"),
            ({"causal": True, "window": 30}, "P = N(N+1)/2 pairs"),
            ({"window": 2}, "P = N·5 − 2·3 pairs"),
            ({"window": 16}, "P = N² pairs: hidden ones are skipped"),
        ],
    )
    def test_windows_say_their_pairs(self, changes: dict[str, Any], words: str) -> None:
        record = run(small(**changes))
        assert words in told(report(record))
        pairs = {"N": 17, "N²": 17**2, "N(N+1)/2": 17 * 9}
        formula = words.removeprefix("P = ").partition(" pairs")[0]
        worth = pairs.get(formula) or eval(formula.replace("·", "*").replace("−", "-"), {}, pairs)
        (scores,) = [part for part in record.parts if part.part == "scores"]
        assert scores.multiply_adds == worth * 6 * 5

    def test_a_window_that_keeps_attention_below_the_projections(self) -> None:
        text = told(report(run(small(window=1))))
        assert "Through its window it never passes the projections, however long the text." in text
        wider = run(small(causal=True, window=18))
        assert wider.crossover.core_over_projections is not None
        assert wider.crossover.core_over_rest is None
        assert "projections and feed-forward together never: its window keeps it below them." in told(report(wider))

    def test_no_feed_forward(self) -> None:
        assert "; there is no feed-forward." in told(report(run(small(d_ff=None))))

    def test_the_shares_make_a_hundred(self) -> None:
        (table,) = [part for part in whole(report(run(LONG))) if isinstance(part, Table)]
        shares = [row[3] for row in table.rows]
        assert sum(share for share in shares[:-1] if isinstance(share, float)) == pytest.approx(100)
        assert shares[-1] == 100

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (percent(0.5), "50 %"),
            (percent(0.00001), "less than 0.1 %"),
            (percent(0.99999), "more than 99.9 %"),
            (percent(1.0), "100 %"),
            (in_bytes(2**39), "512 GiB"),
            (in_bytes(1023), "1,023 B"),
            (duration(0.0105), "10.5 ms"),
            (duration(90.0), "90 s"),
            (duration(2304.0), "38.4 minutes"),
            (duration(86_400.0), "24 hours"),
            (duration(864_000.0), "10 days"),
        ],
    )
    def test_numbers_in_words(self, words: str, expected: str) -> None:
        assert words == expected

    def test_units(self) -> None:
        assert [scaled(x) for x in (0, 999, 1000, 10**15 - 1)] == [(1, ""), (1, ""), (1000, "k"), (10**12, "T")]
        assert byte_unit(2**20 - 1) == (1024, "KiB")
        assert byte_unit(2**200)[1] == "EiB"

    def test_document_and_csv(self) -> None:
        record = run(LONG)
        written = document(record)
        rows: Any = written["rows"]
        assert [{"part", "flops", "bytes", "parameters"} <= {*row} for row in rows] == [True] * len(record.rows)
        assert written["crossover"] == {"core_over_projections": 1024, "core_over_rest": 3072}
        assert written["convention"] == {"count": "flop", "causal": "half", "hides": False, "dtype": "float32"}
        assert written["measured"] is None
        columns, csv_rows = csv_table(record)
        assert columns == ("part", "formula", "flops", "bytes", "parameters")
        assert len(csv_rows) == len(record.rows)


class TestFigure:
    def drawn(self, config: CostConfig) -> tuple[CostRecord, Series, Series]:
        record = run(config)
        (figure,) = figures(record)
        assert isinstance(figure.drawable, Panels)
        work, memory = figure.drawable.panels
        return record, work, memory

    def test_holds_the_formulas(self) -> None:
        record, work, memory = self.drawn(LONG)
        axis = lengths(record)
        assert (axis[0], axis[-1]) == (64, 2**20)
        for line, names in zip(work.lines, (("scores", "weighted_values"), None, ("feed_forward",)), strict=True):
            if names:
                for n, share in zip(axis, line.y, strict=True):
                    parts = part_costs(record.shapes[0], n)
                    whole = sum(part.operations("flop") for part in parts)
                    assert share == pytest.approx(
                        100 * sum(part.operations("flop") for part in parts if part.part in names) / whole
                    )
        at = axis.index(131_072)
        assert memory.lines[0].y[at] == pytest.approx(2 * 512)

    def test_marks_the_crossovers_and_what_was_asked_for(self) -> None:
        _, work, _ = self.drawn(LONG)
        assert [(mark.x, mark.label) for mark in work.marks] == [
            (131_072, "asked for"),
            (1024, "core = projections"),
            (3072, "core = the rest"),
        ]
        assert not self.drawn(small(window=1))[1].marks

    def test_its_axes_are_logarithmic_with_numbers_on_them(self) -> None:
        (figure,) = figures(run(LONG))
        above, below = draw(figure).axes
        assert (above.get_xscale(), below.get_yscale()) == ("log", "log")
        assert next(tick.get_text() for tick in below.get_xticklabels()) == "64"

    @pytest.mark.parametrize("changes", [{}, {"window": 1}, {"d_ff": None}, {"causal": True, "window": 18}])
    def test_has_a_title_for_every_block(self, changes: dict[str, Any]) -> None:
        (figure,) = figures(run(small(**changes)))
        assert "small: " in figure.drawable.title
        draw(figure)


class Clocked(NamedTuple):
    """A timing that was not taken."""

    median: float
    mad: float

    @property
    def minimum(self) -> float:
        return self.median


def one_call(tasks: Sequence[Task], *, repeats: int, seed: int, advance: Callable[[], None]) -> dict[str, Clocked]:
    """Every task done once, each said to take as many milliseconds as it stands in the list, the first one 1."""
    timings = {}
    for place, task in enumerate(tasks, start=1):
        task.prepare()()
        for _ in range(repeats):
            advance()
        timings[task.key] = Clocked(place / 1000, 0.0001)
    return timings


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost_measured, "time_interleaved", one_call)
    monkeypatch.setattr(cost_measured, "noisy", lambda timings: "too busy" if timings[REFERENCE].median > 1 else None)
    monkeypatch.setattr(cost_measured, "fastest", lambda work, tries: 0.05)


TIMED: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal window": {"causal": True, "window": 3},
    "alibi": {"position": "alibi"},
    "rotary": {"position": Rotary(fraction=0.8), "qk_norm": "rmsnorm"},
    "no feed-forward": {"d_ff": None},
    "no output projection": {"d_model": 42, "output_projection": False},
    "capped": {"softcap": 5.0, "bias": False},
}


@pytest.mark.usefixtures("clock")
class TestMeasured:
    @pytest.mark.parametrize("name", TIMED)
    @pytest.mark.parametrize("dense", [True, False])
    def test_every_piece_is_timed_and_counted(self, name: str, dense: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cost_measured, "DENSE_BYTES", 2**29 if dense else 0)
        config = replace(small(**TIMED[name]), measured=True)
        record = run(config)
        assert record.measured is not None
        measured = record.measured
        assert (measured.n, measured.kernel) == (17, "dense" if dense else "streaming")
        done = {part for piece in measured.parts for part in PIECES[piece.name]}
        assert {part.part for part in record.parts} - done <= {"biases", "sinusoidal_positions"}
        counted = sum(part.operations("flop") for part in record.parts if part.part in done)
        assert sum(piece.flops for piece in measured.parts) == counted
        assert measured.machine_gflops == pytest.approx(2 * SQUARE**3 / 0.001 / 1e9)
        assert measured.seconds_at_n == pytest.approx(measured.seconds)
        assert max(map(len, shown(report(record)))) <= 80

    def test_fewer_tokens_where_all_would_take_too_long(self) -> None:
        record = run(replace(LONG, measured=True, max_bytes=2**33))
        assert record.measured is not None
        assert record.measured.n < 131_072
        text = told(report(record))
        assert f"Timed here at N = {record.measured.n:,} (131,072 would take " in text
        core = [part for part in record.measured.parts if part.name == "attention core"]
        grown = 16 ** len(core)
        assert record.measured.seconds_at_n > record.measured.seconds * grown

    def test_fewer_tokens_where_memory_is_short(self) -> None:
        config = replace(small(), n=4096, measured=True)
        roomy, tight = (run(replace(config, max_bytes=size)).measured for size in (2**30, 2**20))
        assert roomy is not None
        assert tight is not None
        assert tight.n < roomy.n == 4096

    def test_one_token_fits_where_its_own_vectors_do(self) -> None:
        """Each doubling of the tokens takes as much again as they did: so did the first token before it."""
        block = small().block

        def tokens(max_bytes: int) -> int:
            """Of four, those that can be afforded; 0 where it is refused."""
            try:
                return affordable_tokens(
                    block, lambda n: part_costs(shape_of(block), n), 4, np.dtype(np.float32), max_bytes
                )
            except MemoryRefused:
                return 0

        def least(wanted: int) -> int:
            return bisect_left(range(2**20), wanted, key=tokens)

        one, two, four = least(1), least(2), least(4)
        assert 0 < four - two == 2 * (two - one)

    def test_the_core_is_dense_while_its_matrices_fit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        config = replace(small(), measured=True)
        matrices = MATRICES * config.block.n_heads * 17**2 * 4  # float32
        for most, kernel in ((matrices, "dense"), (matrices - 1, "streaming")):
            monkeypatch.setattr(cost_measured, "DENSE_BYTES", most)
            measured = run(config).measured
            assert measured is not None
            assert measured.kernel == kernel

    def test_weights_that_do_not_fit_are_refused(self) -> None:
        with pytest.raises(MemoryRefused, match=r"--against measured: one block's weights take .* give --max-memory"):
            run(replace(LONG, measured=True, max_bytes=2**20))

    def test_advances_no_more_often_than_it_says(self) -> None:
        config, count = replace(small(), measured=True), 0

        def advance() -> None:
            nonlocal count
            count += 1

        run(config, advance=advance)
        assert 0 < count <= steps(config) + cost_measured.REPEATS

    def test_the_finding_names_what_takes_longer_than_it_should(self) -> None:
        record = run(replace(small(), measured=True))
        assert record.measured is not None
        *_, last = record.measured.parts
        assert f"most of it: {last.name}. Slowest for its count: {last.name}, " in told(report(record))

    def test_the_slowest_is_slow_for_its_count_and_takes_a_tenth_of_the_time(self) -> None:
        record = run(replace(small(), measured=True))
        assert record.measured is not None
        pieces = [("long", 10**9, 0.8), ("slow", 10**6, 0.2), ("slower, but soon done", 1, 0.01)]
        parts = [
            MeasuredPart(name=name, flops=flops, seconds_median=seconds, seconds_mad=0.0)
            for name, flops, seconds in pieces
        ]
        assert replace(record.measured, parts=parts).slowest.name == "slow"
        assert replace(record.measured, parts=parts[:1]).slowest.name == "long"

    def test_a_busy_machine_is_told(self) -> None:
        record = run(replace(small(), measured=True))
        assert record.measured is not None
        busy = replace(record, measured=replace(record.measured, warning="the machine is busy"))
        assert "Take these times with care: the machine is busy." in told(report(busy))

    def test_speeds_are_drawn_beside_the_machine_s_own(self) -> None:
        record = run(replace(small(), measured=True))
        _, figure = figures(record)
        assert isinstance(figure.drawable, Series)
        pieces, machine = figure.drawable.lines
        assert isinstance(pieces, Line)
        assert record.measured is not None
        assert list(pieces.y) == [part.gflops for part in record.measured.parts]
        assert {*machine.y} == {record.measured.machine_gflops}
        draw(figure)

    def test_the_document_holds_the_times(self) -> None:
        written: Any = document(run(replace(small(), measured=True)))["measured"]
        assert {"n", "kernel", "machine_gflops", "parts"} <= {*written}
        assert {"name", "flops", "seconds_median", "seconds_mad", "gflops"} == {*written["parts"][0]}


class TestPieces:
    @pytest.mark.parametrize("name", TIMED)
    def test_the_core_that_is_timed_is_the_block_s(self, name: str) -> None:
        spec = replace(SMALL, **TIMED[name])
        x = np.random.default_rng(0).standard_normal((17, spec.d_model))
        p = project(spec, initial_block(spec, Initialisation(), layer=0, dtype=np.float64), x)
        right = self_attention(spec, p).output
        inputs = core_inputs(spec, p)
        np.testing.assert_allclose(attention_steps(inputs).output, right, atol=1e-6)
        np.testing.assert_allclose(stream(inputs).output, right, atol=1e-6)

    def test_slopes_panel_by_panel(self) -> None:
        whole = alibi_bias(6, 17)
        panel = slope_panels(6, np.dtype(np.float32))(2, slice(3, 8), slice(5, 16))
        np.testing.assert_allclose(panel, whole[2, 3:8, 5:16], rtol=1e-6)

    def test_every_piece_has_its_own_parts(self) -> None:
        tasks = block_tasks(SMALL, n=5, dtype=np.dtype(np.float32), seed=0, dense=True, max_bytes=2**20)
        names = [part for task in tasks for part in PIECES[task.key]]
        assert len(names) == len({*names})
        assert {part.part for part in part_costs(shape_of(SMALL), 5)} - {*names} == {"biases"}
