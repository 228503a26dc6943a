"""Threads to hand work to, or none where one is enough."""

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any


class Inline(Executor):
    """One worker that needs no thread: what is handed to it is done at once."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any) -> Future[Any]:  # type: ignore[override]
        """Do the work; its result, or its error, is in the future."""
        future: Future[Any] = Future()
        try:
            future.set_result(work(*arguments))
        except Exception as error:  # whoever asks for the result is told, as from a thread
            future.set_exception(error)
        return future


def workers(threads: int) -> Executor:
    """So many threads to hand work to; a single one is the caller's own, which small work need not start."""
    return ThreadPoolExecutor(threads) if threads > 1 else Inline()
