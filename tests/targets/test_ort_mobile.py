from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgekit._schemes import NATIVE_U8
from edgekit._values import Component, DimRange
from edgekit.errors import BundleError, ModelError, SamplesError, UsageError
from edgekit.passes.prepare_component import prepare_component
from edgekit.targets.ort_mobile import OrtMobile
from tests.models import QUICK_SHAPES, package_model, random_feeds, run_onnx, toy_attention, toy_cnn, toy_lstm
from tests.targets.ort_mobile_models import build, component, job, qdq_cnn

if TYPE_CHECKING:
    from pathlib import Path

TARGET = OrtMobile()


def prepared(name: str) -> Component:
    path = package_model(name)
    shapes = {key: tuple(DimRange(size, size) for size in dims) for key, dims in QUICK_SHAPES[name].items()}
    return prepare_component(Component("model", ir.load(path), "0" * 64, path), shapes=shapes)


@pytest.mark.parametrize("name", ["ppocr-cls", "ppocr-det", "magika"])
def test_the_fp32_ort_file_gives_what_onnxruntime_gives_on_the_original(name: str, tmp_path: Path) -> None:
    feeds = random_feeds(QUICK_SHAPES[name], package_model(name))
    artifact = TARGET.build([prepared(name)], job("fp32"), tmp_path)[0]
    session = TARGET.open(artifact, tmp_path)
    truth = run_onnx(package_model(name), feeds)
    got = session.run(feeds)
    assert list(got) == list(truth)
    for key, want in truth.items():
        np.testing.assert_allclose(got[key], want, rtol=1e-3, atol=2e-5)
    again = session.run(feeds)
    assert all(np.array_equal(got[key], again[key]) for key in got)
    assert artifact.macs is not None
    assert artifact.macs.int8 == 0 < artifact.macs.total


@pytest.mark.parametrize("toy", [toy_cnn, toy_lstm, toy_attention])
def test_toy_models_give_the_same_numbers(toy: Any, tmp_path: Path) -> None:
    model = toy()
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    feeds = {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
    artifact = build(model, tmp_path, "fp32")
    got = TARGET.open(artifact, tmp_path).run(feeds)
    np.testing.assert_allclose(got["y"], run_onnx(model, feeds)["y"], rtol=1e-4, atol=1e-5)


def test_two_builds_give_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    onnx.save(qdq_cnn("u8"), tmp_path / "qdq.onnx")
    script = (
        "import sys, pathlib, onnx\n"
        "from tests.targets.ort_mobile_models import build\n"
        "build(onnx.load(sys.argv[1]), pathlib.Path(sys.argv[2]))\n"
    )
    digests = []
    for run in ("one", "two"):
        folder = tmp_path / run
        folder.mkdir()
        command = [sys.executable, "-c", script, str(tmp_path / "qdq.onnx"), str(folder)]
        subprocess.run(command, check=True)
        digests.append(
            {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        )
    assert digests[0] == digests[1]
    assert len(digests[0]) == 6


def test_a_build_leaves_its_component_unchanged_and_lists_every_file(tmp_path: Path) -> None:
    given = component(qdq_cnn("s8"))
    before = ir.to_proto(given.model).SerializeToString(deterministic=True)
    artifact = TARGET.build([given], job(), tmp_path)[0]
    assert ir.to_proto(given.model).SerializeToString(deterministic=True) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(artifact.files)
    assert artifact.main == "model.int8.ort"
    assert artifact.main in artifact.files


def test_the_runtime_style_file_replays_to_the_same_numbers(tmp_path: Path) -> None:
    import onnxruntime as ort

    model = toy_cnn()
    artifact = build(model, tmp_path, "fp32")
    options = ort.SessionOptions()
    options.add_session_config_entry("session.enable_saved_runtime_optimizations", "1")
    path = tmp_path / "model.fp32.with_runtime_opt.ort"
    assert path.name in artifact.files
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds = {"x": np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)}
    replayed: Any = session.run(None, feeds)[0]
    np.testing.assert_allclose(replayed, run_onnx(model, feeds)["y"], rtol=1e-4, atol=1e-6)


def test_operator_lists_name_the_ops_of_the_file_and_no_host_path(tmp_path: Path) -> None:
    build(qdq_cnn("u8"), tmp_path)
    plain = (tmp_path / "model.int8.required_operators.config").read_text()
    typed = (tmp_path / "model.int8.required_operators_and_types.config").read_text()
    assert "com.microsoft;1;" in plain
    for op in ("QGemm", "QLinearConv", "QLinearAdd"):
        assert op in plain
    assert '"uint8_t"' in typed
    assert str(tmp_path) not in plain + typed
    assert "/tmp" not in plain + typed


def test_the_plain_operator_list_is_the_one_onnxruntimes_helper_writes(tmp_path: Path) -> None:
    from onnxruntime.tools.ort_format_model import create_config_from_models

    artifact = build(qdq_cnn("u8"), tmp_path)
    models = [tmp_path / name for name in artifact.files if name.endswith(".ort")]
    create_config_from_models(models, tmp_path / "helper.config", False)
    wanted = [line for line in (tmp_path / "helper.config").read_text().splitlines() if line[0] != "#"]
    plain = (tmp_path / "model.int8.required_operators.config").read_text().splitlines()[1:]
    # What the saved optimizations need when they are replayed stands in ours besides.
    found = {tuple(line.split(";")[:2]): set(line.split(";")[2].split(",")) for line in plain}
    for line in wanted:
        domain, opset, names = line.split(";")
        assert set(names.split(",")) <= found[domain, opset]
    assert not any("{" in line or '"' in line for line in plain)


def test_building_leaves_the_users_log_handlers_alone(tmp_path: Path) -> None:
    handlers = list(logging.getLogger().handlers)
    build(toy_cnn(), tmp_path, "fp32")
    assert logging.getLogger().handlers == handlers


def test_macs_of_a_dynamic_file_are_counted_at_the_largest_shape(tmp_path: Path) -> None:
    wide = (DimRange(1, 1), DimRange(3, 3), DimRange(12, 24), DimRange(12, 12))
    artifact = build(qdq_cnn("u8", (1, 3, "h", 12)), tmp_path, shapes={"x": wide})
    # Conv 3->8 3x3 and depthwise 3x3 at 24x12, Gemm 8->10.
    assert artifact.macs is not None
    assert artifact.macs.total == 24 * 12 * 8 * 27 + 24 * 12 * 8 * 9 + 80
    assert artifact.macs.share == 1.0
    assert any("largest input shapes" in note for note in artifact.notes)


def test_macs_of_a_dynamic_file_without_ranges_are_unknown(tmp_path: Path) -> None:
    artifact = build(toy_cnn(batch="n"), tmp_path, "fp32")
    assert artifact.macs is None
    assert any("MACs are unknown" in note for note in artifact.notes)


def test_the_plan_asks_for_the_native_scheme_and_the_opset_the_runtime_reads() -> None:
    plan = TARGET.plan([], job())
    assert plan.scheme == NATIVE_U8
    assert plan.bias == "int32"
    assert plan.default_float == "fp32"
    assert plan.baselines == ("fp32",)
    assert plan.max_opset is not None
    assert plan.max_opset >= 17
    assert TARGET.missing() is None


def test_what_it_cannot_do_is_refused_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no fp16 variant"):
        build(toy_cnn(), tmp_path, "fp16")
    with pytest.raises(UsageError, match="no option 'speed'"):
        build(toy_cnn(), tmp_path, "fp32", options={"speed": "11"})
    assert not list(tmp_path.glob("*.fp16*"))


@pytest.mark.parametrize("name", ["../up", "a/b", "", "-o", ".hidden", "a\nb", "x" * 200])
def test_a_component_name_never_becomes_a_path(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be a file name"):
        TARGET.build([component(toy_cnn(), name)], job("fp32"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_model_the_runtime_refuses_names_the_reason_and_no_scratch_path(tmp_path: Path) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "y"))
    graph = helper.make_graph([helper.make_node("Nope", ["x"], ["y"], domain="acme")], "g", [x], [y])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("acme", 1)]
    with pytest.raises(ModelError, match="acme") as caught:
        build(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path, "fp32")
    assert "/tmp" not in str(caught.value)


def test_damaged_files_and_wrong_feeds_are_refused(tmp_path: Path) -> None:
    artifact = build(toy_cnn(), tmp_path, "fp32")
    session = TARGET.open(artifact, tmp_path)
    with pytest.raises(SamplesError, match="'x' is not fed"):
        session.run({})
    with pytest.raises(SamplesError, match="refused the sample"):
        session.run({"x": np.zeros((1, 3, 5, 5), np.float32)})
    path = tmp_path / artifact.main
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(BundleError, match="cannot load"):
        TARGET.open(artifact, tmp_path)
    path.write_bytes(toy_cnn().SerializeToString())
    with pytest.raises(BundleError, match="cannot load"):
        TARGET.open(artifact, tmp_path)


def test_a_node_of_a_loops_body_is_timed_over_all_its_turns(tmp_path: Path) -> None:
    provider = "CPUExecutionProvider"
    rows = [("loop", "Loop", [70, 90]), ("turn", "Exp", [2, 3, 3, 3, 3, 40])]
    events = [
        {"cat": "Node", "name": name + suffix, "dur": us, "args": {"op_name": op, "provider": provider}}
        for name, op, times in rows
        for us in times
        for suffix in ("_fence_before", "_kernel_time")
    ]
    (tmp_path / "profile.json").write_text(
        json.dumps([{"cat": "Session", "name": "model_run", "dur": 99}, *events])
    )
    on_device = TARGET.device_run(build(toy_cnn(), tmp_path, "fp32"), job("fp32").device)
    (script,) = on_device.files.values()
    source = "import json, run_onnxruntime as r; events = json.load(open('profile.json')); "
    source += "print(json.dumps(r.read_profile(events, 2)))"
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(script.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    # Three turns a run of 3 us each; the loop itself once a run.
    assert {row["name"]: row["us"] for row in found["rows"]} == {"loop": 80.0, "turn": 9.0}
    assert [(unit["unit"], unit["ops"]) for unit in found["placements"]] == [("CPU", 2)]


def test_a_branch_that_cannot_run_at_the_given_sizes_is_refused_with_the_input_to_bind() -> None:
    """silero's other branch is for 8 kHz, and has no form for the samples of 16 kHz."""
    sizes = {"input": (1, 576), "state": (2, 1, 128)}
    shapes = {name: tuple(DimRange(size, size) for size in dims) for name, dims in sizes.items()}
    model = ir.load(package_model("silero"))
    prepared = prepare_component(Component("model", model, "0" * 64), shapes=shapes)
    (gap,) = [gap for gap in TARGET.check([prepared], job("fp32")) if gap.severity == "error"]
    assert (gap.op, gap.node) == ("If", "If_0")
    assert "refuses what is inside at these shapes: Node (_if_then_branch_LSTM)" in gap.rule
    assert "--bind sr=VALUE" in gap.way_out
