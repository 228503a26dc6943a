"""Write the parts of docs/reference that come from the code: commands and their options, keys and their defaults.

    python -m tests.golden.make_reference

Run it from the repository's root. A part stands in its page between `<!-- made: NAME -->` and `<!-- end -->`; the rest
of the page is written by hand. A test holds the pages to the code.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import typer.main

from attnlab.cli import app
from attnlab.cli.help import GROUPS, OTHER, left_of, text_of, usage_pieces
from attnlab.files.config_keys import ROOT as KEYS
from attnlab.files.kinds import OrList, Single
from attnlab.files.schema import REQUIRED, Key, Section, WordOr
from tests.commands import ROOT

FOLDER = ROOT / "docs" / "reference"
_PART = re.compile(r"^<!-- made: ([a-z]+) -->\n.*?^<!-- end -->$", re.MULTILINE | re.DOTALL)


def commands() -> Iterator[str]:
    """Every command as a heading, its help, and a table of its arguments and options."""
    group = typer.main.get_command(app.build_app())
    yield from _commands(group, group.make_context("attnlab", [], resilient_parsing=True))


def _commands(group: Any, context: Any) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        inner = command.make_context(name, [], parent=context, resilient_parsing=True)
        yield from one_command(command, inner)
        if hasattr(command, "commands"):
            yield from _commands(command, inner)


def one_command(command: Any, context: Any) -> Iterator[str]:
    """One command's section; a group of commands has no table."""
    depth = context.command_path.count(" ")
    yield f"{'#' * (depth + 1)} {context.command_path}"
    pieces = ["COMMAND"] if hasattr(command, "commands") else usage_pieces(command, context)
    yield f"```text\n{' '.join([context.command_path, *pieces])}\n```"
    yield from (escaped(" ".join(part.split())) for part in command.help.split("\n\n"))
    if not hasattr(command, "commands"):
        yield "\n".join(["| | |", "|---|---|", *options(command, context)])
    yield from epilog(command.epilog)


def options(command: Any, context: Any) -> Iterator[str]:
    """The rows of a command's table, its options in their groups."""
    rows: dict[str, list[str]] = {"Arguments": [], **{name: [] for name in GROUPS}}
    for one in command.get_params(context):
        group = "Arguments" if one.param_type_name == "argument" else getattr(one, "rich_help_panel", None) or OTHER
        rows[group].append(f"| `{left_of(one, context)}` | {escaped(text_of(one))} |")
    for group, lines in rows.items():
        yield from [f"| **{group}** | |", *lines] if lines else []


def epilog(text: str) -> Iterator[str]:
    """The blocks behind a command's options: its examples, and what else it tells."""
    for block in text.split("\b\n")[1:]:
        title, _, lines = block.strip().partition("\n")
        inside = "\n".join(line.removeprefix("  ") for line in lines.rstrip().split("\n"))
        yield f"{title}\n\n```{'sh' if title == 'Examples:' else 'text'}\n{inside}\n```"


def escaped(text: str) -> str:
    """The text with nothing in it that Markdown would take for its own."""
    return re.sub(r"([|<>*\[\]])", r"\\\1", text)


def configuration() -> Iterator[str]:
    """Every key of a configuration in a table."""
    yield "\n".join(["| key | takes | default | what it is |", "|---|---|---|---|", *keys(KEYS, "")])


def keys(section: Section, path: str) -> Iterator[str]:
    """The rows of a section's keys and of those within them."""
    for name, key in section.keys.items():
        full = f"{path}.{name}" if path else name
        yield f"| `{full}` | {escaped(taken(key))} | {default(key)} | {escaped(key.about)} |"
        inner = key.kind.section if isinstance(key.kind, WordOr) else key.kind
        if isinstance(inner, Section):
            yield from keys(inner, full)


def taken(key: Key) -> str:
    """What a key takes, in words."""
    match key.kind:
        case WordOr(word=word):
            return word.expected
        case OrList(single=single):
            return single.expected
        case Single(expected=expected):
            return expected
    return "keys"


def default(key: Key) -> str:
    """The default as it stands in a file; nothing of a section, whose keys have their own."""
    if key.default is REQUIRED:
        return "must be given"
    if isinstance(key.kind, Section):
        return ""
    written = key.default if isinstance(key.default, str) else json.dumps(key.default)
    return f"`{written.replace('e-0', 'e-')}`"


#: name -> the paragraphs of the part
PARTS: Mapping[str, Callable[[], Iterator[str]]] = {"commands": commands, "configuration": configuration}


def renewed(text: str) -> str:
    """The page with its made parts made anew."""

    def part(match: re.Match[str]) -> str:
        return "\n\n".join([f"<!-- made: {match[1]} -->", *PARTS[match[1]](), "<!-- end -->"])

    return _PART.sub(part, text)


def main() -> None:
    for page in sorted(FOLDER.glob("*.md")):
        before = page.read_text(encoding="utf-8")
        after = renewed(before)
        page.write_text(after, encoding="utf-8")
        print(f"{page.relative_to(ROOT)}: {'as it was' if after == before else 'updated'}")


if __name__ == "__main__":
    main()
