"""Extremes that are not read but follow, against those of the tensor itself; and where a NaN shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit._values import Component
from edgekit.calibration.follow_extremes import follow_extremes
from edgekit.calibration.hand_on_nans import find_handed_on
from edgekit.calibration.observe_ranges import observe_ranges
from edgekit.calibration.samples import Sample, Samples
from edgekit.errors import SamplesError

X = np.random.default_rng(0).normal(0, 3, (1, 2, 6, 5)).astype(np.float32)


def scalar(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def make_model(
    kind: str, inputs: list[str], weights: dict[str, np.ndarray], dims: tuple[int, ...], **given: Any
) -> onnx.ModelProto:
    """x -> Neg -> `kind` -> y, so that what the node reads is made by another node."""
    nodes = [
        helper.make_node("Neg", ["x"], ["n"], name="before"),
        helper.make_node(kind, inputs, ["y"], name="node", **given),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def node_of(model: onnx.ModelProto) -> ir.Node:
    return next(node for node in ir.from_proto(model).graph if node.name == "node")


def samples_of(*arrays: np.ndarray) -> Samples:
    made = [Sample(f"s{index}", {"x": array}) for index, array in enumerate(arrays)]
    return Samples("e" * 64, "real", "test", len(made), lambda: iter(made))


def nearest(coordinates: str, rounding: str) -> dict[str, Any]:
    return {
        "mode": "nearest",
        "coordinate_transformation_mode": coordinates,
        "nearest_mode": rounding,
    }


FOLLOWING = [
    pytest.param("Add", ["n", "c"], {"c": scalar(0.3)}, {}, id="add"),
    pytest.param("Add", ["c", "n"], {"c": np.full((1, 1, 1, 1, 1), 1e-7, np.float32)}, {}, id="add little"),
    pytest.param("Sub", ["n", "c"], {"c": scalar(0.7)}, {}, id="sub"),
    pytest.param("Mul", ["n", "c"], {"c": np.array([1 / 3], np.float32)}, {}, id="mul"),
    pytest.param("Mul", ["c", "n"], {"c": scalar(-1.7)}, {}, id="mul by a negative"),
    pytest.param("Div", ["n", "c"], {"c": scalar(6)}, {}, id="div"),
    pytest.param("Div", ["n", "c"], {"c": scalar(-0.1)}, {}, id="div by a negative"),
    pytest.param("Relu", ["n"], {}, {}, id="relu"),
    pytest.param("Clip", ["n", "c", ""], {"c": scalar(-1)}, {}, id="clip"),
    pytest.param("Concat", ["n", "n"], {}, {"axis": 1}, id="concat"),
    pytest.param("Transpose", ["n"], {}, {"perm": [0, 3, 1, 2]}, id="transpose"),
    *[
        pytest.param(
            "Resize",
            ["n", "", "s"],
            {"s": np.array([1, 1, factor, 4], np.float32)},
            nearest(coordinates, rounding),
            id=f"resize {factor} {coordinates} {rounding}",
        )
        for factor in (2, 3)
        for coordinates in ("asymmetric", "half_pixel", "pytorch_half_pixel")
        for rounding in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
    ],
]


@pytest.mark.parametrize(("kind", "inputs", "weights", "given"), FOLLOWING)
def test_extremes_that_follow_equal_those_of_the_tensor(
    kind: str, inputs: list[str], weights: dict[str, np.ndarray], given: dict[str, Any]
) -> None:
    model = make_model(kind, inputs, weights, X.shape, **given)
    node = node_of(model)
    assert follow_extremes(node, {value for value in node.inputs if value is not None}) is not None
    # The extreme at each place in turn: an output that leaves a place out would miss it.
    arrays = [X, *[np.where(np.arange(X.size).reshape(X.shape) == place, 50, X) for place in range(X.size)]]
    for array in [item.astype(np.float32) for item in arrays]:
        found = observe_ranges(Component("m", ir.from_proto(model), "d" * 64), samples_of(array)).ranges["y"]
        truth = run(model, array)
        assert (found.low, found.high) == (float(truth.min()), float(truth.max()))


@pytest.mark.parametrize(
    ("kind", "inputs", "weights", "given"),
    [
        pytest.param("Sub", ["c", "n"], {"c": scalar(1)}, {}, id="the number first"),
        pytest.param("Div", ["c", "n"], {"c": scalar(1)}, {}, id="a quotient that jumps at 0"),
        pytest.param("Mul", ["n", "c"], {"c": scalar(0)}, {}, id="nothing is left"),
        pytest.param("Mul", ["n", "c"], {"c": scalar(np.inf)}, {}, id="an infinite factor"),
        pytest.param("Add", ["n", "c"], {"c": np.ones(5, np.float32)}, {}, id="several numbers"),
        pytest.param("Sigmoid", ["n"], {}, {}, id="an op that is rounded as its kernel likes"),
        pytest.param(
            "Resize",
            ["n", "", "s"],
            {"s": np.array([1, 1, 1.5, 2], np.float32)},
            nearest("asymmetric", "floor"),
            id="no whole factor",
        ),
        pytest.param(
            "Resize",
            ["n", "", "s"],
            {"s": np.array([1, 1, 2, 2], np.float32)},
            nearest("align_corners", "floor"),
            id="other places",
        ),
        pytest.param(
            "Resize",
            ["n", "", "s"],
            {"s": np.array([1, 1, 2, 2], np.float32)},
            {"mode": "linear"},
            id="mean",
        ),
    ],
)
def test_what_does_not_follow_is_measured_itself(
    kind: str, inputs: list[str], weights: dict[str, np.ndarray], given: dict[str, Any]
) -> None:
    node = node_of(make_model(kind, inputs, weights, X.shape, **given))
    assert follow_extremes(node, {value for value in node.inputs if value is not None}) is None


W = np.random.default_rng(1).normal(0, 1, (2, 2, 3, 3)).astype(np.float32)
HANDING = [
    pytest.param("Conv", ["n", "w"], {"w": W}, {}, True, id="conv"),
    pytest.param("Conv", ["n", "w"], {"w": W * 0}, {"pads": [1, 1, 1, 1]}, True, id="weights of zero"),
    pytest.param("Conv", ["n", "w"], {"w": W}, {"strides": [3, 2], "pads": [0, 0, 0, 0]}, True, id="strides"),
    pytest.param("Conv", ["n", "w"], {"w": W}, {"strides": [2, 2]}, False, id="a last row is left out"),
    pytest.param("Conv", ["n", "w"], {"w": W[:, :, :1, :1]}, {"strides": [2, 2]}, False, id="gaps"),
    pytest.param("Conv", ["n", "w"], {"w": W}, {"dilations": [2, 2]}, False, id="holes"),
    pytest.param("ConvTranspose", ["n", "w"], {"w": W}, {"strides": [2, 2]}, True, id="transposed"),
    pytest.param(
        "ConvTranspose", ["n", "w"], {"w": W[:, :, :1, :1]}, {"pads": [1, 0, 0, 0]}, False, id="cropped"
    ),
    pytest.param("MatMul", ["n", "w"], {"w": np.zeros((5, 3), np.float32)}, {}, True, id="matmul"),
    pytest.param("Mul", ["n", "w"], {"w": scalar(0)}, {}, True, id="mul by zero"),
    pytest.param("Div", ["w", "n"], {"w": scalar(1)}, {}, True, id="div"),
    pytest.param("Concat", ["n", "n"], {}, {"axis": 0}, True, id="concat"),
    pytest.param("GlobalAveragePool", ["n"], {}, {}, True, id="mean"),
    pytest.param("ReduceSum", ["n"], {}, {}, True, id="sum"),
    pytest.param("MaxPool", ["n"], {}, {"kernel_shape": [2, 2]}, False, id="pooling"),
    pytest.param("Relu", ["n"], {}, {}, False, id="relu"),
]


@pytest.mark.parametrize(("kind", "inputs", "weights", "given", "hands_on"), HANDING)
def test_a_nan_that_is_said_to_show_later_does_wherever_it_is(
    kind: str, inputs: list[str], weights: dict[str, np.ndarray], given: dict[str, Any], hands_on: bool
) -> None:
    model = make_model(kind, inputs, weights, X.shape, **given)
    graph = ir.from_proto(model).graph
    named = {value.name for value in find_handed_on(graph, set(graph.outputs))}
    assert ("n" in named) == hands_on
    for place in range(X.size if hands_on else 0):
        array = X.copy()
        array.reshape(-1)[place] = np.nan
        assert np.isnan(run(model, array)).any(), place


@pytest.mark.parametrize(("kind", "inputs", "weights", "given", "_hands_on"), HANDING)
def test_the_first_tensor_with_a_nan_is_named_wherever_it_is(
    kind: str, inputs: list[str], weights: dict[str, np.ndarray], given: dict[str, Any], _hands_on: bool
) -> None:
    """The root of a negative number, handed on or not."""
    model = make_model(kind, inputs, weights, X.shape, **given)
    model.graph.node[0].op_type = "Sqrt"
    component = Component("m", ir.from_proto(model), "d" * 64)
    for place in range(0, X.size, 7):
        good, wrong = np.abs(X), np.abs(X)
        wrong.reshape(-1)[place] = -1
        with pytest.raises(SamplesError, match=r"'n' \(output of Sqrt 'before'\).* sample 's1'"):
            observe_ranges(component, samples_of(good, wrong))


def test_a_nan_shows_through_what_is_not_watched() -> None:
    """Of Sqrt -> Add -> Mul -> Relu only the root is watched, and then only what comes behind."""
    kinds = [("Sqrt", ["x"]), ("Add", ["t0", "t0"]), ("Mul", ["t1", "t0"]), ("Relu", ["t2"])]
    nodes = [
        helper.make_node(kind, inputs, [f"t{index}"], name=kind) for index, (kind, inputs) in enumerate(kinds)
    ]
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", "t3")]
    graph = helper.make_graph(nodes, "chain", info[:1], info[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    read = ir.from_proto(onnx.shape_inference.infer_shapes(model))
    values = {value.name: value for node in read.graph for value in node.outputs}
    assert values["t0"] in find_handed_on(read.graph, {values["t2"]})
    assert values["t0"] not in find_handed_on(read.graph, {values["t3"]})
