"""A tokenizer.json is read in a process of its own: the same ids and tokens, and whatever is in it one line at most."""

import copy
import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnlab.errors import AttnlabError, InputError, MemoryRefused, UsageError
from attnlab.models import tokenizer_process
from attnlab.models.tokenizer import Tokenizer
from tests.checkpoint_copies import GOLDEN, copied, edit_json
from tests.commands import attnlab, environment, error_line

pytestmark = pytest.mark.skipif(find_spec("tokenizers") is None, reason="tokenizers is not installed")
limited = pytest.mark.skipif(sys.platform != "linux", reason="no limit of memory is kept here")
watched = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="nothing tells of processes here")

BERT = GOLDEN / "bert" / "tokenizer.json"
TEXT, IDS = "the river bank", [2, 14, 13, 5, 3]
MIB = 1 << 20
#: Seconds of computing that no test waits for.
FOR_EVER = 100_000

#: Parts that multiply what they are given.
BOMBS: dict[str, dict[str, Any]] = {
    "a letter is replaced by many": {
        "normalizer": {"type": "Replace", "pattern": {"String": "a"}, "content": "b" * 1_000_000}
    },
    "ten times as many, twelve times": {
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}] * 12,
        }
    },
    "a template takes the text many times": {
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 20_000,
            "pair": [],
            "special_tokens": {},
        }
    },
}
#: Every place of the text is tried in as many ways as its length to the fourth.
BACKTRACKING = {
    "pre_tokenizer": {
        "type": "Split",
        "pattern": {"Regex": "a*a*a*a*[^a]"},
        "behavior": "Isolated",
        "invert": False,
    }
}
LETTERS = "a" * 300


def with_parts(folder: Path, parts: dict[str, Any]) -> Path:
    """A tokenizer.json like bert's but for these parts."""
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(BERT.read_bytes()), **parts}), encoding="utf-8")
    return path


def failure(work: Callable[[], object]) -> AttnlabError:
    """What it fails with: one printable line."""
    with pytest.raises(AttnlabError) as caught:
        work()
    assert str(caught.value).isprintable()
    return caught.value


def too_much(path: Path, max_bytes: int) -> str:
    return (
        f"{path}: more than {max_bytes:,} bytes to read it or a text with it; expected at most these, set by "
        "--max-memory: give it more, or --ids with the tokens' numbers"
    )


def unusable(path: Path, found: str) -> str:
    return f"{path}: {found}; expected a tokenizer.json that can be used, or --ids with the tokens' numbers"


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With every byte a token, and some pairs."""
    from tokenizers import Tokenizer as Own
    from tokenizers import decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("Ã", "©"), ("Ġ", "the")]
    tokens = [*alphabet, *("".join(pair) for pair in merges)]
    own = Own(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = decoders.ByteLevel()
    path = tmp_path_factory.mktemp("byte-level") / "tokenizer.json"
    own.save(str(path))
    return path


class TestTheSameAsInThisProcess:
    @pytest.mark.parametrize("kind", ["word pieces", "bytes"])
    def test_ids_and_tokens(self, kind: str, byte_level: Path) -> None:
        from tokenizers import Tokenizer as Own

        path = BERT if kind == "word pieces" else byte_level
        ours, own = Tokenizer(path), Own.from_file(str(path))
        own.no_padding()

        @settings(max_examples=60, deadline=None)
        @given(st.text(st.characters(exclude_categories=["Cs"])) | st.text("the rivn.\n é"), st.integers(2, 9))
        def same(text: str, most: int) -> None:
            own.no_truncation()
            ids = own.encode(text).ids
            found = ours.encode(text)
            assert found.ids.dtype == np.int64
            assert found.ids.tolist() == ids
            if kind == "word pieces":
                assert list(found.tokens) == [own.id_to_token(one) for one in ids]
            own.enable_truncation(most)
            assert ours.encode(text, most=most).ids.tolist() == own.encode(text).ids
            assert ours.encode(text).ids.tolist() == ids

        same()

    def test_numbers_that_are_no_tokens(self) -> None:
        ids = np.array([3, -5, 70_000, 2**40, 3])
        assert Tokenizer(BERT).tokens_of(ids) == ("[SEP]", "#-5", "#70000", "#1099511627776", "[SEP]")
        assert Tokenizer(BERT).tokens_of(ids[:0]) == ()

    def test_a_text_of_five_megabytes(self) -> None:
        """Most of it in words that are longer than any is looked up: [UNK]."""
        times = 5_000_000 // 1_000
        found = Tokenizer(BERT).encode(f"{TEXT} {'x' * 985} " * times)
        assert found.ids.tolist() == [2, *[14, 13, 5, 1] * times, 3]
        assert (found.tokens[:2], len(found.tokens)) == (("[CLS]", "the"), len(found.ids))

    def test_from_many_threads(self) -> None:
        tokenizer = Tokenizer(BERT)
        with ThreadPoolExecutor(8) as pool:
            found = pool.map(lambda n: tokenizer.encode("bank " * n).ids.tolist(), range(40))
        assert list(found) == [[2, *[5] * n, 3] for n in range(40)]

    def test_copied_it_has_a_process_of_its_own(self) -> None:
        tokenizer = Tokenizer(BERT, max_bytes=8 * MIB, seconds=7)
        other = copy.deepcopy(tokenizer)
        del tokenizer
        gc.collect()
        assert other.encode(TEXT).ids.tolist() == IDS
        assert (other._max_bytes, other._seconds) == (8 * MIB, 7)


class TestTooMuch:
    @limited
    @pytest.mark.parametrize("kind", BOMBS)
    def test_memory(self, kind: str, tmp_path: Path) -> None:
        path = with_parts(tmp_path, BOMBS[kind])
        tokenizer = Tokenizer(path, max_bytes=64 * MIB)
        problem = failure(lambda: tokenizer.encode("a" * 400 + " b" * 200))
        assert (str(problem), problem.exit_code) == (too_much(path, 64 * MIB), 4)
        assert tokenizer.encode("bbb").ids.size >= 1  # a process of its own, and the next text has another

    @limited
    def test_a_panic_takes_next_to_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """With a backtrace it takes 50 MiB, and without them waits for ever."""
        monkeypatch.setenv("RUST_BACKTRACE", "1")
        path = with_parts(tmp_path, {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}})
        said = str(failure(lambda: Tokenizer(path, max_bytes=16 * MIB, seconds=1)))
        assert said.startswith(f"{path}: Precompiled: Error(")

    def test_an_honest_text_that_is_too_long(self) -> None:
        tokenizer = Tokenizer(BERT, max_bytes=32 * MIB)
        assert str(failure(lambda: tokenizer.encode(f"{TEXT} " * 100_000))) == too_much(BERT, 32 * MIB)
        assert tokenizer.encode(TEXT).ids.tolist() == IDS

    def test_a_text_or_a_file_longer_than_memory_is_not_handed_over(self, tmp_path: Path) -> None:
        tokenizer = Tokenizer(BERT, max_bytes=0)
        assert str(failure(lambda: tokenizer.encode("a" * 4 * MIB))) == too_much(BERT, 0)
        path = with_parts(tmp_path, {})
        os.truncate(path, 1 << 40)
        assert str(failure(lambda: Tokenizer(path))) == too_much(path, 4 << 30)

    def test_computing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tokenizer_process, "_PATIENCE", FOR_EVER)
        path = with_parts(tmp_path, BACKTRACKING)
        problem = failure(lambda: Tokenizer(path, seconds=1).encode(LETTERS))
        assert (str(problem), problem.exit_code) == (unusable(path, "no answer within 1 s of computing"), 3)

    def test_a_longer_text_may_take_longer(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tokenizer_process, "_BYTES_A_SECOND", len(LETTERS))
        path = with_parts(tmp_path, BACKTRACKING)
        problem = failure(lambda: Tokenizer(path, seconds=1).encode("b" + LETTERS))
        assert str(problem) == unusable(path, "no answer within 2 s of computing")

    def test_more_tokens_than_asked_for(self) -> None:
        problem = failure(lambda: Tokenizer(BERT).encode(TEXT, most=1))
        assert str(problem) == (
            f"{BERT}: 5 tokens of a text that was to be cut to 1; expected a tokenizer.json that can cut it to so few"
        )


#: A package of that name whose text-reading goes wrong.
FAKE = """
import os, signal, struct, sys, time

def answer(data):
    for place in range(3, 16):
        try:
            os.write(place, data)
        except OSError:
            pass

class Tokenizer:
    @staticmethod
    def from_str(text):
        return Tokenizer()
    def no_padding(self):
        pass
    def no_truncation(self):
        pass
    def id_to_token(self, one):
        return "x"
    def decode(self, ids, skip_special_tokens):
        {naming}
        return "x"
    def encode(self, text):
        {encoding}
        self.ids = [1, 2]
        return self
"""
DONE = 'answer(struct.pack("<cQ", b"d", {length}) + {data}); time.sleep(1000)'


class TestWhateverTheProcessDoes:
    @pytest.fixture
    def fake(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Tokenizer]:
        """A tokenizer whose package does this."""
        monkeypatch.delitem(sys.modules, "tokenizers", raising=False)
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / "tokenizers").mkdir()

        def made(encoding: str = "pass", naming: str = "pass", source: str = FAKE) -> Tokenizer:
            text = source.format(encoding=encoding, naming=naming)
            (tmp_path / "tokenizers" / "__init__.py").write_text(text, encoding="utf-8")
            return Tokenizer(BERT, max_bytes=MIB, seconds=1)

        return made

    @pytest.mark.parametrize(
        ("encoding", "found"),
        [
            ("os.abort()", "its process ended with signal 6"),
            ("os.kill(os.getpid(), signal.SIGSEGV)", "its process ended with signal 11"),
            ("os.kill(os.getpid(), signal.SIGKILL)", "its process ended with signal 9"),
            ("os._exit(7)", "its process ended with exit code 7"),
            ("os.closerange(3, 16); time.sleep(1000)", "its process ended with signal 9"),
            ("answer(bytes([255]) * 64)", "its process answers nonsense"),
            ("answer(b'rubbish' * 9)", "its process answers nonsense"),
            (DONE.format(length=3, data="b'abc'"), "its process answers nonsense"),
            ('answer(struct.pack("<cQ", b"r", 2) + bytes([255] * 2))', "its process answers nonsense"),
        ],
    )
    def test_when_it_reads_a_text(self, encoding: str, found: str, fake: Callable[..., Tokenizer]) -> None:
        problem = failure(lambda: fake(encoding).encode(TEXT))
        assert (str(problem), problem.exit_code) == (unusable(BERT, found), 3)

    @pytest.mark.parametrize(
        "naming",
        [
            DONE.format(length=5, data="struct.pack('<I', 1) + b'x'"),
            DONE.format(length=9, data="struct.pack('<II', 1, 1) + b'x'"),
            DONE.format(length=10, data="struct.pack('<II', 1, 1) + bytes([255, 255])"),
        ],
        ids=["fewer texts", "shorter than they say", "no UTF-8"],
    )
    def test_when_it_names_tokens(self, naming: str, fake: Callable[..., Tokenizer]) -> None:
        assert fake().encode(TEXT).tokens == ("x", "x")
        assert str(failure(lambda: fake(naming=naming).encode(TEXT))) == unusable(BERT, "its process answers nonsense")

    @pytest.mark.parametrize(
        "encoding",
        [
            DONE.format(length="1 << 62", data="b''"),
            "raise MemoryError",
            "os.write(2, b'memory allocation of 7 bytes failed'); os.abort()",
        ],
        ids=["an answer that is not read", "Python", "Rust"],
    )
    def test_when_there_is_no_memory(self, encoding: str, fake: Callable[..., Tokenizer]) -> None:
        problem = failure(lambda: fake(encoding).encode(TEXT))
        assert (type(problem), str(problem)) == (MemoryRefused, too_much(BERT, MIB))

    def test_when_it_says_nothing(self, fake: Callable[..., Tokenizer], monkeypatch: pytest.MonkeyPatch) -> None:
        """It computes nothing, either: as two locks of Rust's that wait for each other."""
        monkeypatch.setattr(tokenizer_process, "_PATIENCE", 1)
        problem = failure(lambda: fake("time.sleep(1000)").encode(TEXT))
        assert str(problem) == unusable(BERT, "no answer within 1 s of computing")

    def test_when_it_talks(self, fake: Callable[..., Tokenizer], capfd: pytest.CaptureFixture[str]) -> None:
        """More than a pipe holds, to both its streams; nobody sees it, and nobody waits."""
        talk = "\n        ".join(
            f"try: os.write({place}, b'x' * 200_000)\n        except OSError: pass" for place in (1, 2)
        )
        assert fake(talk).encode(TEXT).ids.tolist() == [1, 2]
        assert capfd.readouterr() == ("", "")

    def test_when_it_raises(self, fake: Callable[..., Tokenizer]) -> None:
        tokenizer = fake("raise SystemExit('\\x1b' * 900)")
        for _ in range(2):  # in the same process
            said = str(failure(lambda: tokenizer.encode(TEXT)))
            assert said == f"{BERT}: " + "\\x1b" * 200 + "; expected a tokenizer.json"

    def test_when_it_cannot_be_imported(self, fake: Callable[..., Tokenizer]) -> None:
        problem = failure(lambda: fake(source="raise ImportError"))
        assert (type(problem), str(problem)[:48]) == (UsageError, "a text needs the tokenizers package; expected it")

    def test_a_folder_of_that_name_is_no_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "tokenizers", raising=False)
        (tmp_path / "tokenizers").mkdir()
        monkeypatch.setattr(sys, "path", [str(tmp_path)])
        assert str(failure(lambda: Tokenizer(BERT)))[:35] == "a text needs the tokenizers package"

    def test_it_imports_little(self, fake: Callable[..., Tokenizer]) -> None:
        """And nothing of what lies where it is started."""
        own = "[name for name in sys.modules if name.partition('.')[0] not in sys.stdlib_module_names]"
        said = str(failure(lambda: fake(f"raise ValueError(sorted({own}))").encode(TEXT)))
        names = ["__main__", "attnlab", "attnlab.models", "attnlab.models.tokenizer_child", "tokenizers"]
        assert said == f"{BERT}: {names}; expected a tokenizer.json"


class TestItsLife:
    def test_it_ends_with_the_tokenizer(self) -> None:
        tokenizer = Tokenizer(BERT)
        process = tokenizer._process._process
        assert process.poll() is None
        del tokenizer
        gc.collect()
        assert process.returncode == -signal.SIGKILL

    def test_killed_in_between_it_is_missed_once(self) -> None:
        tokenizer = Tokenizer(BERT)
        tokenizer._process._process.kill()
        assert str(failure(lambda: tokenizer.encode(TEXT))) == unusable(BERT, "its process ended with signal 9")
        assert tokenizer.encode(TEXT).ids.tolist() == IDS

    def test_an_interrupt_of_the_whole_group_is_not_meant_for_it(self) -> None:
        tokenizer = Tokenizer(BERT)
        os.kill(tokenizer._process._process.pid, signal.SIGINT)
        assert tokenizer.encode(TEXT).ids.tolist() == IDS

    def test_interrupted_it_goes_on_with_the_next_text(self, tmp_path: Path) -> None:
        """As in a notebook; the answer to the first text is not taken for the next one's."""
        path = with_parts(tmp_path, BACKTRACKING)
        tokenizer = Tokenizer(path)
        process = tokenizer._process._process
        before = signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(KeyboardInterrupt):
                tokenizer.encode(LETTERS)
        finally:
            signal.signal(signal.SIGALRM, before)
        assert process.returncode == -signal.SIGKILL
        assert tokenizer.encode("bank").tokens == Tokenizer(path).encode("bank").tokens

    def test_what_lies_around_is_not_imported(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("struct.py", "sitecustomize.py"):
            (tmp_path / name).write_text("raise SystemExit", encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        assert Tokenizer(BERT).encode(TEXT).ids.tolist() == IDS

    def test_another_file_is_not_taken_for_the_first(self, tmp_path: Path) -> None:
        path = with_parts(tmp_path, {})
        tokenizer = Tokenizer(path)
        with_parts(tmp_path, {"normalizer": None})
        assert tokenizer.encode(TEXT).ids.tolist() == IDS
        tokenizer._process.end()
        problem = failure(lambda: tokenizer.encode(TEXT))
        assert str(problem) == f"{path}: changed since it was read; expected the checkpoint opened anew"

    def test_a_text_that_is_none(self) -> None:
        problem = failure(lambda: Tokenizer(BERT).encode("ab\ud800"))
        assert (type(problem), str(problem)) == (
            InputError,
            "the text: character 3 is no UTF-8; expected a text in UTF-8",
        )

    def test_python_within_another_program(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """That program is not started."""
        monkeypatch.setattr(sys, "executable", "/usr/bin/true")
        python = Path(sys.base_exec_prefix, "bin", f"python3.{sys.version_info.minor}")
        assert tokenizer_process._python() == str(python)
        if python.exists():
            assert Tokenizer(BERT).encode(TEXT).ids.tolist() == IDS

    def test_no_python_to_start(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        problem = failure(lambda: Tokenizer(BERT))
        assert (str(problem), problem.exit_code) == (
            f"{BERT}: no process to read it in (no such file or directory: {tmp_path}/python); "
            "expected Python there, or --ids with the tokens' numbers",
            2,
        )

    @pytest.mark.parametrize(
        "script",
        [
            "pid = os.fork()\nshow()\nif pid:\n    os.waitpid(pid, 0)\n    show()",
            "pid = os.fork()\nif not pid:\n    del t\n    sys.exit()\nos.waitpid(pid, 0)\nshow()\nshow()",
            "signal.signal(signal.SIGPIPE, signal.SIG_DFL)\nt._process._process.kill()\nt._process._process.wait()\n"
            "try: t.encode('x' * 100_000)\nexcept InputError: show()\nshow()\nshow()",
            "from attnlab.models import tokenizer_process\ntokenizer_process._PATIENCE = 100_000\n"
            "signal.signal(signal.SIGXCPU, signal.SIG_IGN)\n"
            "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGXCPU])\n"
            "try: Tokenizer(Path(sys.argv[1]), seconds=1).encode('a' * 300)\n"
            "except InputError: show()\nshow()\nshow()",
        ],
        ids=["forked, used by both", "forked, and let go of", "SIGPIPE", "SIGXCPU"],
    )
    def test_in_programs_of_other_manners(self, script: str, tmp_path: Path) -> None:
        beginning = (
            "import gc, os, signal, sys\nfrom pathlib import Path\nfrom attnlab import InputError\n"
            f"from attnlab.models.tokenizer import Tokenizer\nt = Tokenizer(Path({str(BERT)!r}))\n"
            "def show(): print(t.encode('the bank').ids.tolist(), flush=True)\n"
        )
        ended = subprocess.run(
            [sys.executable, "-W", "error", "-c", beginning + script, with_parts(tmp_path, BACKTRACKING)],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        expected = 2 if "del t" in script else 3
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "[2, 14, 5, 3]\n" * expected, "")


@watched
class TestNothingStays:
    """Whoever asks is stopped while the process is at work: no process is left."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return with_parts(copied(tmp_path, "bert"), BACKTRACKING)

    @pytest.fixture
    def asking(self, path: Path) -> Iterator["subprocess.Popen[str]"]:
        script = (
            "import sys; from pathlib import Path; from attnlab.models.tokenizer import Tokenizer\n"
            f"Tokenizer(Path(sys.argv[1]), seconds={FOR_EVER}).encode({LETTERS!r})"
        )
        with started([sys.executable, "-c", script, str(path)], path.parent) as process:
            yield process
            process.kill()

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_of_a_command(self, number: int, code: int, path: Path) -> None:
        command = [sys.executable, "-m", "attnlab", "run", str(path.parent), "--text", LETTERS]
        with started(command, path.parent) as process:
            child = at_work(process.pid)
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (code, "")
        assert err.endswith("the result is not complete\n")
        assert err.count("\n") == 1
        assert not alive(child)

    def test_of_a_program_that_is_interrupted(self, asking: "subprocess.Popen[str]") -> None:
        child = at_work(asking.pid)
        asking.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in asking.communicate(timeout=60)[1]
        assert not alive(child)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    def test_of_a_program_that_is_killed(self, number: int, asking: "subprocess.Popen[str]") -> None:
        """It cannot end the process itself: the kernel does."""
        child = at_work(asking.pid)
        asking.send_signal(number)
        asking.wait()
        try:
            for _ in range(600):
                if not alive(child):
                    return
                time.sleep(0.05)
        finally:
            if alive(child):
                os.kill(child, signal.SIGKILL)
        pytest.fail("the process is at work for nobody")


def started(command: list[str], folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # as in a terminal
    )


def stat_of(process: int) -> list[str]:
    """State, parent, …, as /proc has them; nothing where there is no such process."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
    except OSError:
        return []


def alive(process: int) -> bool:
    return bool(stat := stat_of(process)) and stat[0] != "Z"


def at_work(parent: int) -> int:
    """The process that this one has started, once it has computed for half a second."""
    ticks = os.sysconf("SC_CLK_TCK")
    while True:
        for name in os.listdir("/proc"):
            stat = stat_of(int(name)) if name.isdigit() else []
            if stat and int(stat[1]) == parent and int(stat[11]) > ticks / 2:
                return int(name)
        assert alive(parent)
        time.sleep(0.02)


class TestCommandLine:
    @limited
    @pytest.mark.parametrize("command", ["inspect bert", "run bert", "why bert 1 2", "diagram attention bert"])
    def test_a_bomb_is_refused_in_a_line(self, command: str, tmp_path: Path) -> None:
        with_parts(copied(tmp_path, "bert"), BOMBS["a letter is replaced by many"])
        own = command.startswith("diagram")  # it draws the sample's first sentence
        text = [] if own else ["--text", "a" * 400]
        ended = attnlab(*command.split(), *text, "--max-memory", "64MiB", cwd=tmp_path)
        line = error_line(ended, 4)
        assert line.endswith(too_much(Path("bert/tokenizer.json"), 64 * MIB))

    def test_numbers_need_no_tokenizer(self, tmp_path: Path) -> None:
        edit_json(copied(tmp_path, "bert") / "tokenizer.json", lambda file: file.pop("model"))
        line = error_line(attnlab("run", "bert", "--text", TEXT, cwd=tmp_path), 3)
        ended = attnlab("run", "bert", "--ids", "2,14,13,5,3", "--json", cwd=tmp_path)
        assert ended.code in (0, 1)
        assert ended.err == f"attnlab: tokens are shown by their numbers: {line.removeprefix('run: ')}\n"
        assert json.loads(ended.out)["tokens"] == ["#2", "#14", "#13", "#5", "#3"]
