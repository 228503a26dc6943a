"""How long something takes."""

import time
from collections.abc import Callable


def fastest(work: Callable[[], object], repetitions: int) -> float:
    """The shortest of so many runs, in seconds: what a machine can do when nothing else disturbs it."""
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
