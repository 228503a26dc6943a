"""`attnlab inspect`: a model's heads on a text, layer by layer, each with its statistics and what they say.

One layer is held at a time. Layers above the deepest one asked for are neither run nor read.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attnlab.experiments.inspect_findings import HeadFinding, head_findings
from attnlab.experiments.inspect_layers import Layer, LayerFindings, dense_layer, streamed_layer
from attnlab.experiments.inspect_pictures import Pair, Shown
from attnlab.experiments.nonfinite import in_bench
from attnlab.experiments.run_record import HeadResult, NotFinite, Selection, chosen, shown_place
from attnlab.files.kernels import DENSE, Kernel
from attnlab.files.stacks import Bench
from attnlab.maths.architecture import BlockSpec
from attnlab.maths.precision import Array
from attnlab.maths.streamed_block import block_panels
from attnlab.records import Check


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """A model in a few words and numbers."""

    name: str
    #: of checkpoints; None: a configuration's blocks
    family: str | None
    layers: int
    heads: int
    kv_heads: int
    d_model: int
    d_k: int
    #: all that it learns, embeddings included
    parameters: int
    #: keys of a checkpoint's config.json that are not used, and not known to be harmless
    unused_settings: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, object]:
        """The same, as JSON has it."""
        unused = [{"key": key, "value": value} for key, value in self.unused_settings.items()]
        facts = {name: value for name, value in vars(self).items() if name not in ("name", "unused_settings")}
        return facts | ({} if self.family is None else {"unused_settings": unused})


@dataclass(frozen=True, kw_only=True)
class InspectConfig:
    """What to inspect, on what, and how."""

    model: ModelFacts
    #: the stack, the embeddings that it runs on, and their tokens
    bench: Bench
    selection: Selection = field(default_factory=Selection)
    kernel: Kernel = DENSE
    #: measured also without the matrices, by a second pass
    asymmetry: bool = False
    #: whether every array is kept
    arrays: bool = False
    #: whether every head's small picture is made
    pictures: bool = True
    #: what the table of layers and heads shows: one of §5's names
    statistic: str = "normalized_entropy"
    #: tokens that the text has; more than the bench's where it was cut
    text_tokens: int | None = None
    #: what else a person should know of the text; empty: nothing
    remark: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class InspectRecord:
    """What was found."""

    model: ModelFacts
    statistic: str
    tokens: tuple[str, ...]
    n: int
    #: of the whole text
    text_tokens: int
    remark: str
    kernel: Kernel
    #: where the run left the finite numbers, if it did
    not_finite: NotFinite | None
    #: of each layer reported
    specs: Mapping[int, BlockSpec]
    #: by layer, then head, as they were asked for
    heads: Sequence[HeadResult]
    findings: Sequence[HeadFinding]
    #: those whose value comes nearest to its bound, or does not keep it, of all layers
    checks: Sequence[Check]
    #: one for each head, (rows, columns) of SMALL at most; or none
    pictures: Sequence[Array]
    shown: Shown | None
    #: TransformerLens name -> array
    arrays: Mapping[str, Array]


@np.errstate(over="ignore", invalid="ignore")  # what is not finite is counted and said, not warned of
def run(
    config: InspectConfig,
    *,
    advance: Callable[[], None] = lambda: None,
    under_way: Callable[[str], None] = lambda _: None,
) -> InspectRecord:
    """Run the model's layers on the text, down to the deepest one asked for, and keep what is asked for.

    Args:
        advance: called `steps` times in all.
        under_way: told which layer and head comes next.

    Raises:
        UsageError: a layer or head that the model does not have.
    """
    layers, heads, place = reported(config.model, config.selection)
    bench, found, broken = config.bench, dict[int, LayerFindings](), list[int]()
    state = bench.stack.embedded(bench.x)
    for i in range(max(layers) + 1):
        layer = Layer(
            index=i,
            spec=bench.stack.specs[i],
            weights=bench.stack.weights[i],
            x=state,
            heads=heads if i in layers else (),
            shown=place[1] if place is not None and place[0] == i else None,
            pictures=config.pictures,
            arrays=config.arrays,
            last=i == max(layers),
        )
        kept, state = run_layer(config, layer, advance, under_way)
        if state.size and not np.isfinite(state.astype(np.float32, copy=False)).all():
            broken.append(i)
        if kept is not None:
            found[i] = kept
        del layer
    return record_of(config, {i: found[i] for i in layers}, broken)


def run_layer(
    config: InspectConfig, layer: Layer, advance: Callable[[], None], under_way: Callable[[str], None]
) -> tuple[LayerFindings | None, Array]:
    """One layer, with its matrices or without."""
    name = f"layer {layer.index} of {len(config.bench.stack.specs)}"
    if config.kernel.name == "dense":
        under_way(name)
        result = dense_layer(config.bench, layer)
        advance()
        return result
    last = layer.spec.n_heads - 1
    under_way(f"{name}, head 0")
    return streamed_layer(
        config.bench,
        layer,
        asymmetry=config.asymmetry,
        advance=advance,
        after_head=lambda head: under_way(f"{name}, head {min(head, last)}"),
    )


def reported(model: ModelFacts, selection: Selection) -> tuple[Sequence[int], Sequence[int], tuple[int, int] | None]:
    """The layers and heads that are reported, and the head whose matrix is shown, if one is.

    Raises:
        UsageError: the model does not have one of them, or the head shown is not reported.
    """
    layers = chosen("layer", selection.layers, model.layers)
    heads = chosen("head", selection.heads, model.heads)
    if selection.shown is None:
        return layers, heads, None
    return layers, heads, shown_place(selection, layers, heads, (model.layers, model.heads))


def steps(config: InspectConfig) -> int:
    """How often `run` calls `advance`: once for each layer, or when streaming for each panel of queries."""
    layers, _, _ = reported(config.model, config.selection)
    bench, deepest = config.bench, max(layers) + 1
    if config.kernel.name == "dense":
        return deepest
    return sum(
        block_panels(
            spec,
            len(bench.x),
            bench.stack.dtype,
            asymmetry=config.asymmetry and i in layers,
            max_bytes=bench.working_bytes,
        )
        for i, spec in enumerate(bench.stack.specs[:deepest])
    )


def record_of(config: InspectConfig, found: Mapping[int, LayerFindings], broken: Sequence[int]) -> InspectRecord:
    """The record of all layers reported, in the order in which they were asked for.

    Args:
        broken: layers whose output is not finite, reported or on the way.
    """
    bench, n = config.bench, len(config.bench.x)
    heads = [head for layer in found.values() for head in layer.heads]
    pairs: dict[int, Sequence[Pair]] = {i: layer.pairs for i, layer in found.items()}
    specs = {i: bench.stack.specs[i] for i in found}
    return InspectRecord(
        model=config.model,
        statistic=config.statistic,
        tokens=bench.tokens,
        n=n,
        text_tokens=n if config.text_tokens is None else config.text_tokens,
        remark=config.remark,
        kernel=config.kernel,
        not_finite=in_bench(bench, heads, broken),
        specs=specs,
        heads=heads,
        findings=head_findings(heads, pairs, specs, bench.tokens),
        checks=worst([check for layer in found.values() for check in layer.checks]),
        pictures=[picture for layer in found.values() for picture in layer.pictures],
        shown=next((layer.shown for layer in found.values() if layer.shown is not None), None),
        arrays={name: array for layer in found.values() for name, array in layer.arrays.items()},
    )


def worst(checks: Sequence[Check]) -> list[Check]:
    """Of the checks of one id the one that does not hold, or else that comes nearest to its bound."""

    def badness(check: Check) -> tuple[bool, float]:
        if check.value is None or not check.bound or np.isnan(check.value):
            return not check.holds, 0.0 if check.value is None or np.isnan(check.value) else -abs(check.value)
        return not check.holds, check.value / check.bound

    ids = dict.fromkeys(check.id for check in checks)
    return [max((check for check in checks if check.id == name), key=badness) for name in ids]
