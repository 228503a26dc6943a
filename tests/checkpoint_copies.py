"""Copies of golden checkpoints to damage: their JSON files, their tensors, and what a refusal of them looks like."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

import attnlab

Array = NDArray[Any]

GOLDEN = Path(__file__).parent / "golden" / "checkpoints"


def copied(tmp_path: Path, name: str) -> Path:
    """A copy of a golden checkpoint."""
    folder = tmp_path / name
    shutil.copytree(GOLDEN / name, folder)
    return folder


def golden_ids(name: str) -> Array:
    with np.load(GOLDEN / name / "expected.npz") as file:
        return np.asarray(file["ids"])


def edit_json(path: Path, change: Callable[[Any], object]) -> None:
    """Change a JSON file in place."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def set_keys(folder: Path, **settings: object) -> Path:
    """Set keys of config.json."""
    edit_json(folder / "config.json", lambda config: config.update(settings))
    return folder


def edit_tensors(path: Path, change: Callable[[dict[str, Array]], object]) -> None:
    """Change the tensors of a .safetensors file in place."""
    tensors = dict(safetensors.numpy.load_file(path))
    change(tensors)
    path.write_bytes(safetensors.numpy.save({name: np.array(t, order="C") for name, t in tensors.items()}))


def header_of(path: Path) -> tuple[dict[str, Any], bytes]:
    """A .safetensors file's header and the bytes after it."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def write_raw(path: Path, header: Mapping[str, object] | bytes, data: bytes) -> None:
    """A .safetensors file of any header, well-formed or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def refusal(folder: Path) -> str:
    """The one line with which opening a checkpoint ends: before any text is looked at."""
    with pytest.raises(attnlab.InputError) as caught:
        attnlab.load_checkpoint(folder)
    line = str(caught.value)
    assert caught.value.exit_code == 3
    assert line.isprintable(), line
    assert line.startswith(str(folder)), line
    assert "expected" in line, line
    return line
