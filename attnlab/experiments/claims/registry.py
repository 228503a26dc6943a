"""Every claim on the bench: theorems, lemmas and corollaries in the course's order, then what it says beside them."""

from collections.abc import Sequence

from attnlab.errors import UsageError
from attnlab.experiments.claims.block import THEOREM_1, THEOREM_5
from attnlab.experiments.claims.claim import Claim
from attnlab.experiments.claims.combination import LEMMA_1, THEOREM_3
from attnlab.experiments.claims.derivative import THEOREM_8
from attnlab.experiments.claims.explosion import COROLLARY_4
from attnlab.experiments.claims.growth import LOOKUP_QUESTION, QUADRATIC_LIMIT
from attnlab.experiments.claims.hull import COROLLARY_1
from attnlab.experiments.claims.notation import ROW_VECTORS, SYMMETRY_NOTE
from attnlab.experiments.claims.overflow import OVERFLOW
from attnlab.experiments.claims.parallel import PARALLEL
from attnlab.experiments.claims.reach import CONTEXT
from attnlab.experiments.claims.scale import LEMMA_3
from attnlab.experiments.claims.scaling import COROLLARY_3
from attnlab.experiments.claims.stacked import LAYERNORM, RESIDUAL
from attnlab.experiments.claims.steps import THEOREM_7
from attnlab.experiments.claims.symmetry import LEMMA_4
from attnlab.experiments.claims.table import LEMMA_2
from attnlab.experiments.claims.variance import LEMMA_6, THEOREM_6
from attnlab.files.kinds import did_you_mean

CLAIMS: tuple[Claim, ...] = (
    LEMMA_1,
    THEOREM_1,
    LEMMA_2,
    COROLLARY_1,
    LEMMA_3,
    THEOREM_3,
    LEMMA_4,
    THEOREM_5,
    THEOREM_6,
    COROLLARY_3,
    LEMMA_6,
    THEOREM_7,
    THEOREM_8,
    COROLLARY_4,
    RESIDUAL,
    LAYERNORM,
    CONTEXT,
    QUADRATIC_LIMIT,
    LOOKUP_QUESTION,
    PARALLEL,
    OVERFLOW,
    SYMMETRY_NOTE,
    ROW_VECTORS,
)


def claims_named(ids: Sequence[str]) -> list[Claim]:
    """The claims with these ids, each once, in the order asked for; all of them for none.

    Raises:
        UsageError: there is no claim of that name; the nearest is named.
    """
    known = {claim.id: claim for claim in CLAIMS}
    chosen = {}
    for given in ids:
        name = given.strip().lower().replace(" ", "-").replace("_", "-")
        if name not in known:
            raise UsageError(f"{given!r}: no such claim{did_you_mean(name, known)} (there are {', '.join(known)})")
        chosen[name] = known[name]
    return [*chosen.values()] or [*CLAIMS]
