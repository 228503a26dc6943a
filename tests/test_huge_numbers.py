"""Numbers far beyond what an option or a key can mean: an end at once, in one line, and never a hang."""

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from attnlab.cli.app import COMMANDS
from attnlab.errors import UsageError
from attnlab.experiments.effort import refuse_endless
from attnlab.files.config import json_schema
from tests.commands import environment

#: Of the machine's own numbers, and of those that Python reads and does not read.
HUGE = [2**31 - 1, 2**31, 2**62, 2**63 - 1, 2**63, 10**30, 10**400, int("9" * 4300), "9" * 5000]
#: What a command needs before its options.
FIRST = {"diagram": ["roles"], "run": ["single-head"], "verify": ["lemma-1"], "why": ["single-head", "0", "1"]}
#: Settings that make a command quick, where a seed is accepted.
QUICK = {
    "complexity": ["--mechanism", "hash", "--max-n", "150", "--budget", "0.01s", "--quiet"],
    "depth": ["--layers", "2", "--seeds", "2", "--n", "4", "--d-model", "8", "--heads", "2"],
    "gradient": ["--dk", "2", "--n", "3", "--rows", "256"],
    "lookup": ["--dk", "2", "--max-n", "8", "--keys", "4", "--queries", "4", "--repeats", "2"],
    "variance": ["--dk", "2", "--samples", "100", "--keys", "4"],
}
#: Seconds of processor time, and bytes of address space, that all of one command's numbers together may take.
SECONDS, BYTES = 120, 6 << 30
#: Runs command lines one after the other in one process, and says how each ended.
RUNNER = f"""
import contextlib, io, json, resource, sys
from attnlab.cli.app import run_app
resource.setrlimit(resource.RLIMIT_CPU, ({SECONDS}, {SECONDS}))
resource.setrlimit(resource.RLIMIT_AS, ({BYTES}, {BYTES}))
for arguments in json.load(sys.stdin):
    print(" ".join(arguments)[:200], file=sys.__stderr__, flush=True)
    printed, said = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
        code = run_app(arguments)
    said.seek(0)
    print(json.dumps([code, said.read()]), flush=True)
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no resource limits")


def ends(lines: list[list[str]], cwd: Path) -> list[tuple[int, str]]:
    """The exit code and stderr of each command line."""
    done = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps(lines),
        cwd=cwd,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    found = [tuple(json.loads(line)) for line in done.stdout.splitlines()]
    assert len(found) == len(lines), f"{lines[len(found)]!s:.200}: {done.returncode} {done.stderr[-300:]}"
    return found


def told(number: object) -> str:
    """In digits: Python refuses to write so many of them."""
    if isinstance(number, str):
        return number
    sys.set_int_max_str_digits(0)
    try:
        return str(number)
    finally:
        sys.set_int_max_str_digits(4300)


def check(lines: list[list[str]], cwd: Path) -> list[int]:
    """Each ends well or is refused in one line; their exit codes."""
    codes = []
    for arguments, (code, said) in zip(lines, ends(lines, cwd), strict=True):
        where = f"{' '.join(arguments):.120}: {code} {said[:300]}"
        assert code in (0, 2, 3, 4), where
        assert said.count("\n") == (code > 0), where
        assert len(said) < 600, where
        codes.append(code)
    return codes


def integer_options(command: str) -> list[str]:
    """Every option of a command that takes whole numbers, from its function's signature."""
    function = getattr(import_module(f"attnlab.cli.{command}"), command)
    found = []
    for name, hint in get_type_hints(function, include_extras=True).items():
        kind, *settings = get_args(hint) or (hint,)
        if int in (kind, *get_args(kind), *(inner for one in get_args(kind) for inner in get_args(one))):
            found.append(next(iter(settings[0].param_decls), f"--{name.replace('_', '-')}"))
    return found


WITH_INTEGERS = [command for command in COMMANDS if command != "config" and integer_options(command)]


def test_the_commands_with_integers() -> None:
    assert {"complexity", "cost", "depth", "gradient", "lookup", "run", "variance", "verify"} <= {*WITH_INTEGERS}
    assert integer_options("gradient") == ["--dk", "--n", "--rows", "--seed"]


@pytest.mark.parametrize("command", WITH_INTEGERS)
def test_every_integer_option_ends_at_once(command: str, tmp_path: Path) -> None:
    lines = []
    for option in integer_options(command):
        quick = QUICK.get(command, []) if option == "--seed" else []
        numbers = HUGE[3:] if option == "--seed" else HUGE
        lines += [[command, *FIRST.get(command, []), *quick, option, told(number), "--json"] for number in numbers]
    codes = check(lines, tmp_path)
    assert {2} <= {*codes} <= {0, 2, 4}


def integer_keys(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where in a configuration whole numbers stand."""
    if schema.get("type") == "integer":
        yield path
    for name, inner in schema.get("properties", {}).items():
        yield from integer_keys(inner, (*path, name))
    for either in schema.get("anyOf", []):
        yield from integer_keys(either, path)
    if "items" in schema:
        yield from integer_keys(schema["items"], (*path, "[]"))


KEYS = [*dict.fromkeys(integer_keys(json_schema()))]


def test_the_keys_that_are_integers() -> None:
    names = {path[-1] for path in KEYS}
    assert {"d_model", "n_heads", "n_kv_heads", "d_k", "d_v", "d_ff", "window", "layers", "seed", "n"} <= names


def configuration(path: tuple[str, ...], number: str) -> str:
    """A small block with one number replaced, in JSON's spelling, which is YAML's too."""
    base: dict[str, Any] = {
        "block": {"d_model": 8, "n_heads": 2, "d_k": 4, "d_ff": 4, "position": "none"},
        "layers": 1,
    }
    if "position" in path:
        scaling = {"kind": "llama3", "factor": 2, "low_freq_factor": 1, "high_freq_factor": 2, "original_length": 4}
        base["block"]["position"] = {"rotary": {"scaling": scaling}}
    at: Any = base
    for name in path[:-2] if path[-1] == "[]" else path[:-1]:
        at = at.setdefault(name, {})
    at[path[-2] if path[-1] == "[]" else path[-1]] = ["NUMBER"] if path[-1] == "[]" else "NUMBER"
    return json.dumps(base).replace('"NUMBER"', number)


@pytest.mark.parametrize("path", KEYS, ids=".".join)
def test_every_integer_key_ends_at_once(path: tuple[str, ...], tmp_path: Path) -> None:
    lines = []
    for i, number in enumerate((2**31 - 1, 2**63 - 1, 10**30, "9" * 5000)):
        (tmp_path / f"{i}.yaml").write_text(configuration(path, told(number)), encoding="utf-8")
        for before in (
            ["config", "check"],
            ["run"],
            ["cost"],
            ["inspect"],
            ["diagram", "block"],
            ["variance", "--config"],
        ):
            flags = [] if before[0] == "config" else ["--json"]
            lines.append([*before, f"{i}.yaml", *flags])
    check(lines, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["gradient", "--rows", "1" + "0" * 400],
            f"gradient: --rows: '1{'0' * 39}…'; expected a whole number below",
        ),
        (
            ["variance", "--samples", str(2**31)],
            "variance: --samples 2147483648; expected at most 351,734,245: more would",
        ),
        (["complexity", "--repeats", str(2**31)], "complexity: --repeats 2147483648; expected at most 10,000"),
        (["complexity", "--threads", "1025"], "complexity: --threads 1025; expected at most 1,024"),
        (["complexity", "--d", str(2**31)], "complexity: --d 2147483648; expected at most 2,147,483,647"),
        (["complexity", "--window", "4097"], "complexity: --window 4097; expected at most 4,096, the most tokens"),
        (["complexity", "--min-n", str(2**62)], "complexity: --min-n 4611686018427387904 --max-n 4096: room for 0"),
        (["run", "--layers", ",".join(["0-999999"] * 40)], "run: --layers '0-999999,"),
        (["run", "--head", "9" * 5000 + ".0"], f"run: --head '{'9' * 40}…'; expected LAYER.HEAD"),
        (["run", "--max-memory", "9" * 400], f"run: --max-memory '{'9' * 40}…'; expected a size such as"),
    ],
)
def test_what_is_said(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    ((code, said),) = ends([arguments], tmp_path)
    assert code == 2
    assert said.startswith(f"attnlab: error: {complaint}")
    assert len(said) < 300


def test_layers_beyond_any_are_refused_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("layers: 9223372036854775807", encoding="utf-8")
    ((code, said),) = ends([["config", "check", "x.yaml"]], tmp_path)
    assert (code, said) == (
        2,
        "attnlab: error: x.yaml:1:9: layers: 9223372036854775807; expected a whole number of 1 or more, "
        "and at most 10,000\n",
    )


def test_hours_are_too_long() -> None:
    refuse_endless("--rows", 4 * 3600, 1.0)
    with pytest.raises(UsageError, match=r"--rows 14401; expected at most 14,400: more would take over 4 hours"):
        refuse_endless("--rows", 4 * 3600 + 1, 1.0)
    refuse_endless("--rows", 10**18, 0.0)
