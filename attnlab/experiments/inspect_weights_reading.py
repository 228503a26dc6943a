"""How the numbers of a model's weights are to be read: what is folded in, and what they leave out."""

from attnlab.experiments.inspect_report import model_in_words
from attnlab.experiments.inspect_weights import WeightsRecord
from attnlab.experiments.inspect_weights_findings import KEYS
from attnlab.maths.architecture import BlockSpec, Rotary

NORM_NAMES = {"layernorm": "LayerNorm", "rmsnorm": "RMSNorm"}


def heading(record: WeightsRecord) -> str:
    """The model in one line."""
    some = len(record.heads) < record.model.layers * record.model.heads
    return " · ".join(
        [model_in_words(record.model), *([f"{len(record.heads):,} heads asked for"] if some else []), "weights alone"]
    )


def reading(record: WeightsRecord) -> str:
    """What M is, and what it reads."""
    specs = [record.specs[layer] for layer in record.layers]
    scales = {spec.scale for spec in specs}
    by = f"c = 1/√{specs[0].d_k}" if scales == {None} else f"c = {specs[0].score_scale:g}"
    by = by if len(scales) == 1 else "c set by each layer"
    return f"M = c W_Q W_Kᵀ, {by}; unit-variance inputs are {inputs(specs[0])}."


def inputs(spec: BlockSpec) -> str:
    """The tokens that the weights are thought to read."""
    if not spec.norms_inputs:
        return "independent tokens of variance 1 as the block is given them"
    centred = "gain, bias and centring" if spec.norm == "layernorm" else "gain"
    return (
        f"independent tokens as the {NORM_NAMES[spec.norm]} before the attention leaves them, its {centred} counted in"
    )


def remarks(record: WeightsRecord) -> list[str]:
    """What the numbers leave out, for what this model has."""
    specs = [record.specs[layer] for layer in record.layers]
    said = []
    if any(isinstance(spec.position, Rotary) for spec in specs):
        said.append(
            "Rotary positions turn queries against keys: what is said of M holds for tokens at distance 0, before them."
        )
    if any(spec.position == "alibi" for spec in specs):
        said.append("ALiBi is added to the scores afterwards: none of it is counted here.")
    if any(spec.softcap is not None for spec in specs):
        said.append("Scores are capped afterwards: their variance is that before the cap.")
    if any(spec.qk_norm is not None for spec in specs):
        said.append(
            "qk_norm divides the lengths of queries and keys out, so that weights alone set neither ‖M‖ nor the score "
            "variance; the shares and ranks are of M with its gains counted in."
        )
    if any(head.score_variance > head.frobenius**2 for head in record.heads):
        said.append("Biases are counted in; what b_K adds is the same along a row, and the softmax does not see it.")
    if record.positions is None and not all("row_variance" in head.reasons for head in record.heads):
        said.append(f"Nothing says how long this model's texts are: softmaxes are thought to be over {KEYS} keys.")
    return said
