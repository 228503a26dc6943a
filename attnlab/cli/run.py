"""`attnlab run`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnlab.cli import options
from attnlab.cli.choices import choose_config, seed_of, summary_of
from attnlab.cli.failures import about
from attnlab.cli.output import Wishes, begin_document, deliver, run_directory
from attnlab.cli.progress import progress
from attnlab.errors import AttnlabError, UsageError

if TYPE_CHECKING:
    from attnlab.experiments.run import RunRecord, Selection
    from attnlab.files.config import Config
    from attnlab.files.runs import RunDirectory

EPILOG = """\b
Examples:
  attnlab run
  attnlab run vaswani-base --n 24 --head 0.3 --no-figures"""

Layers = Annotated[str | None, typer.Option(help="only these, such as 0-3,5", metavar="LIST")]
Heads = Annotated[str | None, typer.Option(help="only these, in every layer", metavar="LIST")]
N = Annotated[int | None, typer.Option(help="so many random tokens")]
Qkv = Annotated[
    str | None,
    typer.Option(help="attention of these arrays: .npz with q, k, v, optional mask, bias", metavar="FILE"),
]
Arrays = Annotated[bool, typer.Option("--arrays", help="also write arrays.npz, under TransformerLens names")]


def run(
    config: options.ConfigArgument = None,
    embeddings: options.Embeddings = None,
    tokens: options.Tokens = None,
    qkv: Qkv = None,
    n: N = None,
    head: options.Head = None,
    layers: Layers = None,
    heads: Heads = None,
    seed: options.Seed = None,
    out: options.Out = None,
    arrays: Arrays = False,
    no_figures: options.NoFigures = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    max_memory: options.MaxMemory = None,
    debug: options.Debug = False,
) -> None:
    """Run a block on embeddings: who attends to whom, its scores beside what they should be, its steps, its checks.

    Without CONFIG: a real sentence through one head of a real model; with --embeddings alone, one identity head.
    """
    wishes = Wishes(command="run", json=json, quiet=quiet, figures=not no_figures, out=options.as_path(out))
    try:
        options.check_seed(seed)
        budget = options.memory_budget(max_memory)
        selection = make_selection(head, layers, heads)
        if qkv is not None:
            others = {"CONFIG": config, "--embeddings": embeddings, "--tokens": tokens, "--n": n, "--seed": seed}
            refuse_beside_qkv(others)
            run_arrays(Path(qkv), selection, wishes, budget, arrays=arrays)
            return
        chosen = choose_config(config, options.as_path(embeddings), options.as_path(tokens), n, seed, budget)
        run_block(chosen, selection, wishes, budget, arrays=arrays)
    except AttnlabError as error:
        raise about("run", error) from error


def make_selection(head: str | None, layers: str | None, heads: str | None) -> "Selection":
    """What to report and to show; a head shown is also a head reported."""
    from attnlab.experiments.run import Selection

    return Selection(
        layers=options.index_list("--layers", layers),
        heads=options.index_list("--heads", heads),
        shown=options.head_place(head),
    )


def refuse_beside_qkv(others: Mapping[str, object]) -> None:
    """q, k and v are all there is to run: nothing else may describe the input."""
    for name, value in others.items():
        if value is not None:
            raise UsageError(f"{name}: not together with --qkv, whose arrays are the whole input")


def run_block(config: "Config", selection: "Selection", wishes: Wishes, budget: int, *, arrays: bool) -> None:
    """Run a configuration's block, and answer."""
    from attnlab.experiments.run import run as experiment
    from attnlab.files.config import config_document
    from attnlab.files.stacks import load_bench
    from attnlab.maths.threads import threads_for

    seed = seed_of(config)
    document = config_document(config)
    steps = 3 * config.layers  # weights, trace, statistics
    with progress("running", steps, visible=not wishes.quiet) as bar:
        bench = load_bench(config, max_bytes=budget, advance=bar.advance)
        with run_directory(wishes, document, seed, bench.sha256) as directory:
            with threads_for(config.block.largest_product(len(bench.x))):
                record = experiment(bench, selection, advance=bar.advance)
            bar.clear()
            beginning = begin_document("run", seed, document)
            answer(record, wishes, directory, beginning, arrays=arrays, summary=summary_of(config))
    exit_by_checks(record)


def run_arrays(path: Path, selection: "Selection", wishes: Wishes, budget: int, *, arrays: bool) -> None:
    """Run attention on q, k and v as given, and answer."""
    from attnlab.experiments.run import run_qkv
    from attnlab.files.embeddings import read_qkv
    from attnlab.files.opening import sha256, shown

    given = read_qkv(path, max_bytes=budget)
    with run_directory(wishes, None, None, {str(path): sha256(path)}) as directory:
        record = run_qkv(shown(path.stem), given, selection, max_bytes=budget)
        answer(record, wishes, directory, begin_document("run", None, None), arrays=arrays, summary="")
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
    """Exit code 1 when a check does not hold.

    Raises:
        typer.Exit: it does not.
    """
    if not all(check.holds for check in record.checks):
        raise typer.Exit(1)
