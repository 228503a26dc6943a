"""How much memory may be used: what the machine has free, or its control group or the process's limit leaves."""

import os
from pathlib import Path


def available_bytes(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that can be taken without pushing anything else out."""
    return min([machine_bytes(proc), *cgroup_bytes(proc, cgroups), *limit_bytes(proc)])


def machine_bytes(proc: Path) -> int:
    """MemAvailable on Linux; elsewhere half of the physical memory, since nothing portable says what is free."""
    for line in _lines(proc / "meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def cgroup_bytes(proc: Path, cgroups: Path) -> list[int]:
    """What each control group that this process is in leaves of its limit: version 2's, then version 1's files."""
    left = []
    for line in _lines(proc / "self" / "cgroup"):
        _, controllers, path = line.split(":", 2)
        folder = cgroups / (path.strip("/") if not controllers else f"memory{path}")
        names = ("memory.max", "memory.current") if not controllers else _VERSION_1
        if controllers and "memory" not in controllers.split(","):
            continue
        while folder != cgroups.parent:
            limit, used = (_number(folder / name) for name in names)
            if limit is not None and used is not None:
                left.append(max(0, limit - used))
            folder = folder.parent
    return left


def limit_bytes(proc: Path) -> list[int]:
    """What the limit of the process's address space (`ulimit -v`) leaves, where there is one."""
    try:
        import resource
    except ImportError:  # Windows
        return []
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = " ".join(_lines(proc / "self" / "statm")).split()
    if limit == resource.RLIM_INFINITY or not pages:
        return []
    return [max(0, limit - int(pages[0]) * os.sysconf("SC_PAGE_SIZE"))]


_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []


def _number(path: Path) -> int | None:
    """The whole number in a file; None for "max" (no limit) or no file."""
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdigit() else None
