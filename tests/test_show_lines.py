"""Figures of points and lines, asked for their artists' data; and their data as tables."""

from collections.abc import Sequence

import numpy as np
import pytest

from attnlab.records import Drawable, Figure, Grid, GridSheet, Histogram, Line, Mark, Panels, Series
from attnlab.show.figure_data import figure_data
from attnlab.show.palette import THEORY
from attnlab.show.plots import draw, figure_bytes

X = [1.0, 10.0, 100.0]
ABOVE = Series(
    title="The variance is d_k",
    x_axis="d_k",
    y_axis="Var(q·k)",
    lines=[
        Line(label="unscaled", x=X, y=[1.1, 9.0, 105.0], standard_error=[0.1, 1.0, 5.0]),
        Line(label="d_k", x=X, y=X, kind="theory"),
        Line(label="exp, as claimed", x=X, y=[2.7, 2.2e4, 2.7e43], kind="claimed"),
    ],
    log_x=True,
    log_y=True,
    marks=[Mark(x=9.7, label="2 ln N")],
)
BELOW = Series(title="", x_axis="d_k", y_axis="entropy [nat]", lines=[Line(label="scaled", x=X, y=[4.4, 4.4, 4.3])])
PANELS = Figure(name="f", drawable=Panels(title="Both", panels=[ABOVE, BELOW]))


def test_panels_stand_one_below_the_other_over_one_axis() -> None:
    above, below = draw(PANELS).axes
    assert above.get_position().y0 > below.get_position().y1
    assert (above.get_xlabel(), below.get_xlabel()) == ("", "d_k")
    assert [axes.get_title(loc="left") for axes in (above, below)] == ["The variance is d_k", ""]
    assert above.get_xlim() == below.get_xlim()


def test_theory_is_one_thin_line_of_its_colour_and_a_claim_a_dashed_grey_one() -> None:
    axes = draw(PANELS).axes[0]
    styles = {line.get_label(): (line.get_color(), line.get_linewidth()) for line in axes.lines}
    assert styles["d_k"] == (THEORY, 1)
    assert styles["exp, as claimed"][0] not in (THEORY, "k")
    (claimed,) = [line for line in axes.lines if line.get_label() == "exp, as claimed"]
    assert claimed.is_dashed()


def test_a_claim_may_leave_the_frame_and_nothing_else_does() -> None:
    axes = draw(PANELS).axes[0]
    low, high = axes.get_ylim()
    assert low < 1
    assert 105 < high < 1000


def test_a_mark_stands_where_it_should() -> None:
    axes = draw(PANELS).axes[0]
    assert [text.get_text().strip() for text in axes.texts] == ["2 ln N"]
    assert axes.texts[0].get_position()[0] == 9.7
    assert [9.7, 9.7] in [np.asarray(line.get_xdata()).tolist() for line in axes.lines]


def test_the_same_panels_give_the_same_bytes() -> None:
    assert figure_bytes(PANELS, "svg") == figure_bytes(PANELS, "svg")


def table(drawable: Drawable) -> tuple[Sequence[str], list[tuple[object, ...]]]:
    """A figure's data, which there must be."""
    data = figure_data(Figure(name="f", drawable=drawable))
    assert data is not None
    return data


class TestFigureData:
    def test_series(self) -> None:
        columns, rows = table(ABOVE)
        assert columns == ("line", "kind", "x", "y", "standard_error")
        assert rows[0] == ("unscaled", "measured", 1.0, 1.1, 0.1)
        assert rows[3] == ("d_k", "theory", 1.0, 1.0, None)
        assert len(rows) == 9

    def test_panels(self) -> None:
        columns, rows = table(PANELS.drawable)
        assert columns[0] == "panel"
        assert {row[0] for row in rows} == {"Var(q·k)", "entropy [nat]"}
        assert len(rows) == 12

    def test_matrices_have_none(self) -> None:
        grid = Grid(title="head 0", values=np.array([[0.25, 0.75]]))
        assert figure_data(Figure(name="f", drawable=grid)) is None
        assert figure_data(Figure(name="f", drawable=GridSheet(title="t", grids=[[grid, grid]]))) is None

    def test_histogram(self) -> None:
        histogram = Histogram(
            title="t",
            quantity="score",
            edges=np.array([0.0, 1.0, 2.0]),
            density=np.array([0.4, 0.6]),
            theory_x=np.array([0.5]),
            theory_density=np.array([0.5]),
        )
        _, rows = table(histogram)
        assert rows == [("measured", 0.0, 1.0, 0.4), ("measured", 1.0, 2.0, 0.6), ("theory", 0.5, 0.5, 0.5)]


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
def test_a_point_that_a_logarithmic_axis_cannot_show_is_left_out(value: float) -> None:
    series = Series(title="t", x_axis="n", y_axis="s", lines=[Line(label="a", x=[1, 2], y=[value, 3.0])], log_y=True)
    assert draw(Figure(name="f", drawable=series)).axes[0].get_ylim()[0] > 0


def test_points_and_the_line_that_predicts_them_share_an_entry() -> None:
    x = [1.0, 2.0, 4.0]
    lines = [
        Line(label="law", x=x, y=x, kind="theory", predicts="found"),
        Line(label="found", x=x, y=x),
        Line(label="limit", x=x, y=[4.0] * 3, kind="theory"),
    ]
    series = Series(title="", x_axis="x", y_axis="y", lines=lines)
    (axes,) = draw(Figure(name="pair", drawable=series)).axes
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["found (line: theory)", "limit"]
