"""`attnlab diagram`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnlab.cli import options, texts
from attnlab.cli.choices import (
    Asked,
    config_or_checkpoint,
    is_checkpoint,
    refuse_for_checkpoint,
    seed_of,
    settings_of,
)
from attnlab.cli.failures import about
from attnlab.cli.output import Wishes, begin_document, deliver, print_line, run_directory
from attnlab.cli.progress import progress
from attnlab.errors import AttnlabError

if TYPE_CHECKING:
    from attnlab.experiments.diagram import DiagramConfig
    from attnlab.files.stacks import Bench
    from attnlab.records import Diagram

EPILOG = """\b
Examples:
  attnlab diagram attention
  attnlab diagram block vaswani-base --format mermaid"""

Name = Annotated[
    str, typer.Argument(help="roles, projections, attention, parallel or block", metavar="NAME", show_default=False)
]
FormatOption = Annotated[
    str,
    typer.Option(
        "--format",
        help="png, svg, both, or mermaid: text for Markdown",
        metavar="FORMAT",
        rich_help_panel=options.OUTPUT,
    ),
]
FORMATS = ("both", "png", "svg", "mermaid")


def diagram(
    name: Name,
    config: options.ConfigArgument = None,
    set_: options.Set = None,
    format_: FormatOption = "both",
    head: options.Head = None,
    seed: options.Seed = None,
    out: options.Out = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    max_memory: options.MaxMemory = None,
    debug: options.Debug = False,
) -> None:
    """Draw attention with a block's own numbers: roles, projections, attention, parallel or block.

    Without CONFIG: the sentence that `attnlab run` looks at. CONFIG may also be a checkpoint's folder.
    Matrices of about 6 tokens and width 4 carry their numbers; larger ones are shaded.
    """
    wishes = Wishes(command="diagram", json=json, quiet=quiet, figures=format_ == "both", out=options.as_path(out))
    try:
        from attnlab.experiments.diagram import KINDS, DiagramConfig

        options.check_seed(seed)
        kind = options.one_of("NAME", name, KINDS)
        form = options.one_of("--format", format_, FORMATS)
        layer, number = options.head_place(head) or (0, 0)
        settings = DiagramConfig(kind=kind, layer=layer, head=number)
        asked = Asked(config=config, settings=settings_of(set_), seed=seed)
        bench, beginning = bench_of(asked, settings, options.memory_budget(max_memory))
        answer(bench, settings, form, wishes, beginning)
    except AttnlabError as error:
        raise about("diagram", error) from error


def bench_of(asked: Asked, settings: "DiagramConfig", budget: int) -> "tuple[Bench, dict[str, object]]":
    """What is run for the drawing, and the beginning of its JSON document."""
    from attnlab.experiments.diagram import check_place, first_layers
    from attnlab.files.config import config_document

    source = asked.config
    if source is not None and has_weights(source):
        refuse_for_checkpoint(source, asked.settings)
        options.refuse_beside(f"the checkpoint {source}, which has its own weights", {"--seed": asked.seed})
        return checkpoint_bench(source, settings, budget)
    config = config_or_checkpoint(asked, budget)
    check_place(settings, config)
    return first_layers(config, settings, max_bytes=budget), begin_document(
        "diagram", seed_of(config), config_document(config)
    )


def has_weights(source: str) -> bool:
    """Whether a source is a checkpoint's folder with its tensors; a config.json alone is drawn at random weights."""
    return is_checkpoint(source) and any(Path(source).glob("*.safetensors"))


def checkpoint_bench(folder: str, settings: "DiagramConfig", budget: int) -> "tuple[Bench, dict[str, object]]":
    """A checkpoint on the first sentence of the text that comes with the package, read a layer at a time."""
    from attnlab.experiments.diagram import check_place
    from attnlab.models.checkpoint import load_checkpoint

    model = load_checkpoint(folder, keep=False, max_bytes=budget)
    check_place(settings, model.config)
    text, whole = texts.given_tokens(model, texts.Given(truncate=True), budget, sentence=True)
    return model.bench(text, max_bytes=budget), begin_document("diagram", None, model.document(text, whole))


def answer(bench: "Bench", settings: "DiagramConfig", form: str, wishes: Wishes, beginning: dict[str, object]) -> None:
    """Run the block, draw, and say what is drawn."""
    from attnlab.experiments.diagram import run
    from attnlab.experiments.diagram_report import document, figures, report

    described, seed = beginning["config"], beginning["seed"]
    with (
        progress("drawing", 1, visible=not wishes.quiet),
        run_directory(
            wishes,
            described if isinstance(described, dict) else None,
            seed if isinstance(seed, int) else None,
            bench.sha256,
            bench.fingerprint,
        ) as directory,
    ):
        record = run(bench, settings)
        if form == "mermaid" and not (wishes.json or wishes.quiet):
            print_line(drawn(record, form)[f"{record.kind}.mmd"].decode())
            wishes = replace(wishes, quiet=True)  # the text is the answer
        deliver(
            wishes,
            directory,
            document={**beginning, **document(record)},
            report=lambda: report(record),
            figures=lambda: figures(record),
            files={} if directory is None or form == "both" else drawn(record, form),
        )


def drawn(record: "Diagram", form: str) -> dict[str, bytes]:
    """The one file of a single format."""
    from attnlab.experiments.diagram_report import figures
    from attnlab.show.mermaid import flowchart
    from attnlab.show.plots import figure_bytes

    if form == "mermaid":
        return {f"{record.kind}.mmd": flowchart(record).encode()}
    return {f"{record.kind}.{form}": figure_bytes(figures(record)[0], "png" if form == "png" else "svg")}
