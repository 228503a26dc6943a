"""`attnlab lookup`: attention hardens into a table lookup under its proved bounds, and has a horizon."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from attnlab.errors import MemoryRefused, UsageError
from attnlab.experiments.effort import refuse_endless
from attnlab.experiments.lookup_horizon import HorizonRow, horizon_bytes, horizon_rows, horizon_seconds
from attnlab.experiments.lookup_table import LookupRow, Table, hardening, measured, table
from attnlab.files.kernels import in_words
from attnlab.maths.attention import attention, attention_scores
from attnlab.maths.weights import stream
from attnlab.theory.memory import matrix_bytes

#: Of queries × keys numbers, as many at once as a look-up takes; of the table's queries, keys and values.
MATRICES, VECTORS = 8, 6
#: About how long all look-ups of one query take for each key.
TABLE_SECONDS = 1e-5
#: The example by hand: three keys, the second an equal direction and twice as long as the first.
EXAMPLE_KEYS = ((1.0, 0.0), (2.0, 0.0), (0.0, 2.0))
EXAMPLE_QUERIES = ((1.0, 0.0), (1.0, 1.0))


@dataclass(frozen=True, kw_only=True)
class LookupConfig:
    """What to look up in, and how far to look."""

    #: of the table: how many entries, how many look-ups
    keys: int = 64
    queries: int = 128
    #: of the table's queries, keys and values
    width: int = 64
    #: of the horizon: the widths of q and k, the most keys, the look-ups of a repeat, the repeats
    widths: Sequence[int] = (16, 32, 64, 128)
    max_n: int = 65_536
    matches: int = 128
    repeats: int = 8
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class ExampleRow:
    """A look-up among EXAMPLE_KEYS, by hand."""

    query: tuple[float, ...]
    scores: tuple[float, ...]
    beta: float
    weights: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class LookupRecord:
    """All that was found."""

    config: LookupConfig
    rows: Sequence[LookupRow]
    examples: Sequence[ExampleRow]
    horizon: Sequence[HorizonRow]


def steps(config: LookupConfig) -> int:
    """How often `run` calls `advance`."""
    return 1 + len(dict.fromkeys(config.widths)) * config.repeats


def run(
    config: LookupConfig, *, advance: Callable[[], None] = lambda: None, max_bytes: int | None = None
) -> LookupRecord:
    """Look up with β from 1 to where every float32 row is one-hot, then measure the horizon.

    Args:
        advance: called after the table and after each repeat of the horizon.
        max_bytes: of memory that may be used; None = no limit.

    Raises:
        UsageError: a setting that cannot be.
        MemoryRefused: the table's matrices would take more than max_bytes.
    """
    check(config, max_bytes)
    drawn = drawn_table(config)
    rows = [measured(drawn, beta) for beta in hardening(drawn)]
    examples = [example(query, beta) for query in EXAMPLE_QUERIES for beta in (rows[0].beta, rows[-1].beta)]
    advance()
    far: list[HorizonRow] = []
    for d_k in dict.fromkeys(config.widths):
        far += horizon_rows(
            d_k,
            max_n=config.max_n,
            queries=config.matches,
            repeats=config.repeats,
            seed=config.seed,
            advance=advance,
        )
    return LookupRecord(config=config, rows=rows, examples=examples, horizon=far)


def check(config: LookupConfig, max_bytes: int | None) -> None:
    """Refuse settings that cannot be.

    Raises:
        UsageError: naming the first of them; also where it would go on for hours.
        MemoryRefused: the table, or the keys of the horizon, would not fit.
    """
    if config.keys < 2:
        raise UsageError(f"--keys {config.keys}; expected 2 or more, so that there is something to choose")
    if config.max_n < 2:
        raise UsageError(f"--max-n {config.max_n}; expected 2 or more keys to look through")
    for d_k in config.widths:
        if d_k < 1:
            raise UsageError(f"--dk {d_k}; expected a width of 1 or more")
    for name, count in (("--queries", config.queries), ("--repeats", config.repeats)):
        if count < 2:
            raise UsageError(f"{name} {count}; expected 2 or more, so that there is an error bar")
    widest = max(config.widths, default=1)
    table = MATRICES * matrix_bytes(config.queries, config.keys, heads=1, itemsize=8)
    table += VECTORS * 8 * (config.queries + config.keys) * config.width
    far = horizon_bytes(widest, max_n=config.max_n, queries=config.matches, repeats=config.repeats)
    for what, needed in (
        (f"{config.queries:,} queries and {config.keys:,} keys would need {in_words(table)} for their matrices", table),
        (f"--dk {widest} and --repeats {config.repeats} would need {in_words(far)} for the keys drawn at a time", far),
    ):
        if max_bytes is not None and needed > max_bytes:
            raise MemoryRefused(f"{what}, and {in_words(max_bytes)} may be used; take fewer, or give --max-memory more")
    key = sum(horizon_seconds(d_k, queries=config.matches) for d_k in config.widths)
    refuse_endless("--max-n", config.max_n, 2 * key)
    refuse_endless("--repeats", config.repeats, config.max_n * key)
    refuse_endless("--queries", config.queries, TABLE_SECONDS * config.keys)


def drawn_table(config: LookupConfig) -> Table:
    """A table of independent standard normal numbers, the queries divided by √d_k once and for all."""
    rng = stream(config.seed, "lookup")
    shapes = ((config.queries, config.width), (config.keys, config.width), (config.keys, config.width))
    q, k, v = (rng.standard_normal(shape) for shape in shapes)
    return table(q / math.sqrt(config.width), k, v)


def example(query: tuple[float, ...], beta: float) -> ExampleRow:
    """One look-up among EXAMPLE_KEYS at one β."""
    q, k = np.array([query]), np.array(EXAMPLE_KEYS)
    looked = attention(q, k, k, scale=beta)
    return ExampleRow(
        query=query,
        scores=tuple(float(score) for score in attention_scores(q, k, scale=1.0)[0]),
        beta=beta,
        weights=tuple(float(weight) for weight in looked.weights[0]),
    )
