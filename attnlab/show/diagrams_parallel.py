"""Parallel: attention as a few matrix operations, and in each of its four rounds what runs at once.

Rounds stand in panels, arrows lead from matrix to matrix. A side grows with the logarithm of its cells: shapes differ
by factors of hundreds, and what is to scale would be a thread.
"""

from typing import NamedTuple

import numpy as np

from attnlab.records import BoolArray, Diagram, FloatArray
from attnlab.show.diagrams_attention import NEUTRAL, scale_formula, side
from attnlab.show.diagrams_canvas import MARGIN, PANEL, PAPER, RULE, TEXT, WIDTH, Canvas, Size, measured, wrapped
from attnlab.show.diagrams_matrix import Look, darker, draw_matrix
from attnlab.show.palette import KEY, OUTPUT, QUERY, VALUE

#: The sides of matrices, and what the cards of further heads take beside and above one.
_LEAST, _MOST, _CARDS = 42.0, 88.0, 8.0
#: A panel's title, a matrix's name and shape above it, the way between panels, the room within one.
_TITLE, _HEAD, _LANE, _INSIDE = 28.0, 38.0, 40.0, 10.0
#: V's way past the panels; the middles of the columns; where scores and weights stand.
_RAIL = WIDTH - MARGIN - 3
_X, _Q, _K, _V = MARGIN + 54, 178.0, 284.0, 390.0
_SCORES, _WEIGHTS, _HALF = 165.0, 372.0, 219.0
_WORK, _WORK_WIDTH, _WORK_HEIGHT = 236.0, 66.0, 26.0
_MARK_LINE = 15.0


class _Matrix(NamedTuple):
    """A matrix as it is drawn here."""

    symbol: str
    values: FloatArray
    colour: str
    heads: int = 1
    hidden: BoolArray | None = None

    @property
    def size(self) -> Size:
        height, width = (side(cells, _LEAST, _MOST) for cells in self.values.shape)
        return Size(width, height)

    @property
    def shape(self) -> str:
        rows, columns = self.values.shape
        return f"{rows:,} × {columns:,}"


def draw_parallel(canvas: Canvas, diagram: Diagram) -> None:
    """Project above; beneath it compare and softmax side by side; the output at the foot."""
    found = _matrices(diagram)
    first = _project(canvas, diagram, found, canvas.bottom + 12)
    lane = first + _LANE / 2
    second, weights = _compare(canvas, diagram, found, first + _LANE, lane)
    _mix(canvas, diagram, found, second + 14, (lane, weights))
    _notes(canvas, diagram)


def _matrices(diagram: Diagram) -> dict[str, _Matrix]:
    """name -> the matrix. What a mask hides is hatched."""
    a, w = diagram.arrays, diagram.widths
    hidden = ~a.visible
    scores, weights = (np.where(hidden, np.nan, values) for values in (a.products, a.weights))
    return {
        "X": _Matrix("X", a.x, NEUTRAL),
        "Q": _Matrix("Q", a.q, QUERY, w.heads),
        "K": _Matrix("K", a.k, KEY, w.kv_heads),
        "V": _Matrix("V", a.v, VALUE, w.kv_heads),
        "scores": _Matrix(r"QK^{\top}", scores, NEUTRAL, w.heads, hidden),
        "weights": _Matrix(r"\alpha", weights, NEUTRAL, w.heads, hidden),
        "A": _Matrix("A", a.output, OUTPUT, w.heads),
    }


def counted(count: int, what: str) -> str:
    """ "1 row", "13 rows"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _cards(matrix: _Matrix) -> float:
    return 4.0 * min(matrix.heads - 1, 2)


def _draw(canvas: Canvas, matrix: _Matrix, x: float, y: float, name: str) -> None:
    """A matrix around x, from y down."""
    draw_matrix(
        canvas,
        x - matrix.size.width / 2,
        y,
        Look(matrix.size),
        matrix.values,
        matrix.colour,
        heads=matrix.heads,
        hidden=matrix.hidden,
        name=name,
    )


def _panel(canvas: Canvas, title: str, x: float, y: float, size: Size) -> None:
    canvas.box(x, y, size.width, size.height, fill=PANEL, edge=RULE, corner=8, layer=1, name=title)
    canvas.write(x + 10, y + 16, title, align="left", bold=True)


def _mark(canvas: Canvas, x: float, y: float, width: float, lines: list[str]) -> None:
    """What runs at once, in a frame of its own, from y up."""
    height = _MARK_LINE * len(lines) + 9
    canvas.box(x, y - height, width, height, corner=5, layer=2, line=1.4, name=f"mark {lines[-1]}")
    for place, line in enumerate(lines):
        middle = y - height + 4.5 + (place + 0.5) * _MARK_LINE
        canvas.write(x + width / 2, middle, line, bold=place == 0, room=width - 6)


def _at_once(what: str, heads: int) -> list[str]:
    return ["all at once:", what, *([f"× {heads} heads"] if heads > 1 else [])]


def _project(canvas: Canvas, diagram: Diagram, found: dict[str, _Matrix], top: float) -> float:
    """X, and Q, K and V that come of it; the y where the panel ends."""
    w = diagram.widths
    tallest = max(found[name].size.height for name in "XQKV")
    bus = top + _TITLE + 14
    upper = bus + 24 + _HEAD + _CARDS
    _panel(canvas, "1  Project", MARGIN, top, Size(WIDTH - 2 * MARGIN, upper + tallest + _INSIDE - top))
    said = f"all at once: {counted(w.n, 'token')} × {w.heads + 2 * w.kv_heads} projections"
    room = min(measured(said, TEXT, True).width + 14, WIDTH - 2 * MARGIN - 110)
    _mark(canvas, WIDTH - MARGIN - 8 - room, top + 30, room, [said])
    x = found["X"]
    right, middle = _X + x.size.width / 2, upper + tallest - x.size.height / 2
    out = max(right + 8, 112.0)
    canvas.line([(right, middle), (out, middle), (out, bus), (_V, bus)], head=False)
    for name, place, colour in (("Q", _Q, QUERY), ("K", _K, KEY), ("V", _V, VALUE)):
        name_top = upper + tallest - found[name].size.height - _cards(found[name]) - 37
        canvas.line([(place, bus), (place, name_top)], colour=darker(colour), thick=2.0)
        canvas.formula(place + 8, bus + 11, f"W_{name}", align="left")
    for name, place in zip("XQKV", (_X, _Q, _K, _V), strict=True):
        matrix = found[name]
        start = upper + tallest - matrix.size.height
        _draw(canvas, matrix, place, start, name)
        canvas.formula(place, start - _cards(matrix) - 26, matrix.symbol)
        canvas.write(place, start - _cards(matrix) - 10, matrix.shape)
    return upper + tallest + _INSIDE


def _compare(
    canvas: Canvas, diagram: Diagram, found: dict[str, _Matrix], top: float, lane: float
) -> tuple[float, float]:
    """Scores from Q and K, weights from the scores; where the panels end, and where the weights do."""
    w = diagram.widths
    scores, weights = found["scores"], found["weights"]
    rows = [counted(w.n, "row"), f"{w.n:,} × {counted(w.n, 'pair')}"]
    marks = [_at_once(what, w.heads) for what in rows]
    marked = _MARK_LINE * len(marks[0]) + 9
    upper = top + _TITLE + 30 + _CARDS
    lower = upper + scores.size.height
    height = lower + 10 + marked + _INSIDE - 2 - top
    _panel(canvas, "2  Compare", MARGIN, top, Size(_HALF - MARGIN - 4, height))
    _panel(canvas, "3  Softmax", _HALF + 4, top, Size(_RAIL - 10 - _HALF - 4, height))
    canvas.line([(_Q, lane - _LANE / 2 - _INSIDE), (_Q, lane)], head=False, colour=darker(QUERY), thick=2.0)
    way = [(_K, lane - _LANE / 2 - _INSIDE), (_K, lane), (_Q, lane)]
    canvas.line(way, head=False, colour=darker(KEY), thick=2.0)
    canvas.line([(_Q, lane + 7), (_Q, upper - _cards(scores))], layer=4.5)
    canvas.times(_Q, lane)
    _draw(canvas, scores, _SCORES, upper, "scores")
    middle = upper + scores.size.height / 2
    canvas.write(MARGIN + 58, middle - 20, "scores")
    canvas.formula(MARGIN + 58, middle, scores.symbol)
    canvas.write(MARGIN + 58, middle + 20, scores.shape)
    _mark(canvas, MARGIN + 8, top + height - 8, _HALF - MARGIN - 20, marks[1])
    _turn(canvas, diagram, (_SCORES + scores.size.width / 2, _WEIGHTS - weights.size.width / 2), middle)
    _draw(canvas, weights, _WEIGHTS, upper, "weights")
    above = upper - _cards(weights)
    canvas.write(_WEIGHTS - 10, above - 29, "weights")
    canvas.formula(_WEIGHTS + 26, above - 28, weights.symbol)
    canvas.write(_WEIGHTS, above - 11, weights.shape)
    _mark(canvas, _HALF + 12, top + height - 8, _WEIGHTS - _HALF - 24, marks[0])
    return top + height, lower


def _turn(canvas: Canvas, diagram: Diagram, ends: tuple[float, float], y: float) -> None:
    """From the scores to the weights: scale above, softmax beneath it."""
    left, right = ends
    upper, lower, middle = y - 19, y + 19, _WORK + _WORK_WIDTH / 2
    canvas.line([(left, upper), (_WORK, upper)])
    canvas.box(_WORK, upper - _WORK_HEIGHT / 2, _WORK_WIDTH, _WORK_HEIGHT, fill="#000000", corner=5, name="scale")
    canvas.formula(middle, upper, scale_formula(diagram), colour=PAPER, size=_fitted_size(scale_formula(diagram)))
    canvas.line([(middle, upper + _WORK_HEIGHT / 2), (middle, lower - _WORK_HEIGHT / 2)])
    canvas.box(_WORK, lower - _WORK_HEIGHT / 2, _WORK_WIDTH, _WORK_HEIGHT, fill="#d9d9d9", corner=5, name="softmax")
    canvas.write(middle, lower, "softmax")
    canvas.line([(_WORK + _WORK_WIDTH, lower), (right, lower)])


def _fitted_size(formula: str) -> float:
    return min(17.0, 17.0 * (_WORK_WIDTH - 8) / measured(f"${formula}$", 17.0, formula=True).width)


def _mix(canvas: Canvas, diagram: Diagram, found: dict[str, _Matrix], top: float, starts: tuple[float, float]) -> None:
    """The weights and V make A. starts: the y of V's way to the rail, and the one from which the weights come."""
    w, out = diagram.widths, found["A"]
    lane, weights = starts
    x = 218.0
    upper = top + _TITLE + 30 + _cards(out)
    height = upper + out.size.height + _INSIDE + 2 - top
    _panel(canvas, "4  Mix", MARGIN, top, Size(_RAIL - 10 - MARGIN, height))
    middle = upper + out.size.height / 2
    canvas.line(
        [(_V, lane - _LANE / 2 - _INSIDE), (_V, lane), (_RAIL, lane), (_RAIL, middle), (_WEIGHTS + 7, middle)],
        colour=darker(VALUE),
        thick=2.0,
    )
    canvas.line([(_WEIGHTS, weights), (_WEIGHTS, middle - 7)])
    canvas.times(_WEIGHTS, middle)
    _draw(canvas, out, x, upper, "A")
    canvas.line(
        [(_WEIGHTS - 7, middle), (x + out.size.width / 2 + _cards(out), middle)], colour=darker(OUTPUT), thick=2.0
    )
    equation = rf"A=\mathrm{{softmax}}(QK^{{\top}}{scale_formula(diagram)})\,V"
    canvas.formula(x, top + 18, equation)
    canvas.write(x, upper - 12 - _cards(out), f"output, {out.shape}")
    _mark(canvas, MARGIN + 8, top + height - 8, 132, _at_once(counted(w.n, "row"), w.heads))


def _notes(canvas: Canvas, diagram: Diagram) -> None:
    """What else there is, in words."""
    said = ["Not to scale: a side grows with the logarithm of its cells."]
    if not diagram.arrays.visible.all():
        said.append("Hatched: hidden by the mask.")
    if diagram.widths.heads > 1:
        joined = "side by side, times W_O" if diagram.joined else "side by side"
        said.append(f"Then all {diagram.widths.heads} heads {joined}.")
    y = canvas.bottom + 12
    for text in said:
        for line in wrapped(text, WIDTH - 2 * MARGIN):
            canvas.write(MARGIN, y + TEXT / 2, line, align="left")
            y += TEXT * 1.4
    canvas.reach(y)
