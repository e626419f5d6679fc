"""float32 weights and compute -> float16; inputs and outputs stay float32."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir

from edgekit.passes._rewire import Names, constant_array, graph_of, graphs_of
from edgekit.passes.name_nodes import name_nodes
from edgekit.passes.remove_unused import remove_unused

if TYPE_CHECKING:
    from collections.abc import Iterator

FLOAT, HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
LARGEST_HALF = 65504.0
# Ops whose output dtype is an attribute, and that attribute.
_DTYPE_ATTRIBUTES = {"Cast": "to", "EyeLike": "dtype", "RandomNormal": "dtype", "RandomUniform": "dtype"}


def to_float16(model: ir.Model) -> int:
    """Make the model compute in float16; returns how many nodes do.

    Nodes stay in float32, with casts around them, where float16.toml lists their op, where the op has no
    float16 form, and where a constant they read leaves float16's range (or a scalar would become 0).
    Constants must be initializers (lift_constants) and every value must have its dtype (infer_shapes).
    """
    names = Names(model)
    nodes = [node for graph in graphs_of(model) for node in graph]
    version = model.opset_imports[""]
    kept = {node for node in nodes if _stays_float(node, version)}
    floats = [value for node in nodes for value in node.outputs if value.dtype == FLOAT]
    for value in floats:
        value.type = ir.TensorType(
            HALF
        )  # a new type: a clone shares its values' type objects with its source
    _cast_inputs(model, names)
    halves: dict[ir.Value, ir.Value] = {}
    for node in nodes:
        if node in kept:
            _keep_float(node, names)
        else:
            _make_half(node, version, names, halves)
    _cast_outputs(model, names)
    remove_unused(model)
    name_nodes(model)
    return len(nodes) - len(kept)


@cache
def _float_ops() -> frozenset[str]:
    text = (files("edgekit.passes") / "float16.toml").read_text(encoding="utf-8")
    return frozenset(tomllib.loads(text)["float32"])


def _stays_float(node: ir.Node, version: int) -> bool:
    if node.op_type in _float_ops() or node.domain:
        return True
    constants = [array for array in map(constant_array, node.inputs) if array is not None]
    return any(_leaves_range(array) for array in constants if array.dtype == np.float32) or not any(
        _accepts_half(node, index, version) for index, _ in _float_places(node)
    )


def _float_places(node: ir.Node) -> Iterator[tuple[int, ir.Value]]:
    for index, value in enumerate(node.inputs):
        if value is not None and value.dtype in (FLOAT, HALF):
            yield index, value


def _leaves_range(array: np.ndarray) -> bool:
    finite = array[np.isfinite(array)]
    if np.any(np.abs(finite) > LARGEST_HALF):
        return True
    return array.size == 1 and bool(array.reshape(-1)[0] != 0) and np.float16(array.reshape(-1)[0]) == 0


def _accepts_half(node: ir.Node, index: int, version: int) -> bool:
    schema = onnx.defs.get_schema(node.op_type, version, node.domain)
    formal = schema.inputs[min(index, len(schema.inputs) - 1)]
    return "tensor(float16)" in formal.types


def _cast_inputs(model: ir.Model, names: Names) -> None:
    for value in tuple(model.graph.inputs):
        if value.dtype != FLOAT or value.is_initializer():
            continue
        cast = _cast_node(value, HALF, names.free(f"{value.name}/half"))
        value.replace_all_uses_with(cast.outputs[0])
        cast.replace_input_with(0, value)
        model.graph.insert_before(model.graph[0], cast)


def _cast_outputs(model: ir.Model, names: Names) -> None:
    for value in tuple(model.graph.outputs):
        producer = value.producer()
        if value.dtype != HALF or producer is None:
            continue
        name = value.name or ""
        value.name = names.free(f"{name}/half")
        cast = _cast_node(value, FLOAT, name)
        model.graph.outputs[list(model.graph.outputs).index(value)] = cast.outputs[0]
        model.graph.append(cast)


def _cast_node(value: ir.Value, dtype: ir.DataType, name: str) -> ir.Node:
    node = ir.node("Cast", inputs=[value], attributes={"to": int(dtype)}, name=f"{name}/Cast")
    output = node.outputs[0]
    output.name, output.type, output.shape = name, ir.TensorType(dtype), value.shape
    return node


def _make_half(node: ir.Node, version: int, names: Names, halves: dict[ir.Value, ir.Value]) -> None:
    name = _DTYPE_ATTRIBUTES.get(node.op_type)
    attribute = None if name is None else node.attributes.get(name)
    if name is not None and attribute is not None and attribute.as_int() == FLOAT:
        node.attributes[name] = ir.AttrInt64(name, int(HALF))
    fill = node.attributes.get("value") if node.op_type == "ConstantOfShape" else None
    if node.op_type == "ConstantOfShape" and (fill is None or fill.as_tensor().dtype == FLOAT):
        array = np.zeros(1) if fill is None else fill.as_tensor().numpy()
        node.attributes["value"] = ir.AttrTensor("value", ir.tensor(array.astype(np.float16)))
    for index, value in _float_places(node):
        if _accepts_half(node, index, version):
            _replace_constant(node, index, names, halves)
        elif value.dtype == HALF:
            node.replace_input_with(index, _float_of(node, value, names))


def _replace_constant(node: ir.Node, index: int, names: Names, halves: dict[ir.Value, ir.Value]) -> None:
    value = node.inputs[index]
    array = constant_array(value)
    if value is None or array is None or array.dtype != np.float32:
        return
    if value not in halves:
        graph = value.graph if isinstance(value.graph, ir.Graph) else graph_of(node)
        halves[value] = names.add_initializer(graph, f"{value.name}/half", array.astype(np.float16))
    node.replace_input_with(index, halves[value])


def _keep_float(node: ir.Node, names: Names) -> None:
    """Float inputs by a Cast (or straight from a float node before), half outputs under their old names."""
    for index, value in _float_places(node):
        if value.dtype == HALF:
            node.replace_input_with(index, _float_of(node, value, names))
    for output in node.outputs:
        if output.dtype != HALF:
            continue
        name = output.name or ""
        output.name, output.type = names.free(f"{name}/float"), ir.TensorType(FLOAT)
        cast = _cast_node(output, HALF, name)
        output.replace_all_uses_with(cast.outputs[0], replace_graph_outputs=True)
        cast.replace_input_with(0, output)
        graph_of(node).insert_after(node, cast)


def _float_of(node: ir.Node, value: ir.Value, names: Names) -> ir.Value:
    producer = value.producer()
    if producer is not None and producer.op_type == "Cast":
        source = producer.inputs[0]
        if source is not None and source.dtype == FLOAT:
            return source
    cast = _cast_node(value, FLOAT, names.free(f"{value.name}/float"))
    graph_of(node).insert_before(node, cast)
    return cast.outputs[0]
