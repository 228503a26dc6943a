"""What is made of a few keys' scores with all lanes of a stripe: weights e^(logit − shift), and sums.

Logits are to base 2 here. Written as LLVM is given it, with the vectors of `compiled_vectors`.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from attnlab.maths.compiled_vectors import VECTORS, WHOLE, Vectors, called
from attnlab.maths.tiles import FLOORS

#: What is held of a stripe, (…, lanes) each: what its logits are taken relative to, and what none of them may exceed;
#: the largest so far; Σ w, Σ w², Σ w·(logit − shift) and Σ w·distance; the largest logit of the last few keys; what the
#: scores' moments are taken about, how many scores there are, Σ (score − centre) and Σ (score − centre)².
SHIFT, CEILING, TOP, TOTAL, SQUARE, SLOPE, DISTANCE, LARGEST, CENTRE, COUNT, APART, SPREAD = range(12)
HELD = 12
#: Keys whose weights are worked out at a time: as many chains of operations as the processor follows at once.
_CHAINS = 4
#: 2^r = 1 + r·c₁ + r²·c₂ + … for abs(r) ≤ ½, at the nodes of Chebyshev: off by 5e-9 and by 1e-19.
POWERS = {
    32: (
        *(0.6931471880262288, 0.24022650760568126, 0.05550357114219078),
        *(0.009618082557277852, 0.0013390863364671234, 0.0001545316294512069),
    ),
    64: (
        *(0.6931471805599453, 0.24022650695910072, 0.055504108664821625, 0.00961812910762848),
        *(0.001333355814640647, 0.00015403530393370734, 1.5252733841556773e-05, 1.3215486808705563e-06),
        *(1.0178057087733941e-07, 7.0548973041554995e-09, 4.4558179083360645e-10, 2.5729324177362305e-11),
    ),
}


def two_to(vectors: Vectors, x: Sequence[Any]) -> list[Any]:
    """2^x of each, step by step side by side, so that none waits for itvectors.

    x = n + r by adding and taking away what leaves no room for r; n is then added to the exponent's bits.
    """
    b, (fraction, room) = vectors.builder, (23, 1.5 * 2.0**23) if vectors.bits == 32 else (52, 1.5 * 2.0**52)
    shifted = [b.fadd(own, vectors.all_of(room)) for own in x]
    near = [b.fsub(own, vectors.all_of(room)) for own in shifted]
    r = [b.fsub(own, n) for own, n in zip(x, near, strict=True)]
    powers = [vectors.all_of(POWERS[vectors.bits][-1])] * len(r)
    for coefficient in (*POWERS[vectors.bits][-2::-1], 1.0):
        powers = [vectors.times(power, own, vectors.all_of(coefficient)) for power, own in zip(powers, r, strict=True)]
    places = ir.Constant(vectors.wholes, [fraction] * vectors.shape.numbers)
    exponents = [b.shl(b.bitcast(own, vectors.wholes), places) for own in shifted]
    wholes = [b.add(b.bitcast(p, vectors.wholes), n) for p, n in zip(powers, exponents, strict=True)]
    return [b.bitcast(whole, vectors.kind) for whole in wholes]


class _Step(NamedTuple):
    """Where a step over a few keys finds its numbers."""

    vectors: Vectors
    held: Any
    #: scores, which weights take the place of
    weights: Any
    away: Any
    apart: Any
    hidden: "_Hidden | None" = None

    def of(self, what: int, v: int) -> Any:
        """Where one vector of what is held lies."""
        return self.vectors.moved(self.held, (what * VECTORS + v) * self.vectors.shape.numbers)

    def weight(self, r: int, v: int) -> Any:
        """Where one vector of a key's weights lies."""
        return self.vectors.moved(self.weights, (r * VECTORS + v) * self.vectors.shape.numbers)

    def seen(self, hidden: "_Hidden", r: int, v: int) -> Any:
        """Which lanes see a key."""
        b = self.vectors.builder
        first, last = (self.vectors.load(hidden.end(self.vectors, n, v), wholes=True) for n in range(2))
        place = self.vectors.spread(hidden.place(self.vectors, r))
        return b.and_(b.icmp_signed(">=", place, first), b.icmp_signed("<", place, last))


class _Hidden(NamedTuple):
    """Which keys some lanes do not see."""

    #: the step's first key
    first: Any
    #: (2, lanes): the lanes' first key, and the last + 1
    ends: Any
    #: weights of logits this far above the shift count for nothing
    bound: Any

    def place(self, vectors: Vectors, r: int) -> Any:
        """A key's place, as wide as the floats are."""
        found = vectors.builder.add(self.first, ir.Constant(WHOLE, r))
        return found if vectors.bits == 64 else vectors.builder.trunc(found, ir.IntType(32))

    def end(self, vectors: Vectors, n: int, v: int) -> Any:
        """Where one vector of the ends lies."""
        return vectors.moved(self.ends, (n * VECTORS + v) * vectors.shape.numbers)


def _largest(step: _Step) -> Any:
    """Note each lane's largest score; whether one is above its ceiling."""
    vectors, b, above = step.vectors, step.vectors.builder, None
    for v in range(VECTORS):
        largest = vectors.all_of(-math.inf)
        for r in range(vectors.shape.rows):
            score = vectors.load(step.weight(r, v))
            if step.hidden is not None:
                score = b.select(step.seen(step.hidden, r, v), score, vectors.all_of(-math.inf))
            largest = vectors.larger(score, largest)
        vectors.store(largest, step.of(LARGEST, v))
        high = b.fcmp_ordered(">", largest, vectors.load(step.of(CEILING, v)))
        above = high if above is None else b.or_(above, high)
    bits = ir.IntType(vectors.shape.numbers)
    return b.icmp_unsigned("!=", b.bitcast(above, bits), ir.Constant(bits, 0))


def _weigh_vector(step: _Step, v: int) -> None:
    """Weights of one vector of queries and all keys of the step; their sums, and those of the scores."""
    vectors, b = step.vectors, step.vectors.builder
    shift, centre, zero = vectors.load(step.of(SHIFT, v)), vectors.load(step.of(CENTRE, v)), vectors.all_of(0.0)
    floor = vectors.all_of(FLOORS[f"float{vectors.bits}"] / math.log(2))
    sums = [zero] * 7
    for start in range(0, vectors.shape.rows, _CHAINS):
        rows = range(start, start + _CHAINS)
        scores = [vectors.load(step.weight(r, v)) for r in rows]
        x = [b.fsub(score, shift) for score in scores]
        low = [vectors.larger(own, floor) for own in x]
        for r, score, own, lifted, w in zip(rows, scores, x, low, two_to(vectors, low), strict=True):
            count, apart = vectors.all_of(1.0), b.fsub(score, centre)
            if step.hidden is not None:
                seen = step.seen(step.hidden, r, v)
                w = b.select(b.and_(seen, b.fcmp_ordered("<", own, step.hidden.bound)), w, zero)
                count, apart = b.select(seen, count, zero), b.select(seen, apart, zero)
            vectors.store(w, step.weight(r, v))
            back = b.mul(step.apart, ir.Constant(WHOLE, -r))
            away = vectors.load(vectors.moved(step.away, back, v * vectors.shape.numbers))
            products = ((w, w), (w, lifted), (w, away), (apart, apart))
            squares = [vectors.times(one, other, s) for (one, other), s in zip(products, sums[1:5], strict=True)]
            sums = [b.fadd(sums[0], w), *squares, b.fadd(sums[5], apart), b.fadd(sums[6], count)]
    for what, found in zip((TOTAL, SQUARE, SLOPE, DISTANCE, SPREAD, APART, COUNT), sums, strict=True):
        vectors.store(b.fadd(vectors.load(step.of(what, v)), found), step.of(what, v))
    vectors.store(vectors.larger(vectors.load(step.of(LARGEST, v)), vectors.load(step.of(TOP, v))), step.of(TOP, v))


def _weigh(step: _Step) -> None:
    """Weights and sums, unless a score is above its ceiling; returns whether one is."""
    b, answer = step.vectors.builder, ir.IntType(1)
    weigh, stop = b.append_basic_block("weigh"), b.append_basic_block("stop")
    b.cbranch(_largest(step), stop, weigh)
    b.position_at_end(weigh)
    for v in range(VECTORS):
        _weigh_vector(step, v)
    b.ret(ir.Constant(answer, 0))
    b.position_at_end(stop)
    b.ret(ir.Constant(answer, 1))


@intrinsic
def weigh_seen(typingctx: Any, places: Any, apart: Any, like: Any) -> Any:
    """Weigh a few keys that all lanes see; true, and nothing done, where a score exceeds its ceiling.

    Args:
        places: addresses of the scores (keys of a step, lanes), which weights take the place of, of what is held
            (HELD, lanes), and of the distances from the first of the keys to the lanes.
        apart: how many numbers further back the distances of the next key stand.
    """

    def body(builder: Any, weights: Any, held: Any, away: Any, apart_: Any) -> None:
        vectors = Vectors(builder, like)
        _weigh(_Step(vectors, vectors.at(held), vectors.at(weights), vectors.at(away), apart_))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        own = [*(builder.extract_value(arguments[0], i) for i in range(3)), arguments[1]]
        return called(builder, f"attnlab.weigh_seen{like.bitwidth}", ir.IntType(1), own, body)

    return types.boolean(places, types.int64, like), generate


@intrinsic
def weigh_some(typingctx: Any, places: Any, apart: Any, seen: Any, first: Any, bound: Any) -> Any:
    """The same of keys, from the first on, that not all lanes see.

    Args:
        places, apart: as `weigh_seen` has them.
        seen: the address of the lanes' first and last + 1 key, (2, lanes).
        bound: logits so far above the shift, or further, weigh nothing.
    """

    def body(builder: Any, weights: Any, held: Any, away: Any, *rest: Any) -> None:
        apart_, seen_, first_, bound_ = rest
        vectors = Vectors(builder, bound)
        hidden = _Hidden(first_, vectors.at(seen_), vectors.spread(bound_))
        _weigh(_Step(vectors, vectors.at(held), vectors.at(weights), vectors.at(away), apart_, hidden))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        own = [*(builder.extract_value(arguments[0], i) for i in range(3)), *arguments[1:]]
        return called(builder, f"attnlab.weigh_some{bound.bitwidth}", ir.IntType(1), own, body)

    return types.boolean(places, *[types.int64] * 3, bound), generate
