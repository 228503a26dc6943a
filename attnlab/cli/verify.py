"""`attnlab verify`."""

from typing import Annotated

import typer

from attnlab.cli import options
from attnlab.cli.failures import about
from attnlab.cli.output import Wishes, begin_document, deliver, run_directory
from attnlab.cli.progress import progress
from attnlab.errors import AttnlabError

EPILOG = """\b
Examples:
  attnlab verify
  attnlab verify corollary-4 --explain"""

Claims = Annotated[list[str] | None, typer.Argument(help="only these, such as lemma-4", metavar="CLAIM")]
Explain = Annotated[
    bool,
    typer.Option(
        "--explain", help="why: each claim's words, argument, numbers, and what remains", rich_help_panel=options.SHOW
    ),
]
Samples = Annotated[
    int, typer.Option(help="so many times the usual number of samples", rich_help_panel=options.MEASURE)
]
Seed = Annotated[int, typer.Option(help="draw everything with this seed", rich_help_panel=options.INPUT)]


def verify(
    claims: Claims = None,
    explain: Explain = False,
    samples: Samples = 1,
    seed: Seed = 0,
    out: options.Out = None,
    details: options.Details = False,
    no_figures: options.NoFigures = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Try the course's claims on numbers: each holds, is corrected, or is refuted. Exit code 1 if one surprises."""
    wishes = Wishes(
        command="verify", json=json, quiet=quiet, figures=not no_figures, out=options.as_path(out), details=details
    )
    try:
        options.check_seed(seed)
        surprised = answer(claims or [], samples, seed, wishes, explain=explain)
    except AttnlabError as error:
        raise about("verify", error) from error
    if surprised:
        raise typer.Exit(1)


def answer(claims: list[str], samples: int, seed: int, wishes: Wishes, *, explain: bool) -> bool:
    """Try them, print the verdicts and write the files; whether one is not the expected one."""
    from attnlab.experiments.verify import VerifyConfig, run, steps
    from attnlab.experiments.verify_report import csv_table, document, report
    from attnlab.files.documents import csv_bytes

    config = VerifyConfig(claims=claims, seed=seed, samples=samples)
    total = steps(config)  # a mistake is told before anything is written
    described = {"claims": claims, "samples": samples}
    with (
        progress("verifying", total, visible=not wishes.quiet) as bar,
        run_directory(wishes, described, seed, {}) as directory,
    ):
        record = run(config, advance=bar.advance)
        bar.clear()
        deliver(
            wishes,
            directory,
            document={**begin_document("verify", seed, described), **document(record)},
            report=lambda: report(record, explain=explain),
            figures=lambda: [],
            files={"result.csv": csv_bytes(*csv_table(record))},
        )
    return not record.as_expected
