"""`attnlab config list · show · check · schema`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from attnlab.cli import options
from attnlab.cli.choices import (
    Asked,
    choose_config,
    config_or_checkpoint,
    is_checkpoint,
    refuse_for_checkpoint,
    settings_of,
)
from attnlab.cli.failures import about
from attnlab.cli.output import begin_document, print_bytes, print_document, print_line, print_report
from attnlab.cli.quick import QuickCommand, QuickGroup
from attnlab.errors import AttnlabError

app = typer.Typer(
    cls=QuickGroup,
    epilog="\b\nExamples:\n  attnlab config\n  attnlab config show vaswani-base",
    rich_markup_mode=None,
)

Source = Annotated[str, typer.Argument(help="a preset's name, a YAML file or a checkpoint's folder", metavar="CONFIG")]


@contextmanager
def said_of(command: str) -> Iterator[None]:
    """Say of an error within which command it comes from."""
    try:
        yield
    except AttnlabError as error:
        raise about(command, error) from error


def examples(*lines: str) -> str:
    """The end of a help text."""
    return "\b\nExamples:\n" + "\n".join(f"  attnlab config {line}" for line in lines)


@app.callback(invoke_without_command=True)
def config(context: typer.Context) -> None:
    """The presets; a configuration shown in full, or checked; a JSON schema for editors."""
    if context.invoked_subcommand is None:
        list_presets()


@app.command(
    "list", cls=QuickCommand, short_help="the presets, each in a sentence", epilog=examples("list", "list --json")
)
def list_presets(json: options.JsonOnly = False, debug: options.Debug = False) -> None:
    """The presets, each in one sentence."""
    from attnlab.files.presets import preset_names, preset_summary
    from attnlab.records import Report, Table

    summaries = {name: preset_summary(name) for name in preset_names()}
    if json:
        rows = [{"name": name, "summary": text} for name, text in summaries.items()]
        print_document({**begin_document("config-list", None, None), "presets": rows})
        return
    table = Table(title="", columns=("preset", "what it is"), rows=list(summaries.items()))
    following = ["attnlab run vaswani-base", "attnlab config show vaswani-base"]
    print_report(Report(heading=f"{len(summaries)} presets", parts=[table], next=following))


@app.command(
    "show",
    cls=QuickCommand,
    short_help="every key of a configuration, as YAML",
    epilog=examples("show vaswani-base", "show sentence --json"),
)
def show(
    config: Source, set_: options.Set = None, json: options.JsonOnly = False, debug: options.Debug = False
) -> None:
    """A configuration with every default filled in, as YAML that can be run.

    Of a checkpoint: the shape of its blocks, which draw weights of their own.
    """
    from attnlab.files.config import config_document, config_yaml

    with said_of("config show"):
        loaded = config_or_checkpoint(Asked(config=config, settings=settings_of(set_)), options.memory_budget(None))
    if json:
        print_document(begin_document("config-show", None, config_document(loaded)))
        return
    beginning = f"# The blocks of {loaded.name}, with weights of their own: not the checkpoint's.\n"
    print_bytes((beginning * is_checkpoint(config) + config_yaml(loaded)).encode())


@app.command(
    "check",
    cls=QuickCommand,
    short_help="whether a configuration and its files are right",
    epilog=examples("check vaswani-base", "check sentence --json"),
)
def check(
    config: Source, set_: options.Set = None, json: options.JsonOnly = False, debug: options.Debug = False
) -> None:
    """Whether a configuration is right, and whether its files are there and fit; every mistake with its place.

    Of a checkpoint: whether every tensor is there, of the shape that its config.json says.
    """
    from attnlab.files.config import config_document
    from attnlab.files.opening import shown
    from attnlab.files.stacks import load_bench
    from attnlab.maths.weights import parameter_count

    with said_of("config check"):
        asked = Asked(config=config, settings=settings_of(set_))
        if is_checkpoint(config):
            refuse_for_checkpoint(config, asked.settings)
            check_checkpoint(config, json=json)
            return
        loaded = choose_config(asked, options.memory_budget(None))
    bench = load_bench(loaded, max_bytes=options.memory_budget(None))
    parameters = loaded.layers * parameter_count(loaded.block)
    if json:
        document = {"parameters": parameters, "tokens": len(bench.x)}
        print_document({**begin_document("config-check", None, config_document(loaded)), **document})
        return
    layers = "1 layer" if loaded.layers == 1 else f"{loaded.layers} layers"
    print_line(f"{shown(config)}: right: {layers}, {parameters:,} parameters, {len(bench.x):,} tokens")


def check_checkpoint(folder: str, *, json: bool) -> None:
    """Whether a checkpoint's tensors are there and go with its config.json."""
    from attnlab.files.config import config_document
    from attnlab.files.opening import shown
    from attnlab.models.checkpoint import load_checkpoint
    from attnlab.models.keys import unused_in_words

    model = load_checkpoint(folder, max_bytes=options.memory_budget(None))
    if json:
        beginning = begin_document("config-check", None, config_document(model.config))
        unused = [{"key": key, "value": value} for key, value in model.unused_settings.items()]
        known = {"family": model.family, "parameters": model.parameters, "unused_settings": unused}
        print_document({**beginning, **known})
        return
    layers = "1 layer" if model.config.layers == 1 else f"{model.config.layers} layers"
    print_line(f"{shown(folder)}: right: {model.family}, {layers}, {model.parameters:,} parameters")
    if model.unused_settings:
        print_line(unused_in_words(model.unused_settings))


@app.command(
    "schema",
    cls=QuickCommand,
    short_help="a JSON schema for editors",
    epilog=examples("schema", "schema > attnlab.schema.json"),
)
def schema(debug: options.Debug = False) -> None:
    """A JSON schema of configurations, for editors that complete and check YAML."""
    from attnlab.files.config import json_schema
    from attnlab.files.documents import json_bytes

    print_bytes(json_bytes(json_schema()))
