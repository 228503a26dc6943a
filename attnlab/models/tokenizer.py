"""A checkpoint's own tokenizer.json, read by the `tokenizers` package (extra `models`)."""

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
        try:
            self._tokenizer: Any = tokenizers.Tokenizer.from_str(text)
        except Exception as problem:  # the package raises no narrower kind
            raise InputError(f"{shown(path)}: {problem}; expected a tokenizer.json") from problem
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def encode(self, text: str) -> Text:
        """A text's tokens, with the special ones that the model expects around it."""
        ids = np.array(self._tokenizer.encode(text).ids, np.int64)
        return Text(ids, self.tokens_of(ids))

    def tokens_of(self, ids: Array) -> tuple[str, ...]:
        """The tokens' texts as people read them, without the space before a word."""
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


def numbers_as_tokens(ids: Array) -> tuple[str, ...]:
    """What tokens are called where no tokenizer names them."""
    return tuple(f"#{one}" for one in ids)
