"""`attnlab why`."""

from typing import TYPE_CHECKING, Annotated

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
from attnlab.cli.output import begin_document, print_document, print_report
from attnlab.errors import AttnlabError, UsageError

if TYPE_CHECKING:
    from attnlab.files.stacks import Bench

EPILOG = """\b
Examples:
  attnlab why bank river
  attnlab why single-head 2 5"""

Words = Annotated[
    list[str],
    typer.Argument(
        help="a preset, file or checkpoint if not the default one, then two tokens: texts or numbers",
        metavar="[CONFIG] QUERY KEY",
    ),
]


def why(
    words: Words,
    head: options.Head = None,
    embeddings: options.Embeddings = None,
    tokens: options.Tokens = None,
    named: options.Words = None,
    set_: options.Set = None,
    text: texts.TextOption = None,
    text_file: texts.TextFile = None,
    ids: texts.Ids = None,
    truncate: texts.Truncate = False,
    seed: options.Seed = None,
    json: options.JsonOnly = False,
    max_memory: options.MaxMemory = None,
    debug: options.Debug = False,
) -> None:
    """Work one attention weight out by hand: q, k, q·k, ÷√d_k, e^…, the row's sum, the weight.

    CONFIG may also be a checkpoint's folder, which runs on a text.
    """
    try:
        options.check_seed(seed)
        if not 2 <= len(words) <= 3:
            raise UsageError(
                f"{' '.join(words)}; expected [CONFIG] QUERY KEY: two tokens, after a configuration or not"
            )
        *before, query, key = words
        source = before[0] if before else None
        place = options.head_place(head) or (0, 0)
        given = texts.Given(text=text, file=text_file, ids=ids, truncate=truncate)
        wanted = Asked(
            config=source,
            settings=settings_of(set_),
            embeddings=options.as_path(embeddings),
            tokens=options.as_path(tokens),
            words=named,
            seed=seed,
        )
        bench, beginning, summary = subject_of(wanted, given, options.memory_budget(max_memory))
        work_out(bench, query, key, place, beginning, summary, json=json)
    except AttnlabError as error:
        raise about("why", error) from error


def subject_of(asked: Asked, given: texts.Given, budget: int) -> "tuple[Bench, dict[str, object], str]":
    """The stack and its input, the beginning of the JSON document, and the configuration in a sentence."""
    from attnlab.files.config import config_document
    from attnlab.files.stacks import load_bench

    source = asked.config
    if source is not None and is_checkpoint(source):
        from attnlab.models.checkpoint import load_checkpoint

        refuse_for_checkpoint(source, asked.settings)
        texts.refuse_for_checkpoint(source, given, asked.given)
        model = load_checkpoint(source, max_bytes=budget)
        text, whole = texts.given_tokens(model, given, budget, sentence=True)
        return model.bench(text, max_bytes=budget), begin_document("why", None, model.document(text, whole)), ""
    texts.refuse_without_checkpoint(given)
    config = choose_config(asked, budget)
    beginning = begin_document("why", seed_of(config), config_document(config))
    return with_names(load_bench(config, max_bytes=budget), asked), beginning, summary_of(config, asked)


def work_out(
    bench: "Bench",
    query: str,
    key: str,
    place: tuple[int, int],
    beginning: dict[str, object],
    summary: str,
    *,
    json: bool,
) -> None:
    """Run the stack, derive the weight of the layer and head, print it."""
    from attnlab.experiments.why import why as experiment
    from attnlab.experiments.why_report import document, report

    layer, head = place
    record = experiment(bench, query, key, layer=layer, head=head)
    if json:
        print_document({**beginning, **document(record)})
    else:
        print_report(report(record, summary=summary))
