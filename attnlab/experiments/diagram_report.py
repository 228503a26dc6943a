"""What `attnlab diagram` says beside its drawing: what is on it, in words and as JSON."""

from collections.abc import Sequence

from attnlab.records import Diagram, Figure, Finding, FloatArray, Report
from attnlab.show.diagrams_matrix import carries_numbers
from attnlab.show.numbers import number


def report(record: Diagram, *, others: Sequence[str] = ()) -> Report:
    """The drawing's title and what it shows, for those who cannot see it.

    Args:
        others: the drawings that there are besides, where nobody asked for this one.
    """
    heading = f"{record.name} · {record.place}"
    parts = [Finding(text=f"{record.title}."), Finding(text=seen(record), kind="note")]
    if others:
        parts.append(Finding(text=f"Others: attnlab diagram {', '.join(others[:-1])} or {others[-1]}.", kind="note"))
    return Report(heading=heading, parts=parts)


def seen(record: Diagram) -> str:
    """The drawing in a sentence or two."""
    w = record.widths
    if record.kind == "roles":
        shown = f"{len(record.keys)} of {w.n:,} keys" if len(record.keys) < w.n else "every key"
        return (
            f"Drawn: one token through W_Q, W_K and W_V, its query against {shown}, scores, softmax, weights, and the "
            "values they mix."
        )
    if record.kind == "projections":
        return (
            f"Drawn: W_Q and W_K from {w.d_model:,} to {w.d_k:,} numbers, W_V to {w.d_v:,}, and one token through them."
        )
    if record.kind == "attention":
        scale = f"÷ √{w.d_k}" if record.usual_scale else f"× {number(record.scale)}"
        return (
            f"Drawn: X to Q, K and V, their products, the scale factor {scale}, softmax, values; one token's "
            "row framed in each."
        )
    if record.kind == "parallel":
        return (
            "Drawn: every matrix with its shape, the operations that lead from one to the next, and what runs at once."
        )
    steps = ", ".join(f"{name} {number(value)}" for name, value in record.form.norms.items())
    return f"Drawn: the block's steps and its residual path, with the mean length of a token at each: {steps}."


def document(record: Diagram) -> dict[str, object]:
    """The drawing's own JSON fields; matrices without their numbers where those are not drawn."""
    return {
        "drawing": record.kind,
        "title": record.title,
        "place": record.place,
        "widths": dict(vars(record.widths)),
        "scale": record.scale,
        "query": record.query,
        "key": record.key,
        "keys": list(record.keys),
        "tokens": list(record.tokens),
        "matrices": [
            {"name": name, "shape": list(values.shape), "values": listed(values)} for name, values in matrices(record)
        ],
        "steps": [{"name": name, "norm": value} for name, value in record.form.norms.items()],
    }


def matrices(record: Diagram) -> list[tuple[str, FloatArray]]:
    """The head's matrices by name; the weights of the joined heads are no head's own."""
    a = record.arrays
    named = {"X": a.x, "W_Q": a.w_q, "W_K": a.w_k, "W_V": a.w_v, "Q": a.q, "K": a.k, "V": a.v}
    return list({**named, "products": a.products, "weights": a.weights, "A": a.output}.items())


def listed(values: FloatArray) -> list[list[float]] | None:
    """The numbers, where there are few enough to be drawn."""
    return [[float(value) for value in row] for row in values] if carries_numbers(values) else None


def figures(record: Diagram) -> list[Figure]:
    """The drawing, under its own name."""
    return [Figure(name=record.kind, drawable=record)]
