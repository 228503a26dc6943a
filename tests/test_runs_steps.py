"""The run store's steps in their order, and what other processes do in between two of them."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from attnlab.errors import UsageError, WriteError
from attnlab.files.runs import RunDirectory, fresh_directory, held, write_whole


def test_the_content_lasts_before_it_has_the_name_and_then_the_name_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut after the renaming finds the whole content under the name, one after the return the name itself."""
    path, steps = tmp_path / "result.json", list[tuple[str, int, object]]()
    sync, rename = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        of = os.fstat(descriptor)
        steps.append(("sync", of.st_ino, None if stat.S_ISDIR(of.st_mode) else of.st_size))
        sync(descriptor)

    def renamed(before: Path, after: Path) -> None:
        steps.append(("rename", before.stat().st_ino, after))
        rename(before, after)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    write_whole(path, b"seven b")
    file, folder = path.stat().st_ino, tmp_path.stat().st_ino
    assert steps == [("sync", file, 7), ("rename", file, path), ("sync", folder, None)]


@pytest.mark.parametrize("existing", [True, False])
def test_a_run_that_came_and_went_before_the_lock_is_seen(
    existing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    if existing:
        out.mkdir()

    def held_after_another(path: Path) -> int | None:
        other = RunDirectory.make("run", path, {})
        other.complete()
        return held(path)

    def make() -> None:
        with monkeypatch.context() as patch:
            calls = iter([held_after_another, held])
            patch.setattr("attnlab.files.runs.held", lambda path: next(calls)(path))
            RunDirectory.make("run", out, {})

    with pytest.raises(UsageError) as caught:
        make()
    assert str(caught.value) == f"--out {out}: not empty; expected a new or an empty directory"
    assert [file.name for file in out.iterdir()] == ["run.json"]
    lock = held(out)  # the refused run has let go of it
    if lock is not None:
        os.close(lock)


def test_the_place_of_the_default_directories_is_taken_away_before_the_second_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs, taken = tmp_path / "outputs", b"\0\0"

    def drawn_again(count: int) -> bytes:
        shutil.rmtree(outputs)
        return taken

    def drawn(count: int) -> bytes:
        monkeypatch.setattr(os, "urandom", drawn_again)
        return taken

    monkeypatch.setattr(os, "urandom", lambda count: taken)
    first = fresh_directory(outputs, "run")
    monkeypatch.setattr(os, "urandom", drawn)
    monkeypatch.setattr("attnlab.files.runs.datetime", AtOneTime(first.name))
    with pytest.raises(WriteError) as caught:
        fresh_directory(outputs, "run")
    assert str(caught.value) == f"{outputs}: could not be made: No such file or directory; --out DIR puts it elsewhere"


class AtOneTime:
    """A clock that has stopped when a directory of this name was made."""

    def __init__(self, name: str) -> None:
        self.name = name

    def now(self, zone: object) -> "AtOneTime":
        return self

    def __format__(self, pattern: str) -> str:
        return "-".join(self.name.split("-")[1:3])
