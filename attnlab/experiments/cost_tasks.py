"""The pieces of one block, each ready to be timed by itself, and what the formulas count for each."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from attnlab.maths.architecture import BlockSpec, Initialisation
from attnlab.maths.attention import bias_and_visible, capped_biased_masked, weighted_values
from attnlab.maths.block import Projections, block_norm, feed_forward, join_heads, prepared, project
from attnlab.maths.inputs import AttentionInputs, attention_inputs
from attnlab.maths.panels import PanelFunction
from attnlab.maths.positions import alibi_slopes
from attnlab.maths.precision import Array, working_dtype
from attnlab.maths.scores import scaled_scores
from attnlab.maths.shapes import alibi_panel
from attnlab.maths.softmax import softmax
from attnlab.maths.streaming import stream
from attnlab.maths.weights import BlockWeights, initial_block, linear, random_input
from attnlab.measure.timing import REFERENCE, Task

Work = Callable[[], object]

#: Each piece: the parts of `theory.costs` that it does.
PIECES: Mapping[str, Sequence[str]] = {
    "q, k, v projections": ("q_projection", "k_projection", "v_projection"),
    "scores": ("scores", "softcap", "alibi_positions"),
    "softmax": ("softmax",),
    "weighted values": ("weighted_values",),
    "attention core": ("scores", "softcap", "alibi_positions", "softmax", "weighted_values"),
    "output projection": ("output_projection",),
    "feed-forward": ("feed_forward", "activation"),
    "norms and sums": ("norms", "q_k_norms", "residuals", "rotary_positions"),
}

#: Rows and columns of the matrices whose product says what this machine can do.
SQUARE = 1536


def square_product(dtype: np.dtype[np.generic]) -> Task:
    """The machine's own matrix product, in the dtype that attention computes in."""
    matrix = np.random.default_rng(0).standard_normal((SQUARE, SQUARE)).astype(working_dtype(dtype))
    return Task(REFERENCE, lambda: lambda: matrix @ matrix, 2 * matrix.nbytes)


def block_tasks(
    spec: BlockSpec, *, n: int, dtype: np.dtype[np.generic], seed: int, dense: bool, max_bytes: int
) -> list[Task]:
    """Every piece of one block on n tokens, weights and input drawn.

    Args:
        dense: whether the core keeps its matrices and is timed in three pieces, or is streamed, with all statistics.
        max_bytes: of memory that streaming may use.
    """
    weights = initial_block(spec, Initialisation(seed=seed), layer=0, dtype=dtype)
    x = random_input(n, spec.d_model, seed=seed, dtype=dtype)
    p = project(spec, weights, x)
    inputs = core_inputs(spec, p)
    works: dict[str, Work] = {"q, k, v projections": lambda: projections(weights, x)}
    works |= dense_core(inputs) if dense else {"attention core": lambda: stream(inputs, max_bytes=max_bytes)}
    if spec.output_projection:
        heads = np.repeat(p.v, spec.n_heads // spec.n_kv_heads, axis=0)
        works["output projection"] = lambda: join_heads(spec, weights, heads)
    if spec.d_ff is not None:
        works["feed-forward"] = lambda: feed_forward(spec, weights, x)
    works["norms and sums"] = lambda: norms_and_sums(spec, weights, x, p)
    return [Task(name, lambda work=work: work) for name, work in works.items()]  # type: ignore[misc]


def projections(weights: BlockWeights, x: Array) -> list[Array]:
    """q, k and v, x W + b each."""
    biases = [weights.get(f"attn.b_{role}") for role in "QKV"]
    return [
        linear(x, weights[f"attn.W_{role}"], None if bias is None else bias[:, None])
        for role, bias in zip("QKV", biases, strict=True)
    ]


def core_inputs(spec: BlockSpec, p: Projections) -> AttentionInputs:
    """What the core of the block's attention is given, without any matrix."""
    return attention_inputs(
        p.q,
        p.k,
        p.v,
        mask=None,
        bias=slope_panels(spec.n_heads, working_dtype(p.q.dtype)) if spec.position == "alibi" else None,
        causal=spec.causal,
        window=spec.window,
        scale=spec.scale,
        softcap=spec.softcap,
    )


def slope_panels(heads: int, dtype: np.dtype[np.generic]) -> PanelFunction:
    """ALiBi's −slope·abs(i − j), panel by panel."""
    return partial(alibi_panel, alibi_slopes(heads), dtype)


def dense_core(inputs: AttentionInputs) -> dict[str, Work]:
    """The core with its matrices, in three pieces; hidden pairs are computed too, and then masked."""
    bias, visible = bias_and_visible(inputs)
    logits = capped_biased_masked(inputs, scaled_scores(inputs), bias, visible)
    weights = softmax(logits, visible).weights
    return {
        "scores": lambda: capped_biased_masked(inputs, scaled_scores(inputs), bias, visible),
        "softmax": lambda: softmax(logits, visible),
        "weighted values": lambda: weighted_values(inputs, weights, visible),
    }


def norms_and_sums(spec: BlockSpec, weights: BlockWeights, x: Array, p: Projections) -> None:
    """The block's norms and residual sums, and q's and k's own norms and rotations."""
    prepared(spec, weights, "q", p.q_projection)
    prepared(spec, weights, "k", p.k_projection)
    for part in ("ln1",) if spec.d_ff is None else ("ln1", "ln2"):
        total = x + x
        for name in spec.norms:
            if name.startswith(part):
                block_norm(spec, weights, name, total)
