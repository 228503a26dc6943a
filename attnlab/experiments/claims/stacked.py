"""What the course says of the parts between the layers: the residual path, and the normalisation."""

from collections.abc import Sequence

import numpy as np

from attnlab.experiments.claims.claim import (
    Claim,
    Evidence,
    Setting,
    Trial,
    highest,
    in_need_of_correction,
    lowest,
    true_as_it_stands,
)
from attnlab.experiments.claims.laws import Laws
from attnlab.experiments.depth_stack import DepthConfig, Profile, block_spec, drawn_weights, profile
from attnlab.experiments.depth_variants import VARIANTS, Variant
from attnlab.maths.precision import Array
from attnlab.maths.weights import random_input
from attnlab.show.numbers import number

#: Stacks for each size of weights; tokens, their width, heads and layers of one.
STACKS, N, D, HEADS, LAYERS = 4, 16, 64, 4, 12
#: The size of all weight matrices, against Xavier's.
SMALLER, XAVIER = 0.5, 1.0
#: Less than this of a gradient has vanished; more than that of it is there.
VANISHED, THERE = 1e-4, 0.05
#: Layers and stacks in which the normalisation is tried; how far from 1 and 0 ε and rounding may bring it.
DEEP, DEEP_STACKS, NEAR = 48, 2, 1e-3
#: What the variance grows to at least where nothing holds it.
GROWN = 1e6
UNHELD = Variant(residual=True, norm=False, feed_forward=True, label="no norm", words="without it")


def stacks(laws: Laws, rng: np.random.Generator, variant: str, gain: float) -> list[Profile]:
    """Gradients through so many stacks of their own."""
    config = DepthConfig(n=N, d_model=D, heads=HEADS, layers=LAYERS, seed=int(rng.integers(1 << 32)))
    return [profile(config, VARIANTS[variant], gain, repeat, layer=laws.layer) for repeat in range(STACKS)]


def whole(found: Sequence[Profile]) -> list[float]:
    """What of a gradient's size at the top reaches the tokens."""
    return [one.gradients[0] for one in found]


def on_average(shares: Sequence[float]) -> float:
    """Their geometric mean."""
    return float(np.exp(np.log(shares).mean()))


def between(found: Sequence[Profile]) -> list[float]:
    """One layer below the top: the part that tells one token to move otherwise than another."""
    return [one.token_gradients[-2] for one in found]


def residual_paths(setting: Setting) -> Evidence:
    """Theorem 1, step 2."""
    cases = (("attention", SMALLER), ("residual", SMALLER), ("attention", XAVIER), ("block", XAVIER))
    found: dict[tuple[str, float], list[Profile]] = {case: [] for case in (*cases, ("block_without_residual", XAVIER))}
    for rng in setting.rounds(17):
        for (variant, gain), profiles in found.items():
            profiles += stacks(setting.laws, rng, variant, gain)
    lost, kept = highest(*whole(found["attention", SMALLER])), lowest(*whole(found["residual", SMALLER]))
    anyway, block = (on_average(whole(found[name, XAVIER])) for name in ("attention", "block_without_residual"))
    without, with_path = (
        end(*between(found[variant, XAVIER]))
        for end, variant in ((highest, "block_without_residual"), (lowest, "block"))
    )
    return Evidence(
        measured=kept / lost,
        in_short=f"for small weights; with Xavier's, {anyway:.0%} is left anyway",
        samples=STACKS * setting.samples,
        unit="stacks",
        finding=f"Through {LAYERS} layers of attention with weights of half Xavier's size {number(lost)} of the "
        f"gradient is left without the path, and {number(kept)} with it. With Xavier's own size {number(anyway)} is "
        f"left without it. What tells tokens apart, one layer down: {number(without)} without it, {number(with_path)} "
        "with it.",
        trials=(
            Trial(what="weights × ½, attention alone: gradient left, the most", value=lost, high=VANISHED),
            Trial(what="weights × ½, with the path: gradient left, the least", value=kept, low=0.5),
            Trial(what="block without it: what tells tokens apart, the most", value=without, high=VANISHED),
            Trial(what="block with it: what tells tokens apart, the least", value=with_path, low=THERE),
            Trial(what="Xavier, attention alone: gradient left, on average", value=anyway, low=THERE, counter=True),
            Trial(what="Xavier, block without it: gradient left, on average", value=block, low=THERE, counter=True),
        ),
    )


RESIDUAL = Claim(
    id="residual",
    quote="Isso ajuda na propagação do gradiente e evita problemas de vanishing gradients.",
    translation="This helps the gradient to propagate and avoids problems of vanishing gradients.",
    place="Theorem 1, step 2 of its demonstration",
    statement="the residual path keeps gradients from vanishing",
    source="Dong et al. 2021; Noci et al. 2022; measured by `attnlab depth`",
    argument="With the path a layer's Jacobian is 1 + J instead of J. Where J is small, weights smaller than "
    "Xavier's, a product of many J is next to nothing and a product of 1 + J is not: there the sentence is right. "
    "With weights of Xavier's size J does not shrink the gradient: attention alone averages over the tokens, which "
    "costs 1/√N once, and the gradient as a whole does not vanish without the path either. But one part of it the "
    "path does save there. Without the path tokens become alike within a few layers, every token then gets one and "
    "the same gradient, and what would move one otherwise than another is gone.",
    method=f"{STACKS} stacks of {LAYERS} layers, {N} tokens × {D}, {HEADS} heads, post-norm, float64; exact backward "
    "passes of a random direction at the top, with and without the path, with Xavier's weights and with half of them.",
    experiment=residual_paths,
    rule=in_need_of_correction,
    expected_verdict="corrected",
    proof=None,
    remains="It helps, as said: where weights are small, and with Xavier's weights for the part of the gradient that "
    "tells tokens apart. There the gradient as a whole does not vanish without it.",
    not_tried="training; these are gradients at initialisation",
)


def token_moments(laws: Laws, variant: Variant, seed: int, repeat: int) -> Array:
    """The mean and the variance of every token behind each layer, (layers, 2, n)."""
    config = DepthConfig(n=N, d_model=D, heads=HEADS, layers=DEEP, seed=seed)
    spec, x = block_spec(config, feed_forward=True), random_input(N, D, seed=seed + repeat, dtype=np.float64)
    found = []
    for weights in drawn_weights(config, spec, XAVIER, repeat):
        x = laws.layer(variant, spec, weights, x).value
        found.append((x.mean(axis=-1), x.var(axis=-1)))
    return np.array(found)


@np.errstate(over="ignore", invalid="ignore")  # without a norm numbers may outgrow float64: the trial says so
def stable(setting: Setting) -> Evidence:
    """Theorem 1, step 3, and the comment after it."""
    held, free = [], []
    for rng in setting.rounds(18):
        for repeat in range(DEEP_STACKS):
            seed = int(rng.integers(1 << 31))
            held.append(token_moments(setting.laws, VARIANTS["block"], seed, repeat))
            free.append(token_moments(setting.laws, UNHELD, seed, repeat))
    with_norm, without = np.array(held), np.array(free)
    means, off = float(np.abs(with_norm[:, :, 0]).max()), float(np.abs(with_norm[:, :, 1] - 1).max())
    grown = float((without[:, -1, 1].mean(axis=-1) / without[:, 0, 1].mean(axis=-1)).min())
    return Evidence(
        measured=off,
        bound=NEAR,
        in_short=f"variance 1 within {number(off)} through {DEEP} layers; without it {number(grown)} times",
        samples=DEEP_STACKS * N * DEEP * setting.samples,
        unit="tokens",
        finding=f"After each of {DEEP} layers every token has mean 0 within {number(means)} and variance 1 within "
        f"{number(off)}. Without the normalisation the variance grows {number(grown)} times from the first layer to "
        "the last.",
        trials=(
            Trial(what=f"{DEEP} layers: a token's variance off 1, the most", value=off, high=NEAR),
            Trial(what=f"{DEEP} layers: a token's mean off 0, the most", value=means, high=NEAR),
            Trial(what=f"without it: variance grows, layer 1 to {DEEP}, by", value=grown, low=GROWN),
        ),
    )


LAYERNORM = Claim(
    id="layernorm",
    quote="A normalização melhora a estabilidade e acelera o treinamento. […] as normalizações asseguram que as "
    "distribuições dos vetores permaneçam estáveis durante o fluxo através das camadas.",
    translation="Normalisation improves stability and speeds training up. […] the normalisations ensure that the "
    "distributions of the vectors remain stable as they flow through the layers.",
    place="Theorem 1, step 3 of its demonstration, and the comment after it",
    statement="normalisation keeps distributions stable",
    source="Ba et al. 2016",
    argument="Before its learned gain and shift LayerNorm gives every token mean 0 and variance σ²/(σ² + ε), which "
    "is nearly 1 unless σ² is as small as ε. So each layer starts from the same size again. Without it the sums T2 = "
    "X + T1 and T5 = T3 + T4 add the variance of each branch to that of its input, and growth by some factor in each "
    "layer becomes a power of that factor.",
    method=f"{DEEP_STACKS} stacks of {DEEP} post-norm blocks, {N} tokens × {D}, {HEADS} heads, Xavier's weights, "
    "float64; the same stacks without LayerNorm, residual paths and feed-forward left in.",
    experiment=stable,
    rule=true_as_it_stands,
    expected_verdict="holds",
    proof=None,
    remains="It holds the mean and the variance of each vector. Vectors still become alike with depth: see `attnlab "
    "depth`.",
    not_tried="that it speeds training up",
)
