"""Which heads are worth a look, and the number that says so; `KINDS` has the thresholds, and where they come from."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from attnlab.experiments.inspect_pictures import Pair
from attnlab.experiments.run_findings import LONGEST_TOKEN, MOSTLY_SATURATED, NEARLY_UNIFORM
from attnlab.experiments.run_record import HeadResult
from attnlab.experiments.run_sample import SAMPLE
from attnlab.files.opening import shown
from attnlab.maths.architecture import BlockSpec
from attnlab.maths.precision import Array
from attnlab.maths.statistics import SINK, HeadStatistics
from attnlab.show.numbers import number

#: Of what a row may have; below it, a head has stopped choosing among more than a few keys.
COLLAPSED = 0.1
#: Of the weight, on one neighbour.
NEIGHBOUR = 0.5
#: Of its weight that a row would have to move to become the other head's.
IDENTICAL = 0.05
#: bfloat16 keeps eight bits: from here on it holds whole numbers only, and rounding may change a weight by e^(1/2).
LARGE = 128.0
#: A key's or neighbour's share says something only where uniform weights would not give it as much: under a causal
#: mask the first tokens of a short text get much from anybody.
EVEN_SHARES = 2.0


class Kind(NamedTuple):
    """A reason to look at a head."""

    name: str
    #: what it is called in a table
    words: str
    #: when a head is one
    rule: str
    #: where the threshold comes from
    source: str


KINDS = (
    Kind(
        "sink",
        "sink",
        f"more than {SINK} of its weight on key 0, or of the weight of the rows that see it on whichever key gets most "
        "of theirs",
        f"{SINK} is Gu et al. 2024's, for key 0; for other keys, such as [SEP] (Clark et al. 2019), ours",
    ),
    Kind(
        "saturated",
        "saturated",
        f"in more than {MOSTLY_SATURATED:.0%} of its rows one key holds over 0.99: tr ∂p/∂s is then below 0.02",
        "ours: more rows than not pass hardly anything to training",
    ),
    Kind(
        "collapsed",
        "collapsed",
        f"entropy below {COLLAPSED} of what is possible",
        "the name is Zhai et al. 2023's (entropy collapse), who give no threshold; it is ours: over 412 keys e^H < 1.9",
    ),
    Kind("previous_token", "previous token", f"more than {NEIGHBOUR} of its weight on key i − 1", "Clark et al. 2019"),
    Kind("next_token", "next token", f"more than {NEIGHBOUR} of its weight on key i + 1", "Clark et al. 2019"),
    Kind(
        "near_uniform",
        "near-uniform",
        f"entropy above {NEARLY_UNIFORM} of what is possible",
        "ours, the same as in attnlab run: Clark et al. 2019 call such heads broad, and give no threshold for it",
    ),
    Kind(
        "near_identical",
        "near-identical",
        f"a row would have to move less than {IDENTICAL} of its weight to be another head's of its layer, on average "
        f"over {SAMPLE} rows evenly apart",
        "ours: total variation has a meaning of its own; Clark et al. 2019 and Bian et al. 2021 compare heads likewise",
    ),
    Kind(
        "large_score",
        "large score",
        f"a logit beyond {LARGE:g}",
        "ours: bfloat16 holds whole numbers only from there on, so that rounding may change weights by e^(1/2)",
    ),
)


@dataclass(frozen=True, kw_only=True)
class HeadFinding:
    """Why a head is worth a look."""

    layer: int
    head: int
    #: a name of `KINDS`
    kind: str
    #: the number that says so
    value: float
    #: the sentence
    text: str
    #: what of the sentence a table shows beside head and kind
    short: str
    #: the head of the same layer that it hardly differs from
    other: int | None = None
    #: the key that a sink is
    key: int | None = None


def head_findings(
    heads: Sequence[HeadResult],
    pairs: Mapping[int, Sequence[Pair]],
    specs: Mapping[int, BlockSpec],
    tokens: Sequence[str],
) -> list[HeadFinding]:
    """All findings, kind by kind as `KINDS` has them, and of one kind the most telling first.

    Args:
        pairs: of each layer, heads and those nearest to them.
        specs: of each layer.
    """
    whole = [head for head in heads if not head.statistics.nonfinite_rows]  # of the others nothing can be said
    found = [finding for head in whole for finding in of_head(head, specs[head.layer], tokens)]
    places = {(head.layer, head.head) for head in whole}
    found += [
        identical(layer, pair)
        for layer, near in pairs.items()
        for pair in near
        if pair.distance < IDENTICAL and {(layer, pair.one), (layer, pair.other)} <= places
    ]
    order = [kind.name for kind in KINDS]
    telling = {"collapsed": 1.0, "near_identical": 1.0}  # the smaller, the more
    return sorted(found, key=lambda one: (order.index(one.kind), telling.get(one.kind, -1.0) * one.value))


def of_head(head: HeadResult, spec: BlockSpec, tokens: Sequence[str]) -> Iterator[HeadFinding]:
    """What one head's own statistics say."""
    values = head.statistics

    def finding(kind: str, value: float, short: str, text: str, key: int | None = None) -> HeadFinding:
        text = f"head {head.layer}.{head.head} {text}"
        return HeadFinding(layer=head.layer, head=head.head, kind=kind, value=value, short=short, text=text, key=key)

    for key, mass in sinks(values, spec, head.n):
        short = f"{percent(mass)} of its weight on {named(tokens, key)}"
        yield finding("sink", mass, short, f"puts {short}: a sink", key)
    saturated, share = float(values.saturated_fraction), float(values.normalized_entropy)
    if saturated > MOSTLY_SATURATED:
        short = f"in {percent(saturated)} of its rows one key holds over 0.99"
        yield finding("saturated", saturated, short, f"is saturated: {short}, and training hardly reaches its scores")
    if share < COLLAPSED:
        short = f"entropy {share:.3f} of what is possible"
        yield finding("collapsed", share, short, f"has collapsed: {short}")
    for kind, mass, where in neighbours(values, spec, head.n):
        short = f"{percent(mass)} of its weight on key {where}"
        yield finding(kind, mass, short, f"puts {short}: it looks at the {kind.replace('_', ' ')}")
    if share > NEARLY_UNIFORM:
        short = f"entropy {share:.3f} of what is possible"
        yield finding("near_uniform", share, short, f"hardly chooses: {short}")
    top = float(values.logit_max)
    if top > LARGE:
        short = f"the largest is {number(top)}: bfloat16 would round it to a whole number"
        yield finding("large_score", top, short, f"has a large score: {short}")


def sinks(values: HeadStatistics, spec: BlockSpec, n: int) -> Iterator[tuple[int, float]]:
    """The keys that take more than SINK of a head's weight, and more than they would get from uniform weights.

    Key 0, and the key that gets most of the rows which see it: of all rows a later one gets less, the fewer see it.
    """
    at, mass = values.received_by_seers_argmax, float(values.sink_mass)
    if mass > SINK and mass > EVEN_SHARES * even_share(spec, n, 0):
        yield 0, mass
    if math.isnan(at) or int(at) == 0:
        return
    key, mass = int(at), float(values.received_by_seers_max)
    if mass > SINK and mass > EVEN_SHARES * even_share_of_seers(spec, n, key):
        yield key, mass


def neighbours(values: HeadStatistics, spec: BlockSpec, n: int) -> Iterator[tuple[str, float, str]]:
    """Which neighbour takes more than NEIGHBOUR of a head's weight."""
    for kind, mass, step in (("previous_token", values.previous_mass, -1), ("next_token", values.next_mass, 1)):
        even = even_share_of_neighbour(spec, n, step)
        if float(mass) > NEIGHBOUR and float(mass) > EVEN_SHARES * even:
            yield kind, float(mass), f"i {'−' if step < 0 else '+'} 1"


def even_share(spec: BlockSpec, n: int, key: int) -> float:
    """What a key would get from queries that weigh all the keys that they see alike: the mean over all n queries."""
    first, last = reach(spec, n)
    seen = (first <= key) & (key <= last)
    return float(np.where(seen, 1 / (last - first + 1), 0.0).mean())


def even_share_of_seers(spec: BlockSpec, n: int, key: int) -> float:
    """The same over the queries that see the key; 0 if none does."""
    first, last = reach(spec, n)
    seen = (first <= key) & (key <= last)
    return float((1 / (last - first + 1))[seen].mean()) if seen.any() else 0.0


def even_share_of_neighbour(spec: BlockSpec, n: int, step: int) -> float:
    """The same of key i + step, over the queries i that see it; 0 if none does."""
    first, last = reach(spec, n)
    key = np.arange(n) + step
    seen = (first <= key) & (key <= last)
    return float((1 / (last - first + 1))[seen].mean()) if seen.any() else 0.0


def reach(spec: BlockSpec, n: int) -> tuple[Array, Array]:
    """The first and the last key that each of n queries sees."""
    i = np.arange(n)
    first, last = np.zeros_like(i), i if spec.causal else np.full_like(i, n - 1)
    if spec.window is not None:
        first = np.maximum(first, i - spec.window + (1 if spec.causal else 0))
        last = np.minimum(last, i + spec.window)
    return first, last


def identical(layer: int, pair: Pair) -> HeadFinding:
    """Two heads whose weights hardly differ."""
    compared = "1 row" if pair.rows == 1 else f"{pair.rows} rows"
    short = f"rows differ by {percent(pair.distance, 1)} of their weight ({compared} compared)"
    return HeadFinding(
        layer=layer,
        head=pair.one,
        kind="near_identical",
        value=pair.distance,
        text=f"head {layer}.{pair.one} and head {layer}.{pair.other} hardly differ: their {short}",
        short=short,
        other=pair.other,
    )


def percent(share: float, digits: int = 0) -> str:
    """ "91 %"; no share but all of it is 100 %."""
    text = f"{100 * share:.{digits}f}"
    return f"{text} %" if share >= 1 or not text.startswith("100") else "over 99 %"


def named(tokens: Sequence[str], index: int) -> str:
    """'token 0 "[CLS]"', or 'token 0' where tokens have no names."""
    if not tokens:
        return f"token {index:,}"
    token = shown(tokens[index])
    return f'token {index:,} "{token if len(token) <= LONGEST_TOKEN else token[:LONGEST_TOKEN] + "…"}"'
