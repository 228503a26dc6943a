"""How long an experiment may be asked to go on: refused beforehand where nobody would wait for its end."""

from attnlab.errors import UsageError

#: Four hours: by then a mistake is likelier than a wish.
MOST_SECONDS = 4 * 3600.0


def refuse_endless(option: str, given: int, seconds: float) -> None:
    """Refuse so many of something where they would take longer than `MOST_SECONDS` on one core.

    Args:
        seconds: that each takes, about.

    Raises:
        UsageError: naming the largest number that would not.
    """
    if given * seconds > MOST_SECONDS:
        most = max(1, int(MOST_SECONDS / seconds))
        raise UsageError(
            f"{option} {given}; expected at most {most:,}: more would take over {MOST_SECONDS / 3600:.0f} hours"
        )
