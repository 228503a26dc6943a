"""Surroundings that a command meets: a table of (class, line of shell, exit codes, line on stderr)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.commands import ROOT
from tests.faults import oracle
from tests.faults.oracle import Complaint, Ended, Expected, Undisturbed
from tests.patience import PATIENCE

#: Root without root's right to write anywhere.
ORDINARY = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
LONG = "a" * 256


class Row(NamedTuple):
    """A command in its surroundings, and what must be seen."""

    kind: str
    #: for bash; a pipe's exit code is that of its first command
    line: str
    codes: tuple[int, ...]
    said: str = ""
    #: exact stdout; None: whatever it be
    out: str | None = None


PIPE = ".*: a pipe or a device; expected a regular file"
TAKEN = "run: --out .*: not a directory; expected a new or an empty directory"
LITTLE = "(run: single-head: 20,000 tokens would need .*|the machine ran out of memory; .*)"
HUGE = "attnlab run single-head --n 20000 --kernel dense --no-figures"
EIGHT = "done 2>&1 | cut -c1-21 | LC_ALL=C sort | uniq -c; wait"
SENT = "while kill -{} $!; do sleep 0.02; done 2>&-; wait $!"
FULL = "stdout: No space left on device; the result could not be written"
RUN = "attnlab run --no-figures --quiet"
WHY = "attnlab why bank river"
WORDS = "tr -d ' \\n' | md5sum | cut -c1-32"
C = "LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0"
ROWS = [
    *(Row("stdout full", f"{line} > /dev/full", (5,), FULL) for line in (WHY, "attnlab config list", "attnlab --help")),
    *(Row("stdout full", f"{line} --out o > /dev/full", (5,), FULL) for line in (RUN, f"{RUN} --json")),
    Row("stdout closed", f"{RUN} --out o >&-", (5,), "stdout: closed; expected a place for the result"),
    Row("stdout closed", f"{WHY} >&-", (5,), "stdout: closed; expected a place for the result"),
    *(Row("stderr gone", f"{RUN} --out o 2{to}", (0,)) for to in (">&-", "> /dev/full")),
    *(Row("stderr gone", f"{RUN} nope 2{to}", (2,), "") for to in (">&-", "> /dev/full")),
    *(Row("| head", f"{line} | head -1", (0, 141)) for line in (WHY, "attnlab run --help", "attnlab config schema")),
    Row("| head", f"{RUN} --out o | true", (0, 141)),
    *(Row("columns", f"[ $(COLUMNS={n} {WHY} | {WORDS}) = $({WHY} | {WORDS}) ]", (0,))
      for n in (1, 79, 100_000, 0, -3, "x")),
    *(Row("locale", f"{way} {line}", (0,)) for way in (C, "LC_ALL=C", "PYTHONIOENCODING=cp1252")
      for line in (WHY, "attnlab gradient --help", f"{RUN} --out zürich")),
    Row("locale", f"{C} {RUN} nöpe", (2,), ".*: no such file and no such preset; expected .*"),
    *(Row("home", f"unset MPLCONFIGDIR; HOME={home} attnlab run --quiet --out o", (0,))
      for home in ("/nonexistent", "file", "ro")),
    Row("home", "unset HOME MPLCONFIGDIR; attnlab run --quiet --out o", (0,)),
    Row("home", f"TMPDIR=/nonexistent {RUN} --out o", (0,)),
    Row("read-only place", f"cd ro; {RUN}", (5,), "outputs: could not be made: Permission denied; --out DIR .*"),
    Row("read-only place", f"{RUN} --out ro/x", (5,), "--out ro/x: could not be made: Permission denied"),
    Row("read-only place", f"{RUN} --out ro", (5,), r"ro/run\.json: could not be written: Permission denied"),
    Row("read-only place", f"{RUN} --out dark", (5,), "--out dark: could not be read: Permission denied"),
    Row("a gone place", f"mkdir gone; cd gone; rmdir ../gone; {RUN}", (5,), "outputs: could not be made: .*"),
    *(Row("names", f"{RUN} --out {name}", (2,), TAKEN)
      for name in ("file", "file/x", "loop", "fifo", "/dev/null")),
    Row("names", f"{RUN} --out loop/x", (5,), ".*: could not be made: Too many levels of symbolic links"),
    Row("names", f"{RUN} --out neighbour", (2,), "run: --out neighbour: not empty; expected .*"),
    Row("names", f"{RUN} --out {LONG}", (5,), "--out a*: could not be made: File name too long"),
    Row("names", f"{RUN} --out {LONG[1:]}", (0,)),
    Row("names", f"{RUN} --out {(LONG[1:] + '/') * 20}", (5,), "--out [a/]*: could not be made: File name .*"),
    *(Row("names", f"{line} -", (2,), ".*: '-'; expected a directory's name .*")
      for line in (f"{RUN} --out", "attnlab complexity --resume")),
    Row("names", rf"{RUN} --out $'\xff\n[x]'", (0,)),
    *(Row("names", f"attnlab {line} {LONG}", (2, 3), "a*: no such .*") for line in ("run", "inspect", "cost")),
    Row("names", f"attnlab complexity --resume {LONG}", (2,), ".*: not a directory; expected .*"),
    Row("names", r"attnlab run $'\xff'", (2,), r"\\udcff: no such file and no such preset; expected .*"),
    *(Row("special files", f"attnlab run {name}", (2,), PIPE) for name in ("fifo", "/dev/zero")),
    *(Row("special files", f"attnlab run --embeddings fifo.{kind}", (3,), PIPE) for kind in ("npy", "npz", "csv")),
    *(Row("special files", f"attnlab run --embeddings zero.{kind}", (3,), PIPE) for kind in ("npy", "csv")),
    Row("special files", "attnlab run --qkv zero.npz", (3,), PIPE),
    Row("special files", "attnlab run --embeddings folder.npy", (3,), ".*: is a directory; expected .*"),
    Row("special files", "attnlab run --embeddings loop.npy", (3,), ".*: too many levels of symbolic links; .*"),
    *(Row("special files", f"attnlab inspect {name}", (2, 3), ".*: .*; expected .*")
      for name in ("fifo", "/dev/zero", "loop", "neighbour", "file/x")),
    *(Row("little memory", f"ulimit -v {mib * 1024}; {HUGE}", (4,), LITTLE) for mib in (300, 600, 1200)),
    Row("interrupts ignored", f"trap '' INT; {RUN} --out o & {SENT.format('INT')}", (0,)),
    Row("hangups ignored", f"trap '' HUP; {RUN} --out o & {SENT.format('HUP')}", (0,)),
    *(Row("eight at once", f"for i in 1 2 3 4 5 6 7 8; do {RUN} {out}& {EIGHT}", (0,), "", said) for out, said in (
        ("--out o ", "      1 Written: o/ (result.j\n      7 attnlab: error: run: \n"),
        ("| cut -c1-16 ", "      8 Written: outputs\n"),
    )),
]  # fmt: skip


def missing() -> str | None:
    """Why the rows cannot be tried here; None: they can."""
    if ORDINARY and shutil.which("setpriv") is None:
        return "root may write anywhere, and setpriv is not installed"
    return None if Path("/dev/full").exists() else "no /dev/full here"


class Surroundings:
    """A directory with everything that the rows name."""

    def __init__(self, base: Path) -> None:
        self.here = base / "surroundings"
        for name in ("neighbour", "home", "tmp", "folder.npy", "ro", "dark"):
            (self.here / name).mkdir(parents=True)
        (self.here / "neighbour" / "run.json").write_text("another's")
        (self.here / "file").write_text("hello")
        for name in ("loop", "loop.npy"):
            (self.here / name).symlink_to(name)
        for name in ("fifo", "fifo.npy", "fifo.npz", "fifo.csv"):
            os.mkfifo(self.here / name)
        for name in ("zero.npy", "zero.npz", "zero.csv"):
            (self.here / name).symlink_to("/dev/zero")
        (self.here / "ro").chmod(0o555)
        (self.here / "dark").chmod(0o333)

    def wrong(self, row: Row) -> list[Complaint]:
        """Run a row; what was otherwise than promised."""
        before = oracle.snapshot(*self._around())
        ended = self.ended(row.line)
        wrong = [*oracle.outside(before, oracle.snapshot(*self._around()))]
        expected = Expected(
            codes=frozenset(row.codes), line=row.said or "x", mute=not row.said and row.kind == "stderr gone"
        )
        for run in self._runs():
            found = oracle.contents(run)
            complete = found if "result.json" in found else {}
            left = Undisturbed(files=complete, repeats=False)
            wrong += oracle.complaints(run, ended, expected, left)
            _removed(run)
        wrong += oracle.complaints(self.here / "none", ended, expected, Undisturbed())
        if row.out is not None and ended.out != row.out:
            wrong.append(Complaint(False, f"stdout {ended.out!r}; expected {row.out!r}"))
        return wrong

    def ended(self, line: str) -> Ended:
        """A line of bash, as an ordinary user."""
        python = f'attnlab() {{ "{sys.executable}" -m attnlab "$@"; }}'
        ended = subprocess.run(
            [*ORDINARY, "bash", "-c", f"{python}; {line}\nexit ${{PIPESTATUS[0]}}"],
            cwd=self.here,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            timeout=PATIENCE,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def _environment(self) -> dict[str, str]:
        plain = {"COLUMNS": "80", "TERM": "dumb", "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
        places = {"HOME": str(self.here / "home"), "TMPDIR": str(self.here / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"}
        return {"PATH": os.environ["PATH"], **plain, **places, "MPLCONFIGDIR": str(self.here / "fonts")}

    def _around(self) -> list[Path]:
        return [self.here / name for name in ("neighbour", "home", "tmp", "ro", "file")]

    def _runs(self) -> list[Path]:
        """Directories that a run made."""
        known = {"neighbour", "home", "tmp", "folder.npy", "ro", "dark", "fonts"}
        made = [
            path for path in self.here.iterdir() if path.is_dir() and not path.is_symlink() and path.name not in known
        ]
        return [run for path in made for run in ([*path.iterdir()] if path.name == "outputs" else [path])]


def _removed(run: Path) -> None:
    for path in run.iterdir():
        path.unlink()
    run.rmdir()
