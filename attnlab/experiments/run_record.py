"""What is asked of a run, and what it found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from attnlab.errors import UsageError
from attnlab.experiments.expectation import Expectation
from attnlab.files.kernels import DENSE, Kernel
from attnlab.maths.architecture import BlockSpec
from attnlab.maths.precision import Array
from attnlab.maths.statistics import HeadStatistics
from attnlab.records import Check


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which layers and heads to report, and whose matrix to show. None = all; the first of those reported."""

    layers: Sequence[int] | None = None
    heads: Sequence[int] | None = None
    #: (layer, head)
    shown: tuple[int, int] | None = None


class Rows(NamedTuple):
    """Rows of one head's attention that are at hand, whole: all of them, or those of a few queries."""

    #: (rows,), in order
    queries: Array
    #: (rows, m)
    weights: Array
    #: (rows, m): before cap, bias and mask
    scores: Array
    #: boolean, (rows, m); None = every key is visible
    visible: Array | None

    @property
    def visible_scores(self) -> Array:
        """The scores of the keys that are visible, in one row."""
        scores: Array = self.scores.ravel() if self.visible is None else self.scores[self.visible]
        return scores

    @property
    def hidden(self) -> Array | None:
        """Which keys a mask hides, boolean, (rows, m); None: none of them."""
        return None if self.visible is None or self.visible.all() else ~self.visible


@dataclass(frozen=True, kw_only=True)
class HeadResult:
    """One head: its statistics, each a number, beside the scores that it should have, and its matrix."""

    layer: int
    head: int
    statistics: HeadStatistics
    expectation: Expectation
    #: every row; when streamed a few of the shown head, and none of the others
    rows: Rows | None
    #: queries
    n: int

    @property
    def weights(self) -> Array | None:
        """The whole matrix (n, m), where it was kept."""
        return self.rows.weights if self.rows is not None and len(self.rows.queries) == self.n else None


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """One of X, T1 … H: over all its numbers mean and (population) variance, and the mean length of its tokens."""

    layer: int
    name: str
    mean: float
    variance: float
    norm: float


class NotFinite(NamedTuple):
    """Where the first number stands that is not finite."""

    #: the array, or the layer where finite numbers became too large
    where: str
    #: "NaN", "inf" or "-inf"; empty where a layer is named and no array
    value: str = ""
    #: its place in the array
    place: tuple[int, ...] = ()
    #: numbers of the array that are not finite, of so many
    numbers: int = 0
    size: int = 0


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """All that a run found."""

    name: str
    #: of the shown layer; None when q, k and v were given
    spec: BlockSpec | None
    n_layers: int
    #: queries, keys, and the width of what was run on
    n: int
    m: int
    width: int
    dtype: str
    tokens: tuple[str, ...]
    #: whether tokens with names are random vectors, which have nothing to do with them
    names_alone: bool = False
    #: those asked for, in order
    heads: Sequence[HeadResult]
    shown: HeadResult
    steps: Sequence[StepResult]
    checks: Sequence[Check]
    #: where the run left the finite numbers, if it did
    not_finite: NotFinite | None = None
    #: rows in which every visible key's bias is as low as what others write for "hidden"; they count as real
    barred_rows: int = 0
    #: whether the matrices were kept, and why not
    kernel: Kernel = DENSE
    #: the tensors that were drawn because no file gave them
    initialised: tuple[str, ...] = ()
    weights_from_file: bool = False
    #: how: "random" or "identity"
    drawn: str = "random"
    #: TransformerLens name -> array, of the layers asked for; none when streamed
    arrays: Mapping[str, Array] = field(default_factory=dict)


def chosen(what: str, asked: Sequence[int] | None, count: int) -> Sequence[int]:
    """The indices asked for, or all of them.

    Raises:
        UsageError: one that is not there.
    """
    for index in asked or ():
        if not 0 <= index < count:
            wanted = f"0 to {count - 1}" if count > 1 else "0, the only one"
            raise UsageError(f"{what} {index}; expected {wanted}")
    return range(count) if asked is None else asked


def shown_place(
    selection: Selection, layers: Sequence[int], heads: Sequence[int], counts: tuple[int, int]
) -> tuple[int, int]:
    """The layer and head that is shown: the one wanted, of that many layers and heads, or the first reported.

    Raises:
        UsageError: it is not there, or not among those reported.
    """
    layer, head = selection.shown or (layers[0], heads[0])
    chosen("layer", [layer], counts[0])
    chosen("head", [head], counts[1])
    if layer not in layers or head not in heads:
        raise UsageError(f"head {layer}.{head}: not reported; expected one of those that --layers and --heads choose")
    return layer, head


def result_of(results: Sequence[HeadResult], place: tuple[int, int]) -> HeadResult:
    """The result of the layer and head that is shown."""
    return next(result for result in results if (result.layer, result.head) == place)


def every_row(weights: Array, scores: Array, visible: Array | None) -> Rows:
    """All rows of one head whose matrices (n, m) are at hand."""
    return Rows(np.arange(len(weights)), weights, scores, visible)
