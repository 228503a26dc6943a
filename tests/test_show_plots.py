"""What figures hold: the artists are asked for their data, the texts for their words."""

import subprocess
import sys
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure as Drawn
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import PathPatch
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from attnlab.cli.output import FORMATS
from attnlab.records import Drawable, Figure, Grid, GridSheet, Histogram, Line, Series
from attnlab.show import palette, plots
from attnlab.show.canvas import families
from attnlab.show.cell_numbers import SIZE, numbers_on
from attnlab.show.numbers import weight
from attnlab.show.plots import draw, figure_bytes, figure_files
from tests.commands import environment

WORDS = ["[CLS]", "the", "bank", "near", "the", "river", "lent", "money", "to", "the", "boat", "builders", "[SEP]"]
SERIES = Series(
    title="Var(q·k) grows as d_k",
    x_axis="d_k",
    y_axis="variance",
    log_x=True,
    log_y=True,
    lines=[
        Line(label="q·k", x=[1, 4, 16, 64, 65], y=[1.1, 4.2, 15.0, 63.8, 66.0], standard_error=[0.1] * 5),
        Line(label="scaled", x=[1, 4, 16, 64], y=[1.1, 1.05, 0.94, 0.997]),
        Line(label="theory: d_k", x=[1, 64], y=[1, 64], kind="theory"),
        Line(label="theory: 1", x=[1, 64], y=[1, 1], kind="theory"),
    ],
)


def softmax_grid(n: int, labels: list[str] | None = None, title: str = "Who attends to whom") -> Grid:
    scores = np.exp(np.random.default_rng(n).normal(size=(n, n)))
    weights = scores / scores.sum(axis=1, keepdims=True)
    return Grid(title=title, values=weights, row_labels=labels or (), column_labels=labels or ())


def drawn(drawable: Drawable) -> Drawn:
    """The figure after a first drawing, which lays it out."""
    figure = draw(Figure(name="figure", drawable=drawable))
    figure.canvas.draw()
    return figure


def sheet(layers: int, heads: int) -> GridSheet:
    return GridSheet(title="Every head", grids=[[softmax_grid(3 + head, title="") for head in range(heads)]] * layers)


def cells(axes: Axes) -> np.ma.MaskedArray:
    return np.ma.asarray(axes.images[0].get_array())


def words(labels: Iterable[Text]) -> list[str]:
    return [label.get_text() for label in labels]


def legend(axes: Axes) -> list[str]:
    box = axes.get_legend()
    return words(box.get_texts()) if box else []


def theory_lines(axes: Axes) -> list[np.ndarray]:
    return [np.asarray(line.get_xydata()) for line in axes.lines if to_hex(line.get_color()) == palette.THEORY]


# --- heat maps


def test_a_heat_map_holds_the_matrix_its_tokens_and_its_quantity() -> None:
    grid = softmax_grid(13, WORDS)
    axes, bar = drawn(grid).axes
    assert np.array_equal(cells(axes), grid.values)
    assert words(axes.get_xticklabels()) == words(axes.get_yticklabels()) == WORDS
    assert (axes.get_xlabel(), axes.get_ylabel(), bar.get_ylabel()) == ("key", "query", "attention weight")
    assert axes.get_aspect() == 1
    assert axes.images[0].get_clim() == (0, grid.values.max())
    assert len(numbers_on(axes)) == 169


def test_a_number_stands_in_the_middle_of_its_cell_in_ink_that_stands_out(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = softmax_grid(14, (WORDS * 2)[:14])
    figure = drawn(grid)
    axes = figure.axes[0]
    seen: list[tuple[str, Bbox, tuple[float, ...]]] = []
    draw_text: Any = RendererAgg.draw_text

    def noted(renderer: Any, gc: Any, x: float, y: float, s: str, prop: Any, *others: Any, **more: Any) -> None:
        if prop.get_size_in_points() == SIZE and s in texts:
            wide, high, _ = renderer.get_text_width_height_descent(s, prop, ismath=False)
            seen.append((s, Bbox.from_bounds(x, renderer.height - y, wide, high), gc.get_rgb()[:3]))
        draw_text(renderer, gc, x, y, s, prop, *others, **more)

    texts = {number.text for number in numbers_on(axes)}
    monkeypatch.setattr(RendererAgg, "draw_text", noted)
    figure.canvas.draw()
    assert len(seen) == 14 * 14
    for (text, box, colour), ((row, column), value) in zip(seen, np.ndenumerate(grid.values), strict=True):
        low, high = axes.transData.transform([(column - 0.5, row + 0.5), (column + 0.5, row - 0.5)])
        cell = Bbox([low, high])
        assert text == weight(float(value))
        assert cell.x0 < box.x0 < box.x1 < cell.x1
        assert (box.x0 + box.x1) / 2 == pytest.approx((cell.x0 + cell.x1) / 2, abs=1)
        assert (box.y0 + box.y1) / 2 == pytest.approx((cell.y0 + cell.y1) / 2, abs=1)
        ground = palette.shade(palette.Scale.of(grid.values).fraction(float(value)))
        assert colour == pytest.approx([part / 255 for part in palette.ink(ground)])


def test_large_matrices_have_indices_and_no_numbers() -> None:
    axes = drawn(softmax_grid(60, WORDS * 5)).axes[0]
    assert numbers_on(axes) == []
    assert words(axes.get_xticklabels())[1:3] == ["0", "10"]


def test_a_few_towering_weights_are_shaded_by_square_root_and_the_bar_says_so() -> None:
    axes, bar = drawn(Grid(title="causal", values=np.eye(40))).axes
    assert axes.images[0].norm(np.array(0.25)) == 0.5
    assert bar.get_ylabel() == "attention weight, shades by square root"


def test_cells_that_are_no_numbers_are_grey_and_the_bar_says_so() -> None:
    axes, bar = drawn(Grid(title="", values=np.array([[np.nan, 1.0], [0.5, 0.5]]))).axes
    assert bar.get_ylabel() == "attention weight; grey: not a number"
    assert [number.text for number in numbers_on(axes)] == ["nan", "1", ".50", ".50"]
    assert np.ma.getmaskarray(cells(axes)).tolist() == [[True, False], [False, False]]


def test_what_a_mask_hides_is_hatched_and_has_neither_colour_nor_number() -> None:
    visible = np.tril(np.ones((4, 4), dtype=bool))
    axes, bar = drawn(Grid(title="", values=visible / np.arange(1, 5)[:, None], hidden=~visible)).axes
    (hatching,) = [artist for artist in axes.findobj(PathPatch) if isinstance(artist, PathPatch) and artist.get_hatch()]
    corners = np.asarray(hatching.get_path().vertices).reshape(-1, 5, 2)
    assert [(c[0].tolist(), c[2].tolist()) for c in corners] == [
        ([0.5, -0.5], [3.5, 0.5]), ([1.5, 0.5], [3.5, 1.5]), ([2.5, 1.5], [3.5, 2.5]),
    ]  # fmt: skip
    assert np.ma.getmaskarray(cells(axes)).tolist() == (~visible).tolist()
    places = {(number.row, number.column) for number in numbers_on(axes)}
    assert places == {(int(i), int(j)) for i, j in np.argwhere(visible)}
    assert bar.get_ylabel() == "attention weight; hatched: hidden by the mask"


def test_a_large_matrix_is_hatched_where_it_is_mostly_hidden() -> None:
    visible = np.tril(np.ones((3000, 3000), dtype=bool))
    axes = drawn(Grid(title="", values=visible / np.arange(1, 3001)[:, None], hidden=~visible)).axes[0]
    (hatching,) = [artist for artist in axes.findobj(PathPatch) if isinstance(artist, PathPatch) and artist.get_hatch()]
    corners = np.asarray(hatching.get_path().vertices).reshape(-1, 5, 2)
    assert len(corners) < 1024
    assert np.prod(corners[:, 2] - corners[:, 0], axis=1).sum() == pytest.approx(3000**2 / 2, rel=0.01)


def test_a_strip_is_not_a_thread() -> None:
    assert drawn(Grid(title="", values=np.ones((3, 60)))).axes[0].get_aspect() == "auto"
    # four times as long as wide, its cells are square still
    for rows, columns, aspect in ((2, 8, 1), (2, 9, "auto"), (8, 2, 1), (9, 2, "auto")):
        assert drawn(Grid(title="", values=np.ones((rows, columns)))).axes[0].get_aspect() == aspect


FOREIGN = ["$x^2$", "你好", "\n", "\x1b", "a_very_long_token", " ", "naïve", "سلام", "🙂", "a\u200db", "\u202e\u200b"]
SHOWN = ["$x^2$", "你好", "\\n", "\\x1b", "a_very_long…", "' '", "naïve", "سلام", "🙂", "a\u200db", "��"]


@pytest.mark.filterwarnings("ignore:Glyph .* missing from font")
def test_tokens_are_no_formulas_and_are_shown_as_they_are() -> None:
    figure = drawn(softmax_grid(len(FOREIGN), FOREIGN, title="$\\alpha$ [/x] 你"))
    assert words(figure.axes[0].get_xticklabels()) == SHOWN
    assert figure.get_suptitle() == "$\\alpha$ [/x] 你"
    assert not any(text.get_parse_math() for text in figure.axes[0].get_xticklabels())


def test_text_is_text_in_an_svg_whatever_its_script() -> None:
    grid = softmax_grid(len(FOREIGN), FOREIGN, title="Wer schaut wohin")
    files = figure_files(Figure(name="x", drawable=grid), FORMATS)
    text = files["svg"].decode()
    written = "".join(ElementTree.fromstring(text).itertext())
    assert all(word in written for word in (*SHOWN, "Wer schaut wohin", "attention weight"))
    assert "\\u" not in written
    assert {weight(float(value)) for value in grid.values.ravel()} <= {*ElementTree.fromstring(text).itertext()}
    assert text.count("font-family: ") == text.count(", sans-serif") > 0
    assert files["png"].startswith(b"\x89PNG")


def test_fonts_that_are_installed_are_asked_for_what_the_figures_own_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [SimpleNamespace(name=name) for name in ("Noto Emoji", "Comic Sans", "Noto Sans CJK SC", "DejaVu Sans")]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", found)
    assert families.__wrapped__() == ("DejaVu Sans", "Noto Sans CJK SC", "Noto Emoji")


def test_a_figure_is_made_once_and_laid_out_once_for_both_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    made, laid, draws = [], [], []
    execute, draw_figure, make = ConstrainedLayoutEngine.execute, Drawn.draw, plots._heat_map

    def heat_map(grid: Grid) -> Drawn:
        made.append(grid)
        return make(grid)

    def executed(engine: ConstrainedLayoutEngine, figure: Drawn) -> object:
        laid.append(figure)
        return execute(engine, figure)

    def drawn_figure(figure: Drawn, renderer: RendererBase) -> None:
        draws.append(figure)
        draw_figure(figure, renderer)

    monkeypatch.setattr(plots, "_heat_map", heat_map)
    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", executed)
    monkeypatch.setattr(Drawn, "draw", drawn_figure)
    record = Figure(name="x", drawable=softmax_grid(13, WORDS))
    files = figure_files(record, FORMATS)
    assert (len(made), len(laid), len(draws)) == (1, 1, 2)
    assert {kind: figure_bytes(record, kind) for kind in FORMATS} == files


# --- contact sheets


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (2, 3), (12, 12), (1, 32)])
def test_a_sheet_shows_every_head_on_one_scale(layers: int, heads: int) -> None:
    record = sheet(layers, heads)
    axes, bar = drawn(record).axes
    (image,) = axes.images
    largest = max(grid.values.max() for grid in record.grids[0])
    assert bar.get_ylim() == (0, pytest.approx(largest))
    across, line = min(heads, 8) if layers == 1 else heads, -(-heads // 8) if layers == 1 else layers
    assert image.get_extent() == [0, across, pytest.approx(line * (1.25 if layers == 1 else 1)), 0]
    pixels = np.asarray(image.get_array())
    side = pixels.shape[1] / across
    scale = palette.Scale(float(largest), 1.0)
    for head in (0, min(heads, 12) - 1):
        grid = record.grids[0][head]
        top = int(side * (1.25 * (head // 8) if layers == 1 else 0))
        left = int(side * (head % 8 if layers == 1 else head))
        for (row, column), value in np.ndenumerate(grid.values):
            cell = 0.92 * side / len(grid.values)
            seen = pixels[int(top + (row + 0.5) * cell), int(left + (column + 0.5) * cell)]
            assert np.abs(seen.astype(int) - palette.shade(scale.fraction(float(value)))).max() <= 3


def test_what_a_mask_hides_is_striped_in_a_sheet() -> None:
    visible = np.tril(np.ones((4, 4), dtype=bool))
    causal = Grid(title="", values=visible / np.arange(1, 5)[:, None], hidden=~visible)
    axes, bar = drawn(GridSheet(title="", grids=[[causal, causal], [causal, causal]])).axes
    pixels = np.asarray(axes.images[0].get_array())
    side = pixels.shape[0] // 2
    cell = pixels[2 : side // 5, 3 * side // 4 : int(0.9 * side)].reshape(-1, 3)
    assert {tuple(pixel) for pixel in cell.tolist()} == {(255, 255, 255), (154, 154, 154)}
    assert bar.get_ylabel().replace("\n", " ").endswith("hatched: hidden by the mask")


def test_layers_go_down_and_heads_across() -> None:
    axes = drawn(sheet(2, 3)).axes[0]
    assert words(axes.get_yticklabels()) == ["layer 0", "layer 1"]
    assert words(axes.get_xticklabels()) == ["head 0", "head 1", "head 2"]
    assert axes.yaxis_inverted()
    wide = drawn(sheet(2, 12)).axes[0]
    assert words(wide.get_xticklabels())[-1] == "11"
    assert wide.get_xlabel() == "head"


def test_panels_go_by_their_titles() -> None:
    chosen = [[softmax_grid(3, title=f"head {layer}.{head}") for head in (1, 4)] for layer in (2, 5)]
    axes = drawn(GridSheet(title="Four heads", grids=chosen)).axes[0]
    assert words(axes.get_yticklabels()) == ["head 2.1", "head 5.1"]
    assert words(axes.get_xticklabels()) == ["head 2.1", "head 2.4"]
    assert words(drawn(GridSheet(title="Two", grids=chosen[:1])).axes[0].texts) == ["head 2.1", "head 2.4"]


def test_one_layer_goes_on_line_after_line() -> None:
    axes = drawn(sheet(1, 32)).axes[0]
    assert words(axes.texts) == [f"head {head}" for head in range(32)]
    ninth = axes.texts[8].get_position()
    assert (ninth[0], axes.texts[0].get_position()[1] + 1.25) == pytest.approx(
        (axes.texts[0].get_position()[0], ninth[1])
    )


# --- points and lines


def test_a_histogram_has_bars_and_a_theory_line() -> None:
    edges, density = np.array([0.0, 1, 3]), np.array([0.5, 0.25])
    theory = {"theory_x": np.array([0.0, 3]), "theory_density": np.array([0.4, 0.3])}
    record = Histogram(title="t", quantity="score", edges=edges, density=density, theory_label="N(0, 1)", **theory)
    axes = drawn(record).axes[0]
    bars = axes.patches[0].get_data()  # type: ignore[attr-defined]
    assert np.array_equal(bars.values, density)
    assert np.array_equal(bars.edges, edges)
    assert theory_lines(axes)[0].tolist() == [[0, 0.4], [3, 0.3]]
    assert legend(axes) == ["measured", "N(0, 1)"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("score", "density")


def test_a_histogram_without_theory_needs_no_legend() -> None:
    record = Histogram(title="t", quantity="score", edges=np.array([0.0, 1]), density=np.array([1.0]))
    assert legend(drawn(record).axes[0]) == []


def test_measured_is_points_with_error_bars_and_theory_is_lines_of_one_colour() -> None:
    axes = drawn(SERIES).axes[0]
    first, second = (bars for bars in axes.containers if isinstance(bars, ErrorbarContainer))
    assert [bars.get_label() for bars in (first, second)] == ["q·k", "scaled"]
    assert first.lines[0].get_linestyle() == "None"
    assert np.asarray(first.lines[0].get_xydata())[0].tolist() == [1, 1.1]
    assert first.lines[2][0].get_segments()[0].tolist() == [[1, 1.0], [1, pytest.approx(1.2)]]
    assert second.has_yerr is False
    assert [line.tolist() for line in theory_lines(axes)] == [[[1, 1], [64, 64]], [[1, 1], [64, 1]]]
    assert palette.THEORY not in palette.MEASURED


def test_logarithmic_axes_have_plain_numbers_at_the_points_with_room_between() -> None:
    axes = drawn(SERIES).axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert words(axes.get_xticklabels()) == ["1", "4", "16", "64"]
    assert "10" in words(axes.get_yticklabels())


def test_a_short_logarithmic_axis_still_has_numbers() -> None:
    line = Line(label="time", x=[256, 512], y=[0.0012, 0.0024])
    axes = drawn(Series(title="t", x_axis="n", y_axis="s", lines=[line], log_y=True)).axes[0]
    assert "0.002" in words(axes.get_yticklabels(minor=True))


def test_nothing_above_zero_leaves_the_axes_even() -> None:
    line = Line(label="_none", x=[0, 0], y=[0, -1])
    axes = drawn(Series(title="t", x_axis="n", y_axis="s", lines=[line], log_x=True, log_y=True)).axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "linear")
    assert legend(axes) == []


def test_steps_are_named() -> None:
    line = Line(label="norm", x=[0, 1, 2], y=[3, 1, 2])
    axes = drawn(Series(title="t", x_axis="step", y_axis="‖·‖", lines=[line], x_ticks=["T1", "T2", "H"])).axes[0]
    assert words(axes.get_xticklabels()) == ["T1", "T2", "H"]


# --- all of them

DRAWABLES: list[Drawable] = [
    softmax_grid(13, WORDS, title="A long title that goes on and on " * 4),
    softmax_grid(36, (WORDS * 3)[:36]),
    sheet(12, 12),
    sheet(1, 8),
    SERIES,
]


@pytest.mark.parametrize("drawable", DRAWABLES)
def test_texts_are_8_points_or_more_inside_the_figure_and_apart(
    drawable: Drawable, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = drawn(drawable)
    boxes: list[tuple[Text, Bbox]] = []
    draw_text = Text.draw

    def noted(text: Text, renderer: RendererBase) -> None:
        if text.get_text() and text.get_visible():
            boxes.append((text, text.get_window_extent(renderer)))
        draw_text(text, renderer)

    monkeypatch.setattr(Text, "draw", noted)
    figure.canvas.draw()
    assert figure.get_figwidth() == 6.5
    for text, box in boxes:
        assert float(text.get_fontsize()) >= 8
        assert Bbox.union([box, figure.bbox]).bounds == pytest.approx(figure.bbox.bounds, abs=1), text
    apart = combinations([(text.get_text(), box.padded(-1)) for text, box in boxes], 2)
    assert [(a, b) for (a, first), (b, second) in apart if first.overlaps(second)] == []


@pytest.mark.parametrize("drawable", DRAWABLES)
@pytest.mark.parametrize("format", ["png", "svg"])
def test_the_same_record_gives_the_same_bytes(drawable: Drawable, format: Literal["png", "svg"]) -> None:
    record = Figure(name="figure", drawable=drawable)
    first = figure_bytes(record, format)
    assert first[:4] in (b"\x89PNG", b"<?xm")
    assert first == figure_bytes(record, format)


def test_matplotlib_waits_until_it_is_needed() -> None:
    code = "import sys, attnlab.show.plots; print([name for name in sys.modules if name.startswith('matplotlib')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_title_is_readable_at_8_cm_and_breaks_evenly() -> None:
    title = "Without 1/√d_k most queries lose their gradient while the largest grow; with it, both stay"
    figure = drawn(softmax_grid(3, title=title))
    lines = figure.get_suptitle().split("\n")
    assert " ".join(lines) == title
    assert len(lines) == 2
    assert abs(len(lines[0]) - len(lines[1])) < 10
    (text,) = [text for text in figure.findobj(Text) if text.get_text() == figure.get_suptitle()]
    assert float(text.get_fontsize()) * 8 / 2.54 / figure.get_figwidth() >= 6
    assert drawn(softmax_grid(3, title="")).get_suptitle() == ""
    long_word = drawn(softmax_grid(3, title="x" * 200)).get_suptitle()
    assert long_word.replace("\n", "") == "x" * 200


def test_what_matplotlib_is_told_elsewhere_changes_nothing(tmp_path: Path) -> None:
    """A backend that there is not, a matplotlibrc that is no text; whoever asks next finds both variables as before."""
    (tmp_path / "matplotlibrc").write_bytes(b"\xff\n")
    (tmp_path / "draws.py").write_text(
        "import hashlib, os\n"
        "before = dict(os.environ)\n"
        "from attnlab.records import Figure, Line, Series\n"
        "from attnlab.show.plots import figure_bytes\n"
        "lines = [Line(label='a', x=[1, 2], y=[3, 4])]\n"
        "figure = Figure(name='x', drawable=Series(title='t', x_axis='x', y_axis='y', lines=lines))\n"
        "print(*(hashlib.sha256(figure_bytes(figure, kind)).hexdigest() for kind in ('png', 'svg')))\n"
        "print(dict(os.environ) == before)\n",
        encoding="utf-8",
    )
    told = {"MPLBACKEND": "nonsense", "MATPLOTLIBRC": str(tmp_path)}
    plain = {name: value for name, value in environment().items() if name not in told}
    first, second = (
        subprocess.run([sys.executable, tmp_path / "draws.py"], env=env, capture_output=True, text=True, check=True)
        for env in (plain, {**plain, **told})
    )
    assert first.stdout == second.stdout
    assert (first.stdout.splitlines()[1:], first.stderr, second.stderr) == (["True"], "", "")
