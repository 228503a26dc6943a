"""Every fault there is, caused once: `python -m tests.faults.record` prints counts by class, and what was wrong.

With a number behind it, only every so manieth. Ends with 1 where anything was otherwise than promised.
"""

import platform
import sys
import tempfile
import time
from pathlib import Path

import attnlab
from tests.commands import hear_signals
from tests.faults.own_files import OWN, own_file
from tests.faults.place import server
from tests.faults.suite import SEED, Command, Measured, Store, Tally, power_faults, store_faults
from tests.faults.surroundings import ROWS, Surroundings
from tests.faults.tracing import missing

#: Random moments for each signal and each beginning of the small experiment.
TIMES = 40
#: fsyncs of `attnlab complexity` at which it is killed and interrupted: at its first points, amid them, at its results.
AT = (5, 6, 7, 20, 61, 100, 150, 199, 208, 210)


def everything(base: Path, step: int = 1) -> tuple[Tally, Tally]:
    """Every `step`-th fault: what became of attnlab, and of two writers that do what it does not."""
    tally, losers = Tally(), Tally()
    with server(base) as zygote:
        here = Store(base, zygote)
        for fault in [*store_faults(here, times=TIMES)][::step]:
            tally.add(fault.kind, fault.name, here.wrong(fault))
        for number, wrong in enumerate(power_faults(here)):
            tally.add("power fails after a call", str(number), wrong)
        for own in OWN:
            tally.add("own files that are not as a run left them", own.name, own_file(here, own))
        command = Command(base, zygote, "run")
        for kind, name, expected, options in [*command.faults(1)][::step]:
            tally.add(kind, name, command.wrong(expected, options))
        measured = Measured(base, zygote)
        for number in AT[::step]:
            for signal in ("KILL", "INT", "HUP"):
                tally.add(f"complexity: SIG{signal}, resumed", str(number), measured.wrong(number, signal))
        for program in ("naive", "unsynced"):
            _lose(losers, Store(base, zygote, program), 4 * step)
    around = Surroundings(base)
    for row in ROWS[::step]:
        tally.add(row.kind, row.line, around.wrong(row))
    return tally, losers


def _lose(losers: Tally, loser: Store, step: int) -> None:
    """The same faults, in a run that writes carelessly."""
    if loser.program == "naive":
        for fault in [*store_faults(loser, times=0)][::step]:
            if fault.program == loser.program:
                losers.add(f"naive: {fault.kind}", fault.name, loser.wrong(fault))
    for number, wrong in enumerate(power_faults(loser)):
        losers.add(f"{loser.program}: power fails after a call", str(number), wrong)


def main() -> int:
    """Cause them all, and say what became of them."""
    if (why := missing()) is not None:
        print(f"skipped: {why}")
        return 1
    hear_signals()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as base:
        tally, losers = everything(Path(base), int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    python = f"attnlab {attnlab.__version__}, Python {platform.python_version()}, {platform.system()}"
    print(f"{python}, seed {SEED}, {time.monotonic() - begun:,.0f} s\n\n{tally.table()}\n")
    print("\n".join(tally.said) or "Nothing was otherwise than promised.")
    print("\nThe same faults in writers that do less (naive: no temporary file, buffered points; unsynced: no fsync)\n")
    print(losers.table())
    return 1 if tally.said or not losers.losses.total() else 0


if __name__ == "__main__":
    sys.exit(main())
