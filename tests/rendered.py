"""What a report looks like on a terminal."""

import io

from attnlab.records import Part, Report
from attnlab.show.terminal import console, render


def shown(made: Report, width: int = 80, *, details: bool = False) -> list[str]:
    """Its lines, without colour."""
    stream = io.StringIO()
    render(made, console(stream=stream, colour=False, width=width), details=details)
    return stream.getvalue().splitlines()


def told(made: Report, *, details: bool = True) -> str:
    """Its text with the lines joined."""
    return " ".join(" ".join(shown(made, details=details)).split())


def whole(made: Report) -> list[Part]:
    """All of its parts, the details last."""
    return [*made.parts, *made.details]
