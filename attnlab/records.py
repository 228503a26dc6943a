"""The few shapes that results come in, so that `show` renders any experiment without knowing it.

An experiment returns its own frozen record; its `report` is made of the shapes below, in the order in which a person
should read them. Nothing here computes, prints or draws. Records that hold arrays have no useful ==, so none has one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]


@dataclass(frozen=True, kw_only=True, eq=False)
class Finding:
    """What the numbers say, in one or two plain sentences."""

    text: str
    #: "finding" stands out; "note" is an aside.
    kind: str = "finding"


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantity:
    """A measured or predicted number with its standard error and the number of samples behind it."""

    value: float | None
    standard_error: float | None = None
    n: int | None = None
    #: Printed after the number: "nat", "%", "of 2.56 possible".
    unit: str = ""


#: A table's cell: a number is written with three significant digits, text as it stands, None as a dash.
Cell = str | float | int | Quantity | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """One question, answered in rows. The first column is text, the others are aligned on the decimal point."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """A labelled matrix of non-negative numbers: an attention matrix, say. NaN cells are shown as such."""

    title: str
    #: (rows, columns)
    values: FloatArray
    #: One per row and per column; empty = the cells are known by their numbers alone.
    row_labels: Sequence[str] = ()
    column_labels: Sequence[str] = ()
    row_axis: str = "query"
    column_axis: str = "key"
    #: What a cell's number is: the colour bar's label.
    quantity: str = "attention weight"


@dataclass(frozen=True, kw_only=True, eq=False)
class GridSheet:
    """Several grids on one shared scale: layers down, heads across."""

    title: str
    grids: Sequence[Sequence[Grid]]
    #: of the lines and of the columns; empty: the first panels' own titles
    row_labels: Sequence[str] = ()
    column_labels: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Check:
    """Something that must hold whatever the input: the value found, and the bound it must keep."""

    id: str
    holds: bool
    value: float | None
    bound: float | None
    text: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Checks:
    """The checks of a run."""

    checks: Sequence[Check]


@dataclass(frozen=True, kw_only=True, eq=False)
class Histogram:
    """Measured values counted in bins, beside the density that theory predicts (none: measured only)."""

    title: str
    quantity: str
    #: (bins + 1,)
    edges: FloatArray
    #: (bins,), normalised so that the bars' areas sum to 1
    density: FloatArray
    #: (points,) each, or empty where there is no prediction
    theory_x: FloatArray = field(default_factory=lambda: np.empty(0))
    theory_density: FloatArray = field(default_factory=lambda: np.empty(0))
    theory_label: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """One named series of points: measured (with error bars where there are standard errors) or theory."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    standard_error: Sequence[float] = ()
    #: "measured": points; "theory": one thin line; "claimed": a dashed grey one, for a law that does not hold;
    #: "reference": a thin grey one, whose slope alone means something.
    kind: str = "measured"


@dataclass(frozen=True, kw_only=True, eq=False)
class Mark:
    """A place on the x axis worth a line of its own, and what happens there."""

    x: float
    label: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """Points against an axis, beside theory lines.

    x_ticks names the points when they are steps and not numbers; the steps of one line are then joined.
    named_ends: each line carries its name at its right end, its points joined, instead of a legend.
    """

    title: str
    x_axis: str
    y_axis: str
    lines: Sequence[Line]
    x_ticks: Sequence[str] = ()
    log_x: bool = False
    log_y: bool = False
    marks: Sequence[Mark] = ()
    named_ends: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Panels:
    """Several series one below the other, over one x axis; or side by side, each with its own."""

    title: str
    panels: Sequence[Series]
    beside: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class DerivationStep:
    """One line of a derivation: `left` = `right`, and a remark."""

    left: str
    right: str
    remark: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Derivation:
    """A number worked out line by line; the right-hand sides stand one below the other."""

    steps: Sequence[DerivationStep]


#: What a report is made of, in reading order.
Part = Finding | Table | Grid | Checks | Derivation
#: What can be drawn.
Drawable = Grid | GridSheet | Histogram | Series | Panels


@dataclass(frozen=True, kw_only=True, eq=False)
class Figure:
    """A figure to be written as NAME.png and NAME.svg."""

    name: str
    drawable: Drawable


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """What a person sees of an experiment in a terminal: a heading, then parts in reading order."""

    heading: str
    parts: Sequence[Part]
