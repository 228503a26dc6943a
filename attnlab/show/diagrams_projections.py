"""Projections: one token's numbers, and the three matrices that make a query, a key and a value of them."""

from typing import NamedTuple

from attnlab.records import Diagram, FloatArray
from attnlab.show.diagrams_canvas import MARGIN, PANEL, RULE, WIDTH, Canvas, Size
from attnlab.show.diagrams_matrix import ROUNDED, Look, darker, draw_matrix, lengths, mixed, numbered
from attnlab.show.encoding import unblank
from attnlab.show.palette import KEY, QUERY, VALUE

#: The input's panel, the matrices' column, the panels of what comes out.
_INPUT = 104.0
_MATRIX_FROM, _MATRIX_TO = MARGIN + _INPUT + 34, 286.0
_OUT = 302.0
_OUT_WIDTH = WIDTH - MARGIN - _OUT
#: What numbers and strips may take in a panel, and a side's length when there are only shades.
_ROOM = _OUT_WIDTH - 12
_LEAST, _MOST = 26.0, 76.0
_LABELS, _GAP, _LOWEST = 44.0, 10.0, 64.0
_INPUT_COLOUR = "#8a8a8a"


class _Row(NamedTuple):
    letter: str
    vector: str
    space: str
    colour: str
    weights: FloatArray
    result: FloatArray
    heads: int


def draw_projections(canvas: Canvas, diagram: Diagram) -> None:
    """The input space at the left, W_Q, W_K and W_V in the middle, the spaces they lead to at the right."""
    arrays, widths, i = diagram.arrays, diagram.widths, diagram.query
    rows = [
        _Row("Q", "q", "query space", QUERY, arrays.w_q, arrays.q_projection[i], widths.heads),
        _Row("K", "k", "key space", KEY, arrays.w_k, arrays.k_projection[i], widths.kv_heads),
        _Row("V", "v", "value space", VALUE, arrays.w_v, arrays.v[i], widths.kv_heads),
    ]
    looks = [_look(diagram, row.weights) for row in rows]
    _headings(canvas, canvas.bottom + 16)
    top = canvas.bottom + 8
    pitch = max(_LOWEST, *(look.size.height for look in looks)) + _LABELS + _GAP
    middles = [top + pitch * (place + 0.5) - _GAP / 2 for place in range(3)]
    _input(canvas, diagram, top, middles[-1] + pitch / 2 - _GAP / 2)
    trunk = MARGIN + _INPUT + 14
    canvas.line([(MARGIN + _INPUT, middles[1]), (trunk, middles[1])], head=False)
    for row, look, middle in zip(rows, looks, middles, strict=True):
        _projection(canvas, diagram, row, look, middle, pitch - _GAP, trunk)
    canvas.line([(trunk, middles[0]), (trunk, middles[-1])], head=False)
    canvas.dot(trunk, middles[1])
    if all(look.texts for look in looks):
        canvas.write(MARGIN, canvas.bottom + 14, ROUNDED, align="left")


def _headings(canvas: Canvas, y: float) -> None:
    """What the columns hold."""
    canvas.write((_MATRIX_FROM + _MATRIX_TO) / 2, y, "projection matrices", bold=True)
    canvas.write(_OUT + _OUT_WIDTH / 2, y, "projected spaces", bold=True)


def _look(diagram: Diagram, values: FloatArray) -> Look:
    """A matrix with its numbers, or its sides to the drawing's scale."""
    if look := numbered(values, _MATRIX_TO - _MATRIX_FROM):
        return look
    (height, low), (width, narrow) = (_sides(diagram)[side] for side in values.shape)
    return Look(Size(width, height), cut=(low, narrow))


def _sides(diagram: Diagram) -> dict[int, tuple[float, bool]]:
    widths = diagram.widths
    return lengths([widths.d_model, widths.d_k, widths.d_v], _LEAST, _MOST)


def _input(canvas: Canvas, diagram: Diagram, top: float, bottom: float) -> None:
    """The space that tokens come from, and the one token that is followed."""
    x = diagram.arrays.x[diagram.query][:, None]
    middle, centre = MARGIN + _INPUT / 2, (top + bottom) / 2
    canvas.box(MARGIN, top, _INPUT, bottom - top, fill=PANEL, edge=RULE, corner=8, name="input space")
    canvas.write(middle, top + 15, "input space", bold=True)
    canvas.formula(middle, top + 38, rf"d={diagram.widths.d_model}")
    height, cut = _sides(diagram)[diagram.widths.d_model]
    look = numbered(x, _INPUT - 12) or Look(Size(18.0, height), cut=(cut, False))
    draw_matrix(canvas, middle - look.size.width / 2, centre - look.size.height / 2, look, x, _INPUT_COLOUR, name="x")
    below = centre + look.size.height / 2
    canvas.formula(middle, below + 14, rf"x_{{{diagram.query}}}")
    name = f'"{unblank(diagram.tokens[diagram.query])}"' if diagram.tokens else f"token {diagram.query}"
    canvas.write(middle, below + 34, name, room=_INPUT - 8)


def _projection(
    canvas: Canvas, diagram: Diagram, row: _Row, look: Look, middle: float, height: float, trunk: float
) -> None:
    """One matrix with its dimensions, and the panel of the space it leads to."""
    cards = 4.0 * min(row.heads - 1, 2)
    centre = (_MATRIX_FROM + _MATRIX_TO) / 2 - cards / 2
    left = centre - look.size.width / 2
    canvas.line([(trunk, middle), (left, middle)])
    draw_matrix(
        canvas,
        left,
        middle - look.size.height / 2,
        look,
        row.weights,
        row.colour,
        heads=row.heads,
        name=f"W_{row.letter}",
    )
    rows, columns = row.weights.shape
    shape = f"{rows:,} × {columns:,}" + (f", {row.heads} heads" if row.heads > 1 else "")
    dimensions = rf"W_{row.letter}\ \ d\times d_{'v' if row.letter == 'V' else 'k'}"
    canvas.formula(centre + cards / 2, middle - look.size.height / 2 - cards - 11, dimensions)
    canvas.write(centre + cards / 2, middle + look.size.height / 2 + 11, shape, room=_OUT - _MATRIX_FROM + 14)
    canvas.line([(left + look.size.width + cards, middle), (_OUT, middle)], colour=darker(row.colour))
    _space(canvas, diagram, row, middle, height)


def _space(canvas: Canvas, diagram: Diagram, row: _Row, middle: float, height: float) -> None:
    """Where the token is now: the space's name and dimension, the equation, the vector itself."""
    canvas.box(
        _OUT,
        middle - height / 2,
        _OUT_WIDTH,
        height,
        fill=mixed(row.colour, 0.16),
        edge=darker(row.colour),
        corner=8,
        name=row.space,
    )
    centre = _OUT + _OUT_WIDTH / 2
    top = middle - height / 2
    canvas.write(centre, top + 15, row.space)
    width = rf"d_{'v' if row.letter == 'V' else 'k'}={len(row.result)}"
    canvas.formula(centre, top + 36, width)
    _strip(canvas, diagram, row, centre, middle + 9)
    i = diagram.query
    bias = f"+b_{row.letter}" if diagram.biased else ""
    canvas.formula(centre, top + height - 16, rf"{row.vector}_{{{i}}}=x_{{{i}}}W_{row.letter}{bias}")


def _strip(canvas: Canvas, diagram: Diagram, row: _Row, centre: float, y: float) -> None:
    values = row.result[None, :]
    width, cut = _sides(diagram)[len(row.result)]
    look = numbered(values, _ROOM) or Look(Size(width, 18.0), cut=(False, cut))
    draw_matrix(
        canvas, centre - look.size.width / 2, y - look.size.height / 2, look, values, row.colour, name=row.vector
    )
