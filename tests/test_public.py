"""What a program that imports attnlab may rely on: the names, the shapes, and that nothing is imported too early."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import attnlab
from tests.architecture_rules import ROOT, modules
from tests.patience import PATIENCE

#: All different primes, so that no transposition passes.
N, D_MODEL, HEADS, D_K, D_V, D_FF, LAYERS = 7, 13, 3, 5, 11, 17, 2
CONFIG = {
    "block": {"d_model": D_MODEL, "n_heads": HEADS, "d_k": D_K, "d_v": D_V, "d_ff": D_FF},
    "layers": LAYERS,
}


def imported(*arguments: str, cwd: Path) -> set[str]:
    """The packages that Python imports on the way through a command: its own log of imports is read."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    python = [sys.executable, "-X", "importtime", *arguments]
    ended = subprocess.run(
        python, cwd=cwd, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    lines = (line for line in ended.stderr.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def test_the_log_of_imports_names_what_was_imported(tmp_path: Path) -> None:
    assert {"attnlab", "numpy", "yaml"} <= imported("-c", "import attnlab; attnlab.load_stack", cwd=tmp_path)


def test_importing_attnlab_imports_nothing_else(tmp_path: Path) -> None:
    own = imported("-c", "import attnlab", cwd=tmp_path) - imported("-c", "", cwd=tmp_path)
    assert {name for name in own if name not in sys.stdlib_module_names} == {"attnlab"}


def test_asking_for_the_version_imports_neither_typer_nor_numpy(tmp_path: Path) -> None:
    assert imported("-m", "attnlab", "--version", cwd=tmp_path).isdisjoint({"typer", "click", "numpy", "rich", "yaml"})


def test_a_run_without_figures_imports_neither_matplotlib_nor_pydantic(tmp_path: Path) -> None:
    names = imported("-m", "attnlab", "run", "--no-figures", cwd=tmp_path)
    assert {"typer", "numpy"} <= names
    assert names.isdisjoint({"matplotlib", "pydantic", "numba", "tokenizers", "torch"})


@pytest.mark.parametrize("command", [["--version"], ["--debug", "--version"]], ids=" ".join)
def test_the_version_is_printed(command: list[str]) -> None:
    python = [sys.executable, "-m", "attnlab", *command]
    ended = subprocess.run(python, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"attnlab {attnlab.__version__}\n", "")


@pytest.mark.parametrize("name", attnlab.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert hasattr(attnlab, name)
    assert name in dir(attnlab)


def test_a_name_that_is_not_public_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="module 'attnlab' has no attribute 'atention'"):
        _ = attnlab.atention  # type: ignore[attr-defined]  # the name that is not there


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(attnlab.__file__).parent / "py.typed").is_file()


def test_everything_public_has_a_docstring() -> None:
    silent = []
    for module in modules():
        definitions = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        for node in public_nodes(module.tree):
            if isinstance(node, definitions) and ast.get_docstring(node) is None:
                silent.append(f"{module.name}.{getattr(node, 'name', '')}")
    assert silent == []


def public_nodes(tree: ast.Module) -> list[ast.AST]:
    """The module, its public functions and classes, and the public methods of these."""
    nodes: list[ast.AST] = [tree]
    for parent in nodes:
        if isinstance(parent, ast.Module | ast.ClassDef):
            nodes += (node for node in parent.body if not getattr(node, "name", "_").startswith("_"))
    return nodes


def test_docstrings_are_looked_for_in_methods_too() -> None:
    tree = ast.parse("def f(): 0\nclass C:\n    def m(self): 0\n    def _own(self): 0\ndef _own(): 0\nX = 1")
    assert [getattr(node, "name", "module") for node in public_nodes(tree)] == ["module", "f", "C", "m"]


def test_attention_gives_output_weights_and_the_softmaxs_denominator() -> None:
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(HEADS, N, D_K)), rng.normal(size=(HEADS, 19, D_K)), rng.normal(size=(HEADS, 19, D_V))
    result = attnlab.attention(q, k, v)
    assert isinstance(result, attnlab.Attention)
    output, weights, lse = result
    assert (output.shape, weights.shape, lse.shape) == ((HEADS, N, D_V), (HEADS, N, 19), (HEADS, N))
    scores = attnlab.attention_scores(q, k)
    np.testing.assert_allclose(weights, np.exp(scores - lse[..., None]), rtol=1e-12)


def test_attention_statistics_gives_output_denominator_and_statistics_without_the_weights() -> None:
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(6, N, D_K)), rng.normal(size=(HEADS, 19, D_K)), rng.normal(size=(HEADS, 19, D_V))
    result = attnlab.attention_statistics(q, k, v, softcap=2.0, mask=np.arange(19) > 3)
    assert isinstance(result, attnlab.StreamedAttention)
    output, lse, statistics = result
    assert (output.shape, lse.shape) == ((6, N, D_V), (6, N))
    assert (statistics.entropy.shape, statistics.received.shape) == ((6,), (6, 19))
    whole = attnlab.attention(q, k, v, softcap=2.0, mask=np.arange(19) > 3)
    np.testing.assert_allclose(output, whole.output, rtol=1e-12)
    np.testing.assert_allclose(lse, whole.lse, rtol=1e-12)
    entropy = -(whole.weights * np.log(np.where(whole.weights > 0, whole.weights, 1))).sum(axis=-1).mean(axis=-1)
    np.testing.assert_allclose(statistics.entropy, entropy, rtol=1e-12)
    assert statistics.reasons["distance"] == f"{N} queries and 19 keys are not the same tokens"


def test_attention_statistics_takes_masks_and_biases_as_functions() -> None:
    x = np.random.default_rng(0).normal(size=(HEADS, N, D_K))

    def slope(head: int, queries: slice, keys: slice) -> np.ndarray:
        return -(head + 1.0) * np.abs(np.arange(N)[queries, None] - np.arange(N)[keys])

    expected = np.stack([slope(head, slice(0, N), slice(0, N)) for head in range(HEADS)])
    found = attnlab.attention_statistics(x, x, x, bias=slope, asymmetry=True)
    np.testing.assert_allclose(found.output, attnlab.attention(x, x, x, bias=expected).output, rtol=1e-12)
    assert np.isfinite(found.statistics.asymmetry).all()


def test_a_trace_holds_every_step_of_every_layer() -> None:
    x = np.random.default_rng(0).normal(size=(N, D_MODEL)).astype(np.float32)
    stack = attnlab.load_stack(CONFIG)
    assert isinstance(stack, attnlab.Stack)
    trace = stack.trace(x)
    assert [state.shape for state in trace.hidden_states] == [(N, D_MODEL)] * (LAYERS + 1)
    assert [weights.shape for weights in trace.weights] == [(HEADS, N, N)] * LAYERS
    for before, layer, after in zip(trace.hidden_states, trace.layers, trace.hidden_states[1:], strict=False):
        assert layer.q.shape == layer.k.shape == (HEADS, N, D_K)
        assert layer.v.shape == (HEADS, N, D_V)
        assert layer.scores.shape == layer.weights.shape == (HEADS, N, N)
        for step in (layer.t1, layer.t2, layer.t3, layer.t4, layer.t5, layer.output):
            assert step is not None
            assert step.shape == (N, D_MODEL)
        np.testing.assert_array_equal(layer.t2, before + layer.t1)
        np.testing.assert_array_equal(layer.output, after)
    np.testing.assert_array_equal(trace.output, trace.hidden_states[-1])


def test_a_stack_comes_from_a_preset_a_path_or_a_dict(tmp_path: Path) -> None:
    text = "block: {d_model: 64, n_heads: 1, d_ff: null, bias: false, output_projection: false}\n"
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    block = {"d_model": 64, "n_heads": 1, "d_ff": None, "bias": False, "output_projection": False}
    sources = ("single-head", tmp_path / "mine.yaml", str(tmp_path / "mine.yaml"), {"block": block})
    x = np.random.default_rng(0).normal(size=(N, 64))
    first, *others = (attnlab.load_stack(source).trace(x).output for source in sources)
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_the_documented_preset_loads() -> None:
    trace = attnlab.load_stack("vaswani-base").trace(np.zeros((2, 512), dtype=np.float32))
    assert len(trace.layers) == 6
    assert len(trace.hidden_states) == 7


def test_a_preset_that_is_not_there_is_the_public_error() -> None:
    with pytest.raises(attnlab.ConfigError, match=r'no such preset.*did you mean "vaswani-base"') as caught:
        attnlab.load_stack("vaswani-bse")
    assert isinstance(caught.value, attnlab.AttnlabError)
    assert caught.value.exit_code == 2
