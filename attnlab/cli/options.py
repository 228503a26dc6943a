"""The options that commands share, and how their texts are read."""

import re
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from attnlab.errors import UsageError
from attnlab.files.opening import quoted
from attnlab.measure.memory import available_bytes

Name = TypeVar("Name", bound=str)

#: The groups in which options stand in a help text.
INPUT, MEASURE, SHOW, OUTPUT, LIMITS = "Input", "What to measure", "What to show", "Output", "Limits"


def directory_name(text: str | None) -> str | None:
    """Refuse what elsewhere means stdin or stdout, and no name at all, where a directory is to be named.

    Raises:
        typer.BadParameter: it is one of them.
    """
    if text in ("", "-"):
        raise typer.BadParameter(f"{text!r}; expected a directory's name (one that is called - is ./-)")
    return text


ConfigArgument = Annotated[str | None, typer.Argument(help="a preset's name or a YAML file", metavar="CONFIG")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="change a key of the configuration, such as block.causal=true",
        metavar="KEY=VALUE",
        rich_help_panel=INPUT,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        help="draw weights and input with this seed", show_default="the configuration's, or 0", rich_help_panel=INPUT
    ),
]
Out = Annotated[
    str | None,
    typer.Option(
        callback=directory_name,
        help="write here: a new or an empty directory",
        show_default="a new one under outputs/",
        metavar="DIR",
        rich_help_panel=OUTPUT,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="print one JSON document; write files only with --out", rich_help_panel=OUTPUT)
]
JsonOnly = Annotated[bool, typer.Option("--json", help="print one JSON document", rich_help_panel=OUTPUT)]
Quiet = Annotated[bool, typer.Option("--quiet", help="print nothing but where the files are", rich_help_panel=OUTPUT)]
Details = Annotated[
    bool, typer.Option("--details", help="print all there is, not the answer alone", rich_help_panel=SHOW)
]
NoFigures = Annotated[bool, typer.Option("--no-figures", help="draw nothing", rich_help_panel=OUTPUT)]
Debug = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]
Embeddings = Annotated[
    str | None,
    typer.Option(help="run on these: .npy, .npz, .csv or .safetensors", metavar="FILE", rich_help_panel=INPUT),
]
Tokens = Annotated[
    str | None,
    typer.Option(help="their tokens: a line each, plain or JSON strings", metavar="FILE", rich_help_panel=INPUT),
]
Words = Annotated[
    str | None,
    typer.Option(
        "--words", help="so many random vectors, with these words for names", metavar="TEXT", rich_help_panel=INPUT
    ),
]
MaxMemory = Annotated[
    str | None,
    typer.Option(
        help="refuse work that needs more, such as 4GiB",
        metavar="SIZE",
        show_default="half of what is free",
        rich_help_panel=LIMITS,
    ),
]
Head = Annotated[
    str | None,
    typer.Option(
        help="LAYER.HEAD, such as 2.5; a bare number is a head of layer 0",
        metavar="HEAD",
        show_default="0",
        rich_help_panel=SHOW,
    ),
]
OnlyHeads = Annotated[
    str | None, typer.Option(help="only these, in every layer", metavar="LIST", rich_help_panel=MEASURE)
]
Asymmetry = Annotated[
    bool,
    typer.Option(
        "--asymmetry",
        help="measure it also without the matrices: a second pass, about as long",
        rich_help_panel=MEASURE,
    ),
]
Arrays = Annotated[
    bool,
    typer.Option("--arrays", help="also write arrays.npz, under TransformerLens names", rich_help_panel=OUTPUT),
]
RandomTokens = Annotated[int | None, typer.Option(help="so many random tokens", rich_help_panel=INPUT)]

#: More digits stand for no size, and float would not hold them.
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*([kmgt]?)i?b?", re.IGNORECASE | re.ASCII)
#: Layers or heads that a list may name, one in two ranges twice: more than there can be of them.
_MOST_NAMED = 100_000
_TIME = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([smh]?)", re.IGNORECASE | re.ASCII)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def whole_number(text: str) -> int:
    """A whole number that the machine's own numbers hold: every size, count and seed is one.

    Raises:
        ValueError: it is no whole number.
        BadParameter: it is larger.
    """
    digits = text.strip().lstrip("+-").replace("_", "")
    if digits.isdecimal() and (len(digits) > 40 or int(digits) >= 2**63):
        raise typer.BadParameter(f"{quoted(text)}; expected a whole number below 2^63")
    return int(text)


def memory_budget(text: str | None) -> int:
    """The bytes that may be used: those asked for, or half of what is free.

    Raises:
        UsageError: the text is no size.
    """
    if text is None:
        return available_bytes() // 2
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"--max-memory {quoted(text)}; expected a size such as 512MiB or 4GiB")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def seconds_of(option: str, text: str) -> float:
    """A time such as 90s or 5m, in seconds.

    Raises:
        UsageError: it is none, or none that a clock sees.
    """
    match = _TIME.fullmatch(text.strip())
    seconds = float(match[1]) * _SECONDS[match[2].lower()] if match else 0.0
    if not 0.001 <= seconds <= 1e9:
        raise UsageError(f"{option} {quoted(text)}; expected a time such as 45s or 5m")
    return seconds


def head_place(text: str | None) -> tuple[int, int] | None:
    """LAYER.HEAD as two numbers; None stays None.

    Raises:
        UsageError: the text is not of that form.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(?:(\d{1,10})\.)?(\d{1,10})", text, re.ASCII)
    if match is None:
        raise UsageError(f"--head {quoted(text)}; expected LAYER.HEAD, such as 2.5")
    return int(match[1] or 0), int(match[2])


def index_list(option: str, text: str | None) -> tuple[int, ...] | None:
    """ "0-3,5" as (0, 1, 2, 3, 5); None stays None.

    Raises:
        UsageError: the text is not of that form.
    """
    if text is None:
        return None
    ranges: list[range] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,6})(?:-(\d{1,6}))?\s*", part, re.ASCII)
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            raise UsageError(f"{option} {quoted(text)}; expected numbers and ranges, such as 0-3,5")
        ranges.append(range(int(match[1]), int(match[2] or match[1]) + 1))
    if sum(map(len, ranges)) > _MOST_NAMED:
        raise UsageError(f"{option} {quoted(text)}; expected {_MOST_NAMED:,} numbers at most")
    return tuple(dict.fromkeys(chain.from_iterable(ranges)))


def as_path(text: str | None) -> Path | None:
    """The path, if one was given."""
    return None if text is None else Path(text)


def check_seed(seed: int | None) -> None:
    """Refuse a negative seed.

    Raises:
        UsageError: naming it.
    """
    if seed is not None and seed < 0:
        raise UsageError(f"--seed {seed}; expected a whole number of 0 or more")


def one_of(option: str, text: str, known: Sequence[Name]) -> Name:
    """The text as one of the names known.

    Raises:
        UsageError: it is none of them.
    """
    for name in known:
        if name == text:
            return name
    raise UsageError(f"{option} {text!r}; expected {', '.join(known[:-1])} or {known[-1]}")


def refuse_beside(setting: str, others: Mapping[str, object]) -> None:
    """Refuse options that another one leaves without a meaning.

    Args:
        setting: the other one, and why, if that needs saying.
        others: option -> its value, None where it was not given.

    Raises:
        UsageError: naming the first that was given.
    """
    for option, value in others.items():
        if value is not None:
            raise UsageError(f"{option}: not together with {setting}")
