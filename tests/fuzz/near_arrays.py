"""Arrays' files that are nearly right: headers that promise too much, odd types, archives at odds with themselves."""

import io
import json
import warnings
import zipfile
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.damage import damaged
from tests.fuzz.trees import ODD, Object, Raw, edited, nested, written

Draw = st.DrawFn

DESCRS = (
    *("'<f4'", "'<f4'", "'<f4'", "'<f8'", "'>f8'", "'<f2'", "'f4'", "'|O'", "'<i8'", "'|b1'", "'|u1'"),
    *("'<c8'", "'|V2'", "'<f16'"),
    *("'<U9'", "'|S0'", "[('a', '<f4')]", "('<f4', (2,))", "('<f4', (99999,))", "'f4,f4'", "''", "None"),
    *("1e999", "0", "b'<f4'", "{}"),
    *("'<f99999999999'", "'|V99999999999999999999'", "'<U999999999'", "'m8[ns]'"),
    *("'M8[99999999999999999999s]'", "'\\x00f4'", "'=f4'"),
    *("[('a', 'O')] * 9", "'<f4' * 9", "[[[['<f4']]]]", "[('é', '<f4')]"),
    *("[('a', [('b', '|V999999999')])]", "'<f4\\n'", "'é'", "'|b1'"),
)  # fmt: skip
SHAPES = (
    *("(3, 6)", "(3, 6)", "(5, 6)", "(5, 6)", "(18,)", "()", "(0, 6)", "(5, 0)", "(1, 3, 6)", "(-3, 6)"),
    *("(-3, -6)", "(3.0, 6)", "[3, 6]"),
    *("(3, True)", "(True, True)", "(1099511627776,)", "(99999999999999999999, 6)"),
    *("(0, 99999999999999999999)", "(3L, 6L)", "None", "3"),
    *("(" + "1, " * 64 + ")", "(" + "1, " * 65 + ")", "(" + "1, " * 2000 + ")", "(2, " * 20 + ")" * 20),
    *("(4611686018427387904, 4)",),
    *("(" + "9" * 4000 + ",)", "(" + "9" * 5000 + ",)", "(0x3, 6)", "(3, 6,", "(3,, 6)", "'(3, 6)'"),
    *("(1 << 40,)", "(3j, 6)", "(None, 6)"),
    *("(" * 300 + ")" * 300, "(1e400, 6)", "(-9223372036854775808, 1)", "(65536, 65536, 65536, 65536)"),
)  # fmt: skip
HEADERS = (
    *("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}",) * 6,
    "{{'descr': {descr}, 'shape': {shape}, }}",
    "{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, 'extra': 1}}",
    "{{'descr': {descr}, 'descr': '<f4', 'fortran_order': {order}, 'shape': {shape}}}",
    "{{1: {descr}, 'fortran_order': {order}, 'shape': {shape}}}",
    "[{descr}, {order}, {shape}]",
    "__import__('os').system('x') or {{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}",
    "{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}} # \x00",
)
ORDERS = ("False", "False", "False", "True", "None", "0", "'no'", "[]")


@st.composite
def npy(draw: Draw) -> bytes:
    """A .npy file of a made-up header."""
    parts = {
        name: draw(st.sampled_from(all_)) for name, all_ in (("descr", DESCRS), ("order", ORDERS), ("shape", SHAPES))
    }
    header = draw(st.sampled_from(HEADERS)).format(**parts).encode() + b" " * draw(st.sampled_from([0, 1, 63])) + b"\n"
    version = draw(st.sampled_from([b"\x01\x00"] * 4 + [b"\x02\x00", b"\x03\x00", b"\x01\x01", b"\xff\xff"]))
    said = max(0, len(header) + draw(st.sampled_from([0, 0, 0, 0, 0, 0, -1, 1, 1000, 1 << 30])))
    width = 4 if version[0] != 1 else 2
    length = (said % (1 << 8 * width)).to_bytes(width, "little")
    count = draw(st.sampled_from([72, 72, 72, 120, 120, 144, 36, 0, 71, 73, 4, 20_000]))
    filling = draw(st.sampled_from([b"\x00", b"\x01", b"\xff", b"\x00\x00\xc0\x7f", b"?\x80"]))
    return b"\x93NUMPY" + version + length + header + (filling * count)[:count]


NAMES = (
    *("x.npy", "x.npy", "embeddings.npy", "q.npy", "k.npy", "v.npy", "mask.npy", "bias.npy", "y.npy", "x"),
    *(".npy", "", "x.npy.npy", "Q.npy"),
    *("../x.npy", "/x.npy", "x/", "x.npy/", "a\x1b[31m.npy", "\u202ex.npy", "é.npy", "a" * 5000 + ".npy"),
    *("[/x].npy", "x\n.npy", "C:\\x.npy"),
    *("blocks.0.attn.W_Q.npy", "blocks.0.attn.W_K.npy", "blocks.0.mlp.W_in.npy", "blocks.1.attn.W_Q.npy"),
    *("blocks.0.ln1.w.npy",),
)  # fmt: skip
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


@st.composite
def npz(draw: Draw, goods: Sequence[bytes], names: Sequence[str] = NAMES) -> bytes:
    """An archive of made-up members, some of them those of a good one, and perhaps damaged."""
    file = io.BytesIO()
    members = [(draw(st.sampled_from(names)), draw(npy())) for _ in range(draw(st.integers(0, 3)))]
    with zipfile.ZipFile(io.BytesIO(draw(st.sampled_from(goods)))) as good:
        kept = draw(
            st.lists(st.sampled_from(good.namelist()), unique=draw(st.sampled_from([True, True, False])), max_size=12)
        )
        whole = draw(st.booleans())  # a good one with one member more, or in place of its own
        kept = [name for name in good.namelist() if not members or name != members[0][0]] if whole else kept
        members = members[: 1 if whole else None] + [(name, good.read(name)) for name in kept]
    with (
        warnings.catch_warnings(action="ignore"),
        zipfile.ZipFile(file, "w") as archive,
    ):  # of names that stand there twice
        archive.comment = draw(st.sampled_from([b"", b"", b"", b"c" * 30, b"PK\x05\x06" + b"\x00" * 18]))
        for name, data in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = draw(st.sampled_from(METHODS))
            archive.writestr(info, data)
    data = file.getvalue()
    return draw(damaged([data])) if draw(st.sampled_from([False, False, True])) else data


@st.composite
def npz_bomb(draw: Draw, name: str) -> bytes:
    """A small archive that says it holds much, and does."""
    rows = draw(st.sampled_from([1000, 100_000, 400_000]))
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, 6), }}\n".encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(24 * rows))
    return file.getvalue()


DTYPES = tuple(
    Raw(f'"{word}"')
    for word in ("F32", "F16", "BF16", "F64", "I64", "BOOL", "F8_E4M3", "f32", "", "\\u202eF32", "F" * 3000)
)
OFFSETS = tuple(
    map(
        Raw,
        (
            "[0, 0]",
            "[0, 4]",
            "[4, 0]",
            "[-4, 4]",
            "[0, 99999999999999999999]",
            "[0.0, 4.0]",
            "[0]",
            "[0, 4, 8]",
            "[true, 8]",
        ),
    )
)
LENGTHS = tuple(
    map(
        Raw,
        (
            "[]",
            "[0]",
            "[-1, -24]",
            "[1, 24]",
            "[4611686018427387904, 4]",
            "[" + "1, " * 70 + "1]",
            "[" + "2, " * 2000 + "1]",
        ),
    )
)
HUGE = Raw("[" + ", ".join(["9" * 4000] * 60) + "]")


@st.composite
def safetensors(draw: Draw, goods: Sequence[bytes]) -> bytes:
    """A good file with its header edited."""
    good = draw(st.sampled_from(goods))
    end = 8 + int.from_bytes(good[:8], "little")
    odd = (*ODD, *DTYPES, *OFFSETS, *LENGTHS, HUGE, nested(60_000))
    root: Any = draw(edited([json.loads(good[8:end])], odd=odd))
    if draw(st.sampled_from([False, False, False, True])):
        root = Object([["__metadata__", draw(st.sampled_from(odd))], *root])
    header = written(root).encode("utf-8", "surrogatepass") + b" " * draw(st.sampled_from([0, 0, 7]))
    said = max(0, len(header) + draw(st.sampled_from([0] * 8 + [-1, 1, 1 << 20, 1 << 40, (1 << 63) - 1])))
    data = good[end:] + bytes(draw(st.sampled_from([0, 0, 0, 1, 64])))
    return said.to_bytes(8, "little") + header + data
