"""What a run takes at its largest, by formula: memory in bytes, of arrays; the interpreter's own comes on top.

A run goes through stages, and takes what it keeps all along plus what its hungriest stage needs on the way.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

#: Elements of what is held in float64 at a time while rows are summed, and rows and tokens while equations are checked.
PANEL, ROWS, TOKENS = 1 << 18, 256, 1 << 18
#: Scores held in float64 at a time while their variance is made of their vectors.
SCORES = 1 << 16
#: Queries and tokens that a streamed run works out in full.
SAMPLE = 8
#: Keys of a tile are whole numbers of these.
VECTOR = 16
#: Bytes of the records of a head, and of a layer: Python's own.
HEAD, LAYER = 6 << 10, 16 << 10
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
    n: int,
    m: int,
    *,
    heads: int,
    d: int,
    e: int,
    hidden: bool = False,
    changed: bool = False,
    layers: int = 1,
    itemsize: int = 4,
) -> int:
    """The matrices of attentions that are kept in full view: scores and weights, logits where they differ from the
    scores, and which keys are visible; and what one attention, its statistics or checks of them take on the way.

    Args:
        d, e: widths of queries and keys, and of values.
        hidden: some keys are hidden by place or by a mask that all heads share.
        changed: logits differ from scores: keys are hidden, or scores capped or biased.
        itemsize: of the numbers computed with.
    """
    one = matrix_bytes(n, m, heads=heads, itemsize=itemsize)
    seen = n * m if hidden else 0
    kept = layers * ((3 if changed or hidden else 2) * one + seen + heads * (n * e * itemsize + HEAD))
    passing = max(panel_bytes(n, m, heads=heads), lengths_bytes(max(n, m), heads=heads, e=e), identity_bytes(n, m, d))
    return kept + max(one + seen if hidden else 0, passing)


def panel_bytes(n: int, m: int, *, heads: int) -> int:
    """What summing the rows takes: some rows of all heads at a time, and what is kept of each row."""
    height = min(n, max(1, PANEL // max(1, heads * m)))
    return 8 * (PANEL_ARRAYS * heads * height * m + ROW_NUMBERS * heads * n)


def lengths_bytes(n: int, *, heads: int, e: int) -> int:
    """The lengths of n vectors of each head, some at a time in float64, and their absolute values."""
    height = min(n, max(1, PANEL // 8 // max(1, heads * e)))
    return 8 * heads * (2 * height * e + n)


def identity_bytes(n: int, m: int, d: int) -> int:
    """A head's queries and keys in float64, and what the variance of their scores is made of: the covariances of their
    numbers, or, where vectors are wider than there are of them, some scores at a time."""
    between = 3 * d * d if d <= min(n, m) else 2 * min(n * m, max(SCORES, m))
    return 8 * max((n + m) * d + between, 2 * max(n, m) * d)


def block_run_bytes(blocks: Sequence[tuple[BlockSize, int]], n: int) -> int:
    """A run of n tokens through a stack of blocks, everything kept, and every step of it checked.

    Args:
        blocks: each kind, and how many there are of it.
    """
    kept = sum(count * block_bytes(block, n) for block, count in blocks)
    embeddings = blocks[0][0].d_model * blocks[0][0].itemsize * n
    return embeddings + kept + max(passing_bytes(block, n) for block, _ in blocks)


def block_bytes(block: BlockSize, n: int) -> int:
    """A block with its weights, all that a run keeps of it, and its records."""
    return block.parameters * block.itemsize + kept_bytes(block, n) + LAYER + block.heads * HEAD


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
    lengths = max(lengths_bytes(n, heads=block.shared, e=block.d_v), lengths_bytes(n, heads=block.heads, e=block.d_v))
    summing = max(panel_bytes(n, n, heads=block.heads), lengths)
    identity = 0 if block.hidden else identity_bytes(n, n, block.d_k)
    return max(attention, summing, identity, predicting_bytes(block, n), checking_bytes(block, n))


def predicting_bytes(block: BlockSize, n: int) -> int:
    """A law of a head's scores: its W_Q and W_K in float64, their QR decomposition, and forms on their common span.

    How many times their size each takes is measured.
    """
    if n < 2 or block.hidden or block.prepared or block.capped or block.biased:
        return 0
    weights, span = 2 * block.d_model * block.d_k, min(block.d_model, 2 * block.d_k)
    return 8 * (weights + max(9 * weights // 2, 2 * span * block.d_k + 15 * span**2 // 2))


def looking_bytes(block: BlockSize) -> int:
    """What a head's weights alone say: its factors in float64 with the norm's gain, their QR decompositions, and the
    products, which are no larger. How many times their size that takes is measured."""
    scores, values = 2 * block.d_model * block.d_k, 2 * block.d_model * block.d_v
    return 8 * (2 * scores + 2 * values + max(5 * scores, 3 * values))


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
    feeding = 4 * d * n + 3 * min(n * block.d_ff, max(TOKENS, block.d_ff))
    measuring = steps * d * n + max(3 * d * n, max(block.d_ff, heads) * (d + 2))
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
    weights = block.parameters * (block.itemsize * layers + 8) + layers * (LAYER + block.heads * HEAD)
    few = min(n, SAMPLE)
    kept = layers * few * ((block.late + 1) * block.d_model * block.itemsize + 8 * block.heads * block.d_v)
    streaming = n * (states + group + rows) + max(n * keys + working, n * sampling)
    feeding = n * states + 3 * block.working * min(n * block.d_ff, max(TOKENS, block.d_ff))
    checking = n * block.d_model * block.itemsize + checking_bytes(block, few) - 8 * block.parameters
    predicting = n * states + predicting_bytes(block, n)
    return weights + kept + max(streaming, feeding, checking, predicting)


def streaming_bytes(n: int, m: int, *, heads: int, d: int, e: int, working: int, itemsize: int = 4) -> int:
    """A streamed attention and a few of its queries in full: outputs, what is kept by row and by key, and one head's
    keys made ready.

    Args:
        working: what it takes beyond its inputs and results.
    """
    results = heads * (n * (e + 1) * itemsize + 8 * m * 3 + HEAD)
    keys = -(-m // VECTOR) * VECTOR * (d + e + 5) * itemsize + 8 * m
    lengths = lengths_bytes(max(n, m), heads=1, e=max(d, e))
    sampled = 8 * (m * (d + e + 40) + SAMPLE * (d + e)) + 3 * 8 * max(n, m) * max(d, e)
    return results + 8 * ROW_NUMBERS * n + max(keys + max(working, lengths), sampled)
