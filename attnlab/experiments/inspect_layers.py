"""One layer of a model at a time: everything that is kept of it, with its matrices or without, and what comes out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from attnlab.experiments.checks import tokens_check
from attnlab.experiments.expectation import expectations
from attnlab.experiments.inspect_pictures import (
    SMALL,
    Pair,
    Shown,
    edges_of,
    evenly,
    nearest_heads,
    sampled_picture,
    sampled_shown,
    small_picture,
    whole_shown,
)
from attnlab.experiments.run import block_checks, layer_arrays
from attnlab.experiments.run_record import HeadResult
from attnlab.experiments.run_sample import Gathered, sample_of, sampled, streamed_checks
from attnlab.files.stacks import Bench
from attnlab.maths.architecture import BlockSpec
from attnlab.maths.attention import AttentionSteps
from attnlab.maths.block import LayerTrace, trace_block
from attnlab.maths.dense import dense_statistics
from attnlab.maths.precision import Array, working_dtype
from attnlab.maths.sampled_rows import head_of
from attnlab.maths.stack import Stack, StackTrace
from attnlab.maths.statistics import HeadStatistics
from attnlab.maths.streamed_block import HeadGroup, StreamedLayer, stream_block
from attnlab.maths.threads import single_threaded_products
from attnlab.maths.weights import BlockWeights
from attnlab.records import Check


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer about to run."""

    index: int
    spec: BlockSpec
    weights: BlockWeights
    #: what goes into it, (n, d_model)
    x: Array
    #: the heads that are reported; none where the layer is only on the way
    heads: Sequence[int]
    #: the one whose matrix is shown, if it is one of this layer's
    shown: int | None
    #: whether the heads' small pictures are wanted
    pictures: bool
    #: whether every array is kept
    arrays: bool
    #: whether no layer after it is run
    last: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerFindings:
    """What is kept of a layer that is reported."""

    heads: Sequence[HeadResult]
    pictures: Sequence[Array]
    pairs: Sequence[Pair]
    checks: Sequence[Check]
    shown: Shown | None
    arrays: dict[str, Array]


def dense_layer(bench: Bench, layer: Layer) -> tuple[LayerFindings | None, Array]:
    """Run a layer with its matrices, which are let go of: what is kept of it, and what comes out, (n, d_model)."""
    trace = trace_block(layer.spec, layer.weights, layer.x)
    if not layer.heads:
        return None, trace.output
    statistics = dense_statistics(trace.attention, trace.v, causal=layer.spec.causal)
    stack = Stack(specs=(layer.spec,), weights=(layer.weights,), dtype=bench.stack.dtype)
    alone = replace(bench, config=replace(bench.config, block=layer.spec, layers=1), stack=stack)
    found = LayerFindings(
        heads=head_results(layer, statistics, trace),
        pictures=[small_picture(trace.weights[head]) for head in layer.heads] if layer.pictures else [],
        pairs=nearest_heads(layer.heads, trace.weights[np.ix_(layer.heads, sample_of(len(layer.x)))]),
        checks=block_checks(alone, StackTrace((trace,), (trace.x, trace.output)), {0: statistics}),
        shown=None if layer.shown is None else whole_shown(layer.index, layer.shown, trace.weights[layer.shown].copy()),
        arrays=layer_arrays(layer.spec, layer.index, trace) if layer.arrays else {},
    )
    return found, trace.output


def streamed_layer(
    bench: Bench,
    layer: Layer,
    *,
    asymmetry: bool,
    advance: Callable[[], None],
    after_head: Callable[[int], None],
) -> tuple[LayerFindings | None, Array]:
    """The same without its matrices: some queries of each head are worked out in full.

    Args:
        after_head: called with the number of heads that are done.
    """
    sample = LayerSample(layer) if layer.heads else None

    def look(group: HeadGroup) -> None:
        if sample is not None:
            with single_threaded_products():  # they are small
                sample.look(group)
        after_head(group.first + group.inputs.shape[0])

    ran = stream_block(
        layer.spec,
        layer.weights,
        layer.x,
        sampled=() if sample is None else sample.queries,
        asymmetry=asymmetry and sample is not None,
        max_bytes=bench.working_bytes,
        last=layer.last,
        on_group=look,
        advance=advance,
    )
    if sample is None:
        return None, ran.output
    with single_threaded_products():  # they are small
        return sample.findings(ran, working_dtype(bench.stack.dtype)), ran.output


class LayerSample(Gathered):
    """The sampled queries of a layer, which its checks need, and the pictures, which need some more."""

    def __init__(self, layer: Layer) -> None:
        n = len(layer.x)
        super().__init__(layer.spec, layer.weights, sample_of(n), None)
        self.layer = layer
        self.rows_of_heads = np.zeros((len(layer.heads), len(self.queries), n), dtype=np.float32)
        self.pictures: list[Array] = []
        self.picture_of_shown: Shown | None = None

    def keep(self, head: int, steps: AttentionSteps) -> None:
        """Keep the rows of every head that is reported."""
        if head in self.layer.heads:
            self.rows_of_heads[self.layer.heads.index(head)] = steps.weights[0]

    def look(self, group: HeadGroup) -> None:
        """Work out the sampled queries of a group of heads, and their pictures."""
        super().look(group)
        n = len(self.layer.x)
        for own in range(group.inputs.shape[0]):
            head, index = head_of(group.inputs, own), group.first + own
            if self.layer.pictures and index in self.layer.heads:
                self.pictures.append(sampled_picture(head, evenly(n, SMALL), edges_of(n, SMALL)))
            if index == self.layer.shown:
                self.picture_of_shown = sampled_shown(self.layer.index, index, head)

    def findings(self, ran: StreamedLayer, dtype: np.dtype[np.generic]) -> LayerFindings:
        """What is kept, once all heads have gone by."""
        layer, n = self.layer, len(self.layer.x)
        blocks = [(layer.spec, layer.weights, self.tokens(ran))]
        equations = tokens_check(n, blocks, of=f" of {sampled(n, 'token', 'tokens')}")
        in_order = sorted(layer.heads)
        return LayerFindings(
            heads=head_results(layer, ran.statistics, ran),
            pictures=[self.pictures[in_order.index(head)] for head in layer.heads] if self.pictures else [],
            pairs=nearest_heads(layer.heads, self.rows_of_heads),
            checks=[*streamed_checks(n, n, dtype, [ran.statistics], self.errors), equations],
            shown=self.picture_of_shown,
            arrays={},
        )


def head_results(layer: Layer, statistics: HeadStatistics, ran: LayerTrace | StreamedLayer) -> list[HeadResult]:
    """The heads reported, each with its statistics (but what each key receives) and what its scores should be."""
    lean = statistics._replace(received=np.zeros((len(statistics.entropy), 0)))
    expected = expectations(layer.spec, layer.weights, ran, layer.heads, standard_normal=False, index=layer.index)
    return [
        HeadResult(
            layer=layer.index,
            head=head,
            statistics=lean.of_head(head),
            expectation=expectation,
            rows=None,
            n=len(layer.x),
        )
        for head, expectation in zip(layer.heads, expected, strict=True)
    ]
