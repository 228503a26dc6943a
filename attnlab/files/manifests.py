"""run.json of an earlier run, read back: what it was asked to do, so that it can be taken up again."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attnlab.errors import InputError, UsageError
from attnlab.files.opening import as_text, open_regular, quoted, shown
from attnlab.files.runs import SCHEMA


def read_manifest(folder: Path, command: str) -> Mapping[str, Any]:
    """What FOLDER/run.json says of a run of this command that is not complete.

    Raises:
        UsageError: there is none, it is of another command, or its run is complete.
        InputError: it cannot be read.
    """
    path = folder / "run.json"
    if not os.path.exists(path):  # as Path.exists, and False for a name that is too long
        raise UsageError(f"--resume {shown(folder)}: no run.json; expected the directory of an earlier run")
    with open_regular(path) as file:
        data = file.read()
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{shown(path)}: no JSON: {error}; expected what a run has written") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise InputError(f"{shown(path)}: no schema {SCHEMA}; expected what a run has written")
    words = document.get("command_line")
    ran = words[1] if isinstance(words, list) and len(words) > 1 else "nothing"
    if ran != command:
        raise UsageError(f"--resume {shown(folder)}: a run of {quoted(as_text(ran))[1:-1]}; expected one of {command}")
    if document.get("status") == "complete":
        raise UsageError(f"--resume {shown(folder)}: the run is complete; there is nothing to take up")
    return document
