from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgekit._qdq.split_activations import split_activations
from edgekit._values import Component, DimRange
from edgekit.passes.prepare_component import prepare_component
from edgekit.passes.serialize_model import serialize_model
from edgekit.targets.ort_mobile import OrtMobile
from tests.models import QUICK_SHAPES, package_model, run_onnx
from tests.targets.ort_mobile_models import STEP, QdqGraph, build, component, job, onnxruntime_graph, qdq_cnn

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._values import Artifact

FLOAT_OPS = {"Conv", "FusedConv", "Gemm", "MatMul", "Add", "GlobalAveragePool"}
X = {"x": np.random.default_rng(5).normal(0, 1.5, (1, 3, 12, 12)).astype(np.float32)}


def ops_in(path: Path) -> list[str]:
    """Op types in the file, read with onnxruntime's own flatbuffer classes."""
    graph = onnxruntime_graph(path.read_bytes())
    return [graph.Nodes(index).OpType().decode() for index in range(graph.NodesLength())]


def run(artifact: Artifact, folder: Path, feeds: dict[str, np.ndarray]) -> np.ndarray:
    return next(iter(OrtMobile().open(artifact, folder).run(feeds).values()))


@pytest.mark.parametrize("form", ["u8", "s8"])
def test_the_file_holds_integer_kernels_only_where_they_multiply(form: str, tmp_path: Path) -> None:
    artifact = build(qdq_cnn(form), tmp_path)
    ops = ops_in(tmp_path / artifact.main)
    assert ops.count("QLinearConv") == 2
    assert {"QGemm", "QLinearAdd", "QLinearGlobalAveragePool"} <= set(ops)
    assert not FLOAT_OPS & set(ops)
    assert not [op for op in ops if "nchwc" in op.lower()]
    assert artifact.macs is not None
    assert artifact.macs.int8 == artifact.macs.total == 144 * 8 * 27 + 144 * 8 * 9 + 80


@pytest.mark.parametrize("form", ["u8", "s8"])
def test_integer_results_stay_within_two_steps_of_the_float_reference(form: str, tmp_path: Path) -> None:
    model = qdq_cnn(form)
    got = run(build(model, tmp_path), tmp_path, X)
    want = next(iter(run_onnx(model, X).values()))
    assert np.abs(got - want).max() <= 2 * STEP * 1.001
    assert np.std(want) > STEP


@pytest.mark.parametrize("form", ["u8", "s8"])
def test_full_scale_operands_do_not_saturate(form: str, tmp_path: Path) -> None:
    graph = QdqGraph(form)
    codes = np.full((4, 64, 3, 3), 127)
    codes[:, ::3] = -127
    params = [
        graph.constant((codes + graph.zero).astype(graph.dtype)),
        graph.constant(np.full(4, 0.001, np.float32)),
        graph.constant(np.full(4, graph.zero, graph.dtype)),
    ]
    weight = graph.op("DequantizeLinear", params, axis=0)
    conv = graph.op("Conv", [graph.qdq("x"), weight], pads=[1] * 4)
    model = graph.model(graph.qdq(conv, 2.0), (1, 64, 6, 6))
    feeds = {"x": np.full((1, 64, 6, 6), 127 * STEP, np.float32)}
    got = run(build(model, tmp_path), tmp_path, feeds)
    # 42 of the 64 channels have +0.127, 22 have -0.127, over 9 taps; the input is 127 * 0.04 everywhere.
    inside = 9 * (42 - 22) * 127 * STEP * 0.127
    assert abs(got[0, 0, 3, 3] - inside) <= 1.0 + 1e-3


@pytest.mark.parametrize("form", ["u8", "s8"])
@pytest.mark.parametrize("op", ["Relu", "Clip"])
def test_a_split_relu_gives_the_same_numbers_to_the_bit(form: str, op: str) -> None:
    graph = QdqGraph(form)
    conv = graph.conv(graph.qdq("x"), 8, 3)
    bounds = [graph.constant(np.float32(-0.13)), graph.constant(np.float32(0.57))] if op == "Clip" else []
    model = graph.model(graph.qdq(graph.op(op, [conv, *bounds]), 0.011, zero=7))
    split = ir.from_proto(model)
    assert split_activations(split) == 1
    before, after = run_onnx(model, X), run_onnx(split, X)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert sum(node.op_type == "QuantizeLinear" for node in split.graph) == 3
    assert split_activations(split) == 0


def test_a_relu_that_its_quantizer_implies_is_dropped_and_the_numbers_stay() -> None:
    graph = QdqGraph("u8")
    conv = graph.conv(graph.qdq("x"), 8, 3)
    model = graph.model(graph.qdq(graph.op("Relu", [conv]), 0.011, zero=0))
    dropped = ir.from_proto(model)
    assert split_activations(dropped) == 1
    assert not [node for node in dropped.graph if node.op_type == "Relu"]
    before, after = run_onnx(model, X), run_onnx(dropped, X)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_two_pairs_of_different_scales_stay_two(tmp_path: Path) -> None:
    graph = QdqGraph("u8")
    again = graph.qdq(graph.qdq(graph.conv(graph.qdq("x"), 8, 3)), 0.05, zero=100)
    model = graph.model(graph.qdq(graph.op("Sigmoid", [again]), 1 / 255, zero=0))
    want = next(iter(run_onnx(model, X).values()))
    assert np.abs(run(build(model, tmp_path), tmp_path, X) - want).max() <= 1.001 / 255


def test_a_relu_is_left_alone_where_a_split_would_change_the_numbers() -> None:
    graph = QdqGraph("s8")
    conv = graph.conv(graph.qdq("x"), 8, 3)
    both = graph.op("Add", [graph.qdq(graph.op("Relu", [conv])), graph.op("Sigmoid", [conv])])
    model = ir.from_proto(graph.model(graph.qdq(both)))
    assert split_activations(model) == 0


def test_a_matmul_with_a_float_bias_still_multiplies_integers(tmp_path: Path) -> None:
    graph = QdqGraph("u8")
    codes = graph.rng.integers(1, 255, (12, 6)).astype(np.uint8)
    params = [graph.constant(codes), graph.constant(np.full(6, 0.01, np.float32))]
    weight = graph.op("DequantizeLinear", [*params, graph.constant(np.full(6, 128, np.uint8))], axis=1)
    product = graph.op("MatMul", [graph.qdq("x"), weight])
    added = graph.op("Add", [product, graph.constant(graph.rng.normal(0, 1, 6).astype(np.float32))])
    model = graph.model(graph.qdq(added))
    artifact = build(model, tmp_path)
    assert artifact.macs is not None
    assert artifact.macs.int8 == artifact.macs.total == 3 * 12 * 12 * 6
    want = next(iter(run_onnx(model, X).values()))
    assert np.abs(run(artifact, tmp_path, X) - want).max() <= STEP * 1.001


def test_a_float_convolution_is_not_counted_as_int8(tmp_path: Path) -> None:
    graph = QdqGraph("u8")
    conv = graph.op("Conv", [graph.qdq("x"), graph.constant(np.ones((4, 3, 1, 1), np.float32))])
    artifact = build(graph.model(graph.qdq(conv)), tmp_path)
    assert artifact.macs is not None
    assert (artifact.macs.int8, artifact.macs.total) == (0, 144 * 12)


def real_component() -> Component:
    path = package_model("ppocr-cls")
    shapes = {"x": tuple(DimRange(size, size) for size in QUICK_SHAPES["ppocr-cls"]["x"])}
    return prepare_component(Component("model", ir.load(path), "0" * 64, path), shapes=shapes)


class Reader:
    """Two seeded batches for onnxruntime's quantizer."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        shape = QUICK_SHAPES["ppocr-cls"]["x"]
        self.batches = [{"x": rng.uniform(-1, 1, shape).astype(np.float32)} for _ in range(2)]

    def get_next(self) -> Any:
        return self.batches.pop() if self.batches else None


@pytest.mark.parametrize("form", ["u8", "s8"])
def test_a_real_model_quantized_by_onnxruntime_keeps_its_reference_numbers(form: str, tmp_path: Path) -> None:
    from onnxruntime import quantization as q

    kind = {"u8": q.QuantType.QUInt8, "s8": q.QuantType.QInt8}[form]
    reader: Any = Reader()
    source, quantized = tmp_path / "source.onnx", tmp_path / "quantized.onnx"
    source.write_bytes(serialize_model(real_component().model))
    symmetric = {"ActivationSymmetric": form == "s8", "WeightSymmetric": True}
    q.quantize_static(
        source, quantized, reader, per_channel=True, activation_type=kind, weight_type=kind,
        op_types_to_quantize=["Conv"], extra_options=symmetric,
    )  # fmt: skip
    model = onnx.load(quantized)
    out = tmp_path / "out"
    out.mkdir()
    artifact = OrtMobile().build([component(model)], job(), out)[0]
    feeds = Reader().get_next()
    want = next(iter(run_onnx(model, feeds).values()))
    assert np.abs(run(artifact, out, feeds) - want).max() < 0.02
    assert artifact.macs is not None
    assert artifact.macs.share > 0.95
    assert "QLinearConv" in ops_in(out / artifact.main)
