"""Help texts: options and commands in groups, each option's default said in the same way.

An option's group is its `rich_help_panel`, typer's name for it; one without stands in the last.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from attnlab.cli.options import INPUT, LIMITS, MEASURE, OUTPUT, SHOW

OTHER = "Options"
GROUPS = (INPUT, MEASURE, SHOW, OUTPUT, LIMITS, OTHER)
#: What stands for a value whose option has no name for it.
VALUES = {"<int>": "N", "<list[int]>": "N", "<float>": "X", "<str>": "NAME", "<list[str]>": "NAME"}

Row = tuple[str, str]


def write_parameters(command: Any, context: Any, formatter: Any) -> None:
    """The arguments of a command, then its options group by group, their texts all below one another."""
    parameters = [one for one in command.get_params(context) if not getattr(one, "hidden", False)]
    sections: dict[str, list[Row]] = {"Arguments": [], **{group: [] for group in GROUPS}}
    for one in parameters:
        is_argument = one.param_type_name == "argument"
        group = "Arguments" if is_argument else getattr(one, "rich_help_panel", None) or OTHER
        sections[group].append((left_of(one, context), text_of(one)))
    write_sections(sections, formatter)


def usage_pieces(command: Any, context: Any) -> list[str]:
    """The arguments of a command in its usage line: one that may be left out in brackets, unless its name has some."""
    pieces = ["[OPTIONS]"]
    for one in command.get_params(context):
        if one.param_type_name == "argument":
            name = left_of(one, context)
            name = name if one.required or "[" in name else f"[{name}]"
            pieces.append(
                f"{name}..." if one.nargs == -1 and one.metavar == left_of(one, context).strip("[]") else name
            )
    return pieces


def left_of(parameter: Any, context: Any) -> str:
    """How the parameter is typed: `--n N`, `-h, --help`, `CONFIG`."""
    names, _, value = parameter.get_help_record(context)[0].partition(" <")
    return (
        f"{names} {VALUES.get(f'<{value}', '')}".strip() if parameter.param_type_name == "option" and value else names
    )


def text_of(parameter: Any) -> str:
    """What the parameter is about, whether it may be repeated, and what holds where it is not given."""
    about = (parameter.help or "").rstrip(".")
    about = about[:1].lower() + about[1:] if about.startswith(("Show ", "Install ")) else about  # typer's own
    if getattr(parameter, "multiple", False):
        about += "; may be repeated"
    default = default_of(parameter)
    return f"{about} (default {default})" if default else about


def default_of(parameter: Any) -> str:
    """The default in words; nothing where there is none, or none worth saying."""
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    if parameter.default is None or parameter.default is False or not parameter.show_default or parameter.required:
        return ""
    return f"{parameter.default:,}" if isinstance(parameter.default, int) else str(parameter.default)


def write_commands(group: Any, context: Any, formatter: Any) -> None:
    """The commands of a group of commands, by what they are for."""
    sections: dict[str, list[Row]] = {}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        panel = command.rich_help_panel
        heading = panel if isinstance(panel, str) else "Commands"
        sections.setdefault(heading, []).append((name, command.get_short_help_str(formatter.width)))
    write_sections(sections, formatter)


def write_sections(sections: dict[str, list[Row]], formatter: Any) -> None:
    """Lists under headings, empty ones left out, with the same column for all their texts."""
    width = max(map(len, lefts(sections.values())), default=0)
    for heading, rows in sections.items():
        if rows:
            with formatter.section(heading):
                formatter.write_dl([(left.ljust(width), text) for left, text in rows])


def lefts(sections: Iterable[Sequence[Row]]) -> list[str]:
    """The first columns."""
    return [left for rows in sections for left, _ in rows]
