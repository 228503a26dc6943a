"""Roles: one token becomes a query, a key and a value; its query meets every key, and its output mixes the values.

The token that asks stands once, above; beneath it those that answer. i is the one that asks, j any token.
"""

import numpy as np

from attnlab.records import Diagram, FloatArray
from attnlab.show.diagrams_canvas import FAINT, MARGIN, PANEL, PAPER, RULE, WIDTH, Canvas, Size
from attnlab.show.diagrams_matrix import ROUNDED, Look, darker, draw_matrix, mixed, numbered
from attnlab.show.encoding import unblank
from attnlab.show.hatching import hatch
from attnlab.show.numbers import number, weight
from attnlab.show.palette import KEY, OUTPUT, QUERY, VALUE

#: Columns, left to right: tokens, projections, the vectors' names and strips, scores, the softmax, weights, the sum.
_TOKEN = 58.0
_MATRIX, _MATRIX_WIDTH = MARGIN + _TOKEN + 16, 30.0
_NAME = _MATRIX + _MATRIX_WIDTH + 27
_STRIP, _STRIP_WIDTH, _STRIP_HEIGHT = _NAME + 14, 116.0, 20.0
_SCORE, _SCORE_WIDTH = _STRIP + _STRIP_WIDTH + 14, 46.0
_SOFTMAX, _SOFTMAX_WIDTH = _SCORE + _SCORE_WIDTH + 13, 20.0
_WEIGHT, _WEIGHT_WIDTH = _SOFTMAX + _SOFTMAX_WIDTH + 13, 46.0
_SUM = WIDTH - MARGIN - 12
#: The box of the token that asks.
_OWN = "#dcdcdc"
#: Tokens with larger numbers are j.
_MOST_INDEX = 99
#: From the query down to its own key, from a token's key down to its value, there and elsewhere, and to the next token.
_ASK, _OWN_LANE, _LANE, _APART = 58.0, 38.0, 27.0, 42.0
_ABOVE = 18.0


def draw_roles(canvas: Canvas, diagram: Diagram) -> None:
    """One query, the keys it meets, and what their values add up to."""
    own, *others = diagram.keys
    top = canvas.bottom + 38
    lanes = [(top + _ASK, top + _ASK + _OWN_LANE)]
    for _ in others:
        lanes.append((lanes[-1][1] + _APART, lanes[-1][1] + _APART + _LANE))
    rest, hidden = other_keys(diagram)
    last = lanes[-1][1] + _APART + 4 if rest or hidden else None
    _own_token(canvas, diagram, top - 16, lanes[0][1] + 14)
    _projected(canvas, "Q", "q_{i}", diagram.arrays.q[own], top, QUERY, word="query")
    _operations(canvas, diagram, top)
    for key, (y, below) in zip(diagram.keys, lanes, strict=True):
        if key != own:
            _other_token(canvas, diagram, key, y - 12, below - y + 24)
        _key_and_value(canvas, diagram, key, y, below)
    ends = [y for y, _ in lanes]
    if last is not None and rest:
        ends.append(last)
        _others(canvas, diagram, rest, last)
    elif last is not None:
        _left_over(canvas, hidden, "hidden by the mask", last)
    _ask(canvas, top, ends)
    _softmax(canvas, lanes, last if rest else None)
    _sum(canvas, diagram, [below for _, below in lanes], last)


def other_keys(diagram: Diagram) -> tuple[list[int], list[int]]:
    """The keys that are not drawn: those that the query sees, and those that are hidden from it."""
    rest = [j for j in range(len(diagram.arrays.q)) if j not in set(diagram.keys)]
    sees = diagram.arrays.visible[diagram.query]
    return [j for j in rest if sees[j]], [j for j in rest if not sees[j]]


def _left_over(canvas: Canvas, keys: list[int], said: str, y: float) -> None:
    canvas.write(MARGIN + 4, y, f"{len(keys):,} more", align="left", room=_TOKEN + 20, colour=FAINT)
    canvas.write(_STRIP + _STRIP_WIDTH / 2, y, said, colour=FAINT, room=_STRIP_WIDTH + 20)


def _operations(canvas: Canvas, diagram: Diagram, top: float) -> None:
    """What the columns of scores and of weights are, above them."""
    x = _SCORE + _SCORE_WIDTH / 2 + 12
    product, bent = score_formula(diagram), diagram.bent
    canvas.formula(x, top - (_ABOVE if bent else 0), product, align="left")
    canvas.write(x, top - (0 if bent else _ABOVE), f"then {', '.join(bent)}" if bent else "scores", align="left")
    middle = _WEIGHT + _WEIGHT_WIDTH / 2
    canvas.write(middle, top + _ASK - 38, "weights")
    canvas.formula(middle, top + _ASK - 22, r"\alpha_{ij}")


def score_formula(diagram: Diagram) -> str:
    """q·k with the scale that this block has."""
    dot = r"q_i\cdot k_j"
    if diagram.usual_scale:
        return dot + r"\,/\sqrt{" + str(diagram.widths.d_k) + "}"
    return dot if diagram.scale == 1 else dot + r"\times" + number(diagram.scale)


def _index(token: int) -> str:
    """A token's number as an index, where it is short; else the letter that stands for it."""
    return str(token) if token <= _MOST_INDEX else "j"


def _own_token(canvas: Canvas, diagram: Diagram, top: float, bottom: float) -> None:
    """The token that asks: the one x_i, from which three arrows go out."""
    i, middle, centre = diagram.query, MARGIN + _TOKEN / 2, (top + bottom) / 2
    canvas.box(MARGIN, top, _TOKEN, bottom - top, fill=_OWN, corner=5, line=1.4, name=f"token {i}")
    if diagram.tokens:
        canvas.write(middle, centre - 22, unblank(diagram.tokens[i]), room=_TOKEN - 8, bold=True)
    else:
        centre -= 11
    canvas.formula(middle, centre, "x_{i}")
    canvas.write(middle, centre + 22, f"i = {i}", room=_TOKEN - 4)


def _other_token(canvas: Canvas, diagram: Diagram, index: int, y: float, height: float) -> None:
    """Another token's box, with its text if it has one, and its number."""
    canvas.box(MARGIN, y, _TOKEN, height, fill=PANEL, edge=RULE, corner=5, name=f"token {index}")
    middle, centre = MARGIN + _TOKEN / 2, y + height / 2
    if not diagram.tokens:
        canvas.formula(middle, centre, f"x_{{{index}}}")
    else:
        canvas.write(middle, centre - 8, unblank(diagram.tokens[index]), room=_TOKEN - 8)
        canvas.formula(middle, centre + 10, f"x_{{{index}}}")


def _projected(
    canvas: Canvas, letter: str, name: str, values: FloatArray, y: float, colour: str, *, word: str = ""
) -> None:
    """From the token through a matrix to a vector; the word for it stands above it."""
    dark = darker(colour)
    canvas.line([(MARGIN + _TOKEN, y), (_MATRIX, y)], colour=dark)
    canvas.box(_MATRIX, y - 11, _MATRIX_WIDTH, 22, fill=mixed(colour, 0.3), edge=dark, name=f"W_{letter}")
    canvas.formula(_MATRIX + _MATRIX_WIDTH / 2, y, f"W_{letter}", size=13)
    canvas.line([(_MATRIX + _MATRIX_WIDTH, y), (_NAME - 12, y)], colour=dark)
    _vector(canvas, name, values, y, colour, _STRIP)
    if word:
        canvas.write(_STRIP + _STRIP_WIDTH / 2, y - _ABOVE, word)


def _vector(canvas: Canvas, name: str, values: FloatArray, y: float, colour: str, x: float) -> None:
    """A vector as a strip of cells around y, its name before it."""
    row = values[None, :]
    look = numbered(row, _STRIP_WIDTH) or Look(Size(_STRIP_WIDTH, _STRIP_HEIGHT))
    look = look._replace(size=Size(_STRIP_WIDTH, _STRIP_HEIGHT))
    canvas.formula(x - 14, y, name)
    draw_matrix(canvas, x, y - _STRIP_HEIGHT / 2, look, row, colour, name=name)


def _key_and_value(canvas: Canvas, diagram: Diagram, key: int, y: float, below: float) -> None:
    """One token: its key meets the query, its value is taken by the weight that comes of it."""
    arrays, query = diagram.arrays, diagram.query
    own, index = key == query, "i" if key == query else _index(key)
    _projected(canvas, "K", f"k_{{{index}}}", arrays.k[key], y, KEY, word="key" if own else "")
    _projected(canvas, "V", f"v_{{{index}}}", arrays.v[key], below, VALUE, word="value" if own else "")
    end = _STRIP + _STRIP_WIDTH
    canvas.line([(end, y), (_SCORE, y)], colour=darker(KEY))
    canvas.box(_SCORE, y - 11, _SCORE_WIDTH, 22, corner=4, name=f"score {key}")
    seen = bool(arrays.visible[query, key])
    canvas.write(_SCORE + _SCORE_WIDTH / 2, y, f"{arrays.scores[query, key]:.2f}" if seen else "hidden", room=44)
    canvas.line([(_SCORE + _SCORE_WIDTH, y), (_SOFTMAX, y)])
    canvas.line([(_SOFTMAX + _SOFTMAX_WIDTH, y), (_WEIGHT, y)])
    _weight(canvas, float(arrays.weights[query, key]), y, f"weight {key}", seen=seen)
    middle = _WEIGHT + _WEIGHT_WIDTH / 2
    canvas.line([(middle, y + 11), (middle, below - 7)])
    canvas.line([(end + 4, below), (middle - 12, below)], colour=PAPER, thick=5.0, head=False, layer=5)
    canvas.line([(end, below), (middle - 7, below)], colour=darker(VALUE), layer=5.5)
    canvas.times(middle, below)
    canvas.line([(middle + 7, below), (_SUM, below)], head=False, colour=darker(OUTPUT), thick=1.6)
    canvas.dot(_SUM, below, darker(OUTPUT))


def _weight(canvas: Canvas, value: float, y: float, name: str, *, seen: bool = True) -> None:
    """A weight: its number, over a bar as long as its share; hatched where the key is hidden."""
    canvas.box(_WEIGHT, y - 11, _WEIGHT_WIDTH, 22, fill=PAPER, edge="none")
    share = min(max(value, 0.0), 1.0) if np.isfinite(value) else 0.0
    if share * _WEIGHT_WIDTH > 0.5:
        canvas.box(_WEIGHT, y - 11, share * _WEIGHT_WIDTH, 22, fill="#c4c4c4", edge="none", layer=3.1)
    canvas.box(_WEIGHT, y - 11, _WEIGHT_WIDTH, 22, fill="none", layer=3.7, name=name)
    if seen:
        canvas.write(_WEIGHT + _WEIGHT_WIDTH / 2, y, weight(value))
    else:
        hatch(canvas.axes, [(_WEIGHT, y - 11, _WEIGHT_WIDTH, 22)], 3.6, name=f"hidden {name}")


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


def _softmax(canvas: Canvas, lanes: list[tuple[float, float]], others: float | None) -> None:
    """One softmax over all scores: its bar, its name in the widest gap between the values' lines."""
    top, bottom = lanes[0][0] - 16, (lanes[-1][0] if others is None else others) + 16
    canvas.box(_SOFTMAX, top, _SOFTMAX_WIDTH, bottom - top, fill="#d9d9d9", corner=5, name="softmax")
    middle = _SOFTMAX + _SOFTMAX_WIDTH / 2
    if len(lanes) == 1:
        canvas.write(middle, bottom + 11, "softmax")
        return
    place = (len(lanes) - 2) // 2
    canvas.write(middle, (lanes[place][1] + lanes[place + 1][1]) / 2, "softmax", upright=True)


def _sum(canvas: Canvas, diagram: Diagram, lanes: list[float], others: float | None) -> None:
    """What the weighted values add up to."""
    colour = darker(OUTPUT)
    y = max([*lanes, others or 0.0]) + 44
    canvas.line([(_SUM, lanes[0]), (_SUM, y - 13)], colour=colour, thick=2.0)
    canvas.circle(_SUM, y, 13, edge=colour)
    canvas.formula(_SUM, y, r"\Sigma")
    x = _SUM - 13 - 26 - _STRIP_WIDTH
    _vector(canvas, "a_{i}", diagram.arrays.output[diagram.query], y, OUTPUT, x)
    canvas.write(x + _STRIP_WIDTH / 2, y - _ABOVE, "output")
    canvas.line([(_SUM - 13, y), (x + _STRIP_WIDTH, y)], colour=colour, thick=2.0)
    canvas.formula(MARGIN, y, r"a_i=\sum_j\alpha_{ij}\,v_j\,,\ \ \ \sum_j\alpha_{ij}=1", align="left")
    canvas.reach(y + 18)
    canvas.write(MARGIN, canvas.bottom + 12, ROUNDED, align="left")
