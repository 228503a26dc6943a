"""Growth: time and memory of attention against the length of a text, by formula: nothing is run.

The course's first drawing. N² is what dense attention takes: `full_flops` for its time, one N × N matrix for its
memory. The curves N log N and N are no mechanism's own: they show how a cost grows that is the same at the first size,
so that the orders alone tell them apart.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from attnlab.errors import UsageError
from attnlab.experiments.cost_report import byte_unit, in_bytes, scaled
from attnlab.records import Figure, Finding, Growth, GrowthPanel, Line, Report
from attnlab.show.numbers import number
from attnlab.theory.mechanism_costs import full_flops
from attnlab.theory.memory import matrix_bytes

#: The curves meet at this share of the longest text, and this is the least and the most that its length may be.
MEET = 1 / 8
FEWEST, MOST = 64, 1 << 24
#: Points of a curve: a multiple of 8, so that the place where they meet and the doubled size are among them.
POINTS = 64
#: A long text, in tokens, whose matrix is named beside that of the longest drawn.
LONG = 65_536
ORDERS: Mapping[str, Callable[[float], float]] = {
    "O(N)": lambda n: n,
    "O(N log N)": lambda n: n * math.log(n) if n > 1 else 0.0,
    "O(N²)": lambda n: n * n,
}
TITLE = "Attention grows as N²: twice the text, four times the work and the memory"


@dataclass(frozen=True, kw_only=True)
class GrowthConfig:
    """How long a text is drawn, and of how many heads how wide.

    Raises:
        UsageError: a length that cannot be drawn.
    """

    max_n: int = 4096
    heads: int = 1
    d: int = 64

    def __post_init__(self) -> None:
        if not FEWEST <= self.max_n <= MOST:
            raise UsageError(f"--max-n {self.max_n}; expected {FEWEST} to {MOST:,} tokens")


@dataclass(frozen=True, kw_only=True)
class GrowthRecord:
    """What the drawing says at the longest text, N tokens, at half of it, and at a far longer one."""

    config: GrowthConfig
    #: the longest text, an even number of tokens, and half of it
    n: int
    half: int
    flops: int
    half_flops: int
    #: of one N × N matrix of float32 for each head
    matrix: int
    half_matrix: int
    #: many times as many tokens, and their matrix
    long: int
    long_matrix: int


def growth(config: GrowthConfig) -> GrowthRecord:
    """The formulas' numbers."""
    half, heads, d = config.max_n // 2, config.heads, config.d
    n, long = 2 * half, max(LONG, 16 * 2 * half)
    return GrowthRecord(
        config=config,
        n=n,
        half=half,
        flops=full_flops(n, heads=heads, d=d),
        half_flops=full_flops(half, heads=heads, d=d),
        matrix=matrix_bytes(n, n, heads=heads),
        half_matrix=matrix_bytes(half, half, heads=heads),
        long=long,
        long_matrix=matrix_bytes(long, long, heads=heads),
    )


def figure(config: GrowthConfig) -> Figure:
    """The drawing: time left, memory right."""
    record = growth(config)
    of = f"{config.heads} head{'' if config.heads == 1 else 's'} of {config.d}"
    flop, prefix = scaled(record.flops)
    byte, name = byte_unit(record.matrix)
    panels = [
        panel(f"Time: {of}", f"time, {prefix}FLOP by formula", record.n, record.flops / flop, "the work"),
        panel("Memory: the weights", f"memory, {name} in float32", record.n, record.matrix / byte, "the memory"),
    ]
    drawn = Growth(
        title=TITLE,
        x_axis="N, the tokens of a text",
        panels=panels,
        size=record.half,
        note=implication(record),
    )
    return Figure(name="growth", drawable=drawn)


def panel(title: str, y_axis: str, n: int, whole: float, what: str) -> GrowthPanel:
    """One quantity, `whole` at N tokens, and the lower orders from the place where they meet."""
    sizes = np.arange(1, POINTS + 1) / POINTS * n
    curves = [
        Line(
            label=label,
            x=sizes.tolist(),
            y=[whole * MEET**2 * order(x) / order(MEET * n) for x in sizes],
            kind="theory",
        )
        for label, order in ORDERS.items()
    ]
    return GrowthPanel(title=title, y_axis=y_axis, curves=curves, doubling=("twice the text,", "four times", what))


def implication(record: GrowthRecord) -> str:
    """What the square means for long texts."""
    times = number(float(f"{record.long / record.n:.3g}"))
    return (
        f"Long texts pay: {times} times the text, {record.long:,} tokens, is "
        f"{number((record.long / record.n) ** 2)} times the work, and its weights "
        f"take {in_bytes(record.long_matrix)}. (All three curves are set equal at "
        f"{number(MEET * record.n)} tokens.)"
    )


def report(record: GrowthRecord) -> Report:
    """The finding in words, for those who cannot see the drawing."""
    config = record.config
    one, prefix = scaled(record.flops)
    of = f"{config.heads} head{'' if config.heads == 1 else 's'} of {config.d}"
    said = (
        f"Twice the text, four times the work: from {record.half:,} to {record.n:,} tokens one layer's attention "
        f"goes from {number(record.half_flops / one)} to {number(record.flops / one)} {prefix}FLOP, and its weights "
        f"from {in_bytes(record.half_matrix)} to {in_bytes(record.matrix)}; "
        f"at {record.long:,} tokens they take {in_bytes(record.long_matrix)}."
    )
    return Report(
        heading=f"growth · by formula, nothing is run · {of} · float32 · N to {record.n:,}",
        parts=[Finding(text=said), Finding(text=drawn_in_words(record), kind="note")],
    )


def drawn_in_words(record: GrowthRecord) -> str:
    """The drawing in a sentence."""
    return (
        f"Drawn: O(N), O(N log N) and O(N²), set equal at {number(MEET * record.n)} tokens, for time and for "
        "memory. Measured: attnlab complexity."
    )


def document(record: GrowthRecord) -> dict[str, object]:
    """The drawing's own JSON fields."""
    numbers = {name: value for name, value in vars(record).items() if name != "config"}
    return {"drawing": "growth", "title": TITLE, **vars(record.config), **numbers}
