"""Small nets for the Q/DQ tests, and Q/DQ arithmetic written out in numpy: nothing here asks edgekit._qdq."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgekit._values import Component
from edgekit.calibration.record import CalibrationRecord, ChannelRange, TensorRange
from edgekit.passes.infer_shapes import infer_shapes
from tests.models import run_onnx

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Array = np.ndarray
    Arrays = Mapping[str, np.ndarray]

node = helper.make_node


def f32(values: float | Sequence[float]) -> Array:
    """Any numbers as a float32 array."""
    return np.asarray(values, np.float32)


def normal(*shape: int, seed: int = 0, reach: float = 1.0) -> Array:
    """Seeded numbers within +-reach."""
    values = np.random.default_rng((seed, *shape)).uniform(-reach, reach, shape)
    return values.astype(np.float32)


def net(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Sequence[str],
    weights: Arrays | None = None,
    *,
    opset: int = 17,
) -> onnx.ModelProto:
    """A checked model; float32 throughout, output shapes left to inference."""
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    return model


def as_component(model: onnx.ModelProto) -> Component:
    made = ir.from_proto(model)
    infer_shapes(made)
    return Component("model", made, "digest")


def all_tensors(model: onnx.ModelProto, feeds: Arrays) -> dict[str, Array]:
    """Every float tensor that plain ONNX Runtime computes, graph inputs included."""
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    present = {value.name for value in tapped.graph.output}
    for made in (name for item in tapped.graph.node for name in item.output):
        if made and made not in present:
            tapped.graph.output.append(onnx.ValueInfoProto(name=made))
    return {**feeds, **run_onnx(tapped, dict(feeds))}


def as_range(values: Array) -> TensorRange:
    low, high = float(values.min()), float(values.max())
    return TensorRange(low, high, max(abs(low), abs(high)), min(low, 0.0), max(high, 0.0))


def as_channels(values: Array, kept: int = 1) -> ChannelRange:
    others = tuple(axis for axis in range(values.ndim) if axis != kept)
    low, high = values.min(axis=others), values.max(axis=others)
    return ChannelRange(tuple(map(float, low)), tuple(map(float, high)))


def record_of(tensors: Arrays, axes: Mapping[str, int] | None = None) -> CalibrationRecord:
    """Exact extremes of these very tensors; their channels lie along axis 1, or as `axes` says."""
    floats = {name: values for name, values in tensors.items() if values.dtype == np.float32}
    ranges = {name: as_range(values) for name, values in floats.items()}
    channels = {
        name: as_channels(values, (axes or {}).get(name, 1))
        for name, values in floats.items()
        if values.ndim > 1
    }
    return CalibrationRecord("model", "digest", "samples", "real", 1, "minmax", {}, ranges, channels=channels)


def record_for(model: onnx.ModelProto, feeds: Arrays) -> CalibrationRecord:
    return record_of(all_tensors(model, feeds))


def portable_scale(largest: float) -> float:
    """largest / 127, the next fp16 number up, at least 2^-14."""
    wanted = np.float64(max(largest / 127, 2.0**-14))
    near = np.float16(wanted)
    return float(near if np.float64(near) >= wanted else np.nextafter(near, np.float16(np.inf)))


def fake(values: Array, scale: float | Array) -> Array:
    """Rounded to whole multiples of scale, -128..127 of them, and back."""
    return (np.clip(np.rint(values / np.float32(scale)), -128, 127) * np.float32(scale)).astype(np.float32)


def channel_scales(weight: Array, axis: int | None) -> Array:
    """One portable scale a channel, shaped to broadcast over the weight."""
    others = tuple(i for i in range(weight.ndim) if i != axis) if axis is not None else None
    largest = np.abs(weight).max(axis=others, keepdims=axis is not None)
    return np.asarray(np.vectorize(portable_scale)(largest), np.float32)


def simulate(model: onnx.ModelProto, feeds: Arrays, scales: Mapping[str, float], weights: Arrays) -> Arrays:
    """The net node by node in ONNX's reference evaluator: tensors of `scales` faked once they are made,
    `weights` in place of the float parameters.
    """
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    known |= dict(weights)
    known |= {name: fake(array, scales[name]) if name in scales else array for name, array in feeds.items()}
    opset = [helper.make_opsetid("", model.opset_import[0].version)]
    for item in model.graph.node:
        inputs = [name for name in item.input if name]
        infos = [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(known[name].dtype), known[name].shape
            )
            for name in dict.fromkeys(inputs)
        ]
        outs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in item.output]
        single = helper.make_model(helper.make_graph([item], "one", infos, outs), opset_imports=opset)
        results = ReferenceEvaluator(single).run(None, {name: known[name] for name in dict.fromkeys(inputs)})
        for name, result in zip(item.output, results, strict=True):
            made = np.asarray(result, np.float32)
            known[name] = fake(made, scales[name]) if name in scales else made
    return {value.name: known[value.name] for value in model.graph.output}


def quantized_nodes(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """Source tensor -> its QuantizeLinear."""
    return {item.input[0]: item for item in model.graph.node if item.op_type == "QuantizeLinear"}


def initializers(model: onnx.ModelProto) -> dict[str, Array]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def sqnr(expected: Array, got: Array) -> float:
    noise = float(((expected - got) ** 2).sum())
    return float("inf") if noise == 0 else 10 * float(np.log10((expected**2).sum() / noise))
