"""What is drawn in the tests: every preset, and configurations that strain a drawing."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from attnlab.experiments.diagram import DiagramConfig, Kind, first_layers, run
from attnlab.files.config import load_config
from attnlab.files.stacks import Bench
from attnlab.records import Diagram

PRESETS = ("sentence", "single-head", "vaswani-base", "bert-base", "gpt2-small", "llama-like")


def odd(n: int, layers: int = 1, std: float | None = None, **block: object) -> Mapping[str, object]:
    init = "xavier_uniform" if std is None else {"normal": std}
    given = {"d_ff": 8, **block}
    return {"block": given, "layers": layers, "weights": {"init": init}, "input": {"random": {"n": n, "seed": 0}}}


ODD: Mapping[str, Mapping[str, object]] = {
    "tiny": odd(6, d_model=4, n_heads=1),
    "tiny causal": odd(4, d_model=4, n_heads=2, causal=True),
    "one token": odd(1, d_model=4, n_heads=1),
    "two tokens": odd(2, d_model=8, n_heads=4, d_ff=None),
    "96 heads": odd(12, layers=48, d_model=192, n_heads=96, norm_position="pre"),
    "sandwich": odd(
        7,
        layers=2,
        d_model=48,
        n_heads=4,
        n_kv_heads=2,
        d_k=16,
        d_v=8,
        d_ff=96,
        activation="geglu_tanh",
        norm="rmsnorm",
        norm_position="sandwich",
        softcap=50.0,
        window=3,
        causal=True,
        qk_norm="rmsnorm",
        scale=0.0883,
        position="rotary",
    ),
    "output": odd(7, d_model=48, n_heads=4, n_kv_heads=2, d_k=3, d_v=5, norm_position="output"),
    "parallel": odd(7, layers=2, d_model=48, n_heads=4, norm_position="pre", parallel=True),
    "pre, no feed-forward": odd(5, layers=3, d_model=48, n_heads=4, d_ff=None, norm_position="pre"),
    "no output projection": odd(40, d_model=64, n_heads=1, bias=False, output_projection=False, position="alibi"),
    "many tokens": odd(1500, d_model=12, n_heads=3),
    "wide": odd(5, d_model=128, n_heads=128, d_k=256, d_v=1),
    "unscaled": odd(5, d_model=4, n_heads=1, scale=1.0, d_ff=131072),
    "huge numbers": odd(6, std=300.0, d_model=4, n_heads=1, bias=False),
    "d_k is not d_v": odd(5, d_model=3, n_heads=1, d_v=2, norm_position="pre"),
}
LONG = "a-name-that-goes-on-" * 6


def diagram(kind: Kind, case: str, layer: int = 0, head: int = 0) -> Diagram:
    """The drawing of a preset or of an odd case."""
    return run(bench(case, layer, block=kind == "block"), DiagramConfig(kind=kind, layer=layer, head=head))


@cache
def bench(case: str, layer: int, *, block: bool) -> Bench:
    """What the block's drawing runs on, or what all others do."""
    settings = DiagramConfig(kind="block" if block else "roles", layer=layer)
    return first_layers(load_config(ODD.get(case, case)), settings, max_bytes=4 << 30)


def strained(drawn: Diagram) -> Diagram:
    """The same with names and tokens that go on and on, and look like formulas."""
    tokens = ["antidisestablishmentarianism$x_2$"] * drawn.widths.n
    return replace(drawn, name=LONG, tokens=tokens, title=f"{drawn.title} and then it goes on, as some do, {LONG}")
