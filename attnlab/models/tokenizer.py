"""A checkpoint's own tokenizer.json, read by the `tokenizers` package (extra `models`)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from attnlab.errors import InputError, UsageError
from attnlab.files.numpy_files import Array
from attnlab.files.opening import shown
from attnlab.models.layout import read_text

#: What tokenizers put for a space (byte-level ones Ġ, others ▁) and for a new line, and what people are shown.
_SPACES = {"Ġ": " ", "▁": " ", "Ċ": "↵", "\n": "↵"}


class Text(NamedTuple):
    """A text as a model takes it."""

    #: (n,) int64
    ids: Array
    #: n texts as people read them
    tokens: tuple[str, ...]


class Tokenizer:
    """Texts to ids and back. Padding and truncation, which a file may ask for, are off; special tokens are on."""

    def __init__(self, path: Path) -> None:
        """Read a tokenizer.json.

        Raises:
            UsageError: the `tokenizers` package is not installed.
            InputError: the file is not a tokenizer.
        """
        try:
            import tokenizers  # an extra, and slow to import
        except ImportError as problem:
            raise UsageError(
                "a text needs the tokenizers package; expected it installed: pip install 'attnlab[models]', "
                "or --ids with the tokens' numbers"
            ) from problem
        text = read_text(path)
        self._where = shown(path)
        with _refused(self._where):
            self._tokenizer: Any = tokenizers.Tokenizer.from_str(text)
            self._tokenizer.no_padding()
            self._tokenizer.no_truncation()

    def encode(self, text: str, *, most: int | None = None) -> Text:
        """A text's tokens, with the special ones that the model expects around it.

        Args:
            most: tokens are taken off the text's end, and not the special ones, until there are no more.

        Raises:
            InputError: the tokenizer's parts do not go together, as only a text shows.
        """
        with _refused(self._where), self._truncating(most):
            ids = np.array(self._tokenizer.encode(text).ids, np.int64)
        return Text(ids, self.tokens_of(ids))

    @contextmanager
    def _truncating(self, most: int | None) -> Iterator[None]:
        """For the time of a `with` block texts are cut."""
        if most is not None:
            self._tokenizer.enable_truncation(most)
        try:
            yield
        finally:
            self._tokenizer.no_truncation()

    def tokens_of(self, ids: Array) -> tuple[str, ...]:
        """The tokens' texts as people read them, without the space before a word.

        Raises:
            InputError: as `encode`.
        """
        with _refused(self._where):
            texts = {int(one): self._text(int(one)) for one in np.unique(ids)}
        return tuple(texts[int(one)] for one in ids)

    def _text(self, one: int) -> str:
        """One token's text; a token of parts of characters is shown as it is stored."""
        stored: str | None = self._tokenizer.id_to_token(one)
        if stored is None:
            return f"#{one}"
        decoded: str = self._tokenizer.decode([one], skip_special_tokens=False)
        seen = stored if "\ufffd" in decoded or not decoded else decoded
        for sign, meant in _SPACES.items():
            seen = seen.replace(sign, meant)
        return seen.strip(" ") or "␣"


@contextmanager
def _refused(where: str) -> Iterator[None]:
    """What the package raises, or panics with, as a complaint of the file.

    Raises:
        InputError: in place of it.
    """
    try:
        with _silent():
            yield
    except MemoryError:
        raise
    except BaseException as problem:  # it raises no narrower kind than Exception, and its panics are not even that
        if not isinstance(problem, Exception) and type(problem).__name__ != "PanicException":
            raise
        raise InputError(f"{where}: {shown(str(problem)[:200])}; expected a tokenizer.json") from problem


@contextmanager
def _silent() -> Iterator[None]:
    """Nothing goes to stderr: a panic would first be told there, in lines of its own."""
    try:
        kept = os.dup(2)
    except OSError:  # closed
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def numbers_as_tokens(ids: Array) -> tuple[str, ...]:
    """What tokens are called where no tokenizer names them."""
    return tuple(f"#{one}" for one in ids)
