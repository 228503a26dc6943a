"""The block's steps T1 … H against their equations in plain numpy, one head at a time; and blocks stacked."""

import dataclasses
import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab import ShapeError
from attnlab.maths.architecture import BlockSpec, Initialisation, LinearScaling, Llama3Scaling, Rotary
from attnlab.maths.block import LayerTrace, trace_block
from attnlab.maths.stack import Stack
from attnlab.maths.weights import (
    BlockWeights,
    initial_block,
    random_input,
    weight_shapes,
)

Array = NDArray[Any]

EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23}
N = 11
#: Widths all different primes, as far as heads allow.
BASE = BlockSpec(d_model=13, n_heads=2, n_kv_heads=2, d_k=5, d_v=3, d_ff=17)

#: Of the eight angles of 16 coordinates and base 30, three stay, three are between, and two are divided.
STRETCHED: Any = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_length": 60}

VARIANTS: dict[str, dict[str, Any]] = {
    "post": {},
    "pre": {"norm_position": "pre"},
    "post, no feed-forward": {"d_ff": None},
    "pre, no feed-forward": {"norm_position": "pre", "d_ff": None},
    "gelu": {"activation": "gelu"},
    "gelu_tanh": {"activation": "gelu_tanh"},
    "silu": {"activation": "silu"},
    "swiglu": {"activation": "swiglu", "norm_position": "pre"},
    "geglu": {"activation": "geglu"},
    "rmsnorm": {"norm": "rmsnorm", "norm_eps": 0.1},
    "no biases": {"bias": False},
    "llama's": {"norm": "rmsnorm", "norm_position": "pre", "activation": "swiglu", "bias": False, "n_kv_heads": 1},
    "grouped": {"n_heads": 6, "n_kv_heads": 2},
    "no output projection": {"output_projection": False, "d_model": 6},
    "textbook's single head": {"n_heads": 1, "n_kv_heads": 1, "d_v": 13, "output_projection": False},
    "causal": {"causal": True},
    "causal window": {"causal": True, "window": 3},
    "window": {"window": 2},
    "unscaled": {"scale": 1.0},
    "capped": {"softcap": 0.7},
    "alibi": {"position": "alibi"},
    "rotary": {"position": Rotary(base=50.0), "d_k": 6},
    "rotary, interleaved, in part": {"position": Rotary(fraction=0.67, pairing="interleaved"), "d_k": 6},
    "qk rmsnorm": {"qk_norm": "rmsnorm"},
    "qk layernorm and rotary": {"qk_norm": "layernorm", "position": Rotary(), "d_k": 4},
    "parallel": {"norm_position": "pre", "parallel": True},
    "parallel, no feed-forward": {"norm_position": "pre", "parallel": True, "d_ff": None},
    "sandwich": {"norm_position": "sandwich", "activation": "geglu_tanh", "norm": "rmsnorm"},
    "sandwich, layernorm": {"norm_position": "sandwich"},
    "sandwich, no feed-forward": {"norm_position": "sandwich", "d_ff": None},
    "output": {"norm_position": "output", "activation": "swiglu"},
    "output, no feed-forward": {"norm_position": "output", "d_ff": None},
    "biases of q, k and v": {"bias": ("qkv",)},
    "biases of the output and the norms": {"bias": ("output", "norm"), "qk_norm": "layernorm"},
    "biases of the feed-forward": {"bias": ("mlp",), "norm_position": "pre"},
    "qk rmsnorm over all": {"qk_norm": "rmsnorm", "qk_norm_over": "all", "n_heads": 6, "n_kv_heads": 2},
    "qk layernorm over all, rotary": {
        "qk_norm": "layernorm", "qk_norm_over": "all", "position": Rotary(), "d_k": 4, "n_heads": 6, "n_kv_heads": 3,
    },
    "olmo2's": {
        "norm": "rmsnorm", "norm_position": "output", "activation": "swiglu", "bias": False, "qk_norm": "rmsnorm",
        "qk_norm_over": "all", "position": Rotary(), "d_k": 4,
    },
    "rotary, linear": {"position": Rotary(scaling=LinearScaling(3.0)), "d_k": 6},
    "rotary, llama3": {"position": Rotary(base=30.0, scaling=Llama3Scaling(**STRETCHED)), "d_k": 16},
}  # fmt: skip


def case(changes: dict[str, Any]) -> tuple[BlockSpec, BlockWeights, Array]:
    """The spec, weights of which none is 0 or 1, and an input."""
    spec = dataclasses.replace(BASE, **changes)
    rng = np.random.default_rng(3)
    weights = {name: 0.5 * rng.standard_normal(shape) for name, shape in weight_shapes(spec).items()}
    return spec, weights, rng.standard_normal((N, spec.d_model))


def norm_of(spec: BlockSpec, kind: str, w: BlockWeights, name: str, x: Array) -> Array:
    if kind == "layernorm":
        x = x - x.mean(axis=-1, keepdims=True)
    normal = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + spec.norm_eps)
    return np.asarray(normal * w[f"{name}.w"] + w.get(f"{name}.b", 0))


def turned(x: Array, rotary: Rotary) -> Array:
    out, width = x.copy(), int(rotary.fraction * x.shape[1])
    for j in range(width // 2):
        a, b = (j, j + width // 2) if rotary.pairing == "half" else (2 * j, 2 * j + 1)
        z = (x[:, a] + 1j * x[:, b]) * np.exp(1j * np.arange(N) * angle_of(rotary, rotary.base ** (-2 * j / width)))
        out[:, a], out[:, b] = z.real, z.imag
    return out


def angle_of(rotary: Rotary, angle: float) -> float:
    """Per token; Llama 3.1's by the three cases of its published code, in wavelengths."""
    s = rotary.scaling
    if s is None or isinstance(s, LinearScaling):
        return angle / (1 if s is None else s.factor)
    wavelength = 2 * math.pi / angle
    if wavelength < s.original_length / s.high_freq_factor:
        return angle
    if wavelength > s.original_length / s.low_freq_factor:
        return angle / s.factor
    smooth = (s.original_length / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor)
    return (1 - smooth) * angle / s.factor + smooth * angle


def normed_head(spec: BlockSpec, w: BlockWeights, role: str, head: int, x: Array) -> Array:
    """One head's queries or keys after qk_norm: of each head by itself, or of all side by side."""

    def projected(index: int) -> Array:
        bias = w[f"attn.b_{role}"][index] if f"attn.b_{role}" in w else 0
        return np.asarray(x @ w[f"attn.W_{role}"][index] + bias)

    name = f"attn.{role.lower()}_norm"
    if spec.qk_norm is None:
        return projected(head)
    if spec.qk_norm_over == "head":
        return norm_of(spec, spec.qk_norm, w, name, projected(head))
    side_by_side = np.hstack([projected(index) for index in range(len(w[f"attn.W_{role}"]))])
    return norm_of(spec, spec.qk_norm, w, name, side_by_side)[:, head * spec.d_k : (head + 1) * spec.d_k]


def logits_of(spec: BlockSpec, head: int, q: Array, k: Array) -> Array:
    scores = q @ k.T * (1 / math.sqrt(spec.d_k) if spec.scale is None else spec.scale)
    if spec.softcap is not None:
        scores = spec.softcap * np.tanh(scores / spec.softcap)
    for i in range(N):
        for j in range(N):
            if spec.position == "alibi":
                scores[i, j] -= 2.0 ** (-8 * (head + 1) / spec.n_heads) * abs(i - j)
            if (spec.causal and j > i) or (spec.window and abs(i - j) > spec.window - spec.causal):
                scores[i, j] = -np.inf
    return scores


def one_head(spec: BlockSpec, w: BlockWeights, head: int, x: Array) -> tuple[Array, Array]:
    """Its attention weights and its output (N, d_v)."""
    group = head * spec.n_kv_heads // spec.n_heads
    q, k = normed_head(spec, w, "Q", head, x), normed_head(spec, w, "K", group, x)
    v = x @ w["attn.W_V"][group] + (w["attn.b_V"][group] if "attn.b_V" in w else 0)
    if isinstance(spec.position, Rotary):
        q, k = turned(q, spec.position), turned(k, spec.position)
    e = np.exp(logits_of(spec, head, q, k))
    p = e / e.sum(axis=1, keepdims=True)
    return p, p @ v


def attention_of(spec: BlockSpec, w: BlockWeights, x: Array) -> Array:
    outputs = [one_head(spec, w, head, x)[1] for head in range(spec.n_heads)]
    if not spec.output_projection:
        return np.concatenate(outputs, axis=1)
    projected = sum(output @ w_o for output, w_o in zip(outputs, w["attn.W_O"], strict=True))
    return np.asarray(projected + w.get("attn.b_O", 0))


def activation_of(name: str, x: Array) -> Array:
    if name == "relu":
        return np.where(x > 0, x, 0)
    if name in ("gelu_tanh", "geglu_tanh"):
        return np.asarray(x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2)
    if name in ("gelu", "geglu"):
        return np.asarray(x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2)
    return np.asarray(x / (1 + np.exp(-x)))


def feed_forward_of(spec: BlockSpec, w: BlockWeights, x: Array) -> Array:
    up = x @ w["mlp.W_in"] + w.get("mlp.b_in", 0)
    hidden = (
        activation_of(spec.activation, x @ w["mlp.W_gate"] + w.get("mlp.b_gate", 0)) * up
        if spec.gated
        else activation_of(spec.activation, up)
    )
    return np.asarray(hidden @ w["mlp.W_out"] + w.get("mlp.b_out", 0))


def expected_steps(spec: BlockSpec, w: BlockWeights, x: Array) -> dict[str, Array]:
    """T1 … H by the equations of design section 4."""

    def norm(name: str, x: Array) -> Array:
        return norm_of(spec, spec.norm, w, name, x)

    steps = {}
    if spec.norm_position == "post":
        steps["T1"] = attention_of(spec, w, x)
        steps["T2"] = x + steps["T1"]
        steps["T3"] = norm("ln1", steps["T2"])
        if spec.d_ff is None:
            return steps | {"H": steps["T3"]}
        steps["T4"] = feed_forward_of(spec, w, steps["T3"])
        steps["T5"] = steps["T3"] + steps["T4"]
        return steps | {"H": norm("ln2", steps["T5"])}
    if spec.norm_position == "output":
        steps["T1"] = norm("ln1_post", attention_of(spec, w, x))
    elif spec.norm_position == "sandwich":
        steps["T1"] = norm("ln1_post", attention_of(spec, w, norm("ln1", x)))
    else:
        steps["T1"] = attention_of(spec, w, norm("ln1", x))
    steps["T2"] = x + steps["T1"]
    if spec.d_ff is None:
        return steps | {"H": steps["T2"]}
    if spec.norm_position == "output":
        steps["T4"] = norm("ln2_post", feed_forward_of(spec, w, steps["T2"]))
    elif spec.norm_position == "sandwich":
        steps["T3"] = norm("ln2", steps["T2"])
        steps["T4"] = norm("ln2_post", feed_forward_of(spec, w, steps["T3"]))
    else:
        steps["T3"] = norm("ln2", x if spec.parallel else steps["T2"])
        steps["T4"] = feed_forward_of(spec, w, steps["T3"])
    steps["T5"] = steps["T2"] + steps["T4"]
    return steps | {"H": steps["T5"]}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
class TestSteps:
    def test_each_is_its_equation(self, changes: dict[str, Any]) -> None:
        spec, weights, x = case(changes)
        steps, expected = trace_block(spec, weights, x).steps, expected_steps(spec, weights, x)
        assert list(steps) == list(expected)
        for name, array in expected.items():
            assert steps[name].shape == (N, spec.d_model)
            np.testing.assert_allclose(steps[name], array, rtol=1e-11, atol=1e-12, err_msg=name)

    def test_attention_weights_are_each_heads_own(self, changes: dict[str, Any]) -> None:
        spec, weights, x = case(changes)
        trace = trace_block(spec, weights, x)
        for head in range(spec.n_heads):
            expected = one_head(spec, weights, head, trace.attention_input)
            np.testing.assert_allclose(trace.weights[head], expected[0], rtol=1e-11, atol=1e-13)
            np.testing.assert_allclose(trace.heads[head], expected[1], rtol=1e-11, atol=1e-12)

    def test_shapes_of_everything_else(self, changes: dict[str, Any]) -> None:
        spec, weights, x = case(changes)
        trace = trace_block(spec, weights, x)
        h, g = spec.n_heads, spec.n_kv_heads
        assert trace.q.shape == trace.q_projection.shape == (h, N, spec.d_k)
        assert trace.k.shape == trace.k_projection.shape == (g, N, spec.d_k)
        assert trace.v.shape == (g, N, spec.d_v)
        assert trace.scores.shape == trace.raw_scores.shape == (h, N, N)
        assert trace.lse.shape == (h, N)

    def test_every_tensor_is_used(self, changes: dict[str, Any]) -> None:
        """Changing any one tensor changes the output. (Unless b_K or k_norm.b: they move whole rows of scores.)"""
        spec, weights, x = case(changes)
        before = trace_block(spec, weights, x).output
        for name in weights.keys() - {"attn.b_K", "attn.k_norm.b"}:
            bent = weights[name] * np.linspace(1, 2, weights[name].shape[-1])  # a norm would undo a factor
            changed = weights | {name: bent}
            assert np.abs(trace_block(spec, changed, x).output - before).max() > 1e-6, name


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
@pytest.mark.parametrize(
    "name",
    [
        "post",
        "pre",
        "swiglu",
        "alibi",
        "qk layernorm and rotary",
        "no output projection",
        "sandwich",
        "parallel",
        "olmo2's",
    ],
)
def test_narrow_dtypes_come_near(name: str, dtype: Any) -> None:
    spec, weights, x = case(VARIANTS[name])
    small, x = {name: w.astype(dtype) for name, w in weights.items()}, x.astype(dtype)
    wide = {name: w.astype(np.float64) for name, w in small.items()}
    expected = expected_steps(spec, wide, x.astype(np.float64))
    for step, array in trace_block(spec, small, x).steps.items():
        assert array.dtype == dtype
        error = np.abs(array.astype(np.float64) - expected[step]).max()
        assert error <= 20 * EPS[np.dtype(dtype).name] * np.abs(expected[step]).max(), step


@pytest.mark.parametrize("activation", ["relu", "swiglu"])
def test_float16_steps_that_overflow_are_infinite_without_a_warning(activation: Any) -> None:
    """Token (60000, −60000) attends to itself: T1 = X, and T2 is beyond float16."""
    spec = BlockSpec(
        d_model=2, n_heads=1, n_kv_heads=1, d_k=2, d_v=2, d_ff=2, norm_position="pre", activation=activation,
        output_projection=False, norm="rmsnorm", bias=False,
    )  # fmt: skip
    weights = initial_block(spec, Initialisation(scheme="identity"), layer=0, dtype=np.float16)
    weights["ln1.w"] = np.full(2, 60000, np.float16)
    trace = trace_block(spec, weights, np.array([[60000, -60000]], np.float16))
    np.testing.assert_array_equal(trace.t1, np.array([[60000, -60000]], np.float16))
    np.testing.assert_array_equal(trace.t2, [[np.inf, -np.inf]])
    assert not np.isfinite(trace.output).any()


@pytest.mark.parametrize("name", ["parallel", "sandwich", "output", "qk rmsnorm over all", "rotary, llama3"])
def test_the_plain_block_is_another_one(name: str) -> None:
    """What the new forms are tested by would tell the old ones from them."""
    spec, weights, x = case(VARIANTS[name])
    plain: dict[str, Any] = {"parallel": False, "norm_position": "pre", "qk_norm": None}
    position = dataclasses.replace(spec.position, scaling=None) if isinstance(spec.position, Rotary) else spec.position
    weights = weights | {name: weights[f"{name}_post"] for name in ("ln1", "ln2") if f"{name}_post" in weights}
    other = dataclasses.replace(spec, **plain, position=position)
    added = {name: np.ones(shape) for name, shape in weight_shapes(other).items() if name not in weights}
    found, expected = trace_block(other, weights | added, x).output, expected_steps(spec, weights, x)["H"]
    assert np.abs(found - expected).max() > 1e-2


class TestByHand:
    """One head that hands every token the mean of all: W_Q = 0, W_V and W_O the identity. Tokens (3, 1) and (1, −1)."""

    X = np.array([[3.0, 1.0], [1.0, -1.0]])
    ROOT = math.sqrt(2)

    def steps(self, **changes: Any) -> dict[str, Array]:
        spec = BlockSpec(
            d_model=2, n_heads=1, n_kv_heads=1, d_k=2, d_v=2, d_ff=2, norm="rmsnorm", norm_eps=1e-300, bias=False,
            output_projection=False, **changes,
        )  # fmt: skip
        weights = initial_block(spec, Initialisation(scheme="identity"), layer=0, dtype=np.float64)
        return trace_block(spec, weights | {"attn.W_Q": np.zeros((1, 2, 2))}, self.X).steps

    def test_parallel(self) -> None:
        """Normed: (3, 1)/√5 and (1, −1); their mean m; the feed-forward keeps what is positive of the same."""
        found, root = self.steps(norm_position="pre", parallel=True), math.sqrt(5)
        mean = np.array([3 / root + 1, 1 / root - 1]) / 2
        np.testing.assert_allclose(found["T3"], [[3 / root, 1 / root], [1.0, -1.0]], rtol=1e-14)
        expected = self.X + mean + np.array([[3 / root, 1 / root], [1, 0]])
        np.testing.assert_allclose(found["H"], expected, rtol=1e-14)

    def test_output(self) -> None:
        """The mean is (2, 0), normed (√2, 0); then relu of T2, normed, is added to T2."""
        found = self.steps(norm_position="output")
        t2 = self.X + np.array([self.ROOT, 0])
        np.testing.assert_allclose(found["T2"], t2, rtol=1e-14)
        kept = np.maximum(t2, 0)
        expected = t2 + kept / np.sqrt((kept**2).mean(axis=1, keepdims=True))
        np.testing.assert_allclose(found["H"], expected, rtol=1e-14)
        assert list(found) == ["T1", "T2", "T4", "T5", "H"]

    def test_sandwich(self) -> None:
        """Token (1, −1): T1 is the normed mean, T2 the sum, T4 the normed relu of the normed sum: (√2, 0) again."""
        found, root = self.steps(norm_position="sandwich"), math.sqrt(5)
        mean = np.array([3 / root + 1, 1 / root - 1])
        t1 = mean / math.sqrt((mean**2).mean())
        np.testing.assert_allclose(found["T1"], [t1, t1], rtol=1e-14)
        np.testing.assert_allclose(found["T4"][1], [self.ROOT, 0], rtol=1e-14)
        np.testing.assert_allclose(found["H"][1], [1 + t1[0] + self.ROOT, -1 + t1[1]], rtol=1e-14)


def stack_of(spec: BlockSpec, layers: int, dtype: Any = np.float64) -> Stack:
    how = Initialisation()
    blocks = [initial_block(spec, how, layer=i, dtype=dtype) for i in range(layers)]
    return Stack(specs=[spec] * layers, weights=blocks, dtype=np.dtype(dtype))


class TestStack:
    def test_each_block_is_given_what_the_one_below_gave(self) -> None:
        stack, x = stack_of(BASE, 3), random_input(7, 13, seed=0, dtype=np.float64)
        trace = stack.trace(x)
        assert len(trace.hidden_states) == 4
        assert len(trace.layers) == len(trace.weights) == 3
        np.testing.assert_array_equal(trace.hidden_states[0], x)
        for i, layer in enumerate(trace.layers):
            np.testing.assert_array_equal(layer.x, trace.hidden_states[i])
            np.testing.assert_array_equal(layer.output, trace.hidden_states[i + 1])
            again: LayerTrace = trace_block(BASE, stack.weights[i], trace.hidden_states[i])
            np.testing.assert_array_equal(trace.weights[i], again.weights)
        np.testing.assert_array_equal(trace.output, trace.layers[-1].output)

    def test_of_blocks_that_differ(self) -> None:
        """A layer's window and scale are its own, dense and streamed."""
        stack, x = stack_of(BASE, 3), random_input(N, 13, seed=0, dtype=np.float64)
        specs = [BASE, dataclasses.replace(BASE, window=1, scale=3.0), dataclasses.replace(BASE, window=2)]
        mixed = dataclasses.replace(stack, specs=specs)
        trace, state = mixed.trace(x), x
        for spec, weights, layer, streamed in zip(specs, stack.weights, trace.layers, mixed.stream(x), strict=True):
            state = expected_steps(spec, weights, state)["H"]
            np.testing.assert_allclose(layer.output, state, rtol=1e-10, atol=1e-12)
            np.testing.assert_allclose(streamed.output, state, rtol=1e-10, atol=1e-12)
        assert np.abs(stack.trace(x).output - trace.output).max() > 1e-3

    @pytest.mark.parametrize("given", [np.float16, np.float32, np.float64])
    def test_sinusoids_are_added_before_anything_is_rounded(self, given: Any) -> None:
        stack = stack_of(dataclasses.replace(BASE, position="sinusoidal"), 1, np.float32)
        x = np.ones((5, 13), given)
        angles = [[i / 10000 ** ((c - c % 2) / 13) for c in range(13)] for i in range(5)]
        waves = [[math.cos(a) if c % 2 else math.sin(a) for c, a in enumerate(row)] for row in angles]
        found = stack.trace(x).hidden_states[0]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, 1 + np.array(waves), rtol=2.0**-23)

    @pytest.mark.parametrize(
        ("x", "text"),
        [
            (np.ones((5, 13), np.int64), "x: dtype int64; expected one of float16, bfloat16, float32, float64"),
            (np.ones((5, 12)), "x: shape (5, 12); expected (n, 13), set by d_model"),
            (np.ones((2, 5, 13)), "x: shape (2, 5, 13); expected (n, 13), set by d_model"),
        ],
    )
    def test_embeddings_that_do_not_fit_are_refused(self, x: Array, text: str) -> None:
        with pytest.raises(ShapeError) as caught:
            stack_of(BASE, 1).trace(x)
        assert str(caught.value) == text
