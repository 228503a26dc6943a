"""`attnlab run`: a block on embeddings, every step in view, each number beside what it should be."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from attnlab.errors import MemoryRefused, UsageError
from attnlab.experiments.checks import attention_checks, equations_check, identity_check
from attnlab.experiments.expectation import Expectation, expected_scores
from attnlab.files.config import Config
from attnlab.files.embeddings import QKV
from attnlab.files.stacks import Bench
from attnlab.maths.architecture import BlockSpec
from attnlab.maths.attention import AttentionSteps, attention_steps
from attnlab.maths.block import LayerTrace
from attnlab.maths.dense import dense_statistics
from attnlab.maths.inputs import AttentionInputs, attention_inputs
from attnlab.maths.precision import Array
from attnlab.maths.stack import StackTrace
from attnlab.maths.statistics import HeadStatistics
from attnlab.records import Check
from attnlab.theory.memory import dense_bytes


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which layers and heads to report, and whose matrix to show. None = all; the first of those reported."""

    layers: Sequence[int] | None = None
    heads: Sequence[int] | None = None
    #: (layer, head)
    shown: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class HeadResult:
    """One head: its statistics, each a number, beside the scores that it should have, and its matrix."""

    layer: int
    head: int
    statistics: HeadStatistics
    expectation: Expectation
    #: (n, m)
    weights: Array
    #: the visible scores, before cap, bias and mask, in one row
    scores: Array


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """One of X, T1 … H: over all its numbers mean and (population) variance, and the mean length of its tokens."""

    layer: int
    name: str
    mean: float
    variance: float
    norm: float


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """All that a run found."""

    name: str
    #: None when q, k and v were given
    spec: BlockSpec | None
    n_layers: int
    #: queries, keys, and the width of what was run on
    n: int
    m: int
    width: int
    dtype: str
    tokens: tuple[str, ...]
    #: those asked for, in order
    heads: Sequence[HeadResult]
    shown: HeadResult
    steps: Sequence[StepResult]
    checks: Sequence[Check]
    #: the tensors that were drawn because no file gave them
    initialised: tuple[str, ...] = ()
    weights_from_file: bool = False
    #: how: "random" or "identity"
    drawn: str = "random"
    #: TransformerLens name -> array, of the layers asked for
    arrays: Mapping[str, Array] = field(default_factory=dict)


@np.errstate(over="ignore", invalid="ignore")  # what is not finite is counted and said, not warned of
def run(bench: Bench, selection: Selection, *, advance: Callable[[], None] = lambda: None) -> RunRecord:
    """Run the bench's stack on its embeddings; `advance` is called once per layer for its trace and once for the rest.

    Raises:
        UsageError: a layer or head that the stack does not have.
    """
    spec = bench.config.block
    layers = chosen("layer", selection.layers, bench.config.layers)
    heads = chosen("head", selection.heads, spec.n_heads)
    trace = bench.stack.trace(bench.x, advance=advance)
    of_layer, results = {}, []
    for i in layers:
        attention = trace.layers[i].attention
        of_layer[i] = dense_statistics(attention, trace.layers[i].v, causal=spec.causal)
        results += [head_result(i, j, attention, of_layer[i], expectation_of(bench, trace, i, j)) for j in heads]
        advance()
    return RunRecord(
        name=bench.config.name,
        spec=spec,
        n_layers=bench.config.layers,
        n=len(bench.x),
        m=len(bench.x),
        width=spec.d_model,
        dtype=bench.config.dtype,
        tokens=bench.tokens,
        heads=results,
        shown=shown_head(results, selection.shown, (bench.config.layers, spec.n_heads)),
        steps=[step for i in layers for step in step_results(i, trace.layers[i])],
        checks=block_checks(bench, trace, of_layer),
        initialised=bench.initialised,
        weights_from_file=bench.config.weights.file is not None,
        drawn=drawn_how(bench.config),
        arrays={name: array for i in layers for name, array in layer_arrays(spec, i, trace.layers[i]).items()},
    )


def drawn_how(config: Config) -> str:
    """How the weights that no file gives came about, in a word."""
    how = config.weights.initialisation
    return "identity" if how is not None and how.scheme == "identity" else "random"


@np.errstate(over="ignore", invalid="ignore")
def run_qkv(name: str, given: QKV, selection: Selection, *, max_bytes: int) -> RunRecord:
    """Attention of q, k, v as they are given: no block, so no steps, and nothing to predict the scores from.

    Raises:
        ShapeError: they do not go together.
        MemoryRefused: the matrices would take more than max_bytes.
        UsageError: a layer or head that is not there.
    """
    inputs = attention_inputs(
        *(given.q, given.k, given.v),
        mask=given.mask,
        bias=given.bias,
        causal=False,
        window=None,
        scale=None,
        softcap=None,
    )
    if len(inputs.shape) != 3:
        raise UsageError(f"{name}: q of shape {given.q.shape}; expected (heads, n, d) or (n, d)")
    h, n, m = inputs.shape
    require_memory(name, inputs, max_bytes)
    steps = attention_steps(inputs)
    statistics = dense_statistics(steps, inputs.v)
    chosen("layer", selection.layers, 1)
    heads = chosen("head", selection.heads, h)
    unknown = Expectation(kind=None, reason="q, k and v were given: nothing is known of what made them")
    results = [head_result(0, head, steps, statistics, unknown) for head in heads]
    checks = attention_checks([steps], [statistics])
    if steps.visible is None:
        q = inputs.q.reshape(*inputs.shape[:-1], -1)
        k = np.repeat(inputs.k, len(q) // len(inputs.k), axis=0)
        checks.append(identity_check(list(zip(q, k, steps.scores, strict=True)), inputs.scale))
    return RunRecord(
        name=name,
        spec=None,
        n_layers=1,
        n=n,
        m=m,
        width=given.q.shape[-1],
        dtype=inputs.dtype.name,
        tokens=(),
        heads=results,
        shown=shown_head(results, selection.shown, (1, h)),
        steps=(),
        checks=checks,
        arrays=attention_arrays(0, steps),
    )


def require_memory(name: str, inputs: AttentionInputs, max_bytes: int) -> None:
    """Check that an attention may keep its matrices.

    Raises:
        MemoryRefused: says how much they would take.
    """
    h, n, m = inputs.shape
    needed = dense_bytes(n, m, heads=h, layers=1, hidden=True, itemsize=inputs.q.dtype.itemsize)
    if needed > max_bytes:
        raise MemoryRefused(
            f"{name}: {n:,} queries and {m:,} keys would need {needed / 2**30:.1f} GiB for their matrices, and "
            f"{max_bytes / 2**30:.1f} GiB may be used; take fewer, or give --max-memory more"
        )


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


def shown_head(results: Sequence[HeadResult], wanted: tuple[int, int] | None, counts: tuple[int, int]) -> HeadResult:
    """The head whose matrix is shown: the one wanted, of that many layers and heads, or the first.

    Raises:
        UsageError: it is not there, or not among those reported.
    """
    layer, head = wanted or (results[0].layer, results[0].head)
    chosen("layer", [layer], counts[0])
    chosen("head", [head], counts[1])
    for result in results:
        if (result.layer, result.head) == (layer, head):
            return result
    raise UsageError(f"head {layer}.{head}: not reported; expected one of those that --layers and --heads choose")


def head_result(
    layer: int, head: int, steps: AttentionSteps, statistics: HeadStatistics, expectation: Expectation
) -> HeadResult:
    """What one head of an attention did."""
    scores = steps.scores[head]
    if steps.visible is not None:
        scores = scores[np.broadcast_to(steps.visible, steps.scores.shape)[head]]
    return HeadResult(
        layer=layer,
        head=head,
        statistics=statistics.of_head(head),
        expectation=expectation,
        weights=steps.weights[head],
        scores=scores.ravel(),
    )


def expectation_of(bench: Bench, trace: StackTrace, layer: int, head: int) -> Expectation:
    """What a head's scores should be: its input is known only where the random input itself reaches it."""
    spec = bench.config.block
    known = layer == 0 and bench.random_input and spec.position != "sinusoidal"
    return expected_scores(spec, bench.stack.weights[layer], trace.layers[layer], head, standard_normal=known)


def block_checks(bench: Bench, trace: StackTrace, statistics: Mapping[int, HeadStatistics]) -> list[Check]:
    """The checks of the layers reported."""
    spec, stack = bench.config.block, bench.stack
    checks = attention_checks([trace.layers[i].attention for i in statistics], list(statistics.values()))
    blocks = [(stack.specs[i], stack.weights[i], trace.layers[i]) for i in statistics]
    checks.append(equations_check(blocks))
    if all(layer.visible is None for _, _, layer in blocks):
        shared = spec.n_heads // spec.n_kv_heads
        heads = [
            head
            for _, _, layer in blocks
            for head in zip(layer.q, np.repeat(layer.k, shared, axis=0), layer.raw_scores, strict=True)
        ]
        checks.append(identity_check(heads, spec.score_scale))
    return checks


def step_results(layer: int, trace: LayerTrace) -> list[StepResult]:
    """X and T1 … H of one layer in three numbers each."""
    results = []
    for name, step in {"X": trace.x, **trace.steps}.items():
        wide = step.astype(np.float64)
        mean, variance, norm = float(wide.mean()), float(wide.var()), float(np.linalg.norm(wide, axis=-1).mean())
        results.append(StepResult(layer=layer, name=name, mean=mean, variance=variance, norm=norm))
    return results


def layer_arrays(spec: BlockSpec, layer: int, trace: LayerTrace) -> dict[str, Array]:
    """A layer's arrays by TransformerLens's names; axes [head, token, …]."""
    post = spec.norm_position == "post"
    named = {
        "hook_resid_pre": trace.x,
        "attn.hook_q": trace.q_projection,
        "attn.hook_k": trace.k_projection,
        "attn.hook_v": trace.v,
        "hook_attn_out": trace.t1,
        "hook_resid_mid": trace.t2,
        "ln1.hook_normalized" if post else "ln2.hook_normalized": trace.t3,
        "hook_mlp_out": trace.t4,
        "hook_resid_post": trace.t5 if post else trace.output,
        "hook_normalized_resid_post": trace.output if post else None,
    }
    if trace.q is not trace.q_projection:
        named |= {"attn.hook_rot_q": trace.q, "attn.hook_rot_k": trace.k}
    own = {f"blocks.{layer}.{name}": array for name, array in named.items() if array is not None}
    return own | attention_arrays(layer, trace.attention)


def attention_arrays(layer: int, steps: AttentionSteps) -> dict[str, Array]:
    """An attention's scores (after scale, cap, bias and mask), weights and outputs per head, by those names."""
    named = {"hook_attn_scores": steps.logits, "hook_pattern": steps.weights, "hook_z": steps.output}
    return {f"blocks.{layer}.attn.{name}": array for name, array in named.items()}
