"""The ```console blocks of README.md and docs/: what they say, what the commands print now, and whether the two agree.

A block holds commands, each `$ attnlab …`, and below each what it prints at 80 columns without colour, output and
errors together. A line `…` stands for any lines. Two runs of one command on two machines differ in the names of their
run directories and in the last digits of what they measure: `mismatch` says what is more than that.
"""

import difflib
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.commands import ROOT, environment
from tests.patience import PATIENCE

README = ROOT / "README.md"
#: Every page that is held to what attnlab prints: README first.
PAGES = (README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))

#: A line that stands for any lines.
SKIP = "…"
#: Measured numbers agree when they are this close, relatively, or one unit of the last place written, and are written
#: alike: with as many decimals, both with an exponent or neither, and e-8 is not e-08.
RELATIVE, UNITS = 0.02, 1.1
#: Numbers in scientific notation below TINY are rounding errors: their sign is chance, their size is known to a factor.
TINY, FACTOR = 1e-5, 30.0
#: Whole numbers below this are counts and names: they agree when they are the same.
EXACT = 100

_BLOCK = re.compile(r"^```console\n(\$ attnlab\b.*?)^```$", re.MULTILINE | re.DOTALL)
_RUN_DIRECTORY = re.compile(r"(outputs/[a-z-]+)-\d{8}-\d{6}-[0-9a-f]{4}\b")
_NUMBER = re.compile(r"(?<![\w.])([-−+]?(?:\d{1,3}(?:,\d{3})+|\d+|(?=\.\d))(?:\.\d+)?(?:e[-+]?\d+)?)(?!\.?\w)")
_SHORT_EXPONENT = re.compile(r"e[-+]?(0?)[1-9]$")
_GAP = re.compile(r"(?<=\S)  +")
#: (4.3 ± 0.1)e-16 is two numbers with one exponent.
_SHARED_EXPONENT = re.compile(r"\((\S+) ± (\S+)\)(e[-+]?\d+)")


class Command(NamedTuple):
    """A command of a block, and the lines that the block shows below it."""

    line: str
    shown: list[str]


def blocks(text: str) -> list[str]:
    """The insides of the blocks that begin with `$ attnlab`, in order."""
    return [match[1] for match in _BLOCK.finditer(text)]


def commands(block: str) -> list[Command]:
    """The commands of a block."""
    found: list[Command] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append(Command(line.removeprefix("$ "), []))
        else:
            found[-1].shown.append(line.rstrip())
    return found


def output(line: str, cwd: Path) -> list[str]:
    """What a command prints, without the spaces at the ends of lines, which nobody sees.

    Raises:
        RuntimeError: it failed without saying so in an `attnlab: error:` line.
    """
    name, *arguments = shlex.split(line)
    if name != "attnlab":
        raise RuntimeError(f"{line}: only attnlab's own commands are run")
    ended = subprocess.run(
        [sys.executable, "-m", "attnlab", *arguments],
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )
    lines = [line.rstrip() for line in ended.stdout.splitlines()]
    if ended.returncode and not any(line.startswith("attnlab: error:") for line in lines):
        raise RuntimeError(f"{line}: exit code {ended.returncode}\n{ended.stdout}")
    return lines


def outputs(block: str) -> list[list[str]]:
    """What each command of a block prints; the same commands on another page are not run again."""
    return [[*lines] for lines in printed_by(tuple(command.line for command in commands(block)))]


@cache
def printed_by(lines: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """What commands print that are run one after the other in a directory of their own.

    It has this repository's `tests`, where small checkpoints lie, and `configs`, as a clone has.
    """
    with TemporaryDirectory() as folder:
        for name in ("tests", "configs"):
            (Path(folder) / name).symlink_to(ROOT / name)
        return tuple(tuple(output(line, Path(folder))) for line in lines)


def mismatch(shown: Sequence[str], printed: Sequence[str]) -> str:
    """Where the printed lines are not what is shown, as a diff; empty if they agree."""
    if _follows(segments(shown), printed):
        return ""
    return "\n".join(difflib.unified_diff(shown, printed, "shown", "printed", lineterm=""))


def segments(shown: Sequence[str]) -> list[list[str]]:
    """The runs of lines between the lines `…`."""
    found: list[list[str]] = [[]]
    for line in shown:
        if line == SKIP:
            found.append([])
        else:
            found[-1].append(line)
    return found


def _follows(wanted: Sequence[Sequence[str]], printed: Sequence[str]) -> bool:
    """Whether the printed lines are the segments, anything standing between them."""
    first, *others = wanted
    if not _agree(first, printed[: len(first)]):
        return False
    rest = printed[len(first) :]
    if not others:
        return not rest
    if len(others) == 1:  # the last stands at the end
        return len(rest) >= len(others[0]) and _agree(others[0], rest[len(rest) - len(others[0]) :])
    return any(_follows(others, rest[start:]) for start in range(len(rest) + 1))


def _agree(shown: Sequence[str], printed: Sequence[str]) -> bool:
    return len(shown) == len(printed) and all(map(lines_agree, shown, printed))


def lines_agree(shown: str, printed: str) -> bool:
    """Whether two lines say the same, but for a run directory's name and the last digits of numbers.

    A gap between columns may be wider or narrower, by a sign that a neighbouring number has or has not.
    """
    ours, theirs = (_NUMBER.split(_GAP.sub("  ", _alike(line))) for line in (shown, printed))
    pairs = list(zip_longest(ours, theirs, fillvalue=""))
    return all(a == b for a, b in pairs[::2]) and all(numbers_agree(a, b) for a, b in pairs[1::2])


def _alike(line: str) -> str:
    """The line with one name for every run's directory, and with each number's exponent beside it."""
    return _SHARED_EXPONENT.sub(r"(\1\3 ± \2\3)", _RUN_DIRECTORY.sub(r"\1-TIME", line))


def numbers_agree(shown: str, printed: str) -> bool:
    """Whether two numbers, as written, may be the same one measured on two machines."""
    a, b = _value(shown), _value(printed)
    if {_padding(shown), _padding(printed)} == {"", "0"}:
        return False
    if "e" in shown and "e" in printed and abs(a) < TINY:
        return max(abs(a), abs(b)) <= FACTOR * min(abs(a), abs(b))
    if _form(shown) != _form(printed):
        return False
    if shown.lstrip("+-−").isdigit() and printed.lstrip("+-−").isdigit() and abs(a) < EXACT:
        return shown == printed
    return abs(a - b) <= max(RELATIVE * abs(a), UNITS * min(_last_place(shown), _last_place(printed)))


def _form(written: str) -> tuple[int, bool]:
    """The number of decimals, and whether there is an exponent."""
    digits, exponent, _ = written.partition("e")
    return len(digits.partition(".")[2]), bool(exponent)


def _padding(written: str) -> str | None:
    """What stands before the exponent's only digit: a zero or nothing. None where it has no such exponent."""
    match = _SHORT_EXPONENT.search(written)
    return match[1] if match else None


def _value(written: str) -> float:
    return float(written.replace(",", "").replace("−", "-"))


def _last_place(written: str) -> float:
    """One unit of the last digit written; a whole number's digits are all known."""
    digits, _, exponent = written.partition("e")
    _, point, decimals = digits.partition(".")
    return 10.0 ** (int(exponent or 0) - len(decimals)) if point else 0.0


def rewritten(text: str, run: Callable[[str], list[list[str]]] = outputs) -> str:
    """The text with what no longer holds in its blocks set anew; what holds stays as it is.

    Args:
        text: a page's.
        run: what each command of a block prints.
    """

    def renewed(match: re.Match[str]) -> str:
        lines = []
        for command, printed in zip(commands(match[1]), run(match[1]), strict=True):
            holds = not mismatch(command.shown, printed)
            lines += [f"$ {command.line}", *(command.shown if holds else renew(command, printed))]
        return "\n".join(["```console", *lines, "```"])

    return _BLOCK.sub(renewed, text)


def renew(command: Command, printed: Sequence[str]) -> list[str]:
    """The lines to show: each segment between `…` is replaced by the printed lines that are most like it."""
    wanted = segments(command.shown)
    if len(wanted) == 1:
        return [*printed]
    first, *middle, last = wanted
    lines = [*printed[: len(first)]]
    for segment in middle:
        lines += [SKIP, *most_alike(segment, printed)]
    return [*lines, SKIP, *printed[max(len(printed) - len(last), 0) :]]


def most_alike(segment: Sequence[str], printed: Sequence[str]) -> Sequence[str]:
    """As many printed lines in a row, those most like the segment."""
    starts = range(max(len(printed) - len(segment), 0) + 1)
    windows = [printed[start : start + len(segment)] for start in starts]
    return max(windows, key=lambda window: difflib.SequenceMatcher(None, "\n".join(window), "\n".join(segment)).ratio())
