"""Parallel: attention as matrix products, shapes to scale, and in each round what runs at once.

Each product stands as it is worked out: the left matrix beside the result, the right one above it.
"""

from typing import NamedTuple

import numpy as np

from attnlab.records import Diagram, FloatArray
from attnlab.show.diagrams_attention import NEUTRAL, scale_formula
from attnlab.show.diagrams_canvas import (
    FAINT,
    FORMULA,
    MARGIN,
    PANEL,
    RULE,
    TEXT,
    WIDTH,
    Canvas,
    Size,
    measured,
    wrapped,
)
from attnlab.show.diagrams_matrix import Look, draw_matrix, lengths
from attnlab.show.palette import KEY, OUTPUT, QUERY, VALUE

#: The least side of a matrix, and what the longest may be: the largest of these that fits.
_LEAST, _LONGEST = 8.5, range(104, 40, -4)
#: Between two matrices that are multiplied, and what the cards of further heads take beside that.
_GAP, _CARDS = 9.0, 8.0
_TITLE, _NAME, _EQUATION, _APART, _INSIDE = 26.0, 24.0, 44.0, 8.0, 8.0
_MARK_LINE, _LINE = 15.0, 19.0

#: dimension -> its length, and whether it is cut short
_Sides = dict[int, tuple[float, bool]]


class _Operand(NamedTuple):
    """A matrix as it is drawn here."""

    symbol: str
    values: FloatArray
    colour: str
    heads: int = 1

    def look(self, sides: _Sides) -> Look:
        """Its sides to scale."""
        (height, low), (width, narrow) = (sides[side] for side in self.values.shape)
        return Look(Size(width, height), cut=(low, narrow))


class _Round(NamedTuple):
    """One product: left · above = result."""

    title: str
    left: _Operand
    above: _Operand
    result: _Operand
    equation: str
    #: what runs at once, a line or more
    mark: tuple[str, ...]

    @property
    def gap(self) -> float:
        """Between the matrices: cards stand out into it."""
        return _GAP + (_CARDS if max(part.heads for part in (self.left, self.above, self.result)) > 1 else 0)

    def size(self, sides: _Sides) -> Size:
        """What the three matrices take."""
        left, above, result = (part.look(sides).size for part in (self.left, self.above, self.result))
        return Size(left.width + self.gap + result.width, above.height + self.gap + result.height)


def draw_parallel(canvas: Canvas, diagram: Diagram) -> None:
    """The projections across the sheet; beneath them compare, mix and join, each in a panel of its own."""
    rounds = [_compare(diagram), _mix(diagram)] + ([_join(diagram)] if diagram.joined else [])
    wide = (WIDTH - 2 * MARGIN - _APART * (len(rounds) - 1)) / len(rounds)
    sides = _sides(diagram, rounds, wide)
    below = _projections(canvas, diagram, sides, canvas.bottom + 10)
    lines = max(len(_mark_lines(one.mark, wide)) for one in rounds)
    tallest = max(one.size(sides).height for one in rounds)
    for place, one in enumerate(rounds):
        size = Size(wide, _TITLE + _NAME + _CARDS + tallest + _EQUATION + _mark_height(lines) + _INSIDE)
        _product(canvas, one, sides, MARGIN + place * (wide + _APART), below + _APART, size, lines)


def _sides(diagram: Diagram, rounds: list[_Round], wide: float) -> _Sides:
    """Every dimension's length: as long as lets each product stand in its panel."""
    w = diagram.widths
    dimensions = [w.n, w.d_model, w.d_k, w.d_v, *([w.heads * w.d_v] if diagram.joined else [])]
    for longest in _LONGEST:
        sides = lengths(dimensions, _LEAST, longest)
        across = sides[w.d_model][0] + 3 * (_LETTER + max(sides[w.d_k][0], sides[w.d_v][0]) + _CARDS + _APART)
        if across <= WIDTH - 2 * MARGIN - 50 and all(one.size(sides).width + _CARDS <= wide - 16 for one in rounds):
            return sides
    return lengths(dimensions, _LEAST, _LONGEST[-1])


def _compare(diagram: Diagram) -> _Round:
    a, w = diagram.arrays, diagram.widths
    return _Round(
        "2  Compare",
        _Operand("Q", a.q, QUERY, w.heads),
        _Operand(r"K^{\top}", a.k.T, KEY, w.kv_heads),
        _Operand("S", a.products, NEUTRAL, w.heads),
        rf"S=QK^{{\top}}{scale_formula(diagram)}",
        (f"{w.n:,} × {counted(w.n, 'pair')}", *_of_heads(w.heads)),
    )


def _mix(diagram: Diagram) -> _Round:
    a, w = diagram.arrays, diagram.widths
    return _Round(
        "3  Softmax, mix",
        _Operand("A", np.where(a.visible, a.weights, np.nan), NEUTRAL, w.heads),
        _Operand("V", a.v, VALUE, w.kv_heads),
        _Operand("O", a.output, OUTPUT, w.heads),
        r"O=\mathrm{softmax}(S)\,V",
        (counted(w.n, "row"), *_of_heads(w.heads)),
    )


def _join(diagram: Diagram) -> _Round:
    w = diagram.widths
    wide = w.heads * w.d_v
    joined, out = np.full((w.n, wide), np.nan), np.full((w.n, w.d_model), np.nan)
    left = _Operand("[O]" if w.heads > 1 else "O", joined, OUTPUT)
    above = _Operand("W_O", np.full((wide, w.d_model), np.nan), OUTPUT)
    return _Round(
        "4  Join", left, above, _Operand("T_1", out, OUTPUT), rf"T_1={left.symbol}\,W_O", (counted(w.n, "token"),)
    )


def counted(count: int, what: str) -> str:
    """ "1 row", "13 rows"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _of_heads(heads: int) -> tuple[str, ...]:
    return (f"× {heads} heads",) if heads > 1 else ()


def _mark_lines(mark: tuple[str, ...], wide: float) -> list[str]:
    return [line for part in mark for line in wrapped(part, wide - 24)]


def _mark_height(lines: int) -> float:
    return lines * _MARK_LINE + 25


def _frame(canvas: Canvas, title: str, x: float, y: float, size: Size, mark: tuple[str, ...], lines: int) -> None:
    """A round's panel: its title above, below it what runs at once."""
    canvas.box(x, y, size.width, size.height, fill=PANEL, edge=RULE, corner=8, layer=1, name=title)
    canvas.write(x + 10, y + 15, title, align="left", bold=True, room=size.width - 18)
    height = _mark_height(lines)
    top, centre = y + size.height - _INSIDE - height, x + size.width / 2
    canvas.box(x + _INSIDE, top, size.width - 2 * _INSIDE, height, corner=5, layer=2, line=1.4)
    canvas.write(centre, top + 12, "all at once", bold=True)
    said = _mark_lines(mark, size.width)
    for place, line in enumerate(said):
        canvas.write(centre, top + 28 + (place + (lines - len(said)) / 2) * _MARK_LINE, line)


def _draw(canvas: Canvas, operand: _Operand, sides: _Sides, x: float, y: float) -> Size:
    look = operand.look(sides)
    draw_matrix(canvas, x, y, look, operand.values, operand.colour, heads=operand.heads, name=operand.symbol)
    return look.size


def _product(canvas: Canvas, one: _Round, sides: _Sides, x: float, y: float, size: Size, lines: int) -> None:
    """A product in its panel; the results of all panels stand on one line."""
    _frame(canvas, one.title, x, y, size, one.mark, lines)
    whole = one.size(sides)
    left, result = one.left.look(sides).size, one.result.look(sides).size
    bottom = y + size.height - _INSIDE - _mark_height(lines) - _EQUATION
    start, low = x + (size.width - whole.width - _cards(one.result)) / 2, bottom - result.height
    right = start + left.width + one.gap
    top = bottom - whole.height
    _draw(canvas, one.above, sides, right, top)
    _draw(canvas, one.left, sides, start, low)
    _draw(canvas, one.result, sides, right, low)
    canvas.formula(start + left.width / 2, low - 11 - _cards(one.left), one.left.symbol)
    canvas.formula(right + result.width / 2, top - 11 - _cards(one.above), one.above.symbol)
    room = size.width - 10
    needed = measured(f"${one.equation}$", FORMULA, formula=True).width
    canvas.formula(x + size.width / 2, bottom + 15, one.equation, size=max(TEXT, min(FORMULA, FORMULA * room / needed)))
    rows, columns = one.result.values.shape
    canvas.write(x + size.width / 2, bottom + 33, f"{rows:,} × {columns:,}")


def _cards(operand: _Operand) -> float:
    return 4.0 * min(operand.heads - 1, 2)


#: What the letter before a result takes.
_LETTER = 26.0


def _projections(canvas: Canvas, diagram: Diagram, sides: _Sides, top: float) -> float:
    """X beside Q, K and V, the three matrices above them; the y where the panel ends."""
    a, w = diagram.arrays, diagram.widths
    parts = [("Q", a.w_q, a.q_projection, QUERY, w.heads), ("K", a.w_k, a.k_projection, KEY, w.kv_heads)]
    parts += [("V", a.w_v, a.v, VALUE, w.kv_heads)]
    cards = _CARDS if w.heads > 1 else 0.0
    (deep, _), (flat, _) = sides[w.d_model], sides[w.n]
    size = Size(
        WIDTH - 2 * MARGIN, _TITLE + 2 * _LINE + 2 * cards + deep + _GAP + flat + 26 + _mark_height(1) + _INSIDE
    )
    matrices = f"({w.heads} + {w.kv_heads} + {w.kv_heads})" if w.heads > 1 else "3"
    _frame(canvas, "1  Project", MARGIN, top, size, (f"{counted(w.n, 'token')} × {matrices} projections",), 1)
    if any(cut for _, cut in sides.values()):
        canvas.write(WIDTH - MARGIN - 10, top + 15, "to scale; a gap cuts a side short", align="right", colour=FAINT)
    upper = top + _TITLE + 2 * _LINE + cards
    lower = upper + deep + _GAP + cards
    first = MARGIN + 36
    _result(canvas, _Operand("X", a.x, NEUTRAL), sides, first, lower)
    pitch = (WIDTH - MARGIN - first - deep) / 3
    for place, (letter, weights, result, colour, heads) in enumerate(parts):
        wide = sides[weights.shape[1]][0]
        left = first + deep + (place + 0.5) * pitch - wide / 2 + 4
        _draw(canvas, _Operand(f"W_{letter}", weights, colour, heads), sides, left, upper)
        above = upper - min(cards, 4.0 * (heads - 1))
        canvas.formula(left + wide / 2, above - 27, f"W_{letter}")
        canvas.write(left + wide / 2, above - 10, f"{weights.shape[0]:,} × {weights.shape[1]:,}")
        _result(canvas, _Operand(letter, result, colour, heads), sides, left, lower)
    return top + size.height


def _result(canvas: Canvas, operand: _Operand, sides: _Sides, x: float, y: float) -> None:
    """A matrix, its letter before it, its shape beneath."""
    size = _draw(canvas, operand, sides, x, y)
    canvas.formula(x - 14, y + size.height / 2, operand.symbol)
    rows, columns = operand.values.shape
    canvas.write(x + size.width / 2, y + size.height + 12, f"{rows:,} × {columns:,}")
