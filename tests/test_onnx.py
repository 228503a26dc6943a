"""The `onnx` package's own node tests, through our layers: an answer key that nobody here wrote."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from attnlab import attention, attention_scores
from attnlab.maths.activations import gelu, gelu_tanh
from attnlab.maths.norms import layer_norm, rms_norm
from attnlab.maths.positions import rotate
from attnlab.maths.softmax import softmax
from tests.golden.onnx_cases import FEWEST, Case, onnx_cases

Array = NDArray[Any]

CASES = {op: onnx_cases(op) for op in FEWEST}
#: qk_matmul_output_mode
SCALED, CAPPED, BIASED, WEIGHTS = range(4)


def every(op: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", CASES[op], ids=lambda case: case.name.removeprefix("test_"))


def check(case: Case, name: str, ours: Array) -> None:
    theirs = case.outputs[name]
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    np.testing.assert_allclose(
        ours.astype(np.float64), theirs.astype(np.float64), rtol=case.rtol, atol=case.atol, err_msg=name
    )


class Call(NamedTuple):
    """A case of ONNX's Attention as a call of ours."""

    q: Array
    k: Array
    v: Array
    settings: dict[str, Any]


def heads_apart(x: Array, heads: int | None) -> Array:
    """(batch, n, h·d) → (batch, h, n, d)."""
    return x if heads is None else x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)


def heads_together(x: Array) -> Array:
    return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1)


def call_of(case: Case) -> Call:
    attributes, inputs = case.attributes, case.inputs
    q = heads_apart(inputs["Q"], attributes.get("q_num_heads"))
    k, v = (heads_apart(inputs[name], attributes.get("kv_num_heads")) for name in "KV")
    if "past_key" in inputs:
        k, v = np.concatenate([inputs["past_key"], k], axis=2), np.concatenate([inputs["past_value"], v], axis=2)
    settings = places(case, q.shape[2], k.shape[2])
    if "attn_mask" in inputs:
        add_mask(settings, inputs["attn_mask"], k.shape[2])
    return Call(q, k, v, settings | {"scale": attributes.get("scale"), "softcap": attributes["softcap"] or None})


def places(case: Case, n: int, m: int) -> dict[str, Any]:
    """Causal order and windows in our own words where those reach; with cached keys, or uneven sides, as a mask."""
    causal = bool(case.attributes["is_causal"])
    left, right = (case.attributes.get(f"{side}_window_size", -1) for side in ("left", "right"))
    cached = {"past_key", "nonpad_kv_seqlen"} & set(case.inputs)
    if not cached and (causal or left == right) and right < 0:
        return {"causal": causal, "window": left + 1 if left >= 0 else None}
    first: Array = np.zeros((1, 1, 1, 1), int)
    visible = np.ones((1, 1, n, m), bool)
    if "past_key" in case.inputs:
        first = first + case.inputs["past_key"].shape[2]
    if "nonpad_kv_seqlen" in case.inputs:
        length = case.inputs["nonpad_kv_seqlen"].reshape(-1, 1, 1, 1)
        first, visible = length - n, np.arange(m) < length
    back = first + np.arange(n)[:, None] - np.arange(m)
    for asked, hidden in [(causal, back < 0), (left >= 0, back > left), (right >= 0, -back > right)]:
        visible = visible & ~hidden if asked else visible
    return {"mask": visible}


def add_mask(settings: dict[str, Any], given: Array, m: int) -> None:
    """ONNX's attn_mask: a boolean one joins the mask, a floating one is the bias; keys beyond its end are hidden."""
    boolean = given.dtype == np.bool_
    padding = [(0, 0)] * (given.ndim - 1) + [(0, m - given.shape[-1])]
    padded = np.pad(given, padding, constant_values=False if boolean else -np.inf)
    if boolean:
        settings["mask"] = padded & settings.get("mask", True)
    else:
        settings["bias"] = padded


def scores_of(call: Call, mode: int) -> Array:
    """What the third output holds: the scores scaled, then capped too, then biased and masked too."""
    settings = call.settings
    if mode != BIASED:
        settings = {name: settings[name] for name in ("scale", "softcap") if mode == CAPPED or name == "scale"}
    return attention_scores(call.q, call.k, **settings)


@pytest.mark.parametrize("op", FEWEST)
def test_no_case_is_missed(op: str) -> None:
    assert len(CASES[op]) >= FEWEST[op]


@pytest.mark.parametrize(
    ("part", "fewest", "name"),
    [
        ("mask", 44, "4d_attn_mask_bool"),
        ("bias", 42, "4d_attn_mask"),
        ("causal", 17, "4d_causal"),
        ("window", 4, "local_window"),
        ("scale", 6, "4d_scaled"),
        ("softcap", 11, "4d_softcap"),
    ],
)
def test_every_part_of_attention_is_exercised(part: str, fewest: int, name: str) -> None:
    settings = {case.name: call_of(case).settings for case in CASES["Attention"]}
    asking = [case for case, given in settings.items() if not any(given.get(part) is no for no in (None, False))]
    assert f"test_attention_{name}" in asking
    assert len(asking) >= fewest


def test_every_kind_of_third_output_is_compared() -> None:
    cases = [case for case in CASES["Attention"] if "qk_matmul_output" in case.outputs]
    assert len(cases) >= 18
    assert {case.attributes["qk_matmul_output_mode"] for case in cases} == {SCALED, CAPPED, BIASED, WEIGHTS}


@every("Attention")
def test_attention(case: Case) -> None:
    call = call_of(case)
    found = attention(call.q, call.k, call.v, **call.settings)
    check(case, "Y", heads_together(found.output) if case.inputs["Q"].ndim == 3 else found.output)
    if "qk_matmul_output" in case.outputs:
        mode = case.attributes["qk_matmul_output_mode"]
        check(case, "qk_matmul_output", found.weights if mode == WEIGHTS else scores_of(call, mode))


def flattened(case: Case) -> Array:
    """The normalised axes, from `axis` on, as one."""
    x = case.inputs["X"]
    return x.reshape(*x.shape[: case.attributes["axis"] % x.ndim], -1)


@every("LayerNormalization")
def test_layer_norm(case: Case) -> None:
    gain, bias = case.inputs["Scale"].ravel(), case.inputs["B"].ravel()
    ours = layer_norm(flattened(case), gain, bias, eps=case.attributes["epsilon"])
    check(case, "Y", ours.reshape(case.inputs["X"].shape))


@every("RMSNormalization")
def test_rms_norm(case: Case) -> None:
    ours = rms_norm(flattened(case), case.inputs["scale"].ravel(), eps=case.attributes["epsilon"])
    check(case, "Y", ours.reshape(case.inputs["X"].shape))


@every("RotaryEmbedding")
def test_rotary(case: Case) -> None:
    attributes, inputs = case.attributes, case.inputs
    three = inputs["X"].ndim == 3
    x = heads_apart(inputs["X"], attributes["num_heads"] if three else None)
    cos, sin = inputs["cos_cache"], inputs["sin_cache"]
    if "position_ids" in inputs:
        cos, sin = cos[inputs["position_ids"]], sin[inputs["position_ids"]]
    ours = rotate(x, cos[:, None], sin[:, None], pairing="interleaved" if attributes["interleaved"] else "half")
    check(case, "Y", heads_together(ours) if three else ours)


@every("Gelu")
def test_gelu(case: Case) -> None:
    check(case, "Y", (gelu_tanh if case.attributes["approximate"] == b"tanh" else gelu)(case.inputs["X"]))


@every("Softmax")
def test_softmax(case: Case) -> None:
    axis = case.attributes["axis"]
    weights = softmax(np.moveaxis(case.inputs["input"], axis, -1)).weights
    check(case, "output", np.moveaxis(weights, -1, axis))
