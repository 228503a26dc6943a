"""A checkpoint's own tokenizer.json, read by the `tokenizers` package (extra `models`) in a process of its own."""

import os
from array import array
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np

from attnlab.errors import InputError
from attnlab.files.numpy_files import Array
from attnlab.files.opening import open_regular, shown
from attnlab.models.tokenizer_child import CUT, ENCODE, NAME, READ
from attnlab.models.tokenizer_process import Made, TokenizerProcess

#: Of memory, where no --max-memory says so: the largest vocabularies take 1 GiB, and a text some 200 bytes for each.
MAX_BYTES = 4 << 30
#: Of computing, for the file or a short text; the largest vocabularies take two.
SECONDS = 20


class Text(NamedTuple):
    """A text as a model takes it."""

    #: (n,) int64
    ids: Array
    #: n texts as people read them
    tokens: tuple[str, ...]


class Tokenizer:
    """Texts to ids and back. Padding and truncation, which a file may ask for, are off; special tokens are on.

    Whatever is in the file: more memory or time than given, or a crash, is an error here and the end of a process that
    is no one else's; the next text has a new one. Threads take turns.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, seconds: int = SECONDS) -> None:
        """Read a tokenizer.json.

        Args:
            max_bytes: of memory, for the file and the texts, beside what it takes to start (macOS does not keep to it).
            seconds: of computing, for the file or a short text; longer ones have more.

        Raises:
            UsageError: the `tokenizers` package is not installed, or no process can be started.
            InputError: the file is not a tokenizer, or takes too long.
            MemoryRefused: reading it would take more than max_bytes.
        """
        self._path, self._where, self._max_bytes, self._seconds = path, shown(path), max_bytes, seconds
        self._read: tuple[int, ...] | None = None
        self._owner, self._turn, self._process = os.getpid(), Lock(), self._opened()

    def __reduce__(self) -> tuple[Callable[[Path], "Tokenizer"], tuple[Path]]:
        """Copied or sent elsewhere, it is read anew."""
        return partial(Tokenizer, max_bytes=self._max_bytes, seconds=self._seconds), (self._path,)

    def encode(self, text: str, *, most: int | None = None) -> Text:
        """A text's tokens, with the special ones that the model expects around it.

        Args:
            most: tokens are taken off the text's end, and not the special ones, until there are no more.

        Raises:
            InputError: the tokenizer's parts do not go together, as only a text shows; it takes too long; the text is
                no UTF-8.
            MemoryRefused: it would take more than max_bytes.
        """
        try:
            given = text.encode()
        except UnicodeEncodeError as problem:
            raise InputError(
                f"the text: character {problem.start + 1:,} is no UTF-8; expected a text in UTF-8"
            ) from problem
        ids = self._ask(ENCODE if most is None else CUT, _ids, given, most=most or 0)
        if most is not None and len(ids) > most:
            raise InputError(
                f"{self._where}: {len(ids):,} tokens of a text that was to be cut to {most:,}; "
                "expected a tokenizer.json that can cut it to so few"
            )
        return Text(ids, self.tokens_of(ids))

    def tokens_of(self, ids: Array) -> tuple[str, ...]:
        """The tokens' texts as people read them, without the space before a word.

        Raises:
            InputError, MemoryRefused: as `encode`.
        """
        numbers = [int(one) for one in ids]
        known = sorted({one for one in numbers if 0 <= one < 1 << 32})
        texts = self._ask(NAME, partial(_texts, len(known)), array("I", known).tobytes())
        names = dict(zip(known, texts, strict=True))
        return tuple(names.get(one, f"#{one}") for one in numbers)

    def _ask(self, what: bytes, read: Callable[[bytes], Made], given: bytes, *, most: int = 0) -> Made:
        if self._owner != os.getpid():  # forked: the process is another's, and its turn may never come
            self._owner, self._turn, self._process = os.getpid(), Lock(), self._opened()
        with self._turn:
            if self._process.ended:
                self._process = self._opened()
            self._process.require_memory(len(given))
            return self._process.ask(what, read, given, most=most)

    def _opened(self) -> TokenizerProcess:
        """A process that has read the file.

        Raises:
            InputError: it is not the file that was read before.
        """
        process = TokenizerProcess(self._where, max_bytes=self._max_bytes, seconds=self._seconds)
        try:
            with open_regular(self._path) as file:
                found = os.fstat(file.fileno())
                stamp = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
                if self._read not in (None, stamp):
                    raise InputError(f"{self._where}: changed since it was read; expected the checkpoint opened anew")
                process.require_memory(found.st_size)
                process.ask(READ, bytes, file.read(found.st_size))
        except BaseException:
            process.end()
            raise
        self._read = stamp
        return process


def _ids(answer: bytes) -> Array:
    return np.array(array("I", answer), np.int64)


def _texts(count: int, answer: bytes) -> list[str]:
    """So many texts, whose lengths stand before them."""
    start = 4 * count
    lengths = array("I", answer[:start])
    ends = [start, *(start + np.cumsum(lengths, dtype=np.int64)).tolist()]
    if ends[-1] != len(answer):  # nor is it where there are fewer lengths
        raise ValueError
    return [answer[one:other].decode() for one, other in pairwise(ends)]


def numbers_as_tokens(ids: Array) -> tuple[str, ...]:
    """What tokens are called where no tokenizer names them."""
    return tuple(f"#{one}" for one in ids)
