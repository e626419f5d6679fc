from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgekit._qdq import QdqForm, insert_qdq
from edgekit._qdq.split_activations import split_activations
from edgekit._qdq.to_unsigned import to_unsigned
from edgekit._schemes import NATIVE_U8_S8, NATIVE_U16_S8, PORTABLE, Scheme
from edgekit._values import Component, DimRange
from edgekit.errors import BundleError, GapError, MissingToolError, TargetError, UsageError
from edgekit.passes.flatten_bias import flatten_bias
from edgekit.passes.prepare_component import prepare_component
from edgekit.profiles.loader import load_device
from edgekit.targets.qnn import library
from edgekit.targets.qnn.chips import Chip, load_chips
from edgekit.targets.qnn.compile_contexts import compile_context
from tests.converted import run
from tests.models import package_model, random_feeds, run_onnx, toy_cnn
from tests.qdq.qdq_nets import all_tensors, record_of
from tests.targets.qnn_models import FEEDS, TARGET, as_component, build, job, quantized

if TYPE_CHECKING:
    from pathlib import Path


RNG = np.random.default_rng(4)


@pytest.mark.parametrize("scheme", [NATIVE_U8_S8, NATIVE_U16_S8, PORTABLE], ids=lambda scheme: scheme.name)
def test_the_htp_computes_what_the_qdq_graph_says_in_one_whole_context(
    scheme: Scheme, tmp_path: Path
) -> None:
    component = quantized(toy_cnn(), scheme)
    artifact = build(component, tmp_path, job(last_softmax="htp"))
    session = TARGET.open(artifact, tmp_path)
    got = session.run(FEEDS)
    # Softmax in float16: 2^-11 of each value, beside a step or two of the 8-bit logits.
    tolerance = 2e-3 if scheme.activation == "uint16" else 3e-2
    np.testing.assert_allclose(got["y"], run_onnx(component.model, FEEDS)["y"], atol=tolerance)
    assert np.array_equal(session.run(FEEDS)["y"], got["y"])
    context = onnx.load(tmp_path / artifact.main / "model.onnx")
    kinds = [node.op_type for node in context.graph.node]
    assert kinds.count("EPContext") == 1
    assert set(kinds) <= {"EPContext", "QuantizeLinear", "DequantizeLinear"}
    told = json.loads((tmp_path / "model.int8.partition.json").read_text())["chips"][0]
    assert (told["htp_arch"], told["contexts"], told["on_cpu"]) == (75, 1, [])
    trace = json.loads((tmp_path / f"{artifact.main}.op_trace.json").read_text())["summary"]
    on_htp, *border = artifact.placements
    assert (on_htp.unit, on_htp.ops) == ("HTP of SM8650 (v75)", trace["supported_nodes"])
    assert "not seen on a phone" in on_htp.why
    assert not any(row.fallback for row in artifact.placements)
    assert sum(row.ops or 0 for row in border) == trace["total_onnx_nodes"] - trace["supported_nodes"]
    assert artifact.macs is not None
    counted = artifact.macs.int16 if scheme.activation == "uint16" else artifact.macs.int8
    assert counted == artifact.macs.total > 0


def test_two_builds_give_the_same_bytes_and_leave_the_component_alone(tmp_path: Path) -> None:
    component = quantized(toy_cnn(), NATIVE_U8_S8)
    before = ir.to_proto(component.model).SerializeToString(deterministic=True)
    digests = []
    for turn in ("one", "two"):
        (tmp_path / turn).mkdir()
        artifact = build(component, tmp_path / turn, job())
        files = {name: (tmp_path / turn / name).read_bytes() for name in artifact.files}
        digests.append({name: hashlib.sha256(data).hexdigest() for name, data in files.items()})
        written = [path for path in (tmp_path / turn).rglob("*") if path.is_file()]
        assert len(written) == len(files) == 5
    assert digests[0] == digests[1]
    assert ir.to_proto(component.model).SerializeToString(deterministic=True) == before


def test_taps_of_the_htp_lie_within_two_steps_of_the_reference(tmp_path: Path) -> None:
    component = quantized(toy_cnn(), NATIVE_U8_S8)
    artifact = build(component, tmp_path, job())
    graph = onnx.load(tmp_path / "model.int8.qdq.onnx")
    taps = ["p", "logits"]
    got = TARGET.open(artifact, tmp_path).run(FEEDS, taps)
    for tap in taps:
        name = f"{tap}/dequantized"
        twin = onnx.ModelProto()
        twin.CopyFrom(graph)
        twin.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        scale = next(row for row in graph.graph.initializer if row.name == f"{tap}/scale")
        step = float(onnx.numpy_helper.to_array(scale))
        np.testing.assert_allclose(got[tap], run_onnx(twin, FEEDS)[name], atol=2.01 * step)


def net_with(op: str, **attributes: Any) -> onnx.ModelProto:
    """Conv -> op 'odd' -> Conv."""
    weights = [
        onnx.numpy_helper.from_array(RNG.standard_normal((3, 3, 1, 1)).astype(np.float32), name)
        for name in ("w1", "w2")
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], "first"),
        helper.make_node(op, ["a"], ["h"], "odd", **attributes),
        helper.make_node("Conv", ["h", "w2"], ["y"], "second"),
    ]
    shape = (1, 3, 16, 16)
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "odd", infos[:1], infos[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_an_op_without_a_form_is_reported_with_its_reason_and_the_rest_still_runs(tmp_path: Path) -> None:
    component = quantized(net_with("Hardmax", axis=1), NATIVE_U8_S8)
    artifact = build(component, tmp_path, job())
    told = json.loads((tmp_path / "model.int8.partition.json").read_text())["chips"][0]
    rows = {row["op"]: row for row in told["on_cpu"]}
    assert "odd" in rows["Hardmax"]["node"]
    assert rows["Hardmax"]["reason"]
    assert rows["Hardmax"]["way_out"]
    assert told["contexts"] == 2
    (placed,) = [row for row in artifact.placements if "Hardmax" in row.why]
    assert (placed.unit, placed.fallback) == ("CPU beside SM8650", True)
    assert placed.why.startswith(f"Hardmax 'odd': {rows['Hardmax']['reason']}")
    assert any("1 on the CPU (Hardmax 'odd')" in note for note in artifact.notes)
    got = TARGET.open(artifact, tmp_path).run(FEEDS)["y"]
    np.testing.assert_allclose(got, run_onnx(component.model, FEEDS)["y"], atol=0.1)


def test_a_fallback_is_refused_by_name_where_the_user_says_so(tmp_path: Path) -> None:
    component = quantized(net_with("Hardmax", axis=1), NATIVE_U8_S8)
    with pytest.raises(GapError, match="Hardmax 'odd': runs on the CPU") as caught:
        build(component, tmp_path, job(fallback="refuse"))
    assert any(gap.op == "Hardmax" for gap in caught.value.gaps)


def test_the_command_line_refuses_a_fallback_and_a_target_that_cannot_tell_one(tmp_path: Path) -> None:
    onnx.save(net_with("Hardmax", axis=1), tmp_path / "m.onnx")
    words = ("convert", tmp_path / "m.onnx", "--samples", "random", "--no-cache", "--no-fallback")
    refused = run(*words, "-t", "snapdragon-8-gen-3", "-o", tmp_path / "out")
    assert refused.exit_code == 1
    assert "Hardmax 'odd': runs on the CPU" in refused.output
    assert not (tmp_path / "out").exists()
    other = run(*words, "-t", "ort-mobile", "-o", tmp_path / "out")
    assert other.exit_code == 2
    assert "has no option 'fallback'" in other.output


def test_the_float_model_runs_on_the_htp_in_fp16_and_on_the_cpu_as_it_is(tmp_path: Path) -> None:
    component, truth = as_component(toy_cnn()), run_onnx(toy_cnn(), FEEDS)["y"]
    fp16 = build(component, tmp_path, job("fp16"))
    np.testing.assert_allclose(TARGET.open(fp16, tmp_path).run(FEEDS)["y"], truth, atol=2e-3)
    fp32 = build(component, tmp_path, job("fp32"))
    np.testing.assert_allclose(TARGET.open(fp32, tmp_path).run(FEEDS)["y"], truth, atol=1e-5)


def test_chips_options_and_shapes_that_do_not_fit_are_refused_with_a_way_out() -> None:
    component = as_component(toy_cnn())
    with pytest.raises(UsageError, match=r"chip 'SM8651'.*did you mean 'SM8650'"):
        TARGET.plan([component], job(chips="SM8651"))
    with pytest.raises(UsageError, match=r"no option 'activations'.*did you mean 'activation'"):
        TARGET.plan([component], job(activations="u8"))
    with pytest.raises(UsageError, match="no count of megabytes"):
        TARGET.plan([component], job(vtcm_mb="9999"))
    assert [gap.op for gap in TARGET.check([component], job("fp16", "qcs6490"))] == ["fp16"]
    open_batch = prepare_component(
        Component("model", ir.from_proto(toy_cnn(batch="n")), "0" * 64),
        shapes={"x": (DimRange(1, 4), DimRange(3, 3), DimRange(16, 16), DimRange(16, 16))},
    )
    gaps = TARGET.check([open_batch], job())
    assert [(gap.op, gap.severity) for gap in gaps] == [("input", "error")]
    assert "--shape x=" in gaps[0].way_out


def test_a_missing_wheel_and_an_old_glibc_are_told_before_any_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert library.explain_glibc(("glibc", "2.36")) is None
    for found in (("glibc", "2.31"), ("musl", "1.2.4"), ("", "")):
        assert "glibc 2.35 or later" in str(library.explain_glibc(found))
    monkeypatch.setattr(library, "find_spec", lambda _: None)
    assert TARGET.missing() == 'pip install "onnxruntime-qnn>=2.7"'
    with pytest.raises(MissingToolError, match="onnxruntime-qnn"):
        build(quantized(toy_cnn(), NATIVE_U8_S8), tmp_path, job())


def test_what_the_compiler_cannot_allocate_is_an_error_that_says_what_that_means(tmp_path: Path) -> None:
    model = onnx.load(package_model("ppocr-cls"))
    feeds = random_feeds({"x": (1, 3, 48, 192)}, package_model("ppocr-cls"))
    shapes = {"x": tuple(DimRange(size, size) for size in (1, 3, 48, 192))}
    component = quantized(model, NATIVE_U8_S8, feeds, shapes)
    ir.save(component.model, tmp_path / "qdq.onnx")
    no_chip = Chip("SM0000", "a chip that was never named", 0, 75, False)  # so: no float16 inside
    with pytest.raises(TargetError, match=r"fails for SM0000 \(v75\): the graph needs more memory") as caught:
        compile_context(tmp_path / "qdq.onnx", no_chip, out=tmp_path, folder="context")
    assert "QNN_COMMON_ERROR_MEM_ALLOC" in str(caught.value)


def test_a_damaged_context_does_not_load(tmp_path: Path) -> None:
    artifact = build(quantized(toy_cnn(), NATIVE_U8_S8), tmp_path, job())
    binary = next((tmp_path / artifact.main).glob("*.bin"))
    binary.write_bytes(binary.read_bytes()[:1000])
    with pytest.raises(BundleError, match="does not load here"):
        TARGET.open(artifact, tmp_path)


def test_the_class_takes_the_context_of_the_phones_chip_and_names_no_other(tmp_path: Path) -> None:
    given = job(device="galaxy-s25-qnn", chips="SM8650,SM8750")
    artifact = build(quantized(toy_cnn(), NATIVE_U8_S8), tmp_path, given)
    (name,) = TARGET.extras([artifact], given, tmp_path)
    text = (tmp_path / name).read_text()
    (entries,) = [line for line in text.splitlines() if "val CONTEXTS" in line]
    folders = sorted(path.parent.name for path in tmp_path.glob("*/model.onnx"))
    assert len(folders) == 2
    assert entries.strip() == f'val CONTEXTS = mapOf("SM8650" to "{folders[0]}", "SM8750" to "{folders[1]}")'
    assert "--target galaxy-s25," in text
    assert "@" not in text.replace("@Synchronized", "")


def test_a_context_for_another_chip_than_the_devices_own_is_told(tmp_path: Path) -> None:
    component = quantized(toy_cnn(), NATIVE_U8_S8)
    other = build(component, tmp_path, job(device="galaxy-s25-qnn", chips="SM8550"))
    assert any("SM8550 (v73) as asked, NOT for galaxy-s25-qnn's own SM8750" in note for note in other.notes)


def test_weights_that_one_message_does_not_hold_are_refused_before_the_compiler_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.passes.serialize_model.INLINE_LIMIT_BYTES", 100)
    with pytest.raises(TargetError, match="one message of less than 2 GB") as caught:
        build(quantized(toy_cnn(), NATIVE_U8_S8), tmp_path, job())
    assert "components" in caught.value.fix


def test_every_device_names_a_chip_that_is_known_and_a_generic_one_gets_four() -> None:
    devices = [load_device(path) for path in TARGET.devices()]
    named = {device.name: device.facts.get("chip") for device in devices}
    assert [name for name, chip in named.items() if chip is None] == ["generic-qnn"]
    assert {chip for chip in named.values() if chip} == set(load_chips())
    for device in devices:
        arch = load_chips()[device.facts["chip"]].htp_arch if "chip" in device.facts else None
        assert device.facts.get("npu", f"Hexagon v{arch}").split(",")[0] == f"Hexagon v{arch}"


def codes_of(model: ir.Model) -> list[Any]:
    return [node.inputs[2].const_value.dtype for node in model.graph if node.op_type == "QuantizeLinear"]  # type: ignore[union-attr]  # initializers


def test_unsigned_codes_mean_the_same_numbers_to_the_bit() -> None:
    component = quantized(toy_cnn(), PORTABLE)
    model = component.model.clone()
    assert to_unsigned(model) == len(codes_of(component.model)) > 0
    assert set(codes_of(model)) == {ir.DataType.UINT8}
    split_activations(model)
    assert np.array_equal(run_onnx(model, FEEDS)["y"], run_onnx(component.model, FEEDS)["y"])


def test_a_bias_of_any_rank_behind_a_product_becomes_a_row() -> None:
    bias = onnx.numpy_helper.from_array(RNG.standard_normal((1, 1, 5)).astype(np.float32), "b")
    weight = onnx.numpy_helper.from_array(RNG.standard_normal((4, 5)).astype(np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["b", "m"], ["y"])]
    infos = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 4)),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 3, 5)),
    ]
    graph = helper.make_graph(nodes, "sum", infos[:1], infos[1:], [weight, bias])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    feeds = {"x": RNG.standard_normal((1, 3, 4)).astype(np.float32)}
    model = prepare_component(Component("model", ir.from_proto(proto), "0" * 64), shapes={}).model
    assert flatten_bias(model) == 1
    add = next(node for node in model.graph if node.op_type == "Add")
    assert [value.const_value.shape.numpy() for value in add.inputs if value and value.const_value] == [(5,)]
    assert np.array_equal(run_onnx(model, feeds)["y"], run_onnx(proto, feeds)["y"])


def clipped(low: float, high: float) -> onnx.ModelProto:
    """Conv -> Clip, its grid wider than the limits."""
    weight = onnx.numpy_helper.from_array(RNG.standard_normal((4, 3, 3, 3)).astype(np.float32), "w")
    bounds = [
        onnx.numpy_helper.from_array(np.array(value, np.float32), name)
        for name, value in (("lo", low), ("hi", high))
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Clip", ["c", "lo", "hi"], ["k"], "clip"),
        helper.make_node("MaxPool", ["k"], ["y"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
    ]
    infos = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 16, 16)),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 8, 8)),
    ]
    graph = helper.make_graph(nodes, "clipped", infos[:1], infos[1:], [weight, *bounds])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(("low", "high"), [(0, 3), (-1, 1), (0, 50)])
@pytest.mark.parametrize("scheme", [NATIVE_U8_S8, PORTABLE], ids=lambda scheme: scheme.name)
def test_limits_inside_the_grid_hold_on_the_htp(
    low: float, high: float, scheme: Scheme, tmp_path: Path
) -> None:
    """Qualcomm's compiler loses such a Clip behind a convolution: rewritten, it is right."""
    component = as_component(clipped(low, high))
    ranges = {name: array.copy() for name, array in all_tensors(clipped(low, high), FEEDS).items()}
    for name in ("k", "y"):  # a grid that other tensors share, wider than the limits
        ranges[name].reshape(-1)[:2] = (min(low - 1, 0), min(high + 2, 20))
    plan = TARGET.plan([component], job())
    form = QdqForm(scheme, plan.bias, plan.conv_output, plan.gemm_output)
    graph = insert_qdq(component, record_of(ranges), form=form).component
    got = TARGET.open(build(graph, tmp_path, job()), tmp_path).run(FEEDS)["y"]
    want = run_onnx(graph.model, FEEDS)["y"]
    assert want.min() >= low - 1e-6
    assert want.max() <= high + 1e-6
    np.testing.assert_allclose(got, want, atol=0.2)


def test_a_normalization_whose_squares_sum_above_float16_is_right_on_the_htp(tmp_path: Path) -> None:
    """Written as magika's: ReduceSum ends at 131008 on the HTP, and the variance was 0."""
    numbers = {"n": 1 / 512, "axes": np.array([1]), "zero": 0.0, "eps": 1e-6}
    weights = [
        onnx.numpy_helper.from_array(np.asarray(value, None if name == "axes" else np.float32), name)
        for name, value in numbers.items()
    ]
    rows = [
        ("ReduceSum", "x axes", "s"), ("Mul", "s n", "m"), ("Mul", "x x", "q"), ("ReduceSum", "q axes", "t"),
        ("Mul", "t n", "u"), ("Mul", "m m", "mm"), ("Sub", "u mm", "v"), ("Max", "zero v", "w"),
        ("Add", "w eps", "e"), ("Sqrt", "e", "r"), ("Sub", "x m", "d"), ("Div", "d r", "y"),
    ]  # fmt: skip
    nodes = [helper.make_node(op, inputs.split(), [out], out) for op, inputs, out in rows]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (2, 512)) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "norm", infos[:1], infos[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    feeds = {"x": (RNG.standard_normal((2, 512)) * 6 + 20).astype(np.float32)}
    got = TARGET.open(build(as_component(model), tmp_path, job("fp16")), tmp_path).run(feeds)["y"]
    np.testing.assert_allclose(got, run_onnx(model, feeds)["y"], atol=0.02)


def test_a_spectrum_in_decibels_keeps_its_quiet_half_on_the_htp(tmp_path: Path) -> None:
    """As basic-pitch has it: powers from 1e-10 up, of which float16 holds none below 6e-8."""
    rows = [
        ("Mul", "x x", "q"), ("ReduceSum", "q axes", "t"), ("Sqrt", "t", "s"), ("Mul", "s s", "p"),
        ("Add", "p floor", "f"), ("Log", "f", "y"),
    ]  # fmt: skip
    nodes = [helper.make_node(op, inputs.split(), [out], out) for op, inputs, out in rows]
    infos = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 8, 64, 2)),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 8, 64, 1)),
    ]
    weights = [
        onnx.numpy_helper.from_array(np.array([3]), "axes"),
        onnx.numpy_helper.from_array(np.array(1e-10, np.float32), "floor"),
    ]
    graph = helper.make_graph(nodes, "decibels", infos[:1], infos[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    levels = 10 ** RNG.uniform(-6, 1, (1, 8, 64, 1))
    feeds = {"x": (levels * RNG.standard_normal((1, 8, 64, 2))).astype(np.float32)}
    got = TARGET.open(build(as_component(model), tmp_path, job("fp16")), tmp_path).run(feeds)["y"]
    want = run_onnx(model, feeds)["y"]
    assert want.min() < np.log(2e-10)
    # Amplitudes under float16's smallest normal number keep few bits; written plainly, log is 15 off there.
    normal = want > 2 * np.log(2.0**-14)
    np.testing.assert_allclose(got[normal], want[normal], atol=0.02)
    np.testing.assert_allclose(got, want, atol=0.4)


@pytest.mark.parametrize(
    ("device", "fallback", "allowed"),
    [("qcs6490", "refuse", False), ("qcs6490", "allow", True), ("galaxy-s25-qnn", "refuse", True)],
)
def test_no_layer_is_left_in_float_where_the_chip_has_none_and_no_fallback_may_be(
    device: str, fallback: str, allowed: bool
) -> None:
    """v68, the HTP of QCS6490, computes in integers alone."""
    assert TARGET.plan([], job(device=device, fallback=fallback)).float_front_end == allowed
