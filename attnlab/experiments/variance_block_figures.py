"""The figure of `attnlab variance --config` and `--inits`: what was drawn beside what the weights predict."""

from attnlab.experiments.run_report import MOST_HEADS
from attnlab.experiments.variance_block import BlockRecord
from attnlab.experiments.variance_block_report import ends, heads_finding
from attnlab.records import Dots, Figure, Mark
from attnlab.show.numbers import number


def figures(record: BlockRecord) -> list[Figure]:
    """One figure: the block's heads if there is a block, else the common initialisations."""
    meant = Mark(x=1.0, label="1, which ÷ √d_k is meant to give")
    if record.spec is not None and record.heads:
        heads = record.heads[:MOST_HEADS]
        laws = [head.expected for head in heads if head.expected is not None]
        dots = Dots(
            title=heads_finding(record).rstrip("."),
            quantity="variance of the scores",
            names=[f"head {head.head}" for head in heads],
            measured=[head.variance for head in heads],
            predicted=laws if len(laws) == len(heads) else (),
            mark=meant,
        )
        return [Figure(name="variance", drawable=dots)]
    low, high = (number(end) for end in ends(record))
    dots = Dots(
        title=f"The common ways to draw W_Q and W_K start the scores' variance anywhere from {low} to {high}",
        quantity="variance of the scores of unit-variance inputs",
        names=[result.start.name for result in record.starts],
        measured=[result.measured for result in record.starts],
        predicted=[result.start.score_variance for result in record.starts],
        mark=meant,
        log_x=True,
    )
    return [Figure(name="variance", drawable=dots)]
