"""What is put before each parser: nearly valid files of its kind, good ones damaged, and the one after the other."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from tests.fuzz.damage import damaged
from tests.fuzz.near_arrays import npy, npz, npz_bomb, safetensors
from tests.fuzz.near_texts import configuration, csv, numbers, prose, tokens
from tests.fuzz.parsers import PARSERS, N, Parser
from tests.fuzz.trees import Raw, edited_json, json_bytes, tree

Files = st.SearchStrategy[bytes]

BLOCK_ALONE = {"block": {"d_model": "6", "n_heads": "2", "d_ff": "7"}}
WORDS = Path(__file__).parent / "words"


def words(name: str) -> Sequence[tuple[str, Raw]]:
    """Keys and values that files of the kind may have, besides those of the good ones: "key: value" in each line."""
    lines = (WORDS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split(": ", 1) for line in lines)
    return [(key, Raw(value)) for key, value in pairs]


def _near(parser: Parser, goods: Sequence[bytes]) -> Sequence[Files]:
    """Nearly valid files of the parser's kind."""
    name = parser.name
    if name == "config.yaml":
        documents = [*(yaml.load(good, yaml.BaseLoader) for good in goods), BLOCK_ALONE]
        return [configuration(_unquoted(documents), words(name))]
    if parser.target.endswith(".npy"):
        return [npy()]
    if parser.target.endswith(".npz"):
        return [npz(goods), npz(goods), npz(goods), npz_bomb("q.npy" if "qkv" in name else "x.npy")]
    if parser.target.endswith(".safetensors"):
        return [safetensors(goods)]
    texts: Mapping[str, Files] = {
        "embeddings .csv": csv(),
        "tokens .txt": tokens(N),
        "ids file": numbers(),
        "text file": prose(),
    }
    if name in texts:
        return [texts[name]]
    return (
        [_points(goods[0])]
        if name == "points.jsonl"
        else [edited_json([json.loads(good) for good in goods], _extra(name))]
    )


def _unquoted(node: Any) -> Any:
    """Every text as it stands in the file."""
    if isinstance(node, dict):
        return {key: _unquoted(value) for key, value in node.items()}
    return [_unquoted(item) for item in node] if isinstance(node, list) else Raw(node)


def _extra(name: str) -> Sequence[tuple[str, Raw]]:
    kind = name.partition(" ")[0]
    return words(kind) if (WORDS / f"{kind}.txt").exists() else ()


@st.composite
def _points(draw: st.DrawFn, good: bytes) -> bytes:
    """Lines of objects, one or two of them edited."""
    documents: list[Any] = [json.loads(line) for line in good.splitlines()]
    lines = [json_bytes(tree(document)) for document in documents]
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(lines) - 1))
        lines[at] = draw(edited_json([documents[at]]))
    lines = lines[:1] + lines[1:] * draw(st.sampled_from([1, 1, 1, 300]))
    end = draw(st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\n\n", b"\r"]))
    return end.join(lines) + draw(st.sampled_from([end, end, b"", b'{"kind": "ti']))


def files_for(parser: Parser) -> Files:
    """Files to put before the parser: half of them nearly valid, half damaged."""
    goods = parser.good()
    near = st.one_of(*_near(parser, goods))
    return st.one_of(near, near, damaged(goods), near.flatmap(lambda data: damaged([data])) | damaged(goods))


INPUTS: Mapping[str, Files] = {name: files_for(parser) for name, parser in PARSERS.items()}
