"""Memory is kept while it is asked to be, and given back afterwards."""

import sys
from pathlib import Path

import numpy as np
import pytest

from attnlab.measure import allocator
from attnlab.measure.allocator import memory_kept

SIZE = 384 << 20


def resident() -> int:
    """Bytes of this process in memory."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_freed_memory_stays_until_the_end_of_the_block() -> None:
    before = resident()
    with memory_kept() as kept:
        np.ones(SIZE, dtype=np.uint8)
        during = resident()
    after = resident()
    if not kept:
        pytest.skip("not glibc")
    assert during - before > 0.7 * SIZE  # what earlier work left free is taken first
    assert after - before < 0.1 * SIZE
    np.ones(SIZE, dtype=np.uint8)
    assert resident() - before < 0.1 * SIZE  # as it was


def test_another_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_glibc", lambda: None)
    with memory_kept() as kept:
        assert not kept
