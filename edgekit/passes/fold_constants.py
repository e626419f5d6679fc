"""Nodes that compute the same every time -> initializers, and If with a known condition -> its branch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx_ir as ir

from edgekit.passes._evaluate import evaluate_values
from edgekit.passes._rewire import (
    CONTROL_FLOW,
    constant_array,
    constant_tensor,
    graph_of,
    graphs_of,
    initializer_from,
    input_of,
    is_hollow,
    let_go,
    nodes_of,
    static_shape,
)
from edgekit.passes.infer_shapes import infer_shapes
from edgekit.passes.inline_branches import inline_branches
from edgekit.passes.remove_unused import remove_unused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Branches = Literal["fold", "keep"]

# Largest tensor that folding may create; a hostile Expand or ConstantOfShape must not fill the memory.
LARGEST_FOLDED_BYTES = 64 * 2**20
# Quantized constants stay as Q/DQ pairs; the random ops give something else each time.
_KEPT_OPS = CONTROL_FLOW | {
    "Bernoulli", "Constant", "DequantizeLinear", "Dropout", "DynamicQuantizeLinear", "Multinomial",
    "QuantizeLinear", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
}  # fmt: skip
# Ops whose output size hangs on the data but never grows beyond a small multiple of the input.
_SHRINKING = frozenset({"Compress", "NonZero", "Unique"})
_ROUNDS = 64


def fold_constants(model: ir.Model, branches: Branches = "fold") -> int:
    """Infer shapes and fold until nothing changes; returns how many nodes were folded or branches inlined.

    branches `keep`: what lies inside an If or Loop that stays is left as it is.
    Values are computed by ONNX Runtime itself. Works on shapes that are known (run fix_shapes first);
    tensors above LARGEST_FOLDED_BYTES, quantized constants and random ops are left as they are. Of larger
    weights only a Transpose is folded, and its numbers are read when they are needed: a head that is tied to
    a vocabulary's table is then a weight like any other.
    """
    infer_shapes(model)
    return fold_inferred(model, branches)


def fold_inferred(model: ir.Model, branches: Branches = "fold") -> int:
    """`fold_constants` for a model whose shapes were inferred; they are again after what is folded."""
    total = 0
    for _ in range(_ROUNDS):
        graphs = graphs_of(model) if branches == "fold" else (model.graph,)
        folded = _fold_shapes(graphs) + _turn_weights(graphs)
        folded += sum(_fold_graph(model, graph) for graph in graphs)
        folded += inline_branches(model, graphs=graphs)
        remove_unused(model)
        if not folded:
            break
        total += folded
        infer_shapes(model)
    return total


def _fold_shapes(graphs: Iterable[ir.Graph]) -> int:
    """Shape and Size of values whose dims are known, and Gather or Slice that reads known dims of a Shape."""
    folded = 0
    for node in nodes_of(graphs):
        array = _known_shape_result(node)
        if array is not None:
            folded += _replace(node.outputs[0], ir.tensor(array))
    return folded


def _known_shape_result(node: ir.Node) -> np.ndarray | None:
    if node.domain or node.op_type not in ("Shape", "Size", "Gather", "Slice"):
        return None
    if node.op_type == "Size":
        shape = static_shape(input_of(node, 0))
        return None if shape is None else np.array(np.prod(shape, dtype=np.int64))
    if node.op_type == "Shape":
        return _all_known(_dims_of(node))
    source = input_of(node, 0)
    maker = None if source is None else source.producer()
    if maker is None or maker.op_type != "Shape" or maker.domain:
        return None
    return _all_known(_picked(node, _dims_of(maker)))


def _dims_of(shape_node: ir.Node) -> np.ndarray | None:
    """What a Shape node gives, -1 for an unknown dim."""
    source = input_of(shape_node, 0)
    if source is None or source.shape is None:
        return None
    dims = np.array([dim if isinstance(dim, int) else -1 for dim in source.shape], np.int64)
    start, end = (shape_node.attributes.get(name) for name in ("start", "end"))
    return dims[slice(start.as_int() if start else 0, end.as_int() if end else None)]


def _picked(node: ir.Node, dims: np.ndarray | None) -> np.ndarray | None:
    arguments = [constant_array(value) for value in node.inputs[1:]]
    if dims is None or not arguments or any(argument is None for argument in arguments):
        return None
    known = [argument for argument in arguments if argument is not None]
    if node.op_type == "Gather":
        indices = known[0]
        return np.asarray(dims[indices]) if np.all((indices >= -len(dims)) & (indices < len(dims))) else None
    if len(known) < 2 or any(argument.size != 1 for argument in known):
        return None
    step = int(known[3].item()) if len(known) > 3 else 1
    return dims[int(known[0].item()) : int(known[1].item()) : step] if step > 0 else None


def _all_known(dims: np.ndarray | None) -> np.ndarray | None:
    return None if dims is None or np.any(dims < 0) else dims


def _turn_weights(graphs: Iterable[ir.Graph]) -> int:
    """Transpose of weights too large to be folded as the others are."""
    folded = 0
    for node in nodes_of(graphs):
        if node.op_type != "Transpose" or node.domain or node.outputs[0].is_graph_output():
            continue
        tensor = constant_tensor(node.inputs[0])
        if tensor is None or tensor.nbytes <= LARGEST_FOLDED_BYTES or is_hollow(tensor):
            continue
        perm, last = node.attributes.get("perm"), range(len(tensor.shape))[::-1]
        axes = tuple(last if perm is None else perm.as_ints())
        if sorted(axes) == sorted(last):
            folded += _replace(node.outputs[0], _turned(tensor, axes))
    return folded


def _turned(tensor: ir.TensorProtocol, axes: tuple[int, ...]) -> ir.LazyTensor:
    shape = ir.Shape([tensor.shape.numpy()[axis] for axis in axes])
    return ir.LazyTensor(lambda: _transpose(tensor, axes), tensor.dtype, shape, name=tensor.name)


def _transpose(tensor: ir.TensorProtocol, axes: tuple[int, ...]) -> ir.TensorProtocol:
    made = ir.Tensor(np.ascontiguousarray(tensor.numpy().transpose(axes)), dtype=tensor.dtype)
    let_go(tensor)
    return made


def _fold_graph(model: ir.Model, graph: ir.Graph) -> int:
    nodes = list(_constant_nodes(graph))
    members = set(nodes)
    wanted = [
        output
        for node in nodes
        for output in node.outputs
        if output.is_graph_output() or any(user not in members for user, _ in output.uses())
    ]
    if not wanted:
        return 0
    arrays = evaluate_values(nodes, wanted, opsets=dict(model.opset_imports))
    for value, array in arrays.items():
        _replace(value, ir.tensor(array))
    return len(arrays)


def _constant_nodes(graph: ir.Graph) -> Iterator[ir.Node]:
    known: set[ir.Value] = set()
    for node in graph:
        if node.op_type in _KEPT_OPS or node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type == "Identity" and node.outputs[0].is_graph_output():
            continue
        inputs = [value for value in node.inputs if value is not None]
        constant = inputs and all(value in known or _is_small_constant(value) for value in inputs)
        fresh = node.op_type in _SHRINKING and not known.intersection(inputs)
        if constant and (fresh or all(_is_small(output) for output in node.outputs)):
            known.update(node.outputs)
            yield node


def _is_small_constant(value: ir.Value) -> bool:
    tensor = constant_tensor(value)
    return tensor is not None and tensor.nbytes <= LARGEST_FOLDED_BYTES


def _is_small(value: ir.Value) -> bool:
    if not value.name:
        return True
    shape = static_shape(value)
    if shape is None or value.dtype is None or value.dtype == ir.DataType.STRING:
        return False
    return float(np.prod(shape, dtype=np.float64)) * value.dtype.itemsize <= LARGEST_FOLDED_BYTES


def _replace(value: ir.Value, tensor: ir.TensorProtocol) -> int:
    """Let the value's users read a constant; its producer goes when nobody reads it any more."""
    producer = value.producer()
    if producer is None:
        return 0
    graph, name = graph_of(producer), value.name or ""
    if value.is_graph_output():
        return _replace_output(value, tensor, graph)
    constant = initializer_from(tensor, name)
    value.name = f"{name}/folded"
    value.replace_all_uses_with(constant)
    graph.register_initializer(constant)
    return 1


def _replace_output(value: ir.Value, tensor: ir.TensorProtocol, graph: ir.Graph) -> int:
    """A graph output must come out of a node: an Identity of the constant."""
    name = value.name or ""
    constant = initializer_from(tensor, f"{name}/constant")
    if constant.name in graph.initializers:
        return 0
    copy = ir.node("Identity", inputs=[constant], name=f"{name}/Identity")
    graph.append(copy)
    graph.register_initializer(constant)
    value.replace_all_uses_with(copy.outputs[0], replace_graph_outputs=True)
    value.name = f"{name}/folded"
    copy.outputs[0].name, copy.outputs[0].shape, copy.outputs[0].type = name, constant.shape, value.type
    return 1
