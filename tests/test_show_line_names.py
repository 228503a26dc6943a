"""Names at the ends of lines, and panels side by side: the artists' data."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnlab.records import Figure, Line, Mark, Panels, Series
from attnlab.show.line_names import spread
from attnlab.show.plots import draw, figure_bytes

LINES = [
    Line(label="dense", x=[128, 256, 512], y=[1.0, 4.0, 16.0], standard_error=[0.1, 0.2, 0.3]),
    Line(label="window", x=[128, 256, 512], y=[2.0, 4.0, 8.0]),
    Line(label="O(N)", x=[128, 512], y=[0.5, 2.0], kind="reference"),
]
SERIES = Series(
    title="Time",
    x_axis="N",
    y_axis="ms",
    lines=LINES,
    log_x=True,
    log_y=True,
    marks=[Mark(x=256, label="here")],
    named_ends=True,
)
FIGURE = Figure(name="f", drawable=Panels(title="Both", panels=[SERIES, SERIES], beside=True))


def test_panels_stand_side_by_side_each_with_its_own_axes() -> None:
    left, right = draw(FIGURE).axes
    assert left.get_position().x1 < right.get_position().x0
    assert [axes.get_title(loc="left") for axes in (left, right)] == ["Time", "Time"]
    assert [axes.get_xlabel() for axes in (left, right)] == ["N", "N"]


def test_every_line_carries_its_name_and_there_is_no_legend() -> None:
    axes = draw(FIGURE).axes[0]
    named = {text.get_text(): text for text in axes.texts if text.get_text().strip() != "here"}
    assert set(named) == {"dense", "window", "O(N)"}
    assert axes.get_legend() is None
    assert named["dense"].xy == (512, 16.0)  # type: ignore[attr-defined]
    assert named["dense"].get_color() != named["window"].get_color()


def test_names_stand_in_the_order_of_the_ends() -> None:
    axes = draw(FIGURE).axes[0]
    heights = {text.get_text(): text.xyann[1] for text in axes.texts if hasattr(text, "xyann")}
    assert heights["O(N)"] < heights["window"] < heights["dense"]


def test_measured_points_have_their_error_bars() -> None:
    axes = draw(FIGURE).axes[0]
    dense = axes.containers[0]
    assert list(dense.lines[0].get_ydata()) == [1.0, 4.0, 16.0]  # type: ignore[attr-defined]
    assert len(dense.lines[2][0].get_segments()) == 3  # type: ignore[attr-defined]


def test_a_reference_is_a_thin_line_of_its_own_colour() -> None:
    axes = draw(FIGURE).axes[0]
    (reference,) = [line for line in axes.lines if line.get_label() == "O(N)"]
    assert np.asarray(reference.get_xydata()).tolist() == [[128, 0.5], [512, 2.0]]
    assert reference.get_color() == "#888888"


def test_a_single_series_has_its_names_too() -> None:
    axes = draw(Figure(name="f", drawable=SERIES)).axes[0]
    assert {"dense", "window", "O(N)"} <= {text.get_text() for text in axes.texts}


def test_the_same_panels_give_the_same_bytes() -> None:
    assert figure_bytes(FIGURE, "svg") == figure_bytes(FIGURE, "svg")


@pytest.mark.parametrize(
    ("levels", "spaced"),
    [
        ([], []),
        ([0.5], [0.5]),
        ([0.2, 0.8], [0.2, 0.8]),
        ([0.5, 0.5], [0.45, 0.55]),
        ([0.0, 0.0, 0.0], [0.0, 0.1, 0.2]),
        ([1.0, 1.0], [0.9, 1.0]),
        ([0.3, 0.42, 0.44], [0.29, 0.39, 0.49]),
    ],
)
def test_levels_are_spread(levels: list[float], spaced: list[float]) -> None:
    assert spread(levels, 0.1) == pytest.approx(spaced, abs=0.01)


@given(st.lists(st.floats(0, 1), max_size=11))
def test_spread_levels_keep_their_order_their_distance_and_the_frame(levels: list[float]) -> None:
    found = spread(sorted(levels), 0.09)
    assert all(b - a > 0.0899 for a, b in pairwise(found))
    assert all(-1e-9 <= level <= 1 + 1e-9 for level in found)
