"""`attnlab why`."""

import os.path
from collections.abc import Sequence
from dataclasses import replace
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
from attnlab.files.presets import preset_names

if TYPE_CHECKING:
    from attnlab.files.stacks import Bench

EPILOG = """\b
Examples:
  attnlab why
  attnlab why single-head 2 5"""

Words = Annotated[
    list[str] | None,
    typer.Argument(
        help="a preset, file or checkpoint if not the default one; two tokens, texts or numbers, if not the strongest",
        metavar="[CONFIG] [QUERY KEY]",
    ),
]


def why(
    words: Words = None,
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

    Without QUERY KEY: the head's largest weight between different tokens. Without CONFIG: the sentence that
    `attnlab run` looks at. CONFIG may also be a checkpoint's folder, which runs on a text.
    """
    try:
        options.check_seed(seed)
        source, pair = told_apart(words or [])
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
        work_out(bench, pair, place, beginning, summary, json=json)
    except AttnlabError as error:
        raise about("why", error) from error


def told_apart(words: Sequence[str]) -> tuple[str | None, tuple[str, str] | None]:
    """CONFIG, and QUERY with KEY, each if it is there: two words are tokens, and one names a configuration.

    Raises:
        UsageError: more than three words, or one that names none.
    """
    if len(words) in (2, 3):
        return (words[0] if len(words) == 3 else None), (words[-2], words[-1])
    if len(words) > 3 or not all(map(names_a_config, words)):
        raise UsageError(
            f"{' '.join(words)}; expected [CONFIG] [QUERY KEY]: two tokens, a configuration, both or neither"
        )
    return (words[0] if words else None), None


def names_a_config(word: str) -> bool:
    """Whether a word is no token: a preset's name, or a file's or a folder's, be it there or not."""
    return word in preset_names() or os.path.lexists(word) or word.endswith((".yaml", ".yml"))


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
    pair: tuple[str, str] | None,
    place: tuple[int, int],
    beginning: dict[str, object],
    summary: str,
    *,
    json: bool,
) -> None:
    """Run the stack, derive the weight of the layer and head, print it."""
    from attnlab.experiments.why import other_pairs
    from attnlab.experiments.why import why as experiment
    from attnlab.experiments.why_report import document, report
    from attnlab.records import Finding

    layer, head = place
    record = experiment(bench, pair, layer=layer, head=head)
    if json:
        print_document({**beginning, **document(record)})
        return
    told = report(record, summary=summary)
    others = [Finding(text=other_pairs(record), kind="note")] if pair is None else []
    print_report(replace(told, parts=[*told.parts, *others]))
