"""The memory that a piece of work takes at its peak, measured in two ways that err in different directions.

tracemalloc sees what Python and numpy allocate, to the byte, and nothing that OpenBLAS, numba or torch take for
themselves. The kernel's mark of the highest resident size (VmHWM, Linux) sees every page that is touched, but none that
malloc had kept and hands out again. What tracemalloc says is checked against an array of known size first: development
builds of numpy 2.5 counted arrays twice.
"""

import ctypes
import gc
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

Work = Callable[[], object]

#: Bytes of the array that tracemalloc's count is tried on.
PROBE = 1 << 20
#: Counts that differ by less agree.
AGREED = 0.10
#: VmHWM says nothing below this: the kernel counts pages in batches, and malloc has some in hand.
RESOLUTION = 2 << 20
MIB = 2**20
#: What the kernel takes for "forget the highest resident size" in clear_refs (proc(5)).
_RESET = b"5"


class PeakBytes(NamedTuple):
    """Bytes beyond those held when the work began, its result included."""

    #: by tracemalloc: what Python and numpy allocate; None where its self-check fails
    traced: int | None
    #: by VmHWM, the kernel's mark of the highest resident size; None where it cannot be seen
    resident: int | None
    #: how each was measured, or why it is None
    note: str


def peak_bytes(work: Work, proc: Path = Path("/proc")) -> PeakBytes:
    """The peaks of two runs of the work, one traced, one by the kernel's mark. Keep this pass apart from timing.

    What is made once only (a compiled kernel, a library's own memory) counts if the work was never run before.

    Args:
        proc: where the system says what processes take.
    """
    traced, how_traced = traced_peak(work)
    resident, how_resident = resident_peak(work, proc)
    return PeakBytes(traced, resident, f"{how_traced}; {how_resident}")


def traced_peak(work: Work) -> tuple[int | None, str]:
    """tracemalloc's peak less its start, and how it was found; None where it cannot count."""
    running = tracemalloc.is_tracing()
    if not running:
        tracemalloc.start()
    try:
        factor = traced_growth(lambda: np.empty(PROBE, dtype=np.uint8)) / PROBE
        counted = traced_growth(work)
    finally:
        if not running:
            tracemalloc.stop()
    times = max(round(factor), 1)
    if abs(factor / times - 1) > 0.05:
        return None, f"tracemalloc counts {factor:.2f} bytes for each one of an array, and is not believed"
    if times > 1:
        return counted // times, f"tracemalloc counts arrays {times} times over here: divided by {times}"
    return counted, "tracemalloc"


def traced_growth(work: Work) -> int:
    """How far the traced bytes rise while the work runs; something else is tracing already."""
    gc.collect()  # what is garbage now would make room for the work
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    work()
    return tracemalloc.get_traced_memory()[1] - before


def resident_peak(work: Work, proc: Path = Path("/proc")) -> tuple[int | None, str]:
    """VmHWM less the resident size at the start, and how it was found; None where it cannot be seen."""
    gc.collect()
    give_back_free_memory()
    before = status_bytes(proc, "VmRSS")
    if before is None or not reset_mark(proc):
        work()
        return None, "VmHWM cannot be read and reset here"
    work()
    highest = status_bytes(proc, "VmHWM")
    if highest is None or highest - before < RESOLUTION:
        return None, f"VmHWM rose by less than {RESOLUTION // MIB} MiB, which malloc may have had in hand"
    return highest - before, "VmHWM"


def status_bytes(proc: Path, field: str) -> int | None:
    """A size out of this process's status; None where there is none."""
    try:
        text = (proc / "self" / "status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    sizes = [line.split()[1] for line in text.splitlines() if line.startswith(f"{field}:")]
    return int(sizes[0]) * 1024 if sizes else None


def reset_mark(proc: Path) -> bool:
    """Set VmHWM back to the present resident size; False where that is not permitted, or there is no such file."""
    try:
        control = os.open(proc / "self" / "clear_refs", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.write(control, _RESET) == len(_RESET)
    except OSError:
        return False
    finally:
        os.close(control)


def give_back_free_memory() -> None:
    """Let glibc's malloc return to the system what it keeps: handed out again, VmHWM would not see it."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, or no way to ask
        return
    trim(0)


def agreement(predicted: int, peak: PeakBytes) -> str:
    """Whether formula, tracemalloc and VmHWM agree within 10 %, in a sentence; else which is off, and why.

    Args:
        predicted: the formula's bytes.
    """
    seen = {name: size for name, size in (("tracemalloc", peak.traced), ("VmHWM", peak.resident)) if size is not None}
    if not seen:
        return f"the formula says {_mib(predicted)}, and nothing could be measured beside it: {peak.note}"
    all_of_them = {"the formula": predicted, **seen}
    sizes = f"{_listed([f'{name} {_mib(size)}' for name, size in all_of_them.items()])}"
    off = {name: size / predicted - 1 for name, size in seen.items()}
    worst = max(map(abs, off.values()))
    unseen = "" if len(seen) == 2 else f" ({peak.note})"
    if worst <= AGREED:
        return f"{_listed([*all_of_them])} agree within {max(worst, 0.001):.1%}: {sizes}{unseen}"
    return f"{sizes}: {_blamed(predicted, peak, off)}{unseen}"


def _blamed(predicted: int, peak: PeakBytes, off: dict[str, float]) -> str:
    """Which of them is off, and why that happens."""
    wrong = [name for name, share in off.items() if abs(share) > AGREED]
    if wrong == ["VmHWM"]:
        way = "above" if off["VmHWM"] > 0 else "below"
        why = (
            "it counts whole pages, and what BLAS takes for itself"
            if off["VmHWM"] > 0
            else "malloc handed out pages that it had kept"
        )
        return f"VmHWM is {abs(off['VmHWM']):.0%} {way} the other two: {why}"
    if wrong == ["tracemalloc"] and "VmHWM" in off:
        return (
            f"tracemalloc is {abs(off['tracemalloc']):.0%} off the other two: it sees Python's and numpy's memory alone"
        )
    measured = [size for size in (peak.traced, peak.resident) if size is not None]
    if 0 < max(measured) <= (1 + AGREED) * min(measured):
        share = predicted / (sum(measured) / len(measured)) - 1
        return (
            f"the formula says {abs(share):.0%} {'less' if share < 0 else 'more'} than was measured: it is wrong here"
        )
    return "all differ, so none is to be trusted: memory this small is lost in what Python and malloc take"


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _mib(size: int) -> str:
    return f"{size / MIB:.3g} MiB"
