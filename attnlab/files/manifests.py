"""run.json of an earlier run, read back: what it was asked to do, so that it can be taken up again."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attnlab.errors import UsageError
from attnlab.files.fields import TEXT, Kind, one_of, require, several, spelt
from attnlab.files.opening import quoted, read_json, shown
from attnlab.files.runs import COMPLETE, SCHEMA, STATUSES

#: What every run.json holds, besides what is its command's.
FIELDS: Mapping[str, Kind] = {
    "schema": one_of([SCHEMA]),
    "status": one_of(STATUSES),
    "started": spelt(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", "2026-01-31T12:00:00+00:00"),
    "command_line": several(TEXT),
}


def read_manifest(folder: Path, command: str, *, max_bytes: int) -> Mapping[str, Any]:
    """What FOLDER/run.json says of a run of this command that is not complete.

    Args:
        max_bytes: the most that it may take.

    Raises:
        UsageError: there is none, it is of another command, or its run is complete.
        InputError: it cannot be read, or holds something else than a run writes.
        MemoryRefused: it is too large.
    """
    path = folder / "run.json"
    if not os.path.lexists(path):
        raise UsageError(f"--resume {shown(folder)}: no run.json; expected the directory of an earlier run")
    document = require(read_json(path, max_bytes=max_bytes, follow=False), FIELDS, shown(path), others=True)
    ran = " ".join(document["command_line"][1:2]) or "nothing"
    if ran != command:
        raise UsageError(f"--resume {shown(folder)}: a run of {quoted(ran)[1:-1]}; expected one of {command}")
    if document["status"] == COMPLETE:
        raise UsageError(f"--resume {shown(folder)}: the run is complete; there is nothing to take up")
    return document
