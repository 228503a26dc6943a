"""docs/reference holds what the code has: every command and key, every statistic, field and exit code."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from attnlab import errors
from attnlab.cli.app import COMMANDS
from attnlab.cli.failures import BROKEN_PIPE, BUG, STOPPING
from attnlab.files.config import load_config
from attnlab.maths.statistics import HeadStatistics
from tests.commands import attnlab
from tests.golden.make_reference import FOLDER, PARTS, renewed

#: A small run of each command, and of what changes the fields of its document.
RUNS = {
    "run": ["run"],
    "run, streamed": ["run", "--kernel", "streaming"],
    "why": ["why"],
    "inspect": ["inspect"],
    "inspect, a checkpoint": ["inspect", "tests/golden/checkpoints/bert", "--ids", "2,11,7,5"],
    "inspect, weights": ["inspect", "--weights"],
    "variance": ["variance", "--dk", "4", "--samples", "2000"],
    "variance, a block": ["variance", "--config", "single-head"],
    "complexity": ["complexity", "--max-n", "256", "--mechanism", "hash", "--mechanism", "sorted", "--repeats", "7"],
    "gradient": ["gradient", "--dk", "64", "--dk", "128", "--rows", "256", "--n", "8"],
    "lookup": ["lookup", "--dk", "16", "--max-n", "256", "--keys", "8", "--queries", "4", "--repeats", "2"],
    "depth": ["depth", "--layers", "2", "--seeds", "2", "--n", "4", "--d-model", "8", "--heads", "2"],
    "cost": ["cost", "single-head", "--n", "16", "--against", "measured"],
    "verify": ["verify", "theorem-5"],
    "diagram": ["diagram", "roles"],
    "diagram, growth": ["diagram", "growth"],
    "config list": ["config", "list"],
    "config show": ["config", "show", "single-head"],
    "config check": ["config", "check", "single-head"],
}
#: What stands beside any field, by one rule that the page gives.
BESIDE = re.compile(r"_(standard_error|reason|flag)$")
#: Fields whose keys are names and no fields: configurations, thresholds by kind, coefficients by power.
OPEN = {"config", "thresholds", "coefficients"}


def page(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def named(text: str) -> set[str]:
    """What stands between backticks."""
    return set(re.findall(r"`([^`\n]+)`", text))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.md")), ids=lambda path: path.name)
def test_made_parts_are_what_the_code_makes(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert renewed(text) == text, "python -m tests.golden.make_reference sets it anew"


def test_every_part_is_on_a_page() -> None:
    assert {name for path in FOLDER.glob("*.md") for name in PARTS if f"<!-- made: {name} -->" in page(path.name)} == {
        *PARTS
    }


def test_a_part_that_the_code_does_not_make_is_set_anew() -> None:
    text = "A.\n\n<!-- made: configuration -->\n\nold\n\n<!-- end -->\n\nB.\n"
    assert renewed(text).startswith("A.\n\n<!-- made: configuration -->\n\n| key |")
    assert renewed(text).endswith("|\n\n<!-- end -->\n\nB.\n")


def test_the_file_of_defaults_is_the_default(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", page("configuration.md"), re.MULTILINE | re.DOTALL)
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    assert load_config(tmp_path / "config.yaml") == load_config({})


def test_every_statistic_is_in_the_table() -> None:
    rows = [line for line in page("statistics.md").splitlines() if line.startswith("|")]
    first = {name for row in rows for name in named(row.split("|")[1])}
    assert first >= {*HeadStatistics._fields} - {"reasons"}


def fields(value: Any) -> Iterator[str]:
    """Every key of a document, at any depth."""
    match value:
        case dict():
            for key, inner in value.items():
                yield key
                if key not in OPEN:
                    yield from fields(inner)
        case list():
            for inner in value:
                yield from fields(inner)


def section(command: str) -> str:
    """What the page says of a command, and of every document."""
    text = page("json.md")
    common, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    own = {part.partition("\n")[0]: part for part in sections}
    return common + own[command] + (own["run"] if command == "inspect" else "")


@pytest.mark.parametrize("name", RUNS)
def test_every_field_is_on_the_page(name: str, tmp_path: Path) -> None:
    (tmp_path / "tests").symlink_to(Path(__file__).parent)
    ended = attnlab(*RUNS[name], "--json", cwd=tmp_path)
    assert ended.code == 0, ended
    told = named(section(name.partition(",")[0]))
    found = {*fields(json.loads(ended.out))}
    assert {field for field in found - told if BESIDE.sub("", field) not in told} == set()


def test_every_command_has_a_run() -> None:
    assert {name.split()[0].rstrip(",") for name in RUNS} == {*COMMANDS}


def rows_by_code() -> dict[int, str]:
    return {int(row[1]): row[0] for row in re.finditer(r"^\| (\d+) \|.*$", page("exit-codes.md"), re.MULTILINE)}


#: every kind of error that is raised
ERRORS = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.AttnlabError)]
ERRORS.remove(errors.AttnlabError)


def test_every_exit_code_is_in_the_table() -> None:
    own = {one.exit_code for one in ERRORS}
    assert {*rows_by_code()} == {0, errors.AttnlabError.exit_code, *own, BUG, BROKEN_PIPE, *(128 + n for n in STOPPING)}


@pytest.mark.parametrize("one", ERRORS, ids=lambda one: one.__name__)
def test_every_error_stands_beside_its_code(one: type[errors.AttnlabError]) -> None:
    assert f"`{one.__name__}`" in rows_by_code()[one.exit_code]
