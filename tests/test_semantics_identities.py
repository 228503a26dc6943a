"""What must hold of every attention, in every dtype and under every mask, on the paths that take masks.

In float64 on random masks these are tried in `test_attention_identities` (the matrix) and `test_streaming_identities`
(the numpy kernel); here in all four dtypes and on the compiled kernel too, to the accuracy that each dtype has.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.oracles import exact_log_weights
from tests.semantics_paths import PATHS, Seen, Settings, apart, by_definition
from tests.streaming_cases import cut_small, draw, needs_numba
from tests.test_attention_accuracy import Case, case_of, complaints

Array = NDArray[Any]

DTYPES = {"float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
#: Half of the last place of numbers near 1 in what results come back in, and in what they are computed in.
EPS = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
WORKING = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-23, "bfloat16": 2.0**-23}
KERNELS = ["dense", "streaming", pytest.param("compiled kernel", marks=needs_numba)]
steady = settings(derandomize=True, max_examples=40)


@pytest.fixture(autouse=True, scope="module")
def small_pieces() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        cut_small(patch)
        yield


class Drawn(NamedTuple):
    """An attention of two query heads over one or two key heads, and settings that hide keys."""

    q: Array
    k: Array
    v: Array
    settings: Settings

    @property
    def dtype(self) -> str:
        return str(self.q.dtype.name)

    @property
    def sees_something(self) -> Array:
        n, m = self.q.shape[1], self.k.shape[1]
        mask = np.broadcast_to(self.settings.get("mask", True), (len(self.q), n, m))
        if self.settings.get("causal"):
            mask = mask & (np.arange(m) <= np.arange(n)[:, None])
        return np.asarray(mask.any(axis=-1))


@st.composite
def attentions(draw_: st.DrawFn, *, square: bool = False) -> Drawn:
    seed, g = draw_(st.integers(0, 2**32 - 1)), draw_(st.integers(1, 2))
    n = draw_(st.integers(1, 23))
    m = n if square else draw_(st.integers(1, 23))
    q, k, v = draw(2, g, n, m, seed=seed)
    q *= draw_(st.sampled_from([0.1, 1.0, 4.0]))
    rng, dtype = np.random.default_rng(seed), DTYPES[draw_(st.sampled_from(sorted(DTYPES)))]
    chosen: dict[str, Any] = {}
    if draw_(st.booleans()):
        chosen["causal"] = True
    if draw_(st.booleans()):
        chosen["mask"] = rng.random((2, n, m)) < draw_(st.sampled_from([0.0, 0.2, 0.8, 1.0]))
    if draw_(st.booleans()):
        chosen["softcap"] = 2.0
    return Drawn(q.astype(dtype), k.astype(dtype), v.astype(dtype), chosen)


def attended(path: str, case: Drawn, **changes: Any) -> Seen:
    (seen,) = PATHS[path](case.q, case.k, case.v, {**case.settings, **changes})
    return seen


def close(ours: Array, theirs: Array, dtype: str, units: float = 64.0) -> None:
    """Within some units of the accuracy that is computed in, and the last rounding."""
    atol = units * WORKING[dtype] + (2.0**-24 if dtype == "float16" else 0)
    np.testing.assert_allclose(
        ours.astype(np.float64), theirs.astype(np.float64), rtol=atol + 4 * EPS[dtype], atol=atol + EPS[dtype]
    )


@pytest.mark.parametrize("path", KERNELS)
@steady
@given(attentions())
def test_rows_sum_to_one_or_are_zero(path: str, case: Drawn) -> None:
    """Values of 1 add the weights up; where no key is seen there are none to add."""
    found = attended(path, case._replace(v=np.ones_like(case.v)))
    bound = (4 + math.log2(case.k.shape[1])) * WORKING[case.dtype] + EPS[case.dtype]
    expected = case.sees_something[..., None]
    assert np.abs(found.output.astype(np.float64) - expected).max() <= bound
    assert (found.output[~case.sees_something] == 0).all()
    assert found.lse is not None
    assert (np.isneginf(found.lse) == ~case.sees_something).all()


@pytest.mark.parametrize("path", KERNELS)
@steady
@given(attentions(), st.sampled_from([-64.0, -0.5, 3.0, 64.0]))
def test_a_constant_added_to_a_rows_scores_changes_only_its_lse(path: str, case: Drawn, constant: float) -> None:
    """The constants are exact in every dtype."""
    bias = np.full((1, 1), constant, case.q.dtype)
    before, after = attended(path, case), attended(path, case, bias=bias)
    close(after.output, before.output, case.dtype, units=16 * (1 + abs(constant)))
    assert before.lse is not None
    assert after.lse is not None
    seeing = case.sees_something
    off = np.abs(after.lse[seeing].astype(np.float64) - before.lse[seeing].astype(np.float64) - constant)
    assert off.max(initial=0) <= 4 * WORKING[case.dtype] * (60 + abs(constant))


@pytest.mark.parametrize("path", KERNELS)
@steady
@given(attentions(), st.randoms(use_true_random=False))
def test_permuting_keys_with_their_values_changes_nothing(path: str, case: Drawn, random: Any) -> None:
    order = list(range(case.k.shape[1]))
    random.shuffle(order)
    mask = np.broadcast_to(case.settings.get("mask", True), (2, case.q.shape[1], len(order)))
    plain = case._replace(settings={**case.settings, "mask": mask, "causal": False})
    moved = Drawn(case.q, case.k[:, order], case.v[:, order], {**plain.settings, "mask": mask[..., order]})
    close(attended(path, moved).output, attended(path, plain).output, case.dtype)


@pytest.mark.parametrize("path", KERNELS)
@steady
@given(attentions(square=True), st.integers(0, 22), st.sampled_from([np.nan, np.inf, 0.0, 7.5]))
def test_under_causal_order_the_future_cannot_change_the_past(path: str, case: Drawn, now: int, later: float) -> None:
    """Whatever it holds."""
    case = case._replace(settings={**case.settings, "causal": True})
    q, k, v = (array.copy() for array in case[:3])
    for array in (q, k, v):
        array[:, now + 1 :] = later
    before, after = attended(path, case), attended(path, Drawn(q, k, v, case.settings))
    close(after.output[:, : now + 1], before.output[:, : now + 1], case.dtype)
    assert before.lse is not None
    assert after.lse is not None
    np.testing.assert_allclose(
        after.lse[:, : now + 1], before.lse[:, : now + 1], rtol=0, atol=300 * WORKING[case.dtype]
    )


@pytest.mark.parametrize("path", KERNELS)
@steady
@given(attentions())
def test_grouped_queries_are_repeated_heads(path: str, case: Drawn) -> None:
    each = 2 // len(case.k)
    repeated = case._replace(k=np.repeat(case.k, each, axis=0), v=np.repeat(case.v, each, axis=0))
    close(attended(path, repeated).output, attended(path, case).output, case.dtype, units=16)


@pytest.mark.parametrize("path", KERNELS[1:])
@steady
@given(attentions())
def test_streaming_is_dense(path: str, case: Drawn) -> None:
    close(attended(path, case).output, attended("dense", case).output, case.dtype)


@pytest.mark.parametrize("path", KERNELS)
@steady
@given(attentions())
def test_each_is_by_definition(path: str, case: Drawn) -> None:
    seen = attended(path, case)
    assert apart(seen, by_definition(seen)) == []


class TestTheseCanFail:
    """At the same settings, laws that are nearly those."""

    Q, K, V = (array.astype(np.float16) for array in draw(2, 1, 23, 23))
    CASE = Drawn(Q, K, V, settings={})

    @pytest.mark.parametrize("path", KERNELS)
    def test_keys_moved_without_their_values(self, path: str) -> None:
        moved = self.CASE._replace(k=self.CASE.k[:, ::-1])
        with pytest.raises(AssertionError):
            close(attended(path, moved).output, attended(path, self.CASE).output, "float16")

    @pytest.mark.parametrize("path", KERNELS)
    def test_the_future_without_causal_order(self, path: str) -> None:
        k = self.CASE.k.copy()
        k[:, 12:] = 0
        before, after = attended(path, self.CASE), attended(path, self.CASE._replace(k=k))
        with pytest.raises(AssertionError):
            close(after.output[:, :12], before.output[:, :12], "float16")

    @pytest.mark.parametrize("path", KERNELS)
    def test_a_constant_added_to_one_key(self, path: str) -> None:
        bias = np.zeros((1, 23), np.float16)
        bias[0, 3] = 0.5
        with pytest.raises(AssertionError):
            close(attended(path, self.CASE, bias=bias).output, attended(path, self.CASE).output, "float16", units=1000)

    @pytest.mark.parametrize("dtype", sorted(DTYPES))
    def test_an_error_of_a_few_units(self, dtype: str) -> None:
        one = np.ones(3, np.float64)
        with pytest.raises(AssertionError):
            close(one + 300 * WORKING[dtype] + 8 * EPS[dtype], one, dtype)


def weights_of(path: str, case: Case) -> Array:
    """A path's weights, by values that tell them apart; those below e^-79 that are known to be small stand corrected.

    Streaming holds no weight below e^-80, which is less than any sum in float32 shows.
    """
    m = len(case.k)
    q, k, v = case.q[None], case.k[None], np.eye(m, dtype=np.float32)[None]
    (seen,) = PATHS[path](q, k, v, {} if case.bias is None else {"bias": case.bias})
    p, log_p = seen.output[0], exact_log_weights(case.exact_logits)
    return np.where((log_p < -79) & (p <= 2 * np.exp(-79)), np.exp(log_p), p).astype(np.float32)


@pytest.mark.parametrize("path", KERNELS[1:])
@pytest.mark.parametrize(
    ("size", "d", "m"), [(s, d, m) for s in (1.0, 100.0, 10_000.0) for d in (3, 64) for m in (2, 64, 300)]
)
def test_float32_is_as_accurate_as_the_matrix_has_to_be(size: float, d: int, m: int, path: str) -> None:
    """The three bounds on ln p and on the rows' sums, of weights that no path but the matrix ever holds."""
    for case in (case_of(size, d, m), case_of(size, d, m, spread=8), case_of(size, d, m, bias=10.0)):
        assert complaints(case, lambda given: weights_of(path, given)) == []
