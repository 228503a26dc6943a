"""The package keeps the house rules, and each rule sees a source that breaks it and lets be one that does not."""

from collections.abc import Mapping

import pytest

from tests.architecture_rules import (
    FUNCTION_LINES,
    GROUND,
    RULES,
    WINGS,
    Module,
    Rule,
    declared_packages,
    files_open_files,
    heavy_only_where_used,
    imports_only_below,
    modules,
    no_assert,
    no_bare_except,
    no_keyword_catch_all,
    no_mutable_state,
    quiet,
    reserved_packages,
    short,
)

#: (rule, complaint) -> why it is allowed; one that is no longer needed fails.
EXCEPTIONS: Mapping[tuple[str, str], str] = {
    ("imports_only_below", "attnlab.cli.app: imports by name"): (
        "the commands of its own wing, from the table COMMANDS: a command line loads the one that it names"
    ),
    ("files_open_files", "attnlab.measure.peak: calls .open"): (
        "/proc/self/clear_refs, where the kernel is told to forget the highest resident size: no file of a user's"
    ),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps(rule: Rule) -> None:
    complaints = {f"{module.name}: {complaint}" for module in modules() for complaint in rule(module)}
    assert complaints == {complaint for name, complaint in EXCEPTIONS if name == rule.__name__}


def test_every_wing_and_module_is_read() -> None:
    read = {module.wing for module in modules()}
    assert read <= {*WINGS, *GROUND, "", "__main__"}
    assert {*WINGS} - read <= {"models"}


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
    (heavy_only_where_used, "attnlab.maths.fast", "from attnlab.maths.compiled import exponentials"),
    (heavy_only_where_used, "attnlab.maths.fast", "from attnlab.maths import compiled"),
    (heavy_only_where_used, "attnlab.maths.compiled", "import torch"),
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
    (short, "attnlab.maths.softmax", function(FUNCTION_LINES + 1)),
]

KEPT = [
    (imports_only_below, "attnlab.cli.run", "import attnlab\nfrom attnlab.models import load\nattnlab.__version__"),
    (imports_only_below, "attnlab.theory.scores", "from attnlab import errors, records"),
    (reserved_packages, "attnlab.cli.run", "import typer, numpy"),
    (heavy_only_where_used, "attnlab.show.plots", "if TYPE_CHECKING:\n    from matplotlib.figure import Figure"),
    (heavy_only_where_used, "attnlab.show.plots", "def f():\n    import matplotlib"),
    (heavy_only_where_used, "attnlab.maths.fast", "def f():\n    from attnlab.maths.compiled import exponentials"),
    (heavy_only_where_used, "attnlab.maths.fast", "from attnlab.maths.compiler import x"),
    (heavy_only_where_used, "attnlab.maths.compiled_panels", "import numba\nfrom attnlab.maths.compiled import f"),
    (declared_packages, "attnlab.maths.compiled", "import numba\nfrom llvmlite import ir"),
    (declared_packages, "attnlab.files.config", "import yaml\nimport ml_dtypes\ndef f():\n    import numba"),
    (files_open_files, "attnlab.files.config", "open('x')"),
    (files_open_files, "attnlab.measure.memory", "Path('/proc/meminfo').read_text()"),
    (files_open_files, "attnlab.cli.failures", "os.open(os.devnull, os.O_WRONLY)\nopen(os.devnull, 'w')"),
    (no_bare_except, "attnlab.cli.run", "try:\n    f()\nexcept OSError:\n    pass"),
    (quiet, "attnlab.cli.run", "print(1)"),
    (quiet, "attnlab.experiments.run", "console.print(1)"),
    (no_mutable_state, "attnlab", "__all__ = ['f']\n_TABLE = {1: 2}\ndef f():\n    found = []\n    found.append(1)"),
    (no_keyword_catch_all, "attnlab.show.plots", "def draw(x, *others):\n    pass"),
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
