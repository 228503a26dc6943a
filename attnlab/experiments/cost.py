"""`attnlab cost`: what a stack of blocks costs at N tokens by formula, part by part, and where N² takes over."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from attnlab.errors import UsageError
from attnlab.experiments.cost_measured import Measured, measure
from attnlab.experiments.cost_measured import steps as measured_steps
from attnlab.maths.architecture import BlockSpec, Rotary
from attnlab.maths.positions import rotary_width
from attnlab.theory.costs import BIASES, BlockShape, Count, Hidden, PartCost, part_costs
from attnlab.theory.crossovers import Crossover, crossover

#: The conventions there are, and what may be said of hidden pairs.
COUNTS: tuple[Count, ...] = get_args(Count)
HIDDEN: tuple[Hidden, ...] = get_args(Hidden)
#: The largest number of tokens: what numpy and JSON readers can hold.
MOST_TOKENS = 2**63
#: Bytes of a number.
ITEMSIZE = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}


@dataclass(frozen=True, kw_only=True)
class CostConfig:
    """What is to be counted, and how."""

    #: of the configuration
    name: str
    #: the first layer's
    block: BlockSpec
    layers: int
    #: each layer's, where they differ
    windows: tuple[int | None, ...] | None = None
    #: tokens
    n: int
    dtype: str = "float32"
    count: Count = "flop"
    hidden: Hidden = "half"
    #: whether a run is set beside the count
    measured: bool = False
    seed: int = 0
    #: memory that a run may take
    max_bytes: int = 2**30

    @property
    def blocks(self) -> list[BlockSpec]:
        """Every layer's."""
        windows = (self.block.window,) * self.layers if self.windows is None else self.windows
        return [replace(self.block, window=window) for window in windows]


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """One part, in all layers."""

    part: str
    formula: str
    #: FLOPs, or multiply-adds alone
    flops: int
    bytes: int
    parameters: int


@dataclass(frozen=True, kw_only=True)
class CostRecord:
    """All that was counted, and timed."""

    config: CostConfig
    #: of each layer
    shapes: Sequence[BlockShape]
    #: of the first layer
    parts: Sequence[PartCost]
    #: of all layers
    rows: Sequence[CostRow]
    crossover: Crossover
    #: None: not asked for
    measured: Measured | None

    @property
    def total(self) -> CostRow:
        """The sums over all parts."""
        rows = self.rows
        return CostRow(
            part="total",
            formula="",
            flops=sum(row.flops for row in rows),
            bytes=sum(row.bytes for row in rows),
            parameters=sum(row.parameters for row in rows),
        )

    @property
    def matrix_bytes(self) -> int:
        """The attention weights of one layer: h N² numbers."""
        return self.config.block.n_heads * self.config.n**2 * ITEMSIZE[self.config.dtype]

    @property
    def streaming_bytes(self) -> int:
        """What streaming keeps of one layer in their place: each row's lse, in float32 or float64."""
        return self.config.block.n_heads * self.config.n * max(4, ITEMSIZE[self.config.dtype])

    @property
    def hides(self) -> bool:
        """Whether some pairs are hidden, so that "half" and "full" differ."""
        return any(shape.causal or shape.window is not None for shape in self.shapes)

    @property
    def alike(self) -> bool:
        """Whether all layers cost the same."""
        return len(set(self.shapes)) == 1


def check(config: CostConfig) -> None:
    """Refuse what cannot be counted.

    Raises:
        UsageError: naming it.
    """
    if not 1 <= config.n < MOST_TOKENS:
        raise UsageError(f"--n {config.n}; expected 1 token or more" + (", and below 2^63" if config.n > 0 else ""))


def steps(config: CostConfig) -> int:
    """How often `run` calls `advance` at most."""
    return measured_steps(config.block) if config.measured else 1


def run(config: CostConfig, *, advance: Callable[[], None] = lambda: None) -> CostRecord:
    """Count, and where asked for time, a stack.

    Raises:
        UsageError: a setting that cannot be.
    """
    check(config)
    shapes = [shape_of(block) for block in config.blocks]
    of_shape = {shape: part_costs(shape, config.n, hidden=config.hidden) for shape in dict.fromkeys(shapes)}
    layers = [of_shape[shape] for shape in shapes]
    measured = None
    if config.measured:
        measured = measure(
            config.block,
            counted=lambda n: part_costs(shapes[0], n, hidden=config.hidden),
            n=config.n,
            dtype=config.dtype,
            seed=config.seed,
            max_bytes=config.max_bytes,
            advance=advance,
        )
    return CostRecord(
        config=config,
        shapes=shapes,
        parts=layers[0],
        rows=[row_of(of_layers, config) for of_layers in zip(*layers, strict=True)],
        crossover=crossover(shapes, hidden=config.hidden),
        measured=measured,
    )


def row_of(of_layers: Sequence[PartCost], config: CostConfig) -> CostRow:
    """One part's cost in all layers."""
    first = of_layers[0]
    counted = of_layers[:1] if first.once else of_layers
    return CostRow(
        part=first.part,
        formula=first.formula(config.count),
        flops=sum(part.operations(config.count) for part in counted),
        bytes=sum(part.numbers for part in counted) * ITEMSIZE[config.dtype],
        parameters=sum(part.parameters for part in counted),
    )


def shape_of(spec: BlockSpec) -> BlockShape:
    """What the cost of a block depends on."""
    position = spec.position
    return BlockShape(
        d_model=spec.d_model,
        n_heads=spec.n_heads,
        n_kv_heads=spec.n_kv_heads,
        d_k=spec.d_k,
        d_v=spec.d_v,
        d_ff=spec.d_ff,
        gated=spec.gated,
        norm=spec.norm,
        sandwich=spec.norm_position == "sandwich",
        qk_norm=spec.qk_norm,
        qk_norm_over_all=spec.qk_norm_over == "all",
        bias=tuple(part for part in BIASES if spec.has_bias(part)),
        output_projection=spec.output_projection,
        sinusoidal=position == "sinusoidal",
        alibi=position == "alibi",
        rotary_width=rotary_width(position, spec.d_k) if isinstance(position, Rotary) else 0,
        softcap=spec.softcap is not None,
        causal=spec.causal,
        window=spec.window,
    )
