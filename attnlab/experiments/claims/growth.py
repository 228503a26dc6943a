"""Lemma 3's surroundings: the N² that makes long texts dear, and attention beside a lookup table."""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnlab.experiments.claims.claim import Claim, Evidence, Setting, Trial, highest, true_as_it_stands
from attnlab.experiments.claims.laws import Laws
from attnlab.experiments.claims.scale import dense_operations, drawn_inputs, inputs_of
from attnlab.maths.precision import Array
from attnlab.measure.operations import Product, counted, total
from attnlab.records import Table
from attnlab.show.numbers import number
from attnlab.theory.costs import CORE, PROJECTIONS, BlockShape, multiply_adds

#: The classic block, whose core passes the projections at 2d and all the rest at 6d.
SHAPE = BlockShape(d_model=512, n_heads=8, n_kv_heads=8, d_k=64, d_v=64, d_ff=2048)
#: Lengths whose multiply-adds are counted as they are carried out; lengths that the formula is taken to.
CARRIED_OUT, SHORT, LONG = (128, 256, 512), 256, 1 << 20
#: Bytes of one head's weights in float32 at 65,536 tokens.
TOKENS, GIB = 65_536, 2**30
#: From what factor for twice the tokens on, and up to what, a cost counts as quadratic and as linear.
QUADRATIC, LINEAR = 3.9, 2.2


def core(laws: Laws, n: int) -> int:
    """Multiply-adds of QKᵀ and weights × V, by the formula."""
    return multiply_adds(laws.costs(SHAPE, n), CORE)


def rest(laws: Laws, n: int) -> int:
    """Those of projections and feed-forward."""
    return multiply_adds(laws.costs(SHAPE, n), (*PROJECTIONS, "feed_forward"))


def doubled(laws: Laws, n: int) -> float:
    """What twice the tokens cost the whole block, as a factor."""
    return (core(laws, 2 * n) + rest(laws, 2 * n)) / (core(laws, n) + rest(laws, n))


def bottleneck(setting: Setting) -> Evidence:
    """The critical limitation."""
    laws, factors, d = setting.laws, list[float](), SHAPE.d_model
    for rng in setting.rounds(20):
        took = [dense_operations(laws, drawn_inputs(laws, rng, n)[0]) for n in CARRIED_OUT]
        factors += [after / before for before, after in itertools.pairwise(took)]
    off = highest(*(abs(factor - 4) for factor in factors))
    formula = highest(*(abs(core(laws, 2 * n) / core(laws, n) - 4) for n in (SHORT, LONG)))
    level, long, short = core(laws, 6 * d) / rest(laws, 6 * d), doubled(laws, LONG), doubled(laws, SHORT)
    matrix = 4 * TOKENS**2 / GIB
    return Evidence(
        measured=long,
        expected=4.0,
        in_short=f"N² passes the rest at {6 * d:,} tokens (d {d}): then × {number(long)} for twice",
        samples=len(CARRIED_OUT) * setting.samples,
        unit="counts",
        finding=f"Twice the tokens cost the core {number(4 + off)} times the multiply-adds, counted as they are "
        f"carried out. In a block of width {d} that is {number(short)} times for all of it at {SHORT} tokens, and "
        f"{number(long)} at {LONG:,}; one head's weights take {matrix:.0f} GiB in float32 at {TOKENS:,}.",
        trials=(
            Trial(what="core, twice the tokens: carried out, off a factor of 4 by", value=off, high=0.0),
            Trial(what="core, twice the tokens: by the formula, off 4 by", value=formula, high=0.0),
            Trial(what=f"core ÷ all the rest at N = 6d = {6 * d:,}", value=level, low=1.0, high=1.0),
            Trial(what=f"block, twice the tokens, from {LONG:,}: a factor of", value=long, low=QUADRATIC, high=4.0),
            Trial(what=f"block, twice the tokens, from {SHORT}: a factor of", value=short, high=LINEAR),
        ),
    )


QUADRATIC_LIMIT = Claim(
    id="quadratic-limit",
    quote="A complexidade quadrática em relação ao comprimento da sequência representa um gargalo significativo para o "
    "processamento de sequências muito longas",
    translation="The complexity that is quadratic in the sequence's length is a significant bottleneck for the "
    "processing of very long sequences",
    place="“Limitação Crítica”, after Lemma 3",
    statement="quadratic cost is a bottleneck for long texts",
    source="Vaswani et al. 2017, table 1",
    argument="Of a block's multiply-adds 12Nd² grow with the text and 2N²d with its square: the square passes the "
    "projections at N = 2d, and all the rest at 6d. Far beyond 6d each doubling costs nearly four times, far below "
    "it hardly more than two, and at 6d three, which is why “muito longas” (very long) belongs to the sentence.",
    method=f"The multiply-adds of QKᵀ and weights × V, noted by the arrays as they are carried out at "
    f"{', '.join(map(str, CARRIED_OUT))} tokens; and a block's, by formula, d = {SHAPE.d_model}, {SHAPE.n_heads} "
    f"heads, feed-forward {SHAPE.d_ff:,}.",
    experiment=bottleneck,
    rule=true_as_it_stands,
    expected_verdict="holds",
    proof=None,
    remains="All of it, for texts well beyond 6d tokens. The memory can be had in O(N): see lemma-3.",
)


@dataclass(frozen=True, eq=False)
class Watched:
    """A key that counts how often it is hashed or compared."""

    value: int
    ledger: list[str]

    def __hash__(self) -> int:
        self.ledger.append("hash")
        return hash(self.value)

    def __eq__(self, other: object) -> bool:
        self.ledger.append("compare")
        return isinstance(other, Watched) and self.value == other.value

    def __lt__(self, other: "Watched") -> bool:
        self.ledger.append("compare")
        return self.value < other.value


#: Keys and queries of the four ways to look up, and the width that dot products have.
SIZES, D = (64, 128, 256, 512), 16
#: The most steps of a hash table for each key and query: put in, asked for, compared.
HASHED = 4.0
#: The most comparisons of sorting for N log2 N, two sorts and a search; and for twice the keys, a factor.
SORTED, SORTED_TWICE = 6.0, 2.5
#: What the scores are multiplied by, so that attention is as hard as its lookup.
HARD = 1e4
#: How far from a key's value attention's output may be to have found it.
ALIKE = 1e-6


@dataclass(frozen=True, kw_only=True)
class LookUps:
    """Steps of the four ways for n keys and n queries, and how many queries they do not agree on."""

    n: int
    hashed: int
    compared: int
    argmax: int
    attention: int
    wrong: int


def watched(values: Array, ledger: list[str]) -> Array:
    """Keys that count."""
    found = np.empty(len(values), dtype=object)
    found[:] = [Watched(int(value), ledger) for value in values]
    return found


def look_up(laws: Laws, rng: np.random.Generator, n: int) -> LookUps:
    """The same n queries by hash table, in sorted order, by the largest q·k, and by attention."""
    names, order = rng.permutation(10 * n)[:n], rng.permutation(n)
    steps: list[list[str]] = [[], []]
    places = [
        way(watched(names, ledger), watched(names[order], ledger))
        for way, ledger in zip((laws.hash_lookup, laws.sorted_lookup), steps, strict=True)
    ]
    k = rng.standard_normal((n, D))
    k /= np.linalg.norm(k, axis=1, keepdims=True)
    q, v, products = k[order], rng.standard_normal((n, D)), list[Product]()
    best = laws.argmax_lookup(q, counted(k, "scores", products))
    output = laws.steps(inputs_of(HARD * q, k, v)).output[0]
    alike = np.abs(output - v[order]).max(axis=-1) <= ALIKE
    misses = [int((found != order).sum()) for found in (*places, best)]
    return LookUps(
        n=n,
        hashed=len(steps[0]),
        compared=len(steps[1]),
        argmax=total(products),
        attention=dense_operations(laws, inputs_of(q, k, v)),
        wrong=sum(misses) + int((~alike).sum()),
    )


def compared_with_a_table(setting: Setting) -> Evidence:
    """The theoretical question."""
    found = [look_up(setting.laws, rng, n) for rng in setting.rounds(21) for n in SIZES]
    last = found[len(SIZES) - 1]
    times = highest(*(abs(one.attention / one.argmax - 2) for one in found))
    return Evidence(
        measured=last.attention / last.argmax,
        expected=2.0,
        in_short="twice its own hard lookup; sorted O(N log N), hash O(N)",
        samples=len(found),
        unit="sizes",
        finding=f"At N = {last.n} a hash table takes {last.hashed:,} steps, sorting and halving {last.compared:,} "
        f"comparisons, the largest q·k {last.argmax:,} multiply-adds and attention {last.attention:,}: "
        f"{number(last.attention / last.argmax)} times its own hard lookup. All four find the same keys.",
        trials=(
            Trial(what="queries on which the four disagree", value=float(sum(one.wrong for one in found)), high=0.0),
            Trial(
                what="hash table: steps ÷ N, the most",
                value=highest(*(one.hashed / one.n for one in found)),
                high=HASHED,
            ),
            Trial(
                what="sorted: comparisons ÷ N log2 N, the most",
                value=highest(*(one.compared / (one.n * math.log2(one.n)) for one in found)),
                high=SORTED,
            ),
            Trial(
                what="sorted: comparisons for twice the keys, the largest factor",
                value=highest(*(b.compared / a.compared for a, b in itertools.pairwise(found) if b.n == 2 * a.n)),
                high=SORTED_TWICE,
            ),
            Trial(
                what="largest q·k: multiply-adds off N²d, as a share",
                value=highest(*(abs(one.argmax / (one.n**2 * D) - 1) for one in found)),
                high=0.0,
            ),
            Trial(what="attention ÷ largest q·k: multiply-adds, off 2 by", value=times, high=0.0),
        ),
        tables=[look_up_table(found[: len(SIZES)])],
    )


def look_up_table(found: Any) -> Table:
    """Steps by the number of keys and queries."""
    return Table(
        title="Steps for N look-ups among N keys",
        columns=("N", "hash", "sorted", "largest q·k", "attention"),
        rows=[(f"{one.n:,}", one.hashed, one.compared, one.argmax, one.attention) for one in found],
        note="hash: hashes and comparisons; sorted: comparisons; the others: multiply-adds",
    )


LOOKUP_QUESTION = Claim(
    id="lookup-question",
    quote="Como a complexidade computacional do mecanismo de atenção se compara com uma tabela de consulta "
    "tradicional?",
    translation="How does the computational complexity of the attention mechanism compare with a traditional lookup "
    "table?",
    place="the theoretical question before Lemma 3, which answers O(N² d)",
    statement="attention beside a lookup table: O(N²d)",
    source="derived here",
    argument="It depends on the table. An exact match can be found by hashing, O(N) for N queries, or in sorted "
    "order, O(N log N). A match by the largest q·k, the table that Lemma 2 makes soft, is found by looking at every "
    "key: O(N²d), as in attention, whose second product doubles it. Softness costs a factor of 2 in multiply-adds; "
    "what costs the square is that every query is compared with every key.",
    method=f"{', '.join(map(str, SIZES))} keys and as many queries, each a key's own. Keys count how often they are "
    "hashed and compared; arrays note the products that they take part in; and all four must find the same keys, "
    "attention with scores so large that it is hard.",
    experiment=compared_with_a_table,
    rule=true_as_it_stands,
    expected_verdict="holds",
    proof=None,
    remains="The answer: hash table O(N), sorted O(N log N), largest q·k O(N²d), attention O(N²d). Attention takes 2 "
    "times the multiply-adds of its own hard lookup, the same order; of the tables tried, only those with exact "
    "matches are cheaper.",
)
