"""points.jsonl and directories that are taken up again: what counts is on disk, and one run holds it."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import tracemalloc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from attnlab.cli import output
from attnlab.errors import InputError, UsageError, WriteError
from attnlab.files.points import NAME, PointsFile
from attnlab.files.runs import RunDirectory

EXPERIMENT = {"schema": "attnlab.test-points/1", "cpu": "a × 2", "threads": 2, "n": [1, 2]}
HEADER = json.dumps(EXPERIMENT).encode() + b"\n"
ROOM = 10**6
POINTS = [{"key": f"dense/{n}", "seconds": n / 7, "calls": n} for n in range(5)]


Found = list[Mapping[str, Any]]


@contextmanager
def taken_up(folder: Path, experiment: Mapping[str, object] = EXPERIMENT) -> Iterator[tuple[PointsFile, Found]]:
    """The file, and the points that were there."""
    found = Found()
    with PointsFile(folder, experiment, lambda point, where: found.append(point)) as file:
        yield file, found


def filled(folder: Path) -> Path:
    with taken_up(folder) as (file, _):
        for point in POINTS:
            file.append(point)
    return folder / NAME


class TestKeeping:
    def test_points_come_back_exactly(self, tmp_path: Path) -> None:
        filled(tmp_path)
        with taken_up(tmp_path) as (file, found):
            assert (found, file.count, file.notes) == (POINTS, len(POINTS), [])
            file.append({"key": "one more"})
            assert file.count == len(POINTS) + 1
        with taken_up(tmp_path) as (_, found):
            assert found == [*POINTS, {"key": "one more"}]

    def test_each_is_handed_over_with_its_place(self, tmp_path: Path) -> None:
        path, places = filled(tmp_path), list[str]()
        PointsFile(tmp_path, EXPERIMENT, lambda point, where: places.append(where)).close()
        assert places == [f"{path}: line {number}" for number in range(2, 2 + len(POINTS))]

    def test_a_point_is_on_disk_before_it_counts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        synced = list[bytes]()
        sync = os.fsync

        def noted(descriptor: int) -> None:
            sync(descriptor)
            synced.append((tmp_path / NAME).read_bytes())

        monkeypatch.setattr(os, "fsync", noted)
        with taken_up(tmp_path) as (file, _):
            file.append(POINTS[0])
            assert synced[-1].endswith(json.dumps(POINTS[0]).encode() + b"\n")
            assert synced[-1] == (tmp_path / NAME).read_bytes()

    def test_what_json_cannot_hold_is_not_written(self, tmp_path: Path) -> None:
        with taken_up(tmp_path) as (file, _):
            with pytest.raises(ValueError, match="JSON compliant"):
                file.append({"seconds": float("nan")})
            assert file.count == 0
        assert filled(tmp_path).read_bytes().count(b"\n") == 1 + len(POINTS)


class TestTorn:
    @pytest.mark.parametrize("cut", [1, 5, 20])
    def test_the_last_line_is_dropped_and_said(self, cut: int, tmp_path: Path) -> None:
        path = filled(tmp_path)
        path.write_bytes(path.read_bytes()[:-cut])
        with taken_up(tmp_path) as (file, found):
            assert found == POINTS[:-1]
            assert file.notes == [f"{path}: its last line was torn, and is dropped: one measurement is lost"]
            file.append(POINTS[-1])
        with taken_up(tmp_path) as (file, found):
            assert (found, file.notes) == (POINTS, [])

    def test_every_cut_leaves_the_whole_lines(self, tmp_path: Path) -> None:
        path = filled(tmp_path)
        data = path.read_bytes()
        for length in range(len(data)):
            path.write_bytes(data[:length])
            with taken_up(tmp_path) as (_, found):
                assert found == POINTS[: max(data[:length].count(b"\n") - 1, 0)]
            assert path.read_bytes().endswith(b"\n")

    def test_zeros_in_place_of_the_last_line(self, tmp_path: Path) -> None:
        """As some file systems leave it when the power fails."""
        path = filled(tmp_path)
        path.write_bytes(path.read_bytes() + bytes(30) + b"\n")
        with taken_up(tmp_path) as (file, found):
            assert found == POINTS
            assert len(file.notes) == 1

    def test_zeros_in_place_of_all(self, tmp_path: Path) -> None:
        (tmp_path / NAME).write_bytes(bytes(30))
        with taken_up(tmp_path) as (file, found):
            assert (found, file.notes) == ([], [])
        assert (tmp_path / NAME).read_bytes().startswith(b'{"schema": ')

    @pytest.mark.parametrize("beginning", [b'{"schema": "x"}\n{}\n', b"", b'{"schema": "attnlab.test'])
    def test_nothing_of_anothers_file_is_cut(self, beginning: bytes, tmp_path: Path) -> None:
        """Its first line has to be this experiment's, or a beginning of it."""
        path = tmp_path / NAME
        path.write_bytes(beginning + b"my notes")
        with pytest.raises((UsageError, InputError)):
            PointsFile(tmp_path, EXPERIMENT, ignored)
        assert path.read_bytes() == beginning + b"my notes"

    def test_nothing_is_cut_behind_a_point_that_is_refused(self, tmp_path: Path) -> None:
        def refuse(point: object, where: str) -> None:
            raise InputError(f"{where}: no; expected another")

        path = filled(tmp_path)
        path.write_bytes(path.read_bytes()[:-1])
        before = path.read_bytes()
        with pytest.raises(InputError, match=r"points\.jsonl: line 2: no; expected another"):
            PointsFile(tmp_path, EXPERIMENT, refuse)
        assert path.read_bytes() == before

    def test_killed_between_and_in_the_middle_of_writes(self, tmp_path: Path) -> None:
        """What the process said to be kept is there after SIGKILL, whenever it comes."""
        script = textwrap.dedent(f"""
            from pathlib import Path
            from attnlab.files.points import PointsFile
            file = PointsFile(Path({str(tmp_path)!r}), {EXPERIMENT!r}, lambda point, where: None)
            n = file.count
            while True:
                file.append({{"n": n, "filler": "x" * 5000}})
                n += 1
                print(n, flush=True)
        """)
        kept = 0
        for lines in (1, 5, 20):
            with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                said = [process.stdout.readline() for _ in range(lines)]
                process.send_signal(signal.SIGKILL)
                said += process.stdout.read().splitlines(keepends=True)
            with taken_up(tmp_path) as (_, found):
                assert [point["n"] for point in found] == list(range(len(found)))
                last = max(int(line) for line in said if line.endswith("\n"))
                assert kept < last <= len(found) <= last + 1
                kept = len(found)


class TestFaults:
    @pytest.mark.parametrize("call", ["write", "fsync"])
    @pytest.mark.parametrize("problem", [errno.ENOSPC, errno.EIO])
    def test_a_point_that_cannot_be_kept_does_not_count(
        self, call: str, problem: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = filled(tmp_path)
        whole, write = path.read_bytes(), os.write

        def fails(descriptor: int, data: bytes = b"") -> None:
            if data:
                write(descriptor, data[:7])  # a disk that fills up takes a part first
            raise OSError(problem, os.strerror(problem))

        with taken_up(tmp_path) as (file, _):
            monkeypatch.setattr(os, call, fails)
            with pytest.raises(WriteError) as caught:
                file.append({"key": "lost"})
            monkeypatch.undo()
            assert str(caught.value) == f"{path}: could not be written: {os.strerror(problem)}"
            assert file.count == len(POINTS)
            assert path.read_bytes() == whole
            file.append({"key": "kept"})
        with taken_up(tmp_path) as (file, found):
            assert (found[-1], file.notes) == ({"key": "kept"}, [])

    def test_a_torn_end_that_cannot_be_cut(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(*_: object) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        path = filled(tmp_path)
        path.write_bytes(path.read_bytes()[:-1])
        monkeypatch.setattr(os, "ftruncate", fails)
        with pytest.raises(WriteError, match=r"points\.jsonl: could not be cut: Read-only file system"):
            PointsFile(tmp_path, EXPERIMENT, ignored)

    def test_a_file_that_cannot_be_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(*_: object) -> None:
            raise OSError(errno.EIO, "Input/output error")

        filled(tmp_path)
        monkeypatch.setattr(os, "fdopen", fails)
        with pytest.raises(InputError, match=r"points\.jsonl: Input/output error; expected a file that can be read"):
            PointsFile(tmp_path, EXPERIMENT, ignored)

    def test_nowhere_to_write(self, tmp_path: Path) -> None:
        with pytest.raises(WriteError, match="could not be opened: No such file or directory"):
            PointsFile(tmp_path / "gone", EXPERIMENT, ignored)


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "value", "told"),
        [
            ("cpu", "b × 4", "measured with cpu 'a × 2', and this run has 'b × 4'"),
            ("threads", 4, "measured with threads '2', and this run has '4'"),
            ("schema", "attnlab.test-points/2", "and this run has 'attnlab.test-points/2'"),
            ("n", (1, 3), r"measured with n '\[1, 2\]', and this run has '\[1, 3\]'"),
            ("more", 1, "measured with more 'None', and this run has '1'"),
        ],
    )
    def test_another_experiment(self, name: str, value: object, told: str, tmp_path: Path) -> None:
        before = filled(tmp_path).read_bytes()
        with pytest.raises(UsageError, match=told) as caught:
            PointsFile(tmp_path, {**EXPERIMENT, name: value}, ignored)
        assert caught.value.exit_code == 2
        assert (tmp_path / NAME).read_bytes() == before
        with taken_up(tmp_path, {**EXPERIMENT, "n": (1, 2)}) as (_, found):
            assert found == POINTS

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (b"<html>\n", "line 1 is no JSON object of at most 65,536 bytes; expected a point in each line"),
            (b"[1]\n", "line 1 is no JSON object"),
            (HEADER + b"x\n{}\n", "line 2 is no JSON object"),
            (HEADER + b'{"a": 1, "a": 1}\n{}\n', "line 2 is no JSON object"),
            (HEADER + b'{"a": ' + b"9" * 5000 + b"}\n{}\n", "line 2 is no JSON object"),
            (HEADER + b"x\nx\n", "line 2 is no JSON object"),
            (HEADER + b"{" + b" " * 2**16 + b"}\n", "line 2 is no JSON object of at most 65,536 bytes"),
            (HEADER + bytes(2**16 + 1), "line 2 is no JSON object of at most 65,536 bytes"),
            (bytes(2**16 + 1), "line 1 is no JSON object of at most 65,536 bytes"),
            (b"{}\n", "its first line names no schema"),
            (b"[" * 60_000 + b"\n", "line 1 is no JSON object"),
        ],
        ids=lambda value: str(value[:20]),
    )
    def test_another_file(self, content: bytes, told: str, tmp_path: Path) -> None:
        (tmp_path / NAME).write_bytes(content)
        with pytest.raises(InputError, match=told):
            PointsFile(tmp_path, EXPERIMENT, ignored)
        assert (tmp_path / NAME).read_bytes() == content

    def test_a_pipe_does_not_hang(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / NAME)
        with pytest.raises(InputError, match="a pipe or a device; expected a file of points"):
            PointsFile(tmp_path, EXPERIMENT, ignored)

    def test_a_directory(self, tmp_path: Path) -> None:
        (tmp_path / NAME).mkdir()
        with pytest.raises(InputError, match="a directory; expected a file of points"):
            PointsFile(tmp_path, EXPERIMENT, ignored)

    def test_a_socket(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)  # a socket's name is at most 107 bytes
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(NAME)
            with pytest.raises(InputError, match="a socket or a device; expected a file of points"):
                PointsFile(Path(), EXPERIMENT, ignored)

    def test_of_a_giant_a_line_is_read(self, tmp_path: Path) -> None:
        """A sparse file, which takes no room on the disk."""
        with open(tmp_path / NAME, "wb") as file:
            file.write(HEADER)
            file.truncate(2**40)
        tracemalloc.start()
        try:
            with pytest.raises(InputError, match="line 2 is no JSON object of at most 65,536 bytes"):
                PointsFile(tmp_path, EXPERIMENT, ignored)
            assert tracemalloc.get_traced_memory()[1] < 2**21
        finally:
            tracemalloc.stop()


class TestOtherDirectories:
    """A file elsewhere is neither made, nor cut, nor added to, through a name in the run's directory."""

    @pytest.mark.parametrize("content", [HEADER + b"torn", b"my notes", None], ids=["points", "notes", "nothing"])
    def test_a_symbolic_link_is_not_followed(self, content: bytes | None, tmp_path: Path) -> None:
        elsewhere, run = tmp_path / "elsewhere", tmp_path / "run"
        run.mkdir()
        if content is not None:
            elsewhere.write_bytes(content)
        (run / NAME).symlink_to("../elsewhere")
        with pytest.raises(InputError, match=r"points\.jsonl: a symbolic link; expected a file of points"):
            PointsFile(run, EXPERIMENT, ignored)
        assert (elsewhere.read_bytes() if elsewhere.exists() else None) == content

    def test_nor_is_a_hard_link(self, tmp_path: Path) -> None:
        elsewhere, run = tmp_path / "elsewhere", tmp_path / "run"
        run.mkdir()
        elsewhere.write_bytes(HEADER + b"torn")
        os.link(elsewhere, run / NAME)
        with pytest.raises(InputError) as caught:
            PointsFile(run, EXPERIMENT, ignored)
        assert str(caught.value) == (
            f"{run / NAME}: a file of 2 names (hard links), and points are added to it in place; "
            "expected one name: put a copy there"
        )
        assert elsewhere.read_bytes() == HEADER + b"torn"
        elsewhere.unlink()
        PointsFile(run, EXPERIMENT, ignored).close()

    def test_nor_does_a_file_of_the_runs_follow_one(self, tmp_path: Path) -> None:
        """A link is replaced: run.json and results are renamed into their place."""
        elsewhere = tmp_path / "elsewhere"
        elsewhere.write_bytes(b"my notes")
        run = RunDirectory.make("complexity", tmp_path / "run", {})
        for name in ("run.json", "result.json"):
            (run.path / name).symlink_to("../elsewhere")
        run.running()
        run.write("result.json", b"{}")
        run.complete()
        assert elsewhere.read_bytes() == b"my notes"
        assert not (run.path / "run.json").is_symlink()


class TestOneAtATime:
    def test_of_two_one_wins(self, tmp_path: Path) -> None:
        with taken_up(tmp_path) as (first, _):
            with pytest.raises(UsageError, match="another attnlab is at work on it; expected one at a time"):
                PointsFile(tmp_path, EXPERIMENT, ignored)
            first.append(POINTS[0])
        with taken_up(tmp_path) as (_, found):
            assert found == POINTS[:1]

    def test_of_eight_processes_one_wins(self, tmp_path: Path) -> None:
        script = textwrap.dedent(f"""
            import sys
            from pathlib import Path
            from attnlab.errors import UsageError
            from attnlab.files.points import PointsFile
            sys.stdin.readline()
            try:
                PointsFile(Path({str(tmp_path)!r}), {EXPERIMENT!r}, lambda point, where: None)
                print("won", flush=True)
                sys.stdin.readline()
            except UsageError:
                print("lost", flush=True)
        """)
        pipe = subprocess.PIPE
        processes = [
            subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe, text=True) for _ in range(8)
        ]
        try:
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            answers = [process.stdout.readline().strip() for process in processes if process.stdout is not None]
        finally:
            for process in processes:
                process.communicate()
        assert sorted(answers) == ["lost"] * 7 + ["won"]


class TestDirectory:
    def wishes(self, out: Path | None = None, resume: RunDirectory | None = None) -> output.Wishes:
        return output.Wishes(command="complexity", json=True, quiet=False, figures=False, out=out, resume=resume)

    def begun(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An interrupted run."""
        monkeypatch.setattr(sys, "argv", ["attnlab", "complexity", "--seed", "1"])
        with pytest.raises(KeyboardInterrupt), output.run_directory(self.wishes(folder), None, 1, {}):
            raise KeyboardInterrupt

    @contextmanager
    def resumed(self, folder: Path) -> Iterator[RunDirectory]:
        """The same run, going on."""
        with (
            output.taken_up(folder, "complexity", max_bytes=ROOM) as (held, _),
            output.run_directory(self.wishes(resume=held), None, 1, {}) as run,
        ):
            assert run is held
            yield held

    def status(self, folder: Path) -> tuple[object, object]:
        manifest = json.loads((folder / "run.json").read_bytes())
        return manifest["status"], manifest["started"]

    def test_goes_on_where_it_was(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun(tmp_path / "run", monkeypatch)
        status, started = self.status(tmp_path / "run")
        assert status == "interrupted"
        with self.resumed(tmp_path / "run") as run:
            assert run.path == tmp_path / "run"
            assert self.status(run.path) == ("running", started)
            run.complete()
        assert self.status(tmp_path / "run") == ("complete", started)

    def test_a_complete_one_is_left_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun(tmp_path / "run", monkeypatch)
        with self.resumed(tmp_path / "run") as run:
            run.complete()
        (tmp_path / "run" / ".result.json.0123abcd.tmp").write_bytes(b"left")
        before = contents(tmp_path / "run")
        for _ in range(2):  # the refusal lets go of the lock
            with (
                pytest.raises(UsageError, match="the run is complete; there is nothing to take up"),
                self.resumed(tmp_path / "run"),
            ):
                pass
        assert contents(tmp_path / "run") == before

    def test_of_two_resumes_one_wins_and_the_other_changes_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.begun(tmp_path / "run", monkeypatch)
        with self.resumed(tmp_path / "run") as first:
            before = contents(tmp_path / "run")
            with (
                pytest.raises(UsageError, match="another attnlab is at work in it; expected one at a time"),
                self.resumed(tmp_path / "run"),
            ):
                pass
            assert contents(tmp_path / "run") == before
            first.complete()

    def test_a_run_that_still_runs_cannot_be_resumed(self, tmp_path: Path) -> None:
        run = RunDirectory.make("complexity", tmp_path / "run", {})
        with pytest.raises(UsageError, match="another attnlab is at work in it"):
            RunDirectory.reopen(tmp_path / "run")
        run.let_go()
        RunDirectory.reopen(tmp_path / "run").let_go()

    def test_none_there(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"--resume .*gone: not a directory; expected that of an interrupted run"):
            RunDirectory.reopen(tmp_path / "gone")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def ignored(point: object, where: str) -> None:
    """A point that nobody asks for."""
