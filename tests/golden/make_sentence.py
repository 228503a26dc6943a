"""Make the `sentence` preset from the all-MiniLM-L6-v2 checkpoint: one sentence's vectors and one attention head.

    python tests/golden/make_sentence.py MODEL_DIR [OUT_DIR]

MODEL_DIR holds the checkpoint in the Hugging Face layout (config.json, tokenizer.json, model.safetensors); OUT_DIR is
`configs` unless given. Needs numpy, safetensors and tokenizers, no network. The same checkpoint gives the same bytes.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from tokenizers import Tokenizer

Array = NDArray[Any]

SENTENCE = "The bank near the river lent money to the boat builders"
LAYER, HEAD = 0, 4


class Checkpoint:
    """A BERT checkpoint's tensors, by name."""

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.file = folder / "model.safetensors"

    def tensor(self, name: str) -> Array:
        with safe_open(self.file, framework="np") as tensors:
            return np.asarray(tensors.get_tensor(name), dtype=np.float64)


def tokenise(folder: Path) -> tuple[list[int], list[str]]:
    """The sentence's ids and tokens, [CLS] and [SEP] included; the file's own padding to 128 is turned off."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    encoding = tokenizer.encode(SENTENCE)
    return encoding.ids, encoding.tokens


def embed(checkpoint: Checkpoint, ids: list[int]) -> Array:
    """LayerNorm(word + position + token type 0), (n, d_model): what the first block is given."""
    word, position, token_type = (
        checkpoint.tensor(f"embeddings.{kind}_embeddings.weight") for kind in ("word", "position", "token_type")
    )
    x = word[ids] + position[: len(ids)] + token_type[0]
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    normalised = centred / np.sqrt(variance + checkpoint.config["layer_norm_eps"])
    gain, bias = checkpoint.tensor("embeddings.LayerNorm.weight"), checkpoint.tensor("embeddings.LayerNorm.bias")
    return np.asarray(normalised * gain + bias)


def head_weights(checkpoint: Checkpoint) -> dict[str, Array]:
    """The head under TransformerLens names: W_Q, W_K, W_V (1, d_model, d_k), b_… (1, d_k), W_O (1, d_k, d_model)."""
    d_k = checkpoint.config["hidden_size"] // checkpoint.config["num_attention_heads"]
    rows = slice(HEAD * d_k, (HEAD + 1) * d_k)
    attention = f"encoder.layer.{LAYER}.attention"
    weights = {}
    for letter, role in (("Q", "query"), ("K", "key"), ("V", "value")):
        # The checkpoint stores x @ W.T: a head is a run of W's rows.
        weights[f"blocks.0.attn.W_{letter}"] = checkpoint.tensor(f"{attention}.self.{role}.weight")[rows].T[None]
        weights[f"blocks.0.attn.b_{letter}"] = checkpoint.tensor(f"{attention}.self.{role}.bias")[rows][None]
    weights["blocks.0.attn.W_O"] = checkpoint.tensor(f"{attention}.output.dense.weight")[:, rows].T[None]
    return weights


def attention_weights(x: Array, weights: dict[str, Array]) -> Array:
    """softmax(q kᵀ / √d_k) in float64, (n, n)."""
    q, k = (x @ weights[f"blocks.0.attn.W_{s}"][0] + weights[f"blocks.0.attn.b_{s}"][0] for s in "QK")
    scores = q @ k.T / np.sqrt(q.shape[-1])
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def report(tokens: list[str], x: Array, weights: dict[str, Array], label: str) -> None:
    attended = attention_weights(x, weights)
    bank, river = tokens.index("bank"), tokens.index("river")
    print(f"{label}: bank to river {attended[bank, river]:.6f}, river to bank {attended[river, bank]:.6f}")


def main(model_dir: Path, out_dir: Path) -> None:
    checkpoint = Checkpoint(model_dir)
    ids, tokens = tokenise(model_dir)
    x, weights = embed(checkpoint, ids), head_weights(checkpoint)
    half_x = x.astype(np.float16)
    half_weights: dict[str, Any] = {name: weight.astype(np.float16) for name, weight in weights.items()}
    np.save(out_dir / "sentence.x.npy", half_x)
    np.savez_compressed(out_dir / "sentence.npz", **half_weights)
    lines = "".join(json.dumps(token, ensure_ascii=False) + "\n" for token in tokens)
    (out_dir / "sentence.tokens.txt").write_text(lines, encoding="utf-8", newline="\n")
    print(len(tokens), *tokens)
    report(tokens, x, weights, "as the checkpoint has it")
    stored = {name: weight.astype(np.float64) for name, weight in half_weights.items()}
    report(tokens, half_x.astype(np.float64), stored, "rounded to float16     ")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) == 3 else "configs"))
