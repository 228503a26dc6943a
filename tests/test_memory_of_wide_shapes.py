"""Shapes with one axis far larger than the others: what is granted is enough, or the work is refused beforehand.

Where vectors are wider than there are of them, a d × d array would be larger than everything that was counted.
"""

import gc
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from attnlab.errors import MemoryRefused
from attnlab.experiments import depth, gradient, lookup, variance
from attnlab.experiments.depth_stack import DepthConfig
from attnlab.experiments.depth_stack import check as check_depth
from attnlab.experiments.gradient import GradientConfig, require_sound
from attnlab.experiments.inspect_kernel import require_weights_memory
from attnlab.experiments.inspect_weights import of_layer
from attnlab.experiments.inspect_weights_head import own_columns
from attnlab.experiments.lookup import LookupConfig
from attnlab.experiments.run import run
from attnlab.experiments.run_qkv import qkv_inputs, qkv_need, run_qkv
from attnlab.experiments.run_record import Selection
from attnlab.experiments.variance import VarianceConfig
from attnlab.experiments.variance_block import run_block, score_norm
from attnlab.files.config import Config, load_config
from attnlab.files.embeddings import QKV
from attnlab.files.stacks import UNBOUNDED, block_size, load_bench, run_need
from attnlab.maths.bilinear import value_map
from attnlab.maths.streaming import attention_statistics
from attnlab.theory.memory import looking_bytes
from attnlab.theory.scores import score_variance_identity

MIB = 2**20
#: Besides what is granted: Python's own objects, and pieces of fixed size that many sums are taken in.
FIXED = 8 * MIB


def peak(work: Callable[[], object]) -> int:
    """Bytes that Python and numpy hold at once, at most, while the work is done, beyond those held before."""
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return int(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def test_what_is_counted_is_what_is_taken() -> None:
    assert peak(lambda: np.ones(MIB)) == pytest.approx(8 * MIB, rel=0.01)


@pytest.fixture(scope="module", autouse=True)
def everything_imported() -> None:
    """What is imported at the first run is no part of a run."""
    config = load_config({"block": {"d_model": 4, "n_heads": 2}, "input": {"random": {"n": 5}}})
    for kernel in ("dense", "streaming"):
        run(load_bench(config, max_bytes=UNBOUNDED, kernel=kernel), Selection())


#: block, layers, tokens
WIDE: dict[str, tuple[dict[str, object], int, int]] = {
    "d_model": ({"d_model": 12_000, "n_heads": 1, "d_k": 2, "d_ff": None}, 1, 4),
    "d_model, pre": ({"d_model": 12_000, "n_heads": 1, "d_k": 2, "d_ff": 3, "norm_position": "pre"}, 1, 4),
    "d_k": ({"d_model": 2, "n_heads": 1, "d_k": 12_000, "d_v": 2, "d_ff": None}, 1, 4),
    "d_k, rotary": ({"d_model": 2, "n_heads": 1, "d_k": 12_000, "d_v": 2, "d_ff": None, "position": "rotary"}, 1, 4),
    "d_k, norm": ({"d_model": 2, "n_heads": 1, "d_k": 12_000, "d_v": 2, "d_ff": None, "qk_norm": "layernorm"}, 1, 4),
    "d_k, one key head": ({"d_model": 2, "n_heads": 30, "n_kv_heads": 1, "d_k": 4000, "d_v": 3, "d_ff": None}, 1, 4),
    "d_v": ({"d_model": 2, "n_heads": 1, "d_k": 2, "d_v": 12_000, "d_ff": None}, 1, 4),
    "d_ff": ({"d_model": 2, "n_heads": 1, "d_ff": 400_000}, 1, 4),
    "d_ff, gated": ({"d_model": 2, "n_heads": 1, "d_ff": 400_000, "activation": "swiglu"}, 1, 4),
    "heads": ({"d_model": 2, "n_heads": 300, "d_k": 1, "d_ff": None}, 1, 4),
    "d_k and d_model": ({"d_model": 600, "n_heads": 1, "d_k": 600, "d_v": 2, "d_ff": None}, 1, 4),
    "d_k and d_model, pre": ({"d_model": 600, "n_heads": 1, "d_ff": None, "norm_position": "pre"}, 1, 4),
    "layers": ({"d_model": 2, "n_heads": 1, "d_ff": 2}, 60, 4),
}


def config_of(name: str) -> Config:
    block, layers, n = WIDE[name]
    return load_config({"block": block, "layers": layers, "input": {"random": {"n": n}}})


@pytest.mark.parametrize("kernel", ["dense", "streaming"])
@pytest.mark.parametrize("name", WIDE)
class TestRuns:
    def test_take_no_more_than_was_forecast(self, name: str, kernel: Any) -> None:
        config = config_of(name)
        granted = getattr(run_need(config, WIDE[name][2]), kernel)
        measured = peak(lambda: run(load_bench(config, max_bytes=granted, kernel=kernel), Selection()))
        assert measured <= granted + FIXED

    def test_are_refused_below_it(self, name: str, kernel: Any) -> None:
        config = config_of(name)
        granted = getattr(run_need(config, WIDE[name][2]), kernel)
        with pytest.raises(MemoryRefused, match="would need"):
            load_bench(config, max_bytes=granted - 1, kernel=kernel)


#: heads, queries, keys, d, e, key heads, dtype
ARRAYS: dict[str, tuple[int, int, int, int, int, int, Any]] = {
    "d": (1, 4, 4, 12_000, 2, 1, np.float32),
    "d, half": (1, 4, 4, 400_000, 2, 1, np.float16),
    "d, few queries": (1, 3, 5000, 700, 2, 1, np.float32),
    "d, few keys": (1, 5000, 3, 700, 2, 1, np.float32),
    "e": (1, 4, 4, 2, 12_000, 1, np.float64),
    "d and e": (1, 4, 5, 6000, 6000, 1, np.float32),
    "keys": (1, 4, 40_000, 2, 2, 1, np.float32),
    "heads": (600, 4, 4, 2, 2, 600, np.float32),
    "heads, one key head": (300, 4, 4, 2000, 2000, 1, np.float32),
}


def arrays(name: str) -> QKV:
    h, n, m, d, e, g, dtype = ARRAYS[name]
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal(shape).astype(dtype) for shape in ((h, n, d), (g, m, d), (g, m, e)))
    return QKV(q, k, v, None, None)


@pytest.mark.parametrize("kernel", ["dense", "streaming"])
@pytest.mark.parametrize("name", ARRAYS)
class TestArrays:
    def test_with_the_results_take_no_more_than_was_forecast(self, name: str, kernel: Any) -> None:
        given = arrays(name)
        granted = getattr(qkv_need("x", qkv_inputs("x", given)), kernel)
        held = sum(array.nbytes for array in given[:3])
        measured = held + peak(lambda: run_qkv("x", given, Selection(), max_bytes=granted, kernel=kernel))
        assert measured <= granted + FIXED

    def test_are_refused_below_it(self, name: str, kernel: Any) -> None:
        given = arrays(name)
        granted = getattr(qkv_need("x", qkv_inputs("x", given)), kernel)
        with pytest.raises(MemoryRefused, match=r"x: .* queries and .* keys would need"):
            run_qkv("x", given, Selection(), max_bytes=granted - 1, kernel=kernel)


@pytest.mark.parametrize("settings", [{}, {"causal": True}, {"softcap": 2.0}, {"asymmetry": True}], ids=str)
@pytest.mark.parametrize("name", ARRAYS)
def test_statistics_stay_under_their_bound(name: str, settings: dict[str, Any]) -> None:
    q, k, v, _, _ = arrays(name)
    copies = 4 * (q.nbytes + 4 * (k.nbytes + v.nbytes))  # half precision widened, outputs, keys in tiles of 16
    assert peak(lambda: attention_statistics(q, k, v, max_bytes=MIB, **settings)) <= MIB + copies + FIXED


def least(accepts: Callable[[int], object]) -> int:
    """About the least budget that is not refused."""
    granted = MIB
    while True:
        try:
            accepts(granted)
        except MemoryRefused:
            granted += granted // 8
        else:
            return granted


GRADIENT = {
    "d_k": GradientConfig(d_k=(20_000,), n=3, rows=256),
    "n": GradientConfig(d_k=(2,), n=700, rows=256),
    "rows": GradientConfig(d_k=(2, 3), n=2, rows=100_000),
}
DEPTH = {
    "d_model": DepthConfig(n=2, d_model=300, heads=1, layers=2, seeds=2, variants=("block",)),
    "n": DepthConfig(n=300, d_model=2, heads=1, layers=2, seeds=2, variants=("residual",)),
    "heads": DepthConfig(n=3, d_model=600, heads=600, layers=2, seeds=2, variants=("attention",)),
    "layers": DepthConfig(n=2, d_model=2, heads=1, layers=100, seeds=2, variants=("block",)),
    "tokens": DepthConfig(n=2000, d_model=8, heads=1, layers=1, seeds=2, variants=("block",)),
}
LOOKUP = {
    "keys": LookupConfig(keys=30_000, queries=2, widths=(2,), max_n=2, repeats=2),
    "queries": LookupConfig(keys=2, queries=30_000, widths=(2,), max_n=2, repeats=2),
    "dk": LookupConfig(keys=2, queries=2, widths=(200_000,), max_n=2, repeats=2),
    "max_n": LookupConfig(keys=2, queries=2, widths=(100,), max_n=40_000, repeats=2),
}
VARIANCE = {
    "d_k": VarianceConfig(d_k=(30_000,), samples=2, keys=2),
    "keys": VarianceConfig(d_k=(2,), samples=2, keys=60_000),
    "both": VarianceConfig(d_k=(700,), samples=2, keys=700),
}


class TestExperiments:
    @pytest.mark.parametrize("name", GRADIENT)
    def test_gradient(self, name: str) -> None:
        granted = least(lambda bound: require_sound(replace(GRADIENT[name], max_bytes=bound)))
        assert peak(lambda: gradient.run(replace(GRADIENT[name], max_bytes=granted))) <= granted + FIXED

    @pytest.mark.parametrize("name", DEPTH)
    def test_depth(self, name: str) -> None:
        granted = least(lambda bound: check_depth(DEPTH[name], bound))
        assert peak(lambda: depth.run(DEPTH[name], max_bytes=granted)) <= granted + FIXED

    @pytest.mark.parametrize("name", LOOKUP)
    def test_lookup(self, name: str) -> None:
        granted = least(lambda bound: lookup.check(LOOKUP[name], bound))
        assert peak(lambda: lookup.run(LOOKUP[name], max_bytes=granted)) <= granted + FIXED

    @pytest.mark.parametrize("name", VARIANCE)
    def test_variance(self, name: str) -> None:
        granted = least(lambda bound: variance.check(replace(VARIANCE[name], max_bytes=bound)))
        assert peak(lambda: variance.run(replace(VARIANCE[name], max_bytes=granted))) <= granted + FIXED

    @pytest.mark.parametrize("name", [name for name in WIDE if name not in ("layers", "heads", "d_ff, gated")])
    def test_variance_of_a_block(self, name: str) -> None:
        """The common initialisations beside it have heads of their own, of up to 8 MiB."""
        config = config_of(name)
        granted = run_need(config, WIDE[name][2]).dense
        assert peak(lambda: run_block(load_bench(config, max_bytes=granted), seed=0, draws=2)) <= granted + 2 * FIXED


@pytest.mark.parametrize(
    "shape", [(600, 600, 600), (600, 1200, 3), (1500, 400, 2), (1500, 3, 1000), (3, 12_000, 2), (3, 2, 1500)]
)
@pytest.mark.parametrize("norm_position", ["pre", "post"])
def test_weights_alone(shape: tuple[int, int, int], norm_position: str) -> None:
    """Of one layer, which is there: the forecast has two."""
    d, d_k, d_v = shape
    block = {"d_model": d, "n_heads": 1, "d_k": d_k, "d_v": d_v, "d_ff": None, "norm_position": norm_position}
    config = load_config({"block": block, "input": {"random": {"n": 1}}})
    bench, granted = load_bench(config, max_bytes=UNBOUNDED), looking_bytes(block_size(config.block, "float32"))
    measured = peak(lambda: of_layer(config.block, bench.stack.weights[0], None, 0))
    assert measured <= granted + FIXED
    need = granted + 2 * sum(w.nbytes for w in bench.stack.weights[0].values())
    require_weights_memory(config, need)
    with pytest.raises(MemoryRefused, match=r"config: its weights would need .*iB may be used; take a smaller model"):
        require_weights_memory(config, need - 1)


class TestNothingSquareIsMade:
    """Where a d × d array of float64 would take 1.1 GiB."""

    D = 12_000

    def test_of_the_variance_of_scores(self) -> None:
        q, k = np.random.default_rng(0).standard_normal((2, 4, self.D))
        assert peak(lambda: score_variance_identity(q, k, scale=0.1)) < 4 * q.nbytes

    @pytest.mark.parametrize("shape", [(3, 1500), (1500, 3)])
    def test_of_what_weights_alone_say(self, shape: tuple[int, int]) -> None:
        w_v, w_o = np.random.default_rng(0).standard_normal((2, *shape))
        assert peak(lambda: value_map(w_v, w_o.T)) < 20 * w_v.nbytes
        assert len(value_map(w_v, w_o.T).eigenvalues) == 3
        assert peak(lambda: score_norm(w_v, w_o, scale=0.1)) < 20 * w_v.nbytes

    def test_of_heads_without_an_output_projection(self) -> None:
        block = {"d_model": self.D, "n_heads": 4000, "d_k": 1, "d_v": 3, "d_ff": None, "output_projection": False}
        spec = load_config({"block": block, "layers": 1}).block
        assert peak(lambda: own_columns(spec, 7)) < 4 * 8 * 3 * self.D
        np.testing.assert_array_equal(own_columns(spec, 7).argmax(axis=1), [21, 22, 23])
        assert own_columns(spec, 7).sum() == 3
