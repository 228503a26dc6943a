"""What a checkpoint is run on: --text, --text-file, --ids, or the text that comes with the package."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from attnlab.cli import options
from attnlab.errors import InputError, UsageError

if TYPE_CHECKING:
    from attnlab.models.checkpoint import Model
    from attnlab.models.tokenizer import Text

TextOption = Annotated[str | None, typer.Option("--text", help="run a checkpoint on this text", metavar="TEXT")]
TextFile = Annotated[str | None, typer.Option("--text-file", help="run it on the text of this file", metavar="FILE")]
Ids = Annotated[
    str | None, typer.Option("--ids", help="run it on these token numbers, or those of a file", metavar="NUMBERS")
]
Truncate = Annotated[bool, typer.Option("--truncate", help="cut a text to the longest that the model can take")]


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the command line gives a checkpoint to run on. At most one of the three; none is the sample text."""

    text: str | None = None
    file: str | None = None
    ids: str | None = None
    truncate: bool = False

    @property
    def named(self) -> dict[str, str | None]:
        """Option -> its value."""
        return {"--text": self.text, "--text-file": self.file, "--ids": self.ids}

    def check(self) -> None:
        """Refuse two texts.

        Raises:
            UsageError: naming both.
        """
        found = [option for option, value in self.named.items() if value is not None]
        if len(found) > 1:
            raise UsageError(f"{found[1]}: not together with {found[0]}")


def given_tokens(model: "Model", given: Given, budget: int, *, sentence: bool = False) -> "tuple[Text, int]":
    """The tokens to run a model on, and how many the text had before it was cut.

    Args:
        sentence: of the sample text take the first sentence alone, whose matrix a person can look at.

    Raises:
        InputError: the text cannot be read or is longer than the model can take; a token number is not in its
            vocabulary.
        UsageError: two texts are given, or the tokenizers package is missing.
    """
    from attnlab.files.texts import read_ids, read_text, sample_text
    from attnlab.models.tokenizer import Text

    given.check()
    if given.ids is not None:
        ids = read_ids(given.ids, max_bytes=budget)
        text = Text(ids, model.tokens_of(ids))
    elif given.file is not None:
        text = model.encode(read_text(given.file, max_bytes=budget))
    elif given.text is not None:
        text = model.encode(given.text)
    else:
        sample = sample_text()
        text = model.encode(sample.partition(". ")[0] + "." if sentence else sample)
    return cut(text, model.max_positions, truncate=given.truncate)


def cut(text: "Text", most: int | None, *, truncate: bool) -> "tuple[Text, int]":
    """The text, cut to the longest that the model can take where that is asked for, and its own length.

    Raises:
        InputError: it has no tokens, or too many.
    """
    n = len(text.ids)
    if n == 0:
        raise InputError("the text has no tokens; expected one or more")
    if most is None or n <= most:
        return text, n
    if not truncate:
        raise InputError(
            f"the text has {n:,} tokens; expected at most {most:,}, the model's positions; "
            f"--truncate takes the first {most:,}"
        )
    return type(text)(text.ids[:most], text.tokens[:most]), n


def refuse_for_checkpoint(config: str, given: Given, others: "dict[str, object]") -> None:
    """Refuse what a checkpoint has no use for.

    Raises:
        UsageError: naming the first option that was given.
    """
    options.refuse_beside(f"the checkpoint {config}, which runs on --text, --text-file or --ids", others)
    given.check()


def refuse_without_checkpoint(given: Given) -> None:
    """Refuse texts where no checkpoint is named that could read them.

    Raises:
        UsageError: naming the first option that was given.
    """
    for option, value in given.named.items():
        if value is not None:
            raise UsageError(f"{option}: needs a checkpoint to read it; expected its folder in place of CONFIG")
    if given.truncate:
        raise UsageError("--truncate: without effect; expected a checkpoint's folder in place of CONFIG")
