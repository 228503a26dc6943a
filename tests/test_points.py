"""points.jsonl and directories that are taken up again: what counts is on disk, and one run holds it."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from attnlab.cli import output
from attnlab.errors import InputError, UsageError, WriteError
from attnlab.files.points import NAME, PointsFile
from attnlab.files.runs import RunDirectory

EXPERIMENT = {"schema": "attnlab.test-points/1", "cpu": "a × 2", "threads": 2, "n": [1, 2]}
POINTS = [{"key": f"dense/{n}", "seconds": n / 7, "calls": n} for n in range(5)]


def filled(folder: Path) -> Path:
    with PointsFile(folder, EXPERIMENT) as file:
        for point in POINTS:
            file.append(point)
    return folder / NAME


class TestKeeping:
    def test_points_come_back_exactly(self, tmp_path: Path) -> None:
        filled(tmp_path)
        with PointsFile(tmp_path, EXPERIMENT) as file:
            assert file.points == POINTS
            assert file.notes == []
            file.append({"key": "one more"})
            assert file.points[-1] == {"key": "one more"}
        with PointsFile(tmp_path, EXPERIMENT) as file:
            assert file.points == [*POINTS, {"key": "one more"}]

    def test_a_point_is_on_disk_before_it_counts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        synced = list[bytes]()
        sync = os.fsync
        monkeypatch.setattr(os, "fsync", lambda fd: (sync(fd), synced.append((tmp_path / NAME).read_bytes())))
        with PointsFile(tmp_path, EXPERIMENT) as file:
            file.append(POINTS[0])
            assert synced[-1].endswith(json.dumps(POINTS[0]).encode() + b"\n")
            assert synced[-1] == (tmp_path / NAME).read_bytes()

    def test_what_json_cannot_hold_is_not_written(self, tmp_path: Path) -> None:
        with PointsFile(tmp_path, EXPERIMENT) as file:
            with pytest.raises(ValueError, match="JSON compliant"):
                file.append({"seconds": float("nan")})
            assert file.points == []
        assert filled(tmp_path).read_bytes().count(b"\n") == 1 + len(POINTS)


class TestTorn:
    @pytest.mark.parametrize("cut", [1, 5, 20])
    def test_the_last_line_is_dropped_and_said(self, cut: int, tmp_path: Path) -> None:
        path = filled(tmp_path)
        path.write_bytes(path.read_bytes()[:-cut])
        with PointsFile(tmp_path, EXPERIMENT) as file:
            assert file.points == POINTS[:-1]
            assert file.notes == [f"{path}: its last line was torn, and is dropped: one measurement is lost"]
            file.append(POINTS[-1])
        with PointsFile(tmp_path, EXPERIMENT) as file:
            assert (file.points, file.notes) == (POINTS, [])

    def test_every_cut_leaves_the_whole_lines(self, tmp_path: Path) -> None:
        path = filled(tmp_path)
        data = path.read_bytes()
        for length in range(len(data)):
            path.write_bytes(data[:length])
            with PointsFile(tmp_path, EXPERIMENT) as file:
                assert file.points == POINTS[: max(data[:length].count(b"\n") - 1, 0)]

    def test_zeros_in_place_of_the_last_line(self, tmp_path: Path) -> None:
        """As some file systems leave it when the power fails."""
        path = filled(tmp_path)
        path.write_bytes(path.read_bytes() + bytes(30) + b"\n")
        with PointsFile(tmp_path, EXPERIMENT) as file:
            assert file.points == POINTS
            assert len(file.notes) == 1

    def test_killed_between_and_in_the_middle_of_writes(self, tmp_path: Path) -> None:
        """What the process said to be kept is there after SIGKILL, whenever it comes."""
        script = textwrap.dedent(f"""
            from pathlib import Path
            from attnlab.files.points import PointsFile
            file = PointsFile(Path({str(tmp_path)!r}), {EXPERIMENT!r})
            n = len(file.points)
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
            with PointsFile(tmp_path, EXPERIMENT) as file:
                assert [point["n"] for point in file.points] == list(range(len(file.points)))
                last = max(int(line) for line in said if line.endswith("\n"))
                assert kept < last <= len(file.points) <= last + 1
                kept = len(file.points)


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

        with PointsFile(tmp_path, EXPERIMENT) as file:
            monkeypatch.setattr(os, call, fails)
            with pytest.raises(WriteError) as caught:
                file.append({"key": "lost"})
            monkeypatch.undo()
            assert str(caught.value) == f"{path}: could not be written: {os.strerror(problem)}"
            assert file.points == POINTS
            assert path.read_bytes() == whole
            file.append({"key": "kept"})
        with PointsFile(tmp_path, EXPERIMENT) as file:
            assert (file.points[-1], file.notes) == ({"key": "kept"}, [])

    def test_nowhere_to_write(self, tmp_path: Path) -> None:
        with pytest.raises(WriteError, match="could not be opened: No such file or directory"):
            PointsFile(tmp_path / "gone", EXPERIMENT)


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
            PointsFile(tmp_path, {**EXPERIMENT, name: value})
        assert caught.value.exit_code == 2
        assert (tmp_path / NAME).read_bytes() == before
        with PointsFile(tmp_path, {**EXPERIMENT, "n": (1, 2)}) as file:
            assert file.points == POINTS

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (b"<html>\n", "line 1 is no JSON object; expected a point in each line"),
            (b"[1]\n", "line 1 is no JSON object"),
            (b'{"schema": 1}\nx\n{}\n', "line 2 is no JSON object"),
            (b"{}\n", "its first line names no schema"),
            (b"[" * 100_000 + b"\n", "line 1 is no JSON object"),
        ],
    )
    def test_another_file(self, content: bytes, told: str, tmp_path: Path) -> None:
        (tmp_path / NAME).write_bytes(content)
        with pytest.raises(InputError, match=told):
            PointsFile(tmp_path, EXPERIMENT)
        assert (tmp_path / NAME).read_bytes() == content

    def test_a_pipe_does_not_hang(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / NAME)
        with pytest.raises(InputError, match="a pipe or a device; expected a file of points"):
            PointsFile(tmp_path, EXPERIMENT)

    def test_a_directory(self, tmp_path: Path) -> None:
        (tmp_path / NAME).mkdir()
        with pytest.raises(InputError, match="a directory; expected a file of points"):
            PointsFile(tmp_path, EXPERIMENT)


class TestOneAtATime:
    def test_of_two_one_wins(self, tmp_path: Path) -> None:
        with PointsFile(tmp_path, EXPERIMENT) as first:
            with pytest.raises(UsageError, match="another attnlab is at work on it; expected one at a time"):
                PointsFile(tmp_path, EXPERIMENT)
            first.append(POINTS[0])
        with PointsFile(tmp_path, EXPERIMENT) as second:
            assert second.points == POINTS[:1]

    def test_of_eight_processes_one_wins(self, tmp_path: Path) -> None:
        script = textwrap.dedent(f"""
            import sys
            from pathlib import Path
            from attnlab.errors import UsageError
            from attnlab.files.points import PointsFile
            sys.stdin.readline()
            try:
                PointsFile(Path({str(tmp_path)!r}), {EXPERIMENT!r})
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
    def wishes(self, **places: Path) -> output.Wishes:
        return output.Wishes(
            command="complexity",
            json=True,
            quiet=False,
            figures=False,
            out=places.get("out"),
            resume=places.get("resume"),
        )

    def begun(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An interrupted run."""
        monkeypatch.setattr(sys, "argv", ["attnlab", "complexity", "--seed", "1"])
        with pytest.raises(KeyboardInterrupt), output.run_directory(self.wishes(out=folder), None, 1, {}):
            raise KeyboardInterrupt

    def status(self, folder: Path) -> tuple[object, object]:
        manifest = json.loads((folder / "run.json").read_bytes())
        return manifest["status"], manifest["started"]

    def test_goes_on_where_it_was(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun(tmp_path / "run", monkeypatch)
        status, started = self.status(tmp_path / "run")
        assert status == "interrupted"
        with output.run_directory(self.wishes(resume=tmp_path / "run"), None, 1, {}) as run:
            assert run is not None
            assert run.path == tmp_path / "run"
            assert self.status(run.path) == ("running", started)
            run.complete()
        assert self.status(tmp_path / "run") == ("complete", started)

    def test_a_complete_one_is_left_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun(tmp_path / "run", monkeypatch)
        with output.run_directory(self.wishes(resume=tmp_path / "run"), None, 1, {}) as run:
            assert run is not None
            run.complete()
        before = (tmp_path / "run" / "run.json").read_bytes()
        for _ in range(2):  # the refusal lets go of the lock
            with pytest.raises(UsageError, match="the run is complete; there is nothing to take up"):
                output.begun(self.wishes(resume=tmp_path / "run"), {})
        assert (tmp_path / "run" / "run.json").read_bytes() == before

    def test_of_two_resumes_one_wins_and_the_other_changes_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.begun(tmp_path / "run", monkeypatch)
        with output.run_directory(self.wishes(resume=tmp_path / "run"), None, 1, {}) as first:
            assert first is not None
            before = (tmp_path / "run" / "run.json").read_bytes()
            with (
                pytest.raises(UsageError, match="another attnlab is at work in it; expected one at a time"),
                output.run_directory(self.wishes(resume=tmp_path / "run"), None, 1, {}),
            ):
                pass
            assert (tmp_path / "run" / "run.json").read_bytes() == before
            first.complete()

    def test_a_run_that_still_runs_cannot_be_resumed(self, tmp_path: Path) -> None:
        run = RunDirectory.make("complexity", tmp_path / "run", {})
        with pytest.raises(UsageError, match="another attnlab is at work in it"):
            RunDirectory.reopen(tmp_path / "run", {})
        run.let_go()
        RunDirectory.reopen(tmp_path / "run", {}).let_go()

    def test_none_there(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"--resume .*gone: not a directory; expected that of an interrupted run"):
            RunDirectory.reopen(tmp_path / "gone", {})
