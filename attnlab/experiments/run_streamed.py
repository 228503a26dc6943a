"""`attnlab run` without its matrices: every statistic, the steps, a few queries in full, and the checks they allow."""

from collections.abc import Callable

import numpy as np

from attnlab.experiments.checks import Tokens, tokens_check
from attnlab.experiments.run_bench import expectations_of, record_of
from attnlab.experiments.run_record import HeadResult, RunRecord, Selection, StepResult, chosen, shown_place
from attnlab.experiments.run_sample import Gathered, sample_of, sampled, streamed_checks
from attnlab.files.stacks import Bench
from attnlab.maths.precision import working_dtype
from attnlab.maths.statistics import HeadStatistics
from attnlab.maths.streamed_block import HeadGroup, StreamedLayer


class _Run:
    """A streamed run, layer by layer."""

    def __init__(self, bench: Bench, selection: Selection) -> None:
        spec, config = bench.config.block, bench.config
        self.bench = bench
        self.layers = chosen("layer", selection.layers, config.layers)
        self.heads = chosen("head", selection.heads, spec.n_heads)
        self.place = shown_place(selection, self.layers, self.heads, (config.layers, spec.n_heads))
        self.queries = sample_of(len(bench.x))
        self.results: list[HeadResult] = []
        self.steps: list[StepResult] = []
        self.statistics: list[HeadStatistics] = []
        self.errors: list[tuple[float, float]] = []
        self.tokens: list[tuple[int, Tokens]] = []
        self.done = 0
        self.gathered: Gathered | None = None

    def look(self, layer: int, group: HeadGroup) -> None:
        """Work out the sampled queries of a group of heads, if its layer is reported."""
        if layer not in self.layers:
            return
        if self.gathered is None:
            shown = self.place[1] if layer == self.place[0] else None
            stack = self.bench.stack
            self.gathered = Gathered(stack.specs[layer], stack.weights[layer], self.queries, shown)
        self.gathered.look(group)

    def take(self, layer: StreamedLayer) -> None:
        """Keep what is reported of the next layer."""
        i, self.done = self.done, self.done + 1
        if self.gathered is None:
            return
        expected = expectations_of(self.bench, i, layer, self.heads)
        for head, expectation in zip(self.heads, expected, strict=True):
            self.results.append(
                HeadResult(
                    layer=i,
                    head=head,
                    statistics=layer.statistics.of_head(head),
                    expectation=expectation,
                    rows=self.gathered.rows if (i, head) == self.place else None,
                    n=len(self.bench.x),
                )
            )
        for name, sums in layer.sums.items():
            self.steps.append(StepResult(layer=i, name=name, mean=sums.mean, variance=sums.variance, norm=sums.norm))
        self.statistics.append(layer.statistics)
        self.errors += self.gathered.errors
        self.tokens.append((i, self.gathered.tokens(layer)))
        self.gathered = None

    def record(self) -> RunRecord:
        """What was found."""
        bench, n = self.bench, len(self.bench.x)
        dtype = working_dtype(bench.stack.dtype)
        checks = streamed_checks(n, n, dtype, self.statistics, self.errors)
        blocks = ((bench.stack.specs[i], bench.stack.weights[i], tokens) for i, tokens in self.tokens)
        checks.append(tokens_check(n, blocks, of=f" of {sampled(n, 'token', 'tokens')}"))
        results = sorted(self.results, key=lambda head: self.layers.index(head.layer))  # as they were asked for
        return record_of(bench, results, self.place, steps=self.steps, checks=checks, arrays={})


def deepest(bench: Bench, selection: Selection) -> int:
    """How many layers have to run for those that are reported."""
    return bench.config.layers if selection.layers is None else max(selection.layers, default=-1) + 1


@np.errstate(over="ignore", invalid="ignore")
def run_streamed(
    bench: Bench, selection: Selection, *, asymmetry: bool, advance: Callable[[], None] = lambda: None
) -> RunRecord:
    """Run the bench's stack on its embeddings without its matrices.

    Raises:
        UsageError: a layer or head that the stack does not have.
    """
    work = _Run(bench, selection)
    layers = bench.stack.stream(
        bench.x,
        sampled=work.queries,
        asymmetry=asymmetry,
        max_bytes=bench.working_bytes,
        on_group=work.look,
        advance=advance,
    )
    for layer in layers:  # not enumerated: that would keep a layer's input while the next one runs
        work.take(layer)
        del layer
        if work.done == deepest(bench, selection):
            break
    return work.record()
