"""Theorem 1, the block's six steps, and Theorem 5, the shapes of queries, keys and values."""

import itertools
import math
from collections.abc import Mapping

import numpy as np

from attnlab.errors import ConfigError
from attnlab.experiments.claims.claim import (
    Claim,
    Evidence,
    Setting,
    Trial,
    highest,
    in_need_of_correction,
    lowest,
    true_as_it_stands,
)
from attnlab.experiments.claims.laws import Laws
from attnlab.files.config import load_config
from attnlab.maths.architecture import BlockSpec
from attnlab.maths.block import LayerTrace
from attnlab.maths.precision import Array
from attnlab.maths.weights import BlockWeights, weight_shapes
from attnlab.show.numbers import number

#: A block whose axes are all different primes, so that no transposition passes, on N tokens.
SPEC, N = BlockSpec(d_model=29, n_heads=3, n_kv_heads=3, d_k=5, d_v=7, d_ff=31), 11
BLOCKS = 20
#: The course's own dimensions.
D, D_V, HEADS = 512, 64, 8
#: LayerNorm's ε, and the spreads of the rows that it is tried on, in units of √ε.
EPS, SPREADS = 1e-5, (0.1, 1.0, 10.0, 1000.0)
WIDTH = 64
NOTHING = 1e-12
#: Theorem 5: N, d, d_k and d_v in every order.
PRIMES = (5, 7, 11, 13)


def drawn_weights(rng: np.random.Generator) -> BlockWeights:
    """Random numbers for every tensor, biases and gains too."""
    shapes = weight_shapes(SPEC)
    return {name: rng.standard_normal(shape) / math.sqrt(shape[0]) for name, shape in shapes.items()}


def equations(w: BlockWeights, x: Array) -> dict[str, Array]:
    """T1 … H written out, one head after the other, in float64."""
    t1 = np.hstack([one_head(w, x, h) for h in range(SPEC.n_heads)]) @ w["attn.W_O"].reshape(-1, SPEC.d_model)
    t1 += w["attn.b_O"]
    t2 = x + t1
    t3 = normed(t2) * w["ln1.w"] + w["ln1.b"]
    t4 = np.maximum(t3 @ w["mlp.W_in"] + w["mlp.b_in"], 0) @ w["mlp.W_out"] + w["mlp.b_out"]
    t5 = t3 + t4
    return {"T1": t1, "T2": t2, "T3": t3, "T4": t4, "T5": t5, "H": normed(t5) * w["ln2.w"] + w["ln2.b"]}


def one_head(w: BlockWeights, x: Array, h: int) -> Array:
    """softmax(QKᵀ/√d_k)V of one head."""
    q, k, v = (x @ w[f"attn.W_{role}"][h] + w[f"attn.b_{role}"][h] for role in "QKV")
    e = np.exp(q @ k.T / math.sqrt(SPEC.d_k))
    return np.asarray(e / e.sum(axis=1, keepdims=True) @ v)


def normed(x: Array) -> Array:
    """(x − mean)/√(σ² + ε), row by row."""
    return np.asarray((x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + EPS))


def step_errors(trace: LayerTrace, expected: Mapping[str, Array]) -> dict[str, float]:
    """How far each step is from its equation, as a share of its largest number."""
    return {name: float(np.abs(trace.steps[name] - step).max() / np.abs(step).max()) for name, step in expected.items()}


def leftover_columns(laws: Laws, rng: np.random.Generator, heads: int) -> int:
    """How many columns X and T1 differ by at the course's own dimensions, heads side by side."""
    q, k, v = rng.standard_normal((3, heads, N, D_V))
    t1: Array = laws.attention(q, k, v).output.transpose(1, 0, 2).reshape(N, -1)
    return abs(D - int(t1.shape[1]))


def refusal() -> str:
    """What attnlab says of a block with the course's own dimensions and no W_O; empty if it takes it."""
    block = {"d_model": D, "n_heads": 1, "d_k": D_V, "d_v": D_V, "output_projection": False}
    try:
        load_config({"block": block})
    except ConfigError as error:
        return str(error)
    return ""


def norm_variances(laws: Laws, rng: np.random.Generator) -> float:
    """How far a LayerNorm's variance is from σ²/(σ² + ε), at any σ."""
    row = rng.standard_normal(WIDTH)
    row = (row - row.mean()) / row.std()
    variances = [float(laws.layer_norm(spread * math.sqrt(EPS) * row[None]).var()) for spread in SPREADS]
    off = [abs(variance - spread**2 / (spread**2 + 1)) for variance, spread in zip(variances, SPREADS, strict=True)]
    return highest(*off)


def six_steps(setting: Setting) -> Evidence:
    """Theorem 1."""
    laws, steps, norm_off = setting.laws, dict[str, float](), 0.0
    apart, joined, right_shapes = 0, 0, math.inf
    for rng in setting.rounds(12):
        for _ in range(BLOCKS):
            weights, x = drawn_weights(rng), rng.standard_normal((N, SPEC.d_model))
            trace = laws.block(SPEC, weights, x)
            errors = step_errors(trace, equations(weights, x))
            steps = {name: highest(steps.get(name, 0.0), error) for name, error in errors.items()}
            right_shapes = lowest(right_shapes, sum(step.shape == x.shape for step in trace.steps.values()))
        norm_off = highest(norm_off, norm_variances(laws, rng))
        apart, joined = leftover_columns(laws, rng, 1), leftover_columns(laws, rng, HEADS)
    worst, said = highest(*steps.values()), refusal()
    return Evidence(
        measured=worst,
        bound=NOTHING,
        in_short=f"with W_O; without it X + T1 adds {abs(D - apart)} columns to {D}",
        samples=BLOCKS * setting.samples,
        unit="blocks",
        finding=f"Every step equals its equation within {number(worst)}, and keeps the shape of X. But with d = {D}, "
        f"d_v = {D_V} and no W_O T1 has {D - apart} columns and X {D}: the sum is not defined, and attnlab refuses it "
        f'("{said}").',
        trials=(
            *(Trial(what=f"{name}: off its equation by", value=error, high=NOTHING) for name, error in steps.items()),
            Trial(what="steps of X's own shape, of 6", value=right_shapes, low=6.0),
            Trial(what=f"{HEADS} heads of {D_V} side by side: columns that differ", value=float(joined), high=0.0),
            Trial(what="LayerNorm: variance off σ²/(σ² + ε) by", value=norm_off, high=NOTHING),
            Trial(
                what=f"d = {D}, d_v = {D_V}, no W_O: columns that X + T1 lacks",
                value=float(apart),
                low=1.0,
                counter=True,
            ),
            Trial(what="the same as a configuration: refused", value=float(bool(said)), low=1.0, counter=True),
        ),
    )


THEOREM_1 = Claim(
    id="theorem-1",
    quote="A transformação realizada por um bloco Transformer pode ser expressa como: T^1 = SelfAttention(X), T^2 = "
    "X + T^1 […], T^3 = LayerNorm(T^2), T^4 = FFN(T^3) […], T^5 = T^3 + T^4 […], H = LayerNorm(T^5)",
    translation="The transformation that a Transformer block carries out can be expressed as: T^1 = "
    "SelfAttention(X), T^2 = X + T^1 […], T^3 = LayerNorm(T^2), T^4 = FFN(T^3) […], T^5 = T^3 + T^4 […], H = "
    "LayerNorm(T^5)",
    place="Theorem 1; the dimensions are those of footnote 14",
    statement="a block is T1 … H: attention, sums, norms, FFN",
    source="Vaswani et al. 2017, section 3.1; Ba et al. 2016, section 3",
    argument="The six equations are right, each of them and in this order. One thing is missing for them to go "
    "together: a sum needs equal shapes, and X + T1 has them if d_v = d, if the joined heads are d wide, or if a W_O "
    f"brings them back to d. The course's text has no W_O, and with its own d = {D} and one head of d_v = {D_V} "
    "(footnote 14) one would add a list of 64 numbers to a list of 512. What steps 2 and 3 say besides, of gradients "
    "and of stability, is tried in `residual` and `layernorm`.",
    method=f"{BLOCKS} random blocks, all axes different primes, float64, each step against the equation written out "
    f"head by head; the widths at d = {D}, d_v = {D_V}; LayerNorm's variance, σ²/(σ² + ε), on rows with σ from "
    f"{SPREADS[0]:g} to {SPREADS[-1]:,.0f} √ε.",
    experiment=six_steps,
    rule=in_need_of_correction,
    expected_verdict="corrected",
    proof="sound",
    remains="All six equations, where d_v = d, or where heads are joined and projected by W_O.",
)


def wrong_shapes(laws: Laws, rng: np.random.Generator, n: int, d: int, d_k: int, d_v: int) -> int:
    """How many of six shapes are not as the theorem says; all six if they do not even go together."""
    x = rng.standard_normal((n, d))
    try:
        q, k = (laws.linear(x, rng.standard_normal((d, d_k)), None) for _ in range(2))
        v = laws.linear(x, rng.standard_normal((d, d_v)), None)
        scores, (output, weights, _) = laws.scores(q, k), laws.attention(q, k, v)
    except ValueError:
        return 6
    found = [array.shape for array in (q, k, v, scores, weights, output)]
    said = [(n, d_k), (n, d_k), (n, d_v), (n, n), (n, n), (n, d_v)]
    return sum(one != other for one, other in zip(found, said, strict=True))


def refused(laws: Laws, n: int, d: int, d_k: int, d_v: int) -> int:
    """How many of three mistakes are refused: a matrix on its side, keys of another width, too few values."""
    x, q, v = np.ones((n, d)), np.ones((n, d_k)), np.ones((n, d_v))
    count = 0
    for mistake in (
        lambda: laws.linear(x, np.ones((d_k, d)), None),
        lambda: laws.attention(q, np.ones((n, d)), v),
        lambda: laws.attention(q, q, np.ones((d, d_v))),
    ):
        try:
            mistake()
        except ValueError:
            count += 1
    return count


def shapes(setting: Setting) -> Evidence:
    """Theorem 5."""
    laws, wrong, caught, orders = setting.laws, 0, 0, list(itertools.permutations(PRIMES))
    for rng in setting.rounds(13):
        for order in orders:
            wrong += wrong_shapes(laws, rng, *order)
            caught += refused(laws, *order)
    tried = len(orders) * setting.samples
    return Evidence(
        measured=float(wrong),
        expected=0.0,
        bound=0.0,
        in_short=f"{wrong} shapes that are not as said",
        samples=6 * tried,
        unit="shapes",
        finding=f"With N, d, d_k and d_v all different primes, in every order, {wrong} of {6 * tried} shapes are not "
        f"as the theorem says, and {caught} of {3 * tried} ways to get them wrong are refused.",
        trials=(
            Trial(what=f"shapes that are not as said, of {6 * tried}", value=float(wrong), high=0.0),
            Trial(what=f"mistakes that are refused, of {3 * tried}", value=float(caught), low=3.0 * tried),
        ),
    )


THEOREM_5 = Claim(
    id="theorem-5",
    quote="as transformações lineares satisfazem: q_i = x_i W^Q, W^Q ∈ ℝ^(d × d_k); k_i = x_i W^K, W^K ∈ ℝ^(d × d_k); "
    "v_i = x_i W^V, W^V ∈ ℝ^(d × d_v)",
    translation="the linear transformations satisfy: q_i = x_i W^Q, W^Q ∈ ℝ^(d × d_k); k_i = x_i W^K, W^K ∈ "
    "ℝ^(d × d_k); v_i = x_i W^V, W^V ∈ ℝ^(d × d_v)",
    place="Theorem 5",
    statement="the shapes of q, k and v",
    source="Vaswani et al. 2017, section 3.2",
    argument="X is N × d. W_Q and W_K are d × d_k, so Q and K are N × d_k; W_V is d × d_v, so V is N × d_v. Q and K "
    "must be equally wide, since their rows are multiplied with each other; V need not be. QKᵀ and the weights are N "
    "× N, and the output is N × d_v.",
    method=f"N, d, d_k and d_v are {', '.join(map(str, PRIMES))} in every order, so that no two axes can be taken for "
    "each other; and for each order three mistakes: W on its side, keys of another width, another number of values.",
    experiment=shapes,
    rule=true_as_it_stands,
    expected_verdict="holds",
    proof=None,
    remains="Besides d, which all three share, only d_k ties matrices together, W_Q and W_K; d_v is free until X + "
    "T1 asks for d.",
)
