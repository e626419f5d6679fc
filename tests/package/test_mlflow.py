from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import pytest

import edgekit
from edgekit._bundle import open_bundle
from edgekit._package.list_metrics import list_metrics
from edgekit._package.package_bundle import make_job
from edgekit._profile import save_profile
from edgekit._results import Measurement
from edgekit.errors import TargetError, UsageError
from tests.converted import make_bundle, read_tree, run
from tests.package.platform_environment import run_there

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("target", "flavors", "file"),
    [
        ("ort-mobile", ["python_function"], "model.int8.ort"),
        ("jetson-orin", ["onnx", "python_function"], "model.int8.onnx"),
    ],
)
def test_mlflow_loads_saves_and_predicts_what_onnxruntime_computes(
    tmp_path: Path, target: str, flavors: list[str], file: str
) -> None:
    bundle = make_bundle(tmp_path, target)
    edgekit.package(bundle, "mlflow", tmp_path / "model", name="toy")
    golden = bundle / "golden" / "model" / "000" / "inputs-0.npy"
    read: Any = run_there("mlflow", "read_mlflow.py", tmp_path / "model", golden, tmp_path / "got.npz")
    assert read["flavors"] == flavors
    assert read["inputs"] == [
        {"name": "x", "type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [1, 3, 16, 16]}}
    ]
    assert [row["name"] for row in read["outputs"]] == ["y"]
    assert (read["example_equal"], read["example_dtype"]) == (True, "float32")
    assert read["refused"]
    session = ort.InferenceSession(str(bundle / file), providers=["CPUExecutionProvider"])
    want = np.asarray(session.run(None, {"x": np.load(golden)})[0])
    with np.load(tmp_path / "got.npz") as got:
        assert set(got) == {"named", "served"} | ({"again"} if "onnx" in flavors else set())
        assert all(np.array_equal(got[way], want) for way in got)
    told = read["metadata"]["edgekit"]
    manifest = json.loads((bundle / "manifest.json").read_text())
    proof = next(row for row in manifest["parity"] if row["variant"] == "int8")
    assert told["parity"]["against_fp32"] == proof["against_fp32"]
    assert told["source_sha256"] == manifest["components"][0]["source_sha256"]
    assert told["calibration_digest"] == manifest["components"][0]["calibration"]["digest"]
    assert "device_figures" not in told, "nothing was measured"


def test_the_package_carries_what_a_device_measured_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    edgekit.package(bundle, "mlflow", tmp_path / "before")
    made = edgekit.profile(bundle, "local", runs=5, warm_up=1, idle="100ms")
    for name in ("one", "two"):
        edgekit.package(bundle, "mlflow", tmp_path / name, variants="int8")
    assert read_tree(tmp_path / "one") == read_tree(tmp_path / "two")
    before, after = ((tmp_path / name / "MLmodel").read_text() for name in ("before", "one"))
    p50 = next(row for row in made.profile.measurements if row.metric == "model/int8/latency/p50")
    assert repr(p50.value) in after
    assert "kind: measured" in after
    assert "device_figures" not in before
    save_profile(replace(made.profile, matches=None), made.file)
    with open_bundle(bundle) as opened:
        job = make_job(bundle, opened, "mlflow", {"variants": "int8"})
        metrics = list_metrics(job, job.artifacts[0])
    assert metrics["profiled/latency/p50_ms"] == p50.value
    assert not [name for name in metrics if name.startswith("device/")], (
        "nobody knows that it ran on the device"
    )


def test_int8_that_was_slower_on_its_own_device_is_not_what_the_package_holds(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    made = edgekit.profile(bundle, "local", runs=5, warm_up=1, idle="100ms")
    slow = [
        Measurement(f"model/{variant}/latency/p50", value, "ms", "measured", "as said")
        for variant, value in (("int8", 2.0), ("fp32", 1.0))
    ]
    told = tuple(
        replace(one, measurements=tuple(row for row in slow if f"/{one.variant}/" in row.metric))
        for one in made.profile.artifacts
    )
    save_profile(replace(made.profile, matches=True, artifacts=told), made.file)
    done = edgekit.package(bundle, "mlflow", tmp_path / "model")
    assert "model.fp32.ort" in done.files
    assert "model.int8.ort" not in done.files
    assert "--variant int8 asks for it" in " ".join(done.notes)


def test_one_model_is_one_variant_that_the_user_may_name(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    done = run("package", bundle, "--as", "mlflow", "-o", tmp_path / "int8")
    assert done.exit_code == 0
    assert "left out: model.fp32.ort; --variant fp32" in done.stdout
    assert "sample of yours" in done.stdout
    run("package", bundle, "--as", "mlflow", "-o", tmp_path / "fp32", "--variant", "fp32")
    assert (tmp_path / "fp32" / "model.fp32.ort").exists()
    with pytest.raises(UsageError, match="holds one model"):
        edgekit.package(bundle, "mlflow", tmp_path / "both", variants=("int8", "fp32"))
    with pytest.raises(UsageError, match="no component 'encoder'"):
        edgekit.package(bundle, "mlflow", tmp_path / "other", component="encoder")
    litert = tmp_path / "litert"
    litert.mkdir()
    with pytest.raises(TargetError, match=r"mlflow runs no \.tflite file"):
        edgekit.package(make_bundle(litert, "litert"), "mlflow", tmp_path / "x")
    assert sorted(path.name for path in tmp_path.glob(".edgekit*")) == []
