"""YAML read strictly: what scalars mean, what is refused, and where each complaint points."""

import itertools
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from attnlab.errors import ConfigError
from attnlab.files import yaml_nodes
from attnlab.files.python_nodes import from_python
from attnlab.files.yaml_nodes import Mapping, Place, Scalar, Sequence, parse, read_bytes, resolve, yaml_text


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def _both_loaders(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With libyaml and without it."""
    monkeypatch.setattr(yaml_nodes, "_LOADER", getattr(yaml, request.param, yaml.SafeLoader))


def refusal(data: bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(data, "f.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-5", 1e-5),
        ("1E-5", 1e-5),
        ("1.e-5", 1e-5),
        ("1.0e-5", 1e-5),
        (".1e-4", 1e-5),
        ("0.00001", 1e-5),
        ("+1e-05", 1e-5),
        ("012", 12),
        ("-7", -7),
        ("0o17", 15),
        ("0x1F", 31),
        ("8.", 8.0),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("yes", "yes"),
        ("on", "on"),
        ("True", True),
        ("FALSE", False),
        ("tRUE", "tRUE"),
        ("~", None),
        ("Null", None),
        ("", None),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("9" * 5000, math.inf),
    ],
)
def test_unquoted_scalars_mean_what_yaml_1_2_says(written: str, value: object) -> None:
    assert resolve(written) == value
    assert type(resolve(written)) is type(value)


def test_nan_is_a_number() -> None:
    assert math.isnan(float(resolve(".nan") or 0))


@pytest.mark.usefixtures("_both_loaders")
def test_a_tree_knows_the_place_of_every_key_and_value() -> None:
    root = parse(b'\xef\xbb\xbfa: "1e-5"\r\nb:\r\n  c: [1, {d: 2}]\r\n', "f.yaml")
    a, b, c = Scalar("a", "a", Place(1, 1)), Scalar("b", "b", Place(2, 1)), Scalar("c", "c", Place(3, 3))
    inner = Mapping(((Scalar("d", "d", Place(3, 11)), Scalar(2, "2", Place(3, 14))),), Place(3, 10))
    items = Sequence((Scalar(1, "1", Place(3, 7)), inner), Place(3, 6))
    assert root == Mapping(
        ((a, Scalar("1e-5", "1e-5", Place(1, 4))), (b, Mapping(((c, items),), Place(3, 3)))), Place(1, 1)
    )


@pytest.mark.usefixtures("_both_loaders")
@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a: &x 1\nb: *x\n", "f.yaml:1:4: an anchor, &x; expected a plain value"),
        (b"a: 1\nb: *x\n", "f.yaml:2:4: an alias, *x; expected the value itself"),
        (b"a: !!python/none 1\n", "f.yaml:1:4: a tag, tag:yaml.org,2002:python/none; expected a plain value"),
        (b"a: ! 1\n", "f.yaml:1:4: a tag, !; expected a plain value"),
        (b"a: 1\n---\nb: 1\n", "f.yaml:2:1: a second document; expected one"),
        (b"a: 1\n? [b]\n: 2\n", "f.yaml:2:3: a list or mapping as a key; expected a name"),
        (b"a:\n\tb: 1\n", "f.yaml:2:1: a tab; expected spaces"),
        (b"a:\n  b: 1\n  \tc: 1\n", "f.yaml:3:3: a tab; expected spaces"),
        (b"a: 1\nb: \xc3\xa9\xff\n", "f.yaml:2:5: byte 0xff is not UTF-8; expected text in UTF-8"),
        (b"\xff\xfea\x00", "f.yaml:1:1: byte 0xff is not UTF-8; expected text in UTF-8"),
        (b"a: 1\r\nb: x\x00y\n", "f.yaml:2:5: the character U+0000; expected printable text"),
        (b"a: \x1b[31m\n", "f.yaml:1:4: the character U+001B; expected printable text"),
        ("a: \u2028b\n".encode(), "f.yaml:1:4: the character U+2028; expected printable text"),
        (b"", 'f.yaml:1:1: an empty file; expected keys, such as "block:"'),
        (b"# only this\n", 'f.yaml:1:1: an empty file; expected keys, such as "block:"'),
        (b"---\n...\n", 'f.yaml:1:1: an empty file; expected keys, such as "block:"'),
        (b"- a\n", 'f.yaml:1:1: a list; expected keys, such as "block:"'),
        (b"\n  text\n", 'f.yaml:2:3: "text" (text); expected keys, such as "block:"'),
        (b"a: " + b"[" * 31 + b"]" * 31 + b"\nb: " + b"[" * 32,
         "f.yaml:2:35: nested more than 32 deep; expected two or three levels"),
    ],
)  # fmt: skip
def test_what_is_not_plain_yaml_is_refused_at_its_place(data: bytes, text: str) -> None:
    assert refusal(data) == text


def calls(work: Callable[[], object]) -> int:
    """How often the work calls a function or comes back from one: as often on every machine, busy or not."""
    seen = itertools.count()
    sys.setprofile(lambda *_: next(seen) and None)
    try:
        work()
    finally:
        sys.setprofile(None)
    return next(seen)


#: Calls of functions in which brackets are refused; to read them all takes PyYAML 1,200,000.
FEW_CALLS = 200_000


@pytest.mark.usefixtures("_both_loaders")
@pytest.mark.parametrize(
    ("nested", "place"),
    [
        (b"a: " + b"[" * 5000, "1:35"),
        (b"a: " + b"{a: " * 5000, "1:128"),
        (b"a: " + b"[" * 5000 + b"]" * 5000, "1:35"),
        (b"a: " + b"{b: " * 900 + b"[" * 1200, "1:128"),
        (b"\n".join(b" " * level + b"a:" for level in range(600)), "33:33"),
        (b"- " * 2000, "1:65"),
    ],
)
def test_depth_is_refused_at_its_place_whatever_the_parser_says_first(nested: bytes, place: str) -> None:
    """Some parsers have a limit of their own, and meet it while they look ahead, long before they say so."""
    said = list[str]()
    assert calls(lambda: said.append(refusal(nested))) < FEW_CALLS
    assert said == [f"f.yaml:{place}: nested more than 32 deep; expected two or three levels"]


@pytest.mark.usefixtures("_both_loaders")
def test_a_mistake_behind_deep_nesting_is_told_after_the_nesting() -> None:
    assert refusal(b"a: " + b"[" * 40 + b"}").startswith("f.yaml:1:35: nested more than 32 deep")
    assert refusal(b"a: " + b"[" * 30 + b"}").startswith("f.yaml:1:34: not valid YAML: ")


def test_reading_them_all_is_seen() -> None:
    events = yaml.parse(b"a: " + b"[" * 1500 + b"]" * 1500, Loader=yaml.SafeLoader)
    assert calls(lambda: [*events]) > FEW_CALLS


@pytest.mark.usefixtures("_both_loaders")
@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"a: [1\nb: 2\n", "f.yaml:2:2"),
        (b"a: b: c\n", "f.yaml:1:5"),
        (b"a: 'x\n", "f.yaml:2:1"),
        (b"a: }\n", "f.yaml:1:4"),
    ],
)
def test_broken_syntax_names_its_place(data: bytes, place: str) -> None:
    assert refusal(data).startswith(f"{place}: not valid YAML: ")


def test_what_pyyaml_raises_beside_its_own_errors_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_nodes, "_LOADER", yaml.SafeLoader)
    assert refusal(b'a: 1\nb: "\\UFFFFFFFF"\n').startswith("f.yaml:2:2: not valid YAML: ")


def test_a_file_name_is_shown_escaped(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_bytes(tmp_path / "\x1b[31m\n.yaml")
    assert str(caught.value).endswith(r"/\x1b[31m\n.yaml: no such file or directory; expected a file that can be read")


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match=r"pipe: a pipe or a device; expected a regular file$"):
        read_bytes(tmp_path / "pipe")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r": is a directory; expected"):
        read_bytes(tmp_path)


def test_more_than_256_kib_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    file.write_bytes(b"#" * 2**18)
    assert len(read_bytes(file)) == 2**18
    file.write_bytes(b"#" * (2**18 + 1))
    with pytest.raises(ConfigError, match=r"large\.yaml: more than 256 KiB; expected a configuration of a few lines$"):
        read_bytes(file)


@pytest.mark.usefixtures("_both_loaders")
@settings(max_examples=60)
@given(st.text(alphabet=st.sampled_from("ab:[]{}-?!&*%\"'\\U|> #,\t\n0F")).map(str.encode) | st.binary(max_size=40))
def test_bytes_give_a_mapping_or_a_config_error_with_a_place(data: bytes) -> None:
    try:
        assert isinstance(parse(data, "f.yaml"), Mapping)
    except ConfigError as error:
        file, line, column, _ = str(error).split(":", 3)
        assert (file, int(line) > 0, int(column) > 0) == ("f.yaml", True, True)


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029\ufeff\ufffe\uffff"))
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts


@settings(max_examples=60)
@given(st.dictionaries(texts.filter(bool), plain, min_size=1))
def test_written_data_reads_back_the_same(document: dict[str, object]) -> None:
    root = parse(yaml_text(document).encode(), "f.yaml")
    read = {key.value: value.value for key, value in root.entries if isinstance(value, Scalar)}
    assert read == document
    assert [type(value) for value in read.values()] == [type(value) for value in document.values()]


@pytest.mark.parametrize("text", ["1e-5", "0o17", "yes", "null", "", "8", "a: b", "é", "[float32]", "C:\\x", " a "])
def test_text_that_looks_like_something_else_is_quoted(text: str) -> None:
    assert parse(yaml_text({"a": text}).encode(), "f.yaml").entries[0][1][:2] == (text, text)


def test_python_data_gives_the_same_tree_without_places() -> None:
    data = {"a": None, "b": [True, 8], "c": {"d": 1e-5}, "e": Path("x"), "f": "1e-5"}
    assert from_python(data, "config") == Mapping(
        (
            (Scalar("a", "a"), Scalar(None, "null")),
            (Scalar("b", "b"), Sequence((Scalar(True, "true"), Scalar(8, "8")))),
            (Scalar("c", "c"), Mapping(((Scalar("d", "d"), Scalar(1e-5, "1e-05")),))),
            (Scalar("e", "e"), Scalar("x", "x")),
            (Scalar("f", "f"), Scalar("1e-5", "1e-5")),
        )
    )


def test_python_data_that_yaml_could_not_hold_is_refused() -> None:
    endless: dict[str, object] = {}
    endless["a"] = endless
    with pytest.raises(ConfigError, match=r"^config: nested more than 32 deep; expected two or three levels$"):
        from_python(endless, "config")
    with pytest.raises(
        ConfigError, match=r"^config: a value of type complex; expected text, a number, true, false or nul"
    ):
        from_python({"a": 1j}, "config")
    numbered: dict[str, object] = {"a": {3: 4}}
    with pytest.raises(ConfigError, match=r"^config: a key of type int; expected text$"):
        from_python(numbered, "config")
