"""What a run's matrices say, in words."""

import math
import re
from typing import NamedTuple

import numpy as np

from attnlab.experiments.run_record import HeadResult, RunRecord
from attnlab.experiments.run_streamed_report import received_in_words
from attnlab.files.opening import shown
from attnlab.records import FloatArray
from attnlab.show.numbers import number

#: Entropy, as a share of what is possible, from which a head is said hardly to choose; saturated rows likewise.
NEARLY_UNIFORM, MOSTLY_SATURATED = 0.95, 0.5
#: A row whose largest weight is not above its mean by this factor looks at no token in particular.
ABOVE_MEAN = 1.01
#: What is there and back may be apart, and still be called symmetric.
SYMMETRIC = 0.005
#: Rows of a matrix that are looked through at a time.
ROWS = 256
#: A token is cut after so many characters in a sentence.
LONGEST_TOKEN = 24
#: Tokens that models add: interesting as sinks, dull as examples.
SPECIAL = re.compile(r"\[[A-Z]+\]|<[^ ]+>")


def findings(record: RunRecord) -> list[str]:
    """What the shown head's matrix says, in words; then what must not be overlooked."""
    looks = strongest_look(record, record.shown) if record.tokens else ""
    subject = "It" if looks else head_name(record, record.shown).capitalize()
    spread = "" if record.tokens else usual_spread(record, record.shown)
    said = [looks, spread, spread_in_words(record.shown, "It" if spread else subject)]
    if record.shown.weights is None:
        said.insert(0, received_in_words(record, record.shown, subject))
    empty = int(sum(head.statistics.empty_rows for head in record.heads))
    rows = record.n * len(record.heads)
    if empty:
        said.append(f"{empty:,} of {rows:,} rows see no key: their weights and outputs are 0, and no mean counts them.")
    if record.barred_rows:
        said.append(
            f"{record.barred_rows:,} of {rows:,} rows have a bias of −10,000 or so on every key that they see: "
            "they were meant to be hidden, and count as real. Write -inf, or a mask of booleans."
        )
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


class Pair(NamedTuple):
    """Two tokens, the weight that the query gives to the key, and the one that comes back."""

    query: int
    key: int
    given: float
    back: float
    #: whether the query gives to no token more
    is_first: bool


def usual_spread(record: RunRecord, head: HeadResult) -> str:
    """Over how many keys a token spreads its attention, where tokens have no names; empty where nothing is measured."""
    values = head.statistics
    keys, asymmetry = float(values.effective_keys), float(values.asymmetry)
    if math.isnan(keys):
        return ""
    name = head_name(record, head).capitalize()
    text = f"{name} spreads a token's attention over {number(keys)} of {record.m:,} keys on average"
    if math.isnan(asymmetry) or asymmetry <= SYMMETRIC:
        return f"{text}."
    return f"{text}, and is not symmetric ({number(asymmetry)}; 0.707 would be one-way)."


def strongest_look(record: RunRecord, head: HeadResult) -> str:
    """Which token looks most at which other one, and what that one gives back; empty where none stands out."""
    pair = strongest_pair(record, head)
    if pair is None:
        return ""
    looks = f"{token_name(record, pair.query)} looks most at {token_name(record, pair.key)} ({pair.given:.2f})"
    if not pair.is_first:
        looks = f"Between different tokens, {looks}"
    if record.names_alone:
        looks = f"Of random vectors, {looks[0].lower()}{looks[1:]}"
    return f"{looks[0].upper()}{looks[1:]}{answer_to(record, pair)}."


def answer_to(record: RunRecord, pair: Pair) -> str:
    """What the token looked at gives back, as the end of a sentence; empty where it cannot look back."""
    if record.spec is not None and record.spec.causal:
        return ""
    apart = ": not symmetric" if abs(pair.back - pair.given) > SYMMETRIC else ""
    return f", which gives {pair.back:.2f} back{apart}"


def strongest_pair(record: RunRecord, head: HeadResult) -> Pair | None:
    """The query and the other key with the largest weight between plain tokens.

    None where the matrix was not kept, where queries are not the keys, where that weight would print as 0.00, or where
    its row is uniform.
    """
    weights = head.weights
    if weights is None or record.n != record.m or record.n < 2:
        return None
    plain = np.array([not SPECIAL.fullmatch(token) for token in record.tokens] or [True] * record.n)
    i, j = largest_between(weights, plain)
    row = np.nan_to_num(weights[i].astype(np.float64))
    seen = row[row > 0]
    given = float(row[j]) if plain[i] and plain[j] and i != j else 0.0
    if f"{given:.2f}" == "0.00" or (len(seen) > 1 and seen.max() <= ABOVE_MEAN * seen.mean()):
        return None
    return Pair(i, j, given, float(weights[j, i]), is_first=bool(row.argmax() == j))


def largest_between(weights: FloatArray, plain: FloatArray) -> tuple[int, int]:
    """Where the largest weight between different plain tokens stands, NaN being none; a few rows at a time."""
    best, place = -1.0, (0, 0)
    for start in range(0, len(weights), ROWS):
        rows = np.nan_to_num(weights[start : start + ROWS].astype(np.float64)) * plain
        rows *= plain[start : start + ROWS, None]
        own = np.arange(len(rows))
        rows[own, start + own] = 0
        i, j = (int(index) for index in np.unravel_index(rows.argmax(), rows.shape))
        if rows[i, j] > best:
            best, place = float(rows[i, j]), (start + i, j)
    return place


def is_measured(head: HeadResult) -> bool:
    """Whether any row of the head sees a key and is finite."""
    return int(head.statistics.empty_rows + head.statistics.nonfinite_rows) < head.n


def nothing_measured(record: RunRecord, head: HeadResult) -> str:
    """Why a head whose rows are all empty or not finite has no statistics."""
    if not head.statistics.nonfinite_rows:
        return f"No row of {head_name(record, head)} sees a key: nothing to measure."
    said = f"No row of {head_name(record, head)} is finite: nothing to measure."
    if not overflowed(record, head):
        return said
    computed_in, advice = ("float64", "") if record.dtype == "float64" else ("float32", "; try dtype: float64")
    return f"{said} q·k is beyond {computed_in}{advice}."


def overflowed(record: RunRecord, head: HeadResult) -> bool:
    """Whether finite queries and keys gave scores that are not finite; False where the record lacks q and k."""
    prefix = f"blocks.{head.layer}.attn.hook_"
    q, k = (
        record.arrays.get(f"{prefix}rot_{name}", record.arrays.get(f"{prefix}{name}", np.array(np.nan)))
        for name in "qk"
    )
    if head.rows is None:
        return False
    return bool(np.isfinite(q).all() and np.isfinite(k).all() and not np.isfinite(head.rows.visible_scores).all())
