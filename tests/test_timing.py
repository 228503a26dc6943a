"""Timing: rounds, calls, what is kept, on a clock that only the works move; and what is said of a noisy machine."""

import functools
import gc
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from attnlab.measure.timing import (
    PIECES,
    REFERENCE,
    RETAKES,
    SAMPLE_SECONDS,
    Task,
    Timing,
    calibrated,
    elapsed,
    noisy,
    product_speed,
    reference_task,
    sample,
    thread_clock,
    time_interleaved,
)

SECOND = 10**9


class FakeClock:
    """Nanoseconds that pass when a work says so."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def work(self, seconds: float, calls: list[str] | None = None, name: str = "") -> Callable[[], None]:
        def run() -> None:
            self.now += round(seconds * SECOND)
            if calls is not None:
                calls.append(name)

        return run


@pytest.mark.parametrize(("seconds", "calls"), [(1e-6, 2000), (1e-4, 20), (0.0015, 2), (0.005, 1), (0.5, 1)])
def test_a_sample_is_long_enough(seconds: float, calls: int) -> None:
    clock = FakeClock()
    work = clock.work(seconds)
    assert calibrated(work, clock) == calls
    assert PIECES * calls * seconds >= 0.999 * SAMPLE_SECONDS
    assert sample(work, calls, clock) == pytest.approx(seconds)


def test_slow_work_warms_up_once() -> None:
    clock, called = FakeClock(), list[str]()
    time_interleaved([Task("slow", lambda: clock.work(0.5, called, "slow"))], repeats=7, clock=clock)
    assert len(called) == 1 + 7


def test_a_slow_first_call_does_not_make_quick_work_slow() -> None:
    """A compiler, say: 0.1 s once, then 0.1 ms."""
    clock, first = FakeClock(), [True]

    def work() -> None:
        clock.now += SECOND // 10 if first else SECOND // 10_000
        first.clear()

    timing = time_interleaved([Task("compiled", lambda: work)], clock=clock)["compiled"]
    assert timing.samples == pytest.approx([1e-4] * 7)


def test_every_round_visits_all_in_an_order_of_its_own() -> None:
    names = [f"task {i}" for i in range(8)]
    orders = []
    for seed in (0, 0, 1):
        clock, sampled = FakeClock(), list[str]()
        tasks = [Task(name, functools.partial(clock.work, 0.05)) for name in names]
        time_interleaved(tasks, seed=seed, on_sample=lambda key, *_, into=sampled: into.append(key), clock=clock)
        orders.append(sampled)
        rounds = [tuple(sampled[i : i + 8]) for i in range(0, len(sampled), 8)]
        assert len(rounds) == 7
        assert all(sorted(one) == names for one in rounds)
        assert len({*rounds}) > 5
    assert orders[0] == orders[1] != orders[2]


def test_what_was_done_is_not_done_again() -> None:
    clock, called, told, steps = FakeClock(), list[str](), [], []
    tasks = [Task(name, functools.partial(clock.work, 0.1, called, name)) for name in "abc"]
    found = time_interleaved(
        tasks,
        repeats=7,
        done={"a": [0.3] * 7, "b": [0.3] * 5, "gone": [1.0]},
        on_sample=lambda *sample: told.append(sample),
        advance=lambda: steps.append(1),
        clock=clock,
    )
    assert found["a"] == Timing((0.3,) * 7, 0)
    assert found["b"].samples == pytest.approx((0.3,) * 5 + (0.1,) * 2)
    assert Counter(called) == {"b": 1 + 2, "c": 1 + 7}
    assert Counter(key for key, _, _ in told) == {"b": 2, "c": 7}
    assert [seconds for _, seconds, _ in told] == pytest.approx([0.1] * 9)
    assert {calls for _, _, calls in told} == {1}
    assert len(steps) == 9
    assert list(found) == ["a", "b", "c"]


def test_a_sample_is_told_of_at_once() -> None:
    clock, told = FakeClock(), list[str]()

    def interrupted() -> None:
        clock.now += SECOND
        if len(told) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        time_interleaved([Task("x", lambda: interrupted)], on_sample=lambda key, *_: told.append(key), clock=clock)
    assert told == ["x"] * 3


def test_inputs_are_kept_as_long_as_they_fit() -> None:
    clock, made = FakeClock(), list[str]()

    def task(name: str, size: int) -> Task:
        def prepare() -> Callable[[], None]:
            made.append(name)
            return clock.work(0.1)

        return Task(name, prepare, size)

    time_interleaved([task("small", 10), task("large", 200)], repeats=3, keep_bytes=100, clock=clock)
    assert Counter(made) == {"small": 1, "large": 3}


class TestCollector:
    def test_is_off_in_a_sample_and_on_afterwards(self) -> None:
        seen = list[bool]()
        elapsed(lambda: seen.append(gc.isenabled()), 3)
        assert seen == [False] * 3
        assert gc.isenabled()

    def test_is_on_after_an_error(self) -> None:
        with pytest.raises(ZeroDivisionError):
            elapsed(lambda: 1 // 0, 1)
        assert gc.isenabled()

    def test_stays_off_where_it_was_off(self) -> None:
        gc.disable()
        try:
            elapsed(lambda: None, 1)
            assert not gc.isenabled()
        finally:
            gc.enable()


def test_a_timing_in_numbers() -> None:
    timing = Timing((5.0, 1.0, 3.0, 2.0, 100.0), 4)
    assert (timing.minimum, timing.median, timing.mad) == (1.0, 3.0, 2.0)


class TestNoise:
    def steady(self, scatter: float, seed: int = 0) -> Timing:
        draw = np.random.default_rng(seed)
        return Timing(tuple(np.exp(scatter * draw.standard_normal(7)).tolist()), 1)

    def test_a_quiet_machine(self) -> None:
        timings = {str(i): self.steady(0.02, i) for i in range(20)}
        assert noisy({**timings, REFERENCE: self.steady(0.02, 99)}) is None
        assert noisy({}) is None

    def test_one_bad_task_is_no_noise(self) -> None:
        assert noisy({**{str(i): self.steady(0.02, i) for i in range(20)}, "bad": self.steady(1.0)}) is None

    def test_scatter(self) -> None:
        said = noisy({str(i): self.steady(0.2, i) for i in range(20)})
        assert said is not None
        assert said.startswith("the machine is noisy: half of the timings scatter by 1")

    @pytest.mark.parametrize(("late", "way"), [(1.4, "slower"), (0.7, "faster")])
    def test_drift(self, late: float, way: str) -> None:
        drifting = Timing((0.03,) * 3 + (0.03 * math.sqrt(late),) + (0.03 * late,) * 3, 1)
        said = noisy({"x": self.steady(0.01), "y": self.steady(0.01, 1), REFERENCE: drifting})
        assert said is not None
        assert f"the machine grew {way} while it was timed: a fixed matrix product took 30 ms at first" in said


def test_this_machine_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock of its own process, which stands still while others work."""
    timing = time_interleaved([reference_task()], repeats=1, clock=time.process_time_ns)[REFERENCE]
    assert 0.1 < product_speed(timing) < 1e5
    product = reference_task().prepare()()
    assert isinstance(product, np.ndarray)
    assert product.dtype == np.float32


class TestDisturbance:
    """A core that others take: the thread's own time goes on as it was, and the wall's does not."""

    def walls(self, monkeypatch: pytest.MonkeyPatch, busy: Sequence[float]) -> list[int]:
        """Pieces of 2 ms of work, the first ones each beside so many milliseconds of others' work."""
        now, own, taken = [0], [0], list[int]()

        def run() -> None:
            own[0] += 2_000_000
            now[0] += 2_000_000 + round(1e6 * (busy[len(taken)] if len(taken) < len(busy) else 0.0))
            taken.append(len(taken))

        monkeypatch.setattr(time, "thread_time_ns", lambda: own[0])
        monkeypatch.setattr(time, "perf_counter_ns", lambda: now[0])
        self.work = run
        return taken

    def test_a_disturbed_piece_is_not_the_least_of_a_sample(self, monkeypatch: pytest.MonkeyPatch) -> None:
        taken = self.walls(monkeypatch, [0, 5, 0])
        assert sample(self.work, 1, time.thread_time_ns) == pytest.approx(0.002)
        assert len(taken) == 1 + PIECES

    def test_pieces_are_taken_again_where_all_were_disturbed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        taken = self.walls(monkeypatch, [1.0] * (1 + PIECES + 1))
        assert sample(self.work, 1, time.thread_time_ns) == pytest.approx(0.002)
        assert len(taken) == 1 + PIECES + 2

    def test_but_not_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        taken = self.walls(monkeypatch, [1.0] * 99)
        assert sample(self.work, 1, time.thread_time_ns) == pytest.approx(0.002)
        assert len(taken) == 1 + PIECES + RETAKES

    @pytest.mark.parametrize(("resolution", "own"), [(1e-9, True), (1e-2, False)])
    def test_a_coarse_clock_is_not_taken(self, resolution: float, own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        told = SimpleNamespace(resolution=resolution)
        monkeypatch.setattr(time, "get_clock_info", lambda name: told)
        assert (thread_clock() is time.thread_time_ns) is own
