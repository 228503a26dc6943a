"""`attnlab lookup`."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from attnlab.cli import options
from attnlab.cli.failures import about
from attnlab.cli.output import Wishes, begin_document, deliver, run_directory
from attnlab.cli.progress import progress
from attnlab.errors import AttnlabError

if TYPE_CHECKING:
    from attnlab.experiments.lookup import LookupConfig

EPILOG = """\b
Examples:
  attnlab lookup
  attnlab lookup --dk 64 --max-n 4096 --no-figures"""

Widths = Annotated[
    list[int] | None,
    typer.Option(
        "--dk", help="a width for the horizon", show_default="16, 32, 64, 128", rich_help_panel=options.MEASURE
    ),
]
MaxN = Annotated[int, typer.Option(help="the most keys to look through", rich_help_panel=options.MEASURE)]
Keys = Annotated[int, typer.Option(help="keys in the table that hardens", rich_help_panel=options.MEASURE)]
Queries = Annotated[int, typer.Option(help="look-ups in it", rich_help_panel=options.MEASURE)]
Repeats = Annotated[
    int, typer.Option(help="sets of keys for the horizon's error bars", rich_help_panel=options.MEASURE)
]
Seed = Annotated[int, typer.Option(help="draw queries, keys and values with this seed", rich_help_panel=options.INPUT)]


def lookup(
    dk: Widths = None,
    max_n: MaxN = 65_536,
    keys: Keys = 64,
    queries: Queries = 128,
    repeats: Repeats = 8,
    seed: Seed = 0,
    out: options.Out = None,
    details: options.Details = False,
    no_figures: options.NoFigures = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    max_memory: options.MaxMemory = None,
    debug: options.Debug = False,
) -> None:
    """Attention as a soft table lookup: it hardens as β grows, within proved bounds, and looks only so far."""
    from attnlab.experiments.lookup import LookupConfig

    wishes = Wishes(
        command="lookup", json=json, quiet=quiet, figures=not no_figures, out=options.as_path(out), details=details
    )
    try:
        options.check_seed(seed)
        config = LookupConfig(keys=keys, queries=queries, max_n=max_n, repeats=repeats, seed=seed)
        if dk:
            config = replace(config, widths=tuple(dk))
        work(config, wishes, options.memory_budget(max_memory))
    except AttnlabError as error:
        raise about("lookup", error) from error


def work(config: "LookupConfig", wishes: Wishes, budget: int) -> None:
    """Run the experiment, and answer.

    Raises:
        typer.Exit: with 1, when a bound does not hold.
    """
    from attnlab.experiments.lookup import check, run, steps
    from attnlab.experiments.lookup_figures import figures
    from attnlab.experiments.lookup_report import bound_checks, csv_table, document, horizon_csv_table, report
    from attnlab.files.documents import csv_bytes

    check(config, budget)
    settings = asdict(config)
    with (
        progress("looking up", steps(config), visible=not wishes.quiet) as bar,
        run_directory(wishes, settings, config.seed, {}) as directory,
    ):
        record = run(config, advance=bar.advance, max_bytes=budget)
        bar.clear()
        deliver(
            wishes,
            directory,
            document={**begin_document("lookup", config.seed, settings), **document(record)},
            report=lambda: report(record),
            figures=lambda: figures(record),
            files={
                "result.csv": csv_bytes(*csv_table(record)),
                "matches.csv": csv_bytes(*horizon_csv_table(record)),
            },
        )
    if not all(check.holds for check in bound_checks(record).checks):
        raise typer.Exit(1)
