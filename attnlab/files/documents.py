"""Results as JSON and CSV: numbers are numbers, and what is not finite is null and says so."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from attnlab.maths.precision import Array


def json_bytes(document: Mapping[str, object]) -> bytes:
    """A JSON document, UTF-8: one line per key and per entry of a list of objects, so that a person can read it."""
    import json  # here: start-up, the habit of this wing

    def line(value: object) -> str:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)

    parts = []
    for key, value in plain_object(document).items():
        if isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
            entries = ",\n".join(f"  {line(entry)}" for entry in value)
            parts.append(f"{line(key)}: [\n{entries}\n]")
        else:
            parts.append(f"{line(key)}: {line(value)}")
    # A file name that is not UTF-8 holds surrogates: "\\udcff" is how JSON spells one.
    return ("{\n" + ",\n".join(parts) + "\n}\n").encode(errors="backslashreplace")


def plain_object(document: Mapping[str, object]) -> dict[str, object]:
    """The document in JSON's own types; a field that is NaN or infinite is null, with "<field>_flag" beside it."""
    result: dict[str, object] = {}
    for key, value in document.items():
        result[key] = plain(value)
        if isinstance(value, float | np.floating) and not math.isfinite(value):
            result[f"{key}_flag"] = "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return result


def plain(value: object) -> object:
    """A value in JSON's own types; a number that is not finite is null."""
    if isinstance(value, Mapping):
        return plain_object(value)
    if isinstance(value, np.ndarray):
        return plain(value.astype(np.float64).tolist() if value.dtype.kind == "V" else value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return value


def csv_bytes(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """A CSV table, UTF-8, with a header; None and what is not finite are empty cells."""
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([plain(cell) for cell in row] for row in rows)
    return text.getvalue().encode()


def npz_bytes(arrays: Mapping[str, Array]) -> bytes:
    """Arrays by name as an .npz; the same bytes for the same arrays. bfloat16, which .npy lacks, becomes float32."""
    import io

    stored = {name: array.astype(np.float32) if array.dtype.kind == "V" else array for name, array in arrays.items()}
    data = io.BytesIO()
    np.savez(data, **stored)  # type: ignore[arg-type]  # numpy before 2.2 would store allow_pickle too
    return data.getvalue()
