"""What may be used, read from fake /proc and control groups, and what a run takes, against what it is seen to take."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from attnlab.experiments.run import Selection, run, run_qkv
from attnlab.files.config import load_config
from attnlab.files.embeddings import QKV
from attnlab.files.stacks import UNBOUNDED, load_bench, run_bytes
from attnlab.measure.memory import available_bytes, cgroup_bytes, machine_bytes
from attnlab.theory.memory import dense_bytes, matrix_bytes

GIB = 2**30


def tree(folder: Path, files: dict[str, object]) -> tuple[Path, Path]:
    """A fake /proc and /sys/fs/cgroup of these files; names are relative to the folder that holds both."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n", encoding="ascii")
    return folder / "proc", folder / "cgroup"


MEMINFO = "MemTotal:  16777216 kB\nMemFree:  1048576 kB\nMemAvailable:  8388608 kB\nBuffers:  3 kB"


class TestTheMachine:
    def test_what_linux_calls_available(self, tmp_path: Path) -> None:
        proc, cgroups = tree(tmp_path, {"proc/meminfo": MEMINFO})
        assert machine_bytes(proc) == available_bytes(proc, cgroups) == 8 * GIB

    def test_elsewhere_half_of_what_there_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1024}.__getitem__)
        assert machine_bytes(tmp_path / "none") == 4096 * 1024 // 2

    def test_of_this_test(self) -> None:
        assert 0 < available_bytes() < 2**60


class TestControlGroups:
    def test_version_2(self, tmp_path: Path) -> None:
        proc, cgroups = tree(
            tmp_path,
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "0::/user/job",
                "cgroup/user/job/memory.max": 3 * GIB,
                "cgroup/user/job/memory.current": GIB,
            },
        )
        assert cgroup_bytes(proc, cgroups) == [2 * GIB]
        assert available_bytes(proc, cgroups) == 2 * GIB

    def test_a_group_above_may_leave_less(self, tmp_path: Path) -> None:
        proc, cgroups = tree(
            tmp_path,
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "0::/user/job",
                "cgroup/user/job/memory.max": "max",
                "cgroup/user/job/memory.current": GIB,
                "cgroup/user/memory.max": 4 * GIB,
                "cgroup/user/memory.current": 5 * GIB // 2,
                "cgroup/memory.max": 6 * GIB,
                "cgroup/memory.current": GIB,
            },
        )
        assert cgroup_bytes(proc, cgroups) == [3 * GIB // 2, 5 * GIB]
        assert available_bytes(proc, cgroups) == 3 * GIB // 2

    def test_the_root_group_of_a_container(self, tmp_path: Path) -> None:
        files = {"proc/self/cgroup": "0::/", "cgroup/memory.max": GIB, "cgroup/memory.current": 2 * GIB}
        assert cgroup_bytes(*tree(tmp_path, {**files})) == [0]  # over its limit: nothing is left, and not less

    def test_version_1(self, tmp_path: Path) -> None:
        proc, cgroups = tree(
            tmp_path,
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "12:cpu,cpuacct:/a\n7:memory:/docker/abc\n1:name=systemd:/a:b\n0::/none",
                "cgroup/memory/docker/abc/memory.limit_in_bytes": GIB,
                "cgroup/memory/docker/abc/memory.usage_in_bytes": GIB // 4,
                "cgroup/memory/memory.limit_in_bytes": 9223372036854771712,
                "cgroup/memory/memory.usage_in_bytes": 2 * GIB,
                "cgroup/cpu/a/memory.limit_in_bytes": 1,
                "cgroup/cpu/a/memory.usage_in_bytes": 0,
            },
        )
        assert cgroup_bytes(proc, cgroups) == [3 * GIB // 4, 9223372036854771712 - 2 * GIB]
        assert available_bytes(proc, cgroups) == 3 * GIB // 4

    def test_none(self, tmp_path: Path) -> None:
        assert cgroup_bytes(tmp_path / "proc", tmp_path / "cgroup") == []


def arrays(heads: int, n: int, *, mask: bool, dtype: type[np.floating]) -> QKV:
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((heads, n, 16)).astype(dtype) for _ in range(3))
    return QKV(q, k, v, np.tri(n, dtype=bool) if mask else None, None)


def peak_of_qkv(given: QKV) -> int:
    tracemalloc.start()
    run_qkv("x", given, Selection(), max_bytes=UNBOUNDED)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def peak_of_block(block: dict[str, object], layers: int, n: int) -> tuple[int, int]:
    """What is predicted, and what is seen."""
    config = load_config({"block": block, "layers": layers, "input": {"random": {"n": n}}})
    tracemalloc.start()
    run(load_bench(config, max_bytes=UNBOUNDED), Selection())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return run_bytes(config, n), peak


class TestPrediction:
    def test_one_matrix(self) -> None:
        assert matrix_bytes(65_536, 65_536, heads=1) == 16 * GIB

    @pytest.mark.parametrize(
        ("heads", "n", "mask", "dtype"),
        [
            (2, 900, False, np.float32),
            (2, 900, True, np.float32),
            (1, 900, False, np.float64),
            (4, 500, True, np.float16),
        ],
    )
    def test_of_arrays_within_a_quarter(self, heads: int, n: int, mask: bool, dtype: type[np.floating]) -> None:
        itemsize = max(4, np.dtype(dtype).itemsize)
        predicted = dense_bytes(n, n, heads=heads, layers=1, hidden=True, itemsize=itemsize)
        assert peak_of_qkv(arrays(heads, n, mask=mask, dtype=dtype)) == pytest.approx(predicted, rel=0.25)

    @pytest.mark.parametrize(
        ("block", "layers", "n"),
        [
            ({"d_model": 32, "n_heads": 2, "causal": True}, 2, 700),
            ({"d_model": 512, "n_heads": 4, "d_ff": 2048}, 2, 60),
            ({"d_model": 256, "n_heads": 8, "n_kv_heads": 2, "activation": "swiglu", "norm_position": "pre"}, 3, 200),
        ],
    )
    def test_of_blocks_is_kept_and_not_idle(self, block: dict[str, object], layers: int, n: int) -> None:
        predicted, peak = peak_of_block(block, layers, n)
        assert 0.65 * predicted < peak < 1.15 * predicted
