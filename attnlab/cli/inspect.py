"""`attnlab inspect`."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from attnlab.cli import options, texts
from attnlab.cli.choices import Asked, settings_of
from attnlab.cli.failures import about
from attnlab.cli.output import Wishes, begin_document, deliver, run_directory
from attnlab.cli.progress import progress
from attnlab.cli.subjects import Subject, subject_of
from attnlab.errors import AttnlabError

if TYPE_CHECKING:
    from attnlab.cli.run import Way
    from attnlab.experiments.inspect import InspectConfig, InspectRecord
    from attnlab.experiments.run_record import Selection
    from attnlab.files.runs import RunDirectory

EPILOG = """\b
What makes a head worth a look, each with its number:
  sink            over 0.3 of its weight on one key (Gu et al. 2024, on key 0)
  saturated       over half of its rows with one key above 0.99 (ours)
  collapsed       entropy below 0.1 of what can be (ours; Zhai et al. 2023)
  previous token  over half of its weight on key i − 1 (Clark et al. 2019)
  next token      over half of its weight on key i + 1 (Clark et al. 2019)
  near-uniform    entropy above 0.95 of what is possible (ours)
  near-identical  rows within 0.05 of their weight of another head's (ours)
  large score     beyond 128, where bfloat16 knows whole numbers only (ours)

\b
Examples:
  attnlab inspect vaswani-base --layers 0-2 --no-figures
  attnlab inspect gpt2-small --weights --layers 0 --no-figures"""

#: The statistic that the table shows, and the kernel, where nothing is asked for.
STATISTIC, KERNEL = "normalized_entropy", "auto"

Checkpoint = Annotated[
    str | None,
    typer.Argument(
        help="a folder with config.json, model.safetensors, tokenizer.json; or a configuration", metavar="CHECKPOINT"
    ),
]
Statistic = Annotated[
    str, typer.Option(help="what the table of layers and heads shows", metavar="NAME", rich_help_panel=options.SHOW)
]
Head = Annotated[
    str | None,
    typer.Option(
        help="also show this head's matrix: LAYER.HEAD, such as 3.7", metavar="HEAD", rich_help_panel=options.SHOW
    ),
]
Layers = Annotated[
    str | None,
    typer.Option(help="only these, such as 0-3; none above is read", metavar="LIST", rich_help_panel=options.MEASURE),
]
KernelOption = Annotated[
    str,
    typer.Option(
        "--kernel",
        help="dense makes the matrices, streaming does not; auto: beyond 256 tokens",
        metavar="KERNEL",
        rich_help_panel=options.MEASURE,
    ),
]
WeightsOnly = Annotated[
    bool, typer.Option("--weights", help="look at the weights alone; needs no text", rich_help_panel=options.MEASURE)
]


def inspect(
    checkpoint: Checkpoint = None,
    set_: options.Set = None,
    text: texts.TextOption = None,
    text_file: texts.TextFile = None,
    ids: texts.Ids = None,
    truncate: texts.Truncate = False,
    weights: WeightsOnly = False,
    statistic: Statistic = STATISTIC,
    head: Head = None,
    layers: Layers = None,
    heads: options.OnlyHeads = None,
    kernel: KernelOption = KERNEL,
    asymmetry: options.Asymmetry = False,
    out: options.Out = None,
    arrays: options.Arrays = False,
    details: options.Details = False,
    no_figures: options.NoFigures = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    max_memory: options.MaxMemory = None,
    debug: options.Debug = False,
) -> None:
    """Say whether a model's heads are healthy on a text, at any length: sinks, saturated, collapsed, uniform ones.

    A checkpoint without a text: a sample of some 300 words. Without CHECKPOINT: one head of a real model on a sentence;
    a configuration's blocks run on their own input.
    """
    wishes = Wishes(
        command="inspect", json=json, quiet=quiet, figures=not no_figures, out=options.as_path(out), details=details
    )
    given = texts.Given(text=text, file=text_file, ids=ids, truncate=truncate)
    try:
        from attnlab.cli.run import Way, kernel_wish, make_selection

        budget = options.memory_budget(max_memory)
        way = Way(kernel=kernel_wish(kernel, arrays=arrays), asymmetry=asymmetry, budget=budget, arrays=arrays)
        selection = make_selection(head, layers, heads)
        asked = Asked(config=checkpoint, settings=settings_of(set_))
        if weights:
            options.refuse_beside("--weights, which needs no text", {**given.named, "--head": head})
            options.refuse_beside("--weights, which runs nothing", way_beside_weights(given, statistic, kernel, way))
            inspect_weights(asked, selection, wishes, way)
            return
        inspect_text(asked, given, check_statistic(statistic), selection, wishes, way)
    except AttnlabError as error:
        raise about("inspect", error) from error


def way_beside_weights(given: texts.Given, statistic: str, kernel: str, way: "Way") -> dict[str, object]:
    """Options that say how to run a model on a text; None where one is left as it is."""
    return {
        "--truncate": given.truncate or None,
        "--statistic": None if statistic == STATISTIC else statistic,
        "--kernel": None if kernel == KERNEL else kernel,
        "--asymmetry": way.asymmetry or None,
        "--arrays": way.arrays or None,
    }


def inspect_text(
    asked: Asked, given: texts.Given, statistic: str, selection: "Selection", wishes: Wishes, way: "Way"
) -> None:
    """Run the model on the text layer by layer, print the result and write the files.

    Raises:
        typer.Exit: a check does not hold, or something is not finite.
    """
    from attnlab.experiments.inspect import run, steps

    subject = subject_of(asked, given, way.budget, text=True)
    with progress("reading", 1, visible=not wishes.quiet) as bar:
        bench, config = subject.bench, configuration(subject, statistic, selection, way, pictures=wishes.draws)
        bar.total = steps(config)
        beginning = begin_document("inspect", subject.seed, subject.document)
        with run_directory(wishes, subject.document, subject.seed, bench.sha256, bench.fingerprint) as directory:
            record = run(config, advance=bar.advance, under_way=bar.name)
            bar.clear()
            answer(record, wishes, directory, beginning, arrays=way.arrays)
    if record.not_finite is not None or not all(check.holds for check in record.checks):
        raise typer.Exit(1)


def configuration(
    subject: Subject, statistic: str, selection: "Selection", way: "Way", *, pictures: bool
) -> "InspectConfig":
    """What to inspect, checked before any layer is read.

    Raises:
        MemoryRefused: it would take more than may be used.
        UsageError: the model has no such layer or head.
    """
    from attnlab.experiments.inspect import InspectConfig, reported
    from attnlab.experiments.inspect_kernel import inspection_kernel

    bench = subject.bench
    layers, _, _ = reported(subject.facts, selection)
    kept = len(layers) if way.arrays else 0
    kernel, working = inspection_kernel(bench.config, len(bench.x), way.kernel, kept=kept, max_bytes=way.budget)
    return InspectConfig(
        model=subject.facts,
        bench=replace(bench, kernel=kernel, working_bytes=working),
        selection=selection,
        kernel=kernel,
        asymmetry=way.asymmetry,
        arrays=way.arrays,
        pictures=pictures,
        statistic=statistic,
        text_tokens=subject.whole,
        remark=subject.remark,
    )


def check_statistic(name: str) -> str:
    """The statistic asked for.

    Raises:
        UsageError: there is none of that name.
    """
    from attnlab.experiments.run_document import SCALARS

    return options.one_of("--statistic", name, SCALARS)


def answer(
    record: "InspectRecord",
    wishes: Wishes,
    directory: "RunDirectory | None",
    beginning: "dict[str, object]",
    *,
    arrays: bool,
) -> None:
    """Print the result and write the files."""
    from attnlab.experiments.inspect_document import csv_table, document
    from attnlab.experiments.inspect_figures import figures
    from attnlab.experiments.inspect_report import report
    from attnlab.files.documents import csv_bytes, npz_bytes

    files = {"result.csv": csv_bytes(*csv_table(record))}
    if arrays:
        files["arrays.npz"] = npz_bytes(record.arrays)
    deliver(
        wishes,
        directory,
        document={**beginning, **document(record)},
        report=lambda: report(record),
        figures=lambda: figures(record),
        files=files,
    )


def inspect_weights(asked: Asked, selection: "Selection", wishes: Wishes, way: "Way") -> None:
    """Look at the model's weights alone, print the result and write the files."""
    from attnlab.experiments.inspect_kernel import require_weights_memory
    from attnlab.experiments.inspect_weights import run
    from attnlab.experiments.inspect_weights_figures import figures
    from attnlab.experiments.inspect_weights_report import csv_table, document, report
    from attnlab.files.documents import csv_bytes

    subject = subject_of(asked, texts.Given(), way.budget, text=False)
    bench = subject.bench
    require_weights_memory(subject.bench.config, way.budget)
    layers, heads = selection.layers, selection.heads
    count = len(layers) if layers is not None else subject.facts.layers
    with (
        progress("reading layers", count, visible=not wishes.quiet) as bar,
        run_directory(wishes, subject.document, subject.seed, bench.sha256, bench.fingerprint) as directory,
    ):
        record = run(
            subject.bench.stack,
            subject.facts,
            positions=subject.positions,
            layers=layers,
            heads=heads,
            advance=bar.advance,
        )
        bar.clear()
        deliver(
            wishes,
            directory,
            document={**begin_document("inspect", subject.seed, subject.document), **document(record)},
            report=lambda: report(record),
            figures=lambda: figures(record),
            files={"result.csv": csv_bytes(*csv_table(record))},
        )
