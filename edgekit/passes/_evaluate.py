"""Compute the values of constant nodes with ONNX Runtime, the truth that passes are held to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir

from edgekit.passes._rewire import constant_tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Every ONNX Runtime since 1.10 reads it; the small graph made here needs nothing newer.
_IR_VERSION = 8


def evaluate_values(
    nodes: Sequence[ir.Node], wanted: Sequence[ir.Value], *, opsets: Mapping[str, int]
) -> dict[ir.Value, np.ndarray]:
    """The wanted outputs of `nodes` (topologically sorted, all inputs constant).

    A value that ONNX Runtime can't compute (no kernel, a runtime error) is left out.
    """
    try:
        return _run(nodes, wanted, opsets)
    except Exception:  # noqa: BLE001 - ONNX Runtime raises bare exceptions of many kinds
        if len(nodes) == 1:
            return {}
    found: dict[ir.Value, np.ndarray] = {}
    for node in nodes:
        if all(value is None or constant_tensor(value) is not None for value in node.inputs):
            outputs = [value for value in node.outputs if value.name]
            found |= evaluate_values([node], outputs, opsets=opsets)
    return found


def _run(
    nodes: Sequence[ir.Node], wanted: Sequence[ir.Value], opsets: Mapping[str, int]
) -> dict[ir.Value, np.ndarray]:
    import onnxruntime as ort  # many graphs have nothing to compute

    made = {output for node in nodes for output in node.outputs}
    weights: dict[str, onnx.TensorProto] = {}
    for node in nodes:
        for value in node.inputs:
            tensor = None if value is None or value in made else constant_tensor(value)
            if value is not None and tensor is not None:
                weights[value.name or ""] = _tensor_proto(tensor, value.name or "")
    outputs = [onnx.ValueInfoProto(name=value.name) for value in wanted]
    protos = [ir.to_proto(node) for node in nodes]
    graph = onnx.helper.make_graph(protos, "constants", [], outputs, list(weights.values()))
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    model = onnx.helper.make_model(graph, opset_imports=imports, ir_version=_IR_VERSION)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    results = session.run([value.name for value in wanted], {})
    return {value: np.asarray(result) for value, result in zip(wanted, results, strict=True)}


def _tensor_proto(tensor: ir.TensorProtocol, name: str) -> onnx.TensorProto:
    if isinstance(tensor, ir.ExternalTensor):
        return onnx.numpy_helper.from_array(tensor.numpy(), name)
    proto = onnx.TensorProto()
    proto.CopyFrom(ir.serde.serialize_tensor(tensor))
    proto.name = name
    return proto
