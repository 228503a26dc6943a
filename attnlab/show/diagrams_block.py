"""A block: X to H, with the residual paths as thick straight lines that attention and feed-forward add to."""

from collections.abc import Sequence
from typing import NamedTuple

from attnlab.records import BlockForm, Diagram
from attnlab.show.diagrams_canvas import FAINT, MARGIN, PANEL, RULE, THICK, WIDTH, Canvas, measured
from attnlab.show.numbers import number

#: Heights of a part and of a norm, the way between two things, the radius of a sum.
_PART, _NORM, _STEP, _SUM = 42.0, 24.0, 20.0, 10.0
_NORM_WIDTH, _LINE = 108.0, 15.0
_FILLS = {"Self-attention": "#d2d2d2", "Feed-forward": "#e6e6e6"}


class _Lanes(NamedTuple):
    """Where things stand from left to right: the residual stream, and the branch that leaves it."""

    stream: float
    branch: float
    #: of a part's box
    width: float

    @property
    def side(self) -> int:
        """1: the branch is right of the stream; -1: left."""
        return 1 if self.branch > self.stream else -1


_ALONE = _Lanes(190.0, 336.0, 178.0)
#: Of a parallel block: attention at the right, the feed-forward at the left.
_RIGHT, _LEFT = _Lanes(WIDTH / 2, 341.0, 172.0), _Lanes(WIDTH / 2, WIDTH - 341.0, 172.0)


class _Piece(NamedTuple):
    """A box on a branch, and what comes out of it, if that has a name."""

    title: str
    details: Sequence[str] = ()
    out: str = ""


def draw_block(canvas: Canvas, diagram: Diagram) -> None:
    """Top down: X, the two parts with their sums and norms, H; several layers as cards behind."""
    parallel = diagram.form.parallel and bool(diagram.form.feed_forward)
    lanes = _RIGHT if parallel else _ALONE
    top = canvas.bottom + 10
    cards = 5.0 * min(diagram.widths.layers - 1, 2)
    _step(canvas, diagram, lanes, "X", top + 10)
    panel = top + 26
    bottom = (_beside(canvas, diagram, panel) if parallel else _in_turn(canvas, diagram, panel)) + 8
    _panel(canvas, diagram, panel, bottom, cards)
    end = bottom + cards
    canvas.line([(lanes.stream, top), (lanes.stream, end + 34)], thick=THICK, layer=2, name="residual")
    _step(canvas, diagram, lanes, f"H = {_last(diagram.form)}", end + 21)
    canvas.reach(end + 36)


def _last(form: BlockForm) -> str:
    """What H is."""
    total = "T5" if form.feed_forward else "T2"
    return f"{form.norm}({total})" if form.norm_position == "post" else total


def _panel(canvas: Canvas, diagram: Diagram, top: float, bottom: float, cards: float) -> None:
    """The block's own ground, and the further layers behind it."""
    width, layers = WIDTH - 2 * MARGIN - 10, diagram.widths.layers
    for offset in sorted({cards, min(cards, 5.0)} - {0.0}, reverse=True):
        canvas.box(MARGIN + offset, top + offset, width, bottom - top, fill="#e2e2e2", edge=RULE, corner=9, layer=0.5)
    canvas.box(MARGIN, top, width, bottom - top, fill=PANEL, edge=RULE, corner=9, layer=1, name="block")
    if layers > 1:
        canvas.write(MARGIN + width, bottom + cards + 21, f"{layers} such layers", align="right", bold=True)


def _step(canvas: Canvas, diagram: Diagram, lanes: _Lanes, text: str, y: float) -> None:
    """A step on the stream: its equation at the left, how long its tokens are at the right."""
    x, name = lanes.stream - 16, text.partition(" = ")[0]
    canvas.write(x, y, text, align="right", bold=True, room=x - MARGIN - 6)
    _length(canvas, diagram, name, lanes.stream + 16, y)


def _length(canvas: Canvas, diagram: Diagram, name: str, x: float, y: float, align: str = "left") -> None:
    """The mean length of the tokens at a step."""
    if name in diagram.form.norms:
        canvas.write(x, y, f"‖{name}‖ {number(diagram.form.norms[name])}", align=align, colour=FAINT)


def _in_turn(canvas: Canvas, diagram: Diagram, top: float) -> float:
    """Attention, then the feed-forward, each from the stream and back into it; the y after both."""
    form = diagram.form
    post = form.norm_position == "post"
    y = _branch(canvas, diagram, _ALONE, top + 18, _pieces(form, "Self-attention"), "T1")
    y = _total(canvas, diagram, _ALONE, "T2 = X + T1", y)
    if post:
        y = _on_stream(canvas, diagram, y, "T3" if form.feed_forward else "")
    if not form.feed_forward:
        return y
    y = _branch(canvas, diagram, _ALONE, y + 18, _pieces(form, "Feed-forward"), "T4")
    y = _total(canvas, diagram, _ALONE, f"T5 = {'T3' if post else 'T2'} + T4", y)
    return _on_stream(canvas, diagram, y, "") if post else y


def _beside(canvas: Canvas, diagram: Diagram, top: float) -> float:
    """Attention and feed-forward, which read the same input; the y after both sums."""
    form = diagram.form
    first, second = _pieces(form, "Self-attention"), _pieces(form, "Feed-forward")
    y = _branch(canvas, diagram, _RIGHT, top + 18, first, "T1")
    after = _total(canvas, diagram, _RIGHT, "T2 = X + T1", y)
    y = _branch(canvas, diagram, _LEFT, top + 18, second, "T4", back=after + 26)
    return _total(canvas, diagram, _RIGHT, "T5 = T2 + T4", y)


def _pieces(form: BlockForm, part: str) -> list[_Piece]:
    """What stands on a branch, top down."""
    attention = part == "Self-attention"
    before = [_Piece(form.norm, out="" if attention else "T3")] if form.norm_position in ("pre", "sandwich") else []
    after = [_Piece(form.norm)] if form.norm_position in ("sandwich", "output") else []
    return [*before, _Piece(part, form.attention if attention else form.feed_forward), *after]


def _branch(
    canvas: Canvas, diagram: Diagram, lanes: _Lanes, y: float, pieces: list[_Piece], made: str, back: float = 0.0
) -> float:
    """From the stream through a part and back: a dot where it leaves, ⊕ where it is added; the y of the sum."""
    canvas.dot(lanes.stream, y, radius=4.4)
    canvas.line([(lanes.stream, y), (lanes.branch, y), (lanes.branch, y + _STEP)], name="branch")
    at = y + _STEP
    for place, piece in enumerate(pieces):
        if place:
            canvas.line([(lanes.branch, at), (lanes.branch, at + _STEP)])
            if pieces[place - 1].out:
                _named(canvas, diagram, pieces[place - 1].out, lanes.branch + 8, at + _STEP / 2)
            at += _STEP
        at = _piece(canvas, lanes, at, piece)
    back = max(back, at + 26)
    canvas.line([(lanes.branch, at), (lanes.branch, back), (lanes.stream + lanes.side * _SUM, back)], name="branch")
    canvas.plus(lanes.stream, back)
    align = "left" if lanes.side > 0 else "right"
    _named(canvas, diagram, made, lanes.stream + lanes.side * 22, back - 11, align)
    if lanes == _ALONE:
        canvas.write(lanes.stream - 14, (y + back) / 2, "residual path", align="right", colour=FAINT)
    return back


def _named(canvas: Canvas, diagram: Diagram, name: str, x: float, y: float, align: str = "left") -> None:
    """A step beside its line: its name or equation, and how long its tokens are."""
    canvas.write(x, y, name, align=align, bold=True)
    beside = measured(name, bold=True).width + 7
    _length(canvas, diagram, name.partition(" = ")[0], x + (beside if align == "left" else -beside), y, align)


def _piece(canvas: Canvas, lanes: _Lanes, y: float, piece: _Piece) -> float:
    """A box on a branch; the y below it."""
    if not piece.details:
        return _norm(canvas, lanes.branch, y, piece.title)
    left = lanes.branch - lanes.width / 2
    height = _PART + _LINE * (len(piece.details) - 1)
    canvas.box(left, y, lanes.width, height, fill=_FILLS[piece.title], corner=6, line=1.4, name=piece.title)
    canvas.write(lanes.branch, y + 13, piece.title, bold=True, room=lanes.width - 10)
    for place, line in enumerate(piece.details):
        canvas.write(lanes.branch, y + 29 + place * _LINE, line, room=lanes.width - 10)
    return y + height


def _norm(canvas: Canvas, x: float, y: float, name: str) -> float:
    canvas.box(x - _NORM_WIDTH / 2, y, _NORM_WIDTH, _NORM, corner=5, name="norm")
    canvas.write(x, y + _NORM / 2, name, room=_NORM_WIDTH - 8)
    return y + _NORM


def _total(canvas: Canvas, diagram: Diagram, lanes: _Lanes, text: str, y: float) -> float:
    """What a sum at y is; the y below it."""
    if lanes == _ALONE:
        _step(canvas, diagram, lanes, text, y + 24)
    else:
        _named(canvas, diagram, text, lanes.stream + 16, y + 24)
    return y + 34


def _on_stream(canvas: Canvas, diagram: Diagram, y: float, name: str) -> float:
    """A norm that everything passes; the y below it, and below the name of what comes out."""
    bottom = _norm(canvas, _ALONE.stream, y + 8, diagram.form.norm)
    if name:
        _step(canvas, diagram, _ALONE, f"{name} = {diagram.form.norm}(T2)", bottom + 16)
        return bottom + 24
    return bottom
