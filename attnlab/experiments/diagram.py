"""What `attnlab diagram` draws: a block's own dimensions, and the numbers of one of its heads from a real run.

Only the layers up to the one that is drawn are made and run, and of the last one the feed-forward only where it is
drawn, so that a drawing of a large model takes a moment.
"""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from attnlab.errors import UsageError
from attnlab.experiments import diagram_words as words
from attnlab.experiments.why import find_token
from attnlab.files.config import Config, PerLayer
from attnlab.files.kernels import choose_kernel
from attnlab.files.stacks import Bench, float_dtype, given_weights, layer_weights, load_input, run_need
from attnlab.maths.architecture import BlockSpec, Initialisation
from attnlab.maths.block import LayerTrace, trace_block
from attnlab.maths.precision import Array
from attnlab.maths.stack import Stack
from attnlab.maths.threads import threads_for
from attnlab.maths.weights import BlockWeights, initial_block
from attnlab.records import BlockForm, Diagram, HeadArrays, Widths

Kind = Literal["roles", "projections", "attention", "parallel", "block"]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: The keys that `roles` draws for one query, when there are more.
KEYS = 4


@dataclass(frozen=True, kw_only=True)
class DiagramConfig:
    """Which drawing, and of which head."""

    kind: Kind
    layer: int = 0
    head: int = 0
    #: the token that asks, and one that answers, by their numbers; None: those with the largest weight
    query: int | None = None
    key: int | None = None


#: The drawings that follow a token, and those that follow what it makes of another one.
FOLLOWS_QUERY: tuple[Kind, ...] = ("roles", "projections", "attention")
FOLLOWS_KEY: tuple[Kind, ...] = ("roles", "attention")


def following(settings: DiagramConfig, bench: Bench, query: str | None, key: str | None) -> DiagramConfig:
    """The settings with the tokens that the drawing is to follow, each named by its text or its number.

    Raises:
        UsageError: there is no such token, or there are several, or the drawing follows none.
    """
    found = settings
    for option, text, kinds in (("query", query, FOLLOWS_QUERY), ("key", key, FOLLOWS_KEY)):
        if text is None:
            continue
        if settings.kind not in kinds:
            raise UsageError(f"--{option}: not together with {settings.kind}, which follows no {option}")
        place = find_token(f"--{option}", text, bench.tokens, len(bench.x))
        found = replace(found, query=place) if option == "query" else replace(found, key=place)
    return found


def check_place(settings: DiagramConfig, config: Config) -> None:
    """Refuse a head that is not there.

    Raises:
        UsageError: naming how many there are.
    """
    layers, heads = config.layers, config.block.n_heads
    if settings.layer >= layers or settings.head >= heads:
        raise UsageError(
            f"--head {settings.layer}.{settings.head}: {config.name} has {_counted(layers, 'layer')} of "
            f"{_counted(heads, 'head')}; expected LAYER.HEAD, each counted from 0"
        )


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def first_layers(config: Config, settings: DiagramConfig, *, max_bytes: int) -> Bench:
    """The configuration's layers up to the one that is drawn, and what they run on.

    Raises:
        InputError: a file is missing, unreadable, or does not fit the block.
        MemoryRefused: the run would take more than max_bytes.
    """
    count = settings.layer + 1
    shorter = replace(config, layers=count, per_layer=PerLayer())
    if config.input.random is not None:
        choose_kernel(None, run_need(shorter, config.input.random.n), max_bytes)
    source = load_input(config, max_bytes=max_bytes)
    choose_kernel(None, run_need(shorter, len(source.x)), max_bytes)
    dtype, how = float_dtype(config.dtype), config.weights.initialisation or Initialisation()
    given = given_weights(config, max_bytes=max_bytes)
    specs = needed_specs(config.blocks[:count], settings)
    weights = tuple(
        initial_block(spec, how, layer=i, dtype=dtype, given=layer_weights(given, i, dtype))
        for i, spec in enumerate(specs)
    )
    return Bench(
        config=config,
        stack=Stack(specs=specs, weights=weights, dtype=dtype),
        x=source.x,
        tokens=source.tokens,
        random_input=config.input.random is not None,
        initialised=(),
        sha256={str(config.input.file): source.sha256} if config.input.file is not None else {},
    )


def needed_specs(specs: tuple[BlockSpec, ...], settings: DiagramConfig) -> tuple[BlockSpec, ...]:
    """The layers that are run: the last without its feed-forward, unless that is drawn."""
    if settings.kind == "block":
        return specs
    return (*specs[:-1], replace(specs[-1], d_ff=None, parallel=False))


def run(bench: Bench, settings: DiagramConfig) -> Diagram:
    """Run the layers up to the one that is drawn, and lay out what the drawing shows.

    Args:
        bench: a configuration's first layers, or a checkpoint's stack.
        settings: a head that is there, as `check_place` knows it.
    """
    with threads_for(bench.config.block.largest_product(len(bench.x))):
        spec, weights, trace = traced(bench.stack, bench.x, settings.layer)
    arrays = arrays_of(spec, weights, trace, settings.head)
    query, key = followed(arrays, settings)
    whole = bench.config.blocks[settings.layer]  # with the feed-forward, run or not
    return Diagram(
        kind=settings.kind,
        title=words.title(settings.kind, whole, bench.config.layers, arrays, bench.tokens, query, key),
        name=bench.config.name,
        place=words.place(settings.kind, bench.config, settings.layer, settings.head, len(bench.x)),
        widths=widths_of(whole, bench.config.layers, len(bench.x)),
        tokens=bench.tokens,
        arrays=arrays,
        form=form_of(whole, trace),
        scale=spec.score_scale,
        usual_scale=spec.scale is None,
        prepared=words.prepared(spec),
        bent=words.bent(spec),
        masked=words.masked(spec),
        biased=spec.has_bias("qkv"),
        joined=spec.output_projection,
        query=query,
        key=key,
        keys=drawn_keys(arrays.weights[query], query, key),
    )


def traced(stack: Stack, x: Array, layer: int) -> tuple[BlockSpec, BlockWeights, LayerTrace]:
    """One layer with its weights and all that happens in it, after those before it."""
    state = stack.embedded(np.asarray(x))
    for i in range(layer):
        state = trace_block(stack.specs[i], stack.weights[i], state).output
    spec, weights = stack.specs[layer], stack.weights[layer]
    return spec, weights, trace_block(spec, weights, state)


def arrays_of(spec: BlockSpec, weights: BlockWeights, trace: LayerTrace, head: int) -> HeadArrays:
    """One head's share of a layer, in float64."""
    shared = head // (spec.n_heads // spec.n_kv_heads)
    n = len(trace.x)
    q, k = trace.q[head].astype(float), trace.k[shared].astype(float)
    visible = (
        np.ones((n, n), bool) if trace.visible is None else np.broadcast_to(trace.visible, trace.scores.shape)[head]
    )
    with np.errstate(over="ignore", invalid="ignore"):
        products = q @ k.T
    return HeadArrays(
        x=trace.attention_input.astype(float),
        w_q=weights["attn.W_Q"][head].astype(float),
        w_k=weights["attn.W_K"][shared].astype(float),
        w_v=weights["attn.W_V"][shared].astype(float),
        q_projection=trace.q_projection[head].astype(float),
        k_projection=trace.k_projection[shared].astype(float),
        q=q,
        k=k,
        v=trace.v[shared].astype(float),
        products=products,
        scores=trace.scores[head].astype(float),
        weights=trace.weights[head].astype(float),
        visible=visible,
        output=trace.heads[head].astype(float),
    )


def widths_of(spec: BlockSpec, layers: int, n: int) -> Widths:
    """A block in numbers."""
    return Widths(
        n=n,
        d_model=spec.d_model,
        heads=spec.n_heads,
        kv_heads=spec.n_kv_heads,
        d_k=spec.d_k,
        d_v=spec.d_v,
        d_ff=spec.d_ff,
        layers=layers,
    )


def form_of(spec: BlockSpec, trace: LayerTrace) -> BlockForm:
    """What stands where in a block, and how long its tokens are at each step."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms = {
            name: float(np.linalg.norm(step.astype(float), axis=1).mean())
            for name, step in {"X": trace.x, **trace.steps}.items()
        }
    return BlockForm(
        norm=words.NORMS[spec.norm],
        norm_position=spec.norm_position,
        parallel=spec.parallel,
        attention=words.attention(spec),
        feed_forward=words.feed_forward(spec),
        norms=norms,
    )


def followed(arrays: HeadArrays, settings: DiagramConfig) -> tuple[int, int]:
    """The query and the key: those asked for; of what is left open, the pair that has the largest weight."""
    query = settings.query
    if query is None:
        query = loudest_query(arrays) if settings.key is None else loudest_asker(arrays, settings.key)
    key = settings.key
    return query, int(np.nan_to_num(arrays.weights[query]).argmax()) if key is None else key


def loudest_query(arrays: HeadArrays) -> int:
    """The token that gives another one the largest share, among those that see as many keys as any."""
    seen = arrays.visible.sum(axis=1)
    others = np.where(np.eye(len(seen), dtype=bool), -1.0, np.nan_to_num(arrays.weights))
    most = np.where(seen >= min(KEYS, int(seen.max())), others.max(axis=1), -2.0)
    return int(most.argmax())


def loudest_asker(arrays: HeadArrays, key: int) -> int:
    """The token that gives a key the largest share: another than itself, where there is one."""
    column = np.nan_to_num(arrays.weights[:, key])
    return int(np.where(np.arange(len(column)) == key, -1.0, column).argmax()) if len(column) > 1 else 0


def drawn_keys(weights: Array, query: int, key: int) -> tuple[int, ...]:
    """The keys that are drawn for a query: itself, the one followed, and those that get most of its weight.

    The query itself comes first, the others in the text's order.
    """
    chosen = [key] if key != query else []
    order = [int(j) for j in np.argsort(-np.nan_to_num(weights), kind="stable") if j not in (query, key)]
    return (query, *sorted([*chosen, *order[: KEYS - 1 - len(chosen)]]))
