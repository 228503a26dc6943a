"""Work handed to a crew: done in turn, by as many threads as were asked for, and nothing is left behind."""

import threading
import time
from collections import deque
from concurrent.futures import wait

import pytest

from attnlab.maths.workers import Crew, Task
from tests.patience import PATIENCE


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_each_result_is_that_of_its_own_work(threads: int) -> None:
    with Crew(threads) as crew:
        tasks = [crew.submit(lambda n: n * n, n) for n in range(50)]
        assert [task.result() for task in reversed(tasks)] == [n * n for n in reversed(range(50))]
        assert list(crew.map(str, range(20))) == [str(n) for n in range(20)]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_so_many_threads_work_and_the_caller_is_one(threads: int) -> None:
    """As many begin before one of them ends; and no more, since the next come only when all of these have ended."""
    together, names = threading.Barrier(threads), set[int]()

    def work() -> None:
        together.wait(PATIENCE)
        names.add(threading.get_ident())
        together.wait(PATIENCE)

    with Crew(threads) as crew:
        for task in [crew.submit(work) for _ in range(12)]:
            task.result()
    assert len(names) == threads
    assert threading.get_ident() in names


def test_work_is_begun_in_order() -> None:
    begun: list[int] = []
    with Crew(1) as crew:
        tasks = [crew.submit(begun.append, n) for n in range(10)]
        tasks[4].result()
        assert begun == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_is_told_to_whoever_asks(threads: int) -> None:
    with Crew(threads) as crew:
        wrong, right = crew.submit(int, "x"), crew.submit(int, "7")
        assert right.result() == 7
        with pytest.raises(ValueError, match="invalid literal"):
            wrong.result()


def test_an_interrupt_ends_the_caller_at_once() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    done: list[int] = []
    with Crew(1) as crew:
        crew.submit(interrupted)
        last = crew.submit(done.append, 1)
        with pytest.raises(KeyboardInterrupt):
            last.result()
    assert done == []


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_work_may_wait_for_what_was_handed_over_before(threads: int) -> None:
    """As panels wait for what their head shares, and that for what a head before it shares."""

    def shared(before: Task | None) -> int:
        place = 1 if before is None else before.result() + 1
        time.sleep(0.005)  # so that the others come to wait; that they need not is no fault
        return int(place)

    def panels() -> None:
        with Crew(threads) as crew:
            heads: list[Task] = []
            for _ in range(20):
                heads.append(crew.submit(shared, heads[-1] if heads else None))
            found.extend(panel.result() for panel in [crew.submit(head.result) for head in heads])

    found: list[int] = []
    caller = threading.Thread(target=panels, daemon=True)
    caller.start()
    caller.join(PATIENCE)
    assert found == list(range(1, 21))


def test_the_end_waits_for_what_has_begun_and_leaves_the_rest() -> None:
    started, ending, done = threading.Event(), threading.Event(), list[str]()

    class Ending(deque[Task]):
        """Work that waits, and tells when it is let go of."""

        def clear(self) -> None:
            super().clear()
            ending.set()

    def slow() -> None:
        started.set()
        assert ending.wait(PATIENCE)
        done.append("begun")

    with Crew(2) as crew:
        crew.waiting = Ending()
        crew.submit(slow)
        for _ in range(5):
            crew.submit(done.append, "left")
        assert started.wait(PATIENCE)
    assert done == ["begun"]


def test_two_callers_do_not_wait_for_each_other_for_ever() -> None:
    results: list[int] = []

    def caller() -> None:
        with Crew(2) as crew:
            tasks = [crew.submit(lambda n: n + 1, n) for n in range(200)]
            results.append(sum(task.result() for task in tasks))

    callers = [threading.Thread(target=caller) for _ in range(4)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(PATIENCE)
    assert results == [sum(range(1, 201))] * 4


def test_a_task_is_a_future() -> None:
    with Crew(2) as crew:
        tasks = [crew.submit(pow, 2, n) for n in range(8)]
        finished, waiting = wait(tasks[:1], timeout=PATIENCE)
    assert (len(finished), len(waiting)) == (1, 0)
