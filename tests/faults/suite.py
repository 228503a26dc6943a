"""The table of faults that are caused by strace, by limits and by signals, and what becomes of each."""

import random
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.faults import oracle, power, store
from tests.faults.oracle import Complaint, Expected, Undisturbed
from tests.faults.place import RUN, Place, fresh, tried
from tests.faults.store import BEGINNINGS, SIGNALS, Fault
from tests.faults.tracing import Call, failing, of_the_store, recorded, recording
from tests.faults.zygote import Zygote

#: Of the random moments.
SEED = 20_240_607
#: Bytes that a limit leaves files: nothing, a part of each of the files that the small experiment writes, and of none.
SIZES = (0, 10, 21, 60, 100, 200, 300, 420, 1000, 20_000, 31_400, 34_456)


@dataclass
class Tally:
    """How many faults of each class there were, and what became of them."""

    faults: Counter[str] = field(default_factory=Counter)
    unexpected: Counter[str] = field(default_factory=Counter)
    losses: Counter[str] = field(default_factory=Counter)
    said: list[str] = field(default_factory=list)

    def add(self, kind: str, name: str, wrong: Iterable[Complaint]) -> None:
        """One more."""
        wrong = list(wrong)
        self.faults[kind] += 1
        self.unexpected[kind] += bool(wrong)
        self.losses[kind] += any(complaint.loss for complaint in wrong)
        self.said += [f"{kind} | {name} | {'LOSS ' * complaint.loss}{complaint.text}" for complaint in wrong]

    def table(self) -> str:
        """A line for each class."""
        rows = [(kind, n, n - self.unexpected[kind], self.losses[kind]) for kind, n in sorted(self.faults.items())]
        rows.append(("all", self.faults.total(), (self.faults - self.unexpected).total(), self.losses.total()))
        lines = [f"{'class':<36} {'faults':>6} {'as expected':>11} {'losses':>6}"]
        return "\n".join([*lines, *(f"{kind:<36} {n:>6,} {fine:>11,} {lost:>6,}" for kind, n, fine, lost in rows)])


class Store:
    """The small experiment: what it leaves undisturbed, what a dead run of it leaves, and the calls it makes."""

    def __init__(self, base: Path, zygote: Zygote, program: str = "squares") -> None:
        self.base, self.zygote, self.program = base, zygote, program
        self.dead = base / f"dead-{program}"
        with fresh(base, zygote) as place:
            ended = place.ended(program, "squares", "--out", RUN)
            assert ended.code == 0, ended
            self.undisturbed = Undisturbed(files=oracle.contents(place.run))
            self.out = place.base / "out"
        if program == "squares":
            self._die()
        beginnings = BEGINNINGS if program == "squares" else ("new",)
        self.calls = {beginning: self._calls(beginning) for beginning in beginnings}

    def _die(self) -> None:
        """A run that was killed while it wrote, as a slow disk might leave it: a torn line, files half written."""
        with fresh(self.base, self.zygote) as place:
            ended = place.ended("squares", "squares", "--out", RUN, strace=failing("fsync", 7, "signal=KILL"))
            assert ended.code == -9, ended
            shutil.copytree(place.run, self.dead)
        with (self.dead / "points.jsonl").open("ab") as file:
            file.write(b'{"n": 2, "squ')
        (self.dead / ".run.json.12345678.tmp").write_bytes(b"{")
        (self.dead / ".result.json.1234abcd.tmp").write_bytes(b"")

    def _begun(self, beginning: str) -> Path | None:
        return self.dead if beginning == "resumed" and self.dead.exists() else None

    def _calls(self, beginning: str) -> list[Call]:
        with fresh(self.base, self.zygote, self._begun(beginning)) as place:
            return store.store_calls(place, self.program, beginning)

    def wrong(self, fault: Fault) -> list[Complaint]:
        """Cause a fault; what was otherwise than promised."""
        begun = self._begun(fault.beginning)
        found = b"" if begun is None else (begun / "run.json").read_bytes()
        with fresh(self.base, self.zygote, begun) as place:
            return tried(
                place,
                fault.program,
                fault.arguments,
                fault.expected,
                replace(self.undisturbed, found=found),
                **fault.request,
            )


def store_faults(here: Store, *, times: int) -> Iterator[Fault]:
    """Every fault of the store. `times`: random moments for each signal and beginning."""
    moments = random.Random(SEED)
    for beginning, calls in here.calls.items():
        yield from store.errors(calls, here.program, beginning)
        yield from store.kills(calls, here.program, beginning)
        yield from store.signals(calls, here.program, beginning)
        yield from store.short_writes(beginning, SIZES)
        yield from store.beyond_mending(beginning, SIZES)
        yield from store.jumping_clocks(beginning)
        yield from store.broken_pipes(calls, here.out, beginning)
        drawn = [(moments.uniform(0, 0.12), signal) for signal in (*SIGNALS, "KILL") for _ in range(times)]
        yield from store.at_times(drawn, beginning)


def power_faults(here: Store) -> list[list[Complaint]]:
    """The power fails after each call of a new run."""
    return power.power_failures(here.calls["new"], here.base / "place" / "here" / RUN)


class Command:
    """A command as a person types it, figures and all: what it leaves undisturbed, and the calls it makes."""

    def __init__(self, base: Path, zygote: Zygote, *arguments: str) -> None:
        self.base, self.zygote, self.arguments = base, zygote, [*arguments, "--out", RUN]
        with fresh(base, zygote) as place:
            ended = place.ended("attnlab", *self.arguments)
            assert ended.code == 0, ended
            self.undisturbed = Undisturbed(files=oracle.contents(place.run))
        with fresh(base, zygote) as place:
            log = place.base / "log"
            place.ended("attnlab", *self.arguments, strace=recording(log))
            self.calls = of_the_store(recorded(log), place.run, place.base / "out")

    def faults(self, step: int) -> Iterator[tuple[str, str, Expected, list[str]]]:
        """Every `step`-th call that writes, synces or renames fails, is killed, is interrupted."""
        full = Expected(codes=frozenset({5}), line=rf"(o/\S+|stdout): .*{store.SAID['ENOSPC']}.*")
        for call in [call for call in self.calls if call.name in ("write", "fsync", "rename")][::step]:
            name = f"attnlab {self.arguments[0]}: {call.name} {call.number}"
            ways = [(f"{call.name} fails once", full, "error=ENOSPC")]
            ways.append(("killed at a call", Expected(codes=frozenset({-9})), "signal=KILL"))
            for signal, (code, word) in SIGNALS.items():
                expected = Expected(codes=frozenset({code}), line=f"{word}: the result is not complete")
                ways.append((f"SIG{signal} at a call", expected, f"signal={signal}"))
            for kind, expected, how in ways:
                yield kind, name, expected, failing(call.name, call.number, how)

    def wrong(self, expected: Expected, options: list[str]) -> list[Complaint]:
        """Cause a fault; what was otherwise than promised."""
        with fresh(self.base, self.zygote) as place:
            return tried(place, "attnlab", self.arguments, expected, self.undisturbed, strace=options)


class Measured:
    """`attnlab complexity` killed on its way and taken up: every timing that was kept stays, no other is missing."""

    ARGUMENTS = ("complexity", "--mechanism", "linear", "--max-n", "256", "--repeats", "7", "--no-figures", "--quiet")

    def __init__(self, base: Path, zygote: Zygote) -> None:
        self.base, self.zygote = base, zygote
        with fresh(base, zygote) as place:
            ended = place.ended("attnlab", *self.ARGUMENTS, "--out", RUN)
            assert ended.code == 0, ended
            self.names = {*oracle.contents(place.run)}
            self.keys = self._keys(place)

    def wrong(self, number: int, signal: str) -> list[Complaint]:
        """The n-th fsync kills or interrupts it."""
        with fresh(self.base, self.zygote) as place:
            options = failing("fsync", number, f"signal={signal}")
            place.ended("attnlab", *self.ARGUMENTS, "--out", RUN, strace=options)
            kept = oracle.points(place.run)
            again = place.ended("attnlab", "complexity", "--resume", RUN, "--no-figures", "--quiet")
            wrong = [Complaint(True, f"the resume ends with {again}")] if again.code != 0 else []
            if oracle.points(place.run)[: len(kept)] != kept:
                wrong.append(Complaint(True, "a timing that was kept is gone"))
            if self._keys(place) != self.keys or {path.name for path in oracle.files(place.run)} != self.names:
                wrong.append(Complaint(True, "the result is not that of an undisturbed run"))
            return wrong

    @staticmethod
    def _keys(place: Place) -> Counter[tuple[str, str]]:
        return Counter((str(point["kind"]), str(point["key"])) for point in oracle.points(place.run)[1:])
