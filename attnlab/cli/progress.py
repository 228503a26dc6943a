"""How far a long piece of work is: a line on stderr, in a terminal only, and only once a second has passed."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: Work shorter than this says nothing, in seconds.
PATIENCE = 1.0
WIDTH = 24


class Progress:
    """A bar that fills as `advance` is called."""

    def __init__(self, label: str, total: int, *, visible: bool) -> None:
        self.label, self.total, self.done = label, total, 0
        self.visible = visible and sys.stderr.isatty()
        self.started = time.monotonic()
        self.drawn = False

    def advance(self) -> None:
        """One more of the total is done."""
        self.done += 1
        elapsed = time.monotonic() - self.started
        if not self.visible or elapsed < PATIENCE:
            return
        filled = WIDTH * self.done // self.total
        left = elapsed / self.done * (self.total - self.done)
        bar = "#" * filled + "." * (WIDTH - filled)
        self._say(f"{self.label} [{bar}] {self.done}/{self.total}, {left:.0f} s left")
        self.drawn = True

    def extend(self, count: int) -> None:
        """There is so much more to do."""
        self.total += count

    def name(self, label: str) -> None:
        """Say what is under way from here on."""
        self.label = label

    def clear(self) -> None:
        """Take the bar away."""
        if self.drawn:
            self._say("")

    def _say(self, text: str) -> None:
        with suppress(OSError):  # a terminal that went away: whatever ends the work then is what is told
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()


@contextmanager
def progress(label: str, total: int, *, visible: bool) -> Iterator[Progress]:
    """A bar for the time of a `with` block."""
    bar = Progress(label, total, visible=visible)
    try:
        yield bar
    finally:
        bar.clear()
