"""The drawings of `attnlab diagram`: a record in, a figure out, whose every text stands clear of the others."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from attnlab.records import Diagram
from attnlab.show.diagrams_attention import draw_attention
from attnlab.show.diagrams_block import draw_block
from attnlab.show.diagrams_canvas import Canvas
from attnlab.show.diagrams_parallel import draw_parallel
from attnlab.show.diagrams_projections import draw_projections
from attnlab.show.diagrams_roles import draw_roles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DRAWINGS: Mapping[str, Callable[[Canvas, Diagram], None]] = {
    "roles": draw_roles,
    "projections": draw_projections,
    "attention": draw_attention,
    "parallel": draw_parallel,
    "block": draw_block,
}


def drawing(diagram: Diagram) -> "Figure":
    """The figure of a diagram, 16 cm wide: at 8 cm no text is smaller than 6 points."""
    canvas = Canvas()
    canvas.title(diagram.title)
    _DRAWINGS[diagram.kind](canvas, diagram)
    canvas.footer(diagram.name, diagram.place)
    return canvas.figure
