"""The `onnx` package's own node tests as plain arrays: inputs and the outputs that its reference gives for them.

onnx ≥ 1.23 builds them in memory when the module of an operator's cases is imported; nothing is read or written. That
import also seeds numpy's global generator.
"""

import importlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import onnx
from numpy.typing import NDArray
from onnx.backend.test.case import node as node_cases

Array = NDArray[Any]

#: Operator: how many cases onnx 1.23 has of it; later ones may add some. A runner that finds none would pass, so tests
#: assert that there are no fewer.
FEWEST = {
    "Attention": 93,
    "LayerNormalization": 19,
    "RMSNormalization": 19,
    "RotaryEmbedding": 8,
    "Gelu": 4,
    "Softmax": 7,
}


class Case(NamedTuple):
    """One call of an operator and what it must give."""

    name: str
    op: str
    #: By ONNX's names: those the case sets, and ONNX's defaults for the others that have one. Texts are bytes.
    attributes: dict[str, Any]
    #: By the operator's formal names; optional ones that are not given are absent.
    inputs: dict[str, Array]
    #: By the operator's formal names; those that the case does not ask for are absent.
    outputs: dict[str, Array]
    #: As onnx's own runner compares: |ours − theirs| ≤ atol + rtol·|theirs|. Half types are computed as such there.
    rtol: float
    atol: float


def onnx_cases(op: str) -> list[Case]:
    """Every case of one operator of FEWEST, without the `_expanded` twins (the same arrays through a subgraph)."""
    importlib.import_module(f"{node_cases.__name__}.{op.lower()}")
    # collect_testcases() would fill the same list, but imports all 200 operators, some of which warn.
    return [
        _case(test)
        for test in node_cases._NodeTestCases
        if test.model.graph.node[0].op_type == op and "_expanded" not in test.name
    ]


def _case(test: Any) -> Case:
    (node,) = test.model.graph.node
    ((inputs, outputs),) = test.data_sets
    schema = onnx.defs.get_schema(node.op_type, test.model.opset_import[0].version)
    defaults = {name: spec.default_value for name, spec in schema.attributes.items() if spec.default_value.name}
    attributes = defaults | {attribute.name: attribute for attribute in node.attribute}
    return Case(
        name=test.name,
        op=node.op_type,
        attributes={name: onnx.helper.get_attribute_value(value) for name, value in attributes.items()},
        inputs=dict(_named(schema.inputs, node.input, inputs)),
        outputs=dict(_named(schema.outputs, node.output, outputs)),
        # Two units in bfloat16's last place, as in onnx.backend.test.runner.
        rtol=2.0**-6 if outputs[0].dtype.name == "bfloat16" else test.rtol,
        atol=test.atol,
    )


def _named(formal: Any, actual: Any, arrays: Any) -> Iterator[tuple[str, Array]]:
    """(formal name, array) for each that the node gives a name; an empty name stands for one left out."""
    present = [parameter.name for parameter, name in zip(formal, actual, strict=False) if name]
    return zip(present, arrays, strict=True)
