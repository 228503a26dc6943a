"""What a person sees of `attnlab why`: the arithmetic, line by line."""

import math

import numpy as np

from attnlab.experiments.why import WhyRecord, positions_in_words
from attnlab.files.opening import shown
from attnlab.maths.precision import Array
from attnlab.records import Derivation, DerivationStep, Finding, Part, Report


def report(record: WhyRecord, *, summary: str = "") -> Report:
    """The derivation, and the answer before it.

    Args:
        summary: the configuration in one sentence, if it has one.
    """
    query, key = token_text(record, record.query), token_text(record, record.key)
    where = f"{record.name}, layer {record.layer}, head {record.head}"
    said = answer(record)
    parts: list[Part] = [Finding(text=summary, kind="note")] if summary else []
    parts += [Finding(text=said[0].upper() + said[1:]), Derivation(steps=steps(record))]
    return Report(heading=f"How much does {query} attend to {key}?   {where}", parts=parts)


def token_text(record: WhyRecord, index: int) -> str:
    """The token in quotes, or its number."""
    return f'"{shown(record.tokens[index])}"' if record.tokens else f"token {index}"


def answer(record: WhyRecord) -> str:
    """The weight, in a sentence."""
    query, key = token_text(record, record.query), token_text(record, record.key)
    if not record.visible:
        return f"{query} may not see {key}: the block hides it, so its weight is 0."
    if math.isnan(record.weight):
        return f"{query} gives {key} a weight that is not a number: infinity or NaN is among the row's scores."
    largest = int(record.logits.argmax())
    more = "more than to any other" if largest == record.key else f"most goes to {token_text(record, largest)}"
    return f"{query} gives {record.weight:.2g} of its attention to {key}; {more}."


def steps(record: WhyRecord) -> list[DerivationStep]:
    """From x to the weight."""
    spec = record.spec
    bias = " + b" if spec.has_bias("qkv") else ""
    source = "Norm(x)" if spec.norms_inputs else "x"
    then = positions_in_words(spec)
    query, key = short(record, record.query), short(record, record.key)
    read = {record.query: (query, record.x_query), record.key: (key, record.x_key)}
    lines = [
        *(vector_step(source.replace("x", f"x({token})"), source, x) for token, x in read.values()),
        vector_step(f"q({query}) = {source} W_Q{bias}", "q", record.q, then),
        vector_step(f"k({key}) = {source} W_K{bias}", "k", record.k, then),
        DerivationStep(left="q · k", right=f"= {record.product:.3g}", remark=parts_in_words(record)),
        scale_step(record),
    ]
    if spec.softcap is not None:
        left = f"{spec.softcap:g}·tanh(score/{spec.softcap:g})"
        lines.append(DerivationStep(left=left, right=f"= {record.capped:.3g}", remark="capped"))
    if record.bias:
        left = f"+ ({record.bias:.3g})"
        lines.append(DerivationStep(left=left, right=f"= {record.capped + record.bias:.3g}", remark="ALiBi's penalty"))
    return lines + softmax_steps(record)


def short(record: WhyRecord, index: int) -> str:
    """The token's bare text, or its number."""
    return record.tokens[index] if record.tokens else str(index)


def vector_step(left: str, symbol: str, vector: Array, then: str = "") -> DerivationStep:
    """A token, query or key: where it comes from, its first numbers, its length, and what was done to it."""
    style = ".2f" if 0.01 <= np.abs(vector).max() < 1e4 else ".2e"
    first = ", ".join(f"{number:{style}}" for number in vector[:3]) + (", …" if len(vector) > 3 else "")
    remark = f"‖{symbol}‖ {np.linalg.norm(vector):.3g}"
    remark = f"{remark}; {then}" if then else remark
    return DerivationStep(left=left, right=f"= ({first})", remark=remark)


def parts_in_words(record: WhyRecord) -> str:
    """Which coordinates the product comes from."""
    named = ", ".join(f"{index} ({part:+.1f})" for index, part in record.largest_parts)
    return f"the largest parts: dims {named}" if len(record.q) > 1 else ""


def scale_step(record: WhyRecord) -> DerivationStep:
    """The product times the scale."""
    spec = record.spec
    left = f"÷ √{spec.d_k}" if spec.scale is None else f"× {spec.scale:g}"
    return DerivationStep(left=left, right=f"= {record.score:.3g}", remark="score")


def softmax_steps(record: WhyRecord) -> list[DerivationStep]:
    """e to the score, over the sum of all of them."""
    if not record.visible:
        return [DerivationStep(left="hidden: e^(−inf)", right="= 0", remark="weight")]
    own, total = float(record.exponentials[record.key]), float(record.exponentials.sum())
    logit = float(record.logits[record.key])
    power = f"e^{logit:.3g}" if not record.shift else f"e^({logit:.3g} − {record.shift:.3g})"
    count = int((~np.isneginf(record.logits)).sum())
    others = ", ".join(f"{short(record, j)}: {value:.3g}" for j, value in record.runners_up)
    shifted = "less the row's largest score: the sum cannot overflow" if record.shift else ""
    rivals = f"the runners-up: {others}" if others else ""
    return [
        DerivationStep(left=power, right=f"= {own:.3g}", remark=shifted),
        DerivationStep(left=f"÷ Σ over {count} keys", right=f"÷ {total:.4g}", remark=rivals),
        DerivationStep(left="weight", right=f"= {record.weight:.2g}", remark=agreement(record)),
    ]


def agreement(record: WhyRecord) -> str:
    """Whether the run itself has this number."""
    return f"the run has {record.measured:.4g}" if not math.isnan(record.measured) else "the run has NaN"


def document(record: WhyRecord) -> dict[str, object]:
    """The fields of `attnlab.why/1`."""
    return {
        "layer": record.layer,
        "head": record.head,
        "query": {"index": record.query, "token": record.tokens[record.query] if record.tokens else None},
        "key": {"index": record.key, "token": record.tokens[record.key] if record.tokens else None},
        "visible": record.visible,
        "q": record.q.tolist(),
        "k": record.k.tolist(),
        "product": record.product,
        "scale": record.spec.score_scale,
        "score": record.score,
        "capped": record.capped,
        "bias": record.bias,
        "logit": float(record.logits[record.key]) if record.visible else None,
        "denominator": float(record.exponentials.sum()),
        "shift": record.shift,
        "weight": record.weight,
        "measured_weight": record.measured,
    }
