"""The commands, and the one place where they are called."""

from typing import Annotated

import typer

import attnlab
from attnlab.cli import config, depth, gradient, lookup, run, variance, verify, why
from attnlab.cli.failures import guarded
from attnlab.cli.quick import QuickCommand, QuickGroup

EPILOG = """\b
Examples:
  attnlab run
  attnlab why bank river"""

app = typer.Typer(
    cls=QuickGroup,
    name="attnlab",
    epilog=EPILOG,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run", cls=QuickCommand, epilog=run.EPILOG, short_help="a block on embeddings, every step in view")(run.run)
app.command("why", cls=QuickCommand, epilog=why.EPILOG, short_help="one attention weight, as arithmetic")(why.why)
app.command("variance", cls=QuickCommand, epilog=variance.EPILOG, short_help="Var(q·k) against d_k, scaled and not")(
    variance.variance
)
app.command(
    "gradient", cls=QuickCommand, epilog=gradient.EPILOG, short_help="what the softmax lets through to training"
)(gradient.gradient)
app.command("lookup", cls=QuickCommand, epilog=lookup.EPILOG, short_help="attention as a soft table lookup")(
    lookup.lookup
)
app.command("depth", cls=QuickCommand, epilog=depth.EPILOG, short_help="what stacking does to tokens and gradients")(
    depth.depth
)
app.command("verify", cls=QuickCommand, epilog=verify.EPILOG, short_help="the course's claims, tried on numbers")(
    verify.verify
)
app.add_typer(config.app, name="config", short_help="presets, checks and the schema of configurations")


def say_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        print(f"attnlab {attnlab.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
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


def run_app(arguments: list[str]) -> int:
    """Run a command line and return its exit code."""

    def work() -> int:
        code = app(args=arguments, prog_name="attnlab", standalone_mode=False)
        return code if isinstance(code, int) else 0

    return guarded(work, debug="--debug" in arguments)
