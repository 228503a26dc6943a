"""Make encoder_layer.npz: what torch's nn.TransformerEncoderLayer gives for weights and inputs drawn here.

    python tests/golden/make_encoder_layer.py [OUT_DIR]

OUT_DIR is this file's folder unless given. Needs numpy and torch. One machine and torch version gives the same bytes;
another may round the float32 outputs differently in the last place.
"""

import sys
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.floating]
Weights = dict[str, Array]


class Size(NamedTuple):
    """The widths of one layer and the length of its input."""

    d_model: int
    n_heads: int
    d_ff: int
    n: int


class Variant(NamedTuple):
    """One of torch's layers over the same weights."""

    norm_position: Literal["post", "pre"]
    activation: Literal["relu", "gelu"]
    dtype: Literal["float32", "float64"]


SIZES = {"small": Size(d_model=24, n_heads=3, d_ff=40, n=7), "wide": Size(d_model=128, n_heads=4, d_ff=96, n=11)}
CASES = [
    *(("small", Variant(p, a, t)) for p in ("post", "pre") for a in ("relu", "gelu") for t in ("float32", "float64")),
    ("wide", Variant("post", "gelu", "float32")),
]


def draw(size: Size, seed: int) -> tuple[Array, Weights]:
    """An input (n, d_model) and a layer's weights under TransformerLens names, both exact in float16.

    Biases and norm gains are drawn too: torch's zeros and ones would hide a term that is left out.
    """
    rng = np.random.default_rng(seed)
    h, d, f, d_k = size.n_heads, size.d_model, size.d_ff, size.d_model // size.n_heads
    shapes: dict[str, tuple[int, ...]] = {"attn.W_O": (h, d_k, d), "attn.b_O": (d,)}
    shapes |= {f"attn.W_{s}": (h, d, d_k) for s in "QKV"}
    shapes |= {f"attn.b_{s}": (h, d_k) for s in "QKV"}
    shapes |= {"mlp.W_in": (d, f), "mlp.b_in": (f,), "mlp.W_out": (f, d), "mlp.b_out": (d,)}
    shapes |= {"ln1.w": (d,), "ln1.b": (d,), "ln2.w": (d,), "ln2.b": (d,)}
    weights = {}
    for name, shape in shapes.items():
        fan_in = f if name == "mlp.W_out" else d
        # A matrix's spread is that of torch's own Linear, U(±1/√fan_in).
        deviation = (3 * fan_in) ** -0.5 if ".W_" in name else 0.1
        gain = float(name.endswith(".w"))
        weights[f"blocks.0.{name}"] = (gain + rng.normal(0, deviation, shape)).astype(np.float16)
    return rng.normal(0, 1, (size.n, d)).astype(np.float16), weights


def torch_state(weights: Weights) -> Weights:
    """The same weights under torch's names; its Linear computes x @ W.T, its heads are runs of W's rows."""
    w = {name.removeprefix("blocks.0."): weight for name, weight in weights.items()}
    d_model = w["attn.b_O"].size
    return {
        "self_attn.in_proj_weight": np.concatenate(
            [w[f"attn.W_{s}"].swapaxes(1, 2).reshape(-1, d_model) for s in "QKV"]
        ),
        "self_attn.in_proj_bias": np.concatenate([w[f"attn.b_{s}"].ravel() for s in "QKV"]),
        "self_attn.out_proj.weight": w["attn.W_O"].reshape(-1, d_model).T,
        "self_attn.out_proj.bias": w["attn.b_O"],
        "linear1.weight": w["mlp.W_in"].T,
        "linear1.bias": w["mlp.b_in"],
        "linear2.weight": w["mlp.W_out"].T,
        "linear2.bias": w["mlp.b_out"],
        "norm1.weight": w["ln1.w"],
        "norm1.bias": w["ln1.b"],
        "norm2.weight": w["ln2.w"],
        "norm2.bias": w["ln2.b"],
    }


def torch_output(size: Size, variant: Variant, x: Array, weights: Weights) -> Array:
    """nn.TransformerEncoderLayer(x), (n, d_model), computed in the variant's dtype and not by torch's fused kernel."""
    dtype = getattr(torch, variant.dtype)
    layer = torch.nn.TransformerEncoderLayer(
        size.d_model,
        size.n_heads,
        size.d_ff,
        dropout=0.0,
        activation=variant.activation,
        norm_first=variant.norm_position == "pre",
        dtype=dtype,
    ).eval()
    layer.load_state_dict({name: torch.tensor(w, dtype=dtype) for name, w in torch_state(weights).items()})
    torch.backends.mha.set_fastpath_enabled(False)
    with torch.no_grad():
        return np.asarray(layer(torch.tensor(x, dtype=dtype)))


def main(out_dir: Path) -> None:
    drawn = {name: draw(size, seed) for seed, (name, size) in enumerate(SIZES.items())}
    arrays: dict[str, Any] = {}
    for name, (x, weights) in drawn.items():
        arrays |= {f"{name}.x": x} | {f"{name}.{key}": weight for key, weight in weights.items()}
    for name, variant in CASES:
        arrays[f"{name}.{'.'.join(variant)}.output"] = torch_output(SIZES[name], variant, *drawn[name])
    np.savez_compressed(out_dir / "encoder_layer.npz", **arrays)
    print(f"torch {torch.__version__}: {len(CASES)} cases")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
