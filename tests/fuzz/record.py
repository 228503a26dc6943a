"""Put many files before every parser and tell what became of them.

python -m tests.fuzz.record --inputs 20000 --seed 0
"""

import argparse
import hashlib
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.inputs import INPUTS
from tests.fuzz.oracle import ACCEPTED, FAULT, REFUSED, Limits, Outcome
from tests.fuzz.worker import Worker

COLUMNS = {"inputs": 7, "seeds": 6, "accepted": 8, "refused": 8, "faults": 6, "slowest": 10, "most memory": 11}
#: From one seed of hypothesis to the next.
STRIDE = 1_000_003


@dataclass
class Totals:
    """What became of one parser's files."""

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    #: what a fault says, without its numbers -> how often, the shortest file, and what was said of the first
    faults: dict[str, tuple[int, bytes, str]] = field(default_factory=dict)
    slowest: float = 0.0
    largest: int = 0
    #: hypothesis repeats itself: seeds taken until all files differed
    rounds: int = 0

    def add(self, data: bytes, outcome: Outcome) -> None:
        self.counts[outcome.kind] += 1
        self.slowest, self.largest = max(self.slowest, outcome.seconds), max(self.largest, outcome.peak)
        if outcome.kind == FAULT:
            kind = re.sub(r"[\d,]+|/tmp/\S*/", "#", outcome.text)[:100]
            times, first, text = self.faults.get(kind, (0, data, outcome.text))
            self.faults[kind] = times + 1, min(first, data, key=len), text


def feed(name: str, count: int, number: int, take: Callable[[bytes], None]) -> int:
    """Hand over `count` different files for the parser, the same ones for the same number; how many seeds it took."""
    seen: set[bytes] = set()
    rounds = 0

    def once(data: bytes) -> None:
        digest = hashlib.sha256(data).digest()
        if digest not in seen and len(seen) < count:
            seen.add(digest)
            take(data)

    while len(seen) < count:
        _draw(INPUTS[name], min(2 * (count - len(seen)), 2000), number + STRIDE * rounds, once)
        rounds += 1
    return rounds


def _draw(files: st.SearchStrategy[bytes], count: int, number: int, take: Callable[[bytes], None]) -> None:
    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(files)
    def each(data: bytes) -> None:
        take(data)

    each()


def run(name: str, count: int, number: int, worker: Worker, judge: str | None = None) -> Totals:
    """What became of `count` files; `judge` names another parser to put them before."""
    totals = Totals(name)
    totals.rounds = feed(name, count, number, lambda data: totals.add(data, worker.judged(judge or name, data)))
    return totals


def line(totals: Totals) -> str:
    counts, inputs = totals.counts, totals.counts.total()
    numbers = f"{inputs:7,} {totals.rounds:6,} {counts[ACCEPTED]:8,} {counts[REFUSED]:8,} {counts[FAULT]:6,}"
    return f"{totals.name:45} {numbers} {totals.slowest:8.2f} s {totals.largest / 2**20:7.1f} MiB"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000, help="files in all, shared among the parsers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="parsers whose name holds this")
    asked = parser.parse_args()
    names = [name for name in INPUTS if asked.only in name]
    each, started = -(-asked.inputs // len(names)), time.perf_counter()
    limits = Limits()
    bounds = f"{limits.seconds:g} s of work, {limits.at_least >> 20} MiB + {limits.per_byte} B for each byte of a file"
    print(f"seed {asked.seed}; at most {bounds}")
    print(f"{'parser':45} " + " ".join(f"{name:>{width}}" for name, width in COLUMNS.items()))
    every: list[Totals] = []
    with Worker(limits) as worker:
        for name in names:
            every.append(run(name, each, asked.seed, worker))
            print(line(every[-1]), flush=True)
    print(line(total(every)))
    print(f"{time.perf_counter() - started:.0f} s")
    for totals in every:
        for times, data, text in totals.faults.values():
            print(f"\n{totals.name}: {times} × {text}\n  {len(data):,} bytes: {data[:3000]!r}")
    return 1 if any(totals.faults for totals in every) else 0


def total(every: list[Totals]) -> Totals:
    found = Totals("all")
    for totals in every:
        found.counts += totals.counts
        found.slowest, found.largest = max(found.slowest, totals.slowest), max(found.largest, totals.largest)
        found.rounds += totals.rounds
    return found


if __name__ == "__main__":
    sys.exit(main())
