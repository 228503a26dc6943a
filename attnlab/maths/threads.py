"""How many threads there are to work with, and how to keep matrix products off them."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

#: Multiply-adds below which a matrix product is not worth a second thread.
SMALL = 100_000_000


def usable_cores() -> int:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def single_threaded_products() -> Iterator[None]:
    """Matrix products on one thread each, until the end of the block.

    Threads that wait for each other over small products take a hundred times as long as one does when the cores are
    busy with something else, and their number would show in the last digits.
    """
    with _products().limit(limits=1, user_api="blas"):
        yield


@cache
def _products() -> Any:
    """What can limit the threads of numpy's products: found once, since every library of the process is looked at."""
    from threadpoolctl import ThreadpoolController  # here: it loads ctypes

    return ThreadpoolController()


def threads_for(multiply_adds: int) -> AbstractContextManager[None]:
    """For a `with` block whose largest matrix product takes so many multiply-adds: one thread if that is little."""
    return single_threaded_products() if multiply_adds < SMALL else nullcontext()
