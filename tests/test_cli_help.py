"""Help texts: options and commands in groups, one style of defaults, 80 columns, two examples at the end."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from attnlab.cli import app
from attnlab.cli.help import GROUPS, OTHER
from tests.commands import attnlab

#: Options that typer has, or that every program has.
COMMON = {"--help", "--debug", "--version", "--install-completion", "--show-completion"}


def commands() -> dict[str, Any]:
    """Every command and group by its full name, "" for attnlab itself."""

    def found(command: Any, path: str) -> Iterator[tuple[str, Any]]:
        yield path, command
        for name, inner in getattr(command, "commands", {}).items():
            yield from found(inner, f"{path} {name}".strip())

    return dict(found(typer.main.get_command(app.build_app()), ""))


NAMES = list(commands())


def sections(text: str) -> dict[str, list[str]]:
    """Heading -> the entries under it, each on one line."""
    found: dict[str, list[str]] = {}
    for block in text.split("\n\n"):
        heading, _, body = block.partition("\n")
        if re.fullmatch(r"[A-Z][a-z ]+:", heading):
            found[heading[:-1]] = re.sub(r"\n {3,}", " ", body).splitlines()
    return found


@pytest.fixture(scope="module", params=NAMES)
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A command's full name and its help text."""
    ended = attnlab(*request.param.split(), "--help", cwd=tmp_path_factory.mktemp("help"))
    assert (ended.code, ended.err) == (0, "")
    return request.param, ended.out


class TestEachHelp:
    def test_fits_80_columns_and_ends_with_two_examples(self, told: tuple[str, str]) -> None:
        name, text = told
        lines = text.rstrip("\n").splitlines()
        assert max(map(len, lines)) <= 80
        assert all(line.isprintable() for line in lines)
        assert lines[-3].strip() == "Examples:"
        assert all(line.strip().startswith(f"attnlab {name}".strip()) for line in lines[-2:])

    def test_has_every_option_once_in_its_group(self, told: tuple[str, str]) -> None:
        name, text = told
        found = sections(text)
        options = [one for one in commands()[name].params if one.param_type_name == "option"]
        assert [heading for heading in found if heading in GROUPS] == [
            group
            for group in GROUPS
            if any((one.rich_help_panel or OTHER) == group for one in options) or group == OTHER
        ]
        for one in options:
            option = max(one.opts, key=len)
            places = [
                heading for heading, rows in found.items() for row in rows if re.search(rf"^\s+{option}\b(?!-)", row)
            ]
            assert places == [one.rich_help_panel or OTHER], option
            assert option in COMMON or one.rich_help_panel in GROUPS, f"{option}: give it a rich_help_panel"

    def test_says_defaults_in_one_way(self, told: tuple[str, str]) -> None:
        name, text = told
        assert not re.search(r"\[default|default:|<int>|<str>|<float>|\[required", text)
        rows = {
            row.split()[0]: row for rows in sections(text).values() for row in rows if row.lstrip().startswith("--")
        }
        for one in commands()[name].params:
            if one.param_type_name != "option" or one.is_flag or max(one.opts, key=len) in COMMON:
                continue
            row = rows[max(one.opts, key=len)]
            assert "default" not in (one.help or ""), f"{one.opts}: say it by show_default"
            shown = isinstance(one.show_default, str) or one.default is not None
            assert bool(re.search(r" \(default [^()]+\)$", row)) == shown, row
            assert ("; may be repeated" in row) == one.multiple, row


def test_commands_stand_in_groups(tmp_path: Path) -> None:
    found = sections(attnlab("--help", cwd=tmp_path).out)
    assert list(found) == ["Look", "Experiment", "Check", "Draw", "Configure", "Options"]
    listed = [row.split()[0] for heading in [*found][:-1] for row in found[heading]]
    assert sorted(listed) == sorted(app.COMMANDS)
    assert listed == list(app.COMMANDS)


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        ("run", "Usage: attnlab run [OPTIONS] [CONFIG]"),
        ("why", "Usage: attnlab why [OPTIONS] [CONFIG] [QUERY KEY]"),
        ("diagram", "Usage: attnlab diagram [OPTIONS] [NAME] [CONFIG]"),
        ("verify", "Usage: attnlab verify [OPTIONS] [CLAIM]..."),
        ("depth", "Usage: attnlab depth [OPTIONS]"),
        ("config show", "Usage: attnlab config show [OPTIONS] CONFIG"),
    ],
)
def test_usage_shows_what_may_be_left_out(command: str, usage: str, tmp_path: Path) -> None:
    assert attnlab(*command.split(), "--help", cwd=tmp_path).out.splitlines()[0] == usage


def test_texts_stand_below_one_another(tmp_path: Path) -> None:
    text = attnlab("run", "--help", cwd=tmp_path).out.partition("Arguments:")[2]
    starts = {
        len(match[0])
        for match in re.finditer(r"^  (?:--\S+(?: [A-Z_]+(?:=[A-Z]+)?)?|-h, --help|CONFIG) +(?=\S)", text, re.M)
    }
    assert len(starts) == 1
