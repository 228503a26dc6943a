"""`attnlab gradient`."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from attnlab.cli import options
from attnlab.cli.failures import about
from attnlab.cli.output import Wishes, begin_document, deliver, run_directory
from attnlab.cli.progress import progress
from attnlab.errors import AttnlabError

if TYPE_CHECKING:
    from attnlab.experiments.gradient import GradientConfig, GradientRecord

EPILOG = """\b
Examples:
  attnlab gradient
  attnlab gradient --dk 64 --n 256 --no-figures"""

Widths = Annotated[
    list[int] | None,
    typer.Option(
        "--dk",
        help="a width of queries and keys",
        show_default="1 to 1,024 by doubling",
        metavar="WIDTH",
        rich_help_panel=options.MEASURE,
    ),
]
N = Annotated[int, typer.Option(help="keys of each softmax", rich_help_panel=options.MEASURE)]
Rows = Annotated[
    int, typer.Option(help="rows for each width, in whole batches of 256", rich_help_panel=options.MEASURE)
]
Seed = Annotated[int, typer.Option(help="draw with this seed", rich_help_panel=options.INPUT)]


def gradient(
    dk: Widths = None,
    n: N = 128,
    rows: Rows = 4096,
    seed: Seed = 0,
    out: options.Out = None,
    details: options.Details = False,
    no_figures: options.NoFigures = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    max_memory: options.MaxMemory = None,
    debug: options.Debug = False,
) -> None:
    """Show what the softmax lets through to training, and what reaches the query, with 1/√d_k and without.

    The softmax's Jacobian never passes ½. Unscaled, most queries lose their gradient, and the largest grow like √d_k.
    """
    wishes = Wishes(
        command="gradient", json=json, quiet=quiet, figures=not no_figures, out=options.as_path(out), details=details
    )
    try:
        options.check_seed(seed)
        answer(configuration(dk, n, rows, seed, options.memory_budget(max_memory)), wishes)
    except AttnlabError as error:
        raise about("gradient", error) from error


def configuration(dk: list[int] | None, n: int, rows: int, seed: int, budget: int) -> "GradientConfig":
    """The experiment's settings, checked before any directory is made."""
    from attnlab.experiments.gradient import SWEEP, GradientConfig, require_sound

    threads = os.cpu_count() or 1
    config = GradientConfig(d_k=tuple(dk or SWEEP), n=n, rows=rows, seed=seed, threads=threads, max_bytes=budget)
    require_sound(config)
    return config


def answer(config: "GradientConfig", wishes: Wishes) -> None:
    """Run the experiment, print the result and write the files.

    Raises:
        typer.Exit: a check does not hold.
    """
    from attnlab.experiments.gradient import run, steps
    from attnlab.experiments.gradient_document import csv_table, document
    from attnlab.experiments.gradient_figures import figures
    from attnlab.experiments.gradient_report import report
    from attnlab.files.documents import csv_bytes

    settings = {"d_k": list(config.d_k), "n": config.n, "rows": config.rows}
    with (
        progress("drawing rows", steps(config), visible=not wishes.quiet) as bar,
        run_directory(wishes, settings, config.seed, {}) as directory,
    ):
        record: GradientRecord = run(config, advance=bar.advance)
        bar.clear()
        deliver(
            wishes,
            directory,
            document={**begin_document("gradient", config.seed, settings), **document(record)},
            report=lambda: report(record),
            figures=lambda: figures(record),
            files={"result.csv": csv_bytes(*csv_table(record))},
        )
    if not all(check.holds for check in record.checks):
        raise typer.Exit(1)
