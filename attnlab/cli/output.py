"""Where results go: a report or a JSON document on stdout, files in a run directory, one line that names them."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import attnlab
from attnlab.cli.progress import progress
from attnlab.files.documents import csv_bytes, json_bytes
from attnlab.files.opening import shown
from attnlab.files.runs import RunDirectory
from attnlab.measure.machine import this_machine
from attnlab.records import Figure, Report

FORMATS: tuple[Literal["png", "svg"], ...] = ("png", "svg")


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """How the person wants to be answered."""

    command: str
    json: bool
    quiet: bool
    figures: bool
    out: Path | None
    #: print all there is, and not the answer alone
    details: bool = False
    #: the directory, held, of an interrupted run that goes on: see `taken_up`
    resume: RunDirectory | None = None

    @property
    def writes_files(self) -> bool:
        """Whether files are written: always, but with --json only where --out or --resume says."""
        return not self.json or self.out is not None or self.resume is not None

    @property
    def draws(self) -> bool:
        """Whether figures are drawn: where files are written, unless they are not wanted."""
        return self.figures and self.writes_files


@contextmanager
def run_directory(
    wishes: Wishes,
    config: Mapping[str, object] | None,
    seed: int | None,
    inputs: Mapping[str, str],
    weights: Callable[[], object] | None = None,
) -> Iterator[RunDirectory | None]:
    """The run's directory, made before any work; None if nothing is to be written.

    Args:
        config: the resolved configuration, if there is one.
        inputs: file name -> SHA-256 of what was read.
        weights: tells, when the run is done, what distinguishes the weights that it read.
    """
    if not wishes.writes_files:
        yield None
        return
    manifest = {
        "command_line": ["attnlab", *sys.argv[1:]],
        "config": config,
        "seed": seed,
        "machine": vars(this_machine()),
        "inputs": dict(inputs),
    }
    if wishes.resume is None:
        directory = RunDirectory.make(wishes.command, wishes.out, manifest)
    else:
        directory = wishes.resume
        directory.go_on(manifest)
    directory.at_the_end = {} if weights is None else {"weights": weights}
    try:
        directory.running()
        yield directory
    except BaseException:
        directory.interrupted()
        raise


@contextmanager
def taken_up(path: Path, command: str, *, max_bytes: int) -> Iterator[tuple[RunDirectory, Mapping[str, Any]]]:
    """An interrupted run's directory, and its run.json, read while nobody else can bring the run to its end.

    Args:
        max_bytes: the most that run.json may take.

    Raises:
        UsageError, InputError, MemoryRefused: as `RunDirectory.reopen` and `read_manifest`.
    """
    from attnlab.files.manifests import read_manifest

    directory = RunDirectory.reopen(path)
    try:
        manifest = read_manifest(path, command, max_bytes=max_bytes)
        directory.started = manifest["started"]
        yield directory, manifest
    finally:
        directory.let_go()


def deliver(
    wishes: Wishes,
    directory: RunDirectory | None,
    *,
    document: Mapping[str, object],
    report: Callable[[], Report],
    figures: Callable[[], Sequence[Figure]],
    files: Mapping[str, bytes],
    kept: Sequence[str] = (),
) -> None:
    """Print the result, write its files and figures, and end with the line that names them.

    Args:
        document: without the fields that every document begins with.
        report, figures: made only when somebody will see them.
        files: name -> content, besides result.json.
        kept: files that the run has left there on its way.
    """
    unwritable, apart = None, ""
    try:
        if wishes.json:
            print_document(document)
        elif not wishes.quiet:
            apart = "" if print_report(report(), details=wishes.details) else "\n"
    except OSError as error:
        unwritable = error  # nobody reads stdout, or it is full: the files are written all the same
    if directory is not None:
        write_files(wishes, directory, {"result.json": json_bytes(document), **files}, figures, kept, apart)
    if unwritable is not None:
        raise unwritable


def write_files(
    wishes: Wishes,
    directory: RunDirectory,
    written: Mapping[str, bytes],
    figures: Callable[[], Sequence[Figure]],
    kept: Sequence[str],
    apart: str,
) -> None:
    """Write a run's files and figures, say so in run.json, and then on stdout, with those that are there already.

    Args:
        apart: what stands between the report and that line.
    """
    for name, content in written.items():
        directory.write(name, content)
    names = [*written, *kept]
    if wishes.figures:
        names = write_figures(directory, figures(), visible=not wishes.quiet) + names
    directory.complete()
    if not wishes.json:
        print_line(f"{apart}Written: {shown(directory.path)}/ ({', '.join(names)}, run.json)")


def begin_document(command: str, seed: int | None, config: Mapping[str, object] | None) -> dict[str, object]:
    """The fields that every document begins with."""
    return {"schema": f"attnlab.{command}/1", "version": attnlab.__version__, "seed": seed, "config": config}


def print_document(document: Mapping[str, object]) -> None:
    """One JSON document on stdout, UTF-8 whatever the terminal's encoding."""
    print_bytes(json_bytes(document))


def print_bytes(data: bytes) -> None:
    """Bytes on stdout, after what was printed before them."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def print_line(text: str) -> None:
    """A line on stdout, in whatever encoding it has."""
    from attnlab.show.encoding import prepare

    prepare(sys.stdout)
    print(text, flush=True)


def print_report(report: Report, *, details: bool = False) -> bool:
    """A report on stdout, as wide as the terminal is; its details where they are asked for.

    Returns whether its last line says what to type next: the line that names the files then stands right below it.
    """
    from attnlab.show.encoding import prepare
    from attnlab.show.terminal import console, pointers, render

    prepare(sys.stdout)
    render(report, console(stream=sys.stdout), details=details)
    sys.stdout.flush()
    return bool(pointers(report, details=details))


def write_figures(run: RunDirectory, figures: Sequence[Figure], *, visible: bool) -> list[str]:
    """Draw each figure into the run's directory as PNG and SVG, its data beside it; the names for the last line."""
    from attnlab.show.figure_data import figure_data
    from attnlab.show.plots import figure_files

    names = []
    with progress("drawing", len(figures), visible=visible) as bar:
        for figure in figures:
            for kind, content in figure_files(figure, FORMATS).items():
                run.write(f"{figure.name}.{kind}", content)
            bar.advance()
            if data := figure_data(figure):
                run.write(f"{figure.name}.csv", csv_bytes(*data))
            names.append(f"{figure.name}.png .svg" + (" .csv" if data else ""))
    return names
