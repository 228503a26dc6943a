"""Nearly valid and damaged files before every parser; past failures; and an oracle that is seen to find every mistake.

`python -m tests.fuzz.record` does the same with as many files as one likes.
"""

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.commands import attnlab, error_line
from tests.fuzz.broken import BAD, MISTAKES, NAIVE
from tests.fuzz.inputs import INPUTS
from tests.fuzz.oracle import ACCEPTED, FAULT, REFUSED, Limits
from tests.fuzz.parsers import GOLDEN, MAX_BYTES, PARSERS
from tests.fuzz.past import PAST
from tests.fuzz.record import run
from tests.fuzz.worker import Worker

#: Files before each parser, and the seed that they come from.
COUNT, SEED = 60, 1


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as process:
        yield process


@pytest.mark.parametrize("name", PARSERS)
def test_every_file_is_taken_or_refused_in_a_line(name: str, worker: Worker) -> None:
    totals = run(name, COUNT, SEED, worker)
    assert {kind: text for kind, (_, _, text) in totals.faults.items()} == {}
    assert totals.counts.total() == COUNT
    assert totals.counts[REFUSED] > 0


@pytest.mark.parametrize("name", PARSERS)
def test_good_files_are_taken(name: str, worker: Worker) -> None:
    for data in PARSERS[name].good():
        assert worker.judged(name, data)[:2] == (ACCEPTED, "")


@pytest.mark.parametrize("name", PAST)
def test_what_once_failed_does_not(name: str, worker: Worker) -> None:
    past = PAST[name]
    if past.parser not in PARSERS:
        pytest.skip("tokenizers is not installed")
    outcome = worker.judged(past.parser, past.make(), past.limits)
    assert outcome.kind == (REFUSED if past.said else ACCEPTED), outcome
    assert past.said in outcome.text


def test_tokenizers_are_read_where_they_can_be() -> None:
    assert ("tokenizer.json" in PARSERS) == (find_spec("tokenizers") is not None)
    assert {*INPUTS} == {*PARSERS}


@pytest.fixture(scope="module")
def quick() -> Iterator[Worker]:
    with Worker(Limits(seconds=0.5)) as process:
        yield process


class TestTheOracle:
    """Each mistake that a parser can make is seen, where it is made and nowhere else."""

    @pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
    def test_sees(self, mistake: object, quick: Worker) -> None:
        name = getattr(mistake, "__name__", "")
        assert quick.judged(name, b"good").kind == ACCEPTED
        outcome = quick.judged(name, BAD)
        said = MISTAKES[mistake]  # type: ignore[index]
        assert (outcome.kind, outcome.text[: len(said)]) == (FAULT, said)
        assert quick.judged(name, b"good").kind == ACCEPTED

    @pytest.mark.parametrize("name", NAIVE)
    def test_parsers_as_one_writes_them_at_first_do_not_pass(self, name: str, quick: Worker) -> None:
        """The files that ours are given find theirs out, in the same number from the same seed."""
        totals = run(NAIVE[name][1], COUNT, SEED, quick, judge=name)
        assert totals.counts[FAULT] >= 2, totals


def test_a_run_of_a_pipe_does_not_hang(tmp_path: Path) -> None:
    from attnlab import InputError
    from attnlab.files.manifests import read_manifest

    os.mkfifo(tmp_path / "run.json")
    with pytest.raises(InputError, match=r"a pipe or a device; expected a regular file"):
        read_manifest(tmp_path, "complexity", max_bytes=MAX_BYTES)


@pytest.mark.skipif("tokenizer.json" not in PARSERS, reason="tokenizers is not installed")
def test_a_panic_is_told_in_one_line(tmp_path: Path) -> None:
    """Rust tells of it on stderr by itself: that is not seen."""
    shutil.copytree(GOLDEN / "bert", tmp_path / "bert")
    (tmp_path / "bert" / "tokenizer.json").write_bytes(PAST["a template that panics on a text"].make())
    line = error_line(attnlab("run", "bert", "--text", "bank", cwd=tmp_path), 3)
    assert line.startswith("bert/tokenizer.json: ")


def test_files_are_the_same_for_the_same_seed(worker: Worker) -> None:
    one, other = (run("tokens .txt", 25, 7, worker).counts for _ in range(2))
    assert one == other
