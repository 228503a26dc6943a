"""What a run's matrices say, in words."""

import re

import numpy as np

from attnlab.experiments.run import HeadResult, RunRecord
from attnlab.files.opening import shown

#: Entropy, as a share of what is possible, from which a head is said hardly to choose; saturated rows likewise.
NEARLY_UNIFORM, MOSTLY_SATURATED = 0.95, 0.5
#: A row whose largest weight is not above its mean by this factor looks at no token in particular.
ABOVE_MEAN = 1.01
#: A token is cut after so many characters in a sentence.
LONGEST_TOKEN = 24
#: Tokens that models add: interesting as sinks, dull as examples.
SPECIAL = re.compile(r"\[[A-Z]+\]|<[^ ]+>")


def findings(record: RunRecord) -> list[str]:
    """What the shown head's matrix says, in words; then what must not be overlooked."""
    looks, answer = strongest_look(record, record.shown), strongest_answer(record, record.shown)
    subject = "It" if looks else head_name(record, record.shown).capitalize()
    said = [f"{looks}{answer}." if looks else "", spread_in_words(record.shown, subject)]
    empty = int(sum(head.statistics.empty_rows for head in record.heads))
    broken = int(sum(head.statistics.nonfinite_rows for head in record.heads))
    rows = sum(len(head.weights) for head in record.heads)
    if empty:
        said.append(f"{empty:,} of {rows:,} rows see no key: their weights and outputs are 0, and no mean counts them.")
    if broken:
        said.append(f"{broken:,} of {rows:,} rows hold NaN or infinity, and no mean counts them.")
    return [sentence for sentence in said if sentence]


def head_name(record: RunRecord, head: HeadResult) -> str:
    """ "head 3" in a single layer, "head 2.3" in a stack."""
    return f"head {head.head}" if record.n_layers == 1 else f"head {head.layer}.{head.head}"


def token_name(record: RunRecord, index: int) -> str:
    """The token in quotes, or its number where tokens have no names."""
    if not record.tokens:
        return f"token {index}"
    token = shown(record.tokens[index])
    return f'"{token}"' if len(token) <= LONGEST_TOKEN else f'"{token[:LONGEST_TOKEN]}…"'


def spread_in_words(head: HeadResult, subject: str) -> str:
    """Whether the head, called by the subject, hardly chooses, or hardly does anything else; empty otherwise."""
    share, saturated = float(head.statistics.normalized_entropy), float(head.statistics.saturated_fraction)
    if share > NEARLY_UNIFORM:
        return f"{subject} hardly chooses: its rows are {share:.0%} as spread out as they can be."
    if saturated > MOSTLY_SATURATED:
        return f"{subject} hardly hesitates: in {saturated:.0%} of its rows one key holds more than 0.99."
    return ""


def strongest_look(record: RunRecord, head: HeadResult) -> str:
    """Which token looks most at which other one, without a full stop; empty where none stands out."""
    pair = strongest_pair(record, head)
    if pair is None:
        return ""
    i, j = pair
    looks = f"{token_name(record, i)} looks most at {token_name(record, j)} ({head.weights[i, j]:.2f})"
    if np.nan_to_num(head.weights[i]).argmax() != j:
        looks = f"Between different tokens, {looks}"
    return looks[0].upper() + looks[1:]


def strongest_answer(record: RunRecord, head: HeadResult) -> str:
    """What the token looked at most gives back, as the end of a sentence; empty where it cannot look back."""
    pair = strongest_pair(record, head)
    if pair is None or (record.spec is not None and record.spec.causal):
        return ""
    i, j = pair
    given, back = float(head.weights[i, j]), float(head.weights[j, i])
    apart = ": attention is not symmetric" if abs(back - given) > 0.005 else ""
    return f"; {token_name(record, j)} gives {back:.2f} back{apart}"


def strongest_pair(record: RunRecord, head: HeadResult) -> tuple[int, int] | None:
    """The query and the other key with the largest weight between plain tokens.

    None where queries are not the keys, where that weight would print as 0.00, or where its row is uniform.
    """
    if record.n != record.m or record.n < 2:
        return None
    weights = np.nan_to_num(head.weights.astype(np.float64))
    plain = [not SPECIAL.fullmatch(token) for token in record.tokens] or [True] * record.n
    candidates = weights * np.outer(plain, plain) * ~np.eye(record.n, dtype=bool)
    i, j = (int(index) for index in np.unravel_index(candidates.argmax(), candidates.shape))
    seen = weights[i][weights[i] > 0]
    if f"{candidates[i, j]:.2f}" == "0.00" or (len(seen) > 1 and seen.max() <= ABOVE_MEAN * seen.mean()):
        return None
    return i, j


def is_measured(head: HeadResult) -> bool:
    """Whether any row of the head sees a key and is finite."""
    return int(head.statistics.empty_rows + head.statistics.nonfinite_rows) < len(head.weights)


def nothing_measured(record: RunRecord, head: HeadResult) -> str:
    """Why a head whose rows are all empty or not finite has no statistics."""
    if not head.statistics.nonfinite_rows:
        return f"No row of {head_name(record, head)} sees a key: nothing to measure."
    said = f"No row of {head_name(record, head)} is finite: nothing to measure."
    if not overflowed(record, head):
        return said
    advice = "" if head.scores.dtype == np.float64 else "; try dtype: float64"
    return f"{said} q·k is beyond {head.scores.dtype.name}{advice}."


def overflowed(record: RunRecord, head: HeadResult) -> bool:
    """Whether finite queries and keys gave scores that are not finite; False where the record lacks q and k."""
    prefix = f"blocks.{head.layer}.attn.hook_"
    q, k = (
        record.arrays.get(f"{prefix}rot_{name}", record.arrays.get(f"{prefix}{name}", np.array(np.nan)))
        for name in "qk"
    )
    return bool(np.isfinite(q).all() and np.isfinite(k).all() and not np.isfinite(head.scores).all())
