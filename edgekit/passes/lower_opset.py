"""An opset that a target does not read yet -> one that it does, or the nodes that stand in the way."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import onnx

from edgekit.errors import ModelError
from edgekit.passes._opset_lowerings import LOWERINGS
from edgekit.passes._rewire import Names, all_nodes
from edgekit.passes.expand_functions import expand_functions, has_body

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgekit._values import Component

LOWEST_TARGET = 17


def lower_opset(model: ir.Model, version: int) -> int:
    """Bring the model down to opset `version` (17 or more); returns how many nodes were rewritten.

    Ops that the older opset lacks are expanded into their ONNX body; newer forms of the others are rewritten
    where they mean the same. Raises ModelError that lists every node with no equal form; the model is
    then half rewritten, so give a clone.
    """
    current = model.opset_imports[""]
    if current <= version:
        return 0
    if version < LOWEST_TARGET:
        raise ModelError(
            f"opset {version} is below {LOWEST_TARGET}, the lowest that models are lowered to",
            fix="choose a newer software version of the device",
        )
    missing = list_newer_functions(model, version)
    rewritten = expand_functions(model, missing) if missing else 0
    names = Names(model)
    problems: list[str] = []
    for node in all_nodes(model):
        if not node.domain and _since(node.op_type, current) > version:
            problem = _lower(node, current, version, names)
            problems += [] if problem is None else [f"{node.op_type} '{node.name}' ({problem})"]
            rewritten += 1
    if problems:
        raise ModelError(
            f"opset {version} has no equal of {', '.join(problems)}",
            fix=f"export the model with opset {version}, or choose a newer software version of the device",
        )
    model.opset_imports[""] = version
    return rewritten


def lower_component(component: Component, version: int | None) -> Component:
    """A copy in opset `version`; the component itself where it is no newer, or where no version is known."""
    if version is None or component.model.opset_imports[""] <= version:
        return component
    model = component.model.clone()
    lower_opset(model, version)
    return replace(component, model=model)


def list_newer_functions(model: ir.Model, version: int) -> frozenset[str]:
    """Ops of the model that opset `version` lacks and that ONNX's own function body can stand for."""
    current = model.opset_imports[""]
    return frozenset(node.op_type for node in all_nodes(model) if _is_missing(node, current, version))


@cache
def _widened() -> dict[str, list[int]]:
    text = (files("edgekit.passes") / "opset_changes.toml").read_text(encoding="utf-8")
    table: dict[str, list[int]] = tomllib.loads(text)["widened"]
    return table


def _since(op_type: str, version: int) -> int:
    return int(onnx.defs.get_schema(op_type, version, "").since_version)


def _is_missing(node: ir.Node, current: int, version: int) -> bool:
    """The op (or its present meaning) is newer than `version`, and a body can stand for it."""
    if node.domain or not has_body(node, current):
        return False
    since = _since(node.op_type, current)
    return since > version and since not in _widened().get(node.op_type, [])


def _lower(node: ir.Node, current: int, version: int, names: Names) -> str | None:
    """Rewrite one node for the older opset; the reason where that can't be done."""
    changes = [since for since in _versions(node.op_type, current) if since > version]
    unknown = [since for since in changes if since not in _widened().get(node.op_type, [])]
    lowering = LOWERINGS.get(node.op_type)
    if unknown:
        return f"its meaning changed in opset {unknown[0]}"
    if lowering is not None:
        problem = lowering(node, names)
        if problem is not None:
            return problem
    return _checked(node, version)


def _versions(op_type: str, current: int) -> list[int]:
    """Every version of the op up to the current one, oldest first."""
    found: list[int] = []
    version = current
    while version > 0 and onnx.defs.has(op_type, "") and (since := _since_or_none(op_type, version)):
        found.insert(0, since)
        version = since - 1
    return found


def _since_or_none(op_type: str, version: int) -> int | None:
    try:
        return _since(op_type, version)
    except onnx.defs.SchemaError:
        return None


def _checked(node: ir.Node, version: int) -> str | None:
    """The node by the older opset's own schema: attributes, number of inputs and dtypes."""
    schema = onnx.defs.get_schema(node.op_type, version, "")
    unknown = [name for name in node.attributes if name not in schema.attributes]
    if unknown:
        return f"attribute '{unknown[0]}' is newer"
    if len(node.inputs) > schema.max_input or len(node.outputs) > schema.max_output:
        return "it has inputs or outputs that are newer"
    for index, value in enumerate(node.inputs):
        formal = schema.inputs[min(index, len(schema.inputs) - 1)]
        known = {text.removeprefix("tensor(").removesuffix(")") for text in formal.types}
        if value is not None and value.dtype is not None and _name(value.dtype) not in known:
            return f"input {index} has dtype {_name(value.dtype)}"
    return None


def _name(dtype: ir.DataType) -> str:
    return str(onnx.TensorProto.DataType.Name(int(dtype))).lower()
