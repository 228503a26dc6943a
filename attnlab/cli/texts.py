"""What a checkpoint is run on: --text, --text-file, --ids, or the text that comes with the package."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from attnlab.cli import options
from attnlab.cli.failures import say_note
from attnlab.errors import InputError, MemoryRefused, UsageError

if TYPE_CHECKING:
    from attnlab.maths.precision import Array
    from attnlab.models.checkpoint import Model
    from attnlab.models.tokenizer import Text

TextOption = Annotated[
    str | None,
    typer.Option("--text", help="run a checkpoint on this text", metavar="TEXT", rich_help_panel=options.INPUT),
]
TextFile = Annotated[
    str | None,
    typer.Option("--text-file", help="run it on the text of this file", metavar="FILE", rich_help_panel=options.INPUT),
]
Ids = Annotated[
    str | None,
    typer.Option(
        "--ids",
        help="run it on these token numbers, or those of a file",
        metavar="NUMBERS",
        rich_help_panel=options.INPUT,
    ),
]
Truncate = Annotated[
    bool,
    typer.Option(
        "--truncate",
        help="cut a text to the longest that the model can take, or was made for",
        rich_help_panel=options.INPUT,
    ),
]


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
        MemoryRefused: to read the text would take more than the budget.
        UsageError: two texts are given, or the tokenizers package is missing.
    """
    from attnlab.files.texts import read_ids
    from attnlab.models.tokenizer import Text

    given.check()
    most = model.longest_text if given.truncate else model.max_positions
    if given.ids is not None:
        ids = read_ids(given.ids, max_bytes=budget)
        check_length(len(ids), most, truncate=given.truncate)
        return Text(ids[:most], names_of(model, ids[:most])), len(ids)
    text = given_text(given, budget, sentence=sentence)
    whole = model.encode(text)
    n = len(whole.ids)
    which = "the text" if given.file is not None or given.text is not None else "the sample that is read without a text"
    check_length(n, most, truncate=given.truncate, which=which)
    return (whole if most is None or n <= most else model.encode(text, most=most)), n


def names_of(model: "Model", ids: "Array") -> tuple[str, ...]:
    """What the tokens of these ids (n,) are called; their numbers, and a note, where tokenizer.json is of no use."""
    from attnlab.models.tokenizer import numbers_as_tokens

    try:
        return model.tokens_of(ids)
    except (InputError, MemoryRefused) as problem:
        say_note(f"tokens are shown by their numbers: {problem}")
        return numbers_as_tokens(ids)


def given_text(given: Given, budget: int, *, sentence: bool) -> str:
    """The text asked for, or the sample, or its first sentence.

    Raises:
        InputError: it cannot be read, or is not UTF-8.
    """
    from attnlab.files.texts import read_text, sample_text

    if given.file is not None:
        return read_text(given.file, max_bytes=budget)
    if given.text is not None:
        try:
            given.text.encode()
        except UnicodeEncodeError as problem:  # the command line's bytes, which Python let through
            raise InputError(
                f"--text: character {problem.start + 1:,} is no UTF-8; expected a text in UTF-8"
            ) from problem
        return given.text
    return sample_text().partition(". ")[0] + "." if sentence else sample_text()


def check_length(n: int, most: int | None, *, truncate: bool, which: str = "the text") -> None:
    """Refuse a text of n tokens that the model cannot take.

    Args:
        which: what the text is, for the complaint.

    Raises:
        InputError: it has no tokens, or more than may be, and is not to be cut.
    """
    if n == 0:
        raise InputError("the text has no tokens; expected one or more")
    if most is not None and n > most and not truncate:
        raise InputError(
            f"{which} has {n:,} tokens; expected at most {most:,}, the model's positions; "
            f"--truncate takes the first {most:,}"
        )


def beyond_training(model: "Model", n: int) -> str:
    """What a person should know who runs a model on more tokens than its config.json speaks of; else nothing."""
    longest = model.longest_text
    if longest is None or n <= longest:
        return ""
    return f"The text has {n:,} tokens; config.json speaks of {longest:,}: nothing says how the model does beyond them."


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
