"""Every refusal of attention, reached and read."""

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from attnlab import ShapeError, attention, attention_scores


def refusal(**changes: Any) -> str:
    """What is said when these arguments stand in for good ones."""
    given = {"q": np.ones((2, 3)), "k": np.ones((5, 3)), "v": np.ones((5, 7))} | changes
    with pytest.raises(ShapeError) as caught:
        attention(**given)
    return str(caught.value)


def test_a_float_mask() -> None:
    assert refusal(mask=np.ones(5)) == (
        "mask: dtype float64; expected bool, True = may attend (numbers to add go in bias)"
    )


def test_a_boolean_bias() -> None:
    assert refusal(bias=np.ones(5, bool)) == (
        "bias: dtype bool; expected floating numbers to add to the scores (booleans go in mask)"
    )


@pytest.mark.parametrize("name", ["q", "k", "v", "bias"])
def test_integers(name: str) -> None:
    expected = f"{name}: dtype int64; expected one of float16, bfloat16, float32, float64"
    assert refusal(**{name: np.ones((5, 3), np.int64)}) == expected


def test_halves_of_two_kinds() -> None:
    q, k = np.ones((2, 3), np.float16), np.ones((5, 3), ml_dtypes.bfloat16)
    assert refusal(q=q, k=k, v=k) == (
        "q float16, k bfloat16, v bfloat16: dtypes without a common one; expected float16 or bfloat16, not both"
    )


def test_widths() -> None:
    assert refusal(k=np.ones((5, 4))) == "k: width 4; expected 3, set by q (q (2, 3), k (5, 4), v (5, 7))"


def test_no_width() -> None:
    assert refusal(q=np.ones((2, 0)), k=np.ones((5, 0))) == (
        "q: width 0; expected a width of 1 or more (q (2, 0), k (5, 0), v (5, 7))"
    )


def test_lengths() -> None:
    assert refusal(v=np.ones((4, 7))) == "v: 4 keys; expected 5, set by k (q (2, 3), k (5, 3), v (4, 7))"


@pytest.mark.parametrize("shape", [(3,), (1, 2, 3)])
def test_axes(shape: tuple[int, ...]) -> None:
    assert refusal(q=np.ones(shape)) == (
        f"q {shape}, k (5, 3), v (5, 7); expected (n, d) for all, or (…, heads, n, d) for all"
    )


def test_heads_of_values() -> None:
    given = {"q": np.ones((4, 2, 3)), "k": np.ones((2, 5, 3)), "v": np.ones((4, 5, 7))}
    assert refusal(**given) == "v: 4 heads; expected 2, set by k (q (4, 2, 3), k (2, 5, 3), v (4, 5, 7))"


@pytest.mark.parametrize("heads", [0, 3])
def test_heads_that_do_not_divide(heads: int) -> None:
    given = {"q": np.ones((4, 2, 3)), "k": np.ones((heads, 5, 3)), "v": np.ones((heads, 5, 7))}
    assert refusal(**given) == (
        f"k: {heads} heads; expected a number that divides q's 4 (q (4, 2, 3), k ({heads}, 5, 3), v ({heads}, 5, 7))"
    )


def test_leading_axes() -> None:
    given = {"q": np.ones((2, 1, 2, 3)), "k": np.ones((3, 1, 5, 3)), "v": np.ones((1, 5, 7))}
    assert refusal(**given) == "leading axes (2,) and (3,) and () of q, k, v do not broadcast"


@pytest.mark.parametrize("name", ["mask", "bias"])
@pytest.mark.parametrize("shape", [(4,), (3, 1, 5)])
def test_masks_and_biases_that_do_not_fit(name: str, shape: tuple[int, ...]) -> None:
    array = np.ones(shape, bool if name == "mask" else float)
    expected = f"{name}: shape {shape}; expected one that broadcasts to (1, 2, 5), set by q and k"
    assert refusal(**{name: array}) == expected


@pytest.mark.parametrize("scale", [math.inf, math.nan, "a", "3", [], [1.0, 2.0], np.float32(np.inf), 10**400])
def test_scale(scale: Any) -> None:
    assert refusal(scale=scale) == f"scale: {scale}; expected a number that is finite in float64, or None for 1/√d"


def test_scale_and_softcap_must_fit_the_dtype_computed_in() -> None:
    half = {name: np.ones((2, 3), np.float16) for name in "qkv"}
    assert refusal(**half, scale=1e39).startswith("scale: 1e+39; expected a number that is finite in float32")
    assert refusal(**half, softcap=1e-50).startswith(
        "softcap: 1e-50; expected a number above 0 that is finite in float32"
    )


@pytest.mark.parametrize("scalar", [np.float16(3), np.float32(3), np.int64(3)])
def test_scale_and_softcap_may_be_numpy_scalars(scalar: Any) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3))
    found, expected = (attention(x, x, x, scale=three, softcap=three) for three in (scalar, 3))
    np.testing.assert_array_equal(found.output, expected.output)


@pytest.mark.parametrize("softcap", [0.0, -1.0, math.inf, math.nan, "a"])
def test_softcap(softcap: Any) -> None:
    assert (
        refusal(softcap=softcap) == f"softcap: {softcap}; expected a number above 0 that is finite in float64, or None"
    )


@pytest.mark.parametrize(
    ("window", "causal", "least"), [(0, True, 1), (-1, False, 0), (1.5, False, 0), (True, True, 1), ("2", True, 1)]
)
def test_window(window: Any, causal: bool, least: int) -> None:
    expected = f"window: {window!r}; expected a whole number of {least} or more"
    assert refusal(window=window, causal=causal) == expected


def test_scores_name_only_what_they_were_given() -> None:
    with pytest.raises(ShapeError) as caught:
        attention_scores(np.ones((2, 3)), np.ones((5, 4)))
    assert str(caught.value) == "k: width 4; expected 3, set by q (q (2, 3), k (5, 4))"
