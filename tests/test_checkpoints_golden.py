"""Small checkpoints of seven families give what transformers gave: golden/make_checkpoints.py made both."""

import json
import math
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import attnlab
from tests.golden.checkpoint_cases import GOLDEN
from tests.sweep_checkpoints import BOUND, differences, off, statistics_of, worst

Array = NDArray[Any]

FOLDER = Path(__file__).parent / "golden" / "checkpoints"
needs_tokenizers = pytest.mark.skipif(find_spec("tokenizers") is None, reason="tokenizers is not installed")


def expected(name: str) -> dict[str, Array]:
    with np.load(FOLDER / name / "expected.npz") as file:
        return dict(file)


def changed(tmp_path: Path, name: str, **settings: object) -> Path:
    """A copy of a golden checkpoint whose config.json says something else."""
    folder = tmp_path / name
    shutil.copytree(FOLDER / name, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | settings), encoding="utf-8")
    return folder


def test_every_golden_checkpoint_is_compared() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*GOLDEN}
    assert sum(path.stat().st_size for path in FOLDER.rglob("*")) < 400_000


@pytest.mark.parametrize("name", GOLDEN)
class TestAgainstTransformers:
    def test_weights_hidden_states_and_statistics(self, name: str) -> None:
        found = differences(FOLDER / name)
        assert max(found.weights, found.hidden_states, found.statistics) <= BOUND, found

    def test_a_layer_at_a_time_gives_the_same(self, name: str) -> None:
        ids = expected(name)["ids"]
        kept, read_again = (attnlab.load_checkpoint(FOLDER / name, keep=keep) for keep in (True, False))
        for _ in range(2):
            again = read_again.trace(ids)
            for a, b in zip(kept.trace(ids).hidden_states, again.hidden_states, strict=True):
                np.testing.assert_array_equal(a, b, strict=True)

    def test_the_stack_takes_the_embeddings_that_the_model_makes(self, name: str) -> None:
        model, arrays = attnlab.load_checkpoint(FOLDER / name), expected(name)
        embedded = model.embedded(arrays["ids"])
        assert (embedded.dtype, worst([embedded], arrays["hidden_states"][:1]) <= BOUND) == (np.float32, True)
        inner = model.stack.trace(embedded).hidden_states[:-1]
        assert worst(inner, arrays["hidden_states"][:-1]) <= BOUND

    def test_what_the_model_says_of_itself(self, name: str) -> None:
        model, settings = attnlab.load_checkpoint(FOLDER / name), GOLDEN[name].settings
        layers, heads, n, _ = expected(name)["attentions"].shape
        assert (model.config.name, model.config.layers, len(model.stack.specs)) == (name, layers, layers)
        assert (model.config.block.n_heads, model.stack.dtype) == (heads, np.float32)
        assert model.config.block == model.stack.specs[0]
        assert model.family == json.loads((FOLDER / name / "config.json").read_text(encoding="utf-8"))["model_type"]
        assert model.parameters == stored_numbers(FOLDER / name)
        learned = {"bert": "max_position_embeddings", "gpt2": "n_positions"}.get(name)
        assert model.max_positions == (settings[learned] if learned else None)
        assert len(model.tokens_of(np.arange(n))) == n


def stored_numbers(folder: Path) -> int:
    """How many numbers the .safetensors files hold, by their own headers."""
    total = 0
    for path in folder.glob("*.safetensors"):
        data = path.read_bytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        total += sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    return total


#: A setting that each law of a family hangs on, and another value that it could have been read with.
WRONG = [
    ("bert", {"hidden_act": "relu"}),
    ("bert", {"layer_norm_eps": 1e-2}),
    ("gpt2", {"scale_attn_weights": False}),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
    ("gpt2", {"activation_function": "gelu"}),
    ("llama-grouped", {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}),
    ("llama-grouped", {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}}),
    ("gemma2", {"attn_logit_softcapping": None}),
    ("gemma2", {"query_pre_attn_scalar": 4}),
    ("gemma2", {"sliding_window": 6}),
    ("gemma2", {"layer_types": ["full_attention", "sliding_attention"]}),
    ("gpt_neox", {"use_parallel_residual": False}),
    ("gpt_neox", {"rope_parameters": {"rope_type": "default", "rope_theta": 800.0, "partial_rotary_factor": 0.25}}),
    ("olmo2", {"rms_norm_eps": 1e-2}),
    ("bloom", {"layer_norm_epsilon": 1e-2}),
]


@pytest.mark.parametrize(("name", "settings"), WRONG)
def test_a_wrong_law_is_seen(name: str, settings: dict[str, object], tmp_path: Path) -> None:
    found = differences(changed(tmp_path, name, **settings))
    assert max(found.weights, found.hidden_states) > 10 * BOUND


def test_a_wrong_statistic_is_seen() -> None:
    weights = expected("bert")["attentions"][1, 2].astype(np.float64)
    true = statistics_of(weights)
    for name, value in statistics_of(weights.T / weights.T.sum(axis=-1, keepdims=True)).items():
        if name in ("entropy", "sink_mass", "distance", "previous_mass", "received"):
            assert off(value, true[name]) > 10 * BOUND


@needs_tokenizers
class TestTokenizer:
    """The file's own padding to 16 and cut at 5 are turned off."""

    def test_a_text_is_encoded_whole_and_no_longer(self) -> None:
        text = attnlab.load_checkpoint(FOLDER / "bert").encode(GOLDEN["bert"].sentences[0])
        assert (text.ids.dtype, text.ids.tolist()) == (np.int64, expected("bert")["ids"].tolist())
        assert text.tokens == ("[CLS]", *GOLDEN["bert"].sentences[0].split(), "[SEP]")

    def test_the_file_itself_would_cut_and_pad(self) -> None:
        from tokenizers import Tokenizer

        path = str(FOLDER / "bert" / "tokenizer.json")
        assert Tokenizer.from_file(path).encode("the river near the boat").tokens == [
            *("[CLS]", "the", "river", "near", "[SEP]"),
            *["[PAD]"] * 11,
        ]

    def test_tokens_of_ids(self) -> None:
        model = attnlab.load_checkpoint(FOLDER / "bert")
        text = model.encode("A river at the bank!")
        assert model.tokens_of(text.ids) == text.tokens
        assert text.tokens == ("[CLS]", "a", "river", "a", "##t", "the", "bank", "[UNK]", "[SEP]")
