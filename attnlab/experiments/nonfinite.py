"""What of a run is not finite, and where it began: said before anything else."""

from collections.abc import Mapping, Sequence

import numpy as np

from attnlab.experiments.run_record import HeadResult, NotFinite
from attnlab.files.opening import shown
from attnlab.files.stacks import Bench
from attnlab.maths.precision import Array

#: Numbers that are looked through at a time.
AT_ONCE = 1 << 18
#: What an array's axes are called, by how many it has.
AXES = {1: ("coordinate",), 2: ("row", "column"), 3: ("head", "row", "column")}


def in_array(array: Array, where: str) -> NotFinite | None:
    """The first number of an array that is not finite; None where all are."""
    first: tuple[int, ...] | None = None
    count = 0
    for place in np.ndindex(array.shape[:-2]):
        matrix = array[place]
        height = max(1, AT_ONCE // max(1, matrix[:1].size))
        for start in range(0, len(matrix), height):
            broken = ~np.isfinite(matrix[start : start + height])
            count += int(broken.sum())
            if first is None and broken.any():
                row, *rest = (int(i) for i in np.unravel_index(int(broken.argmax()), broken.shape))
                first = (*place, start + row, *rest)
    if first is None:
        return None
    value = float(array[first])
    return NotFinite(where, "NaN" if np.isnan(value) else str(value), first, count, array.size)


def in_arrays(arrays: Mapping[str, Array | None]) -> NotFinite | None:
    """The first of several arrays that holds such a number, and where."""
    found = (in_array(np.atleast_1d(array), name) for name, array in arrays.items() if array is not None)
    return next((one for one in found if one is not None), None)


def in_bench(bench: Bench, heads: Sequence[HeadResult], broken: Sequence[int]) -> NotFinite | None:
    """Where a bench's run first left the finite numbers: in its input, in a tensor, or in a layer.

    Args:
        broken: layers whose output is not finite, among those that were run.
    """
    given = bench.config.input.file
    if (found := in_array(bench.x, "the input" if given is None else shown(given))) is not None:
        return found
    layers = sorted({*broken, *(head.layer for head in heads if head.statistics.nonfinite_rows)})
    if not layers:
        return None
    first = layers[0]
    named: dict[str, Array | None] = {f"blocks.{first}.{name}": w for name, w in bench.stack.weights[first].items()}
    return in_arrays(named) or NotFinite(f"layer {first}")


def not_finite_in_words(found: NotFinite | None, heads: Sequence[HeadResult]) -> str:
    """The finding; empty where everything is finite."""
    if found is None:
        return ""
    hit = [head for head in heads if head.statistics.nonfinite_rows]
    rows, all_rows = int(sum(head.statistics.nonfinite_rows for head in hit)), sum(head.n for head in heads)
    if found.place:
        named = AXES.get(len(found.place), ())
        place = ", ".join(f"{name} {i:,}" for name, i in zip(named, found.place, strict=False)) or f"{found.place}"
        said = f"{found.where} holds {found.value}: {found.numbers:,} of {found.size:,} numbers, the first at {place}."
    else:
        said = f"{found.where} leaves the finite numbers, though what goes into it and its weights are finite."
    reached = (
        f" {rows:,} of {all_rows:,} rows of the heads' weights are not finite; no mean counts them." if rows else ""
    )
    return f"Not finite: {said}{reached}"


def not_finite_fields(found: NotFinite | None) -> dict[str, object] | None:
    """The same, as JSON has it."""
    if found is None:
        return None
    place, numbers = list(found.place) or None, found.numbers or None
    return {"where": found.where, "value": found.value or None, "place": place, "numbers": numbers}
