"""Everything of attnlab's that reads a file of a person's, as a table: what it reads, and good files to begin from."""

import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "checkpoints"
#: What --max-memory says to all of them.
MAX_BYTES = 4 << 20
N, WIDTH = 5, 6
CONFIG, INPUT, MEMORY = 2, 3, 4

Array = NDArray[Any]


def _nothing(folder: Path) -> None:
    """Nothing stands beside the file."""


class Parser(NamedTuple):
    """A way into attnlab for a file."""

    name: str
    #: the file's name in its folder
    target: str
    #: reads the folder's file to the last byte that counts
    read: Callable[[Path], object]
    #: what it may refuse the file with
    codes: tuple[int, ...]
    #: files that it takes
    good: Callable[[], list[bytes]]
    #: writes what else stands in the folder
    beside: Callable[[Path], None] = _nothing
    #: what it may do that others may not, as audit hooks call it
    may: frozenset[str] = frozenset()


def normal(*shape: int, dtype: str = "float32") -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def npy_bytes(array: Array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz_bytes(arrays: Mapping[str, Array], *, compressed: bool = False) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


BLOCK = {"d_model": WIDTH, "n_heads": 2, "d_ff": 7, "bias": False}


def block_weights() -> dict[str, Array]:
    from attnlab.files.config import load_config
    from attnlab.maths.weights import weight_shapes

    shapes = weight_shapes(load_config({"block": BLOCK}).block)
    return {f"blocks.0.{name}": normal(*shape) for name, shape in shapes.items()}


def read_config(folder: Path) -> None:
    from attnlab.files.config import config_document, config_yaml, load_config

    config = load_config(folder / "mine.yaml")
    config_document(config)
    config_yaml(config)


def read_weights(name: str, folder: Path) -> None:
    from attnlab.files.config import load_config
    from attnlab.files.stacks import build_stack

    build_stack(load_config({"block": BLOCK, "weights": {"file": str(folder / name)}}), max_bytes=MAX_BYTES)


def read_embeddings_file(name: str, folder: Path) -> None:
    from attnlab.files.embeddings import read_embeddings

    read_embeddings(folder / name, d_model=WIDTH, set_by="block.d_model", max_bytes=MAX_BYTES)


def read_qkv_file(folder: Path) -> None:
    from attnlab import attention
    from attnlab.files.embeddings import read_qkv

    given = read_qkv(folder / "qkv.npz", max_bytes=MAX_BYTES)
    if max(given.q.shape[-2], given.k.shape[-2]) <= 64:
        attention(given.q, given.k, given.v, mask=given.mask, bias=given.bias)


def read_tokens_file(folder: Path) -> None:
    from attnlab.files.embeddings import read_tokens

    read_tokens(folder / "x.tokens.txt", N, max_bytes=MAX_BYTES)


def read_text_file(folder: Path) -> None:
    from attnlab.files.texts import read_text

    read_text(folder / "text.txt", max_bytes=MAX_BYTES)


def read_ids_file(folder: Path) -> None:
    from attnlab.files.texts import read_ids

    read_ids(str(folder / "ids.txt"), max_bytes=MAX_BYTES)


def read_checkpoint(family: str, folder: Path) -> None:
    from attnlab import load_checkpoint

    model = load_checkpoint(folder, keep=False)
    model.trace(golden_ids(family))


def read_tokenizer(folder: Path) -> None:
    from attnlab.models.tokenizer import Tokenizer

    tokenizer = Tokenizer(folder / "tokenizer.json", max_bytes=MAX_BYTES, seconds=1)
    for text in ("the river bank", "", "\u202e\x00 é 🙂 \ud7ff", "a" * 300, "un river ##s [MASK]\n\n"):
        tokenizer.encode(text)
    tokenizer.tokens_of(np.array([0, 3, 70_000]))


def read_points(folder: Path) -> None:
    from attnlab.experiments.complexity_saved import SavedPoints
    from attnlab.files.points import PointsFile

    saved = SavedPoints({"full 64": 7})
    PointsFile(folder, json.loads(POINTS.splitlines()[0]), saved.take).close()


def read_run(folder: Path) -> None:
    from attnlab.experiments.complexity import require_sound
    from attnlab.experiments.complexity_resumed import config_of
    from attnlab.files.manifests import read_manifest

    manifest = read_manifest(folder, "complexity", max_bytes=MAX_BYTES)
    require_sound(config_of(manifest, max_bytes=MAX_BYTES))


@cache
def golden_ids(family: str) -> Array:
    with np.load(GOLDEN / family / "expected.npz") as file:
        return np.asarray(file["ids"])


def _copied(family: str, folder: Path) -> None:
    shutil.copytree(GOLDEN / family, folder, dirs_exist_ok=True)


def _golden(family: str, name: str) -> list[bytes]:
    return [(GOLDEN / family / name).read_bytes()]


def _presets() -> list[bytes]:
    return [path.read_bytes() for path in sorted((ROOT / "configs").glob("*.yaml"))]


def _embeddings(suffix: str) -> list[bytes]:
    arrays = [normal(N, WIDTH, dtype=dtype) for dtype in ("float16", "float32", "float64")]
    match suffix:
        case ".npy":
            return [npy_bytes(array) for array in (*arrays, np.asfortranarray(arrays[1]), arrays[2].astype(">f8"))]
        case ".npz":
            both = {"x": arrays[1], "other": arrays[0]}
            return [npz_bytes({"only": arrays[1]}), npz_bytes(both), npz_bytes({"x": arrays[2]}, compressed=True)]
        case ".safetensors":
            return [safetensors.numpy.save(held) for held in ({"x": arrays[1]}, {"x": arrays[0], "y": arrays[2]})]
        case _:
            rows = [",".join(map(repr, row)) for row in arrays[2].tolist()]
            return [
                "\n".join(rows).encode(),
                ("\r\n".join(rows) + "\r\n").encode(),
                b"1,2,3,4,5,nan\n-inf,0,1e3,.5,6.,-0\n",
            ]


def _qkv() -> list[bytes]:
    q, k, v = normal(2, N, 3), normal(1, N + 2, 3), normal(1, N + 2, 4)
    mask, bias = np.arange(N * (N + 2)).reshape(N, N + 2) % 3 > 0, normal(N, N + 2)
    return [npz_bytes({"q": q, "k": k, "v": v}), npz_bytes({"q": q, "k": k, "v": v, "mask": mask, "bias": bias})]


POINTS = b"""\
{"schema": "attnlab.complexity.points/1", "cpu": "x", "numpy": "2", "mechanisms": "full", "heads": 1, "seed": 0}
{"kind": "time", "key": "full 64", "seconds": 0.0012, "calls": 10}
{"kind": "time", "key": "full 64", "seconds": 0.0011, "calls": 10}
{"kind": "memory", "key": "full 64", "traced": 4096, "resident": null, "note": "by tracemalloc"}
"""


def _run() -> list[bytes]:
    from attnlab.experiments.complexity_document import settings
    from attnlab.experiments.complexity_record import ComplexityConfig
    from attnlab.files.runs import SCHEMA

    document = {
        "schema": SCHEMA,
        "status": "interrupted",
        "started": "2026-01-01T00:00:00+00:00",
        "finished": None,
        "command_line": ["attnlab", "complexity", "--quick"],
        "seed": 0,
        "config": settings(ComplexityConfig(n=(16, 20, 24, 32, 48, 64), d=(8,))),
        "versions": {"numpy": "2"},
    }
    return [json.dumps(document, indent=1).encode()]


def _parsers() -> Iterator[Parser]:
    read = (INPUT, MEMORY)
    yield Parser("config.yaml", "mine.yaml", read_config, (CONFIG,), _presets)
    for suffix in (".npy", ".npz", ".csv", ".safetensors"):
        name = f"x{suffix}"
        yield Parser(
            f"embeddings {suffix}", name, partial(read_embeddings_file, name), read, partial(_embeddings, suffix)
        )
    yield Parser("qkv .npz", "qkv.npz", read_qkv_file, read, _qkv)
    for name, save in (("w.npz", npz_bytes), ("w.safetensors", safetensors.numpy.save)):
        good = partial(lambda save: [save(block_weights())], save)
        yield Parser(f"weights {name[1:]}", name, partial(read_weights, name), read, good)
    yield Parser(
        "tokens .txt",
        "x.tokens.txt",
        read_tokens_file,
        (INPUT,),
        lambda: [b'"the"\n"ri\\u0076er"\n"\xc3\xa9"\n"\\ud83d\\ude42"\n""\n\n'],
    )
    yield Parser(
        "text file", "text.txt", read_text_file, read, lambda: ["The river é bank.\r\n\r\nOf\tmoney 🙂.\n".encode()]
    )
    yield Parser("ids file", "ids.txt", read_ids_file, read, lambda: [b"101 7592, 102\n", b"[101, 7592, 102]\n"])
    yield from _checkpoint_parsers()
    yield Parser("points.jsonl", "points.jsonl", read_points, (CONFIG, INPUT), lambda: [POINTS])
    yield Parser("run.json", "run.json", read_run, (CONFIG, INPUT, MEMORY), _run)


def _checkpoint_parsers() -> Iterator[Parser]:
    files = [("bert", "model.safetensors"), ("llama-grouped", "model.safetensors.index.json")]
    families = ("bert", "bloom", "gemma2", "gpt2", "gpt_neox", "llama-grouped", "olmo2")
    files += [(family, "config.json") for family in families]
    for family, file in files:
        good, beside = partial(_golden, family, file), partial(_copied, family)
        yield Parser(f"{file} of {family}", file, partial(read_checkpoint, family), (INPUT, MEMORY), good, beside)
    if find_spec("tokenizers") is not None:
        yield Parser(
            "tokenizer.json",
            "tokenizer.json",
            read_tokenizer,
            (INPUT, MEMORY),
            lambda: _golden("bert", "tokenizer.json"),
            may=frozenset({"subprocess.Popen", "os.posix_spawn"}),  # which of them hangs on the Python
        )


PARSERS: Mapping[str, Parser] = {parser.name: parser for parser in _parsers()}
