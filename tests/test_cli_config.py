"""`attnlab config list · show · check · schema`."""

import json
from pathlib import Path

import jsonschema
import yaml

from attnlab.files.config import json_schema
from attnlab.files.presets import preset_names, preset_summary
from tests.commands import attnlab, error_line


class TestList:
    def test_names_every_preset(self, tmp_path: Path) -> None:
        ended = attnlab("config", "list", cwd=tmp_path)
        assert (ended.code, ended.err) == (0, "")
        for name in preset_names():
            (line,) = (line for line in ended.out.splitlines() if line.startswith(f"{name} "))
            assert line.endswith(preset_summary(name))
        assert attnlab("config", cwd=tmp_path) == ended

    def test_as_json(self, tmp_path: Path) -> None:
        document = json.loads(attnlab("config", "list", "--json", cwd=tmp_path).out)
        assert document["schema"] == "attnlab.config-list/1"
        assert [preset["name"] for preset in document["presets"]] == list(preset_names())


class TestShow:
    def test_what_is_shown_can_be_run(self, tmp_path: Path) -> None:
        shown = attnlab("config", "show", "single-head", cwd=tmp_path)
        assert (shown.code, shown.err) == (0, "")
        assert yaml.safe_load(shown.out)["block"]["d_k"] == 64
        (tmp_path / "again.yaml").write_text(shown.out, encoding="utf-8")
        assert attnlab("config", "show", "again.yaml", cwd=tmp_path).out == shown.out
        ran = [json.loads(attnlab("run", name, "--json", cwd=tmp_path).out) for name in ("single-head", "again.yaml")]
        assert ran[0] == ran[1]

    def test_as_json(self, tmp_path: Path) -> None:
        document = json.loads(attnlab("config", "show", "llama-like", "--json", cwd=tmp_path).out)
        assert document["schema"] == "attnlab.config-show/1"
        jsonschema.validate(document["config"], json_schema())
        assert document["config"]["block"]["position"]["rotary"]["base"] == 10000


class TestCheck:
    def test_what_is_right(self, tmp_path: Path) -> None:
        ended = attnlab("config", "check", "vaswani-base", cwd=tmp_path)
        assert (ended.code, ended.err) == (0, "")
        # 6 × (4 (512² + 512) + 2 · 512 · 2048 + 2048 + 512 + 4 · 512)
        assert ended.out == "vaswani-base: right: 6 layers, 18,914,304 parameters, 10 tokens\n"

    def test_as_json(self, tmp_path: Path) -> None:
        document = json.loads(attnlab("config", "check", "single-head", "--json", cwd=tmp_path).out)
        assert (document["parameters"], document["tokens"]) == (3 * 64 * 64 + 64, 8)

    def test_what_is_wrong_is_listed_with_its_places(self, tmp_path: Path) -> None:
        text = "block: {d_model: 10, n_heads: 3, causl: true}\ndtype: float31\n"
        (tmp_path / "wrong.yaml").write_text(text, encoding="utf-8")
        ended = attnlab("config", "check", "wrong.yaml", cwd=tmp_path)
        assert (ended.code, ended.out) == (2, "")
        first, *mistakes = ended.err.splitlines()
        assert first == "attnlab: error: wrong.yaml: 3 mistakes"
        assert [mistake.split(": ")[0] for mistake in mistakes] == [
            "wrong.yaml:1:31",
            "wrong.yaml:1:34",
            "wrong.yaml:2:8",
        ]

    def test_files_that_are_missing_or_do_not_fit(self, tmp_path: Path) -> None:
        (tmp_path / "file.yaml").write_text(
            "block: {d_model: 4, n_heads: 1}\ninput: {file: none.npy}\n", encoding="utf-8"
        )
        line = error_line(attnlab("config", "check", "file.yaml", cwd=tmp_path), 3)
        assert line == f"{tmp_path / 'none.npy'}: no such file or directory; expected a file that can be read"


class TestSchema:
    def test_is_a_schema_that_the_presets_keep(self, tmp_path: Path) -> None:
        ended = attnlab("config", "schema", cwd=tmp_path)
        assert (ended.code, ended.err) == (0, "")
        assert json.loads(ended.out) == json_schema()
        jsonschema.Draft202012Validator.check_schema(json.loads(ended.out))
