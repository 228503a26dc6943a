"""`attnlab run`: a block on embeddings, every step in view, each number beside what it should be."""

from collections.abc import Callable, Mapping

import numpy as np

from attnlab.experiments.checks import attention_checks, equations_check, identity_check
from attnlab.experiments.expectation import Expectation
from attnlab.experiments.run_bench import expectations_of, record_of
from attnlab.experiments.run_record import (
    HeadResult,
    RunRecord,
    Selection,
    StepResult,
    chosen,
    every_row,
    shown_place,
)
from attnlab.files.stacks import Bench
from attnlab.maths.architecture import BlockSpec
from attnlab.maths.attention import AttentionSteps
from attnlab.maths.block import LayerTrace
from attnlab.maths.dense import dense_statistics
from attnlab.maths.precision import Array
from attnlab.maths.stack import StackTrace
from attnlab.maths.statistics import HeadStatistics
from attnlab.records import Check


@np.errstate(over="ignore", invalid="ignore")  # what is not finite is counted and said, not warned of
def run(
    bench: Bench,
    selection: Selection,
    *,
    asymmetry: bool = False,
    advance: Callable[[], None] = lambda: None,
) -> RunRecord:
    """Run the bench's stack on its embeddings, its matrices kept or streamed as the bench's kernel says.

    Args:
        asymmetry: measure it even when streaming, by a second pass; with matrices it always is.
        advance: called `run_steps` times in all.

    Raises:
        UsageError: a layer or head that the stack does not have.
    """
    if bench.kernel.name == "streaming":
        from attnlab.experiments.run_streamed import run_streamed  # here: a dense run does without its threads

        return run_streamed(bench, selection, asymmetry=asymmetry, advance=advance)
    spec = bench.config.block
    layers = chosen("layer", selection.layers, bench.config.layers)
    heads = chosen("head", selection.heads, spec.n_heads)
    place = shown_place(selection, layers, heads, (bench.config.layers, spec.n_heads))
    trace = bench.stack.trace(bench.x, advance=advance)
    of_layer, results = {}, []
    for i in layers:
        attention = trace.layers[i].attention
        of_layer[i] = dense_statistics(attention, trace.layers[i].v, causal=spec.causal)
        expected = expectations_of(bench, i, trace.layers[i], heads)
        results += [head_result(i, j, attention, of_layer[i], e) for j, e in zip(heads, expected, strict=True)]
        advance()
    return record_of(
        bench,
        results,
        place,
        steps=[step for i in layers for step in step_results(i, trace.layers[i])],
        checks=block_checks(bench, trace, of_layer),
        arrays={name: array for i in layers for name, array in layer_arrays(spec, i, trace.layers[i]).items()},
    )


def run_steps(bench: Bench, selection: Selection, *, asymmetry: bool = False) -> int:
    """How often `run` calls `advance`: with matrices once per layer for its trace and once for what is reported of it;
    when streaming once per panel of queries of each head.
    """
    if bench.kernel.name == "dense":
        return bench.config.layers + len(selection.layers or range(bench.config.layers))
    from attnlab.experiments.run_streamed import deepest  # here: as in `run`
    from attnlab.maths.streamed_block import block_panels

    panels = [
        block_panels(spec, len(bench.x), bench.stack.dtype, asymmetry=asymmetry, max_bytes=bench.working_bytes)
        for spec in bench.stack.specs[: deepest(bench, selection)]
    ]
    return sum(panels)


def head_result(
    layer: int, head: int, steps: AttentionSteps, statistics: HeadStatistics, expectation: Expectation
) -> HeadResult:
    """What one head of an attention did."""
    visible = None if steps.visible is None else np.broadcast_to(steps.visible, steps.scores.shape)[head]
    return HeadResult(
        layer=layer,
        head=head,
        statistics=statistics.of_head(head),
        expectation=expectation,
        rows=every_row(steps.weights[head], steps.scores[head], visible),
        n=steps.scores.shape[-2],
    )


def block_checks(bench: Bench, trace: StackTrace, statistics: Mapping[int, HeadStatistics]) -> list[Check]:
    """The checks of the layers reported."""
    stack = bench.stack
    checks = attention_checks([trace.layers[i].attention for i in statistics], list(statistics.values()))
    blocks = [(stack.specs[i], stack.weights[i], trace.layers[i]) for i in statistics]
    checks.append(equations_check(blocks))
    if all(layer.visible is None for _, _, layer in blocks):
        heads = [head for _, _, layer in blocks for head in scored(layer)]
        checks.append(identity_check(heads, [spec.score_scale for spec, _, _ in blocks for _ in range(spec.n_heads)]))
    return checks


def scored(layer: LayerTrace) -> list[tuple[Array, Array, Array]]:
    """Each head's q (n, d_k), k (n, d_k) and scores (n, n)."""
    return heads_with_keys(layer.q, layer.k, layer.raw_scores)


def heads_with_keys(q: Array, k: Array, scores: Array) -> list[tuple[Array, Array, Array]]:
    """Each query head's q (h, n, d), the k (g, m, d) that it reads, and its scores (h, n, m)."""
    share = len(q) // len(k) if len(k) else 1
    return [(own, k[head // share], of_own) for head, (own, of_own) in enumerate(zip(q, scores, strict=True))]


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
