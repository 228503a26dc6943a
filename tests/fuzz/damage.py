"""Good files with bytes changed, cut, doubled, moved or slipped in, as disks, mails and editors leave them."""

from collections.abc import Callable, Sequence

from hypothesis import strategies as st

#: What is slipped in.
PIECES = (
    *(b"\x00", b"\xff", b"\xef\xbb\xbf", b"\r", b"\n", b"\t", b" ", b'"', b"'", b"{", b"}", b"[", b"]"),
    *(b",", b":", b"\\"),
    *(b"-", b"9" * 30, b"1e999", b"NaN", b"null", b"../", b"\xe2\x80\xae", b"\xed\xa0\x80", b"\x1b[31m"),
    *(b"PK\x05\x06",),
    *(b"\x80" * 9, b"\xff" * 8, b"[" * 3000, b'{"a":' * 3000, b"a" * 3000, b"\n" * 3000),
)  # fmt: skip

Draw = st.DrawFn
Damage = Callable[[Draw, bytes, Sequence[bytes]], bytes]


def _place(draw: Draw, data: bytes) -> int:
    """A place in the data: the ends, where headers are, as often as all between."""
    near = draw(st.integers(0, min(len(data), 300)))
    return draw(st.sampled_from([near, len(data) - near, draw(st.integers(0, len(data)))]))


def flipped(draw: Draw, data: bytes, goods: Sequence[bytes]) -> bytes:
    at = _place(draw, data)
    bits = 1 << draw(st.integers(0, 7))
    return data[:at] + bytes(byte ^ bits for byte in data[at : at + 1]) + data[at + 1 :]


def overwritten(draw: Draw, data: bytes, goods: Sequence[bytes]) -> bytes:
    at, new = _place(draw, data), draw(st.binary(min_size=1, max_size=8))
    return data[:at] + new + data[at + len(new) :]


def cut(draw: Draw, data: bytes, goods: Sequence[bytes]) -> bytes:
    return data[: _place(draw, data)]


def beheaded(draw: Draw, data: bytes, goods: Sequence[bytes]) -> bytes:
    return data[_place(draw, data) :]


def without_part(draw: Draw, data: bytes, goods: Sequence[bytes]) -> bytes:
    at = _place(draw, data)
    return data[:at] + data[at + draw(st.integers(1, 40)) :]


def with_part_twice(draw: Draw, data: bytes, goods: Sequence[bytes]) -> bytes:
    at, length = _place(draw, data), draw(st.integers(1, 200))
    times = draw(st.sampled_from([1, 1, 1, 300]))
    return data[:at] + data[at : at + length] * times + data[at:]


def slipped_in(draw: Draw, data: bytes, goods: Sequence[bytes]) -> bytes:
    at = _place(draw, data)
    return data[:at] + draw(st.sampled_from(PIECES)) + data[at:]


def spliced(draw: Draw, data: bytes, goods: Sequence[bytes]) -> bytes:
    other = draw(st.sampled_from(goods))
    return data[: _place(draw, data)] + other[_place(draw, other) :]


DAMAGES: Sequence[Damage] = (
    *(flipped, overwritten, cut, beheaded),
    *(without_part, with_part_twice, slipped_in, spliced),
)


@st.composite
def damaged(draw: Draw, goods: Sequence[bytes]) -> bytes:
    """One of the good files after one to three damages."""
    data = draw(st.sampled_from(goods))
    for _ in range(draw(st.integers(1, 3))):
        data = draw(st.sampled_from(DAMAGES))(draw, data, goods)
    return data
