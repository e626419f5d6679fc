from __future__ import annotations

import hashlib
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

import edgekit
from edgekit._values import Component, DimRange
from edgekit.errors import BundleError, GapError, ModelError, SamplesError, UsageError
from edgekit.passes.prepare_component import prepare_component
from edgekit.profiles.loader import load_device
from edgekit.target import Job
from edgekit.targets.openvino import OpenVINO
from edgekit.targets.openvino.artifact_macs import count_macs
from edgekit.targets.openvino.session import OpenVinoSession
from tests.converted import make_workspace
from tests.models import QUICK_SHAPES, package_model, random_feeds, run_onnx, toy_attention, toy_cnn, toy_lstm
from tests.targets.ort_mobile_models import STEP, component, qdq_cnn

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._values import Artifact, Precision

TARGET = OpenVINO()


def job(precision: Precision = "int8", **fields: Any) -> Job:
    device = next(d for d in map(load_device, TARGET.devices()) if d.name == "generic-openvino")
    return Job(device, precision, **fields)


def build(model: onnx.ModelProto, folder: Path, precision: Precision = "int8", **fields: Any) -> Artifact:
    return TARGET.build([component(model)], job(precision, **fields), folder)[0]


def run_reference(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """ONNX Runtime, node by node as written."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: Any = session.run(None, feeds)
    return list(found)


@pytest.mark.parametrize("name", ["ppocr-cls", "ppocr-rec", "magika", "basic-pitch", "silero-ifless"])
def test_real_models_give_what_onnxruntime_gives(name: str, tmp_path: Path) -> None:
    path = package_model(name)
    feeds = random_feeds(QUICK_SHAPES[name], path)
    if "sr" in feeds:
        feeds["sr"] = np.array(16000, np.int64)
    shapes = {key: tuple(DimRange(size, size) for size in dims) for key, dims in QUICK_SHAPES[name].items()}
    prepared = prepare_component(Component("model", ir.load(path), "0" * 64, path), shapes=shapes)
    artifact = TARGET.build([prepared], job("fp32"), tmp_path)[0]
    session = TARGET.open(artifact, tmp_path)
    truth, first, again = run_onnx(path, feeds), session.run(feeds), session.run(feeds)
    assert list(first) == list(truth)
    for key, want in truth.items():
        np.testing.assert_allclose(first[key], want, rtol=2e-3, atol=1e-4)
        assert np.array_equal(first[key], again[key])


@pytest.mark.parametrize("toy", [toy_cnn, toy_lstm, toy_attention])
def test_toy_models_give_the_same_numbers(toy: Any, tmp_path: Path) -> None:
    model = toy()
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    feeds = {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
    artifact = build(model, tmp_path, "fp32")
    got = TARGET.open(artifact, tmp_path).run(feeds)
    np.testing.assert_allclose(got["y"], run_onnx(model, feeds)["y"], rtol=1e-3, atol=1e-5)


def test_a_q_dq_graph_runs_in_int8_kernels_within_one_step_of_it(tmp_path: Path) -> None:
    model = qdq_cnn("s8")
    artifact = build(model, tmp_path)
    feeds = {"x": np.random.default_rng(0).standard_normal((1, 3, 12, 12)).astype(np.float32)}
    session = OpenVinoSession(tmp_path / artifact.main)
    (got,), (want,) = session.run(feeds).values(), run_reference(model, feeds)
    assert np.abs(got - want).max() <= STEP * 1.001
    kernels = dict(session.kernels())
    # Of the two kinds of 8 bits OpenVINO takes the one that this CPU multiplies best.
    assert {kernels["Convolution"], kernels["FullyConnected"]} <= {"i8", "u8"}
    assert artifact.macs is not None
    assert artifact.macs.share == 1.0


def test_the_file_holds_the_scales_of_the_graph(tmp_path: Path) -> None:
    import openvino as ov

    artifact = build(qdq_cnn("s8"), tmp_path)
    quantizers = [
        node
        for node in ov.Core().read_model(str(tmp_path / artifact.main)).get_ordered_ops()
        if node.get_type_name() == "FakeQuantize"
    ]
    assert len(quantizers) == 8  # x, and what each of seven operators gives
    for node in quantizers:
        low, high = (float(node.input_value(index).get_node().get_data().reshape(-1)[0]) for index in (3, 4))
        assert node.get_attributes()["levels"] == 256
        assert low == float(np.float32(-128) * np.float32(STEP))
        assert high == float(np.float32(127) * np.float32(STEP))


def test_macs_of_open_sizes_are_counted_at_the_largest(tmp_path: Path) -> None:
    fixed = build(qdq_cnn("s8", (4, 3, 24, 12)), tmp_path).macs
    shapes = {"x": (DimRange(1, 4), DimRange(3, 3), DimRange(12, 24), DimRange(12, 12))}
    artifact = build(qdq_cnn("s8", ("n", 3, "h", 12)), tmp_path, shapes=shapes)
    assert artifact.macs == fixed is not None
    unknown = build(qdq_cnn("s8", ("n", 3, "h", 12)), tmp_path)
    assert unknown.macs is None
    assert "open" in unknown.notes[0]
    feeds = {"x": np.zeros((2, 3, 20, 12), np.float32)}
    (got,) = TARGET.open(unknown, tmp_path).run(feeds).values()
    assert got.shape == (2, 10)


def test_two_builds_give_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    onnx.save(qdq_cnn("s8"), tmp_path / "qdq.onnx")
    script = (
        "import sys, pathlib, onnx, openvino\n"
        "from tests.targets.test_openvino import build\n"
        "for _ in range(int(sys.argv[3])): openvino.convert_model(sys.argv[1])\n"
        "build(onnx.load(sys.argv[1]), pathlib.Path(sys.argv[2]))\n"
    )
    digests = []
    for run in ("0", "2"):
        folder = tmp_path / run
        folder.mkdir()
        command = [sys.executable, "-c", script, str(tmp_path / "qdq.onnx"), str(folder), run]
        subprocess.run(command, check=True)
        digests.append(
            {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        )
        assert str(tmp_path).encode() not in (folder / "model.int8.xml").read_bytes()
    assert digests[0] == digests[1]
    assert sorted(digests[0]) == ["model.int8.bin", "model.int8.xml"]


def test_a_build_leaves_its_component_unchanged(tmp_path: Path) -> None:
    given = component(qdq_cnn("s8"))
    before = ir.to_proto(given.model).SerializeToString(deterministic=True)
    TARGET.build([given], job(), tmp_path)
    assert ir.to_proto(given.model).SerializeToString(deterministic=True) == before


def test_one_tensor_that_is_two_outputs_keeps_both_names(tmp_path: Path) -> None:
    info = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("Identity", ["y"], ["z"]),
        helper.make_node("Neg", ["y"], ["w"]),
    ]
    outputs = [info(name, TensorProto.FLOAT, [2, 3]) for name in ("z", "w", "y")]
    graph = helper.make_graph(nodes, "g", [info("x", TensorProto.FLOAT, [2, 3])], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = np.random.default_rng(2).standard_normal((2, 3)).astype(np.float32)
    got = TARGET.open(build(model, tmp_path, "fp32"), tmp_path).run({"x": x})
    assert list(got) == ["z", "w", "y"]
    for name, want in run_onnx(model, {"x": x}).items():
        assert np.array_equal(got[name], want)


def test_convert_makes_a_proven_bundle_whose_python_class_runs(tmp_path: Path) -> None:
    work = make_workspace(tmp_path)
    result = edgekit.convert(
        work / "m.onnx", targets="openvino", samples=work / "data", output=work / "out", cache="off"
    )
    (bundle,) = result.bundles
    assert bundle.passed
    assert [parity.status for parity in bundle.parities] == ["proven"] * 3
    size = next(iter(bundle.artifacts[0].loaded))
    assert size == "model.int8.xml"
    assert "model.int8.bin" in bundle.artifacts[0].loaded
    script = bundle.folder / "python" / "edgekit_model.py"
    told = subprocess.run([sys.executable, script, "CPU"], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[[1, 10]]"


def test_what_openvino_has_no_rule_for_is_refused_by_name(tmp_path: Path) -> None:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Det", ["x"], ["y"], name="volume")],
        "g",
        [info("x", TensorProto.FLOAT, [2, 3, 3])],
        [info("y", TensorProto.FLOAT, [2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (gap,) = TARGET.check([component(model)], job("fp32"))
    assert (gap.node, gap.op) == ("volume", "Det")
    onnx.save(model, tmp_path / "det.onnx")
    with pytest.raises(GapError, match="volume"):
        edgekit.convert(tmp_path / "det.onnx", targets="openvino", output=tmp_path / "out", cache="off")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ModelError, match="Det"):
        build(model, tmp_path, "fp32")


def test_a_convolution_on_joined_data_is_int8_only_where_every_part_is(tmp_path: Path) -> None:
    ov: Any = import_module("openvino")
    ops: Any = import_module("openvino.opset13")

    def share(*quantized: bool) -> float:
        """Of a convolution behind a Concat of parts that are quantized or not."""
        limits = [np.float32(value) for value in (-1, 1, -1, 1)]
        inputs = [ops.parameter([1, 2, 6, 6], np.float32) for _ in quantized]
        pairs = zip(inputs, quantized, strict=True)
        parts = [ops.fake_quantize(item, *limits, levels=256) if whole else item for item, whole in pairs]
        codes = ops.convert(ops.constant(np.ones((3, 4, 3, 3), np.int8)), np.float32)
        weight = ops.multiply(codes, ops.constant(np.float32(0.1)))
        made = ops.convolution(ops.concat(parts, 1), weight, [1, 1], [0, 0], [0, 0], [1, 1])
        macs = count_macs(ov.Model([made], inputs), {}).macs
        assert macs is not None
        return macs.share

    assert [share(True, True), share(True, False), share(False, True)] == [1.0, 0.0, 0.0]


def test_bad_input_is_told_by_name(tmp_path: Path) -> None:
    artifact = build(qdq_cnn("s8"), tmp_path)
    session = TARGET.open(artifact, tmp_path)
    with pytest.raises(SamplesError, match="'x' is not fed"):
        session.run({})
    with pytest.raises(SamplesError, match=r"float64\[1, 3, 12, 12\]"):
        session.run({"x": np.zeros((1, 3, 12, 12))})
    with pytest.raises(SamplesError, match=r"float32\[1, 3, 12, 13\]"):
        session.run({"x": np.zeros((1, 3, 12, 13), np.float32)})
    (tmp_path / artifact.main).write_text("<net", encoding="utf-8")
    with pytest.raises(BundleError, match=r"model\.int8\.xml"):
        TARGET.open(artifact, tmp_path)
    with pytest.raises(UsageError, match="no option 'speed'"):
        TARGET.check([component(qdq_cnn("s8"))], job(options={"speed": "high"}))
