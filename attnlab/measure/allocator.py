"""Memory that a process keeps for itself, so that timings are of the work and not of the system's handing out pages."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: glibc's names for what is set (mallopt(3)), and the values that it begins with.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_DEFAULT = {_TRIM_THRESHOLD: 128 << 10, _MMAP_MAX: 65536}
_KEPT = {_TRIM_THRESHOLD: 2**31 - 1, _MMAP_MAX: 0}


@contextmanager
def memory_kept() -> Iterator[bool]:
    """Freed memory stays with the process until the end of the block; False where the C library cannot be told to.

    A fresh page costs a fault and is zeroed, and large arrays are made of fresh pages at every call: in a virtual
    machine that takes longer than the work, from the size on at which malloc asks the system each time (32 MiB).

    Source: mallopt(3).
    """
    library = _glibc()
    if library is None:
        yield False
        return
    _set(library, _KEPT)
    try:
        yield True
    finally:
        _set(library, _DEFAULT)
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "gnu_get_libc_version") else None


def _set(library: ctypes.CDLL, values: dict[int, int]) -> None:
    for name, value in values.items():
        library.mallopt(name, value)
