"""Blocks one on top of the other, with everything that happens inside them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from attnlab.errors import ShapeError
from attnlab.maths.architecture import BlockSpec
from attnlab.maths.block import LayerTrace, trace_block
from attnlab.maths.positions import sinusoidal
from attnlab.maths.precision import FLOATS, Array, rounded
from attnlab.maths.statistics import HeadStatistics
from attnlab.maths.weights import BlockWeights

if TYPE_CHECKING:
    from attnlab.maths.streamed_block import HeadGroup, StreamedLayer


class StackTrace(NamedTuple):
    """Everything that happened in a stack of L blocks on n tokens."""

    layers: tuple[LayerTrace, ...]
    #: L + 1 arrays (n, d_model): what goes into block i; the last is what comes out of the stack
    hidden_states: tuple[Array, ...]

    @property
    def weights(self) -> tuple[Array, ...]:
        """The attention weights of each layer, (h, n, n)."""
        return tuple(layer.weights for layer in self.layers)

    @property
    def output(self) -> Array:
        """What comes out, (n, d_model)."""
        return self.hidden_states[-1]


@dataclass(frozen=True)
class HeadRow:
    """One head of a stack: its place, and each of its statistics under its own name (`row.entropy`)."""

    layer: int
    head: int
    statistics: HeadStatistics

    def __getattr__(self, name: str) -> Array:
        if name not in HeadStatistics._fields:
            raise AttributeError(
                f"a head has no statistic {name!r}; expected one of {', '.join(HeadStatistics._fields)}"
            )
        found: Array = getattr(self.statistics, name)
        return found


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One or more blocks with their weights, ready to run."""

    specs: Sequence[BlockSpec]
    weights: Sequence[BlockWeights]
    #: what everything is computed in; half precision rounds after each step
    dtype: np.dtype[Any]

    def trace(self, x: Array, *, advance: Callable[[], None] = lambda: None) -> StackTrace:
        """Run the stack on embeddings and keep every intermediate.

        Args:
            x: (n, d_model), floating; converted to the stack's dtype. Sinusoidal positions are added here.
            advance: called after each layer.

        Raises:
            ShapeError: x is not floating, or its width is not the blocks' d_model.
        """
        states = [self.embedded(np.asarray(x))]
        layers = []
        for spec, weights in zip(self.specs, self.weights, strict=True):
            layers.append(trace_block(spec, weights, states[-1]))
            states.append(layers[-1].output)
            advance()
        return StackTrace(tuple(layers), tuple(states))

    def stream(
        self,
        x: Array,
        *,
        sampled: Sequence[int] = (),
        asymmetry: bool = False,
        max_bytes: int | None = None,
        last_output: bool = True,
        summed: bool = True,
        on_group: "Callable[[int, HeadGroup], None]" = lambda *_: None,
        advance: Callable[[], None] = lambda: None,
    ) -> "Iterator[StreamedLayer]":
        """Run the stack without its matrices, and hand over each layer when it is done: memory O(n).

        Args:
            x: as `trace` takes it.
            last_output: whether what comes out of the last layer is read.
            summed: whether what is said of the steps is wanted.
            sampled: tokens whose every step is kept.
            asymmetry: also measure it, by a second pass over the scores.
            max_bytes: of the attention's working memory beyond inputs and results; None = as `stream` has it.
            on_group: called with the layer's number and each group of heads while its queries and keys are at hand.
            advance: called once for each panel of queries of each head.

        Raises:
            ShapeError: as `trace`.
        """
        from attnlab.maths.streamed_block import stream_block  # here: threads, and what a dense run does without

        state = self.embedded(np.asarray(x))
        for i, (spec, weights) in enumerate(zip(self.specs, self.weights, strict=True)):
            layer = stream_block(
                spec,
                weights,
                state,
                sampled=sampled,
                asymmetry=asymmetry,
                max_bytes=max_bytes,
                last=not last_output and i == len(self.specs) - 1,
                summed=summed,
                on_group=partial(on_group, i),
                advance=advance,
            )
            state = layer.output
            yield layer
            del layer  # its input is wanted no longer

    def statistics(
        self,
        x: Array,
        *,
        asymmetry: bool = False,
        max_bytes: int | None = None,
        advance: Callable[[], None] = lambda: None,
    ) -> list[HeadRow]:
        """Every statistic of every head on embeddings of any length, one row per layer and head: memory O(n).

        Args and Raises: as `stream`.
        """
        layers = self.stream(
            x, asymmetry=asymmetry, max_bytes=max_bytes, last_output=False, summed=False, advance=advance
        )
        found = [layer.statistics for layer in layers]
        return [
            HeadRow(i, head, statistics.of_head(head))
            for i, statistics in enumerate(found)
            for head in range(len(statistics.entropy))
        ]

    def embedded(self, x: Array) -> Array:
        """What the first block is given: x in the stack's dtype, plus sinusoidal positions where asked for."""
        first = self.specs[0]
        if x.dtype.name not in FLOATS:
            raise ShapeError(f"x: dtype {x.dtype}; expected one of {', '.join(FLOATS)}")
        if x.ndim != 2 or x.shape[1] != first.d_model:
            raise ShapeError(f"x: shape {x.shape}; expected (n, {first.d_model}), set by d_model")
        if first.position == "sinusoidal":
            x = x.astype(np.float64) + sinusoidal(*x.shape)
        return rounded(x, self.dtype)
