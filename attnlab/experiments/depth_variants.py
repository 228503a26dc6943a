"""What is stacked: attention alone, and with the parts of a block added one by one; forwards and backwards."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from attnlab.maths.architecture import BlockSpec
from attnlab.maths.backward import Step, attention_step, feed_forward_step, norm_step
from attnlab.maths.precision import Array
from attnlab.maths.weights import BlockWeights


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Which of a post-norm block's parts a layer has."""

    residual: bool
    norm: bool
    feed_forward: bool
    #: of a table's line or a figure's
    label: str
    #: in a sentence, before a number: "alone 4e-16"
    words: str


#: name -> parts, in reading order.
VARIANTS: Mapping[str, Variant] = {
    "attention": Variant(
        residual=False, norm=False, feed_forward=False, label="attention alone", words="in attention alone"
    ),
    "residual": Variant(residual=True, norm=False, feed_forward=False, label="+ residual path", words="with it"),
    "residual_norm": Variant(
        residual=True, norm=True, feed_forward=False, label="+ residual, norm", words="with LayerNorm too"
    ),
    "block": Variant(residual=True, norm=True, feed_forward=True, label="full block", words="in the full block"),
    "block_without_residual": Variant(
        residual=False, norm=True, feed_forward=True, label="no residual path", words="in a block without it"
    ),
}


def layer_step(variant: Variant, spec: BlockSpec, weights: BlockWeights, x: Array) -> Step:
    """One layer of a variant: T1 = SelfAttention(X), T2 = X + T1, T3 = LayerNorm(T2), T4 = FFN(T3), …, of what it has.

    Without the residual path T2 = T1 and T5 = T4.
    """
    steps = [joined(variant, x, attention_step(spec, weights, x))]
    if variant.norm:
        steps.append(norm_step(spec, weights, "ln1", steps[-1].value))
    if variant.feed_forward:
        t3 = steps[-1].value
        steps.append(joined(variant, t3, feed_forward_step(spec, weights, t3)))
        if variant.norm:
            steps.append(norm_step(spec, weights, "ln2", steps[-1].value))
    return Step(steps[-1].value, backwards([step.pullback for step in steps]))


def joined(variant: Variant, x: Array, step: Step) -> Step:
    """x + step(x) where the variant has the residual path: the gradient then also passes by the step unchanged."""
    return Step(x + step.value, lambda g: g + step.pullback(g)) if variant.residual else step


def backwards(pullbacks: list[Callable[[Array], Array]]) -> Callable[[Array], Array]:
    """The pullbacks one after the other, the last first."""

    def pullback(g: Array) -> Array:
        for one in reversed(pullbacks):
            g = one(g)
        return g

    return pullback
