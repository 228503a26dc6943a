"""Make small random checkpoints of every family, and what transformers computes from them.

    python -m tests.golden.make_checkpoints FOLDER [NAME…]
    python -m tests.golden.make_checkpoints --golden tests/golden/checkpoints

Run from the repository. Needs torch, transformers, safetensors and tokenizers. Each case of checkpoint_cases.py (with
--golden: of its GOLDEN, those that are committed) becomes FOLDER/NAME/ in the usual layout, with expected.npz beside
it: ids (n,), attentions (L, h, n, n) and hidden_states (L + 1, n, d_model), the last after the final norm, float32, as
transformers gives them with eager attention. Every parameter is drawn, norms and biases too: zeros and ones would hide
a term that is left out. Seeds are fixed.
"""

import argparse
import json
import zlib
from copy import deepcopy
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file

from tests.golden.checkpoint_cases import CASES, GOLDEN, Case

#: How far parameters are drawn from their initial values. Matrices less: scores of hundreds amplify rounding.
VECTORS, MATRICES = 0.2, 0.15


def main() -> None:
    """Make the cases of the names given, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--golden", action="store_true")
    given = parser.parse_args()
    cases = GOLDEN if given.golden else CASES
    for name in given.names or cases:
        attentions, hidden, error = make(given.folder / name, cases[name], seed=zlib.crc32(name.encode()))
        print(f"{name:20} attentions {attentions}, hidden states up to {hidden:.3g}, off float64 by {error:.1e}")


def make(folder: Path, case: Case, seed: int) -> tuple[tuple[int, ...], float, float]:
    """One checkpoint; returns the shape of its attentions, its largest hidden state and float32's own error."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = np.array(case.ids or np.random.default_rng(seed).integers(5, case.vocabulary, case.n))
    if case.sentences:
        ids = write_tokenizer(folder / "tokenizer.json", case)
    model = random_model(case, seed)
    attentions, hidden_states = forward(model, ids)
    exact = forward(deepcopy(model).double(), ids)
    np.savez_compressed(folder / "expected.npz", ids=ids, attentions=attentions, hidden_states=hidden_states)
    save(model, folder, case)
    error = max(float(np.abs(a - b).max()) for a, b in zip((attentions, hidden_states), exact, strict=True))
    return attentions.shape, float(np.abs(hidden_states).max()), error


def write_tokenizer(path: Path, case: Case) -> np.ndarray:
    """A WordPiece tokenizer of the sentences' words and of letters; returns the first sentence's ids.

    The file asks for padding to 16 and a cut at 5, as some do. The ids have neither.
    """
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = sorted({word for sentence in case.sentences for word in sentence.split()} - {*ascii_lowercase})
    known = [*special, *words, *ascii_lowercase, *(f"##{letter}" for letter in ascii_lowercase)]
    tokenizer = tokenizers.BertWordPieceTokenizer({token: i for i, token in enumerate(known)})
    ids = np.array(tokenizer.encode(case.sentences[0]).ids)
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=16)
    tokenizer.save(str(path))
    return ids


def random_model(case: Case, seed: int) -> Any:
    """The model with every parameter drawn around its initial value, in float32 after rounding to what is stored."""
    torch.manual_seed(seed)
    config = getattr(transformers, f"{case.config}Config")(vocab_size=case.vocabulary, **case.settings)
    config._attn_implementation = "eager"
    model = getattr(transformers, case.model)(config).float().eval()
    stored = getattr(torch, case.stored_as)
    with torch.no_grad():
        for parameter in model.parameters():
            spread = VECTORS if parameter.ndim == 1 else MATRICES
            parameter += spread * torch.randn(parameter.shape)
            parameter.copy_(parameter.to(stored).float())
    return model


def forward(model: Any, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Attentions (L, h, n, n) and hidden states (L + 1, n, d_model) of the base model.

    OPT's smaller embeddings: transformers' last is of their width, projected for its head; here it is what goes into
    that projection.
    """
    base, unprojected = model.base_model, []
    projection = getattr(getattr(base, "decoder", None), "project_out", None)
    if projection is not None:
        projection.register_forward_pre_hook(lambda _, given: unprojected.append(given[0]))
    with torch.no_grad():
        out = base(torch.tensor(ids)[None], output_attentions=True, output_hidden_states=True)
    hidden_states = (*out.hidden_states[: -1 if unprojected else None], *unprojected)
    attentions, states = (np.stack([each[0].numpy() for each in kind]) for kind in (out.attentions, hidden_states))
    return attentions, states


def save(model: Any, folder: Path, case: Case) -> None:
    """config.json and the weights, spelt as the case has it."""
    model = model.to(getattr(torch, case.stored_as))  # rounds the rotary angles too: nothing is computed after it
    more = {} if case.max_shard_size is None else {"max_shard_size": case.max_shard_size}
    model.save_pretrained(folder, **more)
    (folder / "generation_config.json").unlink(missing_ok=True)
    respell_config(folder / "config.json", case)
    if case.older_tensors or case.buffers:
        respell_tensors(folder / "model.safetensors", case, layers=model.config.num_hidden_layers)


def respell_config(path: Path, case: Case) -> None:
    """Older key names and values, and without the keys that older files do not have."""
    config = {key: value for key, value in json.loads(path.read_text()).items() if key not in case.left_out}
    if case.older_rope:
        rope = config.pop("rope_parameters")
        config["rope_theta"] = rope.pop("rope_theta")
        if "partial_rotary_factor" in rope:
            config["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
        scaling = {case.older_keys.get(key, key): value for key, value in rope.items()}
        config["rope_scaling"] = None if rope["rope_type"] == "default" else scaling
    config = {case.older_keys.get(key, key): value for key, value in config.items()}
    config |= case.older_values
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def respell_tensors(path: Path, case: Case, *, layers: int) -> None:
    """Older tensor names, and the buffers that older files hold."""
    tensors = {}
    for name, tensor in load_file(path).items():
        for end, older in case.older_tensors.items():
            name = name.removesuffix(end) + older if name.endswith(end) else name
        tensors[name] = tensor
    for pattern, shape in case.buffers.items():
        for layer in range(layers):
            tensors[pattern.format(layer=layer)] = torch.ones(shape, dtype=torch.int64 if "_ids" in pattern else None)
    save_file(tensors, path, metadata={"format": "pt"})


if __name__ == "__main__":
    main()
