"""Faults of the store: each of its calls fails, once and from then on, is the last, is interrupted; all others too."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.faults.oracle import Expected
from tests.faults.place import RUN, Place
from tests.faults.tracing import CALLS, Call, failing, of_the_store, recorded, recording
from tests.faults.zygote import EARLY

#: What a call may fail with.
ERRORS = ("ENOSPC", "EIO", "EROFS", "EDQUOT")
SAID = {
    "ENOSPC": "No space left on device",
    "EIO": "Input/output error",
    "EROFS": "Read-only file system",
    "EDQUOT": "Disk quota exceeded",
}
#: Calls whose failure loses nothing and is not told: a lock that is not to be had, a stale file that stays.
HARMLESS = ("flock", "unlink")
SIGNALS = {"INT": (130, "interrupted"), "TERM": (143, "terminated"), "HUP": (129, "the terminal went away")}
#: More than the calls of any run.
NEVER = 60_000
#: How a run begins: at the beginning, or with what a dead one left.
BEGINNINGS = {"new": "--out", "resumed": "--resume"}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault, how to cause it, and what must be seen."""

    kind: str
    name: str
    program: str
    arguments: list[str]
    beginning: str
    expected: Expected
    request: dict[str, Any] = field(default_factory=dict)


def store_calls(place: Place, program: str, beginning: str) -> list[Call]:
    """Every call that an undisturbed run makes in the store."""
    log = place.base / "log"
    ended = place.ended(program, "squares", BEGINNINGS[beginning], RUN, strace=recording(log))
    assert ended.code == 0, ended
    return of_the_store(recorded(log), place.run, place.base / "out")


def ways(calls: list[Call], name: str) -> list[Call]:
    """The run's calls of this name, and one that it never comes to."""
    found = [call for call in calls if call.name == name]
    return [*found, Call(name, "", False, NEVER)] if found else []


def errors(calls: list[Call], program: str, beginning: str) -> Iterator[Fault]:
    """The n-th call fails, and the n-th and all later ones."""
    for name in CALLS:
        for call in ways(calls, name):
            for error in ERRORS:
                for on in (False, True):
                    yield error_fault(call, program, beginning, error, on)


def error_fault(call: Call, program: str, beginning: str, error: str, on: bool) -> Fault:
    """One of these."""
    where, said = r"(o/\S+|o|--out o|stdout)", SAID[error]
    return Fault(
        kind=f"{call.name} fails {'from then on' if on else 'once'}",
        name=f"{call.name} {call.number} {error}{'+' if on else ''} {beginning}",
        program=program,
        arguments=["squares", BEGINNINGS[beginning], RUN],
        beginning=beginning,
        expected=Expected(
            codes=frozenset(codes_of(call, on)),
            line=rf"{where}: ((could not be \w+: )?{said}(; .*)?|{said.lower()}; expected a file that can be read)",
            mute=on and call.name == "write",
            stuck=on or call.name == "close",
        ),
        request={"strace": failing(call.name, call.number, f"error={error}", on=on)},
    )


def codes_of(call: Call, on: bool) -> set[int]:
    """Exit codes that a failing call may end with. Where 0 is among them, everything must be there all the same."""
    if call.number == NEVER or call.name in HARMLESS:
        return {0}
    if call.name == "close" or (call.name == "openat" and "O_RDONLY" in call.arguments):
        return {0, 3, 5}  # a lock given up or a sweep that did not work loses nothing; 3: what was not to be read
    if on and call.name == "write":
        return {5, 120}  # 120 is Python's own: strace lets writes to /dev/null fail too
    return {5}


def kills(calls: list[Call], program: str, beginning: str) -> Iterator[Fault]:
    """The process is killed at the n-th call."""
    for name in CALLS:
        for _, _, _, number in ways(calls, name):
            codes = {0} if number == NEVER else {-9}
            yield Fault(
                kind="killed at a call",
                name=f"{name} {number} KILL {beginning}",
                program=program,
                arguments=["squares", BEGINNINGS[beginning], RUN],
                beginning=beginning,
                expected=Expected(codes=frozenset(codes)),
                request={"strace": failing(name, number, "signal=KILL")},
            )


def signals(calls: list[Call], program: str, beginning: str) -> Iterator[Fault]:
    """SIGINT, SIGTERM or SIGHUP at the n-th call, and at every one from then on: in the clean-up too."""
    for name in CALLS:
        for _, _, _, number in ways(calls, name):
            for signal, (code, said) in SIGNALS.items():
                for on in (False, True):
                    yield Fault(
                        kind=f"SIG{signal} at {'every call from then on' if on else 'a call'}",
                        name=f"{name} {number} {signal}{'+' if on else ''} {beginning}",
                        program=program,
                        arguments=["squares", BEGINNINGS[beginning], RUN],
                        beginning=beginning,
                        expected=Expected(
                            codes=frozenset({0} if number == NEVER else {code}),
                            line=f"{said}: the result is not complete",
                        ),
                        request={"strace": failing(name, number, f"signal={signal}", on=on)},
                    )


def short_writes(beginning: str, sizes: Iterable[int]) -> Iterator[Fault]:
    """No file may grow beyond so many bytes (RLIMIT_FSIZE): the kernel itself cuts writes short, then refuses them."""
    for size in sizes:
        yield Fault(
            kind="files cut short by a limit",
            name=f"{size} bytes {beginning}",
            program="squares",
            arguments=["squares", BEGINNINGS[beginning], RUN],
            beginning=beginning,
            expected=Expected(
                codes=frozenset({5}), line=r"(o/\S+|stdout): .*File too large.*", mute=size < 200, stuck=True
            ),
            request={"file_size": size},
        )


def beyond_mending(beginning: str, sizes: Iterable[int]) -> Iterator[Fault]:
    """The same, on a disk that lets nothing be cut back or deleted either, as one that turned read-only."""
    for fault in short_writes(beginning, sizes):
        options = failing("ftruncate,unlink", 1, "error=EROFS", on=True)
        expected = replace(fault.expected, line=r"(o/\S+|stdout): .*(File too large|Read-only file system).*")
        request = {**fault.request, "strace": options}
        yield replace(fault, kind=f"{fault.kind}, for good", expected=expected, request=request)


def jumping_clocks(beginning: str) -> Iterator[Fault]:
    """The wall clock is ten years back at each look."""
    for n in range(4):
        yield Fault(
            kind="wall clock jumps",
            name=f"{n} {beginning}",
            program="jumping",
            arguments=["squares", BEGINNINGS[beginning], RUN],
            beginning=beginning,
            expected=Expected(codes=frozenset({0})),
        )


def broken_pipes(calls: list[Call], out: Path, beginning: str) -> Iterator[Fault]:
    """Whoever read stdout is gone at the n-th line."""
    lines = [call for call in calls if call.name == "write" and re.match(r"1<", call.arguments)]
    for number, _ in enumerate(lines, 1):
        yield Fault(
            kind="broken pipe",
            name=f"line {number} {beginning}",
            program="squares",
            arguments=["squares", BEGINNINGS[beginning], RUN],
            beginning=beginning,
            expected=Expected(codes=frozenset({141})),
            request={"strace": ["-P", str(out), *failing("write", number, "error=EPIPE:signal=PIPE")]},
        )


def at_times(times: list[tuple[float, str]], beginning: str) -> Iterator[Fault]:
    """A signal at a random moment."""
    numbers = {"INT": 2, "TERM": 15, "HUP": 1, "KILL": 9}
    for moment, signal in times:
        number, (code, said) = numbers[signal], {**SIGNALS, "KILL": (-9, "")}[signal]
        early = {EARLY} if signal == "INT" else {-number}  # before the command line could take care of it
        yield Fault(
            kind=f"SIG{signal} at a random time",
            name=f"{moment:.5f} s {signal} {beginning}",
            program="squares",
            arguments=["squares", BEGINNINGS[beginning], RUN],
            beginning=beginning,
            expected=Expected(
                codes=frozenset({0, code} | early),
                line=f"{said}: (the result is not complete|nothing had begun)",
            ),
            request={"signals": [[moment, number]]},
        )
