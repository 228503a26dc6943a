"""`attnlab variance`."""

from typing import TYPE_CHECKING, Annotated

import typer

from attnlab.cli import options
from attnlab.cli.choices import Asked, choose_config, seed_of, settings_of
from attnlab.cli.failures import about
from attnlab.cli.output import Wishes, begin_document, deliver, run_directory
from attnlab.cli.progress import progress
from attnlab.errors import AttnlabError, UsageError

if TYPE_CHECKING:
    from attnlab.experiments.variance import VarianceConfig

EPILOG = """\b
Examples:
  attnlab variance --dk 64
  attnlab variance --config vaswani-base --no-figures"""

Widths = Annotated[
    list[int] | None,
    typer.Option(
        "--dk",
        help="a width of queries and keys",
        show_default="1 to 1,024 by doubling",
        metavar="D_K",
        rich_help_panel=options.MEASURE,
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(
        help="independent pairs per width",
        show_default="100,000; fewer above d_k 64",
        metavar="PAIRS",
        rich_help_panel=options.MEASURE,
    ),
]
Keys = Annotated[
    int | None,
    typer.Option(
        help="keys of the matrix and of the softmax", show_default="128", metavar="N", rich_help_panel=options.MEASURE
    ),
]
Kind = Annotated[
    str | None,
    typer.Option(
        "--distribution",
        help="entries: normal, uniform (±√3) or sign (±1)",
        show_default="normal",
        metavar="NAME",
        rich_help_panel=options.MEASURE,
    ),
]
Correlation = Annotated[
    float | None,
    typer.Option(
        help="of each entry of k with the same one of q; normal entries only",
        show_default="0",
        metavar="RHO",
        rich_help_panel=options.MEASURE,
    ),
]
Block = Annotated[
    str | None,
    typer.Option(
        "--config",
        help="a block's own scores instead: a preset or a file",
        metavar="CONFIG",
        rich_help_panel=options.INPUT,
    ),
]
Inits = Annotated[
    bool,
    typer.Option("--inits", help="what common initialisations start with instead", rich_help_panel=options.MEASURE),
]


def variance(
    dk: Widths = None,
    samples: Samples = None,
    keys: Keys = None,
    distribution: Kind = None,
    correlation: Correlation = None,
    config: Block = None,
    set_: options.Set = None,
    inits: Inits = False,
    seed: options.Seed = None,
    out: options.Out = None,
    details: options.Details = False,
    no_figures: options.NoFigures = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    max_memory: options.MaxMemory = None,
    debug: options.Debug = False,
) -> None:
    """Measure Var(q·k) with and without 1/√d_k, and what unscaled scores do to the softmax, beside exact theory.

    Without --dk: widths from 1 to 1,024 by doubling, and a figure of them.
    """
    wishes = Wishes(
        command="variance", json=json, quiet=quiet, figures=not no_figures, out=options.as_path(out), details=details
    )
    given = {
        "--dk": dk,
        "--samples": samples,
        "--keys": keys,
        "--distribution": distribution,
        "--correlation": correlation,
    }
    try:
        options.check_seed(seed)
        budget = options.memory_budget(max_memory)
        settings = settings_of(set_)
        if config is None and settings:
            raise UsageError(f"{settings[0].option.text}: changes nothing; expected --config CONFIG beside it")
        if config is not None or inits:
            chosen = "--inits" if config is None else "--config"
            options.refuse_beside(f"{chosen}, whose weights and widths make the scores", given)
            measure_block(
                None if config is None else Asked(config=config, settings=settings, seed=seed), seed, wishes, budget
            )
            return
        measure_pairs(widths_of(dk, samples, keys, distribution, correlation, seed, budget), wishes)
    except AttnlabError as error:
        raise about("variance", error) from error


def widths_of(
    dk: list[int] | None,
    samples: int | None,
    keys: int | None,
    distribution: str | None,
    correlation: float | None,
    seed: int | None,
    budget: int,
) -> "VarianceConfig":
    """The experiment's settings: its own defaults where nothing was given."""
    from attnlab.experiments.variance import DISTRIBUTIONS, WIDTHS, VarianceConfig
    from attnlab.maths.threads import usable_cores

    plain = VarianceConfig()
    return VarianceConfig(
        d_k=tuple(dk or WIDTHS),
        samples=samples,
        keys=plain.keys if keys is None else keys,
        distribution=options.one_of("--distribution", distribution or plain.distribution, DISTRIBUTIONS),
        correlation=correlation or 0.0,
        seed=seed or 0,
        threads=usable_cores(),
        max_bytes=budget,
    )


def measure_pairs(config: "VarianceConfig", wishes: Wishes) -> None:
    """Run the experiment, and answer."""
    from attnlab.experiments.variance import check, run, steps
    from attnlab.experiments.variance_document import csv_table, document, settings
    from attnlab.experiments.variance_figures import figures
    from attnlab.experiments.variance_report import report
    from attnlab.files.documents import csv_bytes

    check(config)
    with (
        progress("measuring", steps(config), visible=not wishes.quiet) as bar,
        run_directory(wishes, settings(config), config.seed, {}) as directory,
    ):
        record = run(config, advance=bar.advance)
        bar.clear()
        deliver(
            wishes,
            directory,
            document={**begin_document("variance", config.seed, settings(config)), **document(record)},
            report=lambda: report(record),
            figures=lambda: figures(record),
            files={"result.csv": csv_bytes(*csv_table(record))},
        )


def measure_block(asked: Asked | None, seed: int | None, wishes: Wishes, budget: int) -> None:
    """Measure a block's own scores, or the initialisations alone, and answer."""
    from attnlab.experiments.variance_block import block_steps, run_block
    from attnlab.experiments.variance_block_figures import figures
    from attnlab.experiments.variance_block_report import report
    from attnlab.experiments.variance_document import block_csv_table, block_document
    from attnlab.files.config import config_document
    from attnlab.files.documents import csv_bytes
    from attnlab.files.stacks import load_bench

    config = None if asked is None else choose_config(asked, budget)
    bench = None if config is None else load_bench(config, max_bytes=budget)
    document = None if config is None else config_document(config)
    drawn = seed if config is None else seed_of(config)
    with (
        progress("measuring", block_steps(bench), visible=not wishes.quiet) as bar,
        run_directory(wishes, document, drawn or 0, {} if bench is None else bench.sha256) as directory,
    ):
        record = run_block(bench, seed=drawn or 0, advance=bar.advance)
        bar.clear()
        deliver(
            wishes,
            directory,
            document={**begin_document("variance", record.seed, document), **block_document(record)},
            report=lambda: report(record),
            figures=lambda: figures(record),
            files={"result.csv": csv_bytes(*block_csv_table(record))},
        )
