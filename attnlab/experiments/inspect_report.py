"""What a person sees of a model: the table of layers and heads, then the heads worth a look, each with its number."""

from collections.abc import Sequence

from attnlab.experiments.inspect import InspectRecord, ModelFacts
from attnlab.experiments.inspect_findings import KINDS, HeadFinding, Kind, named, percent
from attnlab.experiments.inspect_pictures import SMALL, Shown, hidden_cells
from attnlab.experiments.inspect_words import (
    TITLES,
    head_in_words,
    layers_and_heads,
    rows_in_words,
    sinks_in_words,
    statistic_map,
    variance_in_words,
    why_undefined,
)
from attnlab.experiments.nonfinite import not_finite_in_words
from attnlab.experiments.run_report import counted
from attnlab.files.presets import DEFAULT, preset_names
from attnlab.models.keys import unused_in_words
from attnlab.records import Cell, Checks, Finding, Grid, Part, Report, Table

#: Lines of the table of findings; the rest is counted.
MOST_LINES = 8
#: Heads that a line about many of them names.
NAMED = 3


def report(record: InspectRecord) -> Report:
    """The report of an inspection."""
    broken = not_finite_in_words(record.not_finite, record.heads)
    parts: list[Part] = [Finding(text=broken)] if broken else []
    parts += [Finding(text=text, kind="note") for text in notes(record)]
    parts.append(statistic_part(record))
    if record.shown is not None:
        parts.append(shown_grid(record, record.shown))
        head = next(h for h in record.heads if (h.layer, h.head) == record.shown[:2])
        parts.append(Finding(text=head_in_words(record, head)))
    parts.append(findings_part(record))
    parts += [Finding(text=text) for text in [*rows_in_words(record), sinks_in_words(record)] if text]
    parts.append(Finding(text=variance_in_words(record)))
    return Report(heading=heading(record), parts=parts, checks=Checks(checks=record.checks), next=next_commands(record))


def next_commands(record: InspectRecord) -> list[str]:
    """What to try next of a configuration's blocks; a checkpoint's folder is not named again."""
    if record.model.family is not None or record.model.name not in preset_names():
        return []
    given = "" if record.model.name == DEFAULT else f" {record.model.name}"
    return [f"attnlab inspect{given} --weights", f"attnlab run{given}"]


def heading(record: InspectRecord) -> str:
    """The model and the text in one line."""
    return f"{model_in_words(record.model)} · {counted(record.n, 'token')}"


def model_in_words(model: ModelFacts) -> str:
    """A model's family and sizes."""
    shared = "" if model.kv_heads == model.heads else f" ({model.kv_heads} for keys and values)"
    shape = f"{counted(model.layers, 'layer')} × {counted(model.heads, 'head')} of {model.d_k}{shared}"
    name = model.name if model.family is None else f"{model.family} family"
    return f"{name} · {shape} · {large(model.parameters)} parameters"


def large(count: int) -> str:
    """22,713,216 as "22.7 M"."""
    for unit, word in ((10**9, "B"), (10**6, "M")):
        if count >= unit:
            return f"{count / unit:.1f} {word}"
    return f"{count:,}"


def notes(record: InspectRecord) -> list[str]:
    """What was done to the text, and how it was run."""
    said = []
    if record.text_tokens > record.n:
        said.append(f"The text has {record.text_tokens:,} tokens: cut to the {record.n:,} that the model is made for.")
    if record.remark:
        said.append(record.remark)
    if record.model.unused_settings:
        said.append(unused_in_words(record.model.unused_settings))
    if record.kernel.name == "streaming":
        pictures = f" Pictures show {SMALL} of the {record.n:,} queries." if record.n > SMALL else ""
        said.append(f"Streamed, {record.kernel.reason}: exact statistics, no matrix.{pictures}")
    return said


def statistic_part(record: InspectRecord) -> Part:
    """The statistic asked for, of every head."""
    title, why = TITLES[record.statistic], why_undefined(record, record.statistic)
    if why:
        return Finding(text=f"{title}: not defined here ({why}).")
    layers, heads = layers_and_heads(record)
    return Grid(
        title=title,
        values=statistic_map(record, record.statistic),
        row_labels=[f"layer {layer}" for layer in layers],
        column_labels=[str(head) for head in heads],
        row_axis="layers",
        column_axis="heads",
        quantity=record.statistic,
        numbers=True,
    )


def shown_grid(record: InspectRecord, shown: Shown) -> Grid:
    """The matrix of the head that is shown, or some queries of it on stretches of keys."""
    name, queries, keys = f"Head {shown.layer}.{shown.head}", len(shown.queries), len(shown.edges) - 1
    hidden = hidden_cells(record.specs[shown.layer], shown.queries, shown.queries, shown.edges)
    if shown.is_whole:
        return Grid(
            title=f"{name}: who attends to whom (a row looks at the columns; each row sums to 1)",
            values=shown.weights,
            hidden=hidden,
            row_labels=record.tokens,
            column_labels=record.tokens,
        )
    stretches = f"{keys} stretches of {record.n / keys:.0f} keys"
    return Grid(
        title=f"{name}: {queries} of {record.n:,} queries, their weight on {stretches} (each row sums to 1)",
        values=shown.weights,
        hidden=hidden,
        row_axis=f"query ({queries} of {record.n:,}, evenly apart)",
        column_axis="stretch of keys",
    )


def findings_part(record: InspectRecord) -> Part:
    """The heads worth a look, kind by kind; at most about a dozen lines, the rest counted."""
    if not record.findings and record.not_finite is not None:
        return Finding(text="Of heads that are not finite in every row nothing more can be said.")
    if not record.findings:
        return Finding(text="No head stands out: no sink, none saturated, collapsed, uniform or like another.")
    of_kind = {kind: [one for one in record.findings if one.kind == kind.name] for kind in KINDS}
    present = {kind: found for kind, found in of_kind.items() if found}
    most = lines_each([len(by_key(found) or found) for found in present.values()])
    rows = [row for kind, found in present.items() for row in kind_rows(kind, found, most, record.tokens)]
    note = "" if all(len(found) <= most for found in present.values()) else "the rest: result.json"
    return Table(title="Heads worth a look", columns=("head", "", ""), rows=rows, note=note)


def lines_each(counts: Sequence[int]) -> int:
    """How many findings of each kind may stand so that all, with a line for the rest of each, are MOST_LINES."""
    most = max(counts)
    while most > 1 and sum(min(count, most) + (count > most) for count in counts) > MOST_LINES:
        most -= 1
    return most


def by_key(found: Sequence[HeadFinding]) -> dict[int, list[HeadFinding]]:
    """Findings about a key by that key, those of most heads first; none of other kinds."""
    keys: dict[int, list[HeadFinding]] = {}
    for one in found:
        if one.key is not None:
            keys.setdefault(one.key, []).append(one)
    return dict(sorted(keys.items(), key=lambda item: (-len(item[1]), item[0])))


def key_row(kind: Kind, key: int, found: Sequence[HeadFinding], tokens: Sequence[str]) -> tuple[Cell, ...]:
    """All heads for which a key is one of that kind, in one line: the strongest are named."""
    if len(found) == 1:
        return (f"{found[0].layer}.{found[0].head}", kind.words, found[0].short)
    least, largest = min(one.value for one in found), max(one.value for one in found)
    names = ", ".join(f"{one.layer}.{one.head}" for one in found[:NAMED]) + (", …" if len(found) > NAMED else "")
    much = percent(largest) if percent(least) == percent(largest) else f"{percent(least)[:-2]} to {percent(largest)}"
    return (counted(len(found), "head"), kind.words, f"{much} on {named(tokens, key)}: {names}")


def kind_rows(kind: Kind, found: Sequence[HeadFinding], most: int, tokens: Sequence[str]) -> list[tuple[Cell, ...]]:
    """The first findings of one kind, and how many more there are; of those about keys a line for each key."""
    rows: list[tuple[Cell, ...]] = []
    if keys := by_key(found):
        rows += [key_row(kind, key, own, tokens) for key, own in list(keys.items())[:most]]
        if len(keys) > most:
            rows.append(("", kind.words, f"and {len(keys) - most} more keys"))
        return rows
    for one in found[:most]:
        head = f"{one.layer}.{one.head}" + ("" if one.other is None else f", {one.layer}.{one.other}")
        rows.append((head, kind.words, one.short))
    if len(found) > most:
        rows.append(("", kind.words, f"and {len(found) - most} more"))
    return rows
