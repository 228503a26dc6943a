"""A checkpoint opened: what is read and when, how tokens become embeddings, how texts become tokens."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

import attnlab
from attnlab.cli.texts import beyond_training
from attnlab.errors import InputError, MemoryRefused, UsageError
from attnlab.files import safetensors_files
from attnlab.models import layout
from attnlab.models.checkpoint import config_of
from attnlab.models.tokenizer import Text
from tests.checkpoint_copies import GOLDEN, copied, edit_tensors, golden_ids, set_keys

Array = NDArray[Any]
needs_tokenizers = pytest.mark.skipif(find_spec("tokenizers") is None, reason="tokenizers is not installed")


class TestReading:
    @pytest.fixture
    def read(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Where every tensor that is read whole lies."""
        places: list[str] = []

        def watched(file: Any, tensor: safetensors_files.StoredTensor, where: str) -> Array:
            places.append(where)
            return safetensors_files.read_tensor(file, tensor, where)

        monkeypatch.setattr(layout, "read_tensor", watched)
        return places

    def test_opening_reads_no_tensor(self, read: list[str]) -> None:
        attnlab.load_checkpoint(GOLDEN / "bert")
        assert read == []

    def test_a_layer_is_read_when_it_is_used_and_once_where_it_is_kept(self, read: list[str]) -> None:
        model = attnlab.load_checkpoint(GOLDEN / "bert")
        first = model.stack.weights[0]
        assert read
        assert all("layer.0." in place for place in read)
        count = len(read)
        assert model.stack.weights[0] is first
        assert len(read) == count

    def test_a_layer_that_is_not_kept_is_read_again(self, read: list[str]) -> None:
        model = attnlab.load_checkpoint(GOLDEN / "bert", keep=False)
        first, count = model.stack.weights[0], len(read)
        second = model.stack.weights[0]
        assert len(read) == 2 * count
        for name, tensor in first.items():
            np.testing.assert_array_equal(tensor, second[name])

    def test_a_fused_tensor_is_read_once(self, read: list[str]) -> None:
        _ = attnlab.load_checkpoint(GOLDEN / "gpt2").stack.weights[0]
        assert sum("c_attn.weight" in place for place in read) == 1

    def test_layers_are_a_sequence(self) -> None:
        layers = attnlab.load_checkpoint(GOLDEN / "bert").stack.weights
        last = layers[-1]["attn.W_Q"]
        np.testing.assert_array_equal(last, layers[len(layers) - 1]["attn.W_Q"])
        np.testing.assert_array_equal(layers[1:][-1]["attn.W_Q"], last)
        with pytest.raises(IndexError):
            _ = layers[len(layers)]

    def test_rows_of_a_table_are_those_of_the_whole(self, tmp_path: Path) -> None:
        table = np.random.default_rng(0).standard_normal((11, 3)).astype(np.float16)
        path = tmp_path / "table.safetensors"
        safetensors.numpy.save_file({"first": np.zeros(5, np.float32), "table": table}, path)
        indices = np.array([10, 0, 7, 7, 2])
        with path.open("rb") as file:
            held = safetensors_files.read_directory(file, "table", max_bytes=1 << 20)
            found = safetensors_files.read_rows(file, held["table"], indices, "table")
            with pytest.raises(InputError, match=r"shape \(5,\); expected a matrix"):
                safetensors_files.read_rows(file, held["first"], indices, "first")
        np.testing.assert_array_equal(found, table[indices], strict=True)


class TestEmbeddings:
    def test_roberta_counts_positions_after_its_padding(self, tmp_path: Path) -> None:
        """Positions of padding tokens are the padding's own row, and the others go on as if they were not there."""
        folder = as_roberta(tmp_path, padding=2)
        model = attnlab.load_checkpoint(folder)
        tensors = safetensors.numpy.load_file(folder / "model.safetensors")
        words = next(t for name, t in tensors.items() if name.endswith("word_embeddings.weight"))
        table = next(t for name, t in tensors.items() if name.endswith("position_embeddings.weight"))
        types = next(t for name, t in tensors.items() if name.endswith("token_type_embeddings.weight"))
        ids = np.array([5, 2, 7, 5])
        expected = words[ids] + types[0] + table[[3, 2, 4, 5]]
        expected -= expected.mean(axis=1, keepdims=True)
        expected /= np.sqrt(np.square(expected).mean(axis=1, keepdims=True) + model.config.block.norm_eps)
        gain, bias = (next(t for n, t in tensors.items() if f"embeddings.LayerNorm.{k}" in n) for k in ("we", "bi"))
        np.testing.assert_allclose(model.embedded(ids), expected * gain + bias, atol=2e-6)
        assert model.max_positions == len(table) - 3

    @pytest.mark.parametrize(
        ("ids", "said"),
        [
            ([[1, 2]], r"ids: int64 of shape \(1, 2\); expected one or more whole numbers, \(n,\)"),
            ([], "expected one or more whole numbers"),
            ([1.0], "ids: float64 of shape"),
            ([-1], "ids: -1; expected 0 to"),
            ([10**9], "ids: 1000000000; expected 0 to"),
        ],
    )
    def test_other_ids_are_refused(self, ids: Any, said: str) -> None:
        with pytest.raises(InputError, match=said):
            attnlab.load_checkpoint(GOLDEN / "bert").embedded(np.array(ids))

    def test_more_tokens_than_positions_are_refused_with_the_way_round(self) -> None:
        model = attnlab.load_checkpoint(GOLDEN / "bert")
        most = model.max_positions or 0
        assert model.embedded(np.ones(most, np.int64)).shape == (most, model.config.block.d_model)
        with pytest.raises(InputError, match=rf"{most + 1} tokens; expected at most {most}, .*--truncate"):
            model.embedded(np.ones(most + 1, np.int64))

    def test_rotary_models_take_any_length(self) -> None:
        model = attnlab.load_checkpoint(GOLDEN / "llama-grouped")
        assert model.max_positions is None
        assert model.trained_positions is not None
        assert len(model.embedded(np.zeros(model.trained_positions + 1, np.int64))) == model.trained_positions + 1
        assert model.longest_text == model.trained_positions

    @pytest.mark.parametrize("spelling", ["n_positions", "seq_length", "max_sequence_length"])
    def test_the_length_of_texts_has_older_spellings(self, spelling: str, tmp_path: Path) -> None:
        folder = set_keys(copied(tmp_path, "llama-grouped"), **{"max_position_embeddings": None, spelling: 19})
        assert attnlab.load_checkpoint(folder).longest_text == 19

    def test_a_text_is_beyond_it_with_one_token_more(self, tmp_path: Path) -> None:
        model = attnlab.load_checkpoint(set_keys(copied(tmp_path, "llama-grouped"), max_position_embeddings=19))
        assert beyond_training(model, 19) == ""
        assert beyond_training(model, 20).startswith("The text has 20 tokens; config.json speaks of 19: ")


def as_roberta(tmp_path: Path, *, padding: int) -> Path:
    """The golden bert under RoBERTa's name."""
    folder = set_keys(copied(tmp_path, "bert"), model_type="roberta", pad_token_id=padding)

    def rename(tensors: dict[str, Array]) -> None:
        for name in list(tensors):
            if name.startswith("bert."):
                tensors["roberta." + name.removeprefix("bert.")] = tensors.pop(name)

    edit_tensors(folder / "model.safetensors", rename)
    return folder


class TestTokens:
    def test_without_a_tokenizer_they_are_numbers(self) -> None:
        model = attnlab.load_checkpoint(GOLDEN / "gpt2")
        assert model.tokenizer is None
        assert model.tokens_of(np.array([3, 11])) == ("#3", "#11")
        with pytest.raises(InputError, match=r"no tokenizer\.json; expected one to read a text, or --ids"):
            model.encode("a text")

    def test_without_the_package_they_are_numbers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "tokenizers", None)
        model = attnlab.load_checkpoint(GOLDEN / "bert")
        assert model.tokens_of(np.array([3, 11])) == ("#3", "#11")
        with pytest.raises(UsageError, match=r"pip install 'attnlab\[models\]', or --ids"):
            model.encode("a text")

    @needs_tokenizers
    def test_a_tokenizer_that_is_none_is_refused(self, tmp_path: Path) -> None:
        folder = copied(tmp_path, "bert")
        (folder / "tokenizer.json").write_text('{"version": "1.0"}', encoding="utf-8")
        with pytest.raises(InputError, match=r"tokenizer\.json: .*; expected a tokenizer\.json"):
            attnlab.load_checkpoint(folder).encode("a text")

    @needs_tokenizers
    def test_byte_level_tokens_are_shown_as_people_read_them(self, tmp_path: Path) -> None:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers

        vocabulary = {token: i for i, token in enumerate(["the", "Ġriver", "Ċ", "Ġ", "Ã", "©", "Ã©"])}
        own = Tokenizer(models.BPE(vocab=vocabulary, merges=[("Ã", "©")]))
        own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        own.decoder = decoders.ByteLevel()
        folder = copied(tmp_path, "gpt2")
        (folder / "tokenizer.json").write_text(own.to_str(), encoding="utf-8")
        tokens = attnlab.load_checkpoint(folder).tokens_of(np.arange(8))
        assert tokens == ("the", "river", "↵", "␣", "Ã", "©", "é", "#7")


class TestBench:
    def test_refuses_what_would_not_fit(self) -> None:
        model = attnlab.load_checkpoint(GOLDEN / "bert")
        ids = golden_ids("bert")
        with pytest.raises(MemoryRefused, match="bert: "):
            model.bench(Text(ids, model.tokens_of(ids)), max_bytes=1000)

    def test_config_of_needs_no_weights(self, tmp_path: Path) -> None:
        folder = copied(tmp_path, "gemma2")
        for path in folder.glob("*.safetensors"):
            path.unlink()
        described, opened = config_of(folder), attnlab.load_checkpoint(GOLDEN / "gemma2").config
        assert (described.blocks, described.name) == (opened.blocks, "gemma2")
        assert len({spec.window for spec in described.blocks}) == 2

    def test_counts_what_the_checkpoint_holds(self) -> None:
        tensors = safetensors.numpy.load_file(GOLDEN / "bert" / "model.safetensors")
        assert attnlab.load_checkpoint(GOLDEN / "bert").parameters == sum(t.size for t in tensors.values())

    def test_the_document_names_the_tokens_by_their_hash(self) -> None:
        model, ids = attnlab.load_checkpoint(GOLDEN / "bert"), golden_ids("bert")
        document = model.document(Text(ids, model.tokens_of(ids)), 99)
        other = model.document(Text(ids[::-1].copy(), ()), 99)
        assert json.dumps(document)
        assert document["input"] != other["input"]
