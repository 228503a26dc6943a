"""Configurations: what they resolve to, and what a person who makes a mistake is told."""

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attnlab.errors import ConfigError
from attnlab.files import presets
from attnlab.files.config import (
    Config,
    Input,
    RandomInput,
    Weights,
    config_document,
    config_yaml,
    json_schema,
    load_config,
    with_seed,
)
from attnlab.files.presets import preset_names, preset_path, preset_summary
from attnlab.maths.architecture import BlockSpec, Initialisation, LinearScaling, Llama3Scaling, Rotary

NAMES = ("sentence", "bert-base", "gpt2-small", "llama-like", "single-head", "vaswani-base")
VALID = jsonschema.Draft202012Validator(json_schema())

Load = Callable[[str | bytes], Config]
Told = Callable[[str | bytes], str]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads mine.yaml of the given text."""
    monkeypatch.chdir(tmp_path)

    def loaded(text: str | bytes) -> Config:
        Path("mine.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
        return load_config("mine.yaml")

    return loaded


@pytest.fixture
def told(load: Load) -> Told:
    """What a person is told of a mine.yaml of the given text."""

    def complaint(text: str | bytes) -> str:
        with pytest.raises(ConfigError) as caught:
            load(text)
        return str(caught.value)

    return complaint


def told_of(data: Mapping[str, object]) -> str:
    """What a person is told of a configuration in Python."""
    with pytest.raises(ConfigError) as caught:
        load_config(data)
    return str(caught.value)


# What a configuration resolves to


def test_every_key_has_the_documented_default() -> None:
    block = BlockSpec(d_model=512, n_heads=8, n_kv_heads=8, d_k=64, d_v=64, d_ff=2048)
    weights = Weights(initialisation=Initialisation(), file=None)
    source = Input(random=RandomInput(), file=None, tokens=None)
    default = Config(name="config", path=None, block=block, layers=1, weights=weights, input=source, dtype="float32")
    assert load_config({}) == default
    assert load_config({"block": None, "weights": {}, "input": {"random": None}}) == default


def test_an_empty_block_is_legal(load: Load) -> None:
    assert load("block:\n").block == load_config({}).block


def test_every_setting_of_a_block_arrives(load: Load) -> None:
    block = BlockSpec(
        d_model=60, n_heads=6, n_kv_heads=3, d_k=8, d_v=5, d_ff=None, activation="geglu", norm="rmsnorm",
        norm_position="pre", norm_eps=1e-6, bias=False, output_projection=True, causal=True, window=7, scale=1.0,
        softcap=50.0, qk_norm="layernorm", position=Rotary(base=500.0, fraction=0.5, pairing="interleaved"),
    )  # fmt: skip
    config = load(
        "block:\n  {d_model: 60, n_heads: 6, n_kv_heads: 3, d_k: 8, d_v: 5, d_ff: null, activation: geglu,\n"
        "  norm: rmsnorm, norm_position: pre, norm_eps: 1e-6, bias: false, causal: true, window: 7,\n"
        "  scale: 1, softcap: 50, qk_norm: layernorm,\n"
        "  position: {rotary: {base: 500, fraction: 0.5, pairing: interleaved}}}\n"
        "layers: 3\ndtype: bfloat16\n"
    )
    assert (config.block, config.layers, config.dtype, config.name) == (block, 3, "bfloat16", "mine")
    assert isinstance(config.block.scale, float)


@pytest.mark.parametrize("position", ["rotary", {"rotary": {}}, {"rotary": None}])
def test_rotary_alone_takes_its_defaults(position: object) -> None:
    assert load_config({"block": {"position": position}}).block.position == Rotary()


@pytest.mark.parametrize("written", ["1e-5", "1E-5", "1.0e-5", "1.e-05", ".1e-4", "0.00001"])
def test_a_small_number_is_a_number_in_every_spelling(load: Load, written: str) -> None:
    assert load(f"block:\n  norm_eps: {written}\n").block.norm_eps == 1e-5


def test_the_layers_blocks_differ_where_asked_for() -> None:
    config = load_config({"layers": 3, "per_layer": {"window": [None, 4, 0], "scale": [1, None, 2]}})
    assert [(block.window, block.scale) for block in config.blocks] == [(None, 1.0), (4, None), (0, 2.0)]
    assert config.block == config.blocks[0]
    assert load_config({"layers": 2, "block": {"window": 5}}).blocks == (replace(load_config({}).block, window=5),) * 2


def test_stretched_positions_arrive() -> None:
    def scaling(written: dict[str, object]) -> object:
        position = load_config({"block": {"position": {"rotary": {"scaling": written}}}}).block.position
        assert isinstance(position, Rotary)
        return position.scaling

    assert scaling({"kind": "linear", "factor": 2}) == LinearScaling(2.0)
    expected = Llama3Scaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_length=8192)
    assert scaling(LLAMA3) == expected


@pytest.mark.parametrize(("bias", "norm", "mlp"), [(True, True, True), (False, False, False), (["norm"], True, False)])
def test_biases_of_all_of_none_or_of_some(bias: object, norm: bool, mlp: bool) -> None:
    block = load_config({"block": {"bias": bias}}).block
    assert (block.has_bias("norm"), block.has_bias("mlp")) == (norm, mlp)


def test_a_files_paths_are_relative_to_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("weights: {file: w.npz}\ninput: {file: sub/x.npy, tokens: /t.txt}\n")
    config = load_config(file)
    assert config.weights == Weights(initialisation=None, file=tmp_path / "w.npz")
    assert config.input == Input(random=None, file=tmp_path / "sub/x.npy", tokens=Path("/t.txt"))
    assert config.path == file


def test_python_datas_paths_are_relative_to_the_working_directory() -> None:
    config = load_config({"weights": {"file": Path("w.npz"), "init": "identity", "per": "head", "seed": 5}})
    assert config.weights.file == Path.cwd() / "w.npz"
    assert config.weights.initialisation == Initialisation(scheme="identity", per="head", seed=5)


def test_numpys_integers_are_whole_numbers() -> None:
    assert load_config({"block": {"d_model": np.int64(64)}}).block.d_k == 8


def test_one_seed_overrides_both() -> None:
    config = with_seed(load_config("gpt2-small"), 7)
    assert config.weights.initialisation == Initialisation(scheme="normal", standard_deviation=0.02, seed=7)
    assert config.input.random == RandomInput(n=12, seed=7)
    files = load_config({"weights": {"file": "w.npz"}, "input": {"file": "x.npy"}})
    assert with_seed(files, 7) == files


# The seven mistakes that people make most


def test_a_misspelt_key(told: Told) -> None:
    text = "block:\n  d_model: 64\n  causl: true\n"
    assert told(text) == 'mine.yaml:3:3: block.causl: unknown key; did you mean "causal"?'


def test_a_wrong_type(told: Told) -> None:
    text = "block:\n  n_heads: eight\n"
    assert told(text) == 'mine.yaml:2:12: block.n_heads: "eight" (text); expected a whole number of 1 or more'


def test_heads_that_do_not_divide(told: Told) -> None:
    wanted = "expected a divisor of d_model, 512 (the default), unless d_k is set"
    assert told("block:\n  n_heads: 7\n") == f"mine.yaml:2:12: block.n_heads: 7; {wanted}"
    wanted = "expected a divisor of d_model, 64 (set at mine.yaml:3:12), unless d_k is set"
    assert told("block:\n  n_heads: 7\n  d_model: 64\n") == f"mine.yaml:2:12: block.n_heads: 7; {wanted}"
    wanted = "expected a multiple of n_heads, 8 (the default), unless d_k is set"
    assert told("block: {d_model: 100}\n") == f"mine.yaml:1:18: block.d_model: 100; {wanted}"


def test_a_number_in_quotes(told: Told) -> None:
    wanted = '"1e-5" (text); expected a number above 0; drop the quotes'
    assert told('block:\n  norm_eps: "1e-5"\n') == f"mine.yaml:2:13: block.norm_eps: {wanted}"


def test_a_key_given_twice(told: Told) -> None:
    text = "block:\n  n_heads: 8\n  d_k: 8\n  n_heads: 4\n"
    assert told(text) == "mine.yaml:4:3: block.n_heads: given twice; expected once, as at mine.yaml:2:3"


def test_a_tab(told: Told) -> None:
    assert told("block:\n\tn_heads: 8\n") == "mine.yaml:2:1: a tab; expected spaces"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("gpt2-smal")
    listed = ", ".join(NAMES)
    assert str(caught.value) == (
        f'gpt2-smal: no such file and no such preset; expected {listed} or a file; did you mean "gpt2-small"?'
    )
    with pytest.raises(ConfigError, match=r"mine\.yaml: no such file or directory; expected a file that can be read$"):
        load_config(tmp_path / "mine.yaml")


# The others


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("d_model: 64", '1:1: d_model: unknown key here; it belongs under "block"'),
        ("block: {layers: 2}", "1:9: block.layers: unknown key here; it belongs at the top level"),
        ("seed: 3", '1:1: seed: unknown key here; it belongs under "weights" or under "input.random"'),
        ("input: {q: 3}", "1:9: input.q: unknown key; expected random, file, tokens"),
        ('"\\e[1m": 1', "1:1: \\x1b[1m: unknown key; expected block, layers, per_layer, weights, input, dtype"),
        ("block: 3", "1:8: block: 3; expected the keys " + ", ".join(f.name for f in fields(BlockSpec))),
        ("layers: true", "1:9: layers: true (a boolean); expected a whole number of 1 or more"),
        ("layers: 8.0", "1:9: layers: 8.0; expected a whole number of 1 or more"),
        ("layers: null", "1:9: layers: null; expected a whole number of 1 or more"),
        ("layers:", "1:8: layers: nothing (null); expected a whole number of 1 or more"),
        ("layers: {a: 1}", "1:9: layers: a mapping of keys; expected a whole number of 1 or more"),
        ("layers: 10001", "1:9: layers: 10001; expected a whole number of 1 or more, and at most 10,000"),
        ("block: {d_ff: 2147483648}",
         "1:15: block.d_ff: 2147483648; expected a whole number of 1 or more, or null, and below 2^31"),
        ("weights: {seed: 9223372036854775808}",
         "1:17: weights.seed: 9223372036854775808; expected a whole number of 0 or more, and below 2^63"),
        ("block: {window: [1]}", "1:17: block.window: a list; expected a whole number of 0 or more, or null"),
        ("block: {bias: yes}",
         '1:15: block.bias: "yes" (text); expected true, false or a list of qkv, output, mlp, norm'),
        ("block: {bias: [qvk]}",
         '1:16: block.bias[0]: "qvk" (text); expected qkv, output, mlp or norm; did you mean "qkv"?'),
        ("block: {bias: [mlp, qkv, mlp]}", "1:15: block.bias: mlp given twice; expected it once"),
        ("block: {parallel: true}",
         "1:19: block.parallel: true; expected false, since norm_position is post (the default)"),
        ("block: {norm_position: sandwich, parallel: true}",
         "1:44: block.parallel: true; expected false, since norm_position is sandwich (set at mine.yaml:1:24)"),
        ("block: {norm_position: before}",
         '1:24: block.norm_position: "before" (text); expected post, pre, sandwich or output'),
        ("block: {qk_norm_over: all}",
         "1:23: block.qk_norm_over: all; expected head, since qk_norm is null (the default)"),
        ("block: {position: {rotary: {scaling: linear}}}", '1:38: block.position.rotary.scaling: "linear" (text); '
         "expected {kind: linear, factor: 4}, or null"),
        ("block: {position: {rotary: {scaling: {kind: linear}}}}",
         "1:38: block.position.rotary.scaling.factor: missing; expected a value"),
        ("block: {position: {rotary: {scaling: {kind: linear, factor: 4, original_length: 9}}}}",
         "1:81: block.position.rotary.scaling.original_length: without effect, since kind is linear "
         "(set at mine.yaml:1:45); expected kind llama3"),
        ("block: {position: {rotary: {scaling: {kind: llama3, factor: 4, low_freq_factor: 4, high_freq_factor: 4, "
         "original_length: 9}}}}", "1:102: block.position.rotary.scaling.high_freq_factor: 4.0; expected more than "
         "low_freq_factor, 4.0 (set at mine.yaml:1:81)"),
        ("block: {position: {rotary: {scaling: {kind: llama3, factor: 4, low_freq_factor: 1, high_freq_factor: 4}}}}",
         "1:38: block.position.rotary.scaling.original_length: missing; expected a number, since kind is llama3 "
         "(set at mine.yaml:1:45)"),
        ("layers: 2\nper_layer: {window: [3]}",
         "2:21: per_layer.window: 1 entry; expected one for each of layers, 2 (set at mine.yaml:1:9)"),
        ("per_layer: {window: 3}", "1:21: per_layer.window: 3; expected a list of each layer's window, or null"),
        ("per_layer: {scale: [x]}", '1:21: per_layer.scale[0]: "x" (text); expected a finite number, or null'),
        ("per_layer: {window: [3]}\nblock: {window: 4}",
         "2:17: block.window: 4; expected nothing, or the first entry of per_layer.window, 3"),
        ("layers: 2\nper_layer: {window: [3, 0]}\nblock: {causal: true}",
         "2:21: per_layer.window: 0; expected 1 or more, since causal is true (set at mine.yaml:3:17)"),
        ("block: {scale: .inf}", "1:16: block.scale: .inf; expected a finite number, or null"),
        ("block: {scale: .nan}", "1:16: block.scale: .nan; expected a finite number, or null"),
        ("block: {scale: true}", "1:16: block.scale: true (a boolean); expected a finite number, or null"),
        ("block: {softcap: 0}", "1:18: block.softcap: 0; expected a number above 0, or null"),
        ("block: {norm_eps: 0}", "1:19: block.norm_eps: 0; expected a number above 0"),
        ("block: {norm: null}", "1:15: block.norm: null; expected layernorm or rmsnorm"),
        ("block: {activation: GELUU}", '1:21: block.activation: "GELUU" (text); expected relu, gelu, gelu_tanh, silu, '
         'swiglu, geglu or geglu_tanh; did you mean "gelu"?'),
        ("block: {position: {}}", "1:19: block.position.rotary: missing; expected a value"),
        ("block: {position: {rotary: {fraction: 2}}}",
         "1:39: block.position.rotary.fraction: 2; expected a number above 0 and at most 1"),
        ("block: {position: [none]}", "1:19: block.position: a list; expected none, sinusoidal, alibi, rotary or "
         "{rotary: {base: 10000}}"),
        ("block: {n_kv_heads: 3}", "1:21: block.n_kv_heads: 3; expected a divisor of n_heads, 8 (the default)"),
        ("block: {output_projection: false, d_v: 32}", "1:28: block.output_projection: false; expected true, since "
         "n_heads · d_v = 8 · 32 = 256 is not d_model, 512 (the default)"),
        ("block: {causal: true, window: 0}",
         "1:31: block.window: 0; expected 1 or more, since causal is true (set at mine.yaml:1:17)"),
        ("block: {position: rotary, d_k: 33}",
         "1:19: block.position: rotary turns all of d_k, 33; expected an even width"),
        ("block: {position: {rotary: {fraction: 0.3}}}",
         "1:39: block.position.rotary.fraction: 0.3 of d_k, 64, is 19; expected an even width of 2 or more"),
        ("block: {position: {rotary: {fraction: 0.01}}}",
         "1:39: block.position.rotary.fraction: 0.01 of d_k, 64, is 0; expected an even width of 2 or more"),
        ("weights: {init: normal}", '1:17: weights.init: "normal" (text); expected xavier_uniform, xavier_normal, '
         "lecun_normal, identity or {normal: 0.02}, or null"),
        ("weights: {init: null}", "1:17: weights.init: null; expected a scheme, since there is no file"),
        ("weights: {file: 3}", "1:17: weights.file: 3; expected a file's name, or null; put it in quotes"),
        ('weights: {file: "\\0"}', "1:17: weights.file: \"\\x00\" (text); expected a file's name, or null"),
        ("weights: {file: w.npz, seed: 3}",
         "1:30: weights.seed: without effect, since the file gives every weight; expected init beside it"),
        ("weights: {seed: -1}", "1:17: weights.seed: -1; expected a whole number of 0 or more"),
        ("input: {random: {n: 4}, file: x.npy}", "1:31: input.file: given beside random; expected one of the two"),
        ("input: {tokens: x.txt}",
         "1:17: input.tokens: given without file; expected the embeddings that the tokens name"),
        ("dtype: float8", '1:8: dtype: "float8" (text); expected float16, bfloat16, float32 or float64; '
         'did you mean "float64"?'),
    ],
)  # fmt: skip
def test_every_other_mistake_has_its_place_and_its_words(told: Told, text: str, complaint: str) -> None:
    assert told(text) == f"mine.yaml:{complaint}"


def test_all_mistakes_are_told_at_once_in_the_files_order(told: Told) -> None:
    text = "block:\n  n_heads: 7\n  n_kv_heads: 2\n  d_k: '8'\nlayers: 0\nblok:\n  n_heads: 7\n"
    assert told(text).splitlines() == [
        "mine.yaml: 4 mistakes",
        "mine.yaml:3:15: block.n_kv_heads: 2; expected a divisor of n_heads, 7 (set at mine.yaml:2:12)",
        'mine.yaml:4:8: block.d_k: "8" (text); expected a whole number of 1 or more, or null; drop the quotes',
        "mine.yaml:5:9: layers: 0; expected a whole number of 1 or more",
        'mine.yaml:6:1: blok: unknown key; did you mean "block"?',
    ]


@pytest.mark.parametrize("wrong", ["d_model", "n_heads", "d_k", "d_v", "causal", "window", "position", "n_kv_heads"])
def test_a_wrong_value_brings_no_second_complaint(told: Told, wrong: str) -> None:
    block: dict[str, object] = {"d_model": 60, "n_heads": 6, "output_projection": False, "position": "rotary"}
    assert load_config({"block": block})
    assert told(json.dumps({"block": block | {wrong: "x"}})).count("mine.yaml:") == 1


@pytest.mark.parametrize("section", [{"weights": {"file": 3}}, {"weights": {"init": 3}}, {"input": {"file": 3}}])
def test_a_wrong_file_or_scheme_brings_no_second_complaint(section: dict[str, object]) -> None:
    assert told_of(section).count("config:") == 1


def test_python_data_is_complained_of_without_places() -> None:
    assert told_of({"block": {"n_heads": 7, "d_model": 64}}) == (
        "config: block.n_heads: 7; expected a divisor of d_model, 64 (set by block.d_model), unless d_k is set"
    )
    assert told_of({"layers": 10**5000}).endswith("…; expected a whole number of 1 or more, and at most 10,000")
    assert told_of({"block": {"n_heads": "x" * 99}}).startswith(f'config: block.n_heads: "{"x" * 57}…" (text)')


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.binary(max_size=60) | st.text(st.sampled_from("blocklayers:{}[]- \n\t'\"\\x0U1e&*!?")).map(str.encode))
def test_no_bytes_bring_anything_but_a_config_error(load: Load, data: bytes) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(load(data), Config)


# Presets


def test_the_presets_are_listed_with_the_default_first() -> None:
    assert preset_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_loads_says_what_it_is_and_fits_the_schema(name: str) -> None:
    config = load_config(name)
    assert (config.name, config.path) == (name, preset_path(name))
    assert preset_summary(name).endswith(".")
    assert not preset_summary(name).startswith("#")
    VALID.validate(config_document(config))


def test_a_preset_goes_before_a_file_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gpt2-small").write_text("layers: 99\n")
    assert load_config("gpt2-small").layers == 12
    assert load_config("./gpt2-small").layers == 99


def test_the_presets_lie_inside_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "attnlab/configs").mkdir(parents=True)
    (tmp_path / "attnlab/configs/only.yaml").write_text("# One.\nlayers: 2\n")
    monkeypatch.setattr(presets, "__file__", str(tmp_path / "attnlab/files/presets.py"))
    assert preset_names() == ("only",)
    assert preset_summary("only") == "One."


def test_the_default_presets_files_are_beside_it() -> None:
    config = load_config("sentence")
    assert all(file and file.exists() for file in (config.weights.file, config.input.file, config.input.tokens))


# Writing, and the JSON schema


LLAMA3 = {"kind": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_length": 8192}
OTHERS: list[dict[str, Any]] = [
    {"block": {"position": {"rotary": {"fraction": 0.5}}, "window": 3, "scale": 1, "d_ff": None}},
    {"block": {"position": {"rotary": {"scaling": {"kind": "linear", "factor": 4}}}, "bias": ["qkv", "norm"]}},
    {"block": {"position": {"rotary": {"scaling": LLAMA3}}, "norm_position": "pre", "parallel": True, "bias": []}},
    {"block": {"norm_position": "output", "qk_norm": "rmsnorm", "qk_norm_over": "all", "activation": "geglu_tanh"}},
    {"layers": 3, "per_layer": {"window": [None, 3, None], "scale": [1, 0.5, None]}},
    {"layers": 2, "per_layer": {"window": [7, None]}, "block": {"norm_position": "sandwich"}},
    {"block": {"position": "alibi"}, "weights": {"init": {"normal": 1e-5}, "per": "head", "seed": 2**40}},
    {"weights": {"file": "1e-5"}, "input": {"file": "yes [x].npy", "tokens": "é\u202f.txt"}},
    {"weights": {"file": "w.npz", "init": "identity"}, "input": {"random": {"n": 31}}, "dtype": "float16"},
]


@pytest.mark.parametrize("source", [*NAMES, *OTHERS])
def test_a_configuration_written_reads_back_equal(source: str | dict[str, Any], tmp_path: Path) -> None:
    config = load_config(source)
    file = tmp_path / f"{config.name}.yaml"
    file.write_text(config_yaml(config), encoding="utf-8")
    assert load_config(file) == config
    document = json.loads(json.dumps(config_document(config)))
    assert document == config_document(config)
    VALID.validate(document)


def test_a_document_is_resolved() -> None:
    document: dict[str, Any] = config_document(load_config("llama-like"))
    assert list(document) == ["block", "layers", "weights", "input", "dtype"]
    assert {key: document["block"][key] for key in ("n_kv_heads", "d_k", "d_v", "window")} == {
        "n_kv_heads": 4, "d_k": 64, "d_v": 64, "window": None,
    }  # fmt: skip
    assert document["block"]["position"] == {
        "rotary": {"base": 10000.0, "fraction": 1.0, "pairing": "half", "scaling": None}
    }
    assert document["weights"] == {"init": {"normal": 0.02}, "per": "matrix", "seed": 0, "file": None}
    assert document["input"] == {"random": {"n": 12, "seed": 0}}


def test_the_schema_is_valid_and_takes_its_own_defaults() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    VALID.validate({})
    VALID.validate({"block": None, "weights": {"file": "w.npz"}, "input": {"file": "x.npy", "tokens": "t.txt"}})


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {"blok": {}},
        {"block": {"causl": True}},
        {"block": {"n_heads": "eight"}},
        {"block": {"n_heads": 0}},
        {"block": {"bias": "yes"}},
        {"block": {"bias": ["kqv"]}},
        {"block": {"norm_position": "before"}},
        {"block": {"position": {"rotary": {"scaling": {"factor": 2}}}}},
        {"block": {"position": {"rotary": {"scaling": {"kind": "linear", "factor": 0}}}}},
        {"per_layer": {"window": 3}},
        {"per_layer": {"window": [0.5]}},
        {"block": {"norm_eps": 0}},
        {"block": {"activation": "geluu"}},
        {"block": {"position": {"rotary": {"fraction": 2}}}},
        {"block": {"position": None}},
        {"weights": {"init": "normal"}},
        {"weights": {"init": {}}},
        {"weights": {"file": ""}},
        {"input": {"random": {}, "file": "x.npy"}},
        {"input": {"tokens": "x.txt"}},
        {"dtype": "float8"},
        {"layers": None},
    ],
)
def test_the_schema_refuses_what_loading_refuses(wrong: Any) -> None:
    assert not VALID.is_valid(wrong)
    if isinstance(wrong, dict):
        told_of(wrong)


def descriptions(schema: dict[str, Any]) -> list[str | None]:
    own = schema.get("properties", {}).values()
    inner = [*own, *schema.get("anyOf", [])]
    return [child.get("description") for child in own] + [text for child in inner for text in descriptions(child)]


def test_every_key_is_described_in_a_sentence_with_its_default() -> None:
    texts = descriptions(json_schema())
    assert len(texts) > 30
    assert all(text and text.endswith(".") for text in texts)
    assert "The width of the embeddings and of the residual stream (default 512)." in texts
    assert "Whether the linear maps and the norms add a bias, or which do (default true)." in texts
