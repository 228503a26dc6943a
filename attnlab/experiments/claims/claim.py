"""What a claim is on this bench: the course's words, an experiment, and a rule that makes a verdict of the numbers.

One standard for all. *Holds*: true as stated. *Corrected*: false or incomplete as stated, and what is true stands
beside it. *Refuted*: false, and no small change saves it. The course's proof is judged apart: *sound* where its steps
hold, be it of less than the statement says; *mended* where a step errs and a right one stands in its place.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from attnlab.experiments.claims.laws import Laws
from attnlab.maths.precision import Array
from attnlab.maths.weights import stream
from attnlab.records import Table

Verdict = Literal["holds", "corrected", "refuted"]
Proof = Literal["sound", "mended"]

#: Measured averages may be this many standard errors from their prediction: a true one is, once in 150,000 times.
MOST_ERRORS = 4.5


def _nothing() -> None:
    """Nobody is waiting."""


class Setting(NamedTuple):
    """How an experiment is to be made."""

    seed: int = 0
    #: how many times the usual number of samples
    samples: int = 1
    #: what is on trial
    laws: Laws = Laws()
    #: called after each round
    advance: Callable[[], None] = _nothing

    def rounds(self, number: int) -> Iterator[np.random.Generator]:
        """A random stream for each round of the experiment with that number; a round draws the usual samples."""
        for chunk in range(self.samples):
            yield stream(self.seed, "verify", number, chunk)
            self.advance()


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One thing tried: the number found, and between which bounds it must lie to count as shown. NaN never does."""

    what: str
    value: float
    low: float = -math.inf
    high: float = math.inf
    #: shown, it speaks against the claim's words as they stand
    counter: bool = False
    #: shown, it speaks against a step of the course's proof
    proof: bool = False
    #: a time or a speed: another one at every run, so it is shown and not kept
    clocked: bool = False

    @property
    def holds(self) -> bool:
        """Whether it was shown."""
        return self.low <= self.value <= self.high

    @property
    def core(self) -> bool:
        """Whether it is about what the claim rightly says, and speaks against nothing."""
        return not (self.counter or self.proof)

    @property
    def judged(self) -> bool:
        """Whether any number could fail it: what has no bounds is there to be seen."""
        return math.isfinite(self.low) or math.isfinite(self.high)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What an experiment found."""

    #: the number that stands for the rest
    measured: float
    #: what is true, or how near the experiment came, in a few words with the number: "63.8 ± 0.3 at d_k 64"
    in_short: str
    trials: Sequence[Trial]
    #: one sentence made of the numbers
    finding: str
    samples: int
    #: what `samples` counts: "rows"
    unit: str
    standard_error: float | None = None
    expected: float | None = None
    bound: float | None = None
    #: numbers to look at, beside those that are judged
    tables: Sequence[Table] = ()

    def shown(self, *, counter: bool) -> bool:
        """Whether everything of one side was shown: what the claim rightly says, or what speaks against its words."""
        return all(trial.holds for trial in self.trials if (trial.counter if counter else trial.core))

    @property
    def proof_errs(self) -> bool:
        """Whether something was tried against the course's proof, and all of it was shown."""
        against = [trial.holds for trial in self.trials if trial.proof]
        return bool(against) and all(against)


Rule = Callable[[Evidence], Verdict]


def true_as_it_stands(evidence: Evidence) -> Verdict:
    """Holds if everything was shown; there is nothing to correct."""
    return "holds" if evidence.shown(counter=False) else "refuted"


def in_need_of_correction(evidence: Evidence) -> Verdict:
    """Corrected if its core was shown and what speaks against its words too; refuted without the core."""
    if not evidence.shown(counter=False):
        return "refuted"
    return "corrected" if evidence.shown(counter=True) else "holds"


def without_a_core(evidence: Evidence) -> Verdict:
    """Refuted if what speaks against its words was shown, and what takes their place; corrected without the latter.

    Where the counterexamples fail, the claim holds.
    """
    if not evidence.shown(counter=True):
        return "holds"
    return "refuted" if evidence.shown(counter=False) else "corrected"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim of the course."""

    id: str
    #: the course's own words, formulas as plain text; "[…]" where something is left out
    quote: str
    #: the same in English
    translation: str
    #: where it stands: "Lemma 1", "footnote 6"
    place: str
    #: what is claimed, in a few words
    statement: str
    #: who else says it, or what it rests on; may be empty
    source: str
    #: why it is so, or why not, in our own words
    argument: str
    #: what is done to find out
    method: str
    experiment: Callable[[Setting], Evidence]
    rule: Rule
    expected_verdict: Verdict
    #: what theory leads to expect of the course's proof; None = it gives none
    proof: Proof | None
    #: which step of the proof errs, and what stands in its place; empty but for a mended one
    mending: str = ""
    #: what remains true of it, or is to be kept in mind
    remains: str
    #: what it also says and this bench does not try; may be empty
    not_tried: str = ""

    def judged_proof(self, evidence: Evidence) -> Proof | None:
        """What the numbers say of the course's proof; None = it gives none."""
        if self.proof is None:
            return None
        return "mended" if evidence.proof_errs else "sound"


def highest(*numbers: float) -> float:
    """The largest number; NaN if one of them is: Python's max would pass over it."""
    return float(np.max(numbers))


def lowest(*numbers: float) -> float:
    """The smallest number; NaN if one of them is."""
    return float(np.min(numbers))


def spread_over(values: Sequence[float] | Array) -> tuple[float, float]:
    """The mean of repetitions and its standard error."""
    wide = np.asarray(values, dtype=np.float64)
    return float(wide.mean()), float(wide.std(ddof=1) / math.sqrt(len(wide)))


def standard_errors_away(value: float, expected: float, error: float) -> float:
    """abs(value − expected)/error; an exact agreement without any error is 0."""
    return 0.0 if value == expected else abs(value - expected) / error if error else math.inf
