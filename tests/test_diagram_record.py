"""What a drawing is made of: the run's own numbers, the pair that is followed, the keys that are drawn for it."""

import re
from dataclasses import replace

import numpy as np
import pytest

from attnlab.experiments.diagram import (
    KINDS,
    DiagramConfig,
    drawn_keys,
    first_layers,
    followed,
    following,
    loudest_query,
    needed_specs,
    run,
)
from attnlab.experiments.diagram_report import seen
from attnlab.experiments.diagram_words import attention, feed_forward
from attnlab.files.config import load_config
from attnlab.files.stacks import build_stack, load_input
from tests.diagram_cases import ODD, bench, diagram


@pytest.mark.parametrize("case", ["sandwich", "output", "parallel", "pre, no feed-forward"])
@pytest.mark.parametrize("kind", ["roles", "block"])
def test_the_numbers_are_those_of_the_whole_stack(case: str, kind: str) -> None:
    config = load_config(ODD[case])
    layer, head = config.layers - 1, 3
    record = diagram("block" if kind == "block" else "roles", case, layer, head)
    trace = build_stack(config, max_bytes=1 << 30).stack.trace(load_input(config, max_bytes=1 << 30).x).layers[layer]
    shared = head // (config.block.n_heads // config.block.n_kv_heads)
    a = record.arrays
    for own, whole in (
        (a.x, trace.attention_input),
        (a.q, trace.q[head]),
        (a.k, trace.k[shared]),
        (a.v, trace.v[shared]),
        (a.q_projection, trace.q_projection[head]),
        (a.weights, trace.weights[head]),
        (a.output, trace.heads[head]),
    ):
        assert own == pytest.approx(whole, rel=1e-6)
    assert a.products * record.scale == pytest.approx(trace.raw_scores[head], rel=1e-4, abs=1e-5)
    if kind == "block":
        norms = {name: float(np.linalg.norm(step, axis=1).mean()) for name, step in trace.steps.items()}
        assert {name: record.form.norms[name] for name in norms} == pytest.approx(norms, rel=1e-5)


def test_only_what_is_drawn_is_made() -> None:
    config = load_config("gpt2-small")
    assert len(first_layers(config, DiagramConfig(kind="block"), max_bytes=4 << 30).stack.weights) == 1
    blocks = config.blocks[:2]
    assert [spec.d_ff for spec in needed_specs(blocks, DiagramConfig(kind="roles", layer=1))] == [3072, None]
    assert [spec.d_ff for spec in needed_specs(blocks, DiagramConfig(kind="block", layer=1))] == [3072, 3072]
    assert diagram("roles", "gpt2-small").form.feed_forward


def test_the_drawn_keys_are_the_query_the_one_followed_and_those_of_most_weight() -> None:
    weights = np.array([0.1, 0.05, 0.3, 0.05, 0.2, 0.15, 0.15])
    assert drawn_keys(weights, 1, 2) == (1, 2, 4, 5)
    assert drawn_keys(weights, 2, 2) == (2, 4, 5, 6)
    assert drawn_keys(weights, 4, 3) == (4, 2, 3, 5)
    assert drawn_keys(weights[:4], 1, 2) == (1, 0, 2, 3)
    assert drawn_keys(weights[:1], 0, 0) == (0,)


def test_what_is_followed_is_what_was_asked_for_and_else_the_loudest() -> None:
    arrays = diagram("roles", "sentence").arrays
    weights = np.array([[0.5, 0.4, 0.1], [0.2, 0.7, 0.1], [0.3, 0.1, 0.6]])
    small = replace(arrays, weights=weights, visible=np.ones((3, 3), dtype=bool))

    def pair(query: int | None, key: int | None) -> tuple[int, int]:
        return followed(small, DiagramConfig(kind="roles", query=query, key=key))

    assert pair(None, None) == (0, 0)  # 0 gives another one most, and itself more
    assert (pair(2, None), pair(None, 1), pair(None, 0), pair(2, 1)) == ((2, 2), (0, 1), (2, 0), (2, 1))


def test_a_title_names_the_key_that_is_followed() -> None:
    bench_, settings = bench("sentence", 0, block=False), DiagramConfig(kind="roles")
    title = run(bench_, following(settings, bench_, "river", "5")).title
    assert re.fullmatch(r'"river" asks its own \(0\.\d\d\); ".*" answers loudest \(0\.\d\d\)', title)
    assert run(bench_, following(settings, bench_, "bank", "money")).title.startswith('"bank" asks "money" (0.')
    causal = bench("tiny causal", 0, block=False)
    hidden = run(causal, following(settings, causal, "1", "3"))
    assert hidden.title.startswith("Token 1 asks token 3 (hidden); ")
    assert 3 in hidden.keys


def test_the_query_is_the_one_that_gives_another_most_and_sees_enough() -> None:
    arrays = diagram("roles", "tiny causal").arrays
    weights = np.array([[1, 0, 0, 0], [0.9, 0.1, 0, 0], [0.2, 0.2, 0.6, 0], [0.1, 0.2, 0.4, 0.3]])
    causal = np.tril(np.ones((4, 4), dtype=bool))
    assert loudest_query(replace(arrays, weights=weights, visible=causal)) == 3
    assert loudest_query(replace(arrays, weights=weights, visible=np.ones((4, 4), dtype=bool))) == 1


def test_a_block_in_a_few_words() -> None:
    llama, vaswani = load_config("llama-like").block, load_config("vaswani-base").block
    assert attention(vaswani) == ["8 heads of 64"]
    assert attention(llama) == ["32 heads of 64, causal", "4 key and value heads"]
    assert attention(replace(llama, n_kv_heads=1, d_v=32))[0] == "32 heads of 64 and 32, causal"
    assert attention(replace(llama, n_kv_heads=1))[1] == "1 key and value head"
    assert feed_forward(vaswani) == ["512 → 2,048 → 512", "ReLU"]
    assert feed_forward(llama) == ["2,048 → 5,632 → 2,048", "SwiGLU, gated"]
    assert feed_forward(replace(llama, d_ff=None)) == []


def test_every_drawing_is_said_in_words() -> None:
    said = [seen(diagram(kind, "sentence")) for kind in KINDS]
    assert len({*said}) == len(KINDS)
    assert all(text.startswith("Drawn: ") for text in said)
    assert "H 19.6" in said[-1]
    assert "× 0.0883" in seen(diagram("attention", "sandwich"))
