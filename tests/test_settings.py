"""Keys that options set: the same configuration as a file that says so, or one line that names the option."""

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from attnlab.errors import ConfigError, UsageError
from attnlab.files.config import load_config
from attnlab.files.settings import read_setting, refuse_overlaps, short_setting

BASE: dict[str, Any] = {
    "block": {"d_model": 12, "n_heads": 2, "d_ff": None, "position": "rotary"},
    "layers": 2,
    "input": {"random": {"n": 5}},
}


def with_key(data: Mapping[str, Any], key: str, value: object) -> dict[str, Any]:
    """The data with one key changed, sections made where they are missing."""
    changed = copy.deepcopy(dict(data))
    *sections, last = key.split(".")
    inner = changed
    for section in sections:
        if not isinstance(inner.get(section), dict):
            inner[section] = {}
        inner = inner[section]
    inner[last] = value
    return changed


CHANGES = [
    ("block.causal", "true", True),
    ("block.d_k", "4", 4),
    ("block.norm_eps", "1e-4", 1e-4),
    ("block.n_kv_heads", "null", None),
    ("block.norm", "rmsnorm", "rmsnorm"),
    ("block.norm", '"rmsnorm"', "rmsnorm"),
    ("block.position", "{rotary: {base: 500}}", {"rotary": {"base": 500}}),
    ("block.position.rotary.base", "500", 500),
    ("block.bias", "[qkv, output]", ["qkv", "output"]),
    ("block", "{d_model: 8, n_heads: 1}", {"d_model": 8, "n_heads": 1}),
    ("layers", "3", 3),
    ("per_layer.window", "[2, null]", [2, None]),
    ("weights.init.normal", "0.02", 0.02),
    ("weights", "{init: xavier_normal, seed: 3}", {"init": "xavier_normal", "seed": 3}),
    ("input.random.seed", " 7 ", 7),
    ("dtype", "float64", "float64"),
]


#: Keys that go together whatever two values they have.
APART: dict[str, tuple[object, object]] = {
    "block.causal": (True, False),
    "block.d_k": (4, 6),
    "block.d_ff": (None, 7),
    "block.norm": ("rmsnorm", "layernorm"),
    "block.scale": (None, 0.5),
    "block.position.rotary.base": (50, 1e6),
    "layers": (1, 5),
    "weights.init": ("xavier_normal", {"normal": 0.1}),
    "weights.seed": (0, 3),
    "input.random.n": (1, 9),
    "dtype": ("float64", "float32"),
}


@pytest.mark.parametrize(("key", "text", "value"), CHANGES, ids=lambda part: str(part)[:30])
def test_a_setting_is_what_a_file_would_say(key: str, text: str, value: object, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(BASE), encoding="utf-8")
    changed = load_config(with_key(BASE, key, value))
    for source in (tmp_path / "mine.yaml", BASE):
        found = load_config(source, [read_setting(f"{key}={text}")])
        assert replace(found, name="config") == changed != load_config(BASE) or (key, value) == (
            "block.n_kv_heads",
            None,
        )


@given(st.dictionaries(st.sampled_from(sorted(APART)), st.integers(0, 1), min_size=1))
def test_settings_together_are_what_a_file_would_say(chosen: dict[str, int]) -> None:
    changed: dict[str, Any] = BASE
    for key, which in chosen.items():
        changed = with_key(changed, key, APART[key][which])
    settings = [read_setting(f"{key}={json.dumps(APART[key][which])}") for key, which in chosen.items()]
    refuse_overlaps(settings)
    assert replace(load_config(BASE, settings), name="config") == load_config(changed)


def test_the_name_says_what_is_changed() -> None:
    settings = [read_setting("block.d_k=16"), read_setting("layers=2"), read_setting("weights={init: identity}")]
    assert load_config("single-head", settings).name == "single-head with d_k=16, layers=2, weights={init: identity}"
    assert load_config("single-head").name == "single-head"


def test_a_short_option_is_a_setting() -> None:
    found = load_config("single-head", [short_setting("--causal", "block.causal", "true", flag=True)])
    assert found == load_config("single-head", [read_setting("block.causal=true")])


def test_files_that_options_name_lie_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "mine.yaml").write_text("weights: {file: w.npz}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    found = load_config("far/mine.yaml", [read_setting("input={file: x.npy, tokens: x.txt}")])
    assert (found.input.file, found.input.tokens) == (tmp_path / "x.npy", tmp_path / "x.txt")
    assert found.weights.file == tmp_path / "far" / "w.npz"


MISTAKES = {
    "block.causl=true": 'unknown key; did you mean "causal"?',
    "causal=true": 'unknown key here; it belongs under "block"',
    "block.n_heads=two": '"two" (text); expected a whole number of 1 or more',
    "block.causal.x=1": "block.causal: a mapping of keys; expected true or false",
    "block.position={rotary: {bas: 1}}": 'block.position.rotary.bas: unknown key; did you mean "base"?',
    "block.causal=": "no value; expected one, such as true, 64 or null",
    "block.causal=# none": "no value; expected one, such as true, 64 or null",
    "block.causal=&a true": "an anchor, &a; expected a plain value",
    "block.causal=*a": "an alias, *a; expected the value itself",
    "block.causal=!!bool true": "a tag, tag:yaml.org,2002:bool; expected a plain value",
    "block.causal=[true": "not valid YAML: ",
    "block.causal=\x01": "the character U+0001; expected printable text",
    "block.norm=\udcff": "the character U+DCFF; expected printable text",
    "block.norm=" + "[" * 10_000: "nested more than 32 deep; expected two or three levels",
    "block.norm=" + "a" * 10_000: f'"{"a" * 57}…" (text); expected layernorm or rmsnorm',
    "block." + "a" * 10_000 + "=1": f"block.{'a' * 57}…: unknown key; expected d_model, ",
    "block.bias=[qkv, 3]": "block.bias[1]: 3; expected ",
}


@pytest.mark.parametrize("text", MISTAKES, ids=lambda text: text[:30])
def test_a_mistake_names_the_option(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("single-head", [read_setting(text)])
    said = str(caught.value)
    assert said.startswith("--set ")
    assert f": {MISTAKES[text]}" in said
    assert len(said) < 500
    assert said.isprintable()
    assert (caught.value.exit_code, str(caught.value.said_of("run"))) == (2, f"run: {said}")


def test_a_value_that_the_option_shows_is_not_said_again() -> None:
    for setting, shown in (
        (read_setting("block.n_heads=0"), "--set block.n_heads=0"),
        (short_setting("--dk", "block.d_k", "0"), "--dk 0"),
    ):
        with pytest.raises(ConfigError) as caught:
            load_config("single-head", [setting])
        assert str(caught.value).startswith(f"{shown}; expected a whole number of 1 or more")


def test_what_a_file_says_may_be_wrong_beside_a_setting(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("block: {d_model: 12, n_heads: 3}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(file, [read_setting("block.d_model=13")])
    assert str(caught.value) == (
        f"{file}:1:31: block.n_heads: 3; expected a divisor of d_model, 13 (set by --set block.d_model=13), "
        "unless d_k is set"
    )
    assert caught.value.said_of("run") is caught.value


def test_several_mistakes_are_listed_under_the_command() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("single-head", [read_setting("block.causl=1"), read_setting("dtype=x")])
    assert list(caught.value.said_of("run").lines) == [
        "run: 2 mistakes",
        '--set block.causl=1: unknown key; did you mean "causal"?',
        '--set dtype=x: "x" (text); expected float16, bfloat16, float32 or float64',
    ]


@pytest.mark.parametrize(
    "text", ["", "=", "=1", "block.causal", "block..causal=1", ".a=1", " = 1", "a." * 5000 + "a=1"]
)
def test_what_is_no_setting(text: str) -> None:
    with pytest.raises(UsageError, match=r"; expected KEY=VALUE, such as block\.causal=true$"):
        read_setting(text)


@pytest.mark.parametrize(
    ("first", "second", "inner"),
    [
        ("block.causal=true", "block.causal=true", "block.causal"),
        ("block={d_k: 3}", "block.d_k=4", "block.d_k"),
        ("block.position.rotary.base=3", "block.position=none", "block.position.rotary.base"),
    ],
)
def test_a_key_is_set_once(first: str, second: str, inner: str) -> None:
    with pytest.raises(UsageError) as caught:
        refuse_overlaps([read_setting(first), read_setting("layers=2"), read_setting(second)])
    assert str(caught.value) == f"--set {second}: not together with --set {first}; expected {inner} once"


def test_keys_whose_names_begin_alike_are_two() -> None:
    refuse_overlaps([read_setting("block.norm=rmsnorm"), read_setting("block.norm_eps=1"), read_setting("block.d_k=2")])


def test_without_an_output_projection_values_are_as_wide_as_they_must_be() -> None:
    block = load_config("single-head", [read_setting("block.d_k=16")]).block
    assert (block.d_k, block.d_v) == (16, 64)
    block = load_config("single-head", [read_setting("block.d_model=96"), read_setting("block.n_heads=3")]).block
    assert (block.d_k, block.d_v) == (32, 32)
