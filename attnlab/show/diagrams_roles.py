"""Roles: a token asks with its query, every token answers with its key, and gives its value in proportion."""

import numpy as np

from attnlab.records import Diagram, FloatArray
from attnlab.show.diagrams_canvas import FAINT, INK, MARGIN, PANEL, PAPER, RULE, WIDTH, Canvas, Size
from attnlab.show.diagrams_matrix import Look, darker, draw_matrix, numbered
from attnlab.show.encoding import token_label
from attnlab.show.numbers import number, weight
from attnlab.show.palette import KEY, OUTPUT, QUERY, VALUE

#: Columns, left to right: token boxes, the vectors' names and strips, scores, the softmax, weights, the sum.
_TOKEN = 66.0
_NAME, _STRIP, _STRIP_WIDTH, _STRIP_HEIGHT = MARGIN + _TOKEN + 26, MARGIN + _TOKEN + 40, 122.0, 20.0
_SCORE, _SCORE_WIDTH = _STRIP + _STRIP_WIDTH + 16, 46.0
_SOFTMAX, _SOFTMAX_WIDTH = _SCORE + _SCORE_WIDTH + 14, 20.0
_WEIGHT, _WEIGHT_WIDTH = _SOFTMAX + _SOFTMAX_WIDTH + 14, 52.0
_SUM = WIDTH - MARGIN - 13
#: The box of the token that asks.
_OWN = "#dcdcdc"
#: Tokens with larger numbers are i and j.
_MOST_INDEX = 99
#: From a token's key down to its value, and from token to token.
_LANE, _ROW = 27.0, 64.0


def draw_roles(canvas: Canvas, diagram: Diagram) -> None:
    """One query, the keys it meets, and what their values add up to."""
    top = canvas.bottom + 30
    bus = _SCORE + _SCORE_WIDTH / 2
    asking = diagram.query
    _token(canvas, diagram, asking, top - 23, 46)
    _vector(canvas, f"q_{{{_index(asking)}}}", diagram.arrays.q[asking], top, QUERY)
    first = top + 52
    canvas.formula(bus + 10, top - (9 if diagram.bent else 0), _product(diagram), align="left")
    if diagram.bent:
        canvas.write(bus + 10, top + 9, f"then {', '.join(diagram.bent)}", align="left")
    canvas.formula(_WEIGHT + _WEIGHT_WIDTH / 2, first - 24, _alpha(diagram))
    places = [first + row * _ROW for row in range(len(diagram.keys))]
    ends = list(places)
    for key, y in zip(diagram.keys, places, strict=True):
        _key_and_value(canvas, diagram, key, y)
    others, hidden = other_keys(diagram)
    if others:
        ends.append(places[-1] + _ROW + 2)
        _others(canvas, diagram, others, ends[-1])
    elif hidden:
        _left_over(canvas, hidden, "hidden by the mask", places[-1] + _ROW + 2)
    _ask(canvas, top, ends)
    _softmax(canvas, ends, _LANE if not others else 10)
    _sum(canvas, diagram, [y + _LANE for y in places], places[-1] + _ROW + 2 if others or hidden else None)


def other_keys(diagram: Diagram) -> tuple[list[int], list[int]]:
    """The keys that are not drawn: those that the query sees, and those that are hidden from it."""
    rest = [j for j in range(len(diagram.arrays.q)) if j not in set(diagram.keys)]
    sees = diagram.arrays.visible[diagram.query]
    return [j for j in rest if sees[j]], [j for j in rest if not sees[j]]


def _left_over(canvas: Canvas, keys: list[int], said: str, y: float) -> None:
    canvas.write(MARGIN + 4, y, f"{len(keys):,} more", align="left", room=_TOKEN + 20, colour=FAINT)
    canvas.write(_STRIP + _STRIP_WIDTH / 2, y, said, colour=FAINT, room=_STRIP_WIDTH)


def _product(diagram: Diagram) -> str:
    dot = rf"q_{{{_index(diagram.query)}}}\cdot k_j"
    if diagram.usual_scale:
        return dot + r"\,/\sqrt{" + str(diagram.widths.d_k) + "}"
    return dot if diagram.scale == 1 else dot + r"\times" + number(diagram.scale)


def _alpha(diagram: Diagram) -> str:
    comma = "," if 9 < diagram.query <= _MOST_INDEX else r"\,"
    return rf"\alpha_{{{_index(diagram.query)}{comma}j}}"


def _index(token: int, letter: str = "i") -> str:
    """A token's number as an index, where it is short; else the letter that stands for it."""
    return str(token) if token <= _MOST_INDEX else letter


def _token(canvas: Canvas, diagram: Diagram, index: int, y: float, height: float) -> None:
    """A token's box, with its text if it has one, and its number."""
    own = index == diagram.query
    canvas.box(
        MARGIN,
        y,
        _TOKEN,
        height,
        fill=_OWN if own else PANEL,
        edge=INK if own else RULE,
        corner=5,
        line=1.4 if own else 1.0,
        name=f"token {index}",
    )
    subscript = f"x_{{{index}}}"
    middle = MARGIN + _TOKEN / 2
    if not diagram.tokens:
        canvas.formula(middle, y + height / 2, subscript)
    else:
        canvas.write(middle, y + height / 2 - 8, token_label(diagram.tokens[index]), room=_TOKEN - 8, bold=own)
        canvas.formula(middle, y + height / 2 + 10, subscript)


def _vector(canvas: Canvas, name: str, values: FloatArray, y: float, colour: str, x: float = _STRIP) -> None:
    """A vector as a strip of cells around y, its name before it, an arrow into the name's side from the token."""
    row = values[None, :]
    look = numbered(row, _STRIP_WIDTH) or Look(Size(_STRIP_WIDTH, _STRIP_HEIGHT))
    look = look._replace(size=Size(_STRIP_WIDTH, _STRIP_HEIGHT))
    canvas.formula(x - 14, y, name)
    draw_matrix(canvas, x, y - _STRIP_HEIGHT / 2, look, row, colour, name=name)
    if x == _STRIP:
        canvas.line([(MARGIN + _TOKEN, y), (x - 26, y)], colour=darker(colour))


def _key_and_value(canvas: Canvas, diagram: Diagram, key: int, y: float) -> None:
    """One token: its key meets the query, its value is taken by the weight that comes of it."""
    arrays, query = diagram.arrays, diagram.query
    below = y + _LANE
    _token(canvas, diagram, key, y - 12, _LANE + 24)
    _vector(canvas, f"k_{{{_index(key, 'j')}}}", arrays.k[key], y, KEY)
    _vector(canvas, f"v_{{{_index(key, 'j')}}}", arrays.v[key], below, VALUE)
    end = _STRIP + _STRIP_WIDTH
    canvas.line([(end, y), (_SCORE, y)], colour=darker(KEY))
    canvas.box(_SCORE, y - 11, _SCORE_WIDTH, 22, corner=4, name=f"score {key}")
    seen = bool(arrays.visible[query, key])
    canvas.write(_SCORE + _SCORE_WIDTH / 2, y, f"{arrays.scores[query, key]:.2f}" if seen else "hidden", room=44)
    canvas.line([(_SCORE + _SCORE_WIDTH, y), (_SOFTMAX, y)])
    canvas.line([(_SOFTMAX + _SOFTMAX_WIDTH, y), (_WEIGHT, y)])
    _weight(canvas, float(arrays.weights[query, key]), y, f"weight {key}")
    middle = _WEIGHT + _WEIGHT_WIDTH / 2
    canvas.line([(middle, y + 11), (middle, below - 7)])
    canvas.line([(end + 4, below), (middle - 12, below)], colour=PAPER, thick=5.0, head=False, layer=5)
    canvas.line([(end, below), (middle - 7, below)], colour=darker(VALUE), layer=5.5)
    canvas.times(middle, below)
    canvas.line([(middle + 7, below), (_SUM, below)], head=False, colour=darker(OUTPUT), thick=1.6)
    canvas.dot(_SUM, below, darker(OUTPUT))


def _weight(canvas: Canvas, value: float, y: float, name: str) -> None:
    """A weight: its number, over a bar as long as its share."""
    canvas.box(_WEIGHT, y - 11, _WEIGHT_WIDTH, 22, fill=PAPER, edge="none")
    share = min(max(value, 0.0), 1.0) if np.isfinite(value) else 0.0
    if share * _WEIGHT_WIDTH > 0.5:
        canvas.box(_WEIGHT, y - 11, share * _WEIGHT_WIDTH, 22, fill="#c4c4c4", edge="none", layer=3.1)
    canvas.box(_WEIGHT, y - 11, _WEIGHT_WIDTH, 22, fill="none", layer=3.2, name=name)
    canvas.write(_WEIGHT + _WEIGHT_WIDTH / 2, y, weight(value))


def _others(canvas: Canvas, diagram: Diagram, keys: list[int], y: float) -> None:
    """All other keys that the query sees in one line: how many, and what they get together."""
    _left_over(canvas, keys, "the same for each", y)
    canvas.write(_SCORE + _SCORE_WIDTH / 2, y, "…", colour=FAINT)
    canvas.line([(_SOFTMAX + _SOFTMAX_WIDTH, y), (_WEIGHT, y)])
    _weight(canvas, float(diagram.arrays.weights[diagram.query, keys].sum()), y, "weight of others")
    canvas.line([(_WEIGHT + _WEIGHT_WIDTH, y), (_SUM, y)], head=False, colour=darker(OUTPUT), thick=1.6)
    canvas.dot(_SUM, y, darker(OUTPUT))


def _ask(canvas: Canvas, top: float, rows: list[float]) -> None:
    """The query's way down, into every score."""
    x, colour = _SCORE + _SCORE_WIDTH / 2, darker(QUERY)
    start = [(_STRIP + _STRIP_WIDTH, top), (x, top)]
    for y in rows:
        canvas.line([*start, (x, y - 11)], colour=colour, thick=2.0, layer=2.5)
        start = [(x, y + 11)]


def _softmax(canvas: Canvas, rows: list[float], below: float) -> None:
    """One softmax over all scores: its bar, its name where no value's line crosses."""
    top, bottom = rows[0] - 16, rows[-1] + below + 6
    canvas.box(_SOFTMAX, top, _SOFTMAX_WIDTH, bottom - top, fill="#d9d9d9", corner=5, name="softmax")
    middle = _SOFTMAX + _SOFTMAX_WIDTH / 2
    if len(rows) == 1:
        canvas.write(middle, bottom + 11, "softmax")
        return
    between = rows[(len(rows) - 1) // 2]
    canvas.write(
        middle,
        between + (_LANE + _ROW + (_LANE if between != rows[-2] or below == _LANE else 10)) / 2,
        "softmax",
        upright=True,
    )


def _sum(canvas: Canvas, diagram: Diagram, lanes: list[float], others: float | None) -> None:
    """What the weighted values add up to."""
    colour = darker(OUTPUT)
    last = max([*lanes, others or 0.0])
    y = last + 44
    canvas.line([(_SUM, lanes[0]), (_SUM, y - 13)], colour=colour, thick=2.0)
    canvas.circle(_SUM, y, 13, edge=colour)
    canvas.formula(_SUM, y, r"\Sigma")
    x = _SUM - 13 - 26 - _STRIP_WIDTH
    _vector(canvas, f"o_{{{_index(diagram.query)}}}", diagram.arrays.output[diagram.query], y, OUTPUT, x=x)
    canvas.line([(_SUM - 13, y), (x + _STRIP_WIDTH, y)], colour=colour, thick=2.0)
    total = rf"o_{{{_index(diagram.query)}}}=\sum_j{_alpha(diagram)}\,v_j"
    canvas.formula(MARGIN, y, rf"{total}\,,\ \ \ \sum_j{_alpha(diagram)}=1", align="left")
    canvas.reach(y + 18)
