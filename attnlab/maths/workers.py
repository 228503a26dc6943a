"""Threads to hand work to, the caller's own among them: where it would wait for a result, it works on what is next.

So there are no more threads than cores: one more, that puts results together, would take the others' time.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import cache
from threading import Lock, get_ident
from typing import Any


class Task(Future[Any]):
    """A piece of work; the thread that the crew belongs to helps where it is not done yet."""

    def __init__(self, crew: "Crew", work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        super().__init__()
        self.crew, self.work, self.arguments = crew, work, arguments

    def run(self) -> None:
        """Do the work; whoever asks for its result is told of an error. An interrupt is not kept for them alone."""
        try:
            self.set_result(self.work(*self.arguments))
        except BaseException as error:
            self.set_exception(error)
            if not isinstance(error, Exception):
                raise

    def result(self, timeout: float | None = None) -> Any:
        """What the work gave; until it is there, the crew's owner does what is waiting."""
        while not self.done() and self.crew.helped():
            pass
        return super().result(timeout)


class Crew(Executor):
    """So many threads, that of whoever made it among them; work is begun in the order in which it was handed over.

    Work may wait for what was handed over before it. It then only waits, and does nothing else meanwhile: that could be
    what waits for itself.
    """

    def __init__(self, threads: int) -> None:
        self.owner, self.lock, self.helping = get_ident(), Lock(), False
        self.waiting, self.begun = deque[Task](), set[Task]()
        self.others = _others(threads - 1) if threads > 1 else None

    def submit(self, work: Callable[..., Any], /, *arguments: Any) -> Task:  # type: ignore[override]
        """Hand over a piece of work."""
        task = Task(self, work, arguments)
        self.waiting.append(task)
        if self.others is not None:
            self.others.submit(self._next)
        return task

    def helped(self) -> bool:
        """Do the next piece of work, if it is the owner who asks, not its work, and there is one; whether there was."""
        if get_ident() != self.owner or self.helping:
            return False
        self.helping = True
        try:
            return self._next()
        finally:
            self.helping = False

    def _next(self) -> bool:
        """Do the next piece of work; whether there was one."""
        task = None
        try:  # an interrupt at any place leaves nothing that `shutdown` would wait for
            with self.lock:
                if not self.waiting:
                    return False
                task = self.waiting.popleft()
                self.begun.add(task)
            task.run()
        finally:
            if task is not None:
                self.begun.discard(task)
        return True

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = True) -> None:
        """Let go of what has not begun, and wait for what has."""
        with self.lock:
            self.waiting.clear()
            begun = [*self.begun]
        for task in begun if wait else ():
            task.exception()


@cache
def _others(count: int) -> ThreadPoolExecutor:
    """So many threads, which stay for the next crew: a new one may begin on the core where its maker is at work."""
    return ThreadPoolExecutor(count)
