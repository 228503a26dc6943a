"""What a run takes at its largest, by formula: memory in bytes, of arrays; the interpreter's own comes on top.

A run goes through stages, and takes what it keeps all along plus what its hungriest stage needs on the way.
"""

from typing import NamedTuple

#: Elements of what is held in float64 at a time while rows are summed, and rows and tokens while equations are checked.
PANEL, ROWS, TOKENS = 1 << 18, 256, 1 << 18
#: Float64 arrays of a panel while its rows are summed.
PANEL_ARRAYS = 7
#: Float64 numbers that are kept of each row of an attention, while its statistics are made of them.
ROW_NUMBERS = 20


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
    #: the norm stands before the attention and the feed-forward, and not after them
    pre: bool
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


def block_run_bytes(block: BlockSize, n: int, *, layers: int) -> int:
    """A run of n tokens through so many blocks, everything kept, and every step of it checked."""
    changed = block.hidden or block.capped or block.biased
    one = matrix_bytes(n, n, heads=block.heads, itemsize=block.working)
    seen = n * n if block.hidden else 0
    kept = layers * ((3 if changed else 2) * one + seen + trace_vectors(block) * n)
    attention = (one + seen if block.hidden else 0) + (one if block.biased else 0) - late_vectors(block) * n
    summing = panel_bytes(n, n, heads=block.heads) + block.heads * block.d_v * block.working * n
    stages = (attention, summing, checking_bytes(block, n))
    weights = block.parameters * block.itemsize * layers
    return weights + block.d_model * block.itemsize * n + kept + max(stages)


def late_vectors(block: BlockSize) -> int:
    """Bytes per token of T1 … H."""
    normed = 0 if block.pre and not block.d_ff else 1
    output = 1 if block.d_ff and not block.pre else 0
    return (2 + normed + (2 if block.d_ff else 0) + output) * block.d_model * block.itemsize


def trace_vectors(block: BlockSize) -> int:
    """Bytes per token that a block's trace keeps besides its matrices."""
    queries_and_keys = (block.heads + block.shared) * block.d_k * (2 if block.prepared else 1)
    projected = (queries_and_keys + block.shared * block.d_v + (block.d_model if block.pre else 0)) * block.itemsize
    return projected + block.heads * (block.d_v + 1) * block.working + late_vectors(block)


def checking_bytes(block: BlockSize, n: int) -> int:
    """Working out a block's steps again in float64: its weights, its steps twice, what the heads gathered."""
    heads, d = block.heads * block.d_v, block.d_model
    steps = late_vectors(block) // (d * block.itemsize) + (1 if block.pre else 0)
    gathering = d * n + min(n, ROWS) * (n + d)
    normalising = (2 * steps + 4) * d * n
    feeding = (steps + 5) * d * n + 3 * min(n * block.d_ff, TOKENS)
    measuring = steps * d * n + max(block.d_ff, heads) * d
    return 8 * (block.parameters + heads * n + max(gathering, normalising, feeding, measuring))


def streamed_run_bytes(block: BlockSize, n: int, *, layers: int, working: int) -> int:
    """A run of n tokens through so many blocks without their matrices, a few queries of each head worked out in full.

    Args:
        working: what the streamed attention takes beyond its inputs and results.
    """
    shared = block.heads // block.shared
    states = block.d_model * ((2 if layers > 1 else 1) * block.itemsize + block.working)
    states += block.d_model * block.itemsize if block.pre or block.itemsize < 4 else 0
    group = (shared * (block.d_k + block.d_v) + block.d_k + block.d_v) * block.working + shared * block.working
    rows = 8 * (ROW_NUMBERS + 3 * shared + layers * block.heads)
    keys = (block.d_k + 3) * block.working + 8
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
    keys = m * ((d + 3) * itemsize + 8)
    return results + 8 * ROW_NUMBERS * n + max(keys + working, 8 * m * (d + e + 40))
