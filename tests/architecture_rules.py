"""The house rules, read from a module's source: who imports whom, and what nobody does.

A rule is a function from a module to its complaints.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import NamedTuple

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
HEAVY = {"matplotlib", "numba", "llvmlite", "tokenizers", "torch", "pydantic"}
#: Modules made of what a heavy package compiles: as heavy as it is, so that others import them where they are used.
COMPILED = {f"attnlab.maths.compiled{part}" for part in ("", "_panels", "_stripes", "_vectors", "_weights")}
COMPILERS = {"numba", "llvmlite"}
PRINTERS = {"cli", "show", "__main__"}
OPENERS = {"files", "models"}
#: Ways to reach a file besides `open`. np.save and its like can write to memory too; that also is for files to do.
FILE_METHODS = {"open", "read_text", "read_bytes", "write_text", "write_bytes", "tofile", "fromfile", "memmap"}
NUMPY_FILES = {"load", "save", "savez", "savez_compressed", "loadtxt", "savetxt", "genfromtxt"}
MUTATORS = {"append", "add", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "setdefault", "update"}
MUTABLE = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
FUNCTION_LINES = 40
#: import name -> the distributions that bring it: yaml -> PyYAML
INSTALLED = packages_distributions()


class Module(NamedTuple):
    """A module of the package: its dotted name and its source."""

    name: str
    source: str

    @property
    def tree(self) -> ast.Module:
        return parsed(self.source)

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


@cache
def parsed(source: str) -> ast.Module:
    """A source's tree, which every rule looks at."""
    return ast.parse(source)


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
    own = {*COMPILED, *COMPILERS} if module.name in COMPILED else set[str]()
    for found in imports(module.tree):
        names = {".".join(found.target.split(".")[:length]) for length in (1, 3)}
        if names & ((HEAVY | COMPILED) - own) and not found.in_function and not found.for_types:
            yield f"imports {found.target} at start"


def declared_packages(module: Module) -> Iterator[str]:
    """What is imported at start is among the dependencies; what is imported later may be in an extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [name for extra in ("fast", "models", "torch") for name in project["optional-dependencies"][extra]]
    for package, found in third_party(module):
        declared = project["dependencies"] + (extras if found.in_function or module.name in COMPILED else [])
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
            case ast.Call(args=[ast.Attribute(value=ast.Name(id="os"), attr="devnull"), *_]):
                pass
            case ast.Call(func=ast.Name(id="open")):
                yield "calls open"
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
    """Lines of a function's body after its docstring. A file is one idea, whatever its length."""
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
