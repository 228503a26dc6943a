"""What has to be so of a checkpoint, whatever its numbers: one token repeated, and a head made to be a sink."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import attnlab
from tests.checkpoint_copies import copied, edit_tensors, golden_ids
from tests.commands import printed_json
from tests.oracles import EPS

Array = NDArray[Any]

N, TOKEN = 13, 11
POSITIONS = {"bert": "embeddings.position_embeddings.weight", "gpt2": "transformer.wpe.weight"}


def without_positions(tmp_path: Path, name: str) -> Path:
    folder = copied(tmp_path, name)
    edit_tensors(folder / "model.safetensors", lambda tensors: tensors[POSITIONS[name]].fill(0))
    return folder


def from_uniform(layer: Any, *, causal: bool) -> float:
    """The largest |ln p − ln 1/(visible keys)| of a layer's weights, over the accuracy that is promised."""
    n = layer.weights.shape[-1]
    visible = np.tril(np.ones((n, n), bool)) if causal else np.ones((n, n), bool)
    assert (layer.weights[:, ~visible] == 0).all()
    with np.errstate(divide="ignore"):
        logs = np.log(layer.weights.astype(np.float64) * visible.sum(axis=-1, keepdims=True))
    longest = float(np.linalg.norm(layer.q, axis=-1).max() * np.linalg.norm(layer.k, axis=-1).max())
    bound = 16 * EPS * (1 + longest / math.sqrt(layer.q.shape[-1]))
    return float(np.abs(logs[:, visible]).max()) / bound


@pytest.mark.parametrize("name", POSITIONS)
class TestOneTokenRepeatedWithoutPositions:
    """Every key is the same: the softmax has nothing to choose between."""

    def test_every_visible_key_weighs_the_same(self, name: str, tmp_path: Path) -> None:
        trace = attnlab.load_checkpoint(without_positions(tmp_path, name)).trace(np.full(N, TOKEN))
        for layer in trace.layers:
            assert from_uniform(layer, causal=name == "gpt2") <= 1

    def test_streamed_entropy_is_the_largest_there_is(self, name: str, tmp_path: Path) -> None:
        rows = attnlab.load_checkpoint(without_positions(tmp_path, name)).statistics(np.full(N, TOKEN))
        counts = np.arange(2, N + 1) if name == "gpt2" else np.full(N, N)
        for row in rows:
            assert abs(row.entropy - np.log(counts).mean()) <= 1e-6
            assert abs(row.normalized_entropy - 1) <= 1e-6
            assert row.score_max - row.score_mean <= 1e-5

    def test_with_positions_they_are_told_apart(self, name: str, tmp_path: Path) -> None:
        trace = attnlab.load_checkpoint(copied(tmp_path, name)).trace(np.full(N, TOKEN))
        assert from_uniform(trace.layers[0], causal=name == "gpt2") > 1000

    def test_without_them_two_tokens_are_told_apart(self, name: str, tmp_path: Path) -> None:
        ids = np.full(N, TOKEN)
        ids[3] += 1
        trace = attnlab.load_checkpoint(without_positions(tmp_path, name)).trace(ids)
        assert from_uniform(trace.layers[0], causal=name == "gpt2") > 1000


class TestOneTokenRepeatedWithRelativePositions:
    """Positions enter the scores alone: weights differ, and mix values that are all the same."""

    @pytest.mark.parametrize("name", ["llama-grouped", "gpt_neox", "gemma2", "olmo2", "bloom"])
    def test_every_token_stays_the_same(self, name: str, tmp_path: Path) -> None:
        trace = attnlab.load_checkpoint(copied(tmp_path, name)).trace(np.full(N, TOKEN))
        for state in trace.hidden_states:
            assert apart(state) <= 1e-5
        for layer in trace.layers:
            assert apart(layer.v.swapaxes(0, 1)) <= 1e-5
            assert from_uniform(layer, causal=True) > 1000

    def test_learned_positions_make_them_differ(self, tmp_path: Path) -> None:
        trace = attnlab.load_checkpoint(copied(tmp_path, "gpt2")).trace(np.full(N, TOKEN))
        assert apart(trace.hidden_states[-1]) > 0.1


def apart(states: Array) -> float:
    """How far the tokens of (n, …) are from the first."""
    return float(np.abs(states - states[:1]).max())


LAYER, HEAD, GAP = 0, 2, 12.0


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BERT whose head 0.2 scores token 0 above every other by GAP or more, whatever the query is."""
    folder = copied(tmp_path_factory.mktemp("sink"), "bert")
    width = 4

    def place_first_apart(tensors: dict[str, Array]) -> None:
        tensors[POSITIONS["bert"]][0] = 50 * np.tile([1, -1], 6)

    edit_tensors(folder / "model.safetensors", place_first_apart)
    x = attnlab.load_checkpoint(folder).embedded(golden_ids("bert")).astype(np.float64)
    direction = x[0] - x[1:].mean(axis=0)
    nearest = float((direction @ (x[0] - x[1:]).T).min())
    assert nearest > 0

    def align(tensors: dict[str, Array]) -> None:
        rows = slice(HEAD * width, (HEAD + 1) * width)
        module = f"encoder.layer.{LAYER}.attention.self"
        tensors[f"{module}.query.weight"][rows] = 0
        tensors[f"{module}.query.bias"][rows] = 1
        tensors[f"{module}.key.weight"][rows] = direction * GAP / (nearest * math.sqrt(width))
        tensors[f"{module}.key.bias"][rows] = 0

    edit_tensors(folder / "model.safetensors", align)
    return folder


class TestASinkThatWasMade:
    #: what the first token gets at least when every other scores GAP less
    LEAST = 1 / (1 + (len(golden_ids("bert")) - 1) * math.exp(-GAP * 0.999))

    def test_every_token_looks_at_the_first(self, sink: Path) -> None:
        weights = attnlab.load_checkpoint(sink).trace(golden_ids("bert")).weights[LAYER][HEAD]
        assert weights[:, 0].min() >= self.LEAST > 0.9999

    def test_the_streamed_statistics_say_so(self, sink: Path) -> None:
        row = row_of(sink)
        assert (bool(row.sink), row.received_argmax) == (True, 0)
        assert min(row.sink_mass, row.received_max, row.max_weight) >= self.LEAST
        assert row.saturated_fraction == 1

    def test_it_was_none_before(self, tmp_path: Path) -> None:
        assert row_of(copied(tmp_path, "bert")).sink_mass < 0.3

    def test_inspect_names_it(self, sink: Path, tmp_path: Path) -> None:
        assert ((LAYER, HEAD), "sink") in findings(sink, tmp_path)

    def test_inspect_names_none_where_none_is(self, tmp_path: Path) -> None:
        before = copied(tmp_path, "bert")
        assert "sink" not in {kind for _, kind in findings(before, tmp_path)}


def row_of(folder: Path) -> Any:
    """The statistics of the head that is made a sink."""
    rows = attnlab.load_checkpoint(folder).statistics(golden_ids("bert"))
    return next(row for row in rows if (row.layer, row.head) == (LAYER, HEAD))


def findings(folder: Path, cwd: Path) -> list[tuple[tuple[int, int], str]]:
    """The heads that `attnlab inspect` names, and as what."""
    ids = ",".join(str(i) for i in golden_ids("bert"))
    found = printed_json("inspect", folder, "--ids", ids, cwd=cwd)["findings"]
    return [((one["layer"], one["head"]), one["kind"]) for one in found]


def test_a_token_whose_embedding_is_nan_is_counted(tmp_path: Path) -> None:
    """Causal: the rows from that token on, and no others; what lies before is as it was."""
    folder, ids = copied(tmp_path, "gpt2"), golden_ids("gpt2")
    before = attnlab.load_checkpoint(folder).trace(ids)
    bad = len(ids) - 3
    ids[bad] = 1
    assert 1 not in np.delete(ids, bad)
    edit_tensors(folder / "model.safetensors", lambda tensors: tensors["transformer.wte.weight"][1].fill(np.nan))
    model = attnlab.load_checkpoint(folder)
    assert {int(row.nonfinite_rows) for row in model.statistics(ids)} == {3}
    after = model.trace(ids)
    np.testing.assert_allclose(after.output[:bad], before.output[:bad], rtol=0, atol=1e-6)
    assert np.isnan(after.output[bad:]).all()
