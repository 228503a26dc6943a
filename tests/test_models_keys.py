"""Keys of config.json that nobody asked for: passed over, named, or refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from attnlab.errors import InputError
from attnlab.models.blocks import block_specs
from attnlab.models.families import FAMILIES
from attnlab.models.keys import CHANGING, HARMLESS, unused, unused_in_words
from attnlab.models.settings import Settings
from tests.commands import attnlab, error_line, printed_json
from tests.golden.checkpoint_cases import CASES

CHECKPOINTS = Path(__file__).parent / "golden" / "checkpoints"
LLAMA: dict[str, object] = {
    "model_type": "llama",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 8,
}
BERT = {**LLAMA, "model_type": "bert"}


def understood(base: dict[str, object], **settings: object) -> dict[str, Any]:
    """What of the settings is left over for a person to judge."""
    given = Settings({**base, **settings}, "config.json")
    block_specs(FAMILIES[str(base["model_type"])], given)
    return unused(given)


#: Each changes what transformers computes in the family that knows it.
OF_OTHER_FAMILIES: list[tuple[str, object]] = [
    ("is_causal", False),
    ("use_bidirectional_attention", True),
    ("layer_types", ["sliding_attention", "full_attention"]),
    ("layer_types", ["full_attention"]),
    ("no_rope_layers", [1, 0]),
    ("no_rope_layer_interval", 4),
    ("attention_multiplier", 0.5),
    ("residual_multiplier", 0.22),
    ("embedding_multiplier", 12.0),
    ("scale_emb", 12),
    ("sliding_window", 128),
    ("attention_chunk_size", 8192),
    ("attn_logit_softcapping", 50.0),
    ("query_pre_attn_scalar", 256),
    ("clip_qkv", 8.0),
    ("use_qk_norm", True),
    ("qk_layernorm", True),
    ("alibi", True),
    ("position_embedding_type", "absolute"),
    ("use_parallel_residual", True),
    ("num_experts", 8),
    ("num_local_experts", 8),
    ("kv_lora_rank", 512),
    ("layer_norm_epsilon", 1e-3),
    ("rope_interleave", True),
    ("mrope_section", [8, 12]),
    ("rotary_dim", 4),
    ("pruned_heads", {"0": [1]}),
    ("quantization_config", {"bits": 4}),
    ("add_cross_attention", True),
    ("scale_attn_by_inverse_layer_idx", True),
]


@pytest.mark.parametrize(("key", "value"), OF_OTHER_FAMILIES)
def test_what_changes_a_block_and_is_not_used_is_refused(key: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"^config\.json: {key}: .*; expected a llama without it: it changes"):
        understood(LLAMA, **{key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("is_causal", True),
        ("is_decoder", True),
        ("is_decoder", False),
        ("use_bidirectional_attention", False),
        ("layer_types", ["full_attention"] * 2),
        ("no_rope_layers", [1, 1]),
        ("attention_multiplier", 8**-0.5),
        ("residual_multiplier", 1.0),
        ("sliding_window", None),
        ("num_experts", 0),
        ("position_embedding_type", "rope"),
        ("layer_norm_epsilon", 1e-6),
        ("use_parallel_residual", False),
        ("pruned_heads", {}),
        ("scale_attn_weights", True),
    ],
)
def test_what_says_what_is_so_anyway_is_not(key: str, value: object) -> None:
    assert understood(LLAMA, **{key: value}) == {}


def test_a_window_that_is_switched_off_is_none() -> None:
    assert understood(LLAMA, sliding_window=4096, use_sliding_window=False, max_window_layers=28) == {}


@pytest.mark.parametrize(("value", "right"), [(False, True), (True, False)])
def test_two_way_families_are_asked_the_other_way_round(value: bool, right: bool) -> None:
    if right:
        assert understood(BERT, is_causal=value) == {}
    else:
        with pytest.raises(InputError, match="is_causal: True; expected a bert without it"):
            understood(BERT, is_causal=value)


@pytest.mark.parametrize(
    "rope",
    [
        {"full_attention": {"rope_theta": 500000.0}, "sliding_attention": {"rope_theta": 10000.0}},
        {"rope_type": "default", "rope_theta": 1e6, "attention_factor": 1.2},
        {"rope_type": "default", "mrope_section": [1, 1, 2]},
    ],
)
def test_rotations_of_a_kind_not_known_are_refused_within_their_section(rope: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"config\.json: rope_parameters\.\w+: .*; expected a llama without it"):
        understood(LLAMA, rope_parameters=rope)


def test_the_base_is_taken_from_either_place_and_the_newer_one_counts() -> None:
    for given in ({"rope_parameters": {"rope_theta": 5e5}}, {"rope_theta": 5e5}):
        (spec, _) = block_specs(FAMILIES["llama"], Settings({**LLAMA, **given}, "config.json"))
        assert spec.position.base == 5e5  # type: ignore[union-attr]
    both = {"rope_theta": 1e4, "rope_parameters": {"rope_theta": 5e5}}
    (spec, _) = block_specs(FAMILIES["llama"], Settings({**LLAMA, **both}, "config.json"))
    assert spec.position.base == 5e5  # type: ignore[union-attr]


def test_two_spellings_of_a_size_must_agree() -> None:
    assert understood(LLAMA, n_embd=16) == {}
    with pytest.raises(InputError, match="n_embd: 32; expected 16, as hidden_size says"):
        understood(LLAMA, n_embd=32)
    with pytest.raises(InputError, match="hidden_act: 'relu'; expected gelu, as hidden_activation says"):
        understood(BERT, hidden_act="relu", hidden_activation="gelu")


def test_keys_of_nobody_are_named_in_one_line() -> None:
    assert understood(LLAMA, **{"tea.pot": 1}) == {"tea.pot": 1}  # no section of that name was read
    left = understood(LLAMA, tea=None, sugar=1, milk=[1] * 40, spoon="si\x1blver", cup=2.5)
    assert set(left) == {"sugar", "milk", "spoon", "cup"}
    words = unused_in_words(left)
    assert words.startswith("Not used, and not known here: 4 keys of config.json (sugar: 1, milk: [1, 1,")
    assert words.endswith("… and 1 more).") or words.endswith(" and 1 more).")
    assert "\x1b" not in words
    assert unused_in_words({}) == ""


@pytest.mark.parametrize("value", [[], ["absolute"], {"a": 1}, 3, True])
def test_a_kind_of_positions_that_is_no_word_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"position_embedding_type: .*; expected a llama without it"):
        understood(LLAMA, position_embedding_type=value)


def test_what_nests_deep_is_told_as_text(tmp_path: Path) -> None:
    deep: object = 1
    for _ in range(400):
        deep = {"a": deep}
    left = understood(LLAMA, tea=deep, milk={"a": [1, {"b": 2}]})
    assert left["milk"] == {"a": [1, {"b": 2}]}
    assert isinstance(left["tea"], str)
    folder = changed(tmp_path, "llama-grouped", tea=deep)
    for options in (("--ids", "1 2 3"), ("--weights",)):
        model = printed_json("inspect", folder, *options, cwd=tmp_path)["model"]
        assert model["unused_settings"] == [{"key": "tea", "value": left["tea"]}]
    assert attnlab("config", "check", folder, "--json", cwd=tmp_path).code == 0


def test_no_key_is_both_harmless_and_a_whole_familys_business() -> None:
    words = [word for reason in HARMLESS.values() for word in reason.split()]
    assert len(words) == len(set(words))
    assert len(CHANGING) > 50


@pytest.mark.parametrize("name", [name for name in CASES if (CHECKPOINTS / name).exists() and not CASES[name].refused])
def test_of_what_transformers_writes_nothing_is_left_over(name: str) -> None:
    values = json.loads((CHECKPOINTS / name / "config.json").read_text())
    given = Settings(values, "config.json")
    block_specs(FAMILIES[values["model_type"]], given)
    assert unused(given) == {}


def changed(tmp_path: Path, name: str, **settings: object) -> str:
    """A copy of a checkpoint with these settings besides."""
    folder = tmp_path / "changed"
    shutil.copytree(CHECKPOINTS / name, folder)
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, **settings}))
    return str(folder)


def test_the_commands_name_them_and_the_documents_hold_them(tmp_path: Path) -> None:
    folder = changed(tmp_path, "llama-grouped", sugar=2)
    line = "Not used, and not known here: 1 key of config.json (sugar: 2)."
    assert line in attnlab("config", "check", folder, cwd=tmp_path).out
    assert line in attnlab("inspect", folder, "--ids", "1 2 3", "--no-figures", cwd=tmp_path).out
    expected = [{"key": "sugar", "value": 2}]
    assert printed_json("config", "check", folder, "--json", cwd=tmp_path)["unused_settings"] == expected
    for options in (("--ids", "1 2 3"), ("--weights",)):
        assert printed_json("inspect", folder, *options, cwd=tmp_path)["model"]["unused_settings"] == expected


def test_a_decoder_that_sees_both_ways_is_refused_by_every_door(tmp_path: Path) -> None:
    folder = changed(tmp_path, "llama-grouped", is_causal=False)
    for command in (("config", "check", folder), ("inspect", folder, "--ids", "1 2"), ("cost", folder)):
        assert "is_causal: False; expected a llama without it" in error_line(attnlab(*command, cwd=tmp_path), 3)
