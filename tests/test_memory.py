"""What may be used, read from fake /proc and control groups, and what a run takes, against what it is seen to take."""

import gc
import os
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attnlab.errors import MemoryRefused
from attnlab.experiments.run import run
from attnlab.experiments.run_qkv import run_qkv
from attnlab.experiments.run_record import Selection
from attnlab.files.config import Config, PerLayer, load_config
from attnlab.files.embeddings import QKV
from attnlab.files.kernels import KEPT, Kernel, KernelWish, Need, choose_kernel
from attnlab.files.stacks import LEAST_WORKING, UNBOUNDED, block_size, load_bench, run_bytes, streamed_bytes
from attnlab.maths import plan
from attnlab.maths.architecture import Initialisation
from attnlab.maths.block import trace_block
from attnlab.maths.plan import WORKING
from attnlab.maths.precision import Array
from attnlab.maths.weights import initial_block
from attnlab.measure.memory import available_bytes, cgroup_bytes, limit_bytes, machine_bytes
from attnlab.theory.memory import dense_bytes, kept_bytes, matrix_bytes
from tests.test_costs import SPECS

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


class TestLimits:
    def test_of_the_address_space(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        resource = pytest.importorskip("resource")
        proc, cgroups = tree(tmp_path, {"proc/meminfo": MEMINFO, "proc/self/statm": "1000 200 100 1 0 500 0"})
        page = os.sysconf("SC_PAGE_SIZE")
        for limit, left in ((GIB, [GIB - 1000 * page]), (page, [0]), (resource.RLIM_INFINITY, [])):
            monkeypatch.setattr(resource, "getrlimit", lambda _, limit=limit: (limit, resource.RLIM_INFINITY))
            assert limit_bytes(proc) == left
            assert available_bytes(proc, cgroups) == min(left, default=8 * GIB)
        assert limit_bytes(tmp_path / "none") == []


def arrays(heads: int, n: int, *, mask: bool, dtype: type[np.floating]) -> QKV:
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((heads, n, 16)).astype(dtype) for _ in range(3))
    return QKV(q, k, v, np.tri(n, dtype=bool) if mask else None, None)


def peak(work: Callable[[], object]) -> int:
    gc.collect()
    tracemalloc.start()
    work()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def config_of(block: dict[str, object], layers: int, n: int, dtype: str = "float32") -> Config:
    return load_config({"block": block, "layers": layers, "input": {"random": {"n": n}}, "dtype": dtype})


@pytest.fixture(scope="module", autouse=True)
def everything_imported() -> None:
    """What is imported at the first run is no part of a run."""
    for kernel in ("dense", "streaming"):
        run(load_bench(config_of({"d_model": 8, "n_heads": 2}, 1, 5), max_bytes=UNBOUNDED, kernel=kernel), Selection())


def agrees(predicted: int, measured: int, share: float) -> bool:
    return abs(predicted / measured - 1) <= share


#: How far the formulas may be off: the streamed one also hangs on which thread is where.
DENSE_WITHIN, STREAMED_WITHIN = 0.05, 0.08

DENSE: list[tuple[dict[str, object], int, int, str]] = [
    ({"d_model": 32, "n_heads": 2, "causal": True}, 2, 700, "float32"),
    ({"d_model": 32, "n_heads": 2, "causal": True}, 1, 1400, "float64"),
    ({"d_model": 64, "n_heads": 1, "d_ff": None, "output_projection": False}, 1, 1500, "float32"),
    ({"d_model": 512, "n_heads": 4, "d_ff": 2048}, 2, 60, "float16"),
    ({"d_model": 512, "n_heads": 4, "d_ff": 2048}, 2, 500, "float32"),
    (
        {"d_model": 256, "n_heads": 8, "n_kv_heads": 2, "activation": "swiglu", "norm_position": "pre"},
        3,
        200,
        "float32",
    ),
    ({"d_model": 256, "n_heads": 8, "activation": "gelu", "position": "rotary"}, 2, 500, "float32"),
    ({"d_model": 64, "n_heads": 4, "position": "alibi"}, 2, 800, "float64"),
    ({"d_model": 64, "n_heads": 4, "softcap": 5.0}, 2, 800, "float32"),
    ({"d_model": 64, "n_heads": 4, "window": 30, "qk_norm": "rmsnorm"}, 2, 800, "float32"),
    ({"d_model": 512, "n_heads": 4, "d_ff": 1024, "norm_position": "sandwich"}, 2, 300, "float32"),
    ({"d_model": 512, "n_heads": 4, "norm_position": "output", "activation": "swiglu"}, 2, 300, "float32"),
    ({"d_model": 256, "n_heads": 4, "norm_position": "pre", "parallel": True, "bias": ["qkv"]}, 2, 300, "float64"),
    ({"d_model": 64, "n_heads": 4, "qk_norm": "layernorm", "qk_norm_over": "all"}, 2, 800, "float32"),
]
STREAMED: list[tuple[dict[str, object], int, int]] = [
    ({"d_model": 64, "n_heads": 1, "d_ff": None, "output_projection": False}, 1, 6000),
    ({"d_model": 256, "n_heads": 4, "d_ff": 512}, 2, 2500),
    ({"d_model": 64, "n_heads": 2, "d_ff": None, "window": 50}, 2, 9000),
    ({"d_model": 64, "n_heads": 2, "d_ff": None, "position": "alibi"}, 1, 3000),
    ({"d_model": 256, "n_heads": 4, "d_ff": 512, "norm_position": "sandwich"}, 2, 2500),
    ({"d_model": 256, "n_heads": 4, "d_ff": 512, "norm_position": "output"}, 2, 2500),
    ({"d_model": 256, "n_heads": 4, "d_ff": 512, "qk_norm": "layernorm", "qk_norm_over": "all"}, 2, 2500),
]


def streamed_peak(config: Config) -> int:
    """Bytes that a run without matrices holds at once, at most, its inputs and weights included."""
    bench = replace(load_bench(config, max_bytes=UNBOUNDED, kernel="streaming"), working_bytes=LEAST_WORKING)
    before = bench.x.nbytes + sum(w.nbytes for layer in bench.stack.weights for w in layer.values())
    return before + peak(lambda: run(bench, Selection()))


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
    def test_of_arrays(self, heads: int, n: int, mask: bool, dtype: type[np.floating]) -> None:
        given, itemsize = arrays(heads, n, mask=mask, dtype=dtype), max(4, np.dtype(dtype).itemsize)
        predicted = dense_bytes(n, n, heads=heads, d=16, e=16, hidden=mask, itemsize=itemsize)
        measured = peak(lambda: run_qkv("x", given, Selection(), max_bytes=UNBOUNDED))
        assert agrees(predicted, measured, DENSE_WITHIN)
        assert not agrees(int(1.1 * predicted), measured, DENSE_WITHIN)

    @pytest.mark.parametrize(("block", "layers", "n", "dtype"), DENSE)
    def test_of_blocks(self, block: dict[str, object], layers: int, n: int, dtype: str) -> None:
        config = config_of(block, layers, n, dtype)
        measured = peak(lambda: run(load_bench(config, max_bytes=UNBOUNDED), Selection()))
        predicted = run_bytes(config, n)
        assert agrees(predicted, measured, DENSE_WITHIN)
        assert not agrees(int(1.1 * predicted), measured, DENSE_WITHIN)
        assert not agrees(int(0.9 * predicted), measured, DENSE_WITHIN)

    @pytest.mark.parametrize("tiles", [False, True], ids=["as they run", "tile by tile"])
    @pytest.mark.parametrize(("block", "layers", "n"), STREAMED)
    def test_of_streamed_blocks(
        self, block: dict[str, object], layers: int, n: int, tiles: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Logits are steep where no norm stands before the second layer: that runs tile by tile as it is."""
        if tiles:
            monkeypatch.setattr(plan, "strip_bytes", lambda *_, **__: UNBOUNDED)
        steep, config = tiles or block.get("norm_position") == "output", config_of(block, layers, n)
        predicted, measured = streamed_bytes(config, n, steep=steep), 0
        for _ in range(5):  # where another program takes a core, threads need not stand where they take most
            measured = max(measured, streamed_peak(config))
            if agrees(predicted, measured, STREAMED_WITHIN):
                break
        assert agrees(predicted, measured, STREAMED_WITHIN)
        assert not agrees(int(1.2 * predicted), measured, STREAMED_WITHIN)
        assert not agrees(int(0.8 * predicted), measured, STREAMED_WITHIN)
        assert streamed_bytes(config, n) >= predicted

    def test_of_layers_with_windows_of_their_own(self) -> None:
        """Half of them hide keys: 3 matrices and their mask instead of 2."""
        whole = config_of({"d_model": 32, "n_heads": 2}, 4, 700)
        mixed = replace(whole, per_layer=PerLayer(window=(None, 5, None, 5)))
        measured = peak(lambda: run(load_bench(mixed, max_bytes=UNBOUNDED), Selection()))
        assert agrees(run_bytes(mixed, 700), measured, DENSE_WITHIN)
        assert not agrees(run_bytes(whole, 700), measured, DENSE_WITHIN)
        assert not agrees(
            run_bytes(replace(mixed, block=replace(mixed.block, causal=True)), 700), measured, DENSE_WITHIN
        )

    def test_of_a_long_input_is_far_from_its_matrices(self) -> None:
        config = load_config("vaswani-base")
        assert streamed_bytes(config, 65_536, WORKING) < GIB
        assert run_bytes(config, 65_536) > 6 * 8 * 2 * 16 * GIB  # scores and weights of 6 layers of 8 heads


class TestTheKernel:
    """Which is taken, and what is said when neither fits."""

    NEED = Need(what="x: 9 tokens", dense=4 * GIB, streaming=GIB // 4, way_out=lambda kernel, limit: f"take 5 {kernel}")

    def test_is_the_dense_one_where_it_fits(self) -> None:
        for wish in ("dense", None):
            assert choose_kernel(wish, self.NEED, 4 * GIB) == Kernel("dense")

    def test_is_by_a_fixed_size_and_not_by_what_is_free(self) -> None:
        small = replace(self.NEED, dense=KEPT)
        large = replace(self.NEED, dense=KEPT + 2**27)
        for free in (2 * GIB, 2**50):
            assert choose_kernel("auto", small, free) == Kernel("dense")
            said = "with its matrices it would need 1.1 GiB, and they are kept up to 1.0 GiB"
            assert choose_kernel("auto", large, free) == Kernel("streaming", said)
        with pytest.raises(MemoryRefused, match="add --kernel streaming"):
            choose_kernel("auto", small, GIB // 2)

    def test_is_streaming_where_it_is_asked_for(self) -> None:
        assert choose_kernel("streaming", self.NEED, 9 * GIB) == Kernel("streaming", "as asked")

    @pytest.mark.parametrize(
        ("wish", "limit", "said"),
        [
            (
                "dense",
                GIB,
                "would need 4.0 GiB for their matrices, and 1.0 GiB may be used; "
                "add --kernel streaming (needs 0.2 GiB), take 5 dense, or give --max-memory more",
            ),
            (
                "dense",
                GIB // 8,
                "would need 4.0 GiB for their matrices, and 0.1 GiB may be used; "
                "take 5 dense, or give --max-memory more",
            ),
            (None, GIB, "would need 4.0 GiB, and 1.0 GiB may be used; take 5 dense, or give --max-memory more"),
            (
                "auto",
                GIB // 8,
                "would need 0.2 GiB even without their matrices, and 0.1 GiB may be used; "
                "take 5 streaming, or give --max-memory more",
            ),
        ],
    )
    def test_that_fits_nowhere_is_refused_with_the_way_round(self, wish: KernelWish, limit: int, said: str) -> None:
        with pytest.raises(MemoryRefused) as caught:
            choose_kernel(wish, self.NEED, limit)
        assert str(caught.value) == f"x: 9 tokens {said}"


class TestKept:
    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
    @pytest.mark.parametrize("name", SPECS)
    def test_is_to_the_byte_what_a_trace_holds(self, name: str, dtype: str) -> None:
        """Views of one array count once; the input is the block's before."""
        spec, kind = SPECS[name], np.dtype(dtype)
        x = np.random.default_rng(0).standard_normal((17, spec.d_model)).astype(kind)
        trace = trace_block(spec, initial_block(spec, Initialisation(), layer=0, dtype=kind), x)
        held = {
            id(whole): whole.nbytes for array in trace if isinstance(array, np.ndarray) for whole in (owner(array),)
        }
        assert kept_bytes(block_size(spec, dtype), 17) == sum(held.values()) - x.nbytes


def owner(array: Array) -> Array:
    """The array whose memory this one shows."""
    return array if array.base is None else owner(array.base)
