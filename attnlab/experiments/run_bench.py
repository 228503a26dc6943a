"""What a dense and a streamed run of a bench have in common."""

import math
from collections.abc import Mapping, Sequence

from attnlab.experiments.expectation import Expectation, LayerInput, expectations
from attnlab.experiments.nonfinite import in_bench
from attnlab.experiments.run_record import HeadResult, RunRecord, StepResult, result_of
from attnlab.files.config import Config
from attnlab.files.stacks import Bench
from attnlab.maths.precision import Array
from attnlab.records import Check


def record_of(
    bench: Bench,
    heads: Sequence[HeadResult],
    shown: tuple[int, int],
    *,
    steps: Sequence[StepResult],
    checks: Sequence[Check],
    arrays: Mapping[str, Array],
) -> RunRecord:
    """The record of a run of a bench."""
    config = bench.config
    return RunRecord(
        name=config.name,
        spec=bench.stack.specs[shown[0]],
        n_layers=config.layers,
        n=len(bench.x),
        m=len(bench.x),
        width=config.block.d_model,
        dtype=config.dtype,
        tokens=bench.tokens,
        names_alone=bench.random_input and bool(bench.tokens),
        heads=heads,
        shown=result_of(heads, shown),
        steps=steps,
        checks=checks,
        not_finite=in_bench(bench, heads, [step.layer for step in steps if not math.isfinite(step.mean)]),
        kernel=bench.kernel,
        initialised=bench.initialised,
        weights_from_file=config.weights.file is not None,
        drawn=drawn_how(config),
        arrays=arrays,
    )


def drawn_how(config: Config) -> str:
    """How the weights that no file gives came about, in a word."""
    how = config.weights.initialisation
    return "identity" if how is not None and how.scheme == "identity" else "random"


def expectations_of(bench: Bench, layer: int, given: LayerInput, heads: Sequence[int]) -> list[Expectation]:
    """What heads' scores should be: a layer's input is known only where the random input itself reaches it."""
    spec = bench.stack.specs[layer]
    known = layer == 0 and bench.random_input and spec.position != "sinusoidal"
    return expectations(spec, bench.stack.weights[layer], given, heads, standard_normal=known, index=layer)
