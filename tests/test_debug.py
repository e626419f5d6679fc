"""edgekit debug: each layer's error beside a numpy formula, whom it blames, and the cut-out layer."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgekit
from edgekit._debug.find_errors import _blame
from edgekit._results import OutputParity
from edgekit.errors import UsageError
from edgekit.reports.debug_page import render_page
from tests.converted import run

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._debug import DebugResult

RNG = np.random.default_rng(7)
# Two products: the second one's weights have one huge column, which costs the others their steps.
FIRST = RNG.standard_normal((8, 8)).astype(np.float32)
SECOND = RNG.standard_normal((8, 8)).astype(np.float32)
DATA = RNG.standard_normal((6, 4, 8)).astype(np.float32)


def two_products() -> onnx.ModelProto:
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "first"], ["h"], "early"),
            helper.make_node("MatMul", ["h", "second"], ["y"], "late"),
        ],
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 8])],
        [numpy_helper.from_array(FIRST, "first"), numpy_helper.from_array(SECOND, "second")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("debug")
    (folder / "m.onnx").write_bytes(two_products().SerializeToString())
    np.save(folder / "data.npy", DATA[:, None].reshape(6, 4, 8))
    (folder / "data").mkdir()
    for index, sample in enumerate(DATA):
        np.savez(folder / "data" / f"{index}.npz", allow_pickle=False, x=sample)
    return folder


@pytest.fixture(scope="module")
def result(place: Path) -> DebugResult:
    options: Any = {"targets": "litert", "samples": place / "data", "cache": "off", "output": place / "out"}
    (found,) = edgekit.debug(place / "m.onnx", **options)
    return found


def quantize(values: np.ndarray, scale: float) -> np.ndarray:
    return (np.clip(np.rint(values / np.float32(scale)), -128, 127) * np.float32(scale)).astype(np.float32)


def sqnr(actual: np.ndarray, exact: np.ndarray) -> float:
    noise = np.sum((actual.astype(np.float64) - exact) ** 2)
    return float(10 * np.log10(np.sum(exact.astype(np.float64) ** 2) / noise))


def scales_of(result: DebugResult) -> dict[str, float]:
    """The scales as they stand in the Q/DQ graph."""
    found = {}
    for node in result.qdq_model.graph:
        if node.op_type == "QuantizeLinear" and node.inputs[0] is not None and node.inputs[1] is not None:
            array = node.inputs[1].const_value
            assert array is not None
            found[str(node.inputs[0].name)] = float(array.numpy())
    return found


def weight_of(result: DebugResult, node: str) -> np.ndarray:
    """A product's weights as its integers restore them."""
    product = next(one for one in result.qdq_model.graph if one.name == node)
    restored = product.inputs[1]
    maker = None if restored is None else restored.producer()
    assert maker is not None
    codes, scale = maker.inputs[0], maker.inputs[1]
    assert codes is not None
    assert scale is not None
    assert codes.const_value is not None
    assert scale.const_value is not None
    restored_array: np.ndarray = codes.const_value.numpy().astype(np.float32) * scale.const_value.numpy()
    return restored_array


def test_a_layers_own_error_is_that_of_exact_inputs(result: DebugResult) -> None:
    """`h` alone: x comes quantized, weights too, and the result is rounded: numpy says what that costs."""
    layer = next(one for one in result.layers if one.op == "MatMul")
    scales = scales_of(result)
    samples = DATA[: result.samples]
    exact = np.concatenate([sample @ FIRST for sample in samples])
    inputs = [quantize(sample, scales["x"]) for sample in samples]
    own = np.concatenate(
        [quantize(one @ weight_of(result, layer.node), scales[layer.tensor]) for one in inputs]
    )
    equalized = next(value for value in scales if value.startswith("h"))
    assert layer.tensor == equalized
    assert layer.own.sqnr_db == pytest.approx(sqnr(own, exact), abs=0.3)


def test_errors_accumulate_and_the_artifact_follows(result: DebugResult) -> None:
    for layer in result.layers:
        assert layer.accumulated.sqnr_db <= layer.own.sqnr_db + 1.0
        if layer.artifact is not None:
            assert layer.artifact.sqnr_db == pytest.approx(layer.accumulated.sqnr_db, abs=3.0)
    assert not [layer for layer in result.layers if layer.blame == "lowering"]


def parity(sqnr_db: float) -> OutputParity:
    return OutputParity("t", sqnr_db, 1.0, 0.0, None)


@pytest.mark.parametrize(
    ("own", "whole", "artifact", "blame"),
    [
        (40.0, 30.0, 29.0, ""),
        (40.0, 30.0, 20.0, "lowering"),
        (10.0, 9.0, 9.5, "quantization"),
        (10.0, 9.0, 1.0, "lowering"),
        (10.0, 9.0, None, "quantization"),
        (40.0, 9.0, None, ""),
    ],
)
def test_blame_is_told_apart(own: float, whole: float, artifact: float | None, blame: str) -> None:
    made = None if artifact is None else parity(artifact)
    assert _blame(parity(own), parity(whole), made, narrowed=False, price=0.0) == blame


def test_a_layer_that_is_near_fp32_and_moves_the_outputs_is_blamed_too() -> None:
    assert _blame(parity(40.0), parity(39.0), None, narrowed=False, price=2.8) == "quantization"


def test_the_worst_layer_runs_alone_in_onnx_runtime_and_gives_the_exact_tensor(
    result: DebugResult, place: Path
) -> None:
    folder = place / "out" / result.device
    session = ort.InferenceSession(str(folder / "layer.onnx"), providers=["CPUExecutionProvider"])
    inputs = dict(np.load(folder / "inputs.npz"))
    assert set(inputs) == {value.name for value in session.get_inputs()}
    (tensor,) = (value.name for value in session.get_outputs())
    assert tensor == result.worst(1)[0].tensor
    want = DATA[0] @ FIRST if tensor.startswith("h") else DATA[0] @ FIRST @ SECOND
    np.testing.assert_allclose(np.asarray(session.run(None, inputs)[0]), want, rtol=1e-4, atol=1e-4)


def test_the_json_holds_every_layer(result: DebugResult, place: Path) -> None:
    (row,) = json.loads((place / "out" / "debug.json").read_text())
    assert [layer["tensor"] for layer in row["layers"]] == [layer.tensor for layer in result.layers]
    assert row["schema"] == "edgekit.debug"


def test_tensors_narrowed_on_purpose_are_not_called_worst(result: DebugResult) -> None:
    layers = tuple(replace(layer, narrowed=True) for layer in result.layers)
    assert replace(result, layers=layers).worst() == ()


def test_the_command_prints_the_worst_layers_and_the_way_out(place: Path) -> None:
    told = run("debug", place / "m.onnx", "-t", "ort-mobile", "--samples", place / "data", "--no-cache")
    assert told.exit_code == 0, told.output
    assert "in the artifact" in told.output
    assert "MatMul" in told.output
    assert "a twin file that gives them as outputs" in told.output


@pytest.mark.parametrize("sketch", [(), ("h",)])
def test_an_ort_files_tensors_come_from_a_twin_that_computes_the_same(
    place: Path, sketch: tuple[str, ...]
) -> None:
    """Also where the bundle would have a second file that gives sketched tensors, and no other one."""
    options: Any = {"targets": "ort-mobile", "samples": place / "data", "cache": "off", "sketch": sketch}
    (found,) = edgekit.debug(place / "m.onnx", **options)
    assert "a twin file" in found.note
    shown = [layer for layer in found.layers if layer.artifact is not None]
    assert shown
    for layer in shown:
        assert layer.artifact is not None
        assert layer.artifact.sqnr_db == pytest.approx(layer.accumulated.sqnr_db, abs=1.0)


def variance() -> onnx.ModelProto:
    """A normalization by E[x^2] - E[x]^2 of values that lie far from zero: a difference of large numbers."""
    node = helper.make_node
    nodes = [
        node("MatMul", ["x", "first"], ["h"], "early"),
        node("Add", ["h", "offset"], ["a"], "shift"),
        node("Mul", ["a", "a"], ["square"], "square"),
        node("ReduceMean", ["square"], ["mean_square"], "mean_square", axes=[-1], keepdims=1),
        node("ReduceMean", ["a"], ["mean"], "mean", axes=[-1], keepdims=1),
        node("Mul", ["mean", "mean"], ["squared_mean"], "squared_mean"),
        node("Sub", ["mean_square", "squared_mean"], ["variance"], "variance"),
        node("Sqrt", ["variance"], ["deviation"], "root"),
        node("Sub", ["a", "mean"], ["centred"], "centre"),
        node("Div", ["centred", "deviation"], ["normal"], "divide"),
        node("MatMul", ["normal", "second"], ["y"], "late"),
    ]
    weights = {"first": FIRST, "second": SECOND, "offset": np.full(8, 80.0, np.float32)}
    graph = helper.make_graph(
        nodes,
        "variance",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 8])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_every_op_in_int8_shows_the_one_that_cannot_bear_it(place: Path, tmp_path: Path) -> None:
    """The squares keep 40 dB of their own and still ruin their difference: the price tells, SQNR does not."""
    (place / "v.onnx").write_bytes(variance().SerializeToString())
    options: Any = {"targets": "ort-mobile", "samples": place / "data", "cache": "off", "only_ops": "all"}
    (found,) = edgekit.debug(place / "v.onnx", **options)
    first, second = found.worst(2)
    # Rounded means of squares lie below the squared mean: the root of that is no number.
    assert first.node == "variance"
    assert first.price == np.inf
    assert second.own.sqnr_db > 30.0
    assert second.price > found.layers[-1].price
    assert first.blame == "quantization"
    assert "none is built" in found.note
    with pytest.raises(UsageError, match="--only all"):
        edgekit.convert(place / "v.onnx", output=tmp_path, **options)


def test_the_page_plots_every_layer_and_escapes_names(result: DebugResult, place: Path) -> None:
    page = (place / "out" / "debug.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 1
    assert "in the artifact" in page
    hostile = replace(result.layers[0], node="<script>alert(1)</script>")
    made = render_page([replace(result, layers=(hostile,))])
    assert "<script>" not in made
    assert "&lt;script&gt;" in made


def test_without_samples_nothing_can_be_said(place: Path) -> None:
    with pytest.raises(UsageError, match="needs samples"):
        edgekit.debug(place / "m.onnx", targets="litert", cache="off")
