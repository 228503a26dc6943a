"""The commands, and the one place where they are called."""

import os
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Annotated, TextIO

import typer

import attnlab
from attnlab.cli.failures import guarded
from attnlab.cli.quick import QuickCommand, QuickGroup
from attnlab.files.opening import unchanging

EPILOG = """\b
Examples:
  attnlab run
  attnlab why bank river"""

#: Every command by what it is for: its module in this wing, which holds a function of the same name, and a line on it.
GROUPS = {
    "Look": {
        "run": "a block on embeddings, every step in view",
        "why": "one attention weight, as arithmetic",
        "inspect": "a checkpoint's heads on a text, at any length",
    },
    "Experiment": {
        "variance": "Var(q·k) against d_k, scaled and not",
        "complexity": "time and memory against N, and the order that settles",
        "gradient": "what the softmax lets through to training",
        "lookup": "attention as a soft table lookup",
        "depth": "what stacking does to tokens and gradients",
        "cost": "FLOPs, bytes and parameters by formula",
    },
    "Check": {"verify": "the course's claims, tried on numbers"},
    "Draw": {"diagram": "attention drawn with a block's own numbers"},
    "Configure": {"config": "presets, checks and the schema of configurations"},
}
#: name -> the group and the line
COMMANDS = {name: (group, line) for group, lines in GROUPS.items() for name, line in lines.items()}


def say_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        print(f"attnlab {attnlab.__version__}")
        raise typer.Exit


def attnlab_command(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=say_version, is_eager=True, help="print the version and end")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error")] = False,
) -> None:
    """A lab bench for self-attention: every step in view, every number beside its theory."""
    if context.invoked_subcommand is None:
        print(context.get_help())


def build_app(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """The command line with these commands."""
    app = typer.Typer(
        cls=QuickGroup,
        name="attnlab",
        epilog=EPILOG,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(attnlab_command)
    for name in names:
        module = import_module(f"attnlab.cli.{name}")
        group, line = COMMANDS[name]
        if name == "config":
            app.add_typer(module.app, name=name, short_help=line, rich_help_panel=group)
        else:
            add = app.command(name, cls=QuickCommand, epilog=module.EPILOG, short_help=line, rich_help_panel=group)
            add(getattr(module, name))
    return app


def needed(arguments: list[str]) -> Iterable[str]:
    """The commands that a command line needs: the one it names first, or, for help, mistakes and completion, all."""
    known = arguments[:1] if arguments[:1] and arguments[0] in COMMANDS else []
    return COMMANDS if "_ATTNLAB_COMPLETE" in os.environ else known or COMMANDS


def show_whatever_it_can(stream: TextIO) -> None:
    """Let a stdout that is not UTF-8 spell what its encoding cannot say, help and typer's own texts too."""
    if stream.encoding.lower().replace("-", "") != "utf8":
        from attnlab.show.encoding import prepare

        prepare(stream)


def run_app(arguments: list[str]) -> int:
    """Run a command line and return its exit code."""

    def work() -> int:
        show_whatever_it_can(sys.stdout)
        with unchanging():
            code = build_app(needed(arguments))(args=arguments, prog_name="attnlab", standalone_mode=False)
        return code if isinstance(code, int) else 0

    return guarded(work, debug="--debug" in arguments)
