"""The tensorrt target on the host: plan, files, sessions, the device folder, and what it claims."""

from __future__ import annotations

import ast
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit._values import Artifact, Component, DimRange, MacShare, Precision
from edgekit.errors import CannotRunHere, ModelError, SamplesError, TargetError
from edgekit.passes.serialize_model import serialize_model
from edgekit.profiles.loader import device_files, load_device
from edgekit.target import Job
from edgekit.targets.tensorrt import TensorRT
from edgekit.targets.tensorrt.device_folder import scripts
from tests.models import run_onnx
from tests.passes.test_split_log_powers import LENGTH, X, graph_of, run_in_float16

if TYPE_CHECKING:
    from pathlib import Path

TARGET = TensorRT()
DEVICE_PATH = next(path for path in device_files("tensorrt") if path.stem == "jetson-orin-nano-8gb")
DEVICE = load_device(DEVICE_PATH)
SCALE = 0.5


def affine(batch: int | str = 2) -> ir.Model:
    """y = 2x + 1 over x [batch, 3], with t = 2x between."""
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["x", "two"], ["t"], "mul"),
            helper.make_node("Add", ["t", "one"], ["y"], "add"),
        ],
        "affine",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3])],
        [
            numpy_helper.from_array(np.array(2, np.float32), "two"),
            numpy_helper.from_array(np.array(1, np.float32), "one"),
        ],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def quantized() -> ir.Model:
    """x [1, 4] through one int8 Q/DQ pair of scale SCALE."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], "dq"),
    ]
    graph = helper.make_graph(
        nodes,
        "quantized",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [
            numpy_helper.from_array(np.array(SCALE, np.float32), "s"),
            numpy_helper.from_array(np.array(0, np.int8), "z"),
        ],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def job(precision: Precision = "fp32", **fields: Any) -> Job:
    return Job(DEVICE, precision, **fields)


def build(model: ir.Model, out: Path, given: Job, name: str = "model") -> Artifact:
    return TARGET.build([Component(name, model, "0")], given, out)[0]


def test_the_plan_is_portable_int8_with_float_bias_and_float_baselines() -> None:
    plan = TARGET.plan([Component("model", affine(), "0")], job("int8"))
    assert (plan.scheme.name, plan.bias, plan.default_float) == ("portable", "float", "fp16")
    assert plan.baselines == ("fp32", "fp16")
    assert plan.max_opset == 20, "the newest table below TensorRT 10.3 is that of 10.1"
    assert plan.expand == frozenset()


def test_the_plan_expands_what_the_version_lacks_and_onnx_defines() -> None:
    """LayerNormalization is in the tables from TensorRT 8.6 on, and ONNX gives it a body."""
    node = helper.make_node("LayerNormalization", ["x", "s"], ["y"], "ln")
    graph = helper.make_graph(
        [node],
        "ln",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(np.ones(4, np.float32), "s")],
    )
    model = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    old = load_device(DEVICE_PATH, "jetpack-5.1")
    assert TARGET.plan([Component("model", model, "0")], Job(old, "fp32")).expand == {"LayerNormalization"}
    assert TARGET.plan([Component("model", model, "0")], job()).expand == frozenset()


def test_an_int8_file_is_the_components_model_and_its_run_rounds_by_the_formula(tmp_path: Path) -> None:
    artifact = build(quantized(), tmp_path, job("int8"))
    assert (artifact.main, artifact.files, artifact.variant) == (
        "model.int8.onnx",
        ("model.int8.onnx",),
        "int8",
    )
    x = np.array([[0.1, 0.76, -3.3, 1000.0]], np.float32)
    y = TARGET.open(artifact, tmp_path).run({"x": x})["y"]
    np.testing.assert_array_equal(y, np.clip(np.rint(x / SCALE), -128, 127) * np.float32(SCALE))


def test_two_builds_give_the_same_bytes_and_leave_the_component_unchanged(tmp_path: Path) -> None:
    model = affine()
    before = serialize_model(model)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        build(model, tmp_path / folder, job())
    first, second = ((tmp_path / folder / "model.fp32.onnx").read_bytes() for folder in ("a", "b"))
    assert first == second == before
    assert serialize_model(model) == before


def test_an_fp16_file_holds_float16_and_leaves_the_component_unchanged(tmp_path: Path) -> None:
    model = affine()
    before = serialize_model(model)
    artifact = build(model, tmp_path, job("fp16"))
    assert serialize_model(model) == before
    weights = onnx.load(tmp_path / artifact.main).graph.initializer
    assert {tensor.data_type for tensor in weights} == {TensorProto.FLOAT16}
    x = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    np.testing.assert_array_equal(TARGET.open(artifact, tmp_path).run({"x": x})["y"], 2 * x + 1)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_logarithms_of_powers_survive_the_float16_of_an_engine(precision: Precision, tmp_path: Path) -> None:
    """An int8 engine's float layers may be float16 up to TensorRT 10: numpy's float16 stands for them."""
    rows = [*LENGTH, ("Mul", "s s", "p"), ("Add", "p e", "f"), ("Log", "f", "y")]
    proto = graph_of(rows)
    want = run_onnx(proto, {"x": X.astype(np.float16).astype(np.float32)})["y"]
    artifact = build(ir.from_proto(proto), tmp_path, job(precision))
    assert artifact.notes[0] == "1 logarithms of powers are in a form that float16 holds"
    got = TARGET.open(artifact, tmp_path).run({"x": X.astype(np.float16).astype(np.float32)})["y"]
    assert np.abs(got - want).max() < 0.03
    if precision == "int8":
        assert np.abs(run_in_float16(onnx.load(tmp_path / artifact.main)) - want).max() < 0.03


def test_a_session_gives_the_intermediates_it_is_asked_for(tmp_path: Path) -> None:
    session = TARGET.open(build(affine(), tmp_path, job()), tmp_path)
    x = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    results = session.run({"x": x}, taps=("t", "nothing"))
    assert set(results) == {"y", "t"}
    np.testing.assert_array_equal(results["t"], 2 * x)
    assert set(session.run({"x": x})) == {"y"}


def test_a_missing_input_and_a_broken_file_are_refused(tmp_path: Path) -> None:
    artifact = build(affine(), tmp_path, job())
    with pytest.raises(SamplesError, match="'x'"):
        TARGET.open(artifact, tmp_path).run({})
    (tmp_path / artifact.main).write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"model\.fp32\.onnx"):
        TARGET.open(artifact, tmp_path)


def test_the_host_claims_the_file_and_no_engine(tmp_path: Path) -> None:
    artifact = build(affine(), tmp_path, job())
    assert "TensorRT engine: unproven on this host" in artifact.proves
    assert "TensorRT engine: unproven on this host" in artifact.notes


def test_an_engines_proof_is_not_repeated_without_tensorrt(tmp_path: Path) -> None:
    artifact = Artifact(
        "model", "int8", "m.onnx", ("m.onnx",), "tensorrt", proves="an engine built and run on the host by X"
    )
    with pytest.raises(CannotRunHere, match="no TensorRT"):
        TARGET.open(artifact, tmp_path)


def test_a_component_name_never_becomes_a_path(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="file name"):
        build(affine(), tmp_path, job(), name="../up")
    assert list(tmp_path.iterdir()) == []


def test_the_device_folder_names_files_and_shapes_and_is_the_same_twice(tmp_path: Path) -> None:
    shapes = {"x": (DimRange(1, 8), DimRange(3, 3))}
    given = job("int8", shapes=shapes)
    artifacts = TARGET.build([Component("model", affine("n"), "0")], given, tmp_path)
    written = TARGET.extras(artifacts, given, tmp_path)
    assert set(written) == {"device/job.json", *(f"device/{path.name}" for path in scripts())}
    first = {name: (tmp_path / name).read_bytes() for name in written}
    assert TARGET.extras(artifacts, given, tmp_path) == written
    assert {name: (tmp_path / name).read_bytes() for name in written} == first
    described = json.loads(first["device/job.json"])
    assert (described["tensorrt"], described["software"]) == ("10.3", "jetpack-6.2")
    assert described["components"][0]["variants"][0]["inputs"] == [
        {"name": "x", "dtype": "float32", "dynamic": True, "min": [1, 3], "opt": [8, 3], "max": [8, 3]}
    ]


def test_a_dynamic_input_without_a_range_gets_no_device_folder(tmp_path: Path) -> None:
    artifacts = TARGET.build([Component("model", affine("n"), "0")], job(), tmp_path)
    with pytest.raises(ModelError, match="neither a size nor a range"):
        TARGET.extras(artifacts, job(), tmp_path)


def test_macs_of_a_dynamic_file_are_counted_at_its_largest_shape(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "mm")],
        "dynamic",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(np.ones((3, 5), np.float32), "w")],
    )
    model = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    artifact = build(model, tmp_path, job(shapes={"x": (DimRange(1, 4), DimRange(3, 3))}))
    assert artifact.macs == MacShare(0, 4 * 3 * 5)


def test_device_scripts_are_python_38_of_the_standard_library() -> None:
    own = {path.stem for path in scripts()}
    standard = {
        "argparse",
        "array",
        "ast",
        "ctypes",
        "errno",
        "hashlib",
        "json",
        "math",
        "os",
        "re",
        "shutil",
    }
    standard |= {"struct", "subprocess", "sys", "tempfile", "time"}
    for path in scripts():
        if path.suffix == ".py":
            tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
            imported = {
                alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
            }
            imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
            assert imported <= standard | own, path.name


def test_a_device_run_is_an_argv_of_our_own_script() -> None:
    artifact = Artifact("model", "int8", "model.int8.onnx", ("model.int8.onnx",), "tensorrt")
    run = TARGET.device_run(artifact, DEVICE)
    assert run.commands == (("sh", "device/run.sh", "all", "--component=model"),)
    assert run.files == {f"device/{path.name}": path for path in scripts()}


GOOD = {"metric": "m/int8/latency/p50", "value": 1.5, "unit": "ms", "kind": "measured", "basis": "a board"}


def printed(**changes: Any) -> bytes:
    row = {**GOOD, **changes}
    return json.dumps({"schema": "edgekit.device-measurements/1", "measurements": [row]}).encode()


def test_measurements_are_read_back() -> None:
    (found,) = TARGET.read(printed())
    assert (found.metric, found.value, found.unit, found.kind) == (
        "m/int8/latency/p50",
        1.5,
        "ms",
        "measured",
    )
    assert TARGET.read(printed(value=None))[0].value is None


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (b"\xff\xfe", "not JSON"),
        (b"Segmentation fault", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "schema"),
        (b'{"schema": "edgekit.device-measurements/2", "measurements": []}', "schema"),
        (b'{"schema": "edgekit.device-measurements/1"}', "no list"),
        (printed(value="fast"), "no finite value"),
        (printed(value=True), "no finite value"),
        (printed(value=float("nan")), "NaN is no JSON"),
        (printed(value=12345.5).replace(b"12345.5", b"1e999"), "no finite value"),
        (printed(kind="predicted"), "not a measured one"),
        (printed(metric="\x1b[2J"), "control characters"),
        (printed(unit="x" * 5000), "overlong"),
        (printed(extra=1), "exactly the keys"),
        (b" " * (17 << 20), "larger than"),
    ],
)
def test_hostile_device_output_is_refused(output: bytes, words: str) -> None:
    with pytest.raises(TargetError, match=words):
        TARGET.read(output)
