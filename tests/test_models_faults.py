"""Damaged checkpoints end in one line that names the file and what was expected, before anything is computed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from attnlab import InputError, load_checkpoint
from attnlab.models.families import FAMILIES
from tests.checkpoint_copies import (
    copied,
    edit_json,
    edit_tensors,
    golden_ids,
    header_of,
    refusal,
    set_keys,
    write_raw,
)
from tests.commands import attnlab, environment, error_line
from tests.patience import PATIENCE

INDEX = "model.safetensors.index.json"
FIRST, SECOND, THIRD = (f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3))
#: A tensor of the last layer, not square, and where it lies.
DOWN = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return copied(tmp_path, "bert")


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """In three shards with an index."""
    return copied(tmp_path, "llama-grouped")


def map_first_shard_to(folder: Path, name: object) -> None:
    """Every tensor of the first shard is said to lie in another file."""

    def change(index: Any) -> None:
        index["weight_map"] = {t: name if file == FIRST else file for t, file in index["weight_map"].items()}

    edit_json(folder / INDEX, change)


WATCHED = """
import json, os, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
opened = []
sys.addaudithook(lambda event, given: opened.append(given[0]) if event == "open" else None)
import numpy, attnlab
folder, *ids = sys.argv[1:]
try:
    attnlab.load_checkpoint(folder).trace(numpy.array([int(i) for i in ids]))
    said = ""
except attnlab.InputError as problem:
    said = str(problem)
paths = [os.path.realpath(os.fsdecode(path)) for path in opened if isinstance(path, (str, bytes))]
print(json.dumps([said, paths]))
"""


def watched(folder: Path) -> tuple[str, set[Path]]:
    """What opening and running a checkpoint says in a process of its own, and every file that it opened."""
    ids = [str(i) for i in golden_ids("llama-grouped")]
    ended = subprocess.run(
        [sys.executable, "-c", WATCHED, folder, *ids],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    said, paths = json.loads(ended.stdout)
    return said, {Path(path) for path in paths}


class TestNothingOutsideTheFolderIsOpened:
    """The first shard lies outside, whole and readable: only the rule keeps it shut."""

    @pytest.fixture
    def outside(self, llama: Path) -> Path:
        return (llama / FIRST).rename(llama.parent / "outside.safetensors")

    def refused(self, llama: Path, outside: Path) -> None:
        said, opened = watched(llama)
        assert "leads out of the folder; expected a file in" in said
        assert ": copy it there, or give the folder that it lies in" in said
        assert llama / "config.json" in opened  # the hook sees what is opened
        assert outside not in opened

    def test_by_parents(self, llama: Path, outside: Path) -> None:
        map_first_shard_to(llama, "../outside.safetensors")
        self.refused(llama, outside)

    def test_by_an_absolute_path(self, llama: Path, outside: Path) -> None:
        map_first_shard_to(llama, str(outside))
        self.refused(llama, outside)

    def test_by_a_link(self, llama: Path, outside: Path) -> None:
        (llama / FIRST).symlink_to(outside)
        self.refused(llama, outside)

    def test_by_a_chain_of_links(self, llama: Path, outside: Path) -> None:
        (llama / "near.safetensors").symlink_to("../outside.safetensors")
        (llama / FIRST).symlink_to("near.safetensors")
        self.refused(llama, outside)

    def test_by_a_linked_folder(self, llama: Path, outside: Path) -> None:
        (llama / "sub").symlink_to("..")
        map_first_shard_to(llama, "sub/outside.safetensors")
        self.refused(llama, outside)

    @pytest.mark.parametrize("name", ["config.json", INDEX, "model.safetensors"])
    def test_by_a_link_in_place_of_a_known_file(self, llama: Path, name: str) -> None:
        if name == "model.safetensors":
            (llama / INDEX).unlink()
            outside = (llama / SECOND).rename(llama.parent / "elsewhere")
        else:
            outside = (llama / name).rename(llama.parent / "elsewhere")
        (llama / name).symlink_to(outside)
        said, opened = watched(llama)
        assert f"'{name}' leads out of the folder" in said
        assert outside not in opened

    def test_the_same_shard_inside_is_opened(self, llama: Path, outside: Path) -> None:
        inside = outside.rename(llama / "other.safetensors")
        map_first_shard_to(llama, inside.name)
        said, opened = watched(llama)
        assert (said, inside in opened) == ("", True)

    def test_links_within_the_folder_and_to_a_hubs_blobs_are_followed(self, llama: Path, tmp_path: Path) -> None:
        (llama / FIRST).rename(llama / "other.safetensors")
        (llama / FIRST).symlink_to("other.safetensors")
        assert watched(llama)[0] == ""
        snapshot, blobs = tmp_path / "models--x" / "snapshots" / "0a1b", tmp_path / "models--x" / "blobs"
        for place in (snapshot, blobs):
            place.mkdir(parents=True)
        for i, path in enumerate(sorted(llama.iterdir())):
            (blobs / str(i)).write_bytes(path.read_bytes())
            (snapshot / path.name).symlink_to(f"../../blobs/{i}")
        said, opened = watched(snapshot)
        assert (said, blobs / "0" in opened) == ("", True)


class TestIndex:
    def test_one_file_beside_it_is_read_instead(self, llama: Path) -> None:
        tensors = {n: t for file in llama.glob("*.safetensors") for n, t in safetensors.numpy.load_file(file).items()}
        (llama / "model.safetensors").write_bytes(safetensors.numpy.save(tensors))
        (llama / SECOND).unlink()
        assert load_checkpoint(llama).parameters == sum(tensor.size for tensor in tensors.values())

    def test_a_shard_is_missing(self, llama: Path) -> None:
        (llama / SECOND).unlink()
        assert refusal(llama).startswith(f"{llama}/{SECOND}: no such file")

    def test_a_tensor_is_in_another_shard(self, llama: Path) -> None:
        edit_json(llama / INDEX, lambda index: index["weight_map"].update({DOWN: FIRST}))
        assert refusal(llama) == f"{llama}/{FIRST}: no tensor '{DOWN}'; expected it there, set by {INDEX}"

    def test_a_tensor_is_in_no_shard(self, llama: Path) -> None:
        edit_json(llama / INDEX, lambda index: index["weight_map"].pop(DOWN))
        assert refusal(llama).startswith(f"{llama}/{INDEX}: no tensor '{DOWN}'; expected it for the model that")

    def test_a_shard_is_cut_short(self, llama: Path) -> None:
        data = (llama / SECOND).read_bytes()
        (llama / SECOND).write_bytes(data[:-4])
        line = refusal(llama)
        assert line.startswith(f"{llama}/{SECOND}: {len(data) - 4:,} bytes; expected {len(data):,}")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "not JSON"),
            ("[]", "list; expected a JSON object"),
            ("{}", "no weight_map; expected"),
            ('{"weight_map": []}', "no weight_map; expected"),
            ('{"weight_map": {"w": 1}}', "no weight_map; expected"),
            ("[" * 100_000, "not JSON"),
        ],
    )
    def test_it_is_no_index(self, llama: Path, text: str, said: str) -> None:
        (llama / INDEX).write_text(text, encoding="utf-8")
        line = refusal(llama)
        assert line.startswith(f"{llama}/{INDEX}: {said}")

    @pytest.mark.parametrize("name", ["", ".", "..", "sub/model.safetensors", "a\0b", "x" * 300])
    def test_a_shards_name_is_none(self, llama: Path, name: str) -> None:
        map_first_shard_to(llama, name)
        refusal(llama)

    def test_a_tensor_is_mapped_twice(self, llama: Path) -> None:
        text = (llama / INDEX).read_text(encoding="utf-8")
        twice = text.replace('"weight_map": {', f'"weight_map": {{"{DOWN}": "{FIRST}", ', 1)
        (llama / INDEX).write_text(twice, encoding="utf-8")
        assert "twice" in refusal(llama)


class TestTensors:
    """Of one file, model.safetensors."""

    NAME = "encoder.layer.1.intermediate.dense.weight"

    def tell(self, bert: Path, change: Callable[[dict[str, Any]], object]) -> str:
        edit_tensors(bert / "model.safetensors", change)
        line = refusal(bert)
        assert line.startswith(f"{bert}/model.safetensors: "), line
        return line.removeprefix(f"{bert}/model.safetensors: ")

    def test_one_is_missing(self, bert: Path) -> None:
        line = self.tell(bert, lambda tensors: tensors.pop(self.NAME))
        assert line.startswith(f"no tensor '{self.NAME}'; expected it for the model that config.json describes")

    def test_one_is_transposed(self, bert: Path) -> None:
        line = self.tell(bert, lambda tensors: tensors.update({self.NAME: tensors[self.NAME].T}))
        assert line.startswith(f"tensor '{self.NAME}': shape (12, 17); expected (17, 12), set by config.json")

    def test_one_is_misshapen(self, bert: Path) -> None:
        line = self.tell(bert, lambda tensors: tensors.update({self.NAME: tensors[self.NAME][:, :11]}))
        assert line.startswith(f"tensor '{self.NAME}': shape (17, 11); expected (17, 12), set by config.json")

    @pytest.mark.parametrize(
        ("name", "shapes"),
        [
            ("embeddings.word_embeddings.weight", "shape (73, 11); expected (73, 12)"),
            ("embeddings.position_embeddings.weight", "shape (19, 11); expected (19, 12)"),
            ("embeddings.LayerNorm.weight", "shape (11,); expected (12,)"),
            ("encoder.layer.0.attention.self.key.bias", "shape (11,); expected (12,)"),
        ],
    )
    def test_other_tensors_are_misshapen(self, bert: Path, name: str, shapes: str) -> None:
        line = self.tell(bert, lambda tensors: tensors.update({name: tensors[name][..., :11]}))
        assert line.startswith(f"tensor '{name}': {shapes}")

    @pytest.mark.parametrize("name", ["embeddings.word_embeddings.weight", "embeddings.LayerNorm.bias"])
    def test_other_tensors_are_missing(self, bert: Path, name: str) -> None:
        assert self.tell(bert, lambda tensors: tensors.pop(name)).startswith("no tensor ")

    @pytest.mark.parametrize("shape", [(), (3,), (3, 2, 2)])
    def test_one_has_other_dimensions(self, bert: Path, shape: tuple[int, ...]) -> None:
        name = "embeddings.word_embeddings.weight"
        line = self.tell(bert, lambda tensors: tensors.update({name: np.ones(shape, np.float32)}))
        assert line.startswith(f"tensor '{name}': shape {shape}; expected ")

    def test_one_holds_integers(self, bert: Path) -> None:
        line = self.tell(bert, lambda tensors: tensors.update({self.NAME: tensors[self.NAME].astype(np.int8)}))
        assert line == f"tensor '{self.NAME}': dtype 'I8'; expected 'F16', 'BF16', 'F32', 'F64'"

    def test_one_holds_8_bit_floats(self, bert: Path) -> None:
        path = bert / "model.safetensors"
        header, data = header_of(path)
        kept = {name: entry for name, entry in header.items() if name not in (self.NAME, "__metadata__")}
        packed, end = b"", 0
        for entry in kept.values():
            start, stop = entry["data_offsets"]
            packed += data[start:stop]
            entry["data_offsets"], end = [end, end + stop - start], end + stop - start
        kept[self.NAME] = {"dtype": "F8_E4M3", "shape": [17, 12], "data_offsets": [end, end + 204]}
        write_raw(path, kept, packed + bytes(204))
        assert refusal(bert) == f"{path}: tensor '{self.NAME}': dtype 'F8_E4M3'; expected 'F16', 'BF16', 'F32', 'F64'"

    def test_a_name_stands_there_twice(self, bert: Path) -> None:
        path = bert / "model.safetensors"
        header, data = header_of(path)
        text = json.dumps(header).encode()
        write_raw(path, text[:-1] + b", " + json.dumps({self.NAME: header[self.NAME]}).encode()[1:], data)
        assert f"'{self.NAME[:40]}" in refusal(bert)
        assert "twice" in refusal(bert)

    def test_the_file_is_cut_short(self, bert: Path) -> None:
        path = bert / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
        assert "cut short" in refusal(bert)

    def test_more_layers_than_config_json_says(self, bert: Path) -> None:
        set_keys(bert, num_hidden_layers=1)
        assert "expected 1 layers, set by config.json" in refusal(bert)

    def test_more_layers_than_anything_holds_are_told_at_once(self, bert: Path) -> None:
        set_keys(bert, num_hidden_layers=10**12)
        said, _ = watched(bert)
        assert said.startswith(f"{bert}/")

    def test_fewer_layers_than_config_json_says(self, bert: Path) -> None:
        set_keys(bert, num_hidden_layers=3)
        assert "no tensor 'encoder.layer.2." in refusal(bert)

    def test_a_tensor_of_a_layer_that_config_json_does_not_speak_of(self, llama: Path) -> None:
        """Biases that are stored and left out would change every number without a word."""
        name = "model.layers.0.self_attn.q_proj.bias"
        edit_tensors(llama / FIRST, lambda tensors: tensors.update({name: np.ones(24, np.float32)}))
        edit_json(llama / INDEX, lambda index: index["weight_map"].update({name: FIRST}))
        assert f"tensor '{name}'" in refusal(llama)


class TestConfig:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "not JSON"),
            ("{", "not JSON"),
            ("null", "NoneType; expected a JSON object"),
            ("[1]", "list; expected a JSON object"),
            ("{}", "model_type: missing; expected one of"),
            ("[" * 100_000, "not JSON"),
            ('{"model_type": "bert", "model_type": "gpt2"}', "not JSON ('model_type' stands there twice)"),
        ],
    )
    def test_it_is_no_config(self, bert: Path, text: str, said: str) -> None:
        (bert / "config.json").write_text(text, encoding="utf-8")
        assert refusal(bert).startswith(f"{bert}/config.json: {said}")

    def test_it_is_not_utf_8(self, bert: Path) -> None:
        (bert / "config.json").write_bytes(b'{"model_type": "\xff"}')
        assert refusal(bert).startswith(f"{bert}/config.json: byte 16 is not UTF-8")

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"num_attention_heads": 5}, "num_attention_heads: 5; expected a divisor of hidden_size, 12"),
            ({"num_attention_heads": 0}, "num_attention_heads: 0; expected a whole number of 1 or more"),
            ({"num_attention_heads": None}, "num_attention_heads: missing; expected a whole number"),
            ({"num_attention_heads": True}, "num_attention_heads: True; expected a whole number"),
            ({"hidden_size": "12"}, "hidden_size: '12'; expected a whole number"),
            ({"hidden_size": 12.5}, "hidden_size: 12.5; expected a whole number"),
            ({"hidden_size": float("nan")}, "hidden_size: nan; expected a whole number"),
            ({"num_hidden_layers": -1}, "num_hidden_layers: -1; expected a whole number"),
            ({"layer_norm_eps": float("nan")}, "layer_norm_eps: nan; expected a number above 0"),
            ({"layer_norm_eps": float("inf")}, "layer_norm_eps: inf; expected a number above 0"),
            ({"hidden_act": "mish"}, "hidden_act: 'mish'; expected gelu, "),
            ({"hidden_act": ["gelu"]}, "hidden_act: "),
            ({"position_embedding_type": "relative_key"}, "position_embedding_type: 'relative_key'; expected "),
        ],
    )
    def test_a_value_is_wrong(self, bert: Path, settings: Mapping[str, object], said: str) -> None:
        set_keys(bert, **settings)
        assert refusal(bert).startswith(f"{bert}/config.json: {said}")

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"num_key_value_heads": 4}, "num_key_value_heads: 4; expected a divisor of num_attention_heads, 6"),
            ({"rope_parameters": {"rope_type": "yarn"}}, "rope_parameters: rope_type: 'yarn'; expected default, "),
            ({"rope_parameters": [1]}, "rope_parameters: "),
            ({"rope_parameters": {"rope_type": "linear"}}, "rope_parameters: factor: missing; expected a number"),
        ],
    )
    def test_a_value_is_wrong_for_rotary(self, llama: Path, settings: Mapping[str, object], said: str) -> None:
        set_keys(llama, **settings)
        assert refusal(llama).startswith(f"{llama}/config.json: {said}")

    def test_heads_that_divide_but_are_not_those_of_the_weights(self, llama: Path) -> None:
        set_keys(llama, num_key_value_heads=3)
        assert "k_proj.weight': shape (8, 18); expected (12, 18), set by config.json" in refusal(llama)

    def test_a_width_that_is_not_that_of_the_weights(self, bert: Path) -> None:
        set_keys(bert, hidden_size=15)
        assert "shape (73, 12); expected (73, 15), set by config.json" in refusal(bert)

    def test_an_unknown_family_lists_the_known_ones(self, bert: Path) -> None:
        set_keys(bert, model_type="mamba")
        line = refusal(bert)
        assert line.startswith(f"{bert}/config.json: model_type: 'mamba'; expected one of ")
        assert line.partition("expected one of ")[2].split(", ") == [*FAMILIES]
        assert len(FAMILIES) >= 15

    @pytest.mark.parametrize("value", [7, ["bert"], {}])
    def test_a_family_that_is_no_word(self, bert: Path, value: object) -> None:
        set_keys(bert, model_type=value)
        assert refusal(bert).startswith(f"{bert}/config.json: model_type: ")


class TestFolder:
    def test_there_is_none(self, tmp_path: Path) -> None:
        assert "no such directory; expected a checkpoint's folder" in refusal(tmp_path / "no")

    def test_it_is_a_file(self, bert: Path) -> None:
        assert "a file; expected a checkpoint's folder" in refusal(bert / "config.json")

    def test_it_is_empty(self, tmp_path: Path) -> None:
        assert "no config.json; expected a checkpoint's folder" in refusal(tmp_path)

    def test_weights_are_missing(self, bert: Path) -> None:
        (bert / "model.safetensors").unlink()
        assert refusal(bert) == f"{bert}: no model.safetensors and no {INDEX}; expected one of them"

    @pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt"])
    def test_weights_are_pickled(self, bert: Path, name: str) -> None:
        """Nothing is unpickled, and nothing advises anyone to."""
        (bert / "model.safetensors").rename(bert / name)
        line = refusal(bert)
        assert "no model.safetensors" in line
        assert "pickled weights can run code and are not read" in line
        for advice in ("torch.load", "weights_only", "pickle.load"):
            assert advice not in line

    @pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
    def test_a_pipe_does_not_make_it_wait(self, bert: Path, name: str) -> None:
        (bert / name).unlink()
        os.mkfifo(bert / name)
        said, _ = watched(bert)
        assert said == f"{bert}/{name}: a pipe or a device; expected a regular file"

    @pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
    def test_a_folder_in_place_of_a_file(self, bert: Path, name: str) -> None:
        (bert / name).unlink()
        (bert / name).mkdir()
        assert refusal(bert).startswith(f"{bert}/{name}: ")

    def test_a_link_to_itself(self, bert: Path) -> None:
        (bert / "config.json").unlink()
        (bert / "config.json").symlink_to("config.json")
        refusal(bert)

    def test_names_are_escaped(self, tmp_path: Path, bert: Path) -> None:
        (tmp_path / "new\nline").mkdir()
        with pytest.raises(InputError) as caught:
            load_checkpoint(tmp_path / "new\nline")
        assert str(caught.value).startswith(f"{tmp_path}/new\\nline: no config.json")


class TestIds:
    @pytest.mark.parametrize(
        ("ids", "said"),
        [
            ([3, 73], "ids: 73; expected 0 to 72, set by the words' embeddings"),
            ([3, -1], "ids: -1; expected 0 to 72, set by the words' embeddings"),
            ([], "ids: float64 of shape (0,); expected one or more whole numbers, (n,)"),
            ([0.5], "ids: float64 of shape (1,); expected one or more whole numbers, (n,)"),
            ([[1, 2]], "ids: int64 of shape (1, 2); expected one or more whole numbers, (n,)"),
        ],
    )
    def test_they_are_refused(self, bert: Path, ids: list[Any], said: str) -> None:
        model = load_checkpoint(bert)
        for use in (model.trace, model.statistics, model.embedded):
            with pytest.raises(InputError) as caught:
                use(np.array(ids))
            assert (str(caught.value), caught.value.exit_code) == (said, 3)

    def test_a_text_longer_than_the_positions_is_told_and_not_cut(self, bert: Path) -> None:
        model = load_checkpoint(bert)
        assert len(model.trace(np.full(19, 7)).output) == 19
        with pytest.raises(InputError, match=r"^20 tokens; expected at most 19, .*--truncate"):
            model.trace(np.full(20, 7))

    def test_no_table_of_positions_no_end(self, llama: Path) -> None:
        assert len(load_checkpoint(llama).trace(np.full(40, 7)).output) == 40


@pytest.mark.skipif(find_spec("tokenizers") is None, reason="tokenizers is not installed")
class TestTokenizer:
    @pytest.mark.parametrize("text", ["", "{}", "no", '{"model": {"type": "WordPiece"}}'])
    def test_it_is_none(self, bert: Path, text: str) -> None:
        (bert / "tokenizer.json").write_text(text, encoding="utf-8")
        with pytest.raises(InputError) as caught:
            load_checkpoint(bert).encode("the bank")
        assert str(caught.value).startswith(f"{bert}/tokenizer.json: ")
        assert str(caught.value).endswith("; expected a tokenizer.json")
        assert str(caught.value).isprintable()

    def test_it_knows_tokens_that_the_model_does_not(self, bert: Path) -> None:
        edit_json(bert / "tokenizer.json", lambda file: file["model"]["vocab"].update({"river": 99}))
        model = load_checkpoint(bert)
        with pytest.raises(InputError, match="ids: 99; expected 0 to 72"):
            model.trace(model.encode("the river").ids)

    def test_it_leads_out_of_the_folder(self, bert: Path) -> None:
        outside = (bert / "tokenizer.json").rename(bert.parent / "outside.json")
        (bert / "tokenizer.json").symlink_to(outside)
        with pytest.raises(InputError, match="leads out of the folder"):
            load_checkpoint(bert).encode("the river")


def test_without_a_tokenizer_a_text_is_told_to_come_as_ids(llama: Path) -> None:
    with pytest.raises(InputError, match=r"no tokenizer\.json; expected one to read a text"):
        load_checkpoint(llama).encode("the river")


class TestCommandLine:
    """One line on stderr, exit 3."""

    @pytest.mark.parametrize("command", ["inspect", "run"])
    @pytest.mark.parametrize(
        ("damage", "said"),
        [
            (lambda folder: (folder / "config.json").unlink(), "bert: no config.json; expected "),
            (lambda folder: (folder / "model.safetensors").unlink(), "bert: no model.safetensors and no "),
            (lambda folder: set_keys(folder, model_type="mamba"), "bert/config.json: model_type: 'mamba'; expected "),
            (lambda folder: set_keys(folder, intermediate_size=18), "bert/model.safetensors: tensor 'encoder.layer."),
        ],
    )
    def test_a_damaged_checkpoint(self, bert: Path, command: str, damage: Callable[[Path], object], said: str) -> None:
        damage(bert)
        assert error_line(attnlab(command, "bert", "--ids", "2,14,3", cwd=bert.parent), 3).startswith(said)

    @pytest.mark.parametrize("command", ["inspect", "run"])
    def test_an_id_beyond_the_vocabulary(self, bert: Path, command: str) -> None:
        line = error_line(attnlab(command, "bert", "--ids", "2,99,3", cwd=bert.parent), 3)
        assert "99" in line
        assert "72" in line

    @pytest.mark.parametrize("command", ["inspect", "run"])
    def test_a_text_longer_than_the_positions_is_cut_only_with_truncate(self, bert: Path, command: str) -> None:
        ids = ",".join(["7"] * 25)
        line = error_line(attnlab(command, "bert", "--ids", ids, cwd=bert.parent), 3)
        assert line.startswith("the text has 25 tokens; expected at most 19")
        assert "--truncate" in line
        ended = attnlab(command, "bert", "--ids", ids, "--truncate", "--json", cwd=bert.parent)
        assert ended.code == 0, ended
        found = json.loads(ended.out)
        assert (found["n"], len(found["tokens"])) == (19, 19)
        if command == "inspect":
            assert found["text_tokens"] == 25
