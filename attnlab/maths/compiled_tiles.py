"""A run of tiles that every query of a panel sees whole, in one compiled call: products, exponentials and sums.

Python is not needed between tiles, and so several threads do not wait for each other. The products are numpy's own
(`blas`), called by address. What `PanelPass` does tile by tile means the same.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from attnlab.maths.blas import products
from attnlab.maths.compiled import compiled, largest, row_sums
from attnlab.maths.kernels import RunOfTiles
from attnlab.maths.precision import Array
from attnlab.maths.running import Running
from attnlab.maths.tiles import FLOORS, SLACK

#: What cblas calls row-major order, and a matrix that is not transposed.
_ROW_MAJOR, _AS_IT_IS = 101, 111


#: Queries and keys of one product: small enough for OpenBLAS to skip the copies that it makes of large matrices.
BLOCK_ROWS, BLOCK_KEYS = 64, 128


@intrinsic
def _gemm(
    typingctx: Any, address: Any, sizes: Any, a: Any, lda: Any, b: Any, ldb: Any, c: Any, ldc: Any, beta: Any
) -> Any:
    """c = a b + beta c by the cblas function at the address; sizes are rows of a, columns of b, columns of a."""
    number = a.dtype

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        real = context.get_value_type(number)
        whole, choice, pointer = ir.IntType(64), ir.IntType(32), real.as_pointer()
        where, shape, a_, lda_, b_, ldb_, c_, ldc_, beta_ = arguments
        kinds = [choice] * 3 + [whole] * 3 + [real, pointer, whole, pointer, whole, real, pointer, whole]
        function = builder.inttoptr(where, ir.FunctionType(ir.VoidType(), kinds).as_pointer())
        data = [
            context.make_array(kind)(context, builder, value).data
            for kind, value in zip((a, b, c), (a_, b_, c_), strict=True)
        ]
        m, n, k = (builder.extract_value(shape, i) for i in range(3))
        fixed = [ir.Constant(choice, value) for value in (_ROW_MAJOR, _AS_IT_IS, _AS_IT_IS)]
        one = ir.Constant(real, 1.0)
        builder.call(function, [*fixed, m, n, k, one, data[0], lda_, data[1], ldb_, beta_, data[2], ldc_])
        return context.get_dummy_value()

    return types.void(address, sizes, a, lda, b, ldb, c, ldc, beta), generate


@compiled
def _row(
    row: Array,
    e: Array,
    distances: Array,
    floor: float,
    r: int,
    q: Array,
    shift: Array,
    sums: Array,
    output: Array,
) -> None:
    """Weigh one row of a tile; its shift is raised first where it has none, and after where a logit is far above it."""
    raised = floor - floor
    if shift[r] == -np.inf:
        raised = largest(row)
        shift[r] = 0.0
        for c in range(len(row)):
            row[c] -= raised
    top, total, square, slope, distance = row_sums(row, e, distances, floor)
    if top > SLACK:
        raised = top
        for c in range(len(row)):
            row[c] -= raised
        top, total, square, slope, distance = row_sums(row, e, distances, floor)
    if raised != 0:
        kept = np.exp(-np.float64(raised)) if sums[1, r] > 0 else 0.0
        sums[0, r] -= raised
        sums[3, r] = (sums[3, r] - raised * sums[1, r]) * kept
        sums[1, r] *= kept
        sums[2, r] *= kept * kept
        sums[4, r] *= kept
        for c in range(output.shape[1]):
            output[r, c] *= kept
        shift[r] += raised
        q[r, q.shape[1] - 1] = -shift[r]
    sums[0, r] = max(sums[0, r], top)
    sums[1, r] += total
    sums[2, r] += square
    sums[3, r] += slope
    sums[4, r] += distance


@compiled
def _scores(address: int, q: Array, tile: Array, width: int, scores: Array) -> None:
    """scores = q tile, block by block; rows of the tile are `width` apart."""
    rows, columns = scores.shape
    depth = q.shape[1]
    for left in range(0, columns, BLOCK_KEYS):
        sizes = (rows, min(BLOCK_KEYS, columns - left), depth)
        _gemm(address, sizes, q, depth, tile[:, left:], width, scores[:, left:], columns, scores.dtype.type(0))


@compiled
def _outputs(address: int, e: Array, v: Array, output: Array) -> None:
    """output = e v, block by block."""
    rows, columns = e.shape
    values = v.shape[1]
    for left in range(0, columns, BLOCK_KEYS):
        sizes = (rows, values, min(BLOCK_KEYS, columns - left))
        add = e.dtype.type(0 if left == 0 else 1)
        _gemm(address, sizes, e[:, left:], columns, v[left:], values, output, values, add)


@compiled
def run_tiles(
    address: int,
    q: Array,
    tiles: Array,
    v: Array,
    keys: tuple[int, int],
    away: Array,
    floor: float,
    s: Array,
    weights: Array,
    output: Array,
    shift: Array,
    shifts: Array,
    sums: Array,
    total_output: Array,
) -> None:
    """Go through the keys of a range, tile by tile, and bring a panel's running sums up to date.

    Args:
        address: of the product for this dtype.
        q: (B, d + 1) scale·q, and minus the shift.
        tiles: (tiles, d + 1, T), as `KeySide` holds them.
        v: (m, e).
        keys: first and last + 1.
        away: abs(x) from x = (first key) − (first query) − B + 1 on.
        s, weights, output: room for BLOCK_ROWS·T scores, for B weights of each key, and (BLOCK_ROWS, e).
        shift: (B,) what logits are taken relative to, -inf where nothing was seen; raised here.
        shifts: (tiles in the range, B) the shift after each tile.
        sums: (5, B) top, Σ w, Σ w², Σ w·(logit − shift) and Σ w·distance.
        total_output: (B, e) Σ w v.
    """
    rows, width = q.shape[0], tiles.shape[2]
    first, last = keys
    start, count = first, 0
    while start < last:
        t = start // width
        stop = min(last, (t + 1) * width)
        columns = stop - start
        e = weights[rows * (start - first) : rows * (stop - first)].reshape(rows, columns)
        for low in range(0, rows, BLOCK_ROWS):
            high = min(low + BLOCK_ROWS, rows)
            own = s[: (high - low) * columns].reshape(high - low, columns)
            _scores(address, q[low:high], tiles[t, :, start - t * width :], width, own)
            for r in range(low, high):
                line = away[rows - 1 - r + start - first : rows - 1 - r + stop - first]
                _row(own[r - low], e[r], line, floor, r, q, shift, sums, total_output)
            _outputs(address, e[low:high], v[start:stop], output)
            for r in range(low, high):
                for c in range(v.shape[1]):
                    total_output[r, c] += output[r - low, c]
        shifts[count] = shift
        start, count = stop, count + 1


def take_run(run: RunOfTiles, running: Running) -> list[Array] | None:
    """Add a run of tiles to the running sums in one call; what the weights of each tile are relative to, (B,) each.

    None where numpy's products cannot be called by address: nothing is done then.
    """
    found = products()
    if found is None:
        return None
    dtype, width = run.q.dtype, run.tiles.shape[2]
    shifts = np.empty((-(-run.keys.stop // width) - run.keys.start // width, len(run.q)))
    sums = np.stack([running.top, running.total, running.square, running.slope, running.distance])
    run_tiles(
        found.address(dtype.name),
        run.q,
        run.tiles,
        run.v,
        (run.keys.start, run.keys.stop),
        run.away,
        dtype.type(FLOORS[dtype.name]),
        run.scores,
        run.weights,
        run.outputs,
        running.shift,
        shifts,
        sums,
        running.output,
    )
    running.top, running.total, running.square, running.slope, running.distance = sums
    running.shift = shifts[-1]
    return list(shifts)
