"""`attnlab why`."""

from typing import TYPE_CHECKING, Annotated

import typer

from attnlab.cli import options
from attnlab.cli.failures import about
from attnlab.cli.output import begin_document, print_document, print_report
from attnlab.errors import AttnlabError, UsageError

if TYPE_CHECKING:
    from attnlab.files.config import Config

EPILOG = """\b
Examples:
  attnlab why bank river
  attnlab why single-head 2 5"""

Words = Annotated[
    list[str],
    typer.Argument(
        help="a preset or file if not the default one, then two tokens: texts or numbers", metavar="[CONFIG] QUERY KEY"
    ),
]


def why(
    words: Words,
    head: options.Head = None,
    embeddings: options.Embeddings = None,
    tokens: options.Tokens = None,
    seed: options.Seed = None,
    json: options.JsonOnly = False,
    max_memory: options.MaxMemory = None,
    debug: options.Debug = False,
) -> None:
    """Work one attention weight out by hand: q, k, q·k, ÷√d_k, e^…, the row's sum, the weight."""
    from attnlab.cli.choices import choose_config, seed_of

    try:
        options.check_seed(seed)
        if not 2 <= len(words) <= 3:
            raise UsageError(
                f"{' '.join(words)}; expected [CONFIG] QUERY KEY: two tokens, after a configuration or not"
            )
        *named, query, key = words
        budget = options.memory_budget(max_memory)
        source = named[0] if named else None
        config = choose_config(source, options.as_path(embeddings), options.as_path(tokens), None, seed, budget)
        layer, index = options.head_place(head) or (0, 0)
        work_out(config, query, key, layer, index, budget, seed_of(config), json=json)
    except AttnlabError as error:
        raise about("why", error) from error


def work_out(
    config: "Config", query: str, key: str, layer: int, head: int, budget: int, seed: int | None, *, json: bool
) -> None:
    """Run the stack, derive the weight, print it."""
    from attnlab.cli.choices import summary_of
    from attnlab.experiments.why import why as experiment
    from attnlab.experiments.why_report import document, report
    from attnlab.files.config import config_document
    from attnlab.files.stacks import load_bench

    record = experiment(load_bench(config, max_bytes=budget), query, key, layer=layer, head=head)
    if json:
        print_document({**begin_document("why", seed, config_document(config)), **document(record)})
    else:
        print_report(report(record, summary=summary_of(config)))
