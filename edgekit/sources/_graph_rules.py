"""What a graph must keep before any pass sees it: known ops, a known opset, names that are unique."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import onnx

from edgekit.errors import ModelError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LOWEST_OPSET = 7
_EXPORT_AGAIN = "export the model again"


def check_graph(proto: onnx.ModelProto, path: Path) -> None:
    """Raise ModelError, naming the first node or name that breaks a rule (SourceError: the IR version)."""
    opsets = _opsets(proto, path)
    graph = proto.graph
    if not graph.output:
        raise ModelError(f"{path}: the graph has no outputs", fix=_EXPORT_AGAIN)
    _check_unique([value.name for value in graph.input], "input")
    _check_unique([value.name for value in graph.output], "output")
    functions = {(function.domain, function.name) for function in proto.functions}
    _check_values(graph, frozenset())
    _check_ops(graph.node, opsets, functions)
    for function in proto.functions:
        own = {opset.domain: opset.version for opset in function.opset_import}
        _check_ops(function.node, {**opsets, **own}, functions)


def _opsets(proto: onnx.ModelProto, path: Path) -> dict[str, int]:
    newest = onnx.defs.onnx_opset_version()
    opsets = {_domain(opset.domain): opset.version for opset in proto.opset_import}
    version = opsets.get("")
    if proto.ir_version > onnx.IR_VERSION:
        raise SourceError(
            f"{path} has IR version {proto.ir_version}, the installed onnx reads up to {onnx.IR_VERSION}",
            fix="install a newer onnx",
        )
    if version is None:
        raise ModelError(f"{path} imports no ONNX opset", fix=_EXPORT_AGAIN)
    if version < LOWEST_OPSET:
        raise ModelError(
            f"{path} has opset {version}; {LOWEST_OPSET} is the lowest that is read",
            fix=f"export the model again with opset {LOWEST_OPSET} or later (17 is best)",
        )
    if version > newest:
        raise ModelError(
            f"{path} has opset {version}, the installed onnx knows up to {newest}",
            fix="install a newer onnx, or export with a lower opset",
        )
    return opsets


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _check_unique(names: Iterable[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if not name:
            raise ModelError(f"an {what} has no name", fix=_EXPORT_AGAIN)
        if what in ("input", "output") and re.search(r"[\x00-\x1f\x7f-\x9f]", name):
            raise ModelError(f"{what} {name!r} has a control character in its name", fix=_EXPORT_AGAIN)
        if name in seen:
            raise ModelError(f"two {what}s are called '{name}'", fix=f"rename one of them; {_EXPORT_AGAIN}")
        seen.add(name)


def _check_values(graph: onnx.GraphProto, outer: frozenset[str]) -> None:
    """Each value has one producer, comes before its use, and every output exists."""
    if graph.sparse_initializer:
        raise ModelError(
            f"graph '{graph.name}' has sparse initializers, which no target reads",
            fix="export the weights as dense tensors",
        )
    _check_unique([tensor.name for tensor in graph.initializer], "initializer")
    known = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer} | outer
    made = known - outer
    for node in graph.node:
        _check_reads(node, known)
        for child in _subgraphs(node):
            _check_values(child, frozenset(known))
        for name in filter(None, node.output):
            if name in made:
                raise ModelError(
                    f"{node.op_type} '{node.name}' makes '{name}', a name already taken", fix=_EXPORT_AGAIN
                )
            made.add(name)
            known.add(name)
    for value in graph.output:
        if value.name not in known:
            raise ModelError(f"nothing makes the graph output '{value.name}'", fix=_EXPORT_AGAIN)


def _check_reads(node: onnx.NodeProto, known: set[str]) -> None:
    for name in node.input:
        if name and name not in known:
            raise ModelError(
                f"{node.op_type} '{node.name}' reads '{name}', which nothing before it makes",
                fix=f"{_EXPORT_AGAIN}: the graph must be complete and in topological order",
            )


def _subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    children = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    return children + [graph for attribute in node.attribute for graph in attribute.graphs]


def _check_ops(
    nodes: Iterable[onnx.NodeProto], opsets: dict[str, int], functions: set[tuple[str, str]]
) -> None:
    for node in nodes:
        if (node.domain, node.op_type) not in functions:
            _check_op(node, opsets)
        for child in _subgraphs(node):
            _check_ops(child.node, opsets, functions)


def _check_op(node: onnx.NodeProto, opsets: dict[str, int]) -> None:
    domain = _domain(node.domain)
    label = f"{node.op_type} '{node.name}'"
    if domain not in opsets or domain not in ("", "ai.onnx.ml"):
        raise ModelError(
            f"{label} comes from domain '{node.domain}', which is not ONNX and has no function body here",
            fix="export the model with standard ONNX ops only (no fused runtime-specific ops)",
        )
    try:
        schema = onnx.defs.get_schema(node.op_type, opsets[domain], domain)
    except onnx.defs.SchemaError as error:
        raise ModelError(
            f"{label}: opset {opsets[domain]} has no such op", fix="export the model with standard ONNX ops"
        ) from error
    if schema.deprecated:
        raise ModelError(f"{label} is gone from ONNX since opset {schema.since_version}", fix=_EXPORT_AGAIN)
    if not _subgraphs(node):
        _check_node(node, opsets, label)


def _check_node(node: onnx.NodeProto, opsets: dict[str, int], label: str) -> None:
    """Attributes and number of inputs, by ONNX's own checker."""
    if any(attribute.t.data_location == onnx.TensorProto.EXTERNAL for attribute in node.attribute):
        return
    context = onnx.checker.C.CheckerContext()
    context.ir_version = onnx.IR_VERSION
    context.opset_imports = opsets
    try:
        onnx.checker.check_node(node, context)
    except onnx.checker.ValidationError as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{label} breaks ONNX's own rules: {reason}", fix=_EXPORT_AGAIN) from error
