"""`attnlab variance --config` and `--inits`: the score variance that a block, or a way of drawing one, starts with."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from attnlab.experiments.expectation import Expectation, expectations
from attnlab.files.stacks import Bench
from attnlab.maths.architecture import BlockSpec
from attnlab.maths.attention import AttentionSteps
from attnlab.maths.block import project, read_by_attention, self_attention, trace_block
from attnlab.maths.dense import dense_statistics
from attnlab.maths.entries import entries
from attnlab.maths.precision import Array
from attnlab.maths.threads import single_threaded_products
from attnlab.maths.weights import BlockWeights, stream
from attnlab.records import Quantity
from attnlab.theory.initialisations import Start, common_starts
from attnlab.theory.score_variance import log_z
from attnlab.theory.scores import ScorePrediction

#: Independent sets of random tokens.
DRAWS = 64
#: Heads drawn of each initialisation.
HEADS = 8
#: In the keys of the random streams of role "variance", where other keys begin with a width: tokens, or weights.
_TOKENS, _WEIGHTS = (0, 0), (0, 1)


@dataclass(frozen=True, kw_only=True)
class HeadScores:
    """The scores of one head of the first layer over several sets of standard normal tokens."""

    head: int
    #: the mean over the sets of the variance of all n² scores; its error is theory's where it has one, else measured
    variance: Quantity
    #: by theory, and None with the reason where there is no law
    expected: float | None
    reason: str
    #: c²‖M‖_F², what two different tokens' scores vary by without biases
    norm_squared: float

    @property
    def z(self) -> float | None:
        """How many standard errors of its logarithm the variance is off; None without a law."""
        if self.expected is None or not self.variance.standard_error or self.variance.value is None:
            return None
        return log_z(self.variance.value, ScorePrediction(0.0, self.expected, self.variance.standard_error))


@dataclass(frozen=True, kw_only=True)
class StartResult:
    """One common initialisation: what its formula says, and c²‖M‖_F² of heads drawn that way."""

    start: Start
    measured: Quantity

    @property
    def z(self) -> float:
        """How many standard errors the mean over the heads is off."""
        return ((self.measured.value or 0.0) - self.start.score_variance) / (self.measured.standard_error or np.nan)


@dataclass(frozen=True, kw_only=True)
class BlockRecord:
    """What the block's heads and the common initialisations start with."""

    #: None: the initialisations alone
    name: str | None
    spec: BlockSpec | None
    #: tokens of each set
    n: int
    seed: int
    heads: Sequence[HeadScores]
    starts: Sequence[StartResult]


def run_block(
    bench: Bench | None, *, seed: int, draws: int = DRAWS, advance: Callable[[], None] = lambda: None
) -> BlockRecord:
    """Measure the first layer's scores on random tokens, as many as the configuration's input has, and the common
    initialisations; `advance` is called once per set of tokens and once per initialisation.

    Args:
        bench: None: the initialisations alone.
    """
    starts = []
    with single_threaded_products():
        heads = () if bench is None else head_scores(bench, seed, draws, advance)
        for index, start in enumerate(common_starts()):
            starts.append(start_result(start, seed, index))
            advance()
    return BlockRecord(
        name=None if bench is None else bench.config.name,
        spec=None if bench is None else bench.config.block,
        n=0 if bench is None else len(bench.x),
        seed=seed,
        heads=heads,
        starts=starts,
    )


def block_steps(bench: Bench | None) -> int:
    """How many times `run_block` says that it is further."""
    return len(common_starts()) + (DRAWS if bench is not None else 0)


def head_scores(bench: Bench, seed: int, draws: int, advance: Callable[[], None]) -> list[HeadScores]:
    """The scores of each head of the first layer over independent sets of standard normal tokens."""
    spec, weights = bench.config.block, bench.stack.weights[0]
    variances = []
    for draw in range(draws):
        steps = first_attention(spec, weights, random_tokens(bench, seed, draw))
        variances.append(dense_statistics(steps, steps.output, causal=spec.causal).score_variance)
        advance()
    layer = trace_block(spec, weights, random_tokens(bench, seed, 0))
    known = spec.position != "sinusoidal"
    expected = expectations(spec, weights, layer, range(spec.n_heads), standard_normal=known)
    norms = [score_norm(*head_weights(spec, weights, h), scale=spec.score_scale) for h in range(spec.n_heads)]
    return [
        _head_scores(head, *found)
        for head, found in enumerate(zip(np.array(variances).T, expected, norms, strict=True))
    ]


def random_tokens(bench: Bench, seed: int, draw: int) -> Array:
    """What the first block is given: standard normal tokens, as many as the bench's input has, in the stack's dtype."""
    x = stream(seed, "variance", *_TOKENS, draw).standard_normal(bench.x.shape, dtype=np.float32)
    return bench.stack.embedded(x)


def first_attention(spec: BlockSpec, weights: BlockWeights, x: Array) -> AttentionSteps:
    """The attention of a block on what goes into it, (n, d_model)."""
    return self_attention(spec, project(spec, weights, read_by_attention(spec, weights, x)))


def _head_scores(head: int, variances: Array, expectation: Expectation, norm_squared: float) -> HeadScores:
    predicted = expectation.scores if expectation.kind == "population" else None
    one_set = float(variances.std(ddof=1)) if len(variances) > 1 else None
    if predicted is not None:
        one_set = predicted.standard_error
    return HeadScores(
        head=head,
        variance=Quantity(
            value=float(variances.mean()),
            standard_error=None if one_set is None else one_set / math.sqrt(len(variances)),
            n=len(variances),
        ),
        expected=None if predicted is None else predicted.variance,
        reason=expectation.reason or ("" if predicted is not None else "positions are added to the tokens"),
        norm_squared=norm_squared,
    )


def head_weights(spec: BlockSpec, weights: BlockWeights, head: int) -> tuple[Array, Array]:
    """W_Q and W_K of one head, (d, d_k) each."""
    return weights["attn.W_Q"][head], weights["attn.W_K"][head // (spec.n_heads // spec.n_kv_heads)]


def score_norm(w_q: Array, w_k: Array, *, scale: float) -> float:
    """c²‖W_Q W_Kᵀ‖_F² = c² tr(W_QᵀW_Q · W_KᵀW_K), the smaller of the two ways: (d_k, d_k) or (d, d)."""
    q, k = w_q.astype(np.float64), w_k.astype(np.float64)
    if q.shape[1] > len(q):
        return scale**2 * float(np.square(q @ k.T).sum())
    return scale**2 * float(np.sum((q.T @ q) * (k.T @ k)))


def start_result(start: Start, seed: int, index: int) -> StartResult:
    """Draw heads in one of the common ways and measure them."""
    norms = []
    for head in range(HEADS):
        rng = stream(seed, "variance", *_WEIGHTS, index, head)
        w_q, w_k = entries(rng, (2, start.d_model, start.d_k), start.distribution) * np.float32(start.deviation)
        norms.append(score_norm(w_q, w_k, scale=1 / math.sqrt(start.d_k)))
    error = start.between_heads / math.sqrt(HEADS)
    return StartResult(start=start, measured=Quantity(value=float(np.mean(norms)), standard_error=error, n=HEADS))
