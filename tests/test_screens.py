"""What a bare command prints: an answer on one screen, and what to type next."""

from pathlib import Path

import pytest

from tests.commands import attnlab

#: Bare commands, and the lines of 80 columns that each may take; those of `verify` are counted in test_verify.
MOST_LINES = {
    "run": 50,
    "why": 40,
    "why bank river": 40,
    "variance": 40,
    "variance --dk 64": 40,
    "variance --inits": 40,
    "variance --config vaswani-base": 40,
    "gradient": 40,
    "gradient --dk 64": 40,
    "lookup": 40,
    "depth": 40,
    "inspect": 40,
    "inspect --weights": 40,
    "cost": 40,
    "complexity --max-n 256 --repeats 7": 40,
    "config": 40,
}
#: The lines that the names of its figures take of the last one, which is long where a command has many; `run` is
#: tried with its own.
FIGURES = {"run": 1, "variance": 1, "gradient": 1, "lookup": 1, "depth": 1, "inspect": 2, "cost": 1, "complexity": 2}
#: What their last lines say to type next.
NEXT = {
    "attnlab why bank river",
    "attnlab diagram attention",
    "attnlab run",
    "attnlab run vaswani-base",
    "attnlab variance",
    "attnlab variance --dk 64",
    "attnlab variance --inits",
    "attnlab variance --config gpt2-small",
    "attnlab gradient",
    "attnlab gradient --dk 64",
    "attnlab verify lemma-2 --explain",
    "attnlab verify lemma-3",
    "attnlab verify corollary-4 --explain",
    "attnlab verify residual --explain",
    "attnlab inspect --weights",
    "attnlab cost --n 131072",
    "attnlab cost gpt2-small --n 131072",
    "attnlab complexity --max-n 4096",
    "attnlab complexity --mechanism all",
    "attnlab config show vaswani-base",
}
#: Not tried here: they take most of a minute, or longer, by intention.
LONG = {"attnlab complexity --max-n 4096", "attnlab complexity --mechanism all"}


def lines_at_80_columns(text: str) -> list[str]:
    """What a terminal of 80 columns shows of it: in a pipe a table and the last line are as long as they are."""
    return [line[start : start + 80] for line in text.splitlines() for start in range(0, max(len(line), 1), 80)]


def commands_in(text: str) -> set[str]:
    """The commands behind "Next:"."""
    _, found, after = text.partition("\nNext: ")
    line = " ".join(after.partition("\nWritten: ")[0].split())
    return {part for part in line.split(" · ") if part.startswith("attnlab ")} if found else set()


@pytest.mark.parametrize("command", MOST_LINES)
def test_fits_a_screen_and_says_what_is_next(command: str, tmp_path: Path) -> None:
    name, *rest = command.split()
    drawn = name in FIGURES and command != "run"
    ended = attnlab(name, *rest, *(["--no-figures"] if drawn else []), cwd=tmp_path, env={"COLUMNS": "80"})
    assert ended.code == 0, ended.err
    assert len(lines_at_80_columns(ended.out)) <= MOST_LINES[command] - (FIGURES[name] if drawn else 0)
    assert commands_in(ended.out) <= NEXT
    assert commands_in(ended.out) or command.startswith("why")


@pytest.mark.parametrize("command", sorted(NEXT - LONG - {f"attnlab {shown}" for shown in MOST_LINES}))
def test_what_is_next_runs_as_it_is_written(command: str, tmp_path: Path) -> None:
    """Those that are not among the commands above; without figures, where a command has them."""
    _, name, *rest = command.split()
    plain = [] if name in ("why", "config", "diagram") else ["--no-figures"]
    ended = attnlab(name, *rest, *plain, cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")


def test_details_are_all_the_rest(tmp_path: Path) -> None:
    short = attnlab("gradient", "--dk", "4", "--no-figures", cwd=tmp_path).out
    long = attnlab("gradient", "--dk", "4", "--no-figures", "--details", cwd=tmp_path).out
    assert "more: --details" in short
    assert "--details" not in long
    said = short.partition("\nNext:")[0].split("\n\nChecks:")[0]
    assert long.startswith(said)
    assert "Where exp(s) overflows" in long
    assert "Where exp(s) overflows" not in short
