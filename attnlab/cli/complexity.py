"""`attnlab complexity`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnlab.cli import options
from attnlab.cli.failures import Stopped, about, say_note
from attnlab.cli.output import Wishes, begin_document, deliver, run_directory, taken_up
from attnlab.cli.progress import progress
from attnlab.errors import AttnlabError, UsageError

if TYPE_CHECKING:
    from attnlab.experiments.complexity_record import ComplexityConfig
    from attnlab.experiments.complexity_saved import SavedPoints
    from attnlab.files.runs import RunDirectory

EPILOG = """\b
Examples:
  attnlab complexity --max-n 4096
  attnlab complexity --max-n 1024 --kernel dense --kernel streaming --heads 4"""

Mechanism = Annotated[
    list[str] | None,
    typer.Option(
        help="full, window, linear, fourier, a lookup table (hash, sorted, argmax), or all",
        metavar="NAME",
        show_default="full, window, sorted, hash",
        rich_help_panel=options.MEASURE,
    ),
]
Kernel = Annotated[
    list[str] | None,
    typer.Option(
        help="full attention by dense, streaming, compiled (numba), query (one at a time) or torch; without "
        "--mechanism full attention alone",
        metavar="NAME",
        show_default="dense and streaming",
        rich_help_panel=options.MEASURE,
    ),
]
Part = Annotated[
    str | None,
    typer.Option(
        help="core, or the whole block around it", show_default="core", metavar="PART", rich_help_panel=options.MEASURE
    ),
]
Sweep = Annotated[
    str | None,
    typer.Option(help="n, or d at N = --max-n", show_default="n", metavar="AXIS", rich_help_panel=options.MEASURE),
]
Width = Annotated[
    int | None, typer.Option("--d", help="width of a head", show_default="64", rich_help_panel=options.MEASURE)
]
Heads = Annotated[int | None, typer.Option(help="heads", show_default="1", rich_help_panel=options.MEASURE)]
Window = Annotated[
    int | None,
    typer.Option(help="keys that a query of window attention sees", show_default="64", rich_help_panel=options.MEASURE),
]
MinN = Annotated[
    int | None,
    typer.Option(help="fewest tokens", show_default="--max-n / 32, but 64 or more", rich_help_panel=options.MEASURE),
]
MaxN = Annotated[
    int | None,
    typer.Option(help="most tokens", show_default="4,096, or 1,024 with --sweep d", rich_help_panel=options.MEASURE),
]
MinD = Annotated[
    int | None, typer.Option(help="with --sweep d: smallest width", show_default="16", rich_help_panel=options.MEASURE)
]
MaxD = Annotated[
    int | None,
    typer.Option(help="with --sweep d: largest width", show_default="1,024", rich_help_panel=options.MEASURE),
]
Repeats = Annotated[
    int | None,
    typer.Option(
        help="timings of each point",
        show_default="7, the fewest, and more by --budget",
        rich_help_panel=options.MEASURE,
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        help="spend so long, such as 90s or 5m, where an order is open",
        show_default="45s",
        metavar="TIME",
        rich_help_panel=options.LIMITS,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        help="threads of matrix products and kernels", show_default="1, the steadiest", rich_help_panel=options.MEASURE
    ),
]
Seed = Annotated[int | None, typer.Option(help="draw with this seed", show_default="0", rich_help_panel=options.INPUT)]
Resume = Annotated[
    str | None,
    typer.Option(
        callback=options.directory_name,
        help="take up an interrupted run where it stopped, with its settings",
        metavar="DIR",
        rich_help_panel=options.OUTPUT,
    ),
]


#: Every mechanism, and how long a run takes by default.
ALL, BUDGET = "all", 45.0


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line says about the experiment; None where it says nothing."""

    mechanism: Sequence[str] | None
    kernel: Sequence[str] | None
    part: str | None
    sweep: str | None
    d: int | None
    heads: int | None
    window: int | None
    min_n: int | None
    max_n: int | None
    min_d: int | None
    max_d: int | None
    repeats: int | None
    budget: str | None
    threads: int | None
    seed: int | None


def complexity(
    mechanism: Mechanism = None,
    kernel: Kernel = None,
    part: Part = None,
    sweep: Sweep = None,
    d: Width = None,
    heads: Heads = None,
    window: Window = None,
    min_n: MinN = None,
    max_n: MaxN = None,
    min_d: MinD = None,
    max_d: MaxD = None,
    repeats: Repeats = None,
    budget: Budget = None,
    threads: Threads = None,
    seed: Seed = None,
    resume: Resume = None,
    out: options.Out = None,
    details: options.Details = False,
    no_figures: options.NoFigures = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    max_memory: options.MaxMemory = None,
    debug: options.Debug = False,
) -> None:
    """Measure time and memory against N, and name the order that settles: O(N), O(N log N) or O(N²).

    Full attention, a window, and two lookup tables, timed in turns for 45 s; --mechanism all takes as long as it takes.

    An order is named where no other, no power between and no N²/log N fits as well. Limits: N^1.15 looks like N log N,
    and in a tenth of cases so does N whose unit cost rises by a half; N² stays open below 8 times its crossover.
    Fewer than 1 % wrong is said of noise that is independent from repeat to repeat.
    """
    wishes = Wishes(
        command="complexity",
        json=json,
        quiet=quiet,
        figures=not no_figures,
        out=options.as_path(out),
        details=details,
    )
    asked = Asked(
        mechanism=mechanism or None,
        kernel=kernel or None,
        part=part,
        sweep=sweep,
        d=d,
        heads=heads,
        window=window,
        min_n=min_n,
        max_n=max_n,
        min_d=min_d,
        max_d=max_d,
        repeats=repeats,
        budget=budget,
        threads=threads,
        seed=seed,
    )
    try:
        options.check_seed(seed)
        most = options.memory_budget(max_memory)
        if resume is None:
            answer(configuration(asked, most), wishes)
        else:
            refuse_settings(asked, out)
            with taken_up(Path(resume), "complexity", max_bytes=most) as (directory, manifest):
                answer(resumed(manifest, most), replace(wishes, resume=directory))
    except AttnlabError as error:
        raise about("complexity", error) from error


def configuration(asked: Asked, budget: int) -> "ComplexityConfig":
    """The experiment's settings, checked before any directory is made."""
    from attnlab.experiments.complexity import require_sound
    from attnlab.experiments.complexity_record import SWEEPS, ComplexityConfig
    from attnlab.experiments.complexity_sizes import WINDOWS, sizes
    from attnlab.experiments.complexity_variants import KERNELS, PARTS

    sweep = options.one_of("--sweep", asked.sweep or "n", SWEEPS)
    mechanisms = mechanisms_of(asked)
    kernels = kernels_of(asked) if asked.kernel is None else several_of("--kernel", asked.kernel, KERNELS)
    require_installed(asked.kernel)
    window = given(asked.window, 64)
    widths: tuple[int, ...] = (given(asked.d, 64),)
    if sweep == "n":
        options.refuse_beside("--sweep n", {"--min-d": asked.min_d, "--max-d": asked.max_d})
        strictest = WINDOWS * window if "window" in mechanisms else 0
        tokens = sizes(asked.min_n, given(asked.max_n, 4096), name="n", fitted_from=strictest)
    else:
        options.refuse_beside("--sweep d", {"--min-n": asked.min_n, "--d": asked.d})
        tokens = (given(asked.max_n, 1024),)
        widths = sizes(given(asked.min_d, 16), given(asked.max_d, 1024), name="d")
    config = ComplexityConfig(
        mechanisms=mechanisms,
        kernels=kernels,
        part=options.one_of("--part", asked.part or "core", PARTS),
        sweep=sweep,
        n=tokens,
        d=widths,
        heads=given(asked.heads, 1),
        window=window,
        repeats=given(asked.repeats, 7),
        threads=given(asked.threads, 1),
        seed=given(asked.seed, 0),
        max_bytes=budget,
        budget_seconds=budget_of(asked),
    )
    require_sound(config)
    return config


def mechanisms_of(asked: Asked) -> tuple[str, ...]:
    """Those asked for; of a kernel without a mechanism, full attention."""
    from attnlab.experiments.complexity_variants import DEFAULT_MECHANISMS, MECHANISMS

    if asked.mechanism is None:
        return DEFAULT_MECHANISMS if asked.kernel is None else ("full",)
    if ALL in asked.mechanism:
        return MECHANISMS
    return several_of("--mechanism", asked.mechanism, (*MECHANISMS, ALL))


def kernels_of(asked: Asked) -> tuple[str, ...]:
    """The kernels where none is asked for: two, and of everything all that need not be made first."""
    from attnlab.experiments.complexity_variants import ALL_KERNELS, DEFAULT_KERNELS

    return ALL_KERNELS if ALL in (asked.mechanism or ()) else DEFAULT_KERNELS


def budget_of(asked: Asked) -> float | None:
    """The seconds that may be spent; None where the timings are counted instead, or everything is timed.

    Raises:
        UsageError: it is no time, or stands beside a count.
    """
    if asked.repeats is not None:
        options.refuse_beside("--repeats, which says how many timings there are", {"--budget": asked.budget})
        return None
    if asked.budget is None:
        return None if ALL in (asked.mechanism or ()) else BUDGET
    return options.seconds_of("--budget", asked.budget)


def given(value: int | None, default: int) -> int:
    """The value, or the default where none was given."""
    return default if value is None else value


def several_of(option: str, names: Sequence[str] | None, known: Sequence[str]) -> tuple[str, ...]:
    """The names given, in the order of those known; all where none was given."""
    chosen = known if names is None else [options.one_of(option, name, known) for name in names]
    return tuple(name for name in known if name in chosen)


def require_installed(kernels: Sequence[str] | None) -> None:
    """Refuse a kernel that was asked for by name and is not installed."""
    from attnlab.experiments.complexity import installed

    extras = {"torch": ("PyTorch", "torch"), "compiled": ("numba", "fast")}
    for kernel in kernels or ():
        if not installed(kernel):
            name, extra = extras[kernel]
            raise UsageError(f"--kernel {kernel}: {name} is not installed; pip install 'attnlab[{extra}]' brings it")


def refuse_settings(asked: Asked, out: str | None) -> None:
    """Refuse settings beside --resume.

    Raises:
        UsageError: naming the first.
    """
    names = {field.name: f"--{field.name.replace('_', '-')}" for field in fields(asked)}
    options.refuse_beside("--resume", {option: getattr(asked, name) for name, option in names.items()} | {"--out": out})


def resumed(manifest: Mapping[str, Any], budget: int) -> "ComplexityConfig":
    """The settings of an interrupted run, from its run.json."""
    from attnlab.experiments.complexity import require_sound
    from attnlab.experiments.complexity_resumed import config_of

    config = config_of(manifest, max_bytes=budget)
    require_sound(config)
    return config


def answer(config: "ComplexityConfig", wishes: Wishes) -> None:
    """Run the experiment, print the result and write the files."""
    from attnlab.experiments.complexity import Telling, run, steps
    from attnlab.experiments.complexity_document import csv_table, document, settings
    from attnlab.experiments.complexity_figures import figures
    from attnlab.experiments.complexity_report import report
    from attnlab.files.documents import csv_bytes
    from attnlab.files.points import NAME

    with (
        run_directory(wishes, settings(config), config.seed, {}) as directory,
        saved_points(directory, config) as saved,
        progress("timing", steps(config, saved), visible=not wishes.quiet) as bar,
    ):
        note = unheard if wishes.quiet else say_note
        if config.budget_seconds is not None:
            note(f"measuring for at most {config.budget_seconds:g} s (--budget)")
        telling = Telling(advance=bar.advance, more=bar.extend, note=note)
        record = run(config, saved=saved, telling=telling)
        bar.clear()
        deliver(
            wishes,
            directory,
            document={**begin_document("complexity", config.seed, settings(config)), **document(record)},
            report=lambda: report(record),
            figures=lambda: figures(record),
            files={"result.csv": csv_bytes(*csv_table(record))},
            kept=[NAME],
        )


def unheard(_text: str) -> None:
    """A note that nobody wants."""


@contextmanager
def saved_points(directory: "RunDirectory | None", config: "ComplexityConfig") -> Iterator["SavedPoints"]:
    """The timings that are there already, and where new ones go; without a directory, nowhere."""
    from attnlab.experiments.complexity import timings_wanted
    from attnlab.experiments.complexity_document import settings
    from attnlab.experiments.complexity_saved import SavedPoints, experiment
    from attnlab.files.opening import shown
    from attnlab.files.points import PointsFile
    from attnlab.measure.machine import this_machine

    if directory is None:
        yield SavedPoints()
        return
    machine = this_machine()
    shared = {**settings(config), "seed": config.seed}
    header = experiment(shared, cpu=machine.cpu, numpy=machine.numpy)
    saved = SavedPoints(timings_wanted(config))
    with PointsFile(directory.path, header, saved.take) as file:
        for note in file.notes:
            say_note(note)
        saved.file = file
        try:
            yield saved
        except Stopped as stop:
            stop.kept = f"{saved.count:,} points are kept: attnlab complexity --resume {shown(directory.path)} goes on"
            raise
