"""Texts that are nearly right: tables of numbers, tokens, token numbers, and configurations in YAML."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.trees import ODD, Object, Raw, edited, written

Draw = st.DrawFn

CELLS = (
    *("1", "-2.5", "0", "1e-3", "+.5", "6.", "nan", "inf", "-Infinity", "NAN", "1e308", "5e-324", "0.1"),
    *("", " ", "1e400", "-1e999", "0x10", "1_000", "1,5", "1 2", "1;2", '"1"', "'1'", "\ufeff1", "one"),
    *("1e", "e5", "--1", "1+2j", "True"),
    *("\x00", "1\x00", "\x1b[31m", "\u202e1", "١", "१", "1\u2028", "\x0b1", "\x1c", "1\x85", "#1", "1#"),
    *("9" * 400, "9" * 30_000, "0." + "0" * 30_000),
    *("nan(1)", "infin", "1d5", "1f", "0b1", "١٢", "½", "\ud800", "a" * 5000, "1\u00a0", "-", ".", "1.2.3"),
    *("\t1", "1\t", "1\r2"),
)  # fmt: skip
NAMES = ("the,", "bank;", '"a,""b",', '"",', ",", '"open,', "1914,", "\ud800,", "\x00,", "\x1b[2J,")
HEADERS = ("a,b,c,d,e,f\n", ",0,1,2,3,4,5\n", "token;a;b;c;d;e;f\n", '"","V1"\n', '"a\n')
ENDS = ("\n", "\n", "\n", "\r\n", "\r", "\n\n", "\x0c", "\u2028", "\x85", "\x1e", "")
ENCODINGS = ("utf-8", "utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1", "utf-32")


def encoded(text: str, encoding: str) -> bytes:
    return text.encode(encoding, "surrogatepass" if encoding.startswith("utf") else "replace")


@st.composite
def csv(draw: Draw) -> bytes:
    """Rows of six numbers, or nearly."""
    rows = []
    for _ in range(draw(st.integers(0, 6))):
        cells = draw(st.lists(st.sampled_from(CELLS[:13]), min_size=6, max_size=6))
        for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
            cells[draw(st.integers(0, 5))] = draw(st.sampled_from(CELLS))
        width = draw(st.sampled_from([6] * 8 + [5, 7, 600]))
        name = draw(st.sampled_from(["", "", "", *NAMES]))
        rows.append(
            name + draw(st.sampled_from([",", ",", ",", ",", ",", ", ", ";", "\t", ",,"])).join((cells * 100)[:width])
        )
    text = draw(st.sampled_from(["", "", "", "", *HEADERS, "#\n", "\n", "sep=,\n", "\ufeff"]))
    text += "".join(row + draw(st.sampled_from(ENDS)) for row in rows * draw(st.sampled_from([1, 1, 1, 1, 1000])))
    return encoded(text, draw(st.sampled_from(ENCODINGS)))


TOKENS = (
    *('"the"', '"é"', '"\\ud83d\\ude42"', '""', '"\\u0000"', '"\\u202e"', '"\\ud800"', '"\\udc00\\ud800"'),
    *("the", "'the'", '"the', '"the" '),
    *('"a" "b"', "1", "null", "[]", '["the"]', '{"a": 1}', "NaN", "", " ", '"\t"', '"\\x"', '"\\u12"'),
    *("\ufeff\"the\"", '"' + "a" * 5000 + '"'),
    *("[" * 5000, '"a"\x0c', '\x0b"a"', '"a"\u2028', '"a"\x1c"b"', "\u202e", "\x1b[31m", "\ud800", '"a",'),
    *('"\x7f"', '"[/x]"', '"a"' * 3000),
)  # fmt: skip
NUMBERS = (
    *("101", "7592", "0", "102,", ",", "[101,", "102]", "2147483647", "2147483648", "99999999999", "-1"),
    *("1.5", "1e3", "0x10", "١", "²"),
    *("\x00", "\u202e", "\x1b[31m", "9" * 5000, "a" * 5000, "\ufeff", "\ud800", "the", "+1", "1_0", "[]"),
    *("[[1]]", '"1"', "\x1c", "\u2003", "\x85"),
)  # fmt: skip


@st.composite
def tokens(draw: Draw, count: int) -> bytes:
    """As many tokens as rows, or nearly."""
    lines = draw(st.lists(st.sampled_from(TOKENS[:4]), min_size=count, max_size=count))
    for _ in range(draw(st.integers(0, 2))):
        lines[draw(st.integers(0, count - 1))] = draw(st.sampled_from(TOKENS))
    lines += draw(st.lists(st.sampled_from(TOKENS), max_size=draw(st.sampled_from([0, 0, 1, 3]))))
    end = draw(st.sampled_from(ENDS))
    return encoded(end.join(lines) + end, draw(st.sampled_from(ENCODINGS)))


@st.composite
def numbers(draw: Draw) -> bytes:
    words = draw(st.lists(st.sampled_from(NUMBERS[:7]), max_size=6))
    words += draw(st.lists(st.sampled_from(NUMBERS), max_size=2))
    text = draw(st.sampled_from([" ", "\n", ", ", "\t", ""])).join(words * draw(st.sampled_from([1, 1, 1, 3000])))
    return encoded(text, draw(st.sampled_from(ENCODINGS)))


@st.composite
def prose(draw: Draw) -> bytes:
    words = draw(st.lists(st.sampled_from((*TOKENS, "The river", "\r\n", "\r", " ", "\t")), max_size=8))
    text = "".join(words) * draw(st.sampled_from([1, 1, 1, 50]))
    return encoded(text, draw(st.sampled_from(ENCODINGS)))


#: What YAML has beyond JSON, and what PyYAML makes of it.
ODD_YAML: Sequence[Raw] = (
    *ODD,
    *map(Raw, ("1e-5", "012", "0o17", "0x1F", "0b1", "1:30", "yes", "on", "~", "", ".inf", "-.INF", ".nan", "1_000")),
    *map(Raw, ("2026-01-01", "<<", "=")),
    *map(Raw, ("&a 1", "*a", "&a [*a]", "!!int 3", "!!python/object/apply:os.system [ls]", "!<tag:x> 1", "! 1")),
    *map(Raw, ("!!binary aGk=", "!!set {a}")),
    *map(Raw, ("'it''s'", "'", '"', '"\\x00"', '"\\UFFFFFFFF"', '"\\ud800"', '"\\L"', "|\n   text\n", ">-\n")),
    *map(Raw, ("|9\n", "? a", "- a", "a: b: c", "@a")),
    *map(Raw, ("`a", "%a", "%YAML 9.9", "---", "...", "#", "a #b", "a\tb", "\t1", "[1, 2", "{a: 1", "]", "}", "[,]")),
    *map(Raw, ("{,}", "{a, b}", "[a: 1]", ": ")),
    *map(Raw, ("\u2028", "\x85", "\u202e", "\x00", "\x1b[31m", "\x7f", "\ufeff", "\ud800", "é", "\U0001f642")),
    *map(Raw, ("\ue000", "\r", "\x0c", "a" * 70_000)),
    *map(Raw, ("0x" + "f" * 20_000, "0o" + "7" * 20_000, "9" * 20_000, "1e" + "9" * 5000, "[" + "a," * 20_000 + "]")),
    *map(Raw, ("{" + "? a " * 3000 + "}",)),
    *map(Raw, ("[null" + ", 0" * 5000 + "]", "[qkv, qkv]", "{rotary: {fraction: 0.5}}", "{normal: 0.02}", "none")),
    *map(Raw, ("rotary", "alibi", "false")),
)  # fmt: skip


BEGINNINGS = ("", "", "", "", "\ufeff", "---\n", "%YAML 1.2\n---\n", "# \n", "\t", " ")
ENDINGS = ("\n", "\n", "", "\n---\na: 1\n", "\n...\n", "\n" + "# \n" * 500, "\nblock:\n", "\n  x: 1\n")


def block_style(node: Any, indent: int = 0) -> str:
    """The tree as YAML in the style that people write."""
    if not isinstance(node, Object) or not node:
        return written(node)
    pad = "\n" + " " * indent
    return pad + pad.join(f"{key}: {block_style(value, indent + 2)}" for key, value in node)


@st.composite
def configuration(draw: Draw, goods: Sequence[Any], extra: Sequence[tuple[str, Raw]]) -> bytes:
    """A configuration in block style or in brackets."""
    root = draw(edited(goods, odd=ODD_YAML, extra=extra))
    text = draw(st.sampled_from([block_style, block_style, written]))(root)
    text = draw(st.sampled_from(BEGINNINGS)) + text + draw(st.sampled_from(ENDINGS))
    if draw(st.sampled_from([False] * 60 + [True])):
        text += "\n" + draw(st.sampled_from(["k{}: 1\n", "block{}: {{}}\n", "a{}: [a, b]\n", "d_modl{}: 2\n"])) * 1
        text = _many_lines(text, draw(st.sampled_from([1000, 40_000])))
    return encoded(text, draw(st.sampled_from(ENCODINGS)))


def _many_lines(text: str, count: int) -> str:
    """The last line so many times, with numbers in it."""
    *before, line, _ = text.split("\n")
    return "\n".join([*before, *(line.format(i) for i in range(count)), ""])
