"""The errors a person may meet. Each carries the exit code that the command line ends with.

The text of an error is one line: where: what was given; what was expected, and who set it.
"""

from collections.abc import Sequence


class AttnlabError(Exception):
    """Something that the person at the keyboard can put right."""

    exit_code = 1

    @property
    def lines(self) -> Sequence[str]:
        """What is said of it, line by line: one, whatever characters it holds, but for several mistakes at once."""
        return [str(self)]


class ShapeError(AttnlabError, ValueError):
    """Arrays whose shapes or types do not go together. The text names both, and who set them."""

    exit_code = 3


class UsageError(AttnlabError, ValueError):
    """The command line asks for something that cannot be."""

    exit_code = 2


#: So many mistakes of one configuration are listed, and the others counted.
MOST_LISTED = 20
#: The source of a `ConfigError` about what options of the command line say.
COMMAND_LINE = "the command line"


class ConfigError(AttnlabError, ValueError):
    """A configuration that is wrong or not found.

    Args:
        complaints: one line per mistake, each beginning with its place.
        source: the file or name the configuration came from; heads the list when there are several.
    """

    exit_code = 2

    def __init__(self, *complaints: str, source: str = "config") -> None:
        self.complaints, self.source = complaints, source
        super().__init__("\n".join(self.lines))

    @property
    def lines(self) -> Sequence[str]:
        """The one mistake, or a heading and a line for each."""
        if len(self.complaints) == 1:
            return self.complaints
        more = len(self.complaints) - MOST_LISTED
        rest = [f"… and {more:,} more; expected none"] if more > 0 else []
        return [f"{self.source}: {len(self.complaints)} mistakes", *self.complaints[:MOST_LISTED], *rest]

    def said_of(self, command: str) -> "ConfigError":
        """The same, said to come from a command where what is wrong stands on the command line and in no file."""
        if self.source != COMMAND_LINE:
            return self
        several = len(self.complaints) > 1
        return ConfigError(*self.complaints if several else (f"{command}: {self}",), source=command)


class InputError(AttnlabError, ValueError):
    """An input file that is missing, unreadable, invalid, or does not fit the configuration."""

    exit_code = 3


class MemoryRefused(AttnlabError):
    """Work that would need more memory than may be used; says how much, and what avoids it."""

    exit_code = 4


class WriteError(AttnlabError):
    """A result that could not be written."""

    exit_code = 5
