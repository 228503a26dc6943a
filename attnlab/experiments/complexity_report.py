"""What a person reads of the complexity experiment."""

import math
from collections.abc import Sequence

from attnlab.experiments.complexity_checks import TOKENS
from attnlab.experiments.complexity_crossovers import crossovers
from attnlab.experiments.complexity_record import ComplexityRecord, Point, repeats_of
from attnlab.experiments.complexity_sizes import octaves
from attnlab.experiments.complexity_variants import MECHANISMS, Variant
from attnlab.measure.orders import OrderFit
from attnlab.records import Cell, Check, Checks, Finding, Part, Quantity, Report, Table

MIB = 1 << 20
#: How an order is written, for N and for d.
ORDERS = {"N": "N", "N log N": "N log N", "N^2": "N²"}
#: How the work of each mechanism grows with N, by its formula.
FORMULA = {
    "full": "N²",
    "window": "N",
    "linear": "N",
    "fourier": "N log N",
    "argmax": "N²",
    "sorted": "N log N",
    "hash": "N",
}
#: What doubling does to a cost of that order.
DOUBLED = {"N": "twice", "N log N": "a little more than twice", "N^2": "four times"}
#: Variants to a table of times: more would not fit 80 columns.
MOST_COLUMNS = 6


def report(record: ComplexityRecord) -> Report:
    """What follows from the orders, then the orders beside what the largest size takes."""
    said = findings(record)
    parts: list[Part] = [Finding(text=" ".join(said))] if said else []
    parts.append(order_table(record))
    parts += [Finding(text=f"Take the times with care: {record.noise}.")] if record.noise else []
    details: list[Part] = [*time_tables(record), largest_table(record)]
    details += [Finding(kind="note", text=text) for text in notes(record)]
    return Report(
        heading=heading(record),
        parts=parts,
        details=details,
        checks=Checks(checks=[all_equal(record)]),
        next=next_commands(record),
    )


def next_commands(record: ComplexityRecord) -> list[str]:
    """More of the same, and where the matrix goes."""
    config = record.config
    everything = set(config.mechanisms) == set(MECHANISMS)
    return [*([] if everything else ["attnlab complexity --mechanism all"]), "attnlab cost --n 131072"]


def all_equal(record: ComplexityRecord) -> Check:
    """The checks in one: no kernel is timed that failed its own."""
    holds = all(check.holds for check in record.checks)
    each = "it" if len(record.checks) == 1 else f"each of the {len(record.checks)}"
    text = f"{each} equals another way to its result, on {TOKENS} tokens"
    return Check(id="equal", holds=holds, value=None, bound=None, text=text)


def heading(record: ComplexityRecord) -> str:
    """The setting."""
    config = record.config
    n, d = (f"{low:,}" if low == high else f"{low:,}–{high:,}" for low, high in ends(config.n, config.d))
    part = "core" if config.part == "core" else "block"
    heads = "1 head" if config.heads == 1 else f"{config.heads} heads"
    return f"{part} · N {n} · {heads} of {d} · float32 · {threads(record)} · seed {config.seed}"


def threads(record: ComplexityRecord) -> str:
    """How many threads there were."""
    return "1 thread" if record.config.threads == 1 else f"{record.config.threads} threads"


def ends(*ranges: Sequence[int]) -> list[tuple[int, int]]:
    """The smallest and the largest of each."""
    return [(min(found), max(found)) for found in ranges]


def order_in(order: str, sweep: str) -> str:
    """An order as it is written: N², or d² where the width is swept."""
    return ORDERS[order] if sweep == "n" else ORDERS[order].replace("N", "d")


def order_table(record: ComplexityRecord) -> Table:
    """One line a variant: how its time and its memory grow, and what the largest size takes."""
    sweep, last = record.config.sweep, record.config.settings[-1]
    rows: list[tuple[Cell, ...]] = []
    for v in record.variants:
        time, memory, point = record.fit(v, "time"), record.fit(v, "memory"), record.of(v)[-1]
        formula = [] if sweep == "d" else [FORMULA[v.mechanism]]
        orders = slope(time, sweep), said(time, sweep), said(memory, sweep)
        rows.append((v.label, *formula, *orders, 1e3 * point.timing.median, mebibytes(point)))
    where = f"N = {last.n:,}" if sweep == "n" else f"d = {last.d:,}"
    note = f"grows like: time, with its 99.5 % interval, up to {where}, where ms and MiB are taken"
    if any(not fit.fit.settled for fit in record.fits):
        note += "; open: no order is settled, and --details says why"
    return Table(
        title="",
        columns=("", *(() if sweep == "d" else ("formula",)), "grows like", "time", "memory", "ms", "MiB"),
        rows=rows,
        note=note,
    )


def said(fit: OrderFit, sweep: str) -> str:
    """The order, or that there is none."""
    return "open" if fit.order is None else order_in(fit.order, sweep)


def slope(fit: OrderFit, sweep: str) -> str:
    """The power with which it grows over the larger sizes, and its interval."""
    low, high = fit.slope_interval
    letter = "N" if sweep == "n" else "d"
    return "–" if math.isnan(fit.local_slope) else f"{letter}^{fit.local_slope:.2f} ({low:.2f}–{high:.2f})"


def why_not(record: ComplexityRecord) -> list[str]:
    """For the orders that are not settled, what they are or what would settle them: a line each."""
    open_ones = [(f"{each.variant.label}, {each.quantity}", each.fit) for each in record.fits if not each.fit.settled]
    lines = [f"{name}: {fit.reason.removeprefix('not settled: ')}." for name, fit in open_ones]
    return ["\n".join(["Not settled, and why (steps: caches, threads, tables that double):", *lines])] if lines else []


def findings(record: ComplexityRecord) -> list[str]:
    """What the orders mean for whoever pays."""
    if record.config.sweep == "d":
        return doubling(record)
    return [*doubling(record), *matrix(record), *overtaking(record)]


def doubling(record: ComplexityRecord) -> list[str]:
    """What doubling the text, or the width, costs full attention: by its first kernel whose order is settled, else by
    the formulas.
    """
    sweep, part = record.config.sweep, record.config.part
    doubled = "the text" if sweep == "n" else "a large width"
    what = "full attention" if part == "core" else "a block of full attention"
    full = [record.fit(v, "time").order for v in record.variants if v.mechanism == "full"]
    settled = next((order for order in full if order is not None), None)
    if settled is not None:
        return [f"In the long run, doubling {doubled} costs {what} {DOUBLED[settled]} the time."]
    work = DOUBLED["N" if (sweep, part) == ("d", "core") else "N^2"]
    return [f"By the formulas, doubling {doubled} costs {what} {work} the work in the long run."] if full else []


def matrix(record: ComplexityRecord) -> list[str]:
    """What the matrix takes, and what takes its place."""
    peaks = {v.kernel: record.of(v)[-1] for v in record.variants if v.mechanism == "full"}
    if "dense" not in peaks or record.config.part == "block":
        return []
    n = peaks["dense"].setting.n
    text = f"At N = {n:,} the matrix of attention weights takes {amount(4 * n * n)} a head"
    streaming = peaks.get("streaming")
    if streaming is not None and streaming.peak_bytes:
        text += f"; streaming, with every statistic, takes {amount(streaming.peak_bytes / streaming.setting.heads)}"
    size = 10 ** max(len(str(record.outgrows)) - 2, 0)  # two digits: what is free changes all the time
    outgrown = f"Dense scores and weights outgrow this machine's free memory at N = {record.outgrows // size * size:,}."
    return [f"{text}.", outgrown]


def amount(count: float) -> str:
    """Bytes as a person reads them."""
    for unit, name in ((1 << 30, "GiB"), (MIB, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:.0f} B"


def overtaking(record: ComplexityRecord) -> list[str]:
    """From which N on another mechanism is faster."""
    found = crossovers(record)
    if not found:
        return []
    told = ", ".join(f"{c.variant.label} from N = {c.at:.0f} on" for c in found)
    return [f"Faster than {found[0].against.label}: {told}."]


def time_tables(record: ComplexityRecord) -> list[Table]:
    """Median times, a row a size: full attention's kernels, then the other mechanisms."""
    groups = [[v for v in record.variants if (v.mechanism == "full") == full] for full in (True, False)]
    return [time_table(record, group) for group in groups if group]


def time_table(record: ComplexityRecord, variants: Sequence[Variant]) -> Table:
    """Some variants' times at every halving of the largest size."""
    sweep = record.config.sweep
    sizes = [getattr(setting, sweep) for setting in record.config.settings]
    rows: list[tuple[Cell, ...]] = []
    for size in octaves(sizes):
        at = sizes.index(size)
        rows.append((f"{size:,}", *(1e3 * record.of(v)[at].timing.median for v in variants)))
    kind = "Full attention" if variants[0].mechanism == "full" else "Other ways to mix tokens, and lookup tables"
    return Table(
        title=f"{kind}: milliseconds, medians of {repeats_of(record.config, variants[0])}",
        columns=("N" if sweep == "n" else "d", *(v.short for v in variants)),
        rows=rows,
    )


def largest_table(record: ComplexityRecord) -> Table:
    """The largest size: time with its scatter, speed and memory."""
    rows: list[tuple[Cell, ...]] = []
    for v in record.variants:
        point = record.of(v)[-1]
        time = Quantity(value=1e3 * point.timing.median, standard_error=1e3 * point.timing.mad)
        rows.append((v.label, time, point.gflops, share(record, point), mebibytes(point)))
    last = record.config.settings[-1]
    where = f"N = {last.n:,}" if record.config.sweep == "n" else f"d = {last.d:,}"
    return Table(
        title=f"At {where}",
        columns=("", "ms ± MAD", "GFLOP/s", "of the machine's", "peak MiB"),
        rows=rows,
        note=f"of the machine's: its own float32 matrix product does {record.matrix_product_gflops:.3g} GFLOP/s on "
        f"{threads(record)}, measured between the others; operations by formula; peak: beyond the inputs",
    )


def share(record: ComplexityRecord, point: Point) -> Cell:
    """Achieved speed as a share of the machine's own; None where that is not known: it was measured as less."""
    if point.gflops is None or point.gflops > record.matrix_product_gflops:
        return None
    return Quantity(value=100 * point.gflops / record.matrix_product_gflops, unit="%")


def mebibytes(point: Point) -> float | None:
    """The peak."""
    return None if point.peak_bytes is None else point.peak_bytes / MIB


def notes(record: ComplexityRecord) -> list[str]:
    """What else to know: whether memory is counted right, and what the tables are."""
    found = [f"Memory of the dense kernel: {record.memory_agreement}."] if record.memory_agreement else []
    if record.config.sweep == "n" and any(v.table is not None for v in record.variants):
        found.append(
            "A table is looked up N times among N keys. Its time per query also rises where the table outgrows a level "
            "of the processor's cache, which no count of steps knows about."
        )
    return [*found, *why_not(record), "Every size is in result.csv, every timing in points.jsonl."]
