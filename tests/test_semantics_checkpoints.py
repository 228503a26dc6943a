"""What attention means inside checkpoints: every layer against the definition, whatever the tokens hold."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import attnlab
from attnlab.maths.architecture import BlockSpec
from attnlab.maths.stack import Stack
from attnlab.maths.weights import weight_shapes
from tests.checkpoint_copies import GOLDEN, copied, edit_tensors, golden_ids
from tests.semantics_paths import apart, by_definition, checkpoint
from tests.streaming_cases import cut_small

Array = NDArray[Any]

#: The words' embeddings of each, and whether its tokens see only those before them.
WORDS = {
    "bert": ("embeddings.word_embeddings.weight", False),
    "gpt2": ("transformer.wte.weight", True),
    "bloom": ("transformer.word_embeddings.weight", True),
    "gemma2": ("model.embed_tokens.weight", True),
    "gpt_neox": ("gpt_neox.embed_in.weight", True),
    "olmo2": ("model.embed_tokens.weight", True),
}
#: What the token in the middle is made to hold.
HELD = [1.0, 0.0, 1e30, -1e30, 1e-30, 1e-42, np.nan, np.inf]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_small(monkeypatch)


def holding(tmp_path: Path, name: str, value: float) -> tuple[Path, Array, int]:
    """A checkpoint with a token whose embedding is this value throughout, ids with it in the middle, and where."""
    folder, ids = copied(tmp_path, name), golden_ids(name)
    middle = len(ids) // 2
    ids[middle] = next(one for one in range(2, 50) if one not in ids)
    edit_tensors(folder / "model.safetensors", lambda tensors: tensors[WORDS[name][0]][ids[middle]].fill(value))
    return folder, ids, middle


@pytest.mark.parametrize("value", HELD)
@pytest.mark.parametrize("name", WORDS)
def test_every_layer_is_by_definition(name: str, value: float, tmp_path: Path) -> None:
    folder, ids, _ = holding(tmp_path, name, value)
    seen = list(checkpoint(folder, ids))
    assert len(seen) >= 2 * len(attnlab.load_checkpoint(folder).stack.specs)
    assert [apart(each, by_definition(each)) for each in seen] == [[]] * len(seen)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", WORDS)
def test_what_is_not_finite_stays_with_those_who_see_it(name: str, value: float, tmp_path: Path) -> None:
    """Causal: what lies before it is what it was, to the last bit; else it reaches every token.

    Gemma 2's first layer has a window: there it does not yet reach every later one.
    """
    folder, ids, middle = holding(tmp_path, name, value)
    before, after = attnlab.load_checkpoint(GOLDEN / name).trace(ids), attnlab.load_checkpoint(folder).trace(ids)
    first = middle if WORDS[name][1] else 0
    for one, other in zip(before.hidden_states[1:], after.hidden_states[1:], strict=True):
        assert np.isnan(other[middle]).any()
        np.testing.assert_array_equal(other[:first], one[:first])
    assert np.isnan(after.output[first:]).any(axis=-1).all()
    rows = attnlab.load_checkpoint(folder).statistics(ids)
    assert {int(row.nonfinite_rows) for row in rows if row.layer == 1} == {len(ids) - first}


@pytest.mark.parametrize("name", WORDS)
def test_one_token(name: str) -> None:
    """Its weight is 1, and its statistics are those of no choice at all."""
    ids = golden_ids(name)[:1]
    seen = list(checkpoint(GOLDEN / name, ids))
    assert [apart(each, by_definition(each)) for each in seen] == [[]] * len(seen)
    model = attnlab.load_checkpoint(GOLDEN / name)
    assert all((weights == 1).all() for weights in model.trace(ids).weights)
    for row in model.statistics(ids):
        assert (row.sink_mass, row.rows, row.choosing_rows, row.empty_rows) == (1, 1, 0, 0)
        assert np.isnan([row.entropy, row.perplexity, row.effective_keys, row.max_weight]).all()


def test_a_definition_that_is_wrong_is_told_from_them() -> None:
    """Gemma 2 has a cap, a scale and windows of its own: without any of them it is another."""
    seen = list(checkpoint(GOLDEN / "gemma2", golden_ids("gemma2")))
    for wrong in ({"softcap": None}, {"scale": None}, {"causal": False}):
        assert any(apart(each, by_definition(each._replace(settings={**each.settings, **wrong}))) for each in seen), (
            wrong
        )
    windowed = [each for each in seen if each.settings["window"] is not None]
    assert windowed
    assert any(
        apart(each, by_definition(each._replace(settings={**each.settings, "window": None}))) for each in windowed
    )


@pytest.mark.parametrize("size", [1e-30, 1e-8, 1.0, np.pi, 1e10, 1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_tokens_give_a_blocks_norm_its_bias(size: float, dtype: Any) -> None:
    """Traced and streamed, at any size: attention reads the bias, and nothing else."""
    spec = BlockSpec(d_model=12, n_heads=2, n_kv_heads=1, d_k=5, d_v=3, d_ff=7, norm_position="pre")
    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal(shape).astype(dtype) for name, shape in weight_shapes(spec).items()}
    stack = Stack(specs=(spec,), weights=(weights,), dtype=np.dtype(dtype))
    x = np.full((9, 12), size, dtype)
    bias = np.broadcast_to(weights["ln1.b"], x.shape)
    np.testing.assert_array_equal(stack.trace(x).layers[0].attention_input, bias)
    (layer,) = stack.stream(x)
    np.testing.assert_array_equal(layer.attention_input, bias)
    np.testing.assert_allclose(layer.output, stack.trace(x).output, rtol=1e-5)
