"""Vectors, which numba does not know, and products of a few rows with all lanes of a stripe, as LLVM is given them.

A stripe is as many queries as three vectors hold, one to a lane: what is summed over keys is summed lane by lane. Keys
and values are read where they lie, one number at a time to all lanes; queries, weights and outputs are (…, lanes).
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

#: Vectors of a stripe.
VECTORS = 3
#: Sums that a score is made of, one after the other.
PARTS = 4
#: Rows whose scores are worked out at a time.
ROWS_IN_PARTS = 4
#: Keys ahead whose weights and whose values memory is asked for.
_WEIGHTS_AHEAD, _VALUES_AHEAD = 16, 64
WHOLE = ir.IntType(64)


class Shape(NamedTuple):
    """How much fits into the processor's registers."""

    #: numbers of a vector
    numbers: int
    #: rows of a product, each times VECTORS vectors
    rows: int

    @property
    def lanes(self) -> int:
        """Queries of a stripe."""
        return self.numbers * VECTORS


@cache
def shape_for(bits: int) -> Shape:
    """For floats of so many bits: 32 registers of 512 bits, 16 of 256, or what any processor has."""
    features = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
    wide = 512 if "+avx512f" in features else 256 if "+avx" in features else 128
    return Shape(wide // bits, 8 if wide == 512 else 4)


class Vectors:
    """Vectors of one kind of float, as a builder is told to handle them."""

    def __init__(self, builder: Any, number: Any) -> None:
        self.builder, self.bits = builder, number.bitwidth
        self.shape = shape_for(self.bits)
        self.number = ir.DoubleType() if self.bits == 64 else ir.FloatType()
        self.kind = ir.VectorType(self.number, self.shape.numbers)
        self.wholes = ir.VectorType(ir.IntType(self.bits), self.shape.numbers)
        name = f"llvm.fmuladd.v{self.shape.numbers}f{self.bits}"
        self._times = cgutils.get_or_insert_function(builder.module, ir.FunctionType(self.kind, [self.kind] * 3), name)

    def at(self, address: Any) -> Any:
        """Where numbers lie."""
        return self.builder.inttoptr(address, self.number.as_pointer())

    def moved(self, pointer: Any, *steps: Any) -> Any:
        """The pointer so many numbers further on, whole or as found at run time."""
        for step in steps:
            pointer = self.builder.gep(pointer, [ir.Constant(WHOLE, step) if isinstance(step, int) else step])
        return pointer

    def load(self, pointer: Any, *, wholes: bool = False) -> Any:
        """A vector that lies there."""
        kind = self.wholes if wholes else self.kind
        found = self.builder.load(self.builder.bitcast(pointer, kind.as_pointer()))
        found.align = self.bits // 8
        return found

    def store(self, vector: Any, pointer: Any) -> None:
        """Lay it there."""
        done = self.builder.store(vector, self.builder.bitcast(pointer, self.kind.as_pointer()))
        done.align = self.bits // 8

    def fetch(self, pointer: Any, *, to_write: bool = False) -> None:
        """Bring what lies there nearer; where nothing lies, nothing happens."""
        whole = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), whole, whole, whole])
        function = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0")
        what = [ir.Constant(whole, number) for number in (int(to_write), 3, 1)]
        self.builder.call(function, [self.builder.bitcast(pointer, ir.IntType(8).as_pointer()), *what])

    def all_of(self, number: float) -> Any:
        """The constant in every lane."""
        return ir.Constant(self.kind, [number] * self.shape.numbers)

    def spread(self, scalar: Any) -> Any:
        """A number found at run time in every lane."""
        kind = ir.VectorType(scalar.type, self.shape.numbers)
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
        first = ir.Constant(ir.VectorType(ir.IntType(32), self.shape.numbers), [0] * self.shape.numbers)
        return self.builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), first)

    def times(self, a: Any, b: Any, c: Any) -> Any:
        """a b + c, rounded once where the processor can."""
        return self.builder.call(self._times, [a, b, c])

    def total(self, vector: Any) -> Any:
        """The sum of its numbers."""
        name = f"llvm.vector.reduce.fadd.v{self.shape.numbers}f{self.bits}"
        kind = ir.FunctionType(self.number, [self.number, self.kind])
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, [ir.Constant(self.number, 0.0), vector], fastmath=("reassoc",))

    def larger(self, a: Any, b: Any) -> Any:
        """The larger of each pair of numbers."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)


class _Soon(NamedTuple):
    """What is read soon, and brought nearer meanwhile."""

    pointer: Any
    #: numbers further on with each column of the product
    pace: Any

    def further(self, vectors: Vectors, columns: Any) -> "_Soon":
        """What is read soon from one of the product's columns on."""
        return _Soon(vectors.moved(self.pointer, vectors.builder.mul(columns, self.pace)), self.pace)


class _Factors(NamedTuple):
    """What is multiplied: some rows of a, and b (count, lanes)."""

    #: a pointer to each row
    left: Sequence[Any]
    #: how many numbers lie between two columns of a
    step: Any
    right: Any
    #: columns of a, and rows of b
    count: Any

    def part(self, vectors: Vectors, start: Any, count: Any) -> "_Factors":
        """So many columns of a and rows of b, from one of them on."""
        b = vectors.builder
        ahead = [vectors.moved(pointer, b.mul(start, self.step)) for pointer in self.left]
        below = vectors.moved(self.right, b.mul(start, ir.Constant(WHOLE, vectors.shape.lanes)))
        return _Factors(ahead, self.step, below, count)


def _product(vectors: Vectors, factors: _Factors, soon: _Soon) -> list[Any]:
    """Σ_k left[r][k·step] · right[k][v] over at least one k; the sums stay in registers."""
    b, before = vectors.builder, vectors.builder.block
    loop, after = b.append_basic_block("product"), b.append_basic_block("product.done")
    b.branch(loop)
    b.position_at_end(loop)
    k = b.phi(WHOLE)
    k.add_incoming(ir.Constant(WHOLE, 0), before)
    running = [b.phi(vectors.kind) for _ in range(len(factors.left) * VECTORS)]
    for phi in running:
        phi.add_incoming(vectors.all_of(0.0), before)
    row = vectors.moved(factors.right, b.mul(k, ir.Constant(WHOLE, vectors.shape.lanes)))
    across = [vectors.load(vectors.moved(row, v * vectors.shape.numbers)) for v in range(VECTORS)]
    down, found = b.mul(k, factors.step), []
    vectors.fetch(soon.further(vectors, k).pointer)
    for r, pointer in enumerate(factors.left):
        number = vectors.spread(b.load(vectors.moved(pointer, down)))
        found += [vectors.times(number, across[v], running[r * VECTORS + v]) for v in range(VECTORS)]
    for phi, value in zip(running, found, strict=True):
        phi.add_incoming(value, b.block)
    following = b.add(k, ir.Constant(WHOLE, 1))
    k.add_incoming(following, b.block)
    b.cbranch(b.icmp_signed("<", following, factors.count), loop, after)
    b.position_at_end(after)
    return found


def _product_in_parts(vectors: Vectors, factors: _Factors, soon: _Soon) -> list[Any]:
    """The same as the sum of some sums of fewer terms: fewer roundings in a row."""
    b, parts, count = vectors.builder, ir.Constant(WHOLE, PARTS), factors.count
    part = b.udiv(b.add(count, ir.Constant(WHOLE, PARTS - 1)), parts)
    found = _product(vectors, factors._replace(count=part), soon)
    for n in range(1, PARTS):
        start = b.mul(part, ir.Constant(WHOLE, n))
        before, more, done = b.block, b.append_basic_block("part"), b.append_basic_block("part.done")
        b.cbranch(b.icmp_signed("<", start, count), more, done)
        b.position_at_end(more)
        rest = b.sub(count, start)
        own = b.select(b.icmp_signed("<", rest, part), rest, part)
        further = _product(vectors, factors.part(vectors, start, own), soon.further(vectors, start))
        both = [b.fadd(one, other) for one, other in zip(found, further, strict=True)]
        b.branch(done)
        after = b.block
        b.position_at_end(done)
        sums = [b.phi(vectors.kind) for _ in found]
        for phi, alone, whole in zip(sums, found, both, strict=True):
            phi.add_incoming(alone, before)
            phi.add_incoming(whole, after)
        found = sums
    return found


def _write_product(vectors: Vectors, factors: _Factors, apart: Any, places: Sequence[Any], factor: Any) -> None:
    """c = factor·(a b), a few rows at a time: the sums of two parts fit into the registers side by side."""
    b, rows = vectors.builder, ir.Constant(WHOLE, vectors.shape.rows)
    for place in places:
        vectors.fetch(vectors.moved(place, _WEIGHTS_AHEAD * vectors.shape.lanes), to_write=True)
    soon = _Soon(vectors.moved(factors.left[0], b.mul(apart, rows)), ir.Constant(WHOLE, ROWS_IN_PARTS))
    times = vectors.spread(factor)
    for first in range(0, len(factors.left), ROWS_IN_PARTS):
        some = factors._replace(left=factors.left[first : first + ROWS_IN_PARTS])
        sums = _product_in_parts(vectors, some, soon)
        for value, place in zip(sums, places[first * VECTORS :][: len(sums)], strict=True):
            vectors.store(b.fmul(value, times), place)
        soon = soon.further(vectors, factors.count)


def _add_product(vectors: Vectors, factors: _Factors, places: Sequence[Any]) -> None:
    """c += a b."""
    b = vectors.builder
    ahead = vectors.moved(factors.left[0], b.mul(factors.step, ir.Constant(WHOLE, _VALUES_AHEAD)))
    for value, place in zip(_product(vectors, factors, _Soon(ahead, factors.step)), places, strict=True):
        vectors.store(b.fadd(value, vectors.load(place)), place)


def _rows(vectors: Vectors, base: Any, count: Any, apart: Any) -> list[Any]:
    """The first rows, so many numbers apart; past the last of them it again, whose results nobody reads."""
    b, last = vectors.builder, vectors.builder.sub(count, ir.Constant(WHOLE, 1))
    places = [ir.Constant(WHOLE, r) for r in range(vectors.shape.rows)]
    kept = [b.select(b.icmp_signed("<", place, last), place, last) for place in places]
    return [vectors.moved(base, b.mul(place, apart)) for place in kept]


def called(builder: Any, name: str, result: Any, arguments: Sequence[Any], body: Callable[..., Any]) -> Any:
    """What a function of its own answers, which has the registers for itself; written where it is not there yet."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    function = builder.module.globals.get(name)
    if function is None:
        function = ir.Function(builder.module, kind, name)
        function.linkage = "linkonce_odr"
        function.attributes.add("noinline")
        body(ir.IRBuilder(function.append_basic_block("start")), *function.args)
    return builder.call(function, arguments)


@intrinsic(prefer_literal=True)
def multiply(typingctx: Any, places: Any, rows: Any, apart: Any, step: Any, count: Any, add: Any, factor: Any) -> Any:
    """c = factor·(a b), or c += a b if `add` is set, for as many rows as a step has.

    Args:
        places: addresses of a, b (count, lanes) and c (rows of a step, lanes).
        rows: how many rows of a are left, at least 1; where these are fewer than a step's, c's others mean nothing.
        apart, step: how many numbers lie between two rows, and between two columns of a.
        count: columns of a and rows of b, at least 1.
        add: a literal.
        factor: each sum is multiplied by it once, rounded as the plain formula is; of no account where `add` is set.
    """

    def body(builder: Any, a: Any, b: Any, c: Any, *sizes: Any) -> None:
        rows_, apart_, step_, count_, factor_ = sizes
        vectors = Vectors(builder, factor)
        factors = _Factors(_rows(vectors, vectors.at(a), rows_, apart_), step_, vectors.at(b), count_)
        vectors_of_c = range(vectors.shape.rows * VECTORS)
        places_ = [vectors.moved(vectors.at(c), n * vectors.shape.numbers) for n in vectors_of_c]
        if add.literal_value:
            _add_product(vectors, factors, places_)
        else:
            _write_product(vectors, factors, apart_, places_, factor_)
        builder.ret_void()

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, b, c = (builder.extract_value(arguments[0], i) for i in range(3))
        name = f"attnlab.{'add' if add.literal_value else 'set'}_product{factor.bitwidth}"
        called(builder, name, ir.VoidType(), [a, b, c, *arguments[1:5], arguments[6]], body)
        return context.get_dummy_value()

    return types.void(places, *[types.int64] * 4, add, factor), generate


@intrinsic
def sum_lanes(typingctx: Any, weights: Any, factors: Any, like: Any) -> Any:
    """Σ over lanes of weights times factors, which lie at these addresses."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors, total = Vectors(builder, like), None
        a, b = (vectors.at(address) for address in arguments[:2])
        for v in range(VECTORS):
            vectors.fetch(vectors.moved(a, _WEIGHTS_AHEAD * vectors.shape.lanes + v * vectors.shape.numbers))
            one, other = (vectors.load(vectors.moved(p, v * vectors.shape.numbers)) for p in (a, b))
            total = builder.fmul(one, other) if total is None else vectors.times(one, other, total)
        return vectors.total(total)

    return like(types.int64, types.int64, like), generate
