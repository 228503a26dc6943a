"""What the drawings of `attnlab diagram` say: titles, places, and the parts of a block in a few words."""

import numpy as np

from attnlab.files.config import Config
from attnlab.maths.architecture import BlockSpec, Rotary
from attnlab.records import HeadArrays
from attnlab.show.encoding import token_label
from attnlab.show.numbers import number

NORMS = {"layernorm": "LayerNorm", "rmsnorm": "RMSNorm"}
_ACTIVATIONS = {
    "relu": "ReLU",
    "gelu": "GELU",
    "gelu_tanh": "GELU (tanh)",
    "silu": "SiLU",
    "swiglu": "SwiGLU",
    "geglu": "GEGLU",
    "geglu_tanh": "GEGLU (tanh)",
}
_POSITIONS = {
    "post": "after each sum",
    "pre": "on each branch",
    "sandwich": "around each part",
    "output": "after each part",
}


def title(
    kind: str, spec: BlockSpec, layers: int, arrays: HeadArrays, tokens: tuple[str, ...], query: int, key: int
) -> str:
    """What the drawing says, in words."""
    if kind == "roles":
        return roles_title(arrays, tokens, query, key)
    if kind == "projections":
        return f"Three views of every token: {spec.d_model:,} numbers become a query, a key and a value"
    if kind == "attention":
        return "Compare, scale, softmax, mix: what one attention head does"
    if kind == "parallel":
        who = f"All {len(arrays.x):,} tokens at once" if len(arrays.x) > 1 else "One token"
        return f"{who}: four rounds of matrix operations, and no loop over tokens"
    stacked = f"{layers} blocks" if layers > 1 else "One block"
    if spec.d_ff is None:
        return f"{stacked} with one residual path, {_normalised(spec)}"
    return f"{stacked} with two residual paths, {_normalised(spec)}"


def _normalised(spec: BlockSpec) -> str:
    return f"{NORMS[spec.norm]} {_POSITIONS[spec.norm_position]}"


def roles_title(arrays: HeadArrays, tokens: tuple[str, ...], query: int, key: int) -> str:
    """Who asks, and who answers loudest; the key that is followed, where it is another one."""
    weights = arrays.weights[query]
    loudest = int(np.nan_to_num(weights).argmax())
    asking = token_name(tokens, query)
    answering = "its own" if loudest == query else token_name(tokens, loudest)
    asked = "every key" if arrays.visible[query].all() else "every key it sees"
    if key != loudest:
        got = f"{weights[key]:.2f}" if arrays.visible[query, key] else "hidden"
        asked = f"{'its own' if key == query else token_name(tokens, key)} ({got})"
    return f"{asking[0].upper() + asking[1:]} asks {asked}; {answering} answers loudest ({weights[loudest]:.2f})"


def token_name(tokens: tuple[str, ...], index: int) -> str:
    """A token in quotes, or its number."""
    return f'"{token_label(tokens[index])}"' if tokens else f"token {index}"


def place(kind: str, config: Config, layer: int, head: int, n: int) -> str:
    """Where the numbers are from."""
    spec = config.block
    parts = []
    if config.layers > 1:
        parts.append(f"layer {layer} of {config.layers}")
    if kind != "block" and spec.n_heads > 1:
        parts.append(f"head {head} of {spec.n_heads}")
    parts.append(f"{n:,} token{'' if n == 1 else 's'} × {spec.d_model:,}")
    return " · ".join(parts)


def prepared(spec: BlockSpec) -> list[str]:
    """What happens to q and k between their projection and the scores."""
    found = [] if spec.qk_norm is None else [NORMS[spec.qk_norm]]
    return found + (["rotary"] if isinstance(spec.position, Rotary) else [])


def bent(spec: BlockSpec) -> list[str]:
    """What happens to the scores between the scale and the softmax."""
    found = [] if spec.softcap is None else [f"cap ±{number(spec.softcap)}"]
    return found + (["ALiBi"] if spec.position == "alibi" else [])


def masked(spec: BlockSpec) -> list[str]:
    """What hides keys from queries."""
    found = [] if spec.window is None else [f"window {spec.window:,}"]
    return found + (["causal mask"] if spec.causal else [])


def attention(spec: BlockSpec) -> list[str]:
    """The attention in a line, or two where heads share keys and values."""
    width = f"{spec.d_k}" if spec.d_k == spec.d_v else f"{spec.d_k} and {spec.d_v}"
    heads = f"{spec.n_heads} head{'' if spec.n_heads == 1 else 's'} of {width}" + (", causal" if spec.causal else "")
    if spec.n_kv_heads == spec.n_heads:
        return [heads]
    return [heads, f"{spec.n_kv_heads} key and value head{'' if spec.n_kv_heads == 1 else 's'}"]


def feed_forward(spec: BlockSpec) -> list[str]:
    """The feed-forward in two lines; none where there is none."""
    if spec.d_ff is None:
        return []
    widths = f"{spec.d_model:,} → {spec.d_ff:,} → {spec.d_model:,}"
    return [widths, _ACTIVATIONS[spec.activation] + (", gated" if spec.gated else "")]
