"""Shapes come from ONNX's own inference, in branches too, and no weight is copied for it."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from edgekit.passes._rewire import graphs_of
from edgekit.passes.infer_shapes import infer_shapes
from edgekit.sources.onnx_file import load_onnx
from tests.models import package_model


def infer_with_onnx(model: ir.Model) -> dict[str, list[int]]:
    """Every wholly known shape that ONNX infers with all weights in the message, by name."""
    proto = onnx.shape_inference.infer_shapes(ir.to_proto(model), data_prop=True)
    found = {}
    for graph in ir.from_proto(proto).graphs():
        for node in graph:
            for value in node.outputs:
                if value.name and value.shape is not None and value.shape.is_static():
                    found[value.name] = list(value.shape.numpy())
    return found


@pytest.mark.parametrize("name", ["ppocr-cls", "silero", "silero-half", "basic-pitch"])
def test_shapes_are_those_onnx_infers_with_the_weights_in_its_message(name: str) -> None:
    model = load_onnx(package_model(name)).model.clone()
    want = infer_with_onnx(model)
    infer_shapes(model)
    made = {value.name: value for graph in model.graphs() for node in graph for value in node.outputs}
    got = {key: made[key].shape for key in want}
    assert want
    assert {key: None if shape is None else list(shape) for key, shape in got.items()} == want


def test_inference_leaves_weights_initializers_and_inputs_as_they_are() -> None:
    model = load_onnx(package_model("ppocr-cls")).model.clone()
    inputs, weights = list(model.graph.inputs), dict(model.graph.initializers)
    tensors = {name: value.const_value for name, value in weights.items()}
    infer_shapes(model)
    assert list(model.graph.inputs) == inputs
    assert {name: value.const_value for name, value in model.graph.initializers.items()} == tensors


@pytest.mark.parametrize("name", ["ppocr-cls", "silero"])
def test_graphs_come_in_the_order_of_the_library(name: str) -> None:
    model = load_onnx(package_model(name)).model
    assert graphs_of(model) == tuple(model.graphs())
