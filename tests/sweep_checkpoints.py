"""Every family of checkpoints against transformers: `python -m tests.sweep_checkpoints FOLDER [NAME…]`.

FOLDER is what `python -m tests.golden.make_checkpoints FOLDER` made. For each checkpoint: the largest absolute
difference of attention weights and of hidden states from transformers', and of the streamed statistics from those of
transformers' matrices, relative to max(1, abs(value)). All must be at most 1e-5, and what attnlab does not compute must
be refused; else this exits with 1.

`--minilm MODEL_DIR` compares all-MiniLM-L6-v2 too, on real sentences (needs torch, transformers and tokenizers):
weights 1e-5, hidden states 1e-4, entropies 1e-5.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import attnlab
from tests.golden.checkpoint_cases import CASES
from tests.oracles import naive_statistics

Array = NDArray[Any]

#: The most that may lie between two float32 computations of the same numbers.
BOUND = 1e-5
#: What a matrix of weights alone does not tell.
BEYOND_WEIGHTS = ("score_mean", "score_variance", "score_max", "logit_max", "norm_bound")
SENTENCES = (
    "The bank near the river lent money to the boat builders.",
    "Attention is a soft look-up, and nothing about it is free.",
    "When the lock jammed, the keeper's daughter walked two miles along the towpath to fetch a smith, who would "
    "not come before the tide; by then eleven boats lay in the basin, and their owners had begun to argue about "
    "whose turn it was, what the delay would cost, and whether the company or the county should pay for a gate "
    "that everyone had known was rotten since the spring floods of '87.",
)


class Differences(NamedTuple):
    """How far attnlab and transformers are apart on one checkpoint."""

    weights: float
    hidden_states: float
    statistics: float
    #: the statistic that is furthest off
    furthest: str


def main() -> int:
    """Compare, and print a table; 1 if anything is too far off."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--minilm", type=Path, metavar="MODEL_DIR")
    given = parser.parse_args()
    missed = [name for name in given.names or CASES if not compared(given.folder / name, CASES[name].refused)]
    if given.minilm:
        missed += [f"MiniLM, sentence {i + 1}" for i, text in enumerate(SENTENCES) if not minilm(given.minilm, text)]
    print(f"missed: {', '.join(missed)}" if missed else "all within their bounds")
    return 1 if missed else 0


def compared(folder: Path, refused: str) -> bool:
    """Whether a checkpoint is within the bound, or refused for that key; its row is printed."""
    try:
        found = differences(folder)
    except Exception as problem:  # a contributor wants to see the rest of the table
        print(f"{folder.name:20} {type(problem).__name__}: {problem}")
        return bool(refused) and isinstance(problem, attnlab.InputError) and f": {refused}: " in str(problem)
    print(
        f"{folder.name:20} weights {found.weights:.1e}  hidden states {found.hidden_states:.1e}  "
        f"statistics {found.statistics:.1e} ({found.furthest})"
    )
    return not refused and max(found[:3]) <= BOUND


def differences(folder: Path) -> Differences:
    """How far a checkpoint's trace and statistics are from its expected.npz."""
    with np.load(folder / "expected.npz") as file:
        expected = dict(file)
    model = attnlab.load_checkpoint(folder)
    trace = model.trace(expected["ids"])
    rows = model.statistics(expected["ids"], asymmetry=not model.stack.specs[0].causal)
    name, furthest = worst_statistic(rows, expected["attentions"])
    return Differences(
        weights=worst(trace.weights, expected["attentions"]),
        hidden_states=worst(trace.hidden_states, expected["hidden_states"]),
        statistics=furthest,
        furthest=name,
    )


def worst(ours: Sequence[Array], theirs: Sequence[Array] | Array) -> float:
    """The largest absolute difference, NaN counted as infinite. Both have to be as long, and of the same shapes."""
    if [each.shape for each in ours] != [each.shape for each in theirs]:
        raise ValueError(f"shapes {[each.shape for each in ours]} and {[each.shape for each in theirs]}")
    found = max(float(np.abs(a.astype(np.float64) - b).max()) for a, b in zip(ours, theirs, strict=True))
    return math.inf if math.isnan(found) else found


def worst_statistic(rows: Sequence[Any], attentions: Array) -> tuple[str, float]:
    """The statistic that is furthest from that of transformers' matrices (L, h, n, n), and how far."""
    layers, heads = attentions.shape[:2]
    if [(row.layer, row.head) for row in rows] != [(i, j) for i in range(layers) for j in range(heads)]:
        raise ValueError(f"{len(rows)} rows; expected {layers} × {heads} in order")
    found: dict[str, float] = {}
    for row in rows:
        weights = attentions[row.layer, row.head].astype(np.float64)
        for name, value in statistics_of(weights).items():
            ours = getattr(row, name)
            if name.endswith("_argmax") and as_much(weights, ours, value, by_seers="seers" in name):
                ours = value
            found[name] = max(found.get(name, 0.0), off(ours, value))
    furthest = max(found, key=lambda name: found[name])
    return furthest, found[furthest]


def as_much(weights: Array, one: float, other: float, *, by_seers: bool) -> bool:
    """Whether two keys get as much, as two padding tokens do: which of them is first then hangs on rounding."""
    rows = (weights > 0).sum(axis=0) if by_seers else len(weights)
    shares = weights.sum(axis=0) / rows
    return bool(abs(shares[int(one)] - shares[int(other)]) <= BOUND)


def statistics_of(weights: Array) -> dict[str, Any]:
    """Every statistic that one matrix of weights tells, each by its definition. A weight of 0 is a hidden key."""
    with np.errstate(divide="ignore"):
        logits = np.log(weights)
    visible = weights > 0
    found = naive_statistics(logits, logits, visible, np.ones((len(weights), 1)))
    if visible.all():
        found["asymmetry"] = np.linalg.norm(weights - weights.T) / (2 * np.linalg.norm(weights))
    return {name: value for name, value in found.items() if name not in BEYOND_WEIGHTS}


def off(ours: Any, theirs: Any) -> float:
    """The largest |ours − theirs| / max(1, |theirs|); 0 where both are NaN, infinite where one is."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if a.shape != b.shape or (np.isnan(a) != np.isnan(b)).any():
        return math.inf
    return float(np.nan_to_num(np.abs(a - b) / np.maximum(1, np.abs(b))).max())


def minilm(folder: Path, text: str) -> bool:
    """Whether all-MiniLM-L6-v2 is within its bounds on a text; the differences are printed."""
    ids, attentions, hidden_states = transformers_run(folder, text)
    model = attnlab.load_checkpoint(folder)
    encoded = model.encode(text)
    if encoded.ids.tolist() != ids.tolist():
        print(f"MiniLM: ids {encoded.ids.tolist()}; expected {ids.tolist()}")
        return False
    trace, rows = model.trace(ids), model.statistics(ids)
    weights, states = worst(trace.weights, attentions), worst(trace.hidden_states, hidden_states)
    wide = attentions.astype(np.float64)
    theirs = -(wide * np.log(np.where(wide > 0, wide, 1))).sum(axis=-1).mean(axis=-1).ravel()
    entropies = float(np.abs(np.array([row.entropy for row in rows]) - theirs).max())
    print(f"MiniLM, {len(ids)} tokens: weights {weights:.1e}  hidden states {states:.1e}  entropies {entropies:.1e}")
    return weights <= 1e-5 and states <= 1e-4 and entropies <= 1e-5


def transformers_run(folder: Path, text: str) -> tuple[Array, Array, Array]:
    """ids (n,), attentions (L, h, n, n) and hidden states (L + 1, n, d_model) of transformers, eager, float32."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    given = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.no_grad():
        out = model(**given, output_attentions=True, output_hidden_states=True)
    attentions, hidden_states = (
        np.stack([each[0].numpy() for each in kind]) for kind in (out.attentions, out.hidden_states)
    )
    return given["input_ids"][0].numpy(), attentions, hidden_states


if __name__ == "__main__":
    sys.exit(main())
