"""Some tokens at a time, where what is made of them on the way is wide."""

from collections.abc import Iterator

#: Elements of the widest array of some tokens at a time: 2 MiB in float64.
AT_ONCE = 1 << 18


def token_chunks(n: int, width: int) -> Iterator[slice]:
    """All of n tokens in order, few enough at a time that an array of that width stays small."""
    height = max(1, AT_ONCE // max(1, width))
    for start in range(0, n, height):
        yield slice(start, min(start + height, n))
