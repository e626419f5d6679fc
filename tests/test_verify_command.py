"""edgekit verify: a bundle is proven again on golden data or on any samples, or refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, numpy_helper

from edgekit import registry
from edgekit._bundle import BundleDraft, ComponentDraft, write_bundle
from edgekit._values import Artifact, Device, Gap, TensorInfo
from edgekit._verify import Expected, Golden, OrtSession, float_session, gate_for, load_gates, verify_artifact
from edgekit.cli import main
from edgekit.target import Plan, Target

if TYPE_CHECKING:
    from pathlib import Path

DEVICE = Device("toy-board", "Toy Board", "toy", "toykit-1", {"toykit-1": {"toyrt": "1.2"}})
X = np.linspace(-1, 1, 4, dtype=np.float32).reshape(1, 4)
WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3) / 7


class ToyTarget(Target):
    """Runs its ONNX artifacts in ONNX Runtime."""

    name = "toy"

    def missing(self) -> str | None:
        return None

    def devices(self) -> list[Path]:
        return []

    def plan(self, components: Any, job: Any) -> Plan:
        return Plan(max_opset=17)

    def check(self, components: Any, job: Any) -> list[Gap]:
        return []

    def build(self, components: Any, job: Any, out: Path) -> list[Artifact]:
        return []

    def open(self, artifact: Artifact, folder: Path) -> Any:
        return OrtSession(str(folder / artifact.main), name=artifact.main)


def save_toy(path: Path, weights: np.ndarray) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    node = helper.make_node("MatMul", ["x", "W"], ["y"], "fc")
    graph = helper.make_graph([node], "toy", [x], [y], [numpy_helper.from_array(weights, "W")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """fp32 and a `fp16` whose weights are off by one percent: 40 dB by 20 log10(1 / 0.01)."""
    monkeypatch.setattr(registry, "load_targets", lambda: {"toy": ToyTarget()})
    built = tmp_path / "built"
    built.mkdir()
    save_toy(built / "fp32.onnx", WEIGHTS)
    save_toy(built / "fp16.onnx", WEIGHTS * np.float32(1.01))
    artifacts = (
        Artifact("model", "fp32", "fp32.onnx", ("fp32.onnx",), "toyrt"),
        Artifact("model", "fp16", "fp16.onnx", ("fp16.onnx",), "toyrt"),
    )
    golden = Golden("model", "samples", (Expected(float_session(built / "fp32.onnx")).sample({"x": X}),))
    parities = tuple(
        verify_artifact(ToyTarget().open(item, built), item, golden=golden, gate=gate_for(item.variant))
        for item in artifacts
    )
    component = ComponentDraft(
        "model",
        "0" * 64,
        (TensorInfo("x", "float32", ("n", 4)),),
        (TensorInfo("y", "float32", ("n", 3)),),
        golden,
    )
    draft = BundleDraft(DEVICE, "toy", built, artifacts, (component,), parities, "none", gates=load_gates())
    write_bundle(draft, tmp_path / "out")
    return tmp_path / "out"


def verify(*words: object) -> Result:
    return CliRunner().invoke(main, ["verify", *map(str, words)])


def test_a_whole_bundle_is_proven_again(bundle: Path) -> None:
    result = verify(bundle, "--min-sqnr", 30)
    assert result.exit_code == 0, result.output
    assert "every byte as sealed" in result.stdout
    assert "40.0 dB" in result.stdout
    assert result.stdout.splitlines()[-1] == "proven"


def test_a_limit_that_is_missed_is_exit_1(bundle: Path) -> None:
    result = verify(bundle, "--min-sqnr", 50, "--json")
    answer = json.loads(result.stdout)
    assert (result.exit_code, answer["schema"], answer["passed"]) == (1, "edgekit.verify", False)


def test_a_changed_byte_is_refused(bundle: Path) -> None:
    data = bytearray((bundle / "fp16.onnx").read_bytes())
    data[-1] ^= 1
    (bundle / "fp16.onnx").write_bytes(data)
    result = verify(bundle, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["kind"] == "BundleError"
    assert "fp16.onnx" in result.stderr


def test_any_number_of_samples_is_compared_with_the_bundles_fp32(bundle: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "many.npy", np.random.default_rng(0).normal(size=(25, 4)).astype(np.float32))
    result = verify(bundle, "--samples", tmp_path / "many.npy", "--min-sqnr", 30)
    assert result.exit_code == 0, result.output
    assert "proven on 25 samples" in result.stdout
    assert "40.0 dB" in result.stdout
    assert "proven on 7 samples" in verify(bundle, "--samples", tmp_path / "many.npy", "--limit", 7).stdout


def test_a_metric_is_scored_beside_fp32(bundle: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "many.npy", np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32))
    result = verify(bundle, "--samples", tmp_path / "many.npy", "--metric", "cosine", "--max-task-drop", 0.01)
    assert result.exit_code == 0, result.output
    assert "cosine 1, fp32 1, on 5 samples" in result.stdout


def test_a_metric_without_samples_is_wrong_usage(bundle: Path) -> None:
    assert verify(bundle, "--metric", "top1").exit_code == 2


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    assert verify(tmp_path).exit_code == 1
    assert verify(tmp_path / "none").exit_code == 1
