"""The presets: the configurations that come with the package, each the file of its name in `configs/`."""

from pathlib import Path

from attnlab.errors import ConfigError
from attnlab.files.kinds import did_you_mean
from attnlab.files.opening import shown

DEFAULT = "sentence"


def preset_names() -> tuple[str, ...]:
    """The presets' names: the default one first, the others in alphabetical order."""
    names = (path.stem for path in _folder().glob("*.yaml"))
    return tuple(sorted(names, key=lambda name: (name != DEFAULT, name)))


def preset_path(name: str) -> Path:
    """The preset's file.

    Raises:
        ConfigError: no preset has the name; the text lists them and points at the nearest.
    """
    names = preset_names()
    if name not in names:
        hint = did_you_mean(name, names)
        raise ConfigError(
            f"{shown(name)}: no such file and no such preset; expected {', '.join(names)} or a file{hint}"
        )
    return _folder() / f"{name}.yaml"


def preset_summary(name: str) -> str:
    """What the preset is, in one sentence: the comment that its file begins with.

    Raises:
        ConfigError: no preset has the name.
    """
    with preset_path(name).open(encoding="utf-8") as file:
        return file.readline().removeprefix("#").strip()


def packaged(name: str) -> Path:
    """A file that lies beside the presets."""
    return _folder() / name


def _folder() -> Path:
    """In a wheel the presets lie inside the package, in a checkout beside it."""
    package = Path(__file__).parent.parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"
