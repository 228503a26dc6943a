"""What a run that keeps its matrices takes, by formula: memory in bytes."""


def matrix_bytes(n: int, m: int, *, heads: int, itemsize: int = 4) -> int:
    """One n × m matrix for each head."""
    return heads * n * m * itemsize


def dense_bytes(n: int, m: int, *, heads: int, layers: int, hidden: bool, itemsize: int = 4) -> int:
    """The matrices of a full trace: scores, logits where they differ (`hidden`: some are masked, capped or biased) and
    weights, kept for every layer, and while one layer is computed three more in the same numbers and one of booleans;
    then, while its statistics are taken, seven panels of at most 32 MiB in float64, and for the asymmetry, which a
    square matrix has, three such matrices whole.
    """
    one = matrix_bytes(n, m, heads=heads, itemsize=itemsize)
    kept = (3 if hidden else 2) * one * layers
    passing = 3 * one + one // itemsize
    panels = 7 * min(heads * n * m * 8, max(32 << 20, heads * m * 8))
    asymmetry = 3 * heads * n * m * 8 if n == m else 0
    return kept + max(passing, panels, asymmetry)
