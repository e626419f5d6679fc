"""Everything TensorRT cannot hold in a component, as Gaps: operators, attributes, Q/DQ, types, dims."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import onnx_ir as ir

from edgekit._values import Gap
from edgekit.targets.tensorrt.lint_inputs import check_inputs, check_tensor_types
from edgekit.targets.tensorrt.lint_qdq import check_qdq, has_blocks, reads_int8_weight
from edgekit.targets.tensorrt.op_table import ANY_TYPE, OpTable, table_for
from edgekit.targets.tensorrt.rules import breach, rules_by_op

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgekit._values import Component
    from edgekit.target import Job

    Finding = tuple[str, str, Literal["error", "warning"]]

# The tables' type column describes the first input; for these operators it describes something else.
_TYPE_IS_NOT_INPUT_0 = frozenset(
    {"Where", "ConstantOfShape", "OneHot", "Constant", "If", "Loop", "Scan", "Cast", "Range"}
)
_TABLE_NAMES = {
    ir.DataType.FLOAT: "FP32",
    ir.DataType.FLOAT16: "FP16",
    ir.DataType.BFLOAT16: "BF16",
    ir.DataType.FLOAT8E4M3FN: "FP8",
    ir.DataType.FLOAT4E2M1: "FP4",
    ir.DataType.INT4: "INT4",
    ir.DataType.DOUBLE: "FP32",
}
QDQ_OPS = ("QuantizeLinear", "DequantizeLinear")
# Measured with the TensorRT-RTX 1.7 parser, which renames other layers but not these.
_NAME_TAKEN: Finding = (
    "has the name of another node, and TensorRT refuses two Q/DQ layers of one name",
    "give every node a name of its own",
    "error",
)
_BLOCKS_OPSET = 21  # DequantizeLinear has blocks since
_ONNX_DOMAINS = ("", "ai.onnx")


def lint(component: Component, job: Job, *, version: str) -> list[Gap]:
    """All gaps of one component for TensorRT `version` (MAJOR.MINOR), in graph order."""
    table = table_for(version)
    model = component.model
    gaps = [_gap(component, "model", "Graph", finding) for finding in _check_versions(model, table)]
    for name, finding in (*check_inputs(model, job), *check_tensor_types(model, table)):
        gaps.append(_gap(component, name, "Tensor", finding))
    functions = {(function.domain, function.name) for function in model.functions.values()}
    if any(node.op_type in QDQ_OPS and reads_int8_weight(node, table) for node in _nodes(model)):
        gaps.append(_gap(component, "model", "Graph", _int8_weights(table)))
    taken: set[str] = set()
    for index, node in enumerate(_nodes(model)):
        if (node.domain, node.op_type) in functions:
            continue
        name = node.name or f"{node.op_type}#{index}"
        if node.op_type in QDQ_OPS and name in taken:
            gaps.append(_gap(component, name, node.op_type, _NAME_TAKEN))
        taken.add(name)
        gaps += [_gap(component, name, node.op_type, finding) for finding in _check_node(node, table)]
    return gaps


def _int8_weights(table: OpTable) -> Finding:
    return (
        f"TensorRT {table.asked} may want FP32 weights through Q and DQ where these are int8 behind a DQ "
        "(its guide as remembered, unverified)",
        "try the build on the device first, or use a newer JetPack",
        "warning",
    )


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Nodes of the graph, its subgraphs and the model's own functions."""
    yield from ir.traversal.RecursiveGraphIterator(model.graph)
    for function in model.functions.values():
        yield from ir.traversal.RecursiveGraphIterator(function)


def _check_versions(model: ir.Model, table: OpTable) -> Iterator[Finding]:
    if not table.is_exact:
        yield (
            f"no operator table of TensorRT {table.asked} is known: what it refuses is unknown",
            f"the table of {table.version}, the last one before it, is told as warnings",
            "warning",
        )
    opset = model.opset_imports.get("", 0)
    if opset == _BLOCKS_OPSET > table.max_opset and any(has_blocks(node) for node in model.graph):
        yield (
            f"blocks of int4 weights need opset {opset}, and TensorRT {table.version} names "
            f"{table.max_opset} as its highest: by its source the parser takes blocks from the scales' shape "
            "and checks no opset, which no build has shown yet",
            "try the build on the device first, or use --precision w8",
            "warning",
        )
    elif opset > table.max_opset:
        yield (
            f"opset {opset} is above {table.max_opset}, the highest that TensorRT {table.version} reads",
            f"re-export with opset {table.max_opset} or lower",
            _severity(table),
        )


def _check_node(node: ir.Node, table: OpTable) -> Iterator[Finding]:
    if node.domain not in _ONNX_DOMAINS:
        yield _custom(node)
        return
    if node.op_type.endswith("_TRT"):
        yield (
            "is taken for one of TensorRT's own plugins, which is not checked here",
            "try it on the device",
            "warning",
        )
        return
    for rule in rules_by_op().get(node.op_type, ()):
        found = breach(rule, node)
        if found is not None:
            yield rule.rule + found, rule.way_out, rule.severity
        if rule.refuses_operator:
            return
    if node.op_type in QDQ_OPS:
        for rule_text, way_out in check_qdq(node, table):
            yield rule_text, way_out, "error"
    else:
        yield from _check_table(node, table)


def _custom(node: ir.Node) -> Finding:
    return (
        f"'{node.domain}' is a custom domain, and TensorRT needs a plugin for it",
        "expand it into ONNX operators, or cut the model around it",
        "error",
    )


def _check_table(node: ir.Node, table: OpTable) -> Iterator[Finding]:
    types = table.types(node.op_type)
    if not types:
        yield (
            f"is not an operator that TensorRT {table.version} parses",
            "expand it into other operators, or cut the model around it",
            _severity(table),
        )
        return
    dtype = node.inputs[0].dtype if node.inputs and node.inputs[0] is not None else None
    if dtype is None or node.op_type in _TYPE_IS_NOT_INPUT_0 or types == ANY_TYPE:
        return
    name = _TABLE_NAMES.get(dtype, dtype.name)
    if name == "INT64" and "INT32" in types:
        return
    if name not in types:
        yield (
            f"takes {', '.join(sorted(types))} in the table of TensorRT {table.version}, not {name}",
            "cast its input",
            "error" if dtype is ir.DataType.STRING else "warning",
        )


def _severity(table: OpTable) -> Literal["error", "warning"]:
    """A table of the very version decides; the last one before it only warns."""
    return "error" if table.is_exact else "warning"


def _gap(component: Component, node: str, op: str, finding: Finding) -> Gap:
    rule, way_out, severity = finding
    return Gap("tensorrt", component.name, node, op, rule, way_out, severity)
