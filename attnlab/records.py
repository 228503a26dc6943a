"""The few shapes that results come in, so that `show` renders any experiment without knowing it.

An experiment returns its own frozen record; its `report` is made of the shapes below, in the order in which a person
should read them. Nothing here computes, prints or draws. Records that hold arrays have no useful ==, so none has one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]


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
    #: (rows, columns): cells that a mask hides, which are no small numbers but none; None: there are none
    hidden: BoolArray | None = None
    #: One per row and per column; empty = the cells are known by their numbers alone.
    row_labels: Sequence[str] = ()
    column_labels: Sequence[str] = ()
    row_axis: str = "query"
    column_axis: str = "key"
    #: What a cell's number is: the colour bar's label.
    quantity: str = "attention weight"
    #: a table of numbers more than a picture: cells carry their numbers wherever they fit, and in a pipe always
    numbers: bool = False

    @property
    def visible_values(self) -> FloatArray:
        """The numbers, NaN where a cell is hidden."""
        return self.values if self.hidden is None else np.where(self.hidden, np.nan, self.values.astype(float))


@dataclass(frozen=True, kw_only=True, eq=False)
class GridSheet:
    """Several grids on one shared scale: layers down, heads across."""

    title: str
    grids: Sequence[Sequence[Grid]]
    #: of the lines and of the columns; empty: the first panels' own titles
    row_labels: Sequence[str] = ()
    column_labels: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class GridMaps:
    """Several grids of one shape, each a quantity of its own on a scale of its own, under its own title."""

    title: str
    grids: Sequence[Grid]


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
    #: of a measured line: which colour and marker it has, the same in every figure; None: by its place among the others
    look: int | None = None
    #: of a theory line: the label of the measured line that it predicts, with which it shares a legend entry
    predicts: str = ""


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
    joined: the points of each measured line are joined.
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
    joined: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Panels:
    """Several series one below the other, over one x axis; or side by side, each with its own."""

    title: str
    panels: Sequence[Series]
    beside: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Dots:
    """A number for each of some named things, beside what was predicted of it: a line each."""

    title: str
    #: what the numbers are
    quantity: str
    names: Sequence[str]
    measured: Sequence[Quantity]
    #: none, or one for each
    predicted: Sequence[float]
    #: a place worth a line across all of them
    mark: Mark
    log_x: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Bars:
    """A number for each of many things of one kind, in their order: the weights of one softmax."""

    title: str
    x_axis: str
    y_axis: str
    #: (bars,)
    heights: FloatArray
    #: what each would be if all were alike
    even: float


@dataclass(frozen=True, kw_only=True, eq=False)
class SideBySide:
    """The same two pictures of several things: a histogram above, bars below, each row on one scale."""

    title: str
    above: Sequence[Histogram]
    #: none, or as many as above
    below: Sequence[Bars]


@dataclass(frozen=True, kw_only=True, eq=False)
class GrowthPanel:
    """One quantity by formula against one size, each curve of another order."""

    title: str
    y_axis: str
    #: rising orders; the last is the one that is meant
    curves: Sequence[Line]
    #: what an arrow along the last curve says, from a size to its double, in lines
    doubling: Sequence[str]


@dataclass(frozen=True, kw_only=True, eq=False)
class Growth:
    """How quantities grow with one size, side by side, on even axes from zero."""

    title: str
    x_axis: str
    panels: Sequence[GrowthPanel]
    #: the size from which an arrow leads to twice as much
    size: float
    #: what follows, beneath the panels
    note: str


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Widths:
    """A block in numbers: tokens, heads and how wide everything is."""

    n: int
    d_model: int
    heads: int
    kv_heads: int
    d_k: int
    d_v: int
    #: None: there is no feed-forward
    d_ff: int | None
    layers: int


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadArrays:
    """One head at work on n tokens: q and k are (n, d_k), v and the output (n, d_v)."""

    #: what the projections read, (n, d_model)
    x: FloatArray
    #: (d_model, d_k), (d_model, d_k) and (d_model, d_v)
    w_q: FloatArray
    w_k: FloatArray
    w_v: FloatArray
    #: x W + b, before norms and rotary positions
    q_projection: FloatArray
    k_projection: FloatArray
    q: FloatArray
    k: FloatArray
    v: FloatArray
    #: q·k, scale·q·k, and the weights that the softmax makes of it, (n, n)
    products: FloatArray
    scores: FloatArray
    weights: FloatArray
    #: boolean, (n, n): which keys a query sees
    visible: BoolArray
    output: FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockForm:
    """What stands where in a block."""

    #: "LayerNorm" or "RMSNorm"
    norm: str
    #: "post", "pre", "sandwich" or "output"
    norm_position: str
    #: the feed-forward reads the block's input
    parallel: bool
    #: what the two parts are, in a line or two each; no feed-forward: none
    attention: Sequence[str]
    feed_forward: Sequence[str]
    #: "X", "T1" … "H" -> the mean length ‖·‖ of a token there
    norms: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Diagram:
    """A drawing of attention, of one head or of a whole block, with the numbers of a real run."""

    #: "roles", "projections", "attention", "parallel" or "block"
    kind: str
    title: str
    #: the configuration's name, and where in it this is: the line under the drawing
    name: str
    place: str
    widths: Widths
    #: n names, or none
    tokens: Sequence[str]
    arrays: HeadArrays
    form: BlockForm
    #: the number that q·k is multiplied by, and whether it is 1/√d_k
    scale: float
    usual_scale: bool
    #: in a word each: what happens to q and k after their projection, what to the scores before the softmax, and what
    #: hides keys
    prepared: Sequence[str]
    bent: Sequence[str]
    masked: Sequence[str]
    #: whether the projections add a bias, and whether W_O joins the heads
    biased: bool
    joined: bool
    #: the token that asks, the one whose answer is followed, and the keys that are drawn: the query's own first
    query: int
    key: int
    keys: Sequence[int]


#: What a report is made of, in reading order.
Part = Finding | Table | Grid | Checks | Derivation
#: What can be drawn.
Drawable = Grid | GridSheet | GridMaps | Histogram | SideBySide | Dots | Series | Panels | Growth | Diagram


@dataclass(frozen=True, kw_only=True, eq=False)
class Figure:
    """A figure to be written as NAME.png and NAME.svg."""

    name: str
    drawable: Drawable


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """What a person sees of an experiment in a terminal: a heading, then parts in reading order.

    The parts are the answer, and fit a screen. All the rest are details, which are printed where they are asked for.
    """

    heading: str
    parts: Sequence[Part]
    details: Sequence[Part] = ()
    #: the last of the answer, below the details where these are printed: what was checked
    checks: Checks | None = None
    #: commands to try next, as they are typed
    next: Sequence[str] = ()
