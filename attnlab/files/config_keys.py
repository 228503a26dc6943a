"""The keys of a configuration: what each takes and means, its default, and the rules between them."""

from typing import get_args

from attnlab.files.kinds import OrList, boolean, choice, integer, nothing, nullable, number, text
from attnlab.files.schema import REQUIRED, Key, Section, Values, WordOr
from attnlab.maths.architecture import MOST_LAYERS, Activation, BiasPart, NormKind, NormPosition, Scheme

DTYPES = ("float16", "bfloat16", "float32", "float64")


def head_width(block: Values) -> int | None:
    """d_k, its default worked out; None where something that it depends on is wrong."""
    if not block.know("d_k", "d_model", "n_heads"):
        return None
    if block["d_k"] is not None:
        return int(block["d_k"])
    return None if block["d_model"] % block["n_heads"] else int(block["d_model"] // block["n_heads"])


def value_width(block: Values) -> int | None:
    """d_v, its default worked out; None where something that it depends on is wrong.

    Without an output projection one width alone goes: the heads' outputs, side by side, are the model's.
    """
    if not block.know("d_v"):
        return None
    if block["d_v"] is not None:
        return int(block["d_v"])
    whole = block.know("d_model", "n_heads", "output_projection") and block["d_model"] % block["n_heads"] == 0
    return int(block["d_model"] // block["n_heads"]) if whole and not block["output_projection"] else head_width(block)


def _heads_divide_the_model(block: Values) -> None:
    if not block.know("d_model", "n_heads", "d_k") or block["d_k"] or block["d_model"] % block["n_heads"] == 0:
        return
    if "n_heads" in block.given:
        wanted = f"a divisor of d_model, {block.origin('d_model')}, unless d_k is set"
        block.complain("n_heads", f"{block['n_heads']}; expected {wanted}")
    else:
        wanted = f"a multiple of n_heads, {block.origin('n_heads')}, unless d_k is set"
        block.complain("d_model", f"{block['d_model']}; expected {wanted}")


def _key_heads_divide_the_heads(block: Values) -> None:
    if block.know("n_heads", "n_kv_heads") and block["n_heads"] % (block["n_kv_heads"] or 1):
        block.complain("n_kv_heads", f"{block['n_kv_heads']}; expected a divisor of n_heads, {block.origin('n_heads')}")


def _heads_fill_the_model(block: Values) -> None:
    """Without an output projection the heads' outputs, side by side, must be as wide as the model."""
    d_v = value_width(block)
    if d_v is None or not block.know("output_projection", "d_model", "n_heads") or block["output_projection"]:
        return
    if (width := block["n_heads"] * d_v) != block["d_model"]:
        block.complain(
            "output_projection",
            f"false; expected true, since n_heads · d_v = {block['n_heads']} · {d_v} = {width} "
            f"is not d_model, {block.origin('d_model')}",
        )


def _a_causal_window_holds_the_query(block: Values) -> None:
    if block.know("window", "causal") and block["window"] == 0 and block["causal"]:
        block.complain("window", f"0; expected 1 or more, since causal is {block.origin('causal')}")


def _parallel_parts_read_one_input(block: Values) -> None:
    if block.know("parallel", "norm_position") and block["parallel"] and block["norm_position"] != "pre":
        block.complain("parallel", f"true; expected false, since norm_position is {block.origin('norm_position')}")


def _a_norm_over_all_heads_is_a_norm(block: Values) -> None:
    if block.know("qk_norm_over", "qk_norm") and block["qk_norm_over"] == "all" and block["qk_norm"] is None:
        block.complain("qk_norm_over", f"all; expected head, since qk_norm is {block.origin('qk_norm')}")


def _each_part_is_named_once(block: Values) -> None:
    if block.know("bias") and not isinstance(block["bias"], bool) and len(set(block["bias"])) < len(block["bias"]):
        twice = next(part for part in block["bias"] if block["bias"].count(part) > 1)
        block.complain("bias", f"{twice} given twice; expected it once")


def _rotary_turns_pairs(block: Values) -> None:
    d_k = head_width(block)
    position = block.values.get("position")
    if d_k is None:
        return
    if position == "rotary" and d_k % 2:
        block.complain("position", f"rotary turns all of d_k, {d_k}; expected an even width")
    rotary = position.values.get("rotary") if isinstance(position, Values) else None
    if rotary and rotary.know("fraction"):
        width = int(rotary["fraction"] * d_k)
        if width < 2 or width % 2:
            rotary.complain(
                "fraction", f"{rotary['fraction']} of d_k, {d_k}, is {width}; expected an even width of 2 or more"
            )


def _scaling_has_what_its_kind_needs(scaling: Values) -> None:
    if not scaling.know("kind"):
        return
    for key in ("low_freq_factor", "high_freq_factor", "original_length"):
        if scaling["kind"] == "linear" and key in scaling.given:
            scaling.complain(key, f"without effect, since kind is {scaling.origin('kind')}; expected kind llama3")
        if scaling["kind"] == "llama3" and scaling.know(key) and scaling[key] is None:
            scaling.complain(key, f"missing; expected a number, since kind is {scaling.origin('kind')}")
    if not scaling.know("low_freq_factor", "high_freq_factor"):
        return
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    if low is not None and high is not None and high <= low:
        wanted = f"more than low_freq_factor, {scaling.origin('low_freq_factor')}"
        scaling.complain("high_freq_factor", f"{high}; expected {wanted}")


def _layers_have_one_entry_each(root: Values) -> None:
    if not root.know("block", "layers", "per_layer"):
        return
    block, per_layer = root["block"], root["per_layer"]
    for key in ("window", "scale"):
        if not per_layer.know(key) or per_layer[key] is None:
            continue
        entries = per_layer[key]
        if len(entries) != root["layers"]:
            count = "1 entry" if len(entries) == 1 else f"{len(entries)} entries"
            per_layer.complain(key, f"{count}; expected one for each of layers, {root.origin('layers')}")
        elif key in block.given and block.know(key) and block[key] != entries[0]:
            block.complain(key, f"{block[key]}; expected nothing, or the first entry of per_layer.{key}, {entries[0]}")
        elif key == "window" and 0 in entries and block.know("causal") and block["causal"]:
            per_layer.complain(key, f"0; expected 1 or more, since causal is {block.origin('causal')}")


def _something_gives_the_weights(weights: Values) -> None:
    if not weights.know("init", "file"):
        return
    if weights["file"] is None:
        if weights["init"] is None:
            weights.complain("init", "null; expected a scheme, since there is no file")
        return
    if "init" not in weights.given or weights["init"] is None:
        for key in ("per", "seed"):
            if key in weights.given:
                weights.complain(key, "without effect, since the file gives every weight; expected init beside it")


def _one_input(source: Values) -> None:
    if not source.know("file"):
        return
    if "random" in source.given and source["file"] is not None:
        source.complain("file", "given beside random; expected one of the two")
    if "tokens" in source.given and source["file"] is None:
        source.complain("tokens", "given without file; expected the embeddings that the tokens name")


_scaling = Section(
    keys={
        "kind": Key(
            choice(("linear", "llama3")), "Whether every angle is divided (linear) or only slow ones are", REQUIRED
        ),
        "factor": Key(number(above=0), "What angles are divided by", REQUIRED),
        "low_freq_factor": Key(nullable(number(above=0)), "Turns in the original length up to which angles are slow"),
        "high_freq_factor": Key(nullable(number(above=0)), "Turns in the original length from which angles stay"),
        "original_length": Key(nullable(integer(1)), "Tokens of the texts that the model learned on at first"),
    },
    rules=(_scaling_has_what_its_kind_needs,),
)

_rotary = Section(
    keys={
        "base": Key(number(above=0), "The base of the rotations' wavelengths", 10000.0),
        "fraction": Key(number(above=0, maximum=1), "The share of each head's width that is turned", 1.0),
        "pairing": Key(
            choice(("half", "interleaved")), "Whether j turns with j + width/2 (half) or 2j with 2j + 1", "half"
        ),
        "scaling": Key(
            WordOr(nothing(or_else="{kind: linear, factor: 4}"), _scaling),
            "How the angles of a model stretched to longer texts differ; null is not at all",
        ),
    }
)

#: A matrix product's sizes are of 32 bits in most builds of BLAS.
_width = integer(1, 2**31 - 1)

_block = Section(
    keys={
        "d_model": Key(_width, "The width of the embeddings and of the residual stream", 512),
        "n_heads": Key(_width, "The number of query heads", 8),
        "n_kv_heads": Key(nullable(_width), "The number of key and value heads; null is n_heads"),
        "d_k": Key(nullable(_width), "The width of each head's queries and keys; null is d_model / n_heads"),
        "d_v": Key(nullable(_width), "The width of each head's values; null is d_k, or d_model / n_heads without W_O"),
        "d_ff": Key(nullable(_width), "The feed-forward's hidden width; null leaves the feed-forward out", 2048),
        "activation": Key(choice(get_args(Activation)), "The feed-forward's activation", "relu"),
        "norm": Key(choice(get_args(NormKind)), "The normalisation", "layernorm"),
        "norm_position": Key(
            choice(get_args(NormPosition)),
            "Whether to normalise after each residual sum, before each part, around each part or after it",
            "post",
        ),
        "parallel": Key(
            boolean(), "Whether the feed-forward reads the block's input, as the attention does; pre-norm only", False
        ),
        "norm_eps": Key(number(above=0), "What normalisation adds to the variance", 1e-5),
        "bias": Key(
            OrList(boolean(or_else=f"a list of {', '.join(get_args(BiasPart))}"), choice(get_args(BiasPart))),
            "Whether the linear maps and the norms add a bias, or which do",
            True,
        ),
        "output_projection": Key(
            boolean(), "Whether W_O follows the heads; without it, n_heads times d_v is d_model", True
        ),
        "position": Key(
            WordOr(
                choice(("none", "sinusoidal", "alibi", "rotary"), or_else="{rotary: {base: 10000}}"),
                Section(keys={"rotary": Key(_rotary, "Rotary positions, with their settings", REQUIRED)}),
            ),
            "How attention knows positions",
            "none",
        ),
        "causal": Key(boolean(), "Whether a query sees only the keys up to its own position", False),
        "window": Key(nullable(integer(0)), "How many of the nearest keys a query sees; null is all"),
        "scale": Key(nullable(number()), "What q·k is multiplied by; null is 1/sqrt(d_k)"),
        "softcap": Key(nullable(number(above=0)), "The bound c of a score s in c·tanh(s/c); null is none"),
        "qk_norm": Key(nullable(choice(get_args(NormKind))), "How queries and keys are normalised; null is not at all"),
        "qk_norm_over": Key(
            choice(("head", "all")), "Whether that norm is each head's own or one over all heads side by side", "head"
        ),
    },
    rules=(
        _heads_divide_the_model,
        _key_heads_divide_the_heads,
        _heads_fill_the_model,
        _a_causal_window_holds_the_query,
        _parallel_parts_read_one_input,
        _a_norm_over_all_heads_is_a_norm,
        _each_part_is_named_once,
        _rotary_turns_pairs,
    ),
)

_per_layer = Section(
    keys={
        "window": Key(
            OrList(nothing(or_else="a list of each layer's window"), nullable(integer(0))),
            "Each layer's block.window, where they differ; null is the same in all",
        ),
        "scale": Key(
            OrList(nothing(or_else="a list of each layer's scale"), nullable(number())),
            "Each layer's block.scale, where they differ; null is the same in all",
        ),
    }
)

_normal = Section(keys={"normal": Key(number(above=0), "The standard deviation of normal weights", REQUIRED)})

_seed = Key(integer(0), "The seed; the same one gives the same numbers", 0)

_weights = Section(
    keys={
        "init": Key(
            WordOr(
                nullable(choice([word for word in get_args(Scheme) if word != "normal"], or_else="{normal: 0.02}")),
                _normal,
            ),
            "How weights that no file gives are drawn; beside a file, none are unless this is given",
            "xavier_uniform",
        ),
        "per": Key(
            choice(("matrix", "head")), "Whether all heads together or each alone set fan-in and fan-out", "matrix"
        ),
        "seed": _seed,
        "file": Key(nullable(text("a file's name")), "An .npz or .safetensors file of weights"),
    },
    rules=(_something_gives_the_weights,),
)

_random = Section(keys={"n": Key(integer(1), "The number of tokens", 8), "seed": _seed})

_input = Section(
    keys={
        "random": Key(_random, "Standard normal embeddings; this is the default where no file is given"),
        "file": Key(nullable(text("a file's name")), "A file of embeddings, n by d_model; null is random ones"),
        "tokens": Key(
            nullable(text("a file's name")), "A file of the tokens' texts, a line each: plain, or JSON strings"
        ),
    },
    rules=(_one_input,),
    json_rules={
        "not": {"required": ["random", "file"], "properties": {"file": {"type": "string"}}},
        "dependentRequired": {"tokens": ["file"]},
    },
)

ROOT = Section(
    keys={
        "block": Key(_block, "The Transformer block"),
        "layers": Key(integer(1, MOST_LAYERS), "How many such blocks follow one another", 1),
        "per_layer": Key(_per_layer, "What differs between the layers"),
        "weights": Key(_weights, "Where the weights come from"),
        "input": Key(_input, "What the block runs on"),
        "dtype": Key(choice(DTYPES), "The floating-point type of the weights and the input", "float32"),
    },
    rules=(_layers_have_one_entry_each,),
)
