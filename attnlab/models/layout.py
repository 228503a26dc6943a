"""A checkpoint's folder: config.json, one .safetensors file or several with an index; nothing outside it is opened."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from attnlab.errors import InputError
from attnlab.files.numpy_files import Array
from attnlab.files.opening import (
    JSON_MEMORY,
    StrPath,
    Version,
    listed,
    open_regular,
    quoted,
    read_json,
    require_version,
    shown,
    version_of,
)
from attnlab.files.safetensors_files import (
    StoredTensor,
    read_directory,
    read_rows,
    read_tensor,
    sound_dtype,
)

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
INDEX = f"{WEIGHTS}.index.json"
#: Masks and tables that models keep beside what they learn; how the names of such tensors end.
BUFFERS = (".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias", ".inv_freq", "position_ids")
#: Text files of a checkpoint are no longer than this: a tokenizer.json may take tens of MB.
_MAX_TEXT = 1 << 28


class Tensors:
    """The tensors of a checkpoint: their names, dtypes and shapes at hand, their numbers read when asked for."""

    def __init__(
        self, places: Mapping[str, tuple[Path, StoredTensor]], source: Path, versions: Mapping[Path, Version]
    ) -> None:
        """Places: name -> file and place in it. Source: what complaints name, the file or the index. Versions: of each
        file, as it was when its directory was read.
        """
        self._places, self.source, self._versions = places, source, versions
        self._digests: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._places

    @property
    def names(self) -> Iterable[str]:
        """The tensors' names."""
        return self._places.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape as stored."""
        return self._places[name][1].shape

    def where(self, name: str) -> str:
        """The tensor as complaints name it."""
        return f"{shown(self._places[name][0])}: tensor {quoted(name, limit=120)}"

    def require_floats(self, name: str) -> None:
        """Check that a tensor holds floats that can be read.

        Raises:
            InputError: it holds something else.
        """
        sound_dtype(self._places[name][1], self.where(name))

    def read(self, name: str) -> Array:
        """A whole tensor, in the dtype that it is stored in.

        Raises:
            InputError: the file is another than when its directory was read, or cannot be read any more.
        """
        path, place = self._places[name]
        with open_regular(path) as file:
            require_version(path, version_of(file), self._versions[path])
            tensor = read_tensor(file, place, self.where(name))
        if name not in self._digests:
            self._digests[name] = hashlib.sha256(np.ascontiguousarray(tensor).view(np.uint8).data).hexdigest()
        return tensor

    @property
    def fingerprint(self) -> dict[str, object]:
        """What tells two checkpoints apart: the SHA-256 over the names and numbers of the tensors that were read."""
        said = "".join(f"{name} {digest}\n" for name, digest in sorted(self._digests.items()))
        return {"sha256": hashlib.sha256(said.encode()).hexdigest(), "tensors": len(self._digests)}

    def rows(self, name: str, indices: Array) -> Array:
        """Some rows of a matrix, (len(indices), width), and no others are read."""
        path, place = self._places[name]
        with open_regular(path) as file:
            require_version(path, version_of(file), self._versions[path])
            return read_rows(file, place, indices, self.where(name))


def open_tensors(folder: Path, *, max_bytes: int) -> Tensors:
    """The tensors of a checkpoint's folder.

    Raises:
        InputError: there is no .safetensors file, an index names one that is not in the folder, or a file is damaged.
        MemoryRefused: their names and places would take more than max_bytes.
    """
    if not (folder / WEIGHTS).exists():  # where both are, transformers reads it, too
        if (folder / INDEX).exists():
            return _sharded(folder, max_bytes)
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
        reason = (
            "; pickled weights can run code and are not read: save the model with save_pretrained" if pickled else ""
        )
        raise InputError(f"{shown(folder)}: no {WEIGHTS} and no {INDEX}; expected one of them{reason}")
    path = _inside(folder, WEIGHTS, shown(folder))
    with open_regular(path) as file:
        held, version = read_directory(file, shown(path), max_bytes=max_bytes), version_of(file)
    return Tensors({name: (path, place) for name, place in held.items()}, path, {path: version})


def _sharded(folder: Path, max_bytes: int) -> Tensors:
    """The tensors that an index spreads over several files."""
    index = _inside(folder, INDEX, shown(folder))
    where = shown(index)
    weight_map = read_json(index, max_bytes=max_bytes).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise InputError(f"{where}: no weight_map; expected one from tensors' names to files' names")
    held: dict[str, tuple[Path, dict[str, StoredTensor]]] = {}
    versions: dict[Path, Version] = {}
    left = max_bytes - JSON_MEMORY * index.stat().st_size
    for shard in dict.fromkeys(weight_map.values()):
        path = _inside(folder, shard, f"{where}: weight_map")
        with open_regular(path) as file:
            held[shard] = path, read_directory(file, shown(path), max_bytes=left)
            left -= JSON_MEMORY * file.tell()
            versions[path] = version_of(file)
    places = {}
    for name, shard in weight_map.items():
        path, tensors = held[shard]
        if name not in tensors:
            raise InputError(f"{shown(path)}: no tensor {quoted(name, limit=120)}; expected it there, set by {INDEX}")
        places[name] = path, tensors[name]
    return Tensors(places, index, versions)


def _inside(folder: Path, name: str, where: str) -> Path:
    """The file of that name in the folder.

    A link may lead to another file of the folder, or to the blobs of the hub's cache, whose snapshots are links.

    Raises:
        InputError: the name leads out of the folder.
    """
    path = folder / name
    try:
        home, target, is_link = folder.resolve(), path.resolve(), path.is_symlink()
    except (OSError, RuntimeError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise InputError(f"{where}: {quoted(name)}: {reason}; expected a file of the folder") from problem
    linked = is_link and home.parent.name == "snapshots" and target.parent == home.parent.parent / "blobs"
    if Path(name).name != name or name in ("", ".", "..") or not (target.parent == home or linked):
        raise InputError(
            f"{where}: {quoted(name)} leads out of the folder; expected a file in {shown(folder)}: "
            f"copy it there, or give the folder that it lies in"
        )
    return path


def checkpoint_folder(folder: StrPath) -> Path:
    """The folder, known to be one that holds a config.json.

    Raises:
        InputError: it is no directory, or holds no config.json.
    """
    path = Path(folder)
    if not os.path.isdir(path):  # as Path.is_dir, and False for a name that is too long
        found = "a file" if os.path.exists(path) else "no such directory"
        raise InputError(f"{shown(folder)}: {found}; expected a checkpoint's folder, with {CONFIG} and {WEIGHTS}")
    if not (path / CONFIG).exists():
        raise InputError(f"{shown(folder)}: no {CONFIG}; expected a checkpoint's folder, with {CONFIG} and {WEIGHTS}")
    return path


def read_settings(folder: Path, *, max_bytes: int) -> dict[str, Any]:
    """What config.json says.

    Raises:
        InputError, MemoryRefused: as `read_json`.
    """
    return read_json(_inside(folder, CONFIG, shown(folder)), max_bytes=max_bytes)


def tokenizer_file(folder: Path) -> Path | None:
    """The folder's tokenizer.json, if there is one."""
    return _inside(folder, TOKENIZER, shown(folder)) if (folder / TOKENIZER).exists() else None


def read_text(path: Path) -> str:
    """A UTF-8 file's text.

    Raises:
        InputError: it is not a regular file of UTF-8, or longer than any such file should be.
    """
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > _MAX_TEXT:
            raise InputError(f"{shown(path)}: more than {_MAX_TEXT:,} bytes; expected a text file")
        data = file.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise InputError(f"{shown(path)}: byte {problem.start:,} is not UTF-8; expected UTF-8") from problem


def stored_numbers(tensors: Tensors) -> int:
    """How many numbers a checkpoint's floating tensors hold, masks and tables that a model keeps for itself apart."""
    return sum(int(np.prod(tensors.shape(n), dtype=np.int64)) for n in tensors.names if not n.endswith(BUFFERS))


def missing(name: str, tensors: Tensors, why: str) -> InputError:
    """A tensor that should be there and is not."""
    near = [held for held in tensors.names if held.rsplit(".", 2)[-2:] == name.rsplit(".", 2)[-2:]]
    among = listed(near or list(tensors.names), limit=4)
    return InputError(f"{shown(tensors.source)}: no tensor {quoted(name, limit=120)}; expected it {why}, among {among}")
