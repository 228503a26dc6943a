"""`attnlab depth`."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from attnlab.cli import options
from attnlab.cli.failures import about
from attnlab.cli.output import Wishes, begin_document, deliver, run_directory
from attnlab.cli.progress import progress
from attnlab.errors import AttnlabError

if TYPE_CHECKING:
    from attnlab.experiments.depth_stack import DepthConfig

EPILOG = """\b
Examples:
  attnlab depth
  attnlab depth --layers 24 --variant block_without_residual --no-figures"""

N = Annotated[int, typer.Option(help="tokens", rich_help_panel=options.MEASURE)]
Width = Annotated[int, typer.Option("--d-model", help="numbers in a token", rich_help_panel=options.MEASURE)]
Heads = Annotated[int, typer.Option(help="attention heads; they divide --d-model", rich_help_panel=options.MEASURE)]
Layers = Annotated[int, typer.Option(help="layers, one on top of the other", rich_help_panel=options.MEASURE)]
Seeds = Annotated[int, typer.Option(help="stacks to draw, for the error bars", rich_help_panel=options.MEASURE)]
VariantNames = Annotated[
    list[str] | None,
    typer.Option(
        "--variant",
        help="only this: attention, residual, residual_norm, block, block_without_residual",
        metavar="NAME",
        show_default="all",
        rich_help_panel=options.MEASURE,
    ),
]
Init = Annotated[
    str,
    typer.Option(
        help="how weights are drawn: xavier_uniform, xavier_normal or lecun_normal", rich_help_panel=options.MEASURE
    ),
]
Seed = Annotated[int, typer.Option(help="draw weights and tokens with this seed", rich_help_panel=options.INPUT)]


def depth(
    n: N = 32,
    d_model: Width = 128,
    heads: Heads = 4,
    layers: Layers = 12,
    seeds: Seeds = 5,
    variant: VariantNames = None,
    init: Init = "xavier_uniform",
    seed: Seed = 0,
    out: options.Out = None,
    details: options.Details = False,
    no_figures: options.NoFigures = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    max_memory: options.MaxMemory = None,
    debug: options.Debug = False,
) -> None:
    """What stacking does to tokens and gradients, and what the residual path, LayerNorm and the feed-forward change."""
    from attnlab.experiments.depth_stack import DepthConfig

    wishes = Wishes(
        command="depth", json=json, quiet=quiet, figures=not no_figures, out=options.as_path(out), details=details
    )
    try:
        options.check_seed(seed)
        config = DepthConfig(n=n, d_model=d_model, heads=heads, layers=layers, seeds=seeds, init=init, seed=seed)
        if variant:
            config = replace(config, variants=tuple(variant))
        work(config, wishes, options.memory_budget(max_memory))
    except AttnlabError as error:
        raise about("depth", error) from error


def work(config: "DepthConfig", wishes: Wishes, budget: int) -> None:
    """Run the experiment, and answer."""
    from attnlab.experiments.depth import run, steps
    from attnlab.experiments.depth_figures import figures
    from attnlab.experiments.depth_report import csv_table, document, gains_csv_table, report
    from attnlab.experiments.depth_stack import check
    from attnlab.files.documents import csv_bytes

    check(config, budget)
    settings = asdict(config)
    with (
        progress("stacking", steps(config), visible=not wishes.quiet) as bar,
        run_directory(wishes, settings, config.seed, {}) as directory,
    ):
        record = run(config, advance=bar.advance, max_bytes=budget)
        bar.clear()
        deliver(
            wishes,
            directory,
            document={**begin_document("depth", config.seed, settings), **document(record)},
            report=lambda: report(record),
            figures=lambda: figures(record),
            files={"result.csv": csv_bytes(*csv_table(record)), "gains.csv": csv_bytes(*gains_csv_table(record))},
        )
