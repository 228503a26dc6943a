"""`attnlab why`: one attention weight worked out by hand, from x to the number."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attnlab.errors import UsageError
from attnlab.experiments.run_findings import LONGEST_TOKEN, SPECIAL, largest_between
from attnlab.experiments.run_record import chosen
from attnlab.files.opening import shown
from attnlab.files.stacks import Bench
from attnlab.maths.architecture import BlockSpec, Rotary
from attnlab.maths.block import LayerTrace
from attnlab.maths.positions import alibi_bias
from attnlab.maths.precision import Array

#: How many of q·k's parts, and how many other keys, are named.
NAMED = 3
#: So many tokens are listed for those who may name some.
MOST_LISTED = 20
#: A token that a shell takes as it stands, and that is no number and no option.
_WORD = re.compile(r"[^\W\d_][\w.-]*")


@dataclass(frozen=True, kw_only=True)
class WhyRecord:
    """Everything between two tokens and the weight that one gives the other; numbers worked out again in float64."""

    name: str
    spec: BlockSpec
    layer: int
    head: int
    tokens: tuple[str, ...]
    query: int
    key: int
    #: (d_model,) what the projections read: x, or its norm (pre-norm)
    x_query: Array
    x_key: Array
    #: (d_k,) as the scores use them: after qk_norm and rotary positions
    q: Array
    k: Array
    #: q·k
    product: float
    #: scale·q·k
    score: float
    #: after softcap
    capped: float
    #: added to it (ALiBi)
    bias: float
    #: what the softmax is given for every key, (n,); -inf where a key is hidden
    logits: Array
    #: whether the query may see the key
    visible: bool
    #: the weight that comes out of this arithmetic, and the one that the run itself has
    weight: float
    measured: float

    @property
    def shift(self) -> float:
        """What is taken off every score before e^…: 0 unless the numbers would get out of hand."""
        largest = float(self.logits.max())
        return largest if abs(largest) > 20 else 0.0

    @property
    def exponentials(self) -> Array:
        """e^(logit − shift) for every key, (n,)."""
        return np.exp(self.logits - self.shift)

    @property
    def largest_parts(self) -> list[tuple[int, float]]:
        """The coordinates of q∘k that add most to q·k or take most from it."""
        parts = self.q * self.k
        order = np.argsort(-np.abs(parts), kind="stable")[:NAMED]
        return [(int(i), float(parts[i])) for i in order]

    @property
    def runners_up(self) -> list[tuple[int, float]]:
        """The other keys with the largest shares of the sum."""
        exponentials = self.exponentials
        order = [int(j) for j in np.argsort(-exponentials, kind="stable") if j != self.key and exponentials[j] > 0]
        return [(j, float(exponentials[j])) for j in order[:NAMED]]


def why(bench: Bench, pair: tuple[str, str] | None, *, layer: int = 0, head: int = 0) -> WhyRecord:
    """Work out the weight that one token gives another.

    Args:
        pair: the query and the key, each a token's text, or its number from 0; None: see `strongest`.

    Raises:
        UsageError: no such token, layer or head, or a text that stands more than once.
    """
    spec = bench.config.block
    n = len(bench.x)
    named = pair and (find_token("QUERY", pair[0], bench.tokens, n), find_token("KEY", pair[1], bench.tokens, n))
    chosen("layer", [layer], bench.config.layers)
    chosen("head", [head], spec.n_heads)
    trace = bench.stack.trace(bench.x).layers[layer]
    query, key = named or strongest(trace.weights[head], bench.tokens)
    return derive(bench, trace, query, key, layer, head)


def strongest(weights: Array, tokens: Sequence[str]) -> tuple[int, int]:
    """Where the largest weight between different tokens stands: plain ones, unless all but one are a model's own.

    Of a single token, and where no token gives another any weight: the first, and itself.

    Args:
        weights: (n, n)
        tokens: n names, or none.
    """
    everyone = np.ones(len(weights), dtype=bool)
    plain = np.array([not SPECIAL.fullmatch(token) for token in tokens] or everyone)
    found = largest_between(weights, plain)
    return found if found[0] != found[1] else largest_between(weights, everyone)


def other_pairs(record: WhyRecord) -> str:
    """What pair was found, and how to name another."""
    own = any(map(SPECIAL.fullmatch, record.tokens))
    aside = ", those that the model adds aside" if own else ""
    found = f"This is the head's largest weight between different tokens{aside}. " if record.query != record.key else ""
    n = len(record.logits)
    names = " · ".join(f"{i} {shown(token[:LONGEST_TOKEN])}" for i, token in enumerate(record.tokens[:MOST_LISTED]))
    tokens = f"{names}{' …' if n > MOST_LISTED else ''}" if record.tokens else f"0 to {n - 1}"
    example = f"{written(record, record.key)} {written(record, record.query)}"
    return f"{found}For another, name two at the end of the command, such as {example}: {tokens}"


def written(record: WhyRecord, index: int) -> str:
    """A token as a command line names it: by its text where that is one plain word and stands once, else by number."""
    if not record.tokens:
        return str(index)
    text = record.tokens[index]
    return text if _WORD.fullmatch(text) and record.tokens.count(text) == 1 else str(index)


@np.errstate(over="ignore", invalid="ignore")  # the result says what is not finite
def derive(bench: Bench, trace: LayerTrace, query: int, key: int, layer: int, head: int) -> WhyRecord:
    """The arithmetic of one weight of a trace."""
    spec = bench.stack.specs[layer]
    group = head // (spec.n_heads // spec.n_kv_heads)
    q, keys = trace.q[head, query].astype(np.float64), trace.k[group].astype(np.float64)
    scores = spec.score_scale * (keys @ q)
    capped = scores if spec.softcap is None else spec.softcap * np.tanh(scores / spec.softcap)
    everything = np.ones((1, 1, 1), dtype=bool) if trace.visible is None else trace.visible
    visible = np.broadcast_to(everything, trace.scores.shape)[head, query]
    bias = row_bias(spec, trace, head, query, capped)
    logits = np.where(visible, capped + bias, -np.inf)
    shifted = np.exp(logits - logits.max())
    return WhyRecord(
        name=bench.config.name,
        spec=spec,
        layer=layer,
        head=head,
        tokens=bench.tokens,
        query=query,
        key=key,
        x_query=trace.attention_input[query].astype(np.float64),
        x_key=trace.attention_input[key].astype(np.float64),
        q=q,
        k=keys[key],
        product=float(q @ keys[key]),
        score=float(scores[key]),
        capped=float(capped[key]),
        bias=float(bias[key]),
        logits=logits,
        visible=bool(visible[key]),
        weight=float(shifted[key] / shifted.sum()),
        measured=float(trace.weights[head, query, key]),
    )


def row_bias(spec: BlockSpec, trace: LayerTrace, head: int, query: int, capped: Array) -> Array:
    """What is added to a query's scores: ALiBi's penalty, or nothing."""
    if spec.position != "alibi":
        return np.zeros_like(capped)
    row: Array = alibi_bias(spec.n_heads, len(trace.x))[head, query]
    return row


def find_token(what: str, text: str, tokens: tuple[str, ...], n: int) -> int:
    """The place of a token: by its text, if that stands exactly once, or by its number.

    Raises:
        UsageError: there is none, or there are several.
    """
    places = [i for i, token in enumerate(tokens) if token == text]
    places = places or [i for i, token in enumerate(tokens) if token.strip().casefold() == text.casefold()]
    if len(places) == 1:
        return places[0]
    if places:
        numbers = ", ".join(map(str, places))
        raise UsageError(f"{what} {text!r}: stands {len(places)} times; expected one of its places, {numbers}")
    if text.isascii() and text.isdigit() and int(text) < n:
        return int(text)
    if not tokens:
        raise UsageError(f"{what} {text!r}: these tokens have no names; expected a number from 0 to {n - 1}")
    named = " ".join(map(shown, tokens[:20])) + (" …" if n > 20 else "")
    raise UsageError(f"{what} {text!r}: no such token; expected one of: {named} (or a number from 0 to {n - 1})")


def positions_in_words(spec: BlockSpec) -> str:
    """What happens to q and k between their projections and the scores."""
    turned = "turned by its position" if isinstance(spec.position, Rotary) else ""
    over = "per head" if spec.qk_norm_over == "head" else "over all heads"
    normed = f"{spec.qk_norm} {over}" if spec.qk_norm else ""
    return ", then ".join(word for word in (normed, turned) if word)
