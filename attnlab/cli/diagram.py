"""`attnlab diagram`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnlab.cli import options, texts
from attnlab.cli.choices import Asked, config_or_checkpoint, is_checkpoint, refuse_for_checkpoint, seed_of, settings_of
from attnlab.cli.failures import about
from attnlab.cli.output import Wishes, begin_document, deliver, print_line, run_directory
from attnlab.cli.progress import progress
from attnlab.errors import AttnlabError, UsageError

if TYPE_CHECKING:
    from attnlab.experiments.diagram import DiagramConfig
    from attnlab.files.stacks import Bench
    from attnlab.records import Diagram, Figure

EPILOG = """\b
Examples:
  attnlab diagram roles --query river --key bank
  attnlab diagram block vaswani-base --format mermaid"""

NAMES = ("growth", "roles", "projections", "attention", "parallel", "block")
#: What is drawn when no name is given.
FIRST = "roles"

Name = Annotated[
    str | None,
    typer.Argument(
        help="growth, roles, projections, attention, parallel or block; without: roles",
        metavar="NAME",
        show_default=False,
    ),
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
Query = Annotated[
    str | None,
    typer.Option(
        help="the token that asks: its text or number",
        show_default="a telling one",
        metavar="TOKEN",
        rich_help_panel=options.SHOW,
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        help="a token that answers",
        show_default="the one that answers loudest",
        metavar="TOKEN",
        rich_help_panel=options.SHOW,
    ),
]
MaxN = Annotated[
    int | None,
    typer.Option(help="growth: the longest text, in tokens", show_default="4,096", rich_help_panel=options.SHOW),
]
FORMATS = ("both", "png", "svg", "mermaid")


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is run for a drawing, as the command line says it."""

    asked: Asked
    given: texts.Given
    budget: int

    @property
    def named(self) -> dict[str, object]:
        """Everything that may be run: option -> its value, None where it was not given."""
        asked, given = self.asked, self.given
        set_ = {setting.option.text: True for setting in asked.settings}
        return {"CONFIG": asked.config, **asked.given, **given.named, "--truncate": given.truncate or None, **set_}


def diagram(
    name: Name = None,
    config: options.ConfigArgument = None,
    set_: options.Set = None,
    format_: FormatOption = "both",
    head: options.Head = None,
    query: Query = None,
    key: Key = None,
    embeddings: options.Embeddings = None,
    tokens: options.Tokens = None,
    text: texts.TextOption = None,
    text_file: texts.TextFile = None,
    ids: texts.Ids = None,
    truncate: texts.Truncate = False,
    n: options.RandomTokens = None,
    words: options.Words = None,
    max_n: MaxN = None,
    seed: options.Seed = None,
    out: options.Out = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    max_memory: options.MaxMemory = None,
    debug: options.Debug = False,
) -> None:
    """Draw attention: growth by formula; roles, projections, attention, parallel or block with a block's own numbers.

    Without CONFIG: the sentence that `attnlab run` looks at. CONFIG may also be a checkpoint's folder, which runs on
    a text. Matrices of about 6 tokens and width 4 carry their numbers; larger ones are shaded.
    """
    wishes = Wishes(command="diagram", json=json, quiet=quiet, figures=format_ == "both", out=options.as_path(out))
    try:
        options.check_seed(seed)
        kind = options.one_of("NAME", FIRST if name is None else name, NAMES)
        form = options.one_of("--format", format_, FORMATS)
        source = Source(
            asked=Asked(
                config=config,
                settings=settings_of(set_),
                embeddings=options.as_path(embeddings),
                tokens=options.as_path(tokens),
                n=n,
                words=words,
                seed=seed,
            ),
            given=texts.Given(text=text, file=text_file, ids=ids, truncate=truncate),
            budget=options.memory_budget(max_memory),
        )
        if kind == "growth":
            followed = {"--head": head, "--query": query, "--key": key}
            options.refuse_beside("growth, which is drawn from formulas", {**source.named, **followed})
            draw_growth(max_n, form, wishes)
            return
        options.refuse_beside(f"{kind}; only growth has a longest text", {"--max-n": max_n})
        draw_head(kind, source, head, (query, key), form, wishes, others=NAMES if name is None else ())
    except AttnlabError as error:
        raise about("diagram", error) from error


def draw_growth(max_n: int | None, form: str, wishes: Wishes) -> None:
    """Draw growth, which runs nothing, and say what it shows.

    Raises:
        UsageError: as Mermaid, which draws no curves; or a length that cannot be drawn.
    """
    from attnlab.experiments import growth

    if form == "mermaid":
        raise UsageError("--format mermaid: growth is a plot, which Mermaid cannot draw; expected both, png or svg")
    config = growth.GrowthConfig() if max_n is None else growth.GrowthConfig(max_n=max_n)
    record = growth.growth(config)
    with run_directory(wishes, None, None, {}) as directory:
        deliver(
            wishes,
            directory,
            document={**begin_document("diagram", None, None), **growth.document(record)},
            report=lambda: growth.report(record),
            figures=lambda: [growth.figure(config)],
            files={} if directory is None or form == "both" else drawn(growth.figure(config), form),
        )


def draw_head(
    name: str,
    source: Source,
    head: str | None,
    followed: tuple[str | None, str | None],
    form: str,
    wishes: Wishes,
    *,
    others: tuple[str, ...],
) -> None:
    """Draw a block's head, or the block.

    Args:
        followed: the query and the key, as the command line names them.
        others: what else might have been asked for, if nothing was.
    """
    from attnlab.experiments.diagram import KINDS, DiagramConfig, following

    kind = options.one_of("NAME", name, KINDS)
    layer, number = options.head_place(head) or (0, 0)
    settings = DiagramConfig(kind=kind, layer=layer, head=number)
    bench, beginning = bench_of(source, settings)
    rest = tuple(other for other in others if other != kind)
    answer(bench, following(settings, bench, *followed), form, wishes, beginning, others=rest)


def bench_of(source: Source, settings: "DiagramConfig") -> "tuple[Bench, dict[str, object]]":
    """What is run for the drawing, and the beginning of its JSON document."""
    from attnlab.experiments.diagram import check_place, first_layers
    from attnlab.files.config import config_document

    asked = source.asked
    if asked.config is not None and has_weights(asked.config):
        refuse_for_checkpoint(asked.config, asked.settings)
        texts.refuse_for_checkpoint(asked.config, source.given, asked.given)
        return checkpoint_bench(asked.config, source.given, settings, source.budget)
    texts.refuse_without_checkpoint(source.given)
    config = config_or_checkpoint(asked, source.budget)
    check_place(settings, config)
    return first_layers(config, settings, max_bytes=source.budget), begin_document(
        "diagram", seed_of(config), config_document(config)
    )


def has_weights(source: str) -> bool:
    """Whether a source is a checkpoint's folder with its tensors; a config.json alone is drawn at random weights."""
    return is_checkpoint(source) and any(Path(source).glob("*.safetensors"))


def checkpoint_bench(
    folder: str, given: texts.Given, settings: "DiagramConfig", budget: int
) -> "tuple[Bench, dict[str, object]]":
    """A checkpoint on a text, read a layer at a time.

    Without one: as much as it can take of the first sentence of the text that comes with the package.
    """
    from attnlab.experiments.diagram import check_place
    from attnlab.models.checkpoint import load_checkpoint

    model = load_checkpoint(folder, keep=False, max_bytes=budget)
    check_place(settings, model.config)
    bare = not any(given.named.values())
    text, whole = texts.given_tokens(model, replace(given, truncate=given.truncate or bare), budget, sentence=True)
    return model.bench(text, max_bytes=budget), begin_document("diagram", None, model.document(text, whole))


def answer(
    bench: "Bench",
    settings: "DiagramConfig",
    form: str,
    wishes: Wishes,
    beginning: dict[str, object],
    *,
    others: tuple[str, ...],
) -> None:
    """Run the block, draw, and say what is drawn."""
    from attnlab.experiments.diagram import run
    from attnlab.experiments.diagram_report import document, figures, report
    from attnlab.show.mermaid import flowchart

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
            print_line(flowchart(record))
            wishes = replace(wishes, quiet=True)  # the text is the answer
        deliver(
            wishes,
            directory,
            document={**beginning, **document(record)},
            report=lambda: report(record, others=others),
            figures=lambda: figures(record),
            files={} if directory is None or form == "both" else in_one_format(record, form),
        )


def in_one_format(record: "Diagram", form: str) -> dict[str, bytes]:
    """The one file of a single format."""
    from attnlab.experiments.diagram_report import figures
    from attnlab.show.mermaid import flowchart

    if form == "mermaid":
        return {f"{record.kind}.mmd": flowchart(record).encode()}
    return drawn(figures(record)[0], form)


def drawn(figure: "Figure", form: str) -> dict[str, bytes]:
    """A figure as its one file."""
    from attnlab.show.plots import figure_bytes

    return {f"{figure.name}.{form}": figure_bytes(figure, "png" if form == "png" else "svg")}
