"""The block is torch's nn.TransformerEncoderLayer, post-norm and pre-norm, relu and gelu.

Compared with arrays that golden/make_encoder_layer.py made, and with torch itself where it is installed.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import attnlab

Array = NDArray[Any]

GOLDEN = Path(__file__).parent / "golden" / "encoder_layer.npz"
with np.load(GOLDEN) as golden:
    ARRAYS: dict[str, Array] = dict(golden)
CASES = [name.removesuffix(".output") for name in ARRAYS if name.endswith(".output")]


def golden_input(size: str) -> tuple[Array, dict[str, Array]]:
    prefix = f"{size}."
    weights = {name.removeprefix(prefix): w for name, w in ARRAYS.items() if name.startswith(f"{prefix}blocks.")}
    return ARRAYS[f"{prefix}x"], weights


def our_output(
    path: Path, x: Array, weights: dict[str, Array], norm_position: str, activation: str, dtype: str
) -> Array:
    arrays: dict[str, Any] = {name: weight.astype(dtype) for name, weight in weights.items()}
    np.savez(path, **arrays)
    n_heads, d_model, _ = weights["blocks.0.attn.W_Q"].shape
    block = {
        "d_model": d_model,
        "n_heads": n_heads,
        "d_ff": weights["blocks.0.mlp.b_in"].size,
        "norm_position": norm_position,
        "activation": activation,
    }
    stack = attnlab.load_stack({"block": block, "weights": {"file": str(path)}, "dtype": dtype})
    return stack.trace(x.astype(dtype)).output


def tolerance(expected: Array) -> float:
    """Absolute: 1e-12 in float64; in float32 1e-6 up to d_model 128, and 4 eps of the largest output beyond."""
    if expected.dtype == np.float64:
        return 1e-12
    if expected.shape[-1] <= 128:
        return 1e-6
    return float(4 * np.finfo(np.float32).eps * max(1, np.abs(expected).max()))


def assert_same(ours: Array, expected: Array) -> None:
    assert ours.dtype == expected.dtype
    np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance(expected))


def test_every_golden_case_is_compared() -> None:
    assert len(CASES) == 9


@pytest.mark.parametrize("case", CASES)
def test_the_block_gives_what_torch_gave(case: str, tmp_path: Path) -> None:
    size, *variant = case.split(".")
    ours = our_output(tmp_path / "weights.npz", *golden_input(size), *variant)
    assert_same(ours, ARRAYS[f"{case}.output"])


@pytest.fixture
def oracle() -> Any:
    pytest.importorskip("torch", reason="torch is not installed: compared with the committed arrays only")
    from tests.golden import make_encoder_layer

    return make_encoder_layer


@pytest.mark.parametrize("norm_position", ["post", "pre"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize(
    ("sizes", "dtype"),
    [((512, 8, 2048, 16), "float32"), ((20, 5, 7, 1), "float64"), ((42, 3, 11, 13), "float64")],
)
def test_the_block_gives_what_torch_gives(
    oracle: Any, sizes: tuple[int, ...], dtype: str, norm_position: str, activation: str, tmp_path: Path
) -> None:
    size, variant = oracle.Size(*sizes), oracle.Variant(norm_position, activation, dtype)
    x, weights = oracle.draw(size, seed=7)
    ours = our_output(tmp_path / "weights.npz", x, weights, *variant)
    assert_same(ours, oracle.torch_output(size, variant, x, weights))
