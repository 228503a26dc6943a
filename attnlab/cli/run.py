"""`attnlab run`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnlab.cli import options, texts
from attnlab.cli.choices import (
    Asked,
    choose_config,
    is_checkpoint,
    refuse_for_checkpoint,
    seed_of,
    settings_of,
    summary_of,
    with_names,
)
from attnlab.cli.failures import about
from attnlab.cli.output import Wishes, begin_document, deliver, run_directory
from attnlab.cli.progress import Progress, progress
from attnlab.errors import AttnlabError, UsageError

if TYPE_CHECKING:
    from attnlab.experiments.run_record import RunRecord, Selection
    from attnlab.files.kernels import KernelWish
    from attnlab.files.runs import RunDirectory
    from attnlab.files.stacks import Bench

EPILOG = """\b
Examples:
  attnlab run --dk 16 --causal --no-figures
  attnlab run single-head --n 2048 --kernel streaming --no-figures"""

Dk = Annotated[
    str | None,
    typer.Option(
        "--dk", help="the width of each head's queries and keys", metavar="D_K", rich_help_panel=options.INPUT
    ),
]
Causal = Annotated[
    bool,
    typer.Option("--causal", help="a query sees the keys up to its own position alone", rich_help_panel=options.INPUT),
]
Scale = Annotated[
    str | None,
    typer.Option(
        "--scale", help="what q·k is multiplied by, in place of 1/√d_k", metavar="NUMBER", rich_help_panel=options.INPUT
    ),
]
Layers = Annotated[
    str | None, typer.Option(help="only these, such as 0-3,5", metavar="LIST", rich_help_panel=options.MEASURE)
]
Qkv = Annotated[
    str | None,
    typer.Option(
        help="attention of these arrays: .npz with q, k, v, optional mask, bias",
        metavar="FILE",
        rich_help_panel=options.INPUT,
    ),
]
KernelOption = Annotated[
    str,
    typer.Option(
        "--kernel",
        help="dense keeps the matrices, streaming never makes them; auto: dense up to 1 GiB",
        metavar="KERNEL",
        rich_help_panel=options.MEASURE,
    ),
]


def run(
    config: options.ConfigArgument = None,
    embeddings: options.Embeddings = None,
    tokens: options.Tokens = None,
    qkv: Qkv = None,
    text: texts.TextOption = None,
    text_file: texts.TextFile = None,
    ids: texts.Ids = None,
    truncate: texts.Truncate = False,
    n: options.RandomTokens = None,
    words: options.Words = None,
    set_: options.Set = None,
    dk: Dk = None,
    causal: Causal = False,
    scale: Scale = None,
    head: options.Head = None,
    layers: Layers = None,
    heads: options.OnlyHeads = None,
    kernel: KernelOption = "auto",
    asymmetry: options.Asymmetry = False,
    seed: options.Seed = None,
    out: options.Out = None,
    arrays: options.Arrays = False,
    details: options.Details = False,
    no_figures: options.NoFigures = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    max_memory: options.MaxMemory = None,
    debug: options.Debug = False,
) -> None:
    """Run a block on embeddings: who attends to whom, its scores beside what they should be, its steps, its checks.

    Without CONFIG: a real sentence through one head of a real model; with --n, --words or another shape, such as
    --dk 16, single-head; with --embeddings, one identity head. CONFIG may also be a checkpoint's folder, which runs
    on a text.
    """
    wishes = Wishes(
        command="run", json=json, quiet=quiet, figures=not no_figures, out=options.as_path(out), details=details
    )
    try:
        options.check_seed(seed)
        way = Way(
            kernel=kernel_wish(kernel, arrays=arrays),
            asymmetry=asymmetry,
            budget=options.memory_budget(max_memory),
            arrays=arrays,
        )
        selection = make_selection(head, layers, heads)
        given = texts.Given(text=text, file=text_file, ids=ids, truncate=truncate)
        asked = Asked(
            config=config,
            settings=settings_of(set_, dk=dk, causal=causal, scale=scale),
            embeddings=options.as_path(embeddings),
            tokens=options.as_path(tokens),
            n=n,
            words=words,
            seed=seed,
        )
        if config is not None and qkv is None and is_checkpoint(config):
            refuse_for_checkpoint(config, asked.settings)
            texts.refuse_for_checkpoint(config, given, asked.given)
            run_checkpoint(config, given, selection, wishes, way)
            return
        texts.refuse_without_checkpoint(given)
        if qkv is not None:
            changes = {setting.option.text: setting for setting in asked.settings}
            others = {"CONFIG": config, **asked.given, **changes}
            options.refuse_beside("--qkv, whose arrays are the whole input", others)
            run_arrays(Path(qkv), selection, wishes, way)
            return
        run_block(asked, selection, wishes, way)
    except AttnlabError as error:
        raise about("run", error) from error


@dataclass(frozen=True, kw_only=True)
class Way:
    """How to run: which kernel, whether to measure the asymmetry, in how many bytes, and whether to write arrays."""

    kernel: "KernelWish"
    asymmetry: bool
    budget: int
    arrays: bool


def kernel_wish(text: str, *, arrays: bool) -> "KernelWish":
    """The kernel asked for; None where --arrays needs the matrices.

    Raises:
        UsageError: there is no such kernel, or it has no arrays to write.
    """
    from attnlab.files.kernels import KERNELS

    if arrays and text == "streaming":
        raise UsageError("--arrays: not together with --kernel streaming, which never makes the matrices")
    kernel = options.one_of("--kernel", text, KERNELS)
    return None if arrays and kernel == "auto" else kernel


def make_selection(head: str | None, layers: str | None, heads: str | None) -> "Selection":
    """What to report and to show; a head shown is also a head reported."""
    from attnlab.experiments.run_record import Selection

    return Selection(
        layers=options.index_list("--layers", layers),
        heads=options.index_list("--heads", heads),
        shown=options.head_place(head),
    )


def run_block(asked: Asked, selection: "Selection", wishes: Wishes, way: Way) -> None:
    """Run a configuration's block, and answer."""
    from attnlab.files.config import config_document
    from attnlab.files.stacks import load_bench

    config = choose_config(asked, way.budget)
    with progress("running", config.layers, visible=not wishes.quiet) as bar:
        bench = load_bench(config, max_bytes=way.budget, kernel=way.kernel, advance=bar.advance)
        beginning = begin_document("run", seed_of(config), config_document(config))
        bench = with_names(bench, asked)
        run_bench(bench, selection, wishes, way, bar, beginning, summary=summary_of(config, asked))


def run_checkpoint(folder: str, given: texts.Given, selection: "Selection", wishes: Wishes, way: Way) -> None:
    """Run a checkpoint's blocks on a text, and answer."""
    from attnlab.models.checkpoint import load_checkpoint

    model = load_checkpoint(folder, max_bytes=way.budget)
    text, whole = texts.given_tokens(model, given, way.budget, sentence=True)
    cut = f"The first {len(text.ids):,} of the text's {whole:,} tokens." if whole > len(text.ids) else ""
    with progress("running", 0, visible=not wishes.quiet) as bar:
        bench = model.bench(text, kernel=way.kernel, max_bytes=way.budget)
        beginning = begin_document("run", None, model.document(text, whole))
        beyond = texts.beyond_training(model, len(text.ids))
        run_bench(bench, selection, wishes, way, bar, beginning, summary=cut or beyond)


def run_bench(
    bench: "Bench",
    selection: "Selection",
    wishes: Wishes,
    way: Way,
    bar: Progress,
    beginning: Mapping[str, Any],
    *,
    summary: str,
) -> None:
    """Run a stack on its embeddings, and answer."""
    from attnlab.experiments.run import run as experiment
    from attnlab.experiments.run import run_steps
    from attnlab.maths.threads import threads_for

    bar.total += run_steps(bench, selection, asymmetry=way.asymmetry)
    with run_directory(wishes, beginning["config"], beginning["seed"], bench.sha256, bench.fingerprint) as directory:
        with threads_for(bench.config.block.largest_product(len(bench.x))):
            record = experiment(bench, selection, asymmetry=way.asymmetry, advance=bar.advance)
        bar.clear()
        answer(record, wishes, directory, beginning, arrays=way.arrays, summary=summary)
    exit_by_checks(record)


def run_arrays(path: Path, selection: "Selection", wishes: Wishes, way: Way) -> None:
    """Run attention on q, k and v as given, and answer."""
    from attnlab.experiments.run_qkv import qkv_inputs, run_qkv
    from attnlab.files.embeddings import read_qkv
    from attnlab.files.opening import sha256, shown
    from attnlab.maths.streaming import panel_count

    name = shown(path.stem)
    given = read_qkv(path, max_bytes=way.budget)
    steps = panel_count(qkv_inputs(name, given), asymmetry=way.asymmetry)
    with (
        progress("running", steps, visible=not wishes.quiet) as bar,
        run_directory(wishes, None, None, {str(path): sha256(path)}) as directory,
    ):
        record = run_qkv(
            name,
            given,
            selection,
            max_bytes=way.budget,
            kernel=way.kernel,
            asymmetry=way.asymmetry,
            advance=bar.advance,
        )
        bar.clear()
        answer(record, wishes, directory, begin_document("run", None, None), arrays=way.arrays, summary="")
    exit_by_checks(record)


def answer(
    record: "RunRecord",
    wishes: Wishes,
    directory: "RunDirectory | None",
    beginning: Mapping[str, object],
    *,
    arrays: bool,
    summary: str,
) -> None:
    """Print the result and write the files."""
    from attnlab.experiments.run_document import csv_table, document
    from attnlab.experiments.run_figures import figures
    from attnlab.experiments.run_report import report
    from attnlab.files.documents import csv_bytes, npz_bytes

    files = {"result.csv": csv_bytes(*csv_table(record))}
    if arrays:
        files["arrays.npz"] = npz_bytes(record.arrays)
    seed = beginning["seed"]
    deliver(
        wishes,
        directory,
        document={**beginning, **document(record)},
        report=lambda: report(record, seed=seed if isinstance(seed, int) else None, summary=summary),
        figures=lambda: figures(record),
        files=files,
    )


def exit_by_checks(record: "RunRecord") -> None:
    """Exit code 1 when a check does not hold, or something is not finite.

    Raises:
        typer.Exit: it does not.
    """
    if record.not_finite is not None or not all(check.holds for check in record.checks):
        raise typer.Exit(1)
