"""What `pip install` brings: a wheel built from this folder, installed into its own environment, and run there; of what
others wrote, no older version than was tried."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email.parser import BytesParser
from pathlib import Path

import pytest
import yaml

import attnlab
from attnlab.files.presets import preset_names, preset_path
from tests.commands import ROOT
from tests.patience import PATIENCE

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--isolated")

pytestmark = pytest.mark.slow


def completed(*command: str | Path, cwd: Path) -> str:
    """What a command prints, run where nothing leads Python to this folder; it must succeed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    ended = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    completed(*PIP, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in a source distribution, built without the network."""
    folder = tmp_path_factory.mktemp("source")
    completed(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("*.tar.gz")
    with tarfile.open(built) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds attnlab from the wheel, and borrows what attnlab needs from this one."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, system_site_packages=False, with_pip=False)
    python = environment / "bin" / "python"
    (own,) = (environment / "lib").glob("python*/site-packages")
    # Folders that a .pth file adds come last, and their own .pth files, such as an editable attnlab's, are not read.
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (own / "borrowed.pth").write_text("\n".join(sorted(borrowed)), encoding="utf-8")
    completed(*PIP, "--python", python, "install", "--no-deps", "--no-index", "-q", wheel, cwd=environment)
    return environment


def test_the_wheel_holds_the_package_and_the_presets_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = {path.relative_to(ROOT).as_posix() for path in (ROOT / "attnlab").rglob("*.py")}
    presets = {f"attnlab/configs/{path.name}" for path in (ROOT / "configs").iterdir()}
    assert {"attnlab/configs/sentence.npz", "attnlab/configs/LICENSE.sentence"} <= presets
    about = f"attnlab-{attnlab.__version__}.dist-info/"
    assert {name for name in names if not name.startswith(about)} == {*package, *presets, "attnlab/py.typed"}
    assert {f"{about}licenses/LICENSE", f"{about}licenses/configs/LICENSE.sentence"} <= names


def test_the_source_distribution_holds_what_readme_links_to(source: set[str]) -> None:
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = {target for target in re.findall(r"\]\(([^)#\s]+)", readme) if "://" not in target}
    assert {*pages, *linked, "CITATION.cff", "README.md", "LICENSE"} <= source


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == attnlab.__version__
    assert citation["title"].startswith("attnlab")


def test_the_wheels_presets_are_the_checkouts_bytes(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for path in (ROOT / "configs").iterdir():
            assert archive.read(f"attnlab/configs/{path.name}") == path.read_bytes()


def test_an_installed_attnlab_runs_its_own_presets_anywhere(installed: Path, tmp_path: Path) -> None:
    command = installed / "bin" / "attnlab"
    listed = json.loads(completed(command, "config", "list", "--json", cwd=tmp_path))
    assert [preset["name"] for preset in listed["presets"]] == [*preset_names()]
    result = json.loads(completed(command, "run", "--no-figures", "--json", cwd=tmp_path))
    assert all(check["holds"] for check in result["checks"])
    weights = Path(result["config"]["weights"]["file"])
    assert weights.is_relative_to(installed)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def required(wheel: Path) -> list[str]:
    """What the wheel says that attnlab and its extras need: "numpy>=2.0", "numba>=0.61; extra == 'test'"."""
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"attnlab-{attnlab.__version__}.dist-info/METADATA")
    return BytesParser().parsebytes(metadata).get_all("Requires-Dist", [])


def test_every_requirement_has_a_lower_bound(required: list[str]) -> None:
    assert required
    assert [line for line in required if not re.match(r"[\w.-]+>=\d", line)] == []


def test_the_lowest_versions_are_those_of_all_that_the_tests_need(required: list[str]) -> None:
    needed = {line.partition(";")[0] for line in required if "extra" not in line or "'test'" in line}
    lowest = completed(sys.executable, ROOT / ".ci" / "lowest", cwd=ROOT).splitlines()
    spelt = {line.replace("==", ">=").replace("_", "-").lower() for line in lowest}
    assert spelt == {line.replace("_", "-").lower() for line in needed}
    assert len(lowest) == len(spelt)


def test_a_requirement_without_a_lower_bound_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    script = tmp_path / ".ci" / "lowest"
    script.write_bytes((ROOT / ".ci" / "lowest").read_bytes())
    project = '[project]\nname = "mine"\ndependencies = []\n[project.optional-dependencies]\nother = ["b<3"]\n'
    (tmp_path / "pyproject.toml").write_text(project + 'test = ["a>=1", "mine[other]"]\n', encoding="utf-8")
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (1, "a==1\n")
    assert ended.stderr == "pyproject.toml: b<3: no lower bound; expected NAME>=VERSION\n"


def test_in_a_checkout_the_presets_lie_beside_the_package() -> None:
    assert Path(attnlab.__file__).parent == ROOT / "attnlab"
    assert {preset_path(name).parent for name in preset_names()} == {ROOT / "configs"}


def test_a_command_that_fails_is_seen(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no such module"):
        completed(sys.executable, "-c", "raise SystemExit('no such module')", cwd=tmp_path)
