"""Only a regular file is opened; anything else ends at once in one printable line."""

import os
import signal
import socket
import tracemalloc
from pathlib import Path

import pytest

from attnlab.errors import InputError, MemoryRefused
from attnlab.files.fields import TEXT, require
from attnlab.files.numpy_files import read_npy
from attnlab.files.opening import (
    JSON_MEMORY,
    as_text,
    listed,
    open_regular,
    quoted,
    read_json,
    require_json_memory,
    sha256,
    shown,
)

ROOM = 10**9


def complaint(caught: pytest.ExceptionInfo[InputError]) -> str:
    """The error's text, which must be one printable line."""
    assert caught.value.exit_code == 3
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    def give_up(*_: object) -> None:
        raise AssertionError("waits for the pipe's writer")

    os.mkfifo(tmp_path / "x.npy")
    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(5)
    try:
        with pytest.raises(InputError) as caught:
            read_npy(tmp_path / "x.npy", max_bytes=ROOM)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert complaint(caught).endswith("x.npy: a pipe or a device; expected a regular file")


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's name is at most 107 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("x.npy")
        with pytest.raises(InputError) as caught:
            read_npy("x.npy", max_bytes=ROOM)
    assert "expected a file that can be read" in complaint(caught)


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npy").symlink_to("x.npy")
    with pytest.raises(InputError) as caught:
        read_npy(tmp_path / "x.npy", max_bytes=ROOM)
    assert "too many levels of symbolic links" in complaint(caught)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("/dev/zero", "a pipe or a device"),
        (".", "is a directory"),
        ("missing.npy", "no such file"),
        ("a" * 300 + ".npy", "file name too long"),
        ("nul\0.npy", r"nul\x00.npy: not a file name"),
        ("[/x]\n\x1b[1m\udce9.npy", r"[/x]\n\x1b[1m\udce9.npy: no such file"),
        pytest.param("/proc/self/mem", "input/output error", id="fails while it is read"),
    ],
)
def test_names_that_cannot_be_read(name: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_npy(name, max_bytes=ROOM)
    assert words in complaint(caught)


def test_a_file_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:  # root may open anything: the system's answer is played
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InputError) as caught, open_regular(tmp_path / "x.npy"):
        pass
    assert "x.npy: permission denied; expected a file that can be read" in complaint(caught)


def test_names_and_texts_are_shown_escaped_and_cut() -> None:
    assert shown(Path("dir/é [float32].npy")) == "dir/é [float32].npy"
    assert quoted("a\tb" * 30, limit=4) == r"'a\tba…'"
    assert listed(["a", "b"]) == "'a', 'b'"
    assert listed([str(i) for i in range(9)], limit=2) == "'0', '1', … (9 in all)"


def test_what_nests_deeper_than_python_writes_is_shown_in_words() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert as_text(deep) == "something nested too deep to show"
    assert (as_text([1, "a"]), as_text("a"), as_text(None)) == ("[1, 'a']", "a", "None")
    while deep:  # a list so deep is not taken apart by itself either
        deep = deep[0]  # type: ignore[assignment]


def test_sha256_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256(tmp_path / "x").startswith("ba7816bf8f01cfea")


class TestJson:
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            (b"", "not JSON (Expecting value: line 1 column 1 (char 0)); expected a JSON object"),
            (b'{"a": 1, "a": 2}', "not JSON ('a' stands there twice); expected a JSON object"),
            (b"[" * 100_000, "not JSON ("),
            (b"9" * 5000, "not JSON (Exceeds the limit"),
            (b"\xff", "byte 0 is not UTF-8; expected UTF-8"),
            (b"[1]", "list; expected a JSON object"),
        ],
        ids=["empty", "twice", "deep", "digits", "bytes", "list"],
    )
    def test_that_is_none(self, text: bytes, told: str, tmp_path: Path) -> None:
        (tmp_path / "x.json").write_bytes(text)
        with pytest.raises(InputError) as caught:
            read_json(tmp_path / "x.json", max_bytes=ROOM)
        assert f"x.json: {told}" in complaint(caught)

    def test_is_read_where_it_may_take_the_memory(self, tmp_path: Path) -> None:
        (tmp_path / "x.json").write_bytes(b'{"a": [1]}')
        assert read_json(tmp_path / "x.json", max_bytes=10 * JSON_MEMORY) == {"a": [1]}
        with pytest.raises(MemoryRefused) as caught:
            read_json(tmp_path / "x.json", max_bytes=10 * JSON_MEMORY - 1)
        assert str(caught.value) == (
            f"{tmp_path / 'x.json'}: 10 bytes of JSON, which may take 600 to read; "
            "expected at most 599, set by --max-memory"
        )

    def test_of_a_giant_nothing_is_read(self, tmp_path: Path) -> None:
        with open(tmp_path / "x.json", "wb") as file:
            file.truncate(2**40)
        with pytest.raises(MemoryRefused, match=r"1,099,511,627,776 bytes of JSON"):
            read_json(tmp_path / "x.json", max_bytes=ROOM)

    @pytest.mark.parametrize(
        ("item", "before"),
        [(b"{},", b""), (b"[],", b""), (b'"a",', b""), (b"[[]],", b""), (b'{"a":{}},', b""), (b"1e9,", b"")]
        + [(b"[" * 900 + b"]" * 900 + b",", before) for before in (b"", '"\U0001f642",'.encode())]
        + [(b'{"":' * 900 + b"0" + b"}" * 900 + b",", '"\U0001f642",'.encode())],
        ids=["{}", "[]", '"a"', "[[]]", '{"a":{}}', "1e9", "lists", "lists of wide", "objects of wide"],
    )
    def test_takes_no_more_than_is_said(self, item: bytes, before: bytes, tmp_path: Path) -> None:
        """Whatever is in it: what takes the most are lists in lists, beside a character beyond the first 65,536."""
        text = b'{"x":[' + before + item * (300_000 // len(item)) + b"0]}"
        (tmp_path / "x.json").write_bytes(text)
        tracemalloc.start()
        try:
            read_json(tmp_path / "x.json", max_bytes=ROOM)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 0.9 * JSON_MEMORY * len(text)  # a tenth for what malloc rounds up

    def test_a_link_is_followed_where_it_may_be(self, tmp_path: Path) -> None:
        (tmp_path / "y.json").write_bytes(b'{"a": 7}')
        (tmp_path / "x.json").symlink_to("y.json")
        assert read_json(tmp_path / "x.json", max_bytes=ROOM) == {"a": 7}
        with pytest.raises(InputError) as caught:
            read_json(tmp_path / "x.json", max_bytes=ROOM, follow=False)
        assert complaint(caught).endswith("x.json: a symbolic link; expected the file itself")

    def test_of_its_own_is_an_object(self) -> None:
        with pytest.raises(InputError, match=r"^run.json: '\[\]'; expected an object of a, b$"):
            require([], {"a": TEXT, "b": TEXT}, "run.json")

    def test_the_factor_is_that_of_every_reader(self) -> None:
        require_json_memory(10, 600, "x")
        with pytest.raises(MemoryRefused, match=r"^x: 11 bytes of JSON, which may take 660 to read"):
            require_json_memory(11, 600, "x")
