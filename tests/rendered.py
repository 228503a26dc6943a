"""What a report looks like on a terminal."""

import io

from attnlab.records import Report
from attnlab.show.terminal import console, render


def shown(made: Report, width: int = 80) -> list[str]:
    """Its lines, without colour."""
    stream = io.StringIO()
    render(made, console(stream=stream, colour=False, width=width))
    return stream.getvalue().splitlines()


def told(made: Report) -> str:
    """Its text with the lines joined."""
    return " ".join(" ".join(shown(made)).split())
