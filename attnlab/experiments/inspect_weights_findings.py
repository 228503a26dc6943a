"""Which heads are worth a look by their weights alone, each with the number that says so.

Every threshold is a law's or a plain majority: the score variance at which a softmax freezes or hardly chooses, three
quarters or half of ‖M‖², two standard deviations, nine tenths of a sum, a tenth of a median.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from attnlab.experiments.inspect_weights import HeadWeights, WeightsRecord
from attnlab.show.numbers import number
from attnlab.theory.random_energy import freezing_deviation

#: A softmax's entropy is ln N − σ²/2 at small σ: with less variance than this, times ln N, it is 0.99 of ln N or more.
FLAT = 0.02
#: symmetric² − skew² of the shares (Saponati et al. 2025): above it three quarters of ‖M‖² are of one kind.
ONE_KIND = 0.5
#: tr M against the scores' standard deviation along a row; the leading direction's share of ‖M‖².
OWN, ONE_DIRECTION = 2.0, 0.5
#: And then M's rank against that of random weights, of which narrow heads have few.
FEW = 0.5
#: Of Σλ/Σ abs(λ); and ‖W_V W_O‖ against the median of its layer, where at least so many heads are looked at.
COPYING, SILENT, PEERS = 0.9, 0.1, 3
#: Keys that a softmax is thought to be over, where nothing says how long the model's texts are.
KEYS = 512
#: What random weights show by chance, in standard deviations, is not worth a look.
BY_CHANCE = 4


@dataclass(frozen=True, kw_only=True)
class WeightFinding:
    """A head worth a look: why, the number that says so, and what it means in a sentence."""

    layer: int
    head: int
    #: an id of KINDS
    kind: str
    value: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A reason to look at a head."""

    id: str
    #: what it takes, in few words; may hold {frozen}, {flat} and {keys}, which depend on the model
    criterion: str
    #: whose threshold it is; "a majority" and the like where it is nobody's
    source: str
    #: the number that it is judged by; NaN where it is not defined
    value: Callable[[WeightsRecord, HeadWeights], float]
    holds: Callable[[WeightsRecord, HeadWeights, float], bool]
    #: what it means, after the head's name
    says: Callable[[WeightsRecord, HeadWeights, float], str]
    #: whether smaller values say it more strongly
    rising: bool = False


def findings(record: WeightsRecord) -> list[WeightFinding]:
    """Every head worth a look: kind by kind, the strongest first."""
    return [finding for kind in KINDS for finding in of_kind(record, kind)]


def of_kind(record: WeightsRecord, kind: Kind) -> list[WeightFinding]:
    """The heads worth a look for one reason, the strongest first; what rounding tells apart stays in order."""
    found = []
    for head in record.heads:
        value = kind.value(record, head)
        if kind.holds(record, head, value):
            text = f"head {head.layer}.{head.head} {kind.says(record, head, value)}"
            found.append(WeightFinding(layer=head.layer, head=head.head, kind=kind.id, value=value, text=text))
    return sorted(found, key=lambda finding: float(f"{finding.value:.6g}"), reverse=not kind.rising)


def keys_in_sight(record: WeightsRecord, layer: int) -> int:
    """How many keys a query of that layer may see in the longest text."""
    spec, keys = record.specs[layer], KEYS if record.positions is None else record.positions
    if spec.window is None:
        return keys
    return min(keys, spec.window if spec.causal else 2 * spec.window + 1)


def freezing_variance(record: WeightsRecord, layer: int) -> float:
    """2 ln N, from which on a softmax over that layer's keys freezes onto a few."""
    return freezing_deviation(keys_in_sight(record, layer)) ** 2


def flat_variance(record: WeightsRecord, layer: int) -> float:
    """0.02 ln N, below which a softmax over that layer's keys hardly chooses."""
    return FLAT * math.log(keys_in_sight(record, layer))


def symmetry(head: HeadWeights) -> float:
    """symmetric² − skew² = tr M²/‖M‖²: 1 for a symmetric M, −1 for a skew one."""
    return head.symmetric_share**2 - head.skew_share**2


def by_chance(head: HeadWeights) -> bool:
    """Whether random weights have such a skew share now and then."""
    away = abs(head.skew_share - head.random_skew_share)
    return not away > BY_CHANCE * head.random_share_deviation


def own_excess(head: HeadWeights) -> float:
    """tr M over the scores' standard deviation along a row: how far above others a token scores itself."""
    deviation = math.sqrt(head.row_variance)
    return head.trace / deviation if deviation > 0 else math.nan


def beside_layer(record: WeightsRecord, head: HeadWeights) -> float:
    """‖W_V W_O‖ against the median of the layer's heads looked at; NaN where they are too few."""
    sizes = sorted(other.ov_frobenius for other in record.heads if other.layer == head.layer)
    if len(sizes) < PEERS or not median(sizes) > 0:
        return math.nan
    return head.ov_frobenius / median(sizes)


def median(values: Sequence[float]) -> float:
    """The middle one, or the mean of the two in the middle; NaN of none. NaN are left out."""
    known = sorted(value for value in values if not math.isnan(value))
    if not known:
        return math.nan
    half = len(known) // 2
    return known[half] if len(known) % 2 else (known[half - 1] + known[half]) / 2


def _freezes(record: WeightsRecord, head: HeadWeights, value: float) -> str:
    keys, limit = keys_in_sight(record, head.layer), freezing_variance(record, head.layer)
    return (
        f"gives unit-variance inputs scores of variance {number(value)}, above 2 ln {keys} = {number(limit)}: its "
        f"softmax over {keys:,} keys would freeze onto a few"
    )


def _flat(record: WeightsRecord, head: HeadWeights, value: float) -> str:
    keys = keys_in_sight(record, head.layer)
    return (
        f"gives unit-variance inputs scores of variance {number(value)}: over {keys:,} keys its rows would stay 99 % "
        "or more as spread out as they can be"
    )


def _shares(head: HeadWeights) -> str:
    random = f"{head.random_skew_share:.3f} ± {number(head.random_share_deviation)}"
    return (
        f"{head.symmetric_share**2:.0%} of ‖M‖² symmetric (skew share {head.skew_share:.3f}, random weights {random})"
    )


KINDS: Sequence[Kind] = (
    Kind(
        id="nonfinite",
        criterion="weights hold NaN or infinity",
        source="no threshold",
        value=lambda _, head: float(any("NaN" in reason for reason in head.reasons.values())),
        holds=lambda _, head, value: value > 0,
        says=lambda *_: "holds NaN or infinity in its weights: nothing can be said of it",
    ),
    Kind(
        id="frozen",
        criterion="Var(row) > {frozen}: freezes (2 ln {keys})",
        source="Derrida 1981",
        value=lambda _, head: head.row_variance,
        holds=lambda record, head, value: value > freezing_variance(record, head.layer),
        says=_freezes,
    ),
    Kind(
        id="flat",
        criterion="Var(row) < {flat}: hardly chooses",
        source="entropy ln N − σ²/2 at small σ",
        value=lambda _, head: head.row_variance,
        holds=lambda record, head, value: value < flat_variance(record, head.layer),
        says=_flat,
        rising=True,
    ),
    Kind(
        id="symmetric",
        criterion="¾ of ‖M‖² or more symmetric",
        source="Saponati et al. 2025, a majority of three quarters",
        value=lambda _, head: head.symmetric_share**2,
        holds=lambda _, head, value: symmetry(head) > ONE_KIND and not by_chance(head),
        says=lambda _, head, value: f"has {_shares(head)}: a score and the one that comes back are about alike",
    ),
    Kind(
        id="skew",
        criterion="¾ of ‖M‖² or more skew",
        source="Saponati et al. 2025, a majority of three quarters",
        value=lambda _, head: head.skew_share**2,
        holds=lambda _, head, value: symmetry(head) < -ONE_KIND and not by_chance(head),
        says=lambda _, head, value: f"has {_shares(head)}: a score and the one that comes back have opposite signs",
    ),
    Kind(
        id="own_token",
        criterion="a token itself: tr M > 2 deviations",
        source="two standard deviations",
        value=lambda _, head: own_excess(head),
        holds=lambda _, head, value: value > OWN,
        says=lambda _, head, value: f"scores a token with itself {number(value)} standard deviations above others",
    ),
    Kind(
        id="other_tokens",
        criterion="any but itself: tr M < −2 deviations",
        source="two standard deviations",
        value=lambda _, head: own_excess(head),
        holds=lambda _, head, value: value < -OWN,
        says=lambda _, head, value: f"scores a token with itself {number(-value)} standard deviations below others",
        rising=True,
    ),
    Kind(
        id="one_direction",
        criterion="one direction has half of ‖M‖²",
        source="a majority",
        value=lambda _, head: head.qk_leading_share,
        holds=lambda _, head, value: (
            value > ONE_DIRECTION and head.qk_effective_rank < FEW * head.random_qk_effective_rank
        ),
        says=lambda _, head, value: f"compares tokens along one direction: it has {value:.0%} of ‖M‖²",
    ),
    Kind(
        id="copying",
        criterion="copies: Σλ/Σ|λ| ≥ 0.9",
        source="Elhage et al. 2021, nine tenths",
        value=lambda _, head: head.copying,
        holds=lambda _, head, value: value >= max(COPYING, BY_CHANCE * head.random_copying_deviation),
        says=lambda _, head, value: f"writes back what it reads: Σλ/Σ|λ| of W_V W_O is {value:.3f}, random weights' 0",
    ),
    Kind(
        id="inverting",
        criterion="inverts: Σλ/Σ|λ| ≤ −0.9",
        source="Elhage et al. 2021, nine tenths",
        value=lambda _, head: head.copying,
        holds=lambda _, head, value: value <= -max(COPYING, BY_CHANCE * head.random_copying_deviation),
        says=lambda _, head, value: f"takes away what it reads: Σλ/Σ|λ| of W_V W_O is {value:.3f}, random weights' 0",
        rising=True,
    ),
    Kind(
        id="silent",
        criterion="‖OV‖ a tenth of its layer's median",
        source="a tenth",
        value=beside_layer,
        holds=lambda _, head, value: value <= SILENT,
        says=lambda _, head, value: (
            f"adds little whatever it attends to: ‖W_V W_O‖ is {value:.1%} of its layer's median"
        ),
        rising=True,
    ),
)
