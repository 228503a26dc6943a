"""One stack of layers, up and back down: what each layer makes of the tokens, and what of a gradient it lets by."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from attnlab.errors import MemoryRefused, UsageError
from attnlab.experiments.depth_variants import VARIANTS, Variant, layer_step
from attnlab.experiments.effort import refuse_endless
from attnlab.files.kernels import in_words
from attnlab.maths.architecture import BlockSpec, Initialisation, Scheme
from attnlab.maths.attention import attention_scores
from attnlab.maths.backward import Step
from attnlab.maths.block import Projections, join_heads, project, self_attention
from attnlab.maths.precision import Array
from attnlab.maths.softmax import softmax
from attnlab.maths.weights import ROLES, BlockWeights, initial_block, random_input, stream
from attnlab.theory.memory import LAYER, matrix_bytes

SCHEMES: Sequence[Scheme] = ("xavier_uniform", "xavier_normal", "lecun_normal")
#: Hidden units of the feed-forward for each number of a token.
WIDENING = 4
#: Numbers of a layer's weights for each square of d_model, and of its steps for each number of its tokens.
WEIGHTS, STEPS = 4 + 2 * WIDENING, 24
#: Bytes of what is kept of a layer for each stack.
RECORDS = 256
#: How many sizes of weights are tried; about how long a layer takes, besides so much for each multiply-add.
STACKS, LAYER_SECONDS, SECONDS = 3, 1e-3, 2e-9
#: Below it, squares of the next layer's differences would leave float64's range.
SMALLEST = 1e-49


@dataclass(frozen=True, kw_only=True)
class DepthConfig:
    """The stack."""

    n: int = 32
    d_model: int = 128
    heads: int = 4
    layers: int = 12
    #: stacks drawn, each with weights and tokens of its own
    seeds: int = 5
    variants: Sequence[str] = tuple(VARIANTS)
    init: str = "xavier_uniform"
    seed: int = 0


def check(config: DepthConfig, max_bytes: int | None) -> None:
    """Refuse settings that cannot be.

    Raises:
        UsageError: naming the first of them; also where it would go on for hours.
        MemoryRefused: the stack would not fit.
    """
    for name, given, least in (
        ("--n", config.n, 2),
        ("--d-model", config.d_model, 2),
        ("--heads", config.heads, 1),
        ("--layers", config.layers, 1),
        ("--seeds", config.seeds, 2),
    ):
        if given < least:
            raise UsageError(f"{name} {given}; expected {least} or more")
    if config.d_model % config.heads:
        raise UsageError(f"--d-model {config.d_model}; expected a multiple of {config.heads}, set by --heads")
    for variant in config.variants:
        if variant not in VARIANTS:
            raise UsageError(f"--variant {variant!r}; expected one of {', '.join(VARIANTS)}")
    if config.init not in SCHEMES:
        raise UsageError(f"--init {config.init!r}; expected one of {', '.join(SCHEMES)}")
    needed = needed_bytes(config)
    if max_bytes is not None and needed > max_bytes:
        raise MemoryRefused(
            f"{config.n:,} tokens would need {in_words(needed)} for the matrices of {config.layers:,} layers, their "
            f"weights and steps, and {in_words(max_bytes)} may be used; take fewer, or give --max-memory more"
        )
    products = config.n * config.d_model * (WEIGHTS * config.d_model + 4 * config.n)
    layer = len(config.variants) * STACKS * (LAYER_SECONDS + SECONDS * products)
    refuse_endless("--layers", config.layers, 2 * layer)
    refuse_endless("--seeds", config.seeds, config.layers * layer)


def needed_bytes(config: DepthConfig) -> int:
    """What a stack takes on its way up and down: scores and weights of every layer and three matrices more, its weights
    as drawn and with their gain, each layer's steps, and Python's records of it."""
    matrices = (2 * config.layers + 3) * matrix_bytes(config.n, config.n, heads=config.heads, itemsize=8)
    feeding = any(VARIANTS[variant].feed_forward for variant in config.variants)
    weights = (WEIGHTS if feeding else WEIGHTS - 2 * WIDENING) * config.d_model**2
    steps = STEPS * config.n * config.d_model
    return matrices + config.layers * (8 * (2 * weights + steps) + RECORDS * config.seeds + LAYER)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One stack, up and down: a number for each of layers + 1 states."""

    residuals: Sequence[float]
    unrounded: Sequence[float | None]
    #: of each layer that the tokens were followed through; of other variants than attention alone: none
    powers: Sequence[float]
    gradients: Sequence[float]
    token_gradients: Sequence[float]


def profile(
    config: DepthConfig,
    variant: Variant,
    gain: float,
    repeat: int,
    *,
    layer: Callable[..., Step] = layer_step,
    weights: Sequence[BlockWeights] | None = None,
) -> Profile:
    """Draw a stack and tokens, run them up, and a random direction back down; all in float64.

    Args:
        layer: what a layer does, and its way back.
        weights: those of this repeat and gain, where they are drawn already.
    """
    spec = block_spec(config, feed_forward=variant.feed_forward)
    weights = drawn_weights(config, spec, gain, repeat) if weights is None else weights
    x = random_input(config.n, config.d_model, seed=drawn_seed(config, repeat), dtype=np.float64)
    states, layers = [x], list[Step]()
    for of_layer in weights:
        layers.append(layer(variant, spec, of_layer, states[-1]))
        states.append(layers[-1].value)
    u = stream(config.seed, "depth.gradient", repeat).standard_normal(x.shape)
    sizes = [(float(np.linalg.norm(g)), difference(g)) for g in gradients(layers, u)]
    alone = not (variant.residual or variant.norm or variant.feed_forward)
    collapse = followed(spec, weights, x) if alone else Collapse([None] * len(states), [])
    return Profile(
        residuals=[relative_residual(state) for state in states],
        unrounded=collapse.residuals,
        powers=collapse.powers,
        gradients=[size / sizes[-1][0] for size, _ in sizes],
        token_gradients=[between / sizes[-1][0] for _, between in sizes],
    )


def block_spec(config: DepthConfig, *, feed_forward: bool) -> BlockSpec:
    """A post-norm block without biases: at initialisation they are 0."""
    width = config.d_model // config.heads
    return BlockSpec(
        d_model=config.d_model,
        n_heads=config.heads,
        n_kv_heads=config.heads,
        d_k=width,
        d_v=width,
        d_ff=WIDENING * config.d_model if feed_forward else None,
        bias=False,
    )


def drawn_seed(config: DepthConfig, repeat: int) -> int:
    """The seed of one stack's weights and tokens: of no other repeat, seed or experiment."""
    return int(np.random.SeedSequence(config.seed, spawn_key=(ROLES["depth"], repeat)).generate_state(1)[0])


def drawn_weights(config: DepthConfig, spec: BlockSpec, gain: float, repeat: int) -> list[BlockWeights]:
    """A block's weights for each layer, every matrix times `gain`."""
    return larger(first_weights(config, spec, repeat), gain)


def first_weights(config: DepthConfig, spec: BlockSpec, repeat: int) -> list[BlockWeights]:
    """A block's weights for each layer, as they are drawn."""
    scheme = next(scheme for scheme in SCHEMES if scheme == config.init)
    how = Initialisation(scheme=scheme, seed=drawn_seed(config, repeat))
    return [initial_block(spec, how, layer=layer, dtype=np.float64) for layer in range(config.layers)]


def larger(blocks: Sequence[BlockWeights], gain: float) -> list[BlockWeights]:
    """The same with every matrix times `gain`."""
    if gain == 1:
        return [*blocks]
    return [{name: gain * w if name in ROLES else w for name, w in block.items()} for block in blocks]


def gradients(layers: Sequence[Step], u: Array) -> list[Array]:
    """∂L/∂X_0 … ∂L/∂X_last for L = Σ u∘X_last."""
    found = [u]
    for layer in reversed(layers):
        found.append(layer.pullback(found[-1]))
    return found[::-1]


def difference(x: Array) -> float:
    """‖X − x̄‖, x̄ the mean token for all."""
    return float(np.linalg.norm(x - x.mean(axis=0)))


def relative_residual(x: Array) -> float:
    """‖X − x̄‖/‖X‖ (Frobenius); 0 when all tokens are alike, as they are when all are 0."""
    size = float(np.linalg.norm(x))
    return difference(x) / size if size else 0.0


class Collapse(NamedTuple):
    """Tokens on their way through attention alone."""

    #: ‖X − x̄‖/‖X‖ of each state; None where it was not followed so far
    residuals: Sequence[float | None]
    #: for each layer that was: p, if halving the differences that go in makes those that come out 2^p times smaller
    powers: Sequence[float]


class Parted(NamedTuple):
    """Tokens as their mean and what each has beyond it."""

    #: (1, d)
    mean: Array
    #: (n, d)
    apart: Array

    @property
    def residual(self) -> float:
        """‖X − x̄‖/‖X‖, without squares that would leave float64's range; 0 where the tokens are all 0."""
        largest = float(np.abs(self.apart).max())
        size = largest * float(np.linalg.norm(self.apart / largest)) if largest else 0.0
        whole = math.hypot(size, float(np.linalg.norm(self.mean)) * math.sqrt(len(self.apart)))
        return size / whole if whole else 0.0


def followed(spec: BlockSpec, weights: Sequence[BlockWeights], x: Array) -> Collapse:
    """‖X − x̄‖/‖X‖ through attention alone, also where tokens are more alike than float64 can tell by subtracting.

    The mean token and the differences D are carried apart. None once the next differences would, or do, underflow.
    """
    mean = x.mean(axis=0, keepdims=True)
    state = Parted(mean, x - mean)
    residuals: list[float | None] = [relative_residual(x)]
    powers: list[float] = []
    for of_layer in weights:
        if residuals[-1] is None or residuals[-1] < SMALLEST:
            residuals.append(None)
            continue
        halved = Parted(state.mean, state.apart / 2)
        into, half_into = state.residual, halved.residual
        state = parted_layer(spec, of_layer, state)
        out, half_out = state.residual, parted_layer(spec, of_layer, halved).residual
        residuals.append(out if min(out, half_out) > 0 else None)
        if residuals[-1] is not None:
            powers.append(math.log(out / half_out) / math.log(into / half_into))
    return Collapse(residuals, powers)


def parted_layer(spec: BlockSpec, weights: BlockWeights, state: Parted) -> Parted:
    """Attention alone, of the mean token and of the differences D apart.

    What all keys share adds the same to every score of a row, and what all values share passes through, so keys and
    values are made of D alone; the mean token's weights π serve all, and how those of token i differ from π is computed
    as such: by the product of its own query's D and the keys' D, so that D comes out, times the values' D, as a cube.
    """
    own, shared = project(spec, weights, state.apart), project(spec, weights, state.mean)
    asked = Projections(shared.q_projection, own.k_projection, shared.q, own.k, own.v)
    base = self_attention(spec, asked)
    scores = attention_scores(own.q, own.k, scale=spec.score_scale)
    moved = moved_weights(base.weights, scores) @ own.v
    centre = moved.mean(axis=1, keepdims=True)
    return Parted(
        mean=join_heads(spec, weights, shared.v + base.output + centre),
        apart=join_heads(spec, weights, moved - centre),
    )


def moved_weights(weights: Array, scores: Array) -> Array:
    """softmax(ln π + s) − π, of small s without subtracting: π (E − Σ π E)/(1 + Σ π E), E = e^s − 1.

    Args:
        weights: π, (h, 1, n). scores: s, (h, n, n), what each row has beyond the scores that π is of.
    """
    if np.abs(scores).max() > 1:  # the differences are plain to see, and 1 + Σ π E might cancel
        with np.errstate(divide="ignore"):
            return softmax(np.log(weights) + scores).weights - weights
    grown = np.expm1(scores)
    total = (weights * grown).sum(axis=-1, keepdims=True)
    return np.asarray(weights * (grown - total) / (1 + total))
