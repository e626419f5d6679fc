"""Nodes that onnxruntime's CPU provider has no kernel for, by the registry of the installed runtime."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgekit._values import Gap

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

    from edgekit._values import Component

_OPEN_END = 2**31 - 1


@dataclass(frozen=True)
class _Kernel:
    first: int
    last: int
    types: dict[str, frozenset[str]]

    def runs(self, since: int) -> bool:
        """An open-ended kernel stands for its own version only: that is how the runtime matches."""
        return since == self.first or (self.last < _OPEN_END and self.first <= since <= self.last)


def check_kernels(component: Component, target: str) -> list[Gap]:
    """One error Gap a node whose domain, op, version or dtypes the runtime has no kernel for."""
    model = component.model
    limit = newest_opset()
    version = model.opset_imports.get("", model.opset_imports.get("ai.onnx"))
    gaps: list[Gap] = []
    if version is not None and version > limit:
        rule = f"opset {version} is newer than the opset {limit} that the installed onnxruntime reads"
        gaps.append(
            Gap(target, component.name, "", "model", rule, f"export the model with opset {limit} or lower")
        )
    for node in _nodes(model):
        rule = _broken_rule(node, model, version)
        if rule:
            way_out = "replace the node before export, or expand it into ONNX primitives"
            gaps.append(Gap(target, component.name, node.name or "", node.op_type, rule, way_out))
    return gaps


@cache
def newest_opset() -> int:
    """The newest default-domain opset that the installed onnxruntime loads: asked of the runtime itself."""
    import onnxruntime as ort
    from onnx import TensorProto, helper
    from onnx.defs import onnx_opset_version

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "probe", value[:1], value[1:])
    options = ort.SessionOptions()
    options.log_severity_level = 4
    for version in range(onnx_opset_version(), 6, -1):
        opset = [helper.make_opsetid("", version)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8)
        try:
            ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception:  # noqa: BLE001 - the runtime's own refusal is the answer
            continue
        return version
    return 7


def _broken_rule(node: ir.Node, model: ir.Model, version: int | None) -> str:
    domain = "" if node.domain == "ai.onnx" else node.domain
    if (node.domain, node.op_type, node.overload) in model.functions:
        return ""  # a function of the model itself: inlined on load
    kernels = _kernels().get((domain, node.op_type))
    if kernels is None:
        if domain == "" and (node.op_type in _functions() or node.op_type == "Constant"):
            return ""  # the runtime expands it by its ONNX definition
        where = f"domain '{domain}'" if domain else "ONNX's domain"
        return f"onnxruntime's CPU provider has no kernel for this op of {where}"
    since = _since(domain, node.op_type, version if domain == "" else model.opset_imports.get(domain))
    fitting = [kernel for kernel in kernels if kernel.runs(since)]
    if not fitting:
        return f"onnxruntime's CPU provider has no kernel for version {since} of this op"
    return _broken_types(node, fitting, (domain, node.op_type, since))


def _broken_types(node: ir.Node, kernels: list[_Kernel], key: tuple[str, str, int]) -> str:
    """A dtype that no kernel takes; unknown dtypes are not judged."""
    names = _type_names().get(key, {})
    used: dict[str, str] = {}
    for index, value in enumerate(node.inputs):
        name = names.get(index)
        if value is not None and value.dtype is not None and name is not None:
            used[name] = f"tensor({_ORT_TYPES.get(value.dtype.name, value.dtype.name.lower())})"
    for kernel in kernels:
        if all(given in kernel.types.get(name, {given}) for name, given in used.items()):
            return ""
    return f"onnxruntime's CPU provider has no kernel for {', '.join(sorted(set(used.values())))}"


_ORT_TYPES = {"DOUBLE": "double", "FLOAT": "float", "BOOL": "bool", "STRING": "string"}


@cache
def _since(domain: str, op: str, version: int | None) -> int:
    known = [since for (dom, name, since) in _type_names() if (dom, name) == (domain, op)]
    return max((since for since in known if since <= (version or 1)), default=version or 1)


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    for graph in model.graphs():
        yield from graph


@cache
def _kernels() -> dict[tuple[str, str], list[_Kernel]]:
    table: dict[tuple[str, str], list[_Kernel]] = defaultdict(list)
    for kernel in runtime_state().get_all_opkernel_def():
        first, last = kernel.version_range
        types = {name: frozenset(allowed) for name, allowed in kernel.type_constraints.items()}
        table[(kernel.domain, kernel.op_name)].append(_Kernel(first, last, types))
    return dict(table)


@cache
def _type_names() -> dict[tuple[str, str, int], dict[int, str]]:
    """(domain, op, since) -> input position -> the name of its type constraint."""
    return {
        (schema.domain, schema.name, schema.since_version): {
            index: value.typeStr for index, value in enumerate(schema.inputs)
        }
        for schema in runtime_state().get_all_operator_schema()
    }


@cache
def _functions() -> frozenset[str]:
    from onnx import defs

    schemas: list[Any] = list(defs.get_all_schemas_with_history())
    return frozenset(
        schema.name
        for schema in schemas
        if schema.domain == "" and (schema.has_function or schema.has_context_dependent_function)
    )


def runtime_state() -> Any:
    """ONNX Runtime's compiled module, which has its exceptions and kernel lists, and no types."""
    return import_module("onnxruntime.capi.onnxruntime_pybind11_state")
