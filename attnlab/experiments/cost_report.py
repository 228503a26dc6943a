"""What a person sees of `attnlab cost`, and the same as JSON and CSV: views of a record."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from attnlab.experiments.cost import ITEMSIZE, CostConfig, CostRecord, CostRow
from attnlab.experiments.cost_measured import Measured, MeasuredPart
from attnlab.maths.plan import WORKING
from attnlab.records import Cell, Finding, Part, Report, Table
from attnlab.show.numbers import number
from attnlab.theory.costs import CORE, BlockShape

#: Parts whose name in words is not their name with blanks.
LABELS = {
    "feed_forward": "feed-forward",
    "scores": "scores QKᵀ",
    "weighted_values": "weights × V",
    "q_k_norms": "q, k norms",
}
#: What 1000 of one are.
PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z", "Y", "R", "Q")
#: What 1024 of one are, up to where `number` writes powers of ten anyway.
BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def report(record: CostRecord) -> Report:
    """The findings, then what each part takes; where a run was timed, that beside it."""
    config, block = record.config, record.config.block
    layers = f"{config.layers} layers" if config.layers > 1 else "1 layer"
    groups = "" if block.n_kv_heads == block.n_heads else f", g {block.n_kv_heads}"
    widths = f"d_k {block.d_k}" if block.d_k == block.d_v else f"d_k {block.d_k}, d_v {block.d_v}"
    hidden = "" if block.d_ff is None else f", d_ff {block.d_ff:,}"
    heading = (
        f"{config.name} · N = {config.n:,} tokens · {layers} · d {block.d_model:,}, h {block.n_heads}{groups}, "
        f"{widths}{hidden} · {config.dtype}"
    )
    parts: list[Part] = [Finding(text=f"{share_in_words(record)} {matrix_in_words(record)}")]
    if record.measured is not None:
        parts.append(Finding(text=time_in_words(record, record.measured)))
    parts.append(cost_table(record))
    if record.measured is not None:
        parts += measured_parts(record, record.measured)
    return Report(
        heading=heading,
        parts=parts,
        details=[Finding(text=convention_in_words(record), kind="note")],
        next=["attnlab cost gpt2-small --n 131072", "attnlab complexity --max-n 4096"],
    )


def share_in_words(record: CostRecord) -> str:
    """What the core takes of all work, and from where on it takes the most."""
    share = flops_of(record, CORE) / record.total.flops
    text = f"At N = {record.config.n:,} the attention core (QKᵀ and weights × V) takes {percent(share)} of the work."
    over = record.crossover
    if over.core_over_projections is None:
        return f"{text} Through its window it never passes the projections, however long the text."
    text += f" It passes the projections at N = {over.core_over_projections:,}"
    if record.config.block.d_ff is None:
        return f"{text}; there is no feed-forward."
    if over.core_over_rest is None:
        return f"{text}; projections and feed-forward together never: its window keeps it below them."
    return f"{text}, projections and feed-forward together at {over.core_over_rest:,}."


def matrix_in_words(record: CostRecord) -> str:
    """What the attention weights would take, and what streaming keeps in their place."""
    config = record.config
    return (
        f"The attention weights of one layer, {config.block.n_heads} × N² numbers, would take "
        f"{in_bytes(record.matrix_bytes)}; streaming gives the same output and keeps "
        f"{in_bytes(record.streaming_bytes)} in their place, with {in_bytes(WORKING)} at most to work in. "
        f"The parameters take {in_bytes(record.total.parameters * ITEMSIZE[config.dtype])}."
    )


def time_in_words(record: CostRecord, measured: Measured) -> str:
    """How long one layer takes, and which piece runs farthest below this machine's own speed."""
    where = f"Timed here at N = {measured.n:,}"
    if measured.n < record.config.n:
        where += f" ({record.config.n:,} would take {duration(measured.seconds_at_n)} a layer, by its count)"
    longest = max(measured.parts, key=lambda part: part.seconds_median)
    slowest = measured.slowest
    flops = sum(part.flops for part in measured.parts)
    text = f"{where}, one layer takes {duration(measured.seconds)}, most of it: {longest.name}."
    return (
        f"{text} Slowest for its count: {slowest.name}, {percent(slowest.flops / flops)} of the FLOPs and "
        f"{percent(slowest.seconds_median / measured.seconds)} of the time, at "
        f"{percent(slowest.gflops / measured.machine_gflops)} of the speed of this machine's own matrix product."
    )


def cost_table(record: CostRecord) -> Table:
    """A row per part, all layers together."""
    config, total = record.config, record.total
    scale, prefix = scaled(total.flops)
    size, unit = byte_unit(total.bytes)
    rows: list[Sequence[Cell]] = []
    for row in (*record.rows, total):
        share = 100 * row.flops / total.flops
        rows.append((label(row), row.formula, row.flops / scale, share, row.bytes / size, row.parameters))
    layers = "" if config.layers == 1 else f" in {config.layers} layers"
    once = ""
    if config.layers > 1:
        one = sum(part.operations(config.count) for part in record.parts)
        amount = f", {number(one / scale)} {prefix}{unit_name(config)}" if record.alike else ""
        once = f"; formulas are one layer's{amount}"
    return Table(
        title=f"What each part takes{layers}",
        columns=("", "formula", f"{prefix}{unit_name(config)}", "%", f"{unit} kept", "parameters"),
        rows=rows,
        note=f"{pairs_in_words(record)}{once}",
    )


def measured_parts(record: CostRecord, measured: Measured) -> list[Part]:
    """What was timed, and whether the machine was calm enough."""
    parts: list[Part] = [measured_table(measured)]
    if measured.warning:
        parts.append(Finding(text=f"Take these times with care: {measured.warning}."))
    if record.hides and measured.kernel == "dense":
        text = "The dense core computes hidden pairs too, and masks them: it does more than is counted for it."
        parts.append(Finding(text=text, kind="note"))
    return parts


def measured_table(measured: Measured) -> Table:
    """A row per piece: its share of the count, of the time, and how fast it went."""
    flops = sum(part.flops for part in measured.parts)
    rows: list[Sequence[Cell]] = [
        (
            part.name,
            100 * part.flops / flops,
            100 * part.seconds_median / measured.seconds,
            1000 * part.seconds_median,
            part.gflops,
            100 * part.gflops / measured.machine_gflops,
        )
        for part in measured.parts
    ]
    threads = "1 thread" if measured.threads == 1 else f"{measured.threads} threads"
    statistics = ", with all its statistics" if measured.kernel == "streaming" else ""
    return Table(
        title=f"Timed: one layer at N = {measured.n:,}, {measured.kernel} core{statistics}",
        columns=("", "% of FLOPs", "% of time", "ms", "GFLOP/s", "% of speed"),
        rows=rows,
        note=(
            f"medians of interleaved runs, {measured.dtype}, {threads}; speed: this machine's own matrix "
            f"product at its fastest, {number(measured.machine_gflops)} GFLOP/s"
        ),
    )


def convention_in_words(record: CostRecord) -> str:
    """What was counted."""
    if record.config.count == "mac":
        counted = "MACs: multiply-adds of matrix products; elementwise work has none (--convention flop counts it)."
    else:
        counted = (
            "One multiply-add counts as 2 FLOPs. Elementwise work by convention: softmax 5 a pair, LayerNorm 6 or 7 "
            "and RMSNorm 4 a number, a step of any other 1."
        )
    return f"{counted} Kept: every part's result, once, in {record.config.dtype}; both N × N matrices whole."


def pairs_in_words(record: CostRecord) -> str:
    """What P stands for."""
    if not record.hides:
        return "P = N² pairs of tokens"
    if record.config.hidden == "full":
        return "P = N² pairs: hidden ones are computed too (--causal half: they are skipped)"
    found = Counter(seen_in_letters(shape, record.config.n) for shape in record.shapes)
    seen, *others = found
    if others:
        seen = f"{seen} in {found[seen]} layers, " + ", ".join(f"{other} in {found[other]}" for other in others)
        return f"P = {seen}: hidden pairs are skipped (--causal full: they are not)"
    return f"P = {seen} pairs: hidden ones are skipped (--causal full: they are not)"


def seen_in_letters(shape: BlockShape, n: int) -> str:
    """The visible pairs of n tokens of a layer."""
    window = shape.window
    if shape.causal:
        return "N(N+1)/2" if window is None or window >= n else f"N·{window:,} − {window:,}·{window - 1:,}/2"
    return "N²" if window is None or window >= n - 1 else f"N·{2 * window + 1:,} − {window:,}·{window + 1:,}"


def flops_of(record: CostRecord, names: Sequence[str]) -> int:
    """The parts with these names together."""
    return sum(row.flops for row in record.rows if row.part in names)


def label(row: CostRow) -> str:
    """A part's name in words."""
    return LABELS.get(row.part, row.part.replace("_", " "))


def unit_name(config: CostConfig) -> str:
    """What is counted."""
    return "MAC" if config.count == "mac" else "FLOP"


def scaled(largest: int) -> tuple[int, str]:
    """A power of 1000 that leaves the number below 1000 of it, and its prefix."""
    power = 0
    while largest >= 1000 ** (power + 1) and power + 1 < len(PREFIXES):
        power += 1
    return 1000**power, PREFIXES[power]


def byte_unit(largest: int) -> tuple[int, str]:
    """A power of 1024 that leaves the number below 1024 of it, and its name."""
    power = 0
    while largest >= 1024 ** (power + 1) and power + 1 < len(BYTE_UNITS):
        power += 1
    return 1024**power, BYTE_UNITS[power]


def in_bytes(size: int) -> str:
    """Bytes as people read them, in three digits: "512 GiB"."""
    scale, unit = byte_unit(size)
    return f"{number(size / scale)} {unit}"


def percent(share: float) -> str:
    """A share as people read it: never 0 % or 100 % of what is only near to it."""
    if 0 < share < 0.001:
        return "less than 0.1 %"
    if 0.999 < share < 1:
        return "more than 99.9 %"
    return f"{number(100 * share)} %"


def duration(seconds: float) -> str:
    """Seconds as people read them."""
    for limit, scale, unit in ((1, 0.001, "ms"), (120, 1, "s"), (7200, 60, "minutes"), (172_800, 3600, "hours")):
        if seconds < limit:
            return f"{number(seconds / scale)} {unit}"
    return f"{number(seconds / 86_400)} days"


def document(record: CostRecord) -> dict[str, object]:
    """The fields of `attnlab.cost/1`; flops are multiply-adds where the convention says mac."""
    config, over = record.config, record.crossover
    return {
        "n": config.n,
        "layers": config.layers,
        "rows": [asdict(row) for row in record.rows],
        "total": {"flops": record.total.flops, "bytes": record.total.bytes, "parameters": record.total.parameters},
        "crossover": {
            "core_over_projections": over.core_over_projections,
            "core_over_rest": over.core_over_rest,
        },
        "convention": {"count": config.count, "causal": config.hidden, "hides": record.hides, "dtype": config.dtype},
        "weights_bytes_per_layer": record.matrix_bytes,
        "streaming_bytes_per_layer": record.streaming_bytes,
        "measured": None if record.measured is None else measured_document(record.measured),
    }


def measured_document(measured: Measured) -> dict[str, object]:
    """What was timed; times are another run's next time."""
    return {
        "n": measured.n,
        "kernel": measured.kernel,
        "dtype": measured.dtype,
        "threads": measured.threads,
        "machine_gflops": measured.machine_gflops,
        "seconds_at_n": measured.seconds_at_n,
        "warning": measured.warning,
        "parts": [part_document(part) for part in measured.parts],
    }


def part_document(part: MeasuredPart) -> dict[str, object]:
    """One timed piece."""
    return {**asdict(part), "gflops": part.gflops}


def csv_table(record: CostRecord) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Columns and rows of result.csv: a row per part."""
    rows = [asdict(row) for row in record.rows]
    return tuple(rows[0]), [tuple(row.values()) for row in rows]
