"""Integer weights in .ort files: onnxruntime runs them, and its reference of the ONNX graph is the truth."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgekit._qdq import WeightRounder, quantize_weights
from edgekit.errors import UsageError
from edgekit.passes.serialize_model import serialize_model
from edgekit.targets.ort_mobile import OrtMobile, large_file
from edgekit.targets.ort_mobile.artifact_macs import op_types
from edgekit.targets.ort_mobile.weight_forms import WEIGHT_FORMS
from tests.converted import sqnr_db
from tests.targets.litert_models import RNG, model_of, reference
from tests.targets.ort_mobile_models import component, job, onnxruntime_graph

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from edgekit._values import Artifact, Component, Precision

TARGET = OrtMobile()


def floats(*shape: int) -> NDArray[np.float32]:
    return RNG.standard_normal(shape).astype(np.float32)


def net() -> onnx.ModelProto:
    """A table of vectors, MatMuls, Gemms of both layouts, and a convolution that stays float."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"], name="lookup"),
        helper.make_node("Add", ["e", "x"], ["a"], name="add"),
        helper.make_node("MatMul", ["a", "wm"], ["m"], name="matmul"),
        helper.make_node("Reshape", ["m", "flat"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "wg", "bg"], ["g"], name="gemm"),
        helper.make_node("Relu", ["g"], ["r"], name="relu"),
        helper.make_node("Gemm", ["r", "wt", "bt"], ["t"], name="turned", transB=1),
        helper.make_node("Reshape", ["t", "picture"], ["p"], name="picture"),
        helper.make_node("Conv", ["p", "wc"], ["y"], name="conv"),
    ]
    weights: dict[str, Any] = {
        "table": floats(50, 64),
        "wm": floats(64, 96),
        "flat": np.array([6, 96], np.int64),
        "wg": floats(96, 80),
        "bg": floats(80),
        "wt": floats(64, 80),
        "bt": floats(1),
        "picture": np.array([1, 16, 4, 6], np.int64),
        "wc": floats(16, 16, 2, 2),
    }
    model = model_of(nodes, {"x": [2, 3, 64]}, weights)
    model.graph.input.append(helper.make_tensor_value_info("ids", TensorProto.INT64, [2, 3]))
    return onnx.shape_inference.infer_shapes(model)


FEEDS: dict[str, Any] = {"x": floats(2, 3, 64), "ids": np.array([[3, -2, 0], [49, 7, 7]], np.int64)}


def weighted(model: onnx.ModelProto, precision: Precision, block: int = 32) -> Component:
    return quantize_weights(
        component(model), WEIGHT_FORMS, precision=precision, rounder=WeightRounder(block=block)
    ).component


def built(source: Component, out: Path, precision: Precision, **options: str) -> Artifact:
    return TARGET.build([source], replace(job(precision), options=options), out)[0]


def truth(weights: Component) -> dict[str, Any]:
    return reference(onnx.load_from_string(serialize_model(weights.model)), FEEDS)


@pytest.mark.parametrize(("precision", "block"), [("w8", 32), ("w4", 32), ("w4", 128), ("w4", 0)])
def test_the_file_computes_with_the_weights_of_the_graph(
    precision: Precision, block: int, tmp_path: Path
) -> None:
    weights = weighted(net(), precision, block)
    artifact = built(weights, tmp_path, precision)
    session = TARGET.open(artifact, tmp_path)
    first, second = session.run(FEEDS), session.run(FEEDS)
    np.testing.assert_allclose(first["y"], truth(weights)["y"], rtol=1e-4, atol=1e-3)
    assert np.array_equal(first["y"], second["y"])
    ops = op_types((tmp_path / artifact.main).read_bytes())
    assert ops.count("MatMulNBits") == 3
    assert ops.count("GatherBlockQuantized") == 1
    assert not {"DequantizeLinear", "MatMul", "Gemm", "Gather"} & set(ops)


def test_dynamic_kernels_round_the_data_and_nothing_else(tmp_path: Path) -> None:
    weights = weighted(net(), "w4")
    artifact = built(weights, tmp_path, "w4", weights="dynamic")
    assert 30 < sqnr_db(TARGET.open(artifact, tmp_path).run(FEEDS), truth(weights)) < 60
    assert "round the float data to int8 on the fly" in " ".join(artifact.notes)


@pytest.mark.parametrize(("options", "level"), [({}, 1), ({"weights": "dynamic"}, 4)])
def test_the_accuracy_level_is_written_down(options: dict[str, str], level: int, tmp_path: Path) -> None:
    artifact = built(weighted(net(), "w8"), tmp_path, "w8", **options)
    graph = onnxruntime_graph((tmp_path / artifact.main).read_bytes())
    nodes = [graph.Nodes(index) for index in range(graph.NodesLength())]
    found = {
        attribute.Name(): attribute.I()
        for node in nodes
        if node.OpType() == b"MatMulNBits"
        for attribute in (node.Attributes(index) for index in range(node.AttributesLength()))
    }
    assert (found[b"accuracy_level"], found[b"bits"]) == (level, 8)


def test_macs_on_integer_weights_are_counted_apart_and_the_file_is_small(tmp_path: Path) -> None:
    model = net()
    artifact = built(weighted(model, "w4", 0), tmp_path, "w4")
    products = 6 * (64 * 96 + 96 * 80 + 80 * 64)
    assert artifact.macs is not None
    assert (artifact.macs.int8, artifact.macs.weight_int4) == (0, products)
    assert artifact.macs.total == products + 15 * 16 * 16 * 4
    float_bytes = (tmp_path / built(component(model), tmp_path, "fp32").main).stat().st_size
    assert (tmp_path / artifact.main).stat().st_size < 0.5 * float_bytes


def test_a_product_without_a_form_keeps_the_rounded_numbers_in_float(tmp_path: Path) -> None:
    """A Gemm that scales its product is no MatMulNBits; .ort files have no int4 tensors."""
    node = helper.make_node("Gemm", ["x", "w"], ["y"], name="gemm", alpha=0.5)
    model = model_of([node], {"x": [3, 64]}, {"w": floats(64, 48)})
    weights = weighted(model, "w4")
    artifact = built(weights, tmp_path, "w4")
    feeds = {"x": floats(3, 64)}
    want = reference(onnx.load_from_string(serialize_model(weights.model)), feeds)
    np.testing.assert_allclose(TARGET.open(artifact, tmp_path).run(feeds)["y"], want["y"], rtol=1e-5)
    assert "1 int4 weights are held as float" in " ".join(artifact.notes)


def test_a_large_model_is_onnx_with_its_weights_beside_it_and_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = weighted(net(), "w4")
    inside = TARGET.open(built(weights, tmp_path, "w4"), tmp_path).run(FEEDS)
    monkeypatch.setattr(large_file, "LARGEST_ORT_BYTES", 1000)
    artifact = built(weights, tmp_path, "w4")
    assert artifact.files == ("model.w4.onnx", "model.w4.onnx.data") == artifact.loaded
    assert (tmp_path / "model.w4.onnx").stat().st_size < 20_000
    got = TARGET.open(artifact, tmp_path).run(FEEDS)
    np.testing.assert_allclose(got["y"], inside["y"], rtol=1e-5, atol=1e-4)
    assert "not as .ort: that is one flatbuffer (2 GB at most)" in artifact.notes[-1]
    assert ".onnx file itself" in artifact.proves
    assert TARGET.extras([artifact], job("w4"), tmp_path) == []
    assert any("usability checker was not asked" in gap.rule for gap in TARGET.check([weights], job("w4")))


def test_a_build_leaves_the_component_as_it_was(tmp_path: Path) -> None:
    weights = weighted(net(), "w4")
    before = ir.to_proto(weights.model).SerializeToString(deterministic=True)
    built(weights, tmp_path, "w4")
    assert ir.to_proto(weights.model).SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": "float"}, "has no option 'weight'; did you mean 'weights'"),
        ({"weights": "dynamc"}, "ort-mobile.weights 'dynamc' is unknown; did you mean 'dynamic'"),
    ],
)
def test_an_option_that_makes_no_sense_is_wrong_usage(options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TARGET.plan([], replace(job(), options=options))
