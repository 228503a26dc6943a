"""Attention: X to Q, K and V, all products, the scale factor, the softmax, and the values mixed by its weights."""

import math
from typing import NamedTuple

import numpy as np

from attnlab.records import Diagram, FloatArray
from attnlab.show.diagrams_canvas import MARGIN, PAPER, TEXT, WIDTH, Canvas, Size, measured, wrapped
from attnlab.show.diagrams_matrix import (
    Look,
    darker,
    draw_matrix,
    numbered,
)
from attnlab.show.numbers import number
from attnlab.show.palette import KEY, OUTPUT, QUERY, VALUE

#: The colour of what has no role: the input, the scores and the weights.
NEUTRAL = "#8a8a8a"
#: A matrix's name and shape above it.
_HEAD, _HEAD_WIDTH = 34.0, 60.0
_BADGE_TEXT, _BADGE_HEIGHT = 22.0, 46.0
_SOFTMAX = 58.0
#: Sides of matrices that are only shaded.
_LEAST, _MOST = 34.0, 74.0
#: With numbers: X's box, the least between two things, the way of V past the weights, scale and softmax in a column.
_SOURCE, _APART, _RAIL, _CHAIN = 92.0, 10.0, 14.0, 110.0


class _Part(NamedTuple):
    """A matrix of the drawing."""

    symbol: str
    values: FloatArray
    colour: str
    look: Look


def draw_attention(canvas: Canvas, diagram: Diagram) -> None:
    """The whole process: with every number where they fit, else in shades."""
    parts = _numbered_parts(diagram)
    if parts is None:
        _in_shades(canvas, diagram, _shaded_parts(diagram))
    else:
        _in_numbers(canvas, diagram, parts)
    _notes(canvas, diagram)


def _values(diagram: Diagram) -> dict[str, tuple[str, FloatArray, str]]:
    """name -> symbol, numbers and colour. What a query cannot see is blank."""
    arrays = diagram.arrays
    return {
        "X": ("X", arrays.x, NEUTRAL),
        "Q": ("Q", arrays.q, QUERY),
        "K": ("K", arrays.k, KEY),
        "V": ("V", arrays.v, VALUE),
        "S": (r"QK^{\top}", arrays.products, NEUTRAL),
        "A": ("A", np.where(arrays.visible, arrays.weights, np.nan), NEUTRAL),
        "O": (r"O=A\,V", arrays.output, OUTPUT),
    }


def _numbered_parts(diagram: Diagram) -> dict[str, _Part] | None:
    """Every matrix but X with its numbers; None where they do not fit side by side."""
    wide = WIDTH - 2 * MARGIN
    rooms = {"S": wide * 0.41, "A": wide * 0.36}
    found = {}
    for name, (symbol, values, colour) in _values(diagram).items():
        look = Look(Size(_SOURCE, 24.0)) if name == "X" else numbered(values, rooms.get(name, wide / 3 - 10))
        if look is None:
            return None
        found[name] = _Part(symbol, values, colour, look)
    w = {name: part.look.size.width for name, part in found.items()}
    first = max(w["Q"], w["S"]) / 2 + w["Q"] / 2 + w["K"] + w["V"] + 2 * _APART
    second = w["S"] + w["A"] + _badge_width(diagram) + _RAIL + 4 * _APART
    return found if max(first, second) <= wide else None


def _shaded_parts(diagram: Diagram) -> dict[str, _Part]:
    """Every matrix in shades; its sides grow with their dimensions, but more slowly."""
    found = {}
    for name, (symbol, values, colour) in _values(diagram).items():
        height, width = (_side(cells) for cells in values.shape)
        found[name] = _Part(symbol, values, colour, Look(Size(width, height)))
    return found


def _side(cells: int) -> float:
    return min(_MOST, _LEAST + 5.0 * math.log2(cells))


def _place(canvas: Canvas, part: _Part, x: float, y: float, name: str) -> None:
    """A matrix around x, from y down: its name, its shape, itself."""
    rows, columns = part.values.shape
    canvas.formula(x, y + 9, part.symbol)
    canvas.write(x, y + 26, f"{rows:,} × {columns:,}")
    draw_matrix(canvas, x - part.look.size.width / 2, y + _HEAD, part.look, part.values, part.colour, name=name)


def _in_shades(canvas: Canvas, diagram: Diagram, parts: dict[str, _Part]) -> None:
    """Projections above, the rest from left to right beneath them."""
    first = MARGIN + max(parts["X"].look.size.width, parts["S"].look.size.width) / 2
    last = WIDTH - MARGIN - max(parts["O"].look.size.width, _HEAD_WIDTH) / 2
    at = {"X": first, "S": first, "Q": 150.0, "K": 244.0, "A": 297.0, "V": 351.0, "O": last}
    top = canvas.bottom + 34
    for name in "XQKV":
        _place(canvas, parts[name], at[name], top, name)
    _fan(canvas, parts, at, top, top - 22)
    below = top + _HEAD + max(parts[name].look.size.height for name in "XQKV")
    second = below + 36
    _join(canvas, parts, at, top + _HEAD, below + 16, second)
    for name in "SAO":
        _place(canvas, parts[name], at[name], second, name)
    middle = second + _HEAD + parts["S"].look.size.height / 2
    right = at["S"] + parts["S"].look.size.width / 2
    wide, softmax = _badge_width(diagram), 194.0
    badge = (right + softmax - wide) / 2
    canvas.line([(right, middle), (badge, middle)])
    _badge(canvas, diagram, badge, middle)
    canvas.line([(badge + wide, middle), (softmax, middle)])
    _pill(canvas, softmax, middle)
    canvas.line([(softmax + _SOFTMAX, middle), (at["A"] - parts["A"].look.size.width / 2, middle)])
    canvas.line([(at["A"] + parts["A"].look.size.width / 2, middle), (at["V"] - 7, middle)])
    bottom_v = top + _HEAD + parts["V"].look.size.height
    canvas.line([(at["V"], bottom_v), (at["V"], middle - 7)], colour=darker(VALUE), thick=2.0)
    canvas.times(at["V"], middle)
    edge = at["O"] - parts["O"].look.size.width / 2
    canvas.line([(at["V"] + 7, middle), (edge, middle)], colour=darker(OUTPUT), thick=2.0)


def _fan(canvas: Canvas, parts: dict[str, _Part], at: dict[str, float], top: float, bus: float) -> None:
    """From X along the top into Q, K and V."""
    right = at["X"] + parts["X"].look.size.width / 2
    middle = top + _HEAD + parts["X"].look.size.height / 2
    out = max(right + 12, 96.0)
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
    left, edge = MARGIN + max(wide["Q"], wide["S"]) / 2, WIDTH - MARGIN
    at = {"Q": left, "S": left, "V": edge - wide["V"] / 2, "A": edge - _RAIL - max(wide["A"], _HEAD_WIDTH) / 2}
    at["K"] = (left + wide["Q"] / 2 + edge - wide["V"]) / 2
    top = canvas.bottom + 66
    _source(canvas, parts["X"], at, top)
    for name in "QKV":
        _place(canvas, parts[name], at[name], top, name)
    below = top + _HEAD + parts["Q"].look.size.height
    height = parts["S"].look.size.height
    second = below + 36 + max(0.0, _CHAIN - height) / 2
    _join(canvas, parts, at, top + _HEAD, below + 15, second)
    for name in "SA":
        _place(canvas, parts[name], at[name], second, name)
    middle = second + _HEAD + height / 2
    _between(canvas, diagram, (left + wide["S"] / 2, at["A"] - wide["A"] / 2), middle, height / 2)
    _mix(canvas, parts, at, (below, second + _HEAD + height), middle + max(height, _CHAIN) / 2 + 20)


def _source(canvas: Canvas, x: _Part, at: dict[str, float], top: float) -> None:
    """X above, and what is made of it."""
    bus, middle = top - 26, at["K"]
    canvas.box(middle - _SOURCE / 2, bus - 34, _SOURCE, 24, fill="#e4e4e4", edge="#5a5a5a", name="X")
    canvas.formula(middle - 30, bus - 22, "X")
    canvas.write(middle + 12, bus - 22, f"{x.values.shape[0]} × {x.values.shape[1]}")
    canvas.line([(middle, bus - 10), (middle, bus)], head=False)
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
    x, rail = at["A"], WIDTH - MARGIN - 4
    part, centre = parts["O"], at["K"]
    middle = top + _HEAD + part.look.size.height / 2
    canvas.line([(x, starts[1]), (x, middle - 7)])
    canvas.line([(rail, starts[0]), (rail, middle), (x + 7, middle)], colour=darker(VALUE), thick=2.0)
    canvas.times(x, middle)
    _place(canvas, part, centre - 40, top, "O")
    canvas.line([(x - 7, middle), (centre - 40 + part.look.size.width / 2, middle)], colour=darker(OUTPUT), thick=2.0)


def _notes(canvas: Canvas, diagram: Diagram) -> None:
    """What else happens, in words: to q and k, to the scores, and with the other heads."""
    said = [_scaled(diagram)] if diagram.arrays.visible.sum() > 1 else []
    if diagram.prepared:
        said.append(f"Q and K: {', then '.join(diagram.prepared)}.")
    if before := [*diagram.bent, *diagram.masked]:
        said.append(f"Before the softmax: {', '.join(before)}.")
    if diagram.widths.heads > 1:
        joined = "side by side, times W_O" if diagram.joined else "side by side"
        said.append(f"Then all {diagram.widths.heads} heads {joined}.")
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
