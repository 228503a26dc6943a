"""A checkpoint's statistics beside transformers': `python tests/bench_inspect.py FOLDER --n 512`.

Needs torch and transformers. Each rival runs in turn, round after round; medians, wall-clock and processor time.
transformers: a forward with output_attentions (eager), then the statistics of design §5 in numpy, float32, from its
matrices; those of the scores from queries and keys that hooks catch. The asymmetry, which streaming leaves out, is
left out here too.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import transformers

from attnlab.cli.subjects import facts_of
from attnlab.experiments.inspect import InspectConfig, run
from attnlab.files.kernels import Kernel
from attnlab.models.checkpoint import load_checkpoint
from attnlab.models.tokenizer import Text


class Rival:
    """transformers' own model, and numpy on what it gives."""

    def __init__(self, folder: str, ids: Any) -> None:
        self.model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
        self.ids = torch.from_numpy(ids)[None]
        self.caught: dict[str, list[Any]] = {"query": [], "key": [], "value": []}
        for name, module in self.model.named_modules():
            if name.rsplit(".", 1)[-1] in self.caught:
                module.register_forward_hook(self.catch(name.rsplit(".", 1)[-1]))

    def catch(self, role: str) -> Callable[..., None]:
        return lambda module, given, found: self.caught[role].append(found[0])

    def forward(self) -> Any:
        for caught in self.caught.values():
            caught.clear()
        with torch.no_grad():
            return self.model(input_ids=self.ids, output_attentions=True, output_hidden_states=True).attentions

    def statistics(self) -> list[Any]:
        found = []
        for layer, weights in enumerate(self.forward()):
            p = weights[0].numpy()
            q, k, v = (
                caught[layer].numpy().reshape(p.shape[1], len(p), -1).swapaxes(0, 1) for caught in self.caught.values()
            )
            found.append(of_layer(p, q, k, v))
        return found


def of_layer(p: Any, q: Any, k: Any, v: Any) -> tuple[Any, ...]:
    """§5's statistics of one layer, (heads,) each, as one would write them in numpy."""
    n = p.shape[-1]
    scores = q @ k.swapaxes(1, 2) / np.float32(q.shape[-1] ** 0.5)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(p > 0, p * np.log(p), np.float32(0)).sum(-1)
    square, top = np.square(p).sum(-1), p.max(-1)
    jacobian, received = (p * (1 - p)).sum(-1), p.mean(1)
    away = np.abs(np.arange(n, dtype=np.float32)[:, None] - np.arange(n, dtype=np.float32))
    lengths = np.linalg.norm(p @ v, axis=-1) / np.linalg.norm(v, axis=-1).max(-1)[:, None]
    return (
        *(scores.mean((1, 2)), scores.var((1, 2)), scores.max((1, 2))),
        *(entropy.mean(-1), (entropy / np.log(n)).mean(-1), np.exp(entropy).mean(-1), (1 / square).mean(-1)),
        *(top.mean(-1), (top > 0.99).mean(-1), jacobian.mean(-1), np.median(jacobian, axis=-1)),
        *(p[..., 0].mean(-1), received.max(-1), received.argmax(-1)),
        *(np.diagonal(p, offset, 1, 2).mean(-1) for offset in (0, -1, 1)),
        *((p * away).sum(-1).mean(-1), lengths.max(-1)),
    )


def rivals(folder: str, n: int) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    model = load_checkpoint(folder)
    ids = np.random.default_rng(0).integers(1000, 20000, n)
    text = Text(ids, model.tokens_of(ids))
    bench, rival = model.bench(text), Rival(folder, ids)

    def inspected(kernel: Kernel) -> Callable[[], object]:
        return lambda: run(
            InspectConfig(
                model=facts_of(model.config, model.parameters, family=model.family),
                bench=bench,
                kernel=kernel,
                pictures=False,
            )
        )

    return {
        "transformers, forward alone": rival.forward,
        "transformers and numpy": rival.statistics,
        "attnlab, model.statistics": lambda: model.statistics(ids),
        "attnlab inspect, streamed, checked": inspected(Kernel("streaming")),
        "attnlab inspect, dense, checked": inspected(Kernel("dense")),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--n", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    timed = rivals(given.folder, given.n)
    wall: dict[str, list[float]] = {name: [] for name in timed}
    work: dict[str, list[float]] = {name: [] for name in timed}
    for turn in range(given.rounds + 1):
        for name, task in timed.items():
            start, cpu = time.perf_counter(), time.process_time()
            task()
            if turn:  # the first round reads the weights
                wall[name].append(time.perf_counter() - start)
                work[name].append(time.process_time() - cpu)
    base = statistics.median(wall["transformers and numpy"])
    for name in timed:
        middle = statistics.median(wall[name])
        print(
            f"{name:36} {middle:7.3f} s   {middle / base:5.2f} ×   {statistics.median(work[name]):7.3f} s of processor"
        )


if __name__ == "__main__":
    main()
