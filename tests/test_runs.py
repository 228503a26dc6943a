"""The run store: every file is whole or not there, every run has its own directory, and run.json says how it went."""

import errno
import json
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from attnlab.cli import output
from attnlab.errors import AttnlabError, UsageError, WriteError
from attnlab.files.runs import RunDirectory, fresh_directory, held, named_directory, write_whole

OLD, NEW = b"the old content", b"the new content, which is longer"

Break = Callable[[], None]


def status(folder: Path) -> object:
    return json.loads((folder / "run.json").read_bytes())["status"]


class TestWriteWhole:
    def test_leaves_the_file_and_nothing_else(self, tmp_path: Path) -> None:
        path = tmp_path / "result.json"
        for content in (OLD, NEW, b""):
            write_whole(path, content)
            assert path.read_bytes() == content
            assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
    @pytest.mark.parametrize("problem", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
    def test_that_fails_keeps_the_old_file_whole(
        self, call: str, problem: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "result.json"
        path.write_bytes(OLD)
        broken(call, OSError(problem, os.strerror(problem)), monkeypatch)
        with pytest.raises(WriteError) as caught:
            write_whole(path, NEW)
        monkeypatch.undo()
        assert str(caught.value) == f"{path}: could not be written: {os.strerror(problem)}"
        assert caught.value.exit_code == 5
        assert path.read_bytes() == OLD
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("call", ["write", "fsync", "replace"])
    def test_that_is_interrupted_keeps_the_old_file_whole(
        self, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "result.json"
        path.write_bytes(OLD)
        broken(call, KeyboardInterrupt(), monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            write_whole(path, NEW)
        monkeypatch.undo()
        assert path.read_bytes() == OLD
        assert list(tmp_path.iterdir()) == [path]

    def test_the_injection_would_be_noticed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A naive writer loses the old file under the same fault."""
        path = tmp_path / "result.json"
        path.write_bytes(OLD)

        def write_naively() -> None:
            with path.open("wb") as stream:
                stream.write(NEW)
                os.fsync(stream.fileno())

        broken("fsync", OSError(errno.EIO, "no"), monkeypatch)
        with pytest.raises(OSError, match="no"):
            write_naively()
        assert path.read_bytes() != OLD

    def test_escapes_the_name(self, tmp_path: Path) -> None:
        with pytest.raises(WriteError) as caught:
            write_whole(tmp_path / "no\x1b[31m" / "x", NEW)
        assert str(caught.value).endswith(r"no\x1b[31m/x: could not be written: No such file or directory")


def broken(call: str, problem: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one system call of `write_whole` fail from here on."""

    def fails(*_: object, **__: object) -> None:
        raise problem

    def write_fails(name: str, mode: str) -> object:
        stream = open_file(name, mode)

        class Full:
            write = staticmethod(fails)
            __enter__ = lambda self: self  # noqa: E731
            __exit__ = lambda self, *_: stream.close()  # noqa: E731

        return Full()

    open_file = open
    match call:
        case "open":
            monkeypatch.setattr("attnlab.files.runs.open", fails, raising=False)
        case "write":
            monkeypatch.setattr("attnlab.files.runs.open", write_fails, raising=False)
        case _:
            monkeypatch.setattr(os, call, fails)


class TestDirectories:
    def test_a_named_one_is_new_or_empty(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        for name in ("empty", "new/deep"):
            assert named_directory(tmp_path / name).is_dir()

    def test_as_deep_as_the_system_takes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Deeper than Python may call itself, where the path is not too long."""
        monkeypatch.chdir(tmp_path)
        deep = Path("a/" * 1500)
        try:
            assert named_directory(deep).is_dir()
        finally:
            for place in (deep, *deep.parents[:-1]):  # what removes trees calls itself, too
                with suppress(FileNotFoundError):
                    place.rmdir()

    def test_what_is_too_long_leaves_no_beginning(self, tmp_path: Path) -> None:
        with pytest.raises(WriteError, match=r"could not be made: File name too long$"):
            named_directory(tmp_path / (f"{'a' * 200}/" * 30))
        assert list(tmp_path.iterdir()) == []

    def test_one_that_is_not_empty(self, tmp_path: Path) -> None:
        (tmp_path / "something").touch()
        with pytest.raises(UsageError) as caught:
            named_directory(tmp_path)
        assert str(caught.value) == f"--out {tmp_path}: not empty; expected a new or an empty directory"

    @pytest.mark.parametrize("name", ["file", "file/below"])
    def test_a_file(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(UsageError) as caught:
            named_directory(tmp_path / name)
        assert str(caught.value) == f"--out {tmp_path / name}: not a directory; expected a new or an empty directory"

    @pytest.mark.skipif(not Path("/proc").exists(), reason="no /proc here")
    def test_a_place_where_nothing_can_be_made(self) -> None:
        with pytest.raises(WriteError) as caught:
            named_directory(Path("/proc/attnlab"))
        assert str(caught.value) == "--out /proc/attnlab: could not be made: No such file or directory"
        with pytest.raises(WriteError) as caught:
            fresh_directory(Path("/proc/attnlab"), "run")
        assert (
            str(caught.value)
            == "/proc/attnlab: could not be made: No such file or directory; --out DIR puts it elsewhere"
        )

    def test_a_file_where_the_default_ones_should_go(self, tmp_path: Path) -> None:
        (tmp_path / "outputs").touch()
        with pytest.raises(WriteError, match="could not be made: File exists; --out DIR puts it elsewhere"):
            fresh_directory(tmp_path / "outputs", "run")

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
    def test_a_read_only_place(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o555)
        with pytest.raises(WriteError, match="Permission denied"):
            fresh_directory(tmp_path / "outputs", "run")

    def test_a_name_that_is_taken_is_not_taken_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        drawn = iter([b"\0\0", b"\0\0", b"\0\1"])
        monkeypatch.setattr(os, "urandom", lambda count: next(drawn))
        first, second = (fresh_directory(tmp_path, "run") for _ in range(2))
        assert first != second

    def test_one_that_cannot_be_opened_or_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(*_: object, **__: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(os, "open", fails)
        with pytest.raises(WriteError) as caught:
            held(tmp_path)
        assert str(caught.value) == f"{tmp_path}: could not be opened: Permission denied"
        monkeypatch.undo()
        monkeypatch.setattr(Path, "iterdir", fails)
        with pytest.raises(WriteError) as caught:
            named_directory(tmp_path)
        assert str(caught.value) == f"--out {tmp_path}: could not be read: Permission denied"

    def test_eight_runs_at_once_get_one_each(self, tmp_path: Path) -> None:
        barrier, made = threading.Barrier(8), []

        def begin() -> None:
            barrier.wait()
            made.append(fresh_directory(tmp_path / "outputs", "run"))

        threads = [threading.Thread(target=begin) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({*made}) == 8
        assert {*made} == {*(tmp_path / "outputs").iterdir()}


class TestManifest:
    def test_says_running_then_complete(self, tmp_path: Path) -> None:
        run = RunDirectory.make("run", tmp_path / "out", {"seed": 3})
        assert list(run.path.iterdir()) == []
        run.running()
        manifest = json.loads((run.path / "run.json").read_bytes())
        assert list(manifest) == ["schema", "status", "started", "finished", "seed"]
        assert (manifest["status"], manifest["finished"], manifest["seed"]) == ("running", None, 3)
        run.write("result.json", b"{}")
        run.complete()
        manifest = json.loads((run.path / "run.json").read_bytes())
        assert manifest["status"] == "complete"
        assert manifest["started"] <= manifest["finished"]
        assert {path.name for path in run.path.iterdir()} == {"run.json", "result.json"}

    def test_says_interrupted_whatever_stopped_the_run(self, tmp_path: Path) -> None:
        for number, problem in enumerate((KeyboardInterrupt(), MemoryError(), AttnlabError("no"), ValueError("a bug"))):
            with pytest.raises(type(problem)), output.run_directory(wishes(tmp_path / str(number)), None, None, {}):
                raise problem
            assert status(tmp_path / str(number)) == "interrupted"

    def test_what_ended_the_run_is_what_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """And not that run.json could then not be written."""
        runs = []

        def ended() -> None:
            with output.run_directory(wishes(tmp_path), None, None, {}) as run:
                runs.append(run)
                broken("fsync", OSError(errno.ENOSPC, "full"), monkeypatch)
                raise ValueError("first")

        with pytest.raises(ValueError, match="first"):
            ended()
        assert [run and run.lock for run in runs] == [None]

    def test_names_what_two_runs_can_be_compared_by(self, tmp_path: Path) -> None:
        with output.run_directory(wishes(tmp_path), {"layers": 1}, 5, {"x.npy": "00ff"}) as run:
            assert run is not None
            assert status(run.path) == "running"
        manifest = json.loads((tmp_path / "run.json").read_bytes())
        assert {"command_line", "config", "seed", "machine", "inputs"} <= set(manifest)
        assert (manifest["config"], manifest["seed"], manifest["inputs"]) == ({"layers": 1}, 5, {"x.npy": "00ff"})
        machine = {"attnlab", "python", "numpy", "blas", "threads", "cpu", "system"}
        assert set(manifest["machine"]) == machine

    def test_there_is_none_when_nothing_is_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with output.run_directory(wishes(None), None, None, {}) as run:
            assert run is None
        assert list(tmp_path.iterdir()) == []


def wishes(out: Path | None) -> output.Wishes:
    return output.Wishes(command="run", json=True, quiet=False, figures=False, out=out)
