from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgekit._values import Component, Device, DimRange
from edgekit.errors import (
    BundleError,
    CannotRunHere,
    GapError,
    MissingToolError,
    ModelError,
    SamplesError,
    UsageError,
)
from edgekit.passes.prepare_component import prepare_component
from edgekit.registry import resolve_target
from edgekit.target import Job
from edgekit.targets.litert import write_tflite
from edgekit.targets.litert.artifact_macs import op_names
from edgekit.targets.litert.graph import Graph, constant
from edgekit.targets.litert.lower import lower_component
from edgekit.targets.litert.rules import load_rules
from edgekit.targets.litert.session import LiteRTSession
from tests.models import QUICK_SHAPES, package_model, random_feeds, run_onnx, toy_attention, toy_cnn, toy_lstm
from tests.targets.litert_models import (
    DEVICE,
    TARGET,
    build,
    filled_model,
    gaps_of,
    job,
    model_of,
    prepared,
)

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit.targets.litert.session import Kernels

REAL = ["ppocr-cls", "ppocr-det", "ppocr-rec", "magika", "basic-pitch", "silero-openvino-16k"]


@pytest.mark.parametrize("name", REAL)
def test_the_fp32_file_gives_what_onnxruntime_gives_on_the_original(name: str, tmp_path: Path) -> None:
    feeds = random_feeds(QUICK_SHAPES[name], package_model(name))
    artifact = build(prepared(package_model(name), QUICK_SHAPES[name]), tmp_path)
    truth = run_onnx(package_model(name), feeds)
    kernels: tuple[Kernels, ...] = ("xnnpack", "reference")
    for kernel in kernels:
        session = LiteRTSession(tmp_path / artifact.main, kernel)
        got = {key: value.copy() for key, value in session.run(feeds).items()}
        assert set(got) == set(truth)
        for key, want in truth.items():
            # ONNX Runtime's sigmoid stops at exp(-18): below 2e-5 its own numbers are approximate.
            np.testing.assert_allclose(got[key], want, rtol=1e-3, atol=4e-5 * max(1, np.abs(want).max()))
        again = session.run(feeds)
        assert all(np.array_equal(got[key], again[key]) for key in got)


@pytest.mark.parametrize("toy", [toy_cnn, toy_lstm, toy_attention])
def test_toy_models_give_the_same_numbers(toy: Any, tmp_path: Path) -> None:
    model = toy()
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    feeds = {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
    artifact = build(prepared(model), tmp_path)
    got = TARGET.open(artifact, tmp_path).run(feeds)
    np.testing.assert_allclose(got["y"], run_onnx(model, feeds)["y"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["ppocr-cls", "ppocr-det"])
def test_no_transpose_is_left_inside_a_cnn_and_io_keeps_the_onnx_layout(name: str, tmp_path: Path) -> None:
    component = prepared(package_model(name), QUICK_SHAPES[name])
    artifact = build(component, tmp_path)
    names = op_names((tmp_path / artifact.main).read_bytes())
    assert names.count("TRANSPOSE") == 1
    assert names[0] == "TRANSPOSE"
    assert artifact.notes[0].endswith("1 transposes stand there, 0 are left inside")
    session = LiteRTSession(tmp_path / artifact.main)
    assert session.describe_inputs() == [("x", "float32", list(QUICK_SHAPES[name]["x"]))]


def test_fp16_weights_halve_the_file_and_stay_near(tmp_path: Path) -> None:
    component = prepared(package_model("ppocr-cls"), QUICK_SHAPES["ppocr-cls"])
    full, half = build(component, tmp_path), build(component, tmp_path, "fp16")
    sizes = [(tmp_path / item.main).stat().st_size for item in (full, half)]
    assert sizes[1] < 0.65 * sizes[0]
    feeds = random_feeds(QUICK_SHAPES["ppocr-cls"], package_model("ppocr-cls"))
    got = next(iter(TARGET.open(half, tmp_path).run(feeds).values()))
    want = next(iter(run_onnx(package_model("ppocr-cls"), feeds).values()))
    np.testing.assert_allclose(got, want, atol=5e-3)


def test_a_weight_that_fp16_cannot_hold_stays_float32_and_is_told(tmp_path: Path) -> None:
    weight = np.full((8, 8), 1e6, np.float32)
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [2, 8]}, {"w": weight})
    artifact = build(prepared(model), tmp_path, "fp16")
    assert artifact.notes[1] == "1 weights stay float32: fp16 cannot hold their range"
    feeds = {"x": np.ones((2, 8), np.float32)}
    np.testing.assert_allclose(TARGET.open(artifact, tmp_path).run(feeds)["y"], 8e6)


def test_two_builds_give_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    onnx.save(toy_cnn(), tmp_path / "toy.onnx")
    script = (
        "import sys, pathlib, onnx\n"
        "from tests.targets.litert_models import build, prepared\n"
        "build(prepared(onnx.load(sys.argv[1])), pathlib.Path(sys.argv[2]))\n"
    )
    digests = set()
    for run in ("one", "two"):
        (tmp_path / run).mkdir()
        command = [sys.executable, "-c", script, str(tmp_path / "toy.onnx"), str(tmp_path / run)]
        subprocess.run(command, check=True)
        digests.add(hashlib.sha256((tmp_path / run / "model.fp32.tflite").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_build_leaves_its_component_unchanged(tmp_path: Path) -> None:
    component = prepared(toy_cnn())
    before = ir.to_proto(component.model).SerializeToString(deterministic=True)
    build(component, tmp_path)
    assert ir.to_proto(component.model).SerializeToString(deterministic=True) == before


def test_weights_lie_on_16_byte_boundaries(tmp_path: Path) -> None:
    weight = np.arange(64, dtype=np.float32).reshape(8, 8) + 0.5
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [2, 8]}, {"w": weight})
    artifact = build(prepared(model), tmp_path)
    data = (tmp_path / artifact.main).read_bytes()
    assert data.index(np.ascontiguousarray(weight.T).tobytes()) % 16 == 0
    assert data[4:8] == b"TFL3"


RNG = np.random.default_rng(0)
IMAGE: list[Any] = [1, 4, 6, 6]
BAD: dict[str, tuple[Any, str]] = {
    "op": (helper.make_node("RandomNormalLike", ["x"], ["y"]), "it draws random numbers"),
    "attribute": (
        helper.make_node("LRN", ["x"], ["y"], size=4), "sums over an odd number of channels, not 4",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ["op", "attribute"])
def test_what_has_no_form_is_a_gap_with_node_rule_and_way_out(name: str, tmp_path: Path) -> None:
    node, rule = BAD[name]
    node.name = "the/node"
    model = model_of([node], {"x": IMAGE}, {})
    (gap,) = gaps_of(model)
    assert (gap.node, gap.op, gap.severity) == ("the/node", node.op_type, "error")
    assert rule in gap.rule
    assert gap.way_out
    with pytest.raises(GapError) as raised:
        build(prepared(model), tmp_path)
    assert raised.value.gaps == (gap,)
    assert list(tmp_path.iterdir()) == []


def test_an_operand_that_must_be_constant_is_refused_where_it_is_computed() -> None:
    nodes = [helper.make_node("DeformConv", ["x", "w", "offset"], ["y"], name="deform")]
    shapes = {"x": IMAGE, "w": [3, 4, 2, 2], "offset": [1, 8, 5, 5]}
    (gap,) = gaps_of(model_of(nodes, shapes, {}, opset=19))
    assert gap.rule == "inputs [0, 1, 2] are computed, and only one may be"


def test_the_indices_of_a_max_pool_are_refused_where_somebody_reads_them() -> None:
    node = helper.make_node("MaxPool", ["x"], ["y", "where"], kernel_shape=[2, 2], name="pool")
    model = model_of([node], {"x": IMAGE}, {})
    model.graph.output.append(helper.make_tensor_value_info("where", TensorProto.INT64, None))
    (gap,) = gaps_of(model)
    assert (gap.node, gap.rule) == ("pool", "LiteRT's MAX_POOL_2D gives no indices")


def test_an_attribute_that_no_rule_honours_is_refused() -> None:
    node = helper.make_node("Relu", ["x"], ["y"], name="relu", domain="")
    model = model_of([node], {"x": IMAGE}, {})
    component = prepared(model)
    relu = next(iter(component.model.graph))
    relu.attributes["slope"] = ir.AttrFloat32("slope", 0.5)
    (gap,) = TARGET.check([component], job())
    assert gap.rule == "attribute 'slope' has no LiteRT form"


def test_an_operator_of_a_foreign_domain_is_refused() -> None:
    node = helper.make_node("Relu", ["x"], ["y"], name="custom", domain="com.acme")
    model = model_of([node], {"x": IMAGE}, {})
    model.opset_import.append(helper.make_opsetid("com.acme", 1))
    model.graph.output[0].type.tensor_type.shape.CopyFrom(model.graph.input[0].type.tensor_type.shape)
    (gap,) = gaps_of(model)
    assert (gap.node, gap.rule) == ("custom", "edgekit has no LiteRT form of this op")


def test_dynamic_dims_are_refused_with_the_option_that_fixes_them() -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": ["batch", 4]}, {})
    component = Component("model", ir.from_proto(model), "0" * 64)
    dynamic = prepare_component(component, shapes={"x": (DimRange(1, 8), DimRange(4, 4))})
    (gap,) = TARGET.check([dynamic], job())
    assert "needs fixed sizes" in gap.rule
    assert gap.way_out == "add --shape x=N,N,..."
    assert gaps_of(model, {"x": (2, 4)}) == []


def test_a_dtype_that_liteRT_does_not_compute_on_is_refused() -> None:  # noqa: N802 - the product's name
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": [2, 4]}, {})
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    rules = [gap.rule for gap in gaps_of(model)]
    assert any("float64" in rule for rule in rules)


def test_too_high_a_rank_is_refused() -> None:
    model = model_of(
        [
            helper.make_node("Transpose", ["x"], ["t"], perm=[6, 5, 4, 3, 2, 1, 0]),
            helper.make_node("Relu", ["t"], ["y"]),
        ],
        {"x": [2, 2, 3, 2, 2, 3, 2]},
        {},
    )
    assert any("at most 6 dims" in gap.rule for gap in gaps_of(model))


def test_control_flow_that_stays_is_refused_by_name() -> None:
    component = prepared(package_model("silero"), QUICK_SHAPES["silero"])
    found = next(gap for gap in TARGET.check([component], job()) if gap.op == "If")
    assert found.rule == "its branches or body are chosen at run time"
    assert "(--bind sr=VALUE)" in found.way_out


def test_a_constant_too_large_to_fold_is_filled_at_run_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.passes.fold_constants.LARGEST_FOLDED_BYTES", 64)
    artifact = build(prepared(filled_model()), tmp_path)
    assert "FILL" in op_names((tmp_path / artifact.main).read_bytes())
    feeds = {"x": np.arange(6, dtype=np.float32)[None]}
    np.testing.assert_array_equal(TARGET.open(artifact, tmp_path).run(feeds)["y"], feeds["x"][0] + 1.5)


def test_missing_packages_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from edgekit.targets import litert

    assert TARGET.missing() is None
    monkeypatch.setattr(litert, "find_spec", lambda _: None)
    assert TARGET.missing() == 'pip install "ai-edge-litert>=2.3" "flatbuffers>=25"'
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": [2, 4]}, {})
    assert gaps_of(model) == []  # check needs no toolchain
    with pytest.raises(MissingToolError, match="ai-edge-litert is not installed"):
        build(prepared(model), tmp_path)
    with pytest.raises(CannotRunHere):
        LiteRTSession(tmp_path / "model.fp32.tflite")


def test_an_unknown_option_and_a_hostile_component_name_are_refused(tmp_path: Path) -> None:
    component = prepared(toy_cnn())
    with pytest.raises(UsageError, match="has no option 'fast'"):
        TARGET.check([component], Job(DEVICE, "fp32", options={"fast": "1"}))
    with pytest.raises(ModelError, match="cannot be a file name"):
        TARGET.build([Component("../up", component.model, "0" * 64)], job(), tmp_path)


def test_a_broken_file_and_samples_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.tflite").write_bytes(b"\0" * 64)
    with pytest.raises(BundleError, match=r"LiteRT cannot load bad\.tflite"):
        LiteRTSession(tmp_path / "bad.tflite")
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": [2, 4]}, {})
    session = TARGET.open(build(prepared(model), tmp_path), tmp_path)
    with pytest.raises(SamplesError, match="'x' is not fed"):
        session.run({})
    with pytest.raises(SamplesError, match=r"float64\[2, 4\]"):
        session.run({"x": np.zeros((2, 4))})
    with pytest.raises(SamplesError, match=r"float32\[3, 4\]"):
        session.run({"x": np.zeros((3, 4), np.float32)})


def test_a_rule_that_makes_another_shape_than_onnx_says_is_a_gap_and_no_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from edgekit._lowering import Registered
    from edgekit.targets.litert.call import RULES

    component = prepared(model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": [2, 4]}, {}))
    load_rules()
    monkeypatch.setitem(RULES, "Relu", Registered(lambda call: call.reshape(call.x, (4, 2)), frozenset()))
    (gap,) = lower_component(component).gaps
    assert "the rule makes float32[4, 2] of float32[2, 4]" in gap.rule


def test_names_out_of_a_model_stay_out_of_the_kotlin_source(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    model = model_of([node], {"x": [2, 4]}, {})
    hostile = '"; System.exit(1) // @'
    model.graph.input[0].name = node.input[0] = hostile
    model.graph.node[0].input[0] = hostile
    artifact = build(prepared(model), tmp_path)
    (path,) = TARGET.extras([artifact], job(), tmp_path)
    text = (tmp_path / path).read_text()
    assert path == "android/EdgekitModel.kt"
    assert "System.exit" not in text
    assert "input0: FloatArray" in text
    assert 'MODEL_FILE = "model.fp32.tflite"' in text
    assert "NOT compiled" in text


def test_nnapi_becomes_litert_with_a_warning() -> None:
    found = resolve_target("nnapi")
    assert (found.target.name, found.device.name) == ("litert", "android-nnapi")
    component = prepared(toy_cnn())
    (gap,) = found.target.check([component], Job(found.device, "fp32"))
    assert gap.severity == "warning"
    assert "deprecated since Android 15" in gap.rule
    assert resolve_target("android").device.name == "generic-litert"


def test_the_writer_knows_no_custom_operator() -> None:
    table = write_tflite.operator_table()
    assert not [name for name in table if "CUSTOM" in name or "FLEX" in name]
    graph = Graph()
    out = constant(np.zeros(1, np.float32))
    graph.add("CUSTOM", [], out)
    with pytest.raises(KeyError):
        write_tflite.write_tflite(graph, description="")


def test_device_figures_have_sources() -> None:
    from edgekit.profiles.loader import load_device

    devices: list[Device] = [load_device(path) for path in TARGET.devices()]
    assert "generic-litert" in {device.name for device in devices}
    assert all(figure.source for device in devices for figure in device.figures.values())


@pytest.mark.parametrize(("op", "factor"), [("Div", 6.0), ("Mul", 1 / 6)])
def test_a_hard_swish_written_out_becomes_one_operator(op: str, factor: float, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["x", "three"], ["shifted"]),
        helper.make_node("Clip", ["shifted", "zero", "six"], ["gate"]),
        helper.make_node("Mul", ["gate", "x"], ["product"]),
        helper.make_node(op, ["product", "factor"], ["y"]),
    ]
    numbers = {"three": 3.0, "zero": 0.0, "six": 6.0, "factor": factor}
    weights = {name: np.array(value, np.float32) for name, value in numbers.items()}
    model = model_of(nodes, {"x": IMAGE}, weights)
    artifact = build(prepared(model), tmp_path)
    assert op_names((tmp_path / artifact.main).read_bytes()) == ["HARD_SWISH"]
    feeds = {"x": RNG.standard_normal(IMAGE).astype(np.float32) * 4}
    got = TARGET.open(artifact, tmp_path).run(feeds)["y"]
    np.testing.assert_allclose(got, run_onnx(model, feeds)["y"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("three", "six"), [(3.0, 6.5), (2.5, 6.0)], ids=["another limit", "another shift"])
def test_what_is_nearly_a_hard_swish_is_none(three: float, six: float, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["x", "three"], ["shifted"]),
        helper.make_node("Clip", ["shifted", "zero", "high"], ["gate"]),
        helper.make_node("Mul", ["gate", "x"], ["product"]),
        helper.make_node("Div", ["product", "six"], ["y"]),
    ]
    numbers = {"three": three, "zero": 0.0, "high": six, "six": 6.0}
    weights = {name: np.array(value, np.float32) for name, value in numbers.items()}
    model = model_of(nodes, {"x": IMAGE}, weights)
    artifact = build(prepared(model), tmp_path)
    feeds = {"x": RNG.standard_normal(IMAGE).astype(np.float32) * 4}
    got = TARGET.open(artifact, tmp_path).run(feeds)["y"]
    np.testing.assert_allclose(got, run_onnx(model, feeds)["y"], rtol=1e-5, atol=1e-6)
    assert "HARD_SWISH" not in op_names((tmp_path / artifact.main).read_bytes())


def test_a_file_is_proven_on_the_reference_kernels_too_or_its_notes_say_why_not(tmp_path: Path) -> None:
    artifact = build(prepared(toy_cnn()), tmp_path)
    ((name, session),) = TARGET.open_others(artifact, tmp_path).items()
    feeds = {"x": np.random.default_rng(1).standard_normal((1, 3, 16, 16)).astype(np.float32)}
    assert name == "LiteRT's reference kernels"
    np.testing.assert_allclose(session.run(feeds)["y"], run_onnx(toy_cnn(), feeds)["y"], rtol=1e-4, atol=1e-5)
    coarse = build(prepared(toy_cnn()), tmp_path, "w8")
    assert TARGET.open_others(coarse, tmp_path) == {}
    assert coarse.notes[-1].startswith("not proven on LiteRT's reference kernels: they have no kernels for")
