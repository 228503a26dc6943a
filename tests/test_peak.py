"""Peak memory: two counts of arrays of known size, what makes each of them blind, and what is said of it."""

import gc
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import attnlab
from attnlab.measure import peak
from attnlab.measure.peak import MIB, PeakBytes, agreement, peak_bytes, resident_peak, traced_peak

LINUX = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel's mark is Linux's")


def touched(mib: int) -> np.ndarray:
    return np.ones(mib * MIB, dtype=np.uint8)


def test_an_array_is_counted_to_the_kibibyte() -> None:
    counted, how = traced_peak(lambda: touched(7))
    assert how == "tracemalloc"
    assert counted == pytest.approx(7 * MIB, abs=4096)


def test_it_is_the_peak_and_not_the_sum_or_the_end() -> None:
    def work() -> None:
        for mib in (3, 9, 5):
            touched(mib)

    assert traced_peak(work)[0] == pytest.approx(9 * MIB, abs=4096)


def test_what_was_there_before_does_not_count() -> None:
    kept = touched(50)
    assert traced_peak(lambda: touched(4))[0] == pytest.approx(4 * MIB, abs=4096)
    assert kept.size


def test_tracing_ends_unless_it_was_on() -> None:
    traced_peak(lambda: None)
    assert not tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        assert traced_peak(lambda: touched(2))[0] == pytest.approx(2 * MIB, abs=4096)
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()


def test_tracing_ends_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError):
        traced_peak(lambda: 1 // 0)
    assert not tracemalloc.is_tracing()


@pytest.mark.parametrize(
    ("factor", "counted", "how"),
    [
        (2.0, 7 * MIB, "tracemalloc counts arrays 2 times over here: divided by 2"),
        (0.0, None, "tracemalloc counts 0.00 bytes for each one of an array, and is not believed"),
        (1.5, None, "tracemalloc counts 1.50 bytes for each one of an array, and is not believed"),
    ],
)
def test_a_count_that_is_off_is_found_out(
    factor: float, counted: int | None, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As numpy 2.5's development builds counted arrays twice."""
    honest = peak.traced_growth
    monkeypatch.setattr(peak, "traced_growth", lambda work: round(factor * honest(work)))
    found, said = traced_peak(lambda: touched(7))
    assert said == how
    assert found == (None if counted is None else pytest.approx(counted, abs=4096))


@LINUX
def test_the_kernel_sees_large_arrays() -> None:
    found, how = resident_peak(lambda: touched(64))
    assert how == "VmHWM"
    assert found == pytest.approx(64 * MIB, rel=0.05)


@LINUX
def test_an_earlier_peak_does_not_show() -> None:
    touched(200)
    assert resident_peak(lambda: touched(32))[0] == pytest.approx(32 * MIB, rel=0.1)


@LINUX
def test_little_cannot_be_seen() -> None:
    found, how = resident_peak(lambda: None)
    assert found is None
    assert how == "VmHWM rose by less than 2 MiB, which malloc may have had in hand"


def test_no_kernel_s_mark(tmp_path: Path) -> None:
    ran = list[int]()
    assert resident_peak(lambda: ran.append(1), tmp_path) == (None, "VmHWM cannot be read and reset here")
    assert ran
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "status").write_text("Name:\tx\nVmHWM:\t 120 kB\nVmRSS:\t 100 kB\n")
    assert peak.status_bytes(tmp_path, "VmRSS") == 100 * 1024
    assert resident_peak(lambda: None, tmp_path)[0] is None
    (tmp_path / "self" / "clear_refs").mkdir()
    assert not peak.reset_mark(tmp_path)


@LINUX
def test_dense_attention_by_formula_and_both_counts() -> None:
    """The matrix and the softmax's copy of it: 8 N² bytes, within 10 % of both; a formula of 4 N² is found out."""
    n = 2048
    q, k, v = (np.random.default_rng(i).standard_normal((n, 64), dtype=np.float32) for i in range(3))
    attnlab.attention(q, k, v)
    gc.collect()
    found = peak_bytes(lambda: attnlab.attention(q, k, v))
    assert agreement(8 * n * n, found).startswith("the formula, tracemalloc and VmHWM agree within ")
    assert "the formula says 5" in agreement(4 * n * n, found)
    assert found.note == "tracemalloc; VmHWM"


@pytest.mark.parametrize(
    ("traced", "resident", "said"),
    [
        (
            100,
            105,
            "the formula, tracemalloc and VmHWM agree within 5.0%: the formula 100 MiB, tracemalloc 100 MiB and ",
        ),
        (101, None, "the formula and tracemalloc agree within 1.0%: the formula 100 MiB and tracemalloc 101 MiB (why)"),
        (100, 150, "VmHWM is 50% above the other two: it counts whole pages, and what BLAS takes for itself"),
        (100, 60, "VmHWM is 40% below the other two: malloc handed out pages that it had kept"),
        (20, 100, "tracemalloc is 80% off the other two: it sees Python's and numpy's memory alone"),
        (200, 205, "the formula says 51% less than was measured: it is wrong here"),
        (50, None, "the formula says 100% more than was measured: it is wrong here (why)"),
        (50, 300, "all differ, so none is to be trusted"),
        (0, 0, "all differ, so none is to be trusted"),
        (None, None, "the formula says 100 MiB, and nothing could be measured beside it: why"),
    ],
)
def test_the_sentence_says_which_is_off(traced: int | None, resident: int | None, said: str) -> None:
    traced, resident = (size and size * MIB for size in (traced, resident))
    assert said in agreement(100 * MIB, PeakBytes(traced, resident, "why"))
