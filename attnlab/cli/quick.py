"""Commands whose words and numbers are read here, with complaints in attnlab's own form.

Left to itself, recent typer takes every value through pydantic, whose import takes longer than a short run of attnlab.
So what a parameter makes of its value, Click's `process_value`, is done here. A typer that no longer asks a parameter
for that reads the same values itself: more slowly, and complaining in its own words.
"""

from collections.abc import Callable, Sequence
from functools import partial
from inspect import unwrap
from itertools import pairwise
from typing import Any, get_args, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from attnlab.cli.failures import TyperUsageError
from attnlab.cli.options import whole_number
from attnlab.files.opening import quoted


def _reader(kind: Callable[[str], Any], expected: str) -> Callable[[str], Any]:
    """A reader of text that complains by saying what was expected."""

    def read(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            raise typer.BadParameter(f"{quoted(text)}; expected {expected}") from None

    return read


READERS: dict[object, Callable[[str], Any]] = {
    str: str,
    int: _reader(whole_number, "a whole number"),
    float: _reader(float, "a number"),
    bool: bool,  # a flag takes no text: never called
}


def kinds(hint: object) -> set[object]:
    """The types that a hint is made of: int and NoneType of `list[int] | None`."""
    parts = get_args(hint)
    return {kind for part in parts for kind in kinds(part)} if parts else {hint}


def processed(parameter: Any, read: Callable[[str], Any], context: Any, value: Any) -> Any:
    """What a parameter makes of its value: each text read; what is no text, a default or a flag, stays as it is."""
    many = parameter.multiple or parameter.nargs == -1
    if parameter.required and (value is None or (many and not value)):
        return type(parameter).process_value(parameter, context, value)  # which says what is missing
    if many:
        value = [read(one) for one in value or ()]
    elif isinstance(value, str):
        value = read(value)
    return value if parameter.callback is None else parameter.callback(context, parameter, value)


def read_plainly(command: Any, context: Any) -> None:
    """Have the parameters of a command that are words, numbers or flags process their values here."""
    hints = get_type_hints(unwrap(command.callback))
    for parameter in command.get_params(context):
        flag = bool if getattr(parameter, "is_flag", False) else None  # typer's own parameters have no hint of ours
        hint = hints.get(parameter.name, flag)
        for kind in kinds(hint) & READERS.keys():
            parameter.process_value = partial(processed, parameter, READERS[kind])


def refuse_twice(order: Sequence[Any], context: Any) -> None:
    """Refuse an option that takes one value and is given more: the last would win without a word.

    Args:
        order: the parameters in the order in which the command line names them.

    Raises:
        TyperUsageError: naming the option.
    """
    for parameter in order:
        takes_one = not (parameter.multiple or parameter.nargs == -1 or getattr(parameter, "is_flag", True))
        if takes_one and (times := order.count(parameter)) > 1:
            name = max(parameter.opts, key=len)
            raise TyperUsageError(f"{name}: given {times} times; expected once", ctx=context)


def with_key_named(error: Any, args: Sequence[str]) -> Any:
    """A complaint of an unknown option; where its name is a configuration's key, one that says how to set it.

    Args:
        error: any complaint of a command line; another one stays as it is.
        args: the command line.
    """
    name = getattr(error, "option_name", "")
    takes_keys = any("--set" in parameter.opts for parameter in error.ctx.command.params)
    if not (name.startswith("--") and takes_keys and "possibilities" in vars(error)):
        return error
    ways = ways_to_set(name, args)
    return TyperUsageError(f"No such option: {name}; perhaps {' or '.join(ways)}", ctx=error.ctx) if ways else error


def ways_to_set(option: str, args: Sequence[str]) -> list[str]:
    """`--set block.window=3` for --window 3 among the arguments; nothing where no key has the option's name."""
    from attnlab.files.config_keys import ROOT  # here: needed only for a mistake
    from attnlab.files.yaml_nodes import brief

    key = option.removeprefix("--").replace("-", "_")
    homes = list(ROOT.homes(key))
    given, after = next((pair for pair in pairwise((*args, "-")) if pair[0].partition("=")[0] == option), (option, "-"))
    ways = []
    for path in [path for path in homes if path == "block"] or homes:
        schema = ROOT.schema()
        names = [*path.split("."), key] if path else [key]
        for name in names:
            schema = schema.get("properties", {}).get(name, {})
        following = "VALUE" if after.startswith("-") else after
        value = given.partition("=")[2] or ("true" if schema.get("type") == "boolean" else following)
        ways.append(f"--set {'.'.join(names)}={brief(value)}")
    return ways


class QuickCommand(TyperCommand):
    """A command that reads plain words and numbers plainly, and no option's value twice."""

    def make_parser(self, ctx: Any) -> Any:
        """As typer does; a value that would be lost is refused."""
        parser: Any = super().make_parser(ctx)
        parse = parser.parse_args

        def parse_once(args: list[str]) -> Any:
            parsed = parse(args)
            refuse_twice(parsed[2], ctx)
            return parsed

        parser.parse_args = parse_once
        return parser

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer does, with the plain readers in place."""
        read_plainly(self, ctx)
        typed = tuple(args)  # the parser takes them out one by one
        try:
            return super().parse_args(ctx, args)
        except TyperUsageError as error:  # the parser's own complaints do not say whose they are
            error.ctx = error.ctx or ctx
            raise with_key_named(error, typed) from error

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What the usage line shows after the command's name."""
        from attnlab.cli.help import usage_pieces

        return usage_pieces(self, ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The options in groups."""
        from attnlab.cli.help import write_parameters  # here: only help needs it

        write_parameters(self, ctx, formatter)


class QuickGroup(TyperGroup):
    """A group of commands whose own flags are read plainly."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The commands by what they are for, and then the options."""
        from attnlab.cli.help import write_commands, write_parameters

        write_commands(self, ctx, formatter)
        write_parameters(self, ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer does, with the plain readers in place."""
        read_plainly(self, ctx)
        return super().parse_args(ctx, args)
