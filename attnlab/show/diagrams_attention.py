"""Attention: X to Q, K and V, all products, the scale factor, the softmax, and the values mixed by its weights.

One token is followed through it: x_i, q_i, its scores, its weights and a_i are framed rows, k_j and v_j those of
another token. What a mask hides is hatched.
"""

import math
from typing import NamedTuple

import numpy as np

from attnlab.records import BoolArray, Diagram, FloatArray
from attnlab.show.diagrams_canvas import MARGIN, PAPER, TEXT, WIDTH, Canvas, Size, measured, wrapped
from attnlab.show.diagrams_matrix import ROUNDED, Look, darker, draw_matrix, numbered
from attnlab.show.encoding import unblank
from attnlab.show.numbers import number
from attnlab.show.palette import KEY, OUTPUT, QUERY, VALUE

#: The colour of what has no role: the input, the scores and the weights.
NEUTRAL = "#8a8a8a"
#: A matrix's name and shape above it.
_HEAD, _HEAD_WIDTH = 34.0, 60.0
_BADGE_TEXT, _BADGE_HEIGHT = 22.0, 46.0
_SOFTMAX = 58.0
#: Sides of matrices that are only shaded; the least height of a framed row.
_LEAST, _MOST, _FRAME = 34.0, 74.0, 4.0
#: With numbers: the least between two things, the way of V past the weights, scale and softmax in a column.
_APART, _RAIL, _CHAIN = 10.0, 14.0, 110.0
#: What a framed row's name takes at a matrix's left; where the weights and V meet.
_LABEL, _MIX = 22.0, 351.0


class _Part(NamedTuple):
    """A matrix of the drawing."""

    symbol: str
    values: FloatArray
    colour: str
    #: the row that is framed, what it is called, and the column that is framed in it
    row: int
    label: str
    column: int | None = None
    #: what the matrix is, in a word
    word: str = ""
    hidden: BoolArray | None = None
    look: Look = Look(Size(0.0, 0.0))


def draw_attention(canvas: Canvas, diagram: Diagram) -> None:
    """The whole process: with every number where they fit, else in shades."""
    parts = _numbered_parts(diagram)
    if parts is None:
        _in_shades(canvas, diagram, _shaded_parts(diagram))
    else:
        _in_numbers(canvas, diagram, parts)
    _notes(canvas, diagram, in_numbers=parts is not None)


def _parts(diagram: Diagram) -> dict[str, _Part]:
    """name -> the matrix, whatever it will look like."""
    arrays, i, j = diagram.arrays, diagram.query, diagram.key
    hidden = ~arrays.visible
    scores, weights = (np.where(hidden, np.nan, values) for values in (arrays.products, arrays.weights))
    return {
        "X": _Part("X", arrays.x, NEUTRAL, i, "x_i"),
        "Q": _Part("Q", arrays.q, QUERY, i, "q_i"),
        "K": _Part("K", arrays.k, KEY, j, "k_j"),
        "V": _Part("V", arrays.v, VALUE, j, "v_j"),
        "S": _Part(r"QK^{\top}", scores, NEUTRAL, i, r"q_i\cdot k_j", j, "scores", hidden),
        "weights": _Part(r"\alpha", weights, NEUTRAL, i, r"\alpha_{ij}", j, "weights", hidden),
        "A": _Part(r"A=\alpha V", arrays.output, OUTPUT, i, "a_i", None, "output"),
    }


def _numbered_parts(diagram: Diagram) -> dict[str, _Part] | None:
    """Every matrix with its numbers, of X the row alone; None where they do not fit side by side."""
    wide = WIDTH - 2 * MARGIN
    rooms = {"S": wide * 0.41, "weights": wide * 0.36}
    found = _parts(diagram)
    for name, part in found.items():
        if name == "X":
            row = part.values[part.row][None, :]
            found[name] = part._replace(values=row, row=0, look=numbered(row, wide / 2) or Look(Size(92.0, 20.0)))
            continue
        look = numbered(part.values, rooms.get(name, wide / 3 - 10 - _LABEL))
        if look is None:
            return None
        found[name] = part._replace(look=look)
    w = {name: part.look.size.width for name, part in found.items()}
    first = max(w["Q"] + 2 * _LABEL, w["S"]) / 2 + w["Q"] / 2 + w["K"] + w["V"] + 2 * (_APART + _LABEL)
    second = w["S"] + w["weights"] + _badge_width(diagram) + _RAIL + 4 * _APART
    return found if max(first, second) <= wide else None


def _shaded_parts(diagram: Diagram) -> dict[str, _Part]:
    """Every matrix in shades; its sides grow with their dimensions, but more slowly."""
    found = {}
    for name, part in _parts(diagram).items():
        height, width = (side(cells) for cells in part.values.shape)
        found[name] = part._replace(look=Look(Size(width, height)))
    return found


def side(cells: int, least: float = _LEAST, most: float = _MOST) -> float:
    """The length of a matrix's side that is not drawn to scale: it grows with the logarithm of its cells."""
    return float(min(most, least + 5.0 * math.log2(cells)))


def _place(canvas: Canvas, part: _Part, x: float, y: float, name: str, *, beneath: float | None = None) -> None:
    """A matrix around x, from y down: its name, its shape, itself, and its framed row.

    Args:
        beneath: the row's name, and a word for the matrix, stand beneath it, around x or, where this is not 0, left of
            x by so much; None: the row's name stands at its left.
    """
    rows, columns = part.values.shape
    canvas.formula(x, y + 9, part.symbol)
    canvas.write(x, y + 26, f"{rows:,} × {columns:,}")
    left, top, size = x - part.look.size.width / 2, y + _HEAD, part.look.size
    draw_matrix(canvas, left, top, part.look, part.values, part.colour, hidden=part.hidden, name=name)
    middle = _frame_row(canvas, part, left, top)
    if beneath is None:
        canvas.formula(left - 5, max(middle, top + 10), part.label, align="right")
        return
    align = "right" if beneath else "center"
    canvas.formula(x - beneath, top + size.height + 13, part.label, align=align)
    canvas.write(x - beneath, top + size.height + 30, part.word, align=align)


def _frame_row(canvas: Canvas, part: _Part, x: float, y: float) -> float:
    """A frame around the row that is followed, and around a cell of it; the height of its middle line."""
    rows, columns = part.values.shape
    size: Size = part.look.size
    high, wide = size.height / rows, size.width / columns
    frame = max(high, _FRAME)
    top = min(max(y + (part.row + 0.5) * high - frame / 2, y), y + size.height - frame)
    canvas.box(x, top, size.width, frame, fill="none", line=1.4, layer=5.4, name=f"row {part.label}")
    if part.column is not None:
        cell, out, thick = max(wide, _FRAME), *((0.0, 2.6) if part.look.texts else (1.5, 1.4))
        left = x + (part.column + 0.5) * wide - cell / 2 - out
        sides = (cell + 2 * out, frame + 2 * out)
        canvas.box(left, top - out, *sides, fill="none", line=thick, layer=5.5, name=f"cell {part.label}")
    return float(top + frame / 2)


def _in_shades(canvas: Canvas, diagram: Diagram, parts: dict[str, _Part]) -> None:
    """Projections above, the rest from left to right beneath them."""
    sizes = {name: part.look.size for name, part in parts.items()}
    at = {"X": MARGIN + _LABEL + sizes["X"].width / 2, "Q": 173.0, "K": 279.0, "V": 385.0, "weights": 297.0}
    at["S"] = MARGIN + max(sizes["S"].width, _HEAD_WIDTH) / 2
    at["A"] = WIDTH - MARGIN - max(sizes["A"].width, _HEAD_WIDTH) / 2
    top = canvas.bottom + 34
    for name in "XQKV":
        _place(canvas, parts[name], at[name], top, name)
    _fan(canvas, parts, at, top, top - 22)
    below = top + _HEAD + max(sizes[name].height for name in "XQKV")
    second = below + 36
    _join(canvas, parts, at, top + _HEAD, below + 16, second)
    for name in ("S", "weights", "A"):
        _place(canvas, parts[name], at[name], second, name, beneath=0)
    middle = second + _HEAD + sizes["S"].height / 2
    right, wide, softmax = at["S"] + sizes["S"].width / 2, _badge_width(diagram), 194.0
    badge = (right + softmax - wide) / 2
    canvas.line([(right, middle), (badge, middle)])
    _badge(canvas, diagram, badge, middle)
    canvas.line([(badge + wide, middle), (softmax, middle)])
    _pill(canvas, softmax, middle)
    canvas.line([(softmax + _SOFTMAX, middle), (at["weights"] - sizes["weights"].width / 2, middle)])
    canvas.line([(at["weights"] + sizes["weights"].width / 2, middle), (_MIX - 7, middle)])
    start, lane = top + _HEAD + sizes["V"].height, below + 16
    way = [(at["V"], start), (at["V"], lane), (_MIX, lane), (_MIX, middle - 7)]
    canvas.line(way, colour=darker(VALUE), thick=2.0)
    canvas.times(_MIX, middle)
    canvas.line([(_MIX + 7, middle), (at["A"] - sizes["A"].width / 2, middle)], colour=darker(OUTPUT), thick=2.0)


def _fan(canvas: Canvas, parts: dict[str, _Part], at: dict[str, float], top: float, bus: float) -> None:
    """From X along the top into Q, K and V."""
    right = at["X"] + parts["X"].look.size.width / 2
    middle = top + _HEAD + parts["X"].look.size.height / 2
    out = right + 10
    canvas.line([(right, middle), (out, middle), (out, bus), (at["V"], bus)], head=False)
    for name, colour in zip("QKV", (QUERY, KEY, VALUE), strict=True):
        canvas.line([(at[name], bus), (at[name], top)], colour=darker(colour), thick=2.0)
        canvas.formula(at[name] + 8, bus + 9, f"W_{name}", align="left")


def _join(
    canvas: Canvas, parts: dict[str, _Part], at: dict[str, float], blocks: float, lane: float, target: float
) -> None:
    """Q and K, which meet on their way to the scores."""
    q, k = (blocks + parts[name].look.size.height for name in "QK")
    canvas.line([(at["Q"], q), (at["Q"], lane)], head=False, colour=darker(QUERY), thick=2.0)
    canvas.line([(at["K"], k), (at["K"], lane), (at["Q"], lane)], head=False, colour=darker(KEY), thick=2.0)
    canvas.line([(at["Q"] - 7, lane), (at["S"], lane), (at["S"], target)])
    canvas.times(at["Q"], lane)


def _badge(canvas: Canvas, diagram: Diagram, x: float, y: float) -> None:
    """The scale factor, in the drawing's only black."""
    width = _badge_width(diagram)
    canvas.box(x, y - _BADGE_HEIGHT / 2, width, _BADGE_HEIGHT, fill="#000000", corner=6, name="scale")
    canvas.formula(x + width / 2, y, scale_formula(diagram), size=_BADGE_TEXT, colour=PAPER)
    canvas.write(x + width / 2, y - _BADGE_HEIGHT / 2 - 11, "scale", bold=True)


def _badge_width(diagram: Diagram) -> float:
    return max(60.0, measured(f"${scale_formula(diagram)}$", _BADGE_TEXT, formula=True).width + 16)


def scale_formula(diagram: Diagram) -> str:
    """÷ √d_k, or whatever else stands there."""
    if diagram.usual_scale:
        return rf"\div\sqrt{{{diagram.widths.d_k}}}"
    return r"\times 1" if diagram.scale == 1 else rf"\times {number(diagram.scale)}"


def variances(diagram: Diagram) -> tuple[float, float]:
    """The variance of the products that count, and of the same after the scale."""
    seen = diagram.arrays.products[diagram.arrays.visible]
    before = float(seen.var()) if seen.size else 0.0
    return before, before * diagram.scale**2


def _pill(canvas: Canvas, x: float, y: float) -> None:
    canvas.box(x, y - 14, _SOFTMAX, 28, fill="#d9d9d9", corner=6, name="softmax")
    canvas.write(x + _SOFTMAX / 2, y, "softmax")
    canvas.write(x + _SOFTMAX / 2, y + 25, "each row")


def _in_numbers(canvas: Canvas, diagram: Diagram, parts: dict[str, _Part]) -> None:
    """Three lines: Q, K and V; scores, scale, softmax and weights; the values mixed by them."""
    wide = {name: part.look.size.width for name, part in parts.items()}
    edge = WIDTH - MARGIN
    left = MARGIN + max(wide["Q"] / 2 + _LABEL, wide["S"] / 2)
    at = {"Q": left, "S": left, "V": edge - wide["V"] / 2}
    at["weights"] = edge - _RAIL - max(wide["weights"], _HEAD_WIDTH) / 2
    at["K"] = (left + wide["Q"] / 2 + edge - wide["V"] + _LABEL) / 2
    top = canvas.bottom + 70
    _source(canvas, diagram, parts["X"], at, top)
    for name in "QKV":
        _place(canvas, parts[name], at[name], top, name)
    below = top + _HEAD + parts["Q"].look.size.height
    height = parts["S"].look.size.height
    second = below + 36 + max(0.0, _CHAIN - height) / 2
    _join(canvas, parts, at, top + _HEAD, below + 15, second)
    _place(canvas, parts["S"], at["S"], second, "S", beneath=0)
    _place(canvas, parts["weights"], at["weights"], second, "weights", beneath=8)
    middle = second + _HEAD + height / 2
    _between(canvas, diagram, (left + wide["S"] / 2, at["weights"] - wide["weights"] / 2), middle, height / 2)
    _mix(canvas, parts, at, (below, second + _HEAD + height), middle + max(height, _CHAIN) / 2 + 30)


def _source(canvas: Canvas, diagram: Diagram, x: _Part, at: dict[str, float], top: float) -> None:
    """x_i above, and what is made of it and of every other token."""
    bus, middle, size = top - 26, at["K"], x.look.size
    left, upper = middle - size.width / 2, top - 38 - size.height
    draw_matrix(canvas, left, upper, x.look, x.values, x.colour, name="X")
    canvas.formula(left - 5, upper + size.height / 2, x.label, align="right")
    rows, columns = diagram.arrays.x.shape
    canvas.write(left + size.width + 8, upper + size.height / 2, f"of X, {rows} × {columns}", align="left")
    canvas.line([(middle, top - 38), (middle, bus)], head=False)
    canvas.line([(at["Q"], bus), (at["V"], bus)], head=False)
    for name, colour in zip("QKV", (QUERY, KEY, VALUE), strict=True):
        canvas.line([(at[name], bus), (at[name], top)], colour=darker(colour), thick=2.0)
        canvas.formula(at[name] + 8, bus + 12, f"W_{name}", align="left")


def _between(canvas: Canvas, diagram: Diagram, ends: tuple[float, float], y: float, half: float) -> None:
    """From the scores to the weights: scale, then softmax; beside each other where there is room."""
    left, right = ends
    badge = _badge_width(diagram)
    room = (right - left - badge - _SOFTMAX) / 3
    beside = room >= _APART
    upper, lower = (y, y) if beside else (y - 21, y + 33)
    x = left + room if beside else (left + right - badge) / 2
    pill = x + badge + room if beside else (left + right - _SOFTMAX) / 2
    canvas.line([(left, upper), (x, upper)])
    _badge(canvas, diagram, x, upper)
    _pill(canvas, pill, lower)
    if beside:
        canvas.line([(x + badge, y), (pill, y)])
    else:
        canvas.line([(x + badge / 2, upper + _BADGE_HEIGHT / 2), (x + badge / 2, lower - 14)])
    canvas.line([(pill + _SOFTMAX, lower), (right, lower)])


def _mix(
    canvas: Canvas, parts: dict[str, _Part], at: dict[str, float], starts: tuple[float, float], top: float
) -> None:
    """The weights, from above, and V, past them, make O. starts: the y from which V and the weights come."""
    x, rail = at["weights"], WIDTH - MARGIN - 4
    part, centre = parts["A"], at["K"] - 40
    middle = top + _HEAD + part.look.size.height / 2
    canvas.line([(x, starts[1]), (x, middle - 7)])
    canvas.line([(rail, starts[0]), (rail, middle), (x + 7, middle)], colour=darker(VALUE), thick=2.0)
    canvas.times(x, middle)
    _place(canvas, part, centre, top, "A")
    canvas.line([(x - 7, middle), (centre + part.look.size.width / 2, middle)], colour=darker(OUTPUT), thick=2.0)


def _notes(canvas: Canvas, diagram: Diagram, *, in_numbers: bool) -> None:
    """What else happens, in words: to q and k, to the scores, and with the other heads."""
    said = [_framed(diagram)]
    said += [_scaled(diagram)] if diagram.arrays.visible.sum() > 1 else []
    if diagram.prepared:
        said.append(f"Q and K: {', then '.join(diagram.prepared)}.")
    if before := [*diagram.bent, *diagram.masked]:
        hatched = "" if diagram.arrays.visible.all() else "; hatched: hidden"
        said.append(f"Before the softmax: {', '.join(before)}{hatched}.")
    if diagram.widths.heads > 1:
        joined = "side by side, times W_O" if diagram.joined else "side by side"
        said.append(f"Then all {diagram.widths.heads} heads {joined}.")
    if in_numbers:
        said.append(ROUNDED)
    y = canvas.bottom + 10
    for text in said:
        for line in wrapped(text, WIDTH - 2 * MARGIN):
            canvas.write(MARGIN, y + TEXT / 2, line, align="left")
            y += TEXT * 1.4
    canvas.reach(y)


def _scaled(diagram: Diagram) -> str:
    """What the scale does to the products' spread."""
    before, after = variances(diagram)
    if diagram.scale == 1:
        return f"No scale: the scores keep the products' variance, {number(before)}."
    return f"The scale takes the scores' variance from {number(before)} to {number(after)}."


def _framed(diagram: Diagram) -> str:
    """Which tokens i and j are."""
    tokens = diagram.query, diagram.key
    names = [f' "{unblank(diagram.tokens[token])}"' if diagram.tokens else "" for token in tokens]
    i, j = (f"{letter} = {token}{name}" for letter, token, name in zip("ij", tokens, names, strict=True))
    return f"Framed: {i}, {j}."
