"""Growth: its curves are the orders that they say, its numbers the formulas', its arrow leads from N to 2 N."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.text import Annotation, Text

from attnlab.errors import UsageError
from attnlab.experiments.growth import GrowthConfig, figure, growth, report
from attnlab.records import Finding, Growth
from attnlab.show import palette
from attnlab.show.figure_data import figure_data
from attnlab.show.plots import draw
from attnlab.theory.mechanism_costs import full_flops
from attnlab.theory.memory import matrix_bytes


def record(max_n: int = 4096) -> Growth:
    drawable = figure(GrowthConfig(max_n=max_n)).drawable
    assert isinstance(drawable, Growth)
    return drawable


@pytest.mark.parametrize("max_n", [64, 1000, 4096, 1 << 24])
def test_the_curves_are_the_orders_that_they_say(max_n: int) -> None:
    for panel in record(max_n).panels:
        linear, between, square = panel.curves
        assert [curve.label for curve in panel.curves] == ["O(N)", "O(N log N)", "O(N²)"]
        n = np.asarray(linear.x)
        assert n[-1] == max_n
        assert np.asarray(linear.y) / n == pytest.approx(linear.y[0] / n[0])
        assert np.asarray(square.y) / n**2 == pytest.approx(square.y[0] / n[0] ** 2)
        assert np.asarray(between.y[8:]) / (n * np.log(n))[8:] == pytest.approx(between.y[-1] / (max_n * np.log(max_n)))
        meet = np.flatnonzero(n == max_n / 8)[0]
        assert {round(curve.y[meet] / square.y[meet], 12) for curve in panel.curves} == {1}


def test_the_square_is_what_the_formulas_count() -> None:
    time, memory = record().panels
    assert time.curves[-1].y[-1] == pytest.approx(full_flops(4096, heads=1, d=64) / 1e9)
    assert memory.curves[-1].y[-1] == matrix_bytes(4096, 4096, heads=1) / 2**20 == 64
    assert (time.y_axis, memory.y_axis) == ("time, GFLOP by formula", "memory, MiB in float32")


def test_an_odd_length_is_drawn_to_the_even_one_below() -> None:
    found = growth(GrowthConfig(max_n=101))
    assert (found.n, found.half, found.matrix, found.half_matrix) == (100, 50, 40_000, 10_000)
    assert record(101).size == 50


@pytest.mark.parametrize("max_n", [-1, 0, 63, (1 << 24) + 1])
def test_lengths_that_cannot_be_drawn(max_n: int) -> None:
    with pytest.raises(UsageError, match=f"--max-n {max_n}; expected 64 to 16,777,216 tokens"):
        GrowthConfig(max_n=max_n)


def test_the_finding_has_real_numbers_and_says_what_follows_for_long_texts() -> None:
    finding, note = report(growth(GrowthConfig())).parts
    assert isinstance(finding, Finding)
    assert isinstance(note, Finding)
    assert "from 16 MiB to 64 MiB; at 65,536 tokens they take 16 GiB" in finding.text
    assert record().note.startswith("Long texts pay: 16 times the text, 65,536 tokens, is 256 times the work")


# --- as it is drawn


def panels() -> list[Axes]:
    drawn = draw(figure(GrowthConfig()))
    drawn.canvas.draw()
    return drawn.axes


def test_axes_are_even_named_and_begin_at_zero() -> None:
    time, memory = panels()
    for axes, y in ((time, ["0", "1.09", "4.38"]), (memory, ["0", "16", "64"])):
        assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "linear")
        assert (axes.get_xlim(), axes.get_ylim()[0]) == ((0, 4096), 0)
        assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "2,048", "4,096"]
        assert [label.get_text() for label in axes.get_yticklabels()] == y
        assert axes.get_xlabel()
        assert axes.get_ylabel()


def test_curves_are_told_apart_by_name_colour_dashes_and_weight() -> None:
    for axes in panels():
        curves = [line for line in axes.lines if str(line.get_label()).startswith("O(")]
        assert len({line.get_color() for line in curves}) == len({line.get_linestyle() for line in curves}) == 3
        square = next(line for line in curves if line.get_label() == "O(N²)")
        assert all(line.get_linewidth() < square.get_linewidth() for line in curves if line is not square)
        assert to_hex(square.get_color()) == palette.THEORY
        names = {text.get_text(): text for text in axes.texts}
        for line in curves:
            assert to_hex(names[str(line.get_label())].get_color()) == to_hex(line.get_color())


def test_an_arrow_leads_from_n_to_2_n_and_says_so() -> None:
    for axes, what in zip(panels(), ("the work", "the memory"), strict=True):
        (arrow,) = [text for text in axes.texts if isinstance(text, Annotation) and text.arrow_patch is not None]
        square = next(line for line in axes.lines if line.get_label() == "O(N²)")
        height = dict(np.asarray(square.get_xydata()).tolist())
        assert (arrow.xyann[0], arrow.xy[0]) == (2048, 4096)
        assert (arrow.xyann[1], arrow.xy[1]) == (height[2048], height[4096])
        assert arrow.xy[1] == 4 * arrow.xyann[1]
        assert f"twice the text,\nfour times\n{what}" in [text.get_text() for text in axes.texts]


@pytest.mark.parametrize("max_n", [64, 101, 4096, 1 << 24])
def test_texts_are_inside_apart_and_readable_at_8_cm(max_n: int) -> None:
    drawn = draw(figure(GrowthConfig(max_n=max_n)))
    drawn.canvas.draw()
    texts = [text for text in drawn.findobj(Text) if isinstance(text, Text) and text.get_text()]
    texts = [text for text in texts if text.get_visible()]
    boxes = [(text.get_text(), Text.get_window_extent(text)) for text in texts]
    assert min(float(text.get_fontsize()) for text in texts) * 8 / 2.54 / drawn.get_figwidth() >= 5.8
    sheet = drawn.bbox.padded(1)
    assert [text for text, box in boxes if not all(sheet.contains(*corner) for corner in (box.min, box.max))] == []
    apart = [(a, b) for i, (a, one) in enumerate(boxes) for b, two in boxes[:i] if one.padded(-1).overlaps(two)]
    assert apart == []


def test_its_numbers_are_a_table() -> None:
    found = figure_data(figure(GrowthConfig()))
    assert found is not None
    columns, rows = found
    assert list(columns) == ["panel", "line", "kind", "x", "y", "standard_error"]
    assert len(rows) == 2 * 3 * 64
    assert rows[-1][:5] == ("memory, MiB in float32", "O(N²)", "theory", 4096.0, 64.0)
