"""Blocks one on top of the other, with everything that happens inside them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from attnlab.errors import ShapeError
from attnlab.maths.architecture import BlockSpec
from attnlab.maths.block import LayerTrace, trace_block
from attnlab.maths.positions import sinusoidal
from attnlab.maths.precision import FLOATS, Array, rounded
from attnlab.maths.weights import BlockWeights


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
