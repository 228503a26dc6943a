"""Whatever goes wrong, nothing that was saved is lost, and one line says what happened.

About a hundred faults in the ordinary run; all with `-m faults`, or `python -m tests.faults.record` for a table.
"""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from attnlab.errors import UsageError
from attnlab.files.runs import RunDirectory
from tests.faults import surroundings, tracing
from tests.faults.oracle import Complaint, Ended, Expected, Undisturbed, complaints
from tests.faults.own_files import OWN, Own, own_file
from tests.faults.place import server
from tests.faults.record import everything
from tests.faults.store import Fault
from tests.faults.suite import Command, Store, power_faults, store_faults
from tests.faults.surroundings import ROWS, Row, Surroundings
from tests.faults.zygote import Zygote

#: Of the store's faults, every so manieth is caused in the ordinary run: of each class and call some.
STEP = 47
#: Of the surroundings, one of each class.
ORDINARY = [row for number, row in enumerate(ROWS) if row.kind not in [other.kind for other in ROWS[:number]]]

traced = pytest.mark.skipif(tracing.missing() is not None, reason=f"no call can be made to fail: {tracing.missing()}")
shell = pytest.mark.skipif(surroundings.missing() is not None, reason=str(surroundings.missing()))


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    with server(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, zygote: Zygote) -> Store:
    return Store(tmp_path_factory.mktemp("store"), zygote)


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Surroundings:
    return Surroundings(tmp_path_factory.mktemp("around"))


def every(faults: list[Fault], step: int) -> list[Fault]:
    return faults[step // 2 :: step]


def told(fault: Fault, wrong: list[Complaint]) -> list[str]:
    return [f"{fault.kind}, {fault.name}: {complaint.text}" for complaint in wrong]


@traced
class TestStore:
    def test_loses_nothing_whatever_call_fails_or_is_its_last(self, here: Store) -> None:
        tried = every([*store_faults(here, times=8)], STEP)
        assert len(tried) >= 40
        assert [line for fault in tried for line in told(fault, here.wrong(fault))] == []

    def test_loses_nothing_when_the_power_fails(self, here: Store) -> None:
        found = power_faults(here)
        assert len(found) > 60
        assert [wrong for wrong in found if wrong] == []

    @pytest.mark.parametrize("own", OWN, ids=lambda own: own.name)
    def test_refuses_a_directory_that_somebody_changed(self, own: Own, here: Store) -> None:
        assert [complaint.text for complaint in own_file(here, own)] == []

    def test_is_untouched_by_a_call_that_never_comes(self, here: Store) -> None:
        """So that the loop over the calls is known to have ended behind the last."""
        never = [fault for fault in store_faults(here, times=0) if fault.expected.codes == {0}][::40]
        assert len(never) >= 5
        assert [line for fault in never for line in told(fault, here.wrong(fault))] == []


@traced
class TestOfTheTest:
    def test_a_naive_writer_is_caught_losing(self, tmp_path: Path, zygote: Zygote) -> None:
        naive = Store(tmp_path, zygote, "naive")
        kinds = ("killed at a call", "write fails once")
        faults = [
            fault for fault in store_faults(naive, times=0) if fault.kind in kinds and fault.name.startswith("write")
        ]
        losses = [text for fault in every(faults, 6) for loss, text in naive.wrong(fault) if loss]
        assert any("is torn" in text or "cannot be read" in text for text in losses)
        assert any("were said to be kept" in text for text in losses)
        assert any(complaint.loss for wrong in power_faults(naive) for complaint in wrong)

    def test_a_writer_that_does_not_sync_is_caught_when_the_power_fails(self, tmp_path: Path, zygote: Zygote) -> None:
        texts = {complaint.text for wrong in power_faults(Store(tmp_path, zygote, "unsynced")) for complaint in wrong}
        assert any("result.json may be torn" in text for text in texts)
        assert any("points were said to be kept" in text for text in texts)

    @pytest.mark.parametrize(
        ("ended", "told"),
        [
            (Ended(5, "", "attnlab: error: x\nattnlab: error: x\n"), "expected one line"),
            (Ended(5, "", "attnlab: error: y\n"), "expected one line"),
            (Ended(5, "", ""), "expected one line"),
            (Ended(5, "", "Traceback (most recent call last):\n"), "a traceback"),
            (Ended(0, "", ""), "exit code 0; expected [5]"),
        ],
    )
    def test_the_oracle_complains(self, ended: Ended, told: str, tmp_path: Path) -> None:
        expected = Expected(codes=frozenset({5}), line="x")
        assert complaints(tmp_path, Ended(5, "", "attnlab: error: x\n"), expected, Undisturbed()) == []
        assert any(told in complaint.text for complaint in complaints(tmp_path, ended, expected, Undisturbed()))


@traced
def test_a_whole_command_loses_nothing(tmp_path: Path, zygote: Zygote) -> None:
    command = Command(tmp_path, zygote, "run", "--no-figures")
    faults = [*command.faults(5)]
    assert len(faults) >= 12
    assert [(name, wrong) for _, name, expected, how in faults if (wrong := command.wrong(expected, how))] == []


@shell
class TestSurroundings:
    @pytest.mark.parametrize("row", ORDINARY, ids=lambda row: row.kind)
    def test_change_nothing_or_are_told(self, row: Row, around: Surroundings) -> None:
        assert [complaint.text for complaint in around.wrong(row)] == []


class TestOneAtATime:
    def test_of_eight_runs_into_one_directory_one_wins(self, tmp_path: Path) -> None:
        barrier, won, refused = threading.Barrier(8), list[RunDirectory](), list[str]()

        def begin() -> None:
            barrier.wait()
            try:
                won.append(RunDirectory.make("squares", tmp_path / "o", {}))
            except UsageError as error:
                refused.append(str(error))

        threads = [threading.Thread(target=begin) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(won), len(refused)) == (1, 7)
        won[0].running()
        won[0].complete()
        with pytest.raises(UsageError, match="not empty; expected a new or an empty directory"):
            RunDirectory.make("squares", tmp_path / "o", {})

    def test_one_that_came_too_late_leaves_a_complete_run_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It had seen an empty directory; another run came and went before it held the lock."""
        from attnlab.files import runs

        def late(path: Path) -> int | None:
            (path / "run.json").write_text("another's")
            return held(path)

        held = runs.held
        monkeypatch.setattr(runs, "held", late)
        with pytest.raises(UsageError, match="not empty"):
            RunDirectory.make("squares", tmp_path / "o", {})
        assert (tmp_path / "o" / "run.json").read_text() == "another's"

    def test_stale_files_are_swept_and_a_live_runs_are_not(self, tmp_path: Path) -> None:
        stale = tmp_path / "o" / ".result.json.0123abcd.tmp"
        live = RunDirectory.make("squares", tmp_path / "o", {})
        live.running()
        stale.write_text("half")
        with pytest.raises(UsageError, match="another attnlab is at work in it"):
            RunDirectory.reopen(tmp_path / "o")
        assert stale.exists()
        live.let_go()
        mine = tmp_path / "o" / ".notes.tmp"
        mine.write_text("not attnlab's")
        again = RunDirectory.reopen(tmp_path / "o")
        assert stale.exists()  # run.json may yet show that this is no run's directory
        again.go_on({})
        again.let_go()
        assert (stale.exists(), mine.exists()) == (False, True)

    def test_a_directory_with_nothing_but_stale_files_is_empty(self, tmp_path: Path) -> None:
        (tmp_path / ".run.json.0123abcd.tmp").write_text("half")
        RunDirectory.make("squares", tmp_path, {}).let_go()
        assert list(tmp_path.iterdir()) == []


@pytest.mark.faults
@traced
@shell
def test_every_fault_there_is(tmp_path: Path) -> None:
    tally, losers = everything(tmp_path)
    assert tally.said == []
    assert tally.faults.total() >= 2_000
    assert losers.losses.total() > 0
