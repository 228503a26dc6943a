"""What a run takes at its largest, by formula: memory in bytes, of arrays; the interpreter's own comes on top.

A run goes through stages, and takes what it keeps all along plus what its hungriest stage needs on the way.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

#: Elements of what is held in float64 at a time while rows are summed, and rows and tokens while equations are checked.
PANEL, ROWS, TOKENS = 1 << 18, 256, 1 << 18
#: Float64 arrays of a panel while its rows are summed.
PANEL_ARRAYS = 7
#: Float64 numbers that are kept of each row of an attention, while its statistics are made of them.
ROW_NUMBERS = 20


NormPosition = Literal["post", "pre", "sandwich", "output"]
#: Arrays that T1 … H take, where H is an earlier step one with it: with a feed-forward, and without.
LATE: dict[NormPosition, tuple[int, int]] = {"post": (6, 3), "pre": (5, 2), "sandwich": (5, 2), "output": (4, 2)}
#: While equations are checked: steps worked out before the hungriest norm is, and what that norm takes itself.
NORMING: dict[NormPosition, tuple[int, int]] = {"post": (6, 4), "pre": (4, 1), "sandwich": (6, 3), "output": (6, 3)}


class BlockSize(NamedTuple):
    """A block, as far as memory goes."""

    d_model: int
    heads: int
    #: key/value heads
    shared: int
    d_k: int
    d_v: int
    #: 0: no feed-forward
    d_ff: int
    #: numbers that it learns
    parameters: int
    norm_position: NormPosition
    #: numbers per token that a norm over all heads' queries, and one over all keys, need before a group of heads comes
    moments: int
    #: rotary positions or a qk_norm make new queries and keys of the projected ones
    prepared: bool
    #: places (causal order, a window) hide keys
    hidden: bool
    #: a softcap makes logits of the scores
    capped: bool
    #: a matrix is added to the scores
    biased: bool
    #: bytes of a number: 2, 4 or 8
    itemsize: int

    @property
    def reads_norm(self) -> bool:
        """Whether the projections read a norm of the block's input, which is an array of its own."""
        return self.norm_position in ("pre", "sandwich")

    @property
    def late(self) -> int:
        """The arrays that T1 … H take."""
        return LATE[self.norm_position][0 if self.d_ff else 1]

    @property
    def working(self) -> int:
        """Bytes of a number that is computed with: half precision is computed in float32."""
        return max(4, self.itemsize)


def matrix_bytes(n: int, m: int, *, heads: int, itemsize: int = 4) -> int:
    """One n × m matrix for each head."""
    return heads * n * m * itemsize


def dense_bytes(
    n: int, m: int, *, heads: int, hidden: bool = False, changed: bool = False, layers: int = 1, itemsize: int = 4
) -> int:
    """The matrices of attentions that are kept in full view: scores and weights, logits where they differ from the
    scores, and which keys are visible; and what one attention, or its statistics, takes on the way.

    Args:
        hidden: some keys are hidden by place or by a mask that all heads share.
        changed: logits differ from scores: keys are hidden, or scores capped or biased.
        itemsize: of the numbers computed with.
    """
    one = matrix_bytes(n, m, heads=heads, itemsize=itemsize)
    seen = n * m if hidden else 0
    kept = layers * ((3 if changed or hidden else 2) * one + seen)
    return kept + max(one + seen if hidden else 0, panel_bytes(n, m, heads=heads))


def panel_bytes(n: int, m: int, *, heads: int) -> int:
    """What summing the rows takes: some rows of all heads at a time, and what is kept of each row."""
    height = min(n, max(1, PANEL // max(1, heads * m)))
    return 8 * (PANEL_ARRAYS * heads * height * m + ROW_NUMBERS * heads * n)


def block_run_bytes(blocks: Sequence[BlockSize], n: int) -> int:
    """A run of n tokens through a stack of blocks, everything kept, and every step of it checked."""
    kept = sum(block.parameters * block.itemsize + kept_bytes(block, n) for block in blocks)
    embeddings = blocks[0].d_model * blocks[0].itemsize * n
    return embeddings + kept + max(passing_bytes(block, n) for block in blocks)


def kept_bytes(block: BlockSize, n: int) -> int:
    """What a run keeps of a block: its matrices and its trace."""
    changed = block.hidden or block.capped or block.biased
    one = matrix_bytes(n, n, heads=block.heads, itemsize=block.working)
    return (3 if changed else 2) * one + (n * n if block.hidden else 0) + trace_vectors(block) * n


def passing_bytes(block: BlockSize, n: int) -> int:
    """What the hungriest stage of a block takes on the way: its attention, summing the rows, or checking the steps."""
    one = matrix_bytes(n, n, heads=block.heads, itemsize=block.working)
    masking = one + n * n if block.hidden else 0
    attention = masking + (one if block.biased else 0) - late_vectors(block) * n
    summing = panel_bytes(n, n, heads=block.heads) + block.heads * block.d_v * block.working * n
    return max(attention, summing, checking_bytes(block, n))


def late_vectors(block: BlockSize) -> int:
    """Bytes per token of T1 … H."""
    return block.late * block.d_model * block.itemsize


def trace_vectors(block: BlockSize) -> int:
    """Bytes per token that a block's trace keeps besides its matrices."""
    queries_and_keys = (block.heads + block.shared) * block.d_k * (2 if block.prepared else 1)
    normed = block.d_model if block.reads_norm else 0
    projected = (queries_and_keys + block.shared * block.d_v + normed) * block.itemsize
    return projected + block.heads * (block.d_v + 1) * block.working + late_vectors(block)


def checking_bytes(block: BlockSize, n: int) -> int:
    """Working out a block's steps again in float64: its weights, its steps twice, what the heads gathered."""
    heads, d = block.heads * block.d_v, block.d_model
    steps = block.late + (0 if block.norm_position == "post" and block.d_ff else 1)
    parts = 2 if block.d_ff else 1
    gathering = d * n + min(n, ROWS) * (n + d)
    normalising = (1 + steps + parts + NORMING[block.norm_position][0 if block.d_ff else 1]) * d * n
    feeding = 4 * d * n + 3 * min(n * block.d_ff, TOKENS)
    measuring = steps * d * n + max(3 * d * n, max(block.d_ff, heads) * d)
    return 8 * (block.parameters + heads * n + max(gathering, normalising, feeding, measuring))


def streamed_run_bytes(block: BlockSize, n: int, *, layers: int, working: int) -> int:
    """A run of n tokens through so many blocks without their matrices, a few queries of each head worked out in full.

    Args:
        working: what the streamed attention takes beyond its inputs and results.
    """
    shared = block.heads // block.shared
    states = block.d_model * ((2 if layers > 1 else 1) * block.itemsize + block.working)
    states += block.d_model * block.itemsize if block.reads_norm or block.itemsize < 4 else 0
    states += 8 * block.moments
    group = (shared * (block.d_k + block.d_v) + block.d_k + block.d_v) * block.working + shared * block.working
    rows = 8 * (ROW_NUMBERS + 3 * shared + layers * block.heads)
    keys = (block.d_k + block.d_v + 5) * block.working + 8
    sampling = 8 * (block.d_k + block.d_v + 40)
    weights = block.parameters * (block.itemsize * layers + 8)
    streaming = n * (states + group + rows) + max(n * keys + working, n * sampling)
    checking = n * block.d_model * block.itemsize + 8 * block.d_model * max(block.d_ff, block.heads * block.d_v)
    return weights + max(streaming, checking)


def streaming_bytes(n: int, m: int, *, heads: int, d: int, e: int, working: int, itemsize: int = 4) -> int:
    """A streamed attention and a few of its queries in full: outputs, what is kept by row and by key, and one head's
    keys made ready.

    Args:
        working: what it takes beyond its inputs and results.
    """
    results = heads * n * (e + 1) * itemsize + 8 * heads * m * 3
    keys = m * ((d + e + 5) * itemsize + 8)
    return results + 8 * ROW_NUMBERS * n + max(keys + working, 8 * m * (d + e + 40))
