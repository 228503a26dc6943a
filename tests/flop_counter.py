"""A block walked step by step on arrays that note their matrix products: what it really multiplies, part by part."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from attnlab.maths import attention, block
from attnlab.maths.activations import ELEMENTWISE
from attnlab.maths.architecture import BlockSpec, Initialisation
from attnlab.maths.block import LayerTrace, trace_block
from attnlab.maths.inputs import AttentionInputs, attention_inputs
from attnlab.maths.norms import Moments, norm, normalised
from attnlab.maths.precision import Array
from attnlab.maths.softmax import Softmax, softmax
from attnlab.maths.weights import initial_block
from attnlab.measure.operations import Product, counted
from attnlab.theory.costs import PartCost

#: The part that a tensor's products belong to.
PART_OF = {
    "attn.W_Q": "q_projection",
    "attn.W_K": "k_projection",
    "attn.W_V": "v_projection",
    "attn.W_O": "output_projection",
    "mlp.W_in": "feed_forward",
    "mlp.W_gate": "feed_forward",
    "mlp.W_out": "feed_forward",
}


class Walk:
    """One pass of a block: its multiply-adds by part, the numbers that its elementwise steps went over, its trace."""

    def __init__(self, spec: BlockSpec, n: int, dtype: Any = np.float64) -> None:
        self.products: Counter[str] = Counter()
        self.elements: Counter[str] = Counter()
        self.weights = initial_block(spec, Initialisation(), layer=0, dtype=dtype)
        self.trace = self._walked(spec, np.random.default_rng(0).standard_normal((n, spec.d_model)).astype(dtype))

    def _walked(self, spec: BlockSpec, x: Array) -> LayerTrace:
        ledger: list[Product] = []
        watched: dict[str, Array] = {
            name: counted(w, PART_OF[name], ledger) if name in PART_OF else w for name, w in self.weights.items()
        }

        def watched_inputs(*arrays: Array, **settings: Any) -> AttentionInputs:
            found = attention_inputs(*arrays, **settings)
            return found._replace(q=counted(found.q, "scores", ledger), v=counted(found.v, "weighted_values", ledger))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(block, "attention_inputs", watched_inputs)
            patch.setattr(attention, "softmax", self._watched_softmax)
            patch.setattr(block, "norm", self._watched_norm)
            patch.setattr(block, "normalised", self._watched_normalised)
            patch.setattr(block, "ELEMENTWISE", self._watched_activations())
            trace = trace_block(spec, watched, x)
        for product in ledger:
            self.products[product.name] += product.multiply_adds
        return trace

    def _watched_softmax(self, logits: Array, visible: Array | None = None) -> Softmax:
        self.elements["softmax"] += logits.size
        return softmax(logits, visible)

    def _watched_norm(self, kind: str, x: Array, *others: Any, **settings: Any) -> Array:
        self.elements[f"norms {kind}"] += x.size
        normed: Array = NORM(kind, x, *others, **settings)
        return normed

    def _watched_normalised(self, x: Array, by: Moments, *others: Any) -> Array:
        self.elements["norms rmsnorm" if by.mean is None else "norms layernorm"] += x.size
        normed: Array = NORMALISED(x, by, *others)
        return normed

    def _watched_activations(self) -> dict[str, Any]:
        def watched(name: str) -> Any:
            def activation(x: Array) -> Any:
                self.elements["activation"] += x.size
                return ACTIVATIONS[name](x)

            return activation

        return {name: watched(name) for name in ACTIVATIONS}


NORM: Any = norm
NORMALISED: Any = normalised
ACTIVATIONS: dict[Any, Any] = dict(ELEMENTWISE)


def agrees(walk: Walk, parts: Sequence[PartCost]) -> bool:
    """Whether the formulas name every product that was carried out, and nothing else, to the last multiply-add."""
    return {part.part: part.multiply_adds for part in parts if part.multiply_adds} == dict(walk.products)
