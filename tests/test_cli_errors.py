"""What a person meets when something goes wrong: one line, the promised exit code, and no traceback."""

import errno
import fcntl
import gc
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from attnlab.__main__ import main
from attnlab.cli import app, failures
from attnlab.cli import config as config_commands
from attnlab.cli.progress import progress
from tests.commands import Ended, attnlab, environment, error_line, stopped
from tests.patience import PATIENCE

TRACEBACK = "Traceback (most recent call last)"


def shell(line: str, cwd: Path) -> Ended:
    """A line of bash in which `attnlab` is this checkout's; the exit code is that of a pipe's first command."""
    wrapped = f'attnlab() {{ "{sys.executable}" -m attnlab "$@"; }}; {line}; exit ${{PIPESTATUS[0]}}'
    ended = subprocess.run(
        ["bash", "-c", wrapped],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


class TestConfigMistakes:
    """The seven that people make most."""

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (
                "block:\n  d_model: 8\n  n_heads: 2\n  causl: true\n",
                '4:3: block.causl: unknown key; did you mean "causal"?',
            ),
            (
                "block: {d_model: 8, n_heads: two}\n",
                '1:30: block.n_heads: "two" (text); expected a whole number of 1 or more',
            ),
            (
                "block:\n  d_model: 10\n  n_heads: 3\n",
                "3:12: block.n_heads: 3; expected a divisor of d_model, 10 (set at mine.yaml:2:12), unless d_k is set",
            ),
            (
                'block:\n  d_model: 8\n  n_heads: 2\n  norm_eps: "1e-5"\n',
                '4:13: block.norm_eps: "1e-5" (text); expected a number above 0; drop the quotes',
            ),
            ("block:\n  d_model: 8\n  n_heads: 2\n  d_model: 9\n", "4:3: block.d_model: given twice"),
            ("block:\n\td_model: 8\n", "2:1: a tab"),
        ],
    )
    def test_are_told_with_place_and_words(self, text: str, said: str, tmp_path: Path) -> None:
        (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
        assert error_line(attnlab("run", "mine.yaml", cwd=tmp_path), 2).startswith(f"mine.yaml:{said}")
        assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]

    def test_a_file_that_is_missing(self, tmp_path: Path) -> None:
        line = error_line(attnlab("run", "mine.yaml", cwd=tmp_path), 2)
        assert line.startswith("mine.yaml: no such file and no such preset; expected sentence, bert-base, ")

    def test_1e_5_is_a_number(self, tmp_path: Path) -> None:
        (tmp_path / "mine.yaml").write_text("block: {d_model: 8, n_heads: 2, norm_eps: 1e-5}\n", encoding="utf-8")
        assert attnlab("config", "check", "mine.yaml", cwd=tmp_path).code == 0

    def test_several_are_counted_and_listed(self, tmp_path: Path) -> None:
        (tmp_path / "mine.yaml").write_text("block: {d_model: 0, n_heads: 1.5}\nlayer: 2\n", encoding="utf-8")
        ended = attnlab("run", "mine.yaml", cwd=tmp_path)
        assert (ended.code, ended.out) == (2, "")
        first, *mistakes = ended.err.splitlines()
        assert first == "attnlab: error: mine.yaml: 3 mistakes"
        assert [mistake[: mistake.index(";")] for mistake in mistakes] == [
            "mine.yaml:1:18: block.d_model: 0",
            "mine.yaml:1:30: block.n_heads: 1.5",
            "mine.yaml:2:1: layer: unknown key",
        ]


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (
                ["run", "--sed", "3"],
                r"run: no such option: --sed; did you mean one of .*--seed.*\? \(attnlab run --help .*\)",
            ),
            (["run", "--n", "3.5"], r"run: --n: '3.5'; expected a whole number \(attnlab run --help .*\)"),
            (["run", "--seed"], r"run: option --seed requires an argument \(attnlab run --help .*\)"),
            (["run", "--seed", "-1"], r"run: --seed -1; expected a whole number of 0 or more"),
            (["run", "a", "b"], r"run: got unexpected extra argument.*b.* \(attnlab run --help .*\)"),
            (["run", ""], r": no such file and no such preset; expected sentence, .* or a file"),
            (["config", "show"], r"config show: missing argument CONFIG \(attnlab config show --help .*\)"),
            (["rum"], r"attnlab: no such command 'rum'; did you mean 'run'\? \(attnlab --help .*\)"),
            (["--jsn"], r"attnlab: no such option: --jsn .*"),
            (["run", "--\x1b[31m"], r"run: no such option: --\\x1b\[31m .*"),
            (
                ["run", "single-head", "--n", str(10**30)],
                rf"run: --n: '{10**30}'; expected a whole number below 2\^63 \(attnlab run --help .*\)",
            ),
        ],
    )
    def test_mistakes(self, arguments: list[str], said: str, tmp_path: Path) -> None:
        line = error_line(attnlab(*arguments, cwd=tmp_path), 2)
        assert re.fullmatch(said, line), line


class TestDebug:
    @pytest.mark.parametrize("arguments", [["--debug", "run", "nope"], ["run", "nope", "--debug"]])
    def test_adds_the_traceback(self, arguments: list[str], tmp_path: Path) -> None:
        ended = attnlab(*arguments, cwd=tmp_path)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith(TRACEBACK)
        assert ended.err.splitlines()[-1].startswith("attnlab: error: nope: no such file")


class TestBugs:
    def test_show_their_traceback(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.delattr(config_commands, "begin_document")
        assert app.run_app(["config", "list", "--json"]) == 70
        _, err = capsys.readouterr()
        assert err.startswith(TRACEBACK)
        assert err.splitlines()[-1].startswith("attnlab: error: a bug: NameError: ")

    @pytest.mark.parametrize("problem", [MemoryError(), RuntimeError("can't start new thread")])
    def test_running_out_of_memory_is_none(
        self, problem: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def exhausted(*_: object) -> None:
            raise problem

        monkeypatch.setattr(config_commands, "begin_document", exhausted)
        assert app.run_app(["config", "list", "--json"]) == 4
        _, err = capsys.readouterr()
        assert err.startswith("attnlab: error: the machine ran out of memory; take fewer tokens or layers")
        assert err.count("\n") == 1


class TestSignals:
    def test_before_anything_began(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        def interrupted(arguments: list[str]) -> int:
            raise KeyboardInterrupt

        monkeypatch.setattr(gc, "set_threshold", lambda threshold: None)
        monkeypatch.setattr(app, "run_app", interrupted)
        assert main() == 130
        assert capsys.readouterr() == ("", "attnlab: error: interrupted: nothing had begun\n")

    def test_while_an_error_is_told(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """The second of two, which comes while the first is being cleared up, does nothing."""

        def told(lines: object, code: int, *, debug: bool) -> int:
            monkeypatch.undo()
            signal.raise_signal(signal.SIGTERM)
            raise AssertionError("the signal was not heeded")

        before = {number: signal.getsignal(number) for number in failures.STOPPING}
        monkeypatch.setattr(failures, "_failed", told)
        try:
            assert app.run_app(["run", "nope"]) == 143
            signal.raise_signal(signal.SIGINT)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        assert capsys.readouterr().err == "attnlab: error: terminated: the result is not complete\n"

    @pytest.mark.parametrize(
        ("number", "code", "said"),
        [
            (signal.SIGINT, 130, "interrupted"),
            (signal.SIGTERM, 143, "terminated"),
            (signal.SIGHUP, 129, "the terminal went away"),
        ],
    )
    def test_stop_a_run_that_says_so(self, number: int, code: int, said: str, tmp_path: Path) -> None:
        (tmp_path / "deep.yaml").write_text(
            "block: {d_model: 128, n_heads: 4, d_ff: null}\nlayers: 5\ninput: {random: {n: 70}}\n", encoding="utf-8"
        )
        ended = stopped(number, 8, "run", "deep.yaml", "--out", "out", cwd=tmp_path)
        assert ended == (code, "", f"attnlab: error: {said}: the result is not complete\n")
        manifest = tmp_path / "out" / "run.json"
        assert json.loads(manifest.read_bytes())["status"] == "interrupted"
        assert [path.name for path in manifest.parent.iterdir()] == ["run.json"]

    def test_a_terminal_that_goes_away_does(self, tmp_path: Path) -> None:
        """A terminal of its own, closed as ssh closes one: the kernel sends the signal, and nobody can be told."""
        long_run(tmp_path)
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "attnlab", "run", "deep.yaml", "--out", "out"],
            cwd=tmp_path,
            env=environment(),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        manifest = tmp_path / "out" / "run.json"
        while not manifest.exists() and process.poll() is None:
            time.sleep(0.01)
        os.close(ours)
        assert process.wait(timeout=PATIENCE) == 129
        assert json.loads(manifest.read_bytes())["status"] == "interrupted"

    def test_a_bar_that_nobody_sees_any_more_hides_no_signal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Gone(io.StringIO):
            def isatty(self) -> bool:
                return True

            def write(self, text: str) -> int:
                raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(sys, "stderr", Gone())
        monkeypatch.setattr("attnlab.cli.progress.PATIENCE", 0.0)

        def stopped() -> None:
            with progress("timing", 2, visible=True) as bar:
                bar.advance()
                raise failures.Stopped(signal.SIGHUP)

        with pytest.raises(failures.Stopped):
            stopped()

    def test_whoever_started_it_may_have_it_ignored(self, tmp_path: Path) -> None:
        """As nohup does."""
        process = subprocess.Popen(
            [sys.executable, "-m", "attnlab", "run", "--no-figures", "--quiet", "--out", "out"],
            cwd=tmp_path,
            env=environment(),
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
        )
        while process.poll() is None:
            process.send_signal(signal.SIGHUP)
            time.sleep(0.01)
        assert process.returncode == 0
        assert json.loads((tmp_path / "out" / "run.json").read_bytes())["status"] == "complete"


def long_run(folder: Path) -> None:
    """A configuration, deep.yaml, that keeps a machine busy for some seconds."""
    (folder / "deep.yaml").write_text(
        "block: {d_model: 128, n_heads: 4, d_ff: null}\nlayers: 20\ninput: {random: {n: 700}}\n", encoding="utf-8"
    )


class TestOneLine:
    """Whatever an argument holds, what is said of it stands on one line; several mistakes have a line each."""

    @pytest.mark.parametrize(
        ("arguments", "code"),
        [
            (["run", "a\nb"], 2),
            (["run", "--tokens", "a\nb"], 2),
            (["run", "--a\nb"], 2),
            (["a\nb"], 2),
            (["run", "sentence", "a\nb"], 2),
            (["variance", "--dk", "6\n4"], 2),
            (["why", "bank", "river", "--head", "1\n2"], 2),
            (["config", "show", "a\r\x1b[2Jb"], 2),
            (["run", "--embeddings", "a\nb.npy"], 3),
            (["run", "--max-memory", "a\nb"], 2),
            (["run", "--set", "a\nb"], 2),
            (["run", "--set", "a\nb=c"], 2),
            (["run", "--set", "block.causal=a\n\rb"], 2),
            (["run", "--causl\n=\x1b[2J"], 2),
            (["run", "--window", "\x1b[2J\n"], 2),
            (["run", "--scale", "a\n\nb"], 2),
            (["complexity", "--resume", "a\nb"], 2),
            (["run", "--out", "file\n/x"], 2),
        ],
    )
    def test_of_an_argument_with_more(self, arguments: list[str], code: int, tmp_path: Path) -> None:
        (tmp_path / "file\n").touch()
        error_line(attnlab(*arguments, cwd=tmp_path), code)

    def test_lists_have_lines_of_their_own(self, tmp_path: Path) -> None:
        (tmp_path / "mi\nne.yaml").write_text("block: {d_model: 0, n_heads: 1.5}\n", encoding="utf-8")
        ended = attnlab("run", "mi\nne.yaml", cwd=tmp_path)
        first, *mistakes = ended.err.splitlines()
        assert (ended.code, first) == (2, r"attnlab: error: mi\nne.yaml: 2 mistakes")
        assert [mistake[:17] for mistake in mistakes] == [r"mi\nne.yaml:1:18:"[:17], r"mi\nne.yaml:1:30:"[:17]]

    def test_a_traceback_moves_no_cursor(self, tmp_path: Path) -> None:
        ended = attnlab("run", "--tokens", "\x1b[2J", "--debug", cwd=tmp_path)
        assert ended.code == 2
        assert ended.err.replace("\n", "").isprintable()

    def test_nor_does_a_note(self, capsys: pytest.CaptureFixture[str]) -> None:
        failures.say_note("a\nb\x1b[2J")
        assert capsys.readouterr().err == "attnlab: a\\nb\\x1b[2J\n"


class TestDirectoryNames:
    @pytest.mark.parametrize("name", ["-", ""])
    @pytest.mark.parametrize("command", [["run", "--no-figures", "--out"], ["complexity", "--resume"]])
    def test_that_are_none(self, command: list[str], name: str, tmp_path: Path) -> None:
        line = error_line(attnlab(*command, name, cwd=tmp_path), 2)
        assert line.startswith(
            f"{command[0]}: {command[-1]}: '{name}'; expected a directory's name (one that is called - is ./-) ("
        )
        assert list(tmp_path.iterdir()) == []

    def test_a_dash_by_its_path(self, tmp_path: Path) -> None:
        assert attnlab("run", "--no-figures", "--quiet", "--out", "./-", cwd=tmp_path).code == 0
        assert (tmp_path / "-" / "run.json").exists()

    @pytest.mark.parametrize("name", [f"{'a' * 200}/" * 30, "a" * 1500, "loop/x"], ids=["path", "name", "loop"])
    def test_beyond_what_the_system_takes(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "loop").symlink_to("loop")
        line = error_line(attnlab("run", "--no-figures", "--out", name, cwd=tmp_path), 5)
        assert re.fullmatch(
            r"--out \S+: could not be made: (File name too long|Too many levels of symbolic links)", line
        )
        assert [path.name for path in tmp_path.iterdir()] == ["loop"]


class TestStdout:
    @pytest.mark.parametrize("command", ["--version", "--help", "config schema", "why bank river"])
    def test_that_nobody_reads_any_more_ends_quietly(self, command: str, tmp_path: Path) -> None:
        assert shell(f"attnlab {command} | true", tmp_path) == (141, "", "")

    def test_of_which_the_beginning_is_read(self, tmp_path: Path) -> None:
        ended = shell("attnlab run --no-figures --out out | head -1", tmp_path)
        assert ended.code in (0, 141)
        assert (ended.out[:8], ended.err) == ("sentence", "")
        assert json.loads((tmp_path / "out" / "run.json").read_bytes())["status"] == "complete"
        assert (tmp_path / "out" / "result.json").exists()

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
    @pytest.mark.parametrize("command", ["--version", "why bank river", "run --json", "run --quiet --no-figures"])
    def test_that_is_full(self, command: str, tmp_path: Path) -> None:
        line = error_line(shell(f"attnlab {command} > /dev/full", tmp_path), 5)
        assert line == "stdout: No space left on device; the result could not be written"

    def test_that_is_closed(self, tmp_path: Path) -> None:
        line = error_line(shell("attnlab run >&-", tmp_path), 5)
        assert line == "stdout: closed; expected a place for the result"
        assert list(tmp_path.iterdir()) == []

    def test_errors_never_go_there(self, tmp_path: Path) -> None:
        assert shell("attnlab run nope 2>&-", tmp_path) == (2, "", "")
        if Path("/dev/full").exists():
            buffered = "PYTHONUNBUFFERED= attnlab run nope"  # what stays in a buffer is written at exit: code 120
            assert shell(f"{buffered} 2>/dev/full", tmp_path) == (2, "", "")

    @pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
    def test_of_a_small_alphabet(self, encoding: str, tmp_path: Path) -> None:
        ended = attnlab("why", "bank", "river", cwd=tmp_path, env={"PYTHONIOENCODING": encoding})
        assert (ended.code, ended.err) == (0, "")
        assert "sum over 13 keys" in ended.out

    def test_of_a_small_alphabet_shows_help_too(self, tmp_path: Path) -> None:
        ended = attnlab("gradient", "--help", cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"})
        assert (ended.code, ended.err) == (0, "")

    def test_of_any_width_holds_the_same_words(self, tmp_path: Path) -> None:
        narrow, wide = (
            attnlab("why", "bank", "river", cwd=tmp_path, env={"COLUMNS": columns}).out for columns in ("20", "300")
        )
        assert narrow.split() == wide.split()


class TestFileNames:
    @pytest.mark.parametrize("name", ["[bold]x.npy", "new\nline.npy", os.fsdecode(b"\xff\xfe.npy"), "\x1b[31m.npy"])
    def test_of_any_kind_are_read_and_shown_escaped(self, name: str, tmp_path: Path) -> None:
        with open(tmp_path / name, "wb") as file:
            np.save(file, np.eye(3, dtype=np.float32))
        ended = attnlab("run", "--embeddings", name, "--no-figures", "--out", name + ".out", cwd=tmp_path)
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.replace("\n", "").isprintable()
        manifest = json.loads((tmp_path / f"{name}.out" / "run.json").read_bytes())
        assert list(manifest["inputs"]) == [name]
        line = error_line(attnlab("run", "--embeddings", f"no{name}", cwd=tmp_path), 3)
        assert line.endswith("no such file or directory; expected a file that can be read")

    def test_pipes_and_directories_do_not_hang(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.npy")
        (tmp_path / "folder.npy").mkdir()
        line = error_line(attnlab("run", "--embeddings", "pipe.npy", cwd=tmp_path), 3)
        assert line == "pipe.npy: a pipe or a device; expected a regular file"
        line = error_line(attnlab("run", "--embeddings", "folder.npy", cwd=tmp_path), 3)
        assert line == "folder.npy: is a directory; expected a file that can be read"
        assert error_line(attnlab("run", "pipe.npy", cwd=tmp_path), 2).startswith("pipe.npy: a pipe or a device")


COMMANDS = [(), ("run",), ("why",), ("config",), *(("config", name) for name in ("list", "show", "check", "schema"))]


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_ends_with_two_examples_that_run(self, command: tuple[str, ...], tmp_path: Path) -> None:
        ended = attnlab(*command, "--help", cwd=tmp_path)
        assert (ended.code, ended.err) == (0, "")
        *_, heading, first, second = ended.out.rstrip("\n").splitlines()
        assert heading.strip() == "Examples:"
        for line in (first.strip(), second.strip()):
            assert line.startswith(" ".join(("attnlab", *command)))
            ran = shell(line, tmp_path)
            assert (ran.code, ran.err) == (0, ""), line

    def test_the_bare_command_shows_it(self, tmp_path: Path) -> None:
        assert attnlab(cwd=tmp_path) == attnlab("--help", cwd=tmp_path) == attnlab("-h", cwd=tmp_path)


def options_of_one_value() -> list[tuple[str, str]]:
    """Every command with every option of it that takes one value."""

    def found(command: Any, name: str) -> Iterator[tuple[str, str]]:
        for within in getattr(command, "commands", {}).values():
            yield from found(within, f"{name} {within.name}".strip())
        for one in command.params if not hasattr(command, "commands") else ():
            if one.param_type_name == "option" and not (one.is_flag or one.multiple):
                yield name, max(one.opts, key=len)

    return list(found(typer.main.get_command(app.build_app()), ""))


class TestAnOptionGivenTwice:
    @pytest.mark.parametrize(("command", "option"), options_of_one_value())
    def test_is_refused(self, command: str, option: str, tmp_path: Path) -> None:
        line = error_line(attnlab(*command.split(), option, "1", f"{option}=2", cwd=tmp_path), 2)
        assert (
            line == f"{command}: {option}: given 2 times; expected once (attnlab {command} --help lists what there is)"
        )

    def test_is_not_where_it_takes_several_or_none(self, tmp_path: Path) -> None:
        ended = attnlab("variance", "--dk", "2", "--dk", "4", "--samples", "50", "--json", "--json", cwd=tmp_path)
        assert {row["d_k"] for row in json.loads(ended.out)["rows"]} == {2, 4}

    def test_of_all_commands_there_are_many(self) -> None:
        assert len({command for command, _ in options_of_one_value()}) >= 11
