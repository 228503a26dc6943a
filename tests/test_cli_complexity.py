"""`attnlab complexity` as a person types it: exit code, stdout and stderr together."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from attnlab.experiments.complexity_document import settings
from attnlab.experiments.complexity_record import ComplexityConfig
from attnlab.experiments.complexity_saved import experiment
from attnlab.files.runs import RunDirectory
from attnlab.maths.mechanisms.fused import has_torch
from attnlab.measure.machine import this_machine
from tests.commands import attnlab, error_line, printed_json, stopped, written

#: Over in a second or two.
SMALL = ("--min-n", "16", "--max-n", "40", "--d", "4", "--repeats", "7")
FEW = (*SMALL, "--mechanism", "hash", "--mechanism", "linear", "--mechanism", "full", "--kernel", "dense")


def test_a_small_run_writes_its_files(tmp_path: Path) -> None:
    ended = attnlab("complexity", *FEW, "--out", "here", cwd=tmp_path)
    folder, files = written(ended, tmp_path)
    assert files == {
        "complexity.png", "complexity.svg", "complexity.csv", "gflops.png", "gflops.svg", "gflops.csv",
        "result.json", "result.csv", "points.jsonl", "run.json",
    }  # fmt: skip
    assert {path.name for path in folder.iterdir()} == files
    assert ended.out.startswith("core · N 18–40 · 1 head of 4 · float32 · ")
    assert max(map(len, ended.out.splitlines()[:-1])) <= 80
    assert "full, dense" in ended.out


def test_json_is_one_document_with_the_promised_fields(tmp_path: Path) -> None:
    document = printed_json("complexity", *FEW, "--seed", "3", cwd=tmp_path)
    assert [document[name] for name in ("schema", "seed", "sweep")] == ["attnlab.complexity/1", 3, "n"]
    assert document["config"]["n"] == sorted({point["n"] for point in document["points"]})
    assert {(point["mechanism"], point["kernel"]) for point in document["points"]} == {
        ("full", "dense"), ("linear", "numpy"), ("hash", "numpy"),
    }  # fmt: skip
    assert {(fit["mechanism"], fit["quantity"]) for fit in document["fits"]} == {
        (mechanism, quantity) for mechanism in ("full", "linear", "hash") for quantity in ("time", "memory")
    }
    assert all(point["seconds_min"] <= point["seconds_median"] for point in document["points"])
    assert all(check["holds"] for check in document["checks"])
    assert list(tmp_path.iterdir()) == []


def test_a_kernel_alone_means_full_attention(tmp_path: Path) -> None:
    document = printed_json("complexity", *SMALL, "--kernel", "query", cwd=tmp_path)
    assert {(point["mechanism"], point["kernel"]) for point in document["points"]} == {("full", "query")}


def test_a_sweep_of_widths(tmp_path: Path) -> None:
    sizes = ("--sweep", "d", "--max-n", "32", "--min-d", "8", "--max-d", "20")
    arguments = (*sizes, "--mechanism", "linear", "--repeats", "7")
    document = printed_json("complexity", *arguments, cwd=tmp_path)
    assert {point["n"] for point in document["points"]} == {32}
    assert [point["d"] for point in document["points"]] == document["config"]["d"]


def test_blocks(tmp_path: Path) -> None:
    document = printed_json("complexity", *SMALL, "--part", "block", "--kernel", "dense", "--heads", "2", cwd=tmp_path)
    point = document["points"][0]
    assert (point["part"], point["heads"]) == ("block", 2)
    assert point["flops"] == 24 * point["n"] * 8**2 + 4 * point["n"] ** 2 * 8 + 5 * 2 * point["n"] ** 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--max-n", "100"), "complexity: --min-n 64 --max-n 100: room for 3 of the 6 sizes that a fit needs; "
         "expected --max-n 146 or more, or a smaller --min-n"),
        (("--min-n", "0"), "complexity: --min-n 0; expected 8 or more"),
        (("--mechanism", "fast"), "complexity: --mechanism 'fast'; expected full, window, linear, fourier, argmax, "
         "sorted, hash or all"),
        (("--budget", "soon"), "complexity: --budget 'soon'; expected a time such as 45s or 5m"),
        (("--budget", "0s"), "complexity: --budget '0s'; expected a time such as 45s or 5m"),
        (("--budget", "9s", "--repeats", "9"), "complexity: --budget: not together with --repeats, which says how many "
         "timings there are"),
        (("--kernel", "gpu"), "complexity: --kernel 'gpu'; expected dense, streaming, compiled, query or torch"),
        (("--part", "all"), "complexity: --part 'all'; expected core or block"),
        (("--sweep", "h"), "complexity: --sweep 'h'; expected n or d"),
        (("--min-d", "3"), "complexity: --min-d: not together with --sweep n"),
        (("--sweep", "d", "--d", "3"), "complexity: --d: not together with --sweep d"),
        (("--repeats", "3"), "complexity: --repeats 3; expected 7 or more, to say how timings scatter"),
        (("--window", "0"), "complexity: --window 0; expected 1 or more"),
        (("--seed", "-1"), "complexity: --seed -1; expected a whole number of 0 or more"),
        (("--resume", "here", "--d", "3"), "complexity: --d: not together with --resume"),
        (("--resume", "here"), "complexity: --resume here: not a directory; expected that of an interrupted run"),
        (("--resume", "."), "complexity: --resume .: no run.json; expected the directory of an earlier run"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(arguments: tuple[str, ...], text: str, tmp_path: Path) -> None:
    assert error_line(attnlab("complexity", *arguments, cwd=tmp_path), 2) == text
    assert list(tmp_path.iterdir()) == []


def test_a_matrix_that_would_not_fit_is_refused_with_the_way_round(tmp_path: Path) -> None:
    arguments = ("--kernel", "dense", "--max-n", "65536", "--max-memory", "11.6GiB")
    assert error_line(attnlab("complexity", *arguments, cwd=tmp_path), 4) == (
        "complexity: 65,536 tokens would need 32.1 GiB for full attention's matrices, and 11.6 GiB may be used; "
        "add --kernel streaming (needs 0.2 GiB), or take a smaller --max-n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(has_torch(), reason="PyTorch is installed")
def test_torch_by_name_where_it_is_not_installed(tmp_path: Path) -> None:
    assert error_line(attnlab("complexity", *SMALL, "--kernel", "torch", cwd=tmp_path), 2) == (
        "complexity: --kernel torch: PyTorch is not installed; pip install 'attnlab[torch]' brings it"
    )


def keys(folder: Path) -> list[dict[str, Any]]:
    """The points kept, without the header."""
    return [json.loads(line) for line in (folder / "points.jsonl").read_text(encoding="utf-8").splitlines()[1:]]


@pytest.mark.parametrize(
    ("number", "word", "code"),
    [
        (signal.SIGINT, "interrupted", 130),
        (signal.SIGTERM, "terminated", 143),
        (signal.SIGHUP, "the terminal went away", 129),
    ],
)
def test_an_interrupted_run_is_taken_up(number: signal.Signals, word: str, code: int, tmp_path: Path) -> None:
    ended = stopped(number, 30, "complexity", *FEW, "--out", "here", "--no-figures", cwd=tmp_path)
    folder = tmp_path / "here"
    kept = keys(folder)
    assert len(kept) == 30
    assert (ended.code, ended.out) == (code, "")
    assert ended.err == (
        f"attnlab: error: {word}: the result is not complete; 30 points are kept: "
        "attnlab complexity --resume here goes on\n"
    )
    assert json.loads((folder / "run.json").read_text(encoding="utf-8"))["status"] == "interrupted"
    # A person would rather not wait for all of them: what is asked for is what the run itself says.
    manifest = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert manifest["config"]["repeats"] == 7
    ended = attnlab("complexity", "--resume", "here", "--no-figures", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    again = keys(folder)
    assert again[: len(kept)] == kept
    sizes = manifest["config"]["n"]
    assert len(again) == (7 * len(sizes) + 1) * 7 + 3 * len(sizes)
    assert json.loads((folder / "run.json").read_text(encoding="utf-8"))["status"] == "complete"
    assert error_line(attnlab("complexity", "--resume", "here", cwd=tmp_path), 2) == (
        "complexity: --resume here: the run is complete; there is nothing to take up"
    )


def dead(folder: Path, *, points: int = 3) -> Path:
    """What a run leaves that is killed after so many timings of one task."""
    config = ComplexityConfig(n=(16, 20, 24, 28, 32, 40), d=(4,), mechanisms=("hash",))
    manifest = {"command_line": ["attnlab", "complexity"], "seed": 0, "config": settings(config)}
    run = RunDirectory.make("complexity", folder, manifest)
    run.running()
    run.let_go()
    machine = this_machine()
    header = experiment({**settings(config), "seed": 0}, cpu=machine.cpu, numpy=machine.numpy)
    timed = {"kind": "time", "key": "hash/numpy/16/4", "seconds": 0.001, "calls": 5}
    lines = [json.dumps(header), *[json.dumps(timed)] * points]
    (folder / "points.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


RESUME = ("complexity", "--resume", "here", "--no-figures", "--quiet", "--max-memory", "64MiB")


def test_a_dead_run_is_taken_up(tmp_path: Path) -> None:
    """So that the refusals of those that somebody changed are known to be of what was changed."""
    dead(tmp_path / "here")
    ended = attnlab(*RESUME, cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")


def test_a_giant_run_json_is_not_read(tmp_path: Path) -> None:
    with open(dead(tmp_path / "here") / "run.json", "r+b") as file:
        file.truncate(3 * 2**30)
    assert error_line(attnlab(*RESUME, cwd=tmp_path), 4) == (
        "complexity: here/run.json: 3,221,225,472 bytes of JSON, which may take 193,273,528,320 to read; "
        "expected at most 67,108,864, set by --max-memory"
    )


def test_more_timings_of_one_task_than_the_run_takes(tmp_path: Path) -> None:
    dead(tmp_path / "here", points=160_000)
    before = (tmp_path / "here" / "points.jsonl").read_bytes()
    assert error_line(attnlab(*RESUME, cwd=tmp_path), 3) == (
        "here/points.jsonl: line 23: time of 'hash/numpy/16/4': one too many; expected no more than the run takes"
    )
    assert (tmp_path / "here" / "points.jsonl").read_bytes() == before


def test_points_behind_a_link_are_another_directorys(tmp_path: Path) -> None:
    points = dead(tmp_path / "here") / "points.jsonl"
    notes = tmp_path / "notes.txt"
    notes.write_bytes(points.read_bytes() + b"torn")
    before = notes.read_bytes()
    points.unlink()
    points.symlink_to("../notes.txt")
    line = error_line(attnlab(*RESUME, cwd=tmp_path), 3)
    assert line == "here/points.jsonl: a symbolic link; expected a file of points"
    assert notes.read_bytes() == before


def test_help_tells_what_the_orders_cannot(tmp_path: Path) -> None:
    said = " ".join(attnlab("complexity", "--help", cwd=tmp_path).out.replace("│", " ").split())
    assert "N^1.15 looks like N log N" in said
    assert "noise that is independent from repeat to repeat" in said


def test_help_ends_with_examples(tmp_path: Path) -> None:
    ended = attnlab("complexity", "--help", cwd=tmp_path)
    assert ended.out.rstrip().endswith("attnlab complexity --max-n 1024 --kernel dense --kernel streaming --heads 4")
