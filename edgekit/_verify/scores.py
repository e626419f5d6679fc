"""Which outputs hold scores of classes: the largest is a decision, that of a state or embedding is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.passes._rewire import CONTROL_FLOW, input_of

if TYPE_CHECKING:
    import onnx_ir as ir

# What moves or scales scores and leaves their order: followed back to what made them.
_THROUGH = frozenset({
    "Add", "Cast", "Clip", "DequantizeLinear", "Div", "Flatten", "Gather", "Identity", "Log", "Mul",
    "QuantizeLinear", "Relu", "Reshape", "Slice", "Squeeze", "Sub", "Transpose", "Unsqueeze",
})  # fmt: skip
_SCORES = frozenset({"Hardmax", "LogSoftmax", "Softmax", "TreeEnsembleClassifier", "LinearClassifier"})
_BY_WEIGHTS = frozenset({"Conv", "Gemm", "MatMul"})
_POOLS = frozenset(
    {"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "ReduceMean", "ReduceMax"}
)


def find_scores(model: ir.Model) -> frozenset[str]:
    """Outputs made by a softmax or by a product with constant weights; all of them where branches hide it.

    A sigmoid's are none: each of them is a decision of its own.
    """
    if any(node.op_type in CONTROL_FLOW for node in model.graph):
        return frozenset(str(value.name) for value in model.graph.outputs)
    return frozenset(str(value.name) for value in model.graph.outputs if _holds_scores(value))


def _holds_scores(value: ir.Value | None) -> bool:
    node = None if value is None else value.producer()
    while node is not None:
        if node.op_type in _SCORES or _is_written_out_softmax(node):
            return True
        if node.op_type in _BY_WEIGHTS:
            return _is_constant(input_of(node, 1))
        if node.op_type not in _THROUGH | _POOLS:
            return False
        changing = [one for one in node.inputs[:2] if one is not None and not _is_constant(one)]
        if not changing or (len(changing) > 1 and node.op_type in ("Add", "Div", "Mul", "Sub")):
            return False
        node = changing[0].producer()
    return False


def _is_written_out_softmax(node: ir.Node) -> bool:
    above = input_of(node, 0)
    return node.op_type == "Div" and above is not None and getattr(above.producer(), "op_type", "") == "Exp"


def _is_constant(value: ir.Value | None) -> bool:
    """A constant, or one that was only moved or cast: what folding leaves of a large weight."""
    while value is not None and value.const_value is None:
        node = value.producer()
        if node is None:
            return False
        if node.op_type == "Constant":
            return True
        given = [one for one in node.inputs if one is not None]
        value = given[0] if len(given) == 1 else None
    return value is not None
