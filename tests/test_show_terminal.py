"""What a person reads in a terminal, in a pipe, and where the encoding cannot say it."""

import io
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from rich.cells import cell_len
from rich.color import Color
from rich.console import Console
from rich.style import Style

from attnlab.records import Check, Checks, Derivation, DerivationStep, Finding, Grid, Part, Quantity, Report, Table
from attnlab.show.encoding import plain, prepare, shortened, token_label, visible
from attnlab.show.heatmap import area_averages, heatmap
from attnlab.show.numbers import number, weight, with_error
from attnlab.show.palette import BLACK, MISSING, WHITE, Colour, Scale, ink, shade
from attnlab.show.terminal import console, render

WORDS = ["[CLS]", "the", "bank", "near", "the", "river", "lent", "money", "to", "the", "boat", "builders", "[SEP]"]
ODD = ["[/x]", "你好", "a\nb", "\x1b[31m", "e\u0301", "👍", ":smile:", " ", "\u200b", "\u202etwo"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def colourful_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")


def softmax_grid(n: int, labels: Sequence[str] = (), m: int | None = None) -> Grid:
    scores = np.exp(2 * np.random.default_rng(n).normal(size=(n, m or n)))
    weights = scores / scores.sum(axis=1, keepdims=True)
    return Grid(title="Who attends to whom", values=weights, row_labels=labels, column_labels=labels)


def printed(part: Part, screen: Console) -> list[str]:
    render(Report(heading="", parts=[part]), screen)
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue().split("\n")[2:-1]


def in_pipe(part: Part, width: int = 80) -> list[str]:
    return printed(part, console(stream=io.StringIO(), width=width))


def in_terminal(part: Part, width: int = 80) -> list[str]:
    return printed(part, console(stream=Terminal(), width=width, colour=False))


def encoded(encoding: str) -> Console:
    return console(stream=io.TextIOWrapper(io.BytesIO(), encoding=encoding), width=80)


# --- numbers


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0.9821, "0.982"),
        (63.84, "63.8"),
        (1808.3, "1,808"),
        (1.2e-7, "1.2e-7"),
        (-0.00012345, "-1.23e-4"),
        (99.96, "100"),
        (1234567.0, "1.23e6"),
        (64.0, "64"),
        (22_700_000, "22,700,000"),
        (np.int64(4096), "4,096"),
        (-0.0, "0"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_number_has_three_significant_digits(x: float, text: str) -> None:
    assert number(x) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.9821, 0.0301, "0.982 ± 0.030"),
        (63.8, 0.29, "63.80 ± 0.29"),
        (12345, 563, "12,340 ± 560"),
        (1.2e-7, 3e-9, "(1.200 ± 0.030)e-7"),
        (-0.001, 0.5, "0.00 ± 0.50"),
        (1.0, 0.0, "1 ± 0"),
        (2.5, math.nan, "2.50 ± nan"),
    ],
)
def test_an_error_sets_the_digits_of_its_value(value: float, error: float, text: str) -> None:
    assert with_error(value, error) == text


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0.69, ".69"),
        (0, "0"),
        (1, "1"),
        (0.004, ".00"),
        (0.996, "1.0"),
        (1.71, "1.71"),
        (12.34, "12.3"),
        (123.4, "123"),
        (12345, "1e4"),
        (math.nan, "nan"),
        (math.inf, "inf"),
    ],
)
def test_a_cell_takes_at_most_four_characters(x: float, text: str) -> None:
    assert weight(x) == text
    assert len(text) <= 4


# --- colours


def test_the_scale_runs_from_dark_to_bright_and_ink_stands_out_on_it() -> None:
    assert shade(0) == Colour(68, 1, 84)
    assert shade(1) == shade(7) == Colour(253, 231, 37)
    assert shade(math.nan) == MISSING
    assert (ink(shade(0)), ink(shade(1)), ink(BLACK), ink(WHITE)) == (WHITE, BLACK, WHITE, BLACK)


def test_a_few_towering_numbers_make_the_scale_one_of_square_roots() -> None:
    towering = np.full(100, 0.01)
    towering[0] = 1
    assert Scale.of(np.array([0, 0.25, 0.5])).fraction(0.25) == 0.5
    assert Scale.of(towering).fraction(0.25) == 0.5
    assert Scale.of(np.array([np.nan, 0])) == Scale(0.0, 1.0)
    assert Scale(0.0, 1.0).fraction(0) == 0
    assert math.isnan(Scale(1.0, 1.0).fraction(math.inf))


# --- text and encodings


def test_what_ascii_cannot_say_is_spelled() -> None:
    assert plain("√d_k ‖o‖ σ² 3 × 2 − 1 · … → 你 é", "ascii") == "sqrtd_k ||o|| sigma^2 3 x 2 - 1 . ... -> ?? ?"
    assert plain("σ² · … −", "cp1252") == "sigma² · … -"
    assert plain("√ \ud800", "utf-8") == "√ ?"


def test_a_prepared_stream_never_fails() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    prepare(stream)
    stream.write("√2 ▀")
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    assert stream.buffer.getvalue() == b"sqrt2 ?"
    prepare(io.StringIO())


def test_a_decoding_error_is_not_ours_to_handle() -> None:
    plain("", "ascii")
    with pytest.raises(UnicodeDecodeError, match="can't decode byte 0xff"):
        b"\xff".decode("ascii", "attnlab.plain")


def test_tokens_are_visible() -> None:
    assert [visible(token) for token in ("a\nb", "\x1b[31m", "\u200b", "[/x]")] == [
        "a⏎b",
        "\\x1b[31m",
        "\\u200b",
        "[/x]",
    ]
    assert [token_label(token) for token in ("", " ", " bank")] == ["''", "' '", " bank"]


def test_shortened_counts_columns_not_characters() -> None:
    assert shortened("builders", 8) == "builders"
    assert shortened("builders", 5) == "buil…"
    assert shortened("builders", 6, "...") == "bui..."
    assert shortened("你好吗", 4) == "你…"
    assert shortened("builders", 2, "...") == "bu"


# --- heat maps


def test_number_cells_star_the_largest_of_each_row_and_nothing_shifts() -> None:
    grid = softmax_grid(13, WORDS)
    lines = in_pipe(grid)
    assert "builders" in lines[2]
    for word, row, line in zip(WORDS, grid.values, lines[3:], strict=False):
        assert line.startswith(word.rjust(8) + " ")
        cells = [line[9 + 5 * column : 14 + 5 * column] for column in range(13)]
        assert [cell[:4].strip() for cell in cells] == [weight(value) for value in row]
        assert [cell[4:] == "*" for cell in cells] == [value == row.max() for value in row]
    assert lines[-1] == "attention weight; rows: query, columns: key; *: the largest of its row"


def test_in_colour_the_largest_is_bold_and_a_scale_stands_below() -> None:
    grid = softmax_grid(13, WORDS)
    lines = heatmap(grid, console(stream=Terminal(), width=80))
    for line, row in zip(lines[2:], grid.values, strict=False):
        bold = [line.plain[span.start : span.end].strip() for span in line.spans if getattr(span.style, "bold", False)]
        assert bold == [weight(row.max())]
    assert lines[-2].plain.split() == ["0", number(grid.values.max())]


@pytest.mark.parametrize("width", [20, 80, 120])
@pytest.mark.parametrize("n", [1, 5, 13, 14, 20, 26, 39, 41, 65, 130])
@pytest.mark.parametrize("coloured", [True, False])
def test_no_line_is_wider_than_the_screen(n: int, width: int, coloured: bool) -> None:
    labels = (ODD + WORDS * 10)[:n]
    for grid in (softmax_grid(n, labels), softmax_grid(n), softmax_grid(n, m=2 * n)):
        lines = heatmap(grid, console(stream=io.StringIO(), width=width, colour=coloured))
        assert max(cell_len(line.plain) for line in lines[:-2]) <= width


def test_labels_stay_in_line_whatever_the_tokens_are() -> None:
    lines = in_pipe(softmax_grid(10, ODD))
    rows = lines[3:13]
    assert {cell_len(row.removesuffix("*")) for row in rows} == {59}
    assert [row.split()[0] for row in rows[:4]] == ["[/x]", "你好", "a⏎b", "\\x1b[31m"]
    assert "[/x]" in lines[1]
    assert ":smile:" in lines[1]


def test_half_blocks_carry_two_rows_a_line() -> None:
    values = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, np.nan]]).repeat(10, axis=1).repeat(11, axis=0)
    lines = heatmap(Grid(title="", values=values), console(stream=Terminal(), width=80))
    assert len(lines) == 1 + 17 + 2
    first = lines[1].spans[0].style
    assert lines[1].plain == " 0 " + "▀" * 20
    assert isinstance(first, Style)
    assert first.color == first.bgcolor == Color.from_rgb(*shade(0))
    assert lines[-3].plain.endswith("▀" * 10 + "?" * 10)
    assert lines[-1].plain.endswith("?: not a number")


def test_half_blocks_name_two_rows_a_line_and_columns_downwards() -> None:
    labels = [f"tok{index}" for index in range(25)]
    lines = [line.plain for line in heatmap(softmax_grid(25, labels), console(stream=Terminal(), width=80))]
    assert "".join(line[12 + 24] for line in lines[:5]) == "tok24"
    assert lines[5].startswith(" tok0  tok1 ▀")
    assert lines[17].startswith("tok24       ▀")


def test_wide_tokens_give_way_to_indices() -> None:
    lines = [line.plain for line in heatmap(softmax_grid(25, ["你好"] * 25), console(stream=Terminal(), width=80))]
    assert lines[0].split() == ["0", "10", "20"]
    assert lines[1].startswith("你好 你好 ▀")


def test_a_large_matrix_is_averaged_and_says_so() -> None:
    lines = [line.plain for line in heatmap(softmax_grid(130), console(stream=Terminal(), width=80))]
    assert len(lines) == 1 + 20 + 2
    assert lines[-1].endswith("each cell is the mean over 3.25 × 3.25 tokens")
    assert [line.split("▀")[0].strip() for line in lines[1:12]][::5] == ["0", "32", "65"]


def test_area_averages_keep_the_mean_and_leave_out_what_is_not_finite() -> None:
    values = np.random.default_rng(0).random((7, 5))
    assert area_averages(values, 3, 2).mean() == pytest.approx(values.mean())
    assert area_averages(values, 7, 5) == pytest.approx(values)
    assert area_averages(np.array([[0.0, 3.0, 6.0]]), 1, 2) == pytest.approx(np.array([[1.0, 5.0]]))
    holed = np.array([[1.0, np.nan, np.nan, np.inf]])
    assert np.array_equal(area_averages(holed, 1, 2), [[1.0, np.nan]], equal_nan=True)


def test_without_colour_shades_are_two_characters_a_cell() -> None:
    values = np.ones((21, 21))
    values[0, :5] = 0, 0.25, 0.5, 0.75, 1
    values[0, 5] = np.nan
    grid = Grid(title="", values=values)
    assert in_pipe(grid)[2] == " 0   ░░▒▒▓▓██??" + "██" * 15
    assert in_pipe(grid, width=30)[2] == " 0  ░▒▓█?" + "█" * 15


def test_ascii_has_shades_too() -> None:
    grid = softmax_grid(30, ["你"] * 30)
    screen = encoded("ascii")
    text = "\n".join(line.plain for line in heatmap(grid, screen))
    assert text.isascii()
    assert "@@" in text
    assert "..::--==++**##%%@@" in text


def blank(rows: int, columns: int) -> Grid:
    return Grid(title="", values=np.ones((rows, columns)))


@pytest.mark.parametrize(("coloured", "most"), [(True, 64), (False, 40)])
def test_cells_are_averaged_from_sixty_five_rows_of_half_blocks_or_forty_one_of_shades_on(
    coloured: bool, most: int
) -> None:
    for rows in (most, most + 1):
        lines = heatmap(blank(rows, rows), console(stream=io.StringIO(), width=120, colour=coloured))
        whole = most // 2 if coloured else most
        assert len(lines) == 1 + (whole if rows == most else 20) + 2
        assert ("each cell is the mean" in lines[-1].plain) == (rows > most)


@pytest.mark.parametrize("coloured", [True, False])
@pytest.mark.parametrize("count", [40, 41])
def test_forty_rows_and_forty_columns_are_named_and_more_are_numbered(count: int, coloured: bool) -> None:
    names = [f"{index:02}" for index in range(count)]
    screen = console(stream=io.StringIO(), width=120, colour=coloured)
    tall = heatmap(Grid(title="", values=np.ones((count, 21)), row_labels=names), screen)
    assert tall[1].plain.split()[0] == ("00" if count == 40 else "0")
    broad = heatmap(Grid(title="", values=np.ones((21, count)), column_labels=names), screen)
    downwards = "".join(character * 10 for character in "0123")
    assert ("".join(broad[0].plain.split()) == downwards) == (count == 40)
    assert (broad[0].plain.split()[:4] == ["0", "10", "20", "30"]) == (count == 41)


def test_labels_of_number_cells_take_twelve_columns_and_less_where_there_are_less() -> None:
    """Two cells of 5, a blank before them and 2 columns beyond: 13. What is left is for labels."""
    grid = Grid(title="", values=np.ones((2, 2)), row_labels=["abcdefghijklmnop", "b"])
    for width, label in [(80, "abcdefghijk…"), (25, "abcdefghijk…"), (24, "abcdefghij…"), (19, "abcde…")]:
        assert in_pipe(grid, width=width)[2] == f"{label}    1*   1*"
    assert in_pipe(grid, width=18)[2] == "abcdefghijk… ████"  # six do not fit: shades take less


@pytest.mark.parametrize(
    ("columns", "coloured", "heading"),
    [
        (1, True, "   0"),
        (11, True, "   0"),  # 10 would end one column further than the cells
        (12, True, "   0         10"),
        (11, False, "   0                   10"),  # cells of two characters
        (22, True, "   0         10        20"),
    ],
)
def test_columns_are_numbered_where_the_number_ends_above_the_cells(columns: int, coloured: bool, heading: str) -> None:
    screen = console(stream=io.StringIO(), width=80, colour=coloured)
    assert heatmap(blank(21, columns), screen)[0].plain == heading


def test_the_scale_says_its_ends_and_whether_it_is_one_of_square_roots() -> None:
    values = np.full((21, 21), 0.5)
    values[0, 0] = 1.5
    assert in_pipe(Grid(title="", values=values))[-2] == "   0   ░░▒▒▓▓██ 1.50"
    values = np.full((21, 21), 0.01)
    values[0, 0] = 1.5
    assert in_pipe(Grid(title="", values=values))[-2] == "   0   ░░▒▒▓▓██ 1.50 (by square root)"
    lines = heatmap(Grid(title="", values=np.array([[0.25, 0.75]]), row_labels=["abc"]), console(stream=Terminal()))
    assert lines[-2].plain == "    0 " + " " * 16 + " 0.750"


def test_sixteen_colours_are_not_enough_for_a_heat_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("COLORTERM")
    screen = console(stream=Terminal(), width=80)
    assert screen.color_system == "standard"
    assert "▀" not in heatmap(softmax_grid(30), screen)[1].plain


def test_rows_that_are_nan_or_empty_have_no_largest() -> None:
    grid = Grid(title="", values=np.array([[np.nan, np.nan], [0.0, 0.0], [0.5, 0.5]]))
    assert in_pipe(grid)[2:5] == ["0  nan  nan", "1    0    0", "2  .50* .50*"]


def causal(n: int) -> Grid:
    """Weights of 1/(i + 1) for what a query sees; what it does not see is hidden, 0 in the values."""
    visible = np.tril(np.ones((n, n), dtype=bool))
    return Grid(title="", values=visible / np.arange(1, n + 1)[:, None], hidden=~visible)


def test_what_a_mask_hides_is_blank_and_no_zero() -> None:
    lines = in_pipe(causal(3))
    assert [line.rstrip() for line in lines[2:5]] == ["0    1*", "1  .50* .50*", "2  .33* .33* .33*"]
    assert " ".join(lines[5:]).endswith("*: the largest of its row; blank: hidden by the mask")
    shown = heatmap(causal(3), console(stream=Terminal(), width=80))[1:4]
    for row, line in enumerate(shown):
        ground = [span for span in line.spans if span.style and "on #" in str(span.style)]
        assert len(ground) == row + 1


def test_what_a_mask_hides_is_blank_in_shades_and_half_blocks() -> None:
    lines = in_pipe(replace(causal(22), values=np.tril(np.ones((22, 22)))))
    for row, line in enumerate(lines[2:24]):
        assert len(line.rstrip()) == 3 + 2 * (row + 1)
    assert " ".join(lines).endswith("blank: hidden by the mask")
    halves = heatmap(causal(25), console(stream=Terminal(), width=80))[1:14]
    cells = [line.plain[3:] for line in halves]
    assert [cell.count("▄") for cell in cells] == [1] * 12 + [0]  # where the lower row alone sees the key
    assert [cell.count(" ") for cell in cells] == [*range(23, 0, -2), 0]


def test_a_hidden_cell_that_is_no_number_is_blank_and_one_that_is_seen_is_not() -> None:
    values, hidden = np.array([[np.nan, 1.0], [np.nan, 1.0]]), np.array([[True, False], [False, False]])
    lines = in_pipe(Grid(title="", values=values, hidden=hidden))
    assert [line.rstrip() for line in lines[2:4]] == ["0         1*", "1  nan    1*"]


def test_a_grid_without_cells_says_so() -> None:
    assert in_pipe(Grid(title="Nothing", values=np.empty((0, 3)))) == ["Nothing", "(no cells)"]


# --- consoles


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert console(stream=Terminal()).color_system == "truecolor"
    assert console(stream=Terminal(), colour=False).color_system is None
    assert console(stream=io.StringIO()).color_system is None
    assert console(stream=io.StringIO(), colour=True).color_system == "truecolor"
    monkeypatch.setenv("NO_COLOR", "1")
    assert console(stream=Terminal()).color_system is None
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert console(stream=Terminal()).color_system is None


@pytest.mark.parametrize(("columns", "width"), [("100", 100), ("0", 80), ("wide", 80)])
def test_a_pipe_is_as_wide_as_columns_says_or_80(monkeypatch: pytest.MonkeyPatch, columns: str, width: int) -> None:
    assert console(stream=io.StringIO()).width == 80
    monkeypatch.setenv("COLUMNS", columns)
    assert console(stream=io.StringIO()).width == width


# --- reports


def test_a_report_is_its_heading_and_its_parts_with_a_blank_line_between() -> None:
    stream = io.StringIO()
    parts = [Finding(text="It holds."), Finding(text="An aside.", kind="note")]
    render(Report(heading="sentence · 13 tokens", parts=parts), console(stream=stream))
    assert stream.getvalue() == "sentence · 13 tokens\n\nIt holds.\n\nAn aside.\n"


def test_nothing_in_a_text_is_markup() -> None:
    text = "[bold]not markup[/bold] [/x] :smile: \x1b[31m 0.69"
    assert in_pipe(Finding(text=text)) == ["[bold]not markup[/bold] [/x] :smile: \\x1b[31m 0.69"]


def test_checks_wrap_between_and_failures_come_first() -> None:
    passed = [
        Check(id="sum", holds=True, value=1.2e-7, bound=1.2e-6, text="rows sum to 1 (off by at most 1.2e-7)"),
        Check(id="sign", holds=True, value=0.0, bound=0.0, text="no negative weight"),
        Check(id="norm", holds=True, value=0.84, bound=1.000002, text="‖o‖ ≤ max‖v‖ (0.84 of it)"),
        Check(id="steps", holds=True, value=None, bound=None, text="T1 … H equal their equations"),
    ]
    failed = [
        Check(id="sum", holds=False, value=3.2e-4, bound=1.2e-6, text="rows sum to 1"),
        Check(id="steps", holds=False, value=None, bound=None, text="T1 … H equal their equations"),
    ]
    assert in_pipe(Checks(checks=[*passed, *failed])) == [
        "FAILED rows sum to 1: 3.2e-4; the bound is 1.2e-6",
        "FAILED T1 … H equal their equations",
        "Checks: rows sum to 1 (off by at most 1.2e-7) · no negative weight ·",
        "‖o‖ ≤ max‖v‖ (0.84 of it) · T1 … H equal their equations",
    ]
    assert in_pipe(Checks(checks=failed[:1])) == ["FAILED rows sum to 1: 3.2e-4; the bound is 1.2e-6"]


# --- tables

LONG = "the scores of random vectors of this size would have none; trained ones are aligned with the text"
TABLE = Table(
    title="Scores",
    columns=["", "measured", "standard errors away", "what it means"],
    rows=[
        ["mean", Quantity(value=0.41), None, LONG],
        ["variance", Quantity(value=0.982, standard_error=0.0301), 1.2, "[bold]holds[/bold]"],
        ["entropy", Quantity(value=1.71, unit="of 2.56 nat"), -12.345, "a\nb"],
        ["samples", 100_000, Quantity(value=None), ""],
    ],
    note="100,000 pairs",
)


def test_numbers_are_aligned_on_the_decimal_point_and_a_pipe_cuts_nothing() -> None:
    assert in_pipe(TABLE) == [
        "Scores",
        "          measured                standard errors away  what it means",
        "mean            0.410               –                   " + LONG,
        "variance        0.982 ± 0.030       1.20                [bold]holds[/bold]",
        "entropy         1.71 of 2.56 nat  -12.3                 a",
        "                                                        b",
        "samples   100,000                   –",
        "100,000 pairs",
    ]


@pytest.mark.parametrize("width", [24, 60, 80, 120])
def test_in_a_terminal_long_cells_wrap_and_nothing_is_lost(width: int) -> None:
    lines = in_terminal(TABLE, width)
    assert max(map(cell_len, lines)) <= width
    assert "…" not in "".join(lines)
    letters = sorted("".join("".join(in_pipe(TABLE)).split()))
    assert sorted("".join("".join(lines).split())) == letters


def test_at_80_columns_numbers_stay_whole_and_text_gives_way() -> None:
    lines = in_terminal(TABLE)
    assert any("0.982 ± 0.030" in line for line in lines)
    assert any("1.71 of 2.56 nat" in line for line in lines)


def test_a_table_without_rows_has_its_head() -> None:
    assert in_pipe(Table(title="None", columns=["a", "b"], rows=[])) == ["None", "a  b"]


def test_the_lines_of_a_derivation_stand_one_below_the_other() -> None:
    steps = [
        DerivationStep(left="q(bank) = x W_Q + b", right="= (-0.31, 1.24, …)", remark="‖q‖ 6.1"),
        DerivationStep(left="q · k", right="= 24.1", remark="the largest parts: dims 7 (+6.2), 19 (+5.0), 3 (−2.1)"),
        DerivationStep(left='÷ "a\nb"', right="= 4.26"),
    ]
    assert in_pipe(Derivation(steps=steps)) == [
        "  q(bank) = x W_Q + b  = (-0.31, 1.24, …)  ‖q‖ 6.1",
        "  q · k                = 24.1              the largest parts: dims 7 (+6.2), 19 (+5.0), 3 (−2.1)",
        '  ÷ "a⏎b"              = 4.26',
    ]
    assert in_terminal(Derivation(steps=steps))[1:3] == [
        "  q · k                = 24.1              the largest parts: dims 7 (+6.2), 19",
        "                                           (+5.0), 3 (−2.1)",
    ]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437"])
def test_every_part_can_be_said_in_an_old_encoding(encoding: str) -> None:
    screen = encoded(encoding)
    check = Check(id="norm", holds=False, value=2.0, bound=1.0, text="‖o‖ ≤ max‖v‖")
    parts: list[Part] = [
        TABLE,
        Finding(text="√σ² · 你"),
        softmax_grid(10, ODD),
        softmax_grid(30),
        Checks(checks=[check]),
    ]
    render(Report(heading="×", parts=parts), screen)
    screen.file.flush()
    assert isinstance(screen.file, io.TextIOWrapper)
    assert isinstance(screen.file.buffer, io.BytesIO)
    text = screen.file.buffer.getvalue().decode(encoding)
    assert "FAILED ||o|| " in text
    assert "0.982" in text
