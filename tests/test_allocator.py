"""Memory is kept while it is asked to be, and given back afterwards."""

import subprocess
import sys
from pathlib import Path

import pytest

from attnlab.measure import allocator
from attnlab.measure.allocator import memory_kept

SIZE = 96 << 20


def resident() -> int:
    """Bytes of this process in memory."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


#: In a process of its own: what earlier tests left free would be taken first.
KEPT = """
import numpy as np
from tests.test_allocator import SIZE, resident
from attnlab.measure.allocator import memory_kept
before = resident()
with memory_kept() as kept:
    np.ones(SIZE, dtype=np.uint8)
    during = resident()
after = resident()
np.ones(SIZE, dtype=np.uint8)
print(int(kept), during - before, after - before, resident() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_freed_memory_stays_until_the_end_of_the_block() -> None:
    root = Path(__file__).parents[1]
    said = subprocess.run([sys.executable, "-c", KEPT], cwd=root, capture_output=True, text=True, check=True).stdout
    kept, during, after, again = map(int, said.split())
    if not kept:
        pytest.skip("not glibc")
    assert during > 0.9 * SIZE
    assert after < 0.1 * SIZE
    assert again < 0.1 * SIZE  # as it was


def test_another_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_glibc", lambda: None)
    with memory_kept() as kept:
        assert not kept


class Library:
    """A C library that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, ...]] = []

    def mallopt(self, name: int, value: int) -> int:
        self.told.append((name, value))
        return 1

    def malloc_trim(self, pad: int) -> int:
        self.told.append((pad,))
        return 1


def test_what_is_set_back_is_what_the_manual_says_glibc_begins_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """mallopt(3): M_TRIM_THRESHOLD is −1 and begins with 128·1024, M_MMAP_MAX is −4 and begins with 65536."""
    library = Library()
    monkeypatch.setattr(allocator, "_glibc", lambda: library)
    with memory_kept() as kept:
        assert kept
        assert set(library.told) == {(-1, 2**31 - 1), (-4, 0)}  # no threshold that an int can say is larger
        library.told.clear()
    assert library.told == [(-1, 131_072), (-4, 65_536), (0,)]
