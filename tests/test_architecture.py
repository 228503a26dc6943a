"""The house rules, read from the source of every module: who imports whom, and what nobody does.

A rule is a function from a module to its complaints. Each is held to a source that breaks it and to one that does not.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent

#: The wings from top to bottom: each imports itself and those below it.
WINGS = ("cli", "experiments", "models", "show", "files", "measure", "theory", "maths")
#: What every wing may import.
GROUND = {"errors", "records"}
#: Narrower than the order: a prediction must not call what it predicts, and pictures know results alone.
NARROWER = {"theory": {"theory", *GROUND}, "show": {"show", "records"}, "errors": set[str](), "records": set[str]()}
#: third-party package -> the wings that may import it
RESERVED = {"typer": {"cli"}, "click": {"cli"}, "rich": {"show"}, "matplotlib": {"show"}}
#: Slow to import, or an extra: imported where they are used.
HEAVY = {"matplotlib", "numba", "tokenizers", "torch", "pydantic"}
PRINTERS = {"cli", "show", "__main__"}
OPENERS = {"files", "models"}
#: Ways to reach a file besides `open`; np.save and the like may write to memory too, but only files do either.
FILE_METHODS = {"open", "read_text", "read_bytes", "write_text", "write_bytes", "tofile", "fromfile", "memmap"}
NUMPY_FILES = {"load", "save", "savez", "savez_compressed", "loadtxt", "savetxt", "genfromtxt"}
MUTATORS = {"append", "add", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "setdefault", "update"}
MUTABLE = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
FILE_LINES, FUNCTION_LINES = 300, 40
#: import name -> the distributions that bring it: yaml -> PyYAML
INSTALLED = packages_distributions()

#: (rule, complaint) -> why it is allowed; one that is no longer needed fails.
EXCEPTIONS: Mapping[tuple[str, str], str] = {
    ("no_keyword_catch_all", "attnlab.maths.precision: common_dtype takes **arrays"): (
        "nothing is passed through: each keyword is an array's name, for the error's text"
    ),
    (
        "short",
        "attnlab.experiments.run: run_qkv has 44 lines",
    ): "one flat sequence; a third of it are keywords, one a line",
}


class Module(NamedTuple):
    """A module of the package: its dotted name and its source."""

    name: str
    source: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @property
    def wing(self) -> str:
        """The part of the house: a wing, or a module at the top; "" for the package itself."""
        return wing_of(self.name)

    @property
    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


class Import(NamedTuple):
    """One imported name, and where its import stands."""

    target: str
    in_function: bool
    for_types: bool


Rule = Callable[[Module], Iterator[str]]


def modules() -> list[Module]:
    """Every module of the package."""
    found = []
    for path in sorted((ROOT / "attnlab").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, path.read_text(encoding="utf-8")))
    return found


def wing_of(target: str) -> str:
    return ".".join(target.split(".")[1:2])


def imports(node: ast.AST, in_function: bool = False, for_types: bool = False) -> Iterator[Import]:
    """Every import in a tree; `from a.b import c` has the target a.b.c."""
    match node:
        case ast.Import(names=names):
            yield from (Import(alias.name, in_function, for_types) for alias in names)
        case ast.ImportFrom(module=module, names=names):
            yield from (Import(f"{module}.{alias.name}", in_function, for_types) for alias in names)
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            for_types = True
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
            in_function = True
    for child in ast.iter_child_nodes(node):
        yield from imports(child, in_function, for_types)


def third_party(module: Module) -> Iterator[tuple[str, Import]]:
    for found in imports(module.tree):
        package = found.target.split(".")[0]
        if package not in sys.stdlib_module_names | {"attnlab"}:
            yield package, found


def allowed(wing: str) -> set[str]:
    """The parts of the house that a part may import."""
    if wing in NARROWER:
        return NARROWER[wing]
    return {*WINGS[WINGS.index(wing) :], *GROUND} if wing in WINGS else {"cli"}


def imports_only_below(module: Module) -> Iterator[str]:
    """The public face is exempt: it names what is inside. Others may take from the face only the version."""
    if module.name == "attnlab":
        return
    for found in imports(module.tree):
        if found.target.startswith("attnlab.") and wing_of(found.target) not in allowed(module.wing):
            yield f"imports {found.target}"
    for node in ast.walk(module.tree):
        match node:
            case ast.Attribute(value=ast.Name(id="attnlab"), attr=attribute) if attribute != "__version__":
                yield f"uses attnlab.{attribute}"
            case ast.Name(id="import_module" | "__import__"):
                yield "imports by name"
            case ast.ImportFrom(level=level) if level:
                yield "imports relatively"


def reserved_packages(module: Module) -> Iterator[str]:
    for package, found in third_party(module):
        if module.wing not in RESERVED.get(package, {module.wing}):
            yield f"imports {found.target}"


def heavy_only_where_used(module: Module) -> Iterator[str]:
    for package, found in third_party(module):
        if package in HEAVY and not found.in_function and not found.for_types:
            yield f"imports {found.target} at start"


def declared_packages(module: Module) -> Iterator[str]:
    """What is imported at start is among the dependencies; what is imported later may be in an extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [name for extra in ("fast", "models", "torch") for name in project["optional-dependencies"][extra]]
    for package, found in third_party(module):
        declared = project["dependencies"] + (extras if found.in_function else [])
        names = {normalised(re.split("[<>=~! ;[]", line)[0]) for line in declared}
        distributions = INSTALLED.get(package, [package])
        if not found.for_types and not names & {normalised(name) for name in distributions}:
            yield f"imports {package}, which is not declared"


def normalised(distribution: str) -> str:
    return distribution.replace("-", "_").lower()


def files_open_files(module: Module) -> Iterator[str]:
    """measure reads what the system says of itself; os.devnull is nobody's file."""
    allowed_methods = {"read_text"} if module.wing == "measure" else set[str]()
    if module.wing in OPENERS:
        return
    for node in ast.walk(module.tree):
        match node:
            case ast.Call(func=ast.Name(id="open")):
                yield "calls open"
            case ast.Call(args=[ast.Attribute(value=ast.Name(id="os"), attr="devnull"), *_]):
                pass
            case ast.Call(func=ast.Attribute(attr=name)) if name in FILE_METHODS - allowed_methods:
                yield f"calls .{name}"
            case ast.Attribute(value=ast.Name(id="np" | "numpy"), attr=name) if name in NUMPY_FILES:
                yield f"uses np.{name}"


def no_assert(module: Module) -> Iterator[str]:
    yield from (f"asserts in line {node.lineno}" for node in ast.walk(module.tree) if isinstance(node, ast.Assert))


def no_bare_except(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"bare except in line {node.lineno}"


def quiet(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name) and node.id == "print" and module.wing not in PRINTERS:
            yield f"prints in line {node.lineno}"


def no_mutable_state(module: Module) -> Iterator[str]:
    """A module's containers are constants: named so, never bound anew, never changed inside a function."""
    containers = set()
    for statement in module.tree.body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=value)
            ):
                if isinstance(value, MUTABLE):
                    containers.add(name)
    yield from (f"{name} is mutable state" for name in sorted(containers) if name != "__all__" and not name.isupper())
    for node in (inner for function in module.functions for inner in ast.walk(function)):
        match node:
            case ast.Global(names=names):
                yield f"binds {', '.join(names)} anew"
            case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()) if name in containers:
                yield f"changes {name}"
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if (
                name in containers and method in MUTATORS
            ):
                yield f"changes {name}"


def no_keyword_catch_all(module: Module) -> Iterator[str]:
    for function in module.functions:
        if function.args.kwarg is not None and not function.name.startswith("_"):
            yield f"{function.name} takes **{function.args.kwarg.arg}"


def short(module: Module) -> Iterator[str]:
    """Lines of a file, and lines of a function's body after its docstring."""
    lines = len(module.source.splitlines())
    if lines > FILE_LINES:
        yield f"has {lines} lines"
    for function in module.functions:
        first = function.body[min(len(function.body) - 1, ast.get_docstring(function) is not None)]
        lines = (function.end_lineno or 0) - first.lineno + 1
        if lines > FUNCTION_LINES:
            yield f"{function.name} has {lines} lines"


RULES: tuple[Rule, ...] = (
    imports_only_below,
    reserved_packages,
    heavy_only_where_used,
    declared_packages,
    files_open_files,
    no_assert,
    no_bare_except,
    quiet,
    no_mutable_state,
    no_keyword_catch_all,
    short,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps(rule: Rule) -> None:
    complaints = {f"{module.name}: {complaint}" for module in modules() for complaint in rule(module)}
    assert complaints == {complaint for name, complaint in EXCEPTIONS if name == rule.__name__}


def test_every_wing_and_module_is_read() -> None:
    read = {module.wing for module in modules()}
    assert read <= {*WINGS, *GROUND, "", "__main__"}
    assert {*WINGS} - read <= {"models"}


def lines(count: int) -> str:
    return "x = 1\n" * count


def function(count: int) -> str:
    return "def f():\n    'Doc.'\n" + "    x = 1\n" * count


BROKEN = [
    (imports_only_below, "attnlab.maths.softmax", "from attnlab.theory.scores import score_variance"),
    (imports_only_below, "attnlab.theory.scores", "from attnlab.maths.softmax import softmax"),
    (imports_only_below, "attnlab.theory.scores", "if TYPE_CHECKING:\n    from attnlab.maths import softmax"),
    (imports_only_below, "attnlab.show.plots", "from attnlab.experiments.run import RunRecord"),
    (imports_only_below, "attnlab.show.plots", "from attnlab import records, files"),
    (imports_only_below, "attnlab.show.plots", "def f():\n    import attnlab.maths.softmax"),
    (imports_only_below, "attnlab.files.config", "from attnlab.cli.options import Seed"),
    (imports_only_below, "attnlab.files.config", "from ..cli import options"),
    (imports_only_below, "attnlab.records", "from attnlab.maths.precision import Array"),
    (imports_only_below, "attnlab.__main__", "from attnlab.files.config import Config"),
    (imports_only_below, "attnlab.maths.softmax", "import attnlab\nattnlab.load_stack"),
    (imports_only_below, "attnlab.maths.softmax", "import_module('attnlab.theory')"),
    (reserved_packages, "attnlab.experiments.run", "import typer"),
    (reserved_packages, "attnlab.show.plots", "from click import echo"),
    (reserved_packages, "attnlab.cli.run", "from rich.text import Text"),
    (reserved_packages, "attnlab.cli.run", "def f():\n    import matplotlib.figure"),
    (heavy_only_where_used, "attnlab.show.plots", "from matplotlib.figure import Figure"),
    (heavy_only_where_used, "attnlab.maths.fast", "try:\n    import numba\nexcept ImportError:\n    numba = None"),
    (heavy_only_where_used, "attnlab.maths.fast", "class Fast:\n    import torch"),
    (declared_packages, "attnlab.maths.fast", "import scipy.special"),
    (declared_packages, "attnlab.maths.fast", "import numba"),
    (declared_packages, "attnlab.maths.fast", "def f():\n    import hypothesis"),
    (files_open_files, "attnlab.maths.softmax", "with open('x') as file:\n    pass"),
    (files_open_files, "attnlab.experiments.run", "Path('x').open()"),
    (files_open_files, "attnlab.cli.run", "Path('x').read_text()"),
    (files_open_files, "attnlab.measure.memory", "Path('x').write_text('y')"),
    (files_open_files, "attnlab.theory.scores", "np.load('x.npy')"),
    (files_open_files, "attnlab.show.plots", "np.fromfile('x')"),
    (no_assert, "attnlab.maths.softmax", "def f(x):\n    assert x"),
    (no_bare_except, "attnlab.cli.run", "try:\n    f()\nexcept:\n    pass"),
    (quiet, "attnlab.experiments.run", "def f():\n    print(1)"),
    (no_mutable_state, "attnlab.maths.softmax", "cache = {}"),
    (no_mutable_state, "attnlab.maths.softmax", "seen: list[int] = []"),
    (no_mutable_state, "attnlab.maths.softmax", "SEEN = {}\ndef f(x):\n    SEEN[x] = 1"),
    (no_mutable_state, "attnlab.maths.softmax", "SEEN = [0]\ndef f(x):\n    SEEN.append(x)"),
    (no_mutable_state, "attnlab.maths.softmax", "N = 0\ndef f():\n    global N\n    N = 1"),
    (no_keyword_catch_all, "attnlab.show.plots", "def draw(x, **options):\n    pass"),
    (short, "attnlab.maths.softmax", lines(FILE_LINES + 1)),
    (short, "attnlab.maths.softmax", function(FUNCTION_LINES + 1)),
]

KEPT = [
    (imports_only_below, "attnlab.cli.run", "import attnlab\nfrom attnlab.models import load\nattnlab.__version__"),
    (imports_only_below, "attnlab.theory.scores", "from attnlab import errors, records"),
    (reserved_packages, "attnlab.cli.run", "import typer, numpy"),
    (heavy_only_where_used, "attnlab.show.plots", "if TYPE_CHECKING:\n    from matplotlib.figure import Figure"),
    (heavy_only_where_used, "attnlab.show.plots", "def f():\n    import matplotlib"),
    (declared_packages, "attnlab.files.config", "import yaml\nimport ml_dtypes\ndef f():\n    import numba"),
    (files_open_files, "attnlab.files.config", "open('x')"),
    (files_open_files, "attnlab.measure.memory", "Path('/proc/meminfo').read_text()"),
    (files_open_files, "attnlab.cli.failures", "os.open(os.devnull, os.O_WRONLY)"),
    (no_bare_except, "attnlab.cli.run", "try:\n    f()\nexcept OSError:\n    pass"),
    (quiet, "attnlab.cli.run", "print(1)"),
    (quiet, "attnlab.experiments.run", "console.print(1)"),
    (no_mutable_state, "attnlab", "__all__ = ['f']\n_TABLE = {1: 2}\ndef f():\n    found = []\n    found.append(1)"),
    (no_keyword_catch_all, "attnlab.show.plots", "def draw(x, *others):\n    pass"),
    (short, "attnlab.maths.softmax", lines(FILE_LINES)),
    (short, "attnlab.maths.softmax", function(FUNCTION_LINES)),
]


@pytest.mark.parametrize(("rule", "name", "source"), BROKEN)
def test_a_rule_sees_what_breaks_it(rule: Rule, name: str, source: str) -> None:
    assert list(rule(Module(name, source)))


@pytest.mark.parametrize(("rule", "name", "source"), KEPT)
def test_a_rule_lets_the_rest_be(rule: Rule, name: str, source: str) -> None:
    assert not list(rule(Module(name, source)))


def test_every_rule_is_seen_to_fail() -> None:
    assert {rule for rule, _, _ in BROKEN} == {*RULES}
