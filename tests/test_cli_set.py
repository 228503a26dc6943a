"""`--set` and the options that are short for it: what a file would say, in every command that takes a configuration."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml

from attnlab.cli import app
from tests.commands import attnlab, error_line, printed_json, weights_of
from tests.test_settings import BASE, with_key

#: Every command that takes a configuration, as typed before its options.
COMMANDS = {
    "run": ("run", "CONFIG"),
    "why": ("why", "CONFIG", "3", "1"),
    "variance": ("variance", "--config", "CONFIG"),
    "diagram": ("diagram", "attention", "CONFIG"),
    "cost": ("cost", "CONFIG", "--n", "64"),
    "inspect": ("inspect", "CONFIG"),
    "inspect weights": ("inspect", "CONFIG", "--weights"),
    "config show": ("config", "show", "CONFIG"),
    "config check": ("config", "check", "CONFIG"),
}


def commands_with_an_option(name: str) -> set[str]:
    """The commands that have an option, by full name."""

    def found(command: Any, path: str) -> Iterator[str]:
        for inner in getattr(command, "commands", {}).values():
            yield from found(inner, f"{path} {inner.name}".strip())
        if any(name in one.opts for one in command.params):
            yield path

    return set(found(typer.main.get_command(app.build_app()), ""))


def with_config(command: str, config: str) -> list[str]:
    return [config if word == "CONFIG" else word for word in COMMANDS[command]]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    (folder / "mine.yaml").write_text(yaml.safe_dump(BASE), encoding="utf-8")
    return folder


class TestEveryCommand:
    def test_that_takes_a_configuration_takes_settings(self) -> None:
        assert commands_with_an_option("--set") == {name.removesuffix(" weights") for name in COMMANDS}

    @pytest.mark.parametrize("command", COMMANDS)
    @pytest.mark.parametrize(
        ("key", "text", "value"),
        [("block.causal", "true", True), ("block.position", "{rotary: {base: 50}}", {"rotary": {"base": 50}})],
        ids=["causal", "position"],
    )
    def test_prints_what_it_prints_of_a_file_that_says_so(
        self, command: str, key: str, text: str, value: object, here: Path
    ) -> None:
        changed = with_key(BASE, key, value)
        (here / "changed.yaml").write_text(yaml.safe_dump(changed), encoding="utf-8")
        by_option = printed_json(*with_config(command, "mine.yaml"), "--set", f"{key}={text}", cwd=here)
        by_file = printed_json(*with_config(command, "changed.yaml"), cwd=here)
        plain = printed_json(*with_config(command, "mine.yaml"), cwd=here)
        named = json.loads(json.dumps(by_option).replace(f"mine with {key.removeprefix('block.')}=", "changed "))
        if command == "diagram":
            assert by_option["config"] == by_file["config"] != plain["config"]
        else:
            assert named == by_file
            assert named != plain or command == "config check"

    @pytest.mark.parametrize("command", COMMANDS)
    def test_complains_as_of_a_file(self, command: str, here: Path) -> None:
        line = error_line(attnlab(*with_config(command, "mine.yaml"), "--set", "block.causl=true", cwd=here), 2)
        where = command.removesuffix(" weights")
        assert line == f'{where}: --set block.causl=true: unknown key; did you mean "causal"?'

    @pytest.mark.parametrize("command", COMMANDS)
    def test_refuses_them_for_a_checkpoint(self, command: str, here: Path) -> None:
        (here / "model").mkdir(exist_ok=True)
        (here / "model" / "config.json").write_text("{}", encoding="utf-8")
        if command == "variance":  # takes none
            return
        line = error_line(attnlab(*with_config(command, "model"), "--set", "block.causal=true", cwd=here), 2)
        where = command.removesuffix(" weights")
        said = "--set block.causal=true: not together with the checkpoint model, whose config.json sets that"
        assert line == f"{where}: {said}"


class TestBesideOtherOptions:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--causal", "--set", "block.causal=false"], "--causal: not together with --set block.causal=false; "),
            (["--dk", "4", "--set", "block={d_k: 3}"], "--dk 4: not together with --set block={d_k: 3}; "),
            (["--scale", "1", "--set", "block.scale=2"], "--scale 1: not together with --set block.scale=2; "),
            (["--seed", "1", "--set", "weights.seed=2"], "--set weights.seed=2: not together with --seed 1; "),
            (["--n", "3", "--set", "input.random.n=4"], "--set input.random.n=4: not together with --n 3; "),
            (
                ["--embeddings", "x.npy", "--set", "input.random.n=4"],
                "--set input.random.n=4: not together with --embeddings x.npy; ",
            ),
            (["--qkv", "q.npz", "--causal"], "--causal: not together with --qkv, whose arrays are the whole input"),
        ],
    )
    def test_a_key_has_one_value(self, arguments: list[str], said: str, here: Path) -> None:
        assert error_line(attnlab("run", *arguments, cwd=here), 2).startswith(f"run: {said}")

    def test_variance_needs_a_block_to_change(self, here: Path) -> None:
        line = error_line(attnlab("variance", "--set", "block.causal=true", cwd=here), 2)
        assert line == "variance: --set block.causal=true: changes nothing; expected --config CONFIG beside it"


class TestUnknownOptions:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["run", "--d-model", "64"], "--d-model; perhaps --set block.d_model=64"),
            (["run", "--window=3"], "--window; perhaps --set block.window=3"),
            (["run", "--softcap"], "--softcap; perhaps --set block.softcap=VALUE"),
            (["run", "--softcap", "--quiet"], "--softcap; perhaps --set block.softcap=VALUE"),
            (["run", "--window", "\udcff"], r"--window; perhaps --set block.window=\udcff"),
            (["inspect", "--seed", "3"], "--seed; perhaps --set weights.seed=3 or --set input.random.seed=3"),
            (["cost", "--layers", "3"], "--layers; perhaps --set layers=3"),
            (["why", "--causal", "bank", "river"], "--causal; perhaps --set block.causal=true"),
            (["why", "bank", "river", "--causal=no"], "--causal; perhaps --set block.causal=no"),
            (["run", "--base=50"], "--base; perhaps --set block.position.rotary.base=50"),
            (["depth", "--window", "3"], "--window"),
            (["run", "--no-such"], "--no-such"),
        ],
    )
    def test_that_are_keys_say_how_to_set_them(self, arguments: list[str], said: str, here: Path) -> None:
        line = error_line(attnlab(*arguments, cwd=here), 2)
        command = arguments[0]
        assert line == f"{command}: no such option: {said} (attnlab {command} --help lists what there is)"


class TestShortOptionsOfRun:
    def test_are_settings(self, here: Path) -> None:
        short = printed_json("run", "mine.yaml", "--causal", "--dk", "4", "--scale", "1", cwd=here)
        long = [f"block.{key}" for key in ("causal=true", "d_k=4", "scale=1")]
        assert short == printed_json("run", "mine.yaml", *(part for key in long for part in ("--set", key)), cwd=here)
        assert (short["config"]["block"]["causal"], short["config"]["block"]["d_k"]) == (True, 4)

    @pytest.mark.parametrize("value", ["0", "x", "", "nan", "--quiet"])
    @pytest.mark.parametrize("option", ["--dk", "--scale"])
    def test_take_numbers(self, option: str, value: str, here: Path) -> None:
        if (option, value) == ("--scale", "0"):
            return
        assert error_line(attnlab("run", option, value, cwd=here), 2).startswith("run: ")


class TestTheDefault:
    def test_keeps_its_sentence_where_its_weights_still_fit(self, here: Path) -> None:
        plain = printed_json("run", cwd=here)
        causal = printed_json("run", "--causal", cwd=here)
        assert causal["tokens"] == plain["tokens"]
        assert np.triu(weights_of(causal), 1).max() == 0
        unscaled = printed_json("run", "--scale", "1", cwd=here)
        (before,), (after,) = plain["heads"], unscaled["heads"]
        for statistic, power in (("score_mean", 1), ("score_max", 1), ("score_variance", 2)):
            assert after[statistic] == pytest.approx(before[statistic] * 32 ** (power / 2), rel=1e-4)
        assert all(check["holds"] for check in (*causal["checks"], *unscaled["checks"]))
        assert attnlab("run", "--causal", "--no-figures", cwd=here).out.startswith(
            "sentence with causal=true · 13 tokens"
        )

    @pytest.mark.parametrize(
        ("arguments", "heading", "reason"),
        [
            (["--dk", "16"], "single-head with d_k=16 · 8 tokens × 64", "--dk 16"),
            (["--n", "5"], "single-head · 5 tokens × 64", "--n 5"),
            (["--n", "5", "--causal"], "single-head with causal=true · 5 tokens × 64", "--n 5"),
            (["--dk", "16", "--causal"], "single-head with d_k=16, causal=true · 8 tokens × 64", "--dk 16"),
            (["--set", "block.d_model=96"], "single-head with d_model=96 · 8 tokens × 96", "--set block.d_model=96"),
            (["--set", "layers=2"], "single-head with layers=2 · 8 tokens × 64", "--set layers=2"),
            (
                ["--set", "input.random.n=4"],
                "single-head with input.random.n=4 · 4 tokens × 64",
                "--set input.random.n=4",
            ),
        ],
    )
    def test_gives_way_where_they_do_not(self, arguments: list[str], heading: str, reason: str, here: Path) -> None:
        ended = attnlab("run", *arguments, "--no-figures", cwd=here)
        assert (ended.code, ended.err) == (0, "")
        assert " ".join(ended.out.split()).startswith(heading)
        assert f"which do not go with {reason}: this is single-head, with random ones." in " ".join(ended.out.split())

    def test_named_keeps_its_weights_and_says_that_they_do_not_fit(self, here: Path) -> None:
        line = error_line(attnlab("run", "sentence", "--dk", "16", cwd=here), 3)
        assert re.fullmatch(
            r".*sentence\.npz: blocks\.0\.attn\.W_Q: shape \(1, 384, 32\); expected \(1, 384, 16\), .*", line
        )

    def test_of_embeddings_is_the_identity_head_still(self, here: Path) -> None:
        np.save(here / "x.npy", np.eye(4, dtype=np.float32))
        ended = attnlab("run", "--embeddings", "x.npy", "--causal", "--no-figures", cwd=here)
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.startswith("identity head with causal=true · 4 tokens × 4")
