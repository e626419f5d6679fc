from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import edgekit
from edgekit._qdq import QdqForm, Steering, Widening, insert_qdq
from edgekit._schemes import INT16X8, PORTABLE
from edgekit.errors import CannotRunHere, GapError, MissingToolError, TargetError, UsageError
from edgekit.profiles.loader import load_device
from edgekit.target import Job
from edgekit.targets.litert.build_component import build_component
from edgekit.targets.litert.ethos_u import EthosU
from edgekit.targets.litert.ethos_u.options import Options
from edgekit.targets.litert.ethos_u.run_vela import run_vela
from edgekit.targets.litert.ethos_u.write_out_hardswish import write_out_hardswish
from edgekit.targets.litert.session import LiteRTSession
from tests.converted import make_bundle, make_workspace, run
from tests.models import run_onnx
from tests.qdq.qdq_nets import all_tensors, normal, record_of, sqnr
from tests.targets.litert_models import job as litert_job
from tests.targets.litert_models import model_of, prepared

if TYPE_CHECKING:
    from pathlib import Path

TARGET = EthosU()
SMALL = Options("ethos-u55-128", "Ethos_U55_High_End_Embedded", "Shared_Sram")


def job(**fields: Any) -> Job:
    device = next(d for d in map(load_device, TARGET.devices()) if d.name == "generic-ethos-u")
    return Job(device, "int8", **fields)


def test_convert_compiles_the_proven_int8_file_and_says_what_runs_where(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path, "ethos-u85-256")
    table = json.loads((folder / "model.int8.vela.json").read_text())
    places = {(row["operator"], row["unit"]) for row in table["operators"]}
    assert ("Conv2D", "NPU") in places
    assert ("Softmax", "CPU") in places
    assert all(row["reason"] for row in table["operators"] if row["operator"] == "Softmax")
    # Multiply-accumulates that Vela counts on the NPU: of the convolutions, as their shapes say.
    assert sum(row["macs"] for row in table["operators"] if row["operator"] == "Conv2D") == 16 * 16 * 8 * 27
    rows = json.loads((folder / "manifest.json").read_text())["artifacts"][0]["placements"]
    units = Counter(row["unit"] for row in table["operators"])
    placed = {unit: sum(row["ops"] for row in rows if row["unit"].startswith(unit)) for unit in units}
    assert placed == units
    assert [row["fallback"] for row in rows if "Softmax" in row["why"]] == [False]
    assert {row["unit"] for row in rows if row["fallback"]} == {"CPU"}
    assert table["kind"] == "predicted"
    assert table["estimates"]["cycles"] > 0
    assert (folder / "model.int8.tflite").is_file()
    assert b"ethos-u" in (folder / "model.int8.vela.tflite").read_bytes()
    assert edgekit.verify(folder).passed


def test_the_compiled_file_is_what_vela_itself_makes_of_the_file_beside_it(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path, "ethos-u")
    words = ["--accelerator-config", "ethos-u55-256", "--config", "Arm/vela.ini"]
    words += ["--system-config", "Ethos_U55_High_End_Embedded", "--memory-mode", "Shared_Sram"]
    command = [
        sys.executable,
        "-m",
        "ethosu.vela",
        str(folder / "model.int8.tflite"),
        "--output-dir",
        str(tmp_path / "v"),
    ]
    subprocess.run([*command, *words], check=True, capture_output=True, cwd=tmp_path)
    assert (tmp_path / "v" / "model.int8_vela.tflite").read_bytes() == (
        folder / "model.int8.vela.tflite"
    ).read_bytes()


def test_the_users_budget_is_judged_by_velas_figures_and_no_latency_is_promised(tmp_path: Path) -> None:
    work = make_workspace(tmp_path)
    result = edgekit.convert(
        work / "m.onnx",
        targets="ethos-u",
        samples=work / "data",
        output=work / "out",
        budget="memory=1MB,latency=1s",
        cache="off",
    )
    verdicts = {verdict.metric: verdict for verdict in result.bundles[0].verdicts}
    assert verdicts["memory"].status == "fits"
    assert verdicts["memory"].figure.kind == "predicted"
    assert verdicts["latency"].status == "unknown"
    assert "left to the CPU" in verdicts["latency"].figure.basis
    report = edgekit.report(result.bundles[0].folder, work / "report", budget="memory=1MB,latency=1s")
    later = {verdict.metric: verdict for verdict in report.devices[0].verdicts}
    assert (later["memory"].status, later["memory"].figure.kind) == ("fits", "predicted")
    assert (later["latency"].status, "left to the CPU" in later["latency"].figure.basis) == ("unknown", True)
    told = run(
        "convert", work / "m.onnx", "--target", "ethos-u", "--samples", work / "data", "-o", work / "more"
    )
    assert "predicted latency" in told.stdout


def hardswish() -> onnx.ModelProto:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("HardSwish", ["x"], ["y"])],
        "g",
        [info("x", TensorProto.FLOAT, [1, 64])],
        [info("y", TensorProto.FLOAT, [1, 64])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_float_hardswish_is_written_out_with_the_same_numbers(tmp_path: Path) -> None:
    kinds: list[str] = []

    def adapt(lowered: Any) -> list[str]:
        notes = write_out_hardswish(lowered)
        kinds.extend(operator.code for operator in lowered.operators)
        return notes

    artifact = build_component(prepared(hardswish()), litert_job("fp32"), tmp_path, adapt=adapt)
    assert "HARD_SWISH" not in kinds
    assert any("written out" in note for note in artifact.notes)
    x = np.linspace(-8, 8, 64, dtype=np.float32).reshape(1, 64)
    got = LiteRTSession(tmp_path / artifact.main).run({"x": x})["y"]
    np.testing.assert_allclose(got, run_onnx(hardswish(), {"x": x})["y"], atol=2e-6)


def test_float_is_refused_with_the_way_out(tmp_path: Path) -> None:
    work = make_workspace(tmp_path)
    with pytest.raises(GapError, match="computes integers"):
        edgekit.convert(work / "m.onnx", targets="ethos-u", output=work / "out", cache="off")
    assert not (work / "out").exists()


def test_what_vela_refuses_names_its_operator(tmp_path: Path) -> None:
    artifact = build_component(prepared(hardswish()), litert_job("fp32"), tmp_path)
    with pytest.raises(GapError, match=r"HARD_SWISH.*8bit"):
        run_vela(tmp_path / artifact.main, SMALL)
    with pytest.raises(TargetError, match="Nowhere"):
        run_vela(tmp_path / artifact.main, Options("ethos-u55-128", "Nowhere", "Shared_Sram"))


def test_options_are_checked_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'accelerator'"):
        TARGET.plan([], job(options={"acelerator": "ethos-u55-32"}))
    with pytest.raises(UsageError, match="did you mean 'ethos-u55-128'"):
        TARGET.plan([], job(options={"accelerator": "ethos-u55-129"}))
    with pytest.raises(UsageError, match=r"vela\.ini"):
        TARGET.plan([], job(options={"memory-mode": "../x"}))
    folder = make_bundle(tmp_path, "ethos-u")
    assert folder.is_dir()
    with pytest.raises(CannotRunHere, match="firmware"):
        TARGET.device_run(None, job().device)  # type: ignore[arg-type]  # refused before it looks


def test_without_vela_the_install_command_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "edgekit.targets.litert.ethos_u.find_spec",
        lambda name: None if name == "ethosu" else find_spec(name),
    )
    assert TARGET.missing() == 'pip install "ethos-u-vela>=5.2"'
    monkeypatch.setattr(sys, "executable", str(_python_without_vela(tmp_path)))
    (tmp_path / "x.tflite").write_bytes(b"")
    with pytest.raises(MissingToolError, match="Vela is not installed"):
        run_vela(tmp_path / "x.tflite", SMALL)


def _python_without_vela(folder: Path) -> Path:
    """A Python that sees the standard library only."""
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    script.chmod(0o755)
    return script


def test_vela_takes_16_bit_nodes_beside_int8_ones(tmp_path: Path) -> None:
    weights = {f"w{index}": normal(4, 4, 3, 3, seed=index) for index in range(3)}
    names = ("x", "a", "b", "y")
    nodes = [
        helper.make_node("Conv", [names[i], f"w{i}"], [names[i + 1]], f"conv{i}", pads=[1, 1, 1, 1])
        for i in range(3)
    ]
    component = prepared(model_of(nodes, {"x": [1, 4, 16, 16]}, weights))
    feeds = {"x": normal(1, 4, 16, 16)}
    record = record_of(all_tensors(model_of(nodes, {"x": [1, 4, 16, 16]}, weights), feeds))
    steering = Steering(wide=Widening(INT16X8, frozenset(("conv1",))))
    form = QdqForm(PORTABLE, "int32", gemm_output="int8")
    mixed = insert_qdq(component, record, form=form, steering=steering).component
    artifact = TARGET.build([mixed], job(), tmp_path)[0]
    assert artifact.macs is not None
    assert (3 * artifact.macs.int16, artifact.macs.int16) == (artifact.macs.total, artifact.macs.int8 // 2)
    table = json.loads((tmp_path / "model.int8.vela.json").read_text())
    units = [row["unit"] for row in table["operators"] if row["operator"] == "Conv2D"]
    assert units == ["NPU"] * 3
    want = run_onnx(mixed.model, feeds)["y"]
    got = TARGET.open(artifact, tmp_path).run(feeds)["y"]
    assert sqnr(want, got) > 40


def net_of(*rows: tuple[str, str, str]) -> onnx.ModelProto:
    """x [1, 64] -> Gemm -> s -> rows -> y."""
    info = helper.make_tensor_value_info
    nodes = [helper.make_node("Gemm", ["x", "w"], ["s"], "fc")]
    nodes += [helper.make_node(op, [source], [made], op.lower()) for op, source, made in rows]
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x", TensorProto.FLOAT, [1, 64])],
        [info("y", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(normal(64, 16), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def convert_refusing(model: onnx.ModelProto, folder: Path) -> Any:
    onnx.save(model, folder / "m.onnx")
    words = ("convert", folder / "m.onnx", "--samples", "random", "--no-cache", "--no-fallback")
    return run(*words, "-t", "ethos-u", "-o", folder / "out")


def test_a_fallback_is_refused_by_operator_reason_and_way_out(tmp_path: Path) -> None:
    told = convert_refusing(net_of(("Sin", "s", "h"), ("Relu", "h", "y")), tmp_path)
    assert told.exit_code == 1
    assert "SIN" in told.output
    assert "Vela has it on no NPU" in told.output
    assert "supported-ops-report" in told.output
    assert not (tmp_path / "out").exists()
    checked = run("check", tmp_path / "m.onnx", "-t", "ethos-u", "--no-fallback")
    assert checked.exit_code == 1
    assert "SIN" in checked.output
    assert run("check", tmp_path / "m.onnx", "-t", "ethos-u").exit_code == 0


def test_what_only_the_compiled_file_shows_is_refused_with_velas_reason(tmp_path: Path) -> None:
    """A product of float data: Vela has FullyConnected, and not on these."""
    model = net_of(("Relu", "s", "y"))
    component = prepared(model)
    with pytest.raises(GapError, match=r"FullyConnected.*runs on the CPU.*Float32") as caught:
        TARGET.build([component], job(options={"fallback": "refuse"}), tmp_path)
    assert all("end the model before it" in gap.way_out for gap in caught.value.gaps)
    TARGET.build([component], job(), tmp_path)
    with pytest.raises(UsageError, match="fallback 'refused' is unknown"):
        TARGET.plan([], job(options={"fallback": "refused"}))


def test_the_last_softmax_is_no_fallback_and_the_product_in_front_of_it_is_on_the_npu(tmp_path: Path) -> None:
    told = convert_refusing(net_of(("Softmax", "s", "y")), tmp_path)
    assert told.exit_code == 0, told.output
    (file,) = (tmp_path / "out").rglob("model.int8.vela.json")
    rows = json.loads(file.read_text())["operators"]
    assert {row["operator"]: row["unit"] for row in rows} == {
        "Quantize": "CPU",
        "FullyConnected": "NPU",
        "Dequantize": "CPU",
        "Softmax": "CPU",
    }
    placed = json.loads((file.parent / "manifest.json").read_text())["artifacts"][0]["placements"]
    (softmax,) = [row for row in placed if "Softmax" in row["why"]]
    assert "kept on the CPU by edgekit" in softmax["why"]
    assert not softmax.get("fallback")
