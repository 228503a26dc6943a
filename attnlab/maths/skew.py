"""How far from symmetric an attention is, without its matrix: from A_IJ − A_JIᵀ, tile by tile, by a second pass."""

from collections.abc import Callable
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np

from attnlab.maths.heads import Head
from attnlab.maths.precision import Array
from attnlab.maths.statistics import asymmetry_of

#: Queries and keys of a tile: two such tiles and some to spare stay in a cache.
SIDE = 256
#: Where rounding may move a logit further than this, the rows are normalised again, from the second pass's own logits.
ROUGH = 1e-5


class Normalisers(NamedTuple):
    """What makes weights of logits, by row: p = e^(logit − largest) · top."""

    #: (n,) float64
    largest: Array
    top: Array


def blocks_of(n: int) -> list[slice]:
    """The tokens in blocks, whose pairs are the second pass's tiles."""
    return [slice(start, min(start + SIDE, n)) for start in range(0, n, SIDE)]


def head_asymmetry(
    head: Head, rows: Normalisers | None, largest_score: float, pool: Executor, advance: Callable[[], None]
) -> float:
    """‖A − Aᵀ‖_F / (2‖A‖_F) of one head; NaN where a row is not finite or every row is empty.

    Args:
        rows: from the first pass; None = they are made anew.
        largest_score: a bound on abs(scale·q·k).
        pool: its threads work on the tiles.
        advance: called once per block of tokens.
    """
    blocks = blocks_of(len(head.q))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        rough = largest_score * float(np.finfo(head.q.dtype).eps) > ROUGH or head.inputs.bias is not None
        if rows is None or rough:
            rows = _joined(list(pool.map(lambda block: _normalised(head, block, blocks), blocks)))
    difference = square = 0.0
    for apart, squares in pool.map(lambda i: _band(head, rows, blocks, i), range(len(blocks))):
        difference, square = difference + apart, square + squares
        advance()
    return float(asymmetry_of(np.sqrt(difference), np.sqrt(square)))


def _band(head: Head, rows: Normalisers, blocks: list[slice], i: int) -> tuple[float, float]:
    """Σ (a_ij − a_ji)² and Σ a_ij², both orders of each pair, of block i with itself and with the blocks before it."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        one = weights_between(head, rows, blocks[i], blocks[i])
        difference, square = _sum_of_squares(one - one.T), _sum_of_squares(one)
        for block in blocks[:i]:
            if _out_of_reach(head, blocks[i], block):
                continue
            one, other = weights_between(head, rows, blocks[i], block), weights_between(head, rows, block, blocks[i])
            difference += 2 * _sum_of_squares(one - other.T)
            square += _sum_of_squares(one) + _sum_of_squares(other)
    return difference, square


def _out_of_reach(head: Head, queries: slice, keys: slice) -> bool:
    """Whether places alone hide all these keys from all these later queries."""
    window = head.inputs.window
    return window is not None and queries.start - (keys.stop - 1) > window


def weights_between(head: Head, rows: Normalisers, queries: slice, keys: slice) -> Array:
    """The weights p_ij of some queries and keys: (len(queries), len(keys))."""
    s, hidden = _logits(head, queries, keys)
    s -= rows.largest[queries, None].astype(s.dtype)
    p: Array = np.exp(s, out=s)
    p *= rows.top[queries, None].astype(s.dtype)
    if hidden is not None:
        np.copyto(p, 0, where=hidden)
    return p


def _logits(head: Head, queries: slice, keys: slice) -> tuple[Array, Array | None]:
    """Scores after cap and bias, (len(queries), len(keys)), and which of them are hidden."""
    inputs = head.inputs
    s = head.q[queries] @ head.k[keys].T
    s *= s.dtype.type(inputs.scale)
    if inputs.softcap is not None:
        cap = s.dtype.type(inputs.softcap)
        s = np.tanh(s / cap) * cap
    bias = head.bias(queries, keys)
    hidden = head.hidden(queries, keys, bias) if inputs.hides else None
    return s if bias is None else s + bias, hidden


def _normalised(head: Head, queries: slice, blocks: list[slice]) -> Normalisers:
    """The normalisers of some queries, from logits made tile by tile as the second pass makes them."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        largest = np.full(queries.stop - queries.start, -np.inf)
        total = np.zeros(len(largest))
        for block in blocks:
            s, hidden = _logits(head, queries, block)
            if hidden is not None:
                s = np.where(hidden, -np.inf, s)
            peak = np.maximum(largest, s.max(axis=1))
            reference = np.where(np.isneginf(peak), 0, peak)
            total *= np.exp(largest - reference)
            total += np.exp(s - reference.astype(s.dtype)[:, None]).sum(axis=1, dtype=np.float64)
            largest = peak
    return Normalisers(np.where(np.isneginf(largest), 0, largest), 1 / np.where(total == 0, np.inf, total))


def _joined(parts: list[Normalisers]) -> Normalisers:
    return Normalisers(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _sum_of_squares(p: Array) -> float:
    """Σ p², each row in the dtype computed in, the rows in float64."""
    return float(np.vecdot(p, p).sum(dtype=np.float64))
