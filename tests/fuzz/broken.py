"""Parsers with a mistake each, which the oracle has to see."""

import json
import os
import subprocess
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import yaml

from attnlab.errors import InputError, UsageError
from tests.fuzz.parsers import INPUT, Parser

TARGET = "file"
#: Good files, which the broken ones take: what they do wrong they do with this one.
BAD = b"bad"


def _raises_another() -> None:
    raise KeyError("x")


def _two_lines() -> None:
    raise InputError("file: one\ntwo; expected one")


def _unprintable() -> None:
    raise InputError("file: \x1b[31m; expected text")


def _bidirectional() -> None:
    raise InputError("file: \u202etxt.exe; expected text")


def _endless_line() -> None:
    raise InputError(f"file: {'a' * 5000}; expected less")


def _no_advice() -> None:
    raise InputError("file: wrong")


def _another_code() -> None:
    raise UsageError("file: wrong; expected right")


def _warns() -> None:
    warnings.warn("something", stacklevel=2)


def _too_much_memory() -> None:
    np.empty(200 << 20, np.uint8)  # and does not take long over it


def _more_than_there_is() -> None:
    np.ones(1 << 42, np.uint8)


def _too_long() -> None:
    while True:
        pass


def _deaf() -> None:
    """As a library is that works for ever without Python: no signal is heard."""
    import signal

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPROF})
    while True:
        pass


def _dies() -> None:
    os.abort()


def _leaves() -> None:
    raise SystemExit(0)


def _opens_elsewhere() -> None:
    Path("/etc/hostname").exists()
    with open("/etc/passwd", "rb"):
        pass


def _swallows() -> None:
    """It opens what it should not, and says nothing of it."""
    try:
        with open("../outside", "rb"):
            pass
    except OSError:
        raise InputError("file: wrong; expected right") from None


def _maps() -> None:
    import mmap

    mmap.mmap(-1, 4096)


def _starts() -> None:
    subprocess.run(["true"], check=True)


#: How each goes wrong, and what the oracle says of it.
MISTAKES: Mapping[Callable[[], None], str] = {
    _raises_another: "KeyError",
    _two_lines: "not one printable line",
    _unprintable: "not one printable line",
    _bidirectional: "not one printable line",
    _endless_line: "a line of 5,",
    _no_advice: "does not say what was expected",
    _another_code: "exit code 2, not 3",
    _warns: "UserWarning",
    _too_much_memory: "memory: 20",
    _more_than_there_is: "MemoryError",
    _too_long: "time: more than",
    _deaf: "time: no end after",
    _dies: "killed: exit code -6",
    _leaves: "SystemExit",
    _opens_elsewhere: "beyond its folder: opened /etc/passwd",
    _swallows: "beyond its folder: opened",
    _maps: "beyond its folder: mmap",
    _starts: "beyond its folder: subprocess.Popen",
}


def _broken(mistake: Callable[[], None]) -> Parser:
    def read(folder: Path) -> None:
        if (folder / TARGET).read_bytes() == BAD:
            mistake()

    return Parser(mistake.__name__, TARGET, read, (INPUT,), lambda: [b"good"])


def _naive_json(folder: Path) -> None:
    """What one writes at first: only what json itself says of broken files is caught."""
    try:
        document = json.loads((folder / TARGET).read_text(encoding="utf-8"))
        _whole(document["model_type"])
        _whole(document["hidden_size"])
    except (json.JSONDecodeError, KeyError) as problem:
        raise InputError(f"file: {problem}; expected settings") from problem


def _whole(value: object) -> None:
    if value is None:
        raise KeyError("missing")


def _naive_yaml(folder: Path) -> None:
    try:
        document = yaml.safe_load((folder / TARGET).read_bytes())
        document["block"].get("d_model")
    except yaml.YAMLError as problem:
        raise InputError(f"file: {str(problem).splitlines()[0]}; expected YAML") from problem


def _naive_npy(folder: Path) -> None:
    try:
        np.load(folder / TARGET)
    except ValueError as problem:
        raise InputError(f"file: {str(problem)[:100]!r}; expected an array") from problem


#: Parsers as they are written before anyone thinks of damage: name -> read, and the parser whose inputs find it out.
NAIVE: Mapping[str, tuple[Callable[[Path], None], str]] = {
    "naive json": (_naive_json, "config.json of bert"),
    "naive yaml": (_naive_yaml, "config.yaml"),
    "naive npy": (_naive_npy, "embeddings .npy"),
}
BROKEN: Mapping[str, Parser] = {
    **{mistake.__name__: _broken(mistake) for mistake in MISTAKES},
    **{name: Parser(name, TARGET, read, (INPUT,), list) for name, (read, _) in NAIVE.items()},
}
