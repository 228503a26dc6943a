"""`attnlab verify`: every claim of the course tried, with a verdict that comes from the numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from attnlab.errors import UsageError
from attnlab.experiments.claims.claim import Claim, Evidence, Proof, Setting, Verdict
from attnlab.experiments.claims.laws import Laws
from attnlab.experiments.claims.registry import claims_named
from attnlab.experiments.effort import refuse_endless
from attnlab.maths.threads import single_threaded_products

#: About how long a claim's usual samples take.
SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class VerifyConfig:
    """Which claims to try, and how hard."""

    #: their ids; none = all
    claims: Sequence[str] = ()
    seed: int = 0
    #: how many times the usual number of samples
    samples: int = 1


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One claim after its experiment."""

    claim: Claim
    evidence: Evidence
    verdict: Verdict
    #: of the course's proof; None = it gives none
    proof: Proof | None

    @property
    def as_expected(self) -> bool:
        """Whether the verdict, on the words and on the proof, is the one that theory leads to expect."""
        return (self.verdict, self.proof) == (self.claim.expected_verdict, self.claim.proof)


@dataclass(frozen=True, kw_only=True)
class VerifyRecord:
    """All claims tried, in order."""

    config: VerifyConfig
    tried: Sequence[Tried]

    @property
    def as_expected(self) -> bool:
        """Whether every verdict is the expected one."""
        return all(one.as_expected for one in self.tried)


def steps(config: VerifyConfig) -> int:
    """How often `run` calls `advance`: once for each claim and each round of samples.

    Raises:
        UsageError: as `run`.
    """
    return len(claims_named(config.claims)) * checked_samples(config)


def checked_samples(config: VerifyConfig) -> int:
    """The factor on the number of samples.

    Raises:
        UsageError: it is less than 1, or so large that the claims would go on for hours.
    """
    if config.samples < 1:
        raise UsageError(f"--samples {config.samples}; expected 1 or more: how many times the usual number of samples")
    refuse_endless("--samples", config.samples, SECONDS * len(claims_named(config.claims)))
    return config.samples


def run(config: VerifyConfig, *, laws: Laws | None = None, advance: Callable[[], None] = lambda: None) -> VerifyRecord:
    """Try the claims.

    Args:
        laws: the mathematics on trial; None = attnlab's own. A wrong law turns verdicts.

    Raises:
        UsageError: an unknown claim, or a number of samples below 1.
    """
    claims, samples = claims_named(config.claims), checked_samples(config)
    setting = Setting(seed=config.seed, samples=samples, laws=laws or Laws(), advance=advance)
    with single_threaded_products():
        return VerifyRecord(config=config, tried=[tried(claim, setting) for claim in claims])


def tried(claim: Claim, setting: Setting) -> Tried:
    """One claim's experiment, and the verdict that its rule makes of it."""
    evidence = claim.experiment(setting)
    return Tried(claim=claim, evidence=evidence, verdict=claim.rule(evidence), proof=claim.judged_proof(evidence))
