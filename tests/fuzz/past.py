"""Files that brought something down when they were tried, or came near it: each stays, with what is said to it now."""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tests.fuzz.oracle import Limits
from tests.fuzz.parsers import GOLDEN, MAX_BYTES, PARSERS, POINTS
from tests.fuzz.trees import Raw, mapped, nested, tree, written

#: Nested about as deep as json reads.
DEEP = mapped(975)


class Past(NamedTuple):
    """One such file."""

    parser: str
    make: Callable[[], bytes]
    #: a part of the refusal; empty: it is accepted
    said: str
    limits: Limits = Limits()


def document(good: bytes, **changes: Any) -> Callable[[], bytes]:
    """A good document with these keys set; Raw text goes in as it is."""

    def make() -> bytes:
        root = tree(json.loads(good))
        root[:] = [pair for pair in root if pair[0] not in changes] + [[key, value] for key, value in changes.items()]
        return written(root).encode()

    return make


def config(family: str, **changes: Any) -> Callable[[], bytes]:
    return document((GOLDEN / family / "config.json").read_bytes(), **changes)


def tokenizer(**parts: str) -> Callable[[], bytes]:
    good = (GOLDEN / "bert" / "tokenizer.json").read_bytes()
    return document(good, **{name: Raw(text) for name, text in parts.items()})


def run(**changes: Any) -> Callable[[], bytes]:
    return document(PARSERS["run.json"].good()[0], **changes)


def settings(**changes: Any) -> Callable[[], bytes]:
    good = json.loads(PARSERS["run.json"].good()[0])
    return lambda: json.dumps({**good, "config": {**good["config"], **changes}}).encode()


def stored(header: str, data: bytes = b"") -> Callable[[], bytes]:
    """A .safetensors file of this header."""
    return lambda: len(header).to_bytes(8, "little") + header.encode() + data


def point(line: str) -> Callable[[], bytes]:
    return lambda: POINTS + line.encode() + b"\n"


def lying_archive() -> bytes:
    """An archive whose member's own header has a longer name than the directory says: zipfile shows all of it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", b"\x00" * 4000)
    data = bytearray(file.getvalue())
    data[26:28] = (3000).to_bytes(2, "little")
    return bytes(data)


TIMING = '{"kind": "time", "key": "full 64", "seconds": %s, "calls": 10}'
PEAK = '{"kind": "memory", "key": "full 64", "traced": %s, "resident": null, "note": "n"}'
#: It names a token that it does not have.
TEMPLATE = (
    '{"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "X", "type_id": 0}}], '
    '"pair": [], "special_tokens": {}}'
)
#: Parts that make much of little.
LETTER = '{"type": "Replace", "pattern": {"String": "a"}, "content": "' + "b" * 100_000 + '"}'
TEMPLATES = (
    '{"type": "TemplateProcessing", "single": ['
    + ", ".join(['{"Sequence": {"id": "A", "type_id": 0}}'] * 50_000)
    + '], "pair": [], "special_tokens": {}}'
)
#: As many ways as the length of a word to the fourth, at each of its places.
WAYS = '{"type": "Split", "pattern": {"Regex": "a*a*a*a*[^a]"}, "behavior": "Isolated", "invert": false}'
TOO_MANY = "".join(f"k{i}: 1\n" for i in range(25_000)).encode()
PAST: Mapping[str, Past] = {
    # a page of mistakes for each key, and ten seconds for advice on all of them
    "unknown keys by the thousand": Past("config.yaml", lambda: TOO_MANY, "mistakes"),
    "wrong items by the thousand": Past(
        "config.yaml", lambda: b"block: {bias: [" + b"x," * 25_000 + b"]}", "… and 24,980 more"
    ),
    "windows by the thousand": Past(
        "config.yaml", lambda: b"per_layer: {window: [" + b"1," * 25_000 + b"]}", "25000 entries"
    ),
    # names as long as the file
    "a key without end": Past("config.yaml", lambda: b"a" * 1000 + b": 1\n", "aaa…: unknown key"),
    "a tag without end": Past("config.yaml", lambda: b"a: !" + b"t" * 5000 + b" 1\n", "a tag, !ttt"),
    "an anchor without end": Past("config.yaml", lambda: b"a: &" + b"t" * 5000 + b" 1\n", "an anchor, &ttt"),
    "an alias without end": Past("config.yaml", lambda: b"a: *" + b"t" * 900 + b"\n", "an alias, *ttt"),
    "a file's name without end": Past(
        "config.yaml", lambda: b"weights: {file: " + b"w" * 200_000 + b"}\n", "expected a file's name"
    ),
    "more than 256 KiB": Past("config.yaml", lambda: b"#" * 2**18 + b"\n", "more than 256 KiB"),
    "an archive's member by another name": Past("embeddings .npz", lying_archive, "cut short or damaged"),
    "a tensor's name without end": Past(
        "weights .safetensors",
        stored('{"' + "k" * 5000 + '": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}'),
        "kkk…': no tensor of config",
    ),
    # numbers that only Python holds
    "a width of 400 digits": Past(
        "config.json of llama-grouped",
        config("llama-grouped", intermediate_size=Raw("1" + "0" * 400)),
        "expected a whole number",
    ),
    "a width of 4,300 digits": Past(
        "config.json of gpt_neox", config("gpt_neox", hidden_size=Raw("1" + "0" * 4299)), "expected a whole number"
    ),
    "an epsilon beyond float64": Past(
        "config.json of bert", config("bert", layer_norm_eps=Raw("1" + "0" * 400)), "expected a number above 0"
    ),
    "a share of 1e308": Past(
        "config.json of gpt_neox",
        config("gpt_neox", rope_parameters=Raw('{"partial_rotary_factor": 1e308}')),
        "expected a share",
    ),
    "sizes whose product has 50,000 digits": Past(
        "embeddings .safetensors",
        stored(f'{{"x": {{"dtype": "F32", "shape": [{", ".join(["9" * 200] * 250)}], "data_offsets": [0, 0]}}}}'),
        "impossible lengths of its 250 axes",
    ),
    # promises of what is not there
    "ten thousand layers": Past("config.json of bloom", config("bloom", n_layer=10_000), "no tensor 'transformer.h.2."),
    "an empty index": Past("model.safetensors.index.json of llama-grouped", lambda: b"{}", "no weight_map"),
    "two kinds of heads in one matrix": Past(
        "config.json of gpt2", config("gpt2", num_key_value_heads=1), "num_key_value_heads: 1; expected a"
    ),
    "the same, head by head": Past(
        "config.json of gpt_neox", config("gpt_neox", num_key_value_heads=1), "num_key_value_heads: 1; expected a"
    ),
    # deeper than Python writes
    "a family nested deep": Past("config.json of bert", config("bert", model_type=DEEP), "model_type: {'a': {"),
    "a width nested deep": Past(
        "config.json of bert", config("bert", hidden_size=nested(975)), "expected a whole number"
    ),
    "a tensor's entry nested deep": Past(
        "embeddings .safetensors", stored(f'{{"x": {DEEP}}}'), "expected a dtype, a shape"
    ),
    "a header nested deeper": Past("embeddings .safetensors", stored('{"x":' + "[" * 60_000), "not JSON"),
    "a run nested deeper": Past("run.json", lambda: b"[" * 60_000, "not JSON"),
    "an experiment nested deep": Past(
        "points.jsonl", lambda: b'{"schema": "x", "cpu": ' + DEEP.encode() + b"}\n", "measured with"
    ),
    # tokenizers: a panic is no Exception
    "a normalizer that panics": Past(
        "tokenizer.json",
        tokenizer(normalizer='{"type": "Precompiled", "precompiled_charsmap": "AAAA"}'),
        "expected a tokenizer.json",
    ),
    "a template that panics on a text": Past(
        "tokenizer.json",
        tokenizer(post_processor=TEMPLATE),
        "expected a tokenizer.json",
    ),
    "a text beyond its words": Past(
        "tokenizer.json",
        tokenizer(model='{"type": "WordLevel", "vocab": {"the": 0}, "unk_token": "[UNK]"}'),
        "Missing [UNK] token",
    ),
    # the first two took all memory, the third all time
    "a normalizer that multiplies": Past("tokenizer.json", tokenizer(normalizer=LETTER), "set by --max-memory"),
    "a template that multiplies": Past("tokenizer.json", tokenizer(post_processor=TEMPLATES), "set by --max-memory"),
    "a pattern that backtracks": Past(
        "tokenizer.json",
        tokenizer(pre_tokenizer=WAYS),
        "no answer within 1 s",
        Limits(seconds=60.0),  # it computes until that second is over, and so do others
    ),
    "a variant without end": Past(
        "tokenizer.json", tokenizer(normalizer='{"type": "' + "\\u0007" * 2000 + '"}'), "expected a tokenizer.json"
    ),
    # points and runs that somebody edited
    "a point of no kind": Past("points.jsonl", point('{"key": "x", "seconds": 1.0}'), "line 5: kind: missing"),
    "a peak without its numbers": Past(
        "points.jsonl", point('{"kind": "memory", "key": "x", "note": "n"}'), "line 5: traced: missing"
    ),
    "a timing that is no number": Past(
        "points.jsonl", point(TIMING % "NaN"), "line 5: seconds: 'nan'; expected a number from"
    ),
    "a timing of text": Past("points.jsonl", point(TIMING % '"1"'), "line 5: seconds: '1'; expected a number"),
    "a timing shorter than any": Past("points.jsonl", point(TIMING % "5e-324"), "line 5: seconds: '5e-324'; expected"),
    "a timing that is true": Past("points.jsonl", point(TIMING % "true"), "line 5: seconds: 'True'; expected"),
    "a timing of 4,000 digits": Past("points.jsonl", point(TIMING % ("9" * 4000)), "line 5: seconds: '999"),
    "a peak of 400 digits": Past("points.jsonl", point(PEAK % ("1" + "0" * 400)), "line 5: traced: '1000"),
    "a peak below zero": Past("points.jsonl", point(PEAK % "-5"), "line 5: traced: '-5'; expected a whole number"),
    "a point with a name twice": Past(
        "points.jsonl",
        lambda: POINTS + b'{"kind": "time", "kind": "time"}\n{}\n',
        "line 5 is no JSON object",
    ),
    "a task that the run does not have": Past(
        "points.jsonl", point(TIMING.replace("full 64", "magic 9") % "1.0"), "line 5: time of 'magic 9': one too many"
    ),
    "more timings of one task than the run takes": Past(
        "points.jsonl",
        lambda: POINTS + (TIMING % "1.0" + "\n").encode() * 160_000,
        "line 10: time of 'full 64': one too many",
    ),
    "a setting without end": Past(
        "points.jsonl", lambda: POINTS.replace(b'"seed"', b'"' + b"k" * 5000 + b'"', 1), "measured with"
    ),
    "a line without end": Past("points.jsonl", lambda: POINTS + b" " * 2**20, "line 5 is no JSON object of at most"),
    "notes of a person's": Past("points.jsonl", lambda: b"my notes", "line 1 is no JSON object"),
    "a command that moves the cursor": Past(
        "run.json", run(command_line=Raw('["attnlab", "\\u001b[2J\\u202e"]')), "a run of \\x1b[2J"
    ),
    "a command that is no list": Past("run.json", run(command_line="attnlab complexity"), "expected a list of 1 or"),
    "a command of lists": Past(
        "run.json", run(command_line=Raw('["attnlab", ["complexity"]]')), "expected a list of 1"
    ),
    "a run that began never": Past("run.json", run(started=Raw("null")), "started: null; expected text such as 20"),
    "a run that began a page ago": Past("run.json", run(started="2026-01-01T00:00:00+00:00" * 99), "started: '2026"),
    "a run that began nowhere": Past(
        "run.json", lambda: PARSERS["run.json"].good()[0].replace(b'"started"', b'"begun"'), "started: missing"
    ),
    "a run in no state": Past("run.json", run(status=7), "status: '7'; expected running, complete or interrupted"),
    "a run of another schema": Past("run.json", run(schema="x"), "schema: 'x'; expected attnlab.run-directory/1"),
    "a name twice": Past(
        "run.json", lambda: PARSERS["run.json"].good()[0].rstrip()[:-1] + b', "seed": 1}', "'seed' stands there twice"
    ),
    "more than --max-memory": Past(
        "run.json", lambda: b'{"a":[' + b"{}," * 2**20 + b"{}]}", f"expected at most {MAX_BYTES:,}, set by --max-memory"
    ),
    "sizes of text": Past("run.json", settings(n="abc"), "n: 'abc'; expected a list"),
    "sizes of lists": Past("run.json", settings(n=[[1]]), "each a whole number of 8 or more"),
    "no sizes": Past("run.json", settings(d=[]), "d: '[]'; expected a list"),
    "sizes that fall": Past("run.json", settings(n=[64, 48, 32, 24, 20, 16]), "rising"),
    "a size of 2^62": Past("run.json", settings(n=[2**62]), "and below 2^31"),
    "both swept": Past(
        "run.json", settings(d=[8, 9, 10, 11, 12, 13]), "d: '[8, 9, 10, 11, 12, 13]'; expected a list of 1"
    ),
    "heads of text": Past("run.json", settings(heads="1"), "heads: '1'; expected a whole number"),
    "heads that are true": Past("run.json", settings(heads=True), "heads: 'True'; expected a whole number"),
    "repeats that are none": Past("run.json", settings(repeats=float("nan")), "repeats: 'nan'; expected"),
    "a mechanism that is a list": Past("run.json", settings(mechanisms=[[]]), "mechanisms: '[[]]'; expected"),
    "a mechanism of nobody's": Past("run.json", settings(mechanisms=["magic"]), "mechanisms: \"['magic']\"; expected"),
    "a setting of nobody's": Past("run.json", settings(speed=1), "'speed': unknown; expected"),
    "settings that are a list": Past("run.json", run(config=[]), "config: '[]'; expected an object"),
    "a seed of text": Past("run.json", run(seed="x"), "seed: 'x'; expected a whole number of 0 or more"),
    "a seed of 400 digits": Past("run.json", run(seed=Raw("1" + "0" * 400)), ""),
    "a seed of 5,000 digits": Past("run.json", run(seed=Raw("1" + "0" * 5000)), "not JSON (Exceeds the limit"),
    "more heads than bytes": Past("run.json", settings(heads=2**30), f"{MAX_BYTES >> 20}.0 MiB may be used"),
}
