"""`attnlab cost`."""

from typing import TYPE_CHECKING, Annotated

import typer

from attnlab.cli import options
from attnlab.cli.choices import Asked, config_or_checkpoint, settings_of
from attnlab.cli.failures import about
from attnlab.cli.output import Wishes, begin_document, deliver, run_directory
from attnlab.cli.progress import progress
from attnlab.errors import AttnlabError, UsageError

if TYPE_CHECKING:
    from attnlab.experiments.cost import CostConfig
    from attnlab.files.config import Config

EPILOG = """\b
Examples:
  attnlab cost vaswani-base --n 131072
  attnlab cost gpt2-small --n 1024 --against measured --no-figures"""

#: The configuration that is counted when none is named: the paper's own.
PAPER = "vaswani-base"

N = Annotated[int, typer.Option(help="tokens", rich_help_panel=options.INPUT)]
Convention = Annotated[
    str,
    typer.Option(
        help="flop: a multiply-add counts 2; mac: multiply-adds alone, once each", rich_help_panel=options.MEASURE
    ),
]
Causal = Annotated[
    str,
    typer.Option(
        help="half: what a mask or a window hides is skipped; full: it is computed, too",
        rich_help_panel=options.MEASURE,
    ),
]
Against = Annotated[
    str | None,
    typer.Option(
        help="measured: time one block of this shape here, part by part",
        metavar="measured",
        rich_help_panel=options.MEASURE,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(help="with --against measured: draw with this seed", show_default="0", rich_help_panel=options.INPUT),
]


def cost(
    config: options.ConfigArgument = None,
    set_: options.Set = None,
    n: N = 4096,
    convention: Convention = "flop",
    causal: Causal = "half",
    against: Against = None,
    seed: Seed = None,
    out: options.Out = None,
    details: options.Details = False,
    no_figures: options.NoFigures = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    max_memory: options.MaxMemory = None,
    debug: options.Debug = False,
) -> None:
    """Count FLOPs, bytes and parameters part by part, by formula, and say where N² takes over.

    Without CONFIG: vaswani-base. CONFIG may also be a checkpoint's folder. Nothing is read but the
    configuration (of a checkpoint config.json), and nothing is run unless --against measured.
    """
    wishes = Wishes(
        command="cost", json=json, quiet=quiet, figures=not no_figures, out=options.as_path(out), details=details
    )
    try:
        options.check_seed(seed)
        if against not in (None, "measured"):
            raise UsageError(f"--against {against!r}; expected measured")
        budget = options.memory_budget(max_memory)
        chosen = config_or_checkpoint(Asked(config=config or PAPER, settings=settings_of(set_)), budget)
        answer(chosen, cost_settings(chosen, n, convention, causal, against, seed, budget), wishes)
    except AttnlabError as error:
        raise about("cost", error) from error


def cost_settings(
    config: "Config", n: int, convention: str, causal: str, against: str | None, seed: int | None, budget: int
) -> "CostConfig":
    """The experiment's settings, checked before any directory is made."""
    from attnlab.experiments.cost import COUNTS, HIDDEN, CostConfig, check

    settings = CostConfig(
        name=config.name,
        block=config.block,
        layers=config.layers,
        windows=config.per_layer.window,
        n=n,
        dtype=config.dtype,
        count=options.one_of("--convention", convention, COUNTS),
        hidden=options.one_of("--causal", causal, HIDDEN),
        measured=against is not None,
        seed=seed or 0,
        max_bytes=budget,
    )
    check(settings)
    return settings


def answer(config: "Config", settings: "CostConfig", wishes: Wishes) -> None:
    """Count, time where asked for, print the result and write the files."""
    from attnlab.experiments.cost import run, steps
    from attnlab.experiments.cost_figures import figures
    from attnlab.experiments.cost_report import csv_table, document, report
    from attnlab.files.config import config_document
    from attnlab.files.documents import csv_bytes

    drawn = settings.seed if settings.measured else None
    described = config_document(config)
    with (
        progress("timing", steps(settings), visible=not wishes.quiet) as bar,
        run_directory(wishes, described, drawn, {}) as directory,
    ):
        record = run(settings, advance=bar.advance)
        bar.clear()
        deliver(
            wishes,
            directory,
            document={**begin_document("cost", drawn, described), **document(record)},
            report=lambda: report(record),
            figures=lambda: figures(record),
            files={"result.csv": csv_bytes(*csv_table(record))},
        )
